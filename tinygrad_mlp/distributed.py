"""Training by several processes, on one machine or many, over MPI (extra ``distributed``: mpi4py, and an MPI).

Each process runs the same script, as ``mpiexec -n 4 python train.py`` starts it, and wraps its optimizer::

    optimizer = DistributedOptimizer(optim.SGD(model.parameters(), lr=0.1))
    tg.fit(model, X, y, optimizer=optimizer, batch_size=128)

`fit` then trains on batches of 128 rows in all: each process takes its part of every batch, and the gradients are
averaged by one ``Allreduce`` of a flat array before each step. So the training is that of one process, up to rounding,
and all processes have the same bits after each step. What looks at a whole batch sees a part of it: the statistics of
batch norm, ``augment``, and the loss in the history, which is that of the process's own rows.
"""

from __future__ import annotations

import sys
import traceback
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
        """Return those rows of a batch that are this process's own: equally many for each, or one more."""
        parts = np.array_split(rows, self.comm.size) if len(rows) >= self.comm.size else [rows] * self.comm.size
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


def DistributedOptimizer(optimizer: Any, comm: Any = None) -> Any:  # noqa: N802 - Horovod's name
    """Return an optimizer that does what another does, with the gradients of all processes averaged.

    The parameters become those of process 0. Schedules are built on what is returned. A Python error in one process
    ends all of them, with its traceback; if one is killed, the others end too. Whatever decides to stop a training must
    decide alike in all processes: it may look at the validation loss, but not at the loss.

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
    made.average = _averaging(comm, made.share, mpi.IN_PLACE)
    for group in made.param_groups:
        for p in group["params"]:
            first = np.ascontiguousarray(p.data)
            comm.Bcast(first)
            p.data[...] = first
    if comm.size > 1:
        sys.excepthook = _ending_all(comm)
    return made


def _averaging(comm: Any, share: list[float], in_place: Any) -> Any:
    """Return the op that averages a flat array over the processes; it is called anew in each run of a program."""

    @tg.primitive
    def average(flat: Any) -> Any:
        total = flat * share[0]
        comm.Allreduce(in_place, total)
        return total

    tg.vjp(average, lambda g, out, flat: average(g))
    tg.annotate(average, effect=True)
    return average


def _ending_all(comm: Any) -> Any:
    """Return what deals with an error that nobody catches: it ends all processes."""

    def end(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        traceback.print_exception(kind, error, where)
        print(f"process {comm.rank} of {comm.size} ends all of them", file=sys.stderr, flush=True)
        comm.Abort(1)

    return end
