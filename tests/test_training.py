"""fit, evaluate, predict: what they do, what they refuse before a weight changes, and how a training ends."""

from __future__ import annotations

import builtins
import contextlib
import csv
import io
import math
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim
from tinygrad_mlp.train import history as history_room
from tinygrad_mlp.train.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    LearningRateLogger,
    WeightAveraging,
)
from tinygrad_mlp.train.fit import History

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(203, 5)).astype(np.float32)  # with batches of 32, the last one has 11 rows
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
TIMES = ["seconds", "samples_per_second"]


def mlp(sizes=(5, 8, 2), **options):
    return nn.MLP(sizes, rng=0, **options)


def train(model, X=X, y=Y, **options):
    return tg.fit(model, X, y, **{"epochs": 2, "batch_size": 32, "progress": False, **options})


def bits(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def untimed(history):
    return history.frame.drop(columns=TIMES)


def rows_of(path):
    with path.open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


class Each(Callback):
    """Calls a function at the end of each batch, or of each epoch."""

    def __init__(self, on_batch=None, on_epoch=None):
        self.on_batch, self.on_epoch = on_batch, on_epoch

    def on_batch_end(self, run):
        if self.on_batch is not None:
            self.on_batch(run)

    def on_epoch_end(self, run):
        if self.on_epoch is not None:
            self.on_epoch(run)


class Log(nn.Module):
    def forward(self, x):
        return np.log(x)


# What it does


def test_the_loop_by_hand_gives_the_same_bits_and_figures():
    model, twin = mlp(), mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=14)
    history = train(model, optimizer=optimizer, schedule=schedule, seed=7)
    optimizer, rng, rows = optim.SGD(twin.parameters(), lr=0.1, momentum=0.9), np.random.default_rng(7), []
    schedule = optim.CosineAnnealingLR(optimizer, T_max=14)
    for epoch in (1, 2):
        losses = hits = 0.0
        for xb, yb in tg.minibatches(X, Y, 32, rng=rng):
            outputs = twin(xb)
            loss = F.cross_entropy(outputs, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate = schedule.get_last_lr()[0]
            schedule.step()
            losses += loss.item() * len(yb)
            hits += (outputs.detach().numpy().argmax(axis=1) == yb).sum()
        rows.append([epoch, 7 * epoch, losses / len(X), hits / len(X), rate])
    assert bits(model) == bits(twin)
    assert untimed(history).to_numpy().tolist() == rows
    assert history.stopped is None


@pytest.mark.parametrize(("sizes", "options"), [((5, 8, 2), {}), ((5, 8, 8, 2), {"dropout": 0.3})])
def test_same_digits_eager_and_compiled_and_from_the_same_seed(sizes, options):
    def run(**more):
        model = nn.Sequential(mlp(sizes, **options), nn.BatchNorm1d(2))
        history = train(model, validation=0.2, augment=lambda xb, rng: xb + rng.normal(size=xb.shape), **more)
        return bits(model), untimed(history)

    weights, rows = run()
    for more in ({}, {"jit": False}):
        again, rows_again = run(**more)
        assert again == weights
        assert rows_again.equals(rows)
    other, _ = run(seed=1)
    assert other != weights


def test_a_short_last_batch_is_trained_on_and_counts_by_its_rows():
    sizes, model = [], mlp()
    augment = lambda xb, rng: sizes.append(len(xb)) or xb
    history = train(model, optimizer=optim.SGD(model.parameters(), lr=0.0), augment=augment, epochs=1)
    assert sizes == [32] * 6 + [11]
    assert history.rows[0]["step"] == 7
    assert history.rows[0]["loss"] == pytest.approx(tg.evaluate(model, X, Y)["loss"], rel=1e-6)
    assert history.rows[0]["accuracy"] == tg.evaluate(model, X, Y)["accuracy"]


def test_rows_have_the_names_that_are_documented():
    history = train(mlp(), validation=(X[:50], Y[:50]))
    names = ["epoch", "step", "loss", "accuracy", "validation_loss", "validation_accuracy", "lr", *TIMES]
    assert list(history.frame) == names == list(history.rows[0])
    assert history.frame["epoch"].tolist() == [1, 2] and history.frame["step"].tolist() == [7, 14]
    assert all(row["samples_per_second"] == pytest.approx(len(X) / row["seconds"]) for row in history.rows)


def test_it_learns_without_any_option():
    model = mlp((5, 32, 2))
    history = tg.fit(model, X, Y, epochs=60, progress=False)
    assert history.rows[0]["step"] == 2  # batches of 128
    assert history.rows[-1]["accuracy"] > 0.9 > history.rows[0]["accuracy"]
    assert tg.fit(mlp(), X[:20], Y[:20], epochs=1, progress=False).rows[0]["step"] == 1  # fewer rows than 128


def test_regression_has_no_metric_unless_asked_and_takes_float64_targets():
    model, y = mlp((5, 8, 1)), X[:, :1].astype(np.float64)
    history = train(model, y=y, loss="mse_loss", metrics={"mae": "l1_loss", "r2": r_squared}, validation=0.25)
    assert {"mae", "r2", "validation_mae", "validation_r2"} < set(history.frame)
    scores = tg.evaluate(model, X[-51:], y[-51:], loss=F.mse_loss, metrics={"r2": r_squared})
    assert scores["r2"] == history.rows[-1]["validation_r2"]  # of all rows together, not a mean over batches
    assert list(train(model, y=y, loss="mse_loss").frame)[:4] == ["epoch", "step", "loss", "lr"]
    assert model.state_dict()["0.weight"].dtype == np.float32


def r_squared(outputs, targets):
    return 1 - np.sum((outputs - targets) ** 2) / np.sum((targets - targets.mean()) ** 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loss_of_ones_own_gets_targets_in_the_dtype_of_the_model(dtype):
    seen = []

    def squares(outputs, targets):
        seen.append((outputs.dtype, targets.dtype))
        return ((outputs[:, 0] - targets) ** 2).mean()

    train(mlp((5, 1), dtype=dtype), y=X[:, 0].astype(np.float64), loss=squares, jit=False, validation=0.2)
    assert set(seen) == {(np.dtype(dtype), np.dtype(dtype))}
    seen.clear()
    history = train(mlp((5, 1), dtype=dtype), loss=squares, jit=False)  # a column of outputs is no choice of a class
    assert set(seen) == {(np.dtype(dtype), Y.dtype)}
    assert "accuracy" not in history.rows[0]


def test_a_fraction_keeps_the_last_rows_out_of_the_training():
    given, kept = mlp(), mlp()
    by_pair = train(given, X[:162], Y[:162], validation=(X[162:], Y[162:]))
    by_share = train(kept, validation=0.2)
    assert bits(given) == bits(kept)
    assert untimed(by_pair).equals(untimed(by_share))
    assert by_share.rows[-1]["validation_loss"] == tg.evaluate(kept, X[162:], Y[162:])["loss"]


def test_inputs_of_every_kind_give_the_same_digits(tmp_path):
    expected = mlp()
    train(expected, validation=0.2)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    mapped[:] = X
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(len(X))[::-1])
    series = pd.Series(Y, index=frame.index)
    for inputs, targets in ((mapped, Y), (frame, series), (X.tolist(), Y.tolist()), (X.astype(np.float64), Y)):
        model = mlp()
        train(model, inputs, targets, validation=0.2)
        assert bits(model) == bits(expected)
        assert tg.predict(model, inputs).tobytes() == tg.predict(expected, X).tobytes()
        assert tg.evaluate(model, inputs, targets) == tg.evaluate(expected, X, Y)


def test_transform_sees_every_batch_and_augment_those_of_the_training():
    pixels = RNG.integers(0, 256, (100, 5), np.uint8)
    seen, augmented = [], []

    def transform(xb):
        seen.append((xb.dtype, len(xb)))
        return tg.scale_pixels(xb)

    def augment(xb, rng):
        augmented.append((xb.dtype, xb.max() <= 1, rng.random()))
        return xb

    model = mlp()
    train(model, pixels, Y[:100], transform=transform, augment=augment, validation=0.2, epochs=1)
    assert {dtype for dtype, _ in seen} == {np.dtype(np.uint8)}
    assert sum(rows for _, rows in seen[2:]) == 100  # 80 in training, 20 in validation; the first two are a rehearsal
    assert [entry[:2] for entry in augmented] == [(np.float32, True)] * 3
    assert len({number for *_, number in augmented}) == 3
    before = tg.predict(model, pixels, transform=tg.scale_pixels)
    assert before.tobytes() == tg.predict(model, pixels / np.float32(255)).tobytes()


def test_rows_come_as_they_stand_if_they_are_not_shuffled():
    seen = []
    augment = lambda xb, rng: seen.append(xb) or xb
    train(mlp(), augment=augment, shuffle=False)
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([X, X]))


