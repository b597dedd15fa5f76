"""Reductions along the wrong axis, broadcasts that are not undone, numbers of elements, and losses."""

from __future__ import annotations

import numpy as np

from .base import Array, Case, apart, normal, positive, put, sigmoid, softmax, softmax_back

X33, X234 = normal(3, 3), normal(2, 3, 4, seed=1)
LABELS = np.array([2, 0, 1, 2, 2])
ONE_HOT, WEIGHTS = np.eye(3)[LABELS], np.array([0.2, 1.0, 3.0])
VALID = np.array([True, True, False, True, False])
SIGNS = np.array([1.0, -1.0, -1.0, 1.0, 1.0])


def centred(x: Array, axis: int | None = None) -> Array:
    return x - x.mean(axis=axis, keepdims=True)


def std_back(g: Array, x: Array, ddof: int = 1, floor: float = 0.0) -> Array:
    return g * centred(x) / ((x.size - ddof) * np.std(x, ddof=1) + floor)


def covariance(x: Array, y: Array) -> Array:
    return centred(x) @ centred(y) / (len(x) - 1)


def correlation(x: Array, y: Array) -> Array:
    a, b = centred(x), centred(y)
    return a @ b / np.sqrt((a @ a) * (b @ b))


def correlation_back(g: Array, x: Array, y: Array, project: float = 1.0) -> tuple[Array, Array]:
    a, b, r = centred(x), centred(y), correlation(x, y)
    n = np.sqrt((a @ a) * (b @ b))
    return g * (b / n - project * r * a / (a @ a)), g * (a / n - r * b / (b @ b))


def skewness(x: Array) -> Array:
    a = centred(x)
    return (a**3).mean() / (a**2).mean() ** 1.5


def skewness_back(g: Array, x: Array, mean: float = 1.0) -> Array:
    a, m2, m3 = centred(x), (centred(x) ** 2).mean(), (centred(x) ** 3).mean()
    return g * 3 / len(x) * ((a * a - mean * m2) / m2**1.5 - m3 * a / m2**2.5)


def nll(x: Array, target: Array = LABELS) -> Array:
    return -np.log(softmax(x)[np.arange(len(target)), target])


def weighted_nll(x: Array) -> Array:
    w = WEIGHTS[LABELS]
    return (w * nll(x)).sum() / w.sum()


def weighted_nll_back(g: Array, x: Array, total: float = WEIGHTS[LABELS].sum()) -> Array:
    return g * WEIGHTS[LABELS][:, None] * (softmax(x) - ONE_HOT) / total


def smoothed(x: Array, s: float = 0.1) -> Array:
    q = ONE_HOT * (1 - s) + s / 3
    return -(q * np.log(softmax(x))).sum() / len(x)


def focal(x: Array) -> Array:
    p = sigmoid(x)
    return -((1 - p) ** 2 * np.log(p)).mean()


def focal_back(g: Array, x: Array, detached: float = 1.0) -> Array:
    p = sigmoid(x)
    dp = detached * 2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p
    return g * dp * p * (1 - p) / len(x)


def dice(x: Array) -> Array:
    return 1 - 2 * (x * VALID).sum() / (x.sum() + VALID.sum())


def triplet(a: Array, p: Array, n: Array) -> Array:
    return np.maximum(((a - p) ** 2).sum(axis=1) - ((a - n) ** 2).sum(axis=1) + 1, 0).sum()


def triplet_back(g: Array, a: Array, p: Array, n: Array, anchor: float = 1.0) -> tuple[Array, ...]:
    live = g * (((a - p) ** 2).sum(axis=1) - ((a - n) ** 2).sum(axis=1) + 1 > 0)[:, None]
    return 2 * live * (anchor * n - p + (1 - anchor) * a), 2 * live * (p - a), 2 * live * (a - n)


def contrastive_back(g: Array, x: Array, t: float = 0.5, columns: float = 1.0) -> Array:
    """Pass back through the cross entropy of a matrix of similarities, by rows and by columns."""
    eye = np.eye(len(x))
    return g * ((softmax(x / t) - eye) + columns * (softmax(x / t, 0) - eye)) / (2 * t * len(x))


