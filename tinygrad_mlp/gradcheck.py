"""A gradient checker that cannot be fooled: analytic gradients against numeric ones, each with its estimated error.

Three decisions make it sharp. The numeric derivative comes from central differences whose step is refined until their
own estimated error is small. A derivative passes only if it agrees *and* a relative error of ten times ``rtol`` would
have been noticed; where neither can be said it is *unresolved*, which is not ok. And no tolerance is absolute, so that
a gradient of zero is as wrong for results near 1e-12 as it is for results near 1.

Sources: Richardson's extrapolation and its error (Phil. Trans. R. Soc. A 226, 1927); the noise of a function from its
difference table (More and Wild, SIAM J. Sci. Comput. 33, 2011); the complex step (Squire and Trapp, SIAM Review 40,
1998); at a kink, every slope between the one-sided ones is a gradient (Clarke, Optimization and Nonsmooth Analysis,
1983).
"""

from __future__ import annotations

import html
import inspect
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.exceptions import ComplexWarning

from .autograd import grad, no_grad
from .errors import DtypeError, describe, nearest, out_of_range
from .graph import Value, mode
from .rules.elementwise import leaky_relu, relu
from .rules.shapes import spread, sum_to
from .rules.table import find
from .tensor import Tensor

if TYPE_CHECKING:
    import pandas

Array = np.ndarray[Any, Any]

EPS = float(np.finfo(np.float64).eps)
STEP, LEVELS = 2.0**-7, 15
"""The first step, relative to max(1, |x|), near which truncation and rounding balance; and how many are tried."""
FLOOR = 0.03
"""A derivative is judged on its own scale, or on this share of its input's largest one."""
TINY = 1e-7
"""A kink within this distance, relative to max(1, |x|), is where x stands."""
SAMPLE, DIRECTIONS = 64, 2
"""All elements of an input are checked if there are no more; else so many, and so many random directions."""
SEVERITY = ("pass", "unresolved", "fail")
METHODS = {
    "auto": "by central differences, and the complex step where they leave doubt",
    "central": "by central differences",
    "complex": "by the complex step, with central differences along random directions",
}
FORMATS = {"x": ".6g", "analytic": ".9g", "numeric": ".9g", "rel. error": ".1e", "estimated": ".1e"}


