"""Samples of the functions that pick elements."""

from __future__ import annotations

import numpy as np

from tinygrad_mlp.rules.indexing import counts, gather, getitem, minus_one_hot, picked_once, put, replaced, scatter

from .registry import raises, samples

samples(
    getitem,
    calls=lambda f, x: [
        f(x(4, 3), 1),
        f(x(4, 3), -1),
        f(x(4, 3), slice(1, 3)),
        f(x(6), slice(None, None, -2)),
        f(x(4, 3), slice(3, 1)),
        f(x(4, 3), Ellipsis, 0),
        f(x(4, 3), None, slice(None), 1),
        f(x(4, 3), 1, 2),
        f(x()),
        f(x(), Ellipsis),
        f(x(), None),
        f(x(3), np.array([0, 0, 1])),
        f(x(4, 3), [2, 0, 2]),
        f(x(4, 3), np.array([[0, 1], [-1, 0]])),
        f(x(4, 3), np.array([], int)),
        f(x(4, 3), np.array([0, 0]), np.array([1, 1])),
        f(x(4, 3), slice(1, 3), np.array([0, 0])),
        f(x(2, 3, 4), np.array([0, 1, 0]), slice(None), np.array([1, 1, 1])),
        f(x(2, 3, 4), np.array([[0], [1]]), 1, np.array([0, 2, 2])),
        f(x(4, 3), x.booleans(4, 3)),
        f(x(4, 3), x.booleans(4)),
        f(x(4, 3), slice(None), np.array([True, False, True])),
        f(x(4, 3), np.array([True, False, True, True]), np.array([0, 0, 2])),
        f(x(3), True),
        f(x(), True),
        f(x(3), False),
        f(x(4, 3), [True, False, False, True]),
        f(x(4, 3), np.int64(2)),
        f(x(4, 3), [0, 0], True),
    ],
)
raises(IndexError, "out of bounds", getitem, calls=lambda f, x: [f(x(3), 3), f(x(3), np.array([0, -4]))])
raises(IndexError, "too many indices", getitem, calls=lambda f, x: [f(x(3), 0, 0)])
samples(
    put,
    calls=lambda f, x: [
        f(x(3), 1, shape=(4, 3)),
        f(x(2, 3), slice(1, 3), shape=(4, 3)),
        f(x(3), np.array([0, 0, 1]), shape=(3,)),
        f(x(2), np.array([0, 0]), np.array([1, 1]), shape=(4, 3)),
        f(x(2), np.array([True, False, True]), shape=(3,)),
        f(x(), 2, shape=(3,)),
    ],
)
samples(
    replaced,
    calls=lambda f, x: [
        f(x(4, 3), x(3), 1),
        f(x(4, 3), x(), slice(1, 3)),
        f(x(4, 3), x(2, 1), slice(1, 3), slice(None)),
        f(x(3), x(3), np.array([0, 0, 1])),
        f(x(4, 3), x(2), np.array([1, 1]), np.array([2, 2])),
        f(x(4, 3), x(), x.booleans(4, 3)),
        f(x(), x()),
        f(x(3), 2.0, 1),
    ],
)
samples(counts, calls=lambda f, x: [f((3,), np.array([0, 0, 1])), f((2, 3), slice(None), 1)])
samples(
    picked_once,
    calls=lambda f, x: [f(x(3), np.array([2, 0])), f(x(4, 3), slice(1, 3)), f(x(3), x.booleans(3)), f(x())],
)
raises(ValueError, "twice", picked_once, calls=lambda f, x: [f(x(3), np.array([0, -3]))])
samples(gather, calls=lambda f, x: [f(x(4, 3), x.integers(0, 3, 4)), f(x(1, 3), np.array([2]))])
samples(scatter, calls=lambda f, x: [f(x(4), x.integers(0, 3, 4), 3), f(x(1), np.array([2]), 3)])
samples(minus_one_hot, calls=lambda f, x: [f(x(4, 3), x.integers(0, 3, 4), 0.5), f(x(1, 3), np.array([2]), -2.0)])

