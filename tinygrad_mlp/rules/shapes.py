"""Rules of functions that move, repeat or join elements: their derivatives move them back, or add them up."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ..checks import check_choice
from ..errors import NoRuleError, ShapeError
from .table import Arguments, Operand, T, annotate, composite, numpys_own, primitive, vjp

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
    """Return the axes that a reduction over ``axis`` removes, counted from the front; raise for one out of range."""
    return tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)


def flat(x: Any, axis: int | None) -> tuple[Any, int]:
    """Return an array and its axis, or without one all elements along axis 0, as NumPy's functions have it."""
    return (np.ravel(x), 0) if axis is None else (x, axis)


@primitive
def sum_to(x: T, shape: Shape) -> T:
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
        raise ShapeError(f"the gradient of an input of shape {origin} has shape {shape}: its rule is wrong")
    if shape[added:] == origin:
        return tuple(range(added))
    return (*range(added), *(i for i, n in enumerate(origin, added) if n == 1 != shape[i]))


@primitive
def spread(x: T, shape: Shape, axis: Axis = None) -> T:
    """Repeat the result of a reduction over ``axis`` along the ``shape`` that it came from, as a new array."""
    result: Any = np.empty(shape, x.dtype)
    result[...] = x if x.ndim == 0 else x.reshape(kept_shape(shape, axis))
    return result


@primitive
def astype(x: T, dtype: Any) -> T:
    """Return an array in another dtype. The engine gives its gradient the old one."""
    return x.astype(dtype)


def _reshape_call(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> Arguments:
    if order != "C" or copy is not None:
        raise NoRuleError("reshape of a Tensor takes no order or copy; t.T.reshape(shape[::-1]).T has order='F'")
    return (a,), {"shape": newshape if shape is None else shape}


def _inverse(axes: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]).tolist())


_reshape_x, _reshape = lambda g, out, x, *, shape: g.reshape(x.shape), lambda x, shape: x.reshape(shape)
vjp(np.reshape, _reshape_x, forward=_reshape, bind=_reshape_call, linear=True, view=True)
vjp(np.ravel, lambda g, out, x: g.reshape(x.shape), linear=True, view=True)
vjp(np.expand_dims, lambda g, out, x, *, axis: g.reshape(x.shape), linear=True, view=True)
vjp(np.squeeze, lambda g, out, x, *, axis=None: g.reshape(x.shape), linear=True, view=True)
vjp(np.broadcast_to, lambda g, out, x, *, shape: g, linear=True, view=True)
vjp(np.transpose, lambda g, out, x, *, axes=None: g.transpose(_inverse(axes)), linear=True, view=True)
vjp(np.swapaxes, lambda g, out, x, *, axis1, axis2: g.swapaxes(axis1, axis2), linear=True, view=True)
vjp(np.moveaxis, lambda g, out, x, *, source, destination: np.moveaxis(g, destination, source), linear=True, view=True)
vjp(np.flip, lambda g, out, x, *, axis=None: np.flip(g, axis), linear=True, view=True)
vjp(np.rot90, lambda g, out, x, *, k=1, axes=(0, 1): np.rot90(g, -k, axes), linear=True, view=True)
_roll_x = lambda g, out, x, *, shift, axis=None: np.roll(g, [-int(n) for n in np.atleast_1d(shift)], axis)
vjp(np.roll, _roll_x, linear=True)
vjp(np.copy, lambda g, out, x: g, linear=True)
vjp(astype, lambda g, out, x, dtype: g, linear=True)
vjp(sum_to, lambda g, out, x, shape: spread(g, x.shape, _stretched(x.shape, shape)), linear=True)
vjp(spread, lambda g, out, x, shape, axis=None: g.sum(axis=axis).reshape(x.shape), linear=True)


def _join_call(arrays: Sequence[Any], axis: int | None = 0, out: Any = None, **keywords: Any) -> Arguments:
    arrays, axis = ([np.ravel(a) for a in arrays], 0) if axis is None else (list(arrays), operator.index(axis))
    lengths = [a.shape[axis] if -np.ndim(a) <= axis < np.ndim(a) else 0 for a in map(_with_shape, arrays)]
    return arrays, {"axis": axis, "_ends": tuple(itertools.accumulate(lengths)), "out": out, **keywords}


def _with_shape(a: Any) -> Any:
    return a if hasattr(a, "shape") else np.asarray(a)


