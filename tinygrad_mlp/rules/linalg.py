"""Rules of products of vectors and matrices."""

from __future__ import annotations

import functools
import math
import operator
import string
from typing import Any

import numpy as np

from ..checks import check_choice, check_square
from ..errors import OptionError, ShapeError, describe
from .elementwise import is_wide
from .indexing import put
from .shapes import reduced_axes
from .table import Arguments, Operand, T, annotate, composite, constant, numpys_own, primitive, vjp

SlogdetResult: Any = type(np.linalg.slogdet(np.ones((1, 1))))


def is_sparse(x: Any) -> bool:
    """Return whether a factor is a sparse matrix of SciPy, which is constant."""
    return hasattr(x, "tocsr")


@primitive
def matmul(x: T, y: Any) -> T:
    """Return ``x @ y``; a product of two matrices in the memory layout that BLAS computes fastest.

    BLAS splits the contiguous axis of the result's columns among threads, so the larger one is laid out for it: a
    wide result is F-ordered. That depends on the shape alone, so an activation and its gradient are laid out alike.
    For a narrow one, ``dot`` calls the same BLAS as ``np.matmul`` does, in less time for small matrices.
    """
    if not (type(x) is type(y) is np.ndarray and x.dtype == y.dtype and x.ndim == y.ndim == 2):
        return x @ y if is_sparse(x) or is_sparse(y) else np.matmul(x, y)
    if is_wide((x.shape[0], y.shape[1])):
        return np.matmul(x, y, out=np.empty((x.shape[0], y.shape[1]), x.dtype, order="F"))
    return x.dot(y)


@primitive
def linear(x: T, weight: Any, bias: Any = None) -> T:
    """Return ``x @ weight.T + bias``, for ``weight`` of shape (out_features, in_features)."""
    out = matmul(x, weight.T)
    if bias is not None:
        out += bias
    return out


