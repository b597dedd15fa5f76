"""Emitting: a plan becomes the text of a NumPy program, and the program a function."""

from __future__ import annotations

import builtins
import functools
import itertools
import linecache
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.tensor import assign
from ..rules.table import find, is_default
from .naming import RESERVED, fraction_text, function_name, identifier, is_number, number_name, value_name, view_name
from .plan import Plan, Storage, base_of, is_elementwise
from .record import Call, Slot

_INTEGERS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}
WIDTH = 100
"""Up to what width a result that only the next call needs is computed inside of that call."""


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
    def is_reversed(self) -> bool:
        """Whether an axis of an array runs backwards through its memory."""
        return any(step < 0 for step in getattr(self.value, "strides", ()))

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
        return self.program.helper(("rows", n), f"rows{n}", np.arange(n), f"np.arange({n})")

    @property
    def scalar(self) -> str:
        """A constant array all of whose elements are equal as that number; anything else as it is."""
        array = self.value.array if isinstance(self.value, Slot) and self.value.kind == "frozen" else None
        if array is None or array.dtype not in _INTEGERS or not array.size:
            return self
        bits = array.view(_INTEGERS[array.dtype])
        return fraction_text(array.flat[0]) if (bits == bits.flat[0]).all() else self

    def filled(self, out: Operand) -> str:
        """Return, for a number, the name of an array full of it, like ``out``."""
        fits = is_number(self.value) and not isinstance(self.value, Slot)
        return self.program.filled(out.value, self.value) if fits else self


class Scope:
    """The names of a program, or of several that are one module, and what they stand for.

    Attributes:
        values: what each name stands for.
        setup: the lines that make buffers, views and constants.
        saved: the arrays that a module has in its file: parameters, other state and constants.
        objects: functions and generators.
        memory: the bytes of each piece of temporary memory, which programs share.
    """

    def __init__(self) -> None:
        self.taken = dict.fromkeys(RESERVED, 1)
        self.known: dict[Any, str] = {}
        self.values: dict[str, Any] = {}
        self.setup: list[str] = []
        self.saved: dict[str, Any] = {}
        self.objects: dict[str, Any] = {}
        self.memory: dict[str, int] = {}

    def unique(self, wish: str) -> str:
        """Return an identifier that nothing else is called by, as near to a name as can be."""
        name = candidate = identifier(wish)
        while candidate in self.taken:
            self.taken[name] = n = self.taken.get(name, 1) + 1
            candidate = f"{name}_{n}"
        self.taken[candidate] = 1
        return candidate

    def bind(self, key: Any, wish: str, value: Any, text: str = "", among: dict[str, Any] | None = None) -> str:
        """Return the name of a value, by its key; the first time, note it and the text that makes it, or ``among``."""
        if key not in self.known:
            name = self.known[key] = self.unique(wish)
            self.values[name] = value
            if among is None:
                self.setup.append(f"{name} = {text}")
            else:
                among[name] = value
        return self.known[key]

    def piece(self, storage: Storage, n: int) -> str:
        """Return the name of the n-th piece of temporary memory, which is large enough for a storage."""
        name = self.bind(("memory", n), storage.name, None, among={})
        self.memory[name] = max(storage.nbytes, self.memory.get(name, 0))
        self.values[name] = np.empty(storage.nbytes, np.uint8)
        return name

    def object(self, a: Any) -> str:
        """Return the name of a function, a generator or another object that has no text."""
        wish = "rng" if isinstance(a, np.random.Generator) else getattr(a, "__name__", type(a).__name__)
        return self.bind(("object", id(a)), wish, a, among=self.objects)


class _Line(NamedTuple):
    text: str
    call: Call | None = None


