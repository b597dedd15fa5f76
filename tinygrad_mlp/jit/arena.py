"""The memory of all programs of a function: one runs at a time, so that they share it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .plan import Plan, Storage, base_of
from .record import Array, memory_of

ALIGNMENT = 64
GROWTH = 1.125
"""By how much more than before memory grows at least, so that many sizes one after another do not move it each time."""


class Arena:
    """Memory for temporary results, for gradients by Tensor, and arrays that never change.

    Each program has views of it; where it grows, they become views of the new memory, and the old is gone.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.gradients: dict[Any, Array] = {}
        self.constants: weakref.WeakValueDictionary[Any, Array] = weakref.WeakValueDictionary()
        self.programs: weakref.WeakSet[Any] = weakref.WeakSet()

    def place(self, plan: Plan) -> dict[Storage, Any]:
        """Return the memory of each storage of a plan."""
        owners: dict[Any, Any] = {}
        for t, slot in plan.grads.items():
            if slot is not None:
                owners.setdefault(plan.place.get(base_of(plan, slot)), t)
        shared = [storage for storage in plan.storages if storage not in owners]
        sizes = [-(-storage.nbytes // ALIGNMENT) * ALIGNMENT for storage in shared]
        self.memory = self._grown(self.memory, sum(sizes), lambda n: np.empty(n, np.uint8))
        starts = np.cumsum([0, *sizes])
        places = {s: self.memory[i : i + s.nbytes] for s, i in zip(shared, starts.tolist(), strict=False)}
        for storage in plan.storages:
            if storage in owners:
                known = self.gradients.get(owners[storage])
                if known is None or known.nbytes != storage.nbytes:
                    known = self.gradients[owners[storage]] = np.empty(storage.nbytes, np.uint8)
                places[storage] = known
        return places

    def constant(self, key: Any, n: int, make: Callable[[int], Array]) -> Array:
        """Return the first n elements of an array that never changes, of which ``make`` makes so many."""
        known = self.constants.get(key)
        known = self.constants[key] = make(n) if known is None else self._grown(known, n, make)
        return known[:n]

    def _grown(self, old: Array, n: int, make: Callable[[int], Array]) -> Array:
        """Return an array of at least n elements: the old one, or a new one in its place."""
        if n <= len(old):
            return old
        new = make(max(n, int(GROWTH * len(old))))
        for program in self.programs:
            program.move(old, new)
        return new


def moved(names: dict[str, Any], old: Array, new: Array) -> None:
    """Have views of ``new`` in place of the views of ``old`` that are among the values of names."""
    for name, a in names.items():
        if isinstance(a, np.ndarray) and memory_of(a) is old:
            names[name] = np.ndarray(a.shape, a.dtype, new, address(a) - address(old), a.strides)


def address(array: Array) -> int:
    """Return where an array begins in memory."""
    place: int = array.__array_interface__["data"][0]
    return place
