"""What people look at: an array as short text, a table, and of a result all that leads to it, with its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.autograd import grad
from ..core.graph import ancestors
from ..errors import GraphError

SHOWN = 12
"""Up to how many elements an array is shown with each of them."""
WIDTH = 48
"""How wide a line of them may be."""


def short(array: np.ndarray[Any, Any], shown: int = SHOWN) -> list[str]:
    """Return an array as a few lines: its elements, a row a line, or if they are many its Euclidean norm.

    Where numbers are not finite, the norm is that of the others. Of whole numbers, the smallest and the largest stand
    for the norm.

    >>> short(np.array(2 / 3)), short(np.eye(2)), short(np.full(100, 2.0)), short(np.arange(100))
    (['0.6667'], ['[[1, 0],', ' [0, 1]]'], ['norm 20'], ['0 to 99'])
    >>> short(np.array([np.nan, *[3.0] * 16]))
    ['norm 12, 1 of 17 not finite']
    """
    if array.size <= shown:
        texts = [f"{x:.4g}" if array.dtype.kind == "f" else str(x) for x in array.flat]
        width = max(map(len, texts), default=0) * (array.ndim > 1)
        table = np.array([text.rjust(width) for text in texts], object).reshape(array.shape)
        text = np.array2string(table, separator=", ", formatter={"all": str}, max_line_width=WIDTH, threshold=shown)
        return [line for line in text.split("\n") if line]
    if array.dtype.kind in "biu":
        return [f"{array.min():d} to {array.max():d}"]
    finite = np.isfinite(array)
    norm = f"norm {np.linalg.norm(array[finite].astype(np.float64)):.4g}"
    return [norm if finite.all() else f"{norm}, {array.size - finite.sum()} of {array.size} not finite"]


def inline(array: np.ndarray[Any, Any]) -> str:
    """Return an array in one line: up to 4 elements, or its shape and what `short` says of it.

    >>> inline(np.eye(2)), inline(np.full((10, 10), 2.0))
    ('[[1, 0], [0, 1]]', '(10, 10) norm 20')
    """
    text = " ".join(" ".join(short(array, 4)).split()).replace("[ ", "[")
    return text if array.size <= 4 else f"{array.shape} {text}"


def ops(output: Any, what: str) -> list[Any]:
    """Return all Tensors that recorded ops have made on the way to the output, oldest first.

    Raises:
        GraphError: there are none, or they are released; ``what`` asks.
    """
    if output._node is None:
        why = "it is a leaf" if output._requires_grad else "nothing that it was made from requires grad"
        if output._cut:
            why = f"it comes through {output._cut}, which is constant"
        raise GraphError(
            f"{what}: this Tensor of shape {output._data.shape} has no graph, {why}; "
            f"{what} a result of Tensors with requires_grad=True, computed outside of no_grad()"
        )
    try:
        return ancestors([output])[1]
    except GraphError as error:
        raise GraphError(f"{what} before backward(), not after it: {error}") from error


def aligned(rows: Sequence[Sequence[str]], signs: str) -> list[str]:
    """Return a table as lines; there is a sign for each column: "<" for texts to the left, ">" for numbers.

    >>> aligned([("name", "size"), ("w", "12")], "<>")
    ['name  size', 'w       12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map("{:{}{}}".format, row, signs, widths)).rstrip() for row in rows]


def gradients(output: Any, what: str) -> dict[Any, np.ndarray[Any, Any]]:
    """Return the gradients of a result of one element by all Tensors that lead to it, the result among them.

    The graph is kept, and no ``.grad`` changes. Hooks are called, as a backward pass does.

    Raises:
        GraphError: the result has more elements, or cannot be differentiated; ``what`` asks.
    """
    if output._data.size != 1:
        shape = output._data.shape
        raise GraphError(f"{what} shows the gradients of one number, got shape {shape}; reduce it with sum() or mean()")
    tensors = list(ancestors([output])[0])
    found = grad(output, tensors, retain_graph=True, allow_unused=True)
    return {t: g._data for t, g in zip(tensors, found, strict=True) if g is not None}
