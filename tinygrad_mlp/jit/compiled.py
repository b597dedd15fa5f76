"""A record that has become a program: what it needs to run, and what it leaves changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor, wrap
from ..core.versions import last_change, next_age
from .arena import Arena, address, moved
from .arguments import rebuild
from .emit import Program
from .execute import execute
from .fits import Options, fits_function
from .objects import is_foreign
from .packing import Packed, pack, unpack
from .plan import Plan, make_plan
from .reads import Reads
from .record import Array, Record, Slot, is_same, memory_of
from .scope import Scope
from .watch import without_collector

MOST = 4000
"""Programs of more calls stay NumPy's: to compile them takes minutes."""


class Compiled:
    """A record, and the program made of it once a second run has shown that the step does the same again."""

    def __init__(
        self, record: Record, reads: Reads, results: list[Any], structure: Any, name: str, backend: str = "numpy"
    ) -> None:
        self.reads, self.results, self.structure, self.name, self.backend = reads, results, structure, name, backend
        self.record: Any = record
        self.outputs: Any = [r for r in results if isinstance(r, Slot)]
        self.confirmed = False
        self.runs = self.called = self.bytes = 0
        self.plan: Plan | None = None
        self.program: Program | None = None
        self.packed: Packed | None = None
        self.test: Callable[[], bool] | None = None
        self.take: Callable[[tuple[Any, ...]], Any] | None = None
        self.options: dict[int, Options] = {}
        self.cut = f"jit({name}), whose program has done its backward pass already"

    def fits(self) -> bool:
        """Return whether all that the record depends on is as it was."""
        return self.differs() is None if self.test is None else self.test()

    def differs(self) -> str | None:
        """Return what the record depends on that is not as it was."""
        return next((read.words() for read in self.reads.guards() if not read.holds()), None)

    def gives_what(self, other: Compiled) -> bool:
        """Return whether the function returns the same values, numbers and texts as in another run."""
        return repr(self.structure) == repr(other.structure) and is_same(self.results, other.results)

    @property
    def tolerance(self) -> float:
        """How far the program may be from the eager step, relative to the largest number: as far as rounding goes."""
        single = any(s.dtype == np.float32 for call in self.recorded()[0].calls for s in call.slots)
        return 0.0 if self.backend == "numpy" else 1e-5 if single else 1e-12

    def recorded(self) -> tuple[Record, list[Slot]]:
        """Return the record and its outputs."""
        return unpack(self.packed) if self.packed and self.record is None else (self.record, self.outputs)

    def planned(self) -> Plan:
        """Return the plan of the NumPy program."""
        return make_plan(*self.recorded())

    def _emitted(self, arena: Arena) -> Program:
        """Return the program of the backend."""
        plan = make_plan(self.record, self.outputs)
        if self.backend == "numpy" or len(plan.calls) > MOST:
            return Program(plan, self.name, Scope(arena.place(plan), arena.constant))
        from .native.program import NativeProgram, make_native_plan

        native = make_native_plan(self.record, self.outputs)
        return NativeProgram(native, self.name, Scope(arena.place(native), arena.constant))

    def compile(self, arena: Arena) -> None:
        """Plan, emit and build the program."""
        for other in arena.programs:
            other.pack()
        with without_collector():
            program = self._emitted(arena)
        self.arena, self.plan, self.bytes = arena, program.plan, program.plan.bytes
        self._take_guards(arena)
        self.names = namespace = {"np": np, **program.scope.values}
        namespace.update((name, self._reader(*of)) for name, of in program.readers.items())
        self.step = execute(program.source, namespace, program.function)
        self.grads = [
            (t, None if s is None else wrap(namespace[program.name(s)], [0])) for t, s in self.plan.grads.items()
        ]
        self.versions = [t._version for t in (*self.record.changed, *(g for _, g in self.grads if g is not None))]
        self.own = {id(memory_of(namespace[name])) for name in program.memory.values()}
        self.written, self.modes = list(self.record.changed), self.record.modes
        self.changed = {id(memory_of(t._data)) for t in self.written}
        self.touched = self.own | self.changed
        self.addresses = program.addresses
        arena.programs.add(self)
        if self.backend != "numpy":
            self.step = self._reporting(self.step)
        self.found = [(slot.source, in_place) for slot, in_place in self.plan.found.items()]
        self.program = program

    def _take_guards(self, arena: Arena) -> None:
        """Take the guards of another program if they are the same, or else make a test of those of the record."""
        self.reads.outside.clear()  # which a program does not ask for
        twins = (p for p in arena.programs if p.reads.decides_as(self.reads))
        twin = next((p for p in twins if p.fits()), None)  # not where an attribute was the class's, and is its own now
        if twin is not None:
            self.reads, self.options, self.test = twin.reads, twin.options, twin.test
        else:
            self.test = fits_function(self.reads.guards(), self._options_of)

    def pack(self) -> None:
        """Keep the record as bytes, and no plan and text: of many programs nearly all are never asked for these."""
        if self.program is not None and self.packed is None:
            for slot in self.program.named:
                slot.name = ""
            self.record.walks.clear()  # which only a second run follows
            self.packed = pack(self.record, self.outputs)
        self.record = self.outputs = self.plan = self.program = None

    def unpack(self) -> None:
        """Make plan and text again."""
        if self.program is None:
            self.record, self.outputs = self.recorded()
            self.program = self._emitted(self.arena)
            self.plan = self.program.plan

    def move(self, old: Array, new: Array) -> None:
        """Use ``new`` for ``old``, memory of the arena."""
        moved(self.names, old, new)
        for known in (self.own, self.touched):
            if id(old) in known:
                known.symmetric_difference_update((id(old), id(new)))
        start = address(old)
        for places in self.addresses:
            places[(start <= places) & (places < start + old.nbytes)] += address(new) - start

    def _reporting(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a step whose first call says that it compiles, if that takes long."""
        from .native.cache import reporting

        def first(*arrays: Any) -> Any:
            with reporting(self.name):
                result = step(*arrays)
            self.step = step
            return result

        return first

    def _reader(self, index: int, names: list[tuple[str, Any]]) -> Callable[[], Any]:
        """Return a function that reads live numbers and gives them, one or several, as the program takes them up."""
        read = self.record.numbers[index][0]
        before: Any = None
        given: Any = ()
        options, seen = self._options_that_decide(read), -1

        def reader() -> Any:
            nonlocal before, given, seen
            if options is not None and seen == options.changes:
                return given
            values = read()
            seen = -1 if options is None else options.changes
            if values != before or 0.0 in values.values():  # which -0.0 equals
                given = [values[n] if dtype is None else np.array(values[n], dtype) for n, dtype in names]
                given = given[0] if len(given) == 1 else given
                before = values
            return given

        return reader

    def _options_of(self, optimizer: Any) -> Options:
        """Return the options of an optimiser, which the test of the guards has looked at by the time of each run."""
        return self.options.setdefault(id(optimizer), Options(optimizer))

    def _options_that_decide(self, read: Any) -> Options | None:
        """Return the options that alone decide on the numbers which ``read`` gives, if there are such."""
        optimizer = getattr(getattr(read, "func", None), "__self__", None)
        if optimizer is None or optimizer.counts_steps or not is_foreign(type(optimizer).scalars.__module__):
            return None
        return self._options_of(optimizer)

    def changes(self, arrays: list[Any]) -> bool:
        """Return whether the step writes into one of its own arguments."""
        return any(id(memory_of(a)) in self.changed for a in arrays)

    def run(self, arrays: list[Any]) -> Any:
        """Run the program, and leave changed what the eager step leaves changed."""
        copies: dict[int, Any] = {}
        for i, a in enumerate(arrays):
            if id(memory_of(a)) in self.own:
                arrays[i] = copies.setdefault(id(a), a.copy(order="K"))
        return self.run_on(arrays)

    def run_on(self, arrays: list[Any]) -> Any:
        """Run the program on arrays in memory that it does not touch."""
        self.runs += 1
        values = self.step(*arrays, *itertools.starmap(self._found, self.found))
        for t, g in self.grads:
            t._grad = g
        for module, training in self.modes.items():
            module.training = training
        for version in self.versions:
            version[0] += 1
        last_change[0] = next_age()
        made = iter(values)
        return self.result([wrap(next(made)) if isinstance(r, Slot) else r for r in self.results])

    def result(self, leaves: list[Any]) -> Any:
        """Return what the function gives, with these in their places."""
        for t in leaves:
            if isinstance(t, Tensor):
                t._cut = self.cut
        return rebuild(self.structure, leaves)

    def _found(self, t: Any, in_place: bool) -> Any:
        """Return a gradient from before, in memory that the program does not write to before it has read it."""
        array = t._grad._data
        own = any(t is other and g is t._grad for other, g in self.grads)
        return array if (own and in_place) or id(memory_of(array)) not in self.own else array.copy(order="K")
