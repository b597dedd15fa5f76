"""Emitting: a plan becomes the text of a NumPy program, and the program a function."""

from __future__ import annotations

import builtins
import inspect
import itertools
import keyword
import linecache
import re
import textwrap
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import assign
from ..errors import RecordingError
from ..rules.table import find, is_default
from .plan import Plan, base_of, is_elementwise
from .record import Call, Slot

_INTEGERS = {np.dtype(np.float32): "np.int32", np.dtype(np.float64): "np.int64"}
RESERVED = {"np", "step", "array", "arrays", "Path", "slice", "bool", "__debug__", *keyword.kwlist}


class Operand(str):
    """The text of an argument of a call, which knows what it stands for; the `emit` of a rule puts it in lines.

    ``value`` is a constant argument itself.
    """

    program: Program
    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what it stands for."""
        return np.shape(self.value) if not isinstance(self.value, Slot) else self.value.shape

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """The dtype of what it stands for, None for a constant."""
        return getattr(self.value, "dtype", None)

    @property
    def item(self) -> str:
        """The text as it stands between brackets."""
        return _index(self.value, self)

    @property
    def bits(self) -> str:
        """The name of a view of an array as integers."""
        return self.program.bits(self.value)

    @property
    def rows(self) -> str:
        """The name of the numbers of an array's rows."""
        n = self.shape[0]
        return self.program.helper(("rows", n), f"rows{n}", np.arange(n).nbytes, f" = np.arange({n})")

    def filled(self, out: Operand) -> str:
        """Return, for a number, the name of an array full of it, like ``out``."""
        fits = _is_number(self.value) and not isinstance(self.value, Slot)
        return self.program.filled(out.value, self.value) if fits else self


