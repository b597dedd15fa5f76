"""`scipy.special` on Tensors: rules of its ufuncs, and those of its other functions that gradients are asked of.

The ufuncs are SciPy's own, and take Tensors as NumPy's do; their rules are loaded when one first meets a Tensor. The
incomplete gamma and beta functions have derivatives by all parameters: integrals of their densities times powers of
logarithms, whose derivatives are such integrals again.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from scipy import special

import tinygrad_mlp as tg

__all__ = ["log_softmax", "logsumexp", "polygamma", "softmax"]
T = TypeVar("T", bound=Any)


def __getattr__(name: str) -> Any:
    return getattr(special, name)


def logsumexp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return ``log(sum(exp(a)))`` over ``axis``, one, several or all; ``keepdims`` keeps these with length 1.

    With weights b, which SciPy takes as an option, it is ``logsumexp(a + np.log(b))``.

    >>> logsumexp(np.array([1000.0, 1000.0])) == 1000 + np.log(2)
    np.True_
    """
    return tg.functional.logsumexp(a, axis, keepdims)


def softmax(x: Any, axis: Any = None) -> Any:
    """Return ``exp(x) / sum(exp(x))``, where the sum is over ``axis``, or over all.

    >>> softmax(np.zeros((2, 2)))
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return tg.functional.softmax(x, axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """Return ``log(softmax(x, axis))``, exact where the softmax underflows.

    >>> log_softmax(np.array([0.0, -1000.0]))
    array([    0., -1000.])
    """
    return tg.functional.log_softmax(x, axis)


_TWO_OVER_ROOT_PI, _ROOT_TWO_PI = 2 / math.sqrt(math.pi), math.sqrt(2 * math.pi)


def _of(function: Any, *args: Any) -> Any:
    """Call a function; of Python's numbers it gives one, which does not decide the dtype of what it meets."""
    return float(function(*args)) if all(isinstance(a, (int, float)) for a in args) else function(*args)


def _digamma(x: Any) -> Any:
    return _of(special.digamma, x)


@tg.primitive
def polygamma(n: int, x: T) -> T:
    """Return the ``n``-th derivative of `digamma` at ``x``.

    >>> polygamma(1, np.array([1.0])).round(6)  # pi**2 / 6
    array([1.644934])
    """
    values: Any = special.polygamma(n, x)
    return values.astype(x.dtype) if hasattr(x, "dtype") else float(values)  # type: ignore[return-value]


_NODES = np.polynomial.legendre.leggauss(96)
_DROP = 45.0
"""By how much the logarithm of a density falls where the rest of its integral is less than rounding."""


def _integral(f: Any, low: Any, high: Any) -> Any:
    """Return integrals of a smooth function of arrays, by Gauss's formula on two panels; the upper one is short."""
    middle = high - np.minimum((high - low) / 2, 12.0)
    total = 0.0
    for a, b in ((low, middle), (middle, high)):
        s = a[..., None] + (b - a)[..., None] * (_NODES[0] + 1) / 2
        total = total + (f(s) @ _NODES[1]) * (b - a) / 2
    return total


def _wide(*arrays: Any) -> list[Any]:
    """Return arrays of float64 of one shape; raise TypeError for complex ones."""
    return list(np.broadcast_arrays(*(np.asarray(a).astype(np.float64, casting="safe") for a in arrays)))


@tg.primitive
def gamma_moment(a: T, x: Any, k: int) -> T:
    """Return the integral from 0 to x of the gamma density, times ``(log(t) - digamma(a))**k``.

    It is computed over ``s = log(t)``. For k = 1 the whole integral is 0, and beyond the mode minus the rest is taken.
    """
    dtype = np.result_type(a, x)
    a, x = _wide(a, x)
    end, peak, mean = np.log(x), np.log(a), special.digamma(a)
    left, m = _DROP / a + 1, np.maximum(a, x)
    right = np.minimum(np.sqrt(2 * _DROP / m), np.log(2 * _DROP / m + 4))

    def density(s: Any) -> Any:
        column = a[..., None]
        logarithm = column * s - np.exp(s) - special.gammaln(column)
        return np.exp(logarithm) * (s - mean[..., None]) ** k

    lower = _integral(density, np.minimum(end, peak) - left, np.minimum(end, peak + left))
    if k == 1:
        upper = _integral(density, np.maximum(end, peak - left), np.maximum(end, peak) + right)
        lower = np.where(end > peak, -upper, lower)
    return lower.astype(dtype)


def _gamma_density(a: Any, x: Any) -> Any:
    return np.exp((a - 1) * np.log(x) - x - _of(special.gammaln, a))


