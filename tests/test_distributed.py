"""Training by several processes, which mpiexec starts for real: one training, the same bits, and no hang."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim

ROOT = Path(__file__).parents[1]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
pytest.importorskip("mpi4py")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")

SCRIPT = """
import sys
import numpy as np
from mpi4py import MPI
import tinygrad_mlp as tg
from tinygrad_mlp import functional as F, nn, optim
from tinygrad_mlp.distributed import DistributedOptimizer

comm = MPI.COMM_WORLD
X = np.random.default_rng(0).normal(size=(103, 5))  # batches of 25 and, at the end, of 3: unequal parts
y = (X[:, 0] * X[:, 1] > 0).astype(int)
"""
TRAINING = """
def train(comm, jit, kind, epochs=5, rows=103):
    model = nn.MLP([5, 16, 2], "tanh", rng=comm.rank if comm else 0, dtype=np.float64)  # other weights in each process
    optimizer = kind(model.parameters(), lr=0.05)
    optimizer = DistributedOptimizer(optimizer, comm) if comm else optimizer
    history = tg.fit(model, X[:rows], y[:rows], optimizer=optimizer, schedule=optim.OneCycleLR(optimizer, 0.1), jit=jit,
                     epochs=epochs, batch_size=25, validation=(X, y), progress=False)
    return model, history
"""


def start(code, tmp_path, processes=2):
    (tmp_path / "script.py").write_text(SCRIPT + code)
    command = [MPIEXEC, "-n", str(processes), sys.executable, str(tmp_path / "script.py")]
    return subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_it_is_one_training_in_the_same_bits_everywhere(processes, tmp_path):
    code = (
        TRAINING
        + """
for jit in (True, False):
    for kind in (optim.SGD, optim.Adam):
        model, history = train(comm, jit, kind)
        np.savez(f"{kind.__name__}-{jit}-{comm.rank}.npz", losses=[r["validation_loss"] for r in history.rows],
                 **model.state_dict())
"""
    )
    output, _ = (process := start(code, tmp_path, processes)).communicate(timeout=120)
    assert process.returncode == 0, output
    names = {"np": np, "tg": tg, "nn": nn, "optim": optim}
    exec(SCRIPT.split("comm = ")[1].split("\n", 1)[1] + TRAINING, names)
    for kind in (optim.SGD, optim.Adam):
        alone, history = names["train"](None, True, kind)
        expected = {**alone.state_dict(), "losses": np.array([row["validation_loss"] for row in history.rows])}
        for jit in (True, False):
            found = [dict(np.load(tmp_path / f"{kind.__name__}-{jit}-{rank}.npz")) for rank in range(processes)]
            for name, array in expected.items():
                assert all(f[name].tobytes() == found[0][name].tobytes() for f in found), name
                np.testing.assert_allclose(found[0][name], array, rtol=1e-9, atol=1e-11, err_msg=name)


def test_a_loop_by_hand_averages_the_processes(tmp_path):
    code = """
model = nn.MLP([5, 4, 2], rng=0, dtype=np.float64)
optimizer = DistributedOptimizer(optim.SGD(model.parameters(), lr=0.5))
own = slice(comm.rank * 40, comm.rank * 40 + 40)

@tg.jit
def step(x, labels):
    loss = F.cross_entropy(model(x), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss

twin = nn.MLP([5, 4, 2], rng=0, dtype=np.float64)
sgd = optim.SGD(twin.parameters(), lr=0.5)
for _ in range(20):
    step(X[own], y[own])
    loss = F.cross_entropy(twin(X[:80]), y[:80])
    sgd.zero_grad()
    loss.backward()
    sgd.step()
for a, b in zip(model.parameters(), twin.parameters()):
    np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-12)
assert "average" in step.source, step.source
"""
    output, _ = (process := start(code, tmp_path)).communicate(timeout=60)
    assert process.returncode == 0, output


def test_an_error_in_one_process_ends_all_with_its_traceback(tmp_path):
    code = (
        TRAINING
        + """
class Fail(tg.callbacks.Callback):
    def on_batch_end(self, run):
        if comm.rank == 1 and run.step == 7:
            raise OSError("disk full")

