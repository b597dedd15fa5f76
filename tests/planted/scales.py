"""Very large and very small numbers, errors in the last digits, one wrong element of many, float32, large offsets."""

from __future__ import annotations

import numpy as np

from .base import Array, Case, at, changed, normal, positive, sigmoid, softmax, times

X4, P4 = normal(4), positive(4)
MANY, FEW = normal(4000, seed=1), normal(60, seed=2)
SPREAD = 10.0 ** -np.arange(0, 13, 2)
W7 = normal(7, seed=3)
HILBERT = 1 / (np.arange(5)[:, None] + np.arange(5) + 1.0)


def stable_norm(x: Array) -> Array:
    size = np.abs(x).max()
    return size * np.sqrt(((x / size) ** 2).sum())


def norm_back(g: Array, x: Array) -> Array:
    return g * x / stable_norm(x)


def single(gradient: object) -> object:
    """Return a gradient that is computed in float32, and float64 again in the end."""

    def rounded(g: Array, *xs: Array) -> Array:
        found = gradient(np.float32(g), *(x.astype(np.float32) for x in xs))
        return tuple(a.astype(float) for a in found) if isinstance(found, tuple) else found.astype(float)

    return rounded


def scaled_sin(scale: float) -> tuple[object, object]:
    return lambda x: scale * np.sin(x), lambda g, x: scale * g * np.cos(x)


def quartic_back(g: Array, x: Array) -> Array:
    return 4 * g * x**3


def lse(x: Array) -> Array:
    return x.max() + np.log(np.exp(x - x.max()).sum())


def weighted(x: Array) -> Array:
    return (SPREAD * np.sin(x)).sum()


def weighted_back(g: Array, x: Array) -> Array:
    return g * SPREAD * np.cos(x)


def offset_sin(y: Array, offset: float = 1e6, size: float = 1e-8) -> Array:
    return offset + size * np.sin(y)


def two_rates(x: Array) -> Array:
    return np.sin(x).sum() + 1e-9 * np.sin(1e4 * x).sum()


def two_rates_back(g: Array, x: Array, slow: float = 1.0, fast: float = 1.0) -> Array:
    return g * (slow * np.cos(x) + fast * 1e-5 * np.cos(1e4 * x))


def layers(x: Array, w: Array) -> Array:
    return np.tanh(x @ w)


def layers_back(g: Array, x: Array, w: Array) -> tuple[Array, Array]:
    d = g * (1 - np.tanh(x @ w) ** 2)
    return d @ w.T, x.T @ d


LARGE = {
    "sin near 1e160": Case(
        *scaled_sin(1e160), [X4],
        {
            "overflow: gradient zero of values near 1e160": lambda g, x: 0 * x,
            "overflow: sign of values near 1e160": lambda g, x: -1e160 * g * np.cos(x),
            "overflow: factor 1.001 near 1e160": lambda g, x: 1.001e160 * g * np.cos(x),
        },
    ),
    "norm near 1e200": Case(
        stable_norm, norm_back, [1e200 * X4],
        {
            "overflow: a norm whose square is infinite": lambda g, x: g * x / np.sqrt((x * x).sum()),
            "overflow: norm near 1e200, projection": lambda g, x: g * np.sign(x),
        },
    ),
    "mean near 1e300": Case(
        lambda x: x.mean(), lambda g, x: g * np.full_like(x, 0.25), [1e300 * P4],
        {"overflow: a mean of 1e300 by n - 1": lambda g, x: g * np.full_like(x, 1 / 3)},
    ),
    "exp(400 + x)": Case(
        lambda x: np.exp(400 + x).sum(), lambda g, x: g * np.exp(400 + x), [X4],
        {"overflow: exp(400 + x) as exp(400) x": lambda g, x: g * np.exp(400.0) * (1 + x)},
    ),
    "square near 1e100": Case(
        lambda x: x * x, lambda g, x: 2 * g * x, [1e100 * X4],
        {"overflow: square near 1e100 once": lambda g, x: g * x},
    ),
    "log of a product": Case(
        lambda x: np.log(x).sum(), lambda g, x: g / x, [1e200 * P4],
        {"overflow: log near 1e200, zero": lambda g, x: 0 * x},
    ),
    "logsumexp near 1000": Case(
        lse, lambda g, x: g * softmax(x), [1000 + 3 * X4],
        {"overflow: softmax without its maximum": lambda g, x: g * np.exp(x) / np.exp(x).sum()},
    ),
    "softplus near 800": Case(
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), lambda g, x: g * sigmoid(x), [800 + X4],
        {"overflow: exp(x) / (1 + exp(x))": lambda g, x: g * np.exp(x) / (1 + np.exp(x))},
    ),
}  # fmt: skip

