"""Planted bugs: correct backward passes in plain NumPy, and for each of them the ways in which people get it wrong.

A backward pass is written ``gradient(g, *inputs)``, from the gradient ``g`` of the result, which is 1.0 for a result
that is a number. It returns one gradient, or a tuple of one for each input.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]


class Case(NamedTuple):
    """A function, its correct gradient, where it is tried, and wrong gradients by name.

    ``forwards`` holds wrong functions by name, for which the gradient is the correct one.
    """

    f: Function
    gradient: Function
    inputs: Sequence[Array]
    bugs: dict[str, Function]
    forwards: dict[str, Function] = {}  # noqa: RUF012


class Bug(NamedTuple):
    """A function with a gradient of which one is wrong, and where it is tried. ``case`` names the correct ones."""

    name: str
    case: str
    f: Function
    gradient: Function
    inputs: Sequence[Array]


NOISE = np.random.default_rng(0)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape))


def apart(*shape: int, seed: int = 0) -> Array:
    """Draw numbers in random order, no two of which are near each other in size, and none near 0."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    return (rng.permutation(np.arange(1, n + 1)) * rng.choice([-1, 1], n) * (2 / n)).reshape(shape)


def positive(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).uniform(0.5, 2, shape))


def mapped(gradient: Function, change: Function) -> Function:
    """Change every gradient that a backward pass returns."""

    def changed(g: Any, *inputs: Array) -> Any:
        found = gradient(g, *inputs)
        return tuple(map(change, found)) if isinstance(found, tuple) else change(found)

    return changed


def times(gradient: Function, factor: float) -> Function:
    return mapped(gradient, lambda a: factor * a)


def put(x: Array, where: Any, values: Any) -> Array:
    """Return zeros of the shape of x with values added at places that may be repeated."""
    out = np.zeros_like(x)
    np.add.at(out, where, values)
    return out


def sin_gradient(g: Any, x: Array) -> Array:
    return g * np.cos(x)


def leaking() -> Function:
    """Return a backward pass that keeps a velocity from one call to the next, as an optimizer does."""
    velocity = [0.0]

    def gradient(g: Any, x: Array) -> Array:
        velocity[0] = 0.9 * velocity[0] + sin_gradient(g, x)
        return velocity[0]

    return gradient


def accumulating() -> Function:
    """Return a backward pass that adds to the gradient of the call before, as without ``zero_grad``."""
    total = [np.zeros((2, 3))]

    def gradient(g: Any, x: Array) -> Array:
        total[0] += sin_gradient(g, x)
        return total[0]

    return gradient


def overwrites_input(g: Any, x: Array) -> Array:
    np.cos(x, out=x)
    return g * x


def overwrites_upstream(g: Array, x: Array) -> Array:
    g *= np.cos(x)
    return g


def sine_in_place(x: Array) -> Array:
    return np.array(np.sin(x, out=x))


def rounded(a: Array) -> Array:
    return a.astype(np.float32).astype(np.float64)


def without_small(a: Array) -> Array:
    return np.where(np.abs(a) < 0.2 * np.abs(a).max(), 0, a)


def of_norm_one(a: Array) -> Array:
    return a / max(1.0, float(np.sqrt((a * a).sum())))


def one_wrong(factor: float) -> Function:
    return lambda a: np.where(np.arange(a.size) == 7777, factor * a, a)


def two_swapped(a: Array) -> Array:
    a = a.copy()
    a[[1009, 7777]] = a[[7777, 1009]]
    return a


def forward_difference(g: Any, x: Array) -> Array:
    return g * (np.sin(x + 1e-7) - np.sin(x)) / 1e-7


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_gradient(g: Array, x: Array) -> Array:
    p = softmax(x)
    return p * (g - (g * p).sum(axis=-1, keepdims=True))


LABELS = np.array([0, 3, 1, 1, 2])
ONE_HOT = np.eye(4)[LABELS]


def cross_entropy(x: Array) -> Any:
    return -np.log(softmax(x)[np.arange(5), LABELS]).mean()


