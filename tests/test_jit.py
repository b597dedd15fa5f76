"""The compiled step: the same bits as eager, no memory but what the plan says, and a source that stands alone."""

from __future__ import annotations

import ast
import hashlib
import itertools
import subprocess
import sys
import tracemalloc
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import RecordingError, Tensor, blas, jit, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.jit import function
from tinygrad_mlp.jit.record import memory_of

Array = np.ndarray[Any, Any]


class Run:
    """A model, what trains it and what it is trained on: two of the same kind and seed start with the same bits."""

    def __init__(self, build: Callable[[], dict[str, Any]]) -> None:
        parts = build()
        self.model: Any = parts["model"]
        self.optimizers: list[Any] = parts.get("optimizers", [])
        self.step: Any = parts["step"]
        self.after: Callable[[int], None] = parts.get("after", lambda i: None)

    def state(self) -> dict[str, Any]:
        """Return, as bytes and numbers, all that a step may change."""
        found: dict[str, Any] = {}
        for name, t in (*self.model.named_parameters(), *self.model.named_buffers()):
            found[name] = (t.dtype.str, t.shape, t._data.tobytes())
            found[f"grad of {name}"] = (
                None if t._grad is None else (t._grad.dtype.str, t._grad.shape, t._grad._data.tobytes())
            )
        for i, o in enumerate(self.optimizers):
            for group in o.param_groups:
                for p in group["params"]:
                    for key, value in o.state.get(p, {}).items():
                        found[f"{i} {p.name} {key}"] = value._data.tobytes() if isinstance(value, Tensor) else value
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Dropout):
                found[f"generator of {name}"] = repr(module.rng.bit_generator.state)
        return found


def leaves(result: Any) -> list[Any]:
    if isinstance(result, dict):
        return [x for k, v in result.items() for x in (k, *leaves(v))]
    if isinstance(result, (tuple, list)):
        return [x for v in result for x in leaves(v)]
    return [(result.dtype.str, result.shape, result._data.tobytes()) if isinstance(result, Tensor) else result]


def assert_same_bits(build: Callable[[], dict[str, Any]], batches: Callable[[int], tuple[Any, ...]], steps: int) -> Any:
    """Run an eager and a compiled copy on the same data; every bit that a step leaves must be the same, every step."""
    eager, compiled = Run(build), Run(build)
    step = jit(compiled.step)
    for i in range(steps):
        batch = batches(i)
        expected = eager.step(*[Tensor(a) if isinstance(a, np.ndarray) else a for a in batch])
        result = step(*batch)
        assert leaves(result) == leaves(expected), f"returned values, step {i}"
        was, now = eager.state(), compiled.state()
        assert was.keys() == now.keys()
        for key in was:
            assert was[key] == now[key], f"{key}, step {i}"
        eager.after(i)
        compiled.after(i)
    assert step.last.test is not None, "nothing has been compiled"
    return step


