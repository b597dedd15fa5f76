"""The ops that a native loop computes by itself, each by the formula of one element; all others stay calls of NumPy."""

from __future__ import annotations

import numpy as np

from ...rules.elementwise import select
from ...rules.indexing import gather, minus_one_hot, scatter
from ...rules.shapes import astype, spread
from ...rules.table import annotate

SLOW = 4096
"""From how many elements on NumPy, which takes several at once, computes a function faster than a call for each."""

annotate(np.add, loop="{0} + {1}")
annotate(np.subtract, loop="{0} - {1}")
annotate(np.multiply, loop="{0} * {1}")
annotate(np.divide, loop="{0} / {1}")
annotate(np.negative, loop="-{0}")
annotate(np.positive, np.copy, astype, spread, np.conjugate, loop="{0}")
annotate(np.reciprocal, loop="{t}(1) / {0}")
annotate(np.square, loop="{0} * {0}")
annotate(np.absolute, np.fabs, loop="abs({0})")
annotate(np.sign, loop="({t}(int({0} > 0) - int({0} < 0)) if {0} == {0} else {0})")
annotate(np.degrees, np.rad2deg, loop="{0} * {t}(180 / np.pi)")
annotate(np.radians, np.deg2rad, loop="{0} * {t}(np.pi / 180)")

# a comparison with NaN is false: each of these says where that leads
annotate(np.maximum, loop="({0} if {0} >= {1} or {0} != {0} else {1})")
annotate(np.minimum, loop="({0} if {0} <= {1} or {0} != {0} else {1})")
annotate(np.fmax, loop="({0} if {0} >= {1} or {1} != {1} else {1})")
annotate(np.fmin, loop="({0} if {0} <= {1} or {1} != {1} else {1})")
annotate(np.isnan, loop="{0} != {0}")
annotate(np.isinf, loop="abs({0}) == np.inf")
annotate(np.isfinite, loop="abs({0}) < np.inf")

annotate(np.equal, loop="{0} == {1}")
annotate(np.not_equal, loop="{0} != {1}")
annotate(np.less, loop="{0} < {1}")
annotate(np.less_equal, loop="{0} <= {1}")
annotate(np.greater, loop="{0} > {1}")
annotate(np.greater_equal, loop="{0} >= {1}")
annotate(np.logical_and, loop="({0} != 0) & ({1} != 0)")
annotate(np.logical_or, loop="({0} != 0) | ({1} != 0)")
annotate(np.logical_xor, loop="({0} != 0) ^ ({1} != 0)")
annotate(np.logical_not, loop="{0} == 0")

annotate(select, loop="({1} if {0} else {t}(0))")
annotate(np.where, loop="({1} if {0} else {2})")
annotate(scatter, loop="({0} if j == {1} else {t}(0))")
annotate(minus_one_hot, loop="({0} * {2} - ({2} if j == {1} else {t}(0)))")
annotate(gather, loop="{0}")

annotate(np.sum, loop="plus({0}, {1})")
annotate(np.max, loop="({0} if {0} >= {1} or {0} != {0} else {1})")
annotate(np.min, loop="({0} if {0} <= {1} or {0} != {0} else {1})")

annotate(np.sqrt, loop="np.sqrt({0})")
annotate(np.floor, loop="np.floor({0})")
annotate(np.ceil, loop="np.ceil({0})")
annotate(np.trunc, loop="np.trunc({0})")
annotate(np.exp, loop="exp_{c}({0})")
CALLED = (
    np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.sinh, np.cosh, np.tanh,
    np.arcsin, np.arccos, np.arctan, np.arcsinh, np.arccosh, np.arctanh, np.arctan2, np.hypot, np.power, np.cbrt,
    np.logaddexp, np.copysign, np.rint,
)  # fmt: skip
for _function in CALLED:
    _arguments = ", ".join(f"{{{i}}}" for i in range(_function.nin))
    annotate(_function, loop=f"np.{_function.__name__}({_arguments})")
