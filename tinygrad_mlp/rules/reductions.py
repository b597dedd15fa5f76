"""Rules of functions that reduce axes: their derivatives spread the gradient along what was reduced."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..errors import OptionError, ShapeError, out_of_range
from .elementwise import nonzero, select
from .shapes import Axis, Shape, along, astype, flat, kept_shape, reduced_axes, spread
from .table import Function, Operand, T, annotate, composite, constant, numpys_own, primitive, vjp


def reduced_size(shape: Shape, axis: Axis) -> int:
    """Return how many elements each result of a reduction over ``axis`` comes from.

    >>> reduced_size((2, 3, 4), (0, -1))
    8
    """
    return math.prod(shape[i] for i in reduced_axes(len(shape), axis))


def _mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return x.sum(axis=axis, keepdims=keepdims) / _count("mean", x, axis)


def _mean_x(g: Any, out: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return spread(g / reduced_size(x.shape, axis), x.shape, axis)


def _var(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    count, deviation = _count("variance", x, axis, ddof), _from_mean(x, axis)
    return (deviation * deviation).sum(axis=axis, keepdims=keepdims) / count


def _var_x(g: Any, out: Any, x: Any, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    return _kept(2 * g / _count("variance", x, axis, ddof), x, axis) * _from_mean(x, axis)


def _from_mean(x: Any, axis: Axis) -> Any:
    return x - x.mean(axis=axis, keepdims=True)


def _count(name: str, x: Any, axis: Axis, ddof: int = 0) -> int:
    count = reduced_size(x.shape, axis)
    if count == 0:
        raise ValueError(f"the {name} of no elements is undefined; check for empty input first")
    return max(count - ddof, 0)


def _to_ties(g: Any, out: Any, x: Any, axis: Axis) -> Any:
    """Spread the gradient of a maximum or minimum evenly among the elements that equal it, or all if it is NaN."""
    top = _kept(out, x, axis)
    hit = (x == top) | (top != top)
    return select(hit, spread(_kept(g, x, axis) / hit.sum(axis=axis, keepdims=True, dtype=x.dtype), x.shape, axis))


def _std_x(g: Any, out: Any, x: Any, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """Return the gradient of a standard deviation: 0 where that is 0, but for the rounding of the mean."""
    size = nonzero(out * (x.max(axis=axis, keepdims=keepdims) != x.min(axis=axis, keepdims=keepdims)))
    return _kept(g / (size * _count("std", x, axis, ddof)), x, axis) * _from_mean(x, axis)


def _kept(g: Any, x: Any, axis: Axis) -> Any:
    """Return the gradient of a reduction of ``x`` in a shape that broadcasts with ``x``."""
    return g.reshape(kept_shape(x.shape, axis)) if g.ndim else g


vjp(np.sum, lambda g, out, x, *, axis=None, dtype=None, keepdims=False: spread(g, x.shape, axis), linear=True)
vjp(np.mean, _mean_x, forward=_mean, linear=True)
vjp(np.var, _var_x, forward=_var)
vjp(np.std, _std_x, forward=lambda x, axis=None, ddof=0, keepdims=False: np.sqrt(_var(x, axis, ddof, keepdims)))
for _max in (np.max, np.amax, np.min, np.amin):  # these pass a NaN on
    vjp(_max, lambda g, out, x, *, axis=None, keepdims=False: _to_ties(np.where(out == out, g, out), out, x, axis))
for _max in (np.nanmax, np.nanmin):
    vjp(_max, lambda g, out, x, *, axis=None, keepdims=False: _to_ties(select(out == out, g), out, x, axis))


@primitive
def euclidean_norm(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """Return sqrt(sum(x * x)), scaled first so that neither overflows nor underflows."""
    scale = _top(np.abs(x.real), axis)
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1)
    unit = x / scale
    norm = np.sqrt((unit * unit).sum(axis=axis, keepdims=True)) * scale
    return norm if keepdims else np.squeeze(norm, axis=axis)


vjp(euclidean_norm, lambda g, out, x, axis=None, keepdims=False: _kept(g, x, axis) * (x / _kept(nonzero(out), x, axis)))


def _norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return a norm of vectors or of matrices."""
    x = x if x.dtype.kind in "fc" else astype(x, np.float64)
    axes = reduced_axes(x.ndim, axis)
    if (ord is None and axis is None) or (len(axes), ord) in ((1, None), (1, 2), (2, None), (2, "fro"), (2, "f")):
        return euclidean_norm(x, axis, keepdims)
    if len(axes) not in (1, 2):
        raise ShapeError(f"linalg.norm: ord={ord!r} needs one axis or two, got shape {x.shape}, axis={axis}")
    largest = np.sum if ord == "nuc" else np.max if ord > 0 else np.min
    if len(axes) == 2 and ord in ("nuc", 2, -2):
        result = largest(np.linalg.svdvals(np.moveaxis(x, axes, (-2, -1))), axis=-1)
        return result.reshape(kept_shape(x.shape, axes)) if keepdims else result
    if isinstance(ord, str) or (len(axes) == 2 and abs(ord) not in (1, np.inf)):
        raise OptionError(f"linalg.norm: there is no norm ord={ord!r} over {len(axes)} axes")
    size = np.abs(x)
    if len(axes) == 2:
        size = size.sum(axis=axes[abs(ord) != 1], keepdims=True)
    if len(axes) == 2 or abs(ord) == np.inf:
        return largest(size, axis=axes, keepdims=keepdims)
    if ord == 0:
        return (x != 0).sum(axis=axis, dtype=x.dtype, keepdims=keepdims)
    powers = np.where(x == 0, 0.0 if ord > 0 else np.inf, np.power(np.where(x == 0, 1.0, size), ord))
    total = powers.sum(axis=axis, keepdims=keepdims)
    zero = (total == 0) & (ord > 0)
    return np.where(zero, 0.0, np.power(np.where(zero, 1.0, total), 1 / ord))


