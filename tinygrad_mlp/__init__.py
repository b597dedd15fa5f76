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

from . import data, functional, metrics, nn, optim
from .anomaly import detect_anomaly
from .autograd import grad, hessian, hvp, jacobian, no_grad
from .data import load_mnist, minibatches, one_hot, scale_pixels
from .errors import CheckpointError, DataError, DtypeError, GraphError, NoRuleError, RecordingError, ShapeError
from .gradcheck import GradcheckError, gradcheck
from .jit import jit
from .metrics import accuracy
from .tensor import Tensor

if TYPE_CHECKING:
    from . import augment, plot
    from .checkpoint import load, save
    from .drawing import draw
    from .inspection import summary

__all__ = [
    "CheckpointError",
    "DataError",
    "DtypeError",
    "GradcheckError",
    "GraphError",
    "NoRuleError",
    "RecordingError",
    "ShapeError",
    "Tensor",
    "accuracy",
    "augment",
    "data",
    "detect_anomaly",
    "draw",
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
    "save",
    "scale_pixels",
    "summary",
]


_ROOMS = {
    "augment": "augment",
    "draw": "drawing",
    "load": "checkpoint",
    "plot": "plot",
    "save": "checkpoint",
    "summary": "inspection",
}
"""Names whose rooms are loaded when they are first used: they need many modules, and most programs never do."""


def __getattr__(name: str) -> Any:
    """Load a room when a name of it, or the room itself, is first used."""
    if name in _ROOMS.values():
        return import_module(f"{__name__}.{name}")
    if name in _ROOMS:
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
