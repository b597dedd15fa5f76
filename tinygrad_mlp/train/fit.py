"""Train a model in one call, score it, predict with it.

>>> import tinygrad_mlp as tg
>>> from tinygrad_mlp import functional as F, nn, optim
>>> X = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
>>> y = (X[:, 0] * X[:, 1] > 0).astype(int)  # the XOR of two signs
>>> model = nn.MLP([2, 16, 2], rng=0)
>>> optimizer = optim.Adam(model.parameters(), lr=0.01)
>>> history = tg.fit(model, X, y, optimizer=optimizer, epochs=20, batch_size=32, progress=False)
>>> tg.evaluate(model, X, y)["accuracy"] > 0.95
True

The same by hand, to the last bit; with the middle four lines as a function under `jit`, as fast:

>>> twin = nn.MLP([2, 16, 2], rng=0)
>>> optimizer = optim.Adam(twin.parameters(), lr=0.01)
>>> rng = np.random.default_rng(0)
>>> for epoch in range(20):
...     for xb, yb in tg.minibatches(X, y, 32, rng=rng):
...         loss = F.cross_entropy(twin(xb), yb)
...         optimizer.zero_grad()
...         loss.backward()
...         optimizer.step()
>>> all((twin.state_dict()[name] == weights).all() for name, weights in model.state_dict().items())
True
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np

from ..checks import Array, as_generator, check_flag, check_function, check_integer, check_kind
from ..core.tensor import wrap
from ..core.tracer import IDLE, Tracer, mode, tracing
from ..errors import DataError, OptionError, ShapeError, describe, nearest, out_of_range, warn
from ..foreign import answers
from ..jit import Jitted
from ..nn import functional as F
from ..nn.losses import targets_of
from ..nn.module import Module
from ..nn.optim import Adam, LRScheduler, Optimizer
from ..tools.undo import keeper
from .callbacks import Callback, Run
from .data import batch_numbers
from .history import History, Progress
from .non_finite import explained, find_not_finite, finite_buffers
from .predict import (
    EVALUATION_BATCH_SIZE,
    LOSSES,
    Function,
    Metrics,
    Samples,
    as_batch,
    find,
    find_metrics,
    in_mode,
    loss_of,
    metrics_of,
)
from .training import Training

__all__ = ["History", "fit"]

BATCH_SIZE = 128


@answers
def fit(
    model: Module,
    X: Any,
    y: Any,
    *,
    loss: Function | str = F.cross_entropy,
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int | None = None,
    validation: tuple[Any, ...] | float | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    schedule: LRScheduler | None = None,
    metrics: Metrics = None,
    transform: Function | None = None,
    augment: Function | None = None,
    seed: int = 0,
    shuffle: bool = True,
    callbacks: Sequence[Callback] = (),
    jit: bool | str = True,
    progress: bool = True,
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Train a model on the rows of X and y, and return the `History`.

    Everything is checked before the first weight changes. Afterwards each module is in the mode, training or
    evaluation, in which it was found. Ctrl-C ends the training after the step that is running, a second one at once.

    Args:
        model: takes inputs (N, ...), which come in the dtype of its parameters.
        X, y: arrays, DataFrames or ``np.memmap``, a row for each sample. Only a batch at a time is copied.
        loss: a function of (outputs, targets) that returns one number, or the name of one in `functional`.
        optimizer: built on the model's parameters. None: that of the schedule, or `Adam` with its defaults.
        epochs: passes through the data.
        batch_size: rows a step; the last step of an epoch may have fewer. None: 128. If there are fewer: all.
        validation: ``(X, y)`` or ``(X, y, sample_weight)``, or the share of the rows, the last ones as they stand, that
            is kept for it: shuffle rows that are sorted first.
        class_weight, sample_weight: how much classes and rows count in the loss, here and in validation: a dict from
            labels, an array (C,) or "balanced", by which each class counts the same; an array (N,). Their product is
            given a mean of 1 over the rows, so that the learning rate keeps its meaning, and a step's loss is the mean
            of weight times loss. The loss is called with ``reduction="none"``.
        schedule: sets the learning rate after each step, or epoch, and is told how many steps there will be, so that
            ``optim.OneCycleLR(optimizer, 0.1)`` needs no ``total_steps``.
        metrics: names, such as "accuracy", or functions of (outputs, targets) by their names; each is called once an
            epoch, with the arrays of all rows. None: accuracy where the targets are integer classes.
        transform: is applied to each batch of X, in validation too, as in ``transform=tg.scale_pixels``.
        augment: ``augment(xb, rng)`` is applied to each batch that is trained on, after ``transform``.
        seed: of the order of the rows and of ``augment``. The same seed gives the same digits.
        shuffle: whether rows come in another order in each epoch, or as they stand.
        callbacks: a list, such as ``[tg.callbacks.EarlyStopping()]``; see `callbacks`. Their ``on_train_end`` is called
            in reverse order, as ``with`` statements end.
        jit: run each step as a program, to the same digits. A model or loss that cannot be one, because it needs the
            value of a Tensor or changes something of its own, is trained eagerly, after a warning that says why.
            "numba" runs it as loops in machine code, to the same digits but for rounding (needs the extra ``native``).
        progress: print a row an epoch; on a terminal show a bar, if tqdm is installed.
        resume: a file that `callbacks.Checkpoint` wrote in a call like this one, with the same data and options, from
            which the training goes on to the same bits, history and callbacks included, as if nothing had been between.
            ``epochs`` may be more; other rows, another loss or another model are refused. With
            ``resume=tg.latest("run.npz")`` it begins anew if there is none.

    Raises:
        CheckpointError: ``resume`` is damaged, or not of such a training; nothing has changed.
        TypeError, ValueError: something does not fit; the message has what was expected, or the nearest name.
        ImportError: ``jit="numba"``, and Numba or SciPy is not installed.
        NonFiniteError: a FloatingPointError, the loss is NaN or infinite: with epoch, step, learning rate and the
            first layer that is not finite; or a gradient is, or a buffer. The model is as it was before that step,
            running statistics and Generators included; ``error.history`` has the epochs before.
    """
    samples, held = _check_data(model, X, y, validation, transform, (class_weight, sample_weight))
    batch_size = _check_sizes(model, samples, epochs, batch_size)
    loss = find("loss", loss, LOSSES)
    resolved = _rehearse_all(model, filter(None, (samples, held)), loss, metrics)
    samples.warn_of_pixels()
    optimizer = _check_optimizer(model, optimizer, schedule)
    columns, steps_per_epoch = _columns(resolved, held), -(-len(samples) // batch_size)
    _check_schedule(schedule, epochs, steps_per_epoch)
    order, own = as_generator(seed, "seed"), _check_callbacks(callbacks)
    if augment is not None:
        check_function("augment", augment, "augment(xb, rng)", 2)
    run = Run(model, optimizer, schedule, History(), columns, epochs, steps_per_epoch)
    options = {"batch_size": batch_size, "shuffle": shuffle, "columns": columns}
    settings = _settings(model, samples, options, loss=loss, transform=transform, augment=augment)
    training = Training(run, order, settings, own, [loss, resolved, transform, augment])
    training.resume(resume)
    steps, listeners = _make_steps(model, samples.weigh(loss), optimizer, jit), own + [Progress()] * bool(progress)
    with in_mode(model, training=True), _interruptible(run), _listening(run, listeners):
        training.resume_callbacks()
        while run.history.stopped is None and (run.position or run.epoch < epochs):
            training.begin_epoch(listeners)
            shuffled = training.order if shuffle else None
            batches = _batches(samples, optimizer, batch_size, shuffled, augment, training.rng, run.position)
            row = _train_epoch(run, batches, steps, resolved, listeners)
            row |= {} if held is None else _validate(run, held, loss, resolved)
            _end_epoch(run, row, listeners)
    return run.history


def _check_data(
    model: Module, X: Any, y: Any, validation: Any, transform: Function | None, weights: tuple[Any, Any]
) -> tuple[Samples, Samples | None]:
    """Return the samples to train on, and those kept for validation."""
    samples = Samples(model, X, y, transform, "", weights)
    if validation is None:
        return samples, None
    if isinstance(validation, (tuple, list)) and len(validation) in (2, 3):
        held_X, held_y, weight = [*validation, None][:3]
        return samples, Samples(model, held_X, held_y, transform, "validation ", (weights[0], weight))
    if not isinstance(validation, float) or not 0 < validation < 1:
        raise OptionError(f"validation must be (X, y), or a share of the rows in (0, 1), got {describe(validation)}")
    first = len(samples) - max(1, round(validation * len(samples)))
    if first == 0:
        raise out_of_range("validation", validation, f"a share that leaves rows to train on, of {len(samples)}")
    return samples.part(slice(first)), samples.part(slice(first, None), "validation ")


def _check_sizes(model: Module, samples: Samples, epochs: Any, batch_size: Any) -> int:
    """Return the batch size, once it and the number of epochs are found to be possible."""
    check_integer("epochs", epochs)
    count = len(samples)
    size = min(check_integer("batch_size", BATCH_SIZE if batch_size is None else batch_size), count)
    single = (count % size or size) == 1 and samples.X.ndim == 2
    if single and (needy := [type(module).__name__ for module in model.modules() if module.needs_several_rows]):
        raise out_of_range("batch_size", size, f"one that leaves no single row of {count}, for {needy[0]}")
    return size


def _rehearse_all(model: Module, parts: Iterable[Samples], loss: Function, metrics: Metrics) -> dict[str, Function]:
    """Try everything on a few rows of each part of the data, and return the metrics by name."""
    called = _Called()
    with tracing(called, "fit") if mode.tracer is IDLE else nullcontext():
        for part in parts:
            resolved = _rehearse(model, part, loss, metrics)
    _warn_of_unknown(called.modules, model)
    return resolved


def _rehearse(model: Module, samples: Samples, loss: Function, metrics: Metrics) -> dict[str, Function]:
    """Return the metrics as functions by name, once model, loss and metrics are found to take the samples."""
    outputs, name = samples.part(slice(BATCH_SIZE)).outputs(model), f"{samples.name}y"
    samples.prepare(loss, outputs)
    y, by_row = samples.y, samples.weigh(loss)
    first = y[: len(outputs)]
    _check_targets(loss, outputs, y, name)
    _try_loss(by_row, outputs, samples.targets(slice(len(outputs))), name)
    found = find_metrics(metrics, outputs, first)
    if np.isfinite(outputs).all():  # or the first step will say what is wrong
        metrics_of(found, outputs, first)
    if y.ndim == 1:  # the labels that could be out of range, and one with a fraction
        for row in {int(y.argmin()), int(y.argmax()), int((y % 1 != 0).argmax())}:
            _try_loss(by_row, outputs[:1], samples.targets(slice(row, row + 1)), f"{name}, row {row}")
    return found


def _check_targets(loss: Function, outputs: Array, y: Array, name: str) -> None:
    """Raise DataError for the first row of targets that the loss does not take, as far as it says what it does."""
    kind, first = targets_of(loss), y[: len(outputs)]
    if kind == "shares":
        bad = ((y < 0) | (y > 1)).reshape(len(y), -1).any(axis=1)
        takes = "binary cross entropy takes targets from 0 to 1"
        hint = "use 0 and 1 for the two classes, or loss='cross_entropy' for more"
    elif kind == "labels or distributions" and first.ndim == 2 and first.shape == outputs.shape:
        bad = (first < 0).any(axis=1) | (np.abs(first.sum(axis=1, dtype=float) - 1) > 1e-3)
        takes = "cross_entropy takes labels or rows of probabilities, >= 0 and 1 in sum"
        hint = "use loss='mse_loss' for regression, 'binary_cross_entropy_with_logits' for several labels at once"
    else:
        return
    if bad.any():
        row = bad.argmax()
        raise DataError(f"{name}, row {row}: {takes}, got {describe(y[row].tolist())}; {hint}")


def _try_loss(loss: Function, outputs: Array, targets: tuple[Array, ...], name: str) -> None:
    try:
        loss_of(loss, outputs, targets)
    except ShapeError:
        raise
    except ValueError as error:
        message = str(error) if len(targets[0]) > 1 else str(error).replace("labels[0]", "the label")
        raise DataError(f"{name}: {message}") from error


class _Called(Tracer):
    """The tracer that notes which modules are called."""

    def __init__(self) -> None:
        self.modules: dict[Module, None] = {}

    def calls(self, module: Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        self.modules[module] = None
        return super().calls(module, inputs, keywords)


def _warn_of_unknown(called: Iterable[Module], model: Module) -> None:
    for module in set(called) - set(model.modules()):
        if any(parameter.requires_grad for parameter in module.parameters()):
            warn(
                f"{module!r} is used but is no part of the model, so it will neither learn nor be saved; make it an "
                "attribute of a module, or put modules that stand in a list or dict into nn.Sequential"
            )


def _check_optimizer(model: Module, optimizer: Any, schedule: Any) -> Optimizer:
    if schedule is not None:
        check_kind(
            "schedule", schedule, LRScheduler, "an LRScheduler, such as optim.CosineAnnealingLR(optimizer, T_max=100)"
        )
    if optimizer is None:
        optimizer = Adam(model.parameters()) if schedule is None else schedule.optimizer
    check_kind("optimizer", optimizer, Optimizer, "one, such as optim.Adam(model.parameters())")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("the schedule belongs to another optimizer; build it on the one that is passed")
    own = set(model.parameters())
    if not any(parameter in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError("the optimizer has no parameter of this model; build it on model.parameters()")
    return optimizer


def _check_schedule(schedule: LRScheduler | None, epochs: int, steps_per_epoch: int) -> None:
    """Tell a schedule how many steps there will be; raise OptionError if it would come to its end before them."""
    if schedule is None:
        return
    steps = epochs * steps_per_epoch
    schedule.size(steps)
    if schedule.ends and schedule.last_step + steps > (last := getattr(schedule, schedule.total)):
        raise OptionError(
            f"the schedule ends after {schedule.total}={last}, of which {schedule.last_step} are over, and "
            f"{epochs} epochs of {steps_per_epoch} steps are {steps}; build it with {schedule.total}={steps}"
        )


def _check_callbacks(callbacks: Iterable[Callback]) -> list[Any]:
    if not isinstance(callbacks, Iterable):
        got = type(callbacks).__name__
        raise TypeError(f"callbacks must be a list, got one {got}; write callbacks=[...], or leave it out")
    callbacks = list(callbacks)
    for i, callback in enumerate(callbacks):
        check_kind(f"callbacks[{i}]", callback, Callback, "a Callback, such as tg.callbacks.EarlyStopping()")
        for name in dir(type(callback)):
            if name in vars(Callback) and name.startswith("on_"):
                check_function(f"callbacks[{i}].{name}", getattr(callback, name), f"{name}(run)", 1)
            elif name.startswith("on_") and not hasattr(Callback, name):
                hooks = [hook for hook in dir(Callback) if hook.startswith("on_")]
                raise TypeError(f"nothing calls {name} of callbacks[{i}]; {nearest(name, hooks)}")
    return callbacks


def _columns(metrics: Iterable[str], held: Samples | None) -> list[str]:
    """Return the names that each row of the history will have."""
    scores = ["loss", *metrics]
    validation = [] if held is None else [f"validation_{name}" for name in scores]
    return ["epoch", "step", *scores, *validation, "lr", "seconds", "samples_per_second"]


def _settings(model: Module, samples: Samples, options: dict[str, Any], **functions: Any) -> dict[str, Any]:
    """Return what a training that is resumed must have in common with the one before, functions by their names."""
    check_flag("shuffle", options["shuffle"])
    kinds = {f"module {path!r}": type(module).__name__ for path, module in model.named_modules() if path}
    names = {name: describe(function) for name, function in functions.items()}
    return {"rows": len(samples), **options, "a checksum of the data": samples.mark(), **kinds, **names}


def _make_steps(model: Module, loss_of: Function, optimizer: Optimizer, jit: bool | str) -> tuple[Function, Function]:
    """Return the two halves of a training step; between them, its loss is read.

    So a step whose loss is not finite changes no weight, and the layer that made it can still be found.
    """

    def forward_backward(x: Any, *targets: Any) -> Any:
        outputs = model(x)
        loss = loss_of(outputs, *targets)
        optimizer.zero_grad()
        loss.backward()
        return loss, outputs

    def update() -> None:
        optimizer.step()

    if not jit:
        return forward_backward, update
    backend = jit if isinstance(jit, str) else "numpy"
    return Jitted(forward_backward, strict=False, backend=backend), Jitted(update, strict=False, backend=backend)


def _batches(
    samples: Samples,
    optimizer: Optimizer,
    batch_size: int,
    order: np.random.Generator | None,
    augment: Function | None,
    rng: np.random.Generator,
    first: int,
) -> Iterator[tuple[Array, tuple[Array, ...]]]:
    """Yield the batches of an epoch, from the first one on, as the model and the loss get them."""
    for numbers in islice(batch_numbers(len(samples), batch_size, order), first, None):
        at = optimizer.part(numbers)
        xb = samples.batch(at)
        if augment is not None:
            xb = as_batch("augment", augment(xb, rng), len(at)).astype(samples.dtype, copy=False)
        yield xb, samples.targets(at)


def _train_epoch(
    run: Run, batches: Iterable[Any], steps: Sequence[Function], metrics: dict[str, Function], listeners: list[Any]
) -> dict[str, Any]:
    """Train for an epoch, or until somebody stops it; return its row, with loss and metrics measured while learning."""
    forward_backward, update = steps
    group, so_far, keep = run.optimizer.param_groups[0], run.so_far, keeper(run.model)
    buffers = finite_buffers(run.model)
    start = perf_counter() - so_far["seconds"]
    for xb, (yb, *weights) in batches:
        put_back = keep()
        loss, outputs = forward_backward(wrap(xb), wrap(yb), *map(wrap, weights))
        run.loss, run.lr, run.step = loss.item(), group["lr"], run.step + 1
        run.history.lr.append(run.lr)
        if (what := find_not_finite(run, buffers)) is not None:
            run.optimizer.zero_grad()
            put_back()
            raise explained(run, what[0], xb, what[1])
        update()
        run.position += 1
        so_far["losses"], so_far["count"] = so_far["losses"] + run.loss * len(yb), so_far["count"] + len(yb)
        if metrics:
            so_far["outputs"].append(outputs.detach().numpy())
            so_far["targets"].append(yb)
        so_far["seconds"] = perf_counter() - start
        for listener in listeners:
            listener.on_batch_end(run)
        if run.schedule is not None and not run.schedule.by_epoch:
            run.schedule.step()
        run.settle()
        if run.history.stopped is not None:
            break
    run.optimizer.agree(run.model.buffers())
    scores = metrics_of(metrics, *(np.concatenate(so_far[name]) for name in ("outputs", "targets"))) if metrics else {}
    seconds = perf_counter() - start
    pace = {"lr": run.lr, "seconds": seconds, "samples_per_second": so_far["count"] / seconds}
    return {"epoch": run.epoch, "step": run.step, "loss": so_far["losses"] / so_far["count"], **scores, **pace}


def _end_epoch(run: Run, row: Mapping[str, Any], listeners: list[Any]) -> None:
    """Enter the row of an epoch into the history, and tell the callbacks."""
    run.row = {name: row[name] for name in run.columns}
    run.history.rows.append(run.row)
    run.position %= run.steps_per_epoch
    if run.schedule is not None:
        run.schedule.end_epoch(run.row)
    for listener in listeners:
        listener.on_epoch_end(run)
    run.settle()


def _validate(run: Run, held: Samples, loss: Function, metrics: dict[str, Function]) -> dict[str, float]:
    scores = held.scores(held.outputs(run.model), loss, metrics)
    if not math.isfinite(scores["loss"]):
        with in_mode(run.model, training=False):
            xb = held.batch(slice(EVALUATION_BATCH_SIZE))
            raise explained(run, scores["loss"], xb, "validation loss")
    return {f"validation_{name}": value for name, value in scores.items()}


@contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """Context manager inside which Ctrl-C asks a run to stop, so that no step is torn; the next one raises.

    It stays out of the way of a handler that somebody else has installed, and of threads, which get no signals.
    """
    usual = signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return

    def ask(*_: Any) -> None:
        signal.signal(signal.SIGINT, usual)
        run.asked = "interrupted"

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@contextmanager
def _listening(run: Run, listeners: Iterable[Any]) -> Iterator[None]:
    """Context manager that tells callbacks of the begin and, whatever happens, of the end."""
    with ExitStack() as stack:
        for listener in listeners:
            listener.on_train_begin(run)
            stack.callback(listener.on_train_end, run)
        yield