TINY = {
    "sin near 1e-200": Case(
        *scaled_sin(1e-200), [X4],
        {
            "underflow: gradient zero of values near 1e-200": lambda g, x: 0 * x,
            "underflow: factor 2 near 1e-200": lambda g, x: 2e-200 * g * np.cos(x),
        },
    ),
    "norm near 1e-200": Case(
        stable_norm, norm_back, [1e-200 * X4],
        {"underflow: a norm whose square is zero, guarded": lambda g, x: g * x / np.sqrt((x * x).sum() + 1e-300)},
    ),
    "fourth power near 1e-5": Case(
        lambda x: (x**4).sum(), quartic_back, [1e-5 * P4], {"underflow: 1e-20 as if flat": lambda g, x: 0 * x}
    ),
    "fourth power near 1e-60": Case(
        lambda x: (x**4).sum(), quartic_back, [1e-60 * P4], {"underflow: 3 for 4 of 1e-240": times(quartic_back, 0.75)}
    ),
    "inputs near 1e-150": Case(
        lambda x: np.log(x).sum(), lambda g, x: g / x, [1e-150 * P4],
        {"underflow: 1e-12 in a denominator": lambda g, x: g / (x + 1e-12)},
    ),
    "sigmoid of -40": Case(
        sigmoid, lambda g, x: g * sigmoid(x) * sigmoid(-x), [X4 - 40],
        {"underflow: tail of a sigmoid cut off": lambda g, x: g * sigmoid(x) * sigmoid(-x) * (sigmoid(x) > 1e-16)},
    ),
    "1 - sigmoid of 40": Case(
        lambda x: 1 / (1 + np.exp(x)), lambda g, x: -g * sigmoid(x) * sigmoid(-x), [40 + X4],
        {"underflow: s (1 - s) with s rounded to 1": lambda g, x: -g * sigmoid(x) * (1 - sigmoid(x))},
    ),
    "floor of a probability": Case(
        lambda p: -np.log(p).sum(), lambda g, p: -g / p, [1e-9 * P4],
        {"underflow: probabilities floored at 1e-8": lambda g, p: -g / np.maximum(p, 1e-8)},
    ),
}  # fmt: skip