def contrastive(x: Array, t: float = 0.5) -> Array:
    return -(np.log(np.diag(softmax(x / t))) + np.log(np.diag(softmax(x / t, 0)))).mean() / 2


AXES = {
    "mean of axis 0": Case(
        lambda x: (x * x).mean(axis=0), lambda g, x: 2 * g * x / len(x), [normal(4, 3)],
        {"wrong axis: divided by the length of axis 1": lambda g, x: 2 * g * x / x.shape[1]},
    ),
    "row-wise logsumexp": Case(
        lambda x: np.log(np.exp(x).sum(axis=1)), lambda g, x: g[:, None] * softmax(x), [X33],
        {
            "wrong axis: softmax of columns": lambda g, x: g[:, None] * softmax(x, 0),
            "wrong axis: upstream along rows": lambda g, x: g * softmax(x),
        },
    ),
    "centred columns": Case(
        lambda x: np.sin(centred(x, 0)), lambda g, x: centred(g * np.cos(centred(x, 0)), 0), [X33],
        {"wrong axis: rows centred": lambda g, x: centred(g * np.cos(centred(x, 0)), 1)},
    ),
    "softmax of channels": Case(
        lambda x: softmax(x, 1), lambda g, x: softmax_back(g, softmax(x, 1), 1), [X234],
        {"wrong axis: softmax's sum over the last": lambda g, x: softmax_back(g, softmax(x, 1), 2)},
    ),
    "cumulative product": Case(
        lambda x: np.cumprod(x, axis=1),
        lambda g, x: np.cumsum((g * np.cumprod(x, axis=1))[:, ::-1], axis=1)[:, ::-1] / x, [positive(3, 3)],
        {
            "wrong axis: summed down the columns": lambda g, x: np.cumsum(
                (g * np.cumprod(x, axis=1))[::-1], axis=0)[::-1] / x,
            "off by one: cumprod's own element left out": lambda g, x: (np.cumsum(
                (g * np.cumprod(x, axis=1))[:, ::-1], axis=1)[:, ::-1] - g * np.cumprod(x, axis=1)) / x,
        },
    ),
    "norms of rows": Case(
        lambda x: np.sqrt((x * x).sum(axis=1)), lambda g, x: (g / np.sqrt((x * x).sum(axis=1)))[:, None] * x, [X33],
        {"wrong axis: norms of columns": lambda g, x: g[:, None] * x / np.sqrt((x * x).sum(axis=0))},
    ),
    "outer difference": Case(
        lambda x: np.tanh(x[:, None] - x), lambda g, x: (g * (1 - np.tanh(x[:, None] - x) ** 2)).sum(axis=1)
        - (g * (1 - np.tanh(x[:, None] - x) ** 2)).sum(axis=0), [normal(4)],
        {"missing term: one side of pairs": lambda g, x: (g * (1 - np.tanh(x[:, None] - x) ** 2)).sum(axis=1)},
    ),
}  # fmt: skip

