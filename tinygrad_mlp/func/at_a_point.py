"""Derivatives at a point: `transforms` that are called at once, and whose results are constant unless asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from ..core.autograd import no_grad
from ..foreign import answers
from . import transforms

Function = Callable[..., Any]


@answers
def jacobian(f: Function, x: Any, create_graph: bool = False) -> Any:
    """Return all derivatives of ``f(x)`` by ``x``, of shape ``f(x).shape + x.shape``, by one backward pass a row.

    ``x`` and the result are arrays, Tensors, or trees of them; `func.jacrev` tells which shapes come of which, and
    `func.jacfwd` is faster where there are more rows than columns. ``create_graph`` makes the result differentiable by
    what ``x`` was made of.

    >>> import numpy as np
    >>> jacobian(lambda x: x * x, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    with nullcontext() if create_graph else no_grad():
        return transforms.jacrev(f)(x)


@answers
def hessian(f: Function, x: Any) -> Any:
    """Return all second derivatives of a scalar ``f(x)``, of shape ``x.shape + x.shape``; of a tree, for each pair.

    >>> import tinygrad_mlp as tg
    >>> hessian(lambda x: x[0] * x[1] ** 2, tg.Tensor([3.0, 5.0])).numpy()
    array([[ 0., 10.],
           [10.,  6.]])
    """
    with no_grad():
        return transforms.hessian(f)(x)


@answers
def hvp(f: Function, x: Any, v: Any) -> Any:
    """Return the product of the Hessian of a scalar ``f(x)`` with ``v``, of the shape of ``x``, without the Hessian.

    >>> import numpy as np
    >>> hvp(lambda x: (x**3).sum(), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    with no_grad():
        return transforms.hvp(f)(x, v)
