"""Rules of functions that reduce axes: their derivatives spread the gradient along what was reduced."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import NoRuleError
from .elementwise import select
from .shapes import Axis, Shape, kept_shape, reduced_axes, spread
from .table import composite, constant, primitive, vjp


def reduced_size(shape: Shape, axis: Axis) -> int:
    """Return how many elements each result of a reduction over ``axis`` comes from.

    >>> reduced_size((2, 3, 4), (0, -1))
    8
    """
    return math.prod(shape[i] for i in reduced_axes(len(shape), axis))


def _mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    count = reduced_size(x.shape, axis)
    if count == 0:
        raise ValueError("the mean of no elements is undefined; check for empty input first")
    return x.sum(axis=axis, keepdims=keepdims) / count


def _safe(deviation: Any) -> Any:
    """Return a denominator in which 0 is infinity, so that its quotient is 0 there: the subgradient that is chosen."""
    return np.where(deviation == 0, np.inf, deviation)


def _to_equals(g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Spread the gradient of a maximum or minimum evenly among the elements that equal it."""
    hit = x == spread(out, x.shape, axis)
    ties = hit.sum(axis=axis, keepdims=keepdims, dtype=x.dtype)
    return select(hit, spread(g / np.maximum(ties, 1), x.shape, axis))


vjp(np.sum, lambda g, out, x, *, axis=None, dtype=None, keepdims=False: spread(g, x.shape, axis), linear=True)
vjp(
    np.mean,
    lambda g, out, x, *, axis=None, keepdims=False: spread(g / reduced_size(x.shape, axis), x.shape, axis),
    forward=_mean,
    linear=True,
)
vjp(
    np.var,
    lambda g, out, x, *, axis=None, ddof=0, keepdims=False: (
        spread(g * (2 / (reduced_size(x.shape, axis) - ddof)), x.shape, axis) * (x - x.mean(axis=axis, keepdims=True))
    ),
)
vjp(
    np.std,
    lambda g, out, x, *, axis=None, ddof=0, keepdims=False: (
        spread(g / (_safe(out) * (reduced_size(x.shape, axis) - ddof)), x.shape, axis)
        * (x - x.mean(axis=axis, keepdims=True))
    ),
)
for _max in (np.max, np.amax, np.min, np.amin):
    vjp(_max, lambda g, out, x, *, axis=None, keepdims=False: _to_equals(g, out, x, axis, keepdims))


@primitive
def euclidean_norm(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return sqrt(sum(x * x)), scaled first so that neither overflows nor underflows."""
    if x.size == 0:
        return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
    scale = np.max(np.abs(x.real), axis=axis, keepdims=True)
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1)
    unit = x / scale
    norm = np.sqrt((unit * unit).sum(axis=axis, keepdims=True)) * scale
    return norm if keepdims else np.squeeze(norm, axis=axis)


vjp(
    euclidean_norm,
    lambda g, out, x, axis=None, keepdims=False: spread(g / _safe(out), x.shape, axis) * x,
)


def _norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return a vector norm, or the Frobenius norm of matrices."""
    matrix = x.ndim == 2 if axis is None else isinstance(axis, tuple) and len(axis) == 2
    if ord is None or (ord == "fro" and matrix) or (ord == 2 and not matrix):
        return euclidean_norm(x, axis, keepdims)
    if matrix or isinstance(ord, str):
        raise NoRuleError(f"linalg.norm: ord={ord!r} of a matrix has no rule; use the Frobenius norm, ord=None")
    if abs(ord) == np.inf:
        return (np.max if ord > 0 else np.min)(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return (x != 0).sum(axis=axis, keepdims=keepdims)
    return np.power(np.power(np.abs(x), ord).sum(axis=axis, keepdims=keepdims), 1 / ord)


def _prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the product as a tree of multiplications: exact derivatives of every order, zeros or not."""
    shape, reduced = kept_shape(x.shape, axis), reduced_axes(x.ndim, axis)
    kept = [i for i in range(x.ndim) if i not in reduced]
    n = reduced_size(x.shape, axis)
    x = x.transpose([*reduced, *kept]).reshape(n, *(x.shape[i] for i in kept))
    if n == 0:
        x = np.ones((1, *x.shape[1:]), x.dtype)
    while len(x) > 1:
        half = len(x) // 2
        pairs = x[:half] * x[half : 2 * half]
        x = np.concatenate([pairs, x[2 * half :]]) if len(x) % 2 else pairs
    return x.reshape(shape) if keepdims else x[0]


composite(np.linalg.norm, _norm)
composite(np.prod, _prod)


@primitive
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return log(sum(exp(x))) without overflow; an infinite maximum is the result."""
    top = np.max(x, axis=axis, keepdims=True)
    shifted = x - np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore", over="ignore"):
        result = np.log(np.exp(shifted).sum(axis=axis, keepdims=True)) + np.where(np.isfinite(top), top, 0)
    return result if keepdims else np.squeeze(result, axis=axis)


def _weights(out: Any, x: Any) -> Any:
    """Return exp(x - out), the share of each element in its logsumexp, also where both are infinite."""
    return np.exp(np.where(x == np.inf, 0.0, x - np.where(out == -np.inf, 0.0, out)))


@primitive
def softmax(x: Any, axis: int = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@primitive
def log_softmax(x: Any, axis: int = -1) -> Any:
    """Return log(softmax(x)) along an axis, exact where the softmax underflows."""
    z = x - x.max(axis=axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


vjp(
    logsumexp,
    lambda g, out, x, axis=None, keepdims=False: spread(g, x.shape, axis) * _weights(spread(out, x.shape, axis), x),
)
vjp(softmax, lambda g, out, x, axis=-1: out * (g - (g * out).sum(axis=axis, keepdims=True)))
vjp(log_softmax, lambda g, out, x, axis=-1: g - np.exp(out) * g.sum(axis=axis, keepdims=True))

constant(
    np.argmax, np.argmin, np.argsort, np.count_nonzero, np.any, np.all, np.nonzero, np.array_equal, np.searchsorted,
)  # fmt: skip
composite(np.shape, lambda a: a.shape)
composite(np.ndim, lambda a: a.ndim)
composite(np.size, lambda a: a.size)
