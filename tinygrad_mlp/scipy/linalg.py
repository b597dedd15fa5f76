"""`scipy.linalg` on arrays and Tensors: triangular systems, and functions of matrices.

A function of matrices f has the derivative L(x, e) along e, and the gradient L(x.T, g) for upstream g. L stands in a
corner of f of a matrix of blocks, ``f([[x, e], [0, x]]) == [[f(x), L(x, e)], [0, f(x)]]`` (Mathias, SIAM J. Matrix
Anal. Appl. 17, 1996; Higham, Functions of Matrices, 2008, section 3.2). So the derivative of L is one of blocks again,
and gradients of any order take what SciPy has for f.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from scipy import linalg

import tinygrad_mlp as tg

__all__ = [
    "cho_factor", "cho_solve", "coshm", "cosm", "expm", "logm", "sinhm", "sinm", "solve_triangular", "sqrtm", "tanhm",
    "tanm",
]  # fmt: skip
T = TypeVar("T", bound=Any)
Function = Callable[..., Any]


def __getattr__(name: str) -> Any:
    return getattr(linalg, name)


def _t(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def _upper(x: Any, e: Any) -> Any:
    """Return the matrices of blocks ``[[x, e], [0, x]]``."""
    return np.concatenate([np.concatenate([x, e], -1), np.concatenate([np.zeros_like(x), x], -1)], -2)


def _corner(x: Any) -> Any:
    n = x.shape[-1] // 2
    return x[..., :n, n:]


def _check_regular(what: str, x: Any) -> None:
    """Refuse singular matrices: SciPy puts 1e-20 in place of an eigenvalue of 0, or returns what rounding left."""
    if not np.linalg.slogdet(x)[0].all():
        hint = "an eigenvalue of 0 makes it infinite; keep eigenvalues off 0"
        raise ValueError(f"{what} does not exist for a singular matrix: {hint}")


def _matrix_function(f: Function) -> Function:
    """Return a function of SciPy's of square matrices (..., n, n) as an op."""

    def real(x: Any) -> Any:
        if f is linalg.logm:
            _check_regular(f.__name__, x)
        wide = x.astype(np.result_type(x, np.float64)).reshape((np.prod(x.shape[:-2], dtype=int), *x.shape[-2:]))
        result = np.stack([f(each) for each in wide]).reshape(x.shape) if x.size else x
        if np.iscomplexobj(result) and np.isrealobj(x):
            if np.abs(result.imag).max() > 1e-10 * np.abs(result).max():  # else rounding, of SciPy before 1.16
                hint = "which Tensors cannot hold; keep eigenvalues off the negative axis"
                raise ValueError(f"{f.__name__} of this matrix has complex numbers, {hint}")
            result = result.real
        return result.astype(x.dtype)

    def function(x: Any) -> Any:
        x = np.asarray(x)
        return real(x if x.dtype.kind in "fc" else x.astype(float))

    def slope(x: Any, e: Any) -> Any:
        if f is linalg.sqrtm:
            _check_regular("the derivative of sqrtm", x)
        scale = np.abs(e).max(initial=0) / (np.abs(x).max(initial=0) or 1) or 1
        return _corner(real(_upper(x, e / scale))) * scale

    for made, name in ((function, f.__name__), (slope, f"{f.__name__}_slope")):
        made.__name__ = made.__qualname__ = name
    function.__doc__ = f"Return `scipy.linalg.{f.__name__}` of square matrices (..., n, n), in their dtype."
    slope.__doc__ = f"Return the derivative of `{f.__name__}` at x along e."
    op, along = tg.primitive(function), tg.primitive(slope)
    tg.vjp(op, lambda g, out, x: along(_t(x), g))
    tg.vjp(
        along,
        lambda g, out, x, e: _corner(along(_upper(_t(x), _t(e)), _upper(g, np.zeros_like(g)))),
        lambda g, out, x, e: along(_t(x), g),
    )
    return op


expm, logm, sqrtm = map(_matrix_function, (linalg.expm, linalg.logm, linalg.sqrtm))
cosm, sinm, tanm = map(_matrix_function, (linalg.cosm, linalg.sinm, linalg.tanm))
coshm, sinhm, tanhm = map(_matrix_function, (linalg.coshm, linalg.sinhm, linalg.tanhm))


@tg.primitive
def solve_triangular(a: T, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False) -> T:
    """Return the solution x of ``a @ x = b``, where one triangle of ``a`` is read.

    Args:
        a: the matrix, of shape (n, n).
        b: the right side, of shape (n,) or (n, k).
        trans: 1 or "T" solves ``a.T @ x = b``.
        lower: whether it is the lower triangle.
        unit_diagonal: whether the diagonal is taken for ones.

    >>> solve_triangular(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([2.0, 3.0]), lower=True)
    array([1., 2.])
    """
    return linalg.solve_triangular(a, b, trans, lower, unit_diagonal, check_finite=False)


def _solve_b(g: Any, out: Any, a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False) -> Any:
    return solve_triangular(a, g, int(trans in (0, "N")), lower, unit_diagonal)


def _solve_a(g: Any, out: Any, a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False) -> Any:
    of_b = _solve_b(g, out, a, b, trans, lower, unit_diagonal)
    row, column = (of_b, out) if trans in (0, "N") else (out, of_b)
    outer = np.outer(row, column) if g.ndim == 1 else np.matmul(row, _t(column))
    return -(np.tril(outer, -int(unit_diagonal)) if lower else np.triu(outer, int(unit_diagonal)))


tg.vjp(solve_triangular, _solve_a, _solve_b)


def cho_factor(a: Any, lower: bool = False) -> tuple[Any, bool]:
    """Return the Cholesky factor of a symmetric positive definite ``a`` and whether it is ``lower``, for `cho_solve`.

    The other triangle is 0, where SciPy leaves what stood there.

    >>> cho_factor(np.array([[4.0, 2.0], [2.0, 5.0]]))[0]
    array([[2., 1.],
           [0., 2.]])
    """
    factor = np.linalg.cholesky(a)
    return (factor if lower else _t(factor)), lower


def cho_solve(c_and_lower: tuple[Any, bool], b: Any) -> Any:
    """Return the solution of ``a @ x = b``, where ``c_and_lower`` is the result of `cho_factor` of ``a``.

    >>> a, b = np.array([[4.0, 2.0], [2.0, 3.0]]), np.array([2.0, 1.0])
    >>> from tinygrad_mlp import func
    >>> func.grad(lambda a: b @ cho_solve(cho_factor(a), b))(a).round(6) + 0.0  # minus the solution's outer product
    array([[-0.25,  0.  ],
           [ 0.  ,  0.  ]])
    """
    c, lower = c_and_lower
    first, second = (0, 1) if lower else (1, 0)
    return solve_triangular(c, solve_triangular(c, b, first, lower), second, lower)
