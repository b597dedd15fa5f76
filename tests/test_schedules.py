"""Schedules, RMSprop, clipping and the search for a learning rate: PyTorch's digits, and what `fit` does with them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim
from tinygrad_mlp.errors import GraphError, OptionError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 3))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def mlp(seed=0):
    return nn.MLP([3, 8, 2], "tanh", rng=seed, dtype=np.float64)


def train(optimizer, model, **options):
    return tg.fit(model, X, Y, optimizer=optimizer, progress=False, **{"epochs": 4, "batch_size": 32, **options})


def parameter(*values):
    return tg.Tensor(list(values), requires_grad=True)


def both(make, make_theirs, steps, values=None):
    """The rates of a schedule of ours and of PyTorch's, for two groups."""
    torch = pytest.importorskip("torch")
    ours = optim.SGD([{"params": [parameter(1.0)]}, {"params": [parameter(1.0)], "lr": 0.3}], lr=1.0)
    p, q = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    theirs = torch.optim.SGD([{"params": [p]}, {"params": [q], "lr": 0.3}], lr=1.0)
    mine, other = make(ours), make_theirs(torch.optim.lr_scheduler, theirs)
    found = []
    for i in range(steps):
        theirs.step()
        given = () if values is None else (values[i],)
        mine.step(*given), other.step(*given)
        found.append((mine.get_last_lr(), [group["lr"] for group in theirs.param_groups]))
    return zip(*found, strict=True)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("gamma", [0.1, 0.9])
def test_step_and_exponential_schedules_are_those_of_pytorch(size, gamma):
    ours, theirs = both(lambda o: optim.StepLR(o, size, gamma), lambda t, o: t.StepLR(o, size, gamma), 10)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    ours, theirs = both(lambda o: optim.ExponentialLR(o, gamma), lambda t, o: t.ExponentialLR(o, gamma), 10)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 0},
        {"patience": 1, "cooldown": 2},
        {"patience": 1, "factor": 0.5, "min_lr": 0.2},
        {"patience": 2, "threshold": 0.1},
    ],
)
def test_a_plateau_is_pytorchs(mode, options):
    values = np.random.default_rng(1).random(60).round(2).tolist()
    values[7], values[11] = math.nan, math.inf
    ours, theirs = both(
        lambda o: optim.ReduceLROnPlateau(o, mode, **options),
        lambda t, o: t.ReduceLROnPlateau(o, mode, eps=0, **options),
        60,
        values,
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_a_schedule_written_as_pytorchs_get_lr_works():
    class Halves(optim.LRScheduler):
        def get_lr(self):
            return [lr * 0.5**self.last_epoch for lr in self.base_lrs]

    schedule = Halves(optim.SGD([parameter(1.0)], lr=1.0))
    rates = []
    for _ in range(3):
        rates += schedule.get_last_lr()
        schedule.step()
    assert rates == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("unsized", "sized"),
    [
        (lambda o: optim.CosineAnnealingLR(o, warmup=3), lambda o: optim.CosineAnnealingLR(o, 12, warmup=3)),
        (lambda o: optim.OneCycleLR(o, 0.5), lambda o: optim.OneCycleLR(o, 0.5, 12)),
    ],
)
def test_fit_sizes_a_schedule(unsized, sized):
    histories = []
    for make in (unsized, sized):
        model = mlp()
        optimizer = optim.SGD(model.parameters(), lr=0.5)
        histories.append(train(optimizer, model, schedule=make(optimizer)))
    assert histories[0].lr == histories[1].lr and len(set(histories[0].lr)) > 5
    assert [row["lr"] for row in histories[0].rows] == histories[0].lr[2::3]
    with pytest.raises(OptionError, match=r"(T_max|total_steps) is not known; pass it to the schedule"):
        unsized(optim.SGD([parameter(1.0)], lr=1.0)).step()