class Program:
    """The text of a program and what its names stand for.

    Attributes:
        source: the function ``step``, as it runs.
        setup: the lines that make its buffers and views.
        arrays: the arrays that it is given: parameters, other state and constants, by name.
        inputs: the names of its arguments.
        number_names: for each group of live numbers, which of them are used, and as arrays of what dtype.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.names: dict[Slot, str] = {}
        self.taken: set[str] = set(RESERVED)
        self.setup: list[str] = []
        self.arrays: dict[str, Any] = {}
        self.objects: dict[str, Any] = {}
        self.number_names: dict[int, list[tuple[str, Any]]] = {}
        self.live: dict[tuple[Slot, Any], str] = {}
        self.readers: set[str] = set()
        self.inputs = [self._name(slot, slot.name) for slot in [*plan.record.inputs, *plan.found]]
        self.helpers: dict[Any, str] = {}
        for storage in plan.storages:
            storage.name = self.unique(storage.name)
            self.setup.append(f"{storage.name} = np.empty({storage.nbytes}, np.uint8)")
        body = self._body()
        given = ", ".join(f"{slot.dtype}{slot.shape}" for slot in [*plan.record.inputs, *plan.found])
        shapes = f"  # {given}" if given else ""
        self.source = "\n".join(
            [f"def step({', '.join(self.inputs)}):{shapes}", *(f"    {line}" if line else "" for line in body)]
        )

    def unique(self, name: str) -> str:
        """Return an identifier that nothing else is called by, as near to a name as can be."""
        name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", name)) or "value"
        if not name.isidentifier():
            name = f"layer{name}" if f"layer{name}".isidentifier() else "value"
        candidate, n = name, 1
        while candidate in self.taken:
            n += 1
            candidate = f"{name}_{n}"
        self.taken.add(candidate)
        return candidate

    def _name(self, slot: Slot, wish: str) -> str:
        self.names[slot] = self.unique(wish)
        return self.names[slot]

    def name(self, slot: Slot) -> str:
        """Return the name of a slot; the first time, see to it that the setup makes what it stands for."""
        if slot in self.names:
            return self.names[slot]
        if slot in self.plan.views:
            return self._view(slot)
        place = self.plan.place.get(slot)
        if isinstance(place, Slot):
            self.names[slot] = self.name(place)
            return self.names[slot]
        if slot.kind == "state":
            return self._state(slot)
        if slot.kind in ("constant", "frozen"):
            name = self._name(slot, "constant")
            self.arrays[name] = slot.array
            return name
        return self._buffer(slot, self._wish(slot))

    def _wish(self, slot: Slot) -> str:
        """Return what a result would like to be called."""
        if isinstance(slot.source, Slot):
            target = base_of(self.plan, slot.source)
            return f"d_{self.names.get(target) or self._wish(target)}"
        return slot.name or "value"

    def _state(self, slot: Slot) -> str:
        """Return the name of the memory of a Tensor from outside: one for all its versions."""
        for known, name in self.names.items():
            if known.kind == "state" and known.source is slot.source:
                self.names[slot] = name
                return name
        name = self._name(slot, slot.name or "state")
        self.arrays[name] = slot.array
        return name

    def _buffer(self, slot: Slot, wish: str) -> str:
        if slot in self.plan.replaced:
            self.names[slot] = self.name(self.plan.replaced[slot])
            return self.names[slot]
        place = self.plan.place[slot]
        name = self._name(slot, wish)
        self.setup.append(f"{name} = np.ndarray({slot.shape}, {_dtype(slot)}, {place.name}{slot.layout})")
        return name

    def _view(self, slot: Slot) -> str:
        """Return the name of a view; the setup makes it, unless it is one of an argument or of new memory."""
        call = self.plan.views[slot]
        base = self.name(call.inputs[0])
        name = self._name(slot, f"{base}_{'T' if call.function in (np.transpose, np.swapaxes) else 'view'}")
        line = f"{name} = {self._expression(call)}"
        root = base_of(self.plan, slot)
        if root.kind in ("input", "grad") or root in self.plan.fresh:
            self.lines.append(line)
        else:
            self.setup.append(line)
        return name

    def text(self, a: Any) -> str:
        """Return an operand as the program writes it."""
        if isinstance(a, Slot):
            return self.live[a, None] if a.kind == "number" else self.name(a)
        if isinstance(a, float):
            return _literal(a) if np.isfinite(a) else "np.nan" if a != a else "np.inf" if a > 0 else "-np.inf"
        if a is None or isinstance(a, (bool, int, str)):
            return _literal(a)
        if isinstance(a, slice):
            return "slice(" + ", ".join(self.text(x) for x in (a.start, a.stop, a.step)) + ")"
        if isinstance(a, (tuple, list)):
            inner = ", ".join(map(self.text, a)) + ("," if isinstance(a, tuple) and len(a) == 1 else "")
            return f"({inner})" if isinstance(a, tuple) else f"[{inner}]"
        if a is Ellipsis:
            return "..."
        if isinstance(a, np.dtype):
            return f"np.{a.name}"
        if isinstance(a, type) and issubclass(a, np.generic):
            return f"np.{a.__name__}"
        return self._object(a, "rng" if isinstance(a, np.random.Generator) else getattr(a, "__name__", "value"))

    def _object(self, a: Any, wish: str) -> str:
        for name, known in self.objects.items():
            if known is a:
                return name
        name = self.unique(wish)
        self.objects[name] = a
        return name

    def _body(self) -> list[str]:
        self.lines: list[str] = []
        section = ""
        ambient = np.geterr()
        numbers = iter(enumerate(self.plan.record.numbers))
        upcoming = next(numbers, None)
        position = {id(c): i for i, c in enumerate(self.plan.record.calls)}
        for call in self.plan.calls:
            if call.section != section:
                section = call.section
                self.lines += [""] * bool(self.lines) + [f"# {section}"]
            while upcoming is not None and upcoming[1][2] <= position[id(call)]:
                self._read_numbers(*upcoming)
                upcoming = next(numbers, None)
            start = len(self.lines)
            self.lines += [_with_comment(line, call) for line in self._statements(call)]
            if call.errors != ambient:
                changed = ", ".join(f'{k}="{v}"' for k, v in call.errors.items() if v != dict(ambient)[k])
                new = self.lines[start:]
                views = [line for line in new if "#" not in line]
                self.lines[start:] = [
                    *views,
                    f"with np.errstate({changed}):",
                    *(f"    {x}" for x in new if x not in views),
                ]
        while upcoming is not None:
            self._read_numbers(*upcoming)
            upcoming = next(numbers, None)
        kept = ", ".join(self._returned(s) for s in self.plan.outputs)
        for slot in self.plan.grads.values():
            if slot is not None:
                self.name(slot)
        return [*self.lines, f"return ({kept}{',' if kept else ''})"]

    def _returned(self, slot: Slot) -> str:
        if slot in self.plan.fresh:
            return self.name(slot)
        return f"{self.name(slot)}.copy(" + ('order="K")' if slot.layout else ")")

    def _read_numbers(self, index: int, entry: Any) -> None:
        _, slots, _ = entry
        numbers = {slot: name for name, slot in slots.items()}
        uses = dict.fromkeys(
            (a, _dtype_of_numbers(c)) for c in self.plan.calls for a in c.inputs if isinstance(a, Slot) and a in numbers
        )
        self.number_names[index] = [(numbers[slot], dtype) for slot, dtype in uses]
        targets = [self.unique(name) for name, _ in self.number_names[index]]
        self.live.update(zip(uses, targets, strict=True))
        reader = self.unique("read")
        self.objects[reader] = index
        self.readers.add(reader)
        if targets:
            self.lines.append(
                f"({', '.join(targets)},) = {reader}()" if len(targets) == 1 else f"{', '.join(targets)} = {reader}()"
            )
        else:
            self.lines.append(f"{reader}()")

    def _statements(self, call: Call) -> list[str]:
        """Return the lines that do a call."""
        function, out = call.function, call.output
        if function is assign:
            target, value = call.inputs
            self.names[call.result] = self.name(target)
            if isinstance(value, Slot) and self.plan.place.get(value) is target:
                return []
            return [f"np.copyto({self.name(target)}, {self.text(value)})"]
        arguments = self._operands(call)
        if out in self.plan.fresh:
            self._name(call.result, call.result.name or _wish(call))
        elif out is not None and not out.name:
            out.name = _wish(call)
        emit = find(function).emit
        if emit is None and not (isinstance(function, np.ufunc) and function.nout == 1):
            return self._generic(call, arguments)
        name = self.name(call.result)
        if out in self.plan.fresh:  # at once, so that views of it can be made
            self.lines.append(self._empty(call.result))
        if emit is None:
            return [f"{self._path(function)}({', '.join(arguments)}, out={name})"]
        operands = [self._operand(a, text) for a, text in zip(call.inputs, arguments, strict=True)]
        lines = emit(self._operand(call.result, name), *operands, **self._keywords(call))
        return [lines] if isinstance(lines, str) else lines

    def _operand(self, value: Any, text: str | None = None) -> Operand:
        operand = Operand(self.text(value) if text is None else text)
        operand.program, operand.value = self, value
        return operand

    def _keywords(self, call: Call) -> dict[str, Operand]:
        given = {k: v for k, v in call.keywords.items() if not is_default(call.function, k, v)}
        return {k: self._operand(v) for k, v in given.items()}

    def _operands(self, call: Call) -> list[str]:
        """Return the operands as text; numbers among the arrays of a ufunc as arrays, which NumPy takes up faster."""
        dtype = _dtype_of_numbers(call)
        if dtype is None:
            return [self.text(a) for a in call.inputs]
        return [self._number(a, dtype) if _is_number(a) else self.text(a) for a in call.inputs]

    def _number(self, a: Any, dtype: Any) -> str:
        """Return the name of a number as an array without axes."""
        if isinstance(a, Slot):
            return self.live[a, dtype]
        wish, value = f"n{a!r}".replace("-", "minus_"), f" = np.array({self.text(a)}, np.{dtype.name})"
        return self.helper(("number", repr(a), dtype), wish, dtype.itemsize, value)

    def filled(self, slot: Slot, a: Any) -> str:
        """Return the name of an array like a slot that is full of a number."""
        key, wish = ("filled", repr(a), slot.shape, slot.strides, slot.dtype), "zeros" if a == 0 else "limit"
        array = f" = np.ndarray({slot.shape}, {_dtype(slot)}{slot.layout})"
        return self.helper(key, wish, slot.nbytes, array, f".fill({self.text(a)})")

    def bits(self, slot: Slot) -> str:
        """Return the name of a view of a slot as integers."""
        name, root = self.name(slot), base_of(self.plan, slot)
        if ("bits", slot) not in self.helpers:
            bits = self.helpers["bits", slot] = self.unique(f"{name}_bits")
            inside = root.kind in ("input", "grad") or root in self.plan.fresh
            (self.lines if inside else self.setup).append(f"{bits} = {name}.view({_INTEGERS[slot.dtype]})")
        return self.helpers["bits", slot]

    def helper(self, key: Any, wish: str, nbytes: int, *lines: str) -> str:
        """Return the name of an array that never changes; the first time, add the lines to the setup that make it."""
        if key not in self.helpers:
            self.helpers[key] = self.unique(wish)
            self.setup += [self.helpers[key] + line for line in lines]
            self.plan.helper_bytes += nbytes
        return self.helpers[key]

    def _empty(self, slot: Slot) -> str:
        make = "np.ndarray" if "strides" in slot.layout else "np.empty"
        return f"{self.name(slot)} = {make}({slot.shape}, {_dtype(slot)}{slot.layout})"

    def _generic(self, call: Call, arguments: list[str]) -> list[str]:
        """Return a call of a function that takes no ``out``: its result is copied into place, or dropped."""
        expression = self._expression(call, arguments)
        if call.output is None:
            return [expression]
        if call.output in self.plan.fresh:
            return [f"{self.name(call.output)} = np.asarray({expression})"]
        return [f"{self.name(call.output)}[...] = {expression}"]

    def _expression(self, call: Call, arguments: list[str] | None = None) -> str:
        rule = find(call.function)
        operands = [self._operand(a, None if arguments is None else arguments[i]) for i, a in enumerate(call.inputs)]
        keywords = self._keywords(call)
        if rule.express is not None:
            return str(rule.express(*operands, **keywords))
        named = [f"{k}={v}" for k, v in keywords.items()]
        return f"{self._path(rule.forward)}({', '.join([*operands, *named])})"

    def _path(self, function: Callable[..., Any]) -> str:
        """Return how a program calls a function: NumPy's by its path, any other by a name of its own."""
        name = getattr(function, "__name__", "function")
        for path, module in (("np", np), ("np.linalg", np.linalg)):
            if getattr(module, name, None) is function:
                return f"{path}.{name}"
        return self._object(function, name)


