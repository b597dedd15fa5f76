"""Guards: what a program depends on, one by one, and the one function that says whether all of it is as it was."""

from __future__ import annotations

import functools
import operator
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..core.versions import rebound
from .execute import execute

PACKAGE = __name__.partition(".")[0]
SEEN = tuple(f"{PACKAGE}.nn.{name}" for name in ("layers", "losses", "module", "schedules"))
"""The rooms of this package whose functions are looked into, as a user's are."""
MISSING, OPAQUE = object(), object()
CONTAINERS = (list, tuple, dict, set, frozenset, deque)
SCALARS = (int, float, complex, str, bytes, type(None), np.generic)
ATTRIBUTES = ("data", "shape", "dtype", "ndim", "size", "nbytes", "requires_grad")
LAYOUT = ("shape", "dtype", "strides", "ndim", "size", "T")


class Items:
    """What a container held, containers inside of it included."""

    __slots__ = ("container", "kind", "leaves", "nested")

    def __init__(self, container: Any, deep: bool = True) -> None:
        self.container, self.kind, leaves = container, type(container), _items(container)
        self.nested = deep and any(isinstance(x, CONTAINERS) for x in leaves)
        self.leaves = [Items(x) if self.nested and isinstance(x, CONTAINERS) else x for x in leaves]

    def fits(self, container: Any) -> bool:
        """Return whether a container holds the same."""
        if type(container) is not self.kind or len(leaves := _items(container)) != len(self.leaves):
            return False
        return (not self.nested and all(map(operator.is_, leaves, self.leaves))) or all(map(same, leaves, self.leaves))

    def where(self) -> str:
        """Return the first place at which the container holds something else than it did, as an index."""
        now = _items(self.container)
        keys = [*now[: len(self.container)], *self.container] if self.kind is dict else list(range(len(now)))
        for key, a, b in zip(keys, now, self.leaves, strict=False):
            if not same(a, b):
                return f"[{key!r}]{b.where() if isinstance(b, Items) and a is b.container else ''}"
        return ""

    def restore(self) -> Any:
        """Make the container, if it can change, hold what it held, and return it."""
        leaves = [x.restore() if isinstance(x, Items) else x for x in self.leaves]
        if isinstance(self.container, dict):
            half = len(leaves) // 2
            leaves = dict(zip(leaves[:half], leaves[half:], strict=True))  # type: ignore[assignment]
        if isinstance(self.container, (list, deque, dict, set)) and not self.fits(self.container):
            self.container.clear()
            fill: Any = getattr(self.container, "extend", None) or getattr(self.container, "update")  # noqa: B009
            fill(leaves)
        return self.container


def _items(container: Any) -> Sequence[Any]:
    if isinstance(container, dict):
        return [*container, *container.values()]
    return container if isinstance(container, (list, tuple)) else list(container)


def same(now: Any, was: Any) -> bool:
    """Return whether a value is what it was: numbers and texts by type and value, containers by what they hold."""
    if type(was) is Items:
        return was.fits(now)
    if now is was:
        return True
    if type(now) is not type(was):
        return False
    if isinstance(was, (float, complex, np.generic)):
        return repr(now) == repr(was)  # tells -0.0 from 0.0, and NaN is NaN
    if isinstance(was, tuple):
        return len(now) == len(was) and all(map(same, now, was))
    return bool(now == was) if isinstance(was, SCALARS) else False


def look(owner: Any, name: str) -> tuple[Any, str]:
    """Return an attribute and how it is read, without running code of the user's."""
    if isinstance(owner, types.ModuleType):
        return vars(owner).get(name, MISSING), "."
    kind = owner if isinstance(owner, type) else type(owner)
    found = next((vars(c)[name] for c in kind.__mro__ if name in vars(c)), MISSING)
    if isinstance(found, types.MemberDescriptorType):
        return getattr(owner, name, MISSING), "."
    if hasattr(type(found), "__set__"):
        return OPAQUE, "."
    held = getattr(owner, "__dict__", {})
    if name in held and owner is not kind:
        return held[name], "."
    if isinstance(found, classmethod) or (hasattr(type(found), "__get__") and owner is not kind):
        if isinstance(found, staticmethod):
            return found.__func__, "."
        function = found.__func__ if isinstance(found, classmethod) else found
        return (function, "()") if hasattr(function, "__code__") or hasattr(function, "function") else (OPAQUE, ".")
    return (found.__func__ if isinstance(found, staticmethod) else found), "."


