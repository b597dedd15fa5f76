"""What is checked: a function at its inputs, as arrays in and an array out, with its backward pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ...checks import as_numbers
from ...core.autograd import grad
from ...core.tensor import Tensor
from ...core.tracer import IDLE, Tracer
from ...errors import DtypeError, describe
from .branches import Branches, settings

Array = np.ndarray[Any, Any]

EPS = float(np.finfo(np.float64).eps)
TINY = 1e-7
"""How near a kink is where x stands, relative to max(1, |x|)."""


def norm(a: Any) -> float:
    """Return the root of the sum of squares, of numbers of any size."""
    largest = float(np.abs(a).max(initial=0.0))
    return largest * float(np.sqrt(np.square(np.asarray(a) / largest).sum())) if 0 < largest < np.inf else largest


class Subject:
    """The function that is checked, at the inputs where it is checked.

    ``start`` are the inputs, ``x`` the arrays that are moved away from them, and ``y`` is the result at ``start``.
    Whatever its shape, the result is contracted with ``upstream``, so that every derivative is one number.
    """

    y: Array
    upstream: Array
    wobble: Array
    jitter: float

    def __init__(self, f: Callable[..., Any], inputs: Any, gradient: Callable[..., Any] | None) -> None:
        self.notes: list[str] = []
        if type(f).__name__ == "Jitted":
            f = f.function  # type: ignore[attr-defined]
            self.notes += [f"{name_of(f)} is jitted: the function itself is checked, its program computes the same"]
        self.f, self.gradient, self.order, self.recording = f, gradient, 1, False
        self.branches, self.base, self.evaluations = Branches(), 0, 0
        self.args: list[Any] = []
        self.leaves: list[Any] = []
        self.names: list[str] = []
        self.buffers: list[tuple[Array, Array]] = []
        several = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
        for name, a in zip(_argument_names(f, several), several, strict=True):
            self._open(name, a, f"{name}." if len(several) > 1 else "")
        self.kept = [leaf._data for leaf in self.leaves]
        self.stand_at([np.array(a, np.float64, order="K") for a in self.kept])
        lifted = [f"{n} ({a.dtype})" for n, a in zip(self.names, self.kept, strict=True) if a.dtype != np.float64]
        self.notes += [f"checked in float64: {', '.join(lifted)}"] if lifted else []
        if not any(a.size for a in self.x):
            raise ValueError("gradcheck has nothing to check: no input has an element that requires grad")

    def _open(self, name: str, a: Any, prefix: str) -> None:
        """Add an input: a new leaf for an array or a Tensor, and for a module its parameters."""
        if hasattr(a, "named_parameters"):
            own = {prefix + n: p for n, p in a.named_parameters() if p.requires_grad}
            self.buffers += [(b._data, b._data.copy()) for _, b in a.named_buffers()]
        else:
            name, data = getattr(a, "name", None) or name, a._data if isinstance(a, Tensor) else as_numbers(a)
            if data.dtype.kind != "f":
                raise DtypeError(
                    f"{name} is {describe(data)} and has no gradient; pass float64, or let f close over it"
                )
            a = Tensor(data, requires_grad=True, name=name)
            own = {name: a}
        self.args.append(a)
        self.names += own
        self.leaves += own.values()

    def stand_at(self, x: list[Array]) -> None:
        """Take other inputs for those where the function is checked; what is known of the old ones is forgotten."""
        self.start, self.x = x, [a.copy(order="K") for a in x]
        self.hint, self.losses, self.grain, self.precision = 0, 0, 0.0, 0.0
        self.neighbours: dict[int, Array] = {}

    def restore(self) -> None:
        """Give modules their own parameters and buffers back."""
        for leaf, data in zip(self.leaves, self.kept, strict=True):
            leaf._data = data
        for buffer, data in self.buffers:
            buffer[...] = data

    def differentiate(self) -> None:
        """Turn to the second order: the function becomes its gradient, and the upstream gradient one more input."""
        f, inputs, upstream = self.f, list(self.leaves), Tensor(self.upstream, requires_grad=True)

        def gradient(*args: Any) -> Any:
            y = f(*args)
            found = grad(y, inputs, upstream, None, self.recording, allow_unused=True) if y.requires_grad else ()
            return np.concatenate([Tensor(np.zeros(0)), *(np.ravel(g) for g in found if g is not None)])

        self.f, self.order = gradient, 2
        self.leaves.append(upstream)
        self.names = [f"{name}, order 2" for name in (*self.names, "upstream")]
        self.kept.append(self.upstream.copy())
        self.stand_at([*self.start, self.upstream.copy()])

    def value(self, x: Sequence[Array]) -> Array:
        """Return the result on arrays, and start to count branches anew."""
        self.evaluations, self.branches.taken = self.evaluations + 1, 0
        return self._call(x)._data if self.gradient is None else np.asarray(self.f(*self._hand_over(x)))

    def change(self, x: Sequence[Array], y: Array) -> float:
        """Return by how much the contracted result differs from that of ``y``: the difference comes first."""
        other = self.value(x)
        return float((self.upstream * np.subtract(other, y, dtype=float)).sum()) if other.shape == y.shape else np.nan

    def neighbour(self, k: int) -> tuple[list[Array], Array]:
        """Return the k-th of random points that are as near as a kink where x stands, and the result there."""
        rng = np.random.default_rng(k)
        x = [np.asarray(a + TINY * unit_of(a) * rng.uniform(-1, 1, a.shape)) for a in self.start]
        if k not in self.neighbours:
            self.neighbours[k] = self.value(x).copy()
        return x, self.neighbours[k]

    def _hand_over(self, x: Sequence[Array]) -> Sequence[Array]:
        """Return what is handed to a function: copies to one of plain arrays, where writing into them is common."""
        self.given = x if self.gradient is None else [a.copy(order="K") for a in x]
        for leaf, data in zip(self.leaves, self.given, strict=True):
            leaf._data = data
        return self.given

    def _call(self, x: Sequence[Array]) -> Any:
        self._hand_over(x)
        y = self.f(*self.args)
        if not isinstance(y, Tensor):
            what = describe(y) if hasattr(y, "dtype") else f"a {type(y).__name__}"
            raise TypeError(f"{name_of(self.f)} returned {what}; it must return one Tensor (or pass gradient=...)")
        return y

    def record(self, x: Sequence[Array]) -> Callable[[Array], list[Array]]:
        """Return the backward pass at x: from the upstream gradient to the gradient of each input."""
        self.recording = True
        y: Any = self._call(x) if self.gradient is None else None
        self.recording = False

        def pull(upstream: Array) -> list[Array]:
            if self.gradient is not None:
                return self._by_hand(*([upstream] if self.y.ndim else []), *self._hand_over(x))
            self._hand_over(x)
            if not y.requires_grad:
                return [np.zeros_like(a) for a in x]
            found = grad(y, self.leaves, Tensor(upstream), retain_graph=True, allow_unused=True)
            return [np.zeros_like(a) if g is None else g._data for g, a in zip(found, x, strict=True)]

        return pull

    def _by_hand(self, *args: Array) -> list[Array]:
        """Return what the gradient that is written by hand gives, once it is called rightly and gives arrays."""
        name, names, result = name_of(self.gradient, "gradient"), ", ".join(self.names), describe(self.y)
        if not _takes(self.gradient, args):
            upstream = "upstream, " if self.y.ndim else ""
            raise TypeError(
                f"{name} must take ({upstream}{names}), as f returns {result}: the upstream gradient comes first for "
                "an f that returns an array, and not at all for one that returns a number"
            )
        found = self.gradient(*args)  # type: ignore[misc]
        gradients = list(found) if isinstance(found, (tuple, list)) else [found]
        if any(g is None for g in gradients):
            raise TypeError(f"{name} returned None; it must return an array for each of: {names}")
        if len(gradients) != len(self.x):
            raise ValueError(f"{name} returned {len(gradients)} gradients, not {len(self.x)}, for: {names}")
        return [np.asarray(g) for g in gradients]

    def rounding_of(self, where: Any) -> float:
        """Return the rounding of a part of the contracted result."""
        return self.eps * norm((self.upstream * self.y)[where])

    def wobble_of(self, where: Any) -> float:
        """Return by how much a part of the contracted result changes with the last digits of the inputs, at least."""
        return max(self.rounding_of(where), norm((self.upstream * self.wobble)[where]))

    def shake(self, rng: np.random.Generator) -> None:
        """See by how much the result changes with the last digits of the inputs."""
        trials = ([a * (1 + EPS * rng.integers(-2, 3, a.shape)) for a in self.start] for _ in range(8))
        self.wobble = np.max([np.abs(self.value(x) - self.y) for x in trials], axis=0)

    @property
    def eps(self) -> float:
        """The relative rounding of the result's dtype."""
        return float(np.finfo(self.y.dtype).eps)

    def changed(self) -> list[str]:
        """Return the names of the inputs that the last call has changed in place."""
        return [n for n, a, b in zip(self.names, self.given, self.start, strict=True) if not same(a, b)]

    def watcher(self) -> Tracer:
        """Return the tracer that tells branches apart, an idle one if the function has none."""
        with settings(tracer=self.branches):
            self.value(self.x)
        self.base = self.branches.taken
        return self.branches if self.base else IDLE


