"""Rules of functions that pick elements: their derivatives put them back, adding where one was picked twice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..checks import check_choice
from ..errors import OptionError, ShapeError
from .elementwise import select
from .shapes import Shape, _with_shape, flat, kept_shape, reduced_axes
from .table import Operand, T, annotate, composite, constant, numpys_own, primitive, vjp


@primitive
def getitem(x: T, *items: Any) -> T:
    """Return ``x[items]``, for every form of index that NumPy has."""
    return x[items]


@primitive
def put(x: T, *items: Any, shape: Shape) -> T:
    """Return zeros of ``shape`` to which ``x`` is added at ``items``: the opposite of `getitem`."""
    result: Any = np.zeros(shape, x.dtype)
    if all(map(_picks_once, items)):
        result[items] = x
    else:
        np.add.at(result, items, x)
    return result


def _picks_once(item: Any) -> bool:
    """Return whether an index cannot pick the same element twice."""
    return isinstance(item, (int, slice, type(None), type(Ellipsis))) or getattr(item, "dtype", None) == np.bool_


@primitive
def replaced(x: T, value: Any, *items: Any) -> T:
    """Return a copy of ``x`` with ``value`` at ``items``; of two that meet, the last one counts."""
    result: Any = np.array(x)
    result[items] = value
    return result


@primitive
def counts(shape: Shape, *items: Any) -> Any:
    """Return which elements of a value that is put at ``items`` stay: of those that meet, the last one."""
    places: Any = np.empty(shape, int)
    picked = places[items].shape
    places[items] = np.arange(math.prod(picked)).reshape(picked)
    return places[items] == np.arange(math.prod(picked)).reshape(picked)


@primitive
def picked_once(x: T, *items: Any) -> T:
    """Return x; raise ValueError where an index picks an element twice."""
    if not (all(map(_picks_once, items)) or counts.plain(x.shape, *items).all()):  # type: ignore[attr-defined]
        raise ValueError("an index picks an element twice, which multiplies it twice; multiply one after the other")
    return x


@primitive
def gather(x: T, labels: Any) -> T:
    """Return ``x[i, labels[i]]`` for every row i of an (N, C) array."""
    return x[np.arange(len(labels)), labels]


@primitive
def scatter(x: T, labels: Any, classes: int) -> T:
    """Return (N, C) zeros with ``x[i]`` in column ``labels[i]`` of row i: the opposite of `gather`."""
    result: Any = np.zeros((len(labels), classes), x.dtype)
    result[np.arange(len(labels)), labels] = x
    return result


@primitive
def minus_one_hot(x: T, labels: Any, factor: float) -> T:
    """Return ``(x - one_hot(labels)) * factor`` for an (N, C) array, the gradient of a cross entropy."""
    result = x * factor
    result[np.arange(len(labels)), labels] -= factor
    return result


vjp(getitem, lambda g, out, x, *items: put(g, *items, shape=x.shape), linear=True, view=True)
vjp(put, lambda g, out, x, *items, shape: getitem(g, *items), linear=True)
_replaced_by = lambda g, out, x, value, *items: select(counts(g.shape, *items), getitem(g, *items))
vjp(replaced, lambda g, out, x, value, *items: replaced(g, 0.0, *items), _replaced_by, linear=True)
vjp(picked_once, lambda g, out, x, *items: g, linear=True, view=True)
constant(counts)
vjp(gather, lambda g, out, x, labels: scatter(g, labels, x.shape[1]), None, linear=True)
vjp(scatter, lambda g, out, x, labels, classes: gather(g, labels), None, linear=True)
vjp(minus_one_hot, lambda g, out, x, labels, factor: g * factor, None, None)


def _take(x: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    x, axis = flat(x, axis)
    n = x.shape[axis]
    indices = np.multiply(indices, 1) if _with_shape(indices).dtype == bool else indices  # they are no mask here
    check_choice("mode", mode, ("raise", "clip", "wrap"))
    indices = np.clip(indices, 0, n - 1) if mode == "clip" else np.mod(indices, n) if mode == "wrap" else indices
    return getitem(x, *(slice(None),) * reduced_axes(x.ndim, axis)[0], indices)


def _take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    if axis is None:
        x, indices, axis = np.ravel(x), np.ravel(indices), 0
    if np.ndim(indices) != x.ndim:
        raise ShapeError(f"take_along_axis takes indices with the {x.ndim} axes of the array, got {np.ndim(indices)}")
    shape = kept_shape(x.shape, axis)
    grid: list[Any] = list(np.ogrid[tuple(slice(n) for n in shape)])
    grid[axis] = indices
    return x[tuple(grid)]


def _sort(x: Any, axis: int | None = -1) -> Any:
    x, axis = flat(x, axis)
    return np.take_along_axis(x, np.argsort(x, axis=axis, kind="stable"), axis)


def _repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    x, axis = flat(x, axis)
    return np.take(x, np.repeat(np.arange(x.shape[axis]), repeats), axis)


def _delete(x: Any, obj: Any, axis: int | None = None) -> Any:
    x, axis = flat(x, axis)
    return np.take(x, np.delete(np.arange(x.shape[axis]), obj if isinstance(obj, slice) else np.asarray(obj)), axis)


def _diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    rows, columns = _diagonal_indices(x.shape[axis1], x.shape[axis2], offset)
    return np.moveaxis(x, (axis1, axis2), (-2, -1))[..., rows, columns]


def _diagonal_indices(rows: int, columns: int, offset: int) -> tuple[Any, Any]:
    n = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    return np.arange(n) - min(offset, 0), np.arange(n) + max(offset, 0)


def _diag(x: Any, k: int = 0) -> Any:
    if x.ndim == 2:
        return _diagonal(x, k)
    n = len(x) + abs(k)
    return put(x, *_diagonal_indices(n, n, k), shape=(n, n))


def _pad(x: Any, width: Any, mode: Any = "constant", *, constant_values: Any = None, reflect_type: Any = None) -> Any:
    """Return an array within a frame: of constants, or of elements from where NumPy would pad an index."""
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap") or reflect_type == "odd":
        raise OptionError(f"pad: mode {mode!r} has no rule, nor has reflect_type='odd'; pad with constants or the edge")
    given = {"constant_values": constant_values, "reflect_type": reflect_type}
    options = {key: value for key, value in given.items() if value is not None}
    if mode != "constant":
        return np.ravel(x)[np.pad(np.arange(x.size).reshape(x.shape), width, mode, **options)]
    frame = np.pad(np.zeros(x.shape, x.dtype), width, **options)
    if isinstance(width, dict):
        width = [np.broadcast_to(width.get(i, width.get(i - x.ndim)) or 0, 2) for i in range(x.ndim)]
    starts = np.broadcast_to(np.asarray(width), (x.ndim, 2))[:, 0].tolist()
    inner = put(x, *(slice(i, i + n) for i, n in zip(starts, x.shape, strict=True)), shape=frame.shape)
    return inner + frame if frame.any() else inner


def _below(x: Any, k: int) -> Any:
    """Return a mask of what is on or below the k-th diagonal of the last two axes."""
    return np.tri(*x.shape[-2:], k=k, dtype=bool)  # type: ignore[call-overload]


composite({
    np.take: _take, np.take_along_axis: _take_along_axis, np.sort: _sort, np.repeat: _repeat, np.delete: _delete,
    np.diagonal: _diagonal, np.diag: _diag, np.pad: _pad,
    **numpys_own(np.extract, np.linalg.diagonal),
    np.compress: lambda condition, x, axis=None: np.take(x, np.flatnonzero(condition), axis),
    np.resize: lambda x, new_shape: np.ravel(x)[np.resize(np.arange(x.size), new_shape)],
    np.diagflat: lambda x, k=0: _diag(np.ravel(x), k),
    np.linalg.trace: lambda x, *, offset=0: _diagonal(x, offset, -2, -1).sum(axis=-1),
    np.trace: lambda x, offset=0, axis1=0, axis2=1: _diagonal(x, offset, axis1, axis2).sum(axis=-1),
    np.tril: lambda x, k=0: np.where(_below(x, k), x, x.dtype.type(0)),
    np.triu: lambda x, k=0: np.where(_below(x, k - 1), x.dtype.type(0), x),
})  # fmt: skip


def _masks(x: Any, *items: Any) -> list[Any]:
    """Return which of the items of an index are masks: their values decide how many elements are picked."""
    return [i for i in items if getattr(i, "dtype", None) == np.bool_]


def _emit_getitem(out: Operand, x: Operand, *items: Operand) -> str:
    sized = f".reshape({out.shape})" if _masks(x, *items) else ""  # as many as when it was recorded, or an error
    return f"{out}[...] = {_at(x, *items)}{sized}"


def _at(x: Operand, *items: Operand) -> str:
    return f"{x}[{', '.join(i.item for i in items) or '()'}]"


def _emit_put(out: Operand, x: Operand, *items: Operand, shape: str) -> list[str]:
    if all(_picks_once(i.value) for i in items):
        covered = math.prod(x.shape) == math.prod(out.shape)
        return [f"{out}.fill(0)"] * (not covered) + [f"{_at(out, *items)} = {x}"]
    return [f"{out}.fill(0)", f"np.add.at({out}, ({', '.join(items)},), {x})"]


def _emit_minus_one_hot(out: Operand, x: str, labels: str, factor: Operand) -> list[str]:
    number = factor.number(out)
    return [f"np.multiply({x}, {number}, out={out})", f"{out}[{out.rows}, {labels}] -= {number}"]


annotate(getitem, shaped_by_values=_masks, emit=_emit_getitem, express=_at)
annotate(put, emit=_emit_put)
annotate(picked_once, effect=True)
annotate(replaced, emit=lambda out, x, value, *items: [f"np.copyto({out}, {x})", f"{_at(out, *items)} = {value}"])
annotate(gather, emit=lambda out, x, labels: f"{out}[...] = {x}[{out.rows}, {labels}]", reach=("picked", "i"))
annotate(scatter, emit=lambda out, x, labels, classes: [f"{out}.fill(0)", f"{out}[{out.rows}, {labels}] = {x.scalar}"])
annotate(scatter, reach=("i", "i"))
annotate(minus_one_hot, emit=_emit_minus_one_hot, reach=("ij", "i", ""))
