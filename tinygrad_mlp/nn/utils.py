"""What is done to gradients between ``backward()`` and ``step()``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..checks import check_kind, check_not_negative, check_number
from ..core.autograd import no_grad
from ..core.tensor import Tensor
from ..errors import GraphError
from ..foreign import missing

__all__ = ["clip_grad_norm_"]
__dir__ = __all__.copy  # what Tab offers


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scale the gradients of all parameters so that their norm, taken together, is at most ``max_norm``.

    Each is multiplied by ``min(1, max_norm / (norm + 1e-6))`` (Pascanu and others, arXiv:1211.5063), as in PyTorch.
    It can be compiled. In `fit`, an optimizer does it in its ``step``::

        class Clipped(optim.SGD):
            def step(self):
                nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1.0)
                super().step()

    Args:
        parameters: Tensors, or one; those without a gradient are left out.
        max_norm: >= 0.
        norm_type: p of the norm; ``math.inf`` for the largest absolute value.

    Returns the norm that the gradients had.

    Raises:
        GraphError: no parameter has a gradient.

    >>> from tinygrad_mlp import nn
    >>> p = nn.Parameter(np.array([3.0, 4.0]))
    >>> (p * p).sum().backward()
    >>> clip_grad_norm_([p], 1.0).item(), p.grad.numpy().round(4)
    (10.0, array([0.6, 0.8]))
    """
    check_not_negative("max_norm", max_norm)
    check_number("norm_type", norm_type, math.ulp(0.0), math.inf, "a number > 0", closed=True)
    several: list[Any] = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for p in several:
        check_kind("each of parameters", p, Tensor, "a Tensor, as model.parameters() gives them")
    having = [p for p in several if p.grad is not None]
    if not having:
        raise GraphError("no parameter has a gradient; call loss.backward() first")
    with no_grad():
        sizes = [np.abs(p.grad) for p in having]
        if norm_type == math.inf:
            norm = np.max(np.stack([size.max() for size in sizes]))
        else:
            norm = np.sum(np.stack([(size**norm_type).sum() for size in sizes])) ** (1 / norm_type)
        factor = np.minimum(max_norm / (norm + 1e-6), 1.0)
        for p in having:
            p.grad = p.grad * factor.astype(p.dtype)
    return norm


__getattr__ = missing(__name__)
