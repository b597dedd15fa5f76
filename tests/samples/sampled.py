"""Samples of functions that take numbers for samples of a curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mlp.rules.sampled import partition_order

from .registry import raises, samples


def points(x: Any, n: int) -> Any:
    """Draw n points in order, between which there is something."""
    return np.arange(n) * 1.5 + x.between(0, 0.5, n)


samples(
    np.interp,
    calls=lambda f, x: [
        f(np.array([0.9, 2.6, -3.0, 9.0, 3.9]), points(x, 4), x(4)),
        f(1.0, points(x, 3), x(3)),
        f(x.between(0.6, 1.4, 2, 2), [0, 0.5, 1.5], x(3)),
        f(np.array([-1.0, 0.7, 8.0]), points(x, 4), x(4), left=x(), right=x()),
        f(np.array([-1.0, 0.7, 8.0]), points(x, 4), x(4), left=2.0),
        f(np.array([-1.3, 0.9, 8.2]), np.array([0.1, 2.2, 3.1, 1.4]), x(4), period=3.7),
        f(np.array([-1.3, 0.9]), np.array([0.1]), x(1), None, None, 3.7),
        f(np.array([0.5, -3.0]), np.array([0.1]), x(1)),
        f(x(0), points(x, 2), x(2)),
    ],
)
raises(ValueError, "length|empty", np.interp, calls=lambda f, x: [f(x(2), x(2), x(3)), f(x(2), x(0), x(0))])
raises(ValueError, "period", np.interp, calls=lambda f, x: [f(x(2), points(x, 2), x(2), period=0)])
samples(
    np.gradient,
    calls=lambda f, x: [
        f(x(4)),
        f(x(5), edge_order=2),
        f(x(4), 0.5),
        f(x(4), x.positive()),
        f(x(5), points(x, 5)),
        f(x(5), points(x, 5), edge_order=2),
        f(x(5), [0.0, 1.0, 3.0, 3.5, 5.0]),
        f(x(3, 4)),
        f(x(3, 4), 2.0),
        f(x(3, 4), axis=0),
        f(x(3, 4), axis=(1, 0)),
        f(x(3, 4), points(x, 3), 0.5),
        f(x(3, 4), points(x, 4), axis=-1, edge_order=2),
    ],
)
raises(ValueError, "points", np.gradient, calls=lambda f, x: [f(x(1)), f(x(2), edge_order=2), f(x(3), x(2))])
raises(TypeError, "spacings", np.gradient, calls=lambda f, x: [f(x(3, 3), 1.0, 1.0, 1.0)])
raises(ValueError, "edge_order", np.gradient, calls=lambda f, x: [f(x(3), edge_order=3)])
samples(
    np.unwrap,
    calls=lambda f, x: [
        f(x(5) * 4),
        f(x(2, 4) * 4, axis=0),
        f(x(4) * 4, discont=4.0),
        f(x(5) * 4, None, -1, period=1.5),
    ],
)
samples(
    np.partition,
    calls=lambda f, x: [
        f(x.distinct(5), 2),
        f(x.distinct(3, 4), 1, 0),
        f(x.distinct(2, 4), (0, 2), axis=-1),
        f(x.distinct(2, 2), (1, 2), None),
    ],
)
samples(partition_order, calls=lambda f, x: [f(x.distinct(5), 2, -1), f(x.distinct(3, 4), (0, 1), 0)])
raises(ValueError, "out of bounds", np.partition, calls=lambda f, x: [f(x(3), 5)])