def data(
    features: int = 12, classes: int = 5, n: int = 150, batch: int = 32, dtype: Any = np.float32
) -> Callable[[int], tuple[Any, ...]]:
    """Return batches of a small problem, epoch after epoch, the last one of each shorter."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, features)).astype(dtype)
    y = rng.integers(0, classes, n)
    count = -(-n // batch)

    def batches(i: int) -> tuple[Any, ...]:
        rows = slice(i % count * batch, (i % count + 1) * batch)
        return X[rows], y[rows]

    return batches


def trainer(
    make: Callable[[], Any],
    optimizer: Callable[[Any], Any] = lambda p: optim.SGD(p, lr=0.1),
    loss: Callable[..., Any] = F.cross_entropy,
    schedule: Callable[[Any], Any] | None = None,
) -> Callable[[], dict[str, Any]]:
    """Return what builds the usual step."""

    def build() -> dict[str, Any]:
        model = make()
        opt = optimizer(model.parameters())
        plan = None if schedule is None else schedule(opt)

        def step(x: Any, y: Any) -> Any:
            value = loss(model(x), y)
            opt.zero_grad()
            value.backward()
            opt.step()
            return value

        return {"model": model, "optimizers": [opt], "step": step, "after": lambda i: plan.step() if plan else None}

    return build


def everything() -> Any:
    return nn.Sequential(
        nn.Linear(12, 16, rng=0),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.3, rng=1),
        nn.Linear(16, 9, rng=2),
        nn.LayerNorm(9),
        nn.GELU(),
        nn.Dropout(0.1, rng=4),
        nn.Linear(9, 5, rng=3),
    )


MAIN = {
    "sgd": (lambda: nn.MLP([12, 16, 16, 5], rng=0), lambda p: optim.SGD(p, lr=0.1)),
    "momentum": (everything, lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3)),
    "nesterov": (everything, lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    "adam": (everything, lambda p: optim.Adam(p, lr=0.01)),
    "adamw": (everything, lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)),
}


@pytest.mark.parametrize("name", MAIN)
def test_300_steps_with_a_short_last_batch_and_a_schedule(name: str) -> None:
    make, optimizer = MAIN[name]
    build = trainer(make, optimizer, schedule=lambda o: optim.CosineAnnealingLR(o, 301, warmup=20))
    assert_same_bits(build, data(), 300)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[784, 10], [784, 128, 10], [784, *[64] * 10, 10], [784, 512, 10]], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_300_steps_of_the_sizes_that_are_measured(sizes: list[int], dropout: float) -> None:
    build = trainer(lambda: nn.MLP(sizes, dropout=dropout, rng=0), lambda p: optim.SGD(p, lr=0.05, momentum=0.9))
    assert_same_bits(build, data(784, 10, n=500, batch=64), 300)


LAYERS = {
    "linear without bias": lambda: nn.Linear(12, 5, bias=False, rng=0),
    "relu": lambda: nn.ReLU(),
    "leaky relu": lambda: nn.LeakyReLU(0.2),
    "sigmoid": lambda: nn.Sigmoid(),
    "tanh": lambda: nn.Tanh(),
    "gelu": lambda: nn.GELU(),
    "softplus": lambda: nn.Softplus(),
    "softmax": lambda: nn.Softmax(),
    "log softmax": lambda: nn.LogSoftmax(),
    "softmax along rows": lambda: nn.Softmax(0),
    "flatten": lambda: nn.Flatten(),
    "dropout": lambda: nn.Dropout(0.5, rng=5),
    "drop all": lambda: nn.Dropout(1.0, rng=5),
    "drop none": lambda: nn.Dropout(0.0, rng=5),
    "batch norm": lambda: nn.BatchNorm1d(12),
    "batch norm, plain averages": lambda: nn.BatchNorm1d(12, momentum=None),
    "batch norm, not affine": lambda: nn.BatchNorm1d(12, affine=False),
    "batch norm, untracked": lambda: nn.BatchNorm1d(12, track_running_stats=False),
    "layer norm": lambda: nn.LayerNorm(12),
    "layer norm, not affine": lambda: nn.LayerNorm(12, elementwise_affine=False),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, dtype: Any) -> None:
    def make() -> Any:
        layer = LAYERS[name]()
        for module in (layer, *layer.children()):
            for key, value in vars(module).items():
                if isinstance(value, Tensor) and value.dtype.kind == "f":
                    value._data = value._data.astype(dtype)
                    assert vars(module)[key] is value
        before, after = (
            nn.Linear(12, 12, rng=1, dtype=dtype),
            nn.Linear(5 if "linear" in name else 12, 5, rng=2, dtype=dtype),
        )
        return nn.Sequential(before, layer, after)

    assert_same_bits(trainer(make), data(dtype=dtype), 12)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_of_three_axes(momentum: float | None) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 6, 3, 4)).astype(np.float32)

    def make() -> Any:
        return nn.Sequential(nn.BatchNorm1d(3, momentum=momentum), nn.Flatten(), nn.Linear(12, 5, rng=0))

    assert_same_bits(trainer(make), lambda i: (X[i % 8], np.arange(6) % 5), 10)


def test_gradients_of_different_memory_layouts_add_up_alike() -> None:
    """The output of a wide layer is F-ordered, what a mean spreads back is C-ordered, and sums depend on the order."""

    def make() -> Any:
        return nn.Sequential(nn.Linear(12, 40, rng=0), nn.BatchNorm1d(40), nn.Linear(40, 5, rng=1))

    assert_same_bits(trainer(make), data(), 12)


def one_hot(y: Array, dtype: Any = np.float32) -> Array:
    return np.eye(5, dtype=dtype)[y]


SOFT = np.random.default_rng(0).dirichlet(np.ones(5), 150).astype(np.float32)
TARGETS: dict[str, Callable[[Array], Array]] = {
    "labels": lambda y: y,
    "int32": lambda y: y.astype(np.int32),
    "uint8": lambda y: y.astype(np.uint8),
    "float labels": lambda y: y.astype(np.float64),
    "one-hot": one_hot,
    "one-hot, float64": lambda y: one_hot(y, np.float64),
    "one-hot, bool": lambda y: one_hot(y, bool),
    "soft": lambda y: SOFT[: len(y)],
}
REDUCTIONS = ["mean", "sum", "none"]


def reduced(loss: Callable[..., Any], reduction: str, **options: Any) -> Callable[..., Any]:
    def function(out: Any, target: Any) -> Any:
        value = loss(out, target, reduction=reduction, **options)
        return (value * 0.1).sum() if reduction == "none" else value * 0.1

    return function


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("form", TARGETS)
def test_cross_entropy(form: str, reduction: str, smoothing: float) -> None:
    batches = data()
    loss = reduced(F.cross_entropy, reduction, label_smoothing=smoothing)
    assert_same_bits(
        trainer(lambda: nn.Linear(12, 5, rng=0), loss=loss), lambda i: (batches(i)[0], TARGETS[form](batches(i)[1])), 8
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize(
    "loss",
    [F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits, F.binary_cross_entropy, F.nll_loss],
)
def test_losses(loss: Callable[..., Any], dtype: Any, reduction: str) -> None:
    batches = data()

    def of_model(out: Any, target: Any) -> Any:
        out = F.sigmoid(out) if loss is F.binary_cross_entropy else F.log_softmax(out) if loss is F.nll_loss else out
        return reduced(loss, reduction)(out, target)

    def with_target(i: int) -> tuple[Any, ...]:
        x, y = batches(i)
        return (x, y.astype(dtype)) if loss is F.nll_loss else (x, one_hot(y).astype(dtype))

    assert_same_bits(trainer(lambda: nn.Linear(12, 5, rng=0), loss=of_model), with_target, 8)


@pytest.mark.parametrize(
    "module",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.MSELoss(reduction="sum"),
        nn.HuberLoss(delta=0.3),
        nn.BCEWithLogitsLoss(),
        nn.L1Loss(),
    ],
    ids=repr,
)
def test_losses_as_modules(module: Any) -> None:
    batches = data()
    loss = lambda out, y: module(out, y)
    assert_same_bits(
        trainer(lambda: nn.Linear(12, 5, rng=0), loss=loss), lambda i: (batches(i)[0], one_hot(batches(i)[1])), 6
    )


OPTIMIZERS = {
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "full dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=1.0),
    "weight decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.1),
    "all but dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.1, nesterov=True),
    "zero lr": lambda p: optim.SGD(p, lr=0.0, momentum=0.5),
    "whole lr": lambda p: optim.SGD(p, lr=1),
    "float32 lr": lambda p: optim.SGD(p, lr=np.float32(0.1)),
    "adam with decay": lambda p: optim.Adam(p, weight_decay=0.1),
    "betas 0": lambda p: optim.Adam(p, betas=(0.0, 0.0)),
    "large eps": lambda p: optim.Adam(p, eps=1.0, lr=0.1),
    "adamw without decay": lambda p: optim.AdamW(p, weight_decay=0.0),
    "groups": lambda p: optim.SGD(
        [{"params": [a], "lr": 0.1 / (i + 1), "momentum": 0.9 * (i % 2)} for i, a in enumerate(p)], lr=1.0
    ),
    "adam groups": lambda p: optim.Adam([{"params": [a], "lr": 0.01 * (i + 1)} for i, a in enumerate(p)]),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_options(name: str) -> None:
    build = trainer(
        lambda: nn.MLP([12, 8, 5], rng=0), OPTIMIZERS[name], schedule=lambda o: optim.OneCycleLR(o, 0.2, 40)
    )
    assert_same_bits(build, data(), 30)


@pytest.mark.parametrize("name", ["SGD", "SGD with momentum", "Adam", "AdamW", "RMSprop"])
def test_weights_updated_through_a_copy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where several threads have read a weight, it is written in another way, to the same bits."""
    kind, options = getattr(optim, name.split()[0]), {"momentum": 0.9} if "with" in name else {}
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 128)).astype(np.float32), rng.integers(0, 3, 8)
    ends, sources = [], []
    for threads, compiles in itertools.product((1, 2), (False, True)):
        monkeypatch.setattr(blas, "_threads", lambda threads=threads: threads)
        run = Run(trainer(lambda: nn.MLP([128, 160, 3], rng=0), lambda p: kind(p, lr=0.1, **options)))
        first = run.model[0].weight.data
        step = jit(run.step) if compiles else run.step
        for _ in range(6):
            step(x if compiles else Tensor(x), y)
        assert run.model[0].weight.data is first
        ends.append(run.state())
        sources += [step.source] if compiles else []
    assert all(end == ends[0] for end in ends)
    assert ["np.copyto(layer0_weight," in source for source in sources] == [False, True]
    assert "np.copyto(layer2_weight," not in sources[1]  # which is small


