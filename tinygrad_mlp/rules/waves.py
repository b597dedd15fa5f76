"""Rules of two functions that are integrals of waves: their derivatives are such integrals too."""

from __future__ import annotations

import math

import numpy as np

from .table import T, primitive, vjp

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_ANGLES = (np.arange(160) + 0.5) * (math.pi / 160)


@primitive
def sinc_slope(x: T, n: int) -> T:
    """Return the n-th derivative of `numpy.sinc`: an integral where x is small, a recursion elsewhere."""
    s = (_NODES + 1) / 2
    wide = np.asarray(x)[..., None]
    small = np.where(np.abs(wide) < (n + 1) / 2, wide, 0.0)
    inside = (s**n * np.cos(math.pi * s * small + n * (math.pi / 2))) @ (_WEIGHTS / 2) * math.pi**n
    far = np.where(np.abs(x) < (n + 1) / 2, 1.0 + n, x)
    outside = np.sin(math.pi * far) / (math.pi * far)
    for i in range(1, n + 1):
        outside = (math.pi ** (i - 1) * np.sin(math.pi * far + i * (math.pi / 2)) - i * outside) / far
    return np.where(np.abs(x) < (n + 1) / 2, inside, outside).astype(np.asarray(x).dtype)  # type: ignore[return-value]


@primitive
def i0_slope(x: T, n: int) -> T:
    """Return the n-th derivative of `numpy.i0`, the mean of ``cos(w)**n * exp(x * cos(w))`` over a circle."""
    cosines = np.cos(_ANGLES)
    mean = (cosines**n * np.exp(np.asarray(x)[..., None] * cosines)).mean(axis=-1)
    return np.asarray(mean, np.asarray(x).dtype)  # type: ignore[return-value]


vjp(np.sinc, lambda g, out, x: g * sinc_slope(x, 1))
vjp(sinc_slope, lambda g, out, x, n: g * sinc_slope(x, n + 1), None)
vjp(np.i0, lambda g, out, x: g * i0_slope(x, 1))
vjp(i0_slope, lambda g, out, x, n: g * i0_slope(x, n + 1), None)
