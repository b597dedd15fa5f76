"""The ops that a native loop computes by itself, each by the formula of one element; all others stay calls of NumPy."""

from __future__ import annotations

import numpy as np

from ...rules.elementwise import select
from ...rules.indexing import gather, minus_one_hot, put, scatter
from ...rules.shapes import astype, spread
from ...rules.table import annotate

annotate(np.add, loop="{0} + {1}")
annotate(np.subtract, loop="{0} - {1}")
annotate(np.multiply, loop="{0} * {1}")
annotate(np.divide, loop="{0} / {1}")
annotate(np.negative, loop="-{0}")
annotate(np.square, loop="{0} * {0}")
annotate(np.absolute, loop="abs({0})")
annotate(np.sqrt, loop="np.sqrt({0})")
annotate(np.exp, loop="exp_{c}({0})")
annotate(np.copy, astype, spread, put, loop="{0}")

# a comparison with NaN is false: these say where that leads; of 0 and -0, which are equal, NumPy takes the second
annotate(np.maximum, np.max, loop="({0} if {0} > {1} or {0} != {0} else {1})")
annotate(np.minimum, np.min, loop="({0} if {0} < {1} or {0} != {0} else {1})")
annotate(np.sign, loop="({0} if {0} != {0} else {t}({0} > {t}(0)) - {t}({0} < {t}(0)))")
annotate(np.sum, loop="plus({0}, {1})")

annotate(np.equal, loop="{0} == {1}")
annotate(np.not_equal, loop="{0} != {1}")
annotate(np.less, loop="{0} < {1}")
annotate(np.less_equal, loop="{0} <= {1}")
annotate(np.greater, loop="{0} > {1}")
annotate(np.greater_equal, loop="{0} >= {1}")

annotate(select, loop="({1} if {0} else {t}(0))")
annotate(np.where, loop="({1} if {0} else {2})")
annotate(scatter, loop="({0} if j == {1} else {t}(0))")
annotate(minus_one_hot, loop="({0} * {2} - ({2} if j == {1} else {t}(0)))")
annotate(gather, loop="{0}")

CALLED = (
    np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.sinh, np.cosh, np.tanh,
    np.arcsin, np.arccos, np.arctan, np.arcsinh, np.arccosh, np.arctanh, np.arctan2, np.hypot, np.power, np.cbrt,
    np.logaddexp, np.copysign, np.rint, np.floor, np.ceil, np.trunc, np.isnan, np.isinf, np.isfinite,
    np.fmax, np.fmin, np.fabs, np.reciprocal, np.degrees, np.radians, np.rad2deg, np.deg2rad,
)  # fmt: skip
"""The functions that are called for each element, as Numba has them."""
SLOW = 4096
"""From how many elements on NumPy, which takes several at once, computes a function faster than a call for each."""

for _function in CALLED:
    _arguments = ", ".join(f"{{{i}}}" for i in range(_function.nin))
    annotate(_function, loop=f"np.{_function.__name__}({_arguments})")
