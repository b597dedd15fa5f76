"""A gradient checker that cannot be fooled: analytic gradients against numerical ones, each with its estimated error.

Three decisions make it sharp. The numerical derivative comes from central differences whose step is refined until
their own estimated error is small. A derivative passes only if it agrees *and* a relative error of ten times ``rtol``
would have been noticed; where neither can be said it is *unresolved*, which is not ok. And no tolerance is absolute,
so that a gradient of zero is as wrong for results near 1e-12 as it is for results near 1.

Sources: Richardson's extrapolation and its error (Phil. Trans. R. Soc. A 226, 1927); the noise of a function from its
difference table (More and Wild, SIAM J. Sci. Comput. 33, 2011); the complex step (Squire and Trapp, SIAM Review 40,
1998); at a kink, every slope between the one-sided ones is a gradient (Clarke, Optimization and Nonsmooth Analysis,
1983).
"""

from __future__ import annotations

import html
import inspect
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.exceptions import ComplexWarning

from .autograd import grad
from .errors import DtypeError, describe, nearest, out_of_range
from .graph import Value, mode, no_grad
from .rules.elementwise import leaky_relu, relu
from .rules.reductions import spread
from .rules.shapes import sum_to
from .rules.table import find
from .tensor import Tensor

if TYPE_CHECKING:
    import pandas

Array = np.ndarray[Any, Any]

EPS = float(np.finfo(np.float64).eps)
STEP = 2.0**-7
"""The first step, relative to max(1, |x|): truncation and rounding of the extrapolated differences balance near it."""
FLOOR = 1e-2
"""A derivative is judged on its own scale or on this share of its input's largest one."""
TINY = 1e-7
"""A kink within this distance, relative to max(1, |x|), is where x stands."""
ALL, SAMPLE, DIRECTIONS = 256, 48, 2
"""All elements of an input are checked up to this size; else so many, and so many random directions."""
SEVERITY = ("pass", "unresolved", "fail")


class GradcheckError(AssertionError):
    """A gradient is wrong, or could not be told from a wrong one. Its text and ``report`` say where, and how it looks."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


class Element(NamedTuple):
    """One derivative that was checked: by an element of an input, or along a random direction (``index`` is None).

    ``estimate`` is the estimated error of ``numeric``. Where x is on a kink, ``kink`` holds the one-sided slopes and
    ``numeric`` is the slope between them that is nearest to ``analytic``.
    """

    input: str
    index: tuple[int, ...] | None
    x: float
    analytic: float
    numeric: float
    estimate: float
    step: float
    kink: tuple[float, float] | None
    verdict: str

    @property
    def error(self) -> float:
        """The relative error, |analytic - numeric| / max(|analytic|, |numeric|)."""
        return _ratio(abs(self.analytic - self.numeric), self)


class Row(NamedTuple):
    """One input in the table: how much of it was checked, the worst of that, and the verdict."""

    input: str
    shape: tuple[int, ...]
    checked: str
    worst: Element | None
    verdict: str


class Report:
    """The outcome of a check: true if all is well; printed, a table and, if not, a diagnosis.

    Attributes:
        ok: whether every input passed and no problem was found.
        verdict: the worst of all: "pass", "unresolved" or "fail".
        rows: one `Row` for each input.
        elements: every `Element` that was checked, the worst first.
        problems: what is wrong apart from numbers, and what the pattern of wrong numbers suggests.
        notes: what is worth knowing without being wrong.
        summary: what was done, in a line: method, evaluations, seconds, seed.
        rerun: the call that repeats the check.
    """

    def __init__(
        self, rows: list[Row], elements: list[Element], problems: list[str], notes: list[str], summary: str, rerun: str
    ) -> None:
        self.rows, self.problems, self.notes, self.summary, self.rerun = rows, problems, notes, summary, rerun
        self.elements = sorted(elements, key=_badness, reverse=True)
        self.verdict = "fail" if problems else max((row.verdict for row in rows), key=SEVERITY.index)
        self.ok = self.verdict == "pass"

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        lines = [f"gradcheck: {self.verdict}", "", *_aligned(self._table()), "", *self._texts()]
        bad = [e for e in self.elements if e.verdict != "pass"][:5]
        if bad:
            head = ["worst", "index", "x", "analytic", "numeric", "difference", "rel. error", "estimated", "step"]
            lines += ["", *_aligned([head, *map(_detail, bad)])]
        return "\n".join(lines if self.ok else [*lines, "", f"rerun: {self.rerun}"])

    __repr__ = __str__

    def _table(self) -> list[list[str]]:
        head = ["input", "shape", "checked", "worst", "analytic", "numeric", "rel. error", "estimated", "verdict"]
        return [head, *map(_cells, self.rows)]

    def _texts(self) -> list[str]:
        return [self.summary, *(f"note: {text}" for text in self.notes), *(f"problem: {text}" for text in self.problems)]

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(cell) for cell in row] for row in self._table()]
        cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body)
        table = f"<table><thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead><tbody>{cells}</tbody></table>"
        return table + "".join(f"<p>{html.escape(text)}</p>" for text in (f"gradcheck: {self.verdict}", *self._texts()))

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the table as a DataFrame with a row for each input, its numbers as numbers."""
        import pandas

        names = ["input", "shape", "checked", "worst", "analytic", "numeric", "error", "estimate", "verdict"]
        return pandas.DataFrame([_record(row) for row in self.rows], columns=names)


