"""Writing: groups become the text of a function of loops, with the names, sections and comments of NumPy's program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.tensor import assign
from ..emit import _stem
from ..naming import literal
from ..record import Call, Slot
from .forms import Form, Value, order
from .groups import Group, turns

if TYPE_CHECKING:
    from .program import NativeProgram


class Piece:
    """The text of one function: the loops and products of groups that follow one another.

    Attributes:
        given: its arguments besides the addresses, by name: arrays that are new at each call, and live numbers.
        addresses: the arrays that stay where they are, or the names of functions of BLAS, by number.
    """

    def __init__(self, program: NativeProgram, name: str, groups: Sequence[Group]) -> None:
        self.program, self.name, self.schedule = program, name, program.plan.schedule
        self.given: dict[str, str] = {}
        self.addresses: dict[str, int] = {}
        self.arrays: dict[tuple[str, tuple[int, ...]], str] = {}
        self.head: list[str] = []
        body: list[str] = []
        section = ""
        for group in groups:
            if group.calls[0].section != section:
                section = group.calls[0].section
                body += ["", f"# {section}"]
            body += Loop(self, group).lines() if group.kind == "loop" else [self._product(group.calls[0])]
        head = f"def {name}({', '.join(['addresses', *self.given.values()])}):"
        lines = [f"    {line}" if line else "" for line in (*self.head, *body)]
        self.source = "\n".join(["@compiled", head, *lines])

    def array(self, slot: Slot, shape: tuple[int, ...]) -> str:
        """Return the name of an array in the shape that the loops over it have; what has no fixed memory is given."""
        name = self.program.name(slot)
        if (name, shape) not in self.arrays:
            known = any(other == name for other, _ in self.arrays)
            local = self.arrays[name, shape] = self.program.scope.unique(f"{name}_flat") if known else name
            if name in self.program.scope.values:
                address = self.address(name)
            else:
                given = self.given.setdefault(name, self.program.scope.unique(f"{name}_given"))
                address = f"{given}.ctypes.data"
            self.head.append(f"{local} = array({address}, {dtype_of(slot)}, {shape})")
        return self.arrays[name, shape]

    def address(self, name: str) -> str:
        """Return the text of an address that stays what it is."""
        return f"addresses[{self.addresses.setdefault(name, len(self.addresses))}]"

    def number(self, a: Any, dtype: str) -> str:
        """Return the text of a number, which may be a live one."""
        text = literal(a)
        if isinstance(a, Slot):
            text = self.program.live[a, None]
            self.given.setdefault(text, text)
        return f"{dtype}({text})"

    def _product(self, call: Call) -> str:
        """Return the line that has BLAS compute a product, or its transpose where that is how the result lies."""
        out, (x, y), dtype = call.result, call.inputs, dtype_of(call.result)
        self.program.call_it(out, self.program.wish(call))
        factors = self.schedule.factors
        (alpha, sign), beta = factors.get(call, ((1, 1), 0))
        turned = order(out) == "F"
        (a, ta), (b, tb) = (self._matrix(s, turned) for s in ((y, x) if turned else (x, y)))
        scale, keep = f"{'-' * (sign < 0)}{self.number(alpha, dtype)}", self.number(beta, dtype)
        blas = self.address("sgemm()" if out.dtype.char == "f" else "dgemm()")
        line = f"gemm({blas}, {scale}, {a}, {ta}, {b}, {tb}, {keep}, {self._matrix(out, turned)[0]})"
        name = self.program.name
        what = f"{name(out)} {'+' * (call in factors)}= {name(x)} @ {name(y)}"
        return f"{line}  # {what}{_stem(call).replace('  # ', ', ')}"

    def _matrix(self, slot: Slot, turned: bool) -> tuple[str, bool]:
        """Return the name of a matrix as it lies in memory, and whether that is the transpose of what is wanted."""
        view = self.program.plan.views.get(slot)
        if view is not None and turns(view):
            return self._matrix(view.inputs[0], not turned)
        by_columns = order(slot) == "F"
        return self.array(slot, slot.shape[::-1] if by_columns else slot.shape), by_columns != turned


class Loop:
    """The lines of a loop: before it, for each stage those of a row and of its elements, and after it."""

    def __init__(self, piece: Piece, group: Group) -> None:
        self.piece, self.program, self.group, self.schedule = piece, piece.program, group, piece.schedule
        self.before: list[str] = []
        stages = max(group.stage.values()) + 2
        self.rows: list[list[str]] = [[] for _ in range(stages)]
        self.elements: list[list[str]] = [[] for _ in range(stages)]
        self.after: list[str] = []
        self.known: dict[tuple[Slot, str, int], str] = {}
        self.comment = ""
        for call in group.calls:
            self._write(call, self.schedule.forms[call], group.stage[call])

    def lines(self) -> list[str]:
        """Return all lines in order."""
        rows, columns = self.group.rounds
        body: list[str] = []
        for row, elements in zip(self.rows, self.elements, strict=True):
            body += row + ([f"for j in range({columns}):", *_indented(elements)] if elements else [])
        return [*self.before, *([f"for i in range({rows}):", *_indented(body)] if rows > 1 else body), *self.after]

    def _place(self, slot: Slot, index: str, j: str = "j") -> str:
        """Return an element of an array as the loops reach it."""
        outer, inner = self.group.rounds
        if index == "ij":
            by_columns = order(slot) == "F"
            array = self.piece.array(slot, (inner, outer) if by_columns else (outer, inner))
            return f"{array}[{j}, i]" if by_columns else f"{array}[i, {j}]"
        length = {"i": outer, "j": inner, "": 1}[index]
        return f"{self.piece.array(slot, (length,))}[{index or 0}]"

    def _operand(self, value: Value, stage: int, label: str = "") -> str:
        """Return an operand as a formula takes it."""
        slot, index, dtype = value
        constant = _constant(slot)
        if constant is not None:
            return self.piece.number(constant, f"np.{dtype.name}")
        text = self._place(slot, "ij", label) if index == "picked" else self._element(slot, index, stage)
        return text if dtype == slot.dtype or slot.dtype.kind in "iu" else f"np.{dtype.name}({text})"

    def _element(self, slot: Slot, index: str, stage: int) -> str:
        """Return the name of an element as a number; the first time in a stage, it is taken from memory."""
        key = slot, index, stage * ("j" in index)
        if key not in self.known:
            lines = self.elements[stage] if "j" in index else self.rows[0] if index else self.before
            self.known[key] = self.program.scope.unique(f"{self.program.name(slot)}_{index or 0}")
            lines.append(f"{self.known[key]} = {self._place(slot, index)}")
        return self.known[key]

    def _write(self, call: Call, form: Form, stage: int) -> None:
        picks = form.values[0].by == "picked"
        label = self._operand(form.values[1], stage) if picks else ""
        texts = [self._operand(value, stage, label) for value in form.values]
        if form.start:
            self._reduce(call, form, stage, texts[0])
            return
        out = call.result
        lines = self.elements[stage] if "j" in form.by else self.rows[stage]
        text = form.formula.format(*texts, t=dtype_of(out), c=out.dtype.char)
        if call.function is assign:
            lines.append(self._commented(f"{self._place(out, form.by)} = {text}", call))
        else:
            name = self._name(call, texts, form.by)
            lines.append(self._commented(f"{name} = {text}", call))
            if out in self.schedule.stored:
                lines.append(f"{self._place(out, form.by)} = {name}")
            text = name
        self.known[out, form.by, stage * ("j" in form.by)] = text

    def _reduce(self, call: Call, form: Form, stage: int, text: str) -> None:
        """Write a sum or an extreme: along a row, over all rows for each column, or over everything."""
        out, index, dtype = call.result, form.by, dtype_of(call.result)
        name = self._name(call, [text], index)
        total = self._place(out, "j") if index == "j" else name
        begin, end = (self.rows[stage], self.rows[stage + 1]) if index == "i" else (self.before, self.after)
        begin.append(f"{total.replace('[j]', '[:]')} = {dtype}({form.start})")
        lines = self.elements[stage] if form.rounds[1] > 1 else self.rows[stage]
        lines.append(self._commented(f"{total} = {form.formula.format(total, text)}", call))
        self.known[out, index, 0] = name
        if index != "j" and out in self.schedule.stored:
            end.append(f"{self._place(out, index)} = {name}")

    def _name(self, call: Call, texts: list[str], index: str) -> str:
        """Return the name of a result as a number; what it is stored in has the plain one."""
        out = call.result
        self.program.call_it(out, self.program.wish(call, texts))
        if out in self.schedule.stored:
            return self.program.scope.unique(f"{self.program.name(out)}_{index or 0}")
        return self.program.scope.unique(out.name)

    def _commented(self, line: str, call: Call) -> str:
        stem = _stem(call)
        new, self.comment = stem not in ("", self.comment), stem or self.comment
        return f"{line:<68}{stem}" if new else line


def dtype_of(slot: Slot) -> str:
    """Return the text of a dtype."""
    return "np.bool_" if slot.dtype == bool else f"np.{slot.dtype.name}"


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _constant(a: Any) -> Any:
    """Return the number that an operand is, or that a frozen array is full of, else None."""
    if not isinstance(a, Slot) or a.kind == "number":
        return a
    array = a.array if a.kind == "frozen" and a.dtype.kind == "f" else None
    return None if array is None or (array != array.flat[0]).any() else array.flat[0].item()