def _gamma_moment_a(g: Any, out: Any, a: Any, x: Any, k: int) -> Any:
    slope = gamma_moment(a, x, k + 1)
    return g * (slope if k == 0 else slope - k * (polygamma(1, a) * _moment(a, x, k - 1)))


def _moment(a: Any, x: Any, k: int) -> Any:
    return gamma_moment(a, x, k) if k else special.gammainc(a, x)


@tg.primitive
def beta_moment(a: T, b: Any, x: Any, j: int, k: int) -> T:
    """Return the integral from 0 to x of the beta density, times powers of log(t) and log(1 - t) less their means.

    It is computed over ``s = log(t / (1 - t))``. For j + k = 1 the whole integral is 0, and beyond the mode minus the
    rest is taken.
    """
    dtype = np.result_type(a, b, x)
    a, b, x = _wide(a, b, x)
    end, peak, both = special.logit(x), np.log(a / b), special.digamma(a + b)
    left, right = (_DROP + (a + b) * np.log((a + b) / b)) / a, (_DROP + (a + b) * np.log((a + b) / a)) / b
    means = special.digamma(a) - both, special.digamma(b) - both

    def density(s: Any) -> Any:
        t, rest = special.log_expit(s), special.log_expit(-s)
        logarithm = a[..., None] * t + b[..., None] * rest - special.betaln(a, b)[..., None]
        return np.exp(logarithm) * (t - means[0][..., None]) ** j * (rest - means[1][..., None]) ** k

    lower = _integral(density, np.minimum(end, peak) - left, np.minimum(end, peak + right))
    if j + k == 1:
        mirrored = _integral(lambda s: density(-s), np.minimum(-end, -peak) - right, np.minimum(-end, -peak + left))
        lower = np.where(end > peak, -mirrored, lower)
    return lower.astype(dtype)


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    return np.exp((a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - _of(special.betaln, a, b))


def _means(a: Any, b: Any) -> tuple[Any, Any]:
    both = _digamma(a + b)
    return _digamma(a) - both, _digamma(b) - both


def _beta_moment(a: Any, b: Any, x: Any, j: int, k: int) -> Any:
    return beta_moment(a, b, x, j, k) if j + k else special.betainc(a, b, x)


def _beta_moment_by(which: int, a: Any, b: Any, x: Any, j: int, k: int) -> Any:
    """Return the derivative of a moment by a, or by b: the density's, and that of the means."""
    both = polygamma(1, a + b)
    of_t, of_rest = (polygamma(1, a) - both, -both) if which == 0 else (-both, polygamma(1, b) - both)
    slope = beta_moment(a, b, x, j + (which == 0), k + (which == 1))
    if j:
        slope = slope - j * (of_t * _beta_moment(a, b, x, j - 1, k))
    return slope - k * (of_rest * _beta_moment(a, b, x, j, k - 1)) if k else slope


def _beta_moment_x(g: Any, a: Any, b: Any, x: Any, j: int, k: int) -> Any:
    mean, mean_of_rest = _means(a, b)
    powers = [np.log(x) - mean] * j + [np.log1p(-x) - mean_of_rest] * k
    return g * math.prod(powers, start=_beta_density(a, b, x))


tg.vjp(polygamma, None, lambda g, out, n, x: g * polygamma(n + 1, x))
tg.vjp(special.digamma, lambda g, out, x: g * polygamma(1, x))
tg.vjp(special.gammaln, lambda g, out, x: g * _digamma(x))
tg.vjp(special.gamma, lambda g, out, x: g * (out * _digamma(x)))
tg.vjp(
    special.beta,
    lambda g, out, a, b: g * (out * (_digamma(a) - _digamma(a + b))),
    lambda g, out, a, b: g * (out * (_digamma(b) - _digamma(a + b))),
)
tg.vjp(
    special.betaln,
    lambda g, out, a, b: g * (_digamma(a) - _digamma(a + b)),
    lambda g, out, a, b: g * (_digamma(b) - _digamma(a + b)),
)
tg.vjp(
    special.gammainc,
    lambda g, out, a, x: g * gamma_moment(a, x, 1),
    lambda g, out, a, x: g * _gamma_density(a, x),
)
tg.vjp(
    special.gammaincc,
    lambda g, out, a, x: -g * gamma_moment(a, x, 1),
    lambda g, out, a, x: -g * _gamma_density(a, x),
)
tg.vjp(
    gamma_moment,
    _gamma_moment_a,
    lambda g, out, a, x, k: g * math.prod([np.log(x) - _digamma(a)] * k, start=_gamma_density(a, x)),
    None,
)
tg.vjp(
    special.betainc,
    lambda g, out, a, b, x: g * beta_moment(a, b, x, 1, 0),
    lambda g, out, a, b, x: g * beta_moment(a, b, x, 0, 1),
    lambda g, out, a, b, x: g * _beta_density(a, b, x),
)
tg.vjp(
    beta_moment,
    lambda g, out, a, b, x, j, k: g * _beta_moment_by(0, a, b, x, j, k),
    lambda g, out, a, b, x, j, k: g * _beta_moment_by(1, a, b, x, j, k),
    lambda g, out, a, b, x, j, k: _beta_moment_x(g, a, b, x, j, k),
    None,
    None,
)

tg.vjp(special.erf, lambda g, out, x: g * (_TWO_OVER_ROOT_PI * np.exp(-x * x)))
tg.vjp(special.erfc, lambda g, out, x: -g * (_TWO_OVER_ROOT_PI * np.exp(-x * x)))
tg.vjp(special.erfcx, lambda g, out, x: g * (2 * x * out - _TWO_OVER_ROOT_PI))
tg.vjp(special.erfinv, lambda g, out, x: g * (np.exp(out * out) / _TWO_OVER_ROOT_PI))
tg.vjp(special.ndtr, lambda g, out, x: g * (np.exp(-0.5 * (x * x)) / _ROOT_TWO_PI))
tg.vjp(special.ndtri, lambda g, out, x: g * (np.exp(0.5 * (out * out)) * _ROOT_TWO_PI))
tg.vjp(special.log_ndtr, lambda g, out, x: g * (np.exp(-0.5 * (x * x) - out) / _ROOT_TWO_PI))
tg.vjp(special.expit, lambda g, out, x: g * (out * (1 - out)))
tg.vjp(special.logit, lambda g, out, x: g / (x * (1 - x)))
tg.vjp(special.log_expit, lambda g, out, x: g * special.expit(-x))
tg.vjp(
    special.xlogy,
    lambda g, out, x, y: g * np.log(np.where((x == 0) & (y == 0), 1.0, y)),
    lambda g, out, x, y: g * x / y,
)
tg.vjp(special.xlog1py, lambda g, out, x, y: g * _of(np.log1p, y), lambda g, out, x, y: g * x / (y + 1))
tg.vjp(special.entr, lambda g, out, x: -g * (np.log(x) + 1))
tg.vjp(special.rel_entr, lambda g, out, x, y: g * (np.log(x / y) + 1), lambda g, out, x, y: -g * x / y)


def _beside(f: Any, v: Any, x: Any) -> Any:
    """Return a Bessel function of the order below, plus that of the order above."""
    return f(v - 1, x) + f(v + 1, x)


def no_order(*_: Any) -> Any:
    """Refuse to differentiate a Bessel function by its order."""
    raise tg.NoRuleError("Bessel functions have no derivative by their order; pass it as a constant")


tg.vjp(special.jv, no_order, lambda g, out, v, x: g * (0.5 * (special.jv(v - 1, x) - special.jv(v + 1, x))))
tg.vjp(special.iv, no_order, lambda g, out, v, x: g * (0.5 * _beside(special.iv, v, x)))
tg.vjp(special.i0, lambda g, out, x: g * special.i1(x))
tg.vjp(special.i1, lambda g, out, x: g * (0.5 * (special.i0(x) + special.iv(2, x))))
tg.vjp(special.ive, no_order, lambda g, out, v, x: g * (0.5 * _beside(special.ive, v, x) - np.sign(x) * out))
tg.vjp(special.i0e, lambda g, out, x: g * (special.i1e(x) - np.sign(x) * out))
tg.vjp(special.i1e, lambda g, out, x: g * (0.5 * (special.i0e(x) + special.ive(2, x)) - np.sign(x) * out))
tg.vjp(special.j0, lambda g, out, x: -g * special.j1(x))
tg.vjp(special.j1, lambda g, out, x: g * (0.5 * (special.j0(x) - special.jv(2, x))))
tg.vjp(special.y0, lambda g, out, x: -g * special.y1(x))
tg.vjp(special.y1, lambda g, out, x: g * (special.y0(x) - out / x))
tg.vjp(special.exp1, lambda g, out, x: -g * np.exp(-x) / x)
tg.vjp(special.expi, lambda g, out, x: g * np.exp(x) / x)
tg.vjp(special.rgamma, lambda g, out, x: -g * (out * _digamma(x)))
tg.vjp(special.loggamma, lambda g, out, x: g * _digamma(x))
tg.vjp(special.kl_div, lambda g, out, x, y: g * np.log(x / y), lambda g, out, x, y: g * (1 - x / y))
tg.annotate(
    special.gammaln, special.digamma, hint="the gamma function is infinite at 0, -1, -2, ...: keep arguments positive"
)
