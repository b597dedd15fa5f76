"""Tests of arrays that somebody changes between forward and backward: an error, whoever holds them, and never else."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim
from tinygrad_mlp.core import versions
from tinygrad_mlp.errors import GraphError

SIZES = [3, 1024, 100_000]
"""Compared whole, and in places."""

Made = tuple[Any, Callable[[], None]]


def data_of_a_leaf(n: int) -> Made:
    x = tg.Tensor(np.ones(n), requires_grad=True)
    return x * x, lambda: x.data.fill(7)


def source_of_a_leaf(n: int) -> Made:
    source = np.ones(n)
    x = tg.Tensor(source, requires_grad=True)
    return x * x, lambda: source.fill(7)


def base_of_a_leaf(n: int) -> Made:
    base = np.ones((2, n))
    x = tg.Tensor(base[1], requires_grad=True)
    return x * x, lambda: base.fill(7)


def operand(n: int) -> Made:
    x, factor = tg.Tensor(np.ones(n), requires_grad=True), np.full(n, 2.0)
    return x * factor, lambda: factor.fill(7)


def keyword(n: int) -> Made:
    x, mean = tg.Tensor(np.ones(n), requires_grad=True), np.full(n, 2.0)
    return np.clip(x, a_min=mean, a_max=9.0) * x, lambda: mean.fill(0)


def index(n: int) -> Made:
    x, i = tg.Tensor(np.ones(n), requires_grad=True), np.zeros(n, int)
    return x[i], lambda: i.fill(1)


def index_of_take(n: int) -> Made:
    x, i = tg.Tensor(np.ones(n), requires_grad=True), np.zeros(n, int)
    return np.take(x, i), lambda: i.fill(1)


def mask(n: int) -> Made:
    x, m = tg.Tensor(np.ones(n), requires_grad=True), np.ones(n, bool)
    return np.where(m, x, 0.0), lambda: m.fill(False)


def mask_as_index(n: int) -> Made:
    x, m = tg.Tensor(np.ones(n), requires_grad=True), np.arange(n) % 2 == 0
    return x[m], lambda: np.logical_not(m, out=m)


def labels(n: int) -> Made:
    x, y = tg.Tensor(np.ones((n, 3)), requires_grad=True), np.zeros(n, int)
    return F.cross_entropy(x, y), lambda: y.fill(1)


def detached(n: int) -> Made:
    x = tg.Tensor(np.ones(n), requires_grad=True)
    return x * x, lambda: x.detach().numpy().fill(7)


def result(n: int) -> Made:
    h = np.exp(tg.Tensor(np.ones(n), requires_grad=True))
    return h * 1.0, lambda: h.detach().numpy().fill(7)


def result_by_data(n: int) -> Made:
    h = np.exp(tg.Tensor(np.ones(n), requires_grad=True))
    return h, lambda: h.data.fill(7)


def view_of_a_result(n: int) -> Made:
    h = np.exp(tg.Tensor(np.ones((n, 1)), requires_grad=True))
    return h * h, lambda: h.T.detach().numpy().fill(7)


def constant_result(n: int) -> Made:
    x, c = tg.Tensor(np.ones(n), requires_grad=True), tg.Tensor(np.ones(n)) * 2
    return x * c, lambda: c.numpy().fill(7)


def array_by_protocol(n: int) -> Made:
    x, c = tg.Tensor(np.ones(n), requires_grad=True), tg.Tensor(np.ones(n))
    return x * c, lambda: np.asarray(c).fill(7)


def parameter(n: int) -> Made:
    p = nn.Parameter(np.ones(n))
    return p * p, lambda: p.data.fill(7)


def parameter_held_before(n: int) -> Made:
    p = nn.Parameter(np.ones(n))
    held = p.data
    return p * p, lambda: held.fill(7)


def parameter_after_steps(n: int) -> Made:
    p = nn.Parameter(np.ones(n))
    sgd = optim.SGD([p], lr=0.1)
    for _ in range(3):
        sgd.zero_grad()
        (p * p).sum().backward()
        sgd.step()
    return p * p, lambda: p.data.fill(7)


FORMS = [value for value in list(globals().values()) if getattr(value, "__annotations__", {}).get("return") == "Made"]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_change_between_forward_and_backward_is_an_error(form: Callable[[int], Made], n: int) -> None:
    y, change = form(n)
    change()
    with pytest.raises(
        GraphError, match=r"(read|gave) .*has changed since \(through an array .*; call backward\(\) bef"
    ):
        np.sum(y).backward()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_after_backward_and_without_a_change_all_is_as_ever(form: Callable[[int], Made], n: int) -> None:
    y, change = form(n)
    before = y.detach().numpy().copy()
    np.sum(y).backward()
    change()
    again, _ = form(n)
    np.sum(again).backward()
    np.testing.assert_array_equal(again.detach().numpy(), before)


def test_there_are_all_forms() -> None:
    assert len(FORMS) == 19


def test_one_number_of_an_array_that_is_compared_whole() -> None:
    for i in range(512):
        a = np.ones(512)
        x = tg.Tensor(a, requires_grad=True)
        y = (x * x).sum()
        a[i] = 2.0
        with pytest.raises(GraphError, match="multiply read a Tensor"):
            y.backward()
        a[i] = 1.0  # as it was: nothing has changed
        y.backward()


@pytest.mark.parametrize("layout", ["C", "F", "strided", "broadcast"])
def test_blocks_of_a_large_array(layout: str) -> None:
    """Whichever block it is, of a twentieth of the array as it lies in memory."""
    shape = (400, 300)
    for block in (slice(0, 20), slice(-20, None), slice(100, 120), slice(None, None, 2)):
        a = {
            "C": lambda: np.ones(shape), "F": lambda: np.ones(shape[::-1]).T,
            "strided": lambda: np.ones((400, 600))[:, ::2],
            "broadcast": lambda: np.broadcast_to(np.ones((400, 1)), shape),
        }[layout]()  # fmt: skip
        x = tg.Tensor(np.ones(shape), requires_grad=True)
        y = (x * a).sum()
        (a.T if layout == "F" else a.base if layout == "broadcast" else a)[block] = 3.0
        with pytest.raises(GraphError, match="multiply read an array of shape"):
            y.backward()


def test_what_no_rule_reads_may_change() -> None:
    x, bias = tg.Tensor(np.ones(3), requires_grad=True), np.ones(3)
    y = (x + bias).sum()
    bias += 1
    y.backward()
    assert x.grad.tolist() == [1, 1, 1]


def test_forward_and_backward_may_differ_in_whether_they_are_watched() -> None:
    for n in SIZES:
        a = np.ones(n)
        x = tg.Tensor(a, requires_grad=True)
        with tg.detect_anomaly():
            y = (x * x).sum()
        z = (x * x).sum()
        y.backward()
        with tg.detect_anomaly():
            z.backward()
            y = (x * x).sum()
            a[n // 3] = 5.0  # every number counts
            with pytest.raises(GraphError, match=r"called at test_versions.py:\d+"):
                y.backward()


def test_reading_costs_a_graph_nothing_and_training_goes_on() -> None:
    model = nn.MLP([3, 8, 2], rng=0)
    adam = optim.Adam(model.parameters())
    x, y = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32), np.arange(16) % 2
    for _ in range(5):
        adam.zero_grad()
        loss = F.cross_entropy(model(x), y)
        norms = [float((p.data**2).sum()) for p in model.parameters()]
        loss.backward()
        for p in model.parameters():
            p.data[...] -= 0.1 * p.grad.numpy()
        assert all(np.isfinite(norms))
    twice = F.cross_entropy(model(x), y)
    twice.backward(retain_graph=True)
    next(model.parameters()).data[0] += 1
    with pytest.raises(GraphError, match=r"linear read .*weight"):
        twice.backward()


def test_a_parameter_is_a_copy_and_its_copies_are_their_own() -> None:
    source = np.ones(3)
    p = nn.Parameter(source)
    source[:] = 5
    assert p.data.tolist() == [1, 1, 1]
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        y = (other * other).sum()
        other.data[0] = 9.0
        with pytest.raises(GraphError):
            y.backward()
        (p * p).sum().backward()


def test_other_arrays_are_not_touched() -> None:
    """No lock is left on an array, and other threads may write into other parts of it while a graph lives."""
    buffer = np.ones((2, 1000))
    x = tg.Tensor(buffer[0], requires_grad=True)
    y = (x * x).sum()
    thread = threading.Thread(target=lambda: buffer[1].fill(3))
    thread.start()
    thread.join()
    assert buffer.flags.writeable
    y.backward()


def test_the_fingerprint_of_a_large_array_is_small() -> None:
    for a in (np.ones((1000, 1000)), np.ones((1000, 1000)).T, np.ones((1000, 2000))[:, ::2]):
        assert 31 * 8 <= len(versions.fingerprint(a)) <= 33 * 8
        assert len(versions.fingerprint(a, a.nbytes)) == a.nbytes
