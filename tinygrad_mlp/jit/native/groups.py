"""Groups: which calls form one loop, in what order, and what leaves a loop and so needs memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.tensor import assign
from ..plan import Plan, base_of, has_effect
from ..record import Call, Slot, memory_of
from .forms import Form, form_of, seen
from .products import Factors

MOST = 1500
"""Programs of more calls stay NumPy's: to compile them takes minutes."""
READABLE = {"full": {"full", "picked"}, "row": {"row"}, "one": {"one"}}
"""In what roles a value can be read in the very loop that makes it, by the role in which it is made."""


@dataclass(eq=False)
class Group:
    """Calls that are one loop, or a single call, of BLAS or of NumPy, which has no loop.

    A row of a loop goes through stages: numbers of the row, then the elements of its first inner loop, then numbers
    that need all of these, and so on. ``stage`` says for each call in which it is.
    """

    outer: int = 0
    inner: int = 0
    by_columns: bool = False
    is_loop: bool = False
    native: bool = True
    calls: list[Call] = field(default_factory=list)
    stage: dict[Call, int] = field(default_factory=dict)
    reads: set[Slot] = field(default_factory=set)


@dataclass
class _Made:
    """Where a value is made: the number of its group, its role, and from what stage on it is ready there."""

    group: int
    role: str
    stage: int


@dataclass
class _Access:
    """A read of memory from outside: by which group, through what slot, in what role and stage."""

    group: int
    slot: Slot
    role: str
    stage: int