def test_fit_steps_by_epoch_where_pytorch_does():
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.4)
    history = train(optimizer, model, schedule=optim.StepLR(optimizer, 2, 0.5))
    assert history.lr == [0.4] * 6 + [0.2] * 6


@pytest.mark.parametrize("validation", [None, 0.25])
def test_fit_passes_the_loss_to_a_plateau(validation):
    model = mlp()
    optimizer, seen = optim.SGD(model.parameters(), lr=0.0), []

    class Seen(optim.ReduceLROnPlateau):
        def step(self, value):
            seen.append(value)
            super().step(value)

    schedule = Seen(optimizer, patience=1)
    history = train(optimizer, model, schedule=schedule, validation=validation)
    assert seen == [row["loss" if validation is None else "validation_loss"] for row in history.rows]


def test_the_state_of_a_plateau_goes_on():
    values = np.random.default_rng(2).random(30)

    def rates(after):
        schedule = optim.ReduceLROnPlateau(optim.SGD([parameter(1.0)], lr=1.0), patience=2, cooldown=1)
        found = []
        for i, value in enumerate(values):
            if i == after:
                state = schedule.state_dict()
                schedule = optim.ReduceLROnPlateau(optim.SGD([parameter(1.0)], lr=7.0), patience=2, cooldown=1)
                schedule.load_state_dict(state)
            schedule.step(value)
            found += schedule.get_last_lr()
        return found

    assert rates(None) == rates(5) == rates(17)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("compiled", [False, True])
def test_rmsprop_takes_pytorchs_steps(centered, momentum, weight_decay, compiled):
    torch = pytest.importorskip("torch")
    options = {"lr": 0.05, "alpha": 0.9, "centered": centered, "momentum": momentum, "weight_decay": weight_decay}
    model = mlp()
    twin = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    twin.load_state_dict({name: torch.from_numpy(a) for name, a in model.state_dict().items()})
    optimizer, theirs = optim.RMSprop(model.parameters(), **options), torch.optim.RMSprop(twin.parameters(), **options)

    def step(x, labels):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step = tg.jit(step) if compiled else step
    for i in range(8):
        x, labels = X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]
        step(x, labels)
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(twin(torch.from_numpy(x)), torch.from_numpy(labels)).backward()
        theirs.step()
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(array, twin.state_dict()[name].numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
    again = optim.RMSprop(model.parameters(), **options)
    again.load_state_dict(optimizer.state_dict())
    assert set(again.state[model[0].weight]) == set(optimizer.state[model[0].weight])


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_clipping_is_pytorchs(norm_type, max_norm):
    torch = pytest.importorskip("torch")
    ours = [tg.Tensor(RNG.normal(size=s), requires_grad=True) for s in ((3, 2), (4,), ())]
    theirs = [torch.tensor(p.data, requires_grad=True) for p in ours]
    for p, q in zip(ours[:2], theirs[:2], strict=True):
        (p * p).sum().backward(), (q * q).sum().backward()
    norm = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-13)
    for p, q in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-13)
    assert ours[2].grad is None


@pytest.mark.parametrize("jit", [False, True])
def test_clipping_in_fit_is_a_step_of_the_optimizer(jit):
    norms = []

    class Clipped(optim.SGD):
        def step(self):
            nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 0.01)
            super().step()

    class Measure(tg.callbacks.Callback):
        def on_batch_end(self, run):
            grads = [p.grad.numpy() for p in run.model.parameters()]
            norms.append(math.sqrt(sum((g * g).sum() for g in grads)))

    model = mlp()
    before = model.state_dict()
    train(Clipped(model.parameters(), lr=1.0), model, jit=jit, callbacks=[Measure()], epochs=1)
    moved = math.sqrt(sum(((a - before[name]) ** 2).sum() for name, a in model.state_dict().items()))
    assert moved <= 0.0300001
    assert jit or max(norms) <= 0.0100001


def test_clipping_without_gradients():
    with pytest.raises(GraphError, match="no parameter has a gradient"):
        nn.utils.clip_grad_norm_(mlp().parameters(), 1.0)


