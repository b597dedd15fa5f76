"""Checks of arguments, and what becomes an array: once for the whole package.

A value out of its range raises OptionError, a ValueError; one of another type TypeError. Both say the same sentence.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, DtypeError, OptionError, ShapeError, describe, nearest, out_of_range

Array = NDArray[Any]
T = TypeVar("T", bound=Any)
"""An array or a Tensor: what goes in decides what comes out."""
Check = Callable[[str, Any], object]
"""What raises an error, which calls a value by its name, if the value is not as it should be."""


def check_number(name: str, value: Any, low: float, high: float, expected: str, closed: bool = False) -> None:
    """Raise an error unless a value is a number with low <= value < high, or value <= high if the range is closed.

    >>> check_number("momentum", 1.5, 0, 1, "in [0, 1)")
    Traceback (most recent call last):
    tinygrad_mlp.errors.OptionError: momentum must be in [0, 1), got 1.5
    """
    if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__") or bool(getattr(value, "shape", ())):
        raise TypeError(str(out_of_range(name, value, expected)))
    if not (low <= value < high or (closed and value == high)):
        raise out_of_range(name, value, expected)


def check_share(name: str, value: Any) -> None:
    """Raise an error unless a value is a number from 0 to 1."""
    check_number(name, value, 0, 1, "a number from 0 to 1", closed=True)


def check_below_one(name: str, value: Any) -> None:
    """Raise an error unless a value is a number from 0 to less than 1, as a decay is."""
    check_number(name, value, 0, 1, "in [0, 1)")


def check_not_negative(name: str, value: Any) -> None:
    """Raise an error unless a value is a finite number that is not negative."""
    check_number(name, value, 0, math.inf, "a finite number >= 0")


def check_positive(name: str, value: Any) -> None:
    """Raise an error unless a value is a finite number greater than 0."""
    check_number(name, value, math.ulp(0.0), math.inf, "a finite number > 0")


def check_integer(name: str, value: Any, low: int = 1, high: float = math.inf, what: str = "") -> int:
    """Return a value as int, or raise an error unless it is an integer in low..high, where ``what`` says what high is.

    >>> check_integer("k", np.int64(5))
    5
    >>> check_integer("k", 5, 1, 3, "the number of classes")
    Traceback (most recent call last):
    tinygrad_mlp.errors.OptionError: k must be an integer in 1..3, the number of classes, got 5
    """
    expected = f"an integer >= {low}" if high == math.inf else f"an integer in {low}..{high}{what and f', {what}'}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(str(out_of_range(name, value, expected)))
    if not low <= value <= high:
        raise out_of_range(name, value, expected)
    return int(value)


def check_flag(name: str, value: Any) -> None:
    """Raise TypeError unless a value is True or False.

    >>> check_flag("nesterov", "no")
    Traceback (most recent call last):
    TypeError: nesterov must be True or False, got 'no'
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(str(out_of_range(name, value, "True or False")))


def check_choice(what: str, value: Any, valid: Collection[str]) -> None:
    """Raise OptionError unless a value is one of the valid names.

    >>> check_choice("reduction", "avg", ["mean", "sum"])
    Traceback (most recent call last):
    tinygrad_mlp.errors.OptionError: unknown reduction 'avg'; Valid: mean, sum
    """
    if not isinstance(value, str) or value not in valid:
        raise OptionError(f"unknown {what} {describe(value)}; {nearest(value, valid)}")


