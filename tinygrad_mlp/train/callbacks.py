"""What listens while `fit` trains: early stopping, checkpoints, logs, the average of the weights.

A callback overrides some of the five methods of `Callback`. Each of them gets the `Run`, which knows all there is.

>>> class Shout(Callback):
...     def on_epoch_end(self, run):
...         print(f"EPOCH {run.epoch}")
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import as_path, check_below_one, check_integer, check_not_negative
from ..errors import OptionError, nearest, out_of_range
from ..foreign import Answers, missing
from ..nn.module import Module
from ..nn.optim import LRScheduler, Optimizer
from .attributes import kept_of, put_back
from .resume import save_checkpoint

__all__ = ["CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "LearningRateLogger", "Run", "WeightAveraging"]
__dir__ = __all__.copy  # what Tab offers
__getattr__ = missing(__name__)


@dataclass
class Run:
    """A training as its callbacks see it.

    Attributes:
        model: what is trained.
        optimizer: that of the training.
        schedule: the same, or None.
        history: the `History`, whose last row is that of the epoch that has ended.
        columns: the names that each row will have.
        epochs: how many there will be.
        steps_per_epoch: the same.
        epoch: where the training is, counted from 1.
        step: the same, and it goes on from epoch to epoch.
        position: the steps taken in the epoch that is running; 0 between epochs.
        loss: that of the step that has just been taken.
        lr: its learning rate.
        row: that of the epoch that has ended; what a callback adds to it becomes a column of the history.
        parts: what a checkpoint needs besides.
        so_far: what the epoch that is running has gathered.
        due: functions of the run, to be called once all callbacks have been told.
        asked: why it is to stop then, if Ctrl-C has asked for that.
    """

    model: Module
    optimizer: Optimizer
    schedule: LRScheduler | None
    history: Any
    columns: Sequence[str]
    epochs: int
    steps_per_epoch: int
    epoch: int = 0
    step: int = 0
    position: int = 0
    loss: float = math.nan
    lr: float = math.nan
    row: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    so_far: dict[str, Any] = field(default_factory=dict)
    due: list[Callable[[Run], None]] = field(default_factory=list)
    asked: str = ""

    def settle(self) -> None:
        """Do what is due once all callbacks have been told; Ctrl-C counts only here, so that they all see the same."""
        if self.asked:
            self.stop(self.asked)
        while self.due:
            self.due.pop(0)(self)

    def stop(self, reason: str) -> None:
        """End the training after the step that is running, and its epoch with that; the first reason counts."""
        self.history.stopped = self.history.stopped or reason


class Callback(Answers):
    """What listens to a training; each method does nothing unless it is overridden.

    A checkpoint keeps a callback's attributes, those that `save` can hold, sets, deques, and the Generators among
    them, so that a training that is resumed finds them as they were. ``kept`` names which, if not all; a callback
    whose state is of another kind overrides `state_dict` and `load_state_dict`.
    """

    kept: Sequence[str] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this callback."""
        return kept_of(self, vars(self) if self.kept is None else [name for name in self.kept if name in vars(self)])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Be as a checkpoint has it."""
        put_back(self, state_dict)

    def on_train_begin(self, run: Run) -> None:
        """All has been checked, nothing has been trained: the last moment to raise an error."""

    def on_epoch_begin(self, run: Run) -> None:
        """An epoch is about to begin; ``run.epoch`` is its number."""

    def on_batch_end(self, run: Run) -> None:
        """A step has been taken; the schedule has not yet set the next learning rate."""

    def on_epoch_end(self, run: Run) -> None:
        """The last epoch's row is in the history, validation included."""

    def on_train_end(self, run: Run) -> None:
        """The training is over, also by Ctrl-C or by an error."""


