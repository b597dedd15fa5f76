"""The native program of a step: pieces of machine code, and calls of NumPy where there is no loop for something."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...core.tensor import assign
from ...nn.functional import check_labels
from ...rules.table import find
from ..emit import Program, _Line, dtype_text
from ..naming import value_name
from ..plan import Plan, Storage, _Pool, base_of, has_effect, needed_calls
from ..record import Call, Record, Slot
from ..scope import Scope
from .cache import load
from .forms import order
from .groups import MOST, Group, Schedule, turns
from .products import rewritten
from .write import Piece


@dataclass(eq=False)
class NativePlan(Plan):
    """A plan whose calls are partly fused into loops.

    Attributes:
        loops: how many loops there are, and ``products``, ``fused``: how many calls are products and in loops.
        saved: the bytes of results that no memory holds, as only their own round of a loop needs them.
    """

    loops: int = 0
    products: int = 0
    fused: int = 0
    saved: int = 0
    pieces: dict[Any, list[Group]] = field(default_factory=dict)
    schedule: Any = None

    def __repr__(self) -> str:
        rest = sum(call.function not in self.pieces for call in self.calls)
        return (
            f"Plan: {self.fused} calls fused into {self.loops} loops, {self.products} products, {rest} calls of NumPy, "
            f"{self.bytes:,} bytes in {len(self.storages)} buffers, {self.saved:,} bytes saved, "
            f"{len(self.views)} views, {self.dropped} calls dropped"
        )


def make_native_plan(record: Record, outputs: list[Slot]) -> NativePlan:
    """Return the plan of a record whose loops are to be fused."""
    plan = NativePlan(record, outputs)
    needed_calls(plan)
    copies = {c: replace(c, inputs=list(c.inputs)) for c in plan.calls}
    plan.calls, plan.recorded = list(copies.values()), [copies.get(c, c) for c in plan.recorded]
    _relay(plan)
    factors = rewritten(plan) if len(plan.calls) <= MOST else {}
    plan.found = dict.fromkeys(plan.found, False)
    checked = {c.inputs[0] for c in plan.recorded if c.function is check_labels}
    plan.schedule = schedule = Schedule(plan, checked, factors)
    results = [
        c.output for g in schedule.groups if g.is_loop for c in g.calls if c.output and c.output.kind == "result"
    ]
    plan.loops = sum(group.is_loop for group in schedule.groups)
    plan.fused = sum(len(group.calls) for group in schedule.groups if group.is_loop)
    plan.products = sum(group.native and not group.is_loop for group in schedule.groups)
    plan.saved = sum(s.nbytes for s in results if s not in schedule.stored or s in schedule.private)
    _place(plan, schedule)
    _cut(plan, schedule)
    return plan


def _relay(plan: Plan) -> None:
    """Lay results that only the program sees in rows, and those of the shape of a state as it lies."""
    states = {s.shape: order(s) for c in plan.calls for s in c.slots if s.kind in ("state", "constant")}
    fixed = _fixed(plan)
    for call in plan.calls:
        out = call.output
        if out is not None and out.kind == "result" and out not in fixed and len(out.shape) == 2 and order(out):
            (n, m), size = out.shape, out.dtype.itemsize
            out.strides = (size, n * size) if states.get(out.shape) == "F" else (m * size, size)
    for slot, call in plan.views.items():
        if turns(call) and isinstance(call.inputs[0], Slot):
            slot.strides = call.inputs[0].strides[::-1]


def _fixed(plan: Plan) -> set[Any]:
    """Return the results that lie as they lie: the caller's, what is drawn, and what has views, or is perhaps one."""
    fixed = {base_of(plan, s) for s in plan.outputs} | {c.output for c in plan.calls if has_effect(c)}
    for call in (*plan.views.values(), *plan.calls):
        if call.function is not assign and find(call.function).view and not (call.output in plan.views and turns(call)):
            fixed.update(base_of(plan, a) for a in call.slots)
    return fixed


def _place(plan: NativePlan, schedule: Schedule) -> None:
    """Give each result that leaves its loop memory, which is used again when no later group needs it."""
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


