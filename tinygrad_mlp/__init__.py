"""NumPy that differentiates itself: an autograd micro framework with MLP layers, losses and SGD.

>>> import numpy as np
>>> import tinygrad_mlp as tg
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> np.sum(np.tanh(x) * x).backward()
>>> x.grad.numpy().round(6)
array([1.181568, 1.10533 ])
"""

from . import data, functional, nn, optim
from .anomaly import detect_anomaly
from .autograd import grad, hessian, hvp, jacobian, no_grad
from .checkpoint import load, save
from .data import accuracy, load_mnist, minibatches, one_hot, scale_pixels
from .errors import CheckpointError, DataError, DtypeError, GraphError, NoRuleError, RecordingError, ShapeError
from .jit import jit
from .tensor import Tensor

__all__ = [
    "CheckpointError",
    "DataError",
    "DtypeError",
    "GraphError",
    "NoRuleError",
    "RecordingError",
    "ShapeError",
    "Tensor",
    "accuracy",
    "data",
    "detect_anomaly",
    "functional",
    "grad",
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
    "save",
    "scale_pixels",
]
