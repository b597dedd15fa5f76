"""Ties and kinks, what hides at them, and gradients that are right where they are checked and wrong nearby."""

from __future__ import annotations

import numpy as np

from .base import Array, Case, normal, positive, put

TIED = np.array([[1.0, 2.0, 2.0], [0.5, 0.5, 0.5], [3.0, 1.0, 3.0]])
LEFT, RIGHT = np.array([1.0, -0.5, 2.0, 0.3]), np.array([1.0, -0.5, 1.0, 0.7])
HALVES, X4, P4 = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), normal(4), positive(4)
ONES = np.ones(4)


def maximum_back(g: Array, x: Array, y: Array, tie: tuple[float, float] = (0.5, 0.5)) -> tuple[Array, Array]:
    equal = x == y
    return g * ((x > y) + tie[0] * equal), g * ((x < y) + tie[1] * equal)


def minimum_back(g: Array, x: Array, y: Array, tie: tuple[float, float] = (0.5, 0.5)) -> tuple[Array, Array]:
    return maximum_back(g, -x, -y, tie)


def max_back(g: Array, x: Array, share: str = "equal") -> Array:
    top = x == x.max(axis=1, keepdims=True)
    counts = top.sum(axis=1, keepdims=True)
    return g[:, None] * top * {"equal": 1 / counts, "each": 1.0, "nobody": 1.0 * (counts == 1)}[share]


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def sorted_back(g: Array, x: Array, times: float = 1.0) -> Array:
    tied = np.array([(x == a).sum() > 1 for a in x])
    return put(x, np.argsort(x, kind="stable"), g) * np.where(tied, times, 1)


def hat(x: Array) -> Array:
    return np.maximum(1 - np.abs(x), 0)


def hat_back(g: Array, x: Array, top: float = 0.0) -> Array:
    return g * np.where(x == 0, top, -np.sign(x)) * (np.abs(x) < 1)


def both_kinks(x: Array, y: Array) -> Array:
    return np.clip(np.maximum(x, y), -1, 1)


def both_kinks_back(g: Array, x: Array, y: Array, outside: float = 0.0) -> tuple[Array, Array]:
    z = np.maximum(x, y)
    return maximum_back(g * np.where(np.abs(z) <= 1, 1, outside), x, y)


def nearly(x: Array, right: Array, wrong: Array, where: Array) -> Array:
    """Return the right gradient where x is one of those values, else the wrong one."""
    return np.where(np.isin(x, where), right, wrong)


TIES = {
    "maximum with ties": Case(
        np.maximum, maximum_back, [LEFT, RIGHT],
        {
            "tie: 1 to both of maximum": lambda g, x, y: maximum_back(g, x, y, (1, 1)),
            "tie: 0 to both of maximum": lambda g, x, y: maximum_back(g, x, y, (0, 0)),
            "tie: 0.5 and 1 of maximum": lambda g, x, y: maximum_back(g, x, y, (0.5, 1)),
        },
    ),
    "minimum with ties": Case(
        np.minimum, minimum_back, [LEFT, RIGHT],
        {
            "tie: 1 to both of minimum": lambda g, x, y: minimum_back(g, x, y, (1, 1)),
            "tie: 0 to both of minimum": lambda g, x, y: minimum_back(g, x, y, (0, 0)),
        },
    ),
    "maxima of rows": Case(
        lambda x: x.max(axis=1), max_back, [TIED],
        {"tie: 1 to each of a row": lambda g, x: max_back(g, x, "each"),
            "tie: 0 to all of a row": lambda g, x: max_back(g, x, "nobody")},
    ),
    "largest of a tie, squared": Case(
        lambda x: (x.max(axis=1) ** 2).sum(), lambda g, x: max_back(2 * x.max(axis=1), x), [TIED],
        {"tie: counts of the whole, not of the row": lambda g, x: 2 * x.max(axis=1, keepdims=True) * (
            x == x.max(axis=1, keepdims=True)) / (x == x.max(axis=1, keepdims=True)).sum()},
    ),
    "sorted ties": Case(
        np.sort, sorted_back, [np.array([0.5, 2.0, 0.5, 1.0])],
        {"tie: sorted ones doubled": lambda g, x: sorted_back(g, x, 2.0),
            "tie: sorted ones without": lambda g, x: sorted_back(g, x, 0.0)},
    ),
    "range": Case(
        lambda x: np.ptp(x), lambda g, x: g
            * ((x == x.max()) / (x == x.max()).sum() - (x == x.min()) / (x == x.min()).sum()),
        [np.array([1.0, 3.0, 3.0, 1.0, 2.0])],
        {"tie: ends of a range counted twice": lambda g, x: g * (1.0 * (x == x.max()) - (x == x.min()))},
    ),
    "distance of two": Case(
        lambda x, y: np.abs(x - y).sum(), lambda g, x, y: (g * np.sign(x - y), g * np.sign(y - x)), [LEFT, RIGHT],
        {"tie: +1 to both of |x - y|": lambda g, x, y: (
            g * np.where(x == y, 1, np.sign(x - y)), g * np.where(x == y, 1, np.sign(y - x)))},
    ),
}  # fmt: skip

