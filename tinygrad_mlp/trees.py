"""Trees: numbers, arrays and Tensors in tuples, lists, dicts, named tuples and dataclasses, nested as one likes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from .errors import ShapeError, describe


def parts(tree: Any) -> dict[Any, Any] | None:
    """Return what a node of a tree holds, by its keys; None for a leaf. None itself is a node that holds nothing."""
    if tree is None:
        return {}
    if isinstance(tree, dict):
        return tree
    if isinstance(tree, (tuple, list)):
        return dict(enumerate(tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return fields(tree)
    return None


def fields(a: Any) -> dict[str, Any]:
    """Return what the object of a dataclass holds, by name."""
    return {field.name: getattr(a, field.name) for field in dataclasses.fields(a)}


def made(kind: type, held: dict[str, Any]) -> Any:
    """Return an object of a dataclass that holds this, without calling the class."""
    new: Any = object.__new__(kind)
    for name, value in held.items():
        object.__setattr__(new, name, value)
    return new


def rebuilt(tree: Any, values: dict[Any, Any]) -> Any:
    """Return a node of the same kind as ``tree`` that holds these values."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        new: Any = tree.copy()  # an OrderedDict or a defaultdict stays one
        new.update(values)
        return new
    if isinstance(tree, (tuple, list)):
        return type(tree)(*values.values()) if hasattr(tree, "_fields") else type(tree)(values.values())
    return made(type(tree), values)


def tree_map(function: Callable[..., Any], tree: Any, *others: Any, name: str = "the other", at: str = "") -> Any:
    """Return a tree of what a function gives for the leaves of a tree, and for those in the same places of others.

    Raises:
        ShapeError: a tree differs from the first one; the message says where.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": (2, 3)}, {"b": (20, 30), "a": 10})
    {'a': 11, 'b': (22, 33)}
    """
    held = parts(tree)
    if held is None:
        return function(tree, *others)
    for other in others:
        theirs = parts(other)
        if theirs is None or theirs.keys() != held.keys():
            raise ShapeError(f"{name}{at} is {_shown(other)}, expected what fits {_shown(tree)}; give it the same tree")
    inner = {
        key: tree_map(function, value, *(parts(other)[key] for other in others), name=name, at=f"{at}[{key!r}]")  # type: ignore[index]
        for key, value in held.items()
    }
    return rebuilt(tree, inner)


def _shown(tree: Any) -> str:
    held = parts(tree)
    return describe(tree) if held is None else f"{type(tree).__name__} of {', '.join(map(repr, held)) or 'nothing'}"


def leaves(tree: Any) -> list[Any]:
    """Return the leaves of a tree, in order.

    >>> leaves([1, {"a": 2, "b": (None, 3)}])
    [1, 2, 3]
    """
    found: list[Any] = []
    tree_map(found.append, tree)
    return found


def filled(tree: Any, values: list[Any]) -> Any:
    """Return a tree with these values in place of its leaves, in order."""
    rest = iter(values)
    return tree_map(lambda _: next(rest), tree)
