"""NumPy that differentiates itself: an autograd micro framework with MLP layers, losses and SGD.

>>> import numpy as np
>>> import tinygrad_mlp as tg
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> np.sum(np.tanh(x) * x).backward()
>>> x.grad.numpy().round(6)
array([1.181568, 1.105329])
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import data, functional, metrics, nn, optim
from .anomaly import detect_anomaly
from .autograd import grad, hessian, hvp, jacobian, no_grad
from .data import load_mnist, minibatches, one_hot, scale_pixels
from .errors import (
    CheckpointError,
    DataError,
    DtypeError,
    GraphError,
    NonFiniteError,
    NoRuleError,
    RecordingError,
    ShapeError,
)
from .gradcheck import GradcheckError, gradcheck
from .jit import jit
from .metrics import accuracy
from .tensor import Tensor

if TYPE_CHECKING:
    from . import augment, callbacks, plot
    from .checkpoint import load, save
    from .drawing import draw
    from .inspection import summary
    from .training import History, evaluate, fit, predict, predict_proba

__all__ = [
    "CheckpointError",
    "DataError",
    "DtypeError",
    "GradcheckError",
    "GraphError",
    "History",
    "NoRuleError",
    "NonFiniteError",
    "RecordingError",
    "ShapeError",
    "Tensor",
    "accuracy",
    "augment",
    "callbacks",
    "data",
    "detect_anomaly",
    "draw",
    "evaluate",
    "fit",
    "functional",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "jacobian",
    "jit",
    "load",
    "load_mnist",
    "metrics",
    "minibatches",
    "nn",
    "no_grad",
    "one_hot",
    "optim",
    "plot",
    "predict",
    "predict_proba",
    "save",
    "scale_pixels",
    "summary",
]


_ROOMS = {
    "augment": (),
    "callbacks": (),
    "checkpoint": ("load", "save"),
    "drawing": ("draw",),
    "inspection": ("summary",),
    "plot": (),
    "training": ("History", "evaluate", "fit", "predict", "predict_proba"),
}
"""Rooms that are loaded when they, or one of these names, are first used: most programs never need them."""


def __getattr__(name: str) -> Any:
    """Load the room that a name stands for, or is in."""
    for room, names in _ROOMS.items():
        if name == room or name in names:
            module = import_module(f"{__name__}.{room}")
            return module if name == room else getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    """Return what Tab offers: the public names, loaded or not."""
    return sorted({*__all__, *_ROOMS})
