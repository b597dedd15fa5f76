"""Rules of functions that work on each element by itself: one row of the calculus book a line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import OptionError
from .table import Arguments, Operand, T, annotate, composite, constant, numpys_own, primitive, vjp

LN2, LN10 = math.log(2), math.log(10)
_BITS: dict[Any, type] = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


@primitive
def select(mask: Any, x: T) -> T:
    """Return ``x`` where the mask is true, elsewhere exactly 0, even for an infinite or NaN ``x``.

    A product of floats would make NaN of those, and ``np.where`` is several times slower than this product of the bits,
    taken as integers, with 0 or 1.
    """
    integer = _BITS.get(x.dtype)
    if integer is None:
        return np.where(mask, x, x.dtype.type(0))
    result = np.empty_like(x)
    bits = result.view(integer)
    bits[...] = mask
    bits *= x.view(integer)
    return result


def _absolute(x: Any) -> Any:
    """Return ``|x|``; for complex x, its analytic continuation from the real axis, which the complex step needs."""
    return np.where(x.real < 0, -x, x) if np.iscomplexobj(x) else np.absolute(x)


@primitive
def relu(x: T) -> T:
    """Return max(x, 0)."""
    return np.maximum(x, 0)


@primitive
def leaky_relu(x: T, negative_slope: float = 0.01) -> T:
    """Return x where it is positive, ``negative_slope * x`` elsewhere."""
    return np.where(x > 0, x, negative_slope * x)  # type: ignore[return-value]


@primitive
def sigmoid(x: T) -> T:
    """Return 1 / (1 + exp(-x)); where exp overflows, the quotient is the right 0."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


@primitive
def softplus(x: T) -> T:
    """Return log(1 + exp(x)) without overflow, and exact where exp(x) is tiny."""
    return np.maximum(x, 0) + np.log1p(np.exp(-_absolute(x)))


@primitive
def bce_with_logits(x: T, t: Any) -> T:
    """Return -t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), exact for logits of any size, infinite ones too."""
    size, wrong = _absolute(x), np.where(x > 0, 1 - t, t)
    return wrong * select(wrong != 0, size) + np.log1p(np.exp(-size))


@primitive
def bce(p: T, t: Any) -> T:
    """Return -t log(p) - (1 - t) log(1 - p), with logarithms not below -100, as in PyTorch."""
    with np.errstate(divide="ignore"):
        return (t - 1) * np.maximum(np.log1p(-p), -100) - t * np.maximum(np.log(p), -100)


@primitive
def fraction(x: T) -> T:
    """Return what stands behind the point, the first result of `numpy.modf`."""
    return np.modf(x)[0]


@primitive
def uniform(rng: np.random.Generator, like: T) -> T:
    """Return float32 numbers spread evenly over [0, 1), in the shape and memory layout of another array."""
    return rng.random(like.shape[::-1], np.float32).T if is_wide(like.shape) else rng.random(like.shape, np.float32)


def is_wide(shape: tuple[int, ...]) -> bool:
    """Return whether a matrix of this shape, as a product of others, is laid out by columns (see `linalg.matmul`)."""
    return len(shape) == 2 and shape[1] > shape[0]


def nonzero(x: T) -> T:
    """Return a denominator in which 0 is infinity, so that the quotient is 0 there: the subgradient that is chosen."""
    return np.where(x == 0, np.inf, x)  # type: ignore[return-value]


def _above(g: Any, x: Any, y: Any, also: Any = False) -> Any:
    """Return the gradient where x is greater than y and where ``also`` is true, half of it at a tie."""
    return select((x > y) | also, g) + select(x == y, g * 0.5)


def _power_slope(x: Any, y: Any) -> Any:
    """Return ``y * x**(y - 1)``, which is 0 where y is 0; its derivative by y is ``1 / x`` there, if that is finite."""
    if isinstance(y, (int, float)):
        return y * np.power(x, y - (y != 0))
    known = np.logical_or(y != 0, np.abs(x) > np.finfo(x.dtype).tiny)
    return y * select(known, np.power(np.where(known, x, 1.0), y - 1.0))