class Read:
    """One thing that was read: whose it is, how it is read, what it was, and the words for it.

    ``used`` is False for what the step only writes to; ``outside`` tells what is surely not made by the step.
    """

    __slots__ = ("kind", "label", "name", "outside", "owner", "used", "value")

    def __init__(self, owner: Any, kind: str, name: str, value: Any, label: str, used: bool, outside: bool) -> None:
        self.owner, self.kind, self.name, self.value = owner, kind, name, value
        self.label, self.used, self.outside = label, used, outside

    def now(self) -> Any:
        """Return what it is now."""
        owner = self.owner
        if self.kind == "cell":
            return owner.cell_contents if owner != types.CellType() else MISSING
        if self.kind == "global":
            return owner.get(self.name, MISSING)
        if self.kind in ("=", "default"):
            return getattr(owner, self.name, MISSING)
        return READERS[self.kind](owner) if self.kind in READERS else look(owner, self.name)[0]

    def holds(self) -> bool:
        """Return whether it is what it was."""
        return same(self.now(), self.value)

    def restore(self) -> None:
        """Put it back as it was."""
        owner, name, value = self.owner, self.name, self.value
        if isinstance(value, Items):
            held = value.restore()
            if self.kind == "vars":
                training = {k: v for k, v in vars(owner).items() if k == "training"}
                vars(owner).clear()
                vars(owner).update({**held, **training})
        elif self.kind == "cell":
            owner.cell_contents = value
        elif self.kind == "global":
            owner.update({name: value}) if value is not MISSING else owner.pop(name, None)
        elif self.kind in (".", "=") and value is MISSING:
            with suppress(AttributeError):
                delattr(owner, name)
        elif self.kind in (".", "=", "default"):
            (type if isinstance(owner, type) else object).__setattr__(owner, name, value)

    def test(self, owner: str, value: str) -> str:
        """Return the expression that says so."""
        if self.value is MISSING and self.kind == "global":
            return f"{self.name!r} not in {owner}"
        if self.value is MISSING or self.kind in READERS:
            return f"holds_{value}()"
        text = {
            "cell": f"{owner}.cell_contents",
            "global": f"{owner}[{self.name!r}]",
            "()": f"{owner}.{self.name}.__func__",
        }.get(self.kind, f"{owner}.{self.name}")
        simple = not isinstance(self.value, (*SCALARS, tuple)) or self.value is None or isinstance(self.value, bool)
        return f"{text} is {value}" if simple else f"({text} is {value} or same({text}, {value}))"


READERS: dict[str, Callable[[Any], Any]] = {
    "items": lambda owner: owner,
    "vars": lambda owner: _attributes(owner),
    "array": lambda owner: (_layout(owner), hash(owner.tobytes())),
    "draws": lambda owner: repr(owner.bit_generator.state),
    "grad": lambda owner: None if owner._grad is None else _layout(owner._grad._data),
    "signature": lambda owner: owner.signature(),
}


def _layout(array: Any) -> Any:
    return array.shape, array.strides, array.dtype.str


def _attributes(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object but for the mode of a module, which is watched by itself."""
    return {k: v for k, v in vars(owner).items() if k != "training" or not isinstance(v, bool)}


def fits_function(guards: Sequence[Read]) -> Callable[[], bool]:
    """Return a function that says whether all guards hold, in one expression."""
    tensors = [read for read in guards if read.kind == "="]
    owners: dict[int, str] = {}
    namespace: dict[str, Any] = {
        "same": same,
        "rebound": rebound,
        "seen": [-1],
        "tensors": tensors,
        "holds": Read.holds,
    }
    tests = ["(rebound[0] == seen[0] or all(map(holds, tensors)) and not seen.__setitem__(0, rebound[0]))"]
    for i, read in enumerate(read for read in guards if read.kind != "="):
        name = owners.setdefault(id(read.owner), f"owner{len(owners)}")
        namespace[name], namespace[f"value{i}"], namespace[f"holds_value{i}"] = read.owner, read.value, read.holds
        tests.append(read.test(name, f"value{i}"))
    body = " and ".join(tests)
    lines = f"def fits():\n try:\n  return {body}\n except Exception:\n  return False\n"
    return execute(lines, namespace, "fits")


def inside(value: Any) -> Iterator[Any]:
    """Yield the items of a container, and of those inside of it, or the value itself."""
    if hasattr(type(value), "__next__") and type(value).__module__ == "builtins":
        with suppress(TypeError):  # of a generator
            value = value.__reduce__()[1]
    if isinstance(value, CONTAINERS):
        for item in _items(value):
            yield from inside(item)
    else:
        yield value


def is_open(value: Any) -> bool:
    """Return whether an object's attributes are the user's business."""
    if isinstance(value, (*SCALARS, *CONTAINERS, np.ndarray, np.dtype, np.ufunc, np.random.Generator, types.CellType)):
        return type(value).__module__ not in ("builtins", "collections", "numpy")
    kind = value if isinstance(value, type) else type(value)
    module = value.__name__ if isinstance(value, types.ModuleType) else kind.__module__
    own = module == f"{PACKAGE}.nn.optim" or kind is types.SimpleNamespace
    return own or (module != "builtins" and not is_foreign(module))


@functools.cache
def is_foreign(module: str) -> bool:
    """Return whether a module is NumPy's, Python's, or one of this package that does not hold a user's objects."""
    top = module.partition(".")[0]
    known = top in ("numpy", PACKAGE) or (top in sys.stdlib_module_names and top != "__main__")
    return known and module not in SEEN
