"""The functional door: derivatives of functions, for code that is written with NumPy and knows no Tensor."""

from .transforms import grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, value_and_grad, vjp

__all__ = ["grad", "hessian", "hvp", "jacfwd", "jacrev", "jvp", "linearize", "value_and_grad", "vjp"]
