"""What is kept between calls, changed in place, cut off, or not linear; and derivatives of derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Array, Case, Fresh, Function, apart, normal, positive, sigmoid, softmax, softmax_back

X23, X5, P5, W33 = normal(2, 3), normal(5), positive(5), normal(3, 3, seed=1)
CURVED = 1e-6


def first_call_kept(gradient: Function) -> Fresh:
    """Return a gradient that gives its first result for ever."""

    def make() -> Function:
        kept: list[Any] = []

        def wrong(g: Any, *xs: Array) -> Any:
            kept[:] = kept or [gradient(g, *xs)]
            return kept[0]

        return wrong

    return Fresh(make)


def stale(gradient: Function) -> Fresh:
    """Return a gradient with what its function saved the first time, wherever it is now."""

    def make() -> Function:
        saved: list[Array] = []

        def wrong(g: Any, *xs: Array) -> Any:
            saved[:] = saved or [a.copy() for a in xs]
            return gradient(g, *saved)

        return wrong

    return Fresh(make)


def counted(change: Callable[[Any, int], Any], gradient: Function) -> Fresh:
    """Return a gradient that depends on how often it was called."""

    def make() -> Function:
        calls = [0]

        def wrong(g: Any, *xs: Array) -> Any:
            calls[0] += 1
            return change(gradient(g, *xs), calls[0])

        return wrong

    return Fresh(make)


def reused(gradient: Function, shape: tuple[int, ...]) -> Fresh:
    """Return a gradient that is given in the same array each time, after adding to it."""

    def make() -> Function:
        buffer = np.zeros(shape)

        def wrong(g: Any, *xs: Array) -> Array:
            buffer[...] = 0.5 * buffer + gradient(g, *xs)
            return buffer

        return wrong

    return Fresh(make)


def cos_back(g: Any, x: Array) -> Array:
    return -g * np.sin(x)


def exp_back(g: Any, x: Array) -> Array:
    return g * np.exp(x)


def product_back(g: Any, x: Array, y: Array) -> tuple[Array, Array]:
    return g * np.cos(x) * y, g * np.sin(x)


def normalises(g: Array, x: Array) -> Array:
    x -= x.mean()
    return g - g.mean()


def zeroes(g: Array, x: Array, y: Array) -> tuple[Array, Array]:
    found = g * y, g * x
    x[x < 0] = 0
    return found


def doubles_upstream(g: Array, x: Array, y: Array) -> tuple[Array, Array]:
    dx = np.multiply(g, np.exp(y), out=g)
    return dx, g * x


def sorts(g: Array, x: Array) -> Array:
    x.sort()
    return 3 * g * x**2


def hessian_product(x: Array, v: Array, own: float = 1.0, mixed: float = 1.0) -> Array:
    """Return the second derivative of sum(x)**2 * sum(sin x) times v."""
    s, r = x.sum(), np.sin(x).sum()
    return (
        (2 * r * v.sum() + 2 * mixed * s * (np.cos(x) @ v))
        + 2 * mixed * s * v.sum() * np.cos(x)
        - own * s * s * np.sin(x) * v
    )


def slope_of(x: Array) -> Array:
    return 2 * x.sum() * np.sin(x).sum() + x.sum() ** 2 * np.cos(x)


def softmax_slope(x: Array, g: Array) -> Array:
    return softmax_back(g, softmax(x))


def softmax_slope_back(
    u: Array, x: Array, g: Array, through: float = 1.0, upstream: bool = True
) -> tuple[Array, Array]:
    """Pass back through the backward pass of softmax, which depends on x through p and is linear in g."""
    p = softmax(x)
    dp = u * (g - g @ p) - (u @ p) * g * through
    return softmax_back(dp, p), softmax_back(u, p) if upstream else u * p


def penalty(w: Array, x: Array) -> Array:
    """Return the squared gradient by x of sum(tanh(x W)), as in a penalty on gradients."""
    return ((1 - np.tanh(x @ w) ** 2) @ w.T @ ((1 - np.tanh(x @ w) ** 2) @ w.T)).sum()


def penalty_back(g: Any, w: Array, x: Array, inner: float = 1.0, outer: float = 1.0) -> tuple[Array, Array]:
    t = np.tanh(x @ w)
    s = 1 - t * t
    q = 2 * g * (s @ w.T)
    dz = inner * (q @ w) * -2 * t * s
    return outer * np.outer(q, s) + np.outer(x, dz), dz @ w.T


def mlp_slope(x: Array, w: Array) -> Array:
    return (1 - np.tanh(x @ w) ** 2) @ w.T


def mlp_slope_back(u: Array, x: Array, w: Array, inner: bool = True, outer: bool = True) -> tuple[Array, Array]:
    t = np.tanh(x @ w)
    dz = (u @ w) * -2 * t * (1 - t * t)
    return dz @ w.T, inner * (x.T @ dz) + outer * (u.T @ (1 - t * t))


STATES = {
    "cos, cached": Case(
        np.cos, cos_back, [X23],
        {
            "stale cache: first gradient for ever": first_call_kept(cos_back),
            "state: 1 % more with each call": counted(lambda a, n: a * 1.01 ** (n - 1), cos_back),
            "state: every second call is zero": counted(lambda a, n: a * (n % 2), cos_back),
            "state: sign changes after five calls": counted(lambda a, n: -a if n > 5 else a, cos_back),
            "state: a buffer that keeps a half": reused(cos_back, (2, 3)),
        },
    ),
    "exp, saved": Case(
        np.exp, exp_back, [X23],
        {
            "wrong nearby: inputs of the first call": stale(exp_back),
            "stale cache: result of an earlier x": lambda g, x: g * np.exp(x - 1e-6),
        },
    ),
    "sin(x) y": Case(
        lambda x, y: (np.sin(x) * y).sum(), product_back, [X5, P5],
        {
            "state: gradient of a sum that learns": counted(lambda a, n: (a[0], a[1] + 1e-4 * n), product_back),
            "wrong nearby: inputs of a first call, a sum": stale(product_back),
        },
    ),
}  # fmt: skip

IN_PLACE = {
    "centred": Case(
        lambda x: x - x.mean(), lambda g, x: g - g.mean(), [X5], {"in place: centres its input": normalises}
    ),
    "x y, split": Case(np.multiply, lambda g, x, y: (g * y, g * x), [X5, P5],
        {"in place: zeroes where x is negative": zeroes}),
    "x exp(y)": Case(
        lambda x, y: x * np.exp(y), lambda g, x, y: (g * np.exp(y), g * x * np.exp(y)), [X5, P5 / 2],
        {"in place: upstream reused for the first gradient": doubles_upstream},
    ),
    "cubes of what is sorted": Case(
        lambda x: x**3, lambda g, x: 3 * g * x**2, [np.sort(apart(5))[::-1]], {"in place: sorts its input": sorts}
    ),
}  # fmt: skip

UPSTREAM = {
    "sinh": Case(
        np.sinh, lambda g, x: g * np.cosh(x), [X23],
        {
            "not linear: tanh of the upstream": lambda g, x: np.tanh(g) * np.cosh(x),
            "not linear: upstream squared, sign kept": lambda g, x: g * np.abs(g) * np.cosh(x),
            "not linear: upstream normalised": lambda g, x: g / np.sqrt((g * g).sum()) * np.cosh(x),
            "not linear: upstream rounded to 3 digits": lambda g, x: np.round(g, 3) * np.cosh(x),
            "not linear: sign of the upstream": lambda g, x: np.sign(g) * np.cosh(x),
            "not linear: 1e-6 of its square": lambda g, x: (g + CURVED * g * g) * np.cosh(x),
        },
    ),
    "tan": Case(
        np.tan, lambda g, x: g / np.cos(x) ** 2, [X23],
        {
            "clipped: each element to 1": lambda g, x: np.clip(g / np.cos(x) ** 2, -1, 1),
            "clipped: to the norm 1, if above":
            lambda g, x: g / np.cos(x) ** 2 / max(1, np.sqrt(((g / np.cos(x) ** 2) ** 2).sum())),
            "clipped: those below 0.3 of the largest": lambda g, x: np.where(
                np.abs(g / np.cos(x) ** 2) < 0.3 * np.abs(g / np.cos(x) ** 2).max(), 0, g / np.cos(x) ** 2),
        },
    ),
    "upstream by rows": Case(
        lambda x: np.tanh(x @ W33), lambda g, x: (g * (1 - np.tanh(x @ W33) ** 2)) @ W33.T, [X23],
        {
            "upstream: averaged over the batch": lambda g, x: (g.mean(axis=0) * (1 - np.tanh(x @ W33) ** 2)) @ W33.T,
            "upstream: of the first column for all": lambda g, x: (g[:, :1] * (1 - np.tanh(x @ W33) ** 2)) @ W33.T,
            "upstream: taken for 1 before a product": lambda g, x: (1 - np.tanh(x @ W33) ** 2) @ W33.T,
        },
    ),
    "loss by a factor": Case(
        lambda x: 3 * np.log1p(x * x).sum(), lambda g, x: 6 * g * x / (1 + x * x), [X5],
        {"upstream: weight of a loss left out": lambda g, x: 2 * g * x / (1 + x * x)},
    ),
}  # fmt: skip

DETACHED = {
    "x over its sum": Case(
        lambda x: x / x.sum(), lambda g, x: (g - (g * x).sum() / x.sum()) / x.sum(), [P5],
        {"detached: the sum": lambda g, x: g / x.sum()}
    ),
    "log of a mean of exponentials": Case(
        lambda x, t: t * np.log(np.exp(x / t).mean()),
        lambda g, x, t: (g * softmax(x / t), g * (np.log(np.exp(x / t).mean()) - (softmax(x / t) * x).sum() / t)),
        [X5, np.array(0.7)],
        {"detached: temperature inside": lambda g, x, t: (g * softmax(x / t), g * np.log(np.exp(x / t).mean()))},
    ),
    "gate by itself": Case(
        lambda x: x * sigmoid(5 * x.sum()),
        lambda g, x: g * sigmoid(5 * x.sum()) + 5 * (g @ x) * sigmoid(5 * x.sum()) * sigmoid(
            -5 * x.sum()), [X5 / 5],
        {"detached: the gate": lambda g, x: g * sigmoid(5 * x.sum())},
    ),
    "baseline of rewards": Case(
        lambda x: ((x - x.mean()) * np.exp(x)).sum(),
        lambda g, x: g * ((1 + x - x.mean()) * np.exp(x) - np.exp(x).mean()), [X5],
        {"detached: a baseline": lambda g, x: g * (1 + x - x.mean()) * np.exp(x)},
    ),
    "straight through": Case(
        lambda x: np.round(x * 4) / 4 + x**2, lambda g, x: 2 * g * x, [X5],
        {"upstream: passed straight through a rounding": lambda g, x: g * (1 + 2 * x)}
    ),
}  # fmt: skip

SECOND = {
    "gradient of a product of sums": Case(
        slope_of, lambda u, x: hessian_product(x, u), [X5],
        {
            "second order: own curvature left out": lambda u, x: hessian_product(x, u, own=0.0),
            "second order: mixed terms once": lambda u, x: hessian_product(x, u, mixed=0.5),
        },
    ),
    "gradient of a softmax": Case(
        softmax_slope, softmax_slope_back, [X5, P5],
        {
            "second order: p in the sum of softmax'": lambda u, x, g: softmax_slope_back(u, x, g, 0.0),
            "second order: by the upstream, as if elementwise":
            lambda u, x, g: softmax_slope_back(u, x, g, upstream=False),
        },
    ),
    "penalty on a gradient": Case(
        penalty, penalty_back, [W33, normal(3)],
        {
            "second order: slope taken for a constant": lambda g, w, x: penalty_back(g, w, x, inner=0.0),
            "second order: weights taken for constants": lambda g, w, x: penalty_back(g, w, x, outer=0.0),
        },
    ),
    "gradient of a layer": Case(
        mlp_slope, mlp_slope_back, [X23, W33],
        {
            "second order: by weights, through tanh' alone": lambda u, x, w: mlp_slope_back(u, x, w, outer=False),
            "second order: by weights, outside of tanh' alone": lambda u, x, w: mlp_slope_back(u, x, w, inner=False),
        },
    ),
    "tanh''": Case(
        lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
        lambda g, x: g * (1 - np.tanh(x) ** 2) * (6 * np.tanh(x) ** 2 - 2), [X5],
        {"second order: tanh''' without its second term": lambda g, x: -2 * g * (1 - np.tanh(x) ** 2) ** 2},
    ),
}  # fmt: skip

CASES = {**STATES, **IN_PLACE, **UPSTREAM, **DETACHED, **SECOND}
