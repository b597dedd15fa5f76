"""Samples of functions that are integrals of waves."""

from __future__ import annotations

import numpy as np

from tinygrad_mlp.rules.waves import i0_slope, sinc_slope

from .elementwise import one
from .registry import samples

samples(np.sinc, np.i0, calls=lambda f, x: one(f, x))
samples(np.sinc, calls=lambda f, x: [f(np.array([0.0, -3.3, 12.25]))])
samples(sinc_slope, i0_slope, calls=lambda f, x: [f(x(2, 3), 1), f(x.unit(), 2), f(np.array([0.0, 5.7, -9.2]), 1)])
