"""Training by several processes, on one machine or many, over MPI (extra ``distributed``: mpi4py, and an MPI).

Each process runs the same script, as ``mpiexec -n 4 python train.py`` starts it, and wraps its optimizer::

    optimizer = DistributedOptimizer(optim.SGD(model.parameters(), lr=0.1))
    tg.fit(model, X, y, optimizer=optimizer, batch_size=128)

`fit` then trains on batches of 128 rows in all: each process takes its part of every batch, and the gradients are
averaged by one ``Allreduce`` of a flat array before each step. So the training is that of one process, up to rounding,
and all processes have the same bits after each step. What looks at a whole batch sees a part of it: the statistics of
batch norm, ``augment``, and the loss in the history, which is that of the process's own rows. The running statistics of
batch norm are averaged by `fit` after each epoch, before validation.

No process waits for one that is gone. From the import of this module on, an error that nobody catches ends all
processes, with its traceback; one that is killed takes the others with it; and one that leaves while others still
train, as by ``sys.exit()``, gives them a RuntimeError at their next step.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import numpy as np

import tinygrad_mlp as tg

__all__ = ["DistributedOptimizer"]
__dir__ = __all__.copy  # what Tab offers


class _Distributed:
    """What makes an optimizer average the gradients of several processes before each of its steps."""

    param_groups: list[Any]
    comm: Any
    share: list[float]
    average: Any

    def part(self, rows: Any) -> Any:
        """Return those rows of a batch that are this process's own: equally many for each, or one more.

        If there are not two for each, every process takes them all.
        """
        count = self.comm.size  # no single row where there are more, for batch norm
        parts = np.array_split(rows, count) if len(rows) >= 2 * count else [rows] * count
        own = parts[self.comm.rank]
        self.share[0] = len(own) / sum(map(len, parts))
        return own

    def step(self) -> None:
        """Average the gradients, weighted by the rows of each process, and update every parameter that has one."""
        having = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if having:
            with tg.no_grad():
                mean = self.average(np.concatenate([p.grad.reshape(-1) for p in having]))
                ends = np.cumsum([p.size for p in having]).tolist()
                for p, end in zip(having, ends, strict=True):
                    p.grad = mean[end - p.size : end].reshape(p.shape).astype(p.dtype)
        super().step()  # type: ignore[misc]

    def agree(self, buffers: Iterable[Any]) -> None:
        """Average those ``buffers`` that hold floats, such as the running statistics of batch norm."""
        for buffer in buffers:
            if buffer.dtype.kind == "f":
                mean = np.array(buffer.data / self.comm.size, order="C")
                _sum(self.comm, mean)
                buffer.data[...] = mean


def DistributedOptimizer(optimizer: Any, comm: Any = None) -> Any:  # noqa: N802 - Horovod's name
    """Return an optimizer that does what another does, with the gradients of all processes averaged.

    The parameters become those of process 0. Schedules are built on what is returned. Whatever decides to stop a
    training must decide alike in all processes: it may look at the validation loss, but not at the loss.

    Args:
        optimizer: one of `tinygrad_mlp.optim`.
        comm: the processes, an mpi4py communicator; all of them by default.

    Raises:
        TypeError: it is no optimizer.
        ImportError: mpi4py is not installed.
    """
    if not isinstance(optimizer, tg.optim.Optimizer):
        raise TypeError(f"DistributedOptimizer takes an optimizer, got {tg.errors.describe(optimizer)}")
    mpi = tg.errors.need("mpi4py.MPI", "distributed")
    comm = mpi.COMM_WORLD if comm is None else comm
    kind = type(f"Distributed{type(optimizer).__name__}", (_Distributed, type(optimizer)), {})
    made: Any = object.__new__(kind)
    vars(made).update(vars(optimizer), comm=comm, share=[1 / comm.size])
    made.average = _averaging(comm, made.share)
    for group in made.param_groups:
        for p in group["params"]:
            first = np.ascontiguousarray(p.data)
            comm.Bcast(first)
            p.data[...] = first
    return made


def _sum(comm: Any, a: Any) -> None:
    """Add up an array over the processes, in place."""
    comm.Allreduce(sys.modules["mpi4py.MPI"].IN_PLACE, a)


def _averaging(comm: Any, share: list[float]) -> Any:
    """Return the op that averages a flat array over the processes; it is called anew in each run of a program."""

    @tg.primitive
    def average(flat: Any) -> Any:
        total = np.zeros(flat.size + 1, flat.dtype)  # the last one counts the processes that have left
        np.multiply(flat, share[0], out=total[:-1])
        _latest[:] = [(comm, total.size, total.dtype)] * (comm.size > 1)
        _sum(comm, total)
        if total[-1]:
            _latest.clear()
            raise RuntimeError("another process has left the training; all of them must take the same steps")
        return total[:-1]

    tg.vjp(average, lambda g, out, flat: average(g))
    tg.annotate(average, effect=True)
    return average


_latest: list[Any] = []  # the Allreduce that processes which still train wait for
_usual = sys.excepthook


def _end_all(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Deal with an error that nobody catches: say so, and end all processes."""
    _usual(kind, error, where)
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and not mpi.Is_finalized() and mpi.COMM_WORLD.size > 1:
        world = mpi.COMM_WORLD
        print(f"process {world.rank} of {world.size} ends all of them", file=sys.stderr, flush=True)
        time.sleep(0.5)  # mpiexec drops what it has not passed on when the processes end
        world.Abort(1)


def _leave() -> None:
    """Tell the processes that still train that this one has come to its end; wait for those that have not."""
    for comm, size, dtype in _latest:
        if not sys.modules["mpi4py.MPI"].Is_finalized():
            leaving = np.zeros(size, dtype)
            leaving[-1] = 1
            _sum(comm, leaving)


sys.excepthook = _end_all
atexit.register(_leave)
