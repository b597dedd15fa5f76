"""Folding: results that are known beforehand, and calls that a person would write otherwise, to the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..rules.indexing import scatter, scatter_less
from .record import Call, Slot


def folded(calls: Sequence[Call]) -> Iterator[Call]:
    """Yield calls that give the same bits, of which some are not needed any more.

    A number that is scattered over rows of zeros is also their sums. Of such rows less y, all but the number is 0 - y.
    Both are exact, as 0 + x is for an x that is not 0 itself.
    """
    scattered: dict[Any, Call] = {}
    sums: dict[Any, float] = {}
    for call in calls:
        spread = next((scattered[a] for a in call.slots[:1] if a in scattered), None)
        if call.function is scatter and _number_in(call.inputs[0]):
            scattered[call.output] = call
        elif call.function is np.sum and spread is not None and _sums_rows(call):
            sums[call.output] = _number_in(spread.inputs[0])
        elif call.function is np.multiply and any(_fits(a, call) for a in call.slots if a not in sums):
            call = replace(call, inputs=[sums.get(a, a) if isinstance(a, Slot) else a for a in call.inputs])
        elif call.function is np.subtract and spread is not None and _fits(call.inputs[1], call):
            call = replace(call, function=scatter_less, inputs=[*spread.inputs[:2], call.inputs[1]])
        yield call


def _number_in(a: Any) -> float:
    """Return the number that a constant array is full of; 0 if it is no such array."""
    array = a.array if isinstance(a, Slot) and a.kind == "frozen" else None
    if array is None or array.dtype.char not in "fd" or not array.size or (array != array.flat[0]).any():
        return 0.0
    return float(array.flat[0]) if np.isfinite(array.flat[0]) else 0.0


def _sums_rows(call: Call) -> bool:
    return call.keywords.get("axis") in (1, -1, (1,), (-1,)) and bool(call.keywords.get("keepdims"))


def _fits(a: Any, call: Call) -> bool:
    return isinstance(a, Slot) and (a.shape, a.dtype) == (call.result.shape, call.result.dtype)
