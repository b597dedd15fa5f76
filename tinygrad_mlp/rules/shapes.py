"""Rules of functions that move, repeat or join elements: their derivatives move them back, or add them up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .table import composite, primitive, vjp

Shape = tuple[int, ...]
Axis = int | Sequence[int] | None


def kept_shape(shape: Shape, axis: Axis) -> Shape:
    """Return the shape that a reduction over ``axis`` has with ``keepdims=True``.

    >>> kept_shape((2, 3, 4), (0, -1))
    (1, 3, 1)
    """
    reduced = reduced_axes(len(shape), axis)
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def reduced_axes(ndim: int, axis: Axis) -> tuple[int, ...]:
    """Return the axes that a reduction over ``axis`` removes, counted from the front."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(a % ndim for a in axes)


@primitive
def sum_to(x: Any, shape: Shape) -> Any:
    """Sum an array over the axes that broadcasting it from ``shape`` has added or stretched.

    Sums of many float32 rows accumulate in float64: one after another, they would lose digits.
    """
    axes = _stretched(x.shape, shape)
    many = x.size > 4096 and x.dtype == np.float32 and x.size > 4096 * max(1, math.prod(shape))
    total = x.sum(axis=axes, dtype=np.float64 if many else None)
    if total.dtype != x.dtype:
        total = astype(total, x.dtype)
    return total if total.shape == shape else total.reshape(shape)


def _stretched(shape: Shape, origin: Shape) -> tuple[int, ...]:
    added = len(shape) - len(origin)
    if added < 0:
        raise ShapeError(f"a gradient of shape {shape} cannot be summed to its input's shape {origin}; its rule is wrong")
    if shape[added:] == origin:
        return tuple(range(added))
    return (*range(added), *(i for i, n in enumerate(origin, added) if n == 1 != shape[i]))


@primitive
def spread(x: Any, shape: Shape, axis: Axis = None) -> Any:
    """Repeat the result of a reduction over ``axis`` along the ``shape`` that it came from, as a new array."""
    result = np.empty(shape, x.dtype)
    result[...] = x if x.ndim == 0 else x.reshape(kept_shape(shape, axis))
    return result


@primitive
def astype(x: Any, dtype: Any) -> Any:
    """Return an array in another dtype. The engine gives its gradient the old one."""
    return x.astype(dtype)


def _reshape_call(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> tuple[Sequence[Any], dict[str, Any]]:
    if order != "C" or copy is not None:
        raise TypeError("reshape of a Tensor takes neither order nor copy; reshape the transpose instead of order='F'")
    return (a,), {"shape": newshape if shape is None else shape}


def _inverse(axes: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]).tolist())


def _negated(shift: Any) -> Any:
    return tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift


vjp(
    np.reshape,
    lambda g, out, x, *, shape: g.reshape(x.shape),
    forward=lambda x, shape: x.reshape(shape),
    bind=_reshape_call,
    linear=True,
    view=True,
)
vjp(np.ravel, lambda g, out, x: g.reshape(x.shape), linear=True, view=True)
vjp(np.expand_dims, lambda g, out, x, *, axis: g.reshape(x.shape), linear=True, view=True)
vjp(np.squeeze, lambda g, out, x, *, axis=None: g.reshape(x.shape), linear=True, view=True)
vjp(np.broadcast_to, lambda g, out, x, *, shape: g, linear=True, view=True)
vjp(np.transpose, lambda g, out, x, *, axes=None: g.transpose(_inverse(axes)), linear=True, view=True)
vjp(np.swapaxes, lambda g, out, x, *, axis1, axis2: g.swapaxes(axis1, axis2), linear=True, view=True)
vjp(np.moveaxis, lambda g, out, x, *, source, destination: np.moveaxis(g, destination, source), linear=True, view=True)
vjp(np.flip, lambda g, out, x, *, axis=None: np.flip(g, axis), linear=True, view=True)
vjp(np.roll, lambda g, out, x, *, shift, axis=None: np.roll(g, _negated(shift), axis), linear=True)
vjp(np.copy, lambda g, out, x: g, linear=True)
vjp(astype, lambda g, out, x, dtype: g, linear=True)
vjp(sum_to, lambda g, out, x, shape: spread(g, x.shape, _stretched(x.shape, shape)), linear=True)
vjp(spread, lambda g, out, x, shape, axis=None: g.sum(axis=axis).reshape(x.shape), linear=True)


def _join_call(arrays: Sequence[Any], axis: int | None = 0, **keywords: Any) -> tuple[Sequence[Any], dict[str, Any]]:
    if axis is None:
        return [np.ravel(a) for a in arrays], {"axis": 0, **keywords}
    return list(arrays), {"axis": axis, **keywords}


def _part(i: int, g: Any, arrays: Sequence[Any], axis: int) -> Any:
    """Return the part of ``g`` where array ``i`` stands in the joined one."""
    start = sum(np.shape(a)[axis] for a in arrays[:i])
    stop = start + np.shape(arrays[i])[axis]
    return g[(slice(None),) * (axis % g.ndim) + (slice(start, stop),)]


vjp(
    np.concatenate,
    each=lambda i, g, out, *arrays, axis=0: _part(i, g, arrays, axis),
    forward=lambda *arrays, axis=0: np.concatenate(arrays, axis),
    bind=_join_call,
    linear=True,
)


def _stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis)


def _pad(x: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    """Pad with constants by joining, and in all other modes by taking elements from where NumPy would pad an index."""
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    for axis, (low, high) in enumerate(widths):
        if mode == "constant":
            x = _pad_constant(x, axis, low, high, **options)
        elif mode in ("edge", "reflect", "symmetric", "wrap"):
            x = np.take(x, np.pad(np.arange(x.shape[axis]), (low, high), mode, **options), axis)  # type: ignore[call-overload]
        else:
            raise ValueError(f"pad: mode {mode!r} has no rule; use constant, edge, reflect, symmetric or wrap")
    return x


def _pad_constant(x: Any, axis: int, low: int, high: int, constant_values: float = 0) -> Any:
    def block(n: int) -> Any:
        return np.full((*x.shape[:axis], n, *x.shape[axis + 1 :]), constant_values, x.dtype)

    return np.concatenate([block(low), x, block(high)], axis)


composite(np.stack, _stack)
composite(np.pad, _pad)
