"""What a trained model gives and how good it is: `predict`, `predict_proba` and `evaluate`."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np

from ..checks import Array, as_array, check_function, check_integer, check_kind
from ..core.autograd import no_grad
from ..core.tensor import Tensor, wrap
from ..core.tracer import Tracer, settings
from ..errors import DataError, OptionError, ShapeError, describe, nearest, warn
from ..foreign import answers
from ..nn import functional as F
from ..nn.losses import TARGETS
from ..nn.module import Module
from .data import check_rows, rows, select
from .metrics import accuracy
from .weights import row_weights, weighted

Function = Callable[..., Any]
Metrics = Mapping[str, "Function | str"] | Iterable[str] | None

EVALUATION_BATCH_SIZE = 1000
LOSSES: dict[str, Function] = {loss.__name__: loss for losses in TARGETS.values() for loss in losses}
METRICS: dict[str, Function] = {"accuracy": accuracy, **LOSSES}
RESERVED = ("epoch", "step", "loss", "lr", "seconds", "samples_per_second")


@answers
def evaluate(
    model: Module,
    X: Any,
    y: Any,
    *,
    loss: Function | str = F.cross_entropy,
    metrics: Metrics = None,
    batch_size: int = EVALUATION_BATCH_SIZE,
    transform: Function | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a model, each computed once, on all rows.

    Arguments and errors are those of `fit`; the model works in evaluation mode.

    Args:
        model: what is evaluated.
        X, y: a row for each sample.
        loss: a function of (outputs, targets), or the name of one in `functional`.
        metrics: names or functions by their names.
        batch_size: how many rows the model gets at a time.
        transform: what becomes of the inputs of a batch first.
        class_weight, sample_weight: count in the loss; metrics count every row once.

    >>> from tinygrad_mlp import nn
    >>> evaluate(nn.MLP([2, 3], rng=0), np.zeros((4, 2)), np.zeros(4, int))
    {'loss': 1.0986123085021973, 'accuracy': 1.0}
    """
    check_integer("batch_size", batch_size)
    samples = Samples(model, X, y, transform, "", (class_weight, sample_weight))
    samples.warn_of_pixels()
    outputs, loss = samples.outputs(model, batch_size), find("loss", loss, LOSSES)
    samples.prepare(loss, outputs)
    return samples.scores(outputs, loss, find_metrics(metrics, outputs, samples.y))


@answers
def predict(
    model: Module, X: Any, *, batch_size: int = EVALUATION_BATCH_SIZE, transform: Function | None = None
) -> Array:
    """Return what a model gives for each row of X, as an array; ``predict(model, X).argmax(axis=1)`` are classes.

    The model works on ``batch_size`` rows at a time, after the ``transform``, in evaluation mode, without recording a
    graph. Each module is left in the mode in which it was found. Errors as `fit`.

    >>> from tinygrad_mlp import nn
    >>> predict(nn.MLP([2, 3], rng=0), np.zeros((4, 2))).shape
    (4, 3)
    """
    check_integer("batch_size", batch_size)
    inputs = Inputs(model, X, transform)
    inputs.warn_of_pixels()
    return inputs.outputs(model, batch_size)


@answers
def predict_proba(
    model: Module, X: Any, *, batch_size: int = EVALUATION_BATCH_SIZE, transform: Function | None = None
) -> Array:
    """Return the probabilities of the classes (N, C) for a model whose outputs are logits (N, C): their softmax.

    A single column of logits, as `functional.binary_cross_entropy_with_logits` trains it, becomes its sigmoid, the
    probability of class 1. ``model``, ``X``, ``batch_size``, ``transform`` and errors are those of `predict`.

    >>> from tinygrad_mlp import nn
    >>> predict_proba(nn.MLP([2, 3], rng=0), np.zeros((4, 2)))[0].round(3)
    array([0.333, 0.333, 0.333], dtype=float32)
    """
    logits = predict(model, X, batch_size=batch_size, transform=transform)
    if logits.ndim != 2:
        raise ShapeError(f"the model returned outputs of shape {logits.shape}; expected logits (N, C)")
    probabilities: Array = F.sigmoid(logits) if logits.shape[1] == 1 else F.softmax(logits, 1)
    return probabilities


def _read_only(value: Any) -> Any:
    """Return an array as one that no model, loss or metric can change: it is the caller's."""
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