def test_options_that_change_between_calls() -> None:
    def build() -> dict[str, Any]:
        parts = trainer(lambda: nn.MLP([12, 8, 5], rng=0), lambda p: optim.SGD(p, lr=0.1))()
        group = parts["optimizers"][0].param_groups[0]
        changes = {
            4: {"lr": 1},
            8: {"lr": 2},
            12: {"momentum": 0.5},
            16: {"momentum": 0.9},
            20: {"weight_decay": 0.1},
            24: {"weight_decay": 0.0},
            28: {"nesterov": True},
            32: {"nesterov": False, "dampening": 0.5},
            36: {"momentum": 0.0},
            40: {"lr": 0.0},
            44: {"lr": np.float32(0.1)},
            48: {"lr": np.float32(0.2)},
        }
        return {**parts, "after": lambda i: group.update(changes.get(i, {}))}

    assert_same_bits(build, data(n=128), 52)


def test_betas_that_change_between_calls() -> None:
    def build() -> dict[str, Any]:
        parts = trainer(lambda: nn.MLP([12, 8, 5], rng=0), lambda p: optim.Adam(p, betas=(0.0, 0.99)))()
        group = parts["optimizers"][0].param_groups[0]
        changes = {5: {"betas": (0.9, 0.99)}, 9: {"betas": (0.0, 0.9)}, 12: {"eps": 0.1}, 15: {"weight_decay": 0.1}}
        return {**parts, "after": lambda i: group.update(changes.get(i, {}))}

    assert_same_bits(build, data(n=128), 20)


def test_weight_decay_that_a_tiny_learning_rate_hides_at_first() -> None:
    def build() -> dict[str, Any]:
        parts = trainer(lambda: nn.MLP([12, 8, 5], rng=0), lambda p: optim.AdamW(p, lr=1e-17))()
        group = parts["optimizers"][0].param_groups[0]
        return {**parts, "after": lambda i: group.update(lr=1e-17 if i < 5 else 0.1)}

    assert_same_bits(build, data(n=128), 9)


def test_learning_rates_of_numpy_type() -> None:
    def build() -> dict[str, Any]:
        parts = trainer(lambda: nn.MLP([12, 64, 5], rng=0), lambda p: optim.SGD(p, lr=np.float64(0.1)))()
        group = parts["optimizers"][0].param_groups[0]
        return {**parts, "after": lambda i: group.update(lr=np.linspace(0.1, 0.01, 20)[i])}

    assert_same_bits(build, data(n=128), 20)


def test_gradient_accumulation_over_two_calls() -> None:
    def build() -> dict[str, Any]:
        model = nn.MLP([12, 8, 5], rng=0)
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        def after(i: int) -> None:
            if i % 2:
                opt.step()
                opt.zero_grad()

        return {"model": model, "optimizers": [opt], "step": step, "after": after}

    assert_same_bits(build, data(), 30)


def test_gradients_clipped_in_the_step() -> None:
    def build() -> dict[str, Any]:
        model = nn.MLP([12, 8, 5], rng=0)
        opt = optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> Any:
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            norm = np.sqrt(sum((p.grad**2).sum() for p in model.parameters()))
            for p in model.parameters():
                p.grad = p.grad * np.minimum(1.0, 0.1 / norm)
            opt.step()
            return {"loss": loss, "norm": norm}

        return {"model": model, "optimizers": [opt], "step": step}

    assert_same_bits(build, data(), 12)


def test_two_backward_calls_and_several_outputs() -> None:
    def build() -> dict[str, Any]:
        model = nn.MLP([12, 8, 5], rng=0)
        opt = optim.Adam(model.parameters())

        def step(x: Any, y: Any) -> Any:
            opt.zero_grad()
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            loss.backward(retain_graph=True)
            (logits * logits).mean().backward()
            opt.step()
            right = np.equal(logits.argmax(axis=1), y).sum()
            return {"loss": loss, "parts": (logits, logits.T, [right, 3, None, "text"])}

        return {"model": model, "optimizers": [opt], "step": step}

    assert_same_bits(build, data(), 12)


def test_two_backward_calls_through_one_graph() -> None:
    def build() -> dict[str, Any]:
        model = nn.MLP([12, 8, 5], rng=0)

        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward(retain_graph=True)
            loss.backward()
            return loss

        return {"model": model, "step": step}

    assert_same_bits(build, data(), 8)


def test_gradient_penalty() -> None:
    def build() -> dict[str, Any]:
        model = nn.MLP([12, 8, 1], "softplus", rng=0, dtype=np.float64)
        opt = optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

        def step(x: Any, y: Any) -> Any:
            point = Tensor(x, requires_grad=True)
            out = model(point)
            (slope,) = tg.grad(out.sum(), point, create_graph=True)
            penalty = ((np.linalg.norm(slope, axis=1) - 1) ** 2).mean()
            loss = (out[:, 0] * (y - 2)).mean() + 10 * penalty
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss, penalty, slope

        return {"model": model, "optimizers": [opt], "step": step}

    assert_same_bits(build, data(dtype=np.float64), 12)


