"""Rules of functions that reduce axes: their derivatives spread the gradient along what was reduced."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import NoRuleError, OptionError, ShapeError, out_of_range
from .elementwise import nonzero, select
from .shapes import Axis, Shape, kept_shape, reduced_axes, spread
from .table import annotate, composite, constant, primitive, vjp


def reduced_size(shape: Shape, axis: Axis) -> int:
    """Return how many elements each result of a reduction over ``axis`` comes from.

    >>> reduced_size((2, 3, 4), (0, -1))
    8
    """
    return math.prod(shape[i] for i in reduced_axes(len(shape), axis))


def _mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return x.sum(axis=axis, keepdims=keepdims) / _count("mean", x, axis)


def _var(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    count = _count("variance", x, axis)
    deviation = x - x.mean(axis=axis, keepdims=True)
    return (deviation * deviation).sum(axis=axis, keepdims=keepdims) / (count - ddof)


def _count(name: str, x: Any, axis: Axis) -> int:
    count = reduced_size(x.shape, axis)
    if count == 0:
        raise ValueError(f"the {name} of no elements is undefined; check for empty input first")
    return count


def _std(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    return np.sqrt(_var(x, axis, ddof, keepdims))


def _to_equals(g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Spread the gradient of a maximum or minimum evenly among the elements that equal it, which NaN never does."""
    hit = x == spread(out, x.shape, axis)
    ties = hit.sum(axis=axis, keepdims=keepdims, dtype=x.dtype)
    return select(hit, spread(g / np.maximum(ties, 1), x.shape, axis))


def _kept(g: Any, x: Any, axis: Axis) -> Any:
    """Return the gradient of a reduction of ``x`` in a shape that broadcasts with ``x``."""
    return g.reshape(kept_shape(x.shape, axis))


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
        _kept(g * (2 / (reduced_size(x.shape, axis) - ddof)), x, axis) * (x - x.mean(axis=axis, keepdims=True))
    ),
    forward=_var,
)
vjp(
    np.std,
    lambda g, out, x, *, axis=None, ddof=0, keepdims=False: (
        _kept(g / (nonzero(out) * (reduced_size(x.shape, axis) - ddof)), x, axis)
        * (x - x.mean(axis=axis, keepdims=True))
    ),
    forward=_std,
)
for _max in (np.max, np.amax, np.nanmax, np.min, np.amin, np.nanmin):
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
    lambda g, out, x, axis=None, keepdims=False: _kept(g / nonzero(out), x, axis) * x,
)


def _norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return a vector norm, or the Frobenius norm of matrices."""
    matrix = x.ndim == 2 if axis is None else isinstance(axis, tuple) and len(axis) == 2
    if ord is None or (ord == "fro" and matrix) or (ord == 2 and not matrix):
        return euclidean_norm(x, axis, keepdims)
    if matrix or isinstance(ord, str):
        raise NoRuleError(f"linalg.norm: ord={ord!r} of a matrix has no rule; use the Frobenius norm, ord=None")
    if axis is None and x.ndim != 1:
        raise ShapeError(f"linalg.norm: ord={ord!r} needs a vector or an axis, got shape {x.shape}")
    if abs(ord) == np.inf:
        return (np.max if ord > 0 else np.min)(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return (x != 0).sum(axis=axis, dtype=x.dtype, keepdims=keepdims)
    total = np.power(np.abs(x), ord).sum(axis=axis, keepdims=keepdims)
    zero = (total == 0) & (ord > 0)
    return np.where(zero, 0.0, np.power(np.where(zero, 1.0, total), 1 / ord))


def _gathered(x: Any, axis: Axis) -> Any:
    """Return an array whose first axis runs over all that a reduction over ``axis`` reduces."""
    reduced = reduced_axes(x.ndim, axis)
    kept = [i for i in range(x.ndim) if i not in reduced]
    return np.transpose(x, [*reduced, *kept]).reshape(reduced_size(x.shape, axis), *(x.shape[i] for i in kept))


def _prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the product as a tree of multiplications: exact derivatives of every order, zeros or not."""
    axis = None if x.ndim == 0 and axis in (0, -1) else axis  # as np.multiply.reduce has it
    shape, x = kept_shape(x.shape, axis), _gathered(x, axis)
    if len(x) == 0:
        x = x.sum(axis=0, keepdims=True) + 1
    while len(x) > 1:
        half = len(x) // 2
        pairs = x[:half] * x[half : 2 * half]
        x = np.concatenate([pairs, x[2 * half :]]) if len(x) % 2 else pairs
    return x.reshape(shape) if keepdims else x[0]


def _along(function: Any) -> Any:
    """Return a function of (x, axis) that flattens first where no axis is given, as NumPy's cumulative ones do."""
    return lambda x, axis=None: function(np.ravel(x), 0) if axis is None else function(x, axis)