def _cut(plan: NativePlan, schedule: Schedule) -> None:
    """Put calls that stand for native pieces in the place of the groups in them."""
    plan.recorded, position = list(plan.recorded), {call: i for i, call in enumerate(plan.recorded)}
    plan.calls = []
    for native, groups in itertools.groupby(schedule.groups, key=lambda group: group.native):
        run = list(groups)
        calls = [call for group in run for call in group.calls]
        if native:
            piece = _piece(plan, run, calls)
            plan.recorded[max(position[call] for call in calls)] = piece
            calls = [piece]
        plan.calls += calls


def _piece(plan: NativePlan, groups: list[Group], calls: list[Call]) -> Call:
    first, errors = calls[0], plan.record.errors

    def piece() -> None:
        """Stand for groups."""

    factors = [plan.schedule.factors.get(call, ((None, 1), None)) for call in calls]
    given = [*(a for call in calls for a in call.slots), *(a for (alpha, _), beta in factors for a in (alpha, beta))]
    numbers = [a for a in given if isinstance(a, Slot) and a.kind == "number"]
    call = Call(piece, numbers, {}, None, False, first.section, "", "", errors)
    call.slots = [a for c in calls for a in c.slots]
    plan.pieces[piece] = groups
    return call


class NativeProgram(Program):
    """The text of a native program: the Python function that calls its pieces, and these in a module of their own."""

    plan: NativePlan

    def __init__(self, plan: NativePlan, wish: str, scope: Scope) -> None:
        self.schedule: Schedule = plan.schedule
        self.pieces: list[Piece] = []
        super().__init__(plan, wish, scope)
        self.natives = "\n\n\n".join(piece.source for piece in self.pieces)
        functions = load(self.natives, wish) if self.pieces else {}
        for piece in self.pieces:
            self.scope.values[piece.name] = functions[piece.name]
            addresses = [_address(self.scope.values.get(name), name) for name in piece.addresses]
            self.scope.values[f"{piece.name}_memory"] = np.array(addresses, np.intp)

    @property
    def listing(self) -> str:
        """All that a person may want to read."""
        return f"{self.natives}\n\n\n{self.source}" if self.pieces else self.source

    def wish(self, call: Call, texts: Sequence[str] = ()) -> str:
        """Return what the result of a call is called, if that is free."""
        return call.result.name or self._gradient_of(call.result) or value_name(call, texts)

    def is_inside(self, slot: Slot) -> bool:
        """Return whether a slot is in memory that each call has anew."""
        return self._is_inside(slot)

    def row(self, slot: Slot, inner: int) -> str:
        """Return the name of the memory of one row of a value."""
        text = f"np.empty({inner}, {dtype_text(slot.dtype)})"
        return self.helper(("row", slot), f"{slot.name}_row", text, lambda: np.empty(inner, slot.dtype))

    def _statements(self, call: Call) -> list[str]:
        groups = self.plan.pieces.get(call.function)
        if groups is None:
            return super()._statements(call)
        made = [c.output for group in groups for c in group.calls if c.output in self.plan.fresh]
        self._flush()
        self.lines += [_Line(self._made(slot)) for slot in made if slot is not None]  # of which there may be views
        name = self.scope.unique(f"{self.function}_loops")
        piece = Piece(self, name, groups)
        self.scope.unique(f"{name}_memory")
        self.pieces.append(piece)
        return [f"{name}({', '.join([f'{name}_memory', *piece.given])})"]

    def _made(self, out: Slot) -> str:
        name = self._name(out, out.name or "result")
        make = "np.ndarray" if "strides" in out.layout else "np.empty"
        return f"{name} = {make}({out.shape}, {dtype_text(out.dtype)}{out.layout})"

    def _write(self, call: Call, texts: list[str], after: Call | None) -> None:
        if call.function in self.plan.pieces:
            self._flush()
            self.lines += map(_Line, texts)
        else:
            super()._write(call, texts, after)


def _address(array: Any, name: str) -> int:
    if array is not None:
        return int(array.__array_interface__["data"][0])
    return _blas(name[:5])


def _blas(name: str) -> int:
    """Return the address of a function of BLAS."""
    from .library import blas

    return blas(name)


def native_program(record: Record, outputs: list[Slot], name: str, scope_of: Callable[[Plan], Scope]) -> NativeProgram:
    """Return the native program of a record; ``scope_of`` gives a plan its memory."""
    plan = make_native_plan(record, outputs)
    return NativeProgram(plan, name, scope_of(plan))
