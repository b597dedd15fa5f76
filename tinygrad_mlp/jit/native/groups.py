"""Groups: which calls form one loop, in what order, and what leaves a loop and so needs memory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import assign
from ..plan import Plan, base_of, has_effect
from ..record import Call, Slot
from .forms import Form, Value, form_of, is_product, memory_key
from .products import Factors

PIECE = 200
"""Of about how many calls a loop, and a piece, is at most: twice as many take up to four times as long to compile."""
READABLE: dict[Any, set[str]] = {"ij": {"ij", "picked"}, "i": {"i"}, "": {""}, "numpy": {"numpy"}}
"""By what index a value can be read in the very group that makes it, by the index with which it is made."""


@dataclass(eq=False)
class Group:
    """Calls that are one "loop", a "product" of BLAS, or calls of "numpy", which have no loop.

    A row of a loop goes through stages: numbers of the row, then the elements of its first inner loop, then numbers
    that need all of these, and so on. ``stage`` says for each call in which it is; ``slots`` are the arrays of a loop.
    """

    kind: str
    rounds: tuple[int, int] = (1, 1)
    calls: list[Call] = field(default_factory=list)
    stage: dict[Call, int] = field(default_factory=dict)
    slots: set[Slot] = field(default_factory=set)


class _Use(NamedTuple):
    """Where a value is made or read: the number of a group, by what index and in what stage, and the value."""

    group: int
    by: str | None
    stage: int
    slot: Slot


class Schedule:
    """The groups of a plan's calls, in order: each call is in the first group where all that it needs is there.

    Attributes:
        groups: all of them; the first is for calls of NumPy that need nothing, such as draws and checks.
        forms: the form of each call that is in a loop.
        stored: the values of loops that need memory, as something else than their own round of the loop reads them.
    """

    def __init__(self, plan: Plan, checked: set[Any], factors: Factors) -> None:
        self.plan, self.factors = plan, factors
        self.forms = {c: form for c in plan.calls if (form := form_of(c, plan.views, checked)) is not None}
        self.groups = [Group("numpy")]
        self.made: dict[Slot, _Use] = {}
        self.written: dict[int, _Use] = {}
        self.touched: dict[int, list[_Use]] = defaultdict(list)
        self.effect = 0
        self.waiting: dict[Slot, Call] = {}
        self.position = {call: i for i, call in enumerate(plan.calls)}
        self.reads = {call: self._reads(call) for call in plan.calls}
        self.readers: dict[Slot, list[tuple[Call, str | None]]] = defaultdict(list)
        for call, reads in self.reads.items():
            for root, index in reads:
                self.readers[root].append((call, index))
        self.kept = {base_of(plan, s) for s in (*plan.outputs, *plan.grads.values()) if s is not None}
        self.stored = set(self.kept)
        for call in plan.calls:
            if self._waits(call):
                self.waiting[call.result] = call
                continue
            for other in self._overwritten(call):
                if self.waiting.pop(other.result, None):
                    self._place([*self._awaited(other), other])
            self._place([*self._awaited(call), call])

    def _index(self, call: Call) -> str | None:
        """Return by what index a call makes its result; None where this is ready only after the group."""
        form = self.forms.get(call)
        if form is None:
            return None if is_product(call) else "numpy"
        return None if _is_reduction(form) and form.by != "i" else form.by

    def _reads(self, call: Call) -> list[tuple[Slot, str | None]]:
        """Return what a call reads and by what index, which is None through a view."""
        form = self.forms.get(call)
        if form is None:
            return [(base_of(self.plan, a), self._index(call)) for a in call.slots]
        values = [(v.slot, base_of(self.plan, v.slot), v.by) for v in form.values if isinstance(v.slot, Slot)]
        return [(root, index if slot is root else None) for slot, root, index in values]

    def _writes(self, call: Call) -> bool:
        """Return whether a call changes an array from outside."""
        return call.function is assign or call in self.factors

    def _waits(self, call: Call) -> bool:
        """Return whether a call is computed, element by element, in the loop of the first one that needs it."""
        form, out = self.forms.get(call), call.output
        if form is None or out is None or _is_reduction(form) or has_effect(call) or out in self.kept:
            return False
        others = [(self.forms.get(c, form), c in self.forms and index == form.by) for c, index in self.readers[out]]
        return bool(others) and all(
            alike and form.rounds in (other.rounds, (other.rounds[0], 1)) for other, alike in others
        )

    def _overwritten(self, call: Call) -> list[Call]:
        """Return the calls that wait, and read what a call is going to change."""
        memory = memory_key(call.result) if self._writes(call) else None
        return [c for c in self.waiting.values() if memory in [memory_key(root) for root, _ in self.reads[c]]]

    def _awaited(self, call: Call) -> list[Call]:
        """Return the calls that a call needs and that have waited for it, in order."""
        found, left = [], [call]
        while left:
            for root in {root for root, _ in self.reads[left.pop()]} & self.waiting.keys():
                found.append(self.waiting.pop(root))
                left.append(found[-1])
        return sorted(found, key=self.position.__getitem__)

    def _place(self, calls: list[Call]) -> None:
        """Put calls, of which the last needs the others, in the first group that can take them up."""
        kind = "loop" if calls[-1] in self.forms else "product" if is_product(calls[-1]) else "numpy"
        first = max(map(self._earliest, calls))
        number = next((i for i in range(first, len(self.groups)) if self._fits(i, kind, calls)), len(self.groups))
        if number == len(self.groups):
            self.groups.append(Group(kind))
        for call in calls:
            self._join(call, number)

    def _fits(self, number: int, kind: str, calls: list[Call]) -> bool:
        """Return whether a group can take up calls: a loop, if it has something to do with them."""
        group = self.groups[number]
        if group.kind != kind or kind != "loop" or len(group.calls) > PIECE:
            return group.kind == kind == "numpy"
        (outer, inner), rounds = self.forms[calls[-1]].rounds, group.rounds
        shared = any(v.slot in group.slots for c in calls for v in self.forms[c].values if v.by)
        return outer == rounds[0] and (1 in (inner, rounds[1]) or inner == rounds[1]) and (shared or rounds == (1, 1))

    def _earliest(self, call: Call) -> int:
        """Return the first group in which a call may be: where its operands are ready, and memory may be written."""
        first = self.effect if has_effect(call) else 0
        for root, index in self.reads[call]:
            made, written = self.made.get(root), self.written.get(memory_key(root))
            if made is not None:
                first = max(first, made.group + (index not in READABLE.get(made.by, ())))
            if written is not None:
                first = max(first, written.group + (written.slot is not root))
        if self._writes(call):
            form = self.forms.get(call)
            for use in self.touched[memory_key(call.result)]:
                own = use.by == self._index(call) and (form is None or use[2:] == (0, call.inputs[0]))
                first = max(first, use.group + (not own))
        return first

    def _join(self, call: Call, number: int) -> None:
        """Put a call in a group, and note what it reads and makes there."""
        group, form, stage = self.groups[number], self.forms.get(call), 0
        group.calls.append(call)
        if form is not None:
            made = [(self.made[root], index) for root, index in self.reads[call] if root in self.made]
            stage = max((use.stage + (index == "picked") for use, index in made if use.group == number), default=0)
            group.stage[call], group.rounds = stage, (form.rounds[0], max(form.rounds[1], group.rounds[1]))
            group.slots.update(v.slot for v in (*form.values, Value(call.result, form.by, None)) if v.by)
        for root, index in self.reads[call]:
            self._note_read(_Use(number, index, stage, root))
        if call.output is not None:
            self.made[call.output] = _Use(number, self._index(call), stage + _is_reduction(form), call.output)
            if self._writes(call):
                self.written[memory_key(call.output)] = self.made[call.output]
                self.touched[memory_key(call.output)].append(self.made[call.output])
        if has_effect(call) and call.function is not assign:
            self.effect = number

    def _note_read(self, use: _Use) -> None:
        """Note that a value is read; it needs memory if that is not where it is at hand as a number."""
        made = self.made.get(use.slot)
        if made is not None:
            at_hand = (made.group, made.by) == (use.group, use.by) and use.by != "numpy"
            if not at_hand or (use.by == "ij" and made.stage < use.stage):
                self.stored.add(use.slot)
        if use.slot.array is not None:
            self.touched[memory_key(use.slot)].append(use)

    def calls_of(self, kind: str) -> list[Call]:
        """Return the calls in groups of a kind."""
        return [call for group in self.groups if group.kind == kind for call in group.calls]

    def leaving(self, group: Group) -> list[Slot]:
        """Return the results of a group that need memory."""
        made = [call.output for call in group.calls if call.output is not None and call.output.kind == "result"]
        return [s for s in made if group.kind != "loop" or s in self.stored]


def _is_reduction(form: Form | None) -> bool:
    return form is not None and form.start != ""


def turns(call: Call) -> bool:
    """Return whether a view is a matrix transposed."""
    x = call.inputs[0]
    turned = call.function is np.transpose and call.keywords.get("axes") in (None, (1, 0), [1, 0])
    return len(x.shape) == 2 and (turned or call.function is np.swapaxes)