def _cumprod(x: Any, axis: int) -> Any:
    """Return the running product by doubling: each step multiplies by what stands 1, 2, 4, ... before."""
    x = np.moveaxis(x, axis, 0)
    shift = 1
    while shift < len(x):
        x = np.concatenate([x[:shift], x[shift:] * x[:-shift]])
        shift *= 2
    return np.moveaxis(x, 0, axis)


def _average(x: Any, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Any:
    if weights is None:
        return x.mean(axis=axis, keepdims=keepdims)
    if np.shape(weights) != x.shape:
        reduced = reduced_axes(x.ndim, axis)
        if axis is None or np.shape(weights) != tuple(x.shape[i] for i in reduced):
            raise ShapeError(
                f"average: weights of shape {np.shape(weights)} are not one for each element or along axis"
            )
        shape = [n if i in reduced else 1 for i, n in enumerate(x.shape)]
        weights = np.reshape(np.transpose(weights, np.argsort(reduced)), shape)
    weights = weights * np.ones(x.shape, x.dtype)
    return (x * weights).sum(axis=axis, keepdims=keepdims) / weights.sum(axis=axis, keepdims=keepdims)


def _quantile(x: Any, q: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return quantiles by linear interpolation between the two nearest elements in order, NaN if there is one."""
    shape, x = kept_shape(x.shape, axis), np.sort(_gathered(x, axis), axis=0)
    q = np.asarray(q)
    if not ((q >= 0) & (q <= 1)).all():
        raise OptionError(f"quantiles must be in the range [0, 1], and percentiles in [0, 100]; got {q}")
    if len(x) == 0:
        raise ValueError("the quantile of no elements is undefined; check for empty input first")
    place = q * (len(x) - 1)
    low = np.floor(place).astype(int)
    share = (place - low).reshape(place.shape + (1,) * (x.ndim - 1)).astype(x.dtype)
    result = x[low] * (1 - share) + x[np.minimum(low + 1, len(x) - 1)] * share
    result = np.where(np.isnan(x[-1]), x[-1], result)
    return result.reshape(place.shape + shape) if keepdims else result


def _without_nan(x: Any, fill: float = 0.0) -> Any:
    return np.where(np.isnan(x), fill, x)


def _nanmean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    count = (~np.isnan(x)).sum(axis=axis, dtype=x.dtype, keepdims=keepdims)
    return np.nansum(x, axis=axis, keepdims=keepdims) / count


def _freedom(x: Any, axis: Axis, ddof: int, keepdims: bool) -> Any:
    """Return how many numbers each result comes from, less ``ddof``; NaN where none is left."""
    count = (~np.isnan(x)).sum(axis=axis, dtype=x.dtype, keepdims=keepdims)
    return np.where(count > ddof, count - ddof, np.nan)


def _nanvar(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    deviation = _without_nan(x - np.nanmean(x, axis=axis, keepdims=True))
    return np.square(deviation).sum(axis=axis, keepdims=keepdims) / _freedom(x, axis, ddof, keepdims)


def _nanstd(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    deviation = _without_nan(x - np.nanmean(x, axis=axis, keepdims=True))
    return euclidean_norm(deviation, axis, keepdims) / np.sqrt(_freedom(x, axis, ddof, keepdims))


def _lexsort(keys: Any, axis: int = -1) -> Any:
    order = np.argsort(keys[0], axis=axis, kind="stable")
    for key in keys[1:]:
        again = np.argsort(np.take_along_axis(key, order, axis), axis=axis, kind="stable")
        order = np.take_along_axis(order, again, axis)
    return order


def _diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    if n < 0:
        raise out_of_range("n of diff", n, "0 or more")
    x = np.moveaxis(x, axis, 0)
    for _ in range(n):
        x = x[1:] - x[:-1]
    return np.moveaxis(x, 0, axis)


def _trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    steps = dx if x is None else np.diff(x) if np.ndim(x) == 1 else np.moveaxis(np.diff(x, axis=axis), axis, -1)
    y = np.moveaxis(y, axis, -1)
    return ((y[..., 1:] + y[..., :-1]) * steps).sum(axis=-1) / 2


def _cov(m: Any, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Any:
    m = np.atleast_2d(m)
    m = m if rowvar or len(m) == 1 else m.T
    deviation = m - m.mean(axis=1, keepdims=True)
    freedom = m.shape[1] - ((0 if bias else 1) if ddof is None else ddof)
    return np.squeeze(deviation @ deviation.T / max(freedom, 0))


def _corrcoef(x: Any, rowvar: bool = True) -> Any:
    c = np.atleast_2d(np.cov(x, rowvar=rowvar))
    scale = np.sqrt(np.diagonal(c))
    return np.squeeze(c / scale[:, None] / scale)


def _cumsum_call(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> tuple[Any, dict[str, Any]]:
    given = {"dtype": dtype, "out": out}
    return ((np.ravel(a),), {"axis": 0, **given}) if axis is None else ((a,), {"axis": axis, **given})


vjp(
    np.cumsum,
    lambda g, out, x, *, axis: np.flip(np.cumsum(np.flip(g, axis), axis), axis).reshape(x.shape),
    forward=lambda x, axis: np.cumsum(x, axis),
    bind=_cumsum_call,
    linear=True,
)
composite(np.linalg.norm, _norm)
composite(np.prod, _prod)
composite(np.cumprod, _along(_cumprod))
composite(
    np.ptp, lambda x, axis=None, keepdims=False: np.max(x, axis, keepdims=keepdims) - np.min(x, axis, keepdims=keepdims)
)
composite(np.average, _average)
composite(np.quantile, _quantile)
composite(np.percentile, lambda x, q, axis=None, keepdims=False: _quantile(x, np.asarray(q) / 100, axis, keepdims))
composite(np.median, lambda x, axis=None, keepdims=False: _quantile(x, 0.5, axis, keepdims))
composite(np.nansum, lambda x, axis=None, keepdims=False: np.sum(_without_nan(x), axis, keepdims=keepdims))
composite(np.nanprod, lambda x, axis=None, keepdims=False: np.prod(_without_nan(x, 1.0), axis, keepdims=keepdims))
composite(np.nancumsum, lambda x, axis=None: np.cumsum(_without_nan(x), axis))
composite(np.nancumprod, lambda x, axis=None: np.cumprod(_without_nan(x, 1.0), axis))
composite(np.nanmean, _nanmean)
composite(np.nanvar, _nanvar)
composite(np.nanstd, _nanstd)
composite(np.diff, _diff)
composite(np.ediff1d, lambda x: _diff(np.ravel(x)))
composite(np.lexsort, _lexsort)
composite(np.trapezoid, _trapezoid)
composite(np.cov, _cov)
composite(np.corrcoef, _corrcoef)


@primitive
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return log(sum(exp(x))) without overflow; an infinite maximum is the result."""
    top = np.max(x, axis=axis, keepdims=True)
    shifted = x - np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore", over="ignore"):
        result = np.log(np.exp(shifted).sum(axis=axis, keepdims=True)) + np.where(np.isfinite(top), top, 0)
    return result if keepdims else np.squeeze(result, axis=axis)


def _weights(out: Any, x: Any, axis: Axis) -> Any:
    """Return the share of each element in its logsumexp, exp(x - out), also where both are infinite.

    Divided by their sum, since ``out`` has lost digits where x is large.
    """
    shares = np.exp(np.where(x == np.inf, 0.0, x - np.where(out == -np.inf, 0.0, out)))
    return shares / nonzero(shares.sum(axis=axis, keepdims=True))


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
    lambda g, out, x, axis=None, keepdims=False: _kept(g, x, axis) * _weights(_kept(out, x, axis), x, axis),
)
vjp(softmax, lambda g, out, x, axis=-1: out * (g - (g * out).sum(axis=axis, keepdims=True)))
vjp(log_softmax, lambda g, out, x, axis=-1: g - np.exp(out) * g.sum(axis=axis, keepdims=True))

constant(
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.argwhere,
    np.flatnonzero, np.nonzero, np.count_nonzero, np.any, np.all, np.array_equal, np.array_equiv,
    np.searchsorted, np.digitize, np.isin, np.linalg.matrix_rank,
    np.zeros_like, np.ones_like, np.empty_like,
)  # fmt: skip
composite(np.shape, lambda a: a.shape)
composite(np.ndim, lambda a: a.ndim)
composite(np.size, lambda a, axis=None: a.size if axis is None else a.shape[axis])


def _emit_reduction(ufunc: str) -> Any:
    def emit(out: Any, x: Any, *, axis: Any = None, **keywords: Any) -> str:
        single = axis is not None and isinstance(axis.value, tuple) and len(axis.value) == 1
        options = "".join(f", {k}={v}" for k, v in keywords.items() if v.value not in (None, False))
        return f"{ufunc}.reduce({x}, axis={axis.value[0] if single else axis}{options}, out={out})"

    return emit


annotate(np.mean, np.var, np.std, euclidean_norm, logsumexp, softmax, log_softmax, inline=True)
annotate(np.nonzero, np.flatnonzero, np.argwhere, shaped_by_values=lambda x: [x])
annotate(
    np.max, np.amax, np.min, np.amin, branch=lambda out, x, axis=None, keepdims=False: x == spread(out, x.shape, axis)
)
annotate(log_softmax, hint="the logits are infinite or NaN already: look at what made them")
annotate(np.sum, emit=_emit_reduction("np.add"))
annotate(np.max, emit=_emit_reduction("np.maximum"))
annotate(np.min, emit=_emit_reduction("np.minimum"))