BROADCASTS = {
    "scale of channels": Case(
        lambda x, s: x * s[:, None], lambda g, x, s: (g * s[:, None], (g * x).sum(axis=(0, 2))), [X234, normal(3)],
        {
            "broadcast: batch not summed, its first taken": lambda g, x, s: (g * s[:, None], (g * x)[0].sum(axis=1)),
            "broadcast: positions averaged": lambda g, x, s: (g * s[:, None], (g * x).sum(axis=0).mean(axis=1)),
        },
    ),
    "a number times a matrix": Case(
        lambda s, x: np.sin(s * x), lambda g, s, x: ((g * x * np.cos(s * x)).sum(), g * s * np.cos(s * x)),
        [np.array(0.7), X33],
        {"broadcast: trace for the sum": lambda g, s, x: (np.trace(g * x * np.cos(s * x)), g * s * np.cos(s * x))},
    ),
    "row plus column": Case(
        lambda r, c: np.exp(r + c), lambda g, r, c: (
            (g * np.exp(r + c)).sum(axis=0, keepdims=True), (g * np.exp(r + c)).sum(axis=1, keepdims=True)),
        [normal(1, 3) / 2, normal(3, 1, seed=1) / 2],
        {
            "broadcast: row's and column's sums swapped": lambda g, r, c: (
                (g * np.exp(r + c)).sum(axis=1)[None], (g * np.exp(r + c)).sum(axis=0)[:, None]),
        },
    ),
    "broadcast to": Case(
        lambda x: np.broadcast_to(x[:, None], (3, 4)) ** 2, lambda g, x: 2 * g.sum(axis=1) * x, [normal(3)],
        {"broadcast: divided by the copies": lambda g, x: 2 * g.mean(axis=1) * x},
    ),
    "tile": Case(
        lambda x: np.tile(x, 3) * np.arange(9), lambda g, x: (g * np.arange(9)).reshape(3, 3).sum(axis=0), [normal(3)],
        {"broadcast: tile undone as repeat": lambda g, x: (g * np.arange(9)).reshape(3, 3).sum(axis=1)},
    ),
    "bias of a batch of matrices": Case(
        lambda x, b: np.tanh(x + b), lambda g, x, b: (
            g * (1 - np.tanh(x + b) ** 2), (g * (1 - np.tanh(x + b) ** 2)).sum(axis=0)), [normal(3, 3, 3), X33],
        {"broadcast: summed over the last axis of three": lambda g, x, b: (
            g * (1 - np.tanh(x + b) ** 2), (g * (1 - np.tanh(x + b) ** 2)).sum(axis=2))},
    ),
}  # fmt: skip

COUNTS = {
    "sample standard deviation": Case(
        lambda x: np.std(x, ddof=1), std_back, [normal(6)],
        {"ddof: n for n - 1 in std": lambda g, x: std_back(g, x, 0),
            "ddof: n - 2 for n - 1": lambda g, x: std_back(g, x, 2)},
    ),
    "covariance": Case(
        covariance, lambda g, x, y: (g * centred(y) / (len(x) - 1), g * centred(x) / (len(x) - 1)),
        [normal(6), normal(6, seed=1)],
        {
            "ddof: covariance divided by n": lambda g, x, y: (g * centred(y) / len(x), g * centred(x) / len(x)),
            "missing term: y not centred": lambda g, x, y: (g * y / (len(x) - 1), g * centred(x) / (len(x) - 1)),
        },
    ),
    "correlation": Case(
        correlation, correlation_back, [normal(6), normal(6, seed=1)],
        {"missing term: deviation of x as a constant": lambda g, x, y: correlation_back(g, x, y, 0.0)},
    ),
    "skewness": Case(
        skewness, skewness_back, [positive(6)],
        {"missing term: mean of a third moment as a constant": lambda g, x: skewness_back(g, x, 0.0)},
    ),
    "weighted mean": Case(
        lambda x, w: (x * w).sum() / w.sum(),
        lambda g, x, w: (g * w / w.sum(), g * (x - (x * w).sum() / w.sum()) / w.sum()), [normal(5), positive(5)],
        {"missing term: sum of weights as a constant": lambda g, x, w: (g * w / w.sum(), g * x / w.sum())},
    ),
    "mean of unequal rows": Case(
        lambda x: x[:2].mean() + np.sin(x[2:]).mean(),
        lambda g, x: g * np.where(np.arange(5) < 2, 1 / 2, np.cos(x) / 3), [normal(5)],
        {"normaliser: all rows for those of a group": lambda g, x: g * np.where(np.arange(5) < 2, 1, np.cos(x)) / 5},
    ),
    "masked loss": Case(
        lambda x: (np.cosh(x) * VALID).sum() / VALID.sum(), lambda g, x: g * np.sinh(x) * VALID / VALID.sum(),
            [normal(5)],
        {"mask: padding counts in the mean": lambda g, x: g * np.sinh(x) * VALID / VALID.size},
    ),
}  # fmt: skip