class Program:
    """The text of a program and what its names stand for.

    Attributes:
        source: the function, as it runs.
        function: its name.
        inputs: the names of its arguments.
        readers: the functions that read live numbers, by name: of which group, and which numbers, of what dtype.
    """

    def __init__(self, plan: Plan, wish: str = "step", scope: Scope | None = None) -> None:
        self.plan, self.scope = plan, scope or Scope()
        self.names: dict[Slot, str] = {}
        self.readers: dict[str, tuple[int, list[tuple[str, Any]]]] = {}
        self.live: dict[tuple[Slot, Any], str] = {}
        self.lines: list[_Line] = []
        self.pending: _Line | None = None
        self.uses = _uses(plan)
        self.function = self.scope.unique(function_name(wish))
        given = [*plan.record.inputs, *plan.found]
        self.inputs = [self._name(slot, slot.name) for slot in given]
        self.memory = {storage: self.scope.piece(storage, n) for n, storage in enumerate(plan.storages)}
        self._body()
        shapes = ", ".join(f"{slot.dtype}{slot.shape}" for slot in given)
        head = f"def {self.function}({', '.join(self.inputs)}):" + (f"  # {shapes}" if shapes else "")
        self.source = "\n".join(
            [head, *(f"    {line}" if line else "" for line in _laid_out(self.lines, self.plan.record.errors))]
        )

    def _name(self, slot: Slot, wish: str) -> str:
        self.names[slot] = self.scope.unique(wish)
        return self.names[slot]

    def name(self, slot: Slot) -> str:
        """Return the name of a slot; the first time, see to it that the scope has what it stands for."""
        if slot not in self.names:
            place = self.plan.place.get(slot)
            if slot in self.plan.views:
                self._view(slot)
            elif isinstance(place, Slot):
                self.names[slot] = self.name(place)
            elif slot.array is not None:
                wish = slot.name or self._gradient_of(slot) or ("state" if slot.kind == "state" else "constant")
                key = ("array", id(slot.array))
                self.names[slot] = self.scope.bind(key, wish, slot.array, among=self.scope.saved)
            else:
                self._buffer(slot)
        return self.names[slot]

    def _gradient_of(self, slot: Slot) -> str:
        """Return the name of a value that is the gradient of another one."""
        if not isinstance(slot.source, Slot):
            return ""
        target = base_of(self.plan, slot.source)
        return f"d_{self.names.get(target) or target.name or 'value'}"

    def _buffer(self, slot: Slot) -> None:
        """Name a result, and make its array: that of the operand in whose memory it is put, or a new one."""
        donor = self.plan.replaced.get(slot)
        name = self._name(slot, slot.name)
        if donor is not None:
            text, array = self.names[donor], self.scope.values[self.names[donor]]
        else:
            memory = self.memory[self.plan.place[slot]]  # type: ignore[index]
            text = f"np.ndarray({slot.shape}, {_dtype(slot)}, {memory}{slot.layout})"
            array = np.ndarray(slot.shape, slot.dtype, self.scope.values[memory], strides=slot.strides)
        self.scope.values[name] = array
        self.scope.setup.append(f"{name} = {text}")

    def _is_inside(self, slot: Slot) -> bool:
        """Return whether a slot is in memory that each call has anew: that of an argument, or of a returned array."""
        root = base_of(self.plan, slot)
        return root.kind in ("input", "grad") or root in self.plan.fresh

    def _view(self, slot: Slot) -> None:
        """Name a view; the setup makes it, unless it is one of an argument or of new memory."""
        call = self.plan.views[slot]
        base = self.name(call.inputs[0])
        name = self._name(slot, view_name(call, base))
        self._derive(slot, name, self._expression(call), lambda: self._compute(call))

    def _derive(self, slot: Slot, name: str, text: str, make: Callable[[], Any]) -> None:
        if self._is_inside(slot):
            self._flush()
            self.lines.append(_Line(f"{name} = {text}"))
        else:
            self.scope.values[name] = make()
            self.scope.setup.append(f"{name} = {text}")

    def _compute(self, call: Call) -> Any:
        operands = [self.scope.values[self.names[a]] if isinstance(a, Slot) else a for a in call.inputs]
        return find(call.function).forward(*operands, **call.keywords)

    def text(self, a: Any) -> str:
        """Return an operand as the program writes it."""
        if isinstance(a, Slot):
            return self.live[a, None] if a.kind == "number" else self.name(a)
        if isinstance(a, slice):
            return "slice(" + ", ".join(self.text(x) for x in (a.start, a.stop, a.step)) + ")"
        if isinstance(a, (tuple, list)):
            inner = ", ".join(map(self.text, a)) + ("," if isinstance(a, tuple) and len(a) == 1 else "")
            return f"({inner})" if isinstance(a, tuple) else f"[{inner}]"
        return literal(a) or self.scope.object(a)

    def _body(self) -> None:
        numbers = iter(enumerate(self.plan.record.numbers))
        upcoming = next(numbers, None)
        position = {id(c): i for i, c in enumerate(self.plan.record.calls)}
        uses = self._uses_of_numbers()
        section = ""
        following = [*self.plan.calls[1:], None]
        for call, after in zip(self.plan.calls, following, strict=False):
            if call.section != section:
                section = call.section
                self._flush()
                self.lines += [_Line("")] * bool(self.lines) + [_Line(f"# {section}")]
            while upcoming is not None and upcoming[1][2] <= position[id(call)]:
                self._read_numbers(*upcoming, uses)
                upcoming = next(numbers, None)
            self._write(call, self._statements(call), after)
        self._flush()
        while upcoming is not None:
            self._read_numbers(*upcoming, uses)
            upcoming = next(numbers, None)
        kept = ", ".join(self._returned(s) for s in self.plan.outputs)
        for slot in self.plan.grads.values():
            if slot is not None:
                self.name(slot)
        self.lines.append(_Line(f"return ({kept}{',' if kept else ''})"))

    def _write(self, call: Call, texts: list[str], after: Call | None) -> None:
        """Add the lines of a call, the one before inside of it if that reads well, unless the next takes it up."""
        if self.pending is not None and len(texts) == 1:
            joined = self._joined(self.pending, texts[0])
            if joined:
                texts, self.pending = [joined], None
        self._flush()
        if len(texts) == 1 and after is not None and self._is_taken_up(call, texts[0], after):
            self.pending = _Line(texts[0], call)
        else:
            self.lines += [_Line(text, call) for text in texts]

    def _flush(self) -> None:
        if self.pending is not None:
            self.lines.append(self.pending)
            self.pending = None

    def _is_taken_up(self, call: Call, text: str, after: Call) -> bool:
        """Return whether a result is needed by the next call alone, and its text is an expression."""
        out = call.output
        if out is None or self.uses[out] != 1 or not any(a is out for a in after.inputs):
            return False
        alike = (call.section, call.line, call.errors) == (after.section, after.line, after.errors)
        is_copied = text.startswith(f"{self.names[out]}[...] = ")
        return alike and (is_elementwise(after) if is_copied else text.endswith(f", out={self.names[out]})"))

    def _joined(self, inner: _Line, text: str) -> str:
        """Return a call with another one in the place of its result, or nothing if that is too long, or unclear."""
        name = self.names[inner.call.result]  # type: ignore[union-attr]
        body, out = re.fullmatch(r"(.*?)((?:, out=[^,=]*)?\)?)", text).groups()  # type: ignore[union-attr]
        if not text.startswith("np.") or len(re.findall(rf"\b{name}\b", body)) != 1:
            return ""
        expression = inner.text.removeprefix(f"{name}[...] = ")
        joined = re.sub(rf"\b{name}\b", lambda _: expression, body) + out
        return joined if len(joined) <= WIDTH else ""

    def _returned(self, slot: Slot) -> str:
        if slot in self.plan.fresh:
            return self.name(slot)
        return f"{self.name(slot)}.copy(" + ('order="K")' if slot.layout else ")")

    def _uses_of_numbers(self) -> dict[Slot, dict[Any, None]]:
        """Return for each live number as arrays of what dtype the calls take it."""
        uses: dict[Slot, dict[Any, None]] = {}
        for call in self.plan.calls:
            for a, dtype in zip(call.inputs, _dtypes_of_numbers(call), strict=True):
                if isinstance(a, Slot) and a.kind == "number":
                    uses.setdefault(a, {})[dtype] = None
        return uses

    def _read_numbers(self, index: int, entry: Any, uses: dict[Slot, dict[Any, None]]) -> None:
        """Add the line that reads a group of live numbers: those that are used, as what the calls take."""
        self._flush()
        given = [(name, slot, dtype) for name, slot in entry[1].items() for dtype in uses.get(slot, ())]
        targets = [self.scope.unique(name) for name, _, _ in given]
        self.live.update({(slot, dtype): target for (_, slot, dtype), target in zip(given, targets, strict=True)})
        reader = self.scope.unique(f"read_{targets[0]}" if len(targets) == 1 else "read_numbers")
        self.readers[reader] = index, [(name, dtype) for name, _, dtype in given]
        self.lines.append(_Line(f"{', '.join(targets)} = {reader}()" if targets else f"{reader}()"))

    def _statements(self, call: Call) -> list[str]:
        """Return the lines that do a call."""
        function, out = call.function, call.output
        if function is assign:
            target, value = call.inputs
            self.names[call.result] = self.name(target)
            if isinstance(value, Slot) and self.plan.place.get(value) is target:
                return []
            return [f"np.copyto({self.name(target)}, {self.text(value)})"]
        operands = self._operands(call)
        if out is not None and not out.name:
            out.name = self._gradient_of(out) or value_name(call, operands)
        emit = find(function).emit
        if emit is None and not (isinstance(function, np.ufunc) and function.nout == 1):
            return self._generic(call, operands)
        if out in self.plan.fresh:
            return self._fresh(call, operands)
        return self._into(call, operands, self.name(call.result))

    def _into(self, call: Call, operands: list[Operand], name: str) -> list[str]:
        """Return the lines that compute a call into the array of a name."""
        emit, keywords = find(call.function).emit, self._keywords(call)
        if emit is None:
            named = "".join(f", {k}={v}" for k, v in keywords.items())
            return [f"{self._path(call.function)}({', '.join(operands)}{named}, out={name})"]
        lines = emit(self._operand(call.result, name), *operands, **keywords)
        return [lines] if isinstance(lines, str) else lines

    def _fresh(self, call: Call, operands: list[Operand]) -> list[str]:
        """Return the lines that compute a call into new memory, which is the caller's."""
        out = call.result
        name, start = self._name(out, out.name), len(self.lines)
        make = "np.ndarray" if "strides" in out.layout else "np.empty"
        new = f"{make}({out.shape}, {_dtype(out)}{out.layout})"
        lines = self._into(call, operands, name)
        if len(lines) == 1 and len(self.lines) == start and lines[0].endswith(f"out={name})"):
            return [f"{name} = {lines[0].removesuffix(f'{name})')}{new})"]
        self.lines.insert(start, _Line(f"{name} = {new}"))
        return lines

    def _operand(self, value: Any, text: str | None = None) -> Operand:
        operand = Operand(self.text(value) if text is None else text)
        operand.program, operand.value = self, value
        return operand

    def _keywords(self, call: Call) -> dict[str, Operand]:
        given = {k: v for k, v in call.keywords.items() if not is_default(call.function, k, v)}
        return {k: self._operand(v) for k, v in given.items() if k not in ("out", "where")}

    def _operands(self, call: Call) -> list[Operand]:
        """Return the operands as text; numbers among the arrays of a ufunc as arrays, which NumPy takes up faster."""
        pairs = zip(call.inputs, _dtypes_of_numbers(call), strict=True)
        return [self._operand(a, None if dtype is None else self._number(a, dtype)) for a, dtype in pairs]

    def _number(self, a: Any, dtype: Any) -> str:
        """Return the name of a number as an array without axes."""
        if isinstance(a, Slot):
            return self.live[a, dtype]
        text = f"np.array({self.text(a)}, np.{dtype.name})"
        return self.helper(("number", repr(a), dtype), number_name(a), np.array(a, dtype), text)

    def filled(self, slot: Slot, a: Any) -> str:
        """Return the name of an array like a slot that is full of a number."""
        key, name = ("filled", repr(a), slot.shape, slot.strides, slot.dtype), number_name(a)
        order = slot.layout if "order" in slot.layout else ""
        array = np.full(slot.shape, a, slot.dtype, order="F" if order else "C")
        text = f"np.full({slot.shape}, {self.text(a)}, {_dtype(slot)}{order})"
        return self.helper(key, f"{name}s" if name in ("zero", "one") else f"full_of_{name}", array, text)

    def bits(self, slot: Slot) -> str:
        """Return the name of a view of a slot as integers."""
        name, key = self.name(slot), ("bits", slot)
        if key not in self.scope.known:
            bits, integer = self.scope.unique(f"{name}_bits"), _INTEGERS[slot.dtype]
            self.scope.known[key] = bits
            self._derive(slot, bits, f"{name}.view(np.{integer})", lambda: self.scope.values[name].view(integer))
        return self.scope.known[key]

    def helper(self, key: Any, wish: str, array: Any, text: str) -> str:
        """Return the name of an array that never changes; the first time, the setup gets the text that makes it."""
        if key not in self.scope.known:
            self.plan.helper_bytes += array.nbytes
        return self.scope.bind(key, wish, array, text)

    def _generic(self, call: Call, operands: list[Operand]) -> list[str]:
        """Return a call of a function that takes no ``out``: its result is copied into place, or dropped."""
        expression = self._expression(call, operands)
        if call.output is None:
            return [expression]
        if call.output in self.plan.fresh:
            return [f"{self._name(call.output, call.output.name)} = np.asarray({expression})"]
        return [f"{self.name(call.output)}[...] = {expression}"]

    def _expression(self, call: Call, operands: list[Operand] | None = None) -> str:
        rule = find(call.function)
        operands = operands or [self._operand(a) for a in call.inputs]
        keywords = self._keywords(call)
        if rule.express is not None:
            return str(rule.express(*operands, **keywords))
        named = [f"{k}={v}" for k, v in keywords.items()]
        return f"{self._path(rule.forward)}({', '.join([*operands, *named])})"

    def _path(self, function: Callable[..., Any]) -> str:
        """Return how a program calls a function: NumPy's by its path, any other by a name of its own."""
        return path_in_numpy(function) or self.scope.object(function)


