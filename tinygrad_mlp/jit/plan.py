"""Planning: which calls are needed, which are views, and in what memory each result goes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.tensor import assign
from ..rules.table import find
from .record import Call, Record, Slot, memory_of, set_grad


@dataclass(eq=False)
class Storage:
    """Memory of temporary results, shared by those that are not needed at the same time."""

    name: str
    nbytes: int


@dataclass(eq=False)
class Plan:
    """A record made ready to be emitted: calls in order, and the place of every slot.

    Attributes:
        calls: what is executed at each call of the step.
        views: slots that are views made once, and the calls that make them.
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
    calls: list[Call] = field(default_factory=list)
    views: dict[Slot, Call] = field(default_factory=dict)
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
    calls = _needed(plan, record.calls)
    plan.views = _views(calls)
    plan.grads = {c.inputs[0]: c.inputs[1] for c in calls if c.function is set_grad}
    plan.found = _found(plan, calls)
    plan.calls = [c for c in calls if c.function is not set_grad and c.output not in plan.views]
    _place(plan)
    return plan


def _needed(plan: Plan, calls: list[Call]) -> list[Call]:
    """Return the calls that have an effect or lead to one or to an output; of the writes to a gradient, the last."""
    needed, kept, written = set(plan.outputs), [], set()
    for call in reversed(calls):
        if call.function is set_grad:
            if call.inputs[0] in written:
                continue
            written.add(call.inputs[0])
        elif not has_effect(call) and call.output not in needed:
            continue
        kept.append(call)
        needed.update(a for a in call.inputs if isinstance(a, Slot))
    plan.dropped = len(calls) - len(kept)
    return kept[::-1]


def has_effect(call: Call) -> bool:
    """Return whether a call does something besides its result: writes, draws, or checks."""
    return call.function in (assign, set_grad) or find(call.function).effect


def _views(calls: list[Call]) -> dict[Slot, Call]:
    return {c.output: c for c in calls if c.is_view and c.output is not None}


def base_of(plan: Plan, slot: Slot) -> Slot:
    """Return the slot in whose memory a view lies, or the slot itself."""
    while slot in plan.views:
        slot = plan.views[slot].inputs[0]
    return slot


def is_elementwise(call: Call) -> bool:
    """Return whether each element of the result is made of those at its own place, so that it can replace one."""
    return isinstance(call.function, np.ufunc) and call.function.signature is None


def _found(plan: Plan, calls: list[Call]) -> dict[Slot, bool]:
    """Return the gradients from before that the step reads, and whether they are only added to, once."""
    readers: dict[Slot, list[Call]] = defaultdict(list)
    for call in calls:
        for base in {base_of(plan, a) for a in call.inputs if isinstance(a, Slot)}:
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
    _place_assigned(plan, last, kept)
    plan.fresh = {s for s in plan.outputs if s.kind == "result" and s not in plan.views and s not in plan.place} - kept
    free: list[Storage] = []
    dying: dict[int, list[Slot]] = defaultdict(list)
    for slot, index in last.items():
        dying[index].append(slot)
    for i, call in enumerate(plan.calls):
        out = call.output
        if out is not None and out.kind == "result" and out not in plan.place and out not in plan.fresh:
            donor = None if out in kept else _donor(plan, call, [s for s in dying[i] if s not in kept])
            if donor is not None:
                plan.place[out], plan.replaced[out] = plan.place[donor], donor
            else:
                plan.place[out] = _take(plan, free, out.nbytes, out in kept)
        for slot in dying[i]:
            place = plan.place.get(slot)
            if (
                isinstance(place, Storage)
                and slot not in kept
                and not (out is not None and plan.place.get(out) is place)
            ):
                free.append(place)


def _last_uses(plan: Plan) -> dict[Slot, int]:
    """Return the index of the call that last reads each result, through whatever view; its own where none does."""
    last: dict[Slot, int] = {}
    for i, call in enumerate(plan.calls):
        for a in (call.output, *call.inputs):
            if isinstance(a, Slot):
                base = base_of(plan, a)
                if base.kind == "result":
                    last[base] = i
    for slot in plan.outputs:
        last[base_of(plan, slot)] = len(plan.calls)
    return last


def _donor(plan: Plan, call: Call, dying: list[Slot]) -> Slot | None:
    """Return an operand whose memory the result can take, because the call is the last to read it."""
    if not is_elementwise(call):
        return None
    for slot in dying:
        others = [a for a in call.inputs if isinstance(a, Slot) and a is not slot and base_of(plan, a) is slot]
        if (
            slot in call.inputs
            and not others
            and slot.is_like(call.result)
            and isinstance(plan.place.get(slot), Storage)
        ):
            return slot
    return None


def _take(plan: Plan, free: list[Storage], nbytes: int, kept: bool) -> Storage:
    """Return the smallest free storage that is large enough, or a new one."""
    fitting = [] if kept else [s for s in free if s.nbytes >= nbytes]
    if not fitting:
        plan.storages.append(Storage(f"buffer{len(plan.storages)}", nbytes))
        return plan.storages[-1]
    best = min(fitting, key=lambda s: s.nbytes)
    free.remove(best)
    return best


def _place_assigned(plan: Plan, last: dict[Slot, int], kept: set[Slot]) -> None:
    """Compute what is assigned right in its target's memory, where nothing reads the old value after that."""
    made = {call.output: i for i, call in enumerate(plan.calls) if call.output is not None}
    for k, call in enumerate(plan.calls):
        if call.function is not assign:
            continue
        target, value = call.inputs
        limit = k
        while _can_replace(plan, value, target, made, limit, kept):
            plan.place[value] = target
            limit = made[value]
            maker = plan.calls[limit]
            value = next(
                (a for a in maker.inputs if isinstance(a, Slot) and last.get(a) == limit and a not in plan.outputs),
                None,
            )


def _can_replace(plan: Plan, value: Any, target: Slot, made: dict[Any, int], limit: int, kept: set[Slot]) -> bool:
    """Return whether a result can be computed in the memory of ``target``, to be read by the call at ``limit``."""
    if not isinstance(value, Slot) or value.kind != "result" or value in plan.views or value in plan.place:
        return False
    if value not in made or value in kept or value in plan.outputs or not value.is_like(target):
        return False
    start = made[value]
    maker = plan.calls[start]
    if not is_elementwise(maker):
        return False
    memory = _memory(plan, target)
    for i in range(start, limit + 1):
        call = plan.calls[i]
        for a in call.inputs:
            if isinstance(a, Slot) and _memory(plan, a) is memory:
                at_own_place = i == start and a in (target,) and a not in plan.views
                if not at_own_place and not (i == limit and call.function is assign and a is target):
                    return False
    return True


def _memory(plan: Plan, slot: Slot) -> Any:
    """Return the array that owns a slot's memory, if that is from outside."""
    base = base_of(plan, slot)
    place = plan.place.get(base)
    if isinstance(place, Slot):
        base = place
    return None if base.array is None else memory_of(base.array)
