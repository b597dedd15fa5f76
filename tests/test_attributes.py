"""Tests of what a checkpoint holds besides parameters: attributes of callbacks and modules, and Generators anywhere."""

from __future__ import annotations

import random
import sys
import types
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinygrad_mlp.callbacks import Callback, Checkpoint, EarlyStopping

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim
from tinygrad_mlp.generators import generators

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


class BrokenOffError(Exception):
    """What ends a training in the middle."""


class Break(Callback):
    """Breaks a training off as an epoch begins."""

    kept = ()

    def __init__(self, epoch: int | None) -> None:
        self.at = epoch

    def on_epoch_begin(self, run: Any) -> None:
        if run.epoch == self.at:
            raise BrokenOffError


def plain() -> nn.Module:
    return nn.MLP([4, 8, 2], rng=0, dropout=0.2)


def train(
    path: Path, own: Callable[[], list[Callback]], stop: int | None = None, model: Callable[[], nn.Module] = plain,
    augment: Any = None,
) -> tuple[dict[str, Any], list[Any]]:  # fmt: skip
    """Return the weights and the rows without times."""
    made = model()
    history = tg.fit(
        made, X, Y, optimizer=optim.SGD(made.parameters(), lr=0.1, momentum=0.9), epochs=6, batch_size=16, jit=False,
        progress=False, callbacks=[*own(), Checkpoint(path), Break(stop)], resume=tg.latest(path), augment=augment,
    )  # fmt: skip
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in history.rows]
    return {name: array.tobytes() for name, array in made.state_dict().items()}, rows


def assert_goes_on(tmp_path: Path, own: Callable[[], list[Callback]], **options: Any) -> None:
    expected = train(tmp_path / "straight.npz", own, **options)
    with pytest.raises(BrokenOffError):
        train(tmp_path / "broken.npz", own, 4, **options)
    assert train(tmp_path / "broken.npz", own, **options) == expected


class Scalars(Callback):
    """Has scalars of NumPy, which print, hash and count otherwise than arrays do."""

    def __init__(self) -> None:
        self.loss, self.last, self.all = np.float32(0), np.int64(0), [(np.float64(1), {"a": np.int8(2)})]

    def on_epoch_begin(self, run: Any) -> None:
        assert f"{self.loss:.3f}" and {self.last: 1} and type(self.all[0][1]["a"]) is np.int8

    def on_epoch_end(self, run: Any) -> None:
        self.loss, self.last = np.float32(run.row["loss"]) * self.loss + np.float32(1), np.int64(run.epoch)
        run.row["own"] = float(self.loss)


