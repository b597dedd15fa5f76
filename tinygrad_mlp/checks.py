"""Checks of arguments, and what becomes an array: once for the whole package.

A value out of its range raises OptionError, a ValueError; one of another type TypeError. Both say the same sentence.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, DtypeError, ShapeError, describe, out_of_range

Array = NDArray[Any]
T = TypeVar("T", bound=Any)
"""An array or a Tensor: what goes in decides what comes out."""


def check_number(name: str, value: Any, low: float, high: float, expected: str, closed: bool = False) -> None:
    """Raise an error unless a value is a number with low <= value < high, or value <= high if the range is closed.

    >>> check_number("momentum", 1.5, 0, 1, "in [0, 1)")
    Traceback (most recent call last):
    tinygrad_mlp.errors.OptionError: momentum must be in [0, 1), got 1.5
    """
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(str(out_of_range(name, value, expected)))
    if not (low <= value < high or (closed and value == high)):
        raise out_of_range(name, value, expected)


def check_share(name: str, value: Any) -> None:
    """Raise an error unless a value is a number from 0 to 1."""
    check_number(name, value, 0, 1, "a number from 0 to 1", closed=True)


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


def as_numbers(value: Any) -> Array:
    """Return what `as_array` does, or raise DtypeError if it holds something else than numbers.

    >>> as_numbers(["1", "2"])
    Traceback (most recent call last):
    tinygrad_mlp.errors.DtypeError: ['1', '2'] has dtype <U1, expected numbers; convert it to float32/float64
    """
    array = as_array(value)
    if array.dtype.kind not in "biufc":
        raise DtypeError(f"{describe(value)} has dtype {array.dtype}, expected numbers; convert it to float32/float64")
    return array


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
    try:
        return np.asarray(check_labels(labels, limit, name), np.int64)
    except ValueError as error:
        raise DataError(str(error)) from None


def check_labels(labels: T, classes: int, name: str = "labels") -> T:
    """Return labels, or raise ValueError, naming the first one that is no whole number in 0..classes-1."""
    whole = not issubclass(labels.dtype.type, np.floating) or (labels == np.floor(labels)).all()
    # argmax, because it takes a fraction of the time of max; a NaN is the largest there
    if labels.size and not (whole and labels[labels.argmin()] >= 0 and labels[labels.argmax()] < classes):
        i = ((labels < 0) | (labels >= classes) | (labels != np.floor(labels))).argmax()
        raise ValueError(f"{name}[{i}] is {labels[i]}, expected a whole number in 0..{classes - 1}")
    return labels