def check_kind(name: str, value: Any, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise TypeError unless a value is an instance of a class.

    >>> check_kind("y", list, list, "a list, such as [1]")
    Traceback (most recent call last):
    TypeError: y must be a list, such as [1], got the class list; pass an instance, list(...)
    """
    if not isinstance(value, kind):
        is_class = isinstance(value, type) and issubclass(value, kind)
        got = f"the class {value.__name__}; pass an instance, {value.__name__}(...)" if is_class else describe(value)
        raise TypeError(f"{name} must be {expected}, got {got}")


def as_path(path: Any) -> Path:
    """Return the name of a file as a Path.

    >>> as_path(None)
    Traceback (most recent call last):
    TypeError: path must be the name of a file, such as 'model.npz', got None
    """
    check_kind("path", path, (str, os.PathLike), "the name of a file, such as 'model.npz'")
    return Path(path)


def why_not_called(function: Any, *args: Any) -> str:
    """Return why a function cannot be called with these arguments, or nothing: one that does not tell its own can.

    >>> why_not_called(lambda x: x, 1, 2)
    'too many positional arguments'
    """
    import inspect

    try:
        inspect.signature(function).bind(*args)
    except (TypeError, ValueError) as error:
        return str(error) if isinstance(error, TypeError) else ""
    return ""


def parameter_names(function: Any) -> list[str]:
    """Return what a function calls its arguments, or nothing if it does not tell.

    >>> parameter_names(lambda x, y: x)
    ['x', 'y']
    """
    import inspect

    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def check_function(name: str, value: Any, example: str, count: int) -> None:
    """Raise TypeError unless a value can be called with ``count`` arguments.

    >>> check_function("augment", np.negative, "augment(xb, rng)", 2)  # what does not tell its arguments passes
    >>> check_function("augment", lambda x: x, "augment(xb, rng)", 2)
    Traceback (most recent call last):
    TypeError: augment must be a function, called as augment(xb, rng), got <lambda>: too many positional arguments
    """
    problem = why_not_called(value, *[None] * count) if callable(value) else "it is none"
    if isinstance(value, type):
        problem = f"it is a class, pass an instance, {value.__name__}()"
    if problem:
        raise TypeError(f"{name} must be a function, called as {example}, got {describe(value)}: {problem}")


_default: list[np.random.Generator] = []
"""The Generator that others are spawned by, once it is needed: to load `numpy.random` takes longer than this package.
"""


def seed(value: int | None) -> None:
    """Make all that draws random numbers without an ``rng`` of its own repeatable: initial weights, dropout, ...

    What is made afterwards gets a Generator each, spawned by one of this seed; None makes that one a fresh one again.
    ``np.random.seed`` has no effect here.

    >>> import tinygrad_mlp as tg
    >>> tg.seed(0)
    >>> first = tg.nn.Linear(3, 2)
    >>> tg.seed(0)
    >>> bool((tg.nn.Linear(3, 2).weight.data == first.weight.data).all())
    True
    """
    _default[:] = [] if value is None else [as_generator(value, "seed")]


def as_generator(rng: Any, name: str = "rng") -> np.random.Generator:
    """Return a Generator, made of a seed unless it is one; None spawns one from the default, see `seed`.

    >>> as_generator(-1, "seed")
    Traceback (most recent call last):
    tinygrad_mlp.errors.OptionError: seed must be an integer >= 0, a Generator or None, got -1
    """
    if rng is None:
        if not _default:
            _default.append(np.random.default_rng())
        return _default[0].spawn(1)[0]
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        wrong = out_of_range(name, rng, "an integer >= 0, a Generator or None")
        raise (wrong if isinstance(error, ValueError) else TypeError(str(wrong))) from None


def as_float_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a dtype of floats, or raise DtypeError.

    >>> as_float_dtype(int)
    Traceback (most recent call last):
    tinygrad_mlp.errors.DtypeError: dtype must be one of floats, got int; use float32/float64
    """
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind != "f":
        raise DtypeError(f"dtype must be one of floats, got {describe(dtype)}; use float32/float64")
    return found


def check_generator(rng: Any) -> None:
    """Raise TypeError unless random numbers come from a Generator.

    >>> check_generator(42)
    Traceback (most recent call last):
    TypeError: rng must be a Generator, such as np.random.default_rng(seed), got 42
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a Generator, such as np.random.default_rng(seed), got {describe(rng)}")


def as_array(value: Any) -> Array:
    """Return an array, list, DataFrame, Series or Tensor as a NumPy array, without a copy where there is a way.

    A Tensor is detached from its graph. Columns that are numbers of several kinds become floats. Raises ShapeError for
    a list whose rows differ in length.

    >>> as_array([[1, 2], [3]])
    Traceback (most recent call last):
    tinygrad_mlp.errors.ShapeError: [[1, 2], [3]] is no array: its rows differ in length; make them equal
    """
    if hasattr(value, "to_numpy"):
        frame, value = value, value.to_numpy()
        dtypes = [frame.dtype] if frame.ndim == 1 else frame.dtypes
        if value.dtype == object and all(getattr(dtype, "kind", "O") in "biuf" for dtype in dtypes):
            value = frame.to_numpy(np.float64, na_value=np.nan)
    elif hasattr(value, "detach") and hasattr(value, "numpy"):
        value = value.detach().numpy()
    try:
        return np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ShapeError(f"{describe(value)} is no array: its rows differ in length; make them equal") from error


_AS_ARRAYS = {
    "toarray": "x.toarray() makes it dense",
    "batch_size": "pass the arrays themselves, of which batches are made here",
    "keys": "np.column_stack(list(x.values())) puts its columns side by side",
    "__next__": "np.stack(list(x)) collects what it yields",
    "capitalize": "read the file first, with np.load or pandas.read_csv",
}
"""What to do with a thing that is no array, by an attribute that it has."""


def to_an_array(value: Any) -> str:
    """Return how to make an array of what is none, or nothing."""
    return next((advice for name, advice in _AS_ARRAYS.items() if hasattr(value, name)), "")


def as_numbers(value: Any, name: str = "") -> Array:
    """Return what `as_array` does, or raise DtypeError if it holds something else than numbers.

    >>> as_numbers(["1", "2"])
    Traceback (most recent call last):
    tinygrad_mlp.errors.DtypeError: ['1', '2'] has dtype <U1, expected numbers; convert it to float32/float64
    """
    array = as_array(value)
    if array.dtype.kind not in "biufc":
        hint = (
            not isinstance(value, str) and array.ndim == 0 and to_an_array(value)
        ) or "convert it to float32/float64"
        what = f"{name}: {describe(value)}" if name else describe(value)
        raise DtypeError(f"{what} has dtype {array.dtype}, expected numbers; {hint}")
    return array


def as_operand(a: Any, own: bool = False) -> Any:
    """Return an operand that is no Tensor as ops take it: NumPy scalars and 0-d arrays as Python scalars.

    So float32 stays float32 in ``x * np.sqrt(2.0)``, as it does in ``x * 1.4142135623730951``. A list becomes an array
    of its own, but for functions of our ``own``, where it is a shape or an index.
    """
    if isinstance(a, (list, tuple)):
        return a if own else as_numbers(a).copy()
    if isinstance(a, np.generic) or (isinstance(a, np.ndarray) and a.ndim == 0):
        return a.item()
    if isinstance(a, (int, float, np.ndarray)) or not hasattr(a, "__array__"):
        return a
    return as_operand(np.asarray(a))


def as_result(name: str, out: Any, several: bool = False) -> Any:
    """Return what an op gives as an array, or as some if it may be ``several``; raise TypeError if it is none."""
    if isinstance(out, np.generic):
        return np.asarray(out)
    listed = isinstance(out, (list, tuple))
    if listed and several:
        return type(out)(map(np.asarray, out))
    array = np.asarray(None if listed else out)
    if array.dtype.kind in "biufc":
        return array
    hint = "join several with np.stack or np.concatenate, and take them apart by an index"
    raise TypeError(f"{name} gives {describe(out)}, but an op gives one array or number; {hint}")


def as_classes(labels: Any, num_classes: int | None = None, name: str = "labels") -> Array:
    """Return labels (N,) as int64, having checked that each is the number of a class, in 0..num_classes-1.

    Raises ShapeError unless the labels are one-dimensional, DtypeError unless they are numbers, and DataError, with the
    first bad value and its position, for a label that is NaN, has a fraction or is out of range.

    >>> as_classes(np.array([2.0, 0.0, 1.5]), 3)
    Traceback (most recent call last):
    tinygrad_mlp.errors.DataError: labels[2] is 1.5, expected a whole number in 0..2
    """
    limit = np.iinfo(np.int32).max if num_classes is None else check_integer("num_classes", num_classes)
    labels = as_array(labels)
    if labels.ndim != 1:
        raise ShapeError(f"{name} has shape {labels.shape}, expected (N,): the number of a class for each row")
    if labels.dtype.kind not in "biuf":
        raise DtypeError(f"{name} is {describe(labels)}, expected whole numbers; convert it with astype(int)")
    if labels.size == 0:
        raise DataError(f"{name} is empty, expected at least one label")
    return np.asarray(check_labels(labels, limit, name), np.int64)


def check_labels(labels: T, classes: int, name: str = "labels") -> T:
    """Return labels, or raise DataError, naming the first one that is no whole number in 0..classes-1."""
    whole = not issubclass(labels.dtype.type, np.floating) or (labels == np.floor(labels)).all()
    # argmax, because it takes a fraction of the time of max; a NaN is the largest there
    if labels.size and not (whole and labels[labels.argmin()] >= 0 and labels[labels.argmax()] < classes):
        i = ((labels < 0) | (labels >= classes) | (labels != np.floor(labels))).argmax()
        raise DataError(f"{name}[{i}] is {labels[i]}, expected a whole number in 0..{classes - 1}")
    return labels


def check_probabilities(p: T) -> T:
    """Return probabilities, or raise DataError, naming the first one that is outside [0, 1]."""
    bad = ~((p >= 0) & (p <= 1))
    if bad.any():
        i = tuple(np.argwhere(bad)[0].tolist())
        hint = "apply a sigmoid first, or use binary_cross_entropy_with_logits on the logits"
        raise DataError(f"probability {p[i]} at position {i} is outside [0, 1]; {hint}")
    return p


def check_target(scores: tuple[int, int], target: Any) -> None:
    """Raise an error unless a target has labels (N,) or probabilities (N, C) for scores of the shape (N, C)."""
    n, classes = scores
    if classes < 2:
        hint = "use mse_loss for regression, binary_cross_entropy_with_logits for one logit of two classes"
        raise ShapeError(f"scores of shape {scores} leave no choice of a class; {hint}")
    if target.shape == scores:
        return
    if target.ndim != 1:
        raise ShapeError(f"target has shape {target.shape}; expected labels ({n},) or probabilities ({n}, {classes})")
    if len(target) != n:
        samples = f"scores of shape {scores} are for {n} samples, the target for {len(target)}"
        raise ShapeError(f"{samples}; pass one label for each")
    if target.dtype.kind not in "biuf":
        raise DtypeError(f"labels have dtype {target.dtype}; convert them to integers 0..{classes - 1}")


def check_same_shape(name: str, prediction: tuple[int, ...], target: tuple[int, ...]) -> None:
    """Raise ShapeError if the shapes of a prediction and its target differ, for the loss of this name.

    >>> check_same_shape("mse_loss", (2,), (3,))
    Traceback (most recent call last):
    tinygrad_mlp.errors.ShapeError: mse_loss: prediction has shape (2,) and target (3,); reshape one
    """
    if prediction != target:
        try:
            would = f"; they would broadcast to {np.broadcast_shapes(prediction, target)}"
        except ValueError:
            would = ""
        columns = {(*target, 1): "pass target[:, None]", target[:-1]: "pass target[:, 0]"}
        hint = columns.get(prediction, "reshape one")
        raise ShapeError(f"{name}: prediction has shape {prediction} and target {target}{would}; {hint}")


def check_square(name: str, x: Any) -> None:
    """Raise ShapeError, for the function of this name, unless ``x`` holds square matrices."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name} takes square matrices, got shape {x.shape}")