def test_two_optimizers_that_train_against_each_other() -> None:
    def build() -> dict[str, Any]:
        model = nn.Sequential(nn.MLP([12, 8, 12], rng=0), nn.MLP([12, 8, 1], rng=1))
        generator, critic = model
        first, second = (
            optim.Adam(generator.parameters(), lr=0.01),
            optim.SGD(critic.parameters(), lr=0.01, momentum=0.9),
        )

        def step(x: Any, y: Any) -> Any:
            fake = generator(x)
            second.zero_grad()
            loss = critic(fake.detach()).mean() - critic(x).mean()
            loss.backward()
            second.step()
            first.zero_grad()
            other = -critic(fake).mean()
            other.backward()
            first.step()
            return loss, other

        return {"model": model, "optimizers": [first, second], "step": step}

    assert_same_bits(build, data(), 15)


def test_evaluation_under_no_grad_and_modes() -> None:
    def build() -> dict[str, Any]:
        model = everything()
        train = trainer(lambda: model)()

        @tg.no_grad()
        def evaluate(x: Any, y: Any) -> Any:
            out = model(x)
            return (out.argmax(axis=1) == y).mean(), F.softmax(out), F.cross_entropy(out, y)

        def after(i: int) -> None:
            model.train(i % 3 == 0)
            if i % 3 == 2:
                train["step"](*map(Tensor, data()(i)))
                model.eval()

        return {"model": model, "step": evaluate, "optimizers": train["optimizers"], "after": after}

    assert_same_bits(build, data(), 40)


