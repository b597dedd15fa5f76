"""Guards: what a program depends on, one by one, and the one function that says whether all of it is as it was."""

from __future__ import annotations

import functools
import operator
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..rules.table import RULES

PACKAGE = __name__.partition(".")[0]
SEEN = tuple(f"{PACKAGE}.nn.{name}" for name in ("layers", "losses", "module", "schedules"))
"""The rooms of this package whose functions are looked into, as a user's are."""
DATA = ("collections", "dataclasses", "os")
"""The modules of Python whose functions are looked into: they read what a user's objects, or the environment, hold."""
MISSING = object()
CONTAINERS = (list, tuple, dict, set, frozenset, deque)
SCALARS = (int, float, complex, str, bytes, type(None), np.generic)
ATTRIBUTES = ("data", "shape", "dtype", "ndim", "size", "nbytes", "requires_grad")
LAYOUT = ("shape", "dtype", "strides", "ndim", "size", "T")


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
        return object.__getattribute__(owner, "__dict__")
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


def is_by_identity(a: Any) -> bool:
    """Return whether a value is equal to itself alone; a Tensor of several elements is neither equal nor not."""
    return type(a).__eq__ is object.__eq__ or (isinstance(a, Tensor) and a.size > 1)


def look(owner: Any, name: str) -> tuple[Any, str]:
    """Return an attribute and how it is read, without running code of the user's: not at all if that is what it takes.

    Instead of the value of a property it gives the property, which is learned from.
    """
    if isinstance(owner, types.ModuleType):
        return vars(owner).get(name, MISSING), "."
    kind = owner if isinstance(owner, type) else type(owner)
    found = MISSING
    for c in kind.__mro__:
        if name in c.__dict__:
            found = c.__dict__[name]
            break
    if isinstance(found, (types.MemberDescriptorType, types.GetSetDescriptorType)):
        return getattr(owner, name, MISSING), "."
    if hasattr(type(found), "__set__") and owner is not kind:
        return found, ""
    held = own_attributes(owner) or {}
    if name in held and owner is not kind:
        return held[name], "."
    inner = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
    if isinstance(found, classmethod) or (inner is found and hasattr(type(found), "__get__") and owner is not kind):
        return inner, "()" if hasattr(inner, "__code__") or hasattr(inner, "function") else ""
    return inner, "."


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
        return READERS[self.kind](self.owner, self.name)

    def holds(self) -> bool:
        """Return whether it is what it was."""
        return same(self.now(), self.value)

    def is_like(self, other: Read) -> bool:
        """Return whether another one holds whenever this one does."""
        alike = self.owner is other.owner and (self.kind, self.name) == (other.kind, other.name)
        return alike and same(self.value, other.value)

    def words(self) -> str:
        """Return what it is called, with the first place at which something else is held than was."""
        if self.kind not in ("items", "vars", "tensor"):
            return self.label
        now = self.now()
        if self.kind == "tensor":
            parts = zip(("data", "requires_grad", "hooks"), now, self.value, strict=True)
            part = next(part for part, a, b in parts if not same(a, b))
            return self.label if self.label.endswith(f".{part}") else f"{part} of {self.label}"
        names = indices(self.owner) if self.kind == "items" else [f".{name}" for name in now[: len(now) // 2]] * 2
        places = zip(names, now, self.value, strict=False)
        return self.label + next((name for name, a, b in places if not same(a, b)), "")

    def restore(self) -> None:
        """Put it back as it was."""
        owner, name, value = self.owner, self.name, self.value
        if self.kind == "items":
            _refill(owner, value)
        elif self.kind == "vars":
            watched = {k: v for k, v in vars(owner).items() if k == "training"}
            _refill(vars(owner), value)
            vars(owner).update(watched)
        elif self.kind == "tensor":
            owner._data, owner._requires_grad, owner._hooks = value
        elif self.kind == "cell":
            owner.cell_contents = value
        elif self.kind == "global":
            owner.update({name: value}) if value is not MISSING else owner.pop(name, None)
        elif self.kind == "." and value is MISSING:
            with suppress(AttributeError):
                delattr(owner, name)
        elif self.kind == ".":
            (type if isinstance(owner, type) else object).__setattr__(owner, name, value)

    def in_class(self) -> Read | None:
        """Return the read of a class that stands for that of one of its objects, which finds an attribute there."""
        owner, kind = self.owner, type(self.owner)
        if self.kind not in (".", "()") or type(kind) is not type or owner.__class__ is not kind:
            return None
        own = self.name in (own_attributes(owner) or ())
        found = MISSING if own else getattr(kind, self.name, MISSING)
        return None if found is not self.value else Read(kind, ".", self.name, found, self.label, True, True)

    def test(self, values: list[Any], holds: Callable[[], bool]) -> str:
        """Return the expression that says whether it holds, of its owner ``o`` and of values, to which it adds its own.

        ``holds`` finds out where no expression does.
        """
        name = f"v{len(values)}"
        if self.value is MISSING and self.kind == "global":
            return f"{self.name!r} not in o"
        if self.value is MISSING or self.kind not in TEXTS:
            values.append(holds)
            at_once = _at_once(self.kind, self.owner)
            if at_once is None or not self.holds():
                return f"{name}()"
            values.append(at_once[0])
            return f"({at_once[1]} or {name}())".replace("was", f"v{len(values) - 1}")
        values.append(self.value)
        text = TEXTS[self.kind].format(self.name)
        simple = not isinstance(self.value, (*SCALARS, tuple)) or self.value is None or isinstance(self.value, bool)
        return f"{text} is {name}" if simple else f"({text} is {name} or same({text}, {name}))"


def _in_context(variable: Any) -> Any:
    try:
        return variable.get()
    except LookupError:
        return MISSING


READERS: dict[str, Callable[[Any, str], Any]] = {
    ".": lambda owner, name: look(owner, name)[0],
    "()": lambda owner, name: look(owner, name)[0],
    "global": lambda owner, name: owner.get(name, MISSING),
    "cell": lambda owner, name: owner.cell_contents if owner != types.CellType() else MISSING,
    "items": lambda owner, name: items(owner),
    "vars": lambda owner, name: items({k: v for k, v in vars(owner).items() if k != "training"}),  # watched by itself
    "array": lambda owner, name: (*_layout(owner), hash(owner.tobytes())),
    "tensor": lambda owner, name: (owner._data, owner._requires_grad, owner._hooks),
    "draws": lambda owner, name: repr(owner.bit_generator.state),
    "grad": lambda owner, name: None if owner._grad is None else _layout(owner._grad._data),
    "signature": lambda owner, name: owner.signature(),
    "held": lambda owner, name: owner.held(),
    "rule": lambda owner, name: RULES.get(owner),
    "context": lambda owner, name: _in_context(owner),
}
"""How each kind of thing is read from its owner."""
TEXTS = {".": "o.{}", "()": "o.{}.__func__", "global": "o[{!r}]", "cell": "o.cell_contents", "context": "o.get()"}
"""The expressions that read, from its owner ``o``, what an expression can read."""


def _at_once(kind: str, owner: Any) -> tuple[Any, str] | None:
    """Return what a list or an object holds, and the expression that finds out fast that it is the very same."""
    if kind == "items" and type(owner) is list:
        return [*owner], _are("o", "was", owner)
    if kind == "vars":
        names, held = [*vars(owner)], [*vars(owner).values()]
        return (names, held), f"[*(d := o.__dict__)] == was[0] and {_are('[*d.values()]', 'was[1]', held)}"
    return None


def _are(now: str, was: str, values: Sequence[Any]) -> str:
    """Return the expression that says whether the items of two lists are the same objects."""
    if all(map(is_by_identity, values)):
        return f"{now} == {was}"
    return f"len({now}) == len({was}) and all(map(is_, {now}, {was}))"


def _refill(container: Any, held: Held) -> None:
    half = len(held) // 2
    container.clear()
    fill: Any = getattr(container, "extend", None) or getattr(container, "update")  # noqa: B009
    fill(zip(held[:half], held[half:], strict=True) if isinstance(container, dict) else held)


def _layout(array: Any) -> Any:
    return array.shape, array.strides, array.dtype.str


def inside(value: Any) -> Iterator[Any]:
    """Yield the items of a container, and of those inside of it, or the value itself."""
    if hasattr(type(value), "__next__") and type(value).__module__ == "builtins":
        with suppress(TypeError):  # of a generator
            value = value.__reduce__()[1]
    if isinstance(value, weakref.ref):
        value = value()
    if isinstance(value, CONTAINERS):
        for item in items(value):
            yield from inside(item)
    else:
        yield value


def is_open(value: Any) -> bool:
    """Return whether an object's attributes are the user's business."""
    if isinstance(value, types.ModuleType):
        return not is_foreign(value.__name__)
    if isinstance(value, types.FunctionType):
        return not is_foreign(value.__module__ or "")
    return _is_open(value if isinstance(value, type) else type(value), isinstance(value, type))


@functools.lru_cache(1024)
def _is_open(kind: type, is_class: bool) -> bool:
    module, closed = kind.__module__, (*SCALARS, *CONTAINERS, np.ndarray, np.dtype, np.ufunc, np.random.Generator)
    if not is_class and issubclass(kind, closed):
        return module not in ("builtins", "collections", "numpy")
    of_python = not is_class and module.partition(".")[0] in sys.stdlib_module_names  # a namespace, a logger
    own = module == f"{PACKAGE}.nn.optim" or (of_python and "__dict__" in dir(kind))
    return own or (module != "builtins" and not is_foreign(module))


@functools.cache
def is_foreign(module: str) -> bool:
    """Return whether a module is NumPy's, Python's, or one of this package that does not hold a user's objects."""
    top = module.partition(".")[0]
    known = top in ("numpy", PACKAGE) or (top in sys.stdlib_module_names and top != "__main__")
    return known and module not in SEEN and top not in DATA