def test_the_search_for_a_learning_rate_leaves_everything_as_it_was():
    model = nn.Sequential(
        nn.Linear(3, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2, rng=0), nn.Linear(8, 2, rng=1)
    )
    optimizer = optim.SGD(model.parameters(), lr=0.123, momentum=0.9)
    before, rng = model.state_dict(), model[3].rng.bit_generator.state
    found = tg.find_lr(model, X, Y, optimizer=optimizer, batch_size=16, low=1e-5, high=100.0, steps=80)
    assert all((before[name] == a).all() for name, a in model.state_dict().items())
    assert model[3].rng.bit_generator.state == rng
    assert optimizer.param_groups[0]["lr"] == 0.123 and not any(optimizer.state.values())
    ratios = np.diff(np.log(found.lr))
    np.testing.assert_allclose(ratios, np.log(1e7) / 79)
    assert 1e-3 < found.suggestion < 10
    figure = tg.plot.learning_rates(found)
    assert figure.axes[0].get_xscale() == "log" and len(figure.axes[0].lines[0].get_xdata()) == len(found.loss)


def test_the_search_puts_back_what_draws_wherever_it_is():
    class Noisy(nn.Module):
        def __init__(self):
            self.sources = {"input": [np.random.default_rng(5)]}
            self.layer = nn.Linear(3, 2, rng=0)

        def forward(self, x):
            (rng,) = self.sources["input"]
            return self.layer(x + 0.1 * rng.normal(size=x.shape).astype(np.float32))

    model = Noisy()
    (rng,) = model.sources["input"]
    before = rng.bit_generator.state
    tg.find_lr(model, X, Y, optimizer=optim.SGD(model.parameters()), steps=5, jit=False)
    assert rng.bit_generator.state == before


def test_the_search_ends_where_the_loss_is_not_finite():
    model = mlp()
    outputs = RNG.normal(size=(96, 2)) * 1e3
    found = tg.find_lr(model, 1e3 * X, outputs, loss="mse_loss", optimizer=optim.SGD(model.parameters()), high=1e6)
    assert 0 < len(found.lr) < 100 and np.isfinite(found.loss).all()


def test_the_search_needs_one_loss_that_is_finite():
    model = mlp()
    before = model.state_dict()
    with pytest.raises(tg.NonFiniteError, match="epoch 1, step 1"), np.errstate(over="ignore"):
        tg.find_lr(model, 1e300 * X, 1e300 * X[:, :2], loss="mse_loss", optimizer=optim.SGD(model.parameters()))
    assert all((before[name] == a).all() for name, a in model.state_dict().items())


def test_one_call_seeds_everything_that_is_made_without_an_rng():
    def make():
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.MLP([4, 3, 2], dropout=0.1))
        return [*model.state_dict().values(), model(np.ones((5, 3), np.float32)).detach().numpy()]

    tg.seed(5)
    first, other = make(), make()
    tg.seed(5)
    again = make()
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not all((a == b).all() for a, b in zip(first, other, strict=True))
    tg.seed(None)
    assert not all((a == b).all() for a, b in zip(first, make(), strict=True))
    with pytest.raises(OptionError, match="seed must be an integer >= 0"):
        tg.seed(-1)


def test_curves_mark_the_best_epoch_and_draw_the_rate_of_each_step():
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    history = train(optimizer, model, schedule=optim.OneCycleLR(optimizer, 0.5), validation=0.25)
    figure = tg.plot.training_curves(history)
    loss, *_, lr = figure.axes
    best = history.frame.set_index("epoch")["validation_loss"].idxmin()
    assert loss.lines[-1].get_xdata() == [best, best] and loss.lines[-1].get_label() == f"best epoch, {best}"
    assert list(lr.lines[0].get_ydata()) == history.lr
    np.testing.assert_allclose(lr.lines[0].get_xdata(), np.arange(1, 13) / 3)
