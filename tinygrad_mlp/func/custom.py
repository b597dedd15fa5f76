"""Functions of one's own, a solver, a simulator or C code, with a derivative that is checked when it is given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import check_function
from ..core.tensor import Tensor
from ..errors import NoRuleError, describe
from ..rules import table
from ..tools.gradcheck import GradcheckError, gradcheck
from . import transforms

Function = Callable[..., Any]


def custom_vjp(function: Function) -> Any:
    """Make a function of arrays an op, also as a decorator; its ``defvjp`` gives it a derivative, and checks that.

    The function may do what it likes; it gets plain arrays, and its result is copied. Then it is what the package's own
    ops are (`tg.primitive` and `tg.vjp`), so every tool knows it: derivatives of any order, `jit`, `gradcheck`,
    `detect_anomaly`, `draw`, `tg.func`. Without a ``defvjp`` it can be called, and not be differentiated.

    ``f.defvjp(*rules, samples, order=1, rtol=1e-9)`` takes a rule for each positional argument: from ``g``, the
    gradient of the result, to that of the argument, ``rule(g, out, *arguments, **keywords)`` where ``out`` is the
    result; None says that the function is constant in an argument, which samples with floats there show, or that
    it takes no floats: a function, a text, an integer. One that has no rule cannot be differentiated by.
    Rules get Tensors where the derivative itself is differentiated or recorded. So they are written with functions that
    have rules: those of NumPy, or others that are made here, the function itself for one. One that reads the values of
    its arguments (``x.data``, ``float(x)``) gives right gradients, and second derivatives without what it has read:
    ``order=2`` finds that.

    Args of ``defvjp``:
        samples: on what the rules are checked against differences, arguments as a tuple, or the only one.
        order: 2 checks the second derivatives too.
        rtol: the relative error that may pass, see `gradcheck`.

    Raises:
        GradcheckError: a rule is wrong on a sample; the message is the checker's table. The rules are not taken.
        TypeError: a rule takes other arguments or returns no array, or no sample has an array of floats for an argument
            with a rule; when the function is called: it returns something else than one array or number.

    >>> @custom_vjp
    ... def sine(x):
    ...     return [float(np.sin(e)) for e in x]  # any code
    >>> sine.defvjp(lambda g, out, x: g * np.cos(x), samples=[np.array([0.3, 2.0])], order=2)
    >>> from tinygrad_mlp import func
    >>> func.grad(lambda x: np.sum(sine(x) ** 2))(np.array([0.0, np.pi / 4]))
    array([0., 1.])
    >>> sine.defvjp(lambda g, out, x: -g * np.cos(x), samples=[np.ones(2)])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_mlp.tools.gradcheck.report.GradcheckError: ...
    """
    if not callable(function):
        raise TypeError(f"custom_vjp takes a function, got {describe(function)}; its rules go to its defvjp")
    op: Any = table.primitive(_copying(function))
    _enter(op, (), set())

    def defvjp(*rules: Function | None, samples: Sequence[Any] = (), order: int = 1, rtol: float = 1e-9) -> None:
        before, calls = table.RULES[op], [sample if isinstance(sample, tuple) else (sample,) for sample in samples]
        for rule in (rule for rule in rules if rule is not None):
            check_function("a rule", rule, "rule(g, out, *arguments)", 2 + max(map(len, calls), default=1))
        floats = {i for call in calls for i, a in enumerate(call[: len(rules)]) if _is_float(a)}
        _enter(op, rules, floats)
        try:
            _check(op, rules, floats, calls, order, rtol)
        except BaseException:
            table.RULES[op] = before
            raise

    op.defvjp = defvjp
    return op


def _copying(function: Function) -> Function:
    """Return a function whose results share memory with nothing: not with its arguments, nor with the next result."""

    @functools.wraps(function)
    def copying(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        several = isinstance(result, list) and any(getattr(a, "ndim", 0) for a in result)
        array = np.array(None if several or isinstance(result, tuple) else result)
        if array.dtype.kind not in "fiub":
            name, got = getattr(function, "__name__", "the function"), transforms._kind(result)
            raise TypeError(f"{name} returned {got}, expected one real array or number; join several with np.stack")
        return array

    return copying


def _told(name: str, i: int, rule: Function) -> Function:
    """Return a rule whose result is checked to be an array or a number."""

    @functools.wraps(rule)
    def told(*args: Any, **kwargs: Any) -> Any:
        g = rule(*args, **kwargs)
        if not isinstance(g, (Tensor, np.ndarray, np.generic, float, int)):
            hint = "; write None in place of the rule where the function is constant" if g is None else ""
            got = transforms._kind(g)
            raise TypeError(f"the rule of {name} for argument {i} returned {got}, expected one array or number{hint}")
        return g

    return told


def _enter(op: Function, given: Sequence[Function | None], floats: set[int]) -> None:
    """Enter the rules that are given, None for arguments that are seen to be constant by samples with floats, and for
    all other arguments a rule that says that there is none."""

    def refuse(i: int, *_: Any, **__: Any) -> Any:
        raise NoRuleError(f"{op.__name__} has no derivative rule for argument {i}; give one to its defvjp")

    told = [
        _told(op.__name__, i, r) if r else None if i in floats else functools.partial(refuse, i)
        for i, r in enumerate(given)
    ]
    table.vjp(op, *told, each=refuse)


def _check(
    op: Function, rules: Sequence[Function | None], floats: set[int], calls: list[Any], order: int, rtol: float
) -> None:
    """Check the rules of an op on all samples."""
    missing = [i for i, rule in enumerate(rules) if rule and i not in floats]
    if missing or not floats:
        names = ", ".join(map(str, missing)) or 0
        raise TypeError(f"{op.__name__}: defvjp needs samples with an array of floats for argument {names}")
    for call in calls:
        places = [i for i in floats if len(call) > i and _is_float(call[i])]
        if places:
            values = [np.array(call[i], np.float64) for i in places]
            report = gradcheck(_of(op, call, places), values, order=order, rtol=rtol, raise_on_fail=False)
            if not report:
                raise GradcheckError(report)


def _is_float(a: Any) -> bool:
    return isinstance(a, float) or getattr(getattr(a, "dtype", None), "kind", "") == "f"


def _of(op: Function, call: tuple[Any, ...], places: list[int]) -> Function:
    """Return an op as a function of its arguments in some places, with those of a call in the others."""

    def function(*values: Any) -> Any:
        given = dict(zip(places, values, strict=True))
        return op(*(given.get(i, a) for i, a in enumerate(call)))

    function.__name__ = op.__name__
    return function
