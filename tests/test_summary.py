"""summary: each number against a calculation by hand, and a model that stays what it was."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn
from tinygrad_mlp.core.tracer import IDLE, mode
from tinygrad_mlp.tools.summary import Row

F64 = np.float64


class Attention(nn.Module):
    """Products of all kinds: by the operator, by einsum with a batch, of vectors; parameters beside modules."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones((3, 1), np.float32))
        self.project = nn.Linear(3, 3, bias=False, rng=0)
        self.unused = nn.Linear(2, 2, rng=0)

    def forward(self, x):
        q = self.project(x)  # (1, 4, 3)
        scores = np.einsum("bij,bkj->bik", q, x)  # 1 * 4 * 4 * 3
        mixed = scores @ x  # 4 * 3 for 4 each
        return (mixed @ self.scale)[..., 0] @ np.ones(4, np.float32)  # 4 * 3, and 4


class Pair(nn.Module):
    def forward(self, x):
        return x, x


TABLES = [
    (nn.Linear(3, 2, rng=0), 3, [("", "Linear", (1, 2), 8, 32, 6)]),
    (nn.Linear(3, 2, bias=False, rng=0, dtype=F64), (3,), [("", "Linear", (1, 2), 6, 48, 6)]),
    (nn.Linear(3, 2, rng=0), (5, 3), [("", "Linear", (1, 5, 2), 8, 32, 30)]),
    (nn.BatchNorm1d(4), (4,), [("", "BatchNorm1d", (1, 4), 8, 4 * 8 + 4 * 8 + 8, 0)]),
    (nn.BatchNorm1d(4, affine=False, track_running_stats=False), (4, 7), [("", "BatchNorm1d", (1, 4, 7), 0, 0, 0)]),
    (nn.LayerNorm(4), 4, [("", "LayerNorm", (1, 4), 8, 32, 0)]),
    (nn.LayerNorm((2, 3), dtype=F64), (2, 3), [("", "LayerNorm", (1, 2, 3), 12, 96, 0)]),
    (nn.Dropout(0.5, rng=0), (2, 3), [("", "Dropout", (1, 2, 3), 0, 0, 0)]),
    (nn.Sequential(), 3, [("", "Sequential", (1, 3), 0, 0, 0)]),
    (Pair(), 3, [("", "Pair", None, 0, 0, 0)]),
    (
        nn.Sequential(nn.Flatten(), nn.MLP([12, 5, 2], dropout=0.5, rng=0), nn.Softmax()),
        (3, 4),
        [
            ("0", "Flatten", (1, 12), 0, 0, 0),
            ("1.0", "Linear", (1, 5), 65, 260, 60),
            ("1.1", "ReLU", (1, 5), 0, 0, 0),
            ("1.2", "Dropout", (1, 5), 0, 0, 0),
            ("1.3", "Linear", (1, 2), 12, 48, 10),
            ("2", "Softmax", (1, 2), 0, 0, 0),
        ],
    ),
    (
        nn.Sequential(Attention()),
        (4, 3),
        [
            ("0", "Attention", (1,), 3, 12, 48 + 48 + 12 + 4),
            ("0.project", "Linear", (1, 4, 3), 9, 36, 36),
            ("0.unused", "Linear", None, 6, 24, 0),
        ],
    ),
]


@pytest.mark.parametrize(("model", "shape", "expected"), TABLES, ids=lambda v: type(v).__name__)
def test_numbers_calculated_by_hand(model, shape, expected):
    summary = tg.summary(model, shape)
    assert summary.rows == tuple(Row(*row) for row in expected)
    assert [type(n) for row in summary.rows for n in row[3:]] == [int] * 3 * len(expected)
    sums = [sum(row[i] for row in expected) for i in (3, 4, 5)]
    assert summary.total[3:] == tuple(sums)
    assert sums[0] == sum(p.size for p in model.parameters())
    assert sums[1] == sum(t.data.nbytes for t in (*model.parameters(), *model.buffers()))
    result = model.eval()(np.zeros((1, *np.atleast_1d(shape)), np.float32))
    assert summary.total.output_shape == getattr(result, "shape", None)


