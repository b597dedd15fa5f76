"""A gradient checker that cannot be fooled: analytic gradients against numeric ones, each with its estimated error.

Three decisions make it sharp. The numeric derivative comes from central differences whose step is refined until their
own estimated error is small. A derivative passes only if it agrees *and* a relative error of ten times ``rtol`` would
have been noticed; where neither can be said it is *unresolved*, which is not ok. And no tolerance is absolute, so that
a gradient of zero is as wrong for results near 1e-12 as it is for results near 1.

Sources: Richardson's extrapolation and its error (Phil. Trans. R. Soc. A 226, 1927); the noise of a function from its
difference table (More and Wild, SIAM J. Sci. Comput. 33, 2011); the complex step (Squire and Trapp, SIAM Review 40,
1998). At a kink every slope between those on its sides is a gradient (Clarke, Optimization and Nonsmooth Analysis,
1983), and those are found at x and at random points nearby (Burke, Lewis and Overton, SIAM J. Optim. 15, 2005).
"""

from __future__ import annotations

import inspect
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.exceptions import ComplexWarning

from ..checks import as_numbers
from ..core.autograd import grad
from ..core.tensor import Tensor
from ..core.tracer import IDLE, Tracer, mode
from ..errors import DtypeError, describe, out_of_range
from ..rules.shapes import sum_to
from ..rules.table import Rule

Array = np.ndarray[Any, Any]

EPS = float(np.finfo(np.float64).eps)
STEP, LEVELS, COMPLEX_STEP = 2.0**-8, 22, 2.0**-100
"""The first step, relative to max(1, |x|): truncation and rounding balance near it. Each of the next is a quarter."""
FLOOR = 0.03
"""A derivative is judged on its own scale, or on this share of the largest one of its input."""
TINY, NEIGHBOURS = 1e-7, 16
"""A kink so near, relative to max(1, |x|), is where x stands; at how many points nearby its slopes are looked for."""
ALL, SAMPLE, DIRECTIONS = 100, 32, 2
"""All elements of an input are checked up to so many; of a larger one a sample, and so many random directions."""
SEVERITY = ("pass", "unresolved", "fail")
NUMBERS = {"x": ".6g", "analytic": ".9g", "numeric": ".9g", "rel. error": ".1e", "estimated": ".1e"}
"""The columns of the table that hold numbers, and their formats."""


