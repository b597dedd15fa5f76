"""Terms of the product, quotient and chain rule that are left out, wrong formulas, and slips in one branch of two."""

from __future__ import annotations

import numpy as np

from .base import Array, Case, apart, normal, positive, sigmoid, softmax

A4, P4 = normal(4), positive(4)
A33 = normal(3, 3, seed=1)


def gelu_back(g: Array, x: Array, cubic: float = 3.0, tail: float = 1.0) -> Array:
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return g * (0.5 * (1 + t) + tail * 0.5 * x * (1 - t * t) * c * (1 + cubic * 0.044715 * x * x))


def mish_back(g: Array, x: Array, inner: float = 1.0) -> Array:
    t = np.tanh(np.log1p(np.exp(x)))
    return g * (t + x * (1 - t * t) * (sigmoid(x) if inner else 1.0))


def logistic(x: Array, steps: int = 3) -> list[Array]:
    """Return the orbit of the logistic map."""
    orbit = [x]
    for _ in range(steps):
        orbit.append(3.2 * orbit[-1] * (1 - orbit[-1]))
    return orbit


def orbit_back(g: Array, x: Array, seen: slice = slice(0, 3)) -> Array:
    return g * np.prod([3.2 * (1 - 2 * a) for a in logistic(x)[seen]], axis=0)


def cosine(x: Array, y: Array) -> Array:
    return x @ y / np.sqrt((x @ x) * (y @ y))


def cosine_back(g: Array, x: Array, y: Array, project: float = 1.0) -> tuple[Array, Array]:
    n, c = np.sqrt((x @ x) * (y @ y)), cosine(x, y)
    return g * (y / n - project * c * x / (x @ x)), g * (x / n - c * y / (y @ y))


def unit_back(g: Array, x: Array, project: float = 1.0) -> Array:
    n = np.sqrt(x @ x)
    return (g - project * x * (g @ x) / n**2) / n


def pooled_back(g: Array, x: Array, own: float = 1.0) -> Array:
    p = softmax(x)
    return g * (own * p + p * (x - (p * x).sum()))


TERMS = {
    "x exp(-x)": Case(
        lambda x: x * np.exp(-x), lambda g, x: g * (1 - x) * np.exp(-x), [A4],
        {"missing term: of the factor exp(-x)": lambda g, x: g * np.exp(-x)},
    ),
    "sin(x) / x": Case(
        lambda x: np.sin(x) / x, lambda g, x: g * (np.cos(x) / x - np.sin(x) / x**2), [P4],
        {"missing term: second of the quotient": lambda g, x: g * np.cos(x) / x},
    ),
    "log(x) / x**2": Case(
        lambda x: np.log(x) / x**2, lambda g, x: g * (1 - 2 * np.log(x)) / x**3, [P4],
        {"missing term: of the denominator": lambda g, x: g / x**3},
    ),
    "x**x": Case(
        lambda x: x**x, lambda g, x: g * x**x * (np.log(x) + 1), [P4],
        {"missing term: x as an exponent": lambda g, x: g * x * x ** (x - 1)},
    ),
    "xy + yz + zx": Case(
        lambda x, y, z: x * y + y * z + z * x, lambda g, x, y, z: (g * (y + z), g * (x + z), g * (x + y)),
        [normal(3, seed=k) for k in (2, 3, 4)],
        {"missing term: one use of z": lambda g, x, y, z: (g * (y + z), g * (x + z), g * x)},
    ),
    "tanh(x) sigmoid(x)": Case(
        lambda x: np.tanh(x) * sigmoid(x),
        lambda g, x: g * sigmoid(x) * ((1 - np.tanh(x) ** 2) + np.tanh(x) * (1 - sigmoid(x))), [A4],
        {"missing term: of the gate": lambda g, x: g * sigmoid(x) * (1 - np.tanh(x) ** 2)},
    ),
    "sum of x times sum of squares": Case(
        lambda x: x.sum() * (x * x).sum(), lambda g, x: g * ((x * x).sum() + 2 * x * x.sum()), [A4],
        {"missing term: of the other sum": lambda g, x: 2 * g * x * x.sum()},
    ),
    "x sigmoid(x)": Case(
        lambda x: x * sigmoid(x), lambda g, x: g * sigmoid(x) * (1 + x * (1 - sigmoid(x))), [A4],
        {"missing term: x for 1 in swish'": lambda g, x: g * sigmoid(x) * (x * (1 - sigmoid(x)))},
    ),
    "softmax pooling": Case(
        lambda x: (softmax(x) * x).sum(), pooled_back, [A4],
        {"missing term: of the pooled values": lambda g, x: pooled_back(g, x, own=0.0)},
    ),
    "gelu": Case(
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), gelu_back, [A4],
        {
            "missing term: tail of gelu": lambda g, x: gelu_back(g, x, tail=0.0),
            "chain rule: 3 of the cube in gelu": lambda g, x: gelu_back(g, x, cubic=1.0),
        },
    ),
    "cosine similarity": Case(
        cosine, cosine_back, [A4, normal(4, seed=5)],
        {"missing term: norm of x taken for a constant": lambda g, x, y: cosine_back(g, x, y, project=0.0)},
    ),
    "x / |x|": Case(
        lambda x: x / np.sqrt(x @ x), unit_back, [A4],
        {"missing term: projection of a unit vector": lambda g, x: unit_back(g, x, project=0.0)},
    ),
    "entropy": Case(
        lambda p: -(p * np.log(p)).sum(), lambda g, p: -g * (np.log(p) + 1), [positive(4) / 5],
        {"missing term: 1 beside log p": lambda g, p: -g * np.log(p)},
    ),
    "logistic map": Case(
        lambda x: logistic(x)[-1], orbit_back, [positive(3) / 3],
        {"missing term: first step of an orbit": lambda g, x: orbit_back(g, x, slice(1, 3))},
    ),
}  # fmt: skip