def _power_log(out: Any, x: Any, y: Any) -> Any:
    """Return log(x), and 0 where the power does not change with y."""
    return np.log(np.where((out == 0) | ((x == 0) & (y == 0)), 1.0, x))


def _over_square(a: Any, x: Any, y: Any) -> Any:
    """Return ``a / (x**2 + y**2)`` where the squares may overflow or underflow; 0 where both are 0."""
    radius = nonzero(np.hypot(x, y))
    return a / radius / radius


def _share(x: Any, y: Any, scale: float = 1.0) -> Any:
    """Return the share of ``x`` in ``exp(x) + exp(y)``: of equal infinities 1/2, or 0 where both are -inf."""
    return sigmoid(scale * np.where((x == y) & np.isinf(x), np.minimum(x, 0.0), x - y))


vjp(np.add, lambda g, out, x, y: g, lambda g, out, x, y: g, linear=True)
vjp(np.subtract, lambda g, out, x, y: g, lambda g, out, x, y: -g, linear=True)
vjp(np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)
vjp(np.divide, lambda g, out, x, y: g / y, lambda g, out, x, y: -g * out / y)
vjp(np.negative, lambda g, out, x: -g, linear=True)
vjp(np.positive, lambda g, out, x: g, linear=True)
vjp(np.reciprocal, lambda g, out, x: -g * (out * out))

vjp(np.square, lambda g, out, x: g * (2 * x))
vjp(np.sqrt, lambda g, out, x: g / (2 * out))
vjp(np.cbrt, lambda g, out, x: g * (np.square(1 / out) / 3))
for _power in (np.power, np.float_power):
    vjp(_power, lambda g, out, x, y: g * _power_slope(x, y), lambda g, out, x, y: g * (out * _power_log(out, x, y)))

vjp(np.exp, lambda g, out, x: g * out)
vjp(np.exp2, lambda g, out, x: g * (out * LN2))
vjp(np.expm1, lambda g, out, x: g * np.exp(x))
vjp(np.log, lambda g, out, x: g / x)
vjp(np.log2, lambda g, out, x: g / (x * LN2))
vjp(np.log10, lambda g, out, x: g / (x * LN10))
vjp(np.log1p, lambda g, out, x: g / (x + 1))

vjp(np.sin, lambda g, out, x: g * np.cos(x))
vjp(np.cos, lambda g, out, x: -g * np.sin(x))
vjp(np.tan, lambda g, out, x: g * (1 + out * out))
vjp(np.sinh, lambda g, out, x: g * np.cosh(x))
vjp(np.cosh, lambda g, out, x: g * np.sinh(x))
vjp(np.tanh, lambda g, out, x: g * (1 - out * out))

