"""Losses as modules: the functions of `functional`, with their options kept. Errors are those of the functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.tensor import Tensor
from . import functional
from .module import Module


class _Loss(Module):
    """A function of prediction and target whose only option is the reduction."""

    function: Callable[..., Any]

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Any) -> Tensor:
        return self.function(prediction, target, reduction=self.reduction)


class CrossEntropyLoss(_Loss):
    """The cross entropy of logits (N, C) and labels (N,) or probabilities (N, C): `functional.cross_entropy`.

    >>> import numpy as np
    >>> loss = CrossEntropyLoss()
    >>> print(f"{loss(np.zeros((2, 10)), np.array([3, 7])):.4f}")
    2.3026
    """

    def __init__(self, *, label_smoothing: float = 0.0, reduction: str = "mean") -> None:
        self.label_smoothing, self.reduction = label_smoothing, reduction

    def forward(self, logits: Tensor, target: Any) -> Tensor:
        return functional.cross_entropy(logits, target, label_smoothing=self.label_smoothing, reduction=self.reduction)


class NLLLoss(_Loss):
    """The negative log-likelihood of log-probabilities (N, C) and labels (N,): `functional.nll_loss`."""

    function = staticmethod(functional.nll_loss)


class BCELoss(_Loss):
    """The binary cross entropy of probabilities: `functional.binary_cross_entropy`. Prefer `BCEWithLogitsLoss`."""

    function = staticmethod(functional.binary_cross_entropy)


class BCEWithLogitsLoss(_Loss):
    """The binary cross entropy of logits: `functional.binary_cross_entropy_with_logits`."""

    function = staticmethod(functional.binary_cross_entropy_with_logits)


class MSELoss(_Loss):
    """The mean of squared differences: `functional.mse_loss`."""

    function = staticmethod(functional.mse_loss)


class L1Loss(_Loss):
    """The mean of absolute differences: `functional.l1_loss`."""

    function = staticmethod(functional.l1_loss)


class HuberLoss(_Loss):
    """Quadratic for differences up to ``delta``, linear beyond: `functional.huber_loss`."""

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean") -> None:
        self.delta, self.reduction = delta, reduction

    def forward(self, prediction: Tensor, target: Any) -> Tensor:
        return functional.huber_loss(prediction, target, delta=self.delta, reduction=self.reduction)