def path_in_numpy(function: Any) -> str:
    """Return by what path a program reaches a function of NumPy, or nothing."""
    name = getattr(function, "__name__", "")
    modules = (("np", np), ("np.linalg", np.linalg))
    return next((f"{path}.{name}" for path, module in modules if getattr(module, name, None) is function), "")


def _uses(plan: Plan) -> Counter[Slot]:
    """Return how often each value is read: by calls, through views, by the caller, and as a gradient."""
    calls = itertools.chain(plan.calls, plan.views.values())
    kept = [s for s in (*plan.outputs, *plan.grads.values()) if s is not None]
    return Counter(itertools.chain(itertools.chain.from_iterable(call.slots for call in calls), kept))


def _dtypes_of_numbers(call: Call) -> list[Any]:
    """Return for each operand None, or for a number of an elementwise call on arrays the dtype that the call takes."""
    nothing = [None] * len(call.inputs)
    if not is_elementwise(call) or call.keywords or not any(map(is_number, call.inputs)):
        return nothing
    given = tuple(_kind(a) for a in call.inputs)
    loop = _loop(call.function, given)
    chosen = [
        t if is_number(a) and t in _INTEGERS else None for a, t in zip(call.inputs, loop or nothing, strict=False)
    ]
    fixed = tuple(t or g for t, g in zip(chosen, given, strict=True))
    return chosen if loop is not None and _loop(call.function, fixed) == loop else nothing


