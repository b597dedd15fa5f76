"""Rules of decompositions of matrices. Where values tie, vectors are not unique, and a gradient of theirs is refused.

Sources: Giles, Collected matrix derivative results, 2008; Townsend, Differentiating the singular value decomposition,
2016; Walter and Lehmann, arXiv:1009.6112 (QR); Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973 (pseudoinverse).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import NoRuleError
from .table import T, annotate, composite, primitive, vjp


def _t(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def _symmetric(x: Any) -> Any:
    return 0.5 * (x + _t(x))


def _product(*factors: Any) -> Any:
    first, *others = factors
    for other in others:
        first = np.matmul(first, other)
    return first


@primitive
def reciprocal_gaps(values: T, scale: Any) -> T:
    """Return ``1 / (values[j] - values[i])`` in row i, column j, 0 on the diagonal.

    Raises LinAlgError where two values tie, compared with the largest of ``scale``.
    """
    gaps = values[..., None, :] - values[..., :, None]
    off = ~np.eye(values.shape[-1], dtype=bool)
    least = np.abs(scale).max(axis=-1, initial=0)[..., None, None] * values.shape[-1] * np.finfo(values.dtype).eps
    if (off & (np.abs(gaps) <= least)).any():
        raise np.linalg.LinAlgError("values tie, and their vectors are not unique: these have no gradient there")
    return np.where(off, 1 / np.where(off, gaps, 1), 0)  # type: ignore[return-value]


def _reciprocal_gaps_x(g: Any, out: Any) -> Any:
    weighted = g * (out * out)
    return weighted.sum(axis=-1) - weighted.sum(axis=-2)


@primitive
def eigen(x: T) -> T:
    """Return the eigenvalues of the symmetric part of matrices in a first row, over the vectors in columns."""
    values, vectors = np.linalg.eigh(_symmetric(x))
    return np.concatenate([values[..., None, :], vectors], -2)  # type: ignore[return-value]


def _eigen_x(g: Any, out: Any) -> Any:
    vectors, values = out[..., 1:, :], out[..., 0, :]
    inner = reciprocal_gaps(values, values) * np.matmul(_t(vectors), g[..., 1:, :])
    inner = inner + g[..., 0, :][..., None] * np.eye(values.shape[-1], dtype=out.dtype)
    return _symmetric(_product(vectors, inner, _t(vectors)))


def _eigvalsh_x(g: Any, x: Any) -> Any:
    vectors = eigen(x)[..., 1:, :]
    return np.matmul(vectors * g[..., None, :], _t(vectors))


@primitive
def singular(x: T) -> T:
    """Return the thin singular value decomposition in one row each: U, the values, and V transposed."""
    if not np.isfinite(x).all():  # LAPACK may not end for others
        raise np.linalg.LinAlgError("singular vectors of numbers that are not finite do not exist; check the matrix")
    parts = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([p.reshape((*x.shape[:-2], -1)) for p in parts], -1)  # type: ignore[return-value]


def _parts(packed: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return U, the values, and V transposed."""
    *lead, m, n = shape
    k = min(m, n)
    u, s, v = packed[..., : m * k], packed[..., m * k : m * k + k], packed[..., m * k + k :]
    return u.reshape((*lead, m, k)), s, v.reshape((*lead, k, n))


def _singular_x(g: Any, out: Any, x: Any) -> Any:
    (u, s, vt), (gu, gs, gvt) = _parts(out, x.shape), _parts(g, x.shape)
    gaps, row, column = reciprocal_gaps(s * s, s * s), s[..., None, :], s[..., None]
    left, right = np.matmul(_t(u), gu), np.matmul(vt, _t(gvt))
    inner = (gaps * (left - _t(left))) * row + column * (gaps * (right - _t(right)))
    inner = inner + gs[..., None] * np.eye(s.shape[-1], dtype=x.dtype)
    result = _product(u, inner, vt)
    if x.shape[-2] > s.shape[-1]:
        result = result + np.matmul((gu - np.matmul(u, left)) / row, vt)
    if x.shape[-1] > s.shape[-1]:
        result = result + np.matmul(u, (gvt - np.matmul(_t(right), vt)) / column)
    return result


def _svdvals_x(g: Any, x: Any) -> Any:
    """Return the gradient of singular values; one that is 0 is as large on both sides, and has none."""
    u, s, vt = _parts(singular(x), x.shape)
    return np.matmul(u * (g * np.sign(s))[..., None, :], vt)


@primitive
def triangular(x: T) -> T:
    """Return Q and R of matrices with as many rows as columns or more, Q above R."""
    return np.concatenate(np.linalg.qr(x), -2)  # type: ignore[return-value]


def _triangular_x(g: Any, out: Any, x: Any) -> Any:
    m = x.shape[-2]
    q, r, gq, gr = out[..., :m, :], out[..., m:, :], g[..., :m, :], g[..., m:, :]
    inner = np.matmul(r, _t(gr)) - np.matmul(_t(gq), q)
    lower = np.tril(inner) + _t(np.tril(inner, -1))
    return _t(np.linalg.solve(r, _t(gq + np.matmul(q, lower))))


def _pinv_x(g: Any, out: Any, x: Any) -> Any:
    outer = np.matmul(out, _t(out))
    inner = np.matmul(_t(out), out)
    columns = _product(_t(g), outer) - _product(x, out, _t(g), outer)
    rows = _product(inner, _t(g)) - _product(inner, _t(g), out, x)
    return columns + rows - _product(_t(out), g, _t(out))


vjp(reciprocal_gaps, lambda g, out, values, scale: _reciprocal_gaps_x(g, out), None)
vjp(eigen, lambda g, out, x: _eigen_x(g, out))
vjp(singular, lambda g, out, x: _singular_x(g, out, x))
vjp(triangular, lambda g, out, x: _triangular_x(g, out, x))
vjp(np.linalg.eigvalsh, lambda g, out, x: _eigvalsh_x(g, x), forward=lambda x: np.linalg.eigvalsh(_symmetric(x)))
vjp(np.linalg.svdvals, lambda g, out, x: _svdvals_x(g, x))
vjp(np.linalg.pinv, lambda g, out, x: _pinv_x(g, out, x))
annotate(reciprocal_gaps, effect=True)

_EIGH, _QR, _SVD = type(np.linalg.eigh(np.eye(1))), type(np.linalg.qr(np.eye(1))), type(np.linalg.svd(np.eye(1)))


def _eigh(x: Any) -> Any:
    packed = eigen(x)
    return _EIGH(packed[..., 0, :], packed[..., 1:, :])


def _qr(x: Any) -> Any:
    if x.shape[-2] < x.shape[-1]:
        raise NoRuleError(f"qr has a rule for matrices with as many rows as columns or more, got {x.shape}")
    packed = triangular(x)
    return _QR(packed[..., : x.shape[-2], :], packed[..., x.shape[-2] :, :])


def _svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    if not compute_uv:
        return np.linalg.svdvals(x)
    if full_matrices and x.shape[-2] != x.shape[-1]:
        raise NoRuleError(f"svd of shape {x.shape} has vectors that are not unique; pass full_matrices=False")
    return _SVD(*_parts(singular(x), x.shape))


composite({np.linalg.eigh: _eigh, np.linalg.qr: _qr, np.linalg.svd: _svd})
