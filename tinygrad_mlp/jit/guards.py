"""Guards: what a program depends on, one by one, and the one function that says whether all of it is as it was."""

from __future__ import annotations

import abc
import functools
import threading
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..core.tensor import Tensor
from ..rules.table import RULES
from .objects import MISSING, SCALARS, Held, indices, items, look, of_class, own_attributes, same
from .opaque import SETTINGS, restore, state

ATTRIBUTES = ("data", "shape", "dtype", "ndim", "size", "nbytes", "requires_grad")
LAYOUT = ("shape", "dtype", "strides", "ndim", "size", "T", "__class__")


def is_by_identity(a: Any) -> bool:
    """Return whether a value is equal to itself alone; a Tensor of several elements is neither equal nor not."""
    return type(a).__eq__ is object.__eq__ or (isinstance(a, Tensor) and a.size > 1)


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
        elif self.kind == "state":
            restore(owner, value)
        elif self.kind == "cell":
            owner.cell_contents = value
        elif self.kind == "global":
            owner.update({name: value}) if value is not MISSING else owner.pop(name, None)
        elif self.kind == "." and value is MISSING:
            with suppress(AttributeError):
                delattr(owner, name)
        elif self.kind == "." and isinstance(owner, threading.local):
            setattr(owner, name, value)
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
            at_once = _at_once(self.kind, self.owner)
            if at_once is None or not self.holds():
                values.append(holds)
                return f"{name}()"
            take, text = at_once
            was = take()
            values += [functools.partial(_renew, holds, was, take), was]
            return f"({text} or {name}())".replace("was", f"v{len(values) - 1}")
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
    "state": lambda owner, name: state(owner),
    "class": of_class,
    "setting": lambda owner, name: state(SETTINGS[owner]()),
    "abc": lambda owner, name: abc.get_cache_token(),
}
"""How each kind of thing is read from its owner."""
TEXTS = {".": "o.{}", "()": "o.{}.__func__", "global": "o[{!r}]", "cell": "o.cell_contents", "context": "o.get()"}
"""The expressions that read, from its owner ``o``, what an expression can read."""


def _at_once(kind: str, owner: Any) -> tuple[Callable[[], list[Any]], str] | None:
    """Return what takes up all that a list or an object holds, and the expression that this is the very same."""
    if kind == "items" and type(owner) is list:
        return owner.copy, _are("o", "was", owner)
    if kind == "vars":
        own = vars(owner)
        text = f"[*(d := o.__dict__)] == was[0] and {_are('[*d.values()]', 'was[1]', [*own.values()])}"
        return lambda: [[*vars(owner)], [*vars(owner).values()]], text
    return None


def _renew(holds: Callable[[], bool], was: list[Any], take: Callable[[], list[Any]]) -> bool:
    """Return whether a read holds; what it holds may be other objects, or for an object not what it reads."""
    holding = holds()
    if holding:
        was[:] = take()
    return holding


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