def test_augmentation_leaves_the_order_what_it_is():
    seen, rng = [], np.random.default_rng(7)
    train(mlp(), seed=7, augment=lambda xb, rng: seen.append(xb) or xb + 0 * rng.normal(size=xb.shape))
    expected = [xb for _ in range(2) for xb, _ in tg.minibatches(X, Y, 32, rng=rng)]
    assert [xb.tobytes() for xb in seen] == [xb.tobytes() for xb in expected]


def test_predictions_come_in_batches_without_a_graph_and_leave_the_mode():
    model = mlp(dropout=0.5)
    model.children().__next__().eval()
    modes = [module.training for module in model.modules()]
    widths = []
    outputs = tg.predict(model, X, batch_size=60, transform=lambda xb: widths.append(len(xb)) or xb)
    assert widths == [60, 60, 60, 23]
    assert type(outputs) is np.ndarray and outputs.shape == (203, 2)
    assert [module.training for module in model.modules()] == modes
    train(model)
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ZeroDivisionError):
        tg.predict(model, X, transform=lambda xb: 1 / 0)
    assert [module.training for module in model.modules()] == modes
    expected = model.eval()(X).detach().numpy()
    np.testing.assert_allclose(tg.predict(model, X, batch_size=60), expected, rtol=1e-4, atol=1e-6)


def test_probabilities_are_the_softmax_or_for_one_column_the_sigmoid():
    model = mlp((5, 3))
    logits = tg.predict(model, X)
    np.testing.assert_allclose(
        tg.predict_proba(model, X), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-5
    )
    model = mlp((5, 1))
    np.testing.assert_allclose(tg.predict_proba(model, X), 1 / (1 + np.exp(-tg.predict(model, X))), rtol=1e-5)
    flat = nn.Sequential(nn.Linear(5, 2, rng=0), Log())
    flat[1].forward = lambda x: x.sum(axis=1)
    with pytest.raises(tg.ShapeError, match=r"expected logits \(N, C\)"):
        tg.predict_proba(flat, X)


# What it refuses


def cells(value):
    bad = X.copy()
    bad[17, 3] = value
    return bad


def labels(value):
    bad = Y.astype(float)
    bad[190] = value
    return bad


def last(bad):
    return [*Y[:-1].tolist(), bad]


def wrapped(outputs, targets):
    return 2 * F.cross_entropy(outputs, targets)


def other_schedule(model):
    return {"optimizer": optim.Adam(model.parameters()), "schedule": optim.LRScheduler(optim.Adam(model.parameters()))}