CHAINS = {
    "exp(sin x)": Case(
        lambda x: np.exp(np.sin(x)), lambda g, x: g * np.exp(np.sin(x)) * np.cos(x), [A4],
        {"chain rule: exp passes its value alone": lambda g, x: g * np.exp(np.sin(x))},
    ),
    "sin(x * x)": Case(
        lambda x: np.sin(x * x), lambda g, x: 2 * g * x * np.cos(x * x), [A4],
        {"chain rule: cos at x, not at x * x": lambda g, x: 2 * g * x * np.cos(x)},
    ),
    "tanh(tanh(x))": Case(
        lambda x: np.tanh(np.tanh(x)),
        lambda g, x: g * (1 - np.tanh(np.tanh(x)) ** 2) * (1 - np.tanh(x) ** 2), [A4],
        {"chain rule: both slopes of the inner tanh": lambda g, x: g * (1 - np.tanh(x) ** 2) ** 2},
    ),
    "sqrt(1 + x * x)": Case(
        lambda x: np.sqrt(1 + x * x), lambda g, x: g * x / np.sqrt(1 + x * x), [A4],
        {"chain rule: 1 / 2 sqrt, and no more": lambda g, x: g / (2 * np.sqrt(1 + x * x))},
    ),
    "mish": Case(
        lambda x: x * np.tanh(np.log1p(np.exp(x))), mish_back, [A4],
        {"chain rule: softplus' in mish": lambda g, x: mish_back(g, x, inner=0.0)},
    ),
    "gaussian of x and width": Case(
        lambda x, s: np.exp(-(x**2) / (2 * s**2)),
        lambda g, x, s: (-g * x / s**2 * np.exp(-(x**2) / (2 * s**2)), g * x**2 / s**3 * np.exp(-(x**2) / (2 * s**2))),
        [A4, P4],
        {
            "chain rule: width squared, not cubed": lambda g, x, s: (
                -g * x / s**2 * np.exp(-(x**2) / (2 * s**2)), g * x**2 / s**2 * np.exp(-(x**2) / (2 * s**2)),
            ),
        },
    ),
    "log(log(x))": Case(
        lambda x: np.log(np.log(x)), lambda g, x: g / (x * np.log(x)), [1 + P4],
        {"chain rule: inner logarithm": lambda g, x: g / np.log(x)},
    ),
    "exp(a x) sin(b x)": Case(
        lambda x, a, b: np.exp(a * x) * np.sin(b * x),
        lambda g, x, a, b: (
            g * np.exp(a * x) * (a * np.sin(b * x) + b * np.cos(b * x)),
            g * x * np.exp(a * x) * np.sin(b * x), g * x * np.exp(a * x) * np.cos(b * x),
        ),
        [P4, normal(4, seed=6), normal(4, seed=7)],
        {
            "wrong input: a's gradient takes a for x": lambda g, x, a, b: (
                g * np.exp(a * x) * (a * np.sin(b * x) + b * np.cos(b * x)),
                g * a * np.exp(a * x) * np.sin(b * x), g * x * np.exp(a * x) * np.cos(b * x),
            ),
            "wrong input: frequency and rate swapped": lambda g, x, a, b: (
                g * np.exp(a * x) * (b * np.sin(b * x) + a * np.cos(b * x)),
                g * x * np.exp(a * x) * np.sin(b * x), g * x * np.exp(a * x) * np.cos(b * x),
            ),
        },
    ),
}  # fmt: skip

