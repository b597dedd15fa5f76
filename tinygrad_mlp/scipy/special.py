"""`scipy.special` on Tensors: rules of its ufuncs, and those of its other functions that gradients are asked of.

The ufuncs are SciPy's own, and take Tensors as NumPy's do; their rules are loaded when one first meets a Tensor. The
incomplete gamma and beta functions have derivatives by all parameters, of any order: integrals of those of their
densities.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise
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
_ROOT_TWO_OVER_PI, _ROOT_HALF = math.sqrt(2 / math.pi), math.sqrt(0.5)


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


@tg.primitive
def polygamma_rise(n: int, a: T, b: Any) -> T:
    """Return ``polygamma(n, a + b) - polygamma(n, a)``, with all digits for positive a and a + b of any sizes.

    Both are moved up by 12, where their series in powers of 1 / a holds (DLMF 5.5.2, 5.11.2, 5.15.8): what is left are
    differences of such powers.

    >>> print(polygamma_rise(0, 1e10, 1.0).round(24))  # 1 / a, where the difference of digammas has five digits
    1e-10
    """
    dtype = np.result_type(a, b)
    a, b = _wide(a, b)
    positive = (a > 0) & (a + b > 0)
    elsewhere = special.polygamma(n, a + b) - special.polygamma(n, a)
    z, step = np.where(positive, a, 1.0), np.where(positive, b, 1.0)
    rise: Any = 0.0
    for i in range(12):
        rise = rise + math.factorial(n) * _change(z + i, step, n + 1)
    z = z + 12
    rise = rise + (math.factorial(n - 1) * _change(z, step, n) if n else -np.log1p(step / z))
    rise = rise + math.factorial(n) / 2 * _change(z, step, n + 1)
    for k, bernoulli in zip(range(2, 17, 2), special.bernoulli(16)[2::2], strict=True):
        rise = rise + bernoulli * math.factorial(k + n - 1) / math.factorial(k) * _change(z, step, k + n)
    return np.where(positive, -((-1) ** n) * rise, elsewhere).astype(dtype)


def _change(z: Any, step: Any, power: int) -> Any:
    """Return ``(z + step)**-power - z**-power``."""
    return np.expm1(-power * np.log1p(step / z)) * z**-power


_PARTS = 5
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_NODES = ((np.arange(_PARTS)[:, None] + (_POINTS + 1) / 2) / _PARTS).ravel(), np.tile(_WEIGHTS / 2 / _PARTS, _PARTS)
"""Points and weights for integrals from 0 to 1: five times 20 of them, since weights of 100 at once have 12 digits."""
_BREAKS = (-36.0, -6.0, 6.0, 36.0)
"""Beyond 36, exp(-s) is less than rounding; around 0, it changes how densities over s fall."""
_DROP = 45.0
"""By how much the logarithm of a density falls where the rest of its integral is less than rounding."""


def _integral(f: Any, low: Any, high: Any) -> Any:
    """Return integrals of a function of arrays, smooth but around 0, by Gauss's formula on panels."""
    edges = [low, *(np.clip(edge, low, high) for edge in _BREAKS), high]
    total = 0.0 * (high - low)  # NaN outside of the domain
    for a, b in pairwise(edges):
        if np.any(a < b):
            s = a[..., None] + (b - a)[..., None] * _NODES[0]
            total = total + (f(s) @ _NODES[1]) * (b - a)
    return total


def _reach(a: Any) -> tuple[Any, Any]:
    """Return how far left and right of its peak the gamma density over log(t) falls by _DROP, or a little farther.

    At distance d the logarithm has fallen by ``a * (exp(d) - 1 - d)``.
    """
    drop = _DROP / np.maximum(a, 1e-300)
    return drop + np.sqrt(2 * drop), np.minimum(np.sqrt(2 * drop), np.log(2 * drop + 4))


