"""What tells a correct gradient from a planted bug without the checker that is examined: more digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base import Array, Bug

REACH, LOOKED_AT = 2.0**-9, 16
DIGITS = 1e-9
"""How exact a correct gradient must be, relative to each of its elements, and how wrong a bug at least is."""


SCALES = (3.0, 0.7, 11.0, 0.3, 1.9)
"""What upstream gradients are multiplied by: how the result depends on it shows the rounding of a backward pass."""


def upstream_of(y: Any) -> Any:
    """Return a gradient of a result of that shape, no two elements of which are the same; 1.0 for a number."""
    shape = np.shape(y)
    return (
        np.random.default_rng(7).uniform(0.5, 1.5, shape) * (-1) ** np.arange(np.size(y)).reshape(shape)
        if shape
        else 1.0
    )


def listed(found: Any) -> list[Array]:
    return [np.array(a) for a in (found if isinstance(found, tuple) else (found,))]


def moved_by(share: float, a: Array, rng: np.random.Generator) -> Array:
    """Return a point near a, by a share of each element, or of 1 where that is less or zero."""
    return a + share * np.where(a == 0, 1, np.minimum(np.abs(a), 1)) * rng.uniform(-1, 1, a.shape)


def differentiate(f: Callable[..., Any], inputs: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Return for each input the derivatives of the result, contracted, and the error that they may have.

    They come from central differences of sixth order with two steps, in 19 digits where f computes with those.
    """
    g = upstream_of(f(*[a.copy() for a in inputs]))
    try:
        wide = [a.astype(np.longdouble) for a in inputs]
        f(*[a.copy() for a in wide])
    except TypeError:
        wide = [a.copy() for a in inputs]

    def moved(i: int, at: tuple[int, ...], t: Any) -> Array:
        xs = [a.copy() for a in wide]
        xs[i][at] += t
        return np.asarray(f(*xs))

    def slope(i: int, at: tuple[int, ...]) -> tuple[Any, Any]:
        """Return the slope by that step whose error is least; no step is lost in the rounding of x."""
        x, eps, found = abs(wide[i][at]), np.finfo(wide[i].dtype).eps, [(np.inf, 0)]
        for size in {x, min(x, 1), min(x, 1) / 64, max(x, 1) if x > 1e-3 or not x else x} - {0}:
            rows, h = [], REACH * size
            for step in (h, h / 2):
                ends = [(moved(i, at, k * step), moved(i, at, -k * step)) for k in (1, 2, 3)]
                d = [up - down for up, down in ends]
                rows.append((g * (45 * d[0] - 9 * d[1] + d[2])).sum() / (60 * step))
            noise = 20 * eps * np.abs(g * np.where(d[2] == 0, 0, ends[2])).sum() / h
            if h > 1e6 * eps * x and np.isfinite(rows[0] + noise):
                found.append((abs(rows[1] - rows[0]) + noise, rows[1]))
        return min(found)[::-1]

    rng, out = np.random.default_rng(2), []
    for i, a in enumerate(wide):
        value, error = np.zeros(a.shape, a.dtype), np.full(a.shape, np.inf, a.dtype)
        for k in np.arange(a.size) if a.size <= LOOKED_AT else rng.choice(a.size, LOOKED_AT):
            at = np.unravel_index(k, a.shape)
            value[at], error[at] = slope(i, at)
        out.append((value, error))
    return out


def differs(a: Sequence[Array], b: Sequence[Array], digits: float = DIGITS) -> bool:
    """Return whether any element of two lists of gradients differs by more than that, relative to itself."""
    if any(x.shape != y.shape or x.dtype != y.dtype for x, y in zip(a, b, strict=True)):
        return True
    return any((~(np.abs(x - y) <= digits * np.maximum(np.abs(x), np.abs(y)))).any() for x, y in zip(a, b, strict=True))


def how_right(correct: Bug) -> str:
    """Return "" for a correct gradient, else where it is wrong.

    Where differences at x do not confirm it, x must be on a kink: the gradient is confirmed at points nearby, and at x
    each element is one of those very near, or between them.
    """
    _, gradient, inputs = correct.start()
    f = correct.exact or correct.f
    g, rng = upstream_of(f(*[a.copy() for a in inputs])), np.random.default_rng(5)

    def confirmed(xs: Sequence[Array]) -> bool:
        found, others = listed(gradient(g, *xs)), [listed(gradient(c * g, *xs)) for c in SCALES]
        for a, (v, e), *bs in zip(found, differentiate(f, xs), *others, strict=True):
            rounding = max(np.abs(b / c - a).max() for b, c in zip(bs, SCALES, strict=True))
            if not (np.abs(a - v) <= DIGITS * np.maximum(np.abs(a), np.abs(v)) + 10 * (e + rounding)).all():
                return False
        return True

    if confirmed(inputs):
        return ""
    if not all(confirmed([moved_by(0.02, a, rng) for a in inputs]) for _ in range(5)):
        return "nearby"
    near = [listed(gradient(g, *[moved_by(1e-9, a, rng) for a in inputs])) for _ in range(200)]
    for a, *others in zip(listed(gradient(g, *inputs)), *near, strict=True):
        low, high = np.min(others, axis=0), np.max(others, axis=0)
        room = 1e-6 * np.maximum(np.abs(low), np.abs(high))
        if not ((low - room <= a) & (a <= high + room)).all():
            return "at a kink"
    return ""


def how_wrong(bug: Bug, correct: Bug) -> str:
    """Return how a bug shows itself: "at x", "nearby", "as a law" that backward passes obey, or "" if not at all."""
    f, gradient, inputs = bug.start()
    _, right, _ = correct.start()
    g = upstream_of(f(*[a.copy() for a in inputs]))

    def both(g: Any, xs: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        return listed(gradient(np.copy(g)[()], *[a.copy() for a in xs])), listed(right(np.copy(g)[()], *xs))

    if differs(*both(g, inputs)):
        return "at x"
    given, handed = np.array(g), [a.copy() for a in inputs]
    gradient(given if given.ndim else 1.0, *handed)
    if any(not np.array_equal(a, b) for a, b in zip([given, *handed], [g, *inputs], strict=True)):
        return "as a law"
    if any(differs(*both(c * g, inputs)) for c in (1.0, -2.0, 300.0, 1e-3)):
        return "as a law"
    rng = np.random.default_rng(3)
    near = [[moved_by(0.02, a, rng) for a in inputs] for _ in range(40)]
    return "nearby" if any(differs(*both(g, xs)) for xs in near) else ""
