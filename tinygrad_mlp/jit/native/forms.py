"""Forms: how a call runs over a row loop and a loop inside of it, or that it stays a call of NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import assign
from ...rules.elementwise import select
from ...rules.indexing import gather, minus_one_hot, put, scatter
from ...rules.linalg import matmul
from ...rules.reductions import reduced_axes
from ...rules.shapes import kept_shape, spread
from ...rules.table import find
from ..naming import is_number
from ..record import Call, Slot
from ..scope import _kind, _loop
from .formulas import CALLED, SLOW

DTYPES = {np.dtype(kind): f"np.{np.dtype(kind).name}" for kind in ("f4", "f8", "i8")} | {np.dtype(bool): "np.bool_"}
"""The dtypes of which native loops know how NumPy computes with them, and how a program writes them."""

LABELLED: dict[Any, tuple[str, ...]] = {
    gather: ("picked", "label"),
    scatter: ("row", "label"),
    minus_one_hot: ("full", "label", "one"),
}
"""The ops on labels, and the roles of their operands."""

_COUNTS: dict[Any, int] = {np.where: 3, select: 2}
Views = Mapping[Slot, Call]
Shape = tuple[int, ...]


class Value(NamedTuple):
    """An operand of a loop: a slot or a number, of what role, and the dtype that the formula takes it in.

    Role "full" has an element for each round of both loops, "row" one for each of the outer loop, "column" one for each
    of the inner one, and "one" is the same in all. "label" is a row's number of a class, and "picked" what it picks.
    """

    slot: Any
    role: str
    dtype: Any


class Form(NamedTuple):
    """How a call is a part of a loop: ``outer`` rows of ``inner`` elements, of arrays by columns if so.

    ``kind`` is "map", for each element by itself, "reduce" or "product", which is left to BLAS.
    """

    kind: str
    outer: int
    inner: int
    by_columns: bool
    values: list[Value]
    role: str


def form_of(call: Call, views: Views, checked: set[Any]) -> Form | None:
    """Return the form of a call, or None; ``checked`` are the labels of which is known that they are classes."""
    function = call.function
    slots = [a for a in (call.output, *call.slots) if isinstance(a, Slot) and a.kind != "number"]
    plain = all(a.dtype in DTYPES or a in checked for a in slots) and all(0 not in a.shape for a in slots)
    if call.output is None or not plain or not set(call.errors.values()) <= {"warn", "ignore"}:
        return None
    if function in (np.matmul, matmul):
        return _product(call)
    if not (function in (assign, put) or find(function).loop):
        return None
    if function in (np.sum, np.max, np.min):
        return _reduction(call, views)
    return _map(call, views, checked)


def seen(slot: Slot, views: Views) -> tuple[Slot, Shape]:
    """Return a slot without views that leave its elements in order, and the shape in which it broadcasts."""
    shape = slot.shape
    while slot in views:
        call = views[slot]
        base = call.inputs[0]
        if call.function is np.broadcast_to and shape == slot.shape:
            shape = (1,) * (len(shape) - len(base.shape)) + base.shape
        elif _steps(base.shape, base.strides) != _steps(slot.shape, slot.strides):
            break
        slot = base
    return slot, shape


def _steps(shape: Shape, strides: Shape) -> list[tuple[int, int]]:
    return [(n, step) for n, step in zip(shape, strides, strict=True) if n != 1]


def order(slot: Slot) -> str:
    """Return "C" for an array in rows, "F" for a matrix in columns, and "" for any other layout."""
    steps = _steps(slot.shape, slot.strides)
    for name, steps_out in (("C", steps), ("F", steps[::-1])):
        sizes, packed = slot.dtype.itemsize, True
        for n, step in reversed(steps_out):
            packed &= step == sizes
            sizes *= n
        if packed and (name == "C" or len(steps) == 2):
            return name
    return ""


def role_of(shape: Shape, whole: Shape, by_columns: bool) -> str:
    """Return the role of what broadcasts to a shape, or nothing if it has none."""
    padded = (1,) * (len(whole) - len(shape)) + shape
    pairs = [(a, n) for a, n in zip(padded, whole, strict=True) if n != 1]
    equal, single = ([test(a, n) for a, n in pairs[:: -1 if by_columns else 1]] for test in (_same, _single))
    if all(single):
        return "one"
    if all(equal):
        return "full" if len(pairs) > 1 else "row"
    if all(equal[:-1]) and single[-1]:
        return "row"
    return "column" if all(single[:-1]) and equal[-1] else ""


def _same(a: int, n: int) -> bool:
    return a == n


def _single(a: int, n: int) -> bool:
    return a == 1


def sizes(shape: Shape, by_columns: bool, inner: int = 1) -> tuple[int, int]:
    """Return how often the outer and the inner loop over an array run; ``inner`` is how many axes this one takes."""
    long = [n for n in shape if n != 1][:: -1 if by_columns else 1]
    if len(long) < 2:
        return math.prod(long), 1
    return math.prod(long[:-inner]), math.prod(long[-inner:])


def _map(call: Call, views: Views, checked: set[Any]) -> Form | None:
    out, operands, dtypes = call.result, _operands(call, views), _dtypes(call)
    slow = call.function in CALLED and out.nbytes >= SLOW * out.dtype.itemsize
    if operands is None or dtypes is None or slow:
        return None
    if call.function in LABELLED:
        return _labelled(call, operands, checked)
    arrays = [(a, shape) for a, shape in operands if isinstance(a, Slot)] + [(out, out.shape)]
    by_columns = _by_columns(a for a, shape in arrays if role_of(shape, out.shape, False) == "full")
    values = []
    for (a, shape), dtype in zip(operands, dtypes, strict=False):
        role = role_of(shape, out.shape, by_columns) if isinstance(a, Slot) else "one"
        if not role or not _reachable(a, role):
            return None
        values.append(Value(a, role, dtype))
    role = role_of(out.shape, out.shape, by_columns)
    if not _reachable(out, role):
        return None
    outer, inner = sizes(out.shape, by_columns)
    return Form("map", outer, inner, by_columns, values, role)


def _labelled(call: Call, operands: list[tuple[Any, Shape]], checked: set[Any]) -> Form | None:
    """Return the form of a call that takes a class for each row of a matrix."""
    labels = call.inputs[1]
    matrix = call.inputs[0] if call.function is gather else call.result
    if labels not in checked or labels.dtype.kind not in "iu" or len(matrix.shape) != 2 or 1 in matrix.shape:
        return None
    if operands[0][1] != call.inputs[0].shape:
        return None
    roles = LABELLED[call.function]
    out = call.result
    values = [Value(a, role, out.dtype) for (a, _), role in zip(operands, roles, strict=True)]
    if not all(_reachable(v.slot, "full" if v.role == "picked" else v.role) for v in values):
        return None
    outer, inner = matrix.shape
    return Form("map", outer, inner, False, values, "row" if call.function is gather else "full")


def _operands(call: Call, views: Views) -> list[tuple[Any, Shape]] | None:
    """Return the operands that are computed with, and in what shapes they broadcast."""
    function, inputs = call.function, call.inputs
    if function is spread:
        (x, shape, axis), inner = (*inputs, None)[:3], seen(inputs[0], views)
        return [(inner[0], kept_shape(shape, axis) if x.shape else ())] if inner[1] == x.shape else None
    if function is put and not (inputs[0].shape == call.result.shape and all(i == slice(None) for i in inputs[1:])):
        return None
    if isinstance(function, np.ufunc) and (call.keywords or function.nout != 1):
        return None
    if function is assign:
        inputs = inputs[1:]
    elif not isinstance(function, np.ufunc):
        inputs = inputs[: len(LABELLED.get(function, ())) or _COUNTS.get(function, 1)]
    known = all(isinstance(a, Slot) or is_number(a) or isinstance(a, bool) for a in inputs)
    return [seen(a, views) if isinstance(a, Slot) else (a, ()) for a in inputs] if known else None


def _dtypes(call: Call) -> Sequence[Any] | None:
    """Return in what dtypes a formula takes its operands: those of NumPy's loop, or that of the result."""
    function, out = call.function, call.result.dtype
    if not isinstance(function, np.ufunc):
        return [np.dtype(bool), out, out] if function in _COUNTS else [out]
    loop = _loop(function, tuple(map(_kind, call.inputs)))
    if loop is None or not set(loop) <= set(DTYPES) or loop[-1] != out:
        return None
    formula, kinds = find(function).loop, {dtype.kind for dtype in loop[: function.nin]}
    of_integers = "np." not in formula and "/" not in formula
    fits = ("b" not in kinds or " 0" in formula) and ("i" not in kinds or of_integers)
    return loop[: function.nin] if fits else None