def _wide(*arrays: Any) -> list[Any]:
    """Return arrays of float64 of one shape; raise TypeError for complex ones."""
    return list(np.broadcast_arrays(*(np.asarray(a).astype(np.float64, casting="safe") for a in arrays)))


def _ratio_of_slope(cumulant: Any, i: int, j: int) -> Any:
    """Return the derivative of exp(f) by its variables, i and j times, over exp(f).

    ``cumulant(k, m)`` is that of f. The product rule for ``exp(f)' = f' * exp(f)`` makes Bell's polynomials of them.
    """
    if i == j == 0:
        return 1.0
    if i == 0:
        return _ratio_of_slope(lambda k, m: cumulant(m, k), j, 0)
    return sum(
        math.comb(i - 1, k) * math.comb(j, m) * (cumulant(k + 1, m) * _ratio_of_slope(cumulant, i - 1 - k, j - m))
        for k in range(i)
        for m in range(j + 1)
    )


def _gamma_slope(a: Any, s: Any, t: Any, n: int) -> Any:
    """Return the n-th derivative by a of the gamma density over ``s = log(t)``.

    It is ``a * exp(a * s - t - gammaln(a + 1))``, so that nothing is infinite and nothing cancels where a is small.
    """

    def cumulant(k: int, _: int) -> Any:
        return s - _digamma(a + 1) if k == 1 else -polygamma(k - 1, a + 1)

    slope = sum(p * _ratio_of_slope(cumulant, n - k, 0) for k, p in enumerate((a, n)))
    return np.exp(a * s - t - _of(special.gammaln, a + 1)) * slope