def _gathered(x: Any, axis: Axis) -> Any:
    """Return an array whose first axis runs over all that a reduction over ``axis`` reduces."""
    reduced = reduced_axes(x.ndim, axis)
    kept = [i for i in range(x.ndim) if i not in reduced]
    return np.transpose(x, [*reduced, *kept]).reshape(reduced_size(x.shape, axis), *(x.shape[i] for i in kept))


def _counted(x: Any) -> Any:
    """Return truth values as the numbers 0 and 1."""
    return x * 1 if x.dtype == bool else x


def _prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the product as a tree of multiplications: exact derivatives of every order, zeros or not."""
    axis = None if x.ndim == 0 and axis in (0, -1) else axis  # as np.multiply.reduce has it
    shape, x = kept_shape(x.shape, axis), _gathered(_counted(x), axis)
    if len(x) == 0:
        x = x.sum(axis=0, keepdims=True) + 1
    while len(x) > 1:
        half = len(x) // 2
        pairs = x[:half] * x[half : 2 * half]
        x = np.concatenate([pairs, x[2 * half :]]) if len(x) % 2 else pairs
    return x.reshape(shape) if keepdims else x[0]


def _cumprod(x: Any, axis: int | None = None) -> Any:
    """Return the running product by doubling: each step multiplies by what stands 1, 2, 4, ... before."""
    x, axis = flat(x, axis)
    x = np.moveaxis(np.atleast_1d(_counted(x)), axis, 0)
    shift = 1
    while shift < len(x):
        x = np.concatenate([x[:shift], x[shift:] * x[:-shift]])
        shift *= 2
    return np.moveaxis(x, 0, axis)


@primitive
def total_weight(total: T) -> T:
    """Return what `numpy.average` divides by; raise ZeroDivisionError where it is 0."""
    if np.any(total == 0):
        raise ZeroDivisionError("the weights sum to zero; check them first")
    return total


vjp(total_weight, lambda g, out, total: g, view=True)


def _average(x: Any, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Any:
    reduced = reduced_axes(x.ndim, axis)
    if weights is None:
        return x.mean(axis=axis, keepdims=keepdims)
    if np.shape(weights) != x.shape:
        if axis is None or np.shape(weights) != tuple(x.shape[i] for i in reduced):
            raise ShapeError(f"average: weights of shape {np.shape(weights)} fit neither the array nor axis={axis}")
        shape = [n if i in reduced else 1 for i, n in enumerate(x.shape)]
        weights = np.reshape(np.transpose(weights, np.argsort(reduced)), shape)
    weights = weights * np.ones(x.shape, x.dtype)
    return (x * weights).sum(axis=axis, keepdims=keepdims) / total_weight(weights.sum(axis=axis, keepdims=keepdims))


def _quantile(x: Any, q: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return quantiles by linear interpolation between the two nearest elements in order, NaN if there is one."""
    shape, x = kept_shape(x.shape, axis), np.sort(_gathered(x, axis), axis=0)
    place = np.asarray(q) * (len(x) - 1)
    if not ((np.asarray(q) >= 0) & (np.asarray(q) <= 1)).all():
        raise OptionError(f"quantiles must be in the range [0, 1], and percentiles in [0, 100]; got {q}")
    if len(x) == 0:
        raise ValueError("the quantile of no elements is undefined; check for empty input first")
    low = np.floor(place).astype(int)
    result = x[low]
    if place.dtype.kind == "f":
        share = (place - low).reshape(place.shape + (1,) * (x.ndim - 1))
        share = share.item() if isinstance(q, float) else share  # a number does not decide the dtype
        result = result * (1 - share) + share * select(share > 0, x[np.minimum(low + 1, len(x) - 1)])
    result = np.where(np.isnan(x[-1]), x[-1], result)
    return result.reshape(place.shape + shape) if keepdims else result