def gradcheck(
    f: Callable[..., Any],
    inputs: Any,
    *,
    gradient: Callable[..., Any] | None = None,
    method: str = "auto",
    rtol: float = 1e-9,
    sample: int | None = None,
    seed: int = 0,
    order: int = 1,
    raise_on_fail: bool = True,
) -> Report:
    """DOC"""
    _check_options(method, rtol, sample, order, gradient)
    start, rng = time.perf_counter(), np.random.default_rng(seed)
    subject = _Subject(f, inputs, gradient)
    rows: list[Row] = []
    elements: list[Element] = []
    problems: list[str] = []
    try:
        with no_grad(), np.errstate(all="ignore"):
            for subject.order in range(1, order + 1):
                gradients = _contract(subject, rng, problems)
                with _watched(subject):
                    for i, g in enumerate(gradients):
                        found = _check_input(subject, i, g, rng, method, rtol, sample)
                        elements += found
                        rows.append(_row(subject, i, found))
                        problems += _diagnose(subject, i, g, found)
    finally:
        subject.restore()
    seconds = time.perf_counter() - start
    summary = f"{METHODS[method]}, {subject.evaluations} evaluations, {seconds:.2f} s, seed {seed}"
    options = {"gradient": gradient, "method": method, "rtol": rtol, "sample": sample, "seed": seed, "order": order}
    report = Report(rows, elements, problems, subject.notes, summary, _call(f, options))
    if raise_on_fail and not report:
        raise GradcheckError(report)
    return report


def _check_options(method: str, rtol: float, sample: int | None, order: int, gradient: Any) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; {nearest(method, METHODS)}")
    if not EPS < rtol < 0.1:
        raise out_of_range("rtol", rtol, f"between {EPS:.1e} and 0.1")
    if sample is not None and sample < 1:
        raise out_of_range("sample", sample, "an integer >= 1, or None")
    if order not in (1, 2):
        raise out_of_range("order", order, "1 or 2")
    if order == 2 and gradient is not None:
        raise ValueError("order=2 differentiates a recorded gradient; a gradient written by hand has order=1 only")