@tg.primitive
def gammainc_slope(a: T, x: Any, n: int) -> T:
    """Return the n-th derivative of `gammainc` by ``a``, for n of 1 or more.

    It is the integral of the density's up to x, or minus the rest of it: of the part that has less of the density, in
    which no large numbers cancel.

    >>> gammainc_slope(np.array([0.0]), np.array([1.0]), 1).round(6)  # -exp1(x)
    array([-0.219384])
    """
    dtype = np.result_type(a, x)
    a, x = _wide(a, x)
    inside = (x != 0) & ~np.isinf(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        end, peak = np.log(np.where(inside, x, 1.0)), np.log(a)
    below = special.gammainc(a, x) < 0.5
    low = np.where(below, np.minimum(end, peak) - _reach(a)[0], end)
    high = np.where(below, end, np.maximum(end, peak) + _reach(np.maximum(a, x))[1])
    integral = _integral(lambda s: _gamma_slope(a[..., None], s, np.exp(s), n), low, high)
    return np.where(inside, np.where(below, integral, -integral), 0.0).astype(dtype)  # type: ignore[return-value]


def _gamma_density(a: Any, x: Any) -> Any:
    return np.exp((a - 1) * np.log(x) - x - _of(special.gammaln, a))


def _beta_slope(a: Any, b: Any, t: Any, rest: Any, i: int, j: int) -> Any:
    """Return the derivative of the beta density over the logit of t, i times by a and j times by b.

    ``t`` and ``rest`` are log(t) and log(1 - t). As in `_gamma_slope`, ``a * b`` is a factor of its own.
    """

    @functools.cache
    def cumulant(k: int, m: int) -> Any:
        if k and m:
            return polygamma(k + m - 1, a + b)
        n, own, other, logarithm = (k, a, b, t) if k else (m, b, a, rest)
        slope = polygamma_rise(n - 1, own + 1, other) + (-1) ** n * math.factorial(n - 1) / (a + b) ** n
        return slope + logarithm if n == 1 else slope

    terms = [(k, m, p * q) for k, p in enumerate((a, i)) for m, q in enumerate((b, j)) if k <= i and m <= j]
    slope = sum(factor * _ratio_of_slope(cumulant, i - k, j - m) for k, m, factor in terms)
    both = a + b
    return np.exp(a * t + b * rest - _of(special.betaln, a + 1, b + 1)) * slope / (both * (both + 1))


@tg.primitive
def betainc_slope(a: T, b: Any, x: Any, i: int, j: int) -> T:
    """Return the derivative of `betainc`, ``i`` times by ``a`` and ``j`` times by ``b``, one of which is not 0.

    It is an integral over ``s = log(t / (1 - t))``, of the part that has less of the density, as in `gammainc_slope`.
    How far the density reaches is what two of gamma do, since s is log(u / v) for u and v of these.

    >>> betainc_slope(np.array([1.0]), 1.0, 0.5, 1, 0).round(6)  # log(x) * x**a for b = 1
    array([-0.346574])
    """
    dtype = np.result_type(a, b, x)
    a, b, x = _wide(a, b, x)
    inside = (x != 0) & (x != 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        end, peak = special.logit(np.where(inside, x, 0.5)), np.log(a) - np.log(b)
    below = special.betainc(a, b, x) < 0.5
    (left, right), (left_b, right_b) = _reach(a), _reach(b)
    low = np.where(below, np.minimum(end, peak) - (left + right_b), end)
    high = np.where(below, end, np.maximum(end, peak) + (right + left_b))

    def density(s: Any) -> Any:
        return _beta_slope(a[..., None], b[..., None], special.log_expit(s), special.log_expit(-s), i, j)

    integral = _integral(density, low, high)
    return np.where(inside, np.where(below, integral, -integral), 0.0).astype(dtype)  # type: ignore[return-value]


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    return np.exp((a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - _of(special.betaln, a, b))


@tg.primitive
def erfcx_slope(x: T, n: int) -> T:
    """Return the n-th derivative of `erfcx`, for n of 1 or more.

    ``y[n + 1] == 2 * x * y[n] + 2 * n * y[n - 1]`` cancels where x is large; there, the continued fraction for
    ``y[n] / y[n - 1]`` takes it backwards (Gautschi, SIAM Review 9, 1967).

    >>> erfcx_slope(np.array([1e9]), 1) * 1e18  # -1 / sqrt(pi) / x**2
    array([-0.56418958])
    """
    dtype = np.result_type(x)
    (x,) = _wide(x)
    near, far = np.minimum(x, 1.5), np.maximum(x, 1.5)
    before, y = special.erfcx(near), 2 * near * special.erfcx(near) - _TWO_OVER_ROOT_PI
    for k in range(1, n):
        before, y = y, 2 * near * y + 2 * k * before
    ratio, product = np.zeros_like(x), special.erfcx(far)
    for k in range(n + 110, 0, -1):
        ratio = -2 * k / (2 * far - ratio)
        product = product * ratio if k <= n else product
    return np.where(x < 1.5, y, product).astype(dtype)


tg.vjp(polygamma, None, lambda g, out, n, x: g * polygamma(n + 1, x))
tg.vjp(special.digamma, lambda g, out, x: g * polygamma(1, x))
tg.vjp(special.gammaln, lambda g, out, x: g * _digamma(x))
tg.vjp(special.gamma, lambda g, out, x: g * (out * _digamma(x)))
tg.vjp(
    polygamma_rise,
    None,
    lambda g, out, n, a, b: g * polygamma_rise(n + 1, a, b),
    lambda g, out, n, a, b: g * polygamma(n + 1, a + b),
)
tg.vjp(
    special.beta,
    lambda g, out, a, b: -g * (out * polygamma_rise(0, a, b)),
    lambda g, out, a, b: -g * (out * polygamma_rise(0, b, a)),
)
tg.vjp(
    special.betaln,
    lambda g, out, a, b: -g * polygamma_rise(0, a, b),
    lambda g, out, a, b: -g * polygamma_rise(0, b, a),
)
tg.vjp(
    special.gammainc,
    lambda g, out, a, x: g * gammainc_slope(a, x, 1),
    lambda g, out, a, x: g * _gamma_density(a, x),
)
tg.vjp(
    special.gammaincc,
    lambda g, out, a, x: -g * gammainc_slope(a, x, 1),
    lambda g, out, a, x: -g * _gamma_density(a, x),
)
tg.vjp(
    gammainc_slope,
    lambda g, out, a, x, n: g * gammainc_slope(a, x, n + 1),
    lambda g, out, a, x, n: g * _gamma_slope(a, np.log(x), x, n) / x,
    None,
)
tg.vjp(
    special.betainc,
    lambda g, out, a, b, x: g * betainc_slope(a, b, x, 1, 0),
    lambda g, out, a, b, x: g * betainc_slope(a, b, x, 0, 1),
    lambda g, out, a, b, x: g * _beta_density(a, b, x),
)
tg.vjp(
    betainc_slope,
    lambda g, out, a, b, x, i, j: g * betainc_slope(a, b, x, i + 1, j),
    lambda g, out, a, b, x, i, j: g * betainc_slope(a, b, x, i, j + 1),
    lambda g, out, a, b, x, i, j: g * _beta_slope(a, b, np.log(x), np.log1p(-x), i, j) / (x * (1 - x)),
    None,
    None,
)

tg.vjp(special.erf, lambda g, out, x: g * (_TWO_OVER_ROOT_PI * np.exp(-x * x)))
tg.vjp(special.erfc, lambda g, out, x: -g * (_TWO_OVER_ROOT_PI * np.exp(-x * x)))
tg.vjp(special.erfcx, lambda g, out, x: g * erfcx_slope(x, 1))
tg.vjp(erfcx_slope, lambda g, out, x, n: g * erfcx_slope(x, n + 1), None)
tg.vjp(special.erfinv, lambda g, out, x: g * (np.exp(out * out) / _TWO_OVER_ROOT_PI))
tg.vjp(special.ndtr, lambda g, out, x: g * (np.exp(-0.5 * (x * x)) / _ROOT_TWO_PI))
tg.vjp(special.ndtri, lambda g, out, x: g * (np.exp(0.5 * (out * out)) * _ROOT_TWO_PI))


def _mills(out: Any, x: Any) -> Any:
    """Return the normal density at x over its integral `ndtr`, whose logarithm is ``out``; these cancel left of 0."""
    left, right, log = np.where(x < 0, x, 0.0), np.where(x < 0, 0.0, x), np.where(x < 0, 0.0, out)
    density = np.exp(-0.5 * (right * right) - log) / _ROOT_TWO_PI
    return np.where(x < 0, _ROOT_TWO_OVER_PI / special.erfcx(-_ROOT_HALF * left), density)


tg.vjp(special.log_ndtr, lambda g, out, x: g * _mills(out, x))
tg.vjp(special.expit, lambda g, out, x: g * (out * special.expit(-x)))
tg.vjp(special.logit, lambda g, out, x: g / (x * (1 - x)))
tg.vjp(special.log_expit, lambda g, out, x: g * special.expit(-x))


def _ratio(x: Any, y: Any) -> Any:
    """Return ``x / y``, and 0 for both 0: where x is 0, `xlogy` and its kind are constant in y, up to its edge."""
    return np.where((x == 0) & (y == 0), 0.0, x / y)


tg.vjp(special.xlogy, lambda g, out, x, y: g * _of(np.log, y), lambda g, out, x, y: g * _ratio(x, y))
tg.vjp(special.xlog1py, lambda g, out, x, y: g * _of(np.log1p, y), lambda g, out, x, y: g * _ratio(x, y + 1))
tg.vjp(special.entr, lambda g, out, x: -g * (np.log(x) + 1))
tg.vjp(special.rel_entr, lambda g, out, x, y: g * (np.log(x / y) + 1), lambda g, out, x, y: -g * _ratio(x, y))


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
tg.vjp(special.kl_div, lambda g, out, x, y: g * np.log(x / y), lambda g, out, x, y: g * (1 - _ratio(x, y)))
tg.annotate(
    special.gammaln, special.digamma, hint="the gamma function is infinite at 0, -1, -2, ...: keep arguments positive"
)