def along(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """Return a part of an array: from start to stop along an axis, and all along the others."""
    return x[(slice(None),) * normalize_axis_index(axis, x.ndim) + (slice(start, stop),)]


def _part(i: int, g: Any, out: Any, *arrays: Any, axis: int = 0, _ends: tuple[int, ...] = ()) -> Any:
    """Return the part of ``g`` where array ``i`` stands in the joined one."""
    return along(g, axis, _ends[i - 1] if i else 0, _ends[i])


_join = lambda *arrays, axis=0, _ends=(): np.concatenate(arrays, axis)
vjp(np.concatenate, each=_part, forward=_join, bind=_join_call, linear=True)


def _type_of(a: Any) -> Any:
    return a.dtype if isinstance(getattr(a, "dtype", None), np.dtype) else a


def _tile(x: Any, reps: Any) -> Any:
    reps = np.atleast_1d(reps).tolist()
    shape, reps = [1] * (len(reps) - x.ndim) + list(x.shape), [1] * (x.ndim - len(reps)) + reps
    column = np.reshape(x, [k for n in shape for k in (1, n)])
    wide = np.broadcast_to(column, [k for pair in zip(reps, shape, strict=True) for k in pair])
    return np.reshape(wide, [r * n for r, n in zip(reps, shape, strict=True)])


def _split_by(function: Any) -> Any:
    """Return what splits as NumPy splits an index along the axis, so that its uneven parts and errors are NumPy's."""

    def split(x: Any, places: Any, axis: int = 0) -> list[Any]:
        parts = function(np.arange(x.shape[axis]), places if isinstance(places, int) else np.asarray(places).tolist())
        return [along(x, axis, p[0], p[-1] + 1) if len(p) else along(x, axis, 0, 0) for p in parts]

    return split


def _block(arrays: Any) -> Any:
    """Join nested lists: the innermost along the last axis, the next along the one before, and so on."""

    def depth(entry: Any) -> int:
        return 1 + depth(entry[0]) if isinstance(entry, list) else 0

    def ranks(entry: Any) -> int:
        return max(map(ranks, entry)) if isinstance(entry, list) else np.ndim(entry)

    ndim = max(depth(arrays), ranks(arrays))

    def join(entry: Any, axis: int) -> Any:
        if not isinstance(entry, list):
            return np.reshape(entry, (1,) * (ndim - np.ndim(entry)) + np.shape(entry))
        return np.concatenate([join(e, axis + 1) for e in entry], axis=axis)

    return join(arrays, -depth(arrays))


def _atleast(function: Any) -> Any:
    one = lambda x: np.reshape(x, function(np.broadcast_to(0, np.shape(x))).shape)
    return lambda *arrays: one(arrays[0]) if len(arrays) == 1 else tuple(map(one, arrays))


def _broadcast_arrays(*arrays: Any) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    return tuple(np.broadcast_to(a, shape) for a in arrays)


def _meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Any, ...]:
    check_choice("indexing", indexing, ("xy", "ij"))
    open_grids = (np.reshape(a, [-1 if k == i else 1 for k in range(len(arrays))]) for i, a in enumerate(arrays))
    grids = _broadcast_arrays(*open_grids)
    return tuple(np.swapaxes(grid, 0, 1) for grid in grids) if indexing == "xy" and len(grids) > 1 else grids


def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result


def _linspace(start: Any, stop: Any, num: int = 50) -> Any:
    dtype = np.result_type(*(getattr(a, "dtype", a) for a in (start, stop)), 0.0)
    share = np.linspace(0.0, 1.0, num, dtype=dtype).reshape(-1, *(1,) * max(np.ndim(start), np.ndim(stop)))
    inner = start + (stop - start) * share
    return np.concatenate([inner[:-1], np.full_like(inner[:1], stop)]) if num > 1 else inner


composite({
    np.block: _block, np.tile: _tile, np.meshgrid: _meshgrid, np.select: _select, np.linspace: _linspace,
    np.broadcast_arrays: _broadcast_arrays,
    **numpys_own(np.dstack, np.unstack, np.vsplit, np.hsplit, np.dsplit, np.rollaxis, np.linalg.matrix_transpose),
    np.stack: lambda arrays, axis=0: np.concatenate([np.expand_dims(a, axis) for a in arrays], axis),
    **{f: _split_by(f) for f in (np.split, np.array_split)},
    **{f: _atleast(f) for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d)},
    np.vstack: lambda arrays: np.concatenate([np.atleast_2d(a) for a in arrays], 0),
    np.hstack: lambda arrays: np.concatenate([np.atleast_1d(a) for a in arrays], 0 if np.ndim(arrays[0]) <= 1 else 1),
    np.column_stack: lambda arrays: np.concatenate([a[:, None] if np.ndim(a) == 1 else a for a in arrays], 1),
    np.append: lambda x, values, axis=None: np.concatenate([x, values], axis),
    np.fliplr: lambda x: np.flip(x, 1),
    np.flipud: lambda x: np.flip(x, 0),
    np.matrix_transpose: lambda x: np.swapaxes(x, -1, -2),
    np.result_type: lambda *arrays: np.result_type(*map(_type_of, arrays)),
    np.can_cast: lambda from_, to, casting="safe": np.can_cast(_type_of(from_), _type_of(to), casting),
    np.astype: lambda x, dtype: astype(x, dtype),
    np.full_like: lambda x, fill: np.zeros_like(x) + astype(np.broadcast_to(fill, np.shape(x)), x.dtype),
})  # fmt: skip


def _emit_spread(out: Operand, x: Operand, shape: str, axis: Any = None) -> str:
    kept = "" if x.ndim == 0 else f".reshape({kept_shape(out.shape, axis and axis.value)})"
    return f"np.copyto({out}, {x}{kept})"


_emit_join = lambda out, *arrays, axis="0", _ends=(): f"np.concatenate([{', '.join(arrays)}], axis={axis}, out={out})"
annotate(sum_to, inline=True)
annotate(spread, emit=_emit_spread)
annotate(astype, emit=lambda out, x, dtype: f'np.copyto({out}, {x}, casting="unsafe")')
annotate(np.copy, emit=lambda out, x: f"np.copyto({out}, {x})")
annotate(np.concatenate, emit=_emit_join)
annotate(np.transpose, express=lambda x, axes=None: f"{x}.T" if axes is None else f"np.transpose({x}, axes={axes})")
annotate(np.reshape, express=lambda x, shape: f"{x}.reshape({shape})")
