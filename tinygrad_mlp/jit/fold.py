"""Folding: results that are known beforehand, and calls that a person would write otherwise, to the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..rules.indexing import minus_one_hot, scatter
from .record import Call, Slot


def folded(calls: Sequence[Call]) -> Iterator[Call]:
    """Yield calls that give the same bits, of which some are not needed any more.

    The gradient of picked elements of a log_softmax is ``g - softmax * g.sum()`` for a g that is one negative number in
    each row. Its sum is the number s itself, and all is ``softmax * -s``, to which s is added where it was picked:
    0 - y is -y for every y but 0, and as s is negative and no exp is, the zeros have the same sign.
    """
    scattered: dict[Any, Call] = {}
    sums: dict[Any, Call] = {}
    products: dict[Any, tuple[Call, Slot]] = {}
    exponentials = set()
    for call in map(_accumulating, calls):
        first, *others = call.inputs or [None]
        if call.function is scatter and _number_in(first) < 0:
            scattered[call.output] = call
        elif call.function is np.exp:
            exponentials.add(call.output)
        elif call.function is np.sum and first in scattered and _sums_rows(call):
            sums[call.output] = scattered[first]
        elif call.function is np.multiply and first in exponentials and others[0] in sums:
            products[call.output] = sums[others[0]], first
        elif call.function is np.subtract and others[0] in products and products[others[0]][0].output is first:
            spread, y = products[others[0]]
            if (y.shape, y.dtype) == (call.result.shape, call.result.dtype):
                x, labels = spread.inputs[:2]
                call = replace(call, function=minus_one_hot, inputs=[y, labels, -_number_in(x)])
        yield call


def _accumulating(call: Call) -> Call:
    """Return a call as part of the backward pass, and its result as a gradient, if it adds one to that from before."""
    if call.function is not np.add or call.section != "forward" or len(call.slots) != 2:
        return call
    before, term = call.slots
    if not isinstance(term.source, Slot) or term.kind != "result":
        return call
    found = before.kind == "grad" and before.source._data is term.source.array
    if not found and (before.source is not term.source or before.kind != "result"):
        return call
    before.term, term.term, call.result.source = not found, True, term.source
    return replace(call, section="backward")


def _number_in(a: Any) -> float:
    """Return the number that a constant array is full of; 0 if it is no such array."""
    array = a.array if isinstance(a, Slot) and a.kind == "frozen" else None
    if array is None or array.dtype.char not in "fd" or not array.size or (array != array.flat[0]).any():
        return 0.0
    return float(array.flat[0]) if np.isfinite(array.flat[0]) else 0.0


def _sums_rows(call: Call) -> bool:
    return call.keywords.get("axis") in (1, -1, (1,), (-1,)) and bool(call.keywords.get("keepdims"))
