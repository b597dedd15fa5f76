"""How good predictions are: accuracy, top-k accuracy, the confusion matrix, and precision and recall of each class.

The names are scikit-learn's; here the predictions come first, as in a loss. Predictions and labels are each either
classes of shape (N,) or a row of C >= 2 scores for each sample, shape (N, C): logits, probabilities or one-hot rows.
The highest score decides, the first of equals.

>>> scores, labels = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 0, 0])
>>> confusion_matrix(scores, labels)
array([[1, 1],
       [0, 1]])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array, as_array, as_classes, check_integer
from ..errors import DataError, DtypeError, ShapeError, describe

__all__ = ["accuracy", "classification_report", "confusion_matrix", "top_k_accuracy"]
__dir__ = __all__.copy  # what Tab offers

if TYPE_CHECKING:
    import pandas as pd


def accuracy(predictions: Any, labels: Any) -> float:
    """Return the share of rows whose predicted class is the label, from 0.0 to 1.0.

    ``predictions`` and ``labels`` are each classes (N,), or scores (N, C) of which the highest decides.

    Raises ShapeError for any other pair of shapes than (N,) or (N, C) with the same N and C, and DataError for scores
    that are NaN, which would otherwise count as a prediction of that class, and for labels that are not whole numbers
    in 0..C-1.

    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    predicted, true, _ = predicted_and_true(predictions, labels)
    return float(np.mean(predicted == true))


def top_k_accuracy(scores: Any, labels: Any, k: int = 5) -> float:
    """Return the share of rows whose label is among the k classes with the highest scores, from 0.0 to 1.0.

    ``scores`` have shape (N, C), and of equal scores the first ranks highest, so that ``k=1`` gives `accuracy`;
    ``labels`` are those of it.

    Raises what `accuracy` does, TypeError for a k that is no whole number, and ValueError unless ``1 <= k <= C``.

    >>> top_k_accuracy([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]], [1, 1], k=2)
    0.5
    """
    scores = as_array(scores)
    if scores.ndim != 2:
        raise ShapeError(f"scores has shape {scores.shape}, expected (N, C): a score for each class")
    _, true, num_classes = predicted_and_true(scores, labels)
    check_integer("k", k, 1, num_classes, "the number of classes")
    own = scores[np.arange(len(scores)), true][:, None]
    ahead = (scores > own) | ((scores == own) & (np.arange(num_classes) < true[:, None]))
    return float(np.mean(np.count_nonzero(ahead, axis=1) < k))


def confusion_matrix(predictions: Any, labels: Any, num_classes: int | None = None) -> Array:
    """Return how often each class was predicted as each: int64 (C, C), rows the true class, columns the predicted one.

    ``predictions`` and ``labels`` are those of `accuracy`. C is ``num_classes``, or else the number of scores in a row,
    or else the largest class + 1. The diagonal counts what is right; the sum of a row is how often the class occurs.

    Raises what `accuracy` does, and ShapeError when ``num_classes`` is not the number of scores in a row.

    >>> confusion_matrix(predictions=[0, 1, 1, 1], labels=[0, 0, 1, 1], num_classes=3)
    array([[1, 1, 0],
           [0, 2, 0],
           [0, 0, 0]])
    """
    predicted, true, num_classes = predicted_and_true(predictions, labels, num_classes)
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def classification_report(predictions: Any, labels: Any) -> pd.DataFrame:
    """Return a row for each class 0..C-1, with its precision, recall, f1 and support, as a DataFrame.

    ``predictions`` and ``labels`` are those of `accuracy`.

    * ``precision``: of what was predicted as the class, the share that is of the class.
    * ``recall``: of what is of the class, the share that was predicted as it.
    * ``f1``: their harmonic mean, ``2 TP / (2 TP + FP + FN)``.
    * ``support``: how many labels are of the class.

    A share of nothing, 0/0, is 0.0, as scikit-learn has it: the precision of a class that was never predicted, the
    recall of one that does not occur. So ``report["f1"].mean()``, the macro average, is not flattered by a model that
    ignores a class.

    Raises what `accuracy` does.

    >>> classification_report(predictions=[0, 1, 1, 1], labels=[0, 0, 1, 1]).round(3)
       precision  recall     f1  support
    0      1.000     0.5  0.667        2
    1      0.667     1.0  0.800        2
    """
    import pandas as pd

    predicted, true, num_classes = predicted_and_true(predictions, labels)
    support, found, hits = (np.bincount(c, minlength=num_classes) for c in (true, predicted, true[predicted == true]))
    columns = {
        "precision": hits / np.maximum(found, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(support + found, 1),
        "support": support,
    }
    return pd.DataFrame(columns)


def predicted_and_true(predictions: Any, labels: Any, num_classes: int | None = None) -> tuple[Array, Array, int]:
    """Return the predicted and the true classes, both int64 (N,), and the number of classes that there are."""
    predictions, labels = as_array(predictions), as_array(labels)
    shapes = f"predictions {predictions.shape} and labels {labels.shape}"
    widths = {array.shape[1] for array in (predictions, labels) if array.ndim == 2}
    if predictions.shape[:1] != labels.shape[:1] or len(widths) > 1 or 1 in widths:
        raise ShapeError(
            f"{shapes} do not fit; expected (N,) classes or (N, C) scores, with the same N and the same C >= 2"
        )
    if widths and num_classes not in (None, *widths):
        raise ShapeError(f"num_classes is {num_classes!r}, but {shapes} have {widths.pop()} scores in a row")
    if labels.ndim == 2 and not (((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
        raise DataError(f"labels {labels.shape} are not one-hot rows; predictions come first, then labels")
    limit = widths.pop() if widths else num_classes
    predicted, true = _best_classes(predictions, limit, "predictions"), _best_classes(labels, limit, "labels")
    return predicted, true, limit or 1 + int(max(predicted.max(), true.max()))


def _best_classes(values: Array, num_classes: int | None, name: str) -> Array:
    if values.size == 0:
        raise DataError(f"{name} is empty: its shape is {values.shape}, expected at least one row")
    if values.ndim != 2:
        return as_classes(values, num_classes, name)
    if values.dtype.kind not in "biuf":
        raise DtypeError(f"{name} is {describe(values)}, expected real numbers")
    if (bad := np.isnan(values)).any():
        at = np.argwhere(bad)[0].tolist()
        raise DataError(f"{name}{at} is nan: these scores decide nothing; look for what made them NaN")
    best: Array = values.argmax(axis=1)
    return best