REFUSED = [
    ("length", lambda m: train(m, X, Y[:-1]), tg.ShapeError, "X has 203 rows and y has 202"),
    ("width", lambda m: train(m, X[:, :3]), tg.ShapeError, "expected 5 features, got 3"),
    ("empty", lambda m: train(m, X[:0], Y[:0]), tg.DataError, r"X has shape \(0, 5\)"),
    ("no targets", lambda m: train(m, y=None), tg.DataError, "y is None, expected an array with a row for each sample"),
    ("no columns", lambda m: train(m, X[:, :0]), tg.DataError, r"X has shape \(203, 0\)"),
    ("nan", lambda m: train(m, cells(np.nan)), tg.DataError, "X is nan at row 17, column 3"),
    ("inf", lambda m: train(m, pd.DataFrame(cells(-np.inf))), tg.DataError, "X is -inf at row 17, column 3"),
    ("nan target", lambda m: train(m, y=labels(np.nan)), tg.DataError, "y is nan at row 190"),
    ("nan in validation", lambda m: train(m, validation=(cells(np.nan), Y)), tg.DataError, "validation X is nan at"),
    ("label too large", lambda m: train(m, y=last(2)), tg.DataError, r"y, row 202: the label is 2, .*0\.\.1"),
    ("label in a wrapped loss", lambda m: train(m, y=last(-1), loss=wrapped), tg.DataError, "202: the label is -1,"),
    ("an early label", lambda m: train(m, y=[3, *last(0)[1:]]), tg.DataError, r"y: labels\[0\] is 3"),
    ("label with a fraction", lambda m: train(m, y=labels(0.5)), tg.DataError, "the label is 0.5, .*a whole number"),
    ("validation label", lambda m: train(m, validation=(X, last(7))), tg.DataError, "validation y.*label is 7"),
    ("text", lambda m: train(m, X.astype(str)), tg.DtypeError, "X holds <U"),
    ("text column", lambda m: train(m, pd.DataFrame(X).assign(name="a")), tg.DtypeError, "in column 'name'"),
    ("target names", lambda m: train(m, y=np.array(["a", "b"])[Y]), tg.DtypeError, "y holds .*factorize"),
    ("target column", lambda m: train(m, y=X[:, 0], loss="mse_loss"), tg.ShapeError, "mse_loss: prediction has shape"),
    ("epochs", lambda m: train(m, epochs=0), ValueError, "epochs must be an integer >= 1, got 0"),
    ("epochs 1.5", lambda m: train(m, epochs=1.5), TypeError, "epochs must be an integer >= 1, got 1.5"),
    ("batch_size 0", lambda m: train(m, batch_size=0), ValueError, "batch_size must be an integer >= 1, got 0"),
    ("single row", lambda m: train(m, X[:193], Y[:193]), ValueError, "no single row of 193, for BatchNorm1d"),
    ("share", lambda m: train(m, validation=1.5), ValueError, r"share of the rows in \(0, 1\), got 1.5"),
    ("all kept", lambda m: train(m, X[:1], Y[:1], validation=0.5), ValueError, "leaves rows to train on"),
    ("option", lambda m: train(m, optimiser=1), TypeError, "no option 'optimiser'; did you mean 'optimizer'"),
    ("evaluate", lambda m: tg.evaluate(m, X, Y, metric=[]), TypeError, "no option 'metric'; write metrics"),
    ("loss", lambda m: train(m, loss="cross_entropi"), ValueError, "did you mean 'cross_entropy'"),
    ("loss not one number", lambda m: train(m, loss=no_reduction), tg.ShapeError, "expected one number.*reduction"),
    ("metric", lambda m: train(m, metrics=["acuracy"]), ValueError, "did you mean 'accuracy'"),
    ("metric name", lambda m: train(m, metrics={"lr": "accuracy"}), ValueError, "cannot be called 'lr'"),
    ("metric in a list", lambda m: train(m, metrics=[F.mse_loss]), TypeError, "metrics must be names"),
    ("metric fails", lambda m: train(m, metrics={"bad": lambda o, t: 1 / 0}), ZeroDivisionError, "division"),
    ("model", lambda m: train(np.tanh), TypeError, "model must be a Module"),
    ("optimizer", lambda m: train(m, optimizer="adam"), TypeError, "optimizer must be one, such as"),
    ("its model", lambda m: train(m, optimizer=optim.Adam(mlp().parameters())), ValueError, "no parameter of this"),
    ("schedule", lambda m: train(m, schedule=0.1), TypeError, "schedule must be an LRScheduler"),
    ("its optimizer", lambda m: train(m, **other_schedule(m)), ValueError, "belongs to another optimizer"),
    ("transform", lambda m: train(m, transform=255), TypeError, r"transform\(xb\), got 255: it is none"),
    ("augment", lambda m: train(m, augment=0.1), TypeError, r"augment\(xb, rng\), got 0.1: it is none"),
    ("callback class", lambda m: train(m, callbacks=[EarlyStopping]), TypeError, r"callbacks\[0\] must be a Callback"),
    ("callbacks", lambda m: train(m, callbacks=EarlyStopping()), TypeError, "callbacks must be a list"),
    ("part of a loss", lambda m: train(m, loss="mse"), ValueError, "did you mean 'mse_loss'"),
    ("hook", lambda m: train(m, callbacks=[Misspelt()]), TypeError, "did you mean 'on_epoch_end'"),
    ("folder", lambda m: train(m, callbacks=[Checkpoint("no/such/x.npz")]), FileNotFoundError, "no/such"),
    ("metric alone", lambda m: train(m, metrics=F.mse_loss), TypeError, "metrics must be names"),
    ("no distribution", lambda m: train(m, y=np.full((len(X), 2), -5.0)), ValueError, "mse_loss"),
    ("monitor", lambda m: train(m, callbacks=[EarlyStopping("acuracy")]), ValueError, "did you mean 'accuracy'"),
    ("validation", lambda m: train(m, callbacks=[EarlyStopping()]), ValueError, "pass validation to fit"),
    ("its mode", lambda m: train(m, callbacks=[EarlyStopping("seconds")]), ValueError, "mode='min' or 'max'"),
    ("patience", lambda m: EarlyStopping(patience=0), ValueError, "patience must be"),
    ("min_delta", lambda m: EarlyStopping(min_delta=-1), ValueError, "min_delta must be"),
    ("mode", lambda m: Checkpoint("x", "loss", mode="less"), ValueError, "'min' or 'max'"),
    ("start", lambda m: WeightAveraging(start=1.0), ValueError, "start must be"),
    ("decay", lambda m: WeightAveraging(decay=1.0), ValueError, "decay must be"),
    ("csv folder", lambda m: train(m, callbacks=[CSVLogger("no/such/folder/x.csv")]), OSError, "no/such/folder"),
    ("outputs", lambda m: train(nn.Sequential(m, Sum())), tg.ShapeError, "a row for each"),
]  # fmt: skip


class Misspelt(Callback):
    def on_epoch_ended(self, run):
        raise AssertionError("nothing calls this")


class Sum(nn.Module):
    def forward(self, x):
        return x.sum()


