"""The names of a program and what they stand for, and its operands, which the rules put into lines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .naming import RESERVED, identifier, is_number, number_text
from .plan import Storage
from .record import Call, Slot, is_elementwise

if TYPE_CHECKING:
    from .emit import Program

INTEGERS = {np.dtype(kind): np.dtype(integer) for kind, integer in (("f", "i4"), ("d", "i8"))}
"""For each dtype of floats the integers of the same size."""


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
        made = functools.partial(self.program.scope.constant, "rows", n, np.arange)
        return self.program.helper(("rows", n), f"rows{n}", f"np.arange({n})", made)

    @property
    def scalar(self) -> str:
        """A constant array all of whose elements are equal as that number; anything else as it is."""
        array = self.value.array if isinstance(self.value, Slot) and self.value.kind == "frozen" else None
        if array is None or array.dtype not in INTEGERS or not array.size:
            return self
        return (
            number_text(array.flat[0].item(), array.dtype)
            if len(set(array.view(INTEGERS[array.dtype]).flat)) == 1
            else self
        )

    def number(self, out: Operand) -> str:
        """Return the name of a number as an array without axes, of the dtype of ``out``."""
        return self.program._number(self.value, out.dtype)

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

    ``places`` is the temporary memory of each storage, and ``constant`` gives so many elements of an array that never
    changes, where they are given.
    """

    def __init__(
        self, places: Mapping[Storage, Any] | None = None, constant: Callable[[Any, int, Any], Any] | None = None
    ) -> None:
        self.places, self.constant = places, constant or (lambda key, n, make: make(n))
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
        self.values[name] = self.places[storage] if self.places else np.empty(storage.nbytes, np.uint8)
        return name

    def object(self, a: Any, wish: str = "") -> str:
        """Return the name of a function, a generator or another object that has no text."""
        if not wish:
            wish = "rng" if isinstance(a, np.random.Generator) else getattr(a, "__name__", type(a).__name__)
        return self.bind(("object", id(a)), wish, a, among=self.objects)


def dtypes_of_numbers(call: Call) -> Sequence[Any]:
    """Return for each operand None, or for a number of an elementwise call on arrays the dtype that the call takes."""
    if not is_elementwise(call) or call.keywords:
        return [None] * len(call.inputs)
    return _chosen(call.function, tuple(map(_kind, call.inputs)), tuple(map(is_number, call.inputs)))


@functools.lru_cache(1024)
def _chosen(function: Any, given: tuple[Any, ...], numbers: tuple[bool, ...]) -> Sequence[Any]:
    loop = _loop(function, given)
    chosen = [t if n and t in INTEGERS else None for n, t in zip(numbers, loop or given, strict=False)]
    fixed = tuple(g if t is None else t for t, g in zip(chosen, given, strict=True))
    return chosen if loop is not None and _loop(function, fixed) == loop else [None] * len(given)


def _kind(a: Any) -> Any:
    """Return what NumPy's promotion knows of an operand."""
    if isinstance(a, Slot):
        return float if a.kind == "number" else a.dtype
    return type(a) if type(a) in (int, float, complex) else np.dtype(type(a)) if isinstance(a, bool) else None


def _loop(function: Any, given: tuple[Any, ...]) -> Any:
    """Return the dtypes of the loop that a ufunc chooses for operands of these dtypes, or None."""
    try:
        known = all(kind is not None for kind in given)  # None == np.dtype(float)
        return function.resolve_dtypes((*given, *[None] * function.nout)) if known else None
    except (TypeError, ValueError):
        return None


def _index(item: Any, text: str) -> str:
    """Return an index as it stands between brackets."""
    if not isinstance(item, slice):
        return text
    start, stop, step = ("" if bound is None else str(int(bound)) for bound in (item.start, item.stop, item.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")
