"""Samples of products of vectors and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mlp.errors import ShapeError
from tinygrad_mlp.rules.linalg import cofactors, linear, logabsdet, matmul, signdet

from .registry import raises, samples


def products(f: Any, x: Any) -> list[Any]:
    """Multiply operands of up to three axes."""
    return [
        f(x(3), x(3)),
        f(x(3), x(3, 2)),
        f(x(2, 3), x(3)),
        f(x(2, 3), x(3, 4)),
        f(x(4, 3), x(3, 2)),
        f(x(3), x(2, 3, 4)),
        f(x(2, 4, 3), x(3)),
        f(x(2, 3), x(2, 3, 4)),
        f(x(2, 4, 3), x(3, 2)),
        f(x(2, 0), x(0, 3)),
    ]


def batches(f: Any, x: Any) -> list[Any]:
    """Multiply stacks of matrices whose first axes broadcast."""
    return [
        f(x(2, 2, 3), x(2, 3, 4)),
        f(x(1, 2, 3), x(5, 3, 4)),
        f(x(2, 1, 2, 3), x(3, 3, 2)),
    ]


samples(np.matmul, matmul, np.linalg.matmul, calls=lambda f, x: [*products(f, x), *batches(f, x)])
raises(
    ShapeError,
    r"cannot multiply \(2, 3\) by \(4, 2\): the inner sizes 3 and 4 differ",
    np.matmul,
    matmul,
    np.dot,
    calls=lambda f, x: [f(x(2, 3), x(4, 2))],
)
samples(
    linear,
    calls=lambda f, x: [
        f(x(4, 3), x(2, 3)),
        f(x(4, 3), x(2, 3), x(2)),
        f(x(3), x(2, 3), x(2)),
        f(x(2, 4, 3), x(2, 3), x(2)),
        f(x(4, 3), x(2, 3), None),
        f(x(4, 3), x(2, 3), bias=x(2)),
    ],
)
samples(
    np.dot,
    calls=lambda f, x: [*products(f, x), f(x(), x(2, 3)), f(x(2, 3), x()), f(x(2, 4, 3), x(2, 3, 2)), f(x(3), 2.0)],
)
samples(
    np.inner,
    calls=lambda f, x: [
        f(x(3), x(3)),
        f(x(2, 3), x(4, 3)),
        f(x(3), x(2, 3)),
        f(x(2, 2, 3), x(3)),
        f(x(), x(2, 3)),
        f(x(), x()),
    ],
)
samples(np.outer, calls=lambda f, x: [f(x(2), x(3)), f(x(2, 2), x(3)), f(x(), x(3))])
samples(np.linalg.outer, calls=lambda f, x: [f(x(2), x(3))])
samples(np.vdot, calls=lambda f, x: [f(x(3), x(3)), f(x(2, 3), x(2, 3)), f(x(2, 3), x(6)), f(x(), x())])
samples(np.vecdot, np.linalg.vecdot, calls=lambda f, x: [f(x(3), x(3)), f(x(2, 3), x(3)), f(x(2, 1, 3), x(4, 3))])
samples(np.vecdot, np.linalg.vecdot, calls=lambda f, x: [f(x(3, 2), x(3, 2), axis=0)])
raises(
    ShapeError, "equal sizes", np.tensordot,
    calls=lambda f, x: [f(x(2, 3, 4), x(4, 3), axes=([1, 2], [0, 1])), f(x(2, 3), x(6, 2), axes=1)],
)  # fmt: skip
raises(ValueError, "out of bounds", np.tensordot, calls=lambda f, x: [f(x(2, 3), x(3, 2), axes=(5, 0))])
samples(
    np.tensordot, np.linalg.tensordot,
    calls=lambda f, x: [
        f(x(2, 3, 4), x(3, 4, 2)),
        f(x(2, 3), x(3, 2), axes=1),
        f(x(2), x(3), axes=0),
        f(x(2, 3, 4), x(4, 3), axes=([1, 2], [1, 0])),
        f(x(2, 3), x(2, 4), axes=(0, 0)),
        f(x(2, 3), x(4, 3), axes=(-1, -1)),
        f(x(2, 0), x(0, 3), axes=1),
    ],
)  # fmt: skip
samples(
    np.einsum,
    calls=lambda f, x: [
        f("ij,jk->ik", x(2, 3), x(3, 4)),
        f("ij,jk", x(2, 3), x(3, 4)),
        f("ij->ji", x(2, 3)),
        f("ij->", x(2, 3)),
        f("ij->j", x(2, 3)),
        f("ii", x(3, 3)),
        f("ii->i", x(3, 3)),
        f("iji->j", x(2, 3, 2)),
        f("i,i", x(3), x(3)),
        f("i,j->ij", x(2), x(3)),
        f("ij,ij->ij", x(2, 3), x(2, 3)),
        f("...ij,...jk->...ik", x(4, 2, 3), x(3, 2)),
        f("...i->...", x(2, 2, 3)),
        f("i...", x(2, 3)),
        f("ij, jk, kl -> il", x(2, 3), x(3, 2), x(2, 2)),
        f("ij,jk,kl->il", x(2, 3), x(3, 2), x(2, 2), optimize=True),
        f("bij,bkj->bik", x(2, 2, 3), x(2, 4, 3)),
        f("ij,k->i", x(2, 3), x(2)),
        f("...,...->...", x(2, 3), x(3)),
        f("ij,ij->i", x(2, 3), x(1, 3)),
        f(",i->i", x(), x(3)),
        f("iij->j", x(2, 2, 3)),
        f("iii", x(2, 2, 2)),
        f("ba,b", x(2, 3), x(2)),
        f("ij,kj", x(2, 3), x(2, 3)),
        f("kj,ij", x(2, 3), x(4, 3)),
        f("ba", x(2, 3)),
        f("...j,...j", x(2, 3), x(2, 3)),
    ],
)
samples(
    np.einsum,
    calls=lambda f, x: [
        f(x(2, 3), [0, 1], x(3, 2), [1, 2]),
        f(x(2, 3), [0, 1], x(3), [1], [0]),
        f(x(4, 2, 3), [..., 0, 1], x(3), [1], [0, ...]),
    ],
)
raises(ShapeError, "einsum", np.einsum, calls=lambda f, x: [f("ij,jk", x(2, 3), x(2, 3)), f("ijk", x(2, 3))])
samples(
    np.kron,
    calls=lambda f, x: [f(x(2), x(3)), f(x(2, 2), x(2, 3)), f(x(2, 2), x(3)), f(x(), x(2)), f(x(2, 1, 2), x(2, 2))],
)
samples(
    np.cross,
    np.linalg.cross,
    calls=lambda f, x: [f(x(3), x(3)), f(x(2, 3), x(2, 3)), f(x(2, 3), x(3)), f(x(3, 2), x(3, 2), axis=0)],
)
samples(
    np.cross,
    calls=lambda f, x: [
        f(x(3, 2), x(2, 3), 0),
        f(x(3, 2), x(2, 3), axisa=0, axisb=1, axisc=0),
        f(x(3, 4, 2), x(2, 3), axisa=0, axisc=1),
    ],
)
raises(ValueError, "3", np.cross, np.linalg.cross, calls=lambda f, x: [f(x(4), x(4))])
samples(
    np.convolve,
    np.correlate,
    calls=lambda f, x: [
        f(x(5), x(3)),
        f(x(3), x(5)),
        f(x(5), x(2), "same"),
        f(x(5), x(3), mode="valid"),
        f(x(4), x(4), "same"),
        f(x(5), x(2), "full"),
        f(x(2), x(5), "same"),
        f(x(1), x(1)),
        f(x(2), x(5), "full"),
        f(x(2), x(5), "valid"),
        f(x(3), x(4), "same"),
        f(x(3), x(6), "same"),
    ],
)
raises(ValueError, "empty|mode", np.convolve, np.correlate, calls=lambda f, x: [f(x(3), x(0)), f(x(3), x(2), "other")])
samples(np.linalg.inv, calls=lambda f, x: [f(x.invertible(3, 3)), f(x.invertible(2, 2, 2)), f(x.nonzero(1, 1))])
samples(
    np.linalg.solve,
    calls=lambda f, x: [
        f(x.invertible(3, 3), x(3)),
        f(x.invertible(3, 3), x(3, 2)),
        f(x.invertible(2, 3, 3), x(2, 3, 2)),
        f(x.invertible(2, 3, 3), x(3, 2)),
        f(x.invertible(3, 3), x(2, 3, 1)),
        f(x.invertible(2, 3, 3), x(3)),
    ],
)
samples(
    np.linalg.det,
    cofactors,
    logabsdet,
    np.linalg.slogdet,
    signdet,
    calls=lambda f, x: [f(x.invertible(3, 3)), f(x.invertible(2, 2, 2)), f(-x.positive(1, 1))],
)
samples(np.linalg.cholesky, calls=lambda f, x: [f(x.definite(3, 3)), f(x.definite(2, 2, 2)), f(x.positive(1, 1))])
raises(np.linalg.LinAlgError, "[Ss]ingular", np.linalg.inv, calls=lambda f, x: [f(np.zeros((2, 2)))])
raises(np.linalg.LinAlgError, "[Ss]ingular", np.linalg.solve, calls=lambda f, x: [f(np.zeros((2, 2)), x(2))])
raises(np.linalg.LinAlgError, "positive definite", np.linalg.cholesky, calls=lambda f, x: [f(-np.eye(2))])
raises(
    ValueError,
    "square",
    np.linalg.inv,
    np.linalg.det,
    np.linalg.cholesky,
    np.linalg.slogdet,
    calls=lambda f, x: [f(x(2, 3))],
)
samples(
    np.linalg.matrix_power,
    calls=lambda f, x: [*(f(x.invertible(3, 3), n) for n in (-2, -1, 0, 1, 2, 3, 5)), f(x(2, 2, 2), 3)],
)
raises(TypeError, "integer", np.linalg.matrix_power, calls=lambda f, x: [f(x(2, 2), 2.0)])
samples(
    np.linalg.multi_dot,
    calls=lambda f, x: [f([x(2, 3), x(3, 4), x(4, 2)]), f([x(3), x(3, 2), x(2)]), f((x(2, 3), x(3, 2)))],
)
raises(ValueError, "at least two", np.linalg.multi_dot, calls=lambda f, x: [f([x(2, 3)]), f([])])
samples(np.polyval, calls=lambda f, x: [f(x(3), x(4)), f(x(2), x()), f([1.0, 2.0, 3.0], x(2, 2)), f(x(3), 1.5)])
if hasattr(np, "matvec"):
    samples(np.matvec, calls=lambda f, x: [f(x(2, 3), x(3)), f(x(4, 2, 3), x(3)), f(x(2, 3), x(4, 3))])
    samples(np.vecmat, calls=lambda f, x: [f(x(2), x(2, 3)), f(x(2), x(4, 2, 3)), f(x(4, 2), x(2, 3))])
    raises(ShapeError, "enough dimensions", np.matvec, calls=lambda f, x: [f(x(2), x(2))])
    raises(ShapeError, "dimension 1", np.vecmat, calls=lambda f, x: [f(x(2), x(2)), f(x(3, 2), x(2))])
