"""Tests of trainings that are broken off and go on: to the same bits, wherever that was, with all that they have."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import types
import warnings
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinygrad_mlp.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    LearningRateLogger,
    WeightAveraging,
)  # fmt: skip

import tinygrad_mlp as tg
from tinygrad_mlp import blas, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.errors import CheckpointError
from tinygrad_mlp.generators import generators
from tinygrad_mlp.train import resume

ROOT = Path(__file__).parents[1]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
X = np.random.default_rng(1).normal(size=(203, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
GLOBAL = np.random.default_rng(77)


def noise(xb: Any, rng: np.random.Generator, own: np.random.Generator) -> Any:
    (child,) = rng.spawn(1)
    return xb + 0.1 * rng.normal(size=xb.shape) + 0.1 * own.normal(size=xb.shape) + 0.1 * child.normal(size=xb.shape)


class Noise(nn.Module):
    """Draws from a Generator of the module that it stands in."""

    def forward(self, x: Any) -> Any:
        return x + tg.Tensor(0.01 * GLOBAL.normal(size=x.shape).astype(np.float32)) if self.training else x


class Count(Callback):
    """A callback with attributes of several kinds, which decide when it stops."""

    def __init__(self) -> None:
        self.steps, self.losses, self.rng, self.file = 0, [], np.random.default_rng(5), sys.stdout

    def on_batch_end(self, run: Any) -> None:
        self.steps += 1
        self.losses.append(run.loss + self.rng.random())

    def on_epoch_end(self, run: Any) -> None:
        run.row["count"] = sum(self.losses)
        run.model[-2].p *= 0.9


def digest(model: nn.Module, optimizer: optim.Optimizer, history: tg.History) -> str:
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in history.rows]
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    parts = [repr(rows), history.stopped or "", repr(optimizer.param_groups[0]["lr"])]
    for array in [*state["model"].values(), *(a for s in state["optimizer"]["state"].values() for a in s.values())]:
        parts.append(hashlib.sha256(np.asarray(array).tobytes()).hexdigest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def everything(folder: Path, *, jit: bool = False, again: Any = None, stop: int | None = None, **options: Any) -> Any:
    """A training with all that could be forgotten; it is broken off after so many steps, by an error."""
    GLOBAL.bit_generator.state = np.random.default_rng(78).bit_generator.state
    middle = [] if jit else [Noise()]
    model = nn.Sequential(
        nn.Linear(5, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU(), *middle, nn.Dropout(0.3, rng=1), nn.Linear(8, 2, rng=2)
    )
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.OneCycleLR(optimizer, 0.1, total_steps=60)

    class Break(Callback):
        kept = ()

        def on_batch_end(self, run: Any) -> None:
            if run.step == stop:
                raise RuntimeError("broken off")

    own = np.random.default_rng(9)
    log, best = CSVLogger(folder / "log.csv"), Checkpoint(folder / "best.npz", "validation_loss")
    rates, count, averaging = LearningRateLogger(), Count(), WeightAveraging(start=0.3)
    check = Checkpoint(folder / "run.npz", every=3, keep=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what cannot be compiled
        history = tg.fit(
            model, X, Y, optimizer=optimizer, schedule=schedule, validation=0.2, batch_size=32, epochs=4,
            progress=False, augment=partial(noise, own=own), jit=jit, resume=again,
            callbacks=[check, best, Break(), log, rates, count, averaging, EarlyStopping(patience=9)], **options,
        )  # fmt: skip
    rest = [rates.lr, count.steps, count.losses, own.bit_generator.state, GLOBAL.bit_generator.state, model[-2].p]
    rest += [averaging.count, best.best, best.best_epoch, tg.load(folder / "best.npz")["epoch"]]
    return digest(model, optimizer, history), repr(rest), without_times(folder / "log.csv")


def without_times(path: Path) -> list[str]:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    keep = [i for i, name in enumerate(rows[0]) if name not in ("seconds", "samples_per_second")]
    return [",".join(row[i] for i in keep) for row in rows]


@pytest.mark.parametrize("jit", [False, True])
def test_a_training_that_is_broken_off_goes_on_to_the_same_bits(jit: bool, tmp_path: Path) -> None:
    """After any step, with all that a training can have."""
    (tmp_path / "straight").mkdir()
    expected = everything(tmp_path / "straight", jit=jit)
    for stop in (1, 3, 4, 6, 7, 12, 13, 23, 24):
        folder = tmp_path / f"stop {stop}"
        folder.mkdir()
        with pytest.raises(RuntimeError, match="broken off"):
            everything(folder, jit=jit, stop=stop)
        newest = tg.latest(folder / "run.npz")
        assert (newest is None) == (stop <= 3)
        assert everything(folder, jit=jit, again=newest) == expected, stop


@pytest.mark.usefixtures("usual_ctrl_c")
def test_ctrl_c_in_the_middle_of_an_epoch_loses_nothing(tmp_path: Path) -> None:
    def run(epochs: int, stop: int | None = None, again: Any = None) -> Any:
        class Interrupt(Callback):
            kept = ()

            def on_batch_end(self, run: Any) -> None:
                if run.step == stop:
                    signal.raise_signal(signal.SIGINT)

        model = nn.MLP([5, 8, 2], dropout=0.3, rng=0)
        optimizer = optim.Adam(model.parameters())
        history = tg.fit(model, X, Y, optimizer=optimizer, batch_size=32, epochs=epochs, progress=False, resume=again,
                         callbacks=[Interrupt(), Checkpoint(tmp_path / "run.npz")])  # fmt: skip
        return digest(model, optimizer, history), history

    expected = run(4)[0]
    for stop in (1, 3, 7, 9, 14):
        history = run(4, stop)[1]
        assert history.stopped == "interrupted" and history.rows[-1]["step"] == stop
        assert run(4, again=tmp_path / "run.npz")[0] == expected, stop
    run(2)
    assert run(4, again=tmp_path / "run.npz")[0] == expected  # more epochs than before
    assert run(4, again=tmp_path / "run.npz")[0] == expected  # nothing left to do


def test_a_training_that_was_stopped_stays_so(tmp_path: Path) -> None:
    def run(again: Any = None) -> Any:
        model, worse = nn.MLP([5, 8, 2], rng=0), iter(np.arange(1.0, 20.0))

        class Worse(Callback):
            kept = ()

            def on_epoch_end(self, run: Any) -> None:
                run.row["loss"] = next(worse)

        callbacks = [Worse(), Checkpoint(tmp_path / "run.npz"), EarlyStopping("loss", patience=2)]
        history = tg.fit(model, X, Y, epochs=9, callbacks=callbacks, progress=False, resume=again)
        return [a.tobytes() for a in model.state_dict().values()], history

    weights, history = run()
    again, second = run(tmp_path / "run.npz")
    assert again == weights and second.stopped == history.stopped and len(second.rows) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(batch_size=16), "batch_size 32 there, 16 here"),
        (dict(X=X[:200], y=Y[:200]), "rows 203 there, 200 here"),
        (dict(metrics=[]), "columns .* there"),
        (dict(X=X + 1), r"a checksum of the data \d+ there, \d+ here"),
        (dict(sample_weight=np.arange(1, 204)), "a checksum of the data"),
        (dict(loss=nn.CrossEntropyLoss(label_smoothing=0.1)), "loss 'cross_entropy' there"),
        (dict(transform=np.negative), "transform 'None' there, 'negative' here"),
        (dict(augment=np.add), "augment 'None' there, 'add' here"),
        (dict(model=nn.MLP([5, 8, 2], activation="tanh", rng=0)), "module '1' 'ReLU' there, 'Tanh' here"),
        (dict(callbacks=[]), r"callbacks \['Checkpoint'\] there, \[\] here"),
        (dict(model=nn.MLP([5, 9, 2], rng=0)), "does not fit MLP"),
        (dict(model=nn.MLP([5, 8, 2], dropout=0.5, rng=0)), "expected 3 Generators, found 2; make the parts"),
    ],
)
def test_another_training_is_refused_and_nothing_changes(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    options = dict(X=X, y=Y, batch_size=32, epochs=2, progress=False, callbacks=[Checkpoint(path)])
    tg.fit(nn.MLP([5, 8, 2], rng=0), **options)
    saved = path.read_bytes()
    options |= {"model": nn.MLP([5, 8, 2], rng=3), **change}
    optimizer = optim.Adam(options["model"].parameters())
    before = {name: a.tobytes() for name, a in options["model"].state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        tg.fit(**options, optimizer=optimizer, resume=path)
    assert {name: a.tobytes() for name, a in options["model"].state_dict().items()} == before
    assert not optimizer.state and path.read_bytes() == saved and os.listdir(tmp_path) == ["run.npz"]


def test_what_is_no_checkpoint_of_fit_is_refused(tmp_path: Path) -> None:
    model = nn.MLP([5, 2], rng=0)
    tg.save(model.state_dict(), tmp_path / "weights.npz")
    tg.save_checkpoint(tmp_path / "own.npz", model=model)
    (tmp_path / "text.npz").write_text("hello")
    for name, message in (("weights", "expected a checkpoint of model"), ("own", "expected"), ("text", "not a whole")):
        with pytest.raises(CheckpointError, match=message):
            tg.fit(model, X, Y, progress=False, resume=tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        tg.fit(model, X, Y, progress=False, resume=tmp_path / "missing.npz")


# Checkpoints that cannot work


@pytest.mark.parametrize("name", ["", "run.safetensors", "missing/run.npz"])
def test_a_checkpoint_that_cannot_work_fails_before_the_first_step(name: str, tmp_path: Path) -> None:
    steps: list[int] = []

    class Steps(Callback):
        def on_batch_end(self, run: Any) -> None:
            steps.append(run.step)

    with pytest.raises((OSError, ValueError)):
        tg.fit(nn.MLP([5, 2], rng=0), X, Y, progress=False, callbacks=[Steps(), Checkpoint(tmp_path / name)])
    assert not steps and os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
def test_a_read_only_place_fails_before_the_first_step() -> None:
    steps: list[int] = []

    class Steps(Callback):
        def on_batch_end(self, run: Any) -> None:
            steps.append(run.step)

    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    try:
        for mode in (0o755, 0o555):
            folder.chmod(mode)
            if mode == 0o555:
                if user == 0:
                    os.seteuid(65534)  # root may write everywhere
                steps.clear()
            model, callbacks = nn.MLP([5, 2], rng=0), [Steps(), Checkpoint(folder / "run.npz")]
            if mode == 0o755:
                tg.fit(model, X, Y, epochs=1, progress=False, callbacks=callbacks)
                continue
            with pytest.raises(PermissionError, match=r"nothing is saved.*run\.npz"):
                tg.fit(model, X, Y, epochs=1, progress=False, callbacks=callbacks)
        assert not steps
    finally:
        if user == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


# Parts of loops of one's own


def test_a_loop_of_ones_own_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def run(stop: int | None, again: bool = False) -> bytes:
        model = nn.Sequential(nn.Linear(5, 8, rng=0), nn.Dropout(0.5, rng=1), nn.Linear(8, 2, rng=2))
        adam = optim.Adam(model.parameters(), lr=0.01)
        schedule, rng = optim.CosineAnnealingLR(adam, 30), np.random.Generator(np.random.MT19937(3))
        parts = {"model": model, "optimizer": adam, "schedule": schedule, "rng": rng}
        first = tg.load_checkpoint(tmp_path / "own.npz", **parts)["epoch"] if again else 0
        for epoch in range(first, 5):
            if epoch == stop:
                tg.save_checkpoint(tmp_path / "own.npz", epoch=epoch, losses=[1.5, np.pi], **parts)
                return b""
            for xb, yb in tg.minibatches(X, Y, 32, rng=rng):
                adam.zero_grad()
                F.cross_entropy(model(xb), yb).backward()
                adam.step()
                schedule.step()
        return b"".join(a.tobytes() for a in model.state_dict().values())

    straight = run(None)
    for stop in range(5):
        run(stop)
        assert run(None, again=True) == straight


def test_all_parts_or_none(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    model, rng = nn.MLP([5, 4, 2], dropout=0.5, rng=0), np.random.default_rng(1)
    adam = optim.Adam(model.parameters())
    tg.save_checkpoint(path, model=model, rng=rng, optimizer=adam)
    other, twin = nn.MLP([5, 4, 2], dropout=0.5, rng=9), np.random.Generator(np.random.MT19937(1))
    sgd = optim.SGD(other.parameters(), momentum=0.9)
    before = [a.tobytes() for a in other.state_dict().values()], repr(other[2].rng.bit_generator.state)
    for parts, message in (
        (dict(model=other, optimizer=sgd), "options .*, expected"),
        (dict(model=other, rng=twin), "MT19937"),
        (dict(model=other, schedule=sgd), "expected a checkpoint of model, schedule"),
        (dict(rng=rng), "expected 0 Generators, found"),
        (dict(model=5), "model is 5, which has no load_state_dict; leave it out"),
    ):
        with pytest.raises(CheckpointError, match=message):
            tg.load_checkpoint(path, **parts)
        assert before == ([a.tobytes() for a in other.state_dict().values()], repr(other[2].rng.bit_generator.state))
    with pytest.raises(ValueError, match="a part cannot be called 'generators'"):
        tg.save_checkpoint(path, generators=1)
    assert tg.load_checkpoint(path, model=other, optimizer=optim.Adam(other.parameters()), rng=rng) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("epoch", v) for v in (-1, "x", None, 1.5)]
    + [("step", -1), ("position", 100), ("position", 1), ("so_far", None), ("rows", [1]), ("rows", [{"epoch": 1}])]
    + [("order", {}), ("order", {"bits": 1, "spawned": 0}), ("attributes", [["nope.p", 1]]), ("lr", ["x"])]
    + [("callbacks", [["Checkpoint", None]]), ("settings", None), ("stopped", 5)],
)
def test_the_state_of_a_training_is_checked_as_a_whole(name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    options = dict(X=X, y=Y, epochs=1, progress=False, callbacks=[Checkpoint(path)], jit=False)
    tg.fit(nn.MLP([5, 2], rng=0), **options)
    state = tg.load(path)
    state["training"][name] = value
    tg.save(state, path)
    model = nn.MLP([5, 2], rng=1)
    before = model[0].weight.data.copy()
    with pytest.raises(CheckpointError, match=r"run\.npz"):
        tg.fit(model, **{**options, "epochs": 2}, resume=path)
    assert (model[0].weight.data == before).all()


def test_generators_are_found_wherever_a_part_leads_to_one() -> None:
    rngs = [np.random.default_rng(i) for i in range(12)]
    holder = types.SimpleNamespace(a=rngs[0], b=[rngs[1], {"c": rngs[2]}], loop=None)
    holder.loop = holder

    def closure(x: Any, default: Any = rngs[3], *, key: Any = rngs[4]) -> Any:
        return rngs[5].random() + GLOBAL.random() + sum(GLOBAL.random() for _ in range(2))

    class Own(nn.Module):
        shared = rngs[6]

        def __init__(self) -> None:
            self.inner, self.many = nn.Dropout(0.5, rng=rngs[7]), [nn.Dropout(0.5, rng=rngs[8])]

    parts = {"a": holder, "b": partial(closure, rngs[9], y=rngs[10]), "c": Own(), "d": rngs[11], "data": [0.5] * 10**6}
    found = generators(parts)
    expected = [rng for i, rng in enumerate(rngs) if i != 11] + [GLOBAL]
    assert {id(rng) for rng in found} == {id(rng) for rng in expected} and len(found) == len(expected)
    assert generators({"x": np.ones(3), "y": "text", "z": None, "f": len, "m": np, "t": int}) == []


def test_another_machine_gets_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.MLP([5, 2], rng=0)
    tg.save_checkpoint(tmp_path / "own.npz", model=model)
    made = resume.made_with()
    assert {"numpy", "threads", "blas", "python"} <= made.keys() and made["threads"] >= 1
    monkeypatch.setattr(resume, "made_with", lambda: {**made, "threads": 64, "numpy": "3.0"})
    with pytest.warns(UserWarning, match=r"numpy '.*' there, '3.0' here; threads \d+ there, 64 here.* last digits"):
        tg.load_checkpoint(tmp_path / "own.npz", model=model)


@pytest.mark.skipif(sys.platform != "linux", reason="BLAS of NumPy's wheels for Linux")
def test_the_number_of_threads_is_that_of_the_library() -> None:
    script = "from tinygrad_mlp.blas import loaded; print(loaded())"
    for threads in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
        )
        assert done.stdout.rstrip().endswith(f", {min(int(threads), CORES)})")


@pytest.mark.parametrize(("said", "threads"), [("3", 3), ("", os.cpu_count() or 1)])
def test_a_blas_that_is_not_known_has_the_threads_of_the_environment(
    said: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(blas.ctypes, "CDLL", missing)
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    if said:
        monkeypatch.setenv("MKL_NUM_THREADS", said)
    made = resume.made_with()
    assert (made["blas"], made["threads"]) == ("unknown", threads)


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert resume.made_with()["tinygrad_mlp"] == "unknown"


# Files


def test_the_last_ones_are_kept_and_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    assert tg.latest(path) is None
    for i in range(6):
        tg.save_checkpoint(path, keep=3, number=i)
    assert sorted(os.listdir(tmp_path)) == ["run.npz", "run.npz.1", "run.npz.2"]
    assert [tg.load(name)["number"] for name in sorted(tmp_path.iterdir())] == [5, 4, 3]
    assert tg.latest(path) == path
    path.write_bytes(path.read_bytes()[:-1])
    assert tg.latest(str(path)) == tmp_path / "run.npz.1"
    path.unlink()
    assert tg.latest(path) == tmp_path / "run.npz.1"
    (tmp_path / "run.npz.1").write_bytes(b"")
    assert tg.latest(path) == tmp_path / "run.npz.2"
    (tmp_path / "run.npz.2").unlink()
    (tmp_path / "run.npz.old").write_bytes(b"")
    assert tg.latest(path) is None


def test_without_links_the_last_ones_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    for i in range(4):
        tg.save({"number": i}, tmp_path / "x", keep=2)
    assert [tg.load(tmp_path / name)["number"] for name in ("x", "x.1")] == [3, 2]
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.skipif(os.name != "posix", reason="modes and owners of POSIX")
def test_the_mode_and_the_owner_of_the_old_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for mode in (0o600, 0o640, 0o444, 0o666):
        tg.save({"a": 1}, path)
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 12345, 54321)
        tg.save({"a": 2}, path, keep=2)
        info = path.stat()
        assert stat.S_IMODE(info.st_mode) == mode
        assert os.geteuid() != 0 or (info.st_uid, info.st_gid) == (12345, 54321)
        path.unlink()


STALE = """
import os, sys, time
import tinygrad_mlp as tg
from tinygrad_mlp.train import checkpoint

