"""Recording: a step runs once, as always, while every op on Tensors is written down as a call of a NumPy function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from itertools import islice
from operator import attrgetter
from typing import Any

import numpy as np

from ..core.tensor import Tensor, assign, wrap
from ..core.tracer import IDLE, Tracer, mode, out_of_place
from ..errors import RecordingError, user_line
from ..rules.table import Rule
from . import updates
from .guards import Read
from .live import Live, as_plain
from .objects import is_foreign, is_of_the_user
from .reads import Reads
from .record import Array, Call, Record, Slot, is_same, memory_of, set_grad
from .walks import Walk, known_walk, way_of
from .watch import quiet, without_collector

NOTHING: dict[str, Any] = {}
_COMPARISONS = {f"__{name}__" for name in ("bool", "eq", "ne", "lt", "le", "gt", "ge", "repr", "format", "hash")}


class Recorder(Tracer):
    """The tracer that writes a `Record`, and the undo list for a step that cannot be recorded.

    It raises where the step does what a program could not do; one that is not ``strict`` remembers it and goes on.

    Attributes:
        known: the record of a run before, if it only has to show whether the step does the same again: it follows that
            one's calls, whose slots it takes, and writes none.
        passing: whether an optimiser has made its state: no other step is the same as this one.
        same: whether the calls are the same so far; ``departs`` is the first one that uses another number or array.
    """

    replays = True

    def __init__(self, strict: bool = True, known: Record | None = None) -> None:
        self.record, self.reads, self.strict, self.known = Record(), Reads(), strict, known
        self.expected: Iterator[Call] = iter(known.compared() if known else ())
        self.walked = iter(known.walks if known else ())
        self.same, self.departs = known is not None, None  # type: tuple[bool, Call | None]
        self.refused: RecordingError | None = None
        self.passing = False
        self.slots: dict[int, Slot] = {}
        self.constants: dict[int, Slot] = {}
        self.found_grads: dict[Any, Any] = {}
        self.undo: list[Callable[[], None]] = []
        self.op_name = self.line = ""
        self.differentiating = False
        self.lines: dict[Slot, str] = {}
        self.gradients: dict[Slot, Slot] = {}
        self.context: Any = None
        self.errors: Any = None
        self.section = "forward"
        self.way: list[Any] | None = None
        self.walk: Walk | None = None
        self.opened: Any = None
        self.seen_generators: set[Any] = set()
        self.written: set[Any] = set()
        self.alive: list[Any] = []
        self.held: dict[int, Any] = {}
        self.lent: set[int] = set()
        self.root: Slot | None = None

    def _enter(self, section: str) -> None:
        """Note which part of the step comes next: forward, backward or update."""
        self.section, self.op_name, self.line = section, "", ""

    @quiet
    def differentiates(self, t: Any) -> None:
        """Note that the rules of the op that made ``t`` come next: their calls belong to the line of that op."""
        if t is not None and self.section != "backward":
            self.root = self.slot(t)
        self._enter("forward" if t is None else "backward")
        self._rest(t is not None and not is_of_the_user(t._node.rule.function))
        if t is not None and self.known is None:
            self.op_name, self.line = t._node.rule.name, self.lines.get(self.slot(t), "")

    def _rest(self, asleep: bool) -> None:
        """Look away while rules run that are none of the user's."""
        if asleep != self.differentiating:
            self.differentiating = asleep
            (self.reads.sleep if asleep else self.reads.wake)()

    @quiet
    def walks(self, order: Sequence[Any], seeds: Sequence[Any]) -> bool:
        """Note which way a walk back takes; one that the record knows needs not be seen, and runs on arrays."""
        self.way, self.start = way_of(order, seeds, self.slot), len(self.record.calls)
        self.walk = known_walk(self.way, self.walked) if self.same else None
        self._rest(self.walk is not None)
        return self.walk is None

    @quiet
    def arrives(self, gradients: Mapping[Any, Any]) -> None:
        """Note what a walk back gives, or by the record what that is, where its calls were not seen."""
        if self.known is None:
            slots = list(map(self.slot, gradients.values()))
            self.record.walks.append(Walk(self.way, len(self.record.calls) - self.start, slots))
        elif self.walk is not None:
            self.expected = islice(self.expected, self.walk.length, None)
            for g, slot in zip(gradients.values(), self.walk.gradients, strict=True):
                self._know(g, slot)

    @contextmanager
    def running(self) -> Any:
        """Watch the ops of this thread; if the step raises, put everything that it has changed back."""
        before, mode.tracer = mode.tracer, self
        try:
            with without_collector():
                yield self
        except BaseException:
            self.roll_back()
            raise
        finally:
            mode.tracer = before

    def roll_back(self) -> None:
        """Put back everything that the step has changed."""
        for restore in reversed(self.undo):
            restore()
        self.reads.restore(self.is_replayed)

    def input(self, array: Array, name: str) -> Any:
        """Return the Tensor that stands for an argument."""
        t = wrap(array.view())  # a new object, so that the same array in a Tensor from outside is told apart
        slot = self.known.inputs[len(self.record.inputs)] if self.known else Slot(array, "input", name)
        self.record.inputs.append(self._know(t, slot))
        self.reads.inputs.add(id(t))
        return t

    def given(self, name: str, floats: dict[str, float]) -> Any:
        """Return what stands for a float among the arguments, which is read from ``floats``."""
        slot = Slot(np.asarray(floats[name]), "number", name, len(self.record.numbers))
        self.record.numbers.append((lambda: {name: floats[name]}, {name: slot}, 0))
        return Live(floats[name], slot, lambda _: self.reads.note(floats, "global", name, name, False, True))

    def _know(self, t: Any, slot: Slot) -> Slot:
        """Note the slot of all Tensors over the array that this Tensor is over."""
        self.alive.append(t._data)
        self.slots[id(t._data)] = slot
        if slot.kind in ("input", "grad"):
            self.lent.add(id(memory_of(t._data)))
        return slot

    def varies(self, t: Any) -> bool:
        slot = self.slots.get(id(t._data))
        return slot is not None and slot.kind not in ("state", "frozen", "constant")

    @functools.partial(quiet, whose=attrgetter("function"))
    def compute(self, rule: Rule, arrays: Sequence[Any], inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """Compute an op as eager does, looking inside those that are made of others."""
        for a in inputs:
            if type(a) is not Tensor and isinstance(a, np.random.Generator):
                self._remember_generator(a)
        if rule.shaped_by_values and (rule.emit is None or any(map(self._is_drawn, rule.shaped_by_values(*inputs)))):
            self.refuse(f"the shape of what {rule.name} gives", "use np.where(mask, x, 0)")
        if rule.inline:
            return self._open(rule, inputs, keywords)
        plain = {k: as_plain(v) for k, v in keywords.items()} if keywords else keywords
        return super().compute(rule, [a.number if type(a) is Live else a for a in arrays], inputs, plain)

    def _is_drawn(self, a: Any) -> bool:
        """Return whether an argument may have other values at the next call."""
        return isinstance(a, Tensor) and self.slot(a).kind not in ("state", "frozen")

    def _open(self, rule: Rule, inputs: Sequence[Any], keywords: Any) -> Any:
        outer = self.op_name, self.line
        self.op_name, self.line = self.op_name or rule.name, self.line or user_line()
        tensors = [a if isinstance(a, Tensor) or not isinstance(a, np.ndarray) else self._lift(a) for a in inputs]
        try:
            with out_of_place():
                result = rule.forward(*tensors, **keywords)
        finally:
            self.op_name, self.line = outer
        if not self.op_name:
            self._call_it(self.slots.get(id(result._data)), rule.name)
        self.opened = result
        return result._data

    def _call_it(self, slot: Slot | None, name: str) -> None:
        if slot is not None and slot.kind == "result" and self.known is None:
            slot.name = name

    def _lift(self, array: Array) -> Any:
        t = wrap(array.view())
        self._know(t, self._constant(array))
        return t

    @quiet
    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Mapping[str, Any], result: Any) -> None:
        if self.opened is not None and self.opened._data is result._data:
            self.opened = None
            return
        if is_of_the_user(rule.function):
            self.reads.rule(rule)
        operands = [self.slot(a) if type(a) is Tensor else self._operand(a) for a in inputs]
        if {a.kind for a in operands if type(a) is Slot} == {"frozen"} and not rule.effect:
            self.constant(result)
            return
        is_view = rule.view and np.may_share_memory(result._data, as_plain(inputs[0]))
        named = {k: self._keyword(v, is_view) for k, v in keywords.items()} if keywords else NOTHING
        made = None if id(result._data) in self.slots else result  # a check gives what it got
        self._add(rule.function, operands, named, made, is_view)

    def _add(self, function: Any, inputs: list[Any], keywords: Any, result: Any = None, is_view: bool = False) -> None:
        """Write down a call and the Tensor that it has made or written to, or follow that of the run before."""
        output = self._follow(function, inputs, keywords, result) if self.same else None
        if result is not None:
            of = inputs[0] if function is assign else None
            kind = ("result",) if of is None else ("state", of.name, of.source)
            output = self._know(result, output or Slot(result._data, *kind))
            flags = result._data.flags
            if not (is_view or of or flags.c_contiguous or flags.f_contiguous):  # what is copied lies without gaps
                output.strides = np.empty_like(result._data).strides
        if self.known is not None:
            return
        op, line, context = self.op_name or getattr(function, "__name__", ""), self.line or user_line(), copy_context()
        if context != self.context:  # which is faster than to ask anew
            self.context, self.errors = context, np.geterr()
        if output is not None:
            self.lines[output] = line
        self.record.calls.append(Call(function, inputs, keywords, output, is_view, self.section, line, op, self.errors))

    def _follow(self, function: Any, inputs: list[Any], keywords: dict[str, Any], result: Any) -> Slot | None:
        """Return the slot of what the same call made in the run before; note if it is another call, or takes others."""
        call = next(self.expected, None)
        shape = (function, len(inputs), result is None)
        if call is None or shape != (call.function, len(call.inputs), call.output is None):
            self.same = False
            return None
        made_anew = function is assign and call.inputs[0].array is not inputs[0].array  # and written to in place
        if made_anew or not (is_same(call.inputs, inputs) and is_same(call.keywords, keywords)):
            self.departs = self.departs or call
        return call.output

    def has_followed(self) -> bool:
        """Return whether the calls were the same to the end."""
        return self.same and next(self.expected, None) is None

    def _operand(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            return self.slot(a)
        if type(a) is Live:
            return a.slot if self._is_own(a.slot) else float(a)
        if isinstance(a, np.ndarray):
            return self._constant(a)
        return a

    def _is_own(self, number: Slot) -> bool:
        """Return whether a live number is one of this record, not of a function that is recorded around it."""
        groups: Any = self.record.numbers
        return number.source < len(groups) and groups[number.source][1].get(number.name) is number

    def _keyword(self, a: Any, is_view: bool) -> Any:
        """Return a keyword with the arrays in it as slots; those that say how a view lies are constant."""
        if isinstance(a, (list, tuple)) and any(isinstance(x, np.ndarray) for x in a):
            return type(a)(self._keyword(x, is_view) for x in a)
        if type(a) is Live:
            return float(a)
        return a if not isinstance(a, np.ndarray) else a.tolist() if is_view else self._constant(a)

    def _constant(self, array: Array) -> Slot:
        return self.constants.setdefault(id(array), Slot(array, "constant"))

    def slot(self, t: Any) -> Slot:
        """Return the slot of a Tensor; one that no op has made is state from outside."""
        known = self.slots.get(id(t._data))
        if known is not None and known.kind != "state":
            return known
        if id(t) not in self.held and (
            known is None or "update" not in self.section
        ):  # which makes its own of parameters
            self.held[id(t)] = t
            self.reads.note(t, "tensor", "", t.name or "a Tensor", False, True)
            for hook in t._hooks:
                self.reads.learn(hook._function)
        return known or self._know(t, Slot(t._data, "state", t.name or "", t._data))

    @quiet
    def constant(self, t: Any) -> None:
        """Note that a Tensor made inside of the step never changes."""
        self._know(t, Slot(t._data, "frozen"))

    def assign(self, target: Any, value: Any, write: Callable[[], None]) -> None:
        """Write down an assignment, and what the data was; from here on the target has another slot in its memory."""
        known = self.slots.get(id(target._data))
        made_here = known is not None and known.kind not in ("state", "grad")
        if made_here and (target._data.base is not None or any(a.base is target._data for a in self.alive)):
            self.refuse("a change in place of an argument, or of what has views", "use t = t + 1")
        if target not in self.written:
            self.written.add(target)
            data, copy = target._data, target._data.copy(order="K")
            self.undo.append(lambda: np.copyto(data, copy))
        write()
        old = self.slot(target)
        value = value if isinstance(value, Tensor) else np.asarray(value)
        if old.kind not in ("state", "constant"):  # made by the step, or to be given back to it as another Tensor
            self._add(np.copy, [self._operand(value)], {}, target)
            return
        self._add(assign, [old, self._operand(value)], {}, target)
        self.record.changed[target] = None

    @quiet
    def reads_grad(self, t: Any) -> None:
        """Note that the step depends on the gradient that it finds, or on there being none."""
        if t in self.found_grads or self._is_made_by_the_step(t):
            return
        found, name = self._remember_grad(t), t.name or "a Tensor"
        self.reads.note(t, "grad", "", f"the gradient of {name}", False, True)
        known = None if found is None else self.slots.get(id(found._data))
        if found is not None and known is None:
            self._know(found, Slot(found._data, "grad", f"{t.name}_grad" if t.name else "grad", t))
        elif known is not None and known.kind == "grad":
            self.fail(f"{name} shares its gradient with {known.source.name or 'another Tensor'}; give it a copy")

    @quiet
    def detaches(self, t: Any) -> None:
        """Note of whose memory another Tensor is made: what depends on that one depends on the data of this one."""
        self.slot(t)

    @quiet
    def sets_grad(self, t: Any, value: Any) -> None:
        """Write down that ``t.grad`` becomes a Tensor or None."""
        if self._is_made_by_the_step(t):
            return
        self._remember_grad(t)
        if self.root is not None and not self.root.shape:
            self._call_it(self.root, "loss")
        slot = None if value is None else self.slot(value)
        if slot is not None and id(memory_of(value._data)) in self.lent:  # and has other values at the next call
            copy = wrap(value._data.copy(order="K"))
            self._add(np.copy, [slot], {}, copy)
            slot = self.slot(copy)
        self._add(set_grad, [t, slot], {})

    def _is_made_by_the_step(self, t: Any) -> bool:
        """Return whether a Tensor is over an argument or a result: nobody sees its gradient after the step."""
        known = self.slots.get(id(t._data))
        return known is not None and known.kind not in ("state", "grad")

    def _remember_grad(self, t: Any) -> Any:
        if t not in self.found_grads:
            found = self.found_grads[t] = t._grad
            self.undo.append(lambda: setattr(t, "_grad", found))
        return self.found_grads[t]

    def _remember_generator(self, rng: np.random.Generator) -> None:
        if rng not in self.seen_generators:
            self.seen_generators.add(rng)
            state = rng.bit_generator.state
            self.undo.append(lambda: setattr(rng.bit_generator, "state", state))

    def numbers(self, read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return numbers as the program will read them at each call, by ``read``; what is no number is frozen."""
        values = read()
        numbers = {k: v for k, v in values.items() if isinstance(v, (int, float, np.number)) and type(v) is not bool}
        slots = {k: Slot(np.asarray(v), "number", k, len(self.record.numbers)) for k, v in numbers.items()}
        self.record.numbers.append((read, slots, len(self.record.calls)))
        return {**values, **{k: Live(float(v), slots[k], self._refuse_use) for k, v in numbers.items()}}

    def _refuse_use(self, method: str) -> None:
        """Raise where the value of an optimiser's number is used; what it is compared with is in its signature."""
        if method not in _COMPARISONS:
            self.fail("a live number takes part in array ops only; compute it in Optimizer.scalars")

    @quiet
    def gradient_of(self, t: Any, g: Any) -> None:
        """Note of what a recorded value is the gradient, for its name; the one before is a term of it."""
        if self.known is not None:
            return
        slot = self.slot(g)
        if slot.kind in ("result", "frozen") and slot.source is None and not slot.name:
            slot.source = self.slot(t)
            if (before := self.gradients.get(slot.source)) is not None:
                before.term = True
            self.gradients[slot.source] = slot

    @functools.partial(quiet, whose=type)
    def updates(self, optimizer: Any) -> None:
        """Write down an update; the optimiser's state is put back on failure, and decides what the step does."""
        own = not is_foreign(type(optimizer).__module__)
        self._enter("own update" if own else "update")
        if not own:
            self.line = user_line()  # the same for all ops
        updates.note(self.reads, optimizer)
        state, kept = optimizer.state, {p: type(s)(s) for p, s in optimizer.state.items()}
        self.undo.append(functools.partial(updates.put_back, optimizer, state, kept))
        self.passing = self.passing or not updates.is_complete(optimizer)
        if self.passing or not (own or self.known is None):  # another step than later, or known
            mode.tracer = IDLE
            tensors = [p for group in optimizer.param_groups for p in group["params"]]
            tensors += [v for entries in kept.values() for v in entries.values() if isinstance(v, Tensor)]
            self.undo += [functools.partial(np.copyto, t._data, t._data.copy(order="K")) for t in tensors]
        super().updates(optimizer)
        mode.tracer = self
        self._enter("forward")

    @quiet
    def sets_mode(self, module: Any, training: bool) -> None:
        """Note that the step switches a module to training or evaluation; the program leaves it as the step does."""
        self.reads.note(module, ".", "training", f"training of {type(module).__name__}", False, True)
        before = module.training
        self.undo.append(lambda: setattr(module, "training", before))
        self.record.modes[module] = training

    def calls(self, module: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """Call a module, whose ``forward`` may be replaced."""
        known = id(module) in self.reads.outside
        self.reads.sleep()  # while it notes
        self.reads.note(module, ".", "forward", f"forward of {type(module).__name__}", False, known)
        self.reads.wake()
        return super().calls(module, inputs, keywords)

    def refuse(self, what: str, instead: str = "return the Tensor and read it outside of the jitted function") -> None:
        """Raise because a value was asked for that a recorded program would freeze."""
        self.fail(
            f"{what} at {user_line()} needs a value while the step is being recorded, which would be frozen; {instead}"
        )

    reads_value = refuse

    def fail(self, message: str) -> None:
        """Remember that the step cannot be a program, and raise if strict: the step may swallow that."""
        self.refused = self.refused or RecordingError(message)
        if self.strict:
            raise self.refused

    def is_replayed(self, read: Read) -> bool:
        """Return whether the program changes something as the step does."""
        switched = read.name == "training" and read.owner in self.record.modes
        if read.kind == "array":
            changed = (*self.record.changed, *(self.known.changed if self.known else ()))
            return any(memory_of(read.owner) is memory_of(t._data) for t in changed)
        drawn = read.kind == "draws" and read.owner in self.seen_generators
        return switched or drawn or read.kind in ("grad", "signature", "held")
