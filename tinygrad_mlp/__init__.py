"""NumPy that differentiates itself: an autograd micro framework with MLP layers, losses and SGD.

>>> import numpy as np
>>> import tinygrad_mlp as tg
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> np.sum(np.tanh(x) * x).backward()
>>> x.grad.numpy().round(6)
array([1.181568, 1.105329])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import data, functional, nn, optim
from .anomaly import detect_anomaly
from .autograd import grad, hessian, hvp, jacobian, no_grad
from .data import accuracy, load_mnist, minibatches, one_hot, scale_pixels
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
from .tensor import Tensor

if TYPE_CHECKING:
    from .checkpoint import load, save
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
    "data",
    "detect_anomaly",
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
    "minibatches",
    "nn",
    "no_grad",
    "one_hot",
    "optim",
    "predict",
    "predict_proba",
    "save",
    "scale_pixels",
]


_ROOMS = {
    **dict.fromkeys(("load", "save"), "checkpoint"),
    **dict.fromkeys(("History", "evaluate", "fit", "predict", "predict_proba"), "training"),
}
"""Names whose rooms are loaded when they are first used: they need many modules, and most programs never do."""


def __getattr__(name: str) -> Any:
    """Load a room when a name of it, or the room itself, is first used."""
    if name in _ROOMS:
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    if name in _ROOMS.values():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