def test_tied_weights_and_shared_layers() -> None:
    def build() -> dict[str, Any]:
        first = nn.Linear(12, 12, rng=0)
        model = nn.Sequential(first, nn.Tanh(), first, nn.Linear(12, 5, rng=1))
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            h = model(x) + (x @ first.weight.T @ first.weight)[:, :5]
            loss = F.cross_entropy(h, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        return {"model": model, "optimizers": [opt], "step": step}

    assert_same_bits(build, data(), 15)


def test_a_batch_of_no_samples() -> None:
    def build() -> dict[str, Any]:
        return trainer(lambda: nn.Linear(12, 5, rng=0), loss=lambda out, y: F.cross_entropy(out, y, reduction="sum"))()

    batches = data()
    assert_same_bits(build, lambda i: (batches(0)[0][:0], batches(0)[1][:0]) if i % 2 else batches(i), 12)


def test_sums_that_accumulate_in_float64() -> None:
    assert_same_bits(trainer(lambda: nn.MLP([12, 8, 5], rng=0)), data(n=9000, batch=9000), 5)


PRODUCTS: dict[str, Callable[[Any, Any], Any]] = {
    "matrices": lambda w, x: (w * x).T @ (w * x),
    "transposes": lambda w, x: (w * x).T @ (w * x).T.T,
    "rows": lambda w, x: (w * x) @ (w * x).T,
    "einsum": lambda w, x: np.einsum("ij,ik->jk", w * x, w * x, optimize=True),
    "dot": lambda w, x: np.dot((w * x).T, w * x),
    "tensordot": lambda w, x: np.tensordot(w * x, w * x, (0, 0)),
    "linear": lambda w, x: F.linear((w * x).T, (w * x).T),
}


@pytest.mark.parametrize("shape", [(300, 200), (513, 129), (2000, 50), (33, 20)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_equal_results_stay_apart(name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    """BLAS takes another path, with other bits in some of these shapes, for ``a.T @ a`` than for equal copies."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape).astype(dtype), Tensor(rng.normal(size=shape).astype(dtype))
    step, expected = jit(lambda x: PRODUCTS[name](w, x)), PRODUCTS[name](w, Tensor(x))._data.tobytes()
    for _ in range(4):
        assert step(x)._data.tobytes() == expected


def test_a_product_is_not_put_into_the_memory_of_its_factors() -> None:
    """NumPy would have to copy the factor first."""
    w = Tensor(np.random.default_rng(0).normal(size=(6, 6)))
    step = jit(lambda x: np.tanh(np.tanh(np.tanh(x) @ w) @ np.tanh(x).T))
    for _ in range(3):
        step(np.ones((6, 6)))
    products = [call for call in step.plan.calls if call.op == "matmul"]
    memory = lambda a: step.plan.place.get(a)
    assert len(products) == 2
    for call in products:
        assert not any(memory(a) is memory(call.output) for a in call.inputs)


def test_a_sum_with_its_own_transpose_has_memory_of_its_own() -> None:
    def f(x: Any) -> Any:
        y = np.tanh(x)
        return np.sin(y + y.T)

    x = np.random.default_rng(0).normal(size=(6, 6))
    step = jit(f)
    for _ in range(4):
        assert leaves(step(x)) == leaves(f(Tensor(x)))
    (add,) = [call for call in step.plan.calls if call.op == "add"]
    assert step.plan.place[add.output] is not step.plan.place[add.inputs[0]]


def test_a_gradient_that_is_replaced_is_not_computed() -> None:
    w = Tensor(np.ones(3), requires_grad=True)

    def f(x: Any) -> Any:
        w.grad = x.min(axis=0) * 2
        w.grad = x.max(axis=0)
        return x.sum()

    step = jit(f)
    for _ in range(3):
        step(np.eye(3))
    assert "minimum" not in step.source
    assert w.grad.tolist() == [1, 1, 1]


def test_limits_of_two_sizes_and_dtypes() -> None:
    f = lambda x, y: (np.maximum(x, 0.1), np.maximum(y, 0.1), np.maximum(x, 0.3), np.minimum(y, -2), x * 0.1, y * 0.1)
    for shape in ((), (1,), (2, 3)):
        x, y = np.zeros(shape, np.float32), np.zeros(shape)
        step = jit(f)
        for _ in range(3):
            assert leaves(step(Tensor(x), Tensor(y))) == leaves(f(Tensor(x), Tensor(y)))


def test_gradients_of_picks_that_repeat() -> None:
    w, n = Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True), Tensor(np.arange(4), requires_grad=False)

    def f(x: Any) -> Any:
        w.grad = None
        picked = w[[0, 2, 0, 0]] * x
        (picked.sum() + (w[n % 3, n % 2] * x[:, 0]).sum() + w[(1,)].sum() + w[1:, ::-1].sum()).backward()
        return picked

    step = jit(f)
    for i in range(4):
        x = np.random.default_rng(i).normal(size=(4, 2))
        step(x)
        expected = np.zeros((3, 2))
        np.add.at(expected, [0, 2, 0, 0], x)
        np.add.at(expected, (np.arange(4) % 3, np.arange(4) % 2), x[:, 0])
        expected[1] += 1
        expected[1:] += 1
        np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-14, atol=1e-14)


def test_a_live_limit() -> None:
    class Clipped(optim.SGD):
        formula = staticmethod(lambda p, g, *, lr, **_: (p - np.minimum(np.maximum(g, 0.0), lr),))

    def build() -> dict[str, Any]:
        model = nn.Linear(12, 5, rng=0)
        opt = Clipped(model.parameters(), lr=0.1)
        parts = trainer(lambda: model, lambda p: opt)()
        return {**parts, "after": lambda i: opt.param_groups[0].update(lr=0.1 / (i + 1))}

    assert_same_bits(build, data(), 8)


def test_returned_tensors_have_the_memory_layout_of_eager_ones() -> None:
    w = Tensor(np.arange(12.0).reshape(3, 4))

    def f(x: Any) -> Any:
        return w, w.T, (w * 2).T, x.T, w * x, np.transpose(x[None] * w[:, None], (1, 2, 0)) * 2

    step, expected = jit(f), [t._data.strides for t in f(Tensor(np.ones((3, 4))))]
    for _ in range(4):
        assert [t._data.strides for t in step(np.ones((3, 4)))] == expected


# steady state


def mlp_step(sizes: list[int], batch: int, **options: Any) -> tuple[Any, Any, Any, Any]:
    model = nn.MLP(sizes, rng=0, dropout=options.pop("dropout", 0.0))
    opt = optim.SGD(model.parameters(), lr=0.01, **options)
    rng = np.random.default_rng(0)

    @jit
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return step, model, rng.normal(size=(batch, sizes[0])).astype(np.float32), rng.integers(0, sizes[-1], batch)


def held(step: Any) -> int:
    """Return how many bytes of its own the program refers to: arrays that own memory and were not given to it.

    Its buffers, and what never changes, are parts of the memory that all programs of the function share.
    """
    program, names = step.last, step.last.step.__globals__
    given = {id(a) for a in program.program.scope.saved.values()}
    buffers = [names[name] for name in program.program.memory.values()]
    shared = [memory_of(a) for a in buffers]
    assert sum({id(a): a.nbytes for a in shared}.values()) < sum(a.nbytes for a in buffers) + 64 * len(buffers)
    others = [a for a in names.values() if isinstance(a, np.ndarray) and a.base is None and id(a) not in given]
    others = [a for a in {id(a): a for a in others}.values() if not any(a is b for b in shared)]
    constants = [a for a in names.values() if any(getattr(a, "base", None) is c for c in step.arena.constants.values())]
    return sum(a.nbytes for a in (*others, *buffers, *constants))


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}, {"dropout": 0.2}],
    ids=str,
)
def test_a_step_allocates_next_to_nothing(options: dict[str, Any]) -> None:
    step, _, x, y = mlp_step([784, 1024, 1024, 10], 128, **dict(options))
    for _ in range(5):
        step(x, y)
    tracemalloc.start()
    try:
        step(x, y)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        step(x, y)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 256 * 1024
    assert step.plan.bytes == held(step)


def test_the_plan_tells_what_it_holds() -> None:
    step, _, x, y = mlp_step([20, 16, 4], 8, momentum=0.9, dropout=0.5)
    for _ in range(4):
        step(x, y)
    assert step.plan.bytes == held(step)
    assert str(len(step.plan.calls)) in repr(step) and "bytes" in repr(step)
    assert "def step(x, y):" in step._repr_html_()


# source


def test_the_source_reads_like_a_program() -> None:
    step, _, x, y = mlp_step([20, 16, 4], 8, momentum=0.9)
    for _ in range(4):
        step(x, y)
    tree = ast.parse(step.source)
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef) and [a.arg for a in function.args.args] == ["x", "y"]
    assert all(node.id.isidentifier() for node in ast.walk(tree) if isinstance(node, ast.Name))
    for name in ["layer0_weight", "layer0_bias", "layer2_weight", "layer2_bias"]:
        assert name in step.source
    sections = [line.strip() for line in step.source.splitlines() if line.strip().startswith("# ")]
    assert sections == ["# forward", "# backward", "# update"]
    line = step.function.__code__.co_firstlineno + 3
    assert f"# log_softmax, test_jit.py:{line}" in step.source or f"test_jit.py:{line}" in step.source
    stems = [line.rpartition("  # ")[2] for line in step.source.splitlines()[1:] if "  # " in line.strip()]
    assert all("test_jit.py:" in stem for stem in stems) and all(a != b for a, b in itertools.pairwise(stems))
    lines = step.source.splitlines()
    assert all(
        "  # linear, " in line or "np.matmul" in lines[i - 1] for i, line in enumerate(lines) if "matmul" in line
    )


STRANGE = [
    "2.x",
    "a b",
    "x'\"\n\nraise SystemExit#",
    "ﬁ",
    "fi",
    "w²",
    "½",
    "",
    "class",
    "np",
    "step",
    "arrays",
    "Path",
    "slice",
    "bool",
    "rows4",
    "relu_bits",
    "d_matmul_bits",
    "__debug__",
    "buffer0",
    "read",
    "x",
    "α",
    "None",
    "\u2028",
    "\0",
    "😀",
    "rng",
    "maximum",
    "state",
    "print",
]


def test_strange_names_name_nothing_else() -> None:
    def build() -> dict[str, Any]:
        rng = np.random.default_rng(0)

        class Strange(nn.Module):
            def __init__(self) -> None:
                self.ps = [nn.Parameter(rng.normal(size=(3, 5)), name=name) for name in STRANGE]
                for i, p in enumerate(self.ps):
                    vars(self)[f"p{i}"] = p

        model = Strange()
        opt = optim.SGD(model.ps, lr=0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            w = sum(np.where(x[0, 0] > 0, p, -p)[:, ::-1] * (i + 1) for i, p in enumerate(model.ps))
            loss = F.cross_entropy(F.relu(x @ w), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        return {"model": model, "optimizers": [opt], "step": step}

    rng = np.random.default_rng(1)
    X = rng.normal(size=(8, 4, 3))
    step = assert_same_bits(build, lambda i: (X[i % 8], np.arange(4)), 8)
    names = {n.id for n in ast.walk(ast.parse(step.source)) if isinstance(n, ast.Name)}
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize(
    "filename",
    ["a\nimport os\nraise SystemExit\n.py", "x\r\ny.py", '""".py', "bad\udcff.py", "nul\0.py", "\x0c\x85\u2028.py"],
)
def test_strange_file_names_stay_in_their_comment(filename: str, tmp_path: Path) -> None:
    names: dict[str, Any] = {"np": np}
    try:
        exec(compile("def f(x):\n    return np.tanh(x) * 2\n", filename, "exec"), names)
    except (ValueError, UnicodeError):
        pytest.skip("Python has no such file name")
    step = jit(names["f"])
    for _ in range(3):
        assert step(np.ones(2)).tolist() == (np.tanh(np.ones(2)) * 2).tolist()
    assert len(ast.parse(step.source).body) == 1
    step.export(tmp_path / "step.py")
    ast.parse((tmp_path / "step.py").read_text(encoding="utf-8"))


# export

ALONE = """
import hashlib, sys
sys.modules["tinygrad_mlp"] = None
sys.path.insert(0, sys.argv[1])
import numpy as np
import step
data = np.load(sys.argv[1] + "/data.npz")
for i in range(20):
    out = getattr(step, sys.argv[2])(data["x"][i], data["y"][i])
print(hashlib.sha256(b"".join(getattr(step, n).tobytes() for n in sys.argv[3:])).hexdigest(), float(out[0]))
try:
    getattr(step, sys.argv[2])(data["x"][0], data["y"][0] + 100)
except ValueError as error:
    print(error)
print(sorted(m for m in sys.modules if m.split(".")[0] in ("tinygrad_mlp", "pandas", "hypothesis") and sys.modules[m]))
"""


def export(tmp_path: Path, step: Any, x: Array, y: Array, names: list[str], function: str = "step") -> list[str]:
    step.export(tmp_path / "step.py")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(tmp_path), function, *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_source_is_that_of_the_program_that_runs_most() -> None:
    model = nn.Linear(3, 2, rng=0)
    step = jit(lambda x: model(x))
    for rows in (8, 8, 8, 8, 5, 5, 5):
        step(np.ones((rows, 3), np.float32))
    assert step.source.startswith("def step(x):  # float32(8, 3)")


@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_an_exported_step_needs_numpy_alone(generator: Any, tmp_path: Path) -> None:
    def build() -> tuple[Any, Any]:
        rng = np.random.Generator(generator(7))
        model = nn.Sequential(
            nn.Linear(12, 16, rng=0),
            nn.BatchNorm1d(16),
            nn.LeakyReLU(),
            nn.Dropout(0.3, rng=rng),
            nn.Linear(16, 5, rng=1),
        )
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        return model, step

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(25, 8, 12)).astype(np.float32), rng.integers(0, 5, (25, 8))
    (eager, plain), (_, function) = build(), build()
    step = jit(function)
    for i in range(5):
        plain(Tensor(x[i]), Tensor(y[i]))
        step(x[i], y[i])
    out = export(tmp_path, step, x[5:], y[5:], [f"layer{k}".replace(".", "_") for k, _ in eager.named_parameters()])
    for i in range(5, 25):
        loss = plain(Tensor(x[i]), Tensor(y[i]))
    expected = hashlib.sha256(b"".join(p._data.tobytes() for p in eager.parameters())).hexdigest()
    assert out[0] == f"{expected} {loss.item()}"
    assert "labels[0] is" in out[1] and "expected a whole number in" in out[1]
    assert out[2] == "[]"
    text = (tmp_path / "step.py").read_text(encoding="utf-8")
    assert "pickle=True" not in text and "tinygrad_mlp import" not in text


def test_an_exported_function_with_hostile_names(tmp_path: Path) -> None:
    w = Tensor(np.ones((3, 5)), requires_grad=True, name='"""\nraise SystemExit(3)\n"""')
    path = Tensor(np.ones(5), name="Path")
    arrays = Tensor(np.ones(5), name="arrays")

    def f(x: Any, y: Any) -> Any:
        return F.cross_entropy(x @ (w + path + arrays), y), w

    f.__name__ = 'f"""\nraise SystemExit(3)\n"""'
    step = jit(f)
    x, y = np.random.default_rng(0).normal(size=(20, 4, 3)), np.tile(np.arange(4), (20, 1))
    for i in range(3):
        value = step(x[i], y[i])
    out = export(tmp_path, step, x, y, [])
    assert float(out[0].split()[1]) == f(Tensor(x[19]), Tensor(y[19]))[0].item()
    assert value[1]._data.tobytes() == w._data.tobytes()


def test_an_exported_step_of_other_losses_and_layers(tmp_path: Path) -> None:
    def f(x: Any, y: Any) -> Any:
        h = F.gelu(np.clip(x @ w, -1, 1)) + F.softplus(x @ w)
        target = (y - y.min()).astype(np.float32)[:, None] / 10 + h * 0
        loss = F.huber_loss(h, target.detach()) + F.binary_cross_entropy(F.sigmoid(h), np.clip(target.detach(), 0, 1))
        w.grad = None
        (loss + np.linalg.norm(h) + F.logsumexp(h) + np.sort(h, axis=0)[0, 0]).backward()
        with tg.no_grad():
            w.__isub__(0.1 * w.grad)
        return loss

    w = Tensor(np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32), requires_grad=True, name="w")
    x, y = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32), np.tile(np.arange(4), (20, 1))
    step = jit(f)
    for i in range(3):
        step(x[i], y[i])
    start = w._data.copy()
    out = export(tmp_path, step, x, y, ["w"], "f")
    np.copyto(w._data, start)
    for i in range(20):
        value = f(Tensor(x[i]), Tensor(y[i]))
    assert out[0] == f"{hashlib.sha256(w._data.tobytes()).hexdigest()} {value.item()}"


