"""Initialisers: they fill a Tensor in place with random numbers, whose scale suits the layer.

Each takes ``rng``: a ``numpy.random.Generator``, a seed, or None for a fresh Generator. NumPy's global state is
neither read nor changed. Numbers are drawn in float64 and rounded, so that a seed gives the same weights in both
dtypes.
"""

from __future__ import annotations

import math
from typing import Any

from ..checks import as_generator, check_choice, check_kind
from ..core.tensor import Tensor, assign
from ..errors import ShapeError
from ..foreign import missing

__all__ = [
    "calculate_gain", "kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_",
]  # fmt: skip
__dir__ = __all__.copy  # what Tab offers
__getattr__ = missing(__name__)

Rng = Any  # a numpy.random.Generator, a seed or None; not spelled out, since that alone would load numpy.random
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2)}


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, rng: Rng = None) -> Tensor:
    """Fill ``tensor`` with numbers spread evenly over ``[a, b)``, drawn from ``rng``, a Generator, a seed or None."""
    return _fill(tensor, "uniform", a, b, rng)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, rng: Rng = None) -> Tensor:
    """Fill ``tensor`` with normally distributed numbers of this ``mean`` and ``std``; ``rng`` as of `uniform_`."""
    return _fill(tensor, "normal", mean, std, rng)


def _fill(tensor: Tensor, distribution: str, first: float, second: float, rng: Rng) -> Tensor:
    check_kind("what is filled", tensor, Tensor, "a Tensor, such as layer.weight")
    return assign(tensor, getattr(as_generator(rng), distribution)(first, second, tensor.shape))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, rng: Rng = None) -> Tensor:
    """Fill evenly, with the standard deviation of `xavier_normal_`.

    ``tensor``, ``gain`` and ``rng`` are those of it.
    """
    bound = math.sqrt(3) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, rng=rng)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, rng: Rng = None) -> Tensor:
    """Fill so that neither signals nor gradients grow or fade from layer to layer: for tanh and sigmoid.

    The standard deviation is ``gain * sqrt(2 / (fan_in + fan_out))`` (Glorot and Bengio, AISTATS 2010).

    Args:
        tensor: a weight of shape (out_features, in_features).
        gain: see `calculate_gain`.
        rng: a Generator, a seed or None.

    Raises:
        ShapeError: the Tensor has fewer than two axes.
    """
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), rng=rng)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, rng: Rng = None
) -> Tensor:
    """Fill evenly, with the standard deviation of `kaiming_normal_`.

    ``tensor``, ``a``, ``mode``, ``nonlinearity`` and ``rng`` are those of it.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, rng: Rng = None
) -> Tensor:
    """Fill so that signals neither grow nor fade through layers with relu (He and others, ICCV 2015).

    Args:
        tensor: a weight of shape (out_features, in_features).
        a: the negative slope of the leaky relu that follows; 0 for relu.
        mode: "fan_in" keeps the size of signals, "fan_out" that of gradients.
        nonlinearity: what follows, see `calculate_gain`.
        rng: a Generator, a seed or None.

    The standard deviation is ``gain / sqrt(fan)``.

    Raises:
        ShapeError: the Tensor has fewer than two axes.
        ValueError: ``mode`` or ``nonlinearity`` is unknown.

    >>> import numpy as np
    >>> import tinygrad_mlp as tg
    >>> weight = tg.Tensor(np.empty((400, 200), np.float32), requires_grad=True)
    >>> print(f"{kaiming_normal_(weight, rng=0).std():.3f}")
    0.100
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), rng=rng)


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    """Return by what weights are scaled up to make up for the nonlinearity after them, as in PyTorch.

    Args:
        nonlinearity: "linear", "sigmoid", "tanh", "relu" or "leaky_relu".
        param: the negative slope of the leaky relu, whose gain is ``sqrt(2 / (1 + slope**2))``.

    Raises:
        ValueError: the nonlinearity is unknown.

    >>> round(calculate_gain("relu") ** 2, 6)
    2.0
    """
    check_choice("nonlinearity", nonlinearity, GAINS)
    gain = GAINS[nonlinearity]
    return gain / math.sqrt(1 + param**2) if nonlinearity == "leaky_relu" else gain


def _xavier_std(tensor: Tensor, gain: float) -> float:
    fans = _fans(tensor)
    return gain * math.sqrt(2 / (fans["fan_in"] + fans["fan_out"]))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fans = _fans(tensor)
    check_choice("mode", mode, fans)
    return calculate_gain(nonlinearity, a) / math.sqrt(fans[mode])


def _fans(tensor: Tensor) -> dict[str, int]:
    """Return how many inputs each output of a weight is made of, and how many outputs each input goes to."""
    check_kind("what is filled", tensor, Tensor, "a Tensor, such as layer.weight")
    if tensor.ndim < 2:
        raise ShapeError(
            f"fans are those of a weight of shape (out, in), got shape {tensor.shape}; use uniform_ or normal_"
        )
    return {"fan_in": math.prod(tensor.shape[1:]), "fan_out": math.prod(tensor.shape[:1] + tensor.shape[2:])}
