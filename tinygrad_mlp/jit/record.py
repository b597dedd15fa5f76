"""Records: what a step did, as calls of NumPy functions on slots that stand for its values."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.tensor import Tensor

Array = np.ndarray[Any, Any]


class Slot:
    """A value of the recorded program: its shape, dtype and memory layout, and the array, unless an op has made it.

    ``kind`` is "result" of a call, "input", "state" (the memory of a Tensor from outside), "grad" (the gradient of
    such a Tensor, as the step found it), "constant" (an array from outside), "frozen" (an array that never changes)
    or "number" (read anew at each call). ``source`` is what it belongs to: of a gradient the slot that this is of, of
    which it is a ``term`` where another one is added.
    """

    __slots__ = ("array", "dtype", "kind", "name", "shape", "source", "strides", "term")

    def __init__(self, array: Array, kind: str, name: str = "", source: Any = None) -> None:
        self.shape, self.dtype, self.strides = array.shape, array.dtype, array.strides
        self.array = None if kind in ("result", "input") else array
        self.kind, self.name, self.source, self.term = kind, name, source, False

    @property
    def layout(self) -> str:
        """The keyword with which NumPy makes an array of this memory layout, as text; nothing for rows in order."""
        if 0 in self.shape or self.strides == packed(self.shape, self.dtype.itemsize):
            return ""
        if self.strides == packed(self.shape[::-1], self.dtype.itemsize)[::-1]:
            return ', order="F"'
        return f", strides={self.strides}"

    @property
    def nbytes(self) -> int:
        """The size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def is_like(self, other: Slot) -> bool:
        """Return whether another slot has the same shape, dtype and memory layout."""
        return (self.shape, self.dtype, self.strides) == (other.shape, other.dtype, other.strides)


@functools.lru_cache(1024)
def packed(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the strides of an array whose rows stand one after another."""
    sizes = [itemsize, *reversed(shape)]
    return tuple(itertools.accumulate(sizes, operator.mul))[-2::-1] if shape else ()


@dataclass(eq=False, slots=True)
class Call:
    """A call of a function on slots and constants, its place in the step and in the user's code."""

    function: Callable[..., Any]
    inputs: list[Any]
    keywords: dict[str, Any]
    output: Slot | None
    is_view: bool
    section: str
    line: str
    op: str
    errors: dict[str, str]
    slots: list[Slot] = field(init=False)
    """The operands that are values of the program, those in keywords too."""

    def __post_init__(self) -> None:
        self.slots = [a for a in self.inputs if type(a) is Slot]
        if self.keywords:
            self.slots.extend(_slots_in(list(self.keywords.values())))

    @property
    def result(self) -> Slot:
        """The output, of a call that has one."""
        if self.output is None:
            raise ValueError(f"{self.op} at {self.line} has no result")
        return self.output


def is_elementwise(call: Call) -> bool:
    """Return whether each element of the result is made of those at its own place, so that it can replace one."""
    return isinstance(call.function, np.ufunc) and call.function.signature is None


def _slots_in(a: Any) -> Iterator[Slot]:
    if isinstance(a, Slot):
        yield a
    elif isinstance(a, (list, tuple)):
        for part in a:
            yield from _slots_in(part)


@dataclass(eq=False)
class Record:
    """One run of a step: its calls, what it found, and how NumPy took errors: there, the program leaves it alone."""

    calls: list[Call] = field(default_factory=list)
    inputs: list[Slot] = field(default_factory=list)
    numbers: list[tuple[Callable[[], Mapping[str, float]], dict[str, Slot], int]] = field(default_factory=list)
    changed: dict[Any, None] = field(default_factory=dict)
    errors: Any = field(default_factory=np.geterr)
    modes: dict[Any, bool] = field(default_factory=dict)
    walks: list[Any] = field(default_factory=list)

    def compared(self) -> list[Call]:
        """Return the calls of which another run has to show that they are the same; an update by this package is."""
        return [call for call in self.calls if call.section != "update"]


def is_same(a: Any, b: Any) -> bool:
    """Return whether an operand is what it was in a record that is followed: what another value would freeze."""
    if a is b:
        return True
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(is_same, a.values(), b.values()))
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(is_same, a, b))
    if not isinstance(a, Slot):
        return isinstance(a, Tensor) or repr(a) == repr(b)
    if not isinstance(b, Slot) or a.kind != b.kind or a.array is None:
        return False
    if a.kind in ("grad", "number") or a.array is b.array:
        return True
    return b.array is not None and a.dtype == b.dtype and a.array.tobytes() == b.array.tobytes()


def memory_of(array: Array) -> Array:
    """Return the array that owns the memory of another one."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def set_grad(t: Any, value: Any) -> None:
    """Set a Tensor's gradient: in a record, the mark of an effect."""
    t._grad = value
