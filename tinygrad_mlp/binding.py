"""How functions are called: each call becomes operands by position and options by name; unknown options are refused.

What an option is, and its default, stands in the signature of NumPy's function. Nothing here knows of derivatives.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import name_of
from .refused import in_words_of_numpy, misfit, no_entry, no_keyword

Function = Callable[..., Any]
Arguments = tuple[Sequence[Any], dict[str, Any]]
"""Of a call: those that can carry a gradient, by position, and all others by keyword."""
Binder = Callable[..., Arguments]

_signature = functools.cache(inspect.signature)


@functools.cache
def _defaults(function: Function) -> dict[str, Any]:
    """Return the names of a NumPy function's parameters and their defaults; nothing if it does not tell them."""
    try:
        return {name: p.default for name, p in _signature(function).parameters.items()}
    except ValueError:
        return {}


def required(function: Function) -> int | None:
    """Return how many parameters of a NumPy function have no default; None if it does not tell them.

    >>> required(np.argmax)
    1
    """
    names = _defaults(function)
    return sum(default is inspect.Parameter.empty for default in names.values()) if names else None


def is_default(function: Function, key: str, value: Any) -> bool:
    """Return whether leaving the keyword out is the same."""
    default = _defaults(function).get(key)
    if value is None:
        return default is None or default is np._NoValue
    return value is np._NoValue or (isinstance(value, (int, float, str)) and value == default)


def binder(function: Function, count: int | None, known: Any, split: Binder | None = None) -> Binder:
    """Return what turns a call into ``count`` positional arguments (None: as many as there are) and the rest by name.

    The names are those of the function's signature; ``split`` does it for a call that has another form. Keywords that
    are not known are refused unless they say what is so anyway; None: all are known but those to write to. Those of
    an ufunc go by position and of a primitive, too, unless they are keyword-only.
    """

    def bind(*args: Any, **kwargs: Any) -> Arguments:
        if hasattr(function, "plain"):
            bound = _signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            return bound.args, bound.kwargs
        if split is not None:
            args, kwargs = split(*args, **kwargs)  # type: ignore[assignment]
        elif count is not None and not isinstance(function, np.ufunc) and (kwargs or len(args) != count):
            names = list(_defaults(function))
            if len(args) > max(count, len(names)):
                raise TypeError(f"{function.__name__} of a Tensor takes {count} positional arguments, got {len(args)}")
            kwargs = {**dict(zip(names[count:], args[count:], strict=False)), **kwargs}
            args = (*args[:count], *(kwargs.pop(name) for name in names[len(args) : count] if name in kwargs))
        unknown = [key for key in kwargs if (key in ("out", "where") if known is None else key not in known)]
        for key in unknown:
            if not is_default(function, key, kwargs.pop(key)):
                raise no_keyword(function, key, known)
        return args, kwargs

    return bind


def checked_options(function: Function, rules: Sequence[Function | None]) -> Sequence[str]:
    """Return which options an entry's rules take, those that the first one names; raise TypeError if it cannot be one.

    The first of ``rules`` is that for all arguments, the others are those of one argument each; None: there is none.
    """
    known = any(hasattr(function, mark) for mark in ("nin", "_implementation", "plain"))
    if not known or rules == (None,) or any(rule is not None and not callable(rule) for rule in rules):
        raise no_entry(function, known)
    code = getattr(getattr(function, "plain", None), "__code__", None)
    most = code.co_argcount if code and not code.co_flags & inspect.CO_VARARGS else getattr(function, "nin", None)
    if problem := misfit(function, rules, most):
        raise TypeError(f"vjp of {name_of(function)}: {problem}")
    first = next((rule for rule in rules if rule is not None), binder)
    if (code := getattr(first, "__code__", None)) is None:
        return [p.name for p in inspect.signature(first).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]


def as_numpy_takes_it(function: Function, implementation: Function) -> Function:
    """Return an implementation that is called as NumPy's function is, and raises what that does."""
    code = implementation.__code__
    count = code.co_argcount - len(implementation.__defaults__ or ())
    known = code.co_varnames[count : code.co_argcount + code.co_kwonlyargcount]
    bind = binder(function, None if code.co_flags & inspect.CO_VARARGS else count, known)

    @functools.wraps(implementation)
    def forward(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = bind(*args, **kwargs)  # type: ignore[assignment]
        try:
            return implementation(*args, **kwargs)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            if (other := in_words_of_numpy(function, args, kwargs, error)) is error:
                raise
            raise other from None

    return forward