def _kind(a: Any) -> Any:
    """Return what NumPy's promotion knows of an operand."""
    if isinstance(a, Slot):
        return float if a.kind == "number" else a.dtype
    return type(a) if type(a) in (int, float, complex) else np.dtype(type(a)) if isinstance(a, bool) else None


@functools.cache
def _loop(function: Any, given: tuple[Any, ...]) -> Any:
    """Return the dtypes of the loop that a ufunc chooses for operands of these dtypes, or None."""
    try:
        return None if None in given else function.resolve_dtypes((*given, *[None] * function.nout))
    except (TypeError, ValueError):
        return None


def _index(item: Any, text: str) -> str:
    """Return an index as it stands between brackets."""
    if not isinstance(item, slice):
        return text
    start, stop, step = ("" if bound is None else str(int(bound)) for bound in (item.start, item.stop, item.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def literal(a: Any) -> str:
    """Return a constant as text, by the repr of its plain type, whatever a subclass makes of it; nothing for others."""
    if isinstance(a, np.generic) and not isinstance(a, (float, complex, str, bytes)):
        return f"np.{a.dtype.name}({literal(a.item())})" if a.dtype.kind in "biufc" else ""
    if isinstance(a, float) and not np.isfinite(a):
        return "np.nan" if a != a else "np.inf" if a > 0 else "-np.inf"
    plain = next((kind for kind in (bool, int, float, complex, str, bytes) if isinstance(a, kind)), None)
    if plain is not None:
        return plain.__repr__(a)
    if isinstance(a, np.dtype):
        return f"np.{a.name}" if a.isnative and a.kind in "iufc" else f"np.dtype({a.str!r})"
    if isinstance(a, type):
        name, is_numpy = a.__name__, issubclass(a, np.generic)
        return f"np.{name}" if is_numpy else name if getattr(builtins, name, None) is a else ""
    return {None: "None", Ellipsis: "..."}.get(a, "") if a is None or a is Ellipsis else ""


def _dtype(slot: Slot) -> str:
    return "bool" if slot.dtype == bool else f"np.{slot.dtype.name}"


def _laid_out(lines: list[_Line], ambient: dict[str, str]) -> Iterator[str]:
    """Yield the lines: calls under the same error state together, each with what it stems from if that is new."""
    errors, origin = ambient, ""
    for text, call in lines:
        before, errors = errors, ambient if call is None else call.errors
        if errors not in (ambient, before):
            changed = ", ".join(f'{k}="{v}"' for k, v in errors.items() if v != ambient[k])
            yield f"with np.errstate({changed}):"
        line = text if errors == ambient else f"    {text}"
        stem = "" if call is None else _stem(call)
        yield f"{line:<72}{stem}" if stem not in ("", origin) else line
        origin = stem or origin * bool(text)


def _stem(call: Call) -> str:
    """Return the comment that says of which op of the user's, if it is not the call itself, and of which line it is."""
    op = "" if call.op == getattr(call.function, "__name__", "") else f"{call.op}, "
    comment = f"  # {op}{call.line}".replace("\n", " ").replace("\r", " ").replace("\0", " ")
    return comment.encode("utf-8", "backslashreplace").decode("utf-8")


_numbers = itertools.count()


def execute(source: str, namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """Run the text of a function and return it: the only dynamic code of the package. Tracebacks show its lines."""
    filename = f"<jit {name} {next(_numbers)}>"
    exec(compile(source, filename, "exec"), namespace)
    function: Callable[..., Any] = namespace.pop(name)  # a namespace that holds its function would die by the collector
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    weakref.finalize(function, linecache.cache.pop, filename, None)
    return function