class Schedule:
    """The groups of a plan's calls, in order.

    Attributes:
        groups: all of them; those of one level stand together, and levels are of NumPy and native in turn.
        forms: the form of each call that is native.
        stored: the values of loops that need memory, as something else than their own round of the loop reads them.
        private: of these, those which only their own row reads again.
    """

    def __init__(self, plan: Plan, checked: set[Any], factors: Factors) -> None:
        self.plan, self.views, self.factors = plan, plan.views, factors
        few = plan.calls if len(plan.calls) <= MOST else ()
        self.forms = {c: f for c in few if (f := form_of(c, plan.views, checked)) is not None}
        self.groups: list[Group] = []
        self.made: dict[Slot, _Made] = {}
        self.accesses: dict[int, list[_Access]] = defaultdict(list)
        self.written: dict[int, tuple[int, Slot]] = {}
        self.waiting: dict[Slot, Call] = {}
        self.consumers: dict[Slot, list[Call]] = defaultdict(list)
        for call in plan.calls:
            for a in call.slots:
                self.consumers[base_of(plan, a)].append(call)
        self.position = {call: i for i, call in enumerate(plan.calls)}
        self.kept = {base_of(plan, s) for s in (*plan.outputs, *plan.grads.values()) if s is not None}
        levels = _levels(plan, self.forms, factors)
        for level in sorted({*levels.values()}):
            start = len(self.groups)
            for call in [c for c in plan.calls if levels[c] == level]:
                self._place(call, start)
        self.stored, self.private = self._stored()

    def _place(self, call: Call, start: int) -> None:
        """Put a call in a group, which is none of an earlier level: those end at ``start``.

        What is computed element by element waits for the first call that needs it, to be computed there.
        """
        if self._waits(call):
            self.waiting[call.result] = call
            return
        if self._writes(call):
            for other in [c for c in self.waiting.values() if self._reads(c, memory_key(call.result))]:
                if other.output in self.waiting:
                    self._place_now(self.waiting.pop(other.result), start)
        self._place_now(call, start)

    def _place_now(self, call: Call, start: int) -> None:
        awaited, form = self._awaited(call), self.forms.get(call)
        alone = [[call]] if form is None or form.kind == "product" else []
        ready = awaited if alone else [*awaited, call]
        alike = self._fit_together(ready)
        for calls in [*([ready] * bool(ready) if alike else [[c] for c in ready]), *alone]:
            group = self._group_for(calls, max([start, *map(self._earliest, calls)]))
            for c in calls:
                self._join(c, group)

    def _fit_together(self, calls: list[Call]) -> bool:
        """Return whether calls can be computed in one loop: as the last one, and what one makes as others read it."""
        made = {c.output: self.forms[c].role for c in calls}
        for c in calls:
            if not _alike(self.forms[c], self.forms[calls[-1]]):
                return False
            for a in c.slots:
                base, root = seen(a, self.views)[0], base_of(self.plan, a)
                roles = {v.role for v in self.forms[c].values if v.slot is base}
                if root in made and (base is not root or not roles <= READABLE[made[root]]):
                    return False
        return True

    def _waits(self, call: Call) -> bool:
        form, out = self.forms.get(call), call.output
        if form is None or form.kind != "map" or self._writes(call) or out in self.kept or out not in self.consumers:
            return False
        return all(c in self.forms for c in self.consumers[call.result])

    def _reads(self, call: Call, memory: int) -> bool:
        return any(memory_key(base_of(self.plan, a)) == memory for a in call.slots)

    def _awaited(self, call: Call) -> list[Call]:
        """Return the calls that a call needs and that have waited for it, in order."""
        found, left = [], [call]
        while left:
            for a in left.pop().slots:
                other = self.waiting.pop(base_of(self.plan, a), None)
                if other is not None:
                    found.append(other)
                    left.append(other)
        return sorted(found, key=self.position.__getitem__)

    def _group_for(self, calls: list[Call], first: int) -> Group:
        """Return the group that takes up calls, a new one if need be."""
        form = self.forms.get(calls[-1])
        looped = form is not None and form.kind != "product"
        group = self._loop_for(calls, form, first) if looped else None  # type: ignore[arg-type]
        if group is None:
            group = Group(is_loop=looped, native=form is not None)
            self.groups.append(group)
        return group

    def _join(self, call: Call, group: Group) -> None:
        form, number, stage = self.forms.get(call), self.groups.index(group), 0
        if form is not None and group.is_loop:
            stage = self._stage(form, number)
            if form.inner > 1 or not group.calls:
                group.by_columns = form.by_columns
            group.outer, group.inner = form.outer, max(form.inner, group.inner)
            group.stage[call] = stage
            group.reads.update(v.slot for v in form.values if v.role in ("full", "row", "column"))
        group.calls.append(call)
        self._note(call, form, number, stage)

    def _earliest(self, call: Call) -> int:
        """Return the first group in which a call may be: where its operands are ready, and memory may be written."""
        form, first = self.forms.get(call), 0
        joined = {} if form is None or form.kind == "product" else {seen(a, self.views)[0]: a for a in call.slots}
        for a in call.slots:
            base, root = seen(a, self.views)[0], base_of(self.plan, a)
            made = self.made.get(root)
            if made is not None:
                fits = base is root and base in joined and self._joins(form, base, made)
                first = max(first, made.group + (not fits))
            if memory_key(root) in self.written:
                group, slot = self.written[memory_key(root)]
                first = max(first, group + (root is not slot))
        if self._writes(call):
            first = max(first, self._writable(call, form))
        return first

    def _writes(self, call: Call) -> bool:
        """Return whether a call changes an array from outside."""
        return call.function is assign or call in self.factors

    def _joins(self, form: Any, base: Slot, made: _Made) -> bool:
        """Return whether a value can be read in the very group that makes it."""
        roles = {v.role for v in form.values if v.slot is base}
        return roles <= READABLE.get(made.role, set())

    def _writable(self, call: Call, form: Form | None) -> int:
        """Return the first group in which an assignment does not change what others still read."""
        target, first = call.inputs[0] if call.function is assign else None, 0
        for access in self.accesses[memory_key(call.result)]:
            own = form is not None and access.slot is target and access.role == form.role
            first = max(first, access.group + (not own))
        return first

    def _loop_for(self, calls: list[Call], form: Form, first: int) -> Group | None:
        """Return the first loop that can take up calls and has something to do with them."""
        values = [v for c in calls for v in self.forms[c].values if isinstance(v.slot, Slot) and v.role != "one"]
        for number in range(first, len(self.groups)):
            group = self.groups[number]
            if not group.is_loop or not _same_rounds(group, form):
                continue
            related = any(v.slot in group.reads or _is_in(self.made.get(v.slot), number) for v in values)
            if (related or form.outer == 1) and (not self._writes(calls[-1]) or self._in_time(calls[-1], form, number)):
                return group
        return None

    def _in_time(self, call: Call, form: Form, number: int) -> bool:
        """Return whether all reads of an assignment's target in a loop come before it."""
        stage = self._stage(form, number)
        accesses = self.accesses[memory_key(call.result)]
        return all(access.stage <= stage for access in accesses if access.group == number)

    def _stage(self, form: Form, number: int) -> int:
        """Return in which stage of a loop a call has all that it needs."""
        stage = 0
        for value in form.values:
            made = self.made.get(value.slot) if isinstance(value.slot, Slot) else None
            if made is not None and made.group == number:
                stage = max(stage, made.stage + (value.role == "picked"))
        return stage

    def _note(self, call: Call, form: Form | None, number: int, stage: int) -> None:
        values = [] if form is None else form.values
        roles = {v.slot: v.role for v in values if isinstance(v.slot, Slot)}
        for a in call.slots:
            if call.function is not assign or a is not call.inputs[0]:
                root = base_of(self.plan, a)
                if root.array is not None:
                    base = seen(a, self.views)[0]
                    role = roles.get(base, "") if base is root else ""
                    self.accesses[memory_key(root)].append(_Access(number, root, role, stage))
        if call.output is not None:
            ready = stage + (form is not None and form.kind == "reduce" and form.inner > 1)
            role = "" if form is None or not self.groups[number].is_loop else form.role
            role = "ready" if form is not None and form.kind == "reduce" and form.role != "row" else role
            self.made[call.output] = _Made(number, role, ready)
            if self._writes(call):
                self.written[memory_key(call.output)] = number, call.output

    def leaving(self, group: Group) -> dict[Slot, None]:
        """Return the results of a group that need memory."""
        made = [call.output for call in group.calls if call.output is not None and call.output.kind == "result"]
        return dict.fromkeys(s for s in made if not group.is_loop or (s in self.stored and s not in self.private))

    def _stored(self) -> tuple[set[Slot], set[Slot]]:
        """Return the values that need memory, and of these the ones that only their own row reads."""
        stored, shared = set(), set(self.kept)
        for number, group in enumerate(self.groups):
            for call in group.calls:
                roles = {v.slot: v.role for v in self.forms[call].values} if group.is_loop else {}
                for a in call.slots:
                    base, root = seen(a, self.views)[0], base_of(self.plan, a)
                    made = self.made.get(root)
                    if made is None or root.kind != "result":
                        continue
                    if made.group != number or base is not root:
                        shared.add(root)
                    elif roles.get(base) == "picked" or (made.role == "full" and made.stage < group.stage[call]):
                        stored.add(root)
        return stored | {s for s in shared if s.kind == "result"}, stored - shared


