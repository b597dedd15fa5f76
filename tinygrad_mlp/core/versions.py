"""Versions: how a graph notices that data which an op has read was changed afterwards.

The memory of a Tensor has a counter, a list with the number of its changes, which all Tensors over that memory share. A
fresh result has none until somebody needs it, which stands for 0. A node notes the counts that its op saw, and its age:
no node is looked at that is younger than the last change of anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import GraphError

if TYPE_CHECKING:
    from .tensor import Tensor

next_age = itertools.count().__next__
last_change = [-1]
rebound = [0]
"""How often any Tensor got other memory, another ``requires_grad`` or another hook."""


def version_of(t: Tensor) -> list[int]:
    """Return the counter of a Tensor's memory."""
    if t._version is None:
        t._version = [0]
    return t._version


def changed(t: Tensor) -> None:
    """Count a change of a Tensor's data, so that a graph that has read it is not used any more."""
    count(version_of(t))


def count(counter: list[int]) -> None:
    """Count a change of the memory that a counter belongs to."""
    counter[0] += 1
    last_change[0] = next_age()


def check_unchanged(order: Sequence[Any]) -> None:
    """Raise if what the rules of these Tensors' nodes, oldest first, read has changed: inputs, or the Tensor itself."""
    for t in order:
        if (node := t._node).age > last_change[0]:
            return
        reads = dict(node.reads)
        for a in (*node.inputs, t):
            if getattr(a, "_version", None) and not (node.rule.linear and a._requires_grad):
                version, now = reads.get(a, 0), a._version[0]
                if version != now:
                    what = f"{'gave' if a is t else 'read'} {a.name or 'a Tensor'} of shape {a._data.shape}"
                    since = f"at version {version}, and its data has changed since (version {version} -> {now})"
                    hint = "call backward() before changing it, or compute the result again"
                    raise GraphError(f"{node.rule.name} {what} {since}; {hint}")
