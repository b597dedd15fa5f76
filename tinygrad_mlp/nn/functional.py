"""Functions that networks are made of: activations, normalisations and losses.

They take Tensors, and arrays where nothing needs a gradient. What has a derivative of its own stands in `rules`;
the rest is composed here of ops, so that no derivative is written in this file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..checks import as_numbers, check_choice, check_generator, check_number
from ..core.autograd import no_grad
from ..core.tensor import Tensor, assign
from ..errors import ShapeError, warn
from ..foreign import answers, missing
from ..rules.elementwise import bce, bce_with_logits, leaky_relu, relu, select, sigmoid, softplus, uniform
from ..rules.indexing import gather
from ..rules.linalg import linear
from ..rules.reductions import log_softmax, logsumexp, softmax
from ..rules.table import T, annotate, constant, primitive

__all__ = [
    "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "dropout", "gelu",
    "huber_loss", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "logsumexp", "mse_loss", "nll_loss",
    "relu", "sigmoid", "softmax", "softplus", "tanh",
]  # fmt: skip
__dir__ = __all__.copy  # what Tab offers

if not TYPE_CHECKING:
    __getattr__ = missing(__name__)


def tanh(x: T) -> T:
    """Return the hyperbolic tangent of each element: ``np.tanh``."""
    return np.tanh(x)


def gelu(x: T) -> T:
    """Return the Gaussian error linear unit in its tanh form (Hendrycks and Gimpel, arXiv:1606.08415).

    ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x**3)))``: PyTorch's ``gelu(x, approximate="tanh")``.

    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1588,  0.    ,  0.8412])
    """
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


@answers
def dropout(x: T, p: float, rng: np.random.Generator, training: bool = True) -> T:
    """Set elements to 0 with probability ``p`` and scale the others by ``1 / (1 - p)``; identity unless ``training``.

    ``x`` is of any shape, and ``rng`` is the Generator that draws.

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """
    check_number("dropout probability p", p, 0, 1, "between 0 and 1", closed=True)
    if not training or p == 0:
        return x
    check_generator(rng)
    return select(uniform(rng, x) >= p, x * (1 / (1 - p) if p < 1 else 1.0))


@answers
def batch_norm(
    x: T,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> T:
    """Normalise each feature by its mean and variance over the batch (Ioffe and Szegedy, arXiv:1502.03167).

    ``(x - mean) / sqrt(var + eps) * weight + bias``, for ``x`` of shape (N, C) or (N, C, L). In training the
    running statistics, if any, move towards those of the batch by ``momentum`` (the variance with N - 1, as in
    PyTorch) and the batch's own are used; otherwise the running ones are.

    Args:
        x: the batch.
        running_mean, running_var: of shape (C,), changed in place in training; or None, and the batch's are used.
        weight, bias: of shape (C,), or None.
        training: whether this is training.
        momentum: the share of the batch in the running statistics.
        eps: keeps the root from 0.

    Raises:
        ShapeError: ``x`` has fewer than two axes.
        ValueError: training on a single value per feature, which has no variance.
    """
    if x.ndim < 2:
        raise ShapeError(f"batch_norm expects input of shape (N, C) or (N, C, L), got {x.shape}")
    axes = (0, *range(2, x.ndim))
    column = (-1, *(1,) * (x.ndim - 2))
    if training or running_mean is None:
        count = x.size // x.shape[1]
        if training and count < 2:
            raise ValueError(f"batch_norm needs more than one value per feature to train, got input of shape {x.shape}")
        mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes)
        if training and running_mean is not None:
            with no_grad():
                new_mean = (1 - momentum) * running_mean + momentum * mean.reshape(-1)
                new_var = (1 - momentum) * running_var + (momentum * count / (count - 1)) * var
                assign(running_mean, new_mean)
                assign(running_var, new_var)
    else:
        mean, var = running_mean.reshape(column), running_var
    scale = 1 / np.sqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    out = (x - mean) * scale.reshape(column)
    return out if bias is None else out + bias.reshape(column)


@answers
def layer_norm(x: T, normalized_shape: tuple[int, ...], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> T:
    """Normalise each sample over its last axes, those of ``normalized_shape`` (Ba and others, arXiv:1607.06450).

    ``(x - mean) / sqrt(var + eps) * weight + bias``, where ``weight`` and ``bias``, of that shape, may be None.

    Raises:
        ShapeError: the last axes of ``x`` are others.
    """
    if x.shape[x.ndim - len(normalized_shape) :] != tuple(normalized_shape):
        raise ShapeError(f"layer_norm expects input whose last axes are {tuple(normalized_shape)}, got shape {x.shape}")
    axes = tuple(range(-len(normalized_shape), 0))
    out = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


@answers
def cross_entropy(
    logits: T, target: Any, *, weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean"
) -> T:
    """Return the cross entropy between softmax(logits) and the target.

    Args:
        logits: (N, C), unnormalised.
        target: N integer labels in 0..C-1, or (N, C) probabilities: one-hot or soft.
        weight: of each class, (C,). The mean over labels is then the weighted one, as in PyTorch: the sum over the
            samples, divided by that of their classes' weights.
        label_smoothing: mix the target with this share of the uniform distribution (Szegedy and others,
            arXiv:1512.00567).
        reduction: "mean" or "sum" over the samples, or "none".

    Raises:
        ShapeError: the shapes do not belong together.
        ValueError: a label is out of range (the first is named), or an option is.

    The formula is ``-sum(weight * target * log_softmax(logits), axis=1)``.

    >>> import tinygrad_mlp as tg
    >>> logits = tg.Tensor([[2.0, 1.0, 0.1]], requires_grad=True)
    >>> loss = cross_entropy(logits, np.array([0]))
    >>> loss.backward()
    >>> print(f"{loss:.6f}", logits.grad.numpy().round(6))
    0.417030 [[-0.340999  0.242433  0.098566]]
    """
    logits = _as_matrix("cross_entropy", logits, "nll_loss after log_softmax does that")
    check_number("label_smoothing", label_smoothing, 0, 1, "between 0 and 1", closed=True)
    target = _as_labels_or_distribution(logits, target)
    log_probs, total = _weigh_classes(log_softmax(logits, 1), target, weight)
    losses = -gather(log_probs, target) if target.ndim == 1 else -(target * log_probs).sum(axis=1)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_probs.mean(axis=1)
    return _reduce(losses, reduction, total=total)


@answers
def nll_loss(log_probs: T, target: Any, *, weight: Any = None, reduction: str = "mean") -> T:
    """Return the negative log-likelihood, ``-log_probs[i, target[i]]``: `cross_entropy` after a `log_softmax`.

    Args:
        log_probs: (N, C) logarithms of probabilities.
        target: N integer labels in 0..C-1.
        weight: of each class, (C,), as in `cross_entropy`.
        reduction: "mean" or "sum" over the samples, or "none".

    Raises:
        ShapeError, ValueError: as `cross_entropy`.
    """
    log_probs = _as_matrix("nll_loss", log_probs, "take log_softmax", "logarithms of probabilities")
    target = _as_labels_or_distribution(log_probs, target)
    if target.ndim != 1:
        raise ShapeError(f"nll_loss takes labels of shape ({len(log_probs)},), got {target.shape}; use argmax(axis=1)")
    log_probs, total = _weigh_classes(log_probs, target, weight)
    return _reduce(-gather(log_probs, target), reduction, total=total)


@answers
def binary_cross_entropy_with_logits(
    logits: T, target: Any, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> T:
    """Return the binary cross entropy between sigmoid(logits) and targets in [0, 1], of the same shape.

    ``max(x, 0) - x * t + log(1 + exp(-|x|))``: finite for logits of any size.

    Args:
        logits: x.
        target: t.
        weight: is multiplied by; it broadcasts.
        pos_weight: multiplies what belongs to the positive class, ``t * log(1 + exp(-x))``; it broadcasts.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ, or a weight does not broadcast.

    >>> import tinygrad_mlp as tg
    >>> binary_cross_entropy_with_logits(tg.Tensor([1000.0, -1000.0]), np.array([0.0, 0.0]), reduction="none")
    Tensor([1000.,    0.], dtype=float64)
    """
    logits, target = _same_shape("binary_cross_entropy_with_logits", logits, target)
    _takes_logits("binary_cross_entropy_with_logits", logits, "sigmoid", "binary_cross_entropy takes probabilities")
    losses = bce_with_logits(logits, target)
    if pos_weight is not None:
        losses = losses + (_weight(losses, pos_weight) - 1) * target * softplus(-logits)
    return _reduce(losses, reduction, weight)


@answers
def binary_cross_entropy(probs: T, target: Any, *, weight: Any = None, reduction: str = "mean") -> T:
    """Return the binary cross entropy of probabilities; prefer `binary_cross_entropy_with_logits`, which is exact.

    ``-t log(p) - (1 - t) log(1 - p)``, with logarithms not below -100, as in PyTorch.

    Args:
        probs: p, in [0, 1].
        target: t, in [0, 1], of the same shape.
        weight: is multiplied by; it broadcasts.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ, or the weight does not broadcast.
        ValueError: a probability is outside [0, 1]; the first one is named.
    """
    probs, target = _same_shape("binary_cross_entropy", probs, target)
    check_probabilities(probs)
    return _reduce(bce(probs, target), reduction, weight)


@answers
def mse_loss(prediction: T, target: Any, *, weight: Any = None, reduction: str = "mean") -> T:
    """Return the squared differences of two arrays of the same shape, by default their mean over all elements.

    Args:
        prediction, target: of the same shape.
        weight: broadcasts to the differences and multiplies them; the mean is then ``sum(losses) / sum(weight)``, as in
            PyTorch.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ; broadcasting them would compare everything with everything.
    """
    prediction, target = _same_shape("mse_loss", prediction, target)
    return _reduce(np.square(prediction - target), reduction, weight, by_weight=True)


@answers
def l1_loss(prediction: T, target: Any, *, weight: Any = None, reduction: str = "mean") -> T:
    """Return the absolute differences of two arrays of the same shape, by default their mean over all elements.

    ``prediction``, ``target``, ``weight`` and ``reduction`` are those of `mse_loss`.

    Raises:
        ShapeError: the shapes differ.
    """
    prediction, target = _same_shape("l1_loss", prediction, target)
    return _reduce(np.abs(prediction - target), reduction, weight, by_weight=True)


@answers
def huber_loss(prediction: T, target: Any, *, delta: float = 1.0, weight: Any = None, reduction: str = "mean") -> T:
    """Return a loss that is quadratic for differences up to ``delta`` and linear beyond (Huber, 1964).

    ``d**2 / 2`` where ``d = abs(prediction - target) <= delta``, else ``delta * (d - delta / 2)``. It is multiplied by
    ``weight``, which broadcasts; as in PyTorch, and unlike in `mse_loss`, the mean stays that over the elements.
    ``reduction`` is "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.
        ValueError: ``delta`` is not positive.
    """
    check_number("delta", delta, math.ulp(0.0), math.inf, "a positive number")
    prediction, target = _same_shape("huber_loss", prediction, target)
    distance = np.abs(prediction - target)
    near = np.minimum(distance, delta)
    return _reduce(0.5 * (near * near) + delta * (distance - near), reduction, weight)


def _reduce(losses: Any, reduction: str, weight: Any = None, by_weight: bool = False, total: Any = None) -> Any:
    """Return losses, weighted and reduced; a mean divides by the count, by the weights, or by the sum of ``total``."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if weight is not None:
        weight = _weight(losses, weight)
        losses, total = losses * weight, weight if by_weight else None
    if reduction == "mean" and total is not None:
        return losses.sum() / total.sum()
    return losses if reduction == "none" else getattr(losses, reduction)()