def _is_number(a: Any) -> bool:
    return a.kind == "number" if isinstance(a, Slot) else isinstance(a, (int, float)) and not isinstance(a, bool)


def _dtype_of_numbers(call: Call) -> Any:
    """Return the dtype that numbers take in an elementwise call on float arrays of one dtype, or None."""
    dtypes = {a.dtype for a in call.inputs if isinstance(a, Slot) and a.kind != "number"}
    dtype = dtypes.pop() if len(dtypes) == 1 and is_elementwise(call) else None
    return dtype if dtype in _INTEGERS else None


def _index(item: Any, text: str) -> str:
    """Return an index as it stands between brackets."""
    if not isinstance(item, slice):
        return text
    start, stop, step = ("" if bound is None else str(int(bound)) for bound in (item.start, item.stop, item.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _literal(a: Any) -> str:
    """Return a constant as text, by the repr of its plain type, whatever a subclass such as IntEnum makes of it."""
    plain = next((kind for kind in (bool, int, float, str) if isinstance(a, kind)), None)
    return "None" if plain is None else plain.__repr__(a)


def _wish(call: Call) -> str:
    """Return what the result of a call would like to be called: by the user's op, in the backward pass by its own."""
    if call.output is not None and call.output.dtype == bool:
        return "mask"
    return call.op if call.section == "forward" else getattr(call.function, "__name__", "value")


def _dtype(slot: Slot) -> str:
    return "bool" if slot.dtype == bool else f"np.{slot.dtype.name}"


def _with_comment(line: str, call: Call) -> str:
    comment = f"# {call.op}, {call.line}".replace("\n", " ").replace("\r", " ").replace("\0", " ")
    comment = comment.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{line:<76}  {comment}"


_numbers = itertools.count()


def execute(source: str, namespace: dict[str, Any], name: str) -> None:
    """Run a program's text in a namespace: the only dynamic code of the package. Tracebacks show its lines."""
    filename = f"<jit {name} {next(_numbers)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)


def module_source(program: Program) -> str:
    """Return the text of a module that runs the program with NumPy alone, its arrays in an npz file beside it."""
    lines = [
        '"""One step as a NumPy program, written by tinygrad_mlp. The arrays are in the npz file beside it."""',
        "",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "",
        'arrays = np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False)',
        *(f'{name} = arrays["{name}"]' for name in program.arrays),
        *program.setup,
    ]
    for key, value in program.objects.items():
        lines += ["", "", _object_source(program, key, value)]
    return "\n".join([*lines, "", "", program.source, ""])


def _plain(state: Any) -> Any:
    """Return the state of a generator with lists in place of arrays."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _object_source(program: Program, name: str, value: Any) -> str:
    """Return the text that makes an object of a program anew."""
    if name in program.readers:
        slots = program.plan.record.numbers[value][1]
        numbers = [(repr(float(slots[n].array)), dtype) for n, dtype in program.number_names[value]]
        values = "".join(f"{x}, " if dtype is None else f"np.array({x}, np.{dtype.name}), " for x, dtype in numbers)
        return f"def {name}():  # the numbers as they were when this was recorded\n    return ({values})"
    if isinstance(value, np.random.Generator):
        kind, state = type(value.bit_generator).__name__, value.bit_generator.state
        return f"{name} = np.random.Generator(np.random.{kind}())\n{name}.bit_generator.state = {_plain(state)!r}"
    unknown = set(value.__code__.co_names) - {"np"} - set(dir(np)) - set(dir(np.ndarray)) - set(dir(builtins))
    if unknown:
        raise RecordingError(f"{value.__name__} cannot be exported: it needs {', '.join(sorted(unknown))}")
    lines = textwrap.dedent(inspect.getsource(value)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    text = "\n".join(lines[start:]).replace(": Any", "").replace(" -> Any", "")
    return text.replace(f"def {value.__name__}(", f"def {name}(", 1)