class GradcheckError(AssertionError):
    """A gradient is wrong, or cannot be told from a wrong one: the text and ``report`` say where, and how it looks."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


class Element(NamedTuple):
    """One derivative that was checked: by the element ``at`` of an input, or along a random direction (None).

    ``estimate`` is the estimated error of ``numeric``, and ``scale`` what it and the difference are relative to. Where
    x is on a kink, ``kink`` holds the one-sided slopes, and ``numeric`` what is nearest to ``analytic`` between them.
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

    def columns(self) -> dict[str, Any]:
        """Return the element as a row of the table, by the names of its columns."""
        return {
            "input": self.input,
            "shape": self.shape,
            "element": "direction" if self.at is None else list(self.at),
            "x": self.x,
            "analytic": self.analytic,
            "numeric": self.numeric,
            "rel. error": abs(self.analytic - self.numeric) / (self.scale or 1.0),
            "estimated": self.estimate / (self.scale or 1.0),
            "verdict": self.verdict,
        }

    def badness(self) -> tuple[int, float]:
        """Return what to sort by: the verdict, then the relative error."""
        error = self.columns()["rel. error"]
        return SEVERITY.index(self.verdict), error if math.isfinite(error) else math.inf


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

    def __str__(self) -> str:
        lines = [*_aligned(self.rows), "", *self._texts()]
        if self.worst:
            lines += ["", "the worst:", *_aligned(self.worst[:5])]
        return "\n".join(lines if self.ok else [*lines, "", f"rerun: {self.rerun}"])

    __repr__ = __str__

    def _texts(self) -> list[str]:
        texts = [("gradcheck", f"{self.verdict}, {self.summary}")]
        texts += [("note", text) for text in self.notes] + [("problem", text) for text in self.problems]
        return [f"{kind}: {text}" for kind, text in texts]

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(cell) for cell in row] for row in _cells(self.rows)]
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body)
        heads = "".join(f"<th>{cell}</th>" for cell in head)
        texts = "".join(f"<p>{html.escape(text)}</p>" for text in self._texts())
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{texts}"

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the table as a DataFrame: a row for each input, with numbers as numbers."""
        import pandas

        return pandas.DataFrame([e.columns() for e in self.rows])


def gradcheck(
    f: Callable[..., Any],
    inputs: Any,
    *,
    gradient: Callable[..., Any] | None = None,
    method: str = "auto",
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
        method: "auto": differences judge, with the complex step where they leave doubt. "central": differences alone.
            "complex": the complex step, exact to 1e-15, with differences along random directions as proof that ``f``
            is analytic.
        rtol: the relative error that may pass; ten times as much is noticed, or else the verdict is "unresolved".
        sample: how many elements of each input to check; in a larger input they are random ones and that of the
            largest gradient, and directions that involve all elements are checked besides.
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
        ValueError: an option is out of range, ``f`` is not finite at the inputs, or not analytic for "complex".

    A derivative passes where ``|analytic - numeric| <= rtol * scale + 10 * estimate``, if the right side is below
    ``10 * rtol * scale``: ``scale`` is the larger of the two derivatives, or 3 % of the largest one of its input.

    >>> from tinygrad_mlp.gradcheck import gradcheck
    >>> x = np.array([[0.1, -0.7], [1.2, 0.4]])
    >>> gradcheck(lambda x, w: np.tanh(x @ w), [x, np.eye(2)]).ok
    True
    >>> gradcheck(lambda x: np.sin(x).sum(), x, gradient=lambda x: -np.cos(x), raise_on_fail=False).problems
    ['x: every derivative is -1 times the numeric one: the sign is wrong']
    """
    _check_options(method, rtol, sample, order, gradient)
    begin, rng = time.perf_counter(), np.random.default_rng(seed)
    s = _Subject(f, inputs, gradient)
    elements: list[Element] = []
    problems: list[str] = []
    try:
        with no_grad(), np.errstate(all="ignore"):
            for _ in range(order):
                gradients = _try_laws(s, rng, problems)
                with _watching(s):
                    for i, g in enumerate(gradients):
                        found = _check_input(s, i, g, rng, method, rtol, sample)
                        problems += _diagnose(s, i, g, found)
                        elements += found
                s.differentiate()
    finally:
        s.restore()
    effort = f"{s.evaluations} evaluations, {time.perf_counter() - begin:.2f} s, seed {seed}"
    options = {"gradient": gradient, "method": method, "rtol": rtol, "sample": sample, "seed": seed, "order": order}
    summary = f"{len(elements)} derivatives {METHODS[method]}; {effort}"
    report = Report(elements, problems, s.notes + _kinks(elements), summary, _call(f, options))
    if raise_on_fail and not report:
        raise GradcheckError(report)
    return report


def _check_options(method: str, rtol: float, sample: int, order: int, gradient: Any) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; {nearest(method, METHODS)}")
    if not 1e-13 <= rtol <= 0.01:
        raise out_of_range("rtol", rtol, "between 1e-13 and 0.01")
    if not sample >= 1:
        raise out_of_range("sample", sample, "an integer >= 1")
    if order not in (1, 2):
        raise out_of_range("order", order, "1 or 2")
    if order == 2 and (gradient is not None or method == "complex"):
        raise ValueError("order=2 takes differences of recorded gradients; leave out gradient= and method='complex'")


