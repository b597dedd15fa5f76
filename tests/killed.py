"""A training that is killed at random moments and resumed until it has ended: how many end with the same bits.

`python tests/killed.py FOLDER JIT ROUNDS SEED` prints how many processes were killed, and how many trainings ended with
the SHA-256 of the one that nobody killed, history included. ``--saver numpy`` and ``--saver torch`` do the same with
the loop that one would write with `np.savez` or `torch.save`, to compare with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim

X = np.random.default_rng(1).normal(size=(331, 20)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(int)
EPOCHS, BATCH = 6, 32


class Slow(tg.callbacks.Callback):
    """A callback with a state, that makes a step take a few milliseconds."""

    def __init__(self) -> None:
        self.total = 0.0

    def on_batch_end(self, run: Any) -> None:
        self.total += run.loss
        time.sleep(0.002)

    def on_epoch_end(self, run: Any) -> None:
        run.row["total"] = self.total


def parts() -> tuple[Any, Any, Any]:
    model = nn.Sequential(
        nn.Linear(20, 16, rng=0), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3, rng=1), nn.Linear(16, 2, rng=2)
    )
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, optim.CosineAnnealingLR(optimizer, T_max=80, warmup=5)


def noisy(own: np.random.Generator) -> Any:
    return lambda xb, rng: xb + 0.1 * rng.normal(size=xb.shape) + 0.1 * own.normal(size=xb.shape)


def ours(path: Path, jit: bool) -> str:
    """Train, from the newest checkpoint on, and return the SHA-256 of all that comes out."""
    model, optimizer, schedule = parts()
    best = tg.callbacks.Checkpoint(path.with_name("best.npz"), "validation_loss")
    history = tg.fit(
        model, X, Y, optimizer=optimizer, schedule=schedule, epochs=EPOCHS, batch_size=BATCH, validation=0.2, jit=jit,
        augment=noisy(np.random.default_rng(7)), progress=False, resume=tg.latest(path),
        callbacks=[tg.callbacks.Checkpoint(path, every=2, keep=2), best, Slow()],
    )  # fmt: skip
    return digest(model, optimizer, history.rows)


def by_hand(path: Path, saver: str) -> str:
    """The loop that one would write: it saves weights, optimizer and epoch at the end of each."""
    model, optimizer, schedule = parts()
    order, rng, own, first, rows = np.random.default_rng(0), np.random.default_rng(3), np.random.default_rng(7), 0, []
    if path.exists():
        state = _load(path, saver)
        first = int(state.pop("epoch")) + 1
        momentum = {k[2:]: v for k, v in state.items() if k.startswith("m:")}
        model.load_state_dict({k: v for k, v in state.items() if not k.startswith("m:")})
        taken = optimizer.state_dict()
        taken["state"] = {i: {"momentum_buffer": momentum[str(i)]} for i in range(len(momentum))}
        optimizer.load_state_dict(taken)
        schedule.last_step = first * 11
        schedule._set()
    for epoch in range(first, EPOCHS):
        for xb, yb in tg.minibatches(X, Y, BATCH, rng=order):
            loss = F.cross_entropy(model(noisy(own)(xb, rng).astype(np.float32)), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            time.sleep(0.002)
        rows.append({"loss": loss.item()})
        momentum = {f"m:{i}": s["momentum_buffer"] for i, s in optimizer.state_dict()["state"].items()}
        _save({**model.state_dict(), **momentum, "epoch": np.array(epoch)}, path, saver)
    return digest(model, optimizer, rows)


def _save(state: dict[str, Any], path: Path, saver: str) -> None:
    if saver == "numpy":
        np.savez(path, **state)
    else:
        import torch

        torch.save({k: torch.from_numpy(np.array(v)) for k, v in state.items()}, path)


def _load(path: Path, saver: str) -> dict[str, Any]:
    if saver == "numpy":
        return dict(np.load(path))
    import torch

    return {k: v.numpy() for k, v in torch.load(path).items()}


def digest(model: Any, optimizer: Any, rows: list[dict[str, Any]]) -> str:
    times = ("seconds", "samples_per_second")
    found = hashlib.sha256(repr([{k: v for k, v in row.items() if k not in times} for row in rows]).encode())
    states = [model.state_dict(), *optimizer.state_dict()["state"].values()]
    for name, array in sorted((f"{i} {k}", v) for i, state in enumerate(states) for k, v in state.items()):
        found.update(name.encode() + np.asarray(array).tobytes())
    return found.hexdigest()


def in_a_child(run: Any, path: Path, patience: float | None) -> tuple[bool, str]:
    """Return whether a training was killed, after so many seconds, and what it printed."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, run(path).encode())
            os._exit(0)
        except BaseException as error:
            os.write(writer, f"failed: {type(error).__name__}: {error}"[:500].encode())
            os._exit(1)
    os.close(writer)
    if patience is not None:
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        return os.WIFSIGNALED(status), pipe.read().decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("jit", type=int)
    parser.add_argument("rounds", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--saver", choices=("ours", "numpy", "torch"), default="ours")
    options = parser.parse_args()
    random.seed(options.seed)
    if options.saver == "torch":
        import torch  # noqa: F401 - before the clock starts
    run = (lambda path: ours(path, bool(options.jit))) if options.saver == "ours" else (
        lambda path: by_hand(path, options.saver)
    )  # fmt: skip
    folder, killed, equal, failed = options.folder / "kills", 0, 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    expected = in_a_child(run, folder / "run.npz", None)[1]
    whole = time.perf_counter() - start
    assert len(expected) == 64, expected
    while killed < options.rounds:
        shutil.rmtree(folder)
        folder.mkdir()
        was_killed, _ = in_a_child(run, folder / "run.npz", random.uniform(0.05, 0.95) * whole)
        if not was_killed:
            continue
        killed += 1
        _, result = in_a_child(run, folder / "run.npz", None)
        equal, failed = equal + (result == expected), failed + result.startswith("failed")
    left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
    print(
        json.dumps({"killed": killed, "equal": equal, "failed": failed, "left": len(left), "seconds": round(whole, 2)})
    )
    sys.exit(options.saver == "ours" and (equal != killed or bool(left)))


if __name__ == "__main__":
    main()
