"""How much each row counts in a loss: the weights of classes and of samples."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import copy
from functools import partial
from typing import Any

import numpy as np

from ..checks import Array, as_array, as_classes
from ..core.tensor import Tensor
from ..errors import DataError, OptionError, ShapeError, describe
from ..nn.module import Module
from .data import check_rows


def row_weights(y: Array, class_weight: Any, sample_weight: Any, name: str = "") -> Array | None:
    """Return a weight (N,) for each row, the product of both kinds; None if there is neither.

    ``class_weight`` is a dict from labels, each of which counts as 1 if it is not there, an array (C,), or "balanced":
    then each class has the same part in the loss, however rare it is, as in scikit-learn.

    >>> row_weights(np.array([0, 0, 0, 1]), "balanced", None)
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    weights = np.ones(len(y))
    if class_weight is not None:
        labels = as_classes(y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, None, f"{name}y with class_weight")
        weights = _of_classes(class_weight, int(labels.max()) + 1, labels)[labels]
    if sample_weight is not None:
        own = as_array(check_rows(sample_weight, f"{name}sample_weight")).astype(float)
        if own.shape != (len(y),):
            raise ShapeError(f"{name}sample_weight has shape {own.shape}, expected ({len(y)},): one for each row")
        weights = weights * own
    bad = ~((weights >= 0) & (weights < np.inf))
    if bad.any() or not weights.any():
        at = bad.argmax()
        raise DataError(f"{name}weights must be finite, >= 0 and not all 0, got {weights[at]} for row {at}")
    return None if class_weight is None and sample_weight is None else weights


def _of_classes(class_weight: Any, count: int, labels: Array) -> Array:
    """Return the weights of classes 0..count-1."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise OptionError(f"class_weight must be a dict, an array (C,) or 'balanced', got {class_weight!r}")
        sizes = np.bincount(labels, minlength=count)
        return len(labels) / (np.count_nonzero(sizes) * np.maximum(sizes, 1))
    if isinstance(class_weight, Mapping):
        if strange := [label for label in class_weight if not isinstance(label, (int, float, np.number))]:
            raise OptionError(
                f"class_weight has {describe(strange[0])}, expected labels, 0..{count - 1}; write them as y has them"
            )
        return np.array([float(class_weight.get(label, 1.0)) for label in range(count)])
    weights = as_array(class_weight).astype(float)
    if weights.ndim != 1 or len(weights) < count:
        raise ShapeError(f"class_weight is {describe(weights)}, expected ({count},): one for each class")
    return weights


def weighted(loss: Any) -> Any:
    """Return a function of (outputs, targets, weights): the mean over the rows of weight times loss.

    Raises:
        OptionError: the loss takes no ``reduction``, so that it cannot give the loss of each row.
    """
    by_row: Any
    if isinstance(loss, Module) and hasattr(loss, "reduction"):
        by_row = copy(loss)
        by_row.reduction = "none"
    elif "reduction" in inspect.signature(loss).parameters:
        by_row = partial(loss, reduction="none")
    else:
        raise OptionError(f"with weights, loss must take reduction='none', which {describe(loss)} does not")

    def mean(outputs: Tensor, targets: Any, weights: Any) -> Tensor:
        losses = by_row(outputs, targets)
        if losses.shape[:1] != outputs.shape[:1]:
            raise ShapeError(f"the loss returned {describe(losses)} for reduction='none'; expected one for each row")
        if losses.ndim > 1:
            losses = losses.mean(axis=tuple(range(1, losses.ndim)))
        return (losses * weights).mean()

    return mean
