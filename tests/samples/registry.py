"""How samples are entered, and where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tinygrad_mlp.rules.table import RULES

Function = Callable[..., Any]


class Sample(NamedTuple):
    """Calls of a function, drawn anew from a generator: ``make(f, x)`` gives a list of them."""

    function: Function
    make: Callable[[Function, Any], Any]
    error: type[Exception] | tuple[type[Exception], ...] | None = None
    match: str = ""


SAMPLES: list[Sample] = []


def of_the_rules() -> list[Function]:
    """Return the functions of the tables: other rooms enter ops that hold a program, and have tests of their own."""
    return [f for f in RULES if not str(getattr(f, "__module__", "")).startswith("tinygrad_mlp.func")]


def samples(*functions: Function, calls: Callable[[Function, Any], Any]) -> None:
    """Say on what the functions are tried: ``calls(f, x)`` calls ``f`` on arrays drawn by ``x``.

    ``x(2, 3)`` draws an array of this shape; `tests/draws.py` tells what else ``x`` draws. All float arrays in a call
    are inputs that are differentiated, and every test of rules runs on these calls::

        samples(np.sin, np.cos, calls=lambda f, x: [f(x(2, 3)), f(x())])
    """
    SAMPLES.extend(Sample(function, calls) for function in functions)


def raises(
    error: type[Exception] | tuple[type[Exception], ...],
    match: str,
    *functions: Function,
    calls: Callable[[Function, Any], Any],
) -> None:
    """Say on what the functions must raise ``error`` with a message that matches ``match``."""
    SAMPLES.extend(Sample(function, calls, error, match) for function in functions)