class Containers(Callback):
    """Has containers that a file knows by their items only."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.lists: defaultdict[str, list[int]] = defaultdict(list)
        self.last: deque[float] = deque(maxlen=2)
        self.seen: set[int] = set()
        self.average, self.pair = tg.Tensor([1.0]), [tg.Tensor([2.0]), {"zero": np.array(0.0)}]

    def on_epoch_end(self, run: Any) -> None:
        self.count[f"epoch {run.epoch}"] += 1
        self.lists[f"epoch {run.epoch}"].append(run.epoch)
        self.last.append(run.row["loss"])
        self.seen.add(run.epoch)
        self.average = (self.average * run.row["loss"]).detach()
        self.pair[1]["zero"][...] += 1  # which a scalar could not
        assert type(self.average) is type(self.pair[0]) is tg.Tensor
        run.row["own"] = [len(self.count), len(self.lists), sum(self.last), sum(self.seen), self.average.item()]


class Older(Callback):
    """Draws from what there was before Generators, from a method of one, and from one in a slot."""

    class Slot:
        __slots__ = ("rng",)

    def __init__(self) -> None:
        self.old, self.plain, self.draw = np.random.RandomState(0), random.Random(0), np.random.default_rng(0).random
        self.slot = self.Slot()
        self.slot.rng = np.random.default_rng(1)

    def on_epoch_end(self, run: Any) -> None:
        run.row["own"] = [self.old.normal(), self.plain.gauss(0, 1), self.draw(), self.slot.rng.random()]


class Unfreeze(Callback):
    """Changes what learns, and a mode, in the middle of a training."""

    def on_epoch_end(self, run: Any) -> None:
        if run.epoch == 2:
            run.model[0].requires_grad_(True)
            run.model[1].eval()


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2, rng=1))
    model[0].requires_grad_(False)
    return model


class Own(nn.Module):
    """A module that learns by hand, too."""

    def __init__(self) -> None:
        self.layer, self.mean, self.many, self.flag = nn.Linear(4, 2, rng=0), np.zeros(4, np.float32), [0], True

    def forward(self, x: Any) -> Any:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.numpy().mean(axis=0)
            self.many[0] += 1
            self.flag = not self.flag
        return self.layer(x - self.mean) * (1 + self.many[0] * self.flag)


@pytest.mark.parametrize("own", [Scalars, Containers, Older])
def test_callbacks_find_what_they_had(own: Callable[[], Callback], tmp_path: Path) -> None:
    assert_goes_on(tmp_path, lambda: [own()])


def test_arrays_without_axes_stay_arrays_in_a_copy_of_the_weights(tmp_path: Path) -> None:
    made: list[EarlyStopping] = []

    def own() -> list[Callback]:
        made.append(EarlyStopping("loss", patience=9, min_delta=100.0))  # the first epoch stays the best
        return [made[-1]]

    assert_goes_on(tmp_path, own, model=frozen)
    straight, _, resumed = ({k: (type(a), a.shape) for k, a in (c.weights or {}).items()} for c in made)
    assert straight == resumed and straight["1.num_batches_tracked"] == (np.ndarray, ())


@pytest.mark.parametrize(("model", "own"), [(frozen, [Unfreeze()]), (Own, [])])
def test_modules_find_what_they_had(model: Callable[[], nn.Module], own: list[Callback], tmp_path: Path) -> None:
    assert_goes_on(tmp_path, lambda: own, model=model)


def test_parameters_that_are_frozen_stay_parameters(tmp_path: Path) -> None:
    made: list[nn.Module] = []

    def model() -> nn.Module:
        made.append(frozen())
        made[-1].of_a_list = [made[-1][0].weight]
        return made[-1]

    assert_goes_on(tmp_path, list, model=model)
    resumed = made[-1]
    assert [*resumed.state_dict()] == [*frozen().state_dict()]
    assert type(resumed[0].weight) is nn.Parameter and resumed.of_a_list[0] is resumed[0].weight


def test_a_model_is_afterwards_in_the_mode_in_which_it_was_found(tmp_path: Path) -> None:
    models: list[nn.Module] = []

    def evaluating() -> nn.Module:
        models.append(frozen().eval())
        return models[-1]

    assert_goes_on(tmp_path, lambda: [Unfreeze()], model=evaluating)
    assert [module.training for model in models for module in model.modules()] == [False] * 15


def test_a_parameter_that_a_callback_looks_at_stays_that_of_the_model(tmp_path: Path) -> None:
    class Clip(Callback):
        def __init__(self, model: nn.Module) -> None:
            self.weight = model[0].weight

        def on_epoch_end(self, run: Any) -> None:
            with tg.no_grad():
                self.weight.data[...] = np.clip(self.weight.data, -0.3, 0.3)

    models: list[nn.Module] = []

    def made() -> nn.Module:
        models.append(plain())
        return models[-1]

    assert_goes_on(tmp_path, lambda: [Clip(models[-1])], model=made)


def test_a_module_of_python_may_hold_the_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``shaking.shake(xb)`` and ``shaking.rng``, where shaking is a file of the user's."""
    shaking = types.ModuleType("shaking")
    exec("def shake(x):\n    return x + 0.1 * rng.normal(size=x.shape)", shaking.__dict__)
    monkeypatch.setitem(sys.modules, "shaking", shaking)
    monkeypatch.setitem(globals(), "shaking", shaking)

    def model() -> nn.Module:
        shaking.rng = np.random.default_rng(3)  # type: ignore[attr-defined]
        return plain()

    for augment in (
        lambda xb, _: shaking.shake(xb),
        lambda xb, _: xb + 0.1 * shaking.rng.normal(size=xb.shape),  # type: ignore[attr-defined]
    ):
        for path in tmp_path.glob("*.npz"):
            path.unlink()
        assert_goes_on(tmp_path, list, model=model, augment=augment)


UNRELATED = np.random.default_rng(0)


def test_an_attribute_is_not_taken_for_a_global_of_its_name() -> None:
    def function(x: Any) -> Any:
        return x.UNRELATED

    assert generators([function]) == []


def test_the_best_file_is_never_behind_what_the_last_one_says_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two: the training goes on from the last, which knows the best value."""
    last, best = tmp_path / "last.npz", tmp_path / "best.npz"
    write = Checkpoint._write

    def dies(self: Any, run: Any, keep: int | None = None) -> None:
        write(self, run, keep)
        if self.path == last and keep is None:
            raise BrokenOffError

    monkeypatch.setattr(Checkpoint, "_write", dies)
    model = plain()
    with pytest.raises(BrokenOffError):
        tg.fit(model, X, Y, epochs=1, progress=False, callbacks=[Checkpoint(last), Checkpoint(best, "loss")])
    (_, said) = tg.load(last)["training"]["callbacks"][1]
    assert said["best"] == tg.load(best)["training"]["rows"][0]["loss"]
