"""Naming: what the values and constants of a program are called, by what they hold."""

from __future__ import annotations

import builtins
import functools
import keyword
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..rules.table import find
from .record import Call, Slot

RESERVED = {"np", "math", "arrays", "file", "Path", "SimpleNamespace", *dir(builtins), *keyword.kwlist}

_NUMBERS = {0: "zero", 1: "one", 2: "two", 0.5: "half"}


@functools.lru_cache(1024)
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
    if call.result.dtype == bool:
        return "mask"
    rule = find(call.function)
    if rule.called:
        given = ", ".join(["#" if is_number(a) else name for a, name in zip(call.inputs, operands, strict=True)])
        for pattern, word in rule.called:
            if match := re.fullmatch(pattern, given):
                return match.expand(word) if "\\" in word else word
    return rule.holds or rule.name


def view_name(call: Call, base: str) -> str:
    """Return the name of a view of what is called ``base``."""
    return f"{base}_{find(call.function).holds or 'view'}"


def number_name(a: float, dtype: np.dtype[Any]) -> str:
    """Return the name of a constant number in an array of a dtype."""
    size, bottom = abs(a), _denominator(a, dtype)
    plain = f"n{size!r}" if size < np.inf else f"{float(size)}"  # inf or nan
    return "minus_" * (a < 0) + _NUMBERS.get(size, f"one_{bottom}th" if bottom else plain)


def number_text(a: float, dtype: np.dtype[Any]) -> str:
    """Return a number in an array of a dtype as text that says how it came to be: 1 / 64 rather than .015625."""
    bottom = _denominator(a, dtype)
    return f"{'-' * (a < 0)}1 / {bottom}" if bottom else literal(a)


def _denominator(a: float, dtype: np.dtype[Any]) -> int:
    """Return n > 2 if a number is 1 / n or -1 / n, to the bits of a dtype of floats; 0 for all others."""
    n = round(1 / abs(a)) if 1e-15 < abs(a) < 0.5 and dtype.kind == "f" else 0
    return n if n and dtype.type(1 / n) == dtype.type(abs(a)) else 0


def is_number(a: Any) -> bool:
    """Return whether an operand is a number: a live one, or a constant."""
    return a.kind == "number" if isinstance(a, Slot) else isinstance(a, (int, float)) and not isinstance(a, bool)


@functools.lru_cache(1024)
def path_in_numpy(function: Any) -> str:
    """Return by what path a program reaches a function of NumPy, or nothing."""
    name = getattr(function, "__name__", "")
    modules = (("np", np), ("np.linalg", np.linalg))
    return next((f"{path}.{name}" for path, module in modules if getattr(module, name, None) is function), "")


def literal(a: Any) -> str:
    """Return a constant as text, by the repr of its plain type, whatever a subclass makes of it; nothing for others."""
    if isinstance(a, np.generic) and not isinstance(a, (float, complex, str, bytes)):
        simple = a.dtype.kind in "biufc" and not isinstance(a.item(), np.generic)  # as a long double's is
        return f"np.{a.dtype.name}({literal(a.item())})" if simple else ""
    if isinstance(a, float) and not np.isfinite(a):
        return "np.nan" if a != a else "np.inf" if a > 0 else "-np.inf"
    plain = next((kind for kind in (bool, int, float, complex, str, bytes) if isinstance(a, kind)), None)
    if plain is complex:  # whose repr, computed, may have another zero
        return f"complex({literal(a.real)}, {literal(a.imag)})"
    if plain is not None:
        return plain.__repr__(a)
    if isinstance(a, np.dtype):
        return dtype_text(a)
    if isinstance(a, type):
        name, is_numpy = a.__name__, issubclass(a, np.generic)
        return f"np.{name}" if is_numpy else name if getattr(builtins, name, None) is a else ""
    return {None: "None", Ellipsis: "..."}.get(a, "") if a is None or a is Ellipsis else ""


@functools.cache
def dtype_text(dtype: np.dtype[Any]) -> str:
    """Return a dtype as a program writes it."""
    named = "bool" if dtype.kind == "b" else f"np.{dtype.name}"
    return named if dtype.isnative and dtype.kind in "biufc" else f"np.dtype({dtype.str!r})"
