"""The functional door: derivatives of functions, for code that is written with NumPy and knows no Tensor."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from ..foreign import missing as _missing
from .loops import checkpoint
from .optimize import for_curve_fit, for_scipy
from .transforms import grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, value_and_grad, vjp

__all__ = [
    "checkpoint", "for_curve_fit", "for_scipy", "grad", "hessian", "hvp", "jacfwd", "jacrev", "jvp", "linearize",
    "value_and_grad", "vjp",
]  # fmt: skip
__dir__ = __all__.copy  # what Tab offers

if not _TYPE_CHECKING:
    __getattr__ = _missing(__name__)
