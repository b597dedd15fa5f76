"""What objects of C types hold, which no bytecode reads: an iterator's place, the numbers of an ``array.array``.

It is found without running code of the user's: in the memory that an object lends, by pickling, or else among what the
garbage collector is told that it refers to.
"""

from __future__ import annotations

import decimal
import functools
import gc
import itertools
import operator
import os
import re
import string
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from typing import Any

import numpy as np

from .objects import CONTAINERS, SCALARS, Held, is_foreign, items, own_attributes

KNOWN: tuple[Any, ...] = (*SCALARS, *CONTAINERS, type, types.ModuleType, types.FunctionType, types.CodeType)
KNOWN += (types.FrameType, types.CellType, types.SimpleNamespace, property, staticmethod, classmethod)
KNOWN += (threading.local, functools.partial, ContextVar, weakref.ref, *weakref.ProxyTypes)
KNOWN += (np.ndarray, np.dtype, np.ufunc)
"""The C types whose objects are looked into otherwise, or hold nothing that changes."""
CACHES = (functools.partial, type(functools.lru_cache(len)))
"""The types of functions that hand on what they hold, which is no state of theirs."""
HIDING: tuple[Any, ...] = (itertools.cycle, type(itertools.tee(())[0]))
"""The iterators that know their place and, since Python 3.14, tell nobody."""
BY_PLACE = (".iloc", ".loc", ".iat", ".at")
"""By which attributes pandas gives numbers out of its arrays."""
GETTERS = (operator.attrgetter, operator.methodcaller)
SETTINGS: dict[Any, Callable[[], Any]] = {
    asked: ask
    for ask, *others in (
        (np.geterr, np.seterr),
        (np.get_printoptions, np.set_printoptions),
        (decimal.getcontext, decimal.setcontext),
        (os.getcwd, os.chdir),
        (sys.getrecursionlimit, sys.setrecursionlimit),
    )
    for asked in (ask, *others)
}
"""What the process has of its own, and by what else than the question itself it is read or set."""


def is_opaque(value: Any) -> bool:
    """Return whether an object holds, in C, what its attributes do not show."""
    return _is_opaque(type(value))  # type: ignore[arg-type]


def arrays_of_frame(value: Any) -> tuple[Any, ...]:
    """Return the arrays of a DataFrame or a Series; those that it gives are views of them, made anew."""
    manager = (own_attributes(value) or {}).get("_mgr") if _is_of_pandas(type(value)) else None  # type: ignore[arg-type]
    return tuple(array for array in getattr(manager, "arrays", ()) if isinstance(array, np.ndarray))


@functools.lru_cache(1024)
def _is_of_pandas(kind: Any) -> bool:
    return any(_room(c) == "pandas" for c in kind.__mro__)


@functools.lru_cache(1024)
def _is_opaque(kind: type) -> bool:
    made_in_c = next(c for c in kind.__mro__ if not c.__flags__ & 1 << 9 or _makes_its_own(c))  # no heap type
    if made_in_c is object and _room(kind) != "numpy":
        return False
    known = issubclass(kind, (*KNOWN, *CACHES)) or made_in_c.__qualname__ == "Generator"  # of NumPy, loaded when needed
    room = _room(kind if made_in_c is object else made_in_c)
    return room != "_io" and is_foreign(room) and not known  # a file is no part of a step


def _room(kind: type) -> str:
    """Return the name of the package or module of Python that a class comes from."""
    return kind.__module__.partition(".")[0] if isinstance(kind.__module__, str) else ""


def _makes_its_own(kind: type) -> bool:
    """Return whether a class has a ``__new__`` in C of its own, as no class statement gives it."""
    return getattr(kind.__dict__.get("__new__"), "__self__", None) is kind


def parts(value: Any) -> tuple[Any, ...]:
    """Return what an object of a C type is made of."""
    if isinstance(value, types.GeneratorType):
        return _parts_of_a_generator(value)
    if isinstance(value, itertools.count):
        return (repr(value),)
    if isinstance(value, np.flatiter):
        return value.base, value.index
    if isinstance(value, CACHES):
        own = own_attributes(value)
        return tuple(part for part in gc.get_referents(value) if part is not own and not isinstance(part, type))
    with suppress(TypeError, ValueError, BufferError), memoryview(value) as memory:
        return memory.format, memory.shape, memory.tobytes()
    reduced = _reduced(value)
    if isinstance(reduced, str):  # a global one, by its name
        return ()
    if reduced is None:
        if isinstance(value, HIDING):
            raise TypeError(f"{type(value).__name__} objects do not tell what comes next")
        reduced = (type, tuple(gc.get_referents(value)), operator.length_hint(value, -1))
    held = (*reduced[1], *reduced[2:])
    found = (part for part in held if not isinstance(part, (type, types.ModuleType, types.NoneType)))
    return tuple(part for part in found if type(part) is not dict or part)  # one for attributes is made when asked for