class _Subject:
    """The function that is checked, at the inputs where it is checked.

    ``start`` are the inputs, ``x`` the arrays that are moved away from them, and ``y`` is the result at ``start``.
    Whatever its shape, the result is contracted with ``upstream``, so that every derivative is one number.
    """

    def __init__(self, f: Callable[..., Any], inputs: Any, gradient: Callable[..., Any] | None) -> None:
        self.f, self.gradient, self.order = f, gradient, 1
        self.evaluations = self.branch = self.base = 0
        self.notes: list[str] = []
        self._open(list(inputs) if isinstance(inputs, (tuple, list)) else [inputs])
        self.kept = [leaf._data for leaf in self.leaves]
        self.start = [np.array(a, np.float64, order="K") for a in self.kept]
        self.x = [a.copy(order="K") for a in self.start]
        self.copies = gradient is not None

    def _open(self, inputs: list[Any]) -> None:
        """Find the leaves: a new one for each array or Tensor, and the parameters of each module."""
        self.args: list[Any] = []
        self.leaves: list[Any] = []
        self.names: list[str] = []
        self.buffers: list[tuple[Any, Array]] = []
        for name, a in zip(_argument_names(self.f, len(inputs)), inputs, strict=True):
            if hasattr(a, "named_parameters"):
                own = {k: p for k, p in a.named_parameters() if p.requires_grad}
                self.buffers += [(b, b._data.copy()) for _, b in a.named_buffers()]
                prefix = f"{name}." if len(inputs) > 1 else ""
            else:
                own, prefix = {a.name or name if isinstance(a, Value) else name: Tensor(_as_float(a, name), True)}, ""
                a = next(iter(own.values()))
            self.args.append(a)
            self.leaves += own.values()
            self.names += (prefix + k for k in own)
        for k, leaf in zip(self.names, self.leaves, strict=True):
            if leaf.dtype != np.float64:
                self.notes.append(f"{k} is {leaf.dtype}, checked in float64")
        if not any(leaf.size for leaf in self.leaves):
            raise ValueError("gradcheck has nothing to check: no input has an element that requires grad")

    def restore(self) -> None:
        """Give a module its own parameters and buffers back."""
        for leaf, data in zip(self.leaves, self.kept, strict=False):
            leaf._data = data
        for buffer, data in self.buffers:
            buffer._data[...] = data

    def value(self, x: Sequence[Array]) -> Array:
        """Return the result on arrays."""
        self.evaluations += 1
        self.branch = 0
        self.given = [a.copy(order="K") for a in x] if self.copies else x
        if self.gradient is not None:
            return np.asarray(self.f(*self.given))
        with _recording(self.order == 2):
            return self._result(create_graph=False)._data

    def _result(self, create_graph: bool) -> Any:
        """Return the function's result on Tensors: for the second order, its gradients, joined."""
        for leaf, data in zip(self.leaves, self.given, strict=True):
            leaf._data = data
        y = self.f(*self.args)
        if not isinstance(y, Value):
            raise TypeError(f"{_name(self.f)} returned {describe(y)}; it must return one Tensor, or pass gradient=...")
        if self.order == 1:
            return y
        *inputs, upstream = self.leaves
        gradients = grad(y, inputs, upstream, create_graph=create_graph, allow_unused=True)
        return np.concatenate([np.ravel(g) for g in gradients if g is not None])

    def record(self) -> Callable[[Array], list[Array]]:
        """Return the function from an upstream gradient to the gradients of all inputs."""
        if self.gradient is not None:
            return self._pull_by_hand
        self.given = [a.copy(order="K") for a in self.start]
        with _recording(True):
            y = self._result(create_graph=True)
        if not y._requires_grad:
            return lambda upstream: [np.zeros_like(a) for a in self.start]

        def pull(upstream: Array) -> list[Array]:
            gradients = grad(y, self.leaves, Tensor(upstream), retain_graph=True, allow_unused=True)
            return [np.zeros_like(a) if g is None else g._data for g, a in zip(gradients, self.start, strict=True)]

        return pull

    def _pull_by_hand(self, upstream: Array) -> list[Array]:
        self.given = [a.copy(order="K") for a in self.start]
        found = self.gradient(*([upstream] if self.y.ndim else []), *self.given)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(found) != len(self.start):
            raise ValueError(f"{_name(self.gradient)} returned {len(found)} gradients for {len(self.start)} inputs")
        return [np.asarray(g) for g in found]

    def observe(self, function: Any, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        """Add to ``branch`` which branch an op has taken: the observer of every evaluation."""
        signature = BRANCHES.get(function)
        if signature is not None:
            taken = signature(result._data, *(a._data if isinstance(a, Value) else a for a in inputs), **keywords)
        elif find(function).kind == "constant":
            taken = result._data
        else:
            return
        self.branch = hash((self.branch, np.asarray(taken).tobytes()))


def _argument_names(f, n):
    try:
        names = list(inspect.signature(f).parameters)[:n]
    except (TypeError, ValueError):
        names = []
    return names if len(names) == n else [f"input {k}" for k in range(n)]


def _as_float(a, name):
    array = a._data if isinstance(a, Value) else np.asarray(a)
    if array.dtype.kind != "f":
        raise DtypeError(f"{name} is {describe(array)}; only floats have gradients: pass it as float64, or let f close over it")
    return array


@contextmanager
def _recording(on):
    before, mode.grad_enabled = mode.grad_enabled, on
    try:
        yield
    finally:
        mode.grad_enabled = before


@contextmanager
def _watched(subject):
    before, mode.observer = mode.observer, subject.observe
    try:
        subject.value(subject.x)
        subject.base = subject.branch
        if not subject.base:
            mode.observer = None
        yield
    finally:
        mode.observer = before


def _contract(subject, rng, problems):
    s = subject
    s.y = s.value(s.x).copy()
    s.upstream = np.ones(s.y.shape) if s.y.size == 1 else rng.uniform(0.5, 1.5, s.y.shape) * rng.choice([-1, 1], s.y.shape)
    s.weight = (s.upstream * s.y) ** 2
    s.jitter = (1024 + int(rng.integers(1024))) / 1024 / 1.5
    return s.record()(s.upstream)

class _Slope(NamedTuple):
    """A numerical derivative with its estimated error, and the one-sided ones with theirs."""

    numeric: float
    estimate: float
    step: float
    right: float = math.nan
    left: float = math.nan
    side: float = math.inf
    kink: bool = False
    how: str = "central"

    def scale(self, *others):
        return max(abs(self.numeric), *map(abs, others))


NOTHING = _Slope(math.nan, math.inf, 0.0)


class _Line:
    """The function along a line through its inputs: by one element of input ``i``, or by all in a random direction."""

    def __init__(self, subject: _Subject, i: int, where: Any, direction: Any, analytic: float) -> None:
        self.subject, self.i, self.where, self.direction, self.analytic = subject, i, where, direction, analytic
        self.x = float(np.sqrt(np.mean(np.square(subject.start[i][where]))))
        self.scale = max(1.0, self.x)

    def move(self, t: float) -> float:
        """Return by how much a step ``t`` changes the contracted result, output by output before they are summed."""
        s = self.subject
        x, start = s.x[self.i], s.start[self.i]
        x[self.where] = start[self.where] + t * self.direction
        try:
            change = s.value(s.x) - s.y
        finally:
            x[self.where] = start[self.where]
        self.moved = self.moved | (change != 0)
        return float((s.upstream * change).sum())

    def complex_slope(self) -> float | None:
        s = self.subject
        if s.order == 2:
            return None
        x = [a.astype(complex) for a in s.start]
        h = 2.0**-100
        x[self.i][self.where] += 1j * h * self.direction
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ComplexWarning)
                y = s.value(x)
        except Exception as e:
            return None
        if y.shape != s.y.shape or y.dtype.kind != "c" or not np.abs(y.real - s.y).max(initial=0) <= 1e-9 * np.abs(s.y).max(initial=0):
            return None
        return float((s.upstream * y.imag).sum() / h)

    def samples(self, h: float) -> tuple[Array, list[set]]:
        s = self.subject
        d, branches = np.empty((2, 3)), (set(), set())
        self.moved = np.zeros(s.y.shape, bool)
        for side in range(2):
            for k in range(3):
                d[side, k] = self.move((h, -h)[side] / 2**k)
                branches[side].add(s.branch)
        seen = self.moved if self.moved.any() else ...
        self.rounding = 0.0 if seen is ... and self.analytic == 0 else EPS * math.sqrt(s.weight[seen].sum())
        return d, branches

    def noise(self, h: float) -> float:
        """Return the noise of the function from the sixth differences of its values at 9 points, h apart."""
        d = np.array([self.move(k * h) if k else 0.0 for k in range(-4, 5)])
        return float(np.sqrt(np.mean(np.diff(d, 6) ** 2) / 924))

    def slope(self, h: float, measured: bool = False) -> _Slope | None:
        """Return the derivative by steps up to ``h``, or None where the function is not smooth that far."""
        d, branches = self.samples(h)
        if not np.isfinite(d).all() or branches[0] | branches[1] != {self.subject.base}:
            return None
        noise = max(self.rounding, EPS * self.x * abs(d[0, 1] - d[1, 1]) / h)
        if measured:
            noise = max(noise, self.noise(h / 32))
        s = _differences(d, h, noise)
        return None if abs(s.right - s.left) > 10 * s.side else s


