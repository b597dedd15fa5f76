"""What goes into a jitted function and what comes out of it: arrays and live numbers apart from all that is fixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.tensor import Tensor
from ..core.tracer import mode
from ..errors import RecordingError, describe
from ..trees import fields, made
from .execute import execute_test
from .objects import SCALARS
from .record import memory_of


class Leaf:
    """The place of an array among the arguments, by number, of a live number, by name, or of anything in results."""

    __slots__ = ("index",)

    def __init__(self, index: Any) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"<{self.index}>"


class Fields(NamedTuple):
    """A dataclass taken apart."""

    kind: type
    fields: dict[str, Any]


def _is_tree(a: Any) -> bool:
    """Return whether an argument is a dataclass that is equal to others by what it holds, not an object of its own."""
    kind = type(a)
    return dataclasses.is_dataclass(kind) and kind.__hash__ is not object.__hash__


def branches(a: Any, visit: Callable[[Any, str], Any], name: str = "") -> Any:
    """Return a list, tuple, named tuple or dict with what ``visit`` makes of each item and its name."""
    if isinstance(a, dict):
        return {k: visit(v, f"{name}_{k}") for k, v in a.items()}
    parts = [visit(x, f"{name}{i}") for i, x in enumerate(a)]
    return type(a)(*parts) if hasattr(a, "_fields") else type(a)(parts)


class Arguments:
    """The arguments of one call.

    Attributes:
        given: the arguments themselves, by position and by name.
        arrays: all arrays, Tensors as arrays too, and ``names``, what they are called.
        floats: Python floats by name; they are live, as the learning rate is.
        key: all else that a program is made for, in the order of ``words``, which say what each part of it is.
        structure: the arguments with leaves in place of arrays and floats.
    """

    __slots__ = ("arrays", "floats", "given", "key", "names", "structure", "words")

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any], parameters: Sequence[str]) -> None:
        self.given = args, kwargs
        self.arrays: list[Any] = []
        self.names: list[str] = []
        self.floats: dict[str, float] = {}
        self.key: list[Any] = []
        self.words: list[str] = []
        names = (*parameters, *(f"array{i}" for i in range(len(parameters), len(args))))
        positional = [self._flatten(a, name) for a, name in zip(args, names, strict=False)]
        self.structure = (positional, {name: self._flatten(a, name) for name, a in kwargs.items()})
        self.key.extend(kwargs)

    def _flatten(self, a: Any, name: str) -> Any:
        """Return an argument with leaves in it; add to the key what the program is for."""
        self.words.append(name)
        kind = type(a)
        if kind is float:
            name = name if name not in self.floats else f"{name}{len(self.floats)}"
            self.floats[name] = a
            self.key.append(float)
            return Leaf(name)
        if isinstance(a, Tensor):
            if a._requires_grad:
                raise RecordingError(
                    "a jitted function takes Tensors that require grad from around it, not as arguments; "
                    "by its arguments, differentiate inside: tg.jit(tg.func.grad(f))"
                )
            a = a._data
        elif kind is np.ndarray and not a.ndim:
            self.key.append((a.dtype, a.tobytes()))  # ops take it as a number, as eager ones do
            return a.copy()
        elif kind is not np.ndarray and hasattr(a, "__array__") and not isinstance(a, (np.ndarray, np.generic)):
            a = np.asarray(a)
        if isinstance(a, np.ndarray):
            self.key.append((a.shape, a.strides, a.dtype))
            self.arrays.append(a)
            self.names.append(name)
            return Leaf(len(self.arrays) - 1)
        if isinstance(a, (list, tuple, dict)):
            self.key.append((kind, *(a if isinstance(a, dict) else [len(a)])))
            return branches(a, self._flatten, name)
        if _is_tree(a):
            self.key.append((kind, *fields(a)))
            return Fields(kind, branches(fields(a), self._flatten, name))
        self.key.append((kind, repr(a) if isinstance(a, (float, complex, np.generic)) else a))  # tells -0.0 from 0.0
        if kind.__hash__ is None:
            raise TypeError(
                f"{name}: a jitted function takes arrays, and constants that can be hashed, got {describe(a)}"
            )
        return a


def taker(given: Arguments, floats: dict[str, float], touched: set[int]) -> Callable[[tuple[Any, ...]], Any]:
    """Return a function that gives the arrays of a call, if its arguments are of the kinds of those given, or None.

    It knows arrays, Tensors, live floats and constants that are the same objects, by position; it puts the floats where
    they are read. Arrays in memory that is ``touched`` are none of its business.
    """
    args, kwargs = given.given
    namespace: dict[str, Any] = dict(ndarray=np.ndarray, Tensor=Tensor, mode=mode, memory_of=memory_of)
    namespace |= {"floats": floats, "touched": touched}
    tests: list[str] = []
    arrays: list[str] = []
    live: list[str] = []
    for i, a in enumerate(args):
        kind, constant = type(a), type(a).__hash__ is object.__hash__ or isinstance(a, SCALARS)
        if kind is float:
            tests.append(f"a{i}.__class__ is float")
            live.append(f"floats[{given.structure[0][i].index!r}] = a{i}")
        elif kind is Tensor or (kind is np.ndarray and a.ndim):
            x = given.arrays[len(arrays)]
            namespace |= {f"shape{i}": x.shape, f"strides{i}": x.strides, f"dtype{i}": x.dtype}
            data = f"(x{i} := a{i}{'._data' * (kind is Tensor)})"
            tests.append(f"a{i}.__class__ is {kind.__name__}{f' and not a{i}._requires_grad' * (kind is Tensor)}")
            tests.append(f"{data}.shape == shape{i} and x{i}.strides == strides{i} and x{i}.dtype is dtype{i}")
            tests.append(f"id(x{i} if x{i}.base is None else memory_of(x{i})) not in touched")
            arrays.append(f"x{i}")
        elif constant and not hasattr(a, "__array__"):
            namespace[f"value{i}"] = a
            tests.append(f"a{i} is value{i}")
        else:
            return _nothing
    if kwargs:
        return _nothing
    given_names = f"({''.join(f'a{i}, ' for i in range(len(args)))})"
    lines = [
        "def take(args):",
        f" if len(args) == {len(args)} and mode.grad_enabled is {mode.grad_enabled}:",
        f"  {given_names} = args",
        f"  if {' and '.join(tests) or 'True'}:",
        *(f"   {line}" for line in live),
        f"   return [{', '.join(arrays)}]",
    ]
    return execute_test("\n".join(lines), namespace, "take")


def _nothing(args: tuple[Any, ...]) -> None:
    """Take no arguments."""


def as_input(a: Any, convert: Callable[[Any], Any]) -> Any:
    """Return an argument with its arrays as Tensors, as the function gets them when it is recorded."""
    if isinstance(a, (list, tuple, dict)):
        return branches(a, lambda x, _: as_input(x, convert))
    if _is_tree(a):
        return made(type(a), as_input(fields(a), convert))
    is_array = hasattr(a, "__array__") and not isinstance(a, (Tensor, np.generic)) and np.ndim(a)
    return convert(np.asarray(a)) if is_array else a


def flatten_result(r: Any, leaves: list[Any]) -> Any:
    """Return what a function gives with leaves in place of Tensors, numbers and texts, which are added to the list.

    Raises:
        RecordingError: there is something else in it, which a program would give again and again.
    """
    if type(r) in (list, tuple, dict) or hasattr(r, "_fields"):
        return branches(r, lambda x, _: flatten_result(x, leaves))
    if dataclasses.is_dataclass(r) and not isinstance(r, type):
        return Fields(type(r), flatten_result(fields(r), leaves))
    if not isinstance(r, (Tensor, *SCALARS)):
        raise RecordingError(
            "a jitted function returns Tensors, numbers and texts, alone or in lists, tuples, dicts and dataclasses; "
            f"got {'an array' if isinstance(r, np.ndarray) else describe(r)}, which would be frozen"
        )
    leaves.append(r)
    return Leaf(len(leaves) - 1)


def rebuild(structure: Any, values: Any) -> Any:
    """Return a structure with what the values have at its index in place of each leaf."""
    if structure.__class__ is Leaf:
        return values[structure.index]
    if not isinstance(structure, (list, tuple, dict)):
        return structure
    built = branches(structure, lambda part, _: rebuild(part, values))
    return made(*built) if type(built) is Fields else built