class GradcheckError(AssertionError):
    """A gradient is wrong, or cannot be told from a wrong one: the text and ``report`` say where, and how it looks."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


class Element(NamedTuple):
    """One derivative that was checked: by the element ``at`` of an input, or along a random direction (None).

    ``estimate`` is the estimated error of ``numeric``, and ``scale`` what it and the difference are relative to. Where
    x is on a kink, ``kink`` holds the outermost slopes nearby, and ``numeric`` what is nearest to ``analytic`` between.
    """

    input: str
    shape: tuple[int, ...]
    at: tuple[int, ...] | None
    x: float
    analytic: float
    numeric: float
    estimate: float
    scale: float
    step: float
    kink: tuple[float, float] | None
    verdict: str

    @property
    def error(self) -> float:
        """The difference of the two derivatives, relative to ``scale``."""
        return abs(self.analytic - self.numeric) / (self.scale or 1.0)

    def columns(self) -> dict[str, Any]:
        """Return the element as a row of the table, by the names of its columns."""
        place = "direction" if self.at is None else list(self.at)
        kink = f", kink from {self.kink[0]:.6g} to {self.kink[1]:.6g}" if self.kink else ""
        numbers = self.x, self.analytic, self.numeric, self.error, self.estimate / (self.scale or 1.0)
        names = dict(zip(NUMBERS, numbers, strict=True))
        return {"input": self.input, "shape": self.shape, "element": place, **names, "verdict": self.verdict + kink}

    def badness(self) -> tuple[int, float]:
        """Return what to sort by: the verdict, then the relative error."""
        return SEVERITY.index(self.verdict), self.error if math.isfinite(self.error) else math.inf


@dataclass(repr=False)
class Report:
    """The outcome of a check: true if all is well; printed, a table and, if not, a diagnosis.

    Attributes:
        elements: every `Element` that was checked.
        problems: what is wrong apart from numbers, and what the pattern of wrong numbers suggests.
        notes: what is worth knowing without being wrong.
        summary: what was done, in a line: method, evaluations, seconds, seed.
        rerun: the call that repeats the check.
    """

    elements: list[Element]
    problems: list[str]
    notes: list[str]
    summary: str
    rerun: str

    @property
    def verdict(self) -> str:
        """The worst verdict of all: "pass", "unresolved" or "fail"."""
        return "fail" if self.problems else max((e.verdict for e in self.elements), key=SEVERITY.index)

    @property
    def ok(self) -> bool:
        """Whether every derivative passed and there is no problem."""
        return self.verdict == "pass"

    def __bool__(self) -> bool:
        return self.ok

    @property
    def rows(self) -> list[Element]:
        """The worst element of each input: the table."""
        groups = itertools.groupby(self.elements, key=lambda e: e.input)
        return [max(group, key=Element.badness) for _, group in groups]

    @property
    def worst(self) -> list[Element]:
        """The elements that did not pass, the worst first."""
        return sorted((e for e in self.elements if e.verdict != "pass"), key=Element.badness, reverse=True)

    def _texts(self) -> list[str]:
        problems = [f"problem: {text}" for text in self.problems]
        return [f"gradcheck: {self.verdict}; {self.summary}", *problems, *(f"note: {text}" for text in self.notes)]

    def __str__(self) -> str:
        bad = ["", "the worst:", *_aligned(self.worst[:5])] if self.worst else []
        rerun = [] if self.ok else ["", f"rerun: {self.rerun}"]
        return "\n".join([*self._texts(), "", *_aligned(self.rows), *bad, *rerun])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html

        texts = (f"<p>{html.escape(text)}</p>" for text in self._texts())
        return self.to_dataframe().to_html(index=False) + "".join(texts)

    def to_dataframe(self) -> Any:
        """Return the table as a pandas DataFrame: a row for each input, with numbers as numbers."""
        import pandas

        return pandas.DataFrame([e.columns() for e in self.rows])


def gradcheck(
    f: Callable[..., Any],
    inputs: Any,
    *,
    gradient: Callable[..., Any] | None = None,
    rtol: float = 1e-9,
    sample: int = SAMPLE,
    seed: int = 0,
    order: int = 1,
    raise_on_fail: bool = True,
) -> Report:
    """Compare the gradients of a function with numeric ones, and try the laws that every backward pass obeys.

    Args:
        f: the function. It is called with the inputs as Tensors of float64 and returns one Tensor of any shape, which
            is contracted with a fixed random upstream gradient unless it has a single element.
        inputs: an array, a Tensor, a Module (its parameters are checked, under their names), or a list of these.
        gradient: a backward pass written by hand, to be checked without any Tensor: ``f`` and ``gradient`` get plain
            arrays. ``gradient(*inputs)`` returns one gradient for each input of a scalar ``f``; for an ``f`` that
            returns an array it is ``gradient(upstream, *inputs)``.
        rtol: the relative error that may pass; ten times as much is noticed, or else the verdict is "unresolved".
            What differences cannot resolve is left to the complex step, if ``f`` computes with complex numbers and
            the differences confirm it as far as they reach: where all ops are analytic, 1e-12 can be asked for.
        sample: how many elements to check of an input with more than 100: random ones, and that of the largest
            gradient. Two random directions, which involve all elements, are checked besides.
        seed: of the random upstream gradient, elements and directions.
        order: 2 checks the second derivatives too: the gradient of the gradient, by the inputs and by the upstream.
        raise_on_fail: whether to raise unless everything passed.

    Returns:
        A `Report`: true if all passed, a table when printed. Inputs, parameters and their ``grad`` are as before.

    Raises:
        GradcheckError: a gradient is wrong or unresolved, or a law is broken: ``f`` is random, inputs are changed, a
            second backward pass differs, the gradient is not linear in the upstream, gradients share memory, or have
            another shape or dtype than their inputs.
        DtypeError: an input is not of a float dtype.
        TypeError: ``f`` does not return one Tensor.
        ValueError: an option is out of range, or ``f`` is not finite at the inputs.

    A derivative passes where ``|analytic - numeric| <= rtol * scale + 10 * estimate``, if the right side is below
    ``10 * rtol * scale``: ``scale`` is the larger of the two derivatives, or 3 % of the largest one of its input, or of
    the steepest slope from x to the points of the difference. On a kink, any slope between those nearby passes.

    >>> from tinygrad_mlp import nn
    >>> from tinygrad_mlp.tools.gradcheck import gradcheck
    >>> x = np.array([[0.1, -0.7], [1.2, 0.4]])
    >>> gradcheck(lambda x, w: np.tanh(x @ w), [x, np.eye(2)]).ok
    True
    >>> model = nn.Linear(2, 1, rng=0)
    >>> [(e.input, e.verdict) for e in gradcheck(lambda model: (model(x) ** 2).mean(), model, order=2).rows[:2]]
    [('weight', 'pass'), ('bias', 'pass')]
    >>> gradcheck(lambda x: np.sin(x).sum(), x, gradient=lambda x: -np.cos(x), raise_on_fail=False).problems
    ['x: every derivative is -1 times the numeric one: the sign is wrong']
    """
    _check_options(rtol, sample, order, gradient)
    begin, rng = time.perf_counter(), np.random.default_rng(seed)
    s = _Subject(f, inputs, gradient)
    elements: list[Element] = []
    problems: list[str] = []
    try:
        with np.errstate(all="ignore"), _mode(grad_enabled=True, tracer=IDLE):
            while True:
                gradients = _try_laws(s, rng, problems)
                with _mode(tracer=s.watcher()):
                    for i, g in enumerate(gradients):
                        found = _check_input(s, i, g, rng, rtol, sample)
                        problems += _diagnose(s, i, g, found)
                        elements += found
                if s.order == order or problems:
                    break
                s.differentiate()
    finally:
        s.restore()
    kinks, complex_steps = sum(e.kink is not None for e in elements), sum(e.step == COMPLEX_STEP for e in elements)
    counts = f"{len(elements) - complex_steps} derivatives by central differences, {complex_steps} by the complex step"
    effort = f"{s.evaluations} evaluations, {time.perf_counter() - begin:.2f} s, seed {seed}"
    options = {"gradient": gradient, "rtol": rtol, "sample": sample, "seed": seed, "order": order}
    report = Report(elements, problems, s.notes, f"{counts}, {kinks} on kinks; {effort}", _call(f, options))
    if raise_on_fail and not report:
        raise GradcheckError(report)
    return report


def _check_options(rtol: float, sample: int, order: int, gradient: Any) -> None:
    if not 1e-13 <= rtol <= 0.01:
        raise out_of_range("rtol", rtol, "between 1e-13 and 0.01")
    if not sample >= 1:
        raise out_of_range("sample", sample, "an integer >= 1")
    if order not in (1, 2) or (order == 2 and gradient is not None):
        raise out_of_range("order", order, "1 or 2, and 1 for a gradient written by hand")


@contextmanager
def _mode(**settings: Any) -> Iterator[None]:
    """Set what `graph.mode` says, for a while."""
    before = {name: getattr(mode, name) for name in settings}
    vars(mode).update(settings)
    try:
        yield
    finally:
        vars(mode).update(before)


class _Branches(Tracer):
    """The tracer that tells branches apart: ``taken`` is another number if an op has taken another branch."""

    taken = 0

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        if rule.branch is not None:
            branch = rule.branch(result._data, *(a._data if isinstance(a, Tensor) else a for a in inputs), **keywords)
        elif rule.kind == "constant":
            branch = result._data
        else:
            return
        self.taken = hash((self.taken, np.asarray(branch).tobytes()))


class _Subject:
    """The function that is checked, at the inputs where it is checked.

    ``start`` are the inputs, ``x`` the arrays that are moved away from them, and ``y`` is the result at ``start``.
    Whatever its shape, the result is contracted with ``upstream``, so that every derivative is one number.
    """

    y: Array
    upstream: Array
    jitter: float

    def __init__(self, f: Callable[..., Any], inputs: Any, gradient: Callable[..., Any] | None) -> None:
        self.f, self.gradient, self.order, self.recording = f, gradient, 1, False
        self.branches, self.base, self.evaluations = _Branches(), 0, 0
        self.args: list[Any] = []
        self.leaves: list[Any] = []
        self.names: list[str] = []
        self.buffers: list[tuple[Array, Array]] = []
        several = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
        for name, a in zip(_argument_names(f, len(several)), several, strict=True):
            self._open(name, a, f"{name}." if len(several) > 1 else "")
        self.kept = [leaf._data for leaf in self.leaves]
        self.start = [np.array(a, np.float64, order="K") for a in self.kept]
        self.x = [a.copy(order="K") for a in self.start]
        lifted = [f"{n} ({a.dtype})" for n, a in zip(self.names, self.kept, strict=True) if a.dtype != np.float64]
        self.notes = [f"checked in float64: {', '.join(lifted)}"] if lifted else []
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
        for arrays in (self.kept, self.start, self.x):
            arrays.append(self.upstream.copy())

    def value(self, x: Sequence[Array]) -> Array:
        """Return the result on arrays, and start to count branches anew."""
        self.evaluations, self.branches.taken = self.evaluations + 1, 0
        return self._call(x)._data if self.gradient is None else np.asarray(self.f(*self._hand_over(x)))

    def _hand_over(self, x: Sequence[Array]) -> Sequence[Array]:
        """Return what is handed to a function: copies to one of plain arrays, where writing into them is common."""
        self.given = x if self.gradient is None else [a.copy(order="K") for a in x]
        return self.given

    def _call(self, x: Sequence[Array]) -> Any:
        for leaf, data in zip(self.leaves, self._hand_over(x), strict=True):
            leaf._data = data
        y = self.f(*self.args)
        if not isinstance(y, Tensor):
            what = describe(y) if hasattr(y, "dtype") else f"a {type(y).__name__}"
            raise TypeError(f"{_name(self.f)} returned {what}; it must return one Tensor (or pass gradient=...)")
        return y

    def record(self) -> Callable[[Array], list[Array]]:
        """Return the backward pass: from the upstream gradient to the gradient of each input."""
        self.recording = True
        y: Any = self._call(self.x) if self.gradient is None else None
        self.recording = False

        def pull(upstream: Array) -> list[Array]:
            if self.gradient is not None:
                found = self.gradient(*([upstream] if self.y.ndim else []), *self._hand_over(self.x))
                gradients = [np.asarray(g) for g in (found if isinstance(found, (tuple, list)) else [found])]
                if len(gradients) != len(self.x):
                    raise ValueError(
                        f"{_name(self.gradient, 'gradient')} returned {len(gradients)} gradients, not {len(self.x)}"
                    )
                return gradients
            if not y.requires_grad:
                return [np.zeros_like(a) for a in self.x]
            found = grad(y, self.leaves, Tensor(upstream), retain_graph=True, allow_unused=True)
            return [np.zeros_like(a) if g is None else g._data for g, a in zip(found, self.x, strict=True)]

        return pull

    def rounding_of(self, where: Any) -> float:
        """Return the rounding of a part of the contracted result."""
        return EPS * float(np.sqrt(np.square((self.upstream * self.y)[where]).sum()))

    def changed(self) -> list[str]:
        """Return the names of the inputs that the last call has changed in place."""
        return [n for n, a, b in zip(self.names, self.given, self.start, strict=True) if not _same(a, b)]

    def watcher(self) -> Tracer:
        """Return the tracer that tells branches apart, an idle one if the function has none."""
        with _mode(tracer=self.branches):
            self.value(self.x)
        self.base = self.branches.taken
        return self.branches if self.base else IDLE


def _try_laws(s: _Subject, rng: np.random.Generator, problems: list[str]) -> list[Array]:
    """Return the gradients, or none if nothing can be compared with them; add what is wrong with how they behave."""
    name, backward = _name(s.f), _name(s.gradient, "gradient") if s.gradient else "the backward pass"

    def law(text: str, breakers: list[str]) -> bool:
        problems.extend([f"{text}: {', '.join(breakers)}"] if breakers else [])
        return bool(breakers)

    s.y = s.value(s.x).copy()
    if s.y.dtype.kind != "f" or not np.isfinite(s.y).all():
        raise ValueError(f"{name} gives {describe(s.y)}, not finite floats: it has no derivative at these inputs")
    if law(f"{name} changes its inputs in place; let it compute on copies", s.changed()) and not s.gradient:
        return []
    if not _same(s.value(s.x), s.y):
        problems.append(f"{name} is random: two calls with equal inputs differ; fix the seed inside it")
        return []
    signs, sizes = rng.choice([-1.0, 1.0], (2, *s.y.shape)), rng.uniform(0.5, 1.5, (2, *s.y.shape))
    s.upstream, other = (np.ones(s.y.shape), sizes[1]) if s.y.size == 1 else signs * sizes
    s.jitter = int(rng.integers(1024, 2048)) / 1536

    pull, u = s.record(), s.upstream.copy()
    gradients = pull(u)
    changed = s.changed() + ["upstream gradient"] * (not _same(u, s.upstream))
    if law(f"{backward} changes its inputs in place; let it compute on copies", changed) and not s.gradient:
        return []
    named = list(zip(s.names, gradients, strict=True))
    law("the gradient is not float64, as its input is", [n for n, g in named if g.dtype != np.float64])
    if s.gradient is None:
        others = [*named, ("the upstream gradient", u), *zip(s.names, s.x, strict=True)]
        pairs = [(a, b) for k, a in enumerate(named, 1) for b in others[k:]]
        law("the gradient shares memory", [f"{n} with {m}" for (n, g), (m, h) in pairs if np.shares_memory(g, h)])

    def differ(upstream: Array, expected: list[Array], room: float = 0.0) -> list[str]:
        pairs = zip(s.names, pull(upstream), expected, strict=True)
        return [n for n, a, b in pairs if not (_same(a, b) or (a.shape == b.shape and np.abs(a - b).max() <= room))]

    first, u = [g.copy() for g in gradients], s.upstream
    law("a second backward pass gives another gradient", differ(u.copy(), first))
    if (s.gradient is None or s.y.ndim) and all(np.isfinite(g).all() for g in first):
        law("a zero upstream gradient does not give a zero gradient", differ(0 * u, [0 * g for g in first]))
        both = [g + h for g, h in zip(first, pull(other.copy()), strict=True)]
        room = 1e-9 * max(np.abs(g).max(initial=0.0) for g in both) + 1e6 * s.rounding_of(...)
        curved = differ(-2 * u, [-2 * g for g in first]) or differ(u + other, both, room)
        law("the gradient is not linear in the upstream gradient", curved)
    return first


class _Slope(NamedTuple):
    """A numeric derivative with its estimated error, and what the steps that it comes from have shown.

    ``reach`` is the steepest slope from x to a sample, ``gap`` the difference of the one-sided derivatives, with its
    error, and ``kink`` the outermost slopes at one.
    """

    numeric: float
    estimate: float
    step: float
    reach: float = 0.0
    gap: float = 0.0
    gap_error: float = 0.0
    kink: tuple[float, float] | None = None


UNKNOWN = _Slope(math.nan, math.inf, math.nan)


class _Line:
    """The function along a line through its inputs: by one element of input ``i``, or in a direction of all of them."""

    def __init__(self, s: _Subject, i: int, at: tuple[int, ...] | None, direction: Any, gradient: Array) -> None:
        self.s, self.i, self.at, self.direction, self.where = s, i, at, direction, ... if at is None else at
        self.x = float(np.sqrt(np.mean(np.square(s.start[i][self.where]))))
        self.unit = max(1.0, self.x)
        self.step, self.rounding = STEP * self.unit * s.jitter, s.rounding_of(...)
        fits = gradient.shape == s.start[i].shape
        self.analytic = float((gradient[self.where] * direction).sum()) if fits else math.nan

    def move(self, t: float) -> float:
        """Return by how much a step ``t`` changes the result; the difference comes before the contraction."""
        s, x, start = self.s, self.s.x[self.i], self.s.start[self.i]
        x[self.where] = start[self.where] + t * self.direction
        try:
            y = s.value(s.x)
            if y.shape != s.y.shape:
                return math.nan
            return float((s.upstream * (y - s.y)).sum())
        finally:
            x[self.where] = start[self.where]

    def samples(self, h: float) -> tuple[Array, bool]:
        """Return ``d[side, k]``, the changes by steps +-h / 2**k for k = 0, 1, 2, and whether all take one branch."""
        d, same = np.empty((2, 3)), True
        for side, step in enumerate((h, -h)):
            for k in range(3):
                d[side, k] = self.move(step / 2**k)
                same &= self.s.branches.taken == self.s.base
        return d, same

    def narrow(self) -> None:
        """Count only the rounding of results that the line reaches: those that NaN in place of x turns into NaN."""
        x = [a.copy(order="K") for a in self.s.start]
        x[self.i][self.where] = math.nan
        with suppress(Exception):
            reached = np.isnan(self.s.value(x))
            if reached.any():
                self.rounding = self.s.rounding_of(reached)

    def noise(self, h: float) -> float:
        """Return the noise of the function, from the sixth differences of its values at 9 points h apart."""
        d = np.array([self.move(k * h) if k else 0.0 for k in range(-4, 5)])
        return float(np.sqrt(np.mean(np.diff(d, 6) ** 2) / 924))

    def slope(self, h: float, judge: _Judge | None = None) -> _Slope | None:
        """Return the derivative by steps up to ``h``, or None where the function is not smooth that far.

        The noise of the function is taken to be the rounding of its result and of x; where a judge does not let the
        derivative pass with that, it is measured. Only an unchanged result where zero is expected is exact.
        """
        d, same = self.samples(h)
        if not (same and np.isfinite(d).all()):
            return None
        rounding = self.rounding if self.analytic or d.any() else 0.0
        noise = max(rounding, EPS * float(np.abs(d).max()), EPS * self.x * abs(d[0, 1] - d[1, 1]) / h)
        slope = _differences(d, h, noise)
        if abs(slope.gap) > 10 * slope.gap_error:
            return None
        if judge is None or judge.verdict(self.analytic, slope) == "pass":
            return slope
        measured = self.noise(h / 32)
        rough = not measured <= 1e-9 * max(self.rounding / EPS, np.abs(d).max())
        return None if rough else _differences(d, h, max(noise, measured))

    def complex_slope(self, slope: _Slope) -> _Slope:
        """Return the derivative by the complex step, if the function takes it and the differences confirm it.

        It passes what agrees to three digits more than they have.
        """
        s, x = self.s, [a.astype(complex) for a in self.s.start]
        x[self.i][self.where] += 1j * COMPLEX_STEP * self.direction
        try:
            with warnings.catch_warnings(), _mode(grad_enabled=False):
                warnings.simplefilter("error", ComplexWarning)
                y = s.value(x)
        except Exception:
            return UNKNOWN
        near = y.shape == s.y.shape and np.allclose(y.real, s.y, rtol=1e-9, atol=1e-9 * np.abs(s.y).max(initial=0.0))
        numeric = float((s.upstream * y.imag).sum() / COMPLEX_STEP) if near else math.nan
        underflows = abs(numeric) * COMPLEX_STEP < 1e-290
        if underflows or not abs(numeric - slope.numeric) <= 10 * slope.estimate + 1e-9 * abs(numeric):
            return UNKNOWN
        return _Slope(numeric, max(8 * EPS * abs(numeric), 1e-3 * slope.estimate), COMPLEX_STEP)


def _differences(d: Array, h: float, noise: float) -> _Slope:
    """Return the slopes that follow from `_Line.samples`.

    Extrapolation of the central differences gives sixth order; by how much those of fourth order differ is the
    estimate of the error. An error of ``noise`` in each ``d`` becomes one of 4 noise / h.
    """
    steps = h / np.array([1, 2, 4])
    second = (d[0] - d[1]) / (2 * steps)
    fourth = (4 * second[1:] - second[:-1]) / 3
    sixth = (16 * fourth[1] - fourth[0]) / 15
    first = d * [[1], [-1]] / steps
    once = 2 * first[:, 1:] - first[:, :-1]
    right, left = (4 * once[:, 1] - once[:, 0]) / 3
    rounding = 4 * noise / h
    gap_error = max(abs(right - once[0, 1]), abs(left - once[1, 1])) + 4 * rounding
    error, reach = abs(fourth[1] - fourth[0]) + rounding, np.abs(first).max()
    return _Slope(float(sixth), float(error), h, float(reach), float(right - left), float(gap_error))


class _Judge(NamedTuple):
    """How derivatives are judged: within which tolerance, and on which scale."""

    rtol: float
    largest: float

    def scale(self, analytic: float, slope: _Slope) -> float:
        reach = slope.reach if slope.estimate <= 1e-3 * slope.reach else 0.0
        return max(abs(slope.numeric), abs(analytic), FLOOR * self.largest, FLOOR * reach)

    def verdict(self, analytic: float, slope: _Slope) -> str:
        scale = self.scale(analytic, slope)
        room = scale * (1e-3 if slope.kink else self.rtol)
        if not abs(analytic - slope.numeric) <= room + 10 * slope.estimate:
            return "fail" if math.isfinite(slope.estimate) else "unresolved"
        return "pass" if 10 * slope.estimate <= 8 * room else "unresolved"


def _settle(line: _Line, first: _Slope | None, judge: _Judge) -> tuple[_Slope, str]:
    """Return the best derivative that can be had and its verdict, where the first step has not made it pass.

    Where a step of an eighth of x moves the result by no more than its rounding, the derivative is zero.
    """
    if first is None and _on_kink(line):
        return _bracket(line, judge)
    line.narrow()
    far = line.unit / 8
    if np.abs(line.samples(far)[0]).max() <= 100 * line.rounding:
        flat = _Slope(0.0, 100 * line.rounding / far, far, reach=line.rounding / EPS / far)
        return flat, "pass" if abs(line.analytic) <= 10 * flat.estimate else "fail"
    return _refine(line, judge, -2 if first else 1)


def _refine(line: _Line, judge: _Judge, start: int) -> tuple[_Slope, str]:
    """Return the derivative by the step whose estimated error is least, or by the complex step, and its verdict.

    Steps are ``4**-level`` times the first. Those at which the function is not smooth do not count, nor does one with
    which the next smaller one disagrees; so without the complex step, only three that agree fail a derivative.
    """
    best, agreed = UNKNOWN, 0
    for level in range(start, LEVELS):
        slope = line.slope(line.step / 4.0**level, judge)
        if slope is None:
            continue
        agreed = agreed + 1 if abs(slope.numeric - best.numeric) <= 10 * (slope.estimate + best.estimate) else 0
        best = min(best, slope, key=lambda s: s.estimate) if agreed else slope
        verdict = judge.verdict(line.analytic, best)
        if verdict == "pass" or (verdict == "fail" and agreed == 2):
            return best, verdict
        if best is slope:
            opinion = line.complex_slope(best)
            heard = judge.verdict(line.analytic, opinion)
            if heard == "pass" or (heard == "fail" and abs(line.analytic - opinion.numeric) > best.estimate):
                return opinion, heard
        elif verdict == "unresolved":
            break
    return best, "unresolved"


def _on_kink(line: _Line) -> bool:
    """Return whether a tiny step changes the branch, or tiny steps of two sizes show the same break of the slope."""
    if not line.samples(TINY * line.unit)[1]:
        return True
    slopes = [_differences(line.samples(h)[0], h, line.rounding) for h in (1e-9 * line.unit, 1e-10 * line.unit)]
    clear = all(abs(slope.gap) > 10 * slope.gap_error for slope in slopes)
    return clear and math.isclose(slopes[0].gap, slopes[1].gap, rel_tol=0.2)


def _bracket(line: _Line, judge: _Judge) -> tuple[_Slope, str]:
    """Return what is nearest to the analytic slope between the slopes at x and at points nearby, and the verdict."""
    s, h, rng = line.s, TINY / 100 * line.unit, np.random.default_rng(0)
    slopes = [line.move(h) / h, -line.move(-h) / h]
    for _ in range(NEIGHBOURS):
        x = [np.asarray(a + TINY * line.unit * rng.uniform(-1, 1, a.shape)) for a in s.start]
        y = s.value(x).copy()
        x[line.i][line.where] += h * line.direction
        slopes.append(float((s.upstream * (s.value(x) - y)).sum()) / h)
    low, high, reach = min(slopes), max(slopes), float(np.abs(line.samples(line.step)[0]).max()) / line.step
    slope = _Slope(min(max(line.analytic, low), high), 1e-6 * (high - low), h, reach, kink=(low, high))
    return slope, judge.verdict(line.analytic, slope)


def _check_input(
    s: _Subject, i: int, gradient: Array, rng: np.random.Generator, rtol: float, sample: int
) -> list[Element]:
    """Check the derivatives by one input: the first step for all of them, then for each whatever it takes."""
    lines = _choose_lines(s, i, gradient, rng, sample)
    first = [line.slope(line.step) for line in lines]
    sharp = [abs(slope.numeric) for slope in first if slope and slope.estimate <= 1e-3 * abs(slope.numeric)]
    judge = _Judge(rtol, max(sharp, default=0.0))
    elements = []
    for line, slope in zip(lines, first, strict=True):
        verdict = judge.verdict(line.analytic, slope or UNKNOWN)
        if verdict != "pass" and math.isfinite(line.analytic):
            slope, verdict = _settle(line, slope, judge)
        elements.append(_element(line, slope or UNKNOWN, verdict, judge))
    if sum(e.kink is not None for e in elements) > 1:  # what each may take at a tie, not all may
        lines.append(_Line(s, i, None, np.ones(gradient.shape), gradient))
        elements.append(_element(lines[-1], *_settle(lines[-1], lines[-1].slope(lines[-1].step), judge), judge))
    failed = [line for line, e in zip(lines, elements, strict=True) if e.verdict == "fail"]
    if failed and all(line.at is None for line in failed):
        culprit = _find_culprit(failed[0], gradient, judge)
        elements.append(_element(culprit, *_settle(culprit, None, judge), judge))
    return elements


def _choose_lines(s: _Subject, i: int, gradient: Array, rng: np.random.Generator, sample: int) -> list[_Line]:
    """Return all elements of an input, or that of the largest gradient, random ones and random directions."""
    x, picks, directions = s.start[i], np.arange(s.start[i].size), []
    if x.size > max(sample, ALL):
        largest = int(np.argmax(np.abs(gradient))) if gradient.shape == x.shape else 0
        picks = np.unique([largest, *rng.choice(x.size, sample, replace=False)])
        # Of unequal sizes, so that two elements that are exchanged do not cancel.
        signs, sizes = rng.choice([-1.0, 1.0], (DIRECTIONS, *x.shape)), rng.uniform(0.5, 1.5, (DIRECTIONS, *x.shape))
        directions = [_Line(s, i, None, direction, gradient) for direction in signs * sizes]
        s.notes.append(f"{s.names[i]}: {len(picks)} of {x.size} elements, and {DIRECTIONS} random directions")
    places = np.stack(np.unravel_index(picks, x.shape), axis=-1) if x.ndim else np.zeros((1, 0), int)
    return [_Line(s, i, tuple(at.tolist()), 1.0, gradient) for at in places] + directions


def _find_culprit(line: _Line, gradient: Array, judge: _Judge) -> _Line:
    """Return a wrong element of a failing direction: halve it, and again the half that differs by more."""
    part = np.arange(gradient.size)
    while part.size > 1:
        halves, differences = np.array_split(part, 2), []
        for half in halves:
            direction = np.zeros(gradient.shape)
            direction.reshape(-1)[half] = line.direction.reshape(-1)[half]
            piece = _Line(line.s, line.i, None, direction, gradient)
            differences.append(abs(piece.analytic - _settle(piece, None, judge)[0].numeric))
        part = halves[int(np.argmax(differences))]
    at = tuple(int(k) for k in np.unravel_index(int(part[0]), gradient.shape))
    return _Line(line.s, line.i, at, 1.0, gradient)


def _element(line: _Line, slope: _Slope, verdict: str, judge: _Judge) -> Element:
    start = line.s.start[line.i]
    x = float(start[line.at]) if line.at is not None else math.nan
    numbers = line.analytic, slope.numeric, slope.estimate, judge.scale(line.analytic, slope), slope.step
    return Element(line.s.names[line.i], start.shape, line.at, x, *numbers, slope.kink, verdict)


def _diagnose(s: _Subject, i: int, gradient: Array, elements: list[Element]) -> list[str]:
    """Return what the pattern of the wrong derivatives of one input suggests, if any are wrong."""
    if not any(e.verdict == "fail" for e in elements):
        return []
    points = [e for e in elements if e.at is not None]
    x, at = s.start[i], tuple(np.array([e.at for e in points]).T)
    numeric, wrong = np.array([e.numeric for e in points]), np.array([e.verdict == "fail" for e in points])
    size = np.abs(numeric).max(initial=0.0)

    def agrees(a: Array, rtol: float = 1e-6) -> bool:
        return a.shape == x.shape and bool(np.all(np.abs(a[at] - numeric) <= rtol * size))

    if gradient.shape != x.shape:
        with suppress(ValueError):
            if agrees(sum_to(gradient, x.shape)):
                added = gradient.ndim - x.ndim
                axes = [k for k, n in enumerate(gradient.shape) if k < added or n != x.shape[k - added]]
                return [f"{s.names[i]}: it was broadcast, and its gradient is not summed over axis {str(axes)[1:-1]}"]
        hint = ": it is transposed" if agrees(gradient.T) else ""
        return [f"{s.names[i]} has shape {x.shape}, its gradient {gradient.shape}{hint}"]
    analytic, large = np.atleast_1d(gradient[at]), np.abs(numeric) > FLOOR * size
    ratios = analytic[large] / numeric[large]
    ratio = float(np.median(ratios)) if large.any() else math.nan
    constant = wrong[large].any() and np.all(np.abs(ratios - ratio) <= 0.01 * abs(ratio - 1))
    share = f"{wrong.sum()} of {len(points)} derivatives are wrong"
    patterns = [
        (not np.isfinite(gradient).all(), "the gradient is not finite"),
        (not gradient.any(), "the gradient is zero: the result is not connected to this input"),
        (np.array_equal(analytic == 0, numeric != 0), f"{share}: a mask is the wrong way round"),
        (constant, f"every derivative is {ratio:.9g} times the numeric one: {_meaning(ratio, s)}"),
        (agrees(gradient.T), "the gradient is transposed"),
        (not numeric[wrong].any(), f"{share}, where the function does not change: a mask is missing, or another one"),
        (not analytic[wrong].any(), f"{share}, they are zero: elements are cut off, or repeated ones not added up"),
        (agrees(gradient, 1e-5), f"{share}, by a little: something is rounded, to float32 perhaps"),
        (True, share),
    ]
    return [f"{s.names[i]}: {next(text for seen, text in patterns if seen)}"]


def _meaning(ratio: float, s: _Subject) -> str:
    """Return what a constant factor usually means."""
    size, sign = abs(ratio), "the sign is wrong, and " if ratio < 0 else ""
    for n in sorted({n for a in (*s.start, s.y) for n in (*a.shape, a.size) if n > 1}):
        if math.isclose(size, n, rel_tol=1e-6):
            return f"{sign}the 1/N of a mean over {n} may be missing"
        if math.isclose(size * n, 1, rel_tol=1e-6):
            return f"{sign}it may be a mean over {n} where a sum belongs"
    return "the sign is wrong" if math.isclose(ratio, -1, rel_tol=1e-6) else f"{sign}a factor is wrong"


def _argument_names(f: Callable[..., Any], count: int) -> list[str]:
    names: list[str] = []
    with suppress(TypeError, ValueError):
        names = list(inspect.signature(f).parameters)[:count]
    return names if len(names) == count else [f"input {k}" for k in range(count)]


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _name(f: Any, default: str = "f") -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return default if name == "<lambda>" else name


def _call(f: Any, options: dict[str, Any]) -> str:
    """Return the call that repeats a check, with the options that are not the defaults."""
    defaults = inspect.signature(gradcheck).parameters
    given = [f"{k}={_name(v, k) if callable(v) else v}" for k, v in options.items() if v != defaults[k].default]
    return f"gradcheck({', '.join([_name(f), 'inputs', *given])})"


def _aligned(elements: Sequence[Element]) -> list[str]:
    """Return a table of elements as lines, texts to the left and numbers to the right."""
    rows = [["input", "shape", "element", *NUMBERS, "verdict"]]
    rows += [[format(v, NUMBERS[k]) if k in NUMBERS else str(v) for k, v in e.columns().items()] for e in elements]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    signs = [">" if name in NUMBERS else "<" for name in rows[0]]
    return ["  ".join(map("{:{}{}}".format, row, signs, widths)).rstrip() for row in rows]