FORMULAS = {
    "arcsin": Case(
        np.arcsin, lambda g, x: g / np.sqrt(1 - x * x), [positive(4) / 2.5],
        {"wrong formula: arcsin' without its root": lambda g, x: g / (1 - x * x)},
    ),
    "arctan": Case(
        np.arctan, lambda g, x: g / (1 + x * x), [A4],
        {"wrong formula: arctanh' of arctan": lambda g, x: g / (1 - x * x)}
    ),
    "cosh": Case(np.cosh, lambda g, x: g * np.sinh(x), [A4],
        {"wrong formula: -sinh, as of cos": lambda g, x: -g * np.sinh(x)}),
    "cbrt": Case(
        np.cbrt, lambda g, x: g / (3 * np.cbrt(x) ** 2), [P4],
        {"wrong formula: cube root divided by its cube": lambda g, x: g / (3 * np.cbrt(x) ** 3)},
    ),
    "expm1": Case(
        np.expm1, lambda g, x: g * np.exp(x), [A4],
        {"wrong formula: expm1 is its own derivative": lambda g, x: g * np.expm1(x)}
    ),
    "log1p": Case(np.log1p, lambda g, x: g / (1 + x), [P4], {"wrong formula: log1p' = 1 / x": lambda g, x: g / x}),
    "2**x": Case(
        np.exp2, lambda g, x: g * np.exp2(x) * np.log(2), [A4],
        {"wrong formula: 2**x without log 2": lambda g, x: g * np.exp2(x)}
    ),
    "hypot": Case(
        np.hypot, lambda g, x, y: (g * x / np.hypot(x, y), g * y / np.hypot(x, y)), [A4, P4],
        {"wrong input: hypot's gradients swapped": lambda g, x, y: (g * y / np.hypot(x, y), g * x / np.hypot(x, y))},
    ),
    "arctan2": Case(
        np.arctan2, lambda g, y, x: (g * x / (x * x + y * y), -g * y / (x * x + y * y)), [A4, P4],
        {"wrong formula: minus of arctan2": lambda g, y, x: (g * x / (x * x + y * y), g * y / (x * x + y * y))},
    ),
    "logaddexp": Case(
        np.logaddexp, lambda g, x, y: (g * sigmoid(x - y), g * sigmoid(y - x)), [A4, P4],
        {"wrong input: weights of logaddexp swapped": lambda g, x, y: (g * sigmoid(y - x), g * sigmoid(x - y))},
    ),
    "3-norm": Case(
        lambda x: (np.abs(x) ** 3).sum() ** (1 / 3),
        lambda g, x: g * x * np.abs(x) * (np.abs(x) ** 3).sum() ** (-2 / 3), [apart(5)],
        {"wrong formula: x**2 for x |x|": lambda g, x: g * x**2 * (np.abs(x) ** 3).sum() ** (-2 / 3)},
    ),
    "geometric mean": Case(
        lambda x: np.exp(np.log(x).mean()), lambda g, x: g * np.exp(np.log(x).mean()) / (x * x.size), [positive(5)],
        {"wrong formula: of the arithmetic mean": lambda g, x: g * np.ones_like(x) / x.size},
    ),
    "harmonic mean": Case(
        lambda x: x.size / (1 / x).sum(), lambda g, x: g * x.size / (x * (1 / x).sum()) ** 2, [positive(5)],
        {"wrong formula: square of the sum missing": lambda g, x: g * x.size / (x**2 * (1 / x).sum())},
    ),
}  # fmt: skip