def _differences(d: Array, h: float, noise: float) -> _Slope:
    """Return the slope from ``d[side, k]``, how far the function moves by the steps +-h / 2**k, k = 0, 1, 2.

    Extrapolation of the central differences gives sixth order; its estimated error is that of fourth order. An error
    of ``noise`` in each ``d`` becomes one of 4 noise / h.
    """
    steps = h / np.array([1, 2, 4])
    second = (d[0] - d[1]) / (2 * steps)
    fourth = (4 * second[1:] - second[:-1]) / 3
    sixth = (16 * fourth[1] - fourth[0]) / 15
    first = d * [[1], [-1]] / steps
    once = 2 * first[:, 1:] - first[:, :-1]
    right, left = (4 * once[:, 1] - once[:, 0]) / 3
    rounding = 4 * noise / h
    side = max(abs(right - once[0, 1]), abs(left - once[1, 1])) + 4 * rounding
    return _Slope(sixth, abs(sixth - fourth[1]) + rounding, h, right, left, side)


def _check_input(subject, i, g, rng, method, rtol, sample):
    x = subject.start[i]
    lines = [_Line(subject, i, where, 1.0, float(g[where])) for where in np.ndindex(x.shape)]
    first = [line.slope(STEP * line.scale * subject.jitter) for line in lines]
    largest = max((abs(s.numeric) - 10 * s.estimate for s in first if s), default=0.0)
    def judge(a, s, tight=True):
        scale = max(abs(a), abs(s.numeric), FLOOR * largest)
        tolerance = rtol * scale + 10 * s.estimate
        if not abs(a - s.numeric) <= tolerance:
            return "fail" if s.estimate <= 1e-3 * max(abs(s.numeric), FLOOR * largest) else "unresolved"
        return "pass" if tolerance <= (9 * rtol if tight else 1e-5) * scale else "unresolved"
    out = []
    for line, s in zip(lines, first):
        v = judge(line.analytic, s) if s else None
        if v != "pass":
            s, v = _settle(line, s, judge, method, largest)
        largest = max(largest, abs(s.numeric) - 10 * s.estimate)
        out.append((line, s, v, s.how, s.kink))
    subject.out = getattr(subject, "out", []) + out
    return []

