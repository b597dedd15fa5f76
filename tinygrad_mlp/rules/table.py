"""The table of rules: what each function's derivative is, and how an entry is made.

A rule is a vector-Jacobian product: one line of plain NumPy per argument, from the gradient ``g`` of the result,
the result ``out`` and the arguments to the gradient of that argument::

    vjp(np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)

Arguments that can carry a gradient are positional, everything else (axis, keepdims, ...) is by keyword. A rule gets
arrays on the fast path and Tensors where its result must itself be differentiable or recorded, so it uses operators,
methods and NumPy functions only, and never branches on values. It need not undo broadcasting or keep dtypes: the
engine does that, once (`core.graph.fit`). A keyword that the first rule does not name is refused when the function is
called, unless it says what is so anyway. One that begins with an underscore is for the rules alone, and not shown.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from ..binding import Arguments as Arguments
from ..binding import Binder, as_numpy_takes_it, binder, checked_options, required
from ..checks import T as T
from ..errors import attempt_first, name_of
from ..refused import no_facts, no_rule, no_rule_of, unseen

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)
Operand = Any
"""The text of an argument in a program that is being written, which knows what it stands for: `jit.scope.Operand`."""


@dataclass(eq=False, slots=True)
class Rule:
    """One entry of the table: all that is known of a function. `vjp`, `composite` and `constant` make them.

    ``vjps[i]`` is the rule of positional argument i, or None where the function is constant in it. ``linear`` says
    that the function is linear in all that it is differentiated by, so that its rules read no values of that, only
    shapes; ``view`` that the result may share memory with the first argument; ``own`` that the function is a
    `primitive`; ``binds`` that a call needs ``bind`` even without keywords. What tools ask about an op is added by
    `annotate`, which says what each fact is.
    """

    function: Function
    kind: str
    forward: Function
    vjps: Any = ()
    bind: Binder | None = None
    linear: bool = False
    view: bool = False
    reduce: Function | None = None
    inline: bool = False
    effect: bool = False
    inverts: bool = False
    multilinear: bool = False
    neutral: Sequence[float] = ()
    shaped_by_values: Function | None = None
    branch: Function | None = None
    cost: Function | None = None
    hint: str = ""
    holds: str = ""
    called: Sequence[tuple[str, str]] = ()
    emit: Function | None = None
    express: Function | None = None
    loop: str = ""
    start: str = ""
    reach: Sequence[str] = ()

    name: str = field(init=False)
    own: bool = field(init=False)
    binds: bool = field(init=False)

    def __post_init__(self) -> None:
        self.name = getattr(self.function, "__name__", repr(self.function))
        self.own = hasattr(self.function, "plain")
        self.binds = not (self.own or isinstance(self.function, np.ufunc))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class _Rules(dict[int, Function | None]):
    """The rules of a function by argument. Another argument's is ``each``, told which is meant, or else an error."""

    def __init__(self, function: Function, rules: Sequence[Function | None], each: Function | None) -> None:
        super().__init__(enumerate(rules))
        self.function, self.each = function, each

    def __missing__(self, index: int) -> Function:
        if self.each is None:
            raise no_rule_of(self.function, index)
        return functools.partial(self.each, index)


RULES: dict[Function, Rule] = {}
BRIDGES: dict[str, str] = {}
"""Which module enters the rules of another package's functions; it is loaded when one is asked for."""


def vjp(
    function: Function,
    *rules: Function | None,
    each: Function | None = None,
    forward: Function | None = None,
    bind: Binder | None = None,
    linear: bool = False,
    view: bool = False,
) -> None:
    """Enter a function with one rule per positional argument; None where it is constant in that argument.

    An op of one's own is two lines, and all tools know it:

    >>> import tinygrad_mlp as tg
    >>> cube = primitive(lambda x: x * x * x)
    >>> vjp(cube, lambda g, out, x: 3 * g * (x * x))
    >>> tg.hessian(cube, tg.Tensor(2.0)).item()
    12.0

    Args:
        function: NumPy's, or a `primitive`.
        rules: ``rule(g, out, *arguments, **keywords)``: from ``g``, the gradient of the result, to that of an
            argument; None where the function is constant in it.
        each: for a function of any number of arguments: ``each(i)`` is the rule of the i-th.
        forward: replaces the function's own computation (for one that is not analytic or not stable).
        bind: turns a call as NumPy's signature has it into ``(positional arguments, keywords)``; without it, keywords
            that were given by position are found by the signature.
        linear: whether the function is linear in all that it is differentiated by, so that rules read only its shapes.
        view: whether the result may share memory with the first argument.

    Raises:
        TypeError: the function is neither NumPy's nor a `primitive`, so that no Tensor would find the rules; it has
            fewer arguments than there are rules, or several results; a rule cannot be called as one.
    """
    bind = binder(function, len(rules), checked_options(function, (each, *rules)), bind)
    vjps, plain = _Rules(function, rules, each), forward or _plain(function)
    entry: Any = {"forward": plain, "vjps": vjps, "bind": bind, "linear": linear, "view": view, "kind": "vjp"}
    known = RULES.get(function)
    RULES[function] = replace(known, **entry) if known else Rule(function, **entry)