def gather_overwriting(g: Array, x: Array) -> Array:
    out = np.zeros_like(x)
    out[REPEATED] = g
    return out


REPEATED = np.array([0, 0, 2, 1, 2])


def batch_norm(x: Array) -> Array:
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)


def batch_norm_gradient(g: Array, x: Array, mean: float = 1.0, variance: float = 1.0) -> Array:
    """Return the gradient; without ``mean`` or ``variance``, as if that were a constant."""
    y = batch_norm(x)
    inner = g - mean * g.mean(axis=0) - variance * y * (g * y).mean(axis=0)
    return inner / np.sqrt(x.var(axis=0) + 1e-5)


X5 = normal(5, 3, seed=9)


def mlp(w1: Array, b1: Array, w2: Array, b2: Array) -> Array:
    return np.tanh(X5 @ w1 + b1) @ w2 + b2


def mlp_gradient(
    g: Array, w1: Array, b1: Array, w2: Array, b2: Array, slope: Function = lambda h: 1 - h * h, back: Any = None
) -> tuple[Array, ...]:
    """Return the gradients of a perceptron, with tanh' and the weights of the way back as one likes."""
    h = np.tanh(X5 @ w1 + b1)
    dz = g @ (w2 if back is None else back(w1, w2)).T * slope(h)
    return X5.T @ dz, dz.sum(axis=0), h.T @ g, g.sum(axis=0)


def mlp_of_pre_activation(g: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> tuple[Array, ...]:
    return mlp_gradient(g, w1, b1, w2, b2, lambda h: 1 - np.arctanh(h) ** 2)


def mlp_bias_mean(g: Array, *weights: Array) -> tuple[Array, ...]:
    dw1, db1, dw2, db2 = mlp_gradient(g, *weights)
    return dw1, db1 / len(X5), dw2, db2 / len(X5)


def mlp_stale(g: Array, *weights: Array) -> tuple[Array, ...]:
    """Update the last layer before the gradient passes through it."""
    w1, b1, w2, b2 = weights
    _, _, dw2, db2 = mlp_gradient(g, *weights)
    dw1, db1, _, _ = mlp_gradient(g, w1, b1, w2 - 0.01 * dw2, b2)
    return dw1, db1, dw2, db2


def attention(q: Array, k: Array) -> Array:
    return softmax(q @ k.T / np.sqrt(q.shape[1]))


def attention_gradient(g: Array, q: Array, k: Array) -> tuple[Array, Array]:
    d = softmax_gradient(g, q @ k.T / np.sqrt(q.shape[1])) / np.sqrt(q.shape[1])
    return d @ k, d.T @ q


MASK = np.array([True, False, True, True, False, True])
KERNEL = np.array([0.5, -1.0, 2.0])


def max_gradient(g: Array, x: Array) -> Array:
    return g[:, None] * (x == x.max(axis=1, keepdims=True))


def sort_gradient(g: Array, x: Array) -> Array:
    out = np.zeros_like(x)
    out[np.argsort(x)] = g
    return out


def inverse_gradient(g: Array, x: Array) -> Array:
    y = np.linalg.inv(x).T
    return -y @ g @ y


NOTEBOOK = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "notebook_pieces.py"))
PIXELS, DIGITS = positive(4, 6, seed=20), np.eye(3)[[0, 2, 1, 2]]


def notebook_cost(*weights: Array) -> Any:
    return NOTEBOOK["cost"](NOTEBOOK["forward"](weights, PIXELS, NOTEBOOK["AFTER"])[2], DIGITS)


def notebook_gradient(*before: str) -> Function:
    """Return the notebook's backward pass with some of its pieces as they were before their repair."""
    pieces = NOTEBOOK["AFTER"]._replace(**{name: getattr(NOTEBOOK["BEFORE"], name) for name in before})

    def gradient(g: Any, *weights: Array) -> Any:
        z, h, a = NOTEBOOK["forward"](weights, PIXELS, pieces)
        found = NOTEBOOK["backward"](weights, PIXELS, DIGITS, z, h, a, pieces)
        return tuple(g * a for a in found)

    return gradient