class _Subject:
    """The function that is checked, at the inputs where it is checked.

    ``start`` are the inputs, ``x`` the arrays that are moved away from them, and ``y`` is the result at ``start``.
    Whatever its shape, the result is contracted with ``upstream``, so that every derivative is one number.
    """

    y: Array
    upstream: Array
    jitter: float

    def __init__(self, f: Callable[..., Any], inputs: Any, gradient: Callable[..., Any] | None) -> None:
        self.f, self.gradient, self.copies = f, gradient, gradient is not None
        self.evaluations = self.branch = self.base = 0
        self.notes: list[str] = []
        self.args: list[Any] = []
        self.leaves: dict[str, Any] = {}
        self.buffers: list[tuple[Array, Array]] = []
        several = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
        for name, a in zip(_argument_names(f, len(several)), several, strict=True):
            self._open(name, a, f"{name}." if len(several) > 1 else "")
        self.kept = [leaf._data for leaf in self.leaves.values()]
        self.start = [np.array(a, np.float64, order="K") for a in self.kept]
        self.x = [a.copy(order="K") for a in self.start]
        if lifted := [f"{n} ({t.dtype})" for n, t in self.leaves.items() if t.dtype != np.float64]:
            self.notes.append(f"checked in float64: {', '.join(lifted)}")
        if not any(a.size for a in self.x):
            raise ValueError("gradcheck has nothing to check: no input has an element that requires grad")

    def _open(self, name: str, a: Any, prefix: str) -> None:
        """Add an input: a new leaf for an array or a Tensor, and for a module its parameters."""
        if hasattr(a, "named_parameters"):
            self.args.append(a)
            self.leaves |= {prefix + n: p for n, p in a.named_parameters() if p.requires_grad}
            self.buffers += [(b._data, b._data.copy()) for _, b in a.named_buffers()]
            return
        name, data = getattr(a, "name", None) or name, a._data if isinstance(a, Value) else np.asarray(a)
        if data.dtype.kind != "f":
            raise DtypeError(f"{name} is {describe(data)}, which has no gradient; pass float64, or let f close over it")
        self.args.append(Tensor(data, requires_grad=True, name=name))
        self.leaves[name] = self.args[-1]

    def restore(self) -> None:
        """Give modules their own parameters and buffers back."""
        for leaf, data in zip(self.leaves.values(), self.kept, strict=True):
            leaf._data = data
        for buffer, data in self.buffers:
            buffer[...] = data

    def differentiate(self) -> None:
        """Turn to the next order: the function becomes its own gradient, and the upstream gradient one more input."""
        f, inputs = self.f, list(self.leaves.values())
        upstream = Tensor(self.upstream, requires_grad=True)

        def gradient(*args: Any) -> Any:
            create_graph = mode.grad_enabled
            with _recording():
                y = f(*args)
                found = grad(y, inputs, upstream, None, create_graph, allow_unused=True) if y.requires_grad else ()
                return np.concatenate([Tensor(np.zeros(0)), *(np.ravel(g) for g in found if g is not None)])

        self.f = gradient
        self.leaves = {f"{name}, order 2": leaf for name, leaf in (*self.leaves.items(), ("upstream", upstream))}
        for arrays in (self.kept, self.start, self.x):
            arrays.append(self.upstream.copy())

    def value(self, x: Sequence[Array]) -> Array:
        """Return the result on arrays; ``branch`` tells which branches the observed ops took."""
        self.evaluations += 1
        self.branch = 0
        return self._call(x)._data if self.gradient is None else np.asarray(self.f(*self._hand_over(x)))

    def _hand_over(self, x: Sequence[Array]) -> Sequence[Array]:
        self.given = [a.copy(order="K") for a in x] if self.copies else x
        return self.given

    def _call(self, x: Sequence[Array]) -> Any:
        for leaf, data in zip(self.leaves.values(), self._hand_over(x), strict=True):
            leaf._data = data
        y = self.f(*self.args)
        if not isinstance(y, Value):
            raise TypeError(f"{_name(self.f)} returned {describe(y)}; it must return one Tensor (or pass gradient=...)")
        return y

    def record(self) -> Callable[[Array], list[Array]]:
        """Return the backward pass: from the upstream gradient to the gradient of each input."""
        by_hand = self.gradient
        if by_hand is not None:

            def pull(upstream: Array) -> list[Array]:
                found = by_hand(*([upstream] if self.y.ndim else []), *self._hand_over(self.x))
                found = found if isinstance(found, (tuple, list)) else [found]
                if len(found) != len(self.x):
                    raise ValueError(f"{_name(by_hand)} returned {len(found)} gradients for {len(self.x)} inputs")
                return [np.asarray(g) for g in found]

            return pull
        with _recording():
            y = self._call(self.x)

        def backward(upstream: Array) -> list[Array]:
            leaves = list(self.leaves.values())
            found = grad(y, leaves, Tensor(upstream), True, allow_unused=True) if y.requires_grad else [None] * len(leaves)
            return [np.zeros_like(a) if g is None else g._data for g, a in zip(found, self.x, strict=True)]

        return backward

    def changed(self) -> list[str]:
        """Return the names of the inputs whose data the last call has changed; after that, give it copies."""
        names = [n for n, a, b in zip(self.leaves, self.given, self.start, strict=True) if not _same(a, b)]
        if names:
            self.copies, self.x = True, [a.copy(order="K") for a in self.start]
        return names

    def observe(self, function: Any, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        """Take down which branch an op has taken: the observer of every evaluation."""
        signature = BRANCHES.get(function)
        if signature is not None:
            taken = signature(result._data, *(a._data if isinstance(a, Value) else a for a in inputs), **keywords)
        elif find(function).kind == "constant":
            taken = result._data
        else:
            return
        self.branch = hash((self.branch, np.asarray(taken).tobytes()))


@contextmanager
def _recording() -> Iterator[None]:
    before, mode.grad_enabled = mode.grad_enabled, True
    try:
        yield
    finally:
        mode.grad_enabled = before


@contextmanager
def _watching(s: _Subject) -> Iterator[None]:
    """Let the subject observe its ops, if any of them branches."""
    before, mode.observer = mode.observer, s.observe
    try:
        s.value(s.x)
        s.base = s.branch
        if not s.base:
            mode.observer = None
        yield
    finally:
        mode.observer = before


def _try_laws(s: _Subject, rng: np.random.Generator, problems: list[str]) -> list[Array]:
    """Return the gradients, or none if the function is random; add what is wrong with how they behave."""
    name, backward = _name(s.f), _name(s.gradient) if s.gradient else "the backward pass"

    def named(text: str, names: Sequence[str]) -> None:
        if names:
            problems.append(text.format(", ".join(names)))

    s.y = s.value(s.x).copy()
    if s.y.dtype.kind != "f" or not np.isfinite(s.y).all():
        raise ValueError(f"{name} returned {describe(s.y)}, not finite floats, at these inputs; it has no derivative there")
    named(f"{name} changes {{}} in place; let it compute on a copy", s.changed())
    if not _same(s.value(s.x), s.y):
        problems.append(f"{name} is random: two calls with equal inputs differ; fix the seed inside it")
        return []
    signs, sizes = rng.choice([-1.0, 1.0], (2, *s.y.shape)), rng.uniform(0.5, 1.5, (2, *s.y.shape))
    s.upstream, other = (np.ones(s.y.shape), sizes[1]) if s.y.size == 1 else signs * sizes
    s.jitter = int(rng.integers(1024, 2048)) / 1536

    pull, u = s.record(), s.upstream.copy()
    gradients = pull(u)
    if s.gradient is None:
        owners = [*zip(s.leaves, gradients, strict=True), ("the upstream", u), *zip(s.leaves, s.x, strict=True)]
        pairs = [(a, b) for k, a in enumerate(owners[: len(gradients)]) for b in owners[k + 1 :]]
        named("the gradient shares memory: {}", [f"{n} with {m}" for (n, g), (m, h) in pairs if np.shares_memory(g, h)])
    else:
        named(f"{backward} changes {{}} in place; let it compute on a copy", s.changed())
    named(f"{backward} changes {{}} in place", [] if _same(u, s.upstream) else ["the upstream gradient"])
    named("the gradient is not float64, as the input is: {}", [n for n, g in zip(s.leaves, gradients, strict=True) if g.dtype != np.float64])

    def differ(upstream: Array, expected: list[Array], room: float = 0.0) -> list[str]:
        pairs = zip(s.leaves, pull(upstream), expected, strict=True)
        return [n for n, a, b in pairs if not (_same(a, b) or (a.shape == b.shape and np.abs(a - b).max() <= room))]

    first, u = [g.copy() for g in gradients], s.upstream
    named("a second backward pass gives another gradient: {}", differ(u.copy(), first))
    if s.gradient is None or s.y.ndim:
        named("a zero upstream gradient does not give a zero gradient: {}", differ(0 * u, [0 * g for g in first]))
        both = [g + h for g, h in zip(first, pull(other.copy()), strict=True)]
        room = 1e-9 * max(np.abs(g).max(initial=0.0) for g in both)
        curved = differ(-2 * u, [-2 * g for g in first]) or differ(u + other, both, room)
        named("the gradient is not linear in the upstream gradient: {}", curved)
    return first
