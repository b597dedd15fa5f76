"""Every module and loss of the package is right by the checker: alone and with every other, in train and eval mode."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mlp import nn
from tinygrad_mlp.tools.gradcheck import Report, gradcheck

BATCH, WIDTH = 6, 4
Rng = np.random.Generator


class FixedDropout(nn.Module):
    """A dropout that drops the same elements whenever it is called."""

    def __init__(self) -> None:
        self.dropout = nn.Dropout(0.4, rng=np.random.default_rng(0))

    def forward(self, x: Any) -> Any:
        self.dropout.rng = np.random.default_rng(0)
        return self.dropout(x)


MODULES: dict[str, Callable[[Rng], nn.Module]] = {
    "BatchNorm1d": lambda rng: nn.BatchNorm1d(WIDTH),
    "Dropout": lambda rng: FixedDropout(),
    "Flatten": lambda rng: nn.Flatten(),
    "GELU": lambda rng: nn.GELU(),
    "LayerNorm": lambda rng: nn.LayerNorm(WIDTH),
    "LeakyReLU": lambda rng: nn.LeakyReLU(),
    "Linear": lambda rng: nn.Linear(WIDTH, WIDTH, rng=rng),
    "LogSoftmax": lambda rng: nn.LogSoftmax(),
    "MLP": lambda rng: nn.MLP([WIDTH, 5, WIDTH], rng=rng),
    "ReLU": lambda rng: nn.ReLU(),
    "Sequential": lambda rng: nn.Sequential(nn.Linear(WIDTH, WIDTH, rng=rng), nn.Tanh()),
    "Sigmoid": lambda rng: nn.Sigmoid(),
    "Softmax": lambda rng: nn.Softmax(),
    "Softplus": lambda rng: nn.Softplus(),
    "Tanh": lambda rng: nn.Tanh(),
}
LABELS = np.arange(BATCH) % WIDTH
TARGETS = np.random.default_rng(1).uniform(0.1, 0.9, (BATCH, WIDTH))
LOSSES: dict[str, Callable[[Any], Any]] = {
    "BCELoss": lambda x: nn.BCELoss()(nn.Sigmoid()(x), TARGETS),
    "BCEWithLogitsLoss": lambda x: nn.BCEWithLogitsLoss()(x, TARGETS),
    "CrossEntropyLoss": lambda x: nn.CrossEntropyLoss(label_smoothing=0.1)(x, LABELS),
    "HuberLoss": lambda x: nn.HuberLoss(delta=0.7)(x, TARGETS),
    "L1Loss": lambda x: nn.L1Loss()(x, TARGETS),
    "MSELoss": lambda x: nn.MSELoss()(x, TARGETS),
    "NLLLoss": lambda x: nn.NLLLoss()(nn.LogSoftmax()(x), LABELS),
    "the sum": lambda x: x.sum(),
    "all elements": lambda x: x,
}
PAIRS = list(itertools.product(MODULES, MODULES, LOSSES, (True, False)))


def check(names: tuple[str, ...], loss: str, training: bool, seed: int = 0) -> Report:
    """Check a network of modules and a loss, by its parameters and its inputs."""
    rng = np.random.default_rng(seed)
    model = nn.Sequential(*(MODULES[name](rng) for name in names))
    model(rng.normal(size=(BATCH, WIDTH)).astype(np.float32))  # statistics that are not those of the start
    model.train(training)
    with warnings.catch_warnings():  # every module meets every loss, also one that computes its softmax itself
        warnings.filterwarnings(
            "ignore", "(cross_entropy|binary_cross_entropy_with_logits|nll_loss) takes", UserWarning
        )
        return gradcheck(
            lambda model, x: LOSSES[loss](model(x)), [model, rng.normal(size=(BATCH, WIDTH))], raise_on_fail=False
        )


def test_all_are_here() -> None:
    public = {name for name, value in vars(nn).items() if inspect.isclass(value) and issubclass(value, nn.Module)}
    assert {*MODULES, *LOSSES} - {"the sum", "all elements"} == public - {"Module"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_a_module_alone(name: str, training: bool) -> None:
    for loss in ("the sum", "all elements"):
        assert check((name,), loss, training).ok, loss


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_alone(loss: str) -> None:
    x = np.random.default_rng(0).normal(size=(BATCH, WIDTH))
    assert gradcheck(LOSSES[loss], x).ok


@pytest.mark.parametrize("start", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (13, 26))])
def test_modules_and_losses_together(start: int) -> None:
    """A share of the next test, in which every module meets every loss: each is in it, in each place and mode."""
    share = PAIRS[start::65]
    assert [len(set(kind)) for kind in zip(*share, strict=True)] == [len(MODULES), len(MODULES), len(LOSSES), 2]
    for first, second, loss, training in share:
        report = check((first, second), loss, training)
        assert report.ok, (first, second, loss, training, report)


def test_small_derivatives_beside_those_of_other_inputs_are_resolved() -> None:
    assert check(("BatchNorm1d", "Sigmoid"), "BCEWithLogitsLoss", training=True).ok


def test_what_one_slope_is_too_rough_for_is_resolved_by_the_mean_of_many() -> None:
    assert check(("BatchNorm1d", "Softmax"), "BCELoss", training=True).ok


@pytest.mark.slow
@pytest.mark.parametrize("first", MODULES)
def test_every_module_with_every_other_and_every_loss(first: str) -> None:
    failed = [names for names in PAIRS if names[0] == first and not check(names[:2], names[2], names[3]).ok]
    assert not failed