def _by_columns(arrays: Iterable[Slot]) -> bool:
    orders = {order(a) for a in arrays}
    return "F" in orders and "C" not in orders


def _reachable(a: Any, role: str) -> bool:
    """Return whether a loop can index an operand: along a single axis, or one for each loop, it may lie anyhow."""
    if not isinstance(a, Slot) or a.kind == "number":
        return True
    axes, packed = len(_steps(a.shape, a.strides)), order(a)
    if axes <= 1 or (role == "full" and axes == 2):
        return bool(packed) or a.kind not in ("input", "grad")
    return packed == "C"


def _reduction(call: Call, views: Views) -> Form | None:
    x, out, keywords = call.inputs[0], call.result, call.keywords
    known = not set(keywords) - {"axis", "keepdims", "dtype"} and keywords.get("dtype") in (None, out.dtype)
    numbers = out.dtype.kind == "f" if call.function is not np.sum else out.dtype.kind != "b"
    if not (known and numbers and len(call.inputs) == 1):
        return None
    a, shape = seen(x, views)
    by_columns = _by_columns([a]) and len(_steps(x.shape, x.strides)) == 2
    flags = _flags(x.shape, keywords.get("axis"), by_columns)
    role, count = role_of(shape, x.shape, by_columns), sum(flags)
    kind, result, inner = "reduce", "one", 1
    if not count:  # of one element each
        kind, result = "map", role_of(x.shape, x.shape, by_columns)
    elif not all(flags):
        result = "row" if flags[-1] else "column"
        inner = count if flags[-1] else len(flags) - count
        if flags != sorted(flags, reverse=not flags[-1]):
            return None
    outer, length = sizes(x.shape, by_columns, inner)
    alike = length == sizes(x.shape, by_columns)[1] or (role == "full" and order(a) == "C")
    fits = role and alike and _reachable(a, role) and _reachable(out, result)
    return Form(kind, outer, length, by_columns, [Value(a, role, out.dtype)], result) if fits else None


