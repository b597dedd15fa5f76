"""NumPy that differentiates itself: an autograd micro framework with MLP layers, losses and SGD."""

from . import rules
from .autograd import grad, hessian, hvp, jacobian
from .errors import CheckpointError, DataError, DtypeError, GraphError, NoRuleError, ShapeError
from .graph import no_grad
from .tensor import Tensor

__all__ = [
    "CheckpointError",
    "DataError",
    "DtypeError",
    "GraphError",
    "NoRuleError",
    "ShapeError",
    "Tensor",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "no_grad",
    "rules",
]