def turns(call: Call) -> bool:
    """Return whether a view is a matrix transposed."""
    x = call.inputs[0]
    turned = call.function is np.transpose and call.keywords.get("axes") in (None, (1, 0), [1, 0])
    return len(x.shape) == 2 and (turned or call.function is np.swapaxes)


def _same_rounds(group: Group, form: Form) -> bool:
    if group.outer != form.outer:
        return False
    return form.inner == 1 or group.inner == 1 or (group.inner, group.by_columns) == (form.inner, form.by_columns)


def _is_in(made: _Made | None, number: int) -> bool:
    return made is not None and made.group == number


def memory_key(slot: Slot) -> int:
    """Return which memory a slot that is no view lies in."""
    return id(slot if slot.array is None else memory_of(slot.array))


def _alike(form: Form, other: Form) -> bool:
    """Return whether what has one form can be computed in the loop of another one."""
    if other.kind == "product" or form.outer != other.outer:
        return False
    return form.inner == 1 or (form.inner, form.by_columns) == (other.inner, other.by_columns)


def _levels(plan: Plan, forms: dict[Call, Form], factors: Factors) -> dict[Call, int]:
    """Return the level of each call: calls of NumPy stand as early as they can, and native ones between them.

    A level follows all that it needs. What has an effect keeps its order, and comes before what is written after it.
    """
    levels: dict[Call, int] = {}
    made: dict[Slot, Call] = {}
    touched: dict[int, list[Call]] = defaultdict(list)
    written: dict[int, Call] = {}
    effects: list[Call] = []
    for call in plan.calls:
        needed = _needs(plan, call, made, written)
        writes = call.function is assign or call in factors
        if writes:
            needed += touched[memory_key(call.result)] + effects
        elif has_effect(call):
            needed += effects
        native = call in forms
        levels[call] = max([int(native), *(levels[c] + ((c in forms) != native) for c in needed)])
        for root in {base_of(plan, a) for a in call.slots}:
            touched[memory_key(root)].append(call)
        if call.output is not None:
            made[call.output] = call
        if writes:
            written[memory_key(call.result)] = call
            touched[memory_key(call.result)].append(call)
        elif has_effect(call):
            effects = [call]
    return levels


def _needs(plan: Plan, call: Call, made: dict[Slot, Call], written: dict[int, Call]) -> list[Call]:
    """Return the calls that make or write what a call reads."""
    roots = [base_of(plan, a) for a in call.slots]
    makers: Iterable[Call | None] = [*(made.get(r) for r in roots), *(written.get(memory_key(r)) for r in roots)]
    return [c for c in makers if c is not None]