def _settle(line, first, judge, method, largest):
    a = line.analytic
    if first is None and _on_kink(line):
        return _bracket(line, judge)
    if first is not None and method == "auto":
        c = _opinion(line, first)
        if c: return c, judge(a, c)
    best, confirmed, verdict = NOTHING, False, "unresolved"
    h = STEP * line.scale * line.subject.jitter * 8
    for _ in range(15):
        s = line.slope(h, True)
        h /= 8
        if s is None or s.estimate > 1e-3 * max(abs(s.numeric), FLOOR * largest):
            continue
        if abs(s.numeric - best.numeric) <= 10 * (s.estimate + best.estimate):
            confirmed, best = True, min(s, best, key=lambda s: s.estimate)
        else:
            confirmed, best = False, s
        verdict = judge(a, best)
        if verdict == "pass" or (confirmed and (verdict == "fail" or s is not best)):
            break
    if verdict == "fail" and not confirmed: verdict = "unresolved"
    if verdict == "unresolved":
        c = _opinion(line, best) if method == "auto" else None
        if c: return c, judge(a, c)
        if abs(best.numeric) == 0 or True:
            z = _flat(line)
            if z: return z, "pass" if abs(a) <= z.estimate else "fail"
    return best, verdict


def _flat(line):
    d, _ = line.samples(line.scale)
    bound = 10 * max(4 * line.rounding, line.noise(line.scale/32))
    if np.abs(d).max() <= bound:
        return _Slope(0.0, bound / line.scale, line.scale, how="flat")

def _opinion(line, s):
    scale = s.scale(line.analytic)
    if not s.estimate <= 1e-3 * abs(s.numeric):
        return None
    c = line.complex_slope()
    if c is None or abs(c - s.numeric) > 10 * s.estimate + 1e-9 * scale: return None
    return s._replace(numeric=c, estimate=8 * EPS * abs(c), how="complex")


def _on_kink(line):
    d, b = line.samples(TINY * line.scale)
    if b[0] | b[1] != {line.subject.base}: return True
    d, b = line.samples(1e-3 * TINY * line.scale)
    s = _differences(d, 1e-3*TINY*line.scale, line.rounding)
    return abs(s.right - s.left) > 10 * s.side

def _bracket(line, judge):
    best = NOTHING
    h = STEP * line.scale
    for _ in range(8):
        d, branches = line.samples(h)
        s = _differences(d, h, line.rounding)
        if len(branches[0]) == len(branches[1]) == 1 and s.side < best.side:
            best = s
        h /= 8
    n = min(max(line.analytic, min(best.left, best.right)), max(best.left, best.right))
    best = best._replace(numeric=n, estimate=best.side, how="kink")
    return best, judge(line.analytic, best, False)


def _taken(out: Any, x: Any, *_: Any, **__: Any) -> Any:
    return out == x


def _reached(out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return x == spread(out, x.shape, axis)


BRANCHES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((relu, leaky_relu, np.absolute, np.fabs, np.maximum, np.minimum, np.fmax, np.fmin, np.clip), _taken),
    **dict.fromkeys((np.max, np.amax, np.min, np.amin), _reached),
    np.where: lambda out, condition, x, y: condition != 0,
}
METHODS = {"auto": "central differences, complex step where they leave doubt", "central": "central differences", "complex": "complex step"}
