"""Numeric derivatives that know how wrong they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
EPS = float(np.finfo(np.float64).eps)
STEPS = [2.0**-k for k in range(7, 14)]


class Slope(NamedTuple):
    """A derivative, for each element the error that it may have, and the size of what was differentiated."""

    value: Array
    error: Array
    size: float


def slope(f: Callable[[list[Array]], Array], point: Sequence[Array], direction: Sequence[Array]) -> Slope:
    """Return the derivative of a vector of results along a direction, by central differences of fourth order.

    ``(8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h`` for one step after the other, each half of the one before. What
    the result changes by as the step is halved before and after estimates its error, to which the rounding of ``f``
    is added; of each element the step of the least error is kept.

    >>> d = slope(lambda x: np.sin(x[0]), [np.array([1.0])], [np.array([1.0])])
    >>> bool(abs(d.value[0] - np.cos(1)) < 10 * d.error[0] < 1e-10)
    True
    """

    def at(step: float) -> Array:
        return np.asarray(f([np.asarray(p + step * d) for p, d in zip(point, direction, strict=True)]))

    fans = [(at(h), at(-h)) for h in STEPS]
    halves = [up - down for up, down in fans]
    size = max((float(np.nanmax(np.abs(v), initial=0.0)) for fan in fans for v in fan), default=0.0)
    rows = [(8 * near - far) / (12 * h) for far, near, h in zip(halves, halves[1:], STEPS[1:], strict=False)]
    slopes, changes = np.stack(rows[1:-1]), np.abs(np.diff(rows, axis=0))
    noise = 2 * EPS * size / np.reshape(STEPS[2:-1], (-1,) + (1,) * rows[0].ndim)
    errors = np.maximum(changes[:-1], changes[1:]) + noise
    best = np.argmin(errors, axis=0, keepdims=True)
    return Slope(np.take_along_axis(slopes, best, 0)[0], np.take_along_axis(errors, best, 0)[0], size)


def assert_slope(analytic: Array, numeric: Slope, what: str) -> None:
    """Assert that a derivative is within the error of the numeric one, which must be known to 7 digits or more."""
    size = max(numeric.size, float(np.abs(numeric.value).max(initial=0.0)))
    assert numeric.error.max(initial=0.0) <= 1e-7 * size, f"{what}: too near a kink or pole to be checked"
    bad = ~(np.abs(analytic - numeric.value) <= 10 * numeric.error + 64 * EPS * size)
    assert not bad.any(), f"{what}: {analytic[bad]} where differences give {numeric.value[bad]} +- {numeric.error[bad]}"