class _Monitor(Callback):
    """What follows a column of the history and knows when it is the best so far."""

    kept: Sequence[str] | None = ("best", "best_epoch")

    def __init__(self, monitor: str, mode: str | None, min_delta: float = 0.0) -> None:
        if mode not in (None, "min", "max"):
            raise out_of_range("mode", mode, "'min' or 'max'")
        check_not_negative("min_delta", min_delta)
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta

    def on_train_begin(self, run: Run) -> None:
        if self.monitor not in run.columns:
            hint = "pass validation to fit" if self.monitor.startswith("validation") else "it is no column"
            raise OptionError(f"unknown monitor {self.monitor!r}: {hint}; {nearest(self.monitor, run.columns)}")
        mode = self.mode or ("min" if "loss" in self.monitor else "max" if "accuracy" in self.monitor else None)
        if mode is None:
            raise OptionError(f"is the best {self.monitor} the smallest or the largest? Pass mode='min' or 'max'")
        self.sign = 1 if mode == "min" else -1
        self.best, self.best_epoch = self.sign * math.inf, 0

    def improves(self, run: Run) -> bool:
        """Return whether the epoch that has ended is better than all before, and if so remember it."""
        value = run.row[self.monitor]
        better = self.sign * (self.best - value) > self.min_delta  # never for NaN
        if better:
            self.best, self.best_epoch = value, run.epoch
        return better