def test_export_before_the_first_call() -> None:
    with pytest.raises(tg.GraphError, match="has not run yet"):
        jit(lambda x: x).export("never.py")


# check, arguments, the limit


def test_check_finds_a_planted_difference() -> None:
    w = Tensor(np.ones(3), requires_grad=True, name="w")

    @jit(check=2)
    def step(x: Any) -> Any:
        w.grad = None
        loss = (w * x).sum()
        loss.backward()
        return loss

    x = np.arange(3.0)
    for _ in range(6):
        assert step(x).item() == 3.0
    real = step.last.step
    step.last.step = lambda *a: (np.nextafter(real(*a)[0], 9),)
    before = w._data.tobytes()
    with pytest.raises(RecordingError, match="differ"):
        for _ in range(2):
            step(x)
    assert w._data.tobytes() == before


@pytest.mark.parametrize("check", [1, 3])
def test_check_passes_otherwise(check: int) -> None:
    model = everything()
    opt = optim.Adam(model.parameters())
    eager = everything()
    other = optim.Adam(eager.parameters())

    def of(model: Any, opt: Any) -> Any:
        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss, model[0].weight

        return step

    checked, plain = jit(of(model, opt), check=check), of(eager, other)
    for i in range(12):
        assert leaves(checked(*data(n=128)(i))) == leaves(plain(*map(Tensor, data(n=128)(i))))
    assert [p._data.tobytes() for p in model.parameters()] == [p._data.tobytes() for p in eager.parameters()]
    assert model[3].rng.bit_generator.state == eager[3].rng.bit_generator.state


