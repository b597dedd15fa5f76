"""Samples of decompositions of matrices."""

from __future__ import annotations

import numpy as np

from tinygrad_mlp.rules.decompositions import eigen, reciprocal_gaps, singular, triangular

from .registry import raises, samples

samples(
    np.linalg.eigvalsh, np.linalg.eigh, eigen,
    calls=lambda f, x: [f(x.definite(3, 3)), f(x.definite(2, 2, 2)), f(x.positive(1, 1))],
)  # fmt: skip
samples(np.linalg.svdvals, singular, calls=lambda f, x: [f(x(3, 3)), f(x(2, 3)), f(x(4, 2)), f(x(2, 3, 2))])
samples(
    np.linalg.svd,
    calls=lambda f, x: [
        f(x(3, 3)),
        f(x(2, 3), full_matrices=False),
        f(x(4, 2), False),
        f(x(2, 2, 3), False),
        f(x(2, 3), compute_uv=False),
    ],
)
raises(NotImplementedError, "full_matrices=False", np.linalg.svd, calls=lambda f, x: [f(x(2, 3))])
samples(np.linalg.qr, triangular, calls=lambda f, x: [f(x.invertible(3, 3)), f(x(4, 2)), f(x.invertible(2, 2, 2))])
raises(NotImplementedError, "as many rows", np.linalg.qr, calls=lambda f, x: [f(x(2, 3))])
samples(
    np.linalg.pinv,
    calls=lambda f, x: [f(x.invertible(2, 3, 3)[..., :2]), f(x.invertible(3, 3)[:2])],
)
samples(reciprocal_gaps, calls=lambda f, x: [f(x.distinct(3), 2.0), f(x.distinct(2, 3), np.ones((2, 3)) * 2)])
raises(np.linalg.LinAlgError, "tie", reciprocal_gaps, calls=lambda f, x: [f(np.array([1.0, 1.0]), np.ones(2))])
