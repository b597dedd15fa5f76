"""What the pattern of wrong derivatives suggests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from ...rules.shapes import sum_to
from .differences import Array, Subject
from .judging import FLOOR
from .report import Element


def diagnose(s: Subject, i: int, gradient: Array, elements: Sequence[Element]) -> str:
    """Return what the pattern of the wrong derivatives of one input suggests."""
    name, shape, points = s.names[i], s.start[i].shape, [e for e in elements if e.at is not None]
    at, numeric = tuple(np.array([e.at for e in points]).T), np.array([e.numeric for e in points])
    wrong, size = np.array([e.verdict == "fail" for e in points]), np.abs(numeric).max(initial=0.0)

    def agrees(a: Array, rtol: float = 1e-6) -> bool:
        return a.shape == shape and bool(np.all(np.abs(a[at] - numeric) <= rtol * size))

    if gradient.shape != shape:
        return f"{name}{_of_another_shape(gradient, shape, agrees)}"
    analytic, large = np.atleast_1d(gradient[at]), np.abs(numeric) > FLOOR * size
    ratios = analytic[large] / numeric[large]
    ratio = float(np.median(ratios)) if large.any() else math.nan
    constant = wrong[large].any() and np.all(np.abs(analytic - ratio * numeric) <= 0.01 * abs(ratio - 1) * size)
    little = wrong.mean() > 0.5 and agrees(gradient, 1e-5)
    share = f"{wrong.sum()} of {len(points)} derivatives are wrong"
    patterns = [
        (not wrong.any(), "no single element that was looked at is wrong, but all together are"),
        (not np.isfinite(gradient).all(), "the gradient is not finite"),
        (not gradient.any(), "the gradient is zero: the result is not connected to this input"),
        (np.array_equal(analytic == 0, numeric != 0) and numeric.any(), f"{share}: a mask is the wrong way round"),
        (constant, f"every derivative is {ratio:.9g} times the numeric one: {_meaning(ratio, s)}"),
        (agrees(gradient.T) and not np.allclose(gradient, gradient.T), "the gradient is transposed"),
        (not numeric[wrong].any(), f"{share}, where the function does not change: a mask is missing, or another one"),
        (not analytic[wrong].any(), f"{share}, they are zero: elements are cut off, or repeated ones not added up"),
        (little, f"{share}, by a little: something is rounded, to float32 perhaps"),
        (True, share),
    ]
    return f"{name}: {next(text for seen, text in patterns if seen)}"


def _of_another_shape(gradient: Array, shape: tuple[int, ...], agrees: Callable[[Array], bool]) -> str:
    """Return what is wrong with a gradient that has another shape than its input."""
    with suppress(ValueError):
        if agrees(sum_to(gradient, shape)):
            added = gradient.ndim - len(shape)
            axes = [k for k, n in enumerate(gradient.shape) if k < added or n != shape[k - added]]
            return f": it was broadcast, and its gradient is not summed over axis {str(axes)[1:-1]}"
    hint = ": it is transposed" if agrees(gradient.T) else ""
    return f" has shape {shape}, its gradient {gradient.shape}{hint}"


def _meaning(ratio: float, s: Subject) -> str:
    """Return what a constant factor usually means; 2 is more often that of a square than the length of an axis."""
    size, sign = abs(ratio), "the sign is wrong, and " if ratio < 0 else ""
    for n in sorted({n for a in (*s.start, s.y) for n in (*a.shape, a.size) if n > 2}):
        if math.isclose(size, n, rel_tol=1e-6):
            return f"{sign}the 1/N of a mean over {n} may be missing"
        if math.isclose(size * n, 1, rel_tol=1e-6):
            return f"{sign}it may be a mean over {n} where a sum belongs"
    return "the sign is wrong" if math.isclose(ratio, -1, rel_tol=1e-6) else f"{sign}a factor is wrong"
