"""Forms: by which counters a loop over rows, i, and one inside of it, j, reaches the operands of a call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import assign
from ...rules.elementwise import select
from ...rules.indexing import gather, put
from ...rules.linalg import matmul
from ...rules.shapes import kept_shape, spread
from ...rules.table import Rule, find
from ..naming import is_number
from ..record import Call, Slot, memory_of, packed
from ..scope import _kind, _loop

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
BOOL = np.dtype(bool)
MANY = 4096
"""From how many numbers on NumPy sums float32: it does that more exactly."""
SLOW = 4096
"""From how many elements on NumPy, which takes several at once, computes a function faster than a call for each."""

Views = Mapping[Slot, Call]
Shape = tuple[int, ...]


class Value(NamedTuple):
    """An operand of a loop: a slot or a number, by which counters it is reached, and the dtype a formula takes it in.

    By "ij" there is an element for each round of both loops, by "i" one for each row, by "j" one for each column, and
    by "" the same in all. "picked" is the element of a row that the row's label says.
    """

    slot: Any
    by: str
    dtype: Any


class Form(NamedTuple):
    """How a call is computed in ``rounds`` of the two loops: by a formula of values, to a result that has an index.

    Only a reduction has a ``start``.
    """

    rounds: tuple[int, int]
    formula: str
    values: list[Value]
    by: str
    start: str


def form_of(call: Call, views: Views, checked: set[Any]) -> Form | None:
    """Return the form of a call, or None; ``checked`` are the labels of which is known that they are classes."""
    function, rule = call.function, _rule(call)
    labels, formula, start = call.inputs[1:2] if rule.reach else [], rule.loop, rule.start
    arity = len(rule.reach) or sum(f"{{{i}}}" in formula for i in range(3))
    inputs = call.inputs[function is assign :][:arity]
    known = formula and call.output is not None and checked.issuperset(labels)
    if not known or not set(call.errors.values()) <= {"warn", "ignore"}:
        return None
    dtypes = _dtypes(call) if all(isinstance(a, Slot) or is_number(a) for a in inputs) else []
    if not dtypes:
        return None
    operands = [seen(a, views) if isinstance(a, Slot) else (a, ()) for a in inputs]
    whole, indices, index = _reached(call, [shape for _, shape in operands])
    if start and index == index_of(whole, whole):  # each is the sum of one element
        formula, start = "{0}", ""
    values = [Value(a, *of) for (a, _), *of in zip(operands, indices, dtypes, strict=False)]
    return _laid_out(Form(rounds_of(whole), formula, values, index, start), call.result, labels)


def _rule(call: Call) -> Rule:
    return find(np.copy if call.function is assign else call.function)


def _dtypes(call: Call) -> Sequence[Any]:
    """Return in what dtypes a formula takes its operands, those of NumPy's loop or that of the result, if it can."""
    function, out, keywords = call.function, call.result.dtype, call.keywords
    if _rule(call).start:
        known = out in FLOATS and set(keywords) <= {"axis", "keepdims", "dtype"} and len(call.inputs) == 1
        many = call.inputs[0].nbytes >= MANY * call.result.nbytes and function is np.sum and out == FLOATS[0]
        return [out] if known and keywords.get("dtype") in (None, out) and not many else []
    if isinstance(function, np.ufunc):
        *loop, made = (not keywords and _loop(function, tuple(map(_kind, call.inputs)))) or [None]
        return loop if made == out and set(loop) <= set(FLOATS) and not _is_slow(call) else []
    if function is put and not all(i == slice(None) for i in call.inputs[1:]):
        return []
    return [BOOL if function in (np.where, select) else out, out, out]


def _is_slow(call: Call) -> bool:
    """Return whether a function is called for each of many elements; of a root, a processor takes several at once."""
    called = _rule(call).loop.startswith("np.") and call.function is not np.sqrt
    return called and math.prod(call.result.shape) >= SLOW


def _reached(call: Call, shapes: list[Shape]) -> tuple[Shape, Sequence[str], str]:
    """Return the shape of what the loops of a call run over, and the indices of its operands and its result."""
    function, out, x = call.function, call.result.shape, call.inputs[0]
    if _rule(call).reach:
        whole = x.shape if function is gather else out
        fits = len(whole) == 2 and 1 not in whole and shapes[0] == x.shape
        return whole, _rule(call).reach if fits else ["?"], "ij"[: len(out)]
    whole, result = out, out
    if _rule(call).start:
        whole, result = x.shape, kept_shape(x.shape, call.keywords.get("axis"))
    if function is spread and shapes[0] == x.shape != ():
        shapes = [kept_shape(out, *call.inputs[2:])]
    return whole, [index_of(shape, whole) for shape in shapes], index_of(result, whole)


def index_of(shape: Shape, whole: Shape) -> str:
    """Return by which counters one reaches what broadcasts to a shape of axes i, ..., i, j; "?" if by none."""
    padded = (1,) * (len(whole) - len(shape)) + shape
    outer, inner = _halves([a == n for a, n in zip(padded, whole, strict=True) if n != 1])
    return "?" if len(set(outer)) > 1 else "i" * any(outer) + "j" * any(inner)


def rounds_of(whole: Shape) -> tuple[int, int]:
    """Return how often the outer and the inner loop over a shape run."""
    outer, inner = _halves([n for n in whole if n != 1])
    return math.prod(outer), math.prod(inner)


def _halves(axes: list[Any]) -> tuple[list[Any], list[Any]]:
    split = max(len(axes) - 1, 1)
    return axes[:split], axes[split:]


def _laid_out(form: Form, out: Slot, labels: list[Any]) -> Form | None:
    """Return a form whose loops can reach all arrays, or None; where all lie by columns, one loop runs over all."""
    arrays = [v for v in (*form.values, Value(out, form.by, out.dtype)) if isinstance(v.slot, Slot)]
    for a, index, dtype in arrays:
        orders = ("C", "F") if index in ("ij", "picked") else ("C",)
        known = a.dtype in FLOATS if dtype in FLOATS else a.dtype == dtype == BOOL
        if index == "?" or 0 in a.shape or order(a) not in orders or not (known or a in labels):
            return None
    if {v.by for v in arrays} <= {"ij", ""} and {order(v.slot) for v in arrays if v.by} == {"F"}:
        values = [v._replace(by="i" * bool(v.by)) for v in form.values]
        return form._replace(rounds=(math.prod(form.rounds), 1), values=values, by="i" * bool(form.by))
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
    steps, size = _steps(slot), slot.dtype.itemsize
    shape, strides = (tuple(numbers) for numbers in zip(*steps, strict=True)) if steps else ((), ())
    if strides == packed(shape, size):
        return "C"
    return "F" if len(shape) == 2 and strides[::-1] == packed(shape[::-1], size) else ""


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
