"""Samples of the functions that move, repeat or join elements."""

from __future__ import annotations

import numpy as np

from tinygrad_mlp.errors import ShapeError
from tinygrad_mlp.rules.shapes import astype, spread, sum_to

from .registry import raises, samples

samples(np.result_type, calls=lambda f, x: [f(x(2), np.float32), f(x(2), x.integers(0, 3, 2)), f(x(), 1)])
samples(np.can_cast, calls=lambda f, x: [f(x(2), np.float32), f(x(2), float), f(x(2), "f4", casting="same_kind")])
samples(
    np.reshape,
    calls=lambda f, x: [
        f(x(2, 3), (3, 2)), f(x(2, 3), -1), f(x(2, 3), (1, -1, 3)), f(x(1), ()), f(x(0, 3), (3, 0)), f(x(2, 3), [3, 2])
    ],
)  # fmt: skip
if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
    samples(np.reshape, calls=lambda f, x: [f(x(2, 3), shape=6)])
raises(ShapeError, "reshape", np.reshape, calls=lambda f, x: [f(x(2, 3), (4, 2)), f(x(2, 3), (-1, 4))])
raises(TypeError, "order", np.reshape, calls=lambda f, x: [f(x(2, 3), 6, order="F"), f(x(2, 3), 6, "F")])
samples(np.ravel, calls=lambda f, x: [f(x(2, 3)), f(x()), f(x(0, 3)), f(x(2, 3, 2))])
samples(np.expand_dims, calls=lambda f, x: [f(x(2, 3), 0), f(x(2, 3), axis=-1), f(x(2, 3), (0, 2)), f(x(), 0)])
samples(
    np.squeeze,
    calls=lambda f, x: [f(x(1, 3, 1)), f(x(1, 3, 1), 0), f(x(1, 3, 1), axis=-1), f(x(1, 3, 1), axis=(0, 2)), f(x(1))],
)
raises(ShapeError, "squeeze", np.squeeze, calls=lambda f, x: [f(x(2, 3), axis=0)])
samples(
    np.broadcast_to, calls=lambda f, x: [f(x(3), (2, 3)), f(x(2, 1), (4, 2, 3)), f(x(), (2,)), f(x(3), shape=(0, 3))]
)
raises(ShapeError, "broadcast", np.broadcast_to, calls=lambda f, x: [f(x(3), (2, 4))])
samples(
    np.transpose,
    calls=lambda f, x: [f(x(2, 3)), f(x(2, 3, 4)), f(x(2, 3, 4), (2, 0, 1)), f(x(2, 3, 4), axes=(-2, -1, 0)), f(x())],
)
raises(
    ShapeError,
    "axes don't match|repeated",
    np.transpose,
    calls=lambda f, x: [f(x(2, 3), (0, 1, 2)), f(x(2, 3), (0, 0))],
)
samples(np.swapaxes, calls=lambda f, x: [f(x(2, 3, 4), 0, 2), f(x(2, 3), axis1=-1, axis2=0)])
samples(
    np.moveaxis,
    calls=lambda f, x: [f(x(2, 3, 4), 0, -1), f(x(2, 3, 4), (0, 1), (2, 0)), f(x(2, 3), source=[1], destination=[0])],
)
samples(
    np.rollaxis,
    calls=lambda f, x: [f(x(2, 3, 4), 2), f(x(2, 3, 4), 0, 2), f(x(2, 3, 4), -1, start=1), f(x(2, 3), 0, 2)],
)
raises(ShapeError, "start", np.rollaxis, calls=lambda f, x: [f(x(2, 3), 0, -3), f(x(2, 3), 0, 3)])
samples(np.matrix_transpose, np.linalg.matrix_transpose, calls=lambda f, x: [f(x(2, 3)), f(x(4, 2, 3))])
samples(np.flip, calls=lambda f, x: [f(x(2, 3)), f(x(2, 3), 0), f(x(2, 3, 2), axis=(0, -1)), f(x(3), axis=-1)])
samples(np.fliplr, np.flipud, calls=lambda f, x: [f(x(2, 3)), f(x(2, 3, 2))])
samples(
    np.roll,
    calls=lambda f, x: [
        f(x(2, 3), 1), f(x(2, 3), -2, axis=1), f(x(2, 3), (1, 2), (0, 1)), f(x(4), shift=5),
        f(x(2, 3), [1, -1], axis=[0, 1]),
    ],
)  # fmt: skip
samples(
    np.rot90,
    calls=lambda f, x: [
        *(f(x(2, 3), k) for k in (-1, 0, 1, 2, 3, 5)),
        f(x(2, 3, 4), axes=(1, 2)),
        f(x(2, 3, 4), 1, (2, 0)),
    ],
)
samples(np.copy, calls=lambda f, x: [f(x(2, 3)), f(x()), f(x(3, 2).T)])
raises(TypeError, "'order'", np.copy, np.ravel, calls=lambda f, x: [f(x(2, 3), order="F"), f(x(2, 3), "F")])
samples(astype, calls=lambda f, x: [f(x(2, 3), np.dtype(np.float64)), f(x(2, 3), float)])
samples(
    sum_to,
    calls=lambda f, x: [f(x(2, 3), (3,)), f(x(2, 3), (2, 1)), f(x(4, 2, 3), (1, 3)), f(x(2), ()), f(x(0, 3), (3,))],
)
samples(
    spread,
    calls=lambda f, x: [
        f(x(), (2, 3)), f(x(3), (2, 3), 0), f(x(2, 1), (2, 3), -1), f(x(3), (2, 3, 4), (0, 2)), f(x(3), (2, 3), axis=0)
    ],
)  # fmt: skip

