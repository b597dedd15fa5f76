"""Samples of the functions of `tinygrad_mlp.scipy.linalg`."""

from __future__ import annotations

from typing import Any

from tinygrad_mlp.rules.table import RULES
from tinygrad_mlp.scipy import linalg

from .registry import raises, samples

POSITIVE = [linalg.logm, linalg.sqrtm]
"""Functions of matrices without eigenvalues on the negative axis."""
SMALL = [linalg.expm, linalg.cosm, linalg.sinm, linalg.tanm, linalg.coshm, linalg.sinhm, linalg.tanhm]
"""Functions that are tried on matrices whose eigenvalues are less than 1.4 in size, where all of them are analytic."""
ROUNDED = [linalg.cosm, linalg.sinm, linalg.tanm]
"""Functions whose complex versions, and those of their derivatives, lose an imaginary part that is small."""


def slope_of(function: Any) -> Any:
    """Return the op that is a function's derivative along a direction."""
    return next(f for f in RULES if getattr(f, "__name__", "") == f"{function.__name__}_slope")


samples(
    *POSITIVE,
    calls=lambda f, x: [f(x.invertible(3, 3)), f(x.invertible(2, 2, 2)), f(x.positive(1, 1)), f(x.invertible(0, 2, 2))],
)
samples(
    *map(slope_of, POSITIVE),
    calls=lambda f, x: [f(x.invertible(2, 2), x(2, 2)), f(x.invertible(2, 2, 2), x(2, 2, 2))],
)
samples(
    *SMALL, calls=lambda f, x: [f(x.between(-0.4, 0.4, *shape)) for shape in ((3, 3), (2, 2, 2), (1, 1), (0, 2, 2))]
)
samples(
    *map(slope_of, SMALL),
    calls=lambda f, x: [f(x.between(-0.5, 0.5, *shape), x(*shape)) for shape in ((2, 2), (2, 2, 2))],
)
raises(ValueError, "complex", *POSITIVE, calls=lambda f, x: [f(-x.definite(2, 2))])
samples(
    linalg.solve_triangular,
    calls=lambda f, x: [
        f(x.invertible(3, 3), x(3)),
        f(x.invertible(3, 3), x(3, 2), lower=True),
        f(x.invertible(3, 3), x(3), "T"),
        f(x.invertible(3, 3), x(3, 2), trans=1, lower=True),
        f(x.invertible(3, 3), x(3), 0, True, True),
        f(x.invertible(3, 3), x(3), unit_diagonal=True),
    ],
)