def test_check_is_a_number_of_calls() -> None:
    with pytest.raises(ValueError, match="check must be"):
        jit(lambda x: x, check=0)


def test_frames_series_lists_dicts_and_keywords() -> None:
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    Pair = namedtuple("Pair", "a b")

    @jit
    def f(x: Any, y: Any = None, *, more: Any, scale: Any = 1.0) -> Any:
        first, second = more["parts"]
        return Pair(x * scale + first, [y.sum() if y is not None else second, second * 2]), more["pair"].a

    for _ in range(4):
        a = rng.normal(size=(3, 2))
        x, series = pd.DataFrame(a, columns=["p", "q"]), pd.Series(a[:, 0])
        parts = {"parts": [a, Tensor(a)], "pair": Pair(a * 2, 7)}
        result, doubled = f(x, series, more=parts, scale=2.0)
        assert isinstance(result, Pair)
        assert result.a.tolist() == (a * 2.0 + a).tolist()
        assert result.b[0].tolist() == Tensor(a[:, 0]).sum().tolist()
        assert doubled.tolist() == (a * 2).tolist()
        assert f(x, more=parts)[0].a.tolist() == (a + a).tolist()


def test_static_arguments_go_by_value() -> None:
    @jit
    def f(x: Any, n: Any) -> Any:
        return x * n

    x = np.ones(2)
    for n in [
        2,
        3,
        2,
        True,
        1,
        1.0,
        0.0,
        -0.0,
        0.0,
        float("nan"),
        float("nan"),
        np.float32(0.1),
        0.1,
        2,
        3,
        -0.0,
        float("inf"),
    ] * 3:
        expected = (Tensor(x) * n)._data
        assert f(x, n)._data.tobytes() == expected.tobytes()
    assert sum(map(len, f.cache.values())) == 6  # 2, 3, True, 1, float32, and all floats together


class Own(np.ndarray):
    """An array of the user's own kind."""


