"""Train a model in one call, score it, predict with it.

>>> import tinygrad_mlp as tg
>>> from tinygrad_mlp import functional as F, nn, optim
>>> X = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
>>> y = (X[:, 0] * X[:, 1] > 0).astype(int)  # the XOR of two signs
>>> model = nn.MLP([2, 16, 2], rng=0)
>>> optimizer = optim.Adam(model.parameters(), lr=0.01)
>>> history = fit(model, X, y, optimizer=optimizer, epochs=20, batch_size=32, progress=False)
>>> evaluate(model, X, y)["accuracy"] > 0.95
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

import functools
import inspect
import math
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ..checks import Array, as_array, check_integer
from ..core.autograd import no_grad
from ..core.graph import wrap
from ..core.tensor import Tensor
from ..core.tracer import IDLE, Tracer, mode, tracing
from ..errors import (
    DataError,
    NonFiniteError,
    OptionError,
    RecordingError,
    ShapeError,
    describe,
    nearest,
    out_of_range,
)
from ..jit import jit as compiled
from ..nn import functional as F
from ..nn.layers import BatchNorm1d
from ..nn.module import Module
from ..nn.optim import Adam, LRScheduler, Optimizer
from ..tools.anomaly import not_finite
from ..tools.summary import unchanged
from .callbacks import Callback, Run
from .data import check_rows, minibatches, rows
from .metrics import accuracy
from .progress import Progress, heading, line

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["History", "evaluate", "fit", "predict", "predict_proba"]

Function = Callable[..., Any]
Metrics = Mapping[str, "Function | str"] | Iterable[str] | None
Pair = tuple[Any, Any]
Called = TypeVar("Called", bound=Function)

BATCH_SIZE, EVALUATION_BATCH_SIZE = 128, 1000
ELEMENTWISE_LOSSES = (F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.huber_loss, F.l1_loss, F.mse_loss)
LOSSES: dict[str, Function] = {f.__name__: f for f in (F.cross_entropy, F.nll_loss, *ELEMENTWISE_LOSSES)}
METRICS: dict[str, Function] = {"accuracy": accuracy, **LOSSES}
RESERVED = ("epoch", "step", "loss", "lr", "seconds", "samples_per_second")


class History:
    """What `fit` returns: a row an epoch, and why it stopped.

    Attributes:
        rows: dicts with the keys epoch, step (steps so far), loss, the metrics, validation_loss, validation_<metric>,
            lr (of the last step), seconds and samples_per_second (of the steps alone, without validation). Loss and
            metrics are those while learning; the loss is the mean over the rows.
        stopped: why the training ended before its last epoch, "interrupted" for Ctrl-C; None if it did not.

    ``print`` shows it as text, a notebook as a table.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.stopped: str | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows to a CSV file, with every digit."""
        self.frame.to_csv(path, index=False)

    def __repr__(self) -> str:
        lines = [heading(self.rows[0]), *map(line, self.rows)] if self.rows else ["no epochs"]
        return "\n".join([*lines, f"stopped: {self.stopped}"] if self.stopped else lines)

    def _repr_html_(self) -> str:
        import html

        reason = f"<p>stopped: {html.escape(self.stopped)}</p>" if self.stopped else ""
        return str(self.frame.to_html(index=False)) + reason


class _Task(NamedTuple):
    """What training and evaluation do alike with the rows that they get."""

    model: Module
    loss: Function
    transform: Function | None
    dtype: np.dtype[Any]
    metrics: dict[str, Function]

    def inputs(self, xb: Any) -> Array:
        """Return a batch as the model gets it."""
        return as_array(xb if self.transform is None else self.transform(xb)).astype(self.dtype, copy=False)

    def targets(self, yb: Array) -> Array:
        """Return targets as the loss gets them: integers stay what they are."""
        return yb.astype(self.dtype, copy=False) if yb.dtype.kind == "f" else yb

    def outputs(self, X: Any, batch_size: int = EVALUATION_BATCH_SIZE) -> Array:
        """Return the model's outputs for all rows, in evaluation mode."""
        parts = []
        with _in_mode(self.model, training=False), no_grad():
            for start in range(0, len(X), batch_size):
                xb = self.inputs(rows(X, start, start + batch_size))
                part = self.model(xb)
                if not isinstance(part, Tensor) or part.shape[:1] != xb.shape[:1]:
                    hint = "; for a single sample pass X[:1]" if xb.ndim == 1 else ""
                    raise ShapeError(
                        f"the model returned {describe(part)} for {len(xb)} rows; expected a row for each{hint}"
                    )
                parts.append(part.numpy())
        return np.concatenate(parts)

    def loss_of(self, outputs: Array, y: Array) -> float:
        """Return the loss of outputs."""
        with no_grad():
            value = self.loss(wrap(outputs), self.targets(y))
        if not isinstance(value, Tensor) or value.size != 1:
            raise ShapeError(f"the loss returned {describe(value)}; expected one number, a Tensor: reduction='mean'")
        return float(value.item())

    def metrics_of(self, outputs: Array, y: Array) -> dict[str, float]:
        """Return each metric of outputs."""
        return {name: float(metric(outputs, y)) for name, metric in self.metrics.items()}