class Inputs:
    """Rows that are checked once, and of which a model gets a batch at a time; ``name`` is what stands before X."""

    def __init__(self, model: Module, X: Any, transform: Function | None, name: str = "") -> None:
        check_kind("model", model, Module, "a Module, such as nn.MLP([4, 16, 3])")
        if transform is not None:
            check_function("transform", transform, "transform(xb)", 1)
        self.X, self.transform, self.name = _read_only(check_rows(X, f"{name}X")), transform, name
        self.dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))

    def __len__(self) -> int:
        return len(self.X)

    def batch(self, where: Any) -> Array:
        """Return rows of X, those of a slice or of some numbers, as the model gets them."""
        xb = rows(self.X, where)
        if self.transform is not None:
            own = xb.copy() if isinstance(where, slice) else xb  # a transform may write into it
            xb = as_batch("transform", self.transform(own), len(xb))
        return xb.astype(self.dtype, copy=False)

    def outputs(self, model: Module, batch_size: int = EVALUATION_BATCH_SIZE) -> Array:
        """Return the model's outputs for all rows, in evaluation mode."""
        parts = []
        with in_mode(model, training=False), no_grad():
            for start in range(0, len(self), batch_size):
                xb = self.batch(slice(start, start + batch_size))
                part = model(xb)
                if not isinstance(part, Tensor) or part.shape[:1] != xb.shape[:1]:
                    hint = "for a single sample pass X[:1]" if xb.ndim == 1 else "return what layers and ops give"
                    raise ShapeError(
                        f"the model returned {kind_of(part)} for {len(xb)} rows; "
                        f"expected a Tensor, a row for each; {hint}"
                    )
                parts.append(part.numpy())
        return np.concatenate(parts)

    def warn_of_pixels(self) -> None:
        """Warn, on behalf of the function that a user has called, of whole numbers that look like pixels."""
        block = rows(self.X, slice(EVALUATION_BATCH_SIZE))
        if self.transform is None and block.min() >= 0 and 127 < block.max() <= 255 and not (block % 1).any():
            warn(
                f"X holds whole numbers up to {block.max():g}, which look like pixels that are not scaled; "
                "pass transform=tg.scale_pixels, or another transform that says how they are meant"
            )


class Samples(Inputs):
    """Inputs with a target for each, and maybe a weight."""

    def __init__(
        self,
        model: Module,
        X: Any,
        y: Any,
        transform: Function | None,
        name: str = "",
        weights: tuple[Any, Any] = (None, None),
    ) -> None:
        super().__init__(model, X, transform, name)
        self.y = _read_only(as_array(check_rows(y, f"{name}y")))
        if len(self.X) != len(self.y):
            expected = "expected a target for each row"
            raise ShapeError(f"{name}X has {len(self.X)} rows and {name}y has {len(self.y)}; {expected}")
        self.weights = row_weights(self.y, *weights, name)

    def part(self, where: slice, name: str = "") -> Samples:
        """Return some of the samples, not copied."""
        part = copy(self)
        part.X, part.y, part.name = select(self.X, where), self.y[where], name
        part.weights = None if self.weights is None else self.weights[where]
        return part

    def mark(self) -> int:
        """Return a number that other data would hardly give, made of the weights and some of the rows."""
        some = np.linspace(0, len(self) - 1, min(len(self), 100)).astype(int)
        parts = [rows(self.X, some), self.y[some], *([] if self.weights is None else [self.weights[some]])]
        return zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))

    def prepare(self, loss: Function, outputs: Array) -> None:
        """Give the weights a mean of 1, and y the shape of a single output, unless the loss takes it as it is."""
        if self.weights is not None:
            if not self.weights.any():
                raise DataError(f"the weights of all rows of {self.name}X are 0; give some of them a weight")
            self.weights = self.weights / self.weights.mean()
        if self.y.ndim == 1 and outputs.shape[1:] == (1,):
            self.y = min(self.y, self.y[:, None], key=lambda y: self._misfit(y, loss, outputs))

    def _misfit(self, y: Array, loss: Function, outputs: Array) -> int:
        """Return how ill targets by their shape suit a loss: 1 if it compares each row with each, 2 if it refuses."""
        part, watch = copy(self), _Pairs()
        part.y = y
        try:
            with settings(tracer=watch):
                loss_of(part.weigh(loss), outputs[: watch.rows], part.targets(slice(watch.rows)))
        except DataError:  # of the values, not of their shape
            return 0
        except (ValueError, IndexError):
            return 2
        return int(watch.found)

    def weigh(self, loss: Function) -> Function:
        """Return the loss as a function of outputs and `targets`."""
        return loss if self.weights is None else weighted(loss)

    def targets(self, where: Any = slice(None)) -> tuple[Array, ...]:
        """Return rows of y, and their weights if there are any, as the loss gets them: integers stay what they are."""
        yb = self.y[where]
        yb = yb.astype(self.dtype, copy=False) if yb.dtype.kind == "f" else yb
        return (yb,) if self.weights is None else (yb, self.weights[where].astype(self.dtype))

    def scores(self, outputs: Array, loss: Function, metrics: Mapping[str, Function]) -> dict[str, float]:
        """Return the loss of outputs, and each metric."""
        return {"loss": loss_of(self.weigh(loss), outputs, self.targets()), **metrics_of(metrics, outputs, self.y)}