def no_reduction(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize("score", [tg.evaluate, tg.predict, tg.predict_proba])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_pixels_that_are_not_scaled_are_noticed_afterwards_too(score, dtype):
    pixels = np.array([[0, 17, 255], [3, 128, 9]], dtype)
    arguments = (pixels, np.array([0, 1])) if score is tg.evaluate else (pixels,)
    with pytest.warns(UserWarning, match="not scaled"):
        score(mlp((3, 2)), *arguments)


def test_modules_that_the_model_does_not_know_of_are_noticed():
    class Listed(nn.Module):
        def __init__(self):
            self.first, self.others = nn.Linear(5, 5, rng=0), [nn.Linear(5, 2, rng=1)]

        def forward(self, x):
            return self.others[0](self.first(x))

    with pytest.warns(UserWarning, match="Linear.*no part of the model.*Sequential"):
        train(Listed(), epochs=1)


def test_a_frozen_module_need_not_be_known():
    model = nn.Sequential(mlp((5, 5)), nn.Linear(5, 2, rng=0))
    outside = nn.Linear(5, 5, rng=1).requires_grad_(False)
    model.forward = lambda x: model[1](outside(x))
    with warnings.catch_warnings(record=True) as caught:
        history = train(model)
    assert not caught and len(history.rows) == 2


@pytest.mark.parametrize(("row", "fits"), [
    ([0.5, 0.5], True), ([0.3, 0.7005], True), ([1.0, 1.0], False), ([0.5, 0.51], False), ([0.5, 0.49], False),
    ([1.5, -0.5], False), ([0.0, 0.0], False),
])  # fmt: skip
def test_rows_of_probabilities_add_up_to_1(row, fits):
    y = np.tile([[0.25, 0.75]], (203, 1))
    y[100] = row
    if fits:
        train(mlp(), y=y)
    else:
        with pytest.raises(tg.DataError, match=r"y, row 100: cross_entropy takes labels or rows of probabilities"):
            train(mlp(), y=y)


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1), tg.jit(F.cross_entropy)])
def test_a_module_takes_the_targets_that_its_function_takes(loss):
    with pytest.raises(tg.DataError, match=r"y, row 7: cross_entropy takes labels or rows of probabilities"):
        train(mlp(), y=np.where(np.arange(203)[:, None] == 7, [[1.0, 1.0]], [[0.25, 0.75]]), loss=loss)


def test_a_loss_of_ones_own_takes_what_targets_it_likes_whatever_its_name():
    def plain_binary_cross_entropy(outputs, targets):
        return np.mean(np.square(outputs - targets))

    history = train(mlp((5, 1)), y=np.linspace(-3, 3, 203), loss=plain_binary_cross_entropy)
    assert history.rows[-1]["loss"] > 0


