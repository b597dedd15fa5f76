"""Losses as modules: the functions of `functional`, with their options kept. Errors are those of the functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.tensor import Tensor
from . import functional
from .module import Module

TARGETS: dict[str, tuple[Callable[..., Any], ...]] = {
    "labels or distributions": (functional.cross_entropy,),
    "labels": (functional.nll_loss,),
    "shares": (functional.binary_cross_entropy, functional.binary_cross_entropy_with_logits),
    "numbers": (functional.mse_loss, functional.l1_loss, functional.huber_loss),
}
"""All losses of `functional`, by what their targets are; shares are numbers from 0 to 1."""


def targets_of(loss: Any) -> str:
    """Return what the targets of a loss are, one of the keys of `TARGETS`, or nothing if it is none of these.

    A module, and a function that was compiled, has those of the ``function`` that it calls.

    >>> targets_of(BCELoss()), targets_of(functional.nll_loss), targets_of(max)
    ('shares', 'labels', '')
    """
    function = getattr(loss, "function", loss)
    return next((kind for kind, losses in TARGETS.items() if any(function is f for f in losses)), "")


class _Loss(Module):
    """A function of prediction and target whose options, the reduction and those of ``options``, are kept."""

    function: Callable[..., Any]
    options: tuple[str, ...] = ()

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Any) -> Tensor:
        options = {name: getattr(self, name) for name in self.options}
        return self.function(prediction, target, reduction=self.reduction, **options)


class _WeightedLoss(_Loss):
    """A loss with a weight, which is a buffer, as in PyTorch."""

    options: tuple[str, ...] = ("weight",)

    def __init__(self, *, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", None if weight is None else Tensor(weight))


class CrossEntropyLoss(_WeightedLoss):
    """The cross entropy of logits (N, C) and labels (N,) or probabilities (N, C): `functional.cross_entropy`.

    ``weight``, ``label_smoothing`` and ``reduction`` are its options.

    >>> import numpy as np
    >>> loss = CrossEntropyLoss()
    >>> print(f"{loss(np.zeros((2, 10)), np.array([3, 7])):.4f}")
    2.3026
    """

    function = staticmethod(functional.cross_entropy)
    options = ("weight", "label_smoothing")

    def __init__(self, *, weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)
        self.label_smoothing = label_smoothing


class NLLLoss(_WeightedLoss):
    """The negative log-likelihood of log-probabilities (N, C) and labels (N,): `functional.nll_loss`.

    ``weight`` and ``reduction`` are its options.
    """

    function = staticmethod(functional.nll_loss)


class BCELoss(_WeightedLoss):
    """The binary cross entropy of probabilities: `functional.binary_cross_entropy`. Prefer `BCEWithLogitsLoss`.

    ``weight`` and ``reduction`` are its options.
    """

    function = staticmethod(functional.binary_cross_entropy)


class BCEWithLogitsLoss(_WeightedLoss):
    """The binary cross entropy of logits: `functional.binary_cross_entropy_with_logits`.

    ``weight``, ``pos_weight`` and ``reduction`` are its options.
    """

    function = staticmethod(functional.binary_cross_entropy_with_logits)
    options = ("weight", "pos_weight")

    def __init__(self, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)
        self.register_buffer("pos_weight", None if pos_weight is None else Tensor(pos_weight))


class MSELoss(_Loss):
    """The mean of squared differences: `functional.mse_loss`."""

    function = staticmethod(functional.mse_loss)


class L1Loss(_Loss):
    """The mean of absolute differences: `functional.l1_loss`."""

    function = staticmethod(functional.l1_loss)


class HuberLoss(_Loss):
    """Quadratic for differences up to ``delta``, linear beyond: `functional.huber_loss`.

    ``delta`` and ``reduction`` are its options.
    """

    function = staticmethod(functional.huber_loss)
    options = ("delta",)

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.delta = delta
