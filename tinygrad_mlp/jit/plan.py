"""Planning: which calls are needed, which are views, and in what memory each result goes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..blas import is_better_copied
from ..core.tensor import assign
from ..rules.linalg import matmul
from ..rules.table import find
from .fold import folded
from .record import Call, Record, Slot, is_elementwise, memory_of, set_grad


@dataclass(eq=False)
class Storage:
    """Memory of temporary results, shared by those that are not needed at the same time."""

    name: str
    nbytes: int


@dataclass(eq=False)
class Plan:
    """A record made ready to be emitted: calls in order, and the place of every slot.

    Attributes:
        recorded: the calls of the record, as they are folded.
        same: values that are another one as well, by that one, which is read instead.
        calls: what is executed at each call of the step.
        views: slots that are views made once, and the calls that make them.
        bases: for each view the slot in whose memory it lies.
        place: the storage of each slot, or the slot in whose memory it is put.
        replaced: for results computed in an operand's memory, that operand.
        fresh: slots for which each call makes new memory, because the caller keeps them.
        found: the gradients from before that are read, and whether the new one can be computed in their memory.
        storages: all temporary memory.
        helper_bytes: the size of arrays that never change: zeros, numbers, the numbers of rows by which labels pick.
        dropped: how many calls nothing needed.
    """

    record: Record
    outputs: list[Slot]
    recorded: list[Call] = field(default_factory=list)
    same: dict[Slot, Slot] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    views: dict[Slot, Call] = field(default_factory=dict)
    bases: dict[Slot, Slot] = field(default_factory=dict)
    place: dict[Slot, Storage | Slot] = field(default_factory=dict)
    replaced: dict[Slot, Slot] = field(default_factory=dict)
    fresh: set[Slot] = field(default_factory=set)
    grads: dict[Any, Slot | None] = field(default_factory=dict)
    found: dict[Slot, bool] = field(default_factory=dict)
    storages: list[Storage] = field(default_factory=list)
    helper_bytes: int = 0
    dropped: int = 0

    @property
    def bytes(self) -> int:
        """The size of all buffers that the program holds, gradients included."""
        return sum(s.nbytes for s in self.storages) + self.helper_bytes

    def __repr__(self) -> str:
        return (
            f"Plan: {len(self.calls)} calls, {len(self.storages)} buffers, {self.bytes:,} bytes, "
            f"{len(self.views)} views, {self.dropped} calls dropped"
        )


def make_plan(record: Record, outputs: list[Slot]) -> Plan:
    """Return the plan of a record whose caller gets ``outputs``."""
    plan = Plan(record, outputs)
    needed_calls(plan)
    _place(plan)
    return plan


def needed_calls(plan: Plan) -> None:
    """Find the calls that are needed, those that are views, and the gradients that are read and left."""
    plan.recorded, plan.same = folded(plan.record.calls, plan.outputs)
    calls = _needed(plan, plan.recorded)
    plan.views = {c.output: c for c in calls if c.is_view and c.output is not None}
    for slot, call in plan.views.items():
        plan.bases[slot] = base_of(plan, call.inputs[0])
    plan.grads = {c.inputs[0]: c.inputs[1] for c in calls if c.function is set_grad}
    plan.found = _found(plan, calls)
    plan.calls = [c for c in calls if c.function is not set_grad and c.output not in plan.views]


def _needed(plan: Plan, calls: list[Call]) -> list[Call]:
    """Return the calls that have an effect or lead to one or to an output; of the writes to a gradient, the last."""
    needed, kept, written = set(plan.outputs), [], set()
    for call in reversed(calls):
        if call.function is set_grad:
            if call.inputs[0] in written:
                continue
            written.add(call.inputs[0])
        elif call.output not in needed and not has_effect(call):
            continue
        kept.append(call)
        needed.update(call.slots)
    plan.dropped = len(calls) - len(kept)
    return kept[::-1]


def has_effect(call: Call) -> bool:
    """Return whether a call does something besides its result: writes, draws, or checks."""
    return call.function in (assign, set_grad) or find(call.function).effect


def base_of(plan: Plan, slot: Slot) -> Slot:
    """Return the slot in whose memory a view lies, or the slot itself."""
    return plan.bases.get(slot, slot)


def _found(plan: Plan, calls: list[Call]) -> dict[Slot, bool]:
    """Return the gradients from before that the step reads, and whether they are only added to, once."""
    readers: dict[Slot, list[Call]] = defaultdict(list)
    for call in calls:
        for base in {base_of(plan, a) for a in call.slots}:
            if base.kind == "grad" and not call.is_view:
                readers[base].append(call)
    for slot in plan.outputs:
        if base_of(plan, slot).kind == "grad":
            readers[base_of(plan, slot)] = []
    return {slot: len(used) == 1 and _only_adds(plan, slot, used[0]) for slot, used in readers.items()}


def _only_adds(plan: Plan, slot: Slot, call: Call) -> bool:
    return is_elementwise(call) and slot in call.inputs and call.output is plan.grads.get(slot.source)


def _place(plan: Plan) -> None:
    """Give every result its memory."""
    last = _last_uses(plan)
    kept = {base_of(plan, s) for s in plan.grads.values() if s is not None}
    _Assigned(plan, last, kept).place()
    plan.fresh = {s for s in plan.outputs if s.kind == "result" and s not in plan.views and s not in plan.place} - kept
    dying: dict[int, list[Slot]] = defaultdict(list)
    for slot, index in last.items():
        if slot not in kept:
            dying[index].append(slot)
    _allot(plan, kept, dying)


def _allot(plan: Plan, kept: set[Slot], dying: Mapping[int, list[Slot]]) -> None:
    """Give the results that have no place yet that of an operand, or memory that is free by then, or new memory."""
    pool = _Pool(plan.storages)
    for i, call in enumerate(plan.calls):
        out = call.output
        if out is not None and out.kind == "result" and out not in plan.place and out not in plan.fresh:
            donor = None if out in kept else _donor(plan, call, dying.get(i, []))
            if donor is not None:
                plan.place[out], plan.replaced[out] = plan.place[donor], donor
            else:
                plan.place[out] = pool.new(out.nbytes) if out in kept else pool.take(out.nbytes)
        taken = None if out is None else plan.place.get(out)
        for slot in dying.get(i, []):
            place = plan.place.get(slot)
            if isinstance(place, Storage) and place is not taken:
                pool.give_back(place, i)


class _Pool:
    """The temporary memory that is free at a point of the program."""

    def __init__(self, storages: list[Storage]) -> None:
        self.storages, self.free = storages, []  # type: tuple[list[Storage], list[tuple[int, int, Storage]]]

    def new(self, nbytes: int) -> Storage:
        self.storages.append(Storage(f"buffer{len(self.storages)}", nbytes))
        return self.storages[-1]

    def take(self, nbytes: int) -> Storage:
        """Return the smallest free storage that is large enough, of equals the one used last, or a new one."""
        best = bisect_left(self.free, nbytes, key=lambda entry: entry[0])
        return self.free.pop(best)[2] if best < len(self.free) else self.new(nbytes)

    def give_back(self, storage: Storage, index: int) -> None:
        insort(self.free, (storage.nbytes, -index, storage), key=lambda entry: entry[:2])


def _last_uses(plan: Plan) -> dict[Slot, int]:
    """Return the index of the call that last reads each result, through whatever view; its own where none does."""
    last: dict[Slot, int] = {}
    for i, call in enumerate(plan.calls):
        for a in (call.output, *call.slots):
            if a is not None and (base := base_of(plan, a)).kind == "result":
                last[base] = i
    for slot in plan.outputs:
        last[base_of(plan, slot)] = len(plan.calls)
    return last


def _donor(plan: Plan, call: Call, dying: list[Slot]) -> Slot | None:
    """Return an operand whose memory the result can take, because the call is the last to read it."""
    if not is_elementwise(call):
        return None
    for slot in dying:
        views = any(a is not slot and base_of(plan, a) is slot for a in call.slots)
        fits = slot in call.inputs and not views and slot.is_like(call.result)
        if fits and isinstance(plan.place.get(slot), Storage):
            return slot
    return None


class _Assigned:
    """Computes what is assigned right in its target's memory, where nothing reads the old value after that."""

    def __init__(self, plan: Plan, last: dict[Slot, int], kept: set[Slot]) -> None:
        self.plan, self.last = plan, last
        self.barred = kept | set(plan.outputs)
        self.made = {call.output: i for i, call in enumerate(plan.calls) if call.output is not None}
        self.memories: dict[Slot, int] = {}
        self.reads: dict[int, list[int]] = defaultdict(list)
        self.writes: dict[int, list[int]] = defaultdict(list)
        for i, call in enumerate(plan.calls):
            if call.function is assign:
                self.writes[self._memory(call.inputs[0])].append(i)
            for a in call.slots:
                self.reads[self._memory(a)].append(i)

    def place(self) -> None:
        products = [call for call in self.plan.calls if call.function in (np.matmul, matmul)]
        weights = {self._memory(a) for call in products for a in call.slots if is_better_copied(a.nbytes)}
        for k, call in enumerate(self.plan.calls):
            if call.function is assign and self._memory(call.inputs[0]) not in weights:
                target, value = call.inputs
                while self._can_replace(value, target, k):
                    self._put(value, target)
                    k = self.made[value]
                    operands = self.plan.calls[k].slots
                    value = next((a for a in operands if self.last.get(a) == k and a not in self.plan.outputs), None)

    def _memory(self, slot: Slot) -> int:
        """Return which memory a slot is in: that of an array from outside, or its own."""
        base = base_of(self.plan, slot)
        if base not in self.memories:
            self.memories[base] = id(base if base.array is None else memory_of(base.array))
        return self.memories[base]

    def _put(self, value: Slot, target: Slot) -> None:
        """Place a value in its target's memory, which the calls that read it then read."""
        readers = self.reads.get(self._memory(value), ())
        self.plan.place[value], self.memories[value] = target, self._memory(target)
        for i in readers:
            insort(self.reads[self._memory(target)], i)

    def _can_replace(self, value: Any, target: Slot, limit: int) -> bool:
        """Return whether a result can be computed in the memory of ``target``, to be read by the call at ``limit``."""
        plan, start = self.plan, self.made.get(value)
        if start is None or value.kind != "result" or value in plan.views or value in plan.place:
            return False
        if value in self.barred or not value.is_like(target) or not is_elementwise(plan.calls[start]):
            return False
        memory = self._memory(target)
        reads = self.reads[memory]
        if any(limit < i < self.last[value] for i in self.writes[memory]):
            return False
        for i in reads[bisect_left(reads, start) :]:
            if i > limit:
                break
            call = plan.calls[i]
            only_the_target = all(a is target for a in call.slots if self._memory(a) == memory)
            at_own_place = i == start and target not in plan.views
            if not (only_the_target and (at_own_place or (i == limit and call.function is assign))):
                return False
        return True