vjp(np.arcsin, lambda g, out, x: g / np.sqrt((1 - x) * (1 + x)))
vjp(np.arccos, lambda g, out, x: -g / np.sqrt((1 - x) * (1 + x)))
vjp(np.arctan, lambda g, out, x: g / (x * x + 1))
vjp(np.arcsinh, lambda g, out, x: g / np.hypot(x, 1.0))
vjp(np.arccosh, lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
vjp(np.arctanh, lambda g, out, x: g / ((1 - x) * (1 + x)))
for _degrees in (np.degrees, np.rad2deg):
    vjp(_degrees, lambda g, out, x: g * (180 / math.pi), linear=True)
for _radians in (np.radians, np.deg2rad):
    vjp(_radians, lambda g, out, x: g * (math.pi / 180), linear=True)

vjp(np.arctan2, lambda g, out, y, x: g * _over_square(x, x, y), lambda g, out, y, x: -g * _over_square(y, x, y))
vjp(np.hypot, lambda g, out, x, y: g * (x / nonzero(out)), lambda g, out, x, y: g * (y / nonzero(out)))
vjp(np.logaddexp, lambda g, out, x, y: g * _share(x, y), lambda g, out, x, y: g * _share(y, x))
vjp(np.logaddexp2, lambda g, out, x, y: g * _share(x, y, LN2), lambda g, out, x, y: g * _share(y, x, LN2))
vjp(np.fmod, lambda g, out, x, y: g, lambda g, out, x, y: g * np.rint((out - x) / y))
vjp(np.remainder, lambda g, out, x, y: g, lambda g, out, x, y: -g * np.floor_divide(x, y))
vjp(np.ldexp, lambda g, out, x, n: np.ldexp(g, n), None)
vjp(np.copysign, lambda g, out, x, y: g * (np.sign(x) * np.copysign(1.0, y)), None)
vjp(fraction, lambda g, out, x: g)
vjp(np.conjugate, lambda g, out, x: g, linear=True)
vjp(np.nan_to_num, lambda g, out, x, *, nan=0.0, posinf=None, neginf=None: select(np.isfinite(x), g))

vjp(relu, lambda g, out, x: select(out > 0, g))
_leaky_x = lambda g, out, x, negative_slope=0.01: np.where(x > 0, g, negative_slope * g)
vjp(leaky_relu, _leaky_x, lambda g, out, x, *_: select(x <= 0, g * x))
vjp(sigmoid, lambda g, out, x: g * (out * (1 - out)))
vjp(softplus, lambda g, out, x: g * sigmoid(x))
vjp(select, None, lambda g, out, mask, x: select(mask, g))

vjp(bce_with_logits, lambda g, out, x, t: g * (sigmoid(x) - t), lambda g, out, x, t: -g * x)
_bce_p = lambda g, out, p, t: g * ((p - t) / np.maximum(p * (1 - p), 1e-12))
vjp(bce, _bce_p, lambda g, out, p, t: g * (np.log1p(-p) - np.log(p)))

vjp(np.absolute, lambda g, out, x: g * np.sign(x), forward=_absolute)
vjp(np.fabs, lambda g, out, x: g * np.sign(x))
vjp(np.maximum, lambda g, out, x, y: _above(g, x, y), lambda g, out, x, y: _above(g, y, x))
vjp(np.minimum, lambda g, out, x, y: _above(g, y, x), lambda g, out, x, y: _above(g, x, y))
vjp(np.fmax, lambda g, out, x, y: _above(g, x, y, y != y), lambda g, out, x, y: _above(g, y, x, (x != x) & (y == y)))
vjp(np.fmin, lambda g, out, x, y: _above(g, y, x, y != y), lambda g, out, x, y: _above(g, x, y, (x != x) & (y == y)))


def _where_call(condition: Any, *branches: Any) -> Arguments:
    if len(branches) != 2:
        raise TypeError("where of a Tensor needs both branches: where(condition, x, y); for positions use np.nonzero")
    condition = condition if hasattr(condition, "dtype") else np.asarray(condition)
    return (condition if condition.dtype == bool else condition != 0, *branches), {}


_otherwise = lambda g, out, c, *_: select(np.logical_not(c), g)
vjp(np.where, None, lambda g, out, c, *_: select(c, g), _otherwise, bind=_where_call, linear=True)


def _clip_call(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None, **keywords: Any
) -> Arguments:
    if not (a_min is a_max is None or min is max is None):
        raise OptionError("clip takes its bounds as a_min and a_max or as min and max; give one pair")
    return (a, min if a_min is None else a_min, max if a_max is None else a_max), {"out": out, **keywords}


def _inside(x: Any, low: Any, high: Any) -> Any:
    return np.logical_and(True if low is None else x >= low, True if high is None else x <= high)


_clip_x = lambda g, out, x, low, high: select(_inside(x, low, high), g)
_clip_low = lambda g, out, x, low, high: select((x < low) & _inside(low, None, high), g)  # if they cross, high wins
_clip_high = lambda g, out, x, low, high: select(np.maximum(x, -np.inf if low is None else low) > high, g)
vjp(np.clip, _clip_x, _clip_low, _clip_high, bind=_clip_call)

composite({
    np.heaviside: lambda x, h: np.where(x == 0, h, 0.5 * (np.sign(x) + 1)),
    np.modf: lambda x: (fraction(x), np.trunc(1.0 * x)),
    np.divmod: lambda x, y: (np.floor_divide(x, y), np.remainder(x, y)),
    **numpys_own(np.real, np.iscomplexobj, np.isrealobj),
})  # fmt: skip

constant(
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isclose, np.allclose,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.bitwise_count,
    np.left_shift, np.right_shift, np.gcd, np.lcm,
    np.sign, np.signbit, np.floor, np.ceil, np.rint, np.trunc, np.fix, np.round, np.around,
    np.floor_divide, np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.isreal, np.iscomplex, uniform,
)  # fmt: skip

POWERS: dict[float, np.ufunc] = {2: np.square, 0.5: np.sqrt, -1: np.reciprocal}
"""What ``x**y`` is for these y, as NumPy's own operator has it."""

for _ufunc, _reduction in {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min}.items():
    annotate(_ufunc, reduce=_reduction)
annotate(relu, leaky_relu, sigmoid, softplus, bce, bce_with_logits, inline=True)
annotate(uniform, effect=True)
annotate(np.add, neutral=(-0.0, -0.0))  # 0.0 + -0.0 is 0.0
annotate(np.subtract, neutral=(np.nan, 0.0))
annotate(np.multiply, neutral=(1.0, 1.0))
annotate(np.divide, neutral=(np.nan, 1.0))
annotate(np.bitwise_or, neutral=(0.0, 0.0))

_taken = lambda out, x, *_, **__: out == x
annotate(relu, leaky_relu, np.absolute, np.fabs, np.copysign, np.clip, branch=_taken)
annotate(np.maximum, np.minimum, np.fmax, np.fmin, branch=_taken)
annotate(np.where, branch=lambda out, condition, x, y: condition != 0)
annotate(np.remainder, branch=lambda out, x, y: np.floor(x / y))
annotate(np.fmod, branch=lambda out, x, y: np.trunc(x / y))

for _function, _hint in {
    np.log: "the logarithm of 0 is -inf and of a negative number NaN: np.log(np.maximum(x, eps)), or a loss on logits",
    np.sqrt: "the root of a negative number is NaN, and at 0 its slope is infinite: add a small constant inside",
    np.divide: "a denominator is 0: np.where(y == 0, 1, y) before the division, or add a small constant",
    np.exp: "exp overflows beyond 709 in float64 and 88 in float32: subtract the maximum, or use log_softmax",
    np.power: "a root or negative power of 0, or a fractional one of a negative number: add a small constant",
}.items():
    annotate(_function, hint=_hint)
annotate(np.arccos, np.arcsin, hint="its slope is infinite at -1 and 1: clip the argument a little inside")

# NumPy has no fast path for these two with a single number
annotate(np.maximum, emit=lambda out, x, y: f"np.maximum({x.filled(out)}, {y.filled(out)}, out={out})")
annotate(np.minimum, emit=lambda out, x, y: f"np.minimum({x.filled(out)}, {y.filled(out)}, out={out})")
annotate(uniform, emit=lambda out, rng, like: f"{rng}.random(dtype=np.float32, out={out}{'.T' * is_wide(out.shape)})")


def _emit_select(out: Operand, mask: str, x: Operand) -> list[str]:
    if out.dtype not in _BITS:
        return [f"{out}[...] = 0", f"np.copyto({out}, {x}, where={mask})"]
    bits = out.bits
    return [f"{bits}[...] = {mask}", f"np.multiply({bits}, {x.bits}, out={bits})"]


annotate(select, emit=_emit_select)
