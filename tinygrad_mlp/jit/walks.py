"""Walks back: what a step's second run does on arrays, where the record of the first one says what it consists of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .live import Live
from .objects import is_of_the_user
from .record import Slot, is_same


class Walk(NamedTuple):
    """A walk back of a record: its way, of how many calls it consists, and the slots of what it gives."""

    way: list[Any] | None
    length: int
    gradients: list[Slot]


def way_of(order: Sequence[Any], seeds: Sequence[Any], slot: Callable[[Any], Slot]) -> list[Any] | None:
    """Return which way a walk back takes over what ops have made: two that are the same consist of the same calls.

    It is None where these have to be seen: code of the user's takes part in them, or a number that is live.
    """
    way: list[Any] = list(map(slot, seeds))
    for t in order:
        node = t._node
        if not _is_known(node.rule) or t._hooks or any(a._hooks for _, a in node.parents):
            return None
        if any(type(a) is Live for a in (*node.arrays, *node.keywords.values())):
            return None
        way += slot(t), *[i for i, _ in node.parents]
    return way if order else None


def known_walk(way: list[Any] | None, walks: Iterator[Walk]) -> Walk | None:
    """Return the next walk of a record, if it takes this way."""
    walk = next(walks, None)
    return walk if walk and way and walk.way and is_same(walk.way, way) else None


@functools.lru_cache(1024)
def _is_known(rule: Any) -> bool:
    functions = rule.function, rule.forward, rule.vjps.each, *rule.vjps.values()
    return not any(map(is_of_the_user, filter(None, functions)))
