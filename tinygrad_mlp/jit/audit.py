"""The audit: a program and the eager step, run side by side and compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..core.tensor import Tensor, wrap
from ..core.versions import changed
from ..errors import describe
from .arguments import flatten_result
from .compiled import Compiled
from .recorder import Recorder

Entries = list[tuple[str, Any]]
"""Results and other arrays by name."""


class Effects:
    """All that a step changes, so that two ways to run it can be compared."""

    def __init__(self, recorder: Recorder, compiled: Compiled) -> None:
        self.tensors = list({**dict.fromkeys(compiled.written), **recorder.record.changed})
        self.grads = list({**dict.fromkeys(t for t, _ in compiled.grads), **recorder.found_grads})
        self.generators = list(recorder.seen_generators)

    def state(self, result: Any) -> Entries:
        """Return copies of the results and of all that has changed, with names."""
        leaves: list[Any] = []
        flatten_result(result, leaves)
        return [
            *((f"result {i}", t._data.copy() if isinstance(t, Tensor) else t) for i, t in enumerate(leaves)),
            *((t.name or "a Tensor", t._data.copy()) for t in self.tensors),
            *(
                (f"grad of {t.name or 'a Tensor'}", None if t._grad is None else t._grad._data.copy())
                for t in self.grads
            ),
            *(("a Generator", rng.bit_generator.state) for rng in self.generators),
        ]

    def compare(
        self, expected: Entries, actual: Entries, tolerance: float = 0.0, others: Entries | None = None
    ) -> str | None:
        """Return in words what differs first, and by how much.

        A ``tolerance`` is relative to the largest number of all. ``others`` are what a step gives from a start that is
        rounded otherwise: by ten times that much, where it matters, two ways to compute may differ.
        """
        allowed = tolerance * max((_size(a) for _, a in expected), default=0.0)
        for (name, a), (_, b), (_, c) in zip(expected, actual, others or expected, strict=False):
            if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape and a.dtype == b.dtype:
                limit = max(allowed, 10 * _size(a - c) if others else 0.0)
                if _bits(a) != _bits(b) and not (limit and np.allclose(a, b, 0.0, limit, equal_nan=True)):
                    gap = np.abs(a.astype(float) - b.astype(float))
                    return f"{name}, by {np.nanmax(gap, initial=0.0):.3g} at most"
            elif repr(a) != repr(b):
                return f"{name}, {describe(b)} instead of {describe(a)}"
        return None if len(expected) == len(actual) else "the number of results"

    @contextmanager
    def rounded(self) -> Iterator[None]:
        """Context manager in which all that the step changes starts from numbers that are rounded otherwise."""
        starts = [(t._data, t._data.copy()) for t in self.tensors if t._data.dtype.kind == "f"]
        for data, _ in starts:
            data *= 1 + 2 * np.finfo(data.dtype).eps
        try:
            yield
        finally:
            for data, start in starts:
                np.copyto(data, start)

    def restore(self, state: Entries) -> None:
        """Leave everything as it was at that time."""
        values = [value for _, value in state[-len(self.tensors) - len(self.grads) - len(self.generators) :]]
        for t in self.tensors:
            np.copyto(t._data, values.pop(0))
            changed(t)
        for t in self.grads:
            value = values.pop(0)
            t._grad = None if value is None else wrap(value)
        for rng in self.generators:
            rng.bit_generator.state = values.pop(0)


def _size(a: Any) -> float:
    """Return the largest finite absolute value of an array of floats; 0 for anything else."""
    floats = isinstance(a, np.ndarray) and a.dtype.kind == "f"
    return float(np.max(np.abs(a), where=np.isfinite(a), initial=0.0)) if floats else 0.0


def _bits(a: Any) -> bytes:
    return bytes(np.where(a != a, np.array(np.nan, a.dtype), a).tobytes() if a.dtype.kind in "fc" else a.tobytes())
