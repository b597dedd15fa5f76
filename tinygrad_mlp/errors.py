"""Every exception of the package, and the sentences that several rooms share.

A message says what was wrong, where, what was expected, and what to do. The types derive from Python's own,
so that ``except ValueError`` keeps working.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType, ModuleType
from typing import Any

import numpy as np


def _render_traceback_() -> list[str]:
    """Return what a notebook shows of an error: the lines that are the user's own."""
    from . import notebook

    return notebook.users_traceback()


class Brief:
    """What the exceptions of the package share: notebooks show them in a few lines."""

    _render_traceback_ = staticmethod(_render_traceback_)


class GraphError(Brief, RuntimeError):
    """The graph cannot do what was asked: nothing to differentiate, already released, or changed meanwhile."""


class RecordingError(GraphError):
    """A function cannot be recorded as a program: it needs a value, or something that would be frozen."""


class ShapeError(Brief, ValueError):
    """Shapes, axes or sizes do not fit together."""


class OptionError(Brief, ValueError):
    """An option is out of range or unknown."""


class DataError(Brief, ValueError):
    """A data set or file of data is not what it should be."""


class CheckpointError(Brief, ValueError):
    """A saved state is damaged, or does not belong to the object that it is loaded into."""


class NonFiniteError(Brief, FloatingPointError):
    """A loss became NaN or infinite in training; ``history`` holds the epochs before that."""

    history: Any = None


class NoRuleError(Brief, NotImplementedError, TypeError):
    """A function has no derivative rule; calling it on a Tensor would give a silent zero gradient."""


class DtypeError(Brief, TypeError):
    """A dtype that cannot carry a gradient, or a value that is not numeric."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return the valid names as text, with the nearest one to ``name`` suggested first.

    >>> nearest("rleu", ["relu", "tanh"])
    "did you mean 'relu'? Valid: relu, tanh"
    """
    import difflib

    names = sorted(valid)
    close = difflib.get_close_matches(str(name), names, n=1) or [n for n in names if str(name) and str(name) in n]
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Valid: {', '.join(names)}"


