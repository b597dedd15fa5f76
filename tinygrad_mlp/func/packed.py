"""Functions of trees as ops of one vector: what `scan`, `checkpoint` and `implicit` are entered as, with one rule."""

from __future__ import annotations

import collections
import math
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np

from ..core.tensor import Tensor, wrap
from ..core.tracer import IDLE, Tracer, mode
from ..errors import GraphError, ShapeError, describe
from ..jit.reads import Reads
from ..rules import table
from ..rules.shapes import astype
from ..trees import filled, leaves, tree_map

Function = Callable[..., Any]


class Op(Protocol):
    """What is computed of a vector, and its rule."""

    def forward(self, z: Any) -> Any:
        """Return the result for an array."""

    def reverse(self, g: Any, out: Any, z: Any) -> Any:
        """Return the gradient of ``z``, for arrays or Tensors."""


@table.primitive
def packed(z: Any, *, op: Op) -> Any:
    """Return what an `Op` gives for a vector."""
    with apart(watcher()):
        return op.forward(z)


table.vjp(packed, lambda g, out, z, *, op: op.reverse(g, out, z))


def watcher() -> Tracer:
    """Return the tracer around, if it looks at every op rather than at what a program would do again."""
    return IDLE if mode.tracer.replays else mode.tracer


@contextmanager
def apart(tracer: Tracer = IDLE) -> Iterator[None]:
    """Context manager in which nothing around takes part: no graph is kept, and no tracer but this one sees the ops."""
    before = mode.grad_enabled, mode.tracer
    mode.grad_enabled, mode.tracer = False, tracer
    try:
        yield
    finally:
        mode.grad_enabled, mode.tracer = before


class Captured(Tracer):
    """Refuses Tensors that a function takes from around it, where their gradients, or values, would be lost."""

    def __init__(self, name: str, given: Any, outer: Tracer) -> None:
        self.name, self.outer = name, outer
        self.known = {id(t._data) for t in leaves(given) if isinstance(t, Tensor)}
        self.alive: list[Any] = []

    def op(self, rule: Any, inputs: Any, keywords: Any, result: Any) -> None:
        self.look_at(inputs)
        self.known.add(id(result._data))
        self.alive.append(result._data)

    def look_at(self, values: Any) -> None:
        """Raise GraphError where one of these comes from around the function."""
        for t in values:
            if isinstance(t, np.random.Generator):
                raise GraphError(
                    f"{self.name} calls a function that draws random numbers, which its reverse would draw anew; "
                    "draw them before, and pass them as arguments"
                )
            lost = isinstance(t, Tensor) and id(t._data) not in self.known
            if lost and (t._requires_grad or self.outer.varies(t)):
                raise GraphError(
                    f"{self.name} calls a function that uses {t.name or 'a Tensor'} of shape {t.shape} from around it, "
                    "whose gradient would be lost; pass it in args, and take it as an argument"
                )


def tried(name: str, f: Function, args: Any, known: bool = False) -> Any:
    """Return what a function gives for arguments, apart from all around; refuse what it takes from there.

    Of one that is ``known`` to draw no random numbers nothing is watched but its ops.
    """
    own = tree_map(lambda a: wrap(a._data.view()) if isinstance(a, Tensor) else a, args)
    captured, reads = Captured(name, own, mode.tracer), Reads()
    with apart(captured), nullcontext() if known or captured.outer.replays else reads.watching(f, leaves(own)):
        result = f(*own)
    captured.look_at(leaves(result))
    captured.look_at(read.owner for read in reads.found.values() if read.kind == "draws" and not read.holds())
    return result


_MADE: weakref.WeakKeyDictionary[Any, collections.deque[Any]] = weakref.WeakKeyDictionary()
"""For the code of a function the last functions that were made of it, over different values."""