def test_shared_parts_are_counted_once_and_their_work_each_time():
    layer = nn.Linear(4, 4, rng=0)
    assert tg.summary(nn.Sequential(layer, nn.ReLU(), layer), 4).rows == (
        ("0", "Linear", (1, 4), 20, 80, 32),
        ("1", "ReLU", (1, 4), 0, 0, 0),
    )
    tied = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=1))
    tied[1].weight = tied[0].weight
    summary = tg.summary(tied, 4)
    assert [row.parameters for row in summary.rows] == [20, 4]
    assert [row.bytes for row in summary.rows] == [80, 16]
    assert summary.total == ("total", "", (1, 4), 24, 96, 32)


def test_einsum_as_numpy_reads_it():
    class Products(nn.Module):
        def forward(self, x):  # (1, 3, 4)
            np.einsum("bij->bji", x)  # no product
            np.einsum("...ij,...kj", x, np.ones((5, 2, 4), np.float32)[:, :1])  # 5 * 3 * 1 * 4
            np.einsum("bij,jk,kl->bil", x, np.ones((4, 2)), np.ones((2, 7)))  # 3 * 4 * 2 * 7, twice
            return np.einsum("bii->b", x[:, :, :3])

    assert tg.summary(Products(), (3, 4)).total.multiply_adds == 60 + 2 * 168


class Fallback(nn.Module):
    """Goes on without a part that cannot be called."""

    def __init__(self):
        self.broken, self.weight = nn.Linear(9, 9, rng=0), nn.Parameter(np.ones((3, 2), np.float32))

    def forward(self, x):
        try:
            return self.broken(x)
        except tg.ShapeError:
            return x @ self.weight


def test_work_after_an_error_is_that_of_the_module_that_goes_on():
    rows = {row.name: row.multiply_adds for row in tg.summary(Fallback(), 3).rows}
    assert rows == {"": 6, "broken": 0}


def test_functions_made_of_products_count_too():
    class Products(nn.Module):
        def forward(self, x):  # (1, 6)
            vector = x[0]
            return np.dot(x, np.ones((6, 5))) + np.tensordot(x, np.ones((6, 5)), 1) + np.matmul(vector, np.ones(6))

    assert tg.summary(Products(), 6).total.multiply_adds == 30 + 30 + 6


def test_how_the_model_is_called():
    """Once, on zeros of its dtype, in evaluation, without a graph; a module from outside counts as part of it."""
    elsewhere, calls = nn.Linear(3, 2, rng=0, dtype=F64), []

    class Caller(nn.Module):
        def __init__(self):
            self.bias = nn.Parameter(np.zeros(2))

        def forward(self, x):
            calls.append((x.tolist(), x.dtype, self.training, mode.grad_enabled))
            return elsewhere(x) + self.bias

    assert tg.summary(nn.Sequential(Caller()), 3).rows == (("0", "Caller", (1, 2), 2, 16, 6),)
    assert calls == [([[0.0, 0.0, 0.0]], F64, False, False)]


def test_text_is_aligned():
    model = nn.Sequential(nn.Linear(1200, 1000, rng=0), nn.BatchNorm1d(1000))
    assert repr(tg.summary(model, 1200)).splitlines() == [
        "name   type         output shape  parameters      bytes  multiply adds",
        "0      Linear       (1, 1000)      1,201,000  4,804,000      1,200,000",
        "1      BatchNorm1d  (1, 1000)          2,000     16,008              0",
        "total               (1, 1000)      1,203,000  4,820,008      1,200,000",
    ]
    assert " -  " in repr(tg.summary(nn.Sequential(Attention()), (4, 3))).splitlines()[3]


def test_html_and_data_frame():
    model = nn.Sequential()
    setattr(model, "<b>&", nn.Linear(3, 2, rng=0))
    summary = tg.summary(model, 3)
    table = ET.fromstring(summary._repr_html_())
    rows = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    assert rows == [
        ["name", "type", "output shape", "parameters", "bytes", "multiply adds"],
        ["<b>&", "Linear", "(1, 2)", "8", "32", "6"],
        ["total", "", "(1, 2)", "8", "32", "6"],
    ]
    frame = pd.DataFrame(summary.rows)
    assert [*frame.columns] == [*Row._fields]
    assert frame["multiply_adds"].sum() == summary.total.multiply_adds


