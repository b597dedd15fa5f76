"""Samples of the functions that reduce axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mlp.errors import ShapeError
from tinygrad_mlp.rules.reductions import euclidean_norm, log_softmax, logsumexp, softmax, total_weight

from .registry import raises, samples

nan, inf = np.nan, np.inf


def axes(f: Any, draw: Any) -> list[Any]:
    """Reduce every kind of axis."""
    return [
        f(draw(2, 3)),
        f(draw(4)),
        f(draw(2, 3), 1),
        f(draw(2, 3), axis=0),
        f(draw(2, 3), axis=-1, keepdims=True),
        f(draw(2, 3), keepdims=True),
        f(draw(2, 3, 4), axis=1),
    ]


def several_axes(f: Any, draw: Any) -> list[Any]:
    """Reduce several axes at once, or none."""
    return [
        f(draw(2, 3, 4), axis=(0, -1)),
        f(draw(2, 3, 4), axis=(2, 1), keepdims=True),
        f(draw(2, 3), axis=()),
    ]


samples(np.sum, np.mean, np.prod, np.var, calls=lambda f, x: [*axes(f, x), *several_axes(f, x), f(x())])
samples(np.std, calls=lambda f, x: [*axes(f, x.distinct), *several_axes(f, x.distinct)[:2]])
samples(np.sum, np.prod, calls=lambda f, x: [f(x(0, 3), axis=0), f(x(0, 3)), f(x(0, 3), axis=1)])
samples(np.sum, calls=lambda f, x: [f(x(2, 3), dtype=np.float64), f(x(2, 3), 0, np.float64)])
samples(np.sum, calls=lambda f, x: [f(x(2, 3), -1, None, None, True)])
samples(np.var, calls=lambda f, x: [f(x(2, 3), 0, None, None, 1)])
samples(np.var, np.std, calls=lambda f, x: [f(x.distinct(2, 3), axis=0, ddof=1), f(x.distinct(4), ddof=1.5)])
samples(
    np.prod,
    calls=lambda f, x: [
        f(np.array([2.0, 0.0, 3.0])),
        f(np.array([[0.0, 0.0, 3.0], [1.0, 2.0, 0.0]]), axis=1),
        f(x.nonzero(9)),
    ],
)
samples(
    np.max, np.amax, np.min, np.amin, np.ptp,
    calls=lambda f, x: [*axes(f, x.distinct), f(x.distinct(2, 3, 4), axis=(0, -1))],
)  # fmt: skip
samples(
    np.max, np.amax, np.min, np.amin, calls=lambda f, x: [f(x()), f(x.distinct(2, 3, 4), axis=(1, 2), keepdims=True)]
)
raises(ShapeError, "axis 2 is out of bounds", np.sum, np.max, np.min, calls=lambda f, x: [f(x(2, 3), axis=2)])
raises(ShapeError, "duplicate", np.sum, np.max, calls=lambda f, x: [f(x(2, 3), axis=(0, 0))])
raises(ValueError, "out of bounds", np.mean, np.prod, np.var, np.std, calls=lambda f, x: [f(x(2, 3), axis=2)])
raises(ValueError, "[Dd]uplicate|repeated", np.mean, np.prod, np.var, calls=lambda f, x: [f(x(2, 3), axis=(1, -1))])
raises(ValueError, "no elements|empty|zero-size", np.mean, np.max, np.min, calls=lambda f, x: [f(x(0, 3)), f(x(0))])
raises(
    TypeError, "'initial'", np.sum, np.max, np.prod, np.nansum,
    calls=lambda f, x: [f(x(2, 3), initial=1.0)],
)  # fmt: skip
raises(
    TypeError, "'where'", np.sum, np.mean, np.std, np.nanmax,
    calls=lambda f, x: [f(x(2, 3), where=x.booleans(3))],
)  # fmt: skip
raises(TypeError, "'dtype'", np.mean, np.prod, np.nansum, calls=lambda f, x: [f(x(2, 3), 0, np.float32)])

samples(
    np.cumsum, np.cumprod,
    calls=lambda f, x: [f(x(2, 3)), f(x(5)), f(x(2, 5), 1), f(x(3, 2), axis=0), f(x(2, 3), axis=-1), f(x()), f(x(0))],
)  # fmt: skip
samples(np.cumprod, calls=lambda f, x: [f(np.array([2.0, 0.0, 3.0, 0.0, 1.0]))])
samples(
    np.nancumsum, np.nancumprod,
    calls=lambda f, x: [f(x.gaps(2, 3)), f(x.gaps(5)), f(x.gaps(2, 3), axis=0), f(x.gaps(2, 3), axis=-1), f(x(4))],
)  # fmt: skip
samples(
    np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar,
    calls=lambda f, x: [*axes(f, x.gaps), f(x.gaps(2, 3, 4), axis=(0, -1)), f(x.distinct(2, 3))],
)  # fmt: skip
samples(
    np.nanvar, np.nanstd,
    calls=lambda f, x: [
        f(x.gaps(3, 4)), f(x.gaps(3, 4), 0), f(x.gaps(3, 4), axis=1, ddof=1), f(x.gaps(3, 4), keepdims=True),
        f(x.distinct(4)), f(x.gaps(2, 3, 4), axis=(0, -1)),
    ],
)  # fmt: skip

samples(
    np.average,
    calls=lambda f, x: [
        *axes(f, x),
        f(x(2, 3), weights=x.positive(2, 3)),
        f(x(2, 3), axis=1, weights=x.positive(3)),
        f(x(2, 3), axis=0, weights=x.positive(2), keepdims=True),
        f(x(2, 3), -2, x.positive(2)),
        f(x(3), weights=[1.0, 2.0, 3.0]),
        f(x(2, 3, 4), axis=(0, 1), weights=x.positive(2, 3)),
    ],
)
samples(total_weight, calls=lambda f, x: [f(x.nonzero(2, 3)), f(x.nonzero())])
raises(ZeroDivisionError, "sum to zero", total_weight, calls=lambda f, x: [f(np.zeros(2))])
raises(ZeroDivisionError, "sum to zero", np.average, calls=lambda f, x: [f(x(2), weights=np.array([0.5, -0.5]))])
samples(np.median, calls=lambda f, x: [*axes(f, x.distinct), f(x.distinct(5)), f(x.distinct(2, 3, 4), axis=(0, 2))])
samples(
    np.quantile,
    calls=lambda f, x: [
        f(x.distinct(2, 3), 0.3),
        f(x.distinct(5), [0.0, 0.35, 1.0]),
        f(x.distinct(2, 5), 0.7, axis=1),
        f(x.distinct(2, 5), [0.1, 0.7], axis=-1, keepdims=True),
        f(x.distinct(2, 3), [[0.2], [0.9]], 0),
        f(x.distinct(2, 3), 0.5, keepdims=True),
        f(x.distinct(2, 3, 4), 0.3, axis=(0, 2)),
    ],
)
samples(
    np.percentile,
    calls=lambda f, x: [
        f(x.distinct(2, 3), 30),
        f(x.distinct(2, 5), [10, 70.5], axis=-1, keepdims=True),
        f(x.distinct(2, 3), 50, 0),
    ],
)
raises(ValueError, "range", np.quantile, np.percentile, calls=lambda f, x: [f(x(3), 100.5), f(x(3), -0.1)])
raises(TypeError, "'method'", np.quantile, np.percentile, calls=lambda f, x: [f(x(3), 0.5, method="lower")])

samples(
    np.diff,
    calls=lambda f, x: [
        f(x(4)),
        f(x(2, 3)),
        f(x(4, 3), 2),
        f(x(4, 3), n=3, axis=0),
        f(x(2, 3), n=0),
        f(x(2, 3), axis=-2),
    ],
)
samples(np.ediff1d, calls=lambda f, x: [f(x(4)), f(x(2, 3))])
samples(
    np.trapezoid,
    calls=lambda f, x: [
        f(x(4)),
        f(x(2, 4), dx=0.5),
        f(x(2, 4), dx=x.positive()),
        f(x(2, 4), x.distinct(4)),
        f(x(3, 4), x=x.distinct(3), axis=0),
        f(x(2, 4), x=x.distinct(2, 4)),
        f(x(3, 2, 4), x=x.distinct(3, 2, 4), axis=0),
    ],
)
samples(
    np.cov,
    calls=lambda f, x: [
        f(x(3, 5)), f(x(5)), f(x(3, 5), rowvar=False), f(x(3, 5), bias=True), f(x(3, 5), ddof=0), f(x(1, 5)),
    ],
)  # fmt: skip
samples(np.corrcoef, calls=lambda f, x: [f(x.distinct(3, 5)), f(x.distinct(5, 2), rowvar=False)])
raises(TypeError, "'y'", np.cov, np.corrcoef, calls=lambda f, x: [f(x(5), x(5)), f(x(5), y=x(5))])

samples(
    np.linalg.norm,
    calls=lambda f, x: [
        *axes(lambda a, axis=None, **k: f(a, axis=axis, **k), x.distinct),
        *(f(x.distinct(4), order) for order in (1, 2, 3, -1, 0.5, inf, -inf, 0, None)),
        *(f(x.distinct(2, 3), order, axis=1) for order in (1, 2, 2.5, inf, -inf, 0)),
        *(f(x.distinct(3, 4), order) for order in (1, -1, inf, -inf)),
        *(f(x.nonzero(2, 3, 4), order, axis=(2, 0), keepdims=True) for order in (1, -inf)),
        f(x.distinct(2, 3), "fro"),
        f(x.distinct(2, 3), 1, 1),
        f(x.distinct(2, 3), 3, axis=1, keepdims=True),
        f(x.distinct(2, 3, 4), "fro", axis=(0, 2)),
        f(x.distinct(2, 3, 4), axis=(0, 2), keepdims=True),
        f(x.distinct(2, 3, 4)),
        f(x.nonzero()),
    ],
)
samples(
    np.linalg.matrix_norm,
    calls=lambda f, x: [
        f(x.distinct(2, 3)),
        f(x.distinct(2, 2, 3), ord=1),
        f(x.distinct(3, 2), ord=-np.inf, keepdims=True),
    ],
)
singular_values = ("nuc", 2, -2)
samples(
    np.linalg.norm,
    calls=lambda f, x: [
        *(f(x(3, 4), order) for order in singular_values),
        *(f(x(2, 3, 2), order, axis=(2, 0), keepdims=order != 2) for order in singular_values),
    ],
)
samples(
    np.linalg.matrix_norm, calls=lambda f, x: [f(x(2, 3, 2), ord=order, keepdims=True) for order in singular_values]
)
raises(ValueError, "no norm|norm order", np.linalg.norm, calls=lambda f, x: [f(x(2, 3), 3), f(x(2, 3), "other")])
raises(ValueError, "no norm|norm order", np.linalg.norm, calls=lambda f, x: [f(x(3), "nuc"), f(x(3), "fro")])
samples(
    euclidean_norm,
    calls=lambda f, x: [
        *axes(f, x.distinct), *several_axes(f, x.distinct)[:2], f(x.nonzero()), f(x.distinct(2, 3), 1, True),
    ],
)  # fmt: skip
samples(logsumexp, calls=lambda f, x: [*axes(f, x), *several_axes(f, x), f(x()), f(np.array([25.0, 24.0, -25.0]))])
samples(
    softmax, log_softmax,
    calls=lambda f, x: [
        f(x(2, 3)), f(x(4)), f(x(2, 3), 0), f(x(2, 3), axis=0), f(x(2, 3, 2), 1), f(np.array([900.0, 899.0, -900.0])),
    ],
)  # fmt: skip

samples(
    np.argmax, np.argmin, np.any, np.all, np.count_nonzero,
    calls=lambda f, x: [f(x.distinct(2, 3)), f(x.distinct(2, 3), axis=-1), f(x.distinct(4))],
)  # fmt: skip
samples(np.nanargmax, np.nanargmin, calls=lambda f, x: [f(x.gaps(2, 3)), f(x.gaps(2, 3), axis=-1)])
samples(np.argsort, calls=lambda f, x: [f(x.distinct(2, 3)), f(x.distinct(2, 3), axis=None), f(x.distinct(4), 0)])
samples(np.argpartition, calls=lambda f, x: [f(x.distinct(5), 2)])
samples(
    np.lexsort,
    calls=lambda f, x: [f((x.distinct(4), x.distinct(4))), f(x.distinct(2, 4)), f(x.distinct(2, 4, 3), axis=0)],
)
samples(np.argwhere, np.flatnonzero, np.nonzero, calls=lambda f, x: [f(x.distinct(2, 3))])
samples(np.array_equal, np.array_equiv, np.isin, calls=lambda f, x: [f(*x.apart((2, 3), (2, 3)))])
samples(np.searchsorted, np.digitize, calls=lambda f, x: [f(np.array([0.1, 0.6, 1.2]), np.array([0.2, 0.7]))])
samples(np.linalg.matrix_rank, calls=lambda f, x: [f(x.invertible(3, 3)), f(x(2, 3))])
samples(np.zeros_like, np.ones_like, calls=lambda f, x: [f(x(2, 3)), f(x())])
samples(np.empty_like, calls=lambda f, x: [f(x(0, 3))])
samples(np.shape, np.ndim, np.size, calls=lambda f, x: [f(x(2, 3)), f(x())])
samples(np.size, calls=lambda f, x: [f(x(2, 3), axis=-1), f(x(2, 3), 0)])
