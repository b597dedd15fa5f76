"""Tests of threads and processes that share what can be shared: leaves, a model that predicts, the package itself."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim

ROOT = Path(__file__).parents[1]
X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def short_interval() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], None], count: int) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


@pytest.mark.usefixtures("short_interval")
def test_gradients_of_all_threads_arrive_at_a_leaf_that_they_share() -> None:
    leaf = tg.Tensor(np.zeros(3), requires_grad=True)

    def work(number: int) -> None:
        for _ in range(300):
            (leaf * float(number + 1)).sum().backward()

    in_threads(work, 4)
    assert leaf.grad.tolist() == [300.0 * (1 + 2 + 3 + 4)] * 3


@pytest.mark.usefixtures("short_interval")
def test_threads_that_predict_with_one_model_get_what_one_gets() -> None:
    model = nn.Sequential(nn.Linear(4, 16, rng=0), nn.BatchNorm1d(16), nn.Dropout(0.5, rng=1), nn.Linear(16, 2, rng=2))
    model(tg.Tensor(X))
    model[2].eval()  # modes of its own, to be left alone
    state = {name: a.tobytes() for name, a in model.state_dict().items()}
    expected = tg.predict(model, X, batch_size=64).tobytes()

    def work(number: int) -> None:
        for _ in range(60):
            assert tg.predict(model, X, batch_size=64).tobytes() == expected
            tg.evaluate(model, X, Y)

    in_threads(work, 4)
    assert [module.training for module in model.modules()] == [True, True, True, False, True]
    assert {name: a.tobytes() for name, a in model.state_dict().items()} == state


@pytest.mark.parametrize(
    "call", [tg.predict, lambda m, x: tg.evaluate(m, x, Y), lambda m, x: tg.fit(m, x, Y, progress=False)]
)
def test_modes_come_back_whatever_happens(call: Callable[[Any, Any], Any]) -> None:
    class Stubborn(nn.Module):
        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            raise RuntimeError("no")

        def forward(self, x: Any) -> Any:
            return x

    class Fails(nn.Module):
        def forward(self, x: Any) -> Any:
            raise RuntimeError("no")

    for last in (Stubborn(), Fails()):
        model = nn.Sequential(nn.Linear(4, 2, rng=0), nn.Dropout(0.5, rng=0), last)
        model[1].training = False
        before = [module.training for module in model.modules()]
        with pytest.raises(RuntimeError, match="no"):
            call(model, X)
        assert [module.training for module in model.modules()] == before
    good = nn.MLP([4, 2], rng=0)
    tg.predict(good, X)
    assert good.training


@pytest.mark.usefixtures("short_interval")
def test_trainings_side_by_side_are_those_one_after_the_other() -> None:
    def train(seed: int, jit: bool) -> bytes:
        model = nn.MLP([4, 8, 2], dropout=0.2, rng=seed)
        tg.fit(
            model, X, Y, epochs=2, seed=seed, jit=jit, progress=False, optimizer=optim.SGD(model.parameters(), lr=0.1)
        )
        return b"".join(a.tobytes() for a in model.state_dict().values())

    expected = [train(seed, bool(seed % 2)) for seed in range(4)]
    found = [b""] * 4

    def work(number: int) -> None:
        found[number] = train(number, bool(number % 2))

    in_threads(work, 4)
    assert found == expected


def gradient_of(number: int) -> list[float]:
    w = tg.Tensor(np.arange(3.0), requires_grad=True)
    (w * w * float(number)).sum().backward()
    return w.grad.tolist()


@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_processes_compute_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    monkeypatch.setenv("PYTHONPATH", path)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(gradient_of, range(6)) == [gradient_of(i) for i in range(6)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_is_not_locked_by_a_thread_that_it_does_not_have() -> None:
    leaf, stop = tg.Tensor(np.zeros(1000), requires_grad=True), threading.Event()
    model = nn.MLP([4, 2], rng=0)

    def work() -> None:
        while not stop.is_set():
            (leaf * 2).sum().backward()
            tg.predict(model, X)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                gradient_of(3)
                tg.predict(model, X)
                os._exit(0)
            for _ in range(1000):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    break
                stop.wait(0.01)
            else:
                os.kill(child, 9)
                os.waitpid(child, 0)
                pytest.fail("the child waits for a lock")
            assert status == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


STRICT = """
import numpy as np, tinygrad_mlp as tg
from tinygrad_mlp import functional as F, nn, optim
np.seterr(all="raise", under="ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(100, 4)).astype(np.float32), rng.integers(0, 2, 100)
for jit in (False, True):
    model = nn.MLP([4, 8, 2], batch_norm=True, dropout=0.2, rng=0)
    tg.fit(model, X, y, epochs=2, batch_size=25, jit=jit, progress=False)
assert tg.gradcheck(lambda x: (F.softmax(x, 1) ** 2).sum(), np.arange(6.0).reshape(2, 3)).ok
print(tg.evaluate(model, X, y)["loss"] > 0)
"""


@pytest.mark.parametrize(
    "options", [["-W", "error"], ["-X", "dev", "-W", "error"], ["-OO"], ["-bb", "-W", "error"]], ids=str
)
def test_strict_interpreters(options: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *options, "-c", STRICT],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("True")


def test_a_transform_that_works_in_place_leaves_the_callers_array_alone() -> None:
    def halve(xb: Any) -> Any:
        xb *= 0.5
        return xb

    x, y = X.copy(), Y.copy()
    model = nn.MLP([4, 2], rng=0)
    tg.fit(model, x, y, epochs=2, validation=0.2, transform=halve, augment=lambda xb, rng: halve(xb), progress=False)
    tg.fit(model, x[:200], y[:200], validation=(x[200:], y[200:]), transform=halve, progress=False, epochs=1)
    tg.predict(model, x, transform=halve)
    tg.predict_proba(model, x, transform=halve)
    tg.evaluate(model, x, y, transform=halve)
    assert (x == X).all() and (y == Y).all()


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gradient_that_is_not_finite_leaves_the_model_as_it_was(jit: bool) -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            self.scale = nn.Parameter(np.array([0.0, 1.0], np.float32))

        def forward(self, x: Any) -> Any:
            return x * np.sqrt(self.scale)  # whose slope is infinite at 0

    layers = [nn.Linear(4, 6, rng=0), nn.BatchNorm1d(6), nn.Dropout(0.5, rng=1), nn.Linear(6, 2, rng=2), Root()]
    model = nn.Sequential(*layers)
    before = {name: a.tobytes() for name, a in model.state_dict().items()}, repr(layers[2].rng.bit_generator.state)
    optimizer = optim.Adam(model.parameters())
    expected = pytest.raises(tg.NonFiniteError, match=r"epoch 1, step 1, .*the gradient of 4.scale is -?(nan|inf)")
    with expected, np.errstate(all="ignore"):
        tg.fit(model, X, Y, optimizer=optimizer, jit=jit, progress=False)
    assert before == ({n: a.tobytes() for n, a in model.state_dict().items()}, repr(layers[2].rng.bit_generator.state))
    assert not any(optimizer.state.values()) and all(p.grad is None for p in model.parameters())
    assert F.cross_entropy(model.eval()(tg.Tensor(X)), Y).item() > 0