samples(
    np.take,
    calls=lambda f, x: [
        f(x(2, 3), 4),
        f(x(2, 3), [0, 0, 5]),
        f(x(2, 3), np.array([[0, 2], [2, -1]]), axis=1),
        f(x(2, 3), 1, 0),
        f(x(4), [7, -3, 0], mode="wrap"),
        f(x(2, 4), [7, -3, 0], axis=-1, mode="clip"),
        f(x(3), [True, False, True]),
        f(x(3, 2), [], axis=0),
    ],
)
raises(ValueError, "unknown mode 'swap'; did you mean 'wrap'", np.take, calls=lambda f, x: [f(x(3), 5, mode="swap")])
raises(IndexError, "out of bounds", np.take, calls=lambda f, x: [f(x(3), 3), f(x(2, 3), [0, 5], axis=1)])
samples(
    np.take_along_axis,
    calls=lambda f, x: [
        f(x(2, 3), np.array([[0], [2]]), 1),
        f(x(2, 3), np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1]]), axis=0),
        f(x(2, 3), np.array([0, 0, 5]), None),
        f(x(3), np.array([2, 2]), -1),
        f(x(2, 3), np.array([[0, 0]]), 1),
    ],
)
samples(
    np.sort,
    calls=lambda f, x: [
        f(x.distinct(2, 3)),
        f(x.distinct(2, 3), 0),
        f(x.distinct(2, 3), axis=None),
        f(x.distinct(5), axis=-1),
    ],
)
raises(TypeError, "'kind'", np.sort, calls=lambda f, x: [f(x(3), -1, "heapsort"), f(x(3), kind="stable")])
samples(
    np.repeat,
    calls=lambda f, x: [
        f(x(2, 3), 2),
        f(x(3), [0, 1, 2]),
        f(x(2, 3), 2, axis=1),
        f(x(2, 3), np.array([2, 1]), 0),
        f(x(), 3),
        f(x(2, 3), [2], -1),
    ],
)
samples(
    np.delete,
    calls=lambda f, x: [
        f(x(4), 1),
        f(x(2, 3), 0, axis=1),
        f(x(2, 3), [0, 4]),
        f(x(5), slice(1, 3)),
        f(x(3), np.array([True, False, True])),
        f(x(2, 3), -1, 0),
    ],
)
samples(
    np.compress,
    calls=lambda f, x: [f([True, False, True], x(3, 2), axis=0), f(x.booleans(2), x(3, 2), 1), f([0, 1, 1], x(2, 3))],
)
samples(np.extract, calls=lambda f, x: [f(x.booleans(2, 3), x(2, 3)), f([0, 1, 1], x(3))])
samples(np.resize, calls=lambda f, x: [f(x(2, 3), (4, 2)), f(x(2, 3), 4), f(x(2, 3), (2, 1))])
samples(
    np.diagonal,
    calls=lambda f, x: [
        f(x(3, 3)),
        f(x(2, 4), 1),
        f(x(4, 2), offset=-1),
        f(x(2, 3, 4)),
        f(x(2, 3, 4), 1, 1, 2),
        f(x(2, 3, 4), axis1=-1, axis2=0),
        f(x(2, 3), 5),
    ],
)
samples(np.linalg.diagonal, calls=lambda f, x: [f(x(3, 3)), f(x(2, 3, 4), offset=1), f(x(2, 3, 4), offset=-1)])
samples(np.diag, calls=lambda f, x: [f(x(3)), f(x(2), 1), f(x(2), k=-2), f(x(3, 3)), f(x(2, 4), 1), f(x(4, 2), k=-1)])
samples(np.diagflat, calls=lambda f, x: [f(x(3)), f(x(2, 2), 1), f(x(2), k=-1), f(x())])
samples(
    np.trace, calls=lambda f, x: [f(x(3, 3)), f(x(2, 4), 1), f(x(2, 3, 4), offset=-1, axis1=1, axis2=2), f(x(2, 3, 4))]
)
samples(np.linalg.trace, calls=lambda f, x: [f(x(3, 3)), f(x(2, 3, 4)), f(x(2, 3, 4), offset=1)])
samples(np.tril, np.triu, calls=lambda f, x: [f(x(3, 3)), f(x(2, 4), 1), f(x(4, 2), k=-1), f(x(2, 3, 3)), f(x(3))])
samples(np.tril, calls=lambda f, x: [f(np.array([[1.5, np.inf], [0.5, 2.0]]))])
samples(np.triu, calls=lambda f, x: [f(np.array([[1.5, 0.5], [np.nan, 2.0]]))])
samples(
    np.pad,
    calls=lambda f, x: [
        f(x(2, 3), 1),
        f(x(2, 3), (1, 2)),
        f(x(2, 3), ((1, 0), (2, 3))),
        f(x(2, 3), 1, constant_values=2.5),
        f(x(2, 3), 1, "constant", constant_values=((1.0, 2.0), (3.0, 4.0))),
        *(f(x(3, 4), ((2, 1), (0, 2)), mode) for mode in ("edge", "reflect", "symmetric", "wrap")),
        f(x(3), 5, mode="reflect"),
        f(x(3), 2, mode="reflect", reflect_type="even"),
    ],
)
raises(ValueError, "mode 'mean' has no rule", np.pad, calls=lambda f, x: [f(x(3), 1, "mean")])
raises(
    (TypeError, ValueError), "reflect_type|odd", np.pad, calls=lambda f, x: [f(x(3), 1, "reflect", reflect_type="odd")]
)
