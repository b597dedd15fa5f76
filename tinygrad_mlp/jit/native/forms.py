"""Forms: by which counters a loop over rows, i, and one inside of it, j, reaches the operands of a call."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import assign
from ...rules.elementwise import select
from ...rules.indexing import gather
from ...rules.linalg import matmul
from ...rules.shapes import kept_shape, spread
from ...rules.table import find
from ..naming import is_number
from ..record import Call, Slot, memory_of
from ..scope import _kind, _loop
from .formulas import CALLED, LABELLED, SLOW, STARTS

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
BOOL = np.dtype(bool)
MANY = 4096
"""From how many numbers on NumPy sums float32: it does that more exactly."""

Views = Mapping[Slot, Call]
Shape = tuple[int, ...]


class Value(NamedTuple):
    """An operand of a loop: a slot or a number, by which counters it is reached, and the dtype a formula takes it in.

    By "ij" there is an element for each round of both loops, by "i" one for each row, by "j" one for each column, and
    by "" the same in all. "picked" is the element of a row that the row's label says.
    """

    slot: Any
    index: str
    dtype: Any


class Form(NamedTuple):
    """How a call is computed in ``rounds`` of the two loops: by a formula of values, to a result that has an index.

    Only a reduction has a ``start``.
    """

    rounds: tuple[int, int]
    formula: str
    values: list[Value]
    index: str
    start: str


def form_of(call: Call, views: Views, checked: set[Any]) -> Form | None:
    """Return the form of a call, or None; ``checked`` are the labels of which is known that they are classes."""
    function, out = call.function, call.output
    formula = "{0}" if function is assign else find(function).loop
    if not formula or out is None or not set(call.errors.values()) <= {"warn", "ignore"}:
        return None
    arity = len(LABELLED.get(function, ())) or sum(f"{{{i}}}" in formula for i in range(3))
    inputs = call.inputs[function is assign :][:arity]
    known = all(isinstance(a, Slot) or is_number(a) for a in inputs)
    dtypes = _dtypes(call, formula) if known else None
    if dtypes is None:
        return None
    operands = [seen(a, views) if isinstance(a, Slot) else (a, ()) for a in inputs]
    whole, indices, index = _reached(call, [shape for _, shape in operands])
    start = STARTS.get(function, "")
    if start and index == index_of(whole, whole):  # each is the sum of one element
        formula, start = "{0}", ""
    values = [Value(a, *of) for (a, _), *of in zip(operands, indices, dtypes, strict=False)]
    labels = {call.inputs[1]} & checked if function in LABELLED else set()
    if 0 in whole or (function in LABELLED and not labels):
        return None
    return _laid_out(Form(rounds_of(whole), formula, values, index, start), out, labels)


def _dtypes(call: Call, formula: str) -> Sequence[Any] | None:
    """Return in what dtypes a formula takes its operands: those of NumPy's loop, or that of the result."""
    function, out, keywords = call.function, call.result.dtype, call.keywords
    if function in STARTS:
        known = set(keywords) <= {"axis", "keepdims", "dtype"} and keywords.get("dtype") in (None, out)
        numbers = call.inputs[0].nbytes // max(call.result.nbytes, 1)
        many = function is np.sum and out == FLOATS[0] and numbers >= MANY
        return [out] if known and out in FLOATS and len(call.inputs) == 1 and not many else None
    if not isinstance(function, np.ufunc):
        return [BOOL if function in (np.where, select) else out, out, out]
    loop = None if keywords or function.nout > 1 else _loop(function, tuple(map(_kind, call.inputs)))
    slow = function in CALLED and math.prod(call.result.shape) >= SLOW
    return loop[:-1] if loop and not slow and loop[-1] == out and set(loop[:-1]) <= set(FLOATS) else None


