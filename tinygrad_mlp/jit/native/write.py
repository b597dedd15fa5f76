"""Writing: groups become the text of a function of loops, with the names, sections and comments of NumPy's program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.tensor import assign
from ...rules.table import find
from ..emit import _stem
from ..naming import literal
from ..record import Call, Slot
from .forms import DTYPES, Form, Value, leading, order
from .groups import Group, turns

if TYPE_CHECKING:
    from .program import NativeProgram

STARTS = {"sum": "0", "max": "-np.inf", "min": "np.inf"}
MANY = 4096
"""From how many numbers on float32 is summed in float64, as eager ops do."""


class Piece:
    """The text of one function: the loops and products of groups that follow one another.

    Attributes:
        given: its arguments besides the addresses, by name: arrays that are new at each call, and live numbers.
        addresses: the arrays that stay where they are, or the names of functions of BLAS, by number.
    """

    def __init__(self, program: NativeProgram, name: str, groups: Sequence[Group]) -> None:
        self.program, self.name = program, name
        self.given: dict[str, str] = {}
        self.addresses: dict[str, int] = {}
        self.declared: dict[tuple[str, tuple[int, ...]], str] = {}
        self.head: list[str] = []
        self.body: list[str] = []
        section = ""
        for group in groups:
            if group.calls[0].section != section:
                section = group.calls[0].section
                self.body += ["", f"# {section}"]
            self.body += Loop(self, group).lines if group.is_loop else self._product(group.calls[0])

    @property
    def source(self) -> str:
        """The text of the function."""
        head = f"def {self.name}({', '.join(['addresses', *self.given.values()])}):"
        lines = [*self.head, *self.body]
        return "\n".join(
            ["@njit(error_model='numpy', cache=True, _nrt=False)", head, *(f"    {x}" if x else "" for x in lines)]
        )

    def array(self, slot: Slot, shape: tuple[int, ...], packed: bool = True) -> str:
        """Return the name of an array in a shape of its own: that which the loops over it have."""
        name, dtype = self.program.name(slot), _dtype(slot)
        comment = "  # by columns" if order(slot) == "F" and len(shape) == 2 else ""
        steps = tuple(step for n, step in zip(slot.shape, slot.strides, strict=True) if n != 1)
        if self.program.is_inside(slot) and (name, shape) not in self.declared:
            given = self.given.setdefault(name, self.program.scope.unique(f"{name}_given"))
            return self._declare(name, dtype, shape, f"{given}.ctypes.data", () if packed else steps or (1,), comment)
        return self.fixed(name, dtype, shape, () if packed else steps or (1,), comment)

    def fixed(
        self, name: str, dtype: str, shape: tuple[int, ...], steps: tuple[int, ...] = (), comment: str = ""
    ) -> str:
        """Return the name of an array whose memory stays where it is."""
        if (name, shape) in self.declared:
            return self.declared[name, shape]
        address = f"addresses[{self.addresses.setdefault(name, len(self.addresses))}]"
        return self._declare(name, dtype, shape, address, steps, comment)

    def _declare(
        self, name: str, dtype: str, shape: tuple[int, ...], address: str, steps: tuple[int, ...], comment: str
    ) -> str:
        known = any(key[0] == name for key in self.declared)
        local = self.program.scope.unique(f"{name}_flat" if len(shape) == 1 else name) if known else name
        self.declared[name, shape] = local
        text = f"strided({address}, {dtype}, {shape}, {steps})" if steps else f"array({address}, {dtype}, {shape})"
        self.head.append(f"{local} = {text}{comment}")
        return local

    def number(self, slot: Slot) -> str:
        """Return the name of a live number."""
        name = self.program.live[slot, None]
        return self.given.setdefault(name, name)

    def _product(self, call: Call) -> list[str]:
        """Return the line that has BLAS compute a product, or its transpose where that is how the result lies."""
        out = call.result
        out.name = self.program.wish(call)
        (x, y), (m, n), k = call.inputs, out.shape, call.inputs[0].shape[1]
        texts = [self._matrix(a) for a in (x, y, out)]
        (a, lda, ta), (b, ldb, tb), (c, ldc, by_columns) = texts
        if by_columns:
            (a, lda, ta), (b, ldb, tb), (m, n) = (b, ldb, not tb), (a, lda, not ta), (n, m)
        blas = self.addresses.setdefault(f"{'s' if out.dtype.char == 'f' else 'd'}gemm()", len(self.addresses))
        alpha, beta = self._factors(call)
        line = f"gemm(addresses[{blas}], {alpha}, {a}, {ta}, {b}, {tb}, {beta}, {c}, {(m, n, k, lda, ldb, ldc)})"
        what = f"{self.program.name(x)} @ {self.program.name(y)}{_stem(call).replace('  # ', ', ')}"
        return [f"{line}  # {self.program.name(out)} {'+' * (call in self.program.schedule.factors)}= {what}"]

    def _factors(self, call: Call) -> list[str]:
        """Return by what a product and what is in its place are multiplied."""
        dtype = _dtype(call.result)
        (number, sign), beta = self.program.schedule.factors.get(call, ((1, 1), 0))
        texts = [self.number(a) if isinstance(a, Slot) else literal(a) for a in (number, beta)]
        return [f"{dtype}({'-' * (sign < 0)}{texts[0]})", f"{dtype}({texts[1]})"]

    def _matrix(self, slot: Slot) -> tuple[str, int, bool]:
        """Return a matrix for BLAS: its name, the length of its rows, and whether these are its columns."""
        if slot in self.program.plan.views and turns(self.program.plan.views[slot]):
            name, length, by_columns = self._matrix(self.program.plan.views[slot].inputs[0])
            return name, length, not by_columns
        length, by_columns = leading(slot)  # type: ignore[misc]
        shape = slot.shape[::-1] if by_columns else slot.shape
        flat = (slot.shape[0] * slot.shape[1],)
        packed = bool(order(slot))
        return self.array(slot, shape if packed and 1 not in shape else flat if packed else (1,)), length, by_columns


class Loop:
    """The lines of one loop: what comes before it, the stages of a row, and what comes after it."""

    def __init__(self, piece: Piece, group: Group) -> None:
        self.piece, self.program, self.group = piece, piece.program, group
        self.local: dict[tuple[Slot, str], str] = {}
        self.elements: dict[tuple[int, Slot], str] = {}
        stages = max(group.stage.values()) + 2
        self.before: list[str] = []
        self.loads: list[str] = []
        self.after: list[str] = []
        self.row: list[list[str]] = [[] for _ in range(stages)]
        self.inner: list[list[str]] = [[] for _ in range(stages)]
        self.flat = self._is_flat()
        self.uses = self._counted()
        self.comment = ""
        for call in group.calls:
            self._write(call, self.program.schedule.forms[call], group.stage[call])
        self.lines = self._laid_out()

    def _laid_out(self) -> list[str]:
        rows, columns = self.group.outer, self.group.inner
        if self.flat:
            return [*self.before, f"for k in range({rows * columns}):", *_indented(self.inner[0]), *self.after]
        body = [*self.loads]
        for row, inner in zip(self.row, self.inner, strict=True):
            body += row + ([f"for j in range({columns}):", *_indented(inner)] if inner else [])
        loop = [f"for i in range({rows}):", *_indented(body)] if rows > 1 and body else body
        return [*self.before, *loop, *self.after]

    def _is_flat(self) -> bool:
        """Return whether all arrays lie alike, so that one loop runs over them."""
        group, forms = self.group, self.program.schedule.forms
        if group.inner == 1:
            return False
        for call in group.calls:
            form = forms[call]
            stored = [call.output] if form.role == "full" and (call.function is assign or self._array_of(call)) else []
            slots = [v.slot for v in form.values if v.role == "full"] + stored
            alike = all(order(s) == ("F" if group.by_columns else "C") for s in slots)
            if form.role not in ("full", "one") or not alike or any(v.role not in ("full", "one") for v in form.values):
                return False
        return max(group.stage.values()) == 0

    def _counted(self) -> Counter[Any]:
        """Return how often each stage reads each value."""
        uses: Counter[Any] = Counter()
        for call in self.group.calls:
            form = self.program.schedule.forms[call]
            for i, value in enumerate(form.values):
                uses[self.group.stage[call], value.slot] += _formula(call, form).count(f"{{{i}}}")
        return uses

    def _array_of(self, call: Call) -> bool:
        return call.output in self.program.schedule.stored

    def _element(self, slot: Slot, role: str, at: str = "j") -> str:
        """Return an element of an array as the loops reach it."""
        group = self.group
        if slot in self.program.schedule.private:
            return f"{self.piece.fixed(self.program.row(slot, group.inner), _dtype(slot), (group.inner,))}[{at}]"
        packed = bool(order(slot))
        if self.flat and role == "full":
            return f"{self.piece.array(slot, (group.outer * group.inner,))}[k]"
        if role == "full":
            along = (order(slot) == "F") == group.by_columns
            shape = (group.outer, group.inner) if along else (group.inner, group.outer)
            return f"{self.piece.array(slot, shape, packed)}[{f'i, {at}' if along else f'{at}, i'}]"
        length, index = {"column": (group.inner, "j"), "one": (1, "0")}.get(role, (group.outer, "i"))
        return f"{self.piece.array(slot, (length,), packed)}[{index}]"

    def _text(self, value: Value, stage: int, label: str = "") -> str:
        """Return an operand as a formula takes it."""
        slot, role, dtype = value
        if not isinstance(slot, Slot):
            return f"{DTYPES[dtype]}({literal(slot)})"
        if slot.kind == "number":
            return f"{DTYPES[dtype]}({self.piece.number(slot)})"
        number = _constant(slot)
        if number:
            return f"{DTYPES[dtype]}({number})"
        text = self._reached(slot, role, stage, label)
        if dtype is None or dtype == slot.dtype or role == "label":
            return text
        return f"({text} != 0)" if dtype.kind == "b" else f"{DTYPES[dtype]}({text})"

    def _reached(self, slot: Slot, role: str, stage: int, label: str) -> str:
        if role == "picked":
            return self._element(slot, "full", label)
        role = "row" if role == "label" else role
        if (slot, role) in self.local:
            return self.local[slot, role]
        if role == "full" and (stage, slot) in self.elements:
            return self.elements[stage, slot]
        text = self._element(slot, role)
        if role == "column" or (role == "full" and self.uses[stage, slot] < 2):
            return text
        if role == "full":
            name = self.elements[stage, slot] = self.program.scope.unique(f"{text.partition('[')[0]}_ij")
            self.inner[stage].append(f"{name} = {text}")
            return name
        name = self.local[slot, role] = self.program.scope.unique(
            f"{self.program.name(slot)}_{'0' if role == 'one' else 'i'}"
        )
        (self.before if role == "one" else self.loads).append(f"{name} = {text}")
        return name

    def _write(self, call: Call, form: Form, stage: int) -> None:
        labels = [self._text(v, stage) for v in form.values if v.role == "label"]
        texts = [self._text(v, stage, *labels) for v in form.values]
        if form.kind == "reduce":
            self._reduce(call, form, stage, texts[0])
            return
        out, dtype = call.result, _dtype(call.result)
        text = _formula(call, form).format(*texts, t=dtype, c=out.dtype.char)
        if "np." in _formula(call, form) or out.dtype.kind == "i":
            text = f"{dtype}({text})"
        lines = self.inner[stage] if form.role == "full" else self.row[stage]
        if call.function is assign:
            lines.append(self._commented(f"{self._element(out, form.role)} = {text}", call))
            if self.uses[stage, out] or form.role != "full":
                self._keep(out, self._element(out, form.role), stage, form.role)
            return
        name = self._local(call, texts)
        lines.append(self._commented(f"{name} = {text}", call))
        self._keep(out, name, stage, form.role)
        if out in self.program.schedule.stored:
            lines.append(f"{self._element(out, form.role)} = {name}")

    def _keep(self, out: Slot, name: str, stage: int, role: str) -> None:
        if role == "full":
            self.elements[stage, out] = name
        else:
            self.local[out, role] = name

    def _local(self, call: Call, texts: list[str]) -> str:
        """Return the name of a result as a number; what it is stored in has the plain one."""
        out, stored = call.result, self.program.schedule.stored - self.program.schedule.private
        out.name = self.program.wish(call, texts)
        return self.program.scope.unique(f"{self.program.name(out)}_ij" if out in stored else out.name)

    def _commented(self, line: str, call: Call) -> str:
        stem = _stem(call)
        new, self.comment = stem not in ("", self.comment), stem or self.comment
        return f"{line:<68}{stem}" if new else line

    def _reduce(self, call: Call, form: Form, stage: int, text: str) -> None:
        """Write a sum or an extreme: along a row, over all rows for each column, or over everything."""
        out, count = (
            call.result,
            form.inner if form.role == "row" else form.outer * (form.inner if form.role == "one" else 1),
        )
        wide = out.dtype.char == "f" and count >= MANY and _formula(call, form).startswith("plus")
        dtype = "np.float64" if wide else _dtype(out)
        name = self._local(call, [text])
        start = f"{dtype}({STARTS[call.function.__name__]})"
        lines = self.inner[stage] if form.inner > 1 else self.row[stage]
        operand = f"np.float64({text})" if wide else text
        if form.role == "column":
            place = f"{name}[j]" if wide else self._element(out, "column")
            self.before.append(f"{name} = np.zeros({form.inner})" if wide else f"{place[:-3]}[:] = {start}")
            lines.append(self._commented(f"{place} = {_formula(call, form).format(place, operand)}", call))
            if wide:
                stored = self._element(out, "column")
                self.after += [f"for j in range({form.inner}):", f"    {stored} = {_dtype(out)}({place})"]
            return
        inside = form.role == "row"
        (self.row[stage] if inside else self.before).append(f"{name} = {start}")
        lines.append(self._commented(f"{name} = {_formula(call, form).format(name, operand)}", call))
        end = self.row[stage + 1] if inside else self.after
        value = f"{_dtype(out)}({name})" if wide else name
        if inside:
            self.local[out, form.role] = value
        if out in self.program.schedule.stored:
            end.append(f"{self._element(out, form.role)} = {value}")


def _formula(call: Call, form: Form) -> str:
    plain = call.function is assign or (form.kind == "map" and call.function.__name__ in STARTS)
    return "{0}" if plain else find(call.function).loop or "{0}"


def _dtype(slot: Slot) -> str:
    return DTYPES.get(slot.dtype, f"np.{slot.dtype.name}")


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _constant(slot: Slot) -> str:
    """Return a frozen array all of whose elements are the same as that number."""
    array = slot.array if slot.kind == "frozen" else None
    if array is None or not array.size or (array != array.flat[0]).any():
        return ""
    return literal(array.flat[0].item())