KINKED = {
    "relu and more at 0": Case(
        lambda x: relu(x) + np.sin(x), lambda g, x: g * ((x > 0) + np.cos(x)), [HALVES],
        {
            "hidden by a kink: smooth part missing at 0":
            lambda g, x: g * ((x > 0) + np.where(x == 0, -0.3, np.cos(x))),
            "hidden by a kink: smooth part 1 % off at 0":
            lambda g, x: g * ((x > 0) + np.where(x == 0, 0.99, np.cos(x))),
        },
    ),
    "relu beside a smooth input": Case(
        lambda x, y: (relu(x) + x * y).sum(), lambda g, x, y: (g * ((x > 0) + y), g * x), [np.zeros(3), normal(3)],
        {"hidden by a kink: factor of another input":
            lambda g, x, y: (g * ((x > 0) + 1.3 * y + 0.2 * np.sign(y)), g * x)},
    ),
    "hat": Case(
        hat, hat_back, [np.array([0.0, 0.4, -0.7, 1.6])],
        {"hidden by a kink: slope 1.5 at the top of a hat": lambda g, x: hat_back(g, x, 1.5)},
    ),
    "two kinks at once": Case(
        both_kinks, both_kinks_back, [np.array([1.0, 0.4, -0.2]), np.array([1.0, 0.6, -1.4])],
        {"hidden by a kink: 2 where two meet": lambda g, x, y: tuple(
            np.where(x == y, 2 * a + g, a) for a in both_kinks_back(g, x, y))},
    ),
    "relu squared at 0": Case(
        lambda x: relu(x) ** 2, lambda g, x: 2 * g * relu(x), [HALVES],
        {"hidden by a kink: 1 at a smooth joint": lambda g, x: g * np.where(x == 0, 1, 2 * relu(x))},
    ),
    "x |x|": Case(
        lambda x: x * np.abs(x), lambda g, x: 2 * g * np.abs(x), [HALVES],
        {"hidden by a kink: 0.1 at 0 of x |x|": lambda g, x: g * np.where(x == 0, 0.1, 2 * np.abs(x))},
    ),
    "elu at 0": Case(
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda g, x: g * np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
        [HALVES], {"hidden by a kink: 0 at the joint of elu":
            lambda g, x: g * np.where(x > 0, 1, np.exp(x)) * (x != 0)},
    ),
    "kink at 1e-3": Case(
        lambda x: relu(x - 1e-3), lambda g, x: g * (x > 1e-3), [np.array([2e-3, 0.0, 0.5, -1.0])],
        {"hidden by a kink: half a slope 1e-3 from it": lambda g, x: g * np.where(np.abs(x) < 3e-3, 0.5, x > 1e-3)},
    ),
    "kink at 1e-5": Case(
        lambda x: 3 * np.abs(x), lambda g, x: 3 * g * np.sign(x), [np.array([1e-5, -1e-5, 0.5, -1.0])],
        {"hidden by a kink: signs 1e-5 from it": lambda g, x: 3 * g * np.where(np.abs(x) < 1e-4, -1, 1) * np.sign(x)},
    ),
    "hinge squared": Case(
        lambda x: (relu(1 - x) ** 2).sum(), lambda g, x: -2 * g * relu(1 - x), [np.array([1.0, 0.5, 1.0, 2.0])],
        {"hidden by a kink: -2 at the joint of a hinge": lambda g, x: -2 * g * np.where(x == 1, 1, relu(1 - x))},
    ),
    "leaky at 0": Case(
        lambda x: np.where(x > 0, x, 0.2 * x), lambda g, x: g * np.where(x > 0, 1, 0.2), [HALVES],
        {"hidden by a kink: 0 below both slopes": lambda g, x: g * np.where(x > 0, 1, 0.2) * (x != 0)},
    ),
}  # fmt: skip

