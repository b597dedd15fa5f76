"""Rules of functions that take numbers for samples of a curve, to interpolate, difference, unwrap or order them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import OptionError, ShapeError
from .indexing import getitem
from .shapes import Axis, _with_shape, astype, flat, reduced_axes
from .table import annotate, composite, constant, primitive, vjp


def _float64(a: Any) -> Any:
    """Return an array, a list or a Tensor in float64; raise TypeError for complex numbers."""
    a = a if hasattr(a, "dtype") else np.asarray(a)
    if not np.can_cast(a.dtype, np.float64):
        raise TypeError(f"interp takes real numbers, got {a.dtype}")
    return astype(a, np.float64)


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """Return what lines between neighbours give; where these are is found by values, which have no gradient."""
    x, xp, fp = map(_float64, (x, xp, fp))
    if np.ndim(left) or np.ndim(right):
        raise TypeError("left and right of interp are numbers")
    if xp.ndim != 1 or xp.shape != fp.shape or not len(xp):
        raise ShapeError(f"interp takes points xp and values fp of one length, got {xp.shape} and {fp.shape}")
    if period is not None:
        if period == 0:
            raise OptionError("the period of interp is a number other than 0")
        period = np.abs(period)
        x, xp = np.remainder(x, period), np.remainder(xp, period)
        order = np.argsort(xp)
        xp, fp, left, right = getitem(xp, order), getitem(fp, order), None, None
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    below, above = x < xp[0], x > xp[-1]
    low = np.clip(np.searchsorted(xp, x, "right") - 1, 0, len(xp) - 1)
    high = np.minimum(low + 1, len(xp) - 1)
    start, bottom = getitem(xp, low), getitem(fp, low)
    width, way = getitem(xp, high) - start, np.where(below | above, 0.0, x - start)
    slope = (getitem(fp, high) - bottom) / np.where(width == 0, 1.0, width)
    inside = bottom + way * np.where((way == 0) & ~np.isfinite(slope), 0.0, slope)
    result = np.where(above, fp[-1] if right is None else right, inside)
    return np.where(below, fp[0] if left is None else left, result)


def _gradient(f: Any, *varargs: Any, axis: Axis = None, edge_order: int = 1) -> Any:
    """Return slopes along axes: of parabolas through three neighbours, and at the ends of lines or of the last ones."""
    f = _with_shape(f)
    if f.dtype == bool:
        raise TypeError("gradient takes numbers, got truth values; use t.astype(float)")
    f = f if f.dtype.kind in "fc" else astype(f, np.float64)
    axes = reduced_axes(f.ndim, axis)
    spacing = varargs * len(axes) if len(varargs) == 1 and not np.ndim(varargs[0]) else varargs or (1.0,) * len(axes)
    if len(spacing) != len(axes):
        raise TypeError(f"gradient along {len(axes)} axes takes as many spacings, or one number, got {len(varargs)}")
    if edge_order not in (1, 2):
        raise OptionError(f"edge_order of gradient is 1 or 2, got {edge_order}")
    slopes = tuple(_slopes(f, h, i, edge_order) for h, i in zip(spacing, axes, strict=True))
    return slopes[0] if len(slopes) == 1 else slopes


def _slopes(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """Return the slopes along one axis, whose points are ``h`` apart, or stand at ``h``."""
    f = np.moveaxis(f, axis, 0)
    if len(f) <= edge_order or (np.ndim(h) and np.shape(h) != (len(f),)):
        needs = f"{edge_order + 1} points or more, and one number or a coordinate for each"
        raise ValueError(f"gradient needs {needs}, got {len(f)} and {np.shape(h)}")
    start, end = (f[1] - f[0], f[-1] - f[-2]) if edge_order == 1 else (f[:3], f[:-4:-1])
    if not np.ndim(h):
        middle, first, last = (f[2:] - f[:-2]) / (2.0 * h), start / h, end / h
        if edge_order == 2:
            first, last = ((-1.5 * p[0] + 2.0 * p[1] - 0.5 * p[2]) / h for p in (start, -end))
    else:
        steps = np.reshape(np.diff(h), (-1,) + (1,) * (f.ndim - 1))
        a, b = steps[:-1], steps[1:]
        middle = -b / (a * (a + b)) * f[:-2] + (b - a) / (a * b) * f[1:-1] + a / (b * (a + b)) * f[2:]
        first, last = start / steps[0], end / steps[-1]
        if edge_order == 2:
            first, last = _at_the_end(start, steps[0], steps[1]), -_at_the_end(end, steps[-1], steps[-2])
    result = np.moveaxis(np.concatenate([first[None], middle, last[None]]), 0, axis)
    return result if result.dtype == f.dtype else astype(result, f.dtype)


def _at_the_end(f: Any, a: Any, b: Any) -> Any:
    """Return the slope, at the first of three points, of the parabola through them; a and b are between them."""
    return -(2.0 * a + b) / (a * (a + b)) * f[0] + (a + b) / (a * b) * f[1] - a / (b * (a + b)) * f[2]


@primitive
def partition_order(x: Any, kth: Any, axis: int) -> Any:
    """Return where each element of ``np.partition(x, kth, axis)`` comes from."""
    order = np.empty(x.shape, np.intp)
    places = np.argsort(np.partition(x, kth, axis), axis, kind="stable")
    np.put_along_axis(order, places, np.argsort(x, axis, kind="stable"), axis)
    return order


def _partition(x: Any, kth: Any, axis: int | None = -1) -> Any:
    x, axis = flat(x, axis)
    return np.take_along_axis(x, partition_order(x, kth, axis), axis)


def _jumps(out: Any, p: Any, *, period: float = 2 * np.pi, **_: Any) -> Any:
    return np.rint((out - p) / period)


vjp(np.unwrap, lambda g, out, p, *, discont=None, axis=-1, period=2 * np.pi: g)
annotate(np.unwrap, branch=_jumps)
constant(partition_order)
composite({np.interp: _interp, np.gradient: _gradient, np.partition: _partition})