NEARLY: dict[str, Callable[[Array], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "the same": lambda x: ((x, 0.5), {}),
    "another rate": lambda x: ((x, 0.25), {}),
    "a Tensor": lambda x: ((Tensor(x), 0.5), {}),
    "another dtype": lambda x: ((x.astype(np.float32), 0.5), {}),
    "another shape": lambda x: ((x[:1], 0.5), {}),
    "another layout": lambda x: ((np.asfortranarray(x), 0.5), {}),
    "a view": lambda x: ((np.concatenate([x, x])[:2], 0.5), {}),
    "a list of rows": lambda x: (([x], 0.5), {}),
    "a subclass": lambda x: ((x.view(Own), 0.5), {}),
    "by name": lambda x: ((x,), {"rate": 0.5}),
    "its default": lambda x: ((x,), {}),
    "an int": lambda x: ((x, 2), {}),
    "a float of NumPy": lambda x: ((x, np.float64(0.5)), {}),
    "a number": lambda x: ((np.float64(3.0), 0.5), {}),
    "no axes": lambda x: ((np.array(3.0), 0.5), {}),
}


@pytest.mark.parametrize("name", NEARLY)
def test_arguments_that_are_nearly_those_of_the_call_before(name: str) -> None:
    """A call like the one before comes to its program at once; any other goes the long way, and gives the same."""

    def build() -> tuple[Callable[..., Any], Tensor]:
        w = Tensor(np.ones((2, 3)), requires_grad=True)
        sgd = optim.SGD([w], lr=0.1)

        def step(x: Any, rate: float = 0.75) -> Any:
            x = x[0] if isinstance(x, list) else x
            loss = np.sum(np.sin(x * w) * rate)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            return loss, loss * 2

        return step, w

    (eager, w), (step, v) = build(), build()
    compiled = jit(step)
    for i in range(18):
        x = np.random.default_rng(i).normal(size=(2, 3))
        args, kwargs = NEARLY["the same" if i % 6 < 4 else name](x)
        expected = eager(*[Tensor(a) if isinstance(a, np.ndarray) and a.ndim else a for a in args], **kwargs)
        assert leaves(compiled(*args, **kwargs)) == leaves(expected), i
        assert v.data.tobytes() == w.data.tobytes()


def test_an_argument_in_memory_that_the_program_writes_to() -> None:
    """A step that gets its own parameter, a view of it or a gradient as argument is not run on what it changes."""

    def build() -> tuple[Callable[..., Any], Tensor]:
        w = Tensor(np.arange(1.0, 4.0), requires_grad=True)
        sgd = optim.SGD([w], lr=0.1)

        def step(x: Any) -> Any:
            loss = np.sum(x * w * w)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            return loss, np.sum(x)

        return step, w

    (eager, w), (step, v) = build(), build()
    compiled = jit(step)
    for i in range(16):
        kind = (lambda t: np.ones(3), lambda t: t.data, lambda t: t.data[:], lambda t: t.grad.numpy())[
            max(i % 6 - 2, 0)
        ]
        expected = eager(Tensor(kind(w)))
        assert leaves(compiled(kind(v))) == leaves(expected), i
        assert v.data.tobytes() == w.data.tobytes()


def test_two_threads_of_one_function() -> None:
    """Threads that call with arguments of their own get results of their own."""
    import threading

    step = jit(lambda x, factor: np.sum(x) * factor)
    wrong: list[Any] = []

    def run(n: int) -> None:
        x = np.full(n, 2.0)
        for i in range(300):
            if step(x, float(i)).item() != 2.0 * n * i:
                wrong.append((n, i))

    threads = [threading.Thread(target=run, args=(n,)) for n in (3, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_arrays_by_keyword_in_another_order() -> None:
    x, y = np.arange(3.0), np.ones(3)
    f = jit(lambda a, b: a - b)
    for _ in range(4):
        np.testing.assert_array_equal(f(a=x, b=y).numpy(), x - y)
        np.testing.assert_array_equal(f(b=x, a=y).numpy(), y - x)


def test_dicts_with_other_keys_or_another_order() -> None:
    x, y = np.arange(3.0), np.ones(3)
    f = jit(lambda d: d["a"] - d.get("b", 7.0))
    for _ in range(4):
        np.testing.assert_array_equal(f({"a": x, "b": y}).numpy(), x - y)
        np.testing.assert_array_equal(f({"b": x, "a": y}).numpy(), y - x)
        np.testing.assert_array_equal(f({"a": x, "c": y}).numpy(), x - 7)


def test_a_list_around_the_function_that_gets_shorter_or_longer() -> None:
    held = [Tensor([1.0]), Tensor([2.0]), Tensor([4.0])]
    f = jit(lambda x: sum((x * w).sum() for w in held))
    for change, total in ((None, 7), (None, 7), (None, 7), (held.pop, 3), (None, 3), (lambda: held.append(held[0]), 4)):
        if change is not None:
            change()
        assert f(np.ones(1)).item() == total


def test_lists_and_tuples_are_told_apart() -> None:
    f = jit(lambda pair: (isinstance(pair, tuple), pair[0] * 2))
    for _ in range(4):
        assert f((np.ones(2), np.ones(2)))[0] is True
        assert f([np.ones(2), np.ones(2)])[0] is False


def test_results_are_laid_out_as_their_arguments() -> None:
    f = jit(lambda x: x * 2)
    for layout in ("C", "F") * 4:
        x = np.ones((3, 4), order=layout)
        assert f(x).numpy().strides == x.strides


def test_a_keyword_of_a_partial_that_is_replaced() -> None:
    f = partial(lambda x, w: x * w, w=Tensor([2.0]))
    step = jit(f)
    for k in (2.0, 2.0, 2.0, 3.0, 3.0, 2.0):
        f.keywords["w"] = Tensor([k]) if f.keywords["w"].item() != k else f.keywords["w"]
        assert step(np.ones(1)).item() == k


def test_a_check_takes_nan_for_equal_to_nan() -> None:
    f = jit(lambda x: (np.where(x > 0, x, np.nan), x * -0.0), check=1)
    for _ in range(5):
        first, second = f(np.array([1.0, -1.0]))
        assert np.isnan(first.numpy()).tolist() == [False, True]
        assert np.signbit(second.numpy()).tolist() == [True, False]


def test_a_constant_that_cannot_be_hashed() -> None:
    with pytest.raises(TypeError, match="hashed"):
        jit(lambda x, s: x)(np.ones(2), {1, 2})


def test_the_limit_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "PROGRAMS", 5)

    @jit
    def f(x: Any, n: int) -> Any:
        return x * n

    for n in (0, 0, 0, 0, *range(70), 69, 69, 0, 0, 0):
        assert f(np.ones(2), n).tolist() == [n, n]
        assert sum(map(len, f.cache.values())) <= 5
    assert f.eager is None


def test_a_function_that_is_recorded_again_and_again_goes_on_eagerly() -> None:
    @jit
    def f(x: Any, n: int) -> Any:
        return x * n

    with pytest.warns(RuntimeWarning, match="f is not compiled, and goes on eagerly: .* the argument n changed most"):  # noqa: PT031
        for n in range(500):
            assert f(np.ones(2), n).tolist() == [n, n]
    assert "the argument n" in f.eager


def test_a_module_a_partial_and_a_method_can_be_compiled() -> None:
    from functools import partial

    layer = nn.Linear(3, 2, rng=0)
    x = np.ones((4, 3), np.float32)
    functions = [jit(layer), jit(partial(F.linear, weight=layer.weight, bias=layer.bias)), jit(layer.forward)]
    for _ in range(3):
        assert len({f(x)._data.tobytes() for f in functions}) == 1
    assert "has not run" in repr(jit(layer))


def test_a_decorated_method() -> None:
    class Trainer:
        def __init__(self, scale: float) -> None:
            self.scale = Tensor(scale)

        @jit
        def step(self, x: Any) -> Any:
            return x * self.scale

    for scale in (2.0, 3.0, 2.0):
        trainer = Trainer(scale)
        assert [trainer.step(np.ones(1)).item() for _ in range(4)] == [scale] * 4


def test_integer_and_boolean_ops() -> None:
    def f(x: Any, y: Any) -> Any:
        mask = (y > 1) & (y % 2 == 0)
        k = y // 2 + y * y
        return (
            (x * mask * k).sum(),
            mask,
            k,
            ~mask,
            -y,
            y / 2,
            y.mean(),
            k.sum(axis=1),
            y.max(axis=0),
            np.argmax(y, axis=1),
            mask.sum(axis=0),
            mask.any(axis=0),
            mask.all(),
            np.cumsum(y, axis=0),
            y.astype(np.float32),
            y.astype(bool) ^ mask,
            np.where(mask, y, k),
            x[:, 0][y[:, 0] % 3],
        )

    step = jit(f)
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = rng.normal(size=(4, 3)), rng.integers(0, 9, (4, 3))
        assert leaves(step(x, y)) == leaves(f(Tensor(x), Tensor(y)))


def test_everything_of_no_axes() -> None:
    def build() -> dict[str, Any]:
        class Scalar(nn.Module):
            def __init__(self) -> None:
                self.w = nn.Parameter(np.float64(0.3))

        model = Scalar()
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any) -> Any:
            w = model.w
            loss = (
                F.relu(w * x) ** 2
                + np.tanh(w)
                + np.where(x > 0, w, x).sum()
                + np.clip(w, -1, x)
                + w.reshape(1)[0]
                + w[()] ** 3
            )
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss, x.max(), w.T, w > x

        return {"model": model, "optimizers": [opt], "step": step}

    assert_same_bits(build, lambda i: (Tensor(0.3 * i - 0.5),), 8)
