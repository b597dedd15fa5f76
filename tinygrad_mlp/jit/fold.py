"""Folding: what is computed twice or known beforehand, and what a person would write otherwise, to the same bits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.tensor import assign
from ..rules.indexing import minus_one_hot, scatter
from ..rules.shapes import spread
from ..rules.table import Rule, find
from .objects import is_foreign
from .record import Call, Slot, is_elementwise, set_grad


def folded(calls: Sequence[Call], outputs: Iterable[Slot]) -> tuple[list[Call], dict[Any, Slot]]:
    """Return as many calls that give the same bits, of which some are not needed any more, and what they read instead.

    The caller keeps the ``outputs``, and what gradients are set to: each of these has memory of its own.
    """
    values = _Values(calls, outputs)
    merged = list(_cross_entropies(values.merged()))
    return [values.without_copy(call) for call in merged] if values.copied else merged, values.same


class _Values:
    """The values of a program, and which of them are the same to the last bit.

    A slot is a value: what is assigned to has another one afterwards. But memory from outside can be that of several
    slots, such as views: what is computed of it is the same only until something is assigned.

    Attributes:
        views: what each view is a view of.
        same: values that need not be computed, by what is read instead.
        kept: what the caller keeps.
        copied: values of which the caller keeps a copy, by the copy, in whose place they are computed.
        sections: in which section each value is computed.
        known: the first call of each kind, by its operands, and how much had been assigned by then.
        numbers: arrays that are full of one number, by that number.
        readers: which calls that are not elementwise read a value among others.
    """

    def __init__(self, calls: Sequence[Call], outputs: Iterable[Slot]) -> None:
        self.calls = calls
        self.views: dict[Any, Slot] = {call.output: call.inputs[0] for call in calls if call.is_view}
        self.same: dict[Any, Slot] = {}
        gradients = [call.inputs[1] for call in calls if call.function is set_grad]
        self.kept = {self._base(slot) for slot in (*outputs, *gradients)}
        self.copied: dict[Any, Slot] = {}
        self.sections: dict[Any, str] = {}
        self.known: dict[Any, tuple[Call, int]] = {}
        self.numbers: dict[Any, Slot] = {}
        self.readers: dict[Slot, set[int]] = {}

    def merged(self) -> Iterator[Call]:
        """Yield the calls, which read, of values that are the same, the one that is there first."""
        assigned = 0
        for call in map(_accumulating, self.calls):
            if not self.same.keys().isdisjoint(call.slots):
                call = _reading(call, self.same)
            if call.function is assign:
                assigned += 1
            elif call.output is not None and call.section != "update":
                rule = find(call.function)
                call = self._with_number(call, rule)
                self._note(call, self._unchanged(call, rule) or self._computed(call, rule, assigned))
            yield call

    def without_copy(self, call: Call) -> Call:
        """Return a call by which a value of which the caller keeps a copy is computed in place of the copy."""
        if call.function is np.copy and call.output is self.copied.get(call.inputs[0]):
            return replace(call, inputs=[call.output], output=call.inputs[0])
        return replace(_reading(call, self.copied), output=self.copied.get(call.output, call.output))

    def _note(self, call: Call, first: Any) -> None:
        """Note what a call makes; where that is there already, as ``first``, one of the two need not be made."""
        slot = call.result
        self.sections[slot] = call.section
        if not isinstance(first, Slot) or not slot.is_like(first):
            return
        if self._can_be(slot, first):
            self.same[slot] = first
        elif call.function is np.copy and slot in self.kept and first in self.sections.keys() - self.views - self.kept:
            self.copied.setdefault(first, slot)
        if self.sections.get(first) == call.section:  # if one is a gradient, the other is called so, too
            slot.source = slot.source or first.source
            first.source, first.term = first.source or slot.source, first.term or slot.term

    def _base(self, slot: Any) -> Any:
        """Return the slot in whose memory a value lies."""
        while (under := self.views.get(slot) or self.same.get(slot)) is not None:
            slot = under
        return slot

    def _with_number(self, call: Call, rule: Rule) -> Call:
        """Return a call with a number in place of an array that is full of it, beside one of the result's shape."""
        if call.function is spread and not call.inputs[0].shape and self._is_steady(call.inputs[0]):
            self.numbers[call.output] = call.inputs[0]
        for i, other in enumerate(reversed(call.inputs)) if rule.neutral else ():
            number = self._number(call.inputs[i])
            if number is not None and isinstance(other, Slot) and other.shape == call.result.shape:
                return replace(call, inputs=[other, number] if i else [number, other])
        return call

    def _number(self, a: Any) -> Slot | None:
        """Return the number that an array is full of, if it is known to be full of one."""
        known = not isinstance(a, Slot) or a.kind != "frozen" or not a.shape or a in self.numbers
        if not known and not math.isnan(value := _number_in(a)):
            self.numbers[a] = number = Slot(np.array(value, a.dtype), "frozen", a.name, a.source)
            number.term = a.term
        return self.numbers.get(a)

    def _unchanged(self, call: Call, rule: Rule) -> Any:
        """Return the operand that a call gives as it is, if it does."""
        if call.is_view:
            above = self.views.get(call.output)
            while above is not None and not call.result.is_like(above):
                above = self.views.get(above)
            return self.same.get(above, above)
        if call.function is np.copy:
            return call.inputs[0]
        for a, other, neutral in zip(call.inputs, reversed(call.inputs), rule.neutral, strict=False):
            number = math.nan if getattr(a, "shape", ()) else _number_in(a)
            if number == neutral and math.copysign(1, number) == math.copysign(1, neutral):
                return other if call.result.dtype.kind != "c" else None
        return None

    def _computed(self, call: Call, rule: Rule, assigned: int) -> Slot | None:
        """Return what an earlier call has made of the same operands, if it was to tell of no fewer errors."""
        operands = [a if isinstance(a, Slot) else repr(a) for a in call.inputs]
        key = (call.function, *operands, repr(call.keywords) if call.keywords else "")
        earlier, then = self.known.setdefault(key, (call, assigned))
        if earlier is call or rule.effect or not is_foreign(getattr(call.function, "__module__", None) or "numpy"):
            return None
        if assigned != then and not all(map(self._is_steady, call.slots)):
            self.known[key] = call, assigned
            return None
        told = all(mode in ("ignore", earlier.errors[kind]) for kind, mode in call.errors.items())
        return earlier.output if told else None

    def _is_steady(self, slot: Slot) -> bool:
        """Return whether nothing is assigned to the memory of a value while the program runs."""
        return self._base(slot).kind in ("result", "input", "frozen")

    def _can_be(self, slot: Slot, first: Slot) -> bool:
        """Return whether a value can be read where the one is that was there first.

        Not where a product has both as operands: of ``a.T @ a``, BLAS computes half, in another order.
        """
        base = self._base(first)
        if slot in self.views:
            return self._base(slot) is base
        if slot in self.kept or not self._is_steady(base):
            return False
        if not self.readers:
            self.readers = self._readers()
        mine, others = self.readers[slot], self.readers[base]
        self.readers[base] = mine | others if mine.isdisjoint(others) else others
        return mine.isdisjoint(others)

    def _readers(self) -> dict[Slot, set[int]]:
        readers: dict[Slot, set[int]] = defaultdict(set)
        for i, call in enumerate(self.calls):
            for slot in call.slots if len(call.slots) > 1 and not is_elementwise(call) else ():
                readers[self._base(slot)].add(i)
        return readers


