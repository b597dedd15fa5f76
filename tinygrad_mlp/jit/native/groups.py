"""Groups: which calls form one loop, in what order, and what leaves a loop and so needs memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import assign
from ..plan import Plan, base_of, has_effect
from ..record import Call, Slot
from .forms import Form, form_of, is_product, memory_key
from .products import Factors

MOST = 1500
"""Programs of more calls stay NumPy's: to compile them takes minutes."""
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
    index: str | None
    stage: int
    slot: Slot


class Schedule:
    """The groups of a plan's calls, in order: each call is in the first group where all that it needs is there.

    Attributes:
        groups: all of them; the first is for calls of NumPy that need nothing, such as draws and checks.
        forms: the form of each call that is in a loop.
        stored: the values of loops that need memory, as something else than their own round of the loop reads them.
        private: of these, those which only their own row reads again.
    """

    def __init__(self, plan: Plan, checked: set[Any], factors: Factors) -> None:
        self.plan, self.factors = plan, factors
        few = plan.calls if len(plan.calls) <= MOST else ()
        self.forms = {c: form for c in few if (form := form_of(c, plan.views, checked)) is not None}
        self.products = {c for c in few if is_product(c)}
        self.groups = [Group("numpy")]
        self.made: dict[Slot, _Use] = {}
        self.written: dict[int, _Use] = {}
        self.touched: dict[int, list[_Use]] = defaultdict(list)
        self.effect = 0
        self.waiting: dict[Slot, Call] = {}
        self.position = {call: i for i, call in enumerate(plan.calls)}
        self.readers: dict[Slot, list[Call]] = defaultdict(list)
        for call in plan.calls:
            for a in call.slots:
                self.readers[base_of(plan, a)].append(call)
        self.kept = {base_of(plan, s) for s in (*plan.outputs, *plan.grads.values()) if s is not None}
        self.private: set[Slot] = set()
        shared = self.shared = set(self.kept)
        for call in plan.calls:
            if self._waits(call):
                self.waiting[call.result] = call
                continue
            for other in self._overwritten(call):
                if self.waiting.pop(other.result, None):
                    self._place([*self._awaited(other), other])
            self._place([*self._awaited(call), call])
        self.stored = {s for s in self.private | shared if s.kind == "result"}
        self.private -= shared

    def _writes(self, call: Call) -> bool:
        """Return whether a call changes an array from outside."""
        return call.function is assign or call in self.factors

    def _waits(self, call: Call) -> bool:
        """Return whether a call is computed, element by element, in the loop of the first one that needs it."""
        form, out = self.forms.get(call), call.output
        if form is None or out is None or form.start or has_effect(call) or out in self.kept:
            return False
        readers = self.readers[out]
        reads = [use for c in readers for use in self._uses(c) if base_of(self.plan, use.slot) is out]
        loops = [self.forms[c].rounds for c in readers if c in self.forms]
        fits = len(loops) == len(readers) and all(form.rounds in (rounds, (rounds[0], 1)) for rounds in loops)
        return bool(readers) and fits and all(use.slot is out and use.index == form.index for use in reads)

    def _overwritten(self, call: Call) -> list[Call]:
        """Return the calls that wait, and read what a call is going to change."""
        memory = memory_key(call.result) if self._writes(call) else None
        return [c for c in self.waiting.values() if memory in [memory_key(base_of(self.plan, a)) for a in c.slots]]

    def _awaited(self, call: Call) -> list[Call]:
        """Return the calls that a call needs and that have waited for it, in order."""
        found, left = [], [call]
        while left:
            for root in {base_of(self.plan, a) for a in left.pop().slots} & self.waiting.keys():
                found.append(self.waiting.pop(root))
                left.append(found[-1])
        return sorted(found, key=self.position.__getitem__)

    def _index(self, call: Call) -> str | None:
        """Return by what index a call makes its result; None where this is ready only after the group."""
        form = self.forms.get(call)
        if form is None:
            return None if call in self.products else "numpy"
        return None if form.start and form.index != "i" else form.index

    def _uses(self, call: Call, group: int = 0, stage: int = 0) -> list[_Use]:
        """Return what a call reads, and how."""
        form = self.forms.get(call)
        if form is not None:
            return [_Use(group, v.index, stage, v.slot) for v in form.values if isinstance(v.slot, Slot)]
        return [_Use(group, self._index(call), stage, a) for a in call.slots]

    def _place(self, calls: Sequence[Call]) -> None:
        """Put calls, of which the last needs the others, in the first group that can take them up."""
        last, first = calls[-1], max(map(self._earliest, calls))
        form = self.forms.get(last)
        kind = "loop" if form is not None else "product" if last in self.products else "numpy"
        number = next((i for i in range(first, len(self.groups)) if self._fits(i, kind, calls)), len(self.groups))
        if number == len(self.groups):
            self.groups.append(Group(kind))
        for call in calls:
            self._join(call, number)

    def _fits(self, number: int, kind: str, calls: Sequence[Call]) -> bool:
        """Return whether a group can take up calls: a loop, if it has something to do with them."""
        group = self.groups[number]
        if group.kind != kind or kind != "loop":
            return group.kind == kind == "numpy"
        forms = [self.forms[c] for c in calls]
        shared = any(v.slot in group.slots for form in forms for v in form.values if v.index)
        return _shares(forms[-1], group.rounds) and (shared or group.rounds == (1, 1))

    def _earliest(self, call: Call) -> int:
        """Return the first group in which a call may be: where its operands are ready, and memory may be written."""
        first = self.effect if has_effect(call) else 0
        for use in self._uses(call):
            root = base_of(self.plan, use.slot)
            made, written = self.made.get(root), self.written.get(memory_key(root))
            if made is not None:
                inside = use.index in READABLE.get(made.index, ()) and (use.slot is root or use.index == "numpy")
                first = max(first, made.group + (not inside))
            if written is not None:
                first = max(first, written.group + (written.slot is not root))
        if self._writes(call):
            form = self.forms.get(call)
            for use in self.touched[memory_key(call.result)]:
                own = use.index == self._index(call) and (form is None or use[2:] == (0, call.inputs[0]))
                first = max(first, use.group + (not own))
        return first

    def _join(self, call: Call, number: int) -> None:
        """Put a call in a group, and note what it reads and makes there."""
        group, form, stage, out = self.groups[number], self.forms.get(call), 0, call.output
        group.calls.append(call)
        if form is not None:
            made = {use.slot: use for use in self.made.values() if use.group == number}
            ready = [made[v.slot].stage + (v.index == "picked") for v in form.values if v.slot in made]
            stage = group.stage[call] = max(ready, default=0)
            group.rounds = form.rounds[0], max(form.rounds[1], group.rounds[1])
            group.slots.update(v.slot for v in (*form.values, _Use(number, form.index, stage, call.result)) if v.index)
        for use in self._uses(call, number, stage):
            self._note_read(use, base_of(self.plan, use.slot))
        if out is not None:
            done = form is not None and form.start != ""
            self.made[out] = _Use(number, self._index(call), stage + done, out)
            if self._writes(call):
                self.written[memory_key(out)] = self.made[out]
                self.touched[memory_key(out)].append(self.made[out])
        if has_effect(call) and call.function is not assign:
            self.effect = number

    def _note_read(self, use: _Use, root: Slot) -> None:
        """Note that a value is read: of what other groups make, there must be memory."""
        made = self.made.get(root)
        if made is not None and (made.group != use.group or use.slot is not root or use.index in (None, "numpy")):
            self.shared.add(root)
        elif made is not None and (use.index == "picked" or (use.index == "ij" and made.stage < use.stage)):
            self.private.add(root)
        if root.array is not None:
            self.touched[memory_key(root)].append(use)

    def leaving(self, group: Group) -> list[Slot]:
        """Return the results of a group that need memory."""
        made = [call.output for call in group.calls if call.output is not None and call.output.kind == "result"]
        return [s for s in made if group.kind != "loop" or (s in self.stored and s not in self.private)]


def turns(call: Call) -> bool:
    """Return whether a view is a matrix transposed."""
    x = call.inputs[0]
    turned = call.function is np.transpose and call.keywords.get("axes") in (None, (1, 0), [1, 0])
    return len(x.shape) == 2 and (turned or call.function is np.swapaxes)


def _shares(form: Form, rounds: tuple[int, int]) -> bool:
    """Return whether what has a form can be computed in a loop of so many rounds, or widens it."""
    return form.rounds[0] == rounds[0] and (1 in (form.rounds[1], rounds[1]) or form.rounds[1] == rounds[1])
