"""Emitting: a plan becomes the text of a NumPy program, and the program a function."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..binding import is_default
from ..core.tensor import assign
from ..rules.table import find
from .naming import (
    dtype_text,
    function_name,
    is_number,
    literal,
    number_name,
    number_text,
    path_in_numpy,
    value_name,
    view_name,
)  # fmt: skip
from .plan import Plan, base_of
from .record import Call, Slot, is_elementwise
from .scope import INTEGERS, Operand, Scope, dtypes_of_numbers

_WORD = re.compile(r"\w+")
WIDTH = 100
"""Up to what width a result that only the next call needs is computed inside of that call."""


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
        addresses: arrays of addresses of memory, which a native program goes by.
        named: the slots that the record had no name for.
    """

    def __init__(self, plan: Plan, wish: str = "step", scope: Scope | None = None) -> None:
        self.plan, self.scope = plan, scope or Scope()
        self.names: dict[Slot, str] = {}
        self.readers: dict[str, tuple[int, list[tuple[str, Any]]]] = {}
        self.live: dict[tuple[Slot, Any], str] = {}
        self.dtypes: dict[int, Sequence[Any]] = {}
        self.addresses, self.named = [], []  # type: tuple[list[Any], list[Slot]]
        self.lines: list[_Line] = []
        self.pending: _Line | None = None
        self.uses = _uses(plan)
        self.makers = {call.output: call for call in plan.recorded}
        self.function = self.scope.unique(function_name(wish))
        given = [*plan.record.inputs, *plan.found]
        self.inputs = [self._name(slot, slot.name) for slot in given]
        self.memory = {storage: self.scope.piece(storage, n) for n, storage in enumerate(plan.storages)}
        self._body()
        shapes = ", ".join(f"{slot.dtype}{slot.shape}" for slot in given)
        head = f"def {self.function}({', '.join(self.inputs)}):" + (f"  # {shapes}" if shapes else "")
        lines = _laid_out(self.lines, plan.record.errors)
        self.source = "\n".join([head, *(f"    {line}" if line else "" for line in lines)])

    @property
    def listing(self) -> str:
        """All of the program that a person may want to read: before it, what its loops do."""
        loops = [a.listing for call in self.plan.calls for a in call.keywords.values() if hasattr(a, "listing")]
        return "\n\n".join([*filter(None, dict.fromkeys(loops)), self.source])

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

    def call_it(self, slot: Slot, name: str) -> None:
        """Give a slot a name, unless it has one."""
        if not slot.name:
            self.named.append(slot)
            slot.name = name

    def _gradient_of(self, slot: Slot) -> str:
        """Return the name of a value that is the gradient of another one."""
        if not isinstance(slot.source, Slot):
            return ""
        return f"d_{self._called(slot.source)}{'_term' * slot.term}"

    def _called(self, slot: Slot) -> str:
        """Return what a slot is called, or would be if the program had it."""
        slot = self.plan.same.get(slot, slot)
        if slot in self.names or slot.name:
            return self.names.get(slot) or slot.name
        if slot in self.plan.views:
            call = self.plan.views[slot]
            return view_name(call, self._called(call.inputs[0]))
        rule = find(self.makers[slot].function) if slot in self.makers else None
        return (rule and (rule.holds or rule.name)) or "value"

    def _buffer(self, slot: Slot) -> None:
        """Name a result, and make its array: that of the operand in whose memory it is put, or a new one."""
        donor = self.plan.replaced.get(slot)
        name = self._name(slot, slot.name)
        if donor is not None:
            text, array = self.names[donor], self.scope.values[self.names[donor]]
        else:
            memory = self.memory[self.plan.place[slot]]  # type: ignore[index]
            text = f"np.ndarray({slot.shape}, {dtype_text(slot.dtype)}, {memory}{slot.layout})"
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
            self.pending = None
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
        upcoming = deque(enumerate(self.plan.record.numbers))
        position = {id(c): i for i, c in enumerate(self.plan.recorded)}
        uses = self._uses_of_numbers()
        section = ""
        following = [*self.plan.calls[1:], None]
        for call, after in zip(self.plan.calls, following, strict=False):
            if call.section != section:
                section, self.pending = call.section, None
                self.lines += [_Line("")] * bool(self.lines) + [_Line(f"# {section}")]
            while upcoming and upcoming[0][1][2] <= position[id(call)]:
                self._read_numbers(*upcoming.popleft(), uses)
            self._write(call, self._statements(call), after)
        for index, entry in upcoming:
            self._read_numbers(index, entry, uses)
        kept = ", ".join(self._returned(s) for s in self.plan.outputs)
        for slot in self.plan.grads.values():
            if slot is not None:
                self.name(slot)
        self.lines.append(_Line(f"return ({kept}{',' if kept else ''})"))

    def _write(self, call: Call, texts: list[str], after: Call | None) -> None:
        """Add the lines of a call, the one before inside of it if that reads well, unless the next takes it up."""
        joined = self._joined(self.pending, texts) if self.pending is not None and texts else ""
        if joined:
            self.lines.pop()
            texts = [joined, *texts[1:]]
        self.lines += [_Line(text, call) for text in texts]
        taken = len(texts) == 1 and after is not None and self._is_taken_up(call, texts[0], after)
        self.pending = self.lines[-1] if taken else None

    def _is_taken_up(self, call: Call, text: str, after: Call) -> bool:
        """Return whether a result is needed by the next call alone, and its text is an expression."""
        out = call.output
        if out is None or self.uses[out] != 1 or not any(map(operator.is_, after.inputs, itertools.repeat(out))):
            return False
        alike = call.section == after.section and call.line == after.line and call.errors == after.errors
        is_copied = text.startswith(f"{self.names[out]}[...] = ")
        return alike and (is_elementwise(after) if is_copied else text.endswith(f", out={self.names[out]})"))

    def _joined(self, inner: _Line, texts: list[str]) -> str:
        """Return a call with another one in the place of its result, or nothing if that is too long, or unclear."""
        name, text = self.names[inner.call.result], texts[0]  # type: ignore[union-attr]
        inside = inner.text.removeprefix(f"{name}[...] = ")
        if len(text) - len(name) + len(inside) > WIDTH:
            return ""
        body = text.rpartition(", out=")[0] or text
        found = [word.span() for word in _WORD.finditer(body) if word[0] == name]
        if len(found) != 1 or any(name in _WORD.findall(line) for line in texts[1:]):
            return ""
        return text[: found[0][0]] + inside + text[found[0][1] :]

    def _returned(self, slot: Slot) -> str:
        if slot in self.plan.fresh:
            return self.name(slot)
        return f"{self.name(slot)}.copy(" + ('order="K")' if slot.layout else ")")

    def _uses_of_numbers(self) -> dict[Slot, dict[Any, None]]:
        """Return for each live number as arrays of what dtype the calls take it."""
        uses: dict[Slot, dict[Any, None]] = {}
        for call in self.plan.calls:
            if any(map(is_number, call.inputs)):
                dtypes = self.dtypes[id(call)] = dtypes_of_numbers(call)
                for a, dtype in zip(call.inputs, dtypes, strict=True):
                    if isinstance(a, Slot) and a.kind == "number":
                        uses.setdefault(a, {})[dtype] = None
        return uses

    def _read_numbers(self, index: int, entry: Any, uses: dict[Slot, dict[Any, None]]) -> None:
        """Add the line that reads a group of live numbers: those that are used, as what the calls take."""
        self.pending = None
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
        rule = find(function)
        operands = self._operands(call, rule.emit is None is rule.express)
        if rule.emit is None:
            self._path(rule.forward, rule.name)  # so that the function has its name before a value takes it
        if out is not None and not out.name:
            self.call_it(out, self._gradient_of(out) or value_name(call, operands))
        if rule.emit is None and not (isinstance(function, np.ufunc) and function.nout == 1):
            return self._generic(call, operands)
        if out in self.plan.fresh:
            return self._fresh(call, operands)
        return self._into(call, operands, self.name(call.result))

    def _into(self, call: Call, operands: list[Operand], name: str) -> list[str]:
        """Return the lines that compute a call into the array of a name."""
        emit, keywords = find(call.function).emit, self._keywords(call)
        if emit is None:
            named = "".join(f", {k}={v}" for k, v in keywords.items())
            return [f"{self._path(call.function, '')}({', '.join(operands)}{named}, out={name})"]
        lines = emit(self._operand(call.result, name), *operands, **keywords)
        return [lines] if isinstance(lines, str) else lines

    def _fresh(self, call: Call, operands: list[Operand]) -> list[str]:
        """Return the lines that compute a call into new memory, which is the caller's."""
        out = call.result
        name, start = self._name(out, out.name), len(self.lines)
        lines = self._into(call, operands, name)
        if len(lines) == 1 and len(self.lines) == start and lines[0].endswith(f"out={name})"):
            return [f"{name} = {lines[0].removesuffix(f'{name})')}{self._new(out)})"]
        self.lines.insert(start - (self.pending is not None), _Line(f"{name} = {self._new(out)}"))
        return lines

    def _new(self, out: Slot) -> str:
        """Return the text that makes new memory for a result."""
        make = "np.ndarray" if "strides" in out.layout else "np.empty"
        return f"{make}({out.shape}, {dtype_text(out.dtype)}{out.layout})"

    def _operand(self, value: Any, text: str | None = None) -> Operand:
        operand = Operand(self.text(value) if text is None else text)
        operand.program, operand.value = self, value
        return operand

    def _keywords(self, call: Call) -> dict[str, Operand]:
        if not call.keywords:
            return {}
        given = {k: v for k, v in call.keywords.items() if not is_default(call.function, k, v)}
        return {k: self._operand(v) for k, v in given.items() if k not in ("out", "where")}

    def _operands(self, call: Call, plain: bool) -> list[Any]:
        """Return the operands as text; numbers among the arrays of a ufunc as arrays, which NumPy takes up faster."""
        pairs = zip(call.inputs, self.dtypes.get(id(call)) or [None] * len(call.inputs), strict=True)
        texts = [self.text(a) if dtype is None else self._number(a, dtype) for a, dtype in pairs]
        return texts if plain else [self._operand(a, text) for a, text in zip(call.inputs, texts, strict=True)]

    def _number(self, a: Any, dtype: Any) -> str:
        """Return the name of a number as an array without axes."""
        if isinstance(a, Slot):
            return self.live[a, dtype]
        text = f"np.array({number_text(a, dtype)}, {dtype_text(dtype)})"
        return self.helper(("number", repr(a), dtype), number_name(a, dtype), text, lambda: np.array(a, dtype))

    def filled(self, slot: Slot, a: Any) -> str:
        """Return the name of an array like a slot that is full of a number."""
        key, name = ("filled", repr(a), slot.shape, slot.strides, slot.dtype), number_name(a, slot.dtype)
        order = slot.layout if "order" in slot.layout else ""
        text = f"np.full({slot.shape}, {number_text(a, slot.dtype)}, {dtype_text(slot.dtype)}{order})"
        wish = f"{name}s" if name in ("zero", "one") else f"full_of_{name}"

        def make() -> Any:
            full = self.scope.constant(
                ("filled", repr(a), slot.dtype), math.prod(slot.shape), lambda n: np.full(n, a, slot.dtype)
            )
            return full.reshape(slot.shape, order="F" if order else "C")

        return self.helper(key, wish, text, make)

    def bits(self, slot: Slot) -> str:
        """Return the name of a view of a slot as integers."""
        name, key = self.name(slot), ("bits", slot)
        if key not in self.scope.known:
            bits, integer = self.scope.unique(f"{name}_bits"), INTEGERS[slot.dtype]
            self.scope.known[key] = bits
            self._derive(slot, bits, f"{name}.view(np.{integer})", lambda: self.scope.values[name].view(integer))
        return self.scope.known[key]

    def helper(self, key: Any, wish: str, text: str, make: Callable[[], Any]) -> str:
        """Return the name of an array that never changes; the first time, make it, and note the text that does."""
        if key not in self.scope.known:
            array = make()
            self.plan.helper_bytes += array.nbytes
            self.scope.bind(key, wish, array, text)
        return self.scope.known[key]

    def _generic(self, call: Call, operands: list[Operand]) -> list[str]:
        """Return a call of a function that takes no ``out``: its result is copied into place, or dropped."""
        expression = self._expression(call, operands)
        if call.output is None:
            return [expression]
        if call.output in self.plan.fresh:
            make = "np.asarray" if expression.startswith("np.") else "np.array"  # others may return what they got
            return [f"{self._name(call.output, call.output.name)} = {make}({expression})"]
        return [f"{self.name(call.output)}[...] = {expression}"]

    def _expression(self, call: Call, operands: list[Operand] | None = None) -> str:
        rule = find(call.function)
        operands = operands or [self._operand(a) for a in call.inputs]
        keywords = self._keywords(call)
        if rule.express is not None:
            return str(rule.express(*operands, **keywords))
        named = [f"{k}={v}" for k, v in keywords.items()]
        return f"{self._path(rule.forward, rule.name)}({', '.join([*operands, *named])})"

    def _path(self, function: Callable[..., Any], wish: str) -> str:
        """Return how a program calls a function: NumPy's by its path, any other by a name of its own."""
        return path_in_numpy(function) or self.scope.object(function, wish)


def _uses(plan: Plan) -> Counter[Slot]:
    """Return how often each value is read: by calls, through views, by the caller, and as a gradient."""
    calls = itertools.chain(plan.calls, plan.views.values())
    kept = [s for s in (*plan.outputs, *plan.grads.values()) if s is not None]
    return Counter(itertools.chain(itertools.chain.from_iterable(call.slots for call in calls), kept))


def _laid_out(lines: list[_Line], ambient: Any) -> Iterator[str]:
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
    return _comment(f"{call.line}" if call.op == getattr(call.function, "__name__", "") else f"{call.op}, {call.line}")


@functools.lru_cache(1024)
def _comment(text: str) -> str:
    comment = f"  # {text}".replace("\n", " ").replace("\r", " ").replace("\0", " ")
    return comment.encode("utf-8", "backslashreplace").decode("utf-8")
