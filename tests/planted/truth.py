"""What tells a correct gradient from a planted bug without the checker that is examined: more digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base import Array, Bug

REACH = 2.0**-9
DIGITS = 1e-9
"""How exact a correct gradient must be, relative to each of its elements, and how wrong a bug at least is."""


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
        x, found, size = min(abs(wide[i][at]), 1) or 1, [], 0.0
        for h in (REACH * x, REACH * x / 2):
            d = [moved(i, at, k * h) - moved(i, at, -k * h) for k in (1, 2, 3)]
            found.append((g * (45 * d[0] - 9 * d[1] + d[2])).sum() / (60 * h))
            size = np.abs(g * d[2]).sum()
        return found[1], abs(found[1] - found[0]) + 20 * np.finfo(wide[i].dtype).eps * size / (REACH * x)

    out = []
    for i, a in enumerate(wide):
        pairs = np.array([slope(i, at) for at in np.ndindex(a.shape)])
        out.append((pairs[:, 0].reshape(a.shape), pairs[:, 1].reshape(a.shape)))
    return out


def differs(a: Sequence[Array], b: Sequence[Array], digits: float = DIGITS) -> bool:
    """Return whether any element of two lists of gradients differs by more than that, relative to itself."""
    if any(x.shape != y.shape or x.dtype != y.dtype for x, y in zip(a, b, strict=True)):
        return True
    return any((~(np.abs(x - y) <= digits * np.maximum(np.abs(x), np.abs(y)))).any() for x, y in zip(a, b, strict=True))


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
    near = [[a * (1 + 0.05 * rng.uniform(-1, 1, a.shape)) for a in inputs] for _ in range(40)]
    return "nearby" if any(differs(*both(g, xs)) for xs in near) else ""