def _weight(losses: Any, weight: Any) -> Any:
    """Return weights in the shape and dtype of the losses that they multiply."""
    weight = _as_operand(weight, "weight")
    try:
        return np.broadcast_to(weight, losses.shape).astype(losses.dtype)
    except ValueError:
        expected = f"one that broadcasts to the losses, {losses.shape}"
        raise ShapeError(f"weight has shape {weight.shape}, expected {expected}") from None


def _weigh_classes(log_probs: Any, target: Any, weight: Any) -> tuple[Any, Any]:
    """Return log-probabilities times their classes' weights, and the weights of labels, which a mean divides by."""
    if weight is None:
        return log_probs, None
    if np.shape(weight) != log_probs.shape[1:]:
        raise ShapeError(f"weight has shape {np.shape(weight)}, expected ({log_probs.shape[1]},): one for each class")
    weight = _weight(log_probs, weight)
    return log_probs * weight, gather(weight, target) if target.ndim == 1 else None


def _as_operand(value: Any, name: str) -> Any:
    return value if isinstance(value, Tensor) else as_numbers(value, name)


def _as_matrix(name: str, scores: Any, *words: str) -> Any:
    """Return scores of classes; one warns, in these ``words``, of those that are a softmax."""
    scores = _as_operand(scores, name)
    _takes_logits(name, scores, "softmax", *words)
    if scores.ndim != 2:
        raise ShapeError(f"{name} expects scores of shape (N, C), got {scores.shape}")
    return scores