DIGITS = {
    "sin near 1e8": Case(
        *scaled_sin(1e8), [X4], {"last digits: 1 + 1e-7 near 1e8": times(scaled_sin(1e8)[1], 1 + 1e-7)}
    ),
    "sin near 1e-9": Case(
        *scaled_sin(1e-9), [X4],
        {
            "last digits: 1 + 1e-6 near 1e-9": times(scaled_sin(1e-9)[1], 1 + 1e-6),
            "last digits: 1 - 1e-7 near 1e-9": times(scaled_sin(1e-9)[1], 1 - 1e-7),
        },
    ),
    "mean of 4000": Case(
        lambda x: np.tanh(x).mean(), lambda g, x: g * (1 - np.tanh(x) ** 2) / x.size, [MANY],
        {"last digits: 4000 + 1e-4 elements": lambda g, x: g * (1 - np.tanh(x) ** 2) / (x.size + 1e-4)},
    ),
    "variance with a floor": Case(
        lambda x: np.sqrt(x.var()), lambda g, x: g * (x - x.mean()) / (x.size * np.sqrt(x.var())), [X4],
        {"last digits: 1e-7 under a root of the gradient": lambda g, x: g * (x - x.mean()) / (
            x.size * np.sqrt(x.var() + 1e-7))},
    ),
    "pi x": Case(
        lambda x: np.cos(np.pi * x), lambda g, x: -g * np.pi * np.sin(np.pi * x), [P4 / 3],
        {"last digits: pi is 3.1415926": lambda g, x: -3.1415926 * g * np.sin(np.pi * x)},
    ),
    "log2": Case(
        np.log2, lambda g, x: g / (x * np.log(2)), [P4],
        {"last digits: log 2 is 0.6931472": lambda g, x: g / (0.6931472 * x)}
    ),
    "normal density": Case(
        lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
        lambda g, x: -g * x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi), [X4],
        {"last digits: 0.39894 of the normal density": lambda g, x: -0.39894 * g * x * np.exp(-x * x / 2)},
    ),
    "60 elements": Case(
        lambda x: np.exp(x).sum(), lambda g, x: g * np.exp(x), [FEW],
        {
            "one element: of 60 wrong by 1e-7": changed(lambda g, x: g * np.exp(x), at(17, 1 + 1e-7)),
            "one element: of 60 with the wrong sign": changed(lambda g, x: g * np.exp(x), at(41, -1)),
        },
    ),
    "4000 elements": Case(
        lambda x: np.exp(x).sum(), lambda g, x: g * np.exp(x), [MANY],
        {
            "one element: of 4000 wrong by 1e-4": changed(lambda g, x: g * np.exp(x), at(1234, 1 + 1e-4)),
            "one element: of 4000 wrong by 1e-7": changed(lambda g, x: g * np.exp(x), at(3210, 1 + 1e-7)),
            "one element: of 4000 without a gradient": changed(lambda g, x: g * np.exp(x), at(77, 0)),
            "one element: last of 4000 doubled": changed(lambda g, x: g * np.exp(x), at(-1, 2)),
        },
    ),
    "seven sizes": Case(
        weighted, weighted_back, [W7],
        {
            "small elements: 1e-12 of the largest, sign": changed(weighted_back, at(6, -1)),
            "small elements: 1e-10 of the largest, doubled": changed(weighted_back, at(5, 2)),
            "small elements: 1e-4 of the largest, by 1e-6": changed(weighted_back, at(2, 1 + 1e-6)),
            "small elements: those below 1e-9 dropped": changed(weighted_back, lambda a: a * (np.abs(a) > 1e-9)),
        },
    ),
    "columns of many sizes": Case(
        layers, layers_back, [normal(3, 7), normal(7, 2) * SPREAD[:, None]],
        {"small elements: inputs of weights near 0": lambda g, x, w: (
            layers_back(g, x, w * (np.abs(w) > 1e-7))[0], layers_back(g, x, w)[1])},
    ),
    "results of many sizes": Case(
        lambda x: SPREAD * x**2, lambda g, x: 2 * g * SPREAD * x, [W7],
        {"small elements: of separate results, 1e-12 with the wrong sign": changed(
            lambda g, x: 2 * g * SPREAD * x, at(6, -1))},
    ),
}  # fmt: skip

