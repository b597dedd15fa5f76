"""Tests of the hand-written network and its repairs: each fault shows in the gradients, and in the accuracy."""

from __future__ import annotations

import importlib
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F

EXAMPLES = Path(__file__).parents[1] / "examples"
Array = np.ndarray[Any, Any]


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("notebook_pieces")


@pytest.fixture
def from_nan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("from_nan")


def small_network() -> tuple[list[Array], Array, Array]:
    """Return weights, five inputs of six features, and one-hot labels."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((6, 8), (8,), (8, 10), (10,))]
    return weights, rng.normal(size=(5, 6)), np.eye(10)[[3, 1, 4, 1, 5]]


def framework_gradients(weights: list[Array], x: Array, y: Array) -> list[Array]:
    w1, b1, w2, b2 = parameters = [tg.Tensor(w, requires_grad=True) for w in weights]
    logits = F.relu(x @ w1 + b1) @ w2 + b2
    loss = F.binary_cross_entropy_with_logits(logits, y, reduction="sum") / len(y)
    return [g.numpy() for g in tg.grad(loss, parameters)]


def hand_written_gradients(module: ModuleType, chosen: Any) -> list[Array]:
    weights, x, y = small_network()
    return list(module.backward(weights, x, y, *module.forward(weights, x, chosen), chosen))


def largest_errors(gradients: list[Array], expected: list[Array]) -> list[float]:
    return [float(np.max(np.abs(g - e)) / np.max(np.abs(e))) for g, e in zip(gradients, expected, strict=True)]


def test_repaired_pieces_give_the_gradients_of_the_framework(pieces: ModuleType) -> None:
    gradients = hand_written_gradients(pieces, pieces.AFTER)
    assert max(largest_errors(gradients, framework_gradients(*small_network()))) < 1e-13


def test_cost_is_the_binary_cross_entropy_of_the_framework(pieces: ModuleType) -> None:
    weights, x, y = small_network()
    _, _, a = pieces.forward(weights, x, pieces.AFTER)
    assert pieces.cost(a, y) == pytest.approx(F.binary_cross_entropy(a, y, reduction="sum") / len(y), rel=1e-14)


@pytest.mark.parametrize(
    ("fault", "right"),
    [
        ("cost_gradient", []),
        ("sigmoid_gradient", []),
        ("relu_backward", [2, 3]),  # the second layer lies before ReLU on the way back
        ("relu", [2, 3]),
    ],
)
def test_each_fault_alone_makes_gradients_wrong(pieces: ModuleType, fault: str, right: list[int]) -> None:
    chosen = pieces.AFTER._replace(**{fault: getattr(pieces.BEFORE, fault)})
    errors = largest_errors(hand_written_gradients(pieces, chosen), framework_gradients(*small_network()))
    assert [i for i, error in enumerate(errors) if error < 1e-13] == right
    assert all(error > 0.1 for i, error in enumerate(errors) if i not in right)


def test_the_lost_sign_turns_every_gradient_round(pieces: ModuleType) -> None:
    chosen = pieces.AFTER._replace(cost_gradient=pieces.BEFORE.cost_gradient)
    turned = [-g for g in hand_written_gradients(pieces, chosen)]
    assert max(largest_errors(turned, framework_gradients(*small_network()))) < 1e-13


@pytest.mark.parametrize("name", ["relu", "sigmoid_gradient"])
def test_in_place_pieces_return_the_right_values_but_overwrite_their_argument(pieces: ModuleType, name: str) -> None:
    given = np.array([-0.5, 0.25, 0.75])
    before, after = given.copy(), given.copy()
    assert np.array_equal(getattr(pieces.BEFORE, name)(before), getattr(pieces.AFTER, name)(after))
    assert not np.array_equal(before, given)
    assert np.array_equal(after, given)


def test_repairs_at_a_reduced_size(from_nan: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rows = from_nan.main(["--images", "20000", "--epochs", "2"])
    none, sign, sigmoid, relu_backward, relu, *_ = rows.values()
    assert none[2] < 0.15  # climbs; NaN comes later
    assert sign[0] is not None
    assert np.isnan(sign[1])
    assert sign[2] == 0.098  # the share of zeros among the test images
    for nan_since, loss, _ in (sigmoid, relu_backward, relu, rows["framework"]):
        assert nan_since is None
        assert np.isfinite(loss)
    assert none[2] < sigmoid[2] < relu_backward[2] < relu[2] < rows["framework"][2]
    assert sigmoid[1] > relu_backward[1] > relu[1]
    table = capsys.readouterr().out.splitlines()
    assert len([line for line in table if line.endswith("%")]) == len(rows) == 9


def test_a_run_repeats_itself(from_nan: ModuleType) -> None:
    X_train, y_train, X_test, y_test = tg.load_mnist(EXAMPLES / "data" / "mnist.npz")
    data = X_train[:1000], y_train[:1000], X_test, y_test
    first, second = (from_nan.train_by_hand(from_nan.with_repairs(from_nan.REPAIRS), data, 1, 7) for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_the_notebook_ends_in_nan_at_the_share_of_zeros(from_nan: ModuleType) -> None:
    rows = list(from_nan.main([]).values())
    for nan_since, loss, accuracy in rows[:2]:
        assert nan_since < 1000
        assert np.isnan(loss)
        assert accuracy == 0.098
    accuracies = [accuracy for _, _, accuracy in rows[1:5]] + [rows[-1][2]]
    assert all(after > before + 0.005 for before, after in pairwise(accuracies))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "199"], "--images: must be in 200..60000, got 199"),
        (["--images", "60001"], "--images: must be in 200..60000, got 60001"),
        (["--epochs", "0"], "--epochs: must be at least 1, got 0"),
    ],
)
def test_options_out_of_range(
    from_nan: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        from_nan.main(arguments)
    assert message in capsys.readouterr().err