CASES: dict[str, Case] = {
    "sin": Case(
        np.sin,
        sin_gradient,
        [normal(2, 3)],
        {
            "sign": times(sin_gradient, -1),
            "factor 2": times(sin_gradient, 2),
            "factor 1/2": times(sin_gradient, 0.5),
            "factor 1 + 1e-4": times(sin_gradient, 1 + 1e-4),
            "factor 1 + 1e-6": times(sin_gradient, 1 + 1e-6),
            "factor 1 + 1e-7": times(sin_gradient, 1 + 1e-7),
            "factor 1 + 1e-8": times(sin_gradient, 1 + 1e-8),
            "gradient zero": times(sin_gradient, 0),
            "gradient not connected, NaN": times(sin_gradient, np.nan),
            "0.001 added": mapped(sin_gradient, lambda a: a + 1e-3),
            "1e-7 added": mapped(sin_gradient, lambda a: a + 1e-7),
            "weight decay leaks in": lambda g, x: g * np.cos(x) + 1e-4 * x,
            "rounded to float32": mapped(sin_gradient, rounded),
            "float32 gradient": mapped(sin_gradient, np.float32),
            "upstream gradient ignored": lambda g, x: np.cos(x),
            "upstream gradient taken absolute": lambda g, x: np.abs(g) * np.cos(x),
            "upstream gradient cut off at 1": lambda g, x: np.clip(g, -1, 1) * np.cos(x),
            "derivative of cos": lambda g, x: -g * np.sin(x),
            "small elements dropped": mapped(sin_gradient, without_small),
            "gradient clipped to norm 1": mapped(sin_gradient, of_norm_one),
            "stale value: x after an update": lambda g, x: g * np.cos(x - 1e-3 * np.cos(x)),
            "one-sided difference as gradient": forward_difference,
            "Taylor polynomial as derivative": lambda g, x: g * (1 - x**2 / 2 + x**4 / 24),
            "velocity kept between calls": leaking(),
            "accumulates between calls": accumulating(),
            "overwrites its input": overwrites_input,
            "overwrites the upstream gradient": overwrites_upstream,
            "noise": lambda g, x: g * np.cos(x) + 1e-6 * NOISE.normal(size=x.shape),
            "flattened": mapped(sin_gradient, np.ravel),
        },
        {"forward overwrites its input": sine_in_place},
    ),
    "1e-6 sin": Case(
        lambda x: 1e-6 * np.sin(x),
        times(sin_gradient, 1e-6),
        [normal(2, 3)],
        {"zero gradient of results near 1e-6": times(sin_gradient, 0), "sign, 1e-6": times(sin_gradient, -1e-6)},
    ),
    "1e-12 sin": Case(
        lambda x: 1e-12 * np.sin(x),
        times(sin_gradient, 1e-12),
        [normal(2, 3)],
        {"factor 2 of results near 1e-12": times(sin_gradient, 2e-12)},
    ),
    "1e6 sin": Case(
        lambda x: 1e6 * np.sin(x),
        times(sin_gradient, 1e6),
        [normal(2, 3)],
        {"1 + 1e-7 of results near 1e6": times(sin_gradient, 1e6 * (1 + 1e-7))},
    ),
    "small beside large": Case(
        lambda x, y: np.sin(x).sum() + 1e-7 * (y * y).sum(),
        lambda g, x, y: (g * np.cos(x), 2e-7 * g * y),
        [normal(3), normal(4)],
        {"zero gradient of a small input": lambda g, x, y: (g * np.cos(x), 0 * y)},
    ),
    "10 000 elements": Case(
        lambda x: np.sin(x).sum(),
        sin_gradient,
        [normal(10_000)],
        {
            "one of 10 000 wrong by 10 %": mapped(sin_gradient, one_wrong(1.1)),
            "one of 10 000 wrong by 0.01 %": mapped(sin_gradient, one_wrong(1.0001)),
            "two of 10 000 swapped": mapped(sin_gradient, two_swapped),
        },
    ),
    "tanh": Case(
        np.tanh,
        lambda g, x: g * (1 - np.tanh(x) ** 2),
        [normal(2, 3)],
        {
            "tanh' = 1 - x * x": lambda g, x: g * (1 - x * x),
            "tanh' without the square": lambda g, x: g * (1 - np.tanh(x)),
        },
    ),
    "sigmoid": Case(
        sigmoid,
        lambda g, x: g * sigmoid(x) * (1 - sigmoid(x)),
        [normal(2, 3)],
        {"sigmoid' of the pre-activation": lambda g, x: g * x * (1 - x)},
    ),
    "log10": Case(
        np.log10, lambda g, x: g / (x * np.log(10)), [positive(4)], {"log of the wrong base": lambda g, x: g / x}
    ),
    "1 / x": Case(
        lambda x: 1 / x,
        lambda g, x: -g / x**2,
        [positive(4)],
        {"1e-8 in the denominator": lambda g, x: -g / (x + 1e-8) ** 2, "x for x squared": lambda g, x: -g / x},
    ),
    "x ** y": Case(
        np.power,
        lambda g, x, y: (g * y * x ** (y - 1), g * x**y * np.log(x)),
        [positive(4), normal(4)],
        {
            "exponent not lowered": lambda g, x, y: (g * y * x**y, g * x**y * np.log(x)),
            "log of the base missing": lambda g, x, y: (g * y * x ** (y - 1), g * x**y),
        },
    ),
    "x sin x": Case(
        lambda x: x * np.sin(x),
        lambda g, x: g * (np.sin(x) + x * np.cos(x)),
        [normal(2, 3)],
        {"second term of the product rule dropped": lambda g, x: g * np.sin(x)},
    ),
    "x * x": Case(lambda x: x * x, lambda g, x: 2 * g * x, [normal(2, 3)], {"x * x seen once": lambda g, x: g * x}),
    "x + tanh x": Case(
        lambda x: x + np.tanh(x),
        lambda g, x: g * (2 - np.tanh(x) ** 2),
        [normal(2, 3)],
        {"residual branch overwrites, not adds": lambda g, x: g * (1 - np.tanh(x) ** 2)},
    ),
    "x y": Case(
        np.multiply,
        lambda g, x, y: (g * y, g * x),
        [normal(2, 3), normal(2, 3, seed=1)],
        {
            "gradient of the other input": lambda g, x, y: (g * x, g * y),
            "gradient of one input twice": lambda g, x, y: (g * y, g * y),
        },
    ),
    "x / y": Case(
        np.divide,
        lambda g, x, y: (g / y, -g * x / y**2),
        [normal(2, 3), positive(2, 3)],
        {
            "arguments swapped": lambda g, x, y: (-g * y / x**2, g / x),
            "minus of the quotient rule missing": lambda g, x, y: (g / y, g * x / y**2),
        },
    ),
    "x + b": Case(
        np.add,
        lambda g, x, b: (g, g.sum(axis=0)),
        [normal(3, 3), normal(3)],
        {
            "broadcast not summed": lambda g, x, b: (g, g),
            "broadcast summed over the wrong axis": lambda g, x, b: (g, g.sum(axis=1)),
            "broadcast averaged": lambda g, x, b: (g, g.mean(axis=0)),
            "broadcast: the first row alone": lambda g, x, b: (g, g[0]),
            "broadcast summed with keepdims": lambda g, x, b: (g, g.sum(axis=0, keepdims=True)),
        },
    ),
    "x @ w": Case(
        np.matmul,
        lambda g, x, w: (g @ w.T, x.T @ g),
        [normal(3, 3), normal(3, 3, seed=1)],
        {
            "transposed": lambda g, x, w: (g @ w.T, (x.T @ g).T),
            "x.T missing": lambda g, x, w: (g @ w.T, x @ g),
            "w.T missing": lambda g, x, w: (g @ w, x.T @ g),
            "product in the wrong order": lambda g, x, w: (w.T @ g, x.T @ g),
        },
    ),
    "mean": Case(
        np.mean,
        lambda g, x: g * np.ones_like(x) / x.size,
        [normal(8)],
        {
            "1/N missing": lambda g, x: g * np.ones_like(x),
            "N - 1 for N": lambda g, x: g * np.ones_like(x) / (x.size - 1),
        },
    ),
    "sum of squares along an axis": Case(
        lambda x: (x * x).sum(axis=0),
        lambda g, x: 2 * g * x,
        [normal(3, 3)],
        {"spread along the wrong axis": lambda g, x: 2 * g[:, None] * x},
    ),
    "variance": Case(
        np.var,
        lambda g, x: 2 * g * (x - x.mean()) / x.size,
        [normal(8)],
        {
            "2 of the square missing": lambda g, x: g * (x - x.mean()) / x.size,
            "mean not subtracted": lambda g, x: 2 * g * x / x.size,
            "N - 1 of the sample variance": lambda g, x: 2 * g * (x - x.mean()) / (x.size - 1),
        },
    ),
    "norm": Case(
        lambda x: np.sqrt((x * x).sum()),
        lambda g, x: g * x / np.sqrt((x * x).sum()),
        [normal(8)],
        {"not divided by the norm": lambda g, x: g * x},
    ),
    "masked mean": Case(
        lambda x: x[MASK].mean() * 3,
        lambda g, x: 3 * g * MASK / MASK.sum(),
        [normal(6)],
        {"divided by all, not by the chosen": lambda g, x: 3 * g * MASK / MASK.size},
    ),
    "max": Case(
        lambda x: x.max(axis=1),
        max_gradient,
        [apart(3, 4)],
        {"gradient of max to all": lambda g, x: g[:, None] * np.ones_like(x)},
    ),
    "product": Case(
        np.prod,
        lambda g, x: g * x.prod() / x,
        [positive(5)],
        {"product with the element itself": lambda g, x: g * x.prod() * np.ones_like(x)},
    ),
    "cumsum": Case(
        np.cumsum,
        lambda g, x: g[::-1].cumsum()[::-1],
        [normal(5)],
        {"cumsum not reversed": lambda g, x: g.cumsum()},
    ),
    "sort": Case(np.sort, sort_gradient, [apart(6)], {"order not undone": lambda g, x: g}),
    "x[repeated]": Case(
        lambda x: x[REPEATED],
        lambda g, x: put(x, REPEATED, g),
        [normal(4)],
        {"repeated index overwritten": gather_overwriting},
    ),
    "x[1:]": Case(
        lambda x: np.sin(x)[1:],
        lambda g, x: put(x, slice(1, None), g) * np.cos(x),
        [normal(5)],
        {"off by one": lambda g, x: put(x, slice(None, -1), g) * np.cos(x)},
    ),
    "concatenate": Case(
        lambda x, y: np.concatenate([x, y]) ** 2,
        lambda g, x, y: (2 * g[:3] * x, 2 * g[3:] * y),
        [normal(3), normal(3, seed=1)],
        {"parts in the wrong order": lambda g, x, y: (2 * g[3:] * x, 2 * g[:3] * y)},
    ),
    "reshape": Case(
        lambda x: x.reshape(3, 2),
        lambda g, x: g.reshape(2, 3),
        [normal(2, 3)],
        {"reshaped by columns": lambda g, x: g.reshape((2, 3), order="F")},
    ),
    "transpose": Case(
        lambda x: x.transpose(2, 0, 1),
        lambda g, x: g.transpose(1, 2, 0),
        [normal(2, 2, 2)],
        {"same permutation, not the inverse": lambda g, x: g.transpose(2, 0, 1)},
    ),
    "convolution": Case(
        lambda x: np.convolve(x, KERNEL),
        lambda g, x: np.convolve(g, KERNEL[::-1], "valid"),
        [normal(6)],
        {"kernel not flipped": lambda g, x: np.convolve(g, KERNEL, "valid")},
    ),
    "tril": Case(np.tril, lambda g, x: np.tril(g), [normal(3, 3)], {"mask missing": lambda g, x: g}),
    "relu": Case(
        lambda x: np.maximum(x, 0),
        lambda g, x: g * (x > 0),
        [apart(2, 3)],
        {"relu: < for >": lambda g, x: g * (x < 0), "relu: mask missing": lambda g, x: g},
    ),
    "leaky relu": Case(
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda g, x: g * np.where(x > 0, 1, 0.01),
        [apart(2, 3)],
        {"leak forgotten": lambda g, x: g * (x > 0)},
    ),
    "abs": Case(np.abs, lambda g, x: g * np.sign(x), [apart(2, 3)], {"sign of abs missing": lambda g, x: g}),
    "relu at 0": Case(
        lambda x: np.maximum(x, 0),
        lambda g, x: g * (x > 0),
        [np.array([-1.0, 0.0, 1.0])],
        {"relu: 2 at the kink": lambda g, x: g * np.where(x == 0, 2, x > 0)},
    ),
    "max with a tie": Case(
        np.max,
        lambda g, x: g * (x == x.max()) / (x == x.max()).sum(),
        [np.array([1.0, 2.0, 2.0])],
        {
            "ties of max not counted": lambda g, x: g * (x == x.max()),
            "max: the smallest": lambda g, x: g * (x == x.min()),
        },
    ),
    "sin(200 x)": Case(
        lambda x: np.sin(200 * x),
        lambda g, x: 200 * g * np.cos(200 * x),
        [normal(5)],
        {"200 forgotten": lambda g, x: g * np.cos(200 * x)},
    ),
    "tanh(x / 1e-8)": Case(
        lambda x: np.tanh(x / 1e-8),
        lambda g, x: g * (1 - np.tanh(x / 1e-8) ** 2) / 1e-8,
        [1e-8 * normal(5)],
        {"1e-8 forgotten": lambda g, x: g * (1 - np.tanh(x / 1e-8) ** 2)},
    ),
    "1 / x near 0.001": Case(
        lambda x: 1 / x,
        lambda g, x: -g / x**2,
        [1e-3 * positive(5)],
        {"x cut off below at 0.001": lambda g, x: -g / np.maximum(x, 1e-3) ** 2},
    ),
    "loss + 1e6": Case(
        lambda x: cross_entropy(x) + 1e6,
        lambda g, x: g * (softmax(x) - ONE_HOT) / 5,
        [normal(5, 4)],
        {"loss + 1e6: one-hot not subtracted": lambda g, x: g * softmax(x) / 5},
    ),
    "clip": Case(
        lambda x: np.clip(x, -0.9, 0.9),
        lambda g, x: g * (np.abs(x) < 0.9),
        [apart(2, 3)],
        {"passes outside of clip": lambda g, x: g},
    ),
    "where": Case(
        lambda x, y: np.where(MASK, x, y),
        lambda g, x, y: (g * MASK, g * ~MASK),
        [normal(6), normal(6, seed=1)],
        {"branches of where swapped": lambda g, x, y: (g * ~MASK, g * MASK)},
    ),
    "dropout": Case(
        lambda x: x * MASK / 0.6,
        lambda g, x: g * MASK / 0.6,
        [normal(6)],
        {"not scaled by what is kept": lambda g, x: g * MASK, "other mask": lambda g, x: g * np.roll(MASK, 1) / 0.6},
        {"forward is random": lambda x: x * MASK / 0.6 + 0.1 * NOISE.normal(size=x.shape)},
    ),
    "softmax": Case(
        softmax,
        softmax_gradient,
        [normal(3, 4)],
        {
            "softmax without the sum": lambda g, x: g * softmax(x),
            "softmax as if elementwise": lambda g, x: g * softmax(x) * (1 - softmax(x)),
            "softmax summed over the batch": lambda g, x: softmax(x) * (g - (g * softmax(x)).sum(axis=0)),
        },
    ),
    "cross entropy": Case(
        cross_entropy,
        lambda g, x: g * (softmax(x) - ONE_HOT) / 5,
        [normal(5, 4)],
        {
            "one-hot not subtracted": lambda g, x: g * softmax(x) / 5,
            "batch not averaged": lambda g, x: g * (softmax(x) - ONE_HOT),
            "labels of another batch": lambda g, x: g * (softmax(x) - ONE_HOT[::-1]) / 5,
        },
    ),
    "batch norm": Case(
        batch_norm,
        batch_norm_gradient,
        [normal(5, 3)],
        {
            "mean taken for a constant": lambda g, x: batch_norm_gradient(g, x, mean=0.0),
            "variance taken for a constant": lambda g, x: batch_norm_gradient(g, x, variance=0.0),
        },
    ),
    "attention": Case(
        attention,
        attention_gradient,
        [normal(3, 4), normal(3, 4, seed=1)],
        {"square root of d missing": times(attention_gradient, 2.0)},
    ),
    "inverse": Case(
        np.linalg.inv,
        inverse_gradient,
        [normal(3, 3) + 3 * np.eye(3)],
        {
            "inverse: minus missing": times(inverse_gradient, -1),
            "inverse: transposed": mapped(inverse_gradient, np.transpose),
        },
    ),
    "determinant": Case(
        np.linalg.det,
        lambda g, x: g * np.linalg.det(x) * np.linalg.inv(x).T,
        [normal(3, 3) + 3 * np.eye(3)],
        {"cofactors not transposed": lambda g, x: g * np.linalg.det(x) * np.linalg.inv(x)},
    ),
    "perceptron": Case(
        mlp,
        mlp_gradient,
        [normal(3, 3), normal(3, seed=1), normal(3, 3, seed=2), normal(3, seed=3)],
        {
            "tanh' missing in the chain": lambda g, *w: mlp_gradient(g, *w, lambda h: 1.0),
            "tanh' of the pre-activation": mlp_of_pre_activation,
            "layers swapped on the way back": lambda g, *w: mlp_gradient(g, *w, back=lambda w1, w2: w1),
            "weights not transposed on the way back": lambda g, *w: mlp_gradient(g, *w, back=lambda w1, w2: w2.T),
            "bias gradient averaged": mlp_bias_mean,
            "passes through updated weights": mlp_stale,
            "gradients of the layers swapped": lambda g, *w: (*mlp_gradient(g, *w)[2:], *mlp_gradient(g, *w)[:2]),
        },
    ),
    "notebook": Case(
        notebook_cost,
        notebook_gradient(),
        [normal(6, 5), normal(5, seed=1) / 5, normal(5, 3, seed=2), normal(3, seed=3) / 5],
        {
            "notebook: relu overwrites its input": notebook_gradient("relu"),
            "notebook: relu's mask the wrong way round": notebook_gradient("relu_backward"),
            "notebook: sign of the cost": notebook_gradient("cost_gradient"),
            "notebook: sigmoid' overwrites the outputs": notebook_gradient("sigmoid_gradient"),
        },
    ),
}


def fresh(bug: Bug) -> list[Array]:
    """Return copies of the inputs, as some bugs write into them."""
    return [a.copy() for a in bug.inputs]


UNRESOLVED = {"loss + 1e6"}
"""Where a correct gradient cannot be told from a wrong one to 9 digits, and the checker may say so."""

CORRECT = [Bug(name, name, case.f, case.gradient, case.inputs) for name, case in CASES.items()]
BUGS = [
    bug
    for name, case in CASES.items()
    for bug in (
        *(Bug(what, name, case.f, wrong, case.inputs) for what, wrong in case.bugs.items()),
        *(Bug(what, name, wrong, case.gradient, case.inputs) for what, wrong in case.forwards.items()),
    )
]
