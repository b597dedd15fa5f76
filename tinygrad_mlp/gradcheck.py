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
"""The first step, relative to max(1, |x|): the errors of truncation and of rounding balance near it."""
LEVELS = 15
"""How many steps are tried, each an eighth of the one before."""
FLOOR = 0.03
"""A derivative is judged on its own scale, or on this share of its input's largest one."""
TINY = 1e-7
"""A kink within this distance, relative to max(1, |x|), is where x stands."""
ALL, SAMPLE, DIRECTIONS = 256, 48, 2
"""All elements of an input are checked up to this size; else so many, and so many random directions."""
METHODS = {
    "auto": "central differences, complex step where they leave doubt",
    "central": "central differences",
    "complex": "complex step, central differences along random directions",
}
SEVERITY = ("pass", "unresolved", "fail")


class GradcheckError(AssertionError):
    """A gradient is wrong, or could not be told from a wrong one. Its text and ``report`` say where, and how it looks."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


class Element(NamedTuple):
    """One derivative that was checked: by an element of an input, or along a random direction (``index`` is None).

    ``estimate`` is the estimated error of ``numeric``, and ``scale`` what both it and the difference are compared to.
    Where x is on a kink, ``kink`` holds the one-sided slopes and ``numeric`` the slope between them that is nearest
    to ``analytic``.
    """

    input: str
    index: tuple[int, ...] | None
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
        """The difference of analytic and numeric derivative, relative to ``scale``."""
        return abs(self.analytic - self.numeric) / (self.scale or 1.0)


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
    """Compare the gradients of a function with numerical ones, and try the laws that every backward pass obeys.

    Args:
        f: the function. It is called with the inputs as Tensors of float64 and returns one Tensor of any shape, which
            is contracted with a fixed random upstream gradient unless it has one element.
        inputs: an array, a Tensor, a Module (its parameters are checked, under their names), or a list of these.
        gradient: a backward pass written by hand, to be checked without any Tensor: ``f`` and ``gradient`` get plain
            arrays. ``gradient(*inputs)`` returns one gradient for each input of a scalar ``f``; for an ``f`` that
            returns an array it is ``gradient(upstream, *inputs)``.
        method: "auto", differences judged by their own error and the complex step where they leave doubt; "central",
            differences alone; "complex", the complex step (errors of 1e-15), with differences along random directions
            as proof that ``f`` is analytic.
        rtol: the relative error that may pass; ten times as much is always noticed, or the verdict is unresolved.
        sample: how many elements of each larger input to check, besides random directions that involve all of them.
            By default every element of inputs up to 256, and 48 of larger ones.
        seed: of the random upstream gradient, sample and directions.
        order: 2 checks the second derivatives too: the gradient of the gradient, by the inputs and by the upstream.
        raise_on_fail: whether to raise unless everything passed.

    Returns:
        A `Report`: true if all passed, a table when printed. Inputs, parameters and their ``grad`` are as before.

    Raises:
        GradcheckError: a gradient is wrong or unresolved, or a law is broken: ``f`` is random, inputs are changed, a
            second backward pass differs, the gradient is not linear in the upstream, gradients share memory, or have
            another shape or dtype than their input.
        DtypeError: an input is not of a float dtype.
        TypeError: ``f`` does not return one Tensor.
        ValueError: an option is out of range, ``f`` is not finite at the inputs, or not analytic for "complex".

    A derivative passes where ``|analytic - numeric| <= rtol * scale + 10 * estimate`` and the right side is below
    ``10 * rtol * scale``: ``scale`` is the larger of the two derivatives, or 3 % of the largest one of its input.

    >>> import tinygrad_mlp as tg
    >>> from tinygrad_mlp.gradcheck import gradcheck
    >>> x = np.array([[0.1, -0.7], [1.2, 0.4]])
    >>> gradcheck(lambda x, w: np.tanh(x @ w), [x, np.eye(2)]).ok
    True
    >>> gradcheck(lambda x: np.sin(x).sum(), x, gradient=lambda x: -np.cos(x), raise_on_fail=False).problems
    ['x: every derivative is -1 times the numeric one: the sign is wrong']
    """
    _check_options(method, rtol, sample, order, gradient)
    begin, rng = time.perf_counter(), np.random.default_rng(seed)
    subject = _Subject(f, inputs, gradient)
    rows: list[Row] = []
    elements: list[Element] = []
    problems: list[str] = []
    try:
        with no_grad(), np.errstate(all="ignore"):
            for _ in range(order):
                gradients = _try_laws(subject, rng, problems)
                with _watching(subject):
                    for i, g in enumerate(gradients):
                        found = _check_input(subject, i, g, rng, method, rtol, sample)
                        elements += found
                        rows.append(_row(subject, i, found))
                        problems += _diagnose(subject, i, g, found)
                subject.differentiate()
    finally:
        subject.restore()
    seconds = time.perf_counter() - begin
    summary = f"{METHODS[method]}; {subject.evaluations} evaluations, {seconds:.2f} s, seed {seed}"
    rerun = _call(f, {"gradient": gradient, "method": method, "rtol": rtol, "sample": sample, "seed": seed, "order": order})
    report = Report(rows, elements, problems, subject.notes, summary, rerun)
    if raise_on_fail and not report:
        raise GradcheckError(report)
    return report


def _check_options(method: str, rtol: float, sample: int | None, order: int, gradient: Any) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; {nearest(method, METHODS)}")
    if not 1e-13 <= rtol <= 0.01:
        raise out_of_range("rtol", rtol, "between 1e-13 and 0.01")
    if sample is not None and sample < 1:
        raise out_of_range("sample", sample, "an integer >= 1, or None")
    if order not in (1, 2):
        raise out_of_range("order", order, "1 or 2")
    if order == 2 and (gradient is not None or method == "complex"):
        raise ValueError("order=2 differentiates a recorded gradient by differences; leave out gradient= and method=")


class _Subject:
    """The function that is checked, at the inputs where it is checked.

    ``start`` are the inputs, ``x`` the arrays that are moved away from them, and ``y`` is the result at ``start``.
    Whatever its shape, the result is contracted with ``upstream``, so that every derivative is one number.
    """

    y: Array
    upstream: Array

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
        self.buffers: list[tuple[Array, Array]] = []
        for name, a in zip(_argument_names(self.f, len(inputs)), inputs, strict=True):
            if hasattr(a, "named_parameters"):
                prefix = f"{name}." if len(inputs) > 1 else ""
                own = {prefix + k: p for k, p in a.named_parameters() if p.requires_grad}
                self.buffers += [(b._data, b._data.copy()) for _, b in a.named_buffers()]
            else:
                name = getattr(a, "name", None) or name
                a = Tensor(_floats(a, name), requires_grad=True, name=name)
                own = {name: a}
            self.args.append(a)
            self.leaves += own.values()
            self.names += own
        self.notes += [
            f"{name} is {leaf.dtype}, checked in float64"
            for name, leaf in zip(self.names, self.leaves, strict=True)
            if leaf.dtype != np.float64
        ]
        if not any(leaf.size for leaf in self.leaves):
            raise ValueError("gradcheck has nothing to check: no input has an element that requires grad")

    def restore(self) -> None:
        """Give modules their own parameters and buffers back."""
        for leaf, data in zip(self.leaves, self.kept, strict=True):
            leaf._data = data
        for buffer, data in self.buffers:
            buffer[...] = data

    def differentiate(self) -> None:
        """Turn to the next order: the function becomes its gradient, and its upstream gradient one more input."""
        self.order += 1
        self.args.append

    def value(self, x: Sequence[Array]) -> Array:
        """Return the result on arrays."""
        self.evaluations += 1
        self.branch = 0
        self.given = [a.copy(order="K") for a in x] if self.copies else x
        if self.gradient is not None:
            return np.asarray(self.f(*self.given))
        with _recording(self.order == 2):
            return self._result(create_graph=False)._data