LOSSES = {
    "weighted cross entropy": Case(
        weighted_nll, weighted_nll_back, [normal(5, 3)],
        {
            "loss: divided by n, not by the weights": lambda g, x: weighted_nll_back(g, x, 5.0),
            "loss: class weights of the wrong axis":
            lambda g, x: g * WEIGHTS * (softmax(x) - ONE_HOT) / WEIGHTS[LABELS].sum(),
        },
    ),
    "label smoothing": Case(
        smoothed, lambda g, x: g * (softmax(x) - 0.9 * ONE_HOT - 0.1 / 3) / len(x), [normal(5, 3, seed=1)],
        {
            "loss: smoothing left out": lambda g, x: g * (softmax(x) - ONE_HOT) / len(x),
            "loss: smoothing over the other classes":
            lambda g, x: g * (softmax(x) - 0.9 * ONE_HOT - 0.05 * (1 - ONE_HOT)) / len(x),
        },
    ),
    "focal loss": Case(
        focal, focal_back, [normal(5, seed=2)],
        {"detached: focal weight as a constant": lambda g, x: focal_back(g, x, 0.0)},
    ),
    "dice": Case(
        dice, lambda g, x: g * (2 * (x * VALID).sum() / (x.sum() + VALID.sum()) - 2 * VALID) / (x.sum() + VALID.sum()),
        [positive(5) / 3],
        {"missing term: dice's denominator": lambda g, x: -2 * g * VALID / (x.sum() + VALID.sum())},
    ),
    "triplet loss": Case(
        triplet, triplet_back, [normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2)],
        {"missing term: anchor's second distance": lambda g, a, p, n: triplet_back(g, a, p, n, 0.0)},
    ),
    "contrastive loss": Case(
        contrastive, contrastive_back, [X33],
        {
            "loss: temperature forgotten": lambda g, x: 0.5 * contrastive_back(g, x),
            "loss: rows twice, columns never": lambda g, x: g * (softmax(x / 0.5) - np.eye(3)) / (0.5 * 3),
        },
    ),
    "hinge": Case(
        lambda x: np.maximum(1 - SIGNS * x, 0).mean(), lambda g, x: -g * SIGNS * (SIGNS * x < 1) / 5, [apart(5)],
        {"loss: hinge without its labels": lambda g, x: -g * (SIGNS * x < 1) / 5},
    ),
    "KL of logits": Case(
        lambda x, y: (softmax(x) * np.log(softmax(x) / softmax(y))).sum(),
        lambda g, x, y: (softmax_back(g * np.log(softmax(x) / softmax(y)), softmax(x)), g * (softmax(y) - softmax(x))),
        [normal(4), normal(4, seed=1)],
        {"loss: KL the other way round":
            lambda g, x, y: (g * (softmax(x) - softmax(y)), g * (softmax(y) - softmax(x)))},
    ),
    "mean squared error of a batch": Case(
        lambda x, y: ((x - y) ** 2).mean(), lambda g, x, y: (2 * g * (x - y) / x.size, 2 * g * (y - x) / x.size),
        [normal(4, 3), normal(4, 3, seed=1)],
        {"loss: mean over rows alone": lambda g, x, y: (2 * g * (x - y) / len(x), 2 * g * (y - x) / len(x))},
    ),
    "poisson loss": Case(
        lambda x: (np.exp(x) - LABELS * x).mean(), lambda g, x: g * (np.exp(x) - LABELS) / 5, [normal(5)],
        {"loss: poisson's rate not exponentiated": lambda g, x: g * (x - LABELS) / 5},
    ),
    "ranking loss": Case(
        lambda x: np.log1p(np.exp(-(x[:2, None] - x[2:]))).sum(), lambda g, x: put(x, slice(None, 2), -g * sigmoid(
            x[2:] - x[:2, None]).sum(axis=1)) + put(x, slice(2, None), g * sigmoid(x[2:] - x[:2, None]).sum(axis=0)),
        [normal(5, seed=3)],
        {"detached: negatives of a ranking":
            lambda g, x: put(x, slice(None, 2), -g * sigmoid(x[2:] - x[:2, None]).sum(axis=1))},
    ),
}  # fmt: skip

CASES = {**AXES, **BROADCASTS, **COUNTS, **LOSSES}