class Restless(nn.Module):
    """A module whose forward changes all that it can reach, and then fails if it is told to."""

    def __init__(self, fails: bool) -> None:
        self.rng, self.calls, self.fails = np.random.default_rng(0), 0, fails
        self.inner = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5, rng=1))
        self.register_buffer("count", tg.Tensor(np.zeros(2)))
        self.register_buffer("raw", tg.Tensor(np.zeros(2)))

    def forward(self, x):
        self.calls += 1
        self.last = self.rng.random()
        self.count += 1
        self.raw.data[...] = np.nan
        self.inner.train()
        self.inner(np.concatenate([x, x + 1]))
        if self.fails:
            raise RuntimeError("forward fails")
        return x


def _state(model):
    """Return what must stay: modes, names of attributes and plain values of each module, and the generators."""
    plain = [
        (name, m.training, [*vars(m)], [v for v in vars(m).values() if isinstance(v, (int, float, tuple))])
        for name, m in model.named_modules()
    ]
    return plain, [vars(m)["rng"].bit_generator.state for m in model.modules() if "rng" in vars(m)]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_about_the_model_changes(fails, training):
    model = Restless(fails).train(training)
    model.inner[1].train(not training)
    for p in model.parameters():
        p.grad = tg.Tensor(np.ones(p.shape, np.float32))
    state = _state(model)
    arrays, tensors = model.state_dict(), [*model.parameters(), *model.buffers()]
    grads = [p.grad for p in model.parameters()]
    if fails:
        with pytest.raises(RuntimeError, match="forward fails"):
            tg.summary(model, 3)
    else:
        assert tg.summary(model, 3).total.parameters == 6
    assert _state(model) == state
    for key, array in model.state_dict().items():
        assert array.tobytes() == arrays[key].tobytes(), key
    assert all(a is b for a, b in zip(tensors, [*model.parameters(), *model.buffers()], strict=True))
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert mode.tracer is IDLE and mode.grad_enabled


def test_a_graph_from_before_is_still_good():
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.BatchNorm1d(3))
    loss = model.eval()(np.ones((2, 3), np.float32)).sum()
    tg.summary(model, 3)
    loss.backward()
    assert model[0].weight.grad is not None


def test_a_compiled_step_stays_compiled():
    model = nn.MLP([3, 2], dropout=0.5, rng=0)
    step = tg.jit(lambda x: model(x).sum())
    x = np.ones((2, 3), np.float32)
    for _ in range(3):
        step(x)
    source = step.source
    tg.summary(model, 3)
    step(x)
    assert step.source is source


def _watched(model, shape):
    with tg.detect_anomaly():
        tg.summary(model, shape)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: tg.summary(m, 5), tg.ShapeError, r"layer '0', Linear\(in_features=3.*expected 3 features, got 5"),
        (lambda m: tg.summary(m, (3, 0)), ValueError, "each length in input_shape must be an integer >= 1, got 0"),
        (lambda m: tg.summary(m, (-3,)), ValueError, "integer >= 1, got -3"),
        (lambda m: tg.summary(m, 3.0), TypeError, r"integer >= 1, got 3\.0"),
        (lambda m: tg.summary(m, True), TypeError, "integer >= 1, got True"),
        (lambda m: tg.summary(m, "3"), TypeError, "integer >= 1, got '3'"),
        (lambda m: tg.summary(m, np.ones((2, 3))), TypeError, "integer >= 1, got array"),
        (lambda m: tg.summary(F.relu, 3), TypeError, r"takes a Module, got .*relu.*forward\(\)"),
        (lambda m: tg.summary(nn.Linear, 3), TypeError, "takes a Module, got Linear"),
        (lambda m: tg.summary(nn.Module(), 3), NotImplementedError, "no forward"),
        (lambda m: _watched(m, 3), tg.GraphError, "summary: this thread's ops are being watched already"),
        (lambda m: tg.jit(lambda: tg.summary(m, 3))(), tg.GraphError, "summary: this thread's ops are being watched"),
    ],
)
def test_errors(call, error, message):
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.BatchNorm1d(2))
    with pytest.raises(error, match=message):
        call(model)
    assert all(m.training for m in model.modules())
    assert mode.tracer is IDLE and mode.grad_enabled