def user_line() -> str:
    """Return the file and line, outside of this package, that is being executed."""
    frame = _users_frame()
    path = frame.f_code.co_filename
    return f"{_outside(path) or os.path.basename(path)}:{frame.f_lineno}"


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the line, outside of this package, that is being executed."""
    frame = _users_frame()
    scope, code = frame.f_globals, frame.f_code
    module, registry = scope.get("__name__") or "<string>", scope.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, code.co_filename, frame.f_lineno, module, registry)


def _users_frame() -> FrameType:
    frame = sys._getframe(2)
    while frame.f_back is not None and _outside(frame.f_code.co_filename) is None:
        frame = frame.f_back
    return frame


@functools.cache
def _outside(path: str) -> str | None:
    """Return the name of a file that is outside of this package, and no program that it has written."""
    return None if path.startswith((_HOME, "<jit ")) else os.path.basename(path)


_HOME = os.path.dirname(os.path.abspath(__file__)) + os.sep


NOTHING = "(?!)"
"""What a pattern says it matches to those that copy filters as text, as scikit-learn does for its workers."""


class _NumPys:
    """A message pattern of `warnings.filters`: what NumPy says of a result that is not finite."""

    pattern = NOTHING
    seen = threading.local()

    def match(self, text: str) -> bool:
        """Return whether it is such a message, and remember it for `_Ours`, which is asked next."""
        self.seen.text = text
        return (
            text.startswith(("divide by zero", "overflow", "underflow", "invalid value")) and " encountered in " in text
        )


class _Ours:
    """A module pattern of `warnings.filters`, which sends NumPy's warnings to the user's line.

    "invalid value encountered in log" points at the line that calls NumPy, which is one of this package: the same for
    all of a program, so that it would be shown once. NumPy cannot be told another line, and asking it for the state of
    the processor instead takes as long as a small op. So the warning is issued again where it belongs, and the first
    one ignored. Filters that are set later come first, as always, and what puts filters back to those of before this
    import, as pytest does, takes the entry away.
    """

    pattern = NOTHING

    def match(self, module: str) -> bool:
        """Return whether the warning, from a module of this package, has been issued again."""
        text = _NumPys.seen.text
        redirects = module.startswith(__name__.partition(".")[0] + ".") and _NumPys().match(text)
        if redirects:
            warn(text, RuntimeWarning)
        return redirects


warnings.filters.insert(0, ("ignore", _NumPys(), RuntimeWarning, _Ours(), 0))  # type: ignore[attr-defined]


def name_of(function: Any) -> str:
    """Return what a function is called: a partial by what it calls, another object that can be called by its class."""
    function = getattr(function, "func", function)
    return getattr(function, "__name__", type(function).__name__)


def out_of_range(name: str, value: object, expected: str) -> OptionError:
    """Return the error for an option outside its range.

    >>> out_of_range("lr", -0.1, "a finite number >= 0")
    OptionError('lr must be a finite number >= 0, got -0.1')
    """
    return OptionError(f"{name} must be {expected}, got {value!r}")


def need(module: str, extra: str) -> ModuleType:
    """Return a module of an optional extra, imported when it is used.

    Raises:
        ImportError: it is not installed, and the message has the command, or it lacks a library of the system.

    >>> need("no_such_module", "plot")
    Traceback (most recent call last):
    ImportError: this needs no_such_module, which is not installed: pip install '.[plot]' in the clone of tinygrad_mlp
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = module.partition(".")[0]
        if error.name != name:
            raise
        command = f"pip install '.[{extra}]' in the clone of tinygrad_mlp"
        raise ImportError(f"this needs {name}, which is not installed: {command}", name=name) from error
    except ImportError as error:
        raise ImportError(f"this needs {module}, which lacks a library of the system: {error}", name=module) from error


