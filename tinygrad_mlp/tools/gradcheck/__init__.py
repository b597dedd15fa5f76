"""A gradient checker that cannot be fooled: analytic gradients against numeric ones, each with its estimated error.

Three decisions make it sharp. The numeric derivative comes from central differences whose step is refined until their
own estimated error is small. A derivative passes only if it agrees *and* a relative error of ten times ``rtol`` would
have been noticed; where neither can be said it is *unresolved*, which is not ok. And no tolerance is absolute, so that
a gradient of zero is as wrong for results near 1e-12 as it is for results near 1.

How a check goes, and where to read on:

1. ``differences.Subject`` makes one number of a function of many inputs; ``laws.try_laws`` tries what every backward
   pass obeys, and measures how much of the gradient is rounding.
2. ``judging.check_input`` takes each element, or a sample and random directions, as a ``differences.Line``. Most pass
   by the first step: ``differences.differences`` makes a slope and its error of seven values.
3. ``judging.settle`` tries others for what does not: other steps, the noise of the function, the complex step. Where x
   is on a kink, ``judging._bracket`` looks for the slopes nearby. ``Judge.verdict`` alone says pass or fail.
4. ``check_ties`` and ``check_nearby`` look at what is right for each element alone, or at these inputs alone.
5. ``diagnosis.diagnose`` says what the pattern of wrong derivatives suggests, ``report`` shows it all.

Sources: Richardson's extrapolation and its error (Phil. Trans. R. Soc. A 226, 1927); the noise of a function from its
difference table (More and Wild, SIAM J. Sci. Comput. 33, 2011); the complex step (Squire and Trapp, SIAM Review 40,
1998). At a kink every slope between those on its sides is a gradient (Clarke, Optimization and Nonsmooth Analysis,
1983), and those are found at x and at random points nearby (Burke, Lewis and Overton, SIAM J. Optim. 15, 2005).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...checks import check_integer, check_number
from ...core.tracer import IDLE, settings
from ...errors import describe, out_of_range
from .diagnosis import diagnose
from .differences import COMPLEX_STEP, Subject, name_of
from .judging import SAMPLE, check_input, check_nearby, check_ties
from .laws import try_laws
from .report import Element, GradcheckError, Report, notes_on

__all__ = ["Element", "GradcheckError", "Report", "assert_gradcheck", "gradcheck"]


def gradcheck(
    f: Callable[..., Any],
    inputs: Any,
    *more: Any,
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
        more: further inputs, for those who do not write a list.
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
        TypeError: ``f`` does not return one Tensor, or ``f`` or ``gradient`` cannot be called with these inputs.
        ValueError: an option is out of range, or ``f`` is not finite at the inputs.

    A derivative passes where ``|analytic - numeric| <= rtol * size + 10 * estimate``, if ``10 * estimate`` is below
    ``8 * rtol * scale``. The ``size`` is that of the larger of the two; so is the ``scale``, but for small derivatives
    it is 3 % of the largest of the input, of the steepest slope from x to the points of the difference, or of the terms
    that cancel to zero. Rounding of the gradient, and noise of the function, are measured and count as estimated error;
    a function that is less precise than its dtype is judged by its own precision. What passes by less than ``rtol``, or
    is too small to be seen, is in the notes. On a kink, any slope between those nearby passes. All is checked in random
    directions at inputs nearby too, where the gradient must be no more wrong than at these.

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
    _check_options(more, rtol, sample, order, gradient)
    begin, rng = time.perf_counter(), np.random.default_rng(seed)
    s = Subject(f, inputs, gradient, rng.uniform(0.7, 1.3))
    problems: list[str] = []
    try:
        with np.errstate(all="ignore"), settings(grad_enabled=True, tracer=IDLE):
            elements = _check_all(s, rng, rtol, sample, problems)
            while s.order < order and not problems:
                s.differentiate()
                elements += _check_all(s, rng, rtol, sample, problems)
    finally:
        s.restore()
    kinks, complex_steps = sum(e.kink is not None for e in elements), sum(e.step == COMPLEX_STEP for e in elements)
    counts = f"{len(elements) - complex_steps} derivatives by central differences, {complex_steps} by the complex step"
    effort = f"{s.evaluations} evaluations, {time.perf_counter() - begin:.2f} s, seed {seed}"
    options = {"gradient": gradient, "rtol": rtol, "sample": sample, "seed": seed, "order": order}
    notes = s.notes + notes_on(elements, rtol)
    report = Report(elements, problems, notes, f"{counts}, {kinks} on kinks; {effort}", _call(f, options))
    if raise_on_fail and not report:
        raise GradcheckError(report)
    return report


def assert_gradcheck(f: Callable[..., Any], inputs: Any, *more: Any, **options: Any) -> None:
    """Assert in a test that gradients are right; ``f``, ``inputs``, ``more`` and ``options`` are those of `gradcheck`.

    Under pytest a failure shows the report, and not the lines of the checker.

    >>> assert_gradcheck(lambda x: np.tanh(x).sum(), np.array([0.5, -0.2]))
    """
    __tracebackhide__ = True
    report = gradcheck(f, inputs, *more, **{**options, "raise_on_fail": False})
    if not report:
        raise GradcheckError(report)


def _check_all(s: Subject, rng: np.random.Generator, rtol: float, sample: int, problems: list[str]) -> list[Element]:
    """Check all derivatives of one order, and add what is wrong to the problems."""
    gradients, elements = try_laws(s, rng, problems), []
    with settings(tracer=s.branches if s.base else IDLE):  # of a function without branches, nobody need watch
        for i, g in enumerate(gradients):
            found = check_input(s, i, gradients, rng, rtol, sample)
            problems += [diagnose(s, i, g.values, found)] if any(e.verdict == "fail" for e in found) else []
            elements += found
        if gradients and not problems:
            ties = check_ties(s, gradients, elements, rtol)
            wrong = [e.input for e in ties if e.verdict == "fail"][:1]
            problems += [f"{name}: on a kink each derivative is a possible one, but not all together" for name in wrong]
            elements += ties
    if gradients and not problems:
        away = check_nearby(s, rng, rtol)
        names = dict.fromkeys(e.input for e in away)
        problems += [f"{name}: right at these inputs, wrong at inputs nearby" for name in names]
        elements += [e._replace(input=f"{e.input}, nearby") for e in away]
    return elements


def _check_options(more: tuple[Any, ...], rtol: float, sample: int, order: int, gradient: Any) -> None:
    if more:
        raise TypeError(f"gradcheck takes all inputs as one list: gradcheck(f, [a, b]), got {len(more)} more arguments")
    if gradient is not None and not callable(gradient):
        raise TypeError(f"gradient must be a function that returns the gradients, got {describe(gradient)}")
    check_number("rtol", rtol, 1e-13, 0.01, "between 1e-13 and 0.01", closed=True)
    check_integer("sample", sample)
    if order not in (1, 2) or (order == 2 and gradient is not None):
        raise out_of_range("order", order, "1 or 2, and 1 for a gradient written by hand")


def _call(f: Any, options: dict[str, Any]) -> str:
    """Return the call that repeats a check, with the options that are not the defaults."""
    defaults = inspect.signature(gradcheck).parameters
    given = [f"{k}={name_of(v, k) if callable(v) else v}" for k, v in options.items() if v != defaults[k].default]
    return f"gradcheck({', '.join([name_of(f), 'inputs', *given])})"