BRANCHES = {
    "elu": Case(
        lambda x: np.where(x > 0, x, np.expm1(x)), lambda g, x: g * np.where(x > 0, 1, np.exp(x)), [apart(6)],
        {"one branch: elu's value for its slope": lambda g, x: g * np.where(x > 0, 1, np.expm1(x))},
    ),
    "selu": Case(
        lambda x: 1.0507 * np.where(x > 0, x, 1.6733 * np.expm1(x)),
        lambda g, x: 1.0507 * g * np.where(x > 0, 1, 1.6733 * np.exp(x)), [apart(6, seed=1)],
        {"one branch: selu's scale where positive alone": lambda g, x: g * np.where(x > 0, 1.0507, 1.6733 * np.exp(x))},
    ),
    "huber": Case(
        lambda x: np.where(np.abs(x) < 0.7, x * x / 2, 0.7 * (np.abs(x) - 0.35)).sum(),
        lambda g, x: g * np.clip(x, -0.7, 0.7), [apart(6, seed=2)],
        {"one branch: sign for delta * sign": lambda g, x: g * np.where(np.abs(x) < 0.7, x, np.sign(x))},
    ),
    "hard swish": Case(
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda g, x: g * np.where(np.abs(x) < 3, (2 * x + 3) / 6, x > 0), [3.3 * apart(6, seed=3)],
        {"one branch: clipped part as a constant": lambda g, x: g * np.clip(x + 3, 0, 6) / 6},
    ),
    "|x|**1.5": Case(
        lambda x: np.abs(x) ** 1.5, lambda g, x: 1.5 * g * np.sign(x) * np.sqrt(np.abs(x)), [apart(6, seed=4)],
        {"one branch: sign of the negative ones": lambda g, x: 1.5 * g * np.sqrt(np.abs(x))},
    ),
    "prelu": Case(
        lambda x, a: np.where(x > 0, x, a * x),
        lambda g, x, a: (g * np.where(x > 0, 1, a), (g * np.where(x > 0, 0, x)).sum(axis=0)),
        [apart(3, 2), positive(2)],
        {"one branch: slope learns where x is positive too":
            lambda g, x, a: (g * np.where(x > 0, 1, a), (g * x).sum(axis=0))},
    ),
    "x mod y": Case(
        np.mod, lambda g, x, y: (g, -g * np.floor(x / y)), [5 * apart(4) + 0.1, P4 + 0.5],
        {"one branch: truncated, not floored": lambda g, x, y: (g, -g * np.trunc(x / y))},
    ),
    "pinball loss": Case(
        lambda x: np.maximum(0.9 * x, -0.1 * x).sum(), lambda g, x: g * np.where(x > 0, 0.9, -0.1), [apart(6, seed=5)],
        {"one branch: 1 - q with the wrong sign": lambda g, x: g * np.where(x > 0, 0.9, 0.1)},
    ),
    "soft threshold": Case(
        lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), lambda g, x: g * (np.abs(x) > 0.5), [apart(7, seed=6)],
        {"one branch: positive side alone": lambda g, x: g * (x > 0.5)},
    ),
    "log cosh by branches": Case(
        lambda x: np.where(x > 0, x, -x) + np.log1p(np.exp(-2 * np.abs(x))), lambda g, x: g * np.tanh(x),
            [apart(6, seed=7)],
        {"one branch: tanh(|x|)": lambda g, x: g * np.tanh(np.abs(x))},
    ),
}  # fmt: skip

CASES = {**TERMS, **CHAINS, **FORMULAS, **BRANCHES}