SINGLE = {
    "tanh layer": Case(
        layers, layers_back, [normal(3, 4), normal(4, 2, seed=1)],
        {"float32: a layer's backward pass": single(layers_back)},
    ),
    "softmax entropy": Case(
        lambda x: (softmax(x) ** 2).sum(),
        lambda g, x: 2 * g * softmax(x) * (softmax(x) - (softmax(x) ** 2).sum()), [X4],
        {"float32: softmax kept in half the digits": lambda g, x: 2 * g * softmax(x) * (
            softmax(x).astype(np.float32).astype(float) - (softmax(x) ** 2).sum())},
    ),
    "sum of 4000": Case(
        lambda x, b: ((x + b) ** 2).sum(), lambda g, x, b: (2 * g * (x + b), 2 * g * (x + b).sum()),
            [MANY, np.array(0.3)],
        {"float32: sum of a bias":
            lambda g, x, b: (2 * g * (x + b), (2 * g * (x + b)).sum(dtype=np.float32).astype(float))},
    ),
    "arctan of a product": Case(
        lambda x, y: np.arctan(x * y), lambda g, x, y: (g * y / (1 + (x * y) ** 2), g * x / (1 + (x * y) ** 2)),
            [X4, P4],
        {"float32: gradients of that dtype": lambda g, x, y: (
            np.float32(g * y / (1 + (x * y) ** 2)), np.float32(g * x / (1 + (x * y) ** 2)))},
    ),
    "cube": Case(
        lambda x: x**3, lambda g, x: 3 * g * x * x, [X4],
        {"float32: half precision of the input": lambda g, x: 3 * g * x.astype(np.float16).astype(float) ** 2},
    ),
}  # fmt: skip

OFFSETS = {
    "1e6 + 1e-8 sin": Case(
        lambda y: offset_sin(y).sum(), lambda g, y: 1e-8 * g * np.cos(y), [X4],
        {"offset: sign of 1e-8 beside 1e6": lambda g, y: -1e-8 * g * np.cos(y),
            "offset: zero of 1e-8 beside 1e6": lambda g, y: 0 * y},
        lambda y: 1e-8 * np.sin(y).sum(),
    ),
    "1e6 + sin": Case(
        lambda y: offset_sin(y, 1e6, 1.0).sum(), lambda g, y: g * np.cos(y), [X4],
        {"offset: factor 1 + 1e-5 of sin beside 1e6": lambda g, y: (1 + 1e-5) * g * np.cos(y)},
    ),
    "1e10 + exp": Case(
        lambda x: 1e10 + np.exp(x), lambda g, x: g * np.exp(x), [X4],
        {"offset: 10 % of exp beside 1e10": lambda g, x: 1.1 * g * np.exp(x)}, np.exp,
    ),
    "(1e8 + sin) - 1e8": Case(
        lambda x: ((1e8 + np.sin(x)) - 1e8).sum(), lambda g, x: g * np.cos(x), [X4],
        {"offset: sign of what is left of a cancellation": lambda g, x: -g * np.cos(x)},
        lambda x: np.sin(x).sum(),
    ),
    "log(1 + exp(x)) near -30": Case(
        lambda x: np.log(1 + np.exp(x)).sum(), lambda g, x: g * sigmoid(x), [X4 - 30],
        {"offset: doubled where log(1 + e) has 3 digits": lambda g, x: 2 * g * sigmoid(x)},
        lambda x: np.log1p(np.exp(x)).sum(),
    ),
    "sin of two rates": Case(
        two_rates, two_rates_back, [X4],
        {
            "last digits: a ripple of 1e-5 left out": lambda g, x: two_rates_back(g, x, fast=0.0),
            "last digits: a ripple with the wrong sign": lambda g, x: two_rates_back(g, x, fast=-1.0),
            "offset: the slow part beside a ripple": lambda g, x: two_rates_back(g, x, slow=1.001),
        },
    ),
    "Hilbert solve": Case(
        lambda b: np.linalg.solve(HILBERT, b), lambda g, b: np.linalg.solve(HILBERT, g), [normal(5)],
        {"last digits: a ridge of 1e-9 in a Hilbert solve":
            lambda g, b: np.linalg.solve(HILBERT + 1e-9 * np.eye(5), g)},
    ),
    "cos of 1e5": Case(
        lambda x: np.cos(x).sum(), lambda g, x: -g * np.sin(x), [1e5 + X4],
        {"last digits: angles near 1e5 in float32": lambda g, x: -g * np.sin(x.astype(np.float32)).astype(float)},
    ),
}  # fmt: skip

CASES = {**LARGE, **TINY, **DIGITS, **SINGLE, **OFFSETS}
