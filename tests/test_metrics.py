"""Tests of the metrics: by hand on small cases, by their definitions and by scikit-learn on random ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import DataError, DtypeError, ShapeError, data
from tinygrad_mlp.train.metrics import accuracy, classification_report, confusion_matrix, top_k_accuracy

METRICS = {
    "accuracy": accuracy,
    "top_k_accuracy": lambda scores, labels: top_k_accuracy(scores, labels, 2),
    "confusion_matrix": confusion_matrix,
    "classification_report": classification_report,
}
SCORES = np.array([[0.1, 2.0, 0.3], [5.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 3.0, 2.0]], np.float32)
LABELS = np.array([1, 0, 2, 2], np.uint8)


def samples(seed: int, count: int = 200, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Return random scores without ties, and labels that they are right about in a good part of the rows."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    return rng.normal(size=(count, classes)) + 1.5 * tg.one_hot(labels, classes), labels


def test_accuracy_is_exported_and_has_left_the_data_room() -> None:
    assert tg.accuracy is tg.metrics.accuracy is accuracy
    assert not hasattr(data, "accuracy")


@pytest.mark.parametrize("name", METRICS)
def test_scores_classes_and_one_hot_rows_are_the_same(name: str) -> None:
    metric, classes = METRICS[name], SCORES.argmax(axis=1)
    expected = {
        "accuracy": 0.75,
        "top_k_accuracy": 1.0,
        "confusion_matrix": [[1, 0, 0], [0, 1, 0], [0, 1, 1]],
        "classification_report": [[1, 1, 1, 1], [0.5, 1, 2 / 3, 1], [1, 0.5, 2 / 3, 2]],
    }[name]
    given = [SCORES, SCORES.tolist(), pd.DataFrame(SCORES), tg.Tensor(SCORES, requires_grad=True)]
    if name != "top_k_accuracy":
        given += [classes, pd.Series(classes), tg.one_hot(classes)]
    for predictions in given:
        for truth in (LABELS, LABELS.tolist(), pd.Series(LABELS), tg.Tensor(LABELS), tg.one_hot(LABELS, 3)):
            np.testing.assert_allclose(metric(predictions, truth), expected, rtol=1e-15)


def test_accuracy_at_its_edges() -> None:
    assert type(accuracy(SCORES, LABELS)) is float
    assert accuracy(LABELS, LABELS) == 1.0
    assert accuracy([0, 0], [1, 1]) == 0.0
    assert accuracy([[1.0, 1.0]], [0]) == 1.0
    assert accuracy([[-np.inf, 0.0]], [1]) == 1.0


REFUSED = [
    (np.zeros((4, 3)), [0, 1, 2], ShapeError, "predictions (4, 3) and labels (3,)"),
    (np.zeros((2, 1)), [0, 1], ShapeError, "predictions (2, 1) and labels (2,)"),
    (np.zeros((2, 3)), np.zeros((2, 4)), ShapeError, "predictions (2, 3) and labels (2, 4)"),
    (np.zeros((2, 3)), np.zeros((2, 1)), ShapeError, "labels (2, 1)"),
    (np.zeros((2, 3, 4)), [0, 1], ShapeError, "has shape (2, 3, 4)"),
    (np.zeros((0, 3)), [], DataError, "predictions is empty"),
    (np.zeros((2, 0)), [0, 1], DataError, "predictions is empty"),
    (1, 1, ShapeError, "shape ()"),
    (np.zeros((2, 3)), [0, 3], DataError, "labels[1] is 3, expected a whole number in 0..2"),
    (np.zeros((2, 3)), [0, -1], DataError, "labels[1] is -1"),
    ([[0.0, np.nan], [0.0, 1.0]], [0, 1], DataError, "predictions[0, 1] is nan"),
    (np.zeros((2, 3)), ["a", "b"], DtypeError, "labels is <U1(2,)"),
    (np.array([["a", "b"]]), [0], DtypeError, "predictions is <U1(1, 2)"),
]
REFUSED_AS_CLASSES = [
    ([0, 1], [[0], [1]], ShapeError, "predictions (2,) and labels (2, 1)"),
    ([], [], DataError, "predictions is empty"),
    ([0.2, 0.9], [0, 1], DataError, "predictions[0] is 0.2"),
    ([0, -1], [0, 1], DataError, "predictions[1] is -1"),
]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("predictions", "labels", "error", "fragment"), REFUSED + REFUSED_AS_CLASSES)
def test_refused(name: str, predictions: Any, labels: Any, error: type[Exception], fragment: str) -> None:
    if name == "top_k_accuracy" and np.ndim(predictions) != 2:
        error, fragment = ShapeError, f"scores has shape {np.shape(predictions)}, expected (N, C)"
    with pytest.raises(error) as caught:
        METRICS[name](predictions, labels)
    assert fragment in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_top_k_counts_labels_among_the_best(seed: int) -> None:
    scores, labels = samples(seed)
    for k in range(1, 8):
        best = np.argsort(-scores, axis=1)[:, :k]
        assert top_k_accuracy(scores, labels, k) == np.mean([label in row for label, row in zip(labels, best)])
    assert top_k_accuracy(scores, labels) == top_k_accuracy(scores, labels, 5)


def test_top_k_ranks_the_first_of_equals_highest() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(3, size=(200, 5)), rng.integers(5, size=200)
    assert top_k_accuracy(scores, labels, 1) == accuracy(scores, labels)
    assert [top_k_accuracy([[2.0, 2.0, 2.0]], [1], k) for k in (1, 2, 3)] == [0.0, 1.0, 1.0]
    assert [top_k_accuracy([[-np.inf, 0.0, np.inf]], [0], k) for k in (1, 2, 3)] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("k", "error", "fragment"),
    [
        (0, ValueError, "k must be an integer in 1..3, the number of classes, got 0"),
        (4, ValueError, "k must be an integer in 1..3, the number of classes, got 4"),
        (2.0, TypeError, "k must be an integer in 1..3, the number of classes, got 2.0"),
        (True, TypeError, "k must be an integer in 1..3, the number of classes, got True"),
    ],
)
def test_top_k_refuses_k(k: Any, error: type[Exception], fragment: str) -> None:
    with pytest.raises(error) as caught:
        top_k_accuracy(SCORES, LABELS, k)
    assert fragment in str(caught.value)


def test_confusion_matrix_has_a_row_for_each_true_class() -> None:
    counts = confusion_matrix([0, 2, 2, 2], [0, 1, 1, 2])
    assert counts.tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 1]]
    assert counts.dtype == np.int64
    assert confusion_matrix([0], [0], num_classes=2).tolist() == [[1, 0], [0, 0]]
    assert confusion_matrix([3], [0]).shape == confusion_matrix([0], [3]).shape == (4, 4)
    assert confusion_matrix(SCORES, LABELS, num_classes=3).shape == (3, 3)


@pytest.mark.parametrize(
    ("predictions", "num_classes", "error", "fragment"),
    [
        (SCORES, 4, ShapeError, "num_classes is 4, but predictions (4, 3) and labels (4,) have 3 scores in a row"),
        (SCORES, "3", ShapeError, "num_classes is '3'"),
        ([0, 0, 0, 0], 2, DataError, "labels[2] is 2, expected a whole number in 0..1"),
        ([0, 3, 0, 0], 3, DataError, "predictions[1] is 3, expected a whole number in 0..2"),
        ([0, 0, 0, 0], 0, ValueError, "num_classes must be an integer >= 1, got 0"),
        ([0, 0, 0, 0], 3.0, TypeError, "num_classes must be an integer >= 1, got 3.0"),
    ],
)
def test_confusion_matrix_refuses_num_classes(
    predictions: Any, num_classes: Any, error: type[Exception], fragment: str
) -> None:
    with pytest.raises(error) as caught:
        confusion_matrix(predictions, LABELS, num_classes)
    assert fragment in str(caught.value)


def test_report_follows_from_the_confusion_matrix() -> None:
    scores, labels = samples(0)
    counts, report = confusion_matrix(scores, labels), classification_report(scores, labels)
    assert list(report.columns) == ["precision", "recall", "f1", "support"]
    assert report.index.tolist() == list(range(7))
    precision, recall = counts.diagonal() / counts.sum(axis=0), counts.diagonal() / counts.sum(axis=1)
    np.testing.assert_array_equal(report["precision"], precision)
    np.testing.assert_array_equal(report["recall"], recall)
    np.testing.assert_allclose(report["f1"], 2 * precision * recall / (precision + recall), rtol=1e-14)
    assert report["support"].tolist() == np.bincount(labels).tolist()


def test_a_share_of_nothing_is_zero() -> None:
    report = classification_report([0, 0, 0, 3], [0, 0, 1, 0])
    never_predicted, absent, does_not_occur = (report.loc[c].tolist() for c in (1, 2, 3))
    assert never_predicted == [0.0, 0.0, 0.0, 1.0]
    assert absent == [0.0, 0.0, 0.0, 0.0]
    assert does_not_occur == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees(seed: int) -> None:
    peer = pytest.importorskip("sklearn.metrics")
    scores, labels = samples(seed)
    predictions = scores.argmax(axis=1)
    predictions[predictions == 2], labels[labels == 3] = 1, 4  # one class is never predicted, another does not occur
    classes = np.arange(7)
    assert accuracy(predictions, labels) == peer.accuracy_score(labels, predictions)
    for k in range(1, 7):
        expected = peer.top_k_accuracy_score(labels, scores, k=k, labels=classes)
        assert top_k_accuracy(scores, labels, k) == pytest.approx(expected, rel=1e-15)
    np.testing.assert_array_equal(
        confusion_matrix(predictions, labels, 7), peer.confusion_matrix(labels, predictions, labels=classes)
    )
    columns = peer.precision_recall_fscore_support(labels, predictions, labels=classes, zero_division=0)
    np.testing.assert_allclose(classification_report(predictions, labels), np.transpose(columns), rtol=1e-14)


def test_labels_are_in_one_class_each():
    for labels in ([[1, 1], [0, 1]], [[0, 0], [0, 1]]):
        with pytest.raises(DataError, match="are not one-hot rows"):
            confusion_matrix([0, 1], labels)


def test_labels_are_no_probabilities():
    with pytest.raises(DataError, match="predictions come first"):
        confusion_matrix([0, 1], [[0.3, 0.7], [0.8, 0.2]])