NEARBY = {
    "square at 1": Case(
        lambda x: (x * x).sum(), lambda g, x: 2 * g * x, [ONES],
        {
            "wrong nearby: 2 for 2 x at 1": lambda g, x: 2 * g * np.ones_like(x),
            "wrong nearby: 2 x x at 1": lambda g, x: 2 * g * x * x,
        },
    ),
    "product at ones": Case(
        np.prod, lambda g, x: g * x.prod() / x, [ONES],
        {"wrong nearby: product at ones": lambda g, x: g * x.prod() * np.ones_like(x)}
    ),
    "matrix product of identities": Case(
        np.matmul, lambda g, a, b: (g @ b.T, a.T @ g), [np.eye(3), np.eye(3)],
        {"wrong nearby: transposes of an identity": lambda g, a, b: (g @ b, a @ g)},
    ),
    "exp at 0": Case(
        np.exp, lambda g, x: g * np.exp(x), [np.zeros(4)],
        {"wrong nearby: 1 + x for exp at 0": lambda g, x: g * (1 + x)}
    ),
    "cubic at 0": Case(
        lambda x: x + x**3, lambda g, x: g * (1 + 3 * x * x), [np.zeros(3)],
        {"wrong nearby: a cube at 0": lambda g, x: g * np.ones_like(x)},
    ),
    "scale of a norm at 1": Case(
        lambda x, s, b: s * (x - x.mean()) / x.std() + b,
        lambda g, x, s, b: (
            (g * s - (g * s).mean() - (x - x.mean()) / x.std() * (g * s * (x - x.mean()) / x.std()).mean()) / x.std(),
            g * (x - x.mean()) / x.std(), g),
        [X4, np.ones(4), np.zeros(4)],
        {"wrong nearby: scale of 1 left out": lambda g, x, s, b: (
            (g - g.mean() - (x - x.mean()) / x.std() * (g * (x - x.mean()) / x.std()).mean()) / x.std(),
            g * (x - x.mean()) / x.std(), g)},
    ),
    "equal inputs": Case(
        lambda x, y: x**2 * y, lambda g, x, y: (2 * g * x * y, g * x**2), [P4, P4.copy()],
        {"wrong nearby: x for y where they are equal": lambda g, x, y: (2 * g * x * x, g * x * y)},
    ),
    "symmetric input": Case(
        lambda a: a @ a, lambda g, a: g @ a.T + a.T @ g, [(normal(3, 3) + normal(3, 3).T) / 2],
        {"wrong nearby: transposes of a symmetric matrix": lambda g, a: g @ a + a @ g},
    ),
    "equal weights": Case(
        lambda x, w: (w * x).sum() / w.sum(),
        lambda g, x, w: (g * w / w.sum(), g * (x - (w * x).sum() / w.sum()) / w.sum()),
        [X4, np.full(4, 0.5)],
        {"wrong nearby: mean of equal weights": lambda g, x, w: (
            g * np.full(4, 0.25), g * (x - (w * x).sum() / w.sum()) / w.sum())},
    ),
    "only at these values": Case(
        np.sin, lambda g, x: g * np.cos(x), [HALVES],
        {"wrong nearby: right at multiples of 1/2 alone": lambda g, x: g * nearly(x, np.cos(x), 1 - x * x / 2, HALVES)},
    ),
}  # fmt: skip

CASES = {**TIES, **KINKED, **NEARBY}
