"""Naming: what the values and constants of a program are called, by what they hold."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from .record import Call

RESERVED = {"np", "math", "arrays", "Path", "SimpleNamespace", *dir(builtins), *keyword.kwlist}

_HOLDS = {
    **dict.fromkeys(["max", "amax"], "maximum"), **dict.fromkeys(["min", "amin"], "minimum"), "sum": "total",
    "exp": "exponentials", "sqrt": "root", "square": "squares", "add": "added", "subtract": "difference",
    "multiply": "product", "matmul": "product", "divide": "quotient", "negative": "negated", "maximum": "larger",
    "minimum": "smaller", "where": "selected", "select": "selected", "gather": "picked", "scatter": "scattered",
    "getitem": "part", "put": "placed", "concatenate": "joined", "uniform": "random", "absolute": "size",
    "astype": "converted", "spread": "repeated", "reciprocal": "inverse", "log": "logarithms", "einsum": "product",
}  # fmt: skip
"""What the result of a function is called; of one that is not here, as the function."""

_VIEWS = {
    **dict.fromkeys(["transpose", "swapaxes", "moveaxis"], "T"), "getitem": "part", "reshape": "reshaped",
    "broadcast_to": "repeated",
}  # fmt: skip

_NUMBERS = {0: "zero", 1: "one", 2: "two", 0.5: "half"}


def identifier(name: str) -> str:
    """Return an identifier as near to a name as can be."""
    name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", name)).strip() or "value"
    candidates = (name, f"layer{name}", "value")
    return next(candidate for candidate in candidates if candidate.isidentifier())


def function_name(name: str) -> str:
    """Return what the program of a function is called: as the function, unless that has no name of its own."""
    return name if name.isidentifier() and name not in RESERVED else "step"


def value_name(call: Call, operands: Sequence[str]) -> str:
    """Return what the result of a call holds, in a word; ``operands`` is how those of the call are called."""
    name = getattr(call.function, "__name__", "value")
    first, last = (operands[0], operands[-1]) if operands else ("", "")
    if call.result.dtype == bool:
        return "mask"
    if name == "subtract" and last.startswith(("maximum", "mean")):
        return "shifted" if last.startswith("maximum") else "centred"
    if name == "exp" and first.startswith("log_"):
        return re.sub(r"_\d+$", "", first)[4:]
    if name == "log" and first.isidentifier() and len(first) < 12:
        return f"log_{first}"
    if name in ("multiply", "divide") and any(is_number(a) for a in call.inputs):
        return "scaled"
    return _HOLDS.get(name, name)


def view_name(call: Call, base: str) -> str:
    """Return the name of a view of what is called ``base``."""
    return f"{base}_{_VIEWS.get(getattr(call.function, '__name__', ''), 'view')}"


def number_name(a: float) -> str:
    """Return the name of a constant number."""
    sign = "minus_" if a < 0 else ""
    return sign + _NUMBERS.get(abs(a), f"n{abs(a)!r}")


def fraction_text(a: Any) -> str:
    """Return a number of a float array as text that says how it came to be: 1 / 64 rather than .015625."""
    fraction = Fraction(float(a)).limit_denominator(1 << 20) if np.isfinite(a) else Fraction(0)
    top, bottom = fraction.numerator, fraction.denominator
    return f"{top} / {bottom}" if abs(top) == 1 < bottom and a.dtype.type(top / bottom) == a else repr(a.item())


def is_number(a: Any) -> bool:
    """Return whether an operand is a number: a live one, or a constant."""
    if getattr(a, "kind", "") == "number":
        return True
    return isinstance(a, (int, float)) and not isinstance(a, bool)
