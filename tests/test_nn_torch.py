"""PyTorch as an oracle: the same state gives the same outputs, gradients, running statistics and text, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mlp import nn, optim
from tinygrad_mlp.core.tensor import Tensor

torch = pytest.importorskip("torch")
tnn = torch.nn
F64 = np.float64

Pair = tuple[Callable[[], nn.Module], Callable[[], Any], tuple[int, ...]]


def draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape)


def tanh_gelu() -> Any:
    return tnn.GELU(approximate="tanh")


PAIRS: list[Pair] = [
    (lambda: nn.Linear(5, 3, dtype=F64), lambda: tnn.Linear(5, 3), (4, 5)),
    (lambda: nn.Linear(3, 5, bias=False, dtype=F64), lambda: tnn.Linear(3, 5, bias=False), (2, 4, 3)),
    (nn.ReLU, tnn.ReLU, (4, 3)),
    (lambda: nn.LeakyReLU(0.2), lambda: tnn.LeakyReLU(0.2), (4, 3)),
    (nn.Sigmoid, tnn.Sigmoid, (4, 3)),
    (nn.Tanh, tnn.Tanh, (4, 3)),
    (nn.GELU, tanh_gelu, (4, 3)),
    (nn.Softplus, tnn.Softplus, (4, 3)),
    (nn.Softmax, lambda: tnn.Softmax(dim=-1), (4, 3)),
    (nn.LogSoftmax, lambda: tnn.LogSoftmax(dim=-1), (4, 3)),
    (nn.Flatten, tnn.Flatten, (2, 3, 4)),
    (lambda: nn.BatchNorm1d(3, dtype=F64), lambda: tnn.BatchNorm1d(3), (5, 3)),
    (lambda: nn.BatchNorm1d(3, dtype=F64), lambda: tnn.BatchNorm1d(3), (4, 3, 2)),
    (
        lambda: nn.BatchNorm1d(3, 1e-3, None, affine=False, dtype=F64),
        lambda: tnn.BatchNorm1d(3, 1e-3, None, affine=False),
        (5, 3),
    ),
    (
        lambda: nn.BatchNorm1d(3, track_running_stats=False, dtype=F64),
        lambda: tnn.BatchNorm1d(3, track_running_stats=False),
        (5, 3),
    ),
    (lambda: nn.LayerNorm(3, dtype=F64), lambda: tnn.LayerNorm(3), (4, 3)),
    (
        lambda: nn.LayerNorm((2, 3), elementwise_affine=False),
        lambda: tnn.LayerNorm((2, 3), elementwise_affine=False),
        (4, 2, 3),
    ),
    (
        lambda: nn.Sequential(nn.Linear(3, 4, dtype=F64), nn.Sequential(nn.BatchNorm1d(4, dtype=F64), nn.Tanh())),
        lambda: tnn.Sequential(tnn.Linear(3, 4), tnn.Sequential(tnn.BatchNorm1d(4), tnn.Tanh())),
        (6, 3),
    ),
    (
        lambda: nn.MLP([6, 5, 4, 3], "gelu", dtype=F64),
        lambda: tnn.Sequential(tnn.Linear(6, 5), tanh_gelu(), tnn.Linear(5, 4), tanh_gelu(), tnn.Linear(4, 3)),
        (7, 6),
    ),
]
IDS = [f"{type(ours()).__name__}-{i}" for i, (ours, _, _) in enumerate(PAIRS)]


def to_torch(model: nn.Module) -> dict[str, Any]:
    return {key: torch.from_numpy(value) for key, value in model.state_dict().items()}


def assert_states_close(ours: nn.Module, theirs: Any) -> None:
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for key, value in mine.items():
        np.testing.assert_allclose(value, other[key].numpy(), rtol=1e-12, atol=1e-14, err_msg=key)


@pytest.mark.parametrize(("make", "make_theirs", "shape"), PAIRS, ids=IDS)
class TestLayers:
    def test_same_state_same_outputs_and_gradients(
        self, make: Callable[[], nn.Module], make_theirs: Callable[[], Any], shape: tuple[int, ...]
    ) -> None:
        ours, theirs = make(), make_theirs().double()
        for i, p in enumerate(ours.parameters()):
            nn.init.normal_(p, 0.5, rng=i)
        theirs.load_state_dict(to_torch(ours), strict=True)
        for step in range(3):
            if step == 2:
                ours.eval(), theirs.eval()
            values = draw(*shape, seed=step)
            x, tx = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
            out, tout = ours(x), theirs(tx)
            np.testing.assert_allclose(out.detach(), tout.detach().numpy(), rtol=1e-12, atol=1e-14)
            weights = draw(*out.shape, seed=3)
            (out * weights).sum().backward()
            (tout * torch.tensor(weights)).sum().backward()
            np.testing.assert_allclose(x.grad, tx.grad.numpy(), rtol=1e-11, atol=1e-13)
        names = [name for name, _ in ours.named_parameters()]
        assert names == [name for name, _ in theirs.named_parameters()]
        for p, tp in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad, tp.grad.numpy(), rtol=1e-11, atol=1e-13, err_msg=p.name)
        assert_states_close(ours, theirs)

    def test_state_of_pytorch_is_taken(
        self, make: Callable[[], nn.Module], make_theirs: Callable[[], Any], shape: tuple[int, ...]
    ) -> None:
        ours, theirs = make(), make_theirs().double()
        theirs(torch.tensor(draw(*shape)))
        assert ours.load_state_dict(theirs.state_dict(), strict=True) == ([], [])
        for key, value in ours.state_dict().items():
            assert np.array_equal(value, theirs.state_dict()[key].numpy())


def test_training_gives_the_same_weights() -> None:
    ours = nn.Sequential(
        nn.Linear(8, 6, rng=0, dtype=F64), nn.BatchNorm1d(6, dtype=F64), nn.ReLU(), nn.Linear(6, 3, rng=1, dtype=F64)
    )
    theirs = tnn.Sequential(tnn.Linear(8, 6), tnn.BatchNorm1d(6), tnn.ReLU(), tnn.Linear(6, 3)).double()
    theirs.load_state_dict(to_torch(ours))
    criterion, theirs_criterion = nn.CrossEntropyLoss(label_smoothing=0.1), tnn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = optim.SGD(ours.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    theirs_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    labels = np.arange(12) % 3
    for step in range(20):
        x = draw(12, 8, seed=step)
        optimizer.zero_grad()
        criterion(ours(x), labels).backward()
        optimizer.step()
        theirs_optimizer.zero_grad()
        theirs_criterion(theirs(torch.tensor(x)), torch.tensor(labels)).backward()
        theirs_optimizer.step()
    assert_states_close(ours, theirs)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss"])
def test_losses_of_equal_shapes(name: str, reduction: str) -> None:
    values, target = 1 / (1 + np.exp(-draw(4, 3))), (draw(4, 3, seed=1) > 0).astype(F64)
    check_loss(getattr(nn, name)(reduction=reduction), getattr(tnn, name)(reduction=reduction), values, target)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_classes(reduction: str) -> None:
    values, labels = draw(5, 3), np.array([0, 2, 1, 1, 0])
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    check_loss(nn.NLLLoss(reduction=reduction), tnn.NLLLoss(reduction=reduction), values, labels)
    for target in (labels, soft):
        for smoothing in (0.0, 0.2):
            options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": reduction}
            check_loss(nn.CrossEntropyLoss(**options), tnn.CrossEntropyLoss(**options), values, target)


def check_loss(ours: nn.Module, theirs: Any, values: Any, target: Any) -> None:
    x, tx = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    loss, theirs_loss = ours(x, target), theirs(tx, torch.tensor(target))
    np.testing.assert_allclose(loss.detach(), theirs_loss.detach().numpy(), rtol=1e-13)
    loss.sum().backward()
    theirs_loss.sum().backward()
    np.testing.assert_allclose(x.grad, tx.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("ours", "theirs"), [
    (nn.Linear(3, 2, bias=False), lambda: tnn.Linear(3, 2, bias=False)),
    (nn.LeakyReLU(0.2), lambda: tnn.LeakyReLU(0.2)),
    (nn.GELU(), tanh_gelu),
    (nn.Flatten(), tnn.Flatten),
    (nn.Dropout(0.2), lambda: tnn.Dropout(0.2)),
    (nn.BatchNorm1d(5, momentum=None, affine=False), lambda: tnn.BatchNorm1d(5, momentum=None, affine=False)),
    (nn.LayerNorm((2, 5)), lambda: tnn.LayerNorm((2, 5))),
    (nn.CrossEntropyLoss(), tnn.CrossEntropyLoss),
    (
        nn.Sequential(nn.MLP([4, 3, 2])[:], nn.Sequential(), nn.Sequential(nn.Tanh())),
        lambda: tnn.Sequential(
            tnn.Sequential(tnn.Linear(4, 3), tnn.ReLU(), tnn.Linear(3, 2)), tnn.Sequential(), tnn.Sequential(tnn.Tanh())
        ),
    ),
])  # fmt: skip
def test_reprs(ours: nn.Module, theirs: Callable[[], Any]) -> None:
    assert repr(ours) == repr(theirs())


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu"])
def test_gains(name: str) -> None:
    assert nn.init.calculate_gain(name) == pytest.approx(tnn.init.calculate_gain(name), rel=1e-15)


@pytest.mark.parametrize(("name", "options"), [
    ("kaiming_uniform_", {"a": 0.3, "mode": "fan_out"}),
    ("kaiming_normal_", {"nonlinearity": "tanh"}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("xavier_normal_", {}),
    ("uniform_", {"a": -2.0, "b": 1.0}),
    ("normal_", {"mean": 1.0, "std": 0.5}),
])  # fmt: skip
def test_initialisers_have_the_same_moments(name: str, options: dict[str, Any]) -> None:
    ours = getattr(nn.init, name)(Tensor(np.empty((300, 500))), rng=0, **options).numpy()
    theirs = getattr(tnn.init, name)(
        torch.empty(300, 500, dtype=torch.float64), generator=torch.Generator().manual_seed(0), **options
    ).numpy()
    std = theirs.std()
    assert abs(ours.mean() - theirs.mean()) < 8 * std / np.sqrt(ours.size)
    assert ours.std() == pytest.approx(std, rel=8 / np.sqrt(2 * ours.size))
    if "uniform" in name:
        assert np.ptp(ours) == pytest.approx(np.ptp(theirs), rel=1e-3)
