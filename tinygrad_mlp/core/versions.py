"""Versions: how a graph notices that data which an op has read was changed afterwards.

The memory of a Tensor has a counter, a list with the number of its changes, which all Tensors over that memory share. A
fresh result has none until somebody needs it, which stands for 0. A node notes the counts that its op saw, and its age:
no node's counts are looked at that is younger than the last change of anything.

Whoever holds an array can write into it without a word: that of a leaf, one among the operands, or what ``t.data`` and
``t.numpy()`` gave. So a node also notes the `fingerprint` of each of these. The array of a result or of a parameter is
nobody else's until it is handed out: then its counter gets the fingerprint. Small arrays are compared whole, larger
ones in `PLACES` places, spread over all of them, unless a tracer is active: to read them takes as long as to compute.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import GraphError
from .tracer import IDLE, mode

if TYPE_CHECKING:
    from .tensor import Tensor

WHOLE = 4096
"""Arrays of up to so many bytes are compared whole."""
PLACES = 31
SHARED = "through an array that shares its memory"

PUBLIC = [0]
"""The counter of an array that is no Tensor's."""
Read = tuple[Any, Any, int, "bytes | None"]
"""An input, its array, version and fingerprint."""

next_age = itertools.count().__next__
last_change = [-1]
rebound = [0]
"""How often a Tensor got other memory, another ``requires_grad`` or hook, or a module another class or ``__dict__``."""


def fingerprint(array: Any, size: int = -1) -> bytes:
    """Return the values of an array, or of the places that stand for it; ``size`` is what it had before, in bytes."""
    nbytes = array.nbytes
    if nbytes > WHOLE and nbytes != size and (size >= 0 or mode.tracer is IDLE):
        array = (array.ravel("K") if array.flags.forc else array.flat)[:: array.size // PLACES]
    return array.tobytes()


def version_of(t: Tensor) -> list[Any]:
    """Return the counter of a Tensor's memory.

    If the array is nobody else's, that follows, and then None, or the count and the fingerprint when it was handed out.
    """
    if t._version is None:
        t._version = [0, t._data, None]
    return t._version


def hand_out(t: Tensor) -> Any:
    """Return the array of a Tensor to somebody who can write into it."""
    version = version_of(t)
    if len(version) > 1 and (version[2] is None or version[2][0] != version[0]):
        version[2] = version[0], fingerprint(version[1])
        last_change[0] = next_age()
    return t._data


def note(values: Sequence[tuple[Any, Any, list[Any]]]) -> list[Read]:
    """Return what a node notes of inputs, their arrays and their counters."""
    return [(a, array, v[0], None if v[-1] is None else fingerprint(array)) for a, array, v in values]


def changed(t: Tensor) -> None:
    """Count a change of a Tensor's data, so that a graph that has read it is not used any more."""
    count(t._version or version_of(t))  # one call less for each parameter of an optimiser's step


def count(counter: list[Any]) -> None:
    """Count a change of the memory that a counter belongs to."""
    counter[0] += 1
    last_change[0] = next_age()


def check_unchanged(order: Sequence[Any]) -> None:
    """Raise if what the rules of these Tensors' nodes, oldest first, read has changed: inputs, or the Tensor itself."""
    for t in order:
        node = t._node
        if node.age <= last_change[0]:
            _check_versions(t, node)
        for a, array, version, seen in node.reads:
            if seen is not None and fingerprint(array, len(seen)) != seen:
                raise _error(t, a, version, SHARED)


def _check_versions(t: Any, node: Any) -> None:
    reads = {id(a): (version, seen) for a, _, version, seen in node.reads}
    for a in (*node.inputs, t):
        if (now := getattr(a, "_version", None)) and not (node.rule.linear and a._requires_grad):
            version, seen = reads.get(id(a), (0, None))
            if version != now[0]:
                raise _error(t, a, version, f"version {version} -> {now[0]}")
            since, out = now[2] if now[1:] and now[2] else (None, b"")  # when it was handed out
            if seen is None and since == version and fingerprint(now[1], len(out)) != out:
                raise _error(t, a, version, SHARED)


def _error(t: Any, a: Any, version: int, how: str) -> GraphError:
    name = getattr(a, "name", None) or ("a Tensor" if hasattr(a, "_data") else "an array")
    did = f"{'gave' if a is t else 'read'} {name} of shape {getattr(a, '_data', a).shape} at version {version}"
    hint = "call backward() before changing it, or compute the result again"
    return GraphError(
        f"{t._node.rule.name}{mode.tracer.called_at(t)} {did}, and its data has changed since ({how}); {hint}"
    )
