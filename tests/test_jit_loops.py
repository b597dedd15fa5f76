"""Loops that a compiled step once ended: each of 10 000 calls, at the speed of eager at least, or near it."""

from __future__ import annotations

import functools
import gc
import itertools
import statistics
import tracemalloc
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from tinygrad_mlp import Tensor, jit, nn, optim
from tinygrad_mlp import functional as F

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
Y = np.arange(32) % 10


class Trainer:
    """The usual trainer: a model, an optimiser, and lists that grow."""

    def __init__(self) -> None:
        self.model = nn.MLP([64, 64, 10], rng=0, dropout=0.1)
        self.opt = optim.SGD(self.model.parameters(), lr=0.01)
        self.history: list[Any] = []
        self.rows = [(i, i) for i in range(10_000)]
        self.n, self.batch, self.last = 0, None, None

    def step(self, x: Any, y: Any) -> Any:
        loss = F.cross_entropy(self.model(x), y)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss

    def scaled(self, x: Any, y: Any, factor: Any) -> Any:
        return self.step(x * factor, y)

    def counted(self, x: Any, y: Any) -> Any:
        return self.step(x * (self.n % 1000), y)


def grow(t: Trainer, i: int) -> None:
    t.history.append(i)
    t.rows.append((i, i))
    t.batch = t.last = X


def count(t: Trainer, i: int) -> None:
    t.n += 1


def switch(t: Trainer, i: int) -> None:
    t.model.train(i % 2 == 0)


def reload(t: Trainer, i: int) -> None:
    t.model.load_state_dict(t.model.state_dict())


def replace(t: Trainer, i: int) -> None:
    p = t.model[0].weight
    p.data = p._data.copy()


Arguments = Callable[[Trainer, int], tuple[Any, ...]]
LOOPS: dict[str, tuple[str, Arguments, Callable[[Trainer, int], None], bool]] = {
    "lists that grow": ("step", lambda t, i: (X, Y), grow, True),
    "65 sizes": ("step", lambda t, i: (X[: 1 + i % 32], Y[: 1 + i % 32]), grow, True),
    "floats": ("scaled", lambda t, i: (X, Y, 1 / (i + 1)), grow, True),
    "ints": ("scaled", lambda t, i: (X, Y, i), grow, False),
    "a counter outside": ("counted", lambda t, i: (X, Y), count, False),
    "two states": ("step", lambda t, i: (X, Y), switch, True),
    "states that are loaded": ("step", lambda t, i: (X, Y), reload, True),
    "data that is replaced": ("step", lambda t, i: (X, Y), replace, False),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_10_000_calls(loop: str) -> None:
    method, arguments, between, compiles = LOOPS[loop]
    eager, other = Trainer(), Trainer()
    step, plain = jit(getattr(other, method)), getattr(eager, method)
    times: list[tuple[float, float]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not compiles else "error", RuntimeWarning)
        for part in range(100):
            spent = []
            for function, t, convert in ((plain, eager, Tensor), (step, other, lambda a: a)):
                start = perf_counter()
                for i in range(part * 100, part * 100 + 100):
                    function(*(convert(a) if isinstance(a, np.ndarray) else a for a in arguments(t, i)))
                    between(t, i)
                spent.append(perf_counter() - start)
            times.append((spent[0], spent[1]))
    same = [p._data.tobytes() for p in eager.model.parameters()] == [
        p._data.tobytes() for p in other.model.parameters()
    ]
    ratio = sum(b for _, b in times) / sum(a for a, _ in times)
    steady = statistics.median(b / a for a, b in times[20:])
    print(f"{loop}: {ratio:.2f} of eager's time, {steady:.2f} once it is steady")
    assert same and (step.eager is None) == compiles
    assert ratio < 1.5 and (steady < 1 or not compiles)


def test_guards_cost_next_to_nothing() -> None:
    parameters = [Tensor(np.ones(3, np.float32), requires_grad=True, name=f"p{i}") for i in range(1000)]
    opt = optim.SGD(parameters, lr=0.1)

    @jit
    def step(x: Any) -> Any:
        loss = sum((p * x).sum() for p in parameters)
        opt.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        opt.step()
        return loss

    for _ in range(5):
        step(np.ones(3, np.float32))
    times = []
    for _ in range(200):
        start = perf_counter()
        assert step.last.fits()
        times.append(perf_counter() - start)
    assert min(times) < 2e-6 + 1000 * 60e-9, "60 ns a parameter on a machine that does other things as well"


def test_sizes_of_a_batch_hold_little_memory() -> None:
    model = nn.MLP([784, 128, 10], rng=0)
    opt = optim.SGD(model.parameters(), lr=0.01)

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    x, y = np.ones((200, 784), np.float32), np.arange(200) % 10
    sizes = []
    tracemalloc.start()
    try:
        for n in range(141, 201):
            for _ in itertools.repeat(None, 4):
                step(x[:n], y[:n])
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    print(f"{sizes[0]:,} bytes for one size, {sizes[-1]:,} for 60")
    assert sum(map(len, step.cache.values())) == 60
    assert sizes[-1] < sizes[0] + 2_000_000


def test_a_cache_that_grows_is_no_change() -> None:
    model = nn.Linear(3, 3, rng=0)

    @functools.lru_cache
    def mask(n: int) -> Any:
        return np.tril(np.ones((n, n), np.float32))

    step = jit(lambda x: (mask(x.shape[0]) @ model(x)).mean())
    for n in (3, 4, 4, 4, 3, 3, 3, 5, 5, 5, 5, 3, 4, 5):
        step(np.ones((n, 3), np.float32))
    assert [compiled.runs for known in step.cache.values() for compiled in known] == [5 - 2, 4 - 2, 5 - 2]
