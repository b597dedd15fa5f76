"""Exporting: the programs of a step become a module that needs NumPy alone, with the functions that they call."""

from __future__ import annotations

import ast
import copy
import functools
import itertools
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.tensor import assign
from ..errors import RecordingError
from ..syntax import definition
from .compiled import Compiled
from .emit import Program
from .naming import function_name, literal, path_in_numpy
from .plan import Plan, make_plan
from .record import Call, Record, Slot, set_grad
from .scope import Scope

_HEAD = '''\
"""{name} as a NumPy program, written by tinygrad_mlp. The arrays are in the npz file beside it."""

{imports}


def {name}({arguments}):
    """Return the results of {name} as arrays; parameters and all other state change as they did in training."""
    given = [np.asarray(a) for a in [{arguments}]]
    kind = ", ".join(f"{{a.dtype}}{{a.shape}}" for a in given)
    if kind not in {programs}:
        raise ValueError(f"{name} knows arrays of {{' or '.join({programs})}}; got {{kind}}; export it for these too")
    return {programs}[kind](*given)
'''
_READER = '''\
def {reader}():
    """Return the numbers of the next update."""
    {count}numbers = {scalars}({owner}, {options}, {step})
    return {numbers}'''
_SCHEDULE = '''\
def {name}():
    """Set the learning rate of the next step, as the schedule's step() did."""
    {owner}.last_step += 1
    for group, lr in zip([{options}], {owner}.base_lrs):
        group["lr"] = lr * {factor}({owner}, {owner}.last_step)'''


def _left(record: Record) -> dict[Any, Call]:
    """Return by Tensor the calls that set the gradients which a step leaves."""
    return {call.inputs[0]: call for call in record.calls if call.function is set_grad}


def _found(record: Record) -> dict[Any, Slot]:
    """Return by Tensor the gradients that a step finds, and leaves others of."""
    left = _left(record)
    return {slot.source: slot for c in record.calls for slot in c.slots if slot.kind == "grad" and slot.source in left}


def _plans(records: list[tuple[Record, list[Slot]]]) -> list[Plan]:
    """Return the plans of the programs of one module."""
    gradients = {t: _state_of(t, slot) for record, _ in records for t, slot in _found(record).items()}
    return [_planned(record, outputs, gradients) for record, outputs in records]


def _planned(record: Record, outputs: list[Slot], gradients: dict[Any, Slot]) -> Plan:
    """Return a plan in which gradients that any of the steps finds, and adds to, are state of the module.

    What a step only finds stays an argument.

    Raises:
        RecordingError: the step would not find, at its next call, what it leaves.
    """
    found, left = _found(record), {t: call for t, call in _left(record).items() if t in gradients}
    for t, call in left.items():
        if call.inputs[1] is None or found.get(t) in outputs:
            raise RecordingError(
                f"a step that finds a gradient of {t.name or 'a Tensor'} and gives it back, or away, cannot be "
                "exported; call zero_grad() at its beginning"
            )
    own = {slot: gradients[t] for t, slot in found.items()}
    kept = [not (call.function is set_grad and call.inputs[0] in left) for call in record.calls]
    calls = [
        replace(call, inputs=_put(call.inputs, own), keywords=_put(call.keywords, own))
        for call in itertools.compress(record.calls, kept)
    ]
    for t, call in left.items():
        target = gradients[t]
        inputs, output = [target, _put(call.inputs[1], own)], Slot(target.array, "state", target.name, t)  # type: ignore[arg-type]
        calls.append(replace(call, function=assign, inputs=inputs, output=output, op="assign"))
    numbers = [(read, slots, sum(kept[:position])) for read, slots, position in record.numbers]
    return make_plan(replace(record, calls=calls, numbers=numbers), outputs)


def _state_of(t: Any, slot: Slot) -> Slot:
    """Return the state that a gradient becomes: as it is now, zeros if there is none."""
    array = np.zeros_like(t._data) if t._grad is None else t._grad._data.copy(order="K")
    return Slot(array, "state", slot.name, t)


def _put(a: Any, slots: Mapping[Slot, Slot]) -> Any:
    """Return an operand with slots in the places of others."""
    if isinstance(a, dict):
        return {key: _put(value, slots) for key, value in a.items()}
    if isinstance(a, (list, tuple)):
        return type(a)(_put(part, slots) for part in a)
    return slots.get(a, a) if isinstance(a, Slot) else a