def composite(table: Mapping[Function, Function]) -> None:
    """Enter functions that are computed by others of the table, so that they need no rule of their own: each by what.

    The implementation names its options as NumPy does and gives them NumPy's defaults. Others are refused.
    """
    for function, implementation in table.items():
        RULES[function] = Rule(function, "composite", as_numpy_takes_it(function, implementation))


def numpys_own(*functions: Any) -> dict[Function, Function]:
    """Return, for `composite`, functions that NumPy itself computes by others of the table, each with how it does."""
    return {function: function.__wrapped__ for function in functions}


def constant(*functions: Function) -> None:
    """Enter functions whose derivative is zero wherever it exists: their results do not require grad."""
    for function in functions:
        RULES[function] = Rule(function, "constant", _plain(function), (), binder(function, required(function), None))


def annotate(*functions: Function, **facts: Any) -> None:
    """Add to the entries of ``functions`` what tools ask about them, each of the ``facts`` by its name in `Rule`.

    ==================== ================================================================================
    ``reduce``           what ``ufunc.reduce`` is called by
    ``inline``           whether the body is made of ops, so that `jit` records those
    ``effect``           whether a call does something besides its result: it draws, or checks
    ``inverts``          whether gradients are as imprecise as the first argument is near a singular matrix
    ``multilinear``      whether the function is linear in each argument alone
    ``neutral``          of a function that rounds exactly: which number, as either argument, leaves the other as it is
    ``shaped_by_values`` ``(*arguments)``: those whose values decide the shape of the result
    ``branch``           ``(out, *arguments)``: an array that changes where a kink is crossed
    ``cost``             ``(out, *arguments)``: how many multiply-adds a call takes
    ``hint``             what usually is wrong where the result is not finite
    ``holds``            what the result is called in a program
    ``called``           patterns of what the operands are called (a number: #), with another word for the result
    ``emit``             ``(out, *arguments)``: the lines of NumPy that compute the op into ``out``
    ``express``          ``(*arguments)``: the expression that it is, where that is no plain call
    ``loop``             an element's formula in a native loop, of arguments ``{0}``, ``{1}`` and dtype ``{t}``
    ``start``            of a reduction, whose ``{0}`` is what it has come to: where a native loop starts
    ``reach``            of an op on labels, its second argument: by which counters a native loop reaches its arguments
    ==================== ================================================================================

    The arguments of ``emit`` and ``express`` are texts that know what they stand for, `jit.scope.Operand`.
    """
    if unknown := [function for function in functions if function not in RULES]:
        raise no_facts(unknown[0])
    for function in functions:
        RULES[function] = replace(RULES[function], **facts)


PLAIN = np.ndarray.__array_function__
_PLAIN = {np.ndarray, tuple, int, float, type(None)}
"""Types that need not be asked."""


def primitive(function: F) -> F:
    """Make a function of our own an op like NumPy's: plain on arrays, and on Tensors through the same door.

    The door is NumPy's own protocol: an argument that has an ``__array_function__`` of its own decides.
    ``dim``, PyTorch's word, is taken for ``axis``.
    """

    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        if "dim" in kwargs and "axis" not in kwargs:
            kwargs["axis"] = kwargs.pop("dim")
        for a in (*args, *kwargs.values()) if kwargs else args:
            if type(a) not in _PLAIN and getattr(type(a), "__array_function__", PLAIN) is not PLAIN:
                return a.__array_function__(door, (type(a),), args, kwargs)
        out = attempt_first(door.__name__, function, args, kwargs)
        if type(out) not in _PLAIN and getattr(type(out), "__array_function__", PLAIN) is not PLAIN:
            raise unseen(door.__name__)
        return out

    door.plain, door.__name__ = function, name_of(function)  # type: ignore[attr-defined]
    return door  # type: ignore[return-value]


def _plain(function: Function) -> Function:
    """Return what computes the function on arrays: for a primitive, the function behind its door."""
    return getattr(function, "plain", function)


def find(function: Function) -> Rule:
    """Return a function's entry; raise `NoRuleError`, naming it and saying what to use, where there is none."""
    if (rule := RULES.get(function)) is None:
        for package in BRIDGES.keys() & sys.modules.keys():
            importlib.import_module(BRIDGES[package])  # enters its rules
        if (rule := RULES.get(function)) is None:
            raise no_rule(function)
    return rule