def _suggests_names(function: Called) -> Called:
    """Make a function answer an unknown keyword with the nearest name that it has."""
    names = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in names:
                raise TypeError(f"{function.__name__}() has no option {name!r}; {nearest(name, names)}")
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


@_suggests_names
def fit(
    model: Module,
    X: Any,
    y: Any,
    *,
    loss: Function | str = F.cross_entropy,
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int | None = None,
    validation: Pair | float | None = None,
    schedule: LRScheduler | None = None,
    metrics: Metrics = None,
    transform: Function | None = None,
    augment: Function | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    jit: bool = True,
    progress: bool = True,
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
        batch_size: rows a step; the last step of an epoch may have fewer. None: 128, or all if there are fewer.
        validation: ``(X, y)``, or the share of the rows, the last ones as they stand, that is kept for it: shuffle rows
            that are sorted first.
        schedule: sets the learning rate after each step.
        metrics: names, such as "accuracy", or functions of (outputs, targets) by their names; each is called once an
            epoch, with the arrays of all rows. None: accuracy where the targets are integer classes.
        transform: is applied to each batch of X, in validation too, as in ``transform=tg.scale_pixels``.
        augment: ``augment(xb, rng)`` is applied to each batch that is trained on, after ``transform``.
        seed: of the order of the rows and of ``augment``. The same seed gives the same digits.
        callbacks: a list, such as ``[tg.callbacks.EarlyStopping()]``; see `callbacks`. Their ``on_train_end`` is called
            in reverse order, as ``with`` statements end.
        jit: run each step as a program, to the same digits. False for a model or loss that cannot be recorded, because
            it needs the value of a Tensor: a RecordingError says so.
        progress: print a row an epoch; on a terminal show a bar, if tqdm is installed.

    Raises:
        TypeError, ValueError: something does not fit; the message has what was expected, or the nearest name.
        NonFiniteError: a FloatingPointError, the loss is NaN or infinite: with epoch, step, learning rate and the
            first layer that is not finite. That step has changed no weight; ``error.history`` has the epochs before.
    """
    train, held = _check_data(X, y, validation)
    batch_size = _check_sizes(model, train[0], epochs, batch_size)
    called = _Called()
    with tracing(called, "fit") if mode.tracer is IDLE else nullcontext():
        task = _rehearsed(_task(model, loss, transform), metrics, train, held)
    _warn_of_unknown(called.modules, model)
    _warn_of_pixels(train[0], transform)
    optimizer = _check_optimizer(model, optimizer, schedule)
    listeners = _check_callbacks(callbacks) + [Progress()] * bool(progress)
    columns, steps_per_epoch = _columns(task, held), -(-len(train[0]) // batch_size)
    run = Run(model, optimizer, schedule, History(), columns, epochs, steps_per_epoch)
    order = np.random.default_rng(seed)
    (rng,) = order.spawn(1)  # which leaves the order what it is without augmentation
    steps = _make_steps(task, optimizer, jit)
    with _in_mode(model, training=True), _interruptible(run), _listening(run, listeners):
        while run.epoch < epochs and run.history.stopped is None:
            run.epoch += 1
            batches = _batches(task, *train, batch_size, order, augment, rng)
            row = _train_epoch(run, task, batches, steps, listeners)
            row |= {} if held is None else _validate(run, task, *held)
            run.row = {name: row[name] for name in columns}
            run.history.rows.append(run.row)
            for listener in listeners:
                listener.on_epoch_end(run)
    return run.history


@_suggests_names
def evaluate(
    model: Module,
    X: Any,
    y: Any,
    *,
    loss: Function | str = F.cross_entropy,
    metrics: Metrics = None,
    batch_size: int = EVALUATION_BATCH_SIZE,
    transform: Function | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a model, each computed once, on all rows.

    Arguments and errors as `fit`; the model works on ``batch_size`` rows at a time, in evaluation mode.

    >>> from tinygrad_mlp import nn
    >>> evaluate(nn.MLP([2, 3], rng=0), np.zeros((4, 2)), np.zeros(4, int))
    {'loss': 1.0986123085021973, 'accuracy': 1.0}
    """
    check_integer("batch_size", batch_size)
    X, y = _check_pair(X, y)
    task = _task(model, loss, transform)
    _warn_of_pixels(X, transform)
    outputs, targets = task.outputs(X, batch_size), as_array(y)
    task = task._replace(metrics=_resolved(metrics, outputs, targets))
    return {"loss": task.loss_of(outputs, targets), **task.metrics_of(outputs, targets)}


@_suggests_names
def predict(
    model: Module, X: Any, *, batch_size: int = EVALUATION_BATCH_SIZE, transform: Function | None = None
) -> Array:
    """Return what a model gives for each row of X, as an array; ``predict(model, X).argmax(axis=1)`` are classes.

    The model works on ``batch_size`` rows at a time, in evaluation mode, without recording a graph. Each module is
    left in the mode in which it was found. Errors as `fit`.

    >>> from tinygrad_mlp import nn
    >>> predict(nn.MLP([2, 3], rng=0), np.zeros((4, 2))).shape
    (4, 3)
    """
    check_integer("batch_size", batch_size)
    task, X = _task(model, F.cross_entropy, transform), check_rows(X)
    _warn_of_pixels(X, transform)
    return task.outputs(X, batch_size)


@_suggests_names
def predict_proba(
    model: Module, X: Any, *, batch_size: int = EVALUATION_BATCH_SIZE, transform: Function | None = None
) -> Array:
    """Return the probabilities of the classes (N, C) for a model whose outputs are logits (N, C): their softmax.

    A single column of logits, as `functional.binary_cross_entropy_with_logits` trains it, becomes its sigmoid, the
    probability of class 1. Arguments and errors as `predict`.

    >>> from tinygrad_mlp import nn
    >>> predict_proba(nn.MLP([2, 3], rng=0), np.zeros((4, 2)))[0].round(3)
    array([0.333, 0.333, 0.333], dtype=float32)
    """
    logits = predict(model, X, batch_size=batch_size, transform=transform)
    if logits.ndim != 2:
        raise ShapeError(f"the model returned outputs of shape {logits.shape}; expected logits (N, C)")
    probabilities: Array = F.sigmoid(logits) if logits.shape[1] == 1 else F.softmax(logits, 1)
    return probabilities


def _named(kind: str, value: Any, known: Mapping[str, Function]) -> Function:
    if callable(value):
        return value
    if not isinstance(value, str) or value not in known:
        raise OptionError(f"unknown {kind} {describe(value)}; {nearest(value, known)}; or pass a function")
    return known[value]


def _task(model: Module, loss: Any, transform: Function | None) -> _Task:
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, got {describe(model)}")
    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
    return _Task(model, _named("loss", loss, LOSSES), transform, dtype, {})


def _resolved(metrics: Any, outputs: Array, y: Array) -> dict[str, Function]:
    """Return metrics as functions by name."""
    if metrics is None:
        are_classes = y.ndim == 1 and y.dtype.kind in "biu" and outputs.ndim == 2 and outputs.shape[1] > 1
        return {"accuracy": accuracy} if are_classes else {}
    if isinstance(metrics, str):
        metrics = [metrics]
    if callable(metrics):
        raise TypeError(f"metrics must be names, or functions by name as in {{'mae': f}}, got {describe(metrics)}")
    if not isinstance(metrics, Mapping):
        metrics = {name: name for name in metrics}
    for name in metrics:
        if not isinstance(name, str):
            raise TypeError(f"metrics must be names, or functions by name as in {{'mae': f}}, got {describe(name)}")
        if name in RESERVED or name.startswith("validation_"):
            raise OptionError(f"a metric cannot be called {name!r}, as another column is; choose another name")
    return {name: _named("metric", metric, METRICS) for name, metric in metrics.items()}


def _check_pair(X: Any, y: Any, name: str = "") -> Pair:
    X, y = check_rows(X, f"{name}X"), check_rows(y, f"{name}y")
    if len(X) != len(y):
        raise ShapeError(f"{name}X has {len(X)} rows and {name}y has {len(y)}; expected a target for each row")
    return X, y


def _check_data(X: Any, y: Any, validation: Any) -> tuple[Pair, Pair | None]:
    """Return the data to train on, and those kept for validation."""
    X, y = _check_pair(X, y)
    if validation is None:
        return (X, y), None
    if isinstance(validation, (tuple, list)) and len(validation) == 2:
        return (X, y), _check_pair(validation[0], validation[1], "validation ")
    if not isinstance(validation, float) or not 0 < validation < 1:
        raise OptionError(f"validation must be (X, y), or a share of the rows in (0, 1), got {describe(validation)}")
    first = len(X) - max(1, round(validation * len(X)))
    if first == 0:
        raise out_of_range("validation", validation, f"a share that leaves rows to train on, of {len(X)}")
    parts = [value.iloc if hasattr(value, "iloc") else value for value in (X, y)]
    (X, X_held), (y, y_held) = [(part[:first], part[first:]) for part in parts]
    return (X, y), (X_held, y_held)


def _check_sizes(model: Any, X: Any, epochs: Any, batch_size: Any) -> int:
    """Return the batch size, once it and the number of epochs are found to be possible."""
    check_integer("epochs", epochs)
    if batch_size is None:
        batch_size = min(BATCH_SIZE, len(X))
    batch_size = check_integer("batch_size", batch_size, 1, len(X), "the number of rows")
    last = len(X) % batch_size or batch_size
    if last == 1 and X.ndim == 2 and any(isinstance(module, BatchNorm1d) for module in model.modules()):
        raise out_of_range("batch_size", batch_size, f"one that leaves no single row of {len(X)}, for BatchNorm1d")
    return batch_size


def _rehearsed(task: _Task, metrics: Any, train: Pair, held: Pair | None) -> _Task:
    """Return the task with its metrics, once model, loss and metrics are found to take the data."""
    for name, (X, y) in zip(("y", "validation y"), [pair for pair in (train, held) if pair is not None], strict=False):
        y = as_array(y)
        outputs = task.outputs(rows(X, 0, BATCH_SIZE))
        first = y[: len(outputs)]
        if task.loss is F.cross_entropy and first.ndim == 2 and first.shape == outputs.shape:
            _check_distributions(first, name)
        _try_loss(task, outputs, first, name)
        task = task._replace(metrics=_resolved(metrics, outputs, first))
        if np.isfinite(outputs).all():  # or the first step will say what is wrong
            task.metrics_of(outputs, first)
        if y.ndim == 1:  # the labels that could be out of range, and one with a fraction
            for row in {int(y.argmin()), int(y.argmax()), int((y % 1 != 0).argmax())}:
                _try_loss(task, outputs[:1], y[row : row + 1], f"{name}, row {row}")
    return task


def _check_distributions(y: Array, name: str) -> None:
    bad = (y < 0).any(axis=1) | (np.abs(y.sum(axis=1, dtype=float) - 1) > 1e-3)
    if bad.any():
        raise DataError(
            f"{name}, row {bad.argmax()}: cross_entropy takes labels or rows of probabilities, >= 0 and 1 in sum, got "
            f"{describe(y[bad.argmax()].tolist())}; use loss='mse_loss' for regression, "
            "'binary_cross_entropy_with_logits' for several labels at once"
        )


def _try_loss(task: _Task, outputs: Array, y: Array, name: str) -> None:
    try:
        task.loss_of(outputs, y)
    except ShapeError:
        raise
    except ValueError as error:
        message = str(error) if len(y) > 1 else str(error).replace(" at position 0", "")
        raise DataError(f"{name}: {message}") from error


def _warn_of_pixels(X: Any, transform: Function | None) -> None:
    block = rows(X, 0, EVALUATION_BATCH_SIZE)
    if transform is None and block.min() >= 0 and 127 < block.max() <= 255 and not (block % 1).any():
        warnings.warn(
            f"X holds whole numbers up to {block.max():g}, which look like pixels that are not scaled; "
            "pass transform=tg.scale_pixels, or another transform that says how they are meant",
            stacklevel=4,
        )


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
            warnings.warn(
                f"{module!r} is used but is no part of the model, so it will neither learn nor be saved; make it an "
                "attribute of a module, or put modules that stand in a list or dict into nn.Sequential",
                stacklevel=4,
            )


def _check_optimizer(model: Module, optimizer: Any, schedule: Any) -> Optimizer:
    if schedule is not None and not isinstance(schedule, LRScheduler):
        raise TypeError(f"schedule must be an LRScheduler, such as optim.CosineAnnealingLR, got {describe(schedule)}")
    if optimizer is None:
        optimizer = Adam(model.parameters()) if schedule is None else schedule.optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one, such as optim.Adam(model.parameters()), got {describe(optimizer)}")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("the schedule belongs to another optimizer; build it on the one that is passed")
    own = set(model.parameters())
    if not any(parameter in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError("the optimizer has no parameter of this model; build it on model.parameters()")
    return optimizer


def _check_callbacks(callbacks: Iterable[Callback]) -> list[Any]:
    if isinstance(callbacks, Callback):
        raise TypeError(f"callbacks must be a list, got one {type(callbacks).__name__}; write callbacks=[...]")
    callbacks = list(callbacks)
    for i, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks[{i}] must be a Callback, got {describe(callback)}; pass an instance of one")
        for name in dir(type(callback)):
            if name.startswith("on_") and not hasattr(Callback, name):
                hooks = [hook for hook in dir(Callback) if hook.startswith("on_")]
                raise TypeError(f"nothing calls {name} of callbacks[{i}]; {nearest(name, hooks)}")
    return callbacks


def _columns(task: _Task, held: Pair | None) -> list[str]:
    """Return the names that each row of the history will have."""
    scores = ["loss", *task.metrics]
    validation = [] if held is None else [f"validation_{name}" for name in scores]
    return ["epoch", "step", *scores, *validation, "lr", "seconds", "samples_per_second"]


def _make_steps(task: _Task, optimizer: Optimizer, jit: bool) -> tuple[Function, Function]:
    """Return the two halves of a training step; between them, its loss is read.

    So a step whose loss is not finite changes no weight, and the layer that made it can still be found.
    """
    model, loss_of = task.model, task.loss

    def forward_backward(x: Any, targets: Any) -> Any:
        outputs = model(x)
        loss = loss_of(outputs, targets)
        optimizer.zero_grad()
        loss.backward()
        return loss, outputs

    def update() -> None:
        optimizer.step()

    return (compiled(forward_backward), compiled(update)) if jit else (forward_backward, update)


def _batches(
    task: _Task, X: Any, y: Any, batch_size: int, order: Any, augment: Function | None, rng: Any
) -> Iterator[tuple[Array, Array]]:
    """Yield the batches of an epoch as the model gets them."""
    for xb, yb in minibatches(X, y, batch_size, rng=order):
        xb = task.inputs(xb)
        if augment is not None:
            xb = as_array(augment(xb, rng)).astype(task.dtype, copy=False)
        yield xb, task.targets(yb)


def _train_epoch(
    run: Run, task: _Task, batches: Iterable[Any], steps: tuple[Function, Function], listeners: Sequence[Any]
) -> dict[str, Any]:
    """Train for an epoch, or until somebody stops it; return its row, with loss and metrics measured while learning."""
    forward_backward, update = steps
    group, kept, losses, count, start = run.optimizer.param_groups[0], [], 0.0, 0, perf_counter()
    for xb, yb in batches:
        try:
            loss, outputs = forward_backward(wrap(xb), wrap(yb))
        except RecordingError as error:
            raise RecordingError(f"{error}; or pass jit=False to fit") from error
        run.loss, run.lr, run.step = loss.item(), group["lr"], run.step + 1
        if not math.isfinite(run.loss):
            raise _non_finite(run, run.loss, xb)
        update()
        losses, count = losses + run.loss * len(yb), count + len(yb)
        if task.metrics:
            kept.append((outputs.detach().numpy(), yb))
        for listener in listeners:
            listener.on_batch_end(run)
        if run.schedule is not None:
            run.schedule.step()
        if run.history.stopped is not None:
            break
    seconds = perf_counter() - start
    metrics = task.metrics_of(*map(np.concatenate, zip(*kept, strict=True))) if kept else {}
    pace = {"lr": run.lr, "seconds": seconds, "samples_per_second": count / seconds}
    return {"epoch": run.epoch, "step": run.step, "loss": losses / count, **metrics, **pace}


def _validate(run: Run, task: _Task, X: Any, y: Any) -> dict[str, float]:
    outputs, targets = task.outputs(X), as_array(y)
    scores = {"loss": task.loss_of(outputs, targets)}
    if not math.isfinite(scores["loss"]):
        with _in_mode(run.model, training=False):
            raise _non_finite(run, scores["loss"], task.inputs(rows(X, 0, EVALUATION_BATCH_SIZE)), "validation loss")
    scores |= task.metrics_of(outputs, targets)
    return {f"validation_{name}": value for name, value in scores.items()}


def _non_finite(run: Run, value: float, xb: Array, what: str = "loss") -> NonFiniteError:
    error = NonFiniteError(
        f"epoch {run.epoch}, step {run.step}, learning rate {run.lr:g}: the {what} is {value}; "
        f"{_first_non_finite(run.model, xb)}; lower the learning rate, scale the inputs, or train inside of "
        "tg.detect_anomaly(), which names the op"
    )
    error.history = run.history
    return error


class _LayerCheck(Tracer):
    """The tracer that finds the first layer, in the order of a forward pass, with something that is not finite."""

    def __init__(self, model: Module) -> None:
        self.names = {module: name for name, module in model.named_modules()}
        self.found = ""

    def calls(self, module: Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        output = super().calls(module, inputs, keywords)
        own = [(f"its {name}", value) for name, value in vars(module).items() if isinstance(value, Tensor)]
        for label, tensor in (*own, ("its output", output)):
            if not self.found and isinstance(tensor, Tensor) and (bad := not_finite(tensor.detach().numpy())):
                self.found = f"layer {self.names[module]!r}, {module!r}, is the first not finite: {label} has {bad}"
        return output


def _first_non_finite(model: Module, xb: Array) -> str:
    """Return in words what is not finite first: the batch, or a layer's parameter or output."""
    if bad := not_finite(xb):
        return f"the batch, as transform and augment leave it, has {bad}"
    check = _LayerCheck(model)
    with unchanged(model), no_grad(), np.errstate(all="ignore"), tracing(check, "fit"):
        model(xb)
    return check.found or "every layer's parameters and output are finite, so that the loss itself is to blame"


@contextmanager
def _in_mode(model: Module, training: bool) -> Iterator[None]:
    """Context manager inside which a model trains or evaluates; afterwards each module is as it was."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


@contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """Context manager inside which Ctrl-C asks the run to stop, so that no step is torn; the next one raises.

    It stays out of the way of a handler that somebody else has installed, and of threads, which get no signals.
    """
    usual = signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return

    def ask(*_: Any) -> None:
        signal.signal(signal.SIGINT, usual)
        run.stop("interrupted")

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