def _reached(call: Call, shapes: list[Shape]) -> tuple[Shape, Sequence[str | None], str | None]:
    """Return the shape of what the loops of a call run over, and the indices of its operands and its result."""
    function, out, x = call.function, call.result.shape, call.inputs[0]
    if function in LABELLED:
        whole = x.shape if function is gather else out
        fits = len(whole) == 2 and 1 not in whole and shapes[0] == x.shape
        return whole, LABELLED[function] if fits else [None], "ij"[: len(out)]
    whole, result = out, out
    if function in STARTS:
        whole, result = x.shape, kept_shape(x.shape, call.keywords.get("axis"))
    if function is spread and shapes[0] == x.shape != ():
        shapes = [kept_shape(out, *call.inputs[2:])]
    return whole, [index_of(shape, whole) for shape in shapes], index_of(result, whole)


def index_of(shape: Shape, whole: Shape) -> str | None:
    """Return by which counters one reaches what broadcasts to a shape, whose last axis is j and whose others are i."""
    padded = (1,) * (len(whole) - len(shape)) + shape
    outer, inner = _halves([a == n for a, n in zip(padded, whole, strict=True) if n != 1])
    return None if len(set(outer)) > 1 else "i" * any(outer) + "j" * any(inner)


def rounds_of(whole: Shape) -> tuple[int, int]:
    """Return how often the outer and the inner loop over a shape run."""
    outer, inner = _halves([n for n in whole if n != 1])
    return math.prod(outer), math.prod(inner)


def _halves(axes: list[Any]) -> tuple[list[Any], list[Any]]:
    split = max(len(axes) - 1, 1)
    return axes[:split], axes[split:]


def _laid_out(form: Form, out: Slot, labels: set[Any]) -> Form | None:
    """Return a form whose loops can reach all arrays, or None; where all lie by columns, one loop runs over all."""
    arrays = [(v.slot, v.index) for v in form.values if isinstance(v.slot, Slot)] + [(out, form.index)]
    if any(v.dtype == BOOL != getattr(v.slot, "dtype", None) for v in form.values):
        return None
    for a, index in arrays:
        matrix = index in ("ij", "picked")
        known = a.dtype in (*FLOATS, BOOL) or a in labels
        if index is None or not known or order(a) not in (("C", "F") if matrix else ("C",)):
            return None
    indices = {v.index for v in form.values} | {form.index}
    if indices <= {"ij", ""} and {order(a) for a, index in arrays if index == "ij"} == {"F"}:
        values = [v._replace(index="i" * bool(v.index)) for v in form.values]
        return form._replace(rounds=(math.prod(form.rounds), 1), values=values, index="i" * bool(form.index))
    return form


def seen(slot: Slot, views: Views) -> tuple[Slot, Shape]:
    """Return a slot without views that leave its elements in order, and the shape in which it broadcasts."""
    shape = slot.shape
    while slot in views:
        call = views[slot]
        base = call.inputs[0]
        if call.function is np.broadcast_to and shape == slot.shape:
            shape = (1,) * (len(shape) - len(base.shape)) + base.shape
        elif _steps(base) != _steps(slot):
            break
        slot = base
    return slot, shape


def _steps(slot: Slot) -> list[tuple[int, int]]:
    return [(n, step) for n, step in zip(slot.shape, slot.strides, strict=True) if n != 1]


def order(slot: Slot) -> str:
    """Return "C" for an array in rows, "F" for a matrix in columns, and "" for any other layout."""
    steps = _steps(slot)
    for name, axes in (("C", steps), ("F", steps[::-1] if len(steps) == 2 else [])):
        sizes = itertools.accumulate([slot.dtype.itemsize, *(n for n, _ in axes[:0:-1])], operator.mul)
        if len(axes) == len(steps) and all(step == size for (_, step), size in zip(axes[::-1], sizes, strict=False)):
            return name
    return ""


def memory_key(slot: Slot) -> int:
    """Return which memory a slot that is no view lies in."""
    return id(slot if slot.array is None else memory_of(slot.array))


def is_product(call: Call) -> bool:
    """Return whether BLAS can compute a call: a product of matrices in rows or columns, which it counts in 32 bits."""
    slots = [call.output, *call.inputs]
    return call.function in (np.matmul, matmul) and all(
        isinstance(a, Slot) and len(a.shape) == 2 and order(a) and a.dtype in FLOATS
        and a.dtype == call.result.dtype and 0 < a.nbytes < 1 << 33
        for a in slots
    )  # fmt: skip
