"""Train MNIST by several processes, to the accuracy of one.

    mpiexec -n 2 python examples/distributed.py [--epochs 4] [--batch-size 128] [--hidden 256]

It needs the extra ``distributed``. Started without ``mpiexec``, it is one process that does the whole work.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from time import perf_counter

from mpi4py import MPI

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim
from tinygrad_mlp.distributed import DistributedOptimizer

DATA = Path(__file__).parent / "data" / "mnist.npz"


class Announce(tg.callbacks.Callback):
    """Says, once all works, which process is which."""

    def __init__(self, comm):
        self.comm = comm

    def on_epoch_begin(self, run):
        print(f"process {self.comm.rank} of {self.comm.size} has pid {os.getpid()}, epoch {run.epoch}", flush=True)


def main(arguments=None):
    """Train, and let process 0 print the history and the result; return the test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=128, help="of all processes together")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    X_train, y_train, X_test, y_test = tg.load_mnist(DATA)
    X_train, y_train = X_train[: options.rows], y_train[: options.rows]
    model = nn.MLP([784, options.hidden, 10], rng=options.seed)
    optimizer = DistributedOptimizer(optim.SGD(model.parameters(), momentum=0.9, nesterov=True, weight_decay=1e-4))
    start = perf_counter()
    tg.fit(
        model,
        X_train,
        y_train,
        loss=nn.CrossEntropyLoss(label_smoothing=0.05),
        optimizer=optimizer,
        schedule=optim.OneCycleLR(optimizer, 0.3),
        epochs=options.epochs,
        batch_size=options.batch_size,
        transform=tg.scale_pixels,
        seed=options.seed,
        callbacks=[Announce(comm)],
        progress=comm.rank == 0,
    )
    seconds = perf_counter() - start
    accuracy = tg.evaluate(model, X_test, y_test, transform=tg.scale_pixels)["accuracy"]
    if comm.rank == 0:
        print(f"{comm.size} processes: test accuracy {accuracy:.2%} after {seconds:.2f} s of training", flush=True)
    return accuracy


if __name__ == "__main__":
    main()
