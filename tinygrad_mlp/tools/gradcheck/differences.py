"""Numeric derivatives: of a function along lines through its inputs, by differences and by the complex step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.exceptions import ComplexWarning

from ...checks import Array, as_numbers, parameter_names, why_not_called
from ...core.autograd import grad
from ...core.tensor import Tensor
from ...core.tracer import Tracer, settings
from ...errors import DtypeError, describe
from ...rules.table import Rule

EPS = float(np.finfo(np.float64).eps)
STEP, COMPLEX_STEP = 2.0**-8, 2.0**-100
"""The first step, relative to max(1, |x|): truncation and rounding balance near it."""
TINY = 1e-7
"""How near a kink is where x stands, relative to max(1, |x|)."""
Index = tuple[int, ...]


class Branches(Tracer):
    """The tracer that tells branches apart: ``taken`` is another number if an op has taken another branch.

    ``condition`` is the condition number of the first matrix inverted, ``eps`` the rounding of the least precise dtype.
    """

    taken, condition, eps = 0, 1.0, EPS

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        arrays = [a._data if isinstance(a, Tensor) else a for a in inputs]
        if result._requires_grad:  # buffers may be of float32
            self.eps = max(self.eps, float(np.finfo(result._data.dtype).eps))
        if rule.inverts and self.condition == 1.0:
            self.condition = float(np.max(np.linalg.cond(arrays[0]), initial=1.0))
        if rule.branch is not None or (rule.kind == "constant" and not rule.effect):
            branch = rule.branch(result._data, *arrays, **keywords) if rule.branch else result._data
            self.taken = hash((self.taken, np.asarray(branch).tobytes()))


class Subject:
    """The function that is checked, at the inputs where it is checked.

    ``start`` are the inputs, ``x`` the arrays that are moved away from them, and ``y`` is the result at ``start``.
    Whatever its shape, the result is contracted with ``upstream``, so that every derivative is one number. ``wobble``
    is by how much it changes with the last digits of the inputs.
    """

    y: Array
    wobble: Array
    upstream: Array

    def __init__(self, f: Callable[..., Any], inputs: Any, gradient: Callable[..., Any] | None, jitter: float) -> None:
        self.notes: list[str] = []
        if type(f).__name__ == "Jitted":
            f = f.function  # type: ignore[attr-defined]
            self.notes += [f"{name_of(f)} is jitted: the function itself is checked, its program computes the same"]
        self.f, self.gradient, self.jitter, self.order, self.recording = f, gradient, jitter, 1, False
        self.branches, self.base, self.evaluations = Branches(), 0, 0
        self.args, self.names, self.leaves = list[Any](), list[str](), list[Any]()
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
            named = [(prefix + n, p) for n, p in a.named_parameters() if p.requires_grad]
            self.buffers += [(b._data, b._data.copy()) for b in a.buffers()]
        else:
            name, data = getattr(a, "name", None) or name, a._data if isinstance(a, Tensor) else as_numbers(a)
            if data.dtype.kind != "f":
                raise DtypeError(f"{name} is {describe(data)} and has no gradient; pass float64, or close over it")
            a = Tensor(data, requires_grad=True, name=name)
            named = [(name, a)]
        self.args.append(a)
        self.names += [n for n, _ in named]
        self.leaves += [leaf for _, leaf in named]

    def stand_at(self, x: list[Array]) -> None:
        """Take other inputs for those where the function is checked; what is known of the old ones is forgotten."""
        self.start, self.x = x, [a.copy(order="K") for a in x]
        self.hint, self.losses = 0, 0
        self.neighbours: dict[int, Array] = {}

    def restore(self) -> None:
        """Give modules their own parameters and buffers back."""
        self._hand_over(self.kept)
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

    def look(self, rng: np.random.Generator) -> None:
        """Take the result at the inputs, and see how it wobbles; raise if it has no derivative."""
        with settings(tracer=self.branches):
            self.y = self.value(self.x).copy()
        self.base = self.branches.taken
        if self.y.dtype.kind != "f" or not np.isfinite(self.y).all():
            what = f"{name_of(self.f)} gives {describe(self.y)}, not finite floats"
            raise ValueError(f"{what}: it has no derivative at these inputs")
        trials = ([a * (1 + EPS * rng.integers(-2, 3, a.shape)) for a in self.start] for _ in range(8))
        self.wobble = np.max([np.abs(self.value(x) - self.y) for x in trials], axis=0)

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
        for leaf, data in zip(self.leaves, x, strict=True):
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
            given = self._hand_over(x)
            if self.gradient is not None:
                return self._by_hand(*([upstream] if self.y.ndim else []), *given)
            options: Any = {"retain_graph": True, "allow_unused": True}
            found = grad(y, self.leaves, Tensor(upstream), **options) if y.requires_grad else [None] * len(x)
            return [np.zeros_like(a) if g is None else g._data for g, a in zip(found, x, strict=True)]

        return pull

    def _by_hand(self, *args: Array) -> list[Array]:
        """Return what the gradient that is written by hand gives, once it is called rightly and gives arrays."""
        name, names = name_of(self.gradient, "gradient"), ", ".join(self.names)
        if why_not_called(self.gradient, *args):
            taken = (
                f"(upstream, {names}), as f returns an array" if self.y.ndim else f"({names}), as f returns a number"
            )
            raise TypeError(f"{name} must take {taken}: {describe(self.y)}")
        found = self.gradient(*args)  # type: ignore[misc]
        gradients = [np.asarray(g) for g in (found if isinstance(found, (tuple, list)) else [found])]
        for g in gradients:
            if g.dtype.kind not in "fciub":
                raise TypeError(f"{name} returned {g!s:.40}; it must return an array for each of: {names}")
        if len(gradients) != len(self.x):
            raise ValueError(f"{name} returned {len(gradients)} gradients, not {len(self.x)}, for: {names}")
        return gradients

    def rounding(self) -> tuple[float, float]:
        """Return the rounding of the contracted result, and by how much it wobbles."""
        rounding = float(np.finfo(self.y.dtype).eps) * norm(self.upstream * self.y)
        return rounding, max(rounding, norm(self.upstream * self.wobble))

    def changed(self) -> list[str]:
        """Return the names of the inputs that the last call has changed in place."""
        return [n for n, a, b in zip(self.names, self.given, self.start, strict=True) if not same(a, b)]


class Gradient(NamedTuple):
    """The gradient of one input, with the rounding of each element, and that of what is added up to it."""

    values: Array
    rounding: Array
    terms: float


class Slope(NamedTuple):
    """A numeric derivative with its estimated error, and what the steps that it comes from have shown.

    ``reach`` is the steepest slope from x to a sample; ``smooth`` says whether the one-sided derivatives agree, which
    differ by ``gap``, ``joint`` whether the second derivative seems to jump, and ``kink`` holds the outermost slopes at
    a kink.
    """

    numeric: float
    estimate: float
    step: float
    reach: float = 0.0
    gap: float = 0.0
    smooth: bool = True
    joint: bool = False
    kink: tuple[float, float] | None = None


UNKNOWN = Slope(math.nan, math.inf, math.nan)


class Line:
    """The function along a line through its inputs: by one element of one input, or in a direction of several.

    ``moves`` gives the direction of each input that is moved: a number for the element ``at``, or an array.
    ``analytic`` is the derivative that is checked, ``error`` its rounding, and ``size`` that of its parts; one that is
    below the rounding of its ``terms`` ``vanishes``. ``precision`` is that of the function, relative to its result, as
    far as it has shown to be less than that of its dtype.
    """

    def __init__(self, s: Subject, gradients: list[Gradient], at: Index | None, moves: dict[int, Any]) -> None:
        self.s, self.at, self.moves, self.where = s, at, moves, ... if at is None else at
        self.name = " and ".join(s.names[i] for i in moves)
        self.unit = unit_of(*(s.start[i][self.where] for i in moves))
        self.x = max(norm(s.start[i][self.where] * d) / max(norm(d), 1e-300) for i, d in moves.items())
        sizes = np.concatenate([np.abs(np.atleast_1d(s.start[i][self.where])).ravel() for i in moves])
        self.least = float(np.min(sizes, initial=self.unit, where=sizes > 0))
        self.step, (self.rounding, self.wobble) = STEP * self.unit * s.jitter, s.rounding()
        self.noise, self.known = 0.0, dict[float, tuple[Array, bool]]()
        self.analytic, self.error, self.terms, self.size, self.precision = math.nan, 0.0, 0.0, 0.0, 0.0
        if all(gradients[i].values.shape == s.start[i].shape for i in moves):
            parts = [gradients[i].values[self.where] * d for i, d in moves.items()]
            self.analytic, self.size = sum(float(part.sum()) for part in parts), norm([norm(part) for part in parts])
            self.error = norm([norm(gradients[i].rounding[self.where] * d) for i, d in moves.items()])
            self.terms = norm([gradients[i].terms * norm(d) for i, d in moves.items()])
        self.vanishes = abs(self.analytic) <= 10 * self.terms

    def move(self, t: float) -> float:
        """Return by how much a step ``t`` changes the result: NaN where the function refuses what it leads to."""
        s, change = self.s, math.nan
        for i, d in self.moves.items():
            s.x[i][self.where] = s.start[i][self.where] + t * d
        with suppress(ValueError):
            change = s.change(s.x, s.y)
        for i in self.moves:
            s.x[i][self.where] = s.start[i][self.where]
        return change

    def samples(self, h: float) -> tuple[Array, bool]:
        """Return ``d[side, k]``, the changes by steps +-h / 2**k for k = 0, 1, 2, and whether all take one branch."""
        if h not in self.known:
            moved = [(self.move(step / 2**k), self.s.branches.taken) for step in (h, -h) for k in range(3)]
            changes, taken = zip(*moved, strict=True)
            self.known[h] = np.reshape(changes, (2, 3)), {*taken} == {self.s.base}
        return self.known[h]

    def listen(self, slope: Slope) -> None:
        """Measure the noise of the function, once: from the sixth differences of 9 values very near each other.

        So near that they differ by some 64 roundings, or, where stairs show then, by more than these; and 64 times as
        far. Noise that is much more than the rounding of the result says that the function is less precise than that.
        """
        if self.noise:
            return
        s, clear, heard = self.s, 0, list[float]()
        size = max(self.rounding / float(np.finfo(s.y.dtype).eps), slope.reach * slope.step)
        h, last = max(64 * EPS * size / max(slope.reach, 1e-300), 64 * EPS * self.x), self.unit / 64
        while clear < 2 and (not heard or h < 64 * last):
            h = min(h, last)
            d = np.array([self.move(k * h) if k else 0.0 for k in range(-4, 5)])
            heard.append(float(noise_of(d)))
            clear, h = clear + (len({*d.tolist()}) == d.size), 64 * h
        self.noise = max(s.branches.eps * size, *(heard[-clear:] if clear else [0.0]))
        self.precision = self.noise / size if self.noise > 100 * EPS * max(size, slope.reach * self.x) else 0.0

    def slope(self, h: float, noise: float = 0.0) -> Slope | None:
        """Return the derivative by steps up to ``h``, or None where the function is not defined that far.

        The noise of the function is taken to be at least the rounding of its result and of x. Only an unchanged result
        where zero is expected is exact.
        """
        d, same = self.samples(h)
        if not (same and np.isfinite(d).all()):
            return None
        rounding = (self.wobble if self.vanishes else self.rounding) if self.analytic or d.any() else 0.0
        changed = max(float(np.abs(d).max()), self.x * (abs(d[0, 1] - d[1, 1]) / h))
        return differences(d, h, max(noise, rounding, EPS * changed))

    def complex_slope(self, slope: Slope) -> Slope:
        """Return the derivative by the complex step, if the function takes it and the differences confirm it.

        It passes what agrees to three digits more than they have.
        """
        numeric, size = self.imaginary, abs(self.imaginary)
        if size * COMPLEX_STEP < 1e-290 or not abs(numeric - slope.numeric) <= 10 * slope.estimate + 1e-9 * size:
            return UNKNOWN
        return slope._replace(numeric=numeric, estimate=max(8 * EPS * size, 1e-3 * slope.estimate), step=COMPLEX_STEP)

    @cached_property
    def imaginary(self) -> float:
        """The derivative by the complex step, or NaN if the function does not take complex numbers."""
        s, x = self.s, [a.astype(complex) for a in self.s.start]
        for i, d in self.moves.items():
            x[i][self.where] += 1j * COMPLEX_STEP * d
        with suppress(Exception), warnings.catch_warnings(), settings(grad_enabled=False):
            warnings.simplefilter("error", ComplexWarning)
            return float((s.upstream * s.value(x).imag).sum() / COMPLEX_STEP)
        return math.nan


def differences(d: Array, h: float, noise: float) -> Slope:
    """Return the slopes that follow from `Line.samples`.

    Extrapolation of the central differences gives sixth order; by how much those of fourth order differ is the
    estimate of the error. An error of ``noise`` in each ``d`` becomes one of 4 noise / h.
    """
    steps = h / np.array([1, 2, 4])
    second = (d[0] - d[1]) / (2 * steps)
    fourth = (4 * second[1:] - second[:-1]) / 3
    sixth = (16 * fourth[1] - fourth[0]) / 15
    changes, first = np.diff(second), d * [[1], [-1]] / steps
    once = 2 * first[:, 1:] - first[:, :-1]
    sides, rounding = (4 * once[:, 1] - once[:, 0]) / 3, 4 * noise / h
    gap_error = np.abs(sides - once[:, 1]).max() + 4 * rounding
    gap, error = float(sides[0] - sides[1]), float(abs(fourth[1] - fourth[0]) + rounding)
    smooth = bool(abs(gap) <= 10 * gap_error)
    joint = bool(abs(changes[0] - 2 * changes[1]) < 0.1 * abs(changes[1]))
    return Slope(float(sixth), error, h, float(np.abs(first).max()), gap, smooth, joint)


def noise_of(values: Any) -> Array:
    """Return the noise in equidistant values of a function: what their sixth differences show is not smooth."""
    return np.asarray(np.abs(np.diff(values, 6, axis=0)).max(axis=0) / math.sqrt(924))


def norm(a: Any) -> float:
    """Return the root of the sum of squares, of numbers of any size."""
    largest = float(np.abs(a).max(initial=0.0))
    return largest * float(np.sqrt(np.square(np.asarray(a) / largest).sum())) if 0 < largest < np.inf else largest


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


def _argument_names(f: Callable[..., Any], inputs: Sequence[Any]) -> list[str]:
    """Return the names of the inputs, those of f's parameters if it has them."""
    if not callable(f):
        raise TypeError(f"gradcheck takes a function and its inputs: gradcheck(f, inputs), not {describe(f)} for f")
    names = parameter_names(f) or ["x"] * isinstance(f, np.ufunc)  # which do not tell in every version
    if why_not_called(f, *inputs):
        what = "a list is a list of inputs: pass np.array([...]) for one" if len(inputs) > 1 else "pass a list of all"
        raise TypeError(f"{name_of(f)}({', '.join(names)}) cannot be called with {len(inputs)} inputs; {what}")
    return names[: len(inputs)] if len(names) >= len(inputs) else [f"input {k}" for k in range(len(inputs))]