def _reading(call: Call, instead: Mapping[Any, Slot]) -> Call:
    """Return a call that reads other values instead of some."""

    def read(a: Any) -> Any:
        if isinstance(a, dict):
            return {key: read(value) for key, value in a.items()}
        if type(a) in (list, tuple):
            return type(a)(map(read, a))
        return instead.get(a, a) if isinstance(a, Slot) else a

    return replace(call, inputs=read(call.inputs), keywords=read(call.keywords))


def _cross_entropies(calls: Iterable[Call]) -> Iterator[Call]:
    """Yield the calls, with the gradient of a cross entropy as a person would write it.

    The gradient of picked elements of a log_softmax is ``g - softmax * g.sum()`` for a g that is one negative number in
    each row. Its sum is the number s itself, and all is ``softmax * -s``, to which s is added where it was picked:
    0 - y is -y for every y but 0, and as s is negative and no exp is, the zeros have the same sign.
    """
    scattered: dict[Any, Call] = {}
    sums: dict[Any, Call] = {}
    products: dict[Any, tuple[Call, Slot]] = {}
    exponentials = set()
    for call in calls:
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
            scattering, y = products[others[0]]
            if (y.shape, y.dtype) == (call.result.shape, call.result.dtype):
                x, labels = scattering.inputs[:2]
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
    """Return the number that a constant is, or an array that never changes is full of; NaN if there is none."""
    if isinstance(a, (int, float)):
        return a
    array = a.array if isinstance(a, Slot) and a.kind == "frozen" else None
    if array is None or array.dtype.char not in "fd" or not array.size or (array != array.flat[0]).any():
        return math.nan
    return float(array.flat[0]) if np.isfinite(array.flat[0]) else math.nan


def _sums_rows(call: Call) -> bool:
    return call.keywords.get("axis") in (1, -1, (1,), (-1,)) and bool(call.keywords.get("keepdims"))
