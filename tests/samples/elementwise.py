"""Samples of the functions that work on each element by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mlp.errors import ShapeError
from tinygrad_mlp.rules.elementwise import (
    bce,
    bce_with_logits,
    fraction,
    leaky_relu,
    relu,
    select,
    sigmoid,
    softplus,
)  # fmt: skip

from .registry import raises, samples

nan, inf = np.nan, np.inf


def one(f: Any, draw: Any) -> list[Any]:
    """Call a function of one argument on a matrix, a number and nothing."""
    return [f(draw(2, 3)), f(draw()), f(draw(0, 3))]


def two(f: Any, left: Any, right: Any) -> list[Any]:
    """Call a function of two arguments on shapes that broadcast in every way."""
    return [
        f(left(2, 3), right(2, 3)),
        f(left(2, 3), right(3)),
        f(left(2, 1), right(1, 3)),
        f(left(), right(2, 3)),
        f(left(3, 1, 2), right()),
        f(left(), right()),
        f(left(0, 3), right(3)),
        f(left(3), 1.5),
        f(1.5, right(3)),
    ]


def two_apart(f: Any, x: Any) -> list[Any]:
    """Call a function of two arguments that has a kink where they are equal."""
    return [
        f(*x.apart((2, 3), (2, 3))),
        f(*x.apart((2, 1), (1, 3))),
        f(*x.apart((), (2, 3))),
        f(*x.apart((), ())),
        f(*x.apart((0, 3), (3,))),
        f(x.nonzero(3), 0.0),
        f(0.0, x.nonzero(3)),
    ]


def quotients(f: Any, x: Any) -> list[Any]:
    """Call a function that jumps where the quotient of its arguments is whole."""
    return [
        f(x.between(4.4, 5.6, 2, 3), x.between(1.9, 2.1, 3)),
        f(-x.between(4.4, 5.6, 2, 1), x.between(1.9, 2.1, 1, 3)),
        f(x.between(4.4, 5.6), -x.between(1.9, 2.1)),
        f(x.between(2.2, 2.8, 0, 3), 1.0),
        f(7.5, x.between(1.9, 2.1, 3)),
    ]


samples(np.add, np.subtract, np.multiply, calls=lambda f, x: two(f, x, x))
samples(np.divide, np.arctan2, np.hypot, calls=lambda f, x: two(f, x, x.nonzero))
samples(np.logaddexp, np.logaddexp2, calls=lambda f, x: [*two(f, x, x), f(np.array([0.0, 900.0]), np.array([800.0]))])
samples(np.fmod, np.remainder, np.divmod, np.floor_divide, calls=quotients)
samples(
    np.power, np.float_power,
    calls=lambda f, x: [
        *two(f, x.positive, x),
        *(f(x.nonzero(3), n) for n in (-2, -1, 0, 1, 2, 3, 4.0)),
        *(f(np.array([0.0, 1.5]), n) for n in (0, 0.0, 1, 2, 3.0, 4)),
        f(np.array([0.0, -1.5]), np.array([2, 3])),
        f(0.0, np.array([4.0, 5.0])),
    ],
)  # fmt: skip
samples(np.copysign, calls=lambda f, x: two(f, x.nonzero, x.nonzero))
samples(np.ldexp, calls=lambda f, x: [f(x(2, 3), x.integers(-3, 4, 3)), f(x(), 2), f(x(0, 3), 1)])
samples(np.heaviside, calls=lambda f, x: [*two(f, x.nonzero, x), f(np.array([0, 1, -1]), x(3)), f(0, x(2, 1))])

raises(
    ShapeError, r"(float64\(2, 3\), float64\(4,\)).*sizes 3 and 4 clash",
    np.add, np.subtract, np.multiply, np.divide, np.power, np.arctan2, np.hypot, np.logaddexp, np.maximum, np.fmin,
    calls=lambda f, x: [f(x.positive(2, 3), x.positive(4))],
)  # fmt: skip

samples(
    np.negative, np.positive, np.conjugate, np.square, np.exp, np.exp2, np.expm1, np.sin, np.cos, np.sinh, np.cosh,
    np.tanh, np.arctan, np.arcsinh, np.degrees, np.rad2deg, np.radians, np.deg2rad, np.real,
    calls=lambda f, x: one(f, x),
)  # fmt: skip
samples(np.sqrt, np.log, np.log2, np.log10, calls=lambda f, x: one(f, x.positive))
samples(
    np.log1p, np.arcsin, np.arccos, np.arctanh, np.tan, calls=lambda f, x: one(f, lambda *s: x.between(-0.7, 0.7, *s))
)
samples(np.arccosh, calls=lambda f, x: one(f, lambda *s: 1 + x.positive(*s)))
samples(np.reciprocal, np.cbrt, np.absolute, np.fabs, calls=lambda f, x: one(f, x.nonzero))
samples(np.expm1, np.log1p, calls=lambda f, x: [f(np.array([1e-20, -1e-9]))])
samples(
    np.nan_to_num,
    calls=lambda f, x: [
        *one(f, x),
        f(np.array([1.5, nan])),
        f(np.array([1.5, nan, inf, -inf]), nan=2.0, posinf=3.0, neginf=-3.0),
    ],
)
samples(
    np.modf, fraction, calls=lambda f, x: [*one(f, lambda *s: x.between(1.2, 1.8, *s)), f(np.array([-1.5, -0.4, 2.5]))]
)
samples(np.iscomplexobj, np.isrealobj, calls=lambda f, x: [f(x(2, 3))])

samples(relu, calls=lambda f, x: [*one(f, x.nonzero), f(np.array([-inf, -0.5, 0.5]))])
samples(
    leaky_relu,
    calls=lambda f, x: [
        *one(f, x.nonzero),
        f(x.nonzero(3), 0.2),
        f(x.nonzero(3), negative_slope=0.3),
        f(x.nonzero(2, 3), x(3)),
    ],
)
samples(sigmoid, softplus, calls=lambda f, x: [*one(f, x), f(np.array([-800.0, -40.0, 40.0, 800.0]))])
samples(
    select,
    calls=lambda f, x: [
        f(x.booleans(2, 3), x(2, 3)),
        f(np.array(True), x()),
        f(np.array([True, False, False]), np.array([1.5, inf, nan])),
    ],
)
samples(bce_with_logits, calls=lambda f, x: [f(x.nonzero(2, 3), x.unit(2, 3)), f(x.nonzero(), x.unit())])
samples(bce, calls=lambda f, x: [f(x.unit(2, 3), x.unit(2, 3)), f(x.unit(), x.unit())])

samples(np.maximum, np.minimum, calls=two_apart)
samples(
    np.fmax, np.fmin,
    calls=lambda f, x: [*two_apart(f, x), f(np.array([1.0, nan, nan]), np.array([nan, 1.0, 2.0]))],
)  # fmt: skip
samples(
    np.where,
    calls=lambda f, x: [
        f(x.booleans(2, 3), x(2, 3), x(3)),
        f(x.booleans(3), x(2, 1), 1.0),
        f(x.booleans(2, 1), 0.0, x(3)),
        f(True, x(), x(2)),
        f(x.integers(0, 3, 4), x(4), x(4)),
        f(x.nonzero(3), x(3), x()),
    ],
)
raises(TypeError, "both branches", np.where, calls=lambda f, x: [f(x(3)), f(x(3), x(3))])
samples(
    np.clip,
    calls=lambda f, x: [
        f(np.array([[-2.0, -0.5], [0.5, 2.0]]), -1.0, 1.0),
        f(x.nonzero(2, 3), 0.0, None),
        f(x.nonzero(2, 3), a_min=None, a_max=0.1),
        f(x.nonzero(2, 3), a_min=-0.1, a_max=0.1),
        f(np.array([-2.0, 0.0, 2.0]), x.between(-1.5, -0.5, 2, 1), x.between(0.5, 1.5, 3)),
        f(x.unit(), 0.0, x.positive(2) + 1),
        f(np.array([-2.0, 0.0, 2.0]), np.array(-1.1), np.array(1.1)),
    ],
)
raises(TypeError, "dtype", np.clip, calls=lambda f, x: [f(x(3), -1.0, 1.0, dtype=np.float32)])

samples(
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isclose, np.allclose,
    np.logical_and, np.logical_or, np.logical_xor,
    calls=lambda f, x: [f(*x.apart((2, 3), (3,))), f(*x.apart((), (2,))), f(x.nonzero(3), 0.0)],
)  # fmt: skip
samples(
    np.logical_not, np.sign, np.signbit, np.floor, np.ceil, np.rint, np.trunc, np.fix, np.round, np.around,
    np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.isreal, np.iscomplex,
    calls=lambda f, x: one(f, lambda *s: x.between(1.1, 1.4, *s)),
)  # fmt: skip
samples(np.round, np.around, calls=lambda f, x: [f(np.array([1.512, -0.347]), 1), f(np.array([151.2]), decimals=-1)])
samples(
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.left_shift, np.right_shift, np.gcd, np.lcm,
    calls=lambda f, x: [f(x.integers(1, 9, 2, 3), x.integers(1, 5, 3))],
)  # fmt: skip
samples(np.invert, np.bitwise_count, calls=lambda f, x: [f(x.integers(1, 9, 2, 3))])