def _takes_logits(loss: str, scores: Any, made_by: str, instead: str, takes: str = "logits") -> None:
    """Warn of scores that are the result of a function which the loss computes itself."""
    node = getattr(scores, "_node", None)
    if node is not None and node.rule.name == made_by:
        warn(f"{loss} takes {takes}, got the result of {made_by}, which it applies itself: drop it, or {instead}")


def _same_shape(name: str, prediction: Any, target: Any) -> tuple[Any, Any]:
    """Return the prediction, and the target as an operand of its shape and dtype."""
    prediction, target = _as_operand(prediction, f"{name}: prediction"), _as_operand(target, f"{name}: target")
    checks.check_same_shape(name, prediction.shape, target.shape)
    fits = target.dtype.kind == "f" and target.dtype == prediction.dtype
    return prediction, target if fits else target.astype(prediction.dtype)


def _as_labels_or_distribution(scores: Any, target: Any) -> Any:
    """Return N checked integer labels, or an (N, C) distribution in the dtype of the scores."""
    target = target if isinstance(target, Tensor) else checks.as_array(target)
    checks.check_target(scores.shape, target)
    if target.ndim == 2:
        return target if target.dtype == scores.dtype else target.astype(scores.dtype)
    check_labels(target, scores.shape[1])
    return target if target.dtype.kind in "iu" else target.astype(np.int64)


check_labels, check_probabilities = primitive(checks.check_labels), primitive(checks.check_probabilities)
constant(check_labels, check_probabilities)
annotate(check_labels, check_probabilities, effect=True)