model = nn.MLP([5, 4, 2], rng=0)
optimizer = DistributedOptimizer(optim.SGD(model.parameters(), lr=0.5))
tg.fit(model, X, y, optimizer=optimizer, epochs=10**6, batch_size=20, callbacks=[Fail()], progress=False)
"""
    )
    output, _ = (process := start(code, tmp_path)).communicate(timeout=30)
    assert process.returncode != 0
    assert "OSError: disk full" in output and "process 1 of 2 ends all of them" in output


@pytest.mark.parametrize(
    ("before", "during", "message"),
    [
        ("raise OSError('no data')", "pass", "OSError: no data"),
        ("pass", "sys.exit(0)", "RuntimeError: another process has left the training"),
        ("pass", "sys.exit(3)", "RuntimeError: another process has left the training"),
        ("pass", "run.stop('I have had enough')", "RuntimeError: another process has left the training"),
    ],
)
def test_no_process_waits_for_one_that_is_gone(before, during, message, tmp_path):
    code = f"""
if comm.rank == 1:
    {before}

class Leave(tg.callbacks.Callback):
    def on_batch_end(self, run):
        if comm.rank == 1 and run.step == 7:
            {during}

model = nn.MLP([5, 4, 2], rng=0)
optimizer = DistributedOptimizer(optim.SGD(model.parameters(), lr=0.5))
tg.fit(model, X, y, optimizer=optimizer, epochs=10**6, batch_size=20, callbacks=[Leave()], progress=False)
"""
    output, _ = (process := start(code, tmp_path)).communicate(timeout=30)
    assert process.returncode != 0
    assert message in output and "ends all of them" in output


def test_batch_norm_is_the_same_everywhere_and_so_is_the_end(tmp_path):
    code = """
model = nn.MLP([5, 8, 2], batch_norm=True, rng=comm.rank, dtype=np.float64)
optimizer = DistributedOptimizer(optim.SGD(model.parameters(), lr=0.1))
history = tg.fit(model, X, y, optimizer=optimizer, epochs=100, batch_size=20, validation=(-X, y), progress=False,
                 callbacks=[tg.callbacks.EarlyStopping(patience=2)])  # 103 rows: the last batch has 3
np.savez(f"{comm.rank}.npz", losses=[row["validation_loss"] for row in history.rows], **model.state_dict())
"""
    output, _ = (process := start(code, tmp_path)).communicate(timeout=60)
    assert process.returncode == 0, output
    first, second = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(2))
    assert "1.running_var" in first and len(first["losses"]) < 100
    assert all(array.tobytes() == second[name].tobytes() for name, array in first.items())


def test_what_it_does_not_take():
    from tinygrad_mlp.distributed import DistributedOptimizer

    with pytest.raises(TypeError, match="DistributedOptimizer takes an optimizer, got MLP"):
        DistributedOptimizer(nn.MLP([2, 2], rng=0))


def example(*arguments, processes=2):
    command = [MPIEXEC, "-n", str(processes), sys.executable, str(ROOT / "examples" / "distributed.py"), *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_example_reaches_the_accuracy_of_one_process():
    accuracies = []
    for processes in (1, 2):
        output, _ = (process := example("--epochs", "2", "--rows", "12000", processes=processes)).communicate(
            timeout=120
        )
        assert process.returncode == 0, output
        accuracies.append(float(re.search(rf"{processes} processes: test accuracy ([\d.]+)%", output)[1]))
    assert accuracies[0] > 94
    assert abs(accuracies[0] - accuracies[1]) < 0.3  # float32 sums in another order


def test_a_killed_process_ends_the_others_within_ten_seconds():
    process = example("--epochs", "100000", "--rows", "2000")
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"process 1 of 2 has pid (\d+), epoch 2", line):
            break
    begin = time.monotonic()
    os.kill(int(found[1]), signal.SIGKILL)
    rest, _ = process.communicate(timeout=10)
    assert process.returncode != 0 and time.monotonic() - begin < 10
    assert re.search("ends all of them|BAD TERMINATION|Abort", rest), rest
