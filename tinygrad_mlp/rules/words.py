"""What the result of an op is called in a program that a person reads; of one that is not here, as the function."""

from typing import Any

import numpy as np

from .elementwise import select, uniform
from .indexing import gather, getitem, put, scatter
from .linalg import matmul
from .shapes import astype, spread
from .table import annotate

_HOLDS: dict[str, list[Any]] = {
    "maximum": [np.max, np.amax], "minimum": [np.min, np.amin], "total": [np.sum], "exponentials": [np.exp],
    "root": [np.sqrt], "squares": [np.square], "added": [np.add], "difference": [np.subtract],
    "product": [np.multiply, np.matmul, matmul, np.einsum], "quotient": [np.divide], "negated": [np.negative],
    "larger": [np.maximum], "smaller": [np.minimum], "selected": [np.where, select], "picked": [gather],
    "scattered": [scatter], "part": [getitem], "placed": [put], "joined": [np.concatenate], "random": [uniform],
    "size": [np.absolute], "converted": [astype], "repeated": [spread, np.broadcast_to], "inverse": [np.reciprocal],
    "logarithms": [np.log], "T": [np.transpose, np.swapaxes, np.moveaxis], "reshaped": [np.reshape],
}  # fmt: skip
for _word, _functions in _HOLDS.items():
    annotate(*_functions, holds=_word)