class EarlyStopping(_Monitor):
    """Stop when a monitored value has not improved for some epochs; the model ends with the best epoch's weights.

    The best weights come back at the end however it comes, by Ctrl-C or by a loss that is not finite, too.

    Args:
        monitor: a column of the history.
        patience: epochs without improvement, after which the training stops.
        min_delta: by how much a value must be better to count, >= 0.
        mode: "min" or "max", what is better; by default it is "min" for a loss and "max" for an accuracy.

    Attributes:
        best: the best value.
        best_epoch: the epoch that had it.

    Raises:
        ValueError: an option out of range; when the training begins, there is no such column.
    """

    kept = ("best", "best_epoch", "weights")

    def __init__(
        self, monitor: str = "validation_loss", patience: int = 5, min_delta: float = 0.0, *, mode: str | None = None
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        check_integer("patience", patience)
        self.patience = patience

    def on_train_begin(self, run: Run) -> None:
        super().on_train_begin(run)
        self.weights: dict[str, Any] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.weights = state_dict.get("weights")  # arrays, as the file has them, those without axes too

    def on_epoch_end(self, run: Run) -> None:
        if self.improves(run):
            self.weights = run.model.state_dict()
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop(
                f"{self.monitor} has not improved for {self.patience} epochs; "
                f"the weights are those of epoch {self.best_epoch}, when it was {self.best:.4g}"
            )

    def on_train_end(self, run: Run) -> None:
        if self.weights is not None:
            run.model.load_state_dict(self.weights)


class Checkpoint(_Monitor):
    """Write the whole training to a file after each epoch, or only after those that are the best so far.

    ``fit(..., resume=path)`` goes on from there to the same bits. To take parts of it by hand: with
    ``state = tg.load(path)``, ``model.load_state_dict(state["model"])``, and "optimizer" and, if there is one,
    "schedule" likewise; "epoch" and "step" say when it was. Ctrl-C writes it too, in the middle of an epoch. Nothing is
    trained if it cannot be written.

    Args:
        path: the file.
        monitor: a column of the history; by default, every epoch is saved.
        mode: "min" or "max", as for `EarlyStopping`.
        every: also save after each so many steps, which a monitor does not look at.
        keep: how many files to keep: ``path``, the one before as ``path.1``, and so on; see `latest`.

    Raises:
        ValueError, TypeError: an option out of range.
        OSError, ValueError: when the training begins, its state cannot be written there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        *,
        mode: str | None = None,
        every: int | None = None,
        keep: int = 1,
    ) -> None:
        super().__init__(monitor or "epoch", mode if monitor else "max")  # of all epochs, the last is the best
        if every is not None:
            check_integer("every", every)
        self.path, self.every, self.keep = as_path(path), every, check_integer("keep", keep)
        self.best_only = monitor is not None

    def on_train_begin(self, run: Run) -> None:
        super().on_train_begin(run)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"Checkpoint({str(self.path)!r}): there is no folder {str(self.path.parent)!r}")
        self._write(run, 0)

    def on_batch_end(self, run: Run) -> None:
        if not self.best_only:
            run.due.append(self._after_step)

    def _after_step(self, run: Run) -> None:
        if run.history.stopped or (self.every and run.step % self.every == 0 and run.position < run.steps_per_epoch):
            self._write(run)

    def on_epoch_end(self, run: Run) -> None:
        if self.improves(run) and (self.best_only or not run.position):
            # the best first: a file of every epoch, from which it goes on after a crash, says that it is written
            run.due.insert(0 if self.best_only else len(run.due), self._write)

    def _write(self, run: Run, keep: int | None = None) -> None:
        keep = self.keep if keep is None else keep
        save_checkpoint(self.path, keep=keep, epoch=run.epoch, step=run.step, **run.parts)


class CSVLogger(Callback):
    """Write each epoch's row to a CSV file as soon as the epoch ends.

    An old file is replaced when the training begins, by the rows so far if it is resumed. The columns are those of the
    first row.
    """

    kept = ("columns",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def on_train_begin(self, run: Run) -> None:
        self.file = open(self.path, "w", newline="", encoding="utf-8")  # noqa: SIM115 - open as long as it trains
        self.count, self.columns = 0, []  # type: tuple[int, list[str]]

    def on_epoch_end(self, run: Run) -> None:
        rows = run.history.rows
        if self.count == 0:
            self.columns = self.columns or list(rows[0])
            self.writer = csv.DictWriter(self.file, self.columns, extrasaction="ignore", lineterminator="\n")
            self.writer.writeheader()
        self.writer.writerows(rows[self.count :])
        self.count = len(rows)
        self.file.flush()

    def on_train_end(self, run: Run) -> None:
        self.file.close()


class LearningRateLogger(Callback):
    """Keep the learning rate of each step, of the first parameter group, in the list ``lr``."""

    kept = ("lr",)

    def on_train_begin(self, run: Run) -> None:
        self.lr: list[float] = []

    def on_batch_end(self, run: Run) -> None:
        self.lr.append(run.lr)


class WeightAveraging(Callback):
    """Average the weights that the model has at the ends of epochs, and load the average when the training is over.

    The plain mean is stochastic weight averaging (Izmailov and others, arXiv:1803.05407), PyTorch's
    ``swa_utils.AveragedModel``. The rows of the history are those of the weights in training, not of their average:
    `evaluate` it afterwards.

    Running statistics of batch norm are averaged like the weights. That is close; exact ones would need another pass
    through the data. Whole numbers, such as the count of batches, are those of the last epoch.

    Args:
        start: the share of the epochs, in [0, 1), after which averaging begins.
        decay: in [0, 1): the average becomes ``decay * average + (1 - decay) * weights``. None: the plain mean.
    """

    kept = ("average", "count")

    def __init__(self, start: float = 0.5, decay: float | None = None) -> None:
        check_below_one("start", start)
        if decay is not None:
            check_below_one("decay", decay)
        self.start, self.decay = start, decay

    def on_train_begin(self, run: Run) -> None:
        self.average: dict[str, Any] = {}
        self.count = 0

    def on_epoch_end(self, run: Run) -> None:
        if run.epoch <= self.start * run.epochs:
            return
        self.count += 1
        share = 1 / self.count if self.decay is None or self.count == 1 else 1 - self.decay
        for name, array in run.model.state_dict().items():
            if array.dtype.kind == "f":
                before = self.average.get(name, np.zeros(array.shape))  # in float64
                array = before + share * (array - before)
            self.average[name] = array

    def on_train_end(self, run: Run) -> None:
        if self.count:
            state = run.model.state_dict()
            run.model.load_state_dict({k: a.astype(state[k].dtype) for k, a in self.average.items()})