def first_alike(f: Function) -> Function:
    """Return the first function that was made of the same code over the same values, as a ``def`` in a function is."""
    if not isinstance(f, types.FunctionType):
        return f
    made = _MADE.setdefault(f.__code__, collections.deque(maxlen=8))
    known = next((other for other in made if _alike(f, other)), f)
    if known is f:
        made.append(f)
    return known


def _alike(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, types.FunctionType) and isinstance(b, types.FunctionType) and a.__code__ is b.__code__:
        ours, theirs = _values(a), _values(b)
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    return type(a) is type(b) and isinstance(a, (int, float, str)) and repr(a) == repr(b)


def _values(f: Any) -> list[Any]:
    """Return what a function is made of, besides its code."""
    cells = [cell.cell_contents for cell in f.__closure__ or () if cell != types.CellType()]
    return [f.__globals__, *cells, *(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()]


class Layout:
    """How the arrays and floats of a tree lie in a vector, or, for ``rows``, in the rows of a matrix.

    Other leaves are constant. ``key`` tells layouts apart.
    """

    def __init__(self, tree: Any, rows: bool = False) -> None:
        self.rows = rows
        self.places: list[tuple[tuple[int, ...], Any, int] | None] = []
        for leaf in leaves(tree):
            if _moves(leaf):
                shape, dtype = np.shape(leaf)[rows:], getattr(leaf, "dtype", np.dtype(float))
                self.places.append((shape, dtype, math.prod(shape)))
            else:
                self.places.append(None)
        self.size = sum(place[2] for place in self.places if place)
        self.tree = filled(
            tree, [a if place is None else 0 for a, place in zip(leaves(tree), self.places, strict=True)]
        )
        self.key = (repr(self.tree), repr(self.places))

    @property
    def narrow(self) -> bool:
        """Whether float32 holds everything."""
        return all(place is None or place[1] == np.float32 for place in self.places)

    def pack(self, tree: Any, dtype: Any) -> Any:
        """Return the vector, or matrix, of a tree that lies so."""
        lead = (len(leaves(tree)[0]),) if self.rows and self.size else ()
        parts = [
            _as(a if isinstance(a, Tensor) else np.asarray(a), dtype).reshape((*lead, place[2]))
            for a, place in zip(leaves(tree), self.places, strict=True)
            if place
        ]
        return np.concatenate(parts, -1) if parts else np.zeros((*lead, 0), dtype)

    def unpack(self, vector: Any) -> Any:
        """Return the tree of a vector; of a matrix, one whose arrays have its rows along their first axis."""
        found, start, lead = [], 0, vector.shape[:-1]
        for constant, place in zip(leaves(self.tree), self.places, strict=True):
            if place is None:
                found.append(constant)
                continue
            shape, dtype, size = place
            found.append(_as(vector[..., start : start + size].reshape((*lead, *shape)), dtype))
            start += size
        return filled(self.tree, found)

    def check(self, tree: Any, what: str) -> None:
        """Raise ShapeError unless another tree lies in the same way."""
        other = Layout(tree)
        if other.key != self.key:
            pairs = zip(self.places, other.places, strict=False)
            expected, got = next(((a, b) for a, b in pairs if a != b), (self.tree, tree))
            raise ShapeError(f"{what} is {_text(got)} where {_text(expected)} went in; make them equal, with astype")


def _text(place: Any) -> str:
    return f"{place[1]}{place[0]}" if isinstance(place, tuple) and len(place) == 3 else describe(place)


def _moves(leaf: Any) -> bool:
    """Return whether a leaf is a number or an array, rather than a constant such as a text."""
    return isinstance(leaf, (Tensor, np.ndarray, float, np.floating))


def _as(x: Any, dtype: Any) -> Any:
    return x if x.dtype == dtype else astype(x, dtype)


def lifted(tree: Any) -> Any:
    """Return a tree with Tensors in place of its arrays and floats."""
    values = [wrap(np.asarray(a)) if _moves(a) and not isinstance(a, Tensor) else a for a in leaves(tree)]
    return filled(tree, values)