class Module:
    """The text of a module that runs programs with NumPy alone.

    Attributes:
        source: the text; the step comes first, then what it calls, then its memory.
        arrays: what belongs into the npz file beside it.
    """

    def __init__(self, name: str, compiled: Sequence[Compiled], schedule: Any = None) -> None:
        self.scope = scope = Scope()
        plans = _plans([c.recorded() for c in compiled])
        self.imports = {"from pathlib import Path"}
        self.blocks: list[str] = []
        self.state: list[str] = []
        self.made: set[str] = set()
        name = scope.unique(function_name(name))
        programs = [Program(plan, f"{name}_program", scope) for plan in plans]
        known = scope.unique("programs")
        arguments = ", ".join(
            programs[0].inputs if len({*map(len, (p.inputs for p in programs))}) == 1 else ["*arrays"]
        )
        for program in programs:
            for reader, (index, names) in program.readers.items():
                self._read(reader, program.plan.record.numbers[index], names)
        if schedule is not None:
            self._schedule(schedule)
        while left := [key for key in scope.objects if key not in self.made]:
            self.made.update(left)
            self.blocks += [self._object(key, scope.objects[key]) for key in left]
        sources = [program.source for program in programs]
        kinds = [f'    "{_kinds(p)}": {p.function},' for p in reversed(programs)]
        setup = _needed(scope.setup, "\n".join([*sources, *self.blocks]))
        memory = [f"{key} = np.empty({nbytes}, np.uint8)" for key, nbytes in scope.memory.items()]
        self.arrays = {key: a for key, a in scope.saved.items() if key in _words("\n".join([*sources, *setup]))}
        saved = [
            'with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as file:',
            "    arrays = dict(file)",
        ]
        saved += [f'{key} = arrays["{key}"]' for key in self.arrays]
        lines = [f"{known} = {{", *kinds, "}", *self.state, *saved, *memory, *setup]
        imports = "\n".join([*sorted(self.imports, key=str.split), "", "import numpy as np"])
        head = _HEAD.format(name=name, imports=imports, arguments=arguments, programs=known)
        self.source = "\n\n\n".join([head.rstrip(), *sources, *self.blocks, "\n".join(lines)]) + "\n"

    def _object(self, name: str, a: Any) -> str:
        """Return the text that makes an object of a program anew."""
        if isinstance(a, np.random.Generator):
            kind, state = type(a.bit_generator).__name__, a.bit_generator.state
            return f"{name} = np.random.Generator(np.random.{kind}())\n{name}.bit_generator.state = {_plain(state)!r}"
        if isinstance(a, types.FunctionType):
            return self._function(name, a)
        called, home = getattr(a, "__name__", ""), str(getattr(a, "__module__", ""))
        if isinstance(a, type) and home.startswith("tinygrad_mlp"):  # an error, which derives from one of Python's
            return f"{name} = {next(kind.__name__ for kind in a.__mro__ if kind.__module__ == 'builtins')}"
        places = [key for key, module in sys.modules.items() if getattr(module, "__dict__", {}).get(called) is a]
        public = [key for key in places if "._" not in key and key.split(".")[0] not in ("__main__", "tinygrad_mlp")]
        if public:
            return f"from {min(public, key=len)} import {called}" + f" as {name}" * (name != called)
        raise RecordingError(f"{called or name} cannot be exported: {type(a).__name__} objects have no text")

    def _function(self, name: str, function: Any) -> str:
        """Return the definition of a function under a name, without types, and with what it calls by the names here."""
        node = _Untyped().visit(_definition(function))
        around = {**function.__globals__, **dict(zip(function.__code__.co_freevars, _cells(function), strict=True))}
        found = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        own = {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)}
        own |= {n.id for n in found if not isinstance(n.ctx, ast.Load)}
        for n in found:
            if n.id in around and n.id not in own:
                n.id = self._reached(function, n.id, around[n.id])
        body = [ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body
        return ast.unparse(ast.fix_missing_locations(ast.FunctionDef(name, node.args, body, [], lineno=0)))

    def _reached(self, function: Any, name: str, a: Any) -> str:
        """Return as what a function of the module reaches what its original finds under a name."""
        if a is np:
            return "np"
        if isinstance(a, types.ModuleType):
            self.imports.add(f"import {a.__name__}")
            return a.__name__
        a = a.__wrapped__ if getattr(a, "is_door", False) else getattr(a, "plain", a)
        text = (path_in_numpy(a) if callable(a) else "") or literal(a)
        if not text and not callable(a):
            raise RecordingError(f"{function.__name__} cannot be exported: it needs {name}")
        return text or self.scope.object(a)

    def _method(self, method: Any) -> tuple[str, str]:
        """Return the names of a method as a function, and of the namespace that stands for its object."""
        owner, function = method.__self__, method.__func__
        used = {n.attr for n in ast.walk(_definition(function)) if isinstance(n, ast.Attribute) and _is_self(n.value)}
        values = {key: getattr(owner, key) for key in sorted({*used, "last_step", "base_lrs"}) if hasattr(owner, key)}
        for key, value in values.items():
            if repr(value) != repr(_plain(value)) or callable(value):
                raise RecordingError(f"{function.__qualname__} cannot be exported: it needs self.{key}")
        self.imports.add("from types import SimpleNamespace")
        text = f"SimpleNamespace({', '.join(f'{k}={v!r}' for k, v in values.items())})"
        name = self._state(("owner", id(owner)), type(owner).__name__.lower(), text)
        return self.scope.object(function), name

    def _state(self, key: Any, wish: str, text: str) -> str:
        if key not in self.scope.known:
            self.scope.bind(key, wish, None, among={})
            self.state.append(f"{self.scope.known[key]} = {text}")
        return self.scope.known[key]

    def _options(self, group: Any) -> str:
        """Return the name of a dictionary with the options of a parameter group, as they are now."""
        options = {key: _plain(value) for key, value in group.items() if key != "params"}
        return self._state(("group", id(group)), "options", repr(options))

    def _read(self, reader: str, entry: Any, names: Any) -> None:
        """Add the function that gives live numbers: those of an optimiser's next step, or else as they were."""
        read, *_ = entry
        advances = isinstance(read, functools.partial) and hasattr(getattr(read.func, "__self__", None), "scalars")
        values = [f'numbers["{n}"]' if advances else repr(float(read()[n])) for n, _ in names]
        texts = [
            v if dtype is None else f"np.array({v}, np.{dtype})" for v, (_, dtype) in zip(values, names, strict=True)
        ]
        numbers = texts[0] if len(texts) == 1 else "(" + "".join(f"\n        {text}," for text in texts) + "\n    )"
        if not advances:
            self.blocks.append(f"def {reader}():\n    return {numbers}")
            return
        optimizer, (group, params, _) = read.func.__self__, read.args
        scalars, owner = self._method(optimizer.scalars)
        count, step = "", "0"
        if optimizer.counts_steps:
            done = optimizer.state[params[0]].get("step", 0)
            steps = self._state(("steps", id(optimizer), *map(id, params)), "steps", f"[{done}]")
            count, step = f"{steps}[0] += 1\n    ", f"{steps}[0]"
        options = self._options(group)
        self.blocks.append(
            _READER.format(
                reader=reader, count=count, scalars=scalars, owner=owner, options=options, step=step, numbers=numbers
            )
        )

    def _schedule(self, schedule: Any) -> None:
        """Add a function that does what a schedule's ``step()`` does."""
        factor, owner = self._method(schedule.factor)
        options = ", ".join(map(self._options, schedule.optimizer.param_groups))
        name = self.scope.unique("schedule")
        self.blocks.append(_SCHEDULE.format(name=name, owner=owner, options=options, factor=factor))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _needed(setup: list[str], text: str) -> list[str]:
    """Return the lines of a setup whose names a text needs, or another such line."""
    needed, kept = _words(text), []
    for line in reversed(setup):
        if line.split(" = ")[0] in needed:
            kept.append(line)
            needed |= _words(line)
    return kept[::-1]


def _kinds(program: Program) -> str:
    return ", ".join(f"{slot.dtype}{slot.shape}" for slot in [*program.plan.record.inputs, *program.plan.found])


def _cells(function: Any) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or ()]


def _is_self(node: Any) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _plain(state: Any) -> Any:
    """Return a state as it can be written down: numbers and texts, lists in place of arrays."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, (tuple, list)):
        return type(state)(map(_plain, state))
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state


def _definition(function: Callable[..., Any]) -> Any:
    """Return a copy of the syntax of a function or lambda."""
    node, _ = definition(function)
    if node is None:
        raise RecordingError(f"{function.__name__} cannot be exported: its source is not to be found")
    return copy.deepcopy(node)


class _Untyped(ast.NodeTransformer):
    """Takes the types out of a definition: what they name is not needed to run it."""

    def visit_arg(self, node: Any) -> Any:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: Any) -> Any:
        return ast.Assign([node.target], node.value, lineno=0) if node.value else None

    def visit_FunctionDef(self, node: Any) -> Any:
        node.returns, node.decorator_list = None, []
        return self.generic_visit(node)