class _Pairs(Tracer):
    """The tracer that finds out whether something has an entry for each pair of ``rows``."""

    rows = 3  # of two, a column beside another would look like it
    found = False

    def op(self, rule: Any, inputs: Any, keywords: Any, result: Tensor) -> None:
        self.found |= result.shape[:2] == (self.rows, self.rows)


def kind_of(value: Any) -> str:
    """Return what a function has given, as an error says it."""
    return f"an array, {describe(value)}" if isinstance(value, np.ndarray) else describe(value)


def as_batch(what: str, value: Any, count: int) -> Array:
    """Return what a function of the user has made of a batch, once it is found to have as many rows."""
    batch = as_array(value)
    if batch.shape[:1] != (count,):
        raise ShapeError(f"{what} returned {describe(value)} for {count} rows; expected as many, an array")
    return batch


def loss_of(loss: Function, outputs: Array, targets: tuple[Array, ...]) -> float:
    """Return the loss of outputs."""
    with no_grad():
        value = loss(wrap(outputs), *targets)
    if not isinstance(value, Tensor) or value.size != 1:
        raise ShapeError(f"the loss returned {kind_of(value)}; expected one number, a Tensor: reduction='mean'")
    return float(value.item())


def metrics_of(metrics: Mapping[str, Function], outputs: Array, y: Array) -> dict[str, float]:
    """Return each metric of outputs."""
    scores = {name: metric(outputs, y) for name, metric in metrics.items()}
    for name, score in scores.items():
        if np.size(score) != 1 or not hasattr(score, "__float__"):
            raise ShapeError(f"the metric {name!r} returned {describe(score)}; expected one number, such as the mean")
    return {name: float(np.reshape(score, ())) for name, score in scores.items()}


def find(kind: str, value: Any, known: Mapping[str, Function]) -> Function:
    """Return a function, or the known one of that name."""
    if callable(value):
        check_function(kind, value, f"{kind}(outputs, targets)", 2)
        return value
    if not isinstance(value, str) or value not in known:
        raise OptionError(f"unknown {kind} {describe(value)}; {nearest(value, known)}; or pass a function")
    return known[value]


def find_metrics(metrics: Any, outputs: Array, y: Array) -> dict[str, Function]:
    """Return metrics as functions by name."""
    if metrics is None:
        are_classes = y.ndim == 1 and y.dtype.kind in "biu" and outputs.ndim == 2 and outputs.shape[1] > 1
        return {"accuracy": accuracy} if are_classes else {}
    if isinstance(metrics, str):
        metrics = [metrics]
    names = list(metrics) if isinstance(metrics, Iterable) else [metrics]
    if callable(metrics) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"metrics must be names, or functions by name as in {{'mae': f}}, got {describe(metrics)}")
    metrics = metrics if isinstance(metrics, Mapping) else dict(zip(names, names, strict=True))
    for name in metrics:
        if name in RESERVED or name.startswith("validation_"):
            raise OptionError(f"a metric cannot be called {name!r}, as another column is; choose another name")
    return {name: find("metric", metric, METRICS) for name, metric in metrics.items()}


@contextmanager
def in_mode(model: Module, training: bool) -> Iterator[None]:
    """Context manager inside which a model trains or evaluates; afterwards each module is as it was.

    Threads may evaluate one model at the same time: the last one that is done puts its modules back.
    """
    modules = list(model.modules())
    try:
        with _lock[0]:
            for module in modules:
                _held.setdefault(module, []).append(module.training)
            model.train(training)
        yield
    finally:
        with _lock[0]:
            for module in modules:
                module.training = _held[module].pop()
                if not _held[module]:
                    del _held[module]


_lock, _held = [threading.RLock()], {}  # type: tuple[list[Any], dict[Module, list[bool]]]
"""Of each module that is being used, the modes in which it was found, and what is locked while they change."""


def _after_fork() -> None:
    """Forget what other threads do with models, which a child process does not have."""
    _lock[0] = threading.RLock()
    for module, modes in _held.items():
        module.training = modes[0]
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