samples(
    np.concatenate,
    calls=lambda f, x: [
        f([x(2, 3), x(1, 3)]),
        f((x(2), x(3), x(1)), axis=-1),
        f([x(2, 1), x(2, 2), np.ones((2, 1), int)], 1),
        f([x(2, 2), x(3)], axis=None),
        f([x(0, 3), x(2, 3)]),
        f([x(2, 3)]),
        f([x(2, 3), [[1.0, 2.0, 3.0]]]),
        f([x(2, 1), x(2, 2)], -1),
        f([x(2, 1, 2), x(2, 3, 2)], axis=-2),
    ],
)
raises(
    ShapeError,
    "concatenate",
    np.concatenate,
    calls=lambda f, x: [f([x(2, 3), x(2, 2)]), f([x(2), x(2, 2)]), f([x(), x()])],
)
samples(
    np.stack,
    calls=lambda f, x: [f([x(2, 3), x(2, 3)]), f([x(2), x(2), x(2)], -1), f([x(), x()]), f((x(2, 3),), axis=1)],
)
raises(ValueError, "same shape|concatenate", np.stack, calls=lambda f, x: [f([x(2), x(3)])])
samples(
    np.vstack, np.hstack, np.dstack,
    calls=lambda f, x: [
        f([x(3), x(3)]), f([x(2, 3), x(2, 3)]), f((x(2, 3, 1), x(2, 3, 1))), f([x(), x()]), f([x(3), 1 + x(3)]),
    ],
)  # fmt: skip
samples(np.vstack, calls=lambda f, x: [f([x(3), x(2, 3)]), f([x(1), x()])])
samples(np.hstack, calls=lambda f, x: [f([x(3), x()]), f([x(2, 1), x(2, 3)])])
samples(np.dstack, calls=lambda f, x: [f([x(3), x(1, 3, 2)])])
samples(np.column_stack, calls=lambda f, x: [f([x(3), x(3)]), f([x(3), x(3, 2)]), f((x(2, 3), x(2, 1)))])
samples(
    np.block,
    calls=lambda f, x: [
        f([x(2), x(3)]),
        f([[x(2, 2), x(2, 1)], [x(1, 2), x(1, 1)]]),
        f([[x(2), x()], [x(3)]]),
        f(x(2, 3)),
        f([x(1, 2, 1), x(2, 1)]),
    ],
)
samples(
    np.append, calls=lambda f, x: [f(x(2, 3), x(2)), f(x(2, 3), x(1, 3), axis=0), f(x(2, 3), x(2, 1), 1), f(x(3), 2.0)]
)
samples(
    np.tile,
    calls=lambda f, x: [
        f(x(2, 3), 2),
        f(x(2, 3), (2, 1)),
        f(x(3), (2, 2)),
        f(x(2, 3), [3, 1, 2]),
        f(x(), 3),
        f(x(3), 0),
    ],
)
samples(
    np.split,
    calls=lambda f, x: [
        f(x(4, 3), 2),
        f(x(4, 3), [1, 3]),
        f(x(2, 6), 3, axis=1),
        f(x(2, 4), [1, 1, 6], -1),
        f(x(4), np.array([2])),
    ],
)
raises(ValueError, "equal division", np.split, calls=lambda f, x: [f(x(5), 2)])
samples(np.array_split, calls=lambda f, x: [f(x(5, 3), 2), f(x(5), [1, 3]), f(x(2, 5), 3, axis=1), f(x(2), 3)])
samples(np.vsplit, calls=lambda f, x: [f(x(4, 3), 2), f(x(4, 3), [1])])
samples(np.hsplit, calls=lambda f, x: [f(x(4), 2), f(x(3, 4), 2), f(x(3, 4), [1])])
samples(np.dsplit, calls=lambda f, x: [f(x(2, 3, 4), 2), f(x(2, 3, 4), [1])])
samples(
    np.atleast_1d,
    np.atleast_2d,
    np.atleast_3d,
    calls=lambda f, x: [*(f(x(*s)) for s in [(), (2,), (2, 3), (2, 3, 4), (1, 2, 1, 2)]), f(x(), x(2))],
)
samples(np.broadcast_arrays, calls=lambda f, x: [f(x(3), x(2, 1)), f(x(2, 3)), f(x(), x(2), x(3, 1))])
samples(
    np.meshgrid,
    calls=lambda f, x: [f(x(2), x(3)), f(x(2), x(3), indexing="ij"), f(x(2), x(3), x(2)), f(x(2)), f(x(), x(2))],
)
raises(ValueError, "unknown indexing 'yx'", np.meshgrid, calls=lambda f, x: [f(x(2), x(3), indexing="yx")])
raises(ValueError, "must be different", np.rot90, calls=lambda f, x: [f(x(2, 3), 1, (0, -2))])
raises(TypeError, "'sparse'", np.meshgrid, calls=lambda f, x: [f(x(2), x(3), sparse=True)])
samples(
    np.select,
    calls=lambda f, x: [
        f([x.booleans(3), x.booleans(3)], [x(3), x(3)]),
        f([x.booleans(3), x.booleans(3)], [x(3), x()], x(3)),
        f([x.booleans(2, 3)], [x(3)], default=1.5),
    ],
)
samples(np.full_like, calls=lambda f, x: [f(x(2, 3), x()), f(x(2, 3), x(3)), f(x(2, 3), 1.5)])
samples(
    np.linspace,
    calls=lambda f, x: [
        f(x(), x(), 5),
        f(x(), 2.0),
        f(0, x(), num=3),
        f(x(2), x(2), 3),
        f(x(3), x(2, 1), 4),
        f(x(), x(), 1),
    ],
)
if hasattr(np, "unstack"):
    samples(np.unstack, calls=lambda f, x: [f(x(2, 3)), f(x(2, 3), axis=-1), f(x(2))])
if hasattr(np, "astype"):
    samples(np.astype, calls=lambda f, x: [f(x(2, 3), np.float64), f(x(), np.dtype(float))])
