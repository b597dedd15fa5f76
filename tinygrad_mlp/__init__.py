"""NumPy that differentiates itself: an autograd micro framework with MLP layers, losses and SGD.

>>> import numpy as np
>>> import tinygrad_mlp as tg
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> np.sum(np.tanh(x) * x).backward()
>>> x.grad.numpy().round(6)
array([1.181568, 1.105329])
"""

from typing import TYPE_CHECKING

from . import nn as nn
from ._later import later as _later
from .checks import seed as seed
from .core.autograd import grad as grad, no_grad as no_grad
from .core.tensor import Tensor as Tensor
from .core.tracer import Tracer as Tracer, tracing as tracing
from .errors import (
    CheckpointError as CheckpointError,
    DataError as DataError,
    DtypeError as DtypeError,
    GraphError as GraphError,
    NonFiniteError as NonFiniteError,
    NoRuleError as NoRuleError,
    RecordingError as RecordingError,
    ShapeError as ShapeError,
)
from .jit import jit as jit
from .nn import functional as functional, optim as optim
from .rules.table import BRIDGES as _BRIDGES, annotate as annotate, primitive as primitive, vjp as vjp
from .tools.anomaly import detect_anomaly as detect_anomaly

if TYPE_CHECKING:  # the names of _LATER
    from . import func as func
    from .func.at_a_point import hessian as hessian, hvp as hvp, jacobian as jacobian
    from .func.custom import custom_vjp as custom_vjp
    from .func.loops import scan as scan
    from .func.solvers import implicit as implicit, odeint as odeint
    from .tools.chain import trace as trace
    from .tools.drawing import draw as draw
    from .tools.gradcheck import GradcheckError as GradcheckError
    from .tools.gradcheck import assert_gradcheck as assert_gradcheck, gradcheck as gradcheck
    from .tools.summary import summary as summary
    from .train import augment as augment, callbacks as callbacks, data as data, metrics as metrics, plot as plot
    from .train.checkpoint import load as load, save as save
    from .train.data import load_mnist as load_mnist, minibatches as minibatches
    from .train.data import one_hot as one_hot, scale_pixels as scale_pixels
    from .train.fit import fit as fit
    from .train.history import History as History
    from .train.metrics import accuracy as accuracy
    from .train.search import find_lr as find_lr
    from .train.resume import latest as latest, load_checkpoint as load_checkpoint, save_checkpoint as save_checkpoint
    from .train.predict import evaluate as evaluate, predict as predict, predict_proba as predict_proba

__version__ = "0.1.0"

_BRIDGES["scipy.special"] = "tinygrad_mlp.scipy.special"

_ROOMS = {
    "func": "func",
    "functional": "nn.functional",
    "optim": "nn.optim",
    "data": "train.data",
    "metrics": "train.metrics",
    "augment": "train.augment",
    "callbacks": "train.callbacks",
    "checkpoint": "train.checkpoint",
    "plot": "train.plot",
}
"""Rooms that users know by a short name: ``tinygrad_mlp.optim`` is ``tinygrad_mlp.nn.optim``."""

_LATER = {
    "func.at_a_point": "hessian hvp jacobian",
    "func.custom": "custom_vjp",
    "func.loops": "scan",
    "func.solvers": "implicit odeint",
    "tools.chain": "trace",
    "tools.drawing": "draw",
    "tools.gradcheck": "GradcheckError assert_gradcheck gradcheck",
    "tools.summary": "summary",
    "train.checkpoint": "load save",
    "train.data": "load_mnist minibatches one_hot scale_pixels",
    "train.fit": "fit",
    "train.history": "History",
    "train.metrics": "accuracy",
    "train.predict": "evaluate predict predict_proba",
    "train.search": "find_lr",
    "train.resume": "latest load_checkpoint save_checkpoint",
}
"""Names by their rooms, which are loaded when one is first used: most programs need few of them."""

_NAMES = {name: room for room, names in _LATER.items() for name in names.split()}

__all__ = sorted({"nn", *_ROOMS, *_NAMES, *(name for name, value in globals().items() if callable(value))} - {"_later"})

if not TYPE_CHECKING:  # for a type checker, a name that is not above is an error
    __getattr__ = _later(__name__, _ROOMS, _NAMES)


def __dir__() -> list[str]:
    """Return what Tab offers: the public names, loaded or not."""
    return __all__