def _flags(shape: Shape, axis: Any, by_columns: bool) -> list[bool]:
    """Return for each axis of more than one element, in the order of the loops, whether it is reduced."""
    reduced = reduced_axes(len(shape), axis)
    return [i in reduced for i, n in enumerate(shape) if n != 1][:: -1 if by_columns else 1]


def _product(call: Call) -> Form | None:
    x, y = call.inputs
    out = call.result
    fits = all(isinstance(a, Slot) and a.dtype == out.dtype and leading(a) for a in (x, y, out))
    if not fits or out.dtype.kind != "f":
        return None
    values = [Value(x, "full", x.dtype), Value(y, "full", y.dtype)]
    outer, inner = out.shape
    return Form("product", outer, inner, False, values, "full")


def leading(a: Slot) -> tuple[int, bool] | None:
    """Return the length of a matrix's rows in memory and whether these are its columns, or None if it has none."""
    if len(a.shape) != 2 or a.nbytes >= 1 << 33:  # BLAS counts in 32 bits
        return None
    (n, m), size = a.shape, a.dtype.itemsize
    by_row, by_column = a.strides
    if (by_column == size or m == 1) and (by_row % size == 0) and (by_row >= m * size or n == 1):
        return max(by_row // size if n > 1 else m, m), False
    if (by_row == size or n == 1) and (by_column % size == 0) and (by_column >= n * size or m == 1):
        return max(by_column // size if m > 1 else n, n), True
    return None