def stop(*_):
    print("inside", flush=True)
    time.sleep(60)

os.fsync = stop
tg.save({"a": 1}, sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_temporaries_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    children = [
        subprocess.Popen([sys.executable, "-c", STALE, str(path)], stdout=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    for child in children:
        child.stdout.readline()
    assert len(os.listdir(tmp_path)) == 2
    tg.save({"a": 2}, path)
    assert len(os.listdir(tmp_path)) == 3  # both are alive
    children[0].kill()
    children[0].wait()
    (tmp_path / ".y.npz.0000.tmp").write_bytes(b"")
    tg.save({"a": 2}, path)
    assert len(os.listdir(tmp_path)) == 3  # one is left, and what belongs to another file
    children[1].kill()
    children[1].wait()
    tg.save({"a": 2}, path)
    assert sorted(os.listdir(tmp_path)) == [".y.npz.0000.tmp", "x.npz"]
    for child in children:
        child.stdout.close()


# Kills


CHILD = ROOT / "tests" / "killed.py"


def kills(folder: Path, rounds: int, jit: bool, seed: int) -> tuple[int, int]:
    """Kill a training at random moments until it has ended, many times; return the kills, and how many ended equal."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(CHILD), str(folder), str(int(jit)), str(rounds), str(seed)]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    result = json.loads(output.stdout.splitlines()[-1])
    return result["killed"], result["equal"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.parametrize("jit", [False, True])
def test_killed_trainings_end_with_the_same_bits(jit: bool, tmp_path: Path) -> None:
    """CI kills ten of each."""
    killed, equal = kills(tmp_path, 1, jit, 0)
    assert killed >= 1 and equal == killed


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.parametrize("jit", [False, True])
def test_100_killed_trainings_end_with_the_same_bits(jit: bool, tmp_path: Path) -> None:
    killed, equal = kills(tmp_path, 100, jit, 1)
    assert killed >= 100 and equal == killed


CALLS = ("listdir", "open", "fstat", "fchmod", "fchown", "write", "fsync", "link", "replace", "unlink", "close")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_process_that_dies_at_any_call_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """Before or after it, with three files kept; the next save clears up."""
    path = tmp_path / "run.npz"
    for stop in range(60):
        ends = 0
        for before in (True, False):
            shutil.rmtree(tmp_path)
            tmp_path.mkdir()
            for i in range(4):
                tg.save({"number": i}, path, keep=3)
            child = os.fork()
            if not child:
                count = iter(range(10**6))

                def dying(call: Any, count: Any = count, before: bool = before, stop: int = stop) -> Any:
                    def run(*args: Any, **keywords: Any) -> Any:
                        dies = next(count) == stop
                        if dies and before:
                            os._exit(9)
                        result = call(*args, **keywords)
                        if dies:
                            os._exit(9)
                        return result

                    return run

                for name in CALLS:
                    setattr(os, name, dying(getattr(os, name)))
                tg.save({"number": 4}, path, keep=3)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            ends += status == 0
            newest = tg.latest(path)
            assert newest is not None and tg.load(newest)["number"] in (3, 4) and tg.load(path)["number"] in (3, 4)
            for name in {"run.npz.1", "run.npz.2"} & set(os.listdir(tmp_path)):
                tg.load(tmp_path / name)
            tg.save({"number": 5}, path, keep=3)
            assert set(os.listdir(tmp_path)) <= {"run.npz", "run.npz.1", "run.npz.2"}
        if ends == 2:
            break
    assert ends == 2 and stop > 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_processes_that_save_at_once_leave_whole_files(tmp_path: Path) -> None:
    path, children = tmp_path / "run.npz", []
    for number in range(3):
        if not (child := os.fork()):
            try:
                for _ in range(15):
                    tg.save({"number": number, "w": np.full(5000, number)}, path, keep=2)
                    state = tg.load(path)
                    assert (state["w"] == state["number"]).all()
                os._exit(0)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}; {error.__cause__!r}".encode())
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert sorted(os.listdir(tmp_path)) == ["run.npz", "run.npz.1"]
