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
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import nn
from .core.autograd import grad, hessian, hvp, jacobian, no_grad
from .core.tensor import Tensor
from .core.tracer import Tracer, tracing
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
from .jit import jit
from .nn import functional, optim
from .rules.table import annotate, primitive, vjp
from .tools.anomaly import detect_anomaly
from .tools.gradcheck import GradcheckError, gradcheck
from .train import data, metrics
from .train.data import load_mnist, minibatches, one_hot, scale_pixels
from .train.metrics import accuracy

if TYPE_CHECKING:
    from .tools.drawing import draw
    from .tools.summary import summary
    from .train import augment, callbacks, plot
    from .train.checkpoint import load, save
    from .train.fit import fit
    from .train.history import History
    from .train.predict import evaluate, predict, predict_proba

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
    "Tracer",
    "accuracy",
    "annotate",
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
    "primitive",
    "save",
    "scale_pixels",
    "summary",
    "tracing",
    "vjp",
]


_ROOMS = {
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
    "tools.drawing": ("draw",),
    "tools.summary": ("summary",),
    "train.checkpoint": ("load", "save"),
    "train.fit": ("fit",),
    "train.history": ("History",),
    "train.predict": ("evaluate", "predict", "predict_proba"),
}
"""Names whose rooms are loaded when they are first used: most programs never need them."""


class _Rooms(MetaPathFinder, Loader):
    """Imports a room by its short name: the same module, not a second one."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, room = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __name__ and room in _ROOMS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"{__name__}.{_ROOMS[spec.name.rpartition('.')[2]]}")
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own_spec


sys.meta_path.append(_Rooms())


def __getattr__(name: str) -> Any:
    """Load the room that a name stands for, or is in."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    for room, names in _LATER.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    """Return what Tab offers: the public names, loaded or not."""
    return sorted({*__all__, *_ROOMS})