def describe(value: Any) -> str:
    """Return a value as an error message shows it: an array by dtype and shape, anything else shortened.

    >>> import numpy as np
    >>> describe(np.zeros((2, 3), np.float32)), describe(slice(1, 2)), describe(object())
    ('float32(2, 3)', 'slice(1, 2, None)', 'object')
    """
    if isinstance(value, type):
        return value.__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{tuple(value.shape)}"
    if hasattr(value, "iloc"):
        return f"DataFrame{tuple(value.shape)}"
    plain = isinstance(value, (str, list, tuple, dict, set))
    if plain and any(hasattr(item, "dtype") for item in value):
        text = f"[{', '.join(map(describe, value))}]"
    else:
        try:
            text = repr(value)
        except RecursionError:
            return type(value).__name__
    if " at 0x" in text or text.startswith("<") or ("\n" in text and not plain):
        return getattr(value, "__name__", type(value).__name__)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def attempt(name: str, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Call a function; raise what NumPy raises with the op, its operands, what clashes, and what to do."""
    try:
        return function(*args, **keywords)
    except Exception as error:
        _raise_in_our_words(name, args, keywords, error)
        raise


def attempt_first(name: str, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Do what `attempt` does, but within another attempt, which explains in the name of what a user has called."""
    try:
        return function(*args, **keywords)
    except Exception as error:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code not in (attempt.__code__, attempt_first.__code__):
            frame = frame.f_back
        if frame.f_back is None:
            _raise_in_our_words(name, args, keywords, error)
        raise


def _raise_in_our_words(name: str, args: Sequence[Any], keywords: Mapping[str, Any], error: Exception) -> None:
    """Raise an error of NumPy with the call, what clashes, and what to do; of any other error, say nothing."""
    if type(error).__module__ != __name__ and "explained" not in vars(error):
        for raised, kind, reason, hint in _REASONS:
            if isinstance(error, raised) and re.search(reason, str(error), re.IGNORECASE):
                raise _explained(name, args, keywords, error, kind, hint) from error


def _explained(
    name: str, args: Sequence[Any], keywords: Mapping[str, Any], error: Exception, kind: type[Exception], hint: str
) -> Exception:
    """Return an error of NumPy in words of this package, marked as such."""
    call = ", ".join([*map(describe, args), *(f"{k}={describe(v)}" for k, v in keywords.items() if k[0] != "_")])
    shapes = [tuple(a.shape) for a in args if isinstance(getattr(a, "shape", None), tuple)]
    clash = _clash(name, shapes, str(error)) if kind is ShapeError else ""
    reason = str(error).strip().rstrip(".") or type(error).__name__
    result = kind(f"{name}({call}): {clash or (f'{reason}; {hint}' if hint else reason)}")
    vars(result).update(explained=True, _render_traceback_=_render_traceback_)
    return result


_Reason = tuple[type[Exception], type[Exception], str, str]
_REASONS: list[_Reason] = [
    (np.linalg.LinAlgError, np.linalg.LinAlgError, "square|dimension", "pass square matrices"),
    (np.linalg.LinAlgError, np.linalg.LinAlgError, "", "check the matrix, or add a small multiple of the identity"),
    (np.exceptions.AxisError, ShapeError, "", "check shapes and axes"),
    (ValueError, ValueError, "negative integer power", "use floats, such as t.astype(float)"),
    (ValueError, ValueError, "read-only", "make a copy of the array first"),
    (ValueError, ShapeError, "too many subscripts|more dimensions than subscripts", "use one letter for each axis"),
    (ValueError, ValueError, "subscript", "use one letter for each axis, and in the output letters of the inputs"),
    (ValueError, ValueError, "negative", ""),
    (
        ValueError,
        ShapeError,
        r"shape|dimension|\bax[ei]s\b|broadcast|\bsize|empty|length|division",
        "check shapes and axes",
    ),
    (ValueError, ValueError, "", ""),
    (TypeError, TypeError, "cannot cast", "convert it with astype first"),
    (
        TypeError,
        TypeError,
        "'(dim|keepdim|unbiased)'",
        "write axis for dim, keepdims for keepdim, and ddof for unbiased",
    ),
    (TypeError, TypeError, "unexpected keyword", "leave it out"),
    (TypeError, TypeError, "as a data type", "several axes are one tuple, as in axis=(0, 1)"),
    (
        TypeError,
        TypeError,
        "scalar index",
        "give arrays as one list, as in np.concatenate([a, b]), and integers for axes",
    ),
    (TypeError, TypeError, "", "use numbers, arrays or Tensors"),
    (AttributeError, TypeError, r"attribute '(ndim|shape|dtype|size)'", "use numbers, arrays or Tensors"),
    (IndexError, IndexError, "", "use indices within the shape"),
    *((kind, kind, "", "check its operands") for kind in (ZeroDivisionError, OverflowError, FloatingPointError)),
]
"""For an error of NumPy and what it says: the error to raise, and the hint that fits, if any. The first one counts."""


def _clash(name: str, shapes: list[tuple[int, ...]], reason: str) -> str:
    """Return which two sizes of the shapes do not match, or nothing where that is not what is wrong."""
    if len(shapes) != 2:
        return ""
    x, y = shapes
    if name == "matmul":
        inner = y[-2] if len(y) > 1 else y[0] if y else None
        if x and inner not in (None, x[-1]):
            return f"cannot multiply {x} by {y}: the inner sizes {x[-1]} and {inner} differ; transpose or reshape one"
        x, y = x[:-2], y[:-2]
    elif "broadcast" not in reason:
        return ""
    for a, b in zip(reversed(x), reversed(y), strict=False):
        if a != b and 1 not in (a, b):
            return (
                f"shapes {shapes[0]} and {shapes[1]} do not broadcast: sizes {a} and {b} clash; "
                "reshape one, or insert an axis with [:, None]"
            )
    return ""
