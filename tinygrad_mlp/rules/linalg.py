"""Rules of products of vectors and matrices."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from .table import composite, primitive, vjp


@primitive
def matmul(x: Any, y: Any) -> Any:
    """Return ``x @ y``; a product of two matrices in the memory layout that BLAS computes fastest.

    BLAS splits the contiguous axis of the result's columns among threads, so the larger one is laid out for it: a
    wide result is F-ordered. That depends on the shape alone, so an activation and its gradient are laid out alike.
    """
    if x.ndim == y.ndim == 2 and y.shape[1] > x.shape[0] and x.dtype == y.dtype:
        return np.matmul(x, y, out=np.empty((x.shape[0], y.shape[1]), x.dtype, order="F"))
    return np.matmul(x, y)


@primitive
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """Return ``x @ weight.T + bias``, for ``weight`` of shape (out_features, in_features)."""
    out = matmul(x, weight.T)
    if bias is not None:
        out += bias
    return out


def _rows(x: Any) -> Any:
    """Return an array of any rank as one matrix of its last axis."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _matmul_x(g: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g * y if x.ndim == 1 else g.reshape(*g.shape, 1) * y
    if x.ndim == 1:
        return (y * g.reshape(*g.shape[:-1], 1, g.shape[-1])).sum(axis=-1)
    return matmul(g, y.swapaxes(-1, -2))


def _matmul_y(g: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return g * x if y.ndim == 1 else x.reshape(-1, 1) * g.reshape(*g.shape[:-1], 1, g.shape[-1])
    if y.ndim == 1:
        return x * g.reshape(*g.shape, 1)
    if y.ndim == 2:
        return matmul(_rows(x).T, _rows(g))
    return matmul(x.swapaxes(-1, -2), g)


def _einsum_term(i: int, g: Any, subscripts: str, operands: Any) -> Any:
    """Return the gradient of operand ``i``: an einsum of the upstream gradient with all other operands.

    An index that only this operand has was summed away: ones bring it back. An index that repeats within it has
    picked a diagonal: an identity matrix puts that back.
    """
    inputs, output = _explicit(subscripts, [np.ndim(a) for a in operands])
    target, terms, arrays = "", [output], [g]
    for j, (letters, array) in enumerate(zip(inputs, operands, strict=True)):
        if j != i:
            terms.append(letters)
            arrays.append(array)
    unused = iter(sorted(set(string.ascii_letters) - set("".join(inputs)) - set(output)))
    shape, dtype = operands[i].shape, operands[i].dtype
    for n, letter in zip(shape, inputs[i], strict=True):
        new = letter
        if letter in target:
            new = next(unused)
            terms.append(letter + new)
            arrays.append(np.eye(n, dtype=dtype))
        elif not any(letter in term for term in terms):
            terms.append(letter)
            arrays.append(np.ones(n, dtype))
        target += new
    return np.einsum(f"{','.join(terms)}->{target}", *arrays)


def _explicit(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
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


vjp(np.matmul, lambda g, out, x, y: _matmul_x(g, x, y), lambda g, out, x, y: _matmul_y(g, x, y), forward=matmul)
vjp(matmul, lambda g, out, x, y: _matmul_x(g, x, y), lambda g, out, x, y: _matmul_y(g, x, y))
vjp(
    linear,
    lambda g, out, x, weight, bias=None: matmul(g, weight),
    lambda g, out, x, weight, bias=None: matmul(_rows(g).T, _rows(x)),
    lambda g, out, x, weight, bias=None: g,
)


def _einsum_call(subscripts: Any, *operands: Any, optimize: Any = False) -> tuple[Any, dict[str, Any]]:
    if not isinstance(subscripts, str):
        raise TypeError("einsum of Tensors takes its subscripts as a string, as in einsum('ij,jk->ik', x, y)")
    return (subscripts, *operands), {"optimize": optimize} if optimize else {}


vjp(
    np.einsum,
    each=lambda i, g, out, subscripts, *operands, optimize=False: _einsum_term(i - 1, g, subscripts, operands),
    bind=_einsum_call,
)


def _dot(x: Any, y: Any) -> Any:
    if np.ndim(x) == 0 or np.ndim(y) == 0:
        return np.multiply(x, y)
    return np.matmul(x, y) if np.ndim(y) <= 2 else np.tensordot(x, y, axes=(-1, -2))


composite(np.dot, _dot)