def _rows(x: Any) -> Any:
    """Return an array of any rank as one matrix of its last axis."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _matmul_x(g: Any, out: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g.reshape(*g.shape, 1) * y
    if x.ndim == 1:
        return matmul(y, g) if y.ndim == 2 else matmul(y, g.reshape(*g.shape, 1))[..., 0]
    return matmul(g, y.swapaxes(-1, -2))


def _matmul_y(g: Any, out: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return g * x if y.ndim == 1 else x.reshape(-1, 1) * g.reshape(*g.shape[:-1], 1, g.shape[-1])
    if y.ndim == 1:
        return matmul(g.reshape(-1), _rows(x))
    if y.ndim == 2:
        return matmul(_rows(x).T, _rows(g))
    return matmul(x.swapaxes(-1, -2), g)


def _einsum_x(i: int, g: Any, out: Any, subscripts: str, *operands: Any, optimize: Any = False) -> Any:
    """Return the gradient of argument ``i``: an einsum of the upstream gradient with all other operands.

    An index that only this operand has, or has in full, was summed away: ones bring it back. An index that repeats
    within it has picked a diagonal: an identity matrix puts that back.
    """
    inputs, output = explicit_subscripts(subscripts, [np.ndim(a) for a in operands])
    i, target = i - 1, ""  # the first argument is the text
    terms = [output, *(letters for j, letters in enumerate(inputs) if j != i)]
    arrays = [g, *(array for j, array in enumerate(operands) if j != i)]
    shapes = [dict(zip(letters, np.shape(a), strict=True)) for letters, a in zip(terms, arrays, strict=True)]
    unused = iter(sorted(set(string.ascii_letters) - set("".join(inputs)) - set(output)))
    for n, letter in zip(operands[i].shape, inputs[i], strict=True):
        new = letter
        if letter in target:
            new = next(unused)
            terms.append(letter + new)
            arrays.append(np.eye(n, dtype=operands[i].dtype))
        elif n not in [shape.get(letter) for shape in shapes]:
            terms.append(letter)
            arrays.append(np.ones(n, operands[i].dtype))
        target += new
    return np.einsum(f"{','.join(terms)}->{target}", *arrays)


def explicit_subscripts(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the output, with implied output and ellipses written out."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    free = sorted(set(string.ascii_letters) - set(left))
    if not arrow:
        once = (c for c in sorted(set(left) - set(",.")) if left.count(c) == 1)
        output = ("..." if "..." in left else "") + "".join(once)
    extra = [rank - len(t.replace("...", "")) if "..." in t else 0 for rank, t in zip(ranks, inputs, strict=True)]
    stars = free[: max(extra)]
    inputs = [t.replace("...", "".join(stars[len(stars) - n :])) for n, t in zip(extra, inputs, strict=True)]
    return inputs, output.replace("...", "".join(stars))


vjp(np.matmul, _matmul_x, _matmul_y, forward=matmul)
vjp(matmul, _matmul_x, _matmul_y)
vjp(linear, lambda g, out, x, w, *_: matmul(g, w), lambda g, out, x, *_: matmul(_rows(g).T, _rows(x)), lambda g, *_: g)


def _einsum(subscripts: str, *operands: Any, **keywords: Any) -> Any:
    """Return ``np.einsum``, but never a view."""
    result = np.einsum(subscripts, *operands, **keywords)
    return result if result.base is None else result.copy()


def _einsum_call(subscripts: Any, *operands: Any, **keywords: Any) -> Arguments:
    if not isinstance(subscripts, str):  # operands and the numbers of their axes in turn, and those of the result
        given, paired = (subscripts, *operands), (len(operands) + 1) // 2 * 2
        axes = [*given[1:paired:2], *given[paired:]]
        text = ["".join("..." if i is Ellipsis else string.ascii_letters[i] for i in each) for each in axes]
        subscripts, operands = "->".join([",".join(text[: paired // 2]), *text[paired // 2 :]]), given[:paired:2]
    return (subscripts, *operands), keywords


vjp(np.einsum, each=_einsum_x, forward=_einsum, bind=_einsum_call)


def _dot(x: Any, y: Any) -> Any:
    if np.ndim(x) == 0 or np.ndim(y) == 0:
        return np.multiply(x, y)
    return np.matmul(x, y) if np.ndim(y) <= 2 else np.tensordot(x, y, axes=(-1, -2))


def _tensordot(x: Any, y: Any, axes: Any = 2) -> Any:
    """Sum over pairs of axes, as one product of matrices."""
    rank_x, rank_y = np.ndim(x), np.ndim(y)
    left, right = (range(rank_x - axes, rank_x), range(axes)) if isinstance(axes, int) else axes
    left, right = list(reduced_axes(rank_x, left)), list(reduced_axes(rank_y, right))
    keep_x, keep_y = [i for i in range(rank_x) if i not in left], [i for i in range(rank_y) if i not in right]
    summed, rows, columns = _sizes(x, left), _sizes(x, keep_x), _sizes(y, keep_y)
    if summed != _sizes(y, right):
        raise ShapeError(f"tensordot sums over axes of equal sizes, got {summed} and {_sizes(y, right)}; check axes")
    inner = math.prod(summed)
    a = np.reshape(np.transpose(x, keep_x + left), (math.prod(rows), inner))
    b = np.reshape(np.transpose(y, right + keep_y), (inner, math.prod(columns)))
    return np.matmul(a, b).reshape(rows + columns)


def _sizes(x: Any, axes: list[int]) -> list[int]:
    return [np.shape(x)[a] for a in axes]


def _inner(x: Any, y: Any) -> Any:
    return np.multiply(x, y) if np.ndim(x) == 0 or np.ndim(y) == 0 else np.tensordot(x, y, axes=(-1, -1))


def _vecdot(x: Any, y: Any, *, axis: int = -1) -> Any:
    return np.matmul(np.moveaxis(x, axis, -1)[..., None, :], np.moveaxis(y, axis, -1)[..., None])[..., 0, 0]


def _kron(x: Any, y: Any) -> Any:
    rank = max(np.ndim(x), np.ndim(y))
    a, b = (np.reshape(t, (1,) * (rank - np.ndim(t)) + np.shape(t)) for t in (x, y))
    wide = np.reshape(a, [n for k in a.shape for n in (k, 1)]) * np.reshape(b, [n for k in b.shape for n in (1, k)])
    return wide.reshape([m * n for m, n in zip(a.shape, b.shape, strict=True)])


def _cross(x: Any, y: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """Return the cross product of vectors of three components along an axis of each."""
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    x, y = np.moveaxis(x, axisa, 0), np.moveaxis(y, axisb, 0)
    if len(x) != 3 or len(y) != 3:
        raise ShapeError(f"cross takes vectors of 3 components, got {len(x)} and {len(y)}; check axis, axisa and axisb")
    (x0, x1, x2), (y0, y1, y2) = x, y
    return np.stack([x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0], axisc)


def _convolve(a: Any, v: Any, mode: str = "full", reverse: bool = False) -> Any:
    """Return the convolution of two vectors: each product ``a[i] * v[j]`` is added at ``i + j``."""
    n, m = sorted((len(a), len(v)), reverse=True)
    if m == 0:
        raise OptionError("convolve and correlate need vectors that are not empty")
    start = (m - 1) // 2 if len(a) >= len(v) or not reverse else m // 2  # as NumPy rounds the middle
    parts = {"full": slice(None), "same": slice(start, start + n), "valid": slice(m - 1, n)}
    check_choice("mode", mode, parts)
    products = np.linalg.outer(a, np.flip(v) if reverse else v)
    return put(products, np.add.outer(np.arange(len(a)), np.arange(len(v))), shape=(n + m - 1,))[parts[mode]]


def _matrix_power(x: Any, n: int) -> Any:
    check_square("matrix_power", x)
    n = operator.index(n)
    if n < 0:
        return _matrix_power(np.linalg.inv(x), -n)
    if n < 2:
        return np.copy(x) if n else np.zeros_like(x) + np.eye(x.shape[-1], dtype=x.dtype)
    root = _matrix_power(x, n // 2)
    square = np.matmul(root, root)
    return np.matmul(square, x) if n % 2 else square


def _transposed(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def _columns(x: Any, b: Any) -> Any:
    """Return the solution of a linear system, or its gradient, as matrices also where the right side is a vector."""
    return x[..., None] if b.ndim == 1 else x


def _cholesky(x: Any) -> Any:
    """Return the Cholesky factor of the symmetric part, so that the gradient is symmetric, as in PyTorch and JAX."""
    check_square("cholesky", x)
    return np.linalg.cholesky(0.5 * (x + _transposed(x)))


def _cholesky_x(g: Any, out: Any) -> Any:
    """Return the gradient of a Cholesky factor (Murray, arXiv:1602.07527, equation 8), as a symmetric matrix."""
    inverse = np.linalg.inv(out)
    inner = np.matmul(_transposed(out), g)
    inner = np.tril(inner) - 0.5 * (inner * np.eye(out.shape[-1], dtype=out.dtype))  # half of the diagonal
    s = np.matmul(_transposed(inverse), np.matmul(inner, inverse))
    return 0.5 * (s + _transposed(s))


@primitive
def cofactors(x: T) -> T:
    """Return the derivative of det(x), det(x) * inv(x).T where x has an inverse, from singular values: for every x."""
    finite = np.isfinite(x).all(axis=(-1, -2), keepdims=True)  # LAPACK may not end for others
    u, s, v = np.linalg.svd(np.where(finite, x, 0))
    others = np.where(np.eye(x.shape[-1], dtype=bool), 1.0, s[..., None, :]).prod(axis=-1)
    sign = np.linalg.det(u) * np.linalg.det(v)
    result = np.matmul(u * (others * np.rint(sign)[..., None])[..., None, :], v)
    return np.where(finite, result, np.nan).astype(x.dtype)  # type: ignore[return-value]


def _cofactors_x(g: Any, out: Any, inverse: Any) -> Any:
    """Return the gradient of ``det(x) * inverse``, where ``inverse`` is transposed."""
    total = (g * out).sum(axis=(-1, -2), keepdims=True)
    return total * inverse - np.matmul(out, np.matmul(_transposed(g), inverse))


def _inverse(x: Any) -> Any:
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError as error:
        hint = "slogdet has no gradient there, det none of second order; add a small multiple of the identity"
        raise np.linalg.LinAlgError(f"a matrix of {describe(x)} is singular: {hint}") from error


@primitive
def logabsdet(x: T) -> T:
    """Return log(|det(x)|), the second result of `numpy.linalg.slogdet`."""
    return np.linalg.slogdet(x)[1]


@primitive
def signdet(x: T) -> T:
    """Return the sign of det(x), the first result of `numpy.linalg.slogdet`."""
    return np.linalg.slogdet(x)[0]


vjp(np.linalg.inv, lambda g, out, x: -np.matmul(_transposed(out), np.matmul(g, _transposed(out))))
vjp(
    np.linalg.solve,
    lambda g, out, a, b: -np.matmul(np.linalg.solve(_transposed(a), _columns(g, b)), _transposed(_columns(out, b))),
    lambda g, out, a, b: np.linalg.solve(_transposed(a), _columns(g, b)).reshape(g.shape),
)
vjp(np.linalg.det, lambda g, out, x: g[..., None, None] * cofactors(x))
vjp(cofactors, lambda g, out, x: _cofactors_x(g, out, _transposed(_inverse(x))))
vjp(logabsdet, lambda g, out, x: g[..., None, None] * _transposed(_inverse(x)))
vjp(np.linalg.cholesky, lambda g, out, x: _cholesky_x(g, out), forward=_cholesky)
constant(signdet)
composite({
    np.linalg.matrix_power: _matrix_power, np.dot: _dot, np.inner: _inner, np.vecdot: _vecdot,
    np.tensordot: _tensordot, np.kron: _kron, np.cross: _cross,
    **numpys_own(np.linalg.matmul, np.linalg.vecdot, np.linalg.tensordot),
    np.convolve: lambda a, v, mode="full": _convolve(a, v, mode),
    np.correlate: lambda a, v, mode="valid": _convolve(a, v, mode, reverse=True),
    np.linalg.slogdet: lambda x: SlogdetResult(signdet(x), logabsdet(x)),
    np.linalg.multi_dot: lambda x: functools.reduce(np.matmul, x[2:], (np.matmul if x[2:] else np.dot)(*x[:2])),
    np.outer: lambda x, y: np.reshape(x, (-1, 1)) * np.reshape(y, (1, -1)),
    np.linalg.outer: lambda x, y: np.einsum("i,j->ij", x, y),
    np.vdot: lambda x, y: np.matmul(np.ravel(x), np.ravel(y)),
    np.linalg.cross: lambda x, y, *, axis=-1: _cross(x, y, axis, axis, axis),
    np.matvec: lambda a, x: np.matmul(a, x[..., None])[..., :, 0],
    np.vecmat: lambda x, a: np.matmul(_transposed(a), x[..., None])[..., 0],
    np.polyval: lambda p, x: functools.reduce(lambda total, c: total * x + c, p, np.zeros_like(x)),
})  # fmt: skip


def _cost_of_einsum(out: Any, subscripts: str, *operands: Any) -> int:
    terms, _ = explicit_subscripts(subscripts, [np.ndim(a) for a in operands])
    pairs = [pair for term, a in zip(terms, operands, strict=True) for pair in zip(term, np.shape(a), strict=True)]
    lengths = {letter: max(n for other, n in pairs if other == letter) for letter, _ in pairs}
    return math.prod(lengths.values()) * (len(operands) - 1)


def _emit_matmul(out: Operand, x: Operand, y: Operand) -> str:
    if is_sparse(x.value) or is_sparse(y.value):
        return f"{out}[...] = {x} @ {y}"
    plain = x.ndim == y.ndim == 2 and x.dtype == y.dtype and not is_wide(out.shape)
    return f"np.{'dot' if plain else 'matmul'}({x}, {y}, out={out})"


annotate(np.matmul, matmul, np.einsum, multilinear=True)
annotate(linear, inline=True)
annotate(linear, matmul, np.matmul, cost=lambda out, x, *_: out.size * x.shape[-1])
annotate(np.einsum, cost=_cost_of_einsum)
annotate(linear, hint="weights or inputs have grown too large: lower the learning rate, scale the inputs")
annotate(matmul, np.matmul, hint="the factors have grown too large: lower the learning rate, scale the inputs")
annotate(matmul, np.matmul, emit=_emit_matmul)
annotate(np.linalg.solve, np.linalg.inv, np.linalg.det, logabsdet, inverts=True)