def _parts_of_a_generator(value: Any) -> tuple[Any, ...]:
    frame = value.gi_frame
    if frame is None:
        return ()
    known = (frame.f_globals, frame.f_builtins, frame.f_back)
    held = [*frame.f_locals.values(), *gc.get_referents(frame), *gc.get_referents(value)]
    held = [part for part in held if not isinstance(part, (types.FrameType, types.CodeType))]
    return frame.f_lasti, *(part for part in held if not any(part is other for other in known))


def _reduced(value: Any) -> Any:
    """Return how an object is pickled, None if it is not, or not without code of the user's."""
    names = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
    if any(name in c.__dict__ for c in type(value).__mro__ if not is_foreign(_room(c)) for name in names):
        return None
    old = _room(type(value)) == "itertools" and sys.version_info >= (3, 12)  # where it is deprecated
    with suppress(Exception), warnings.catch_warnings() if old else nullcontext():
        if old:
            warnings.simplefilter("ignore")
        return value.__reduce_ex__(2)
    return None


class State(Held):
    """What an object of a C type holds, all the way down, to be compared; ``kept`` is what gives it back."""

    kept: Any = None


def state(value: Any) -> State:
    """Return what an object of a C type holds, with what is inside of its containers and of other such objects."""
    found, seen = State(), {}  # type: tuple[State, dict[int, Any]]
    todo = [(value, False)]
    while todo:
        part, in_numpy = todo.pop()
        opaque = is_opaque(part)
        if opaque or isinstance(part, CONTAINERS):
            if id(part) in seen:
                continue
            seen[id(part)] = part  # and so alive
            in_numpy = _room(type(part)) == "numpy" if opaque else in_numpy
            inner = parts(part) if opaque else items(part)
            found.append((type(part), len(inner)))
            todo += [(inner_part, in_numpy) for inner_part in inner]
        elif isinstance(part, np.ndarray) and in_numpy:  # which computes with it unseen
            found.append((part.shape, part.dtype.str, part.tobytes()))
        else:
            found.append(part)
    return found


def restore(value: Any, was: State) -> None:
    """Give an object back what it held, as far as it takes it: its memory, or what it takes when it is unpickled."""
    kept = was.kept
    with suppress(Exception):
        if isinstance(kept, bytes) and hasattr(value, "frombytes"):
            del value[:]
            value.frombytes(kept)
        elif isinstance(value, bytearray):
            value[:] = kept
        elif isinstance(kept, bytes):
            memoryview(value).cast("B")[:] = kept
        elif isinstance(kept, tuple) and len(kept) > 2:
            value.__setstate__(kept[2])


def to_be_restored(value: Any) -> Any:
    """Return what `restore` takes."""
    with suppress(TypeError, ValueError, BufferError), memoryview(value) as memory:
        return memory.tobytes()
    return _reduced(value)


def lasting(value: Any) -> list[Any]:
    """Return the parts of an object of a C type that are not made for each look."""
    return [a for a, b in zip(parts(value), parts(value), strict=False) if a is b]


def referent(value: Any) -> Any:
    """Return the object that a weak proxy stands for, or the value itself."""
    return value.__reduce_ex__.__self__ if type(value) in weakref.ProxyTypes else value


def names_in(value: Any) -> list[list[str]]:
    """Return by which names, one after the other, an ``attrgetter`` or a text with fields reads attributes."""
    if isinstance(value, GETTERS):
        return [[*name.split(".")] for name in _reduced(value)[1] if isinstance(name, str)]
    fields: Any = []
    if isinstance(value, str) and "{" in value:
        with suppress(ValueError):
            fields = [name for _, name, *_ in string.Formatter().parse(value) if name]
    elif isinstance(value, str) and all(map(str.isidentifier, value.split("."))):
        return [value.split(".")]
    return [re.findall(r"\.(\w+)", field) for field in fields if "." in field]


def inside(value: Any) -> Iterator[Any]:
    """Yield the items of a container, and of those inside of it, or the value itself."""
    value = referent(value)
    if isinstance(value, weakref.ref):
        value = value()
    if isinstance(value, ContextVar):
        value = value.get(None)
    if isinstance(value, CONTAINERS):
        for item in items(value):
            yield from inside(item)
    elif isinstance(value, CACHES) or is_opaque(value):
        for part in parts(value):
            yield from inside(part)
    else:
        yield value
