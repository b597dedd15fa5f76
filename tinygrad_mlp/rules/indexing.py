"""Rules of functions that pick elements: their derivatives put them back, adding where one was picked twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import composite, primitive, vjp

Shape = tuple[int, ...]
BASIC = (int, slice, type(None), type(Ellipsis))


@primitive
def getitem(x: Any, *items: Any) -> Any:
    """Return ``x[items]``, for every form of index that NumPy has."""
    return x[items]


@primitive
def put(x: Any, *items: Any, shape: Shape) -> Any:
    """Return zeros of ``shape`` to which ``x`` is added at ``items``: the opposite of `getitem`."""
    result = np.zeros(shape, x.dtype)
    if all(isinstance(i, BASIC) or (isinstance(i, np.ndarray) and i.dtype == bool) for i in items):
        result[items] = x
    else:
        np.add.at(result, items, x)
    return result


@primitive
def gather(x: Any, labels: Any) -> Any:
    """Return ``x[i, labels[i]]`` for every row i of an (N, C) array."""
    return x[np.arange(len(labels)), labels]


@primitive
def scatter(x: Any, labels: Any, classes: int) -> Any:
    """Return (N, C) zeros with ``x[i]`` in column ``labels[i]`` of row i: the opposite of `gather`."""
    result = np.zeros((len(labels), classes), x.dtype)
    result[np.arange(len(labels)), labels] = x
    return result


vjp(getitem, lambda g, out, x, *items: put(g, *items, shape=x.shape), linear=True, view=True)
vjp(put, lambda g, out, x, *items, shape: getitem(g, *items), linear=True)
vjp(gather, lambda g, out, x, labels: scatter(g, labels, x.shape[1]), None, linear=True)
vjp(scatter, lambda g, out, x, labels, classes: gather(g, labels), None, linear=True)


def _take(x: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    if axis is None:
        x, axis = np.ravel(x), 0
    if mode != "raise":
        n = x.shape[axis]
        indices = np.clip(indices, 0, n - 1) if mode == "clip" else np.mod(indices, n)
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


composite(np.take, _take)
