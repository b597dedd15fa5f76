"""Objects of the user's, seen without running code of the user's: what they hold, and how an attribute is read."""

from __future__ import annotations

import functools
import operator
import sys
import threading
import types
from collections import deque, namedtuple
from collections.abc import Hashable
from typing import Any

import numpy as np

PACKAGE = __name__.partition(".")[0]
SEEN = tuple(f"{PACKAGE}.nn.{name}" for name in ("layers", "losses", "module", "schedules"))
"""The rooms of this package whose functions are looked into, as a user's are."""
DATA = {"collections", "_collections_abc", "configparser", "dataclasses", "enum", "functools", "os", "queue"}
DATA |= {"multiprocessing", "threading", "weakref", "_weakrefset"}
"""The modules of Python whose functions are looked into: they read what a user's objects, or the environment, hold."""
FIELDS = (types.MemberDescriptorType, types.GetSetDescriptorType, type(vars(namedtuple("_", "field"))["field"]))
"""The descriptors in C, which run no code of the user's."""
MISSING = object()
CONTAINERS = (list, tuple, dict, set, frozenset, deque)
SCALARS = (int, float, complex, str, bytes, type(None), np.generic)


class Held(list[Any]):
    """What a container held, or the attributes of an object: those of a dict are its keys, and its values."""


def items(container: Any) -> Held:
    """Return what a container holds."""
    return Held([*container, *container.values()] if isinstance(container, dict) else container)


def indices(container: Any) -> list[str]:
    """Return by what index each of its items is found, as text."""
    keys = [*container, *container] if isinstance(container, dict) else range(len(container))
    return [f"[{key!r}]" if isinstance(key, (str, int)) else "[...]" for key in keys]


def own_attributes(owner: Any) -> Any:
    """Return the attributes that an object holds itself, whatever its class makes of that; None if it holds none."""
    try:
        return object.__getattribute__(owner, "__dict__") if not isinstance(owner, threading.local) else vars(owner)
    except AttributeError:
        return None


def same(now: Any, was: Any) -> bool:
    """Return whether a value is what it was: numbers and texts by type and value, what is held one by one."""
    if now is was:
        return True
    if type(now) is not type(was):
        return False
    if isinstance(was, (Held, tuple)):
        return len(now) == len(was) and (all(map(operator.is_, now, was)) or all(map(same, now, was)))
    if isinstance(was, (float, complex, np.generic)):
        return repr(now) == repr(was)  # tells -0.0 from 0.0, and NaN is NaN
    return bool(now == was) if isinstance(was, SCALARS) else False


def of_class(kind: type, name: str) -> Any:
    """Return what a class holds under a name, or the first of those that it is made from."""
    return next((c.__dict__[name] for c in kind.__mro__ if name in c.__dict__), MISSING)


def look(owner: Any, name: str) -> tuple[Any, str]:
    """Return an attribute and how it is read, without running code of the user's: not at all if that is what it takes.

    Instead of the value of a property it gives the property, which is learned from.
    """
    if isinstance(owner, types.ModuleType):
        return vars(owner).get(name, MISSING), "."
    kind = owner if isinstance(owner, type) else type(owner)
    found = of_class(kind, name)
    if found is MISSING and owner is kind:
        kind = type(owner)
        found = of_class(kind, name)
    if isinstance(found, FIELDS):
        return getattr(owner, name, MISSING), "."
    if hasattr(type(found), "__set__") and owner is not kind:
        return found, ""
    held = own_attributes(owner) or {}
    if name in held and owner is not kind:
        return held[name], "."
    inner = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
    if isinstance(found, classmethod) or (inner is found and hasattr(type(found), "__get__") and owner is not kind):
        return inner, "()" if hasattr(inner, "__code__") or hasattr(inner, "function") else ""
    return inner, "" if hasattr(type(inner), "__get__") and type(inner).__module__ != "builtins" else "."


def is_open(value: Any) -> bool:
    """Return whether an object's attributes are the user's business."""
    if isinstance(value, types.ModuleType):
        return True
    if isinstance(value, types.FunctionType):
        return not is_foreign(value.__module__ or "")
    return _is_open(value if isinstance(value, type) else type(value), isinstance(value, type))


@functools.lru_cache(1024)
def _is_open(kind: type, is_class: bool) -> bool:
    module, closed = kind.__module__, (*SCALARS, *CONTAINERS, np.ndarray, np.dtype, np.ufunc, np.random.Generator)
    if not is_class and issubclass(kind, closed):
        return module not in ("builtins", "collections", "numpy")
    of_python = not is_class and module.partition(".")[0] in sys.stdlib_module_names  # a namespace, a logger
    holds = "__dict__" in dir(kind) or issubclass(kind, threading.local)
    own = module == f"{PACKAGE}.nn.optim" or (of_python and holds)
    return own or (module != "builtins" and not is_foreign(module))


@functools.cache
def is_foreign(module: str) -> bool:
    """Return whether a module is NumPy's, Python's, or one of this package that does not hold a user's objects."""
    top = module.partition(".")[0]
    known = top in ("numpy", PACKAGE) or (top in sys.stdlib_module_names and top != "__main__")
    return known and module not in SEEN and top not in DATA


@functools.lru_cache(1024)
def is_of_the_user(function: Hashable) -> bool:
    """Return whether a function, such as an op, or a class is the user's: not Python's, not NumPy's and not ours."""
    return not is_foreign(getattr(getattr(function, "func", function), "__module__", None) or "numpy")