def unit_of(*arrays: Array) -> float:
    """Return what steps are relative to: the typical size of the elements, or 1."""
    return max(1.0, *(norm(a) / max(1, a.size) ** 0.5 for a in arrays))


def same(a: Array, b: Array) -> bool:
    """Return whether two arrays are equal, NaN to NaN."""
    return np.array_equal(a, b, equal_nan=True)


def name_of(f: Any, default: str = "f") -> str:
    """Return what to call a function."""
    name = getattr(f, "__name__", type(f).__name__)
    return default if name == "<lambda>" else name


def _takes(f: Any, args: Sequence[Any]) -> bool:
    """Return whether a function can be called so, as far as its signature is known."""
    with suppress(ValueError):
        try:
            inspect.signature(f).bind(*args)
        except TypeError:
            return False
    return True


def _argument_names(f: Callable[..., Any], inputs: Sequence[Any]) -> list[str]:
    """Return the names of the inputs, those of f's parameters if it has them."""
    if not callable(f):
        raise TypeError(f"gradcheck takes a function and its inputs: gradcheck(f, inputs), not {describe(f)} for f")
    if not _takes(f, inputs):
        what = "a list is a list of inputs: pass np.array([...]) for one" if len(inputs) > 1 else "pass a list of all"
        raise TypeError(f"{name_of(f)}{inspect.signature(f)} cannot be called with {len(inputs)} inputs; {what}")
    names: list[str] = []
    with suppress(TypeError, ValueError):
        names = list(inspect.signature(f).parameters)[: len(inputs)]
    return names if len(names) == len(inputs) else [f"input {k}" for k in range(len(inputs))]
