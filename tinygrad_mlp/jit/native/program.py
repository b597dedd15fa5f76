"""The native program of a step: pieces of machine code, and calls of NumPy where there is no loop for something."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...core.tensor import assign
from ...nn.functional import check_labels
from ...rules.elementwise import uniform
from ...rules.table import find
from ..emit import Program, _Line
from ..naming import value_name
from ..plan import Plan, Storage, _Pool, base_of, has_effect, needed_calls
from ..record import Call, Record, Slot, packed
from ..scope import Scope
from .cache import load
from .forms import order
from .groups import PIECE, Schedule, turns
from .library import blas
from .products import rewritten
from .write import Piece


@dataclass(eq=False)
class NativePlan(Plan):
    """A plan whose calls are partly fused into loops; its ``schedule`` has the groups that these are."""

    schedule: Any = None

    def __repr__(self) -> str:
        loops, products, numpys = (self.schedule.calls_of(kind) for kind in ("loop", "product", "numpy"))
        number = sum(group.kind == "loop" for group in self.schedule.groups)
        results = {call.output for call in loops if call.result.kind == "result"}
        saved = sum(slot.nbytes for slot in results - self.schedule.stored)
        fused = f"{len(loops)} calls fused into {number} loops, {len(products)} products, {len(numpys)} calls of NumPy"
        return (
            f"Plan: {fused}, {self.bytes:,} bytes in {len(self.storages)} buffers, {saved:,} bytes saved, "
            f"{len(self.views)} views, {self.dropped} calls dropped"
        )


def make_native_plan(record: Record, outputs: list[Slot]) -> NativePlan:
    """Return the plan of a record whose loops are to be fused."""
    plan = NativePlan(record, outputs)
    needed_calls(plan)
    copies = {c: replace(c, inputs=list(c.inputs)) for c in plan.calls}
    plan.calls, plan.recorded = list(copies.values()), [copies.get(c, c) for c in plan.recorded]
    for call in plan.calls:
        if call.function is uniform:  # which needs no more of an array than the shape of its own result
            call.inputs, call.slots = [call.inputs[0], None], []
    _relay(plan)
    plan.found = dict.fromkeys(plan.found, False)
    checked = {c.inputs[0] for c in plan.recorded if c.function is check_labels}
    plan.schedule = Schedule(plan, checked, rewritten(plan))
    _place(plan)
    _cut(plan)
    return plan


def _relay(plan: Plan) -> None:
    """Lay matrices that only the program sees in rows, but for those that go with one in columns from outside."""
    columns = {s.shape for c in plan.calls for s in c.slots if s.kind in ("state", "constant") and order(s) == "F"}
    for out in {c.output for c in plan.calls if c.output is not None} - _fixed(plan):
        if len(out.shape) == 2 and order(out) and out.shape not in columns:
            out.strides = packed(out.shape, out.dtype.itemsize)
    for slot, call in plan.views.items():
        if turns(call):
            slot.strides = call.inputs[0].strides[::-1]


def _fixed(plan: Plan) -> set[Any]:
    """Return what lies as it lies: what the caller gets, what is drawn or written, and what has views, or is one."""
    fixed = {base_of(plan, s) for s in plan.outputs} | {c.output for c in plan.calls if has_effect(c)}
    for call in (*plan.views.values(), *plan.calls):
        if call.function is not assign and find(call.function).view and not (call.output in plan.views and turns(call)):
            fixed.update(base_of(plan, a) for a in call.slots)
    return fixed


def _place(plan: NativePlan) -> None:
    """Give each result that leaves its loop memory, which is used again when no later group needs it."""
    schedule = plan.schedule
    kept = {base_of(plan, s) for s in plan.grads.values() if s is not None}
    plan.fresh = {s for s in plan.outputs if s.kind == "result" and s not in plan.views} - kept
    ever = kept | {base_of(plan, s) for s in plan.outputs}
    last = {base_of(plan, a): i for i, g in enumerate(schedule.groups) for call in g.calls for a in call.slots}
    dying: dict[int, list[Storage]] = defaultdict(list)
    pool = _Pool(plan.storages)
    for i, group in enumerate(schedule.groups):
        for out in [s for s in schedule.leaving(group) if s not in plan.fresh]:
            plan.place[out] = storage = pool.new(out.nbytes) if out in ever else pool.take(out.nbytes)
            if out not in ever:
                dying[last.get(out, i)].append(storage)
        for storage in dying.pop(i, ()):
            pool.give_back(storage, i)


def _cut(plan: NativePlan) -> None:
    """Put a call of a piece in the place of the groups of loops and products that follow one another."""
    position = {call: i for i, call in enumerate(plan.recorded)}
    plan.calls = []
    sizes = itertools.accumulate(len(group.calls) for group in plan.schedule.groups)
    parts = [(group.kind == "numpy", size // PIECE) for group, size in zip(plan.schedule.groups, sizes, strict=True)]
    for (numpys, _), run in itertools.groupby(zip(parts, plan.schedule.groups, strict=True), key=lambda pair: pair[0]):
        groups = [group for _, group in run]
        calls = [call for group in groups for call in group.calls]
        if not numpys:
            operands = [a for call in calls for a in call.slots]
            piece = replace(calls[0], function=Piece, inputs=operands, keywords={"groups": groups}, output=None)
            piece.errors = plan.record.errors
            plan.recorded[max(position[call] for call in calls)] = piece
            calls = [piece]
        plan.calls += calls


class NativeProgram(Program):
    """The text of a native program: the Python function that calls its pieces, and these in a module of their own."""

    plan: NativePlan

    def __init__(self, plan: NativePlan, wish: str, scope: Scope) -> None:
        self.pieces: list[Piece] = []
        super().__init__(plan, wish, scope)
        functions = load("\n\n\n".join(piece.source for piece in self.pieces), wish) if self.pieces else {}
        for piece in self.pieces:
            self.scope.values[piece.name] = functions[piece.name]
            arrays = [self.scope.values.get(name) for name in piece.addresses]
            pairs = zip(piece.addresses, arrays, strict=True)
            addresses = [blas(name[:5]) if array is None else array.ctypes.data for name, array in pairs]
            self.addresses.append(np.array(addresses, np.intp))
            self.scope.values[f"{piece.name}_memory"] = self.addresses[-1]

    @property
    def listing(self) -> str:
        """All that a person may want to read."""
        return "\n\n\n".join([*(piece.source for piece in self.pieces), self.source])

    def wish(self, call: Call, texts: Sequence[str] = ()) -> str:
        """Return what the result of a call is called, if that is free."""
        return call.result.name or self._gradient_of(call.result) or value_name(call, texts)

    def _statements(self, call: Call) -> list[str]:
        if call.function is not Piece:
            return super()._statements(call)
        made = [c.output for group in call.keywords["groups"] for c in group.calls if c.output in self.plan.fresh]
        self.pending = None
        self.lines += [_Line(f"{self._name(out, out.name or 'result')} = {self._new(out)}") for out in made]
        name = self.scope.unique(f"{self.function}_loops")
        memory = self.scope.unique(f"{name}_memory")
        self.pieces.append(Piece(self, name, call.keywords["groups"]))
        return [f"{name}({', '.join([memory, *self.pieces[-1].given])})"]