def test_what_cannot_be_recorded_is_trained_eagerly_after_a_warning():
    class Peeks(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * (1.0 if x.sum().item() > 0 else 2.0)

    model, twin = Peeks(mlp()), Peeks(mlp())
    with pytest.warns(RuntimeWarning, match=r"eagerly: item at test_training.py:\d+ needs a value") as caught:
        train(model, epochs=3)
    assert len(caught) == 1
    train(twin, epochs=3, jit=False)
    assert [p._data.tobytes() for p in model.parameters()] == [p._data.tobytes() for p in twin.parameters()]


def test_a_model_that_counts_is_trained_eagerly_after_a_warning():
    class Counts(nn.Sequential):
        n = 0

        def forward(self, x):
            self.n += 1
            return super().forward(x) * (1.0 + self.n % 3)

    model, twin = Counts(mlp()), Counts(mlp())
    with pytest.warns(RuntimeWarning, match=r"eagerly: forward_backward changes self.n") as caught:
        train(model, epochs=3)
    assert len(caught) == 1
    train(twin, epochs=3, jit=False)
    assert [p._data.tobytes() for p in model.parameters()] == [p._data.tobytes() for p in twin.parameters()]
    assert model.n == twin.n > 9


def test_a_regression_needs_a_loss_of_its_own():
    """With one column of outputs, the cross entropy is 0 whatever the targets are."""
    with pytest.raises(tg.ShapeError, match="use mse_loss for regression"):
        tg.fit(nn.MLP([2, 1], rng=0), np.ones((4, 2)), np.ones((4, 1)), progress=False)


@pytest.mark.parametrize(("call", "error", "message"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_does_not_fit_is_refused_before_anything_changes(call, error, message):
    model = nn.Sequential(mlp(dropout=0.5), nn.BatchNorm1d(2))
    before, rng = bits(model), repr(model[0][2].rng.bit_generator.state)
    with pytest.raises(error, match=message):
        call(model)
    assert bits(model) == before
    assert repr(model[0][2].rng.bit_generator.state) == rng
    assert all(module.training for module in model.modules())
    assert signal.getsignal(signal.SIGINT) is HANDLER


HANDLER = signal.getsignal(signal.SIGINT)


def test_predict_refuses_what_fit_refuses():
    model = mlp()
    with pytest.raises(tg.DataError, match="X is nan at row 17, column 3"):
        tg.predict(model, cells(np.nan))
    with pytest.raises(tg.ShapeError, match="expected 5 features, got 4"):
        tg.predict(model, X[:, :4])
    with pytest.raises(ValueError, match="batch_size"):
        tg.predict_proba(model, X, batch_size=0)
    with pytest.raises(tg.ShapeError, match="203 rows and y has 5"):
        tg.evaluate(model, X, Y[:5])


def test_pixels_that_are_not_scaled_get_a_warning_that_says_what_to_do():
    pixels = RNG.integers(0, 256, (100, 5), np.uint8)
    with pytest.warns(UserWarning, match=r"transform=tg\.scale_pixels") as caught:
        train(mlp(), pixels, Y[:100])
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(mlp(), pixels, Y[:100], transform=tg.scale_pixels)
        train(mlp(), pixels // 100, Y[:100])  # counts


# How it ends


@pytest.mark.parametrize(("low", "high", "looks"), [
    (0, 255, True), (0, 128, True), (3, 255, True), (0, 127, False), (-1, 255, False), (0, 256, False),
    (0, 200.5, False),
])  # fmt: skip
def test_what_looks_like_pixels(low, high, looks):
    pixels = np.full((4, 5), low, float)
    pixels[0, 0] = high
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tg.predict(mlp(), pixels)
    assert bool(caught) == looks


def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights():
    class Sqrt(nn.Module):
        def forward(self, x):
            return np.sqrt(x)

    model = nn.Sequential(nn.Linear(5, 2, rng=0), Sqrt(), nn.Linear(2, 2, rng=0))
    optimizer = optim.SGD(model.parameters(), lr=0.25)
    before = bits(model)
    with np.errstate(all="ignore"), pytest.raises(tg.NonFiniteError) as caught:
        train(model, optimizer=optimizer, progress=False)
    assert re.match(r"epoch 1, step 1, learning rate 0.25: the loss is nan; layer '1', Sqrt\(\), is", str(caught.value))
    assert isinstance(caught.value, FloatingPointError) and caught.value.history.rows == []
    assert bits(model) == before
    assert all("forward" not in vars(module) for module in model.modules())


@np.errstate(all="ignore")
def test_it_names_weights_batches_and_the_loss_and_keeps_the_history():
    def spoil(run):
        with tg.no_grad():
            model[2].weight *= np.nan

    model = mlp()
    with pytest.raises(
        tg.NonFiniteError, match=r"epoch 2, step 8, .* layer '2', Linear.*: its weight has 16 of 16"
    ) as e:
        train(model, callbacks=[Each(on_epoch=spoil)])
    assert len(e.value.history.rows) == 1
    with pytest.raises(tg.NonFiniteError, match="the batch, as transform and augment leave it, has 1 of 160 entries"):
        train(mlp(), augment=lambda xb, rng: np.where(np.arange(xb.size).reshape(xb.shape) == 7, np.inf, xb))
    with pytest.raises(tg.NonFiniteError, match="so that the loss itself is to blame"):
        train(mlp(), loss=lambda o, t: F.cross_entropy(o, t) * np.inf)
    optimizer = optim.SGD(model.parameters(), lr=1e30)
    model.load_state_dict(mlp().state_dict())
    with pytest.raises(tg.NonFiniteError, match="the validation loss is nan; layer '2', Linear.* its output"):
        train(model, optimizer=optimizer, batch_size=203 - 41, validation=0.2, epochs=1)


def test_the_search_for_the_layer_leaves_no_trace():
    rng, twin_rng = np.random.default_rng(3), np.random.default_rng(3)
    model = nn.Sequential(nn.Linear(5, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.5, rng=rng), nn.Linear(4, 2, rng=1))
    before = bits(model)
    with pytest.raises(tg.NonFiniteError, match="the loss itself is to blame"):
        train(model, loss=lambda o, t: F.cross_entropy(o, t) + np.inf)
    assert bits(model) == before and model[1].num_batches_tracked.item() == 0
    assert rng.bit_generator.state == twin_rng.bit_generator.state


def test_inside_of_detect_anomaly_the_op_is_named():
    class Root(nn.Module):
        def forward(self, x):
            return np.sqrt(x)  # whose slope is infinite where no unit is active

    model = nn.Sequential(nn.Linear(5, 2, rng=0), nn.ReLU(), Root())
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match="the gradient of sqrt by its input 0"):
        train(model)


def interrupt(run):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("usual_ctrl_c")
def test_ctrl_c_ends_the_training_after_the_step_that_runs():
    model = mlp()
    history = train(model, validation=0.2, callbacks=[Each(lambda run: run.step == 9 and interrupt(run))], epochs=5)
    assert history.stopped == "interrupted"
    assert history.frame["step"].tolist() == [6, 9]
    assert history.rows[-1]["validation_loss"] == tg.evaluate(model, X[162:], Y[162:])["loss"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "stopped: interrupted" in repr(history)


@pytest.mark.usefixtures("usual_ctrl_c")
@pytest.mark.parametrize("fails", [False, True])
def test_ctrl_c_is_left_as_it_was_found(fails):
    during = []
    look = Each(on_epoch=lambda run: during.append(signal.getsignal(signal.SIGINT)) or (fails and 1 / 0))
    with pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext():
        train(mlp(), callbacks=[look])
    assert signal.default_int_handler not in during
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_second_ctrl_c_raises_at_once():
    model, steps = mlp(), []

    def twice(run):
        steps.append(run.step)
        interrupt(run)
        interrupt(run)

    with pytest.raises(KeyboardInterrupt):
        train(model, callbacks=[Each(twice)])
    assert steps == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert all(module.training for module in model.modules())


def test_other_handlers_and_threads_are_left_alone():
    calls = []
    own = lambda *_: calls.append(1)
    before = signal.signal(signal.SIGINT, own)
    try:
        history = train(mlp(), callbacks=[Each(lambda run: run.step == 1 and interrupt(run))])
        assert calls == [1] and history.stopped is None and signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
    histories = []
    thread = threading.Thread(target=lambda: histories.append(train(mlp())))
    thread.start()
    thread.join()
    assert len(histories[0].rows) == 2


CHILD = """
import signal, numpy as np, tinygrad_mlp as tg
signal.signal(signal.SIGINT, signal.default_int_handler)
X = np.random.default_rng(0).normal(size=(500, 5)); y = (X[:, 0] > 0).astype(int)
model = tg.nn.MLP([5, 8, 2], rng=0)
history = tg.fit(model, X, y, epochs=10**6, batch_size=50)
print("END", history.stopped, len(history.rows) > 1, np.isfinite(tg.predict(model, X)).all())
"""


def test_a_real_ctrl_c_in_a_process_of_its_own():
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        for _ in range(4):  # the heading, and rows
            assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert rest.splitlines()[-2:] == ["stopped: interrupted", "END interrupted True True"]


# Callbacks


def validation_losses(*values):
    """A callback that replaces the validation losses of the epochs."""
    return Each(on_epoch=lambda run: run.row.update(validation_loss=values[run.epoch - 1]))


def test_early_stopping_ends_with_the_best_weights():
    states = []
    watch = Each(on_epoch=lambda run: states.append(bits(run.model)))
    stopping = EarlyStopping(patience=2, min_delta=0.1)
    losses = validation_losses(1.0, 0.5, 0.45, 0.41, 0.1)  # the third and fourth are not better by 0.1
    model = mlp()
    history = train(model, validation=0.2, epochs=9, callbacks=[losses, watch, stopping])
    assert len(history.rows) == 4 and len(set(map(str, states))) == 4
    assert bits(model) == states[1]
    assert (stopping.best, stopping.best_epoch) == (0.5, 2)
    assert history.stopped.endswith("the weights are those of epoch 2, when it was 0.5")


def test_an_equal_value_is_no_improvement():
    stopping = EarlyStopping(patience=2)
    train(mlp(), validation=0.2, epochs=9, callbacks=[validation_losses(0.5, 0.5, 0.5, 0.1), stopping])
    assert (stopping.best, stopping.best_epoch) == (0.5, 1)


def test_early_stopping_restores_after_an_error_too_and_takes_larger_accuracies_for_better():
    states = []
    values = [0.5, 0.9, math.nan, 0.7]

    def watch(run):
        run.row["accuracy"] = values[run.epoch - 1]
        states.append(bits(run.model))
        if run.epoch == 4:
            raise ZeroDivisionError

    model = mlp()
    with pytest.raises(ZeroDivisionError):
        train(model, epochs=9, callbacks=[EarlyStopping("accuracy"), Each(on_epoch=watch)][::-1])
    assert bits(model) == states[1]


def test_checkpoints_hold_what_is_needed_to_go_on(tmp_path):
    latest, best = tmp_path / "latest.npz", tmp_path / "best.npz"
    states, model = [], mlp()
    optimizer = optim.Adam(model.parameters())
    schedule = optim.CosineAnnealingLR(optimizer, T_max=100)
    watch = Each(on_epoch=lambda run: states.append(bits(run.model)))
    callbacks = [validation_losses(0.5, 0.3, 0.4), watch, Checkpoint(latest), Checkpoint(best, "validation_loss")]
    train(model, optimizer=optimizer, schedule=schedule, validation=0.2, epochs=3, callbacks=callbacks)
    for path, epoch in ((latest, 3), (best, 2)):
        state = tg.load(path)
        assert (state["epoch"], state["step"], state["schedule"]["last_step"]) == (epoch, 6 * epoch, 6 * epoch)
        other = mlp()
        other.load_state_dict(state["model"])
        assert bits(other) == states[epoch - 1]
        again = optim.Adam(other.parameters())
        again.load_state_dict(state["optimizer"])
        assert again.state[other[0].weight]["step"] == 6 * epoch


def test_logs_of_rows_and_learning_rates(tmp_path):
    lines, rates, model = [], LearningRateLogger(), mlp()
    path = tmp_path / "log.csv"
    watch = Each(on_epoch=lambda run: lines.append(len(path.read_text().splitlines())))
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    schedule = optim.OneCycleLR(optimizer, 0.5, total_steps=21)
    history = train(model, schedule=schedule, epochs=3, callbacks=[rates, CSVLogger(path), watch])
    assert lines == [2, 3, 4]  # each row is there when its epoch ends
    assert rows_of(path) == history.rows
    twin = optim.OneCycleLR(optim.SGD(model.parameters(), lr=0.5), 0.5, total_steps=21)
    expected = []
    for _ in range(21):
        expected += twin.get_last_lr()
        twin.step()
    assert rates.lr == expected
    assert history.frame["lr"].tolist() == expected[6::7]


def test_a_log_has_the_columns_of_its_first_row(tmp_path):
    late = Each(on_epoch=lambda run: run.row.update({"late": 1.0} if run.epoch > 1 else {}))
    history = train(mlp(), callbacks=[late, CSVLogger(tmp_path / "log.csv")])
    first, second = rows_of(tmp_path / "log.csv")
    assert first == history.rows[0] and second == {k: v for k, v in history.rows[1].items() if k != "late"}


@pytest.mark.parametrize("decay", [None, 0.75])
def test_weight_averaging_loads_the_mean_of_the_last_epochs(decay):
    states = []
    watch = Each(on_epoch=lambda run: states.append(run.model.state_dict()))
    model = nn.Sequential(nn.Linear(5, 2, rng=0), nn.BatchNorm1d(2))
    train(model, epochs=5, callbacks=[watch, WeightAveraging(start=0.4, decay=decay)])
    for name, array in model.state_dict().items():
        third, fourth, fifth = (state[name].astype(np.float64) for state in states[2:])
        average = (third + fourth + fifth) / 3
        if decay is not None:
            average = 0.75 * (0.75 * third + 0.25 * fourth) + 0.25 * fifth
        if name.endswith("num_batches_tracked"):
            average = fifth
        assert array.dtype == states[0][name].dtype
        np.testing.assert_allclose(array, average, rtol=1e-6)
    assert bits(model) != {name: array.tobytes() for name, array in states[-1].items()}


def test_an_average_of_many_epochs_is_rounded_once():
    table = np.random.default_rng(0).normal(size=(40, 2, 5)).astype(np.float32)
    model = nn.Linear(5, 2, bias=False, rng=0)
    fill = Each(on_epoch=lambda run: run.model.load_state_dict({"weight": table[run.epoch - 1]}))
    train(model, X[:8], Y[:8], batch_size=8, epochs=40, callbacks=[fill, WeightAveraging(start=0.0)])
    assert bits(model) == {"weight": table.astype(float).mean(axis=0).astype(np.float32).tobytes()}


def test_an_average_that_has_not_begun_changes_nothing():
    model, twin = mlp(), mlp()
    train(model, epochs=4, callbacks=[WeightAveraging(start=0.75), Each(lambda run: run.stop("enough"))])
    train(twin, epochs=4, callbacks=[Each(lambda run: run.stop("enough"))])
    assert bits(model) == bits(twin)


def test_the_protocol_is_called_in_order_and_ends_whatever_happens():
    calls = []

    class Listener(Callback):
        def __init__(self, name):
            self.name = name

        def on_train_begin(self, run):
            calls.append(f"{self.name} begin")

        def on_epoch_begin(self, run):
            assert run.epoch == len(run.history.rows) + 1 == run.step + 1
            calls.append(f"{self.name} epoch begin")

        def on_batch_end(self, run):
            assert run.step == run.epoch and math.isfinite(run.loss) and run.lr == 0.001 and run.steps_per_epoch == 1
            calls.append(f"{self.name} batch")

        def on_epoch_end(self, run):
            assert run.history.rows[-1] is run.row
            calls.append(f"{self.name} epoch")

        def on_train_end(self, run):
            calls.append(f"{self.name} end")

    model = mlp()
    history = train(model, batch_size=203, epochs=1, callbacks=[Listener("a"), Listener("b")])
    begun = ["a begin", "b begin", "a epoch begin", "b epoch begin"]
    assert calls == [*begun, "a batch", "b batch", "a epoch", "b epoch", "b end", "a end"]
    assert history.stopped is None
    calls.clear()
    with pytest.raises(OSError):
        train(model, callbacks=[Listener("a"), CSVLogger("no/such/folder/x.csv")])
    assert calls == ["a begin", "a end"]


def test_the_first_reason_to_stop_counts():
    stops = [Each(lambda run, k=k: run.stop(f"reason {k}") if run.step >= 3 else None) for k in (1, 2)]
    assert train(mlp(), callbacks=stops).stopped == "reason 1"


def test_a_batch_ends_before_the_schedule_goes_on():
    model, rates = mlp(), []
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=14)

    def look(run):
        assert run.lr == optimizer.param_groups[0]["lr"]
        assert schedule.last_step == run.step - 1
        rates.append(run.lr)

    train(model, optimizer=optimizer, schedule=schedule, callbacks=[Each(look)])
    assert len(set(rates)) == 14 and schedule.last_step == 14


@pytest.mark.parametrize("batch_size", [1, 101, 202])
def test_no_single_row_is_left_for_batch_norm(batch_size):
    model = nn.Sequential(nn.Linear(5, 3, rng=0), nn.BatchNorm1d(3), nn.Linear(3, 2, rng=1))
    before = bits(model)
    with pytest.raises(ValueError, match=r"batch_size must be one that leaves no single row of 203, for BatchNorm1d"):
        train(model, batch_size=batch_size)
    assert bits(model) == before
    train(mlp(), batch_size=batch_size, epochs=1)  # without batch norm, it may


def test_a_module_of_ones_own_says_that_it_needs_several_rows():
    class Centred(nn.Module):
        needs_several_rows = True

        def forward(self, x):
            return x - x.mean(axis=0)

    model = nn.Sequential(mlp(), Centred())
    with pytest.raises(ValueError, match=r"batch_size must be one that leaves no single row of 203, for Centred"):
        train(model, batch_size=101)
    train(model, batch_size=100, epochs=1)


def test_a_schedule_of_ones_own_says_that_it_ends():
    class Down(optim.LRScheduler):
        total, ends, count = "count", True, None

        def factor(self, step):
            return 1.0 - step / (self.count or math.inf)

    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    assert train(model, optimizer=optimizer, schedule=Down(optimizer)).lr[-1] == pytest.approx(0.5 / 14)
    short = Down(optim.SGD(model.parameters(), lr=0.5))
    short.count = 13
    with pytest.raises(ValueError, match=r"ends after count=13, .*2 epochs of 7 steps are 14; build it with count=14"):
        train(model, schedule=short)


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_augmented_batches_come_in_the_dtype_of_the_model(dtype, jit):
    seen, model, twin = [], mlp(dtype=dtype), mlp(dtype=dtype)

    class See(nn.Module):
        def forward(self, x):
            seen.append(x.dtype)
            return x

    other = np.float64 if dtype == np.float32 else np.float32
    goes_on = pytest.warns(RuntimeWarning, match="eagerly: .* changes seen")
    with goes_on if jit else contextlib.nullcontext():
        train(nn.Sequential(See(), model), X.astype(dtype), augment=lambda xb, rng: xb.astype(other), jit=jit)
    train(twin, X, jit=jit)
    assert set(seen) == {np.dtype(dtype)}
    assert bits(model) == bits(twin)


def test_a_callback_begins_anew_with_each_training(tmp_path):
    def losses(*values):
        return Each(on_epoch=lambda run: run.row.update(loss=values[run.epoch - 1]))

    stopping, rates, averaging = EarlyStopping("loss", patience=1), LearningRateLogger(), WeightAveraging(start=0.0)
    first = train(mlp(), epochs=3, callbacks=[losses(0.1, 0.2, 0.3), stopping, rates])
    assert (len(first.rows), stopping.best, len(rates.lr)) == (2, 0.1, 14)
    second = train(mlp(), epochs=3, callbacks=[losses(3.0, 2.0, 2.5), stopping, rates])
    assert (len(second.rows), stopping.best, stopping.best_epoch, len(rates.lr)) == (3, 2.0, 2, 21)
    model, twin, nothing = mlp(), mlp(), mlp()
    train(mlp(), callbacks=[averaging])
    for m, callback in ((model, averaging), (twin, WeightAveraging(start=0.0))):
        train(m, callbacks=[callback])
    assert bits(model) == bits(twin)
    before = bits(nothing)
    with pytest.raises(ZeroDivisionError):  # before an epoch has ended: no weights of another run come back
        train(nothing, epochs=1, optimizer=optim.SGD(nothing.parameters(), lr=0.0),
              callbacks=[stopping, averaging, Each(lambda run: 1 / 0)])  # fmt: skip
    assert bits(nothing) == before


def test_a_callback_stops_after_its_step_and_adds_columns():
    def add(run):
        run.row["extra"] = 2.0 * run.epoch

    callbacks = [Each(lambda run: run.stop("enough") if run.step == 10 else None, add)]
    history = train(mlp(), epochs=5, callbacks=callbacks)
    assert history.frame["step"].tolist() == [7, 10] and history.frame["extra"].tolist() == [2.0, 4.0]
    assert history.stopped == "enough"


# What it shows


def test_history_as_text_html_and_csv(tmp_path):
    history = train(mlp(), validation=0.2)
    first, second, *rows = repr(history).splitlines()
    assert first.split() == ["validation", "validation"]
    assert second.split() == ["epoch", "loss", "accuracy", "loss", "accuracy", "lr", "seconds"]
    assert len({len(text) for text in (first, second, *rows)} - {len(first)}) == 1
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert float(rows[1].split()[1]) == pytest.approx(history.rows[1]["loss"], rel=1e-3)
    history.to_csv(tmp_path / "history.csv")
    assert rows_of(tmp_path / "history.csv") == history.rows
    history.stopped = "<why>"
    html = history._repr_html_()
    assert html.count("<tr") == 3 and "validation_accuracy" in html and "&lt;why&gt;" in html
    assert repr(History()) == "no epochs"


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_where_nobody_looks_and_nothing_if_not_wanted(capsys):
    history = train(mlp(), progress=True, callbacks=[Each(lambda run: run.stop("enough") if run.step == 9 else None)])
    captured = capsys.readouterr()
    assert captured.out == f"{history!r}\n" and captured.err == ""
    train(mlp())
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    train(mlp(), progress=True, epochs=3, callbacks=[Each(lambda run: time.sleep(0.02))])
    text = screen.getvalue()
    assert "/21" in text and "loss" in text and "\r" in text
    assert len(re.findall(r"^ +[123] +\d\.\d+", text.replace("\r", "\n"), re.MULTILINE)) == 3


class Bar:
    """What a bar is told, in order; every third step it says that it has been drawn."""

    def __init__(self, total):
        self.total, self.told = total, []

    def update(self):
        self.told.append("step")
        return self.told.count("step") % 3 == 0

    def set_postfix_str(self, text, refresh):
        self.told.append(text)
        assert not refresh

    def write(self, text):
        self.told.append(f"row {text.split()[-8 if 'epoch' in text else 0]}")

    def close(self):
        self.told.append("close")


def test_a_bar_is_told_of_each_step_and_row_and_closed_before_the_reason(monkeypatch, capsys):
    bars = []
    monkeypatch.setattr(history_room, "_bar", lambda total: bars.append(Bar(total)) or bars[-1])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    stop = Each(lambda run: run.stop("enough") if run.step == 6 else None)
    train(mlp(), progress=True, batch_size=60, callbacks=[stop])
    ((bar,), out) = bars, capsys.readouterr().out
    assert bar.total == 8
    kinds = [text if text in ("step", "close") else text.split()[0] for text in bar.told]
    assert kinds == ["step"] * 3 + ["epoch", "step", "row"] + ["step"] * 2 + ["epoch", "row", "close"]
    assert re.fullmatch(r"epoch 1 of 2, loss [\d.]+", bar.told[3])
    assert out == "stopped: enough\n"


def test_cells_of_a_row():
    row = {"epoch": 3, "step": 7, "loss": 0.5, "lr": 1e-05, "seconds": 0.123456, "samples_per_second": 9.0}
    assert history_room.line(row).split() == ["3", "0.5000", "1.000e-05", "0.12"]
    wide = {"epoch": 1, "mean_absolute_error": 1.0}
    assert history_room.heading(wide).splitlines()[0] == "    epoch  mean_absolute_error"
    assert len(history_room.line(wide)) == len(history_room.heading(wide))


def test_plain_lines_on_a_terminal_without_tqdm(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.partition(".")[0] == "tqdm":
            raise ModuleNotFoundError("No module named 'tqdm'", name="tqdm")
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(builtins, "__import__", absent)
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    history = train(mlp(), progress=True)
    assert screen.getvalue() == f"{history!r}\n"


def test_fit_loads_neither_tqdm_nor_pandas():
    code = (
        "import sys, numpy as np, tinygrad_mlp as tg;"
        "tg.fit(tg.nn.MLP([2, 2], rng=0), np.eye(2), [0, 1], epochs=1);"
        "print(sorted({'tqdm', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("place", ["model", "loss", "metric"])
def test_what_writes_into_its_arguments_does_not_change_the_callers_arrays(place: str) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(4, 3, rng=0)

        def forward(self, x: Any) -> Any:
            if place == "model":
                x.data[...] = 0
            return self.layer(x)

    def loss(outputs: Any, targets: Any) -> Any:
        if place == "loss":
            np.asarray(targets)[...] = 0
        return F.mse_loss(outputs, targets)

    def metric(outputs: Any, targets: Any) -> float:
        if place == "metric":
            targets[...] = 0
        return 0.0

    x, y = np.ones((9, 4), np.float32), np.ones((9, 3), np.float32)
    for call in (
        lambda: tg.evaluate(Own(), x, y, loss=loss, metrics={"own": metric}),
        lambda: tg.fit(Own(), x, y, loss=loss, metrics={"own": metric}, epochs=1, progress=False, validation=0.3),
    ):
        with pytest.raises(ValueError, match="read-only"):
            call()
    assert (x == 1).all() and (y == 1).all()


@pytest.mark.parametrize("jit", [False, True])
def test_a_running_statistic_that_overflows_is_undone(jit: bool) -> None:
    """The loss stays finite: batch norm divides by what is infinite. Old generators are put back, too."""
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.BatchNorm1d(3), nn.Linear(3, 2, rng=1))
    model.register_buffer("mask", tg.Tensor([-np.inf]))  # infinite on purpose
    model.own = np.random.RandomState(0)
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    x[0, 0] = 3e38
    with pytest.raises(tg.NonFiniteError, match=r"the buffer 1\.running_\w+ is (inf|nan)"), np.errstate(all="ignore"):
        tg.fit(model, x, np.arange(8) % 2, epochs=1, jit=jit, progress=False)
    assert {name: array.tobytes() for name, array in model.state_dict().items()} == before


class Root(nn.Module):
    """Has a slope of 1 / (2 sqrt(weight))."""

    def __init__(self, weight: float) -> None:
        self.weight = nn.Parameter(np.array([[weight]], np.float32))

    def forward(self, x: Any) -> Any:
        return x * np.sqrt(self.weight)


@pytest.mark.parametrize("jit", [False, True])
def test_a_gradient_that_is_not_finite_is_found_before_a_weight_changes(jit: bool) -> None:
    model, x = Root(0.0), np.ones((8, 1), np.float32)
    with pytest.raises(tg.NonFiniteError, match="the gradient of weight is -inf"), np.errstate(all="ignore"):
        tg.fit(model, x, x, loss="mse_loss", epochs=1, jit=jit, progress=False)
    assert model.weight.data == 0.0


@pytest.mark.parametrize("jit", [False, True])
def test_a_gradient_whose_square_is_too_large_is_finite(jit: bool) -> None:
    model, x = Root(1.0), np.full((8, 1), 1e18, np.float32)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    with np.errstate(all="ignore"):
        tg.fit(model, x, 0 * x, loss="mse_loss", optimizer=optimizer, epochs=1, jit=jit, progress=False)
    assert model.weight.grad.item() > 1e35
