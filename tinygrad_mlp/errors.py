"""Every exception of the package, and the sentences that several rooms share.

A message says what was wrong, where, what was expected, and what to do. The types derive from Python's own,
so that ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class GraphError(RuntimeError):
    """The graph cannot do what was asked: nothing to differentiate, already released, or changed meanwhile."""


class RecordingError(GraphError):
    """A function cannot be recorded as a program: it needs a value, or something that would be frozen."""


class ShapeError(ValueError):
    """Shapes, axes or sizes do not fit together."""


class DataError(ValueError):
    """A data set or file of data is not what it should be."""


class CheckpointError(ValueError):
    """A saved state is damaged, or does not belong to the object that it is loaded into."""


class NoRuleError(NotImplementedError, TypeError):
    """A function has no derivative rule; calling it on a Tensor would give a silent zero gradient."""


class DtypeError(TypeError):
    """A dtype that cannot carry a gradient, or a value that is not numeric."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return the valid names as text, with the nearest one to ``name`` suggested first.

    >>> nearest("rleu", ["relu", "tanh"])
    "did you mean 'relu'? Valid: relu, tanh"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Valid: {', '.join(names)}"


def out_of_range(name: str, value: object, expected: str) -> ValueError:
    """Return the error for an option outside its range.

    >>> out_of_range("lr", -0.1, "a finite number >= 0")
    ValueError('lr must be a finite number >= 0, got -0.1')
    """
    return ValueError(f"{name} must be {expected}, got {value!r}")


def describe(value: Any) -> str:
    """Return a value as an error message shows it: an array by dtype and shape, anything else shortened.

    >>> import numpy as np
    >>> describe(np.zeros((2, 3), np.float32)), describe(slice(1, 2))
    ('float32(2, 3)', 'slice(1, 2, None)')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def call_failed(name: str, arrays: Sequence[Any], keywords: dict[str, Any], error: Exception) -> Exception:
    """Return the error for a NumPy call that failed: the op, its operands, the sizes that clash, NumPy's own words."""
    call = ", ".join([*map(describe, arrays), *(f"{k}={describe(v)}" for k, v in keywords.items())])
    kind: type[Exception] = type(error)
    if isinstance(error, ValueError):  # covers numpy.exceptions.AxisError, which is an IndexError as well
        kind = ShapeError
    elif kind not in (TypeError, IndexError, ZeroDivisionError, OverflowError, FloatingPointError):
        return error
    shapes = [tuple(a.shape) for a in arrays if hasattr(a, "shape")]
    clash = _clash(name, shapes) if kind is ShapeError else ""
    reason = str(error).strip() or type(error).__name__
    return kind(f"{name}({call}): {clash or reason}")


def _clash(name: str, shapes: list[tuple[int, ...]]) -> str:
    """Return which two sizes of the shapes do not match, or nothing where that is not what is wrong."""
    if len(shapes) != 2:
        return ""
    x, y = shapes
    if name in ("matmul", "dot"):
        if x and y and x[-1] != (inner := y[-2] if len(y) > 1 else y[0]):
            return f"cannot multiply {x} by {y}: the inner sizes {x[-1]} and {inner} differ; transpose or reshape one"
        x, y = x[:-2], y[:-2]
    for a, b in zip(reversed(x), reversed(y), strict=False):
        if a != b and 1 not in (a, b):
            return (
                f"shapes {shapes[0]} and {shapes[1]} do not broadcast: sizes {a} and {b} clash; "
                "reshape one, or insert an axis with [:, None]"
            )
    return ""