def _without_nan(x: Any, fill: int = 0) -> Any:
    return np.where(np.isnan(x), x.dtype.type(fill), x)


def _present(x: Any, axis: Axis, keepdims: bool, ddof: int = 0) -> Any:
    """Return how many numbers each result comes from, less ``ddof``, as a denominator: NaN where none is left."""
    floats = x.dtype.kind in "fc"
    count = (~np.isnan(x)).sum(axis=axis, dtype=x.dtype if floats else np.float64, keepdims=keepdims)
    return np.where(count > ddof, count - ddof, np.nan if floats else 0.0)


def _deviation(x: Any, axis: Axis) -> Any:
    """Return how far the numbers are from their mean, 0 for NaN."""
    return np.where(np.isnan(x), 0.0, x - np.nanmean(x, axis=axis, keepdims=True))


def _nanvar(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    return np.square(_deviation(x, axis)).sum(axis=axis, keepdims=keepdims) / _present(x, axis, keepdims, ddof)


def _nanstd(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """Return the root of the variance, a constant 0 where all are equal, though their mean rounds."""
    extent = np.nanmax(x, axis=axis, keepdims=True) - np.nanmin(x, axis=axis, keepdims=True)
    norm = euclidean_norm(select(extent != 0, _deviation(x, axis)), axis, keepdims)
    return norm / np.sqrt(_present(x, axis, keepdims, ddof))


@primitive
def order(axis: int, *keys: Any) -> Any:
    """Return ``np.lexsort(keys, axis)``."""
    return np.lexsort(keys, axis)


def _diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    if n < 0:
        raise out_of_range("n of diff", n, "0 or more")
    for _ in range(n):
        x = along(x, axis, 1, None) - along(x, axis, None, -1)
    return x


def _trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    steps = dx if x is None else np.diff(x, axis=axis if np.ndim(x) > 1 else 0)
    if np.ndim(x) == 1:
        steps = np.reshape(steps, (-1,) + (1,) * (np.ndim(y) - 1 - reduced_axes(np.ndim(y), axis)[0]))
    return (steps * (along(y, axis, None, -1) + along(y, axis, 1, None)) / 2).sum(axis=axis)


def _cov(m: Any, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Any:
    m = astype(np.atleast_2d(m if rowvar or m.ndim < 2 else m.T), np.result_type(m.dtype, np.float64))
    deviation = _from_mean(m, 1)
    freedom = m.shape[1] - (int(not bias) if ddof is None else operator.index(ddof))
    return np.squeeze(deviation @ deviation.T / max(freedom, 0))


def _corrcoef(x: Any, rowvar: bool = True) -> Any:
    c = np.atleast_2d(np.cov(x, rowvar=rowvar))
    scale = np.sqrt(np.diagonal(c))
    return np.squeeze(c / scale[:, None] / scale)


def _cumsum_x(g: Any, out: Any, x: Any, *, axis: int | None = None) -> Any:
    return np.flip(np.cumsum(np.flip(g, axis), axis), axis).reshape(x.shape)


vjp(np.cumsum, _cumsum_x, linear=True)
composite({
    np.linalg.norm: _norm, np.prod: _prod, np.cumprod: _cumprod, np.average: _average, np.quantile: _quantile,
    np.nanvar: _nanvar, np.nanstd: _nanstd,
    np.diff: _diff, np.trapezoid: _trapezoid, np.cov: _cov, np.corrcoef: _corrcoef,
    np.linalg.matrix_norm: lambda x, *, ord="fro", keepdims=False: _norm(x, ord, (-2, -1), keepdims),
    np.ptp: lambda x, axis=None, keepdims=False:
        x.max(axis=axis, keepdims=keepdims) - x.min(axis=axis, keepdims=keepdims),
    np.nanmean: lambda x, axis=None, keepdims=False:
        np.nansum(x, axis=axis, keepdims=keepdims) / _present(x, axis, keepdims),
    np.percentile: lambda x, q, axis=None, keepdims=False: _quantile(x, np.divide(q, 100), axis, keepdims),
    np.median: lambda x, axis=None, keepdims=False: _quantile(x, 0.5, axis, keepdims),
    np.nansum: lambda x, axis=None, keepdims=False: np.sum(_without_nan(x), axis, keepdims=keepdims),
    np.nanprod: lambda x, axis=None, keepdims=False: np.prod(_without_nan(x, 1), axis, keepdims=keepdims),
    np.nancumsum: lambda x, axis=None: np.cumsum(_without_nan(x), axis),
    np.nancumprod: lambda x, axis=None: np.cumprod(_without_nan(x, 1), axis),
    np.ediff1d: lambda x: _diff(np.ravel(x)),
    **numpys_own(np.shape, np.ndim, np.size),
    np.lexsort: lambda keys, axis=-1: order(operator.index(axis), *keys),
})  # fmt: skip


def _top(x: Any, axis: Axis) -> Any:
    """Return the maximum, also of nothing."""
    return x.max(axis=axis, keepdims=True) if x.size else np.zeros(kept_shape(x.shape, axis), x.dtype)


@primitive
def logsumexp(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """Return ``log(sum(exp(x)))`` without overflow; an infinite maximum is the result.

    ``axis`` and ``keepdims`` are those of `numpy.sum`.
    """
    top = _top(x, axis)
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
def softmax(x: T, axis: int = -1) -> T:
    """Return ``exp(x) / sum(exp(x))`` along ``axis``."""
    e = np.exp(x - _top(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


@primitive
def log_softmax(x: T, axis: int = -1) -> T:
    """Return ``log(softmax(x))`` along ``axis``, exact where the softmax underflows."""
    z = x - _top(x, axis)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True)) if x.size else z


vjp(logsumexp, lambda g, out, x, axis=None, keepdims=False: _kept(g, x, axis) * _weights(_kept(out, x, axis), x, axis))
vjp(softmax, lambda g, out, x, axis=-1: out * (g - (g * out).sum(axis=axis, keepdims=True)))
vjp(log_softmax, lambda g, out, x, axis=-1: g - np.exp(out) * g.sum(axis=axis, keepdims=True))

constant(
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.argwhere,
    np.flatnonzero, np.nonzero, np.count_nonzero, np.any, np.all, np.array_equal, np.array_equiv,
    np.searchsorted, np.digitize, np.isin, np.linalg.matrix_rank,
    np.zeros_like, np.ones_like, np.empty_like, order,
)  # fmt: skip


def _emit_reduction(ufunc: str) -> Function:
    def emit(out: Operand, x: Operand, *, axis: Any = None, **keywords: Operand) -> str:
        single = axis is not None and isinstance(axis.value, tuple) and len(axis.value) == 1
        options = "".join(f", {k}={v}" for k, v in keywords.items() if v.value not in (None, False))
        return f"{ufunc}.reduce({x}, axis={axis.value[0] if single else axis}{options}, out={out})"

    return emit


def _emit_cumsum(out: Operand, x: Operand, *, axis: Any = None) -> str:
    return f"np.cumsum({x}, out={out})" if axis is None else f"np.add.accumulate({x}, axis={axis}, out={out})"


annotate(np.mean, np.var, np.std, euclidean_norm, logsumexp, softmax, log_softmax, inline=True)
annotate(total_weight, effect=True)
annotate(np.nonzero, np.flatnonzero, np.argwhere, shaped_by_values=lambda x: [x])
_extreme = lambda out, x, axis=None, keepdims=False: x == spread(out, x.shape, axis)
annotate(np.max, np.amax, np.min, np.amin, branch=_extreme)
annotate(log_softmax, hint="the logits are infinite or NaN already: look at what made them")
annotate(np.sum, emit=_emit_reduction("np.add"), start="0")
annotate(np.max, emit=_emit_reduction("np.maximum"), start="-np.inf")
annotate(np.min, emit=_emit_reduction("np.minimum"), start="np.inf")
annotate(np.cumsum, emit=_emit_cumsum)
