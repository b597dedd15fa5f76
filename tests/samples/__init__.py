"""On what every function of the tables is tried: sample calls, a file for each of `tinygrad_mlp.rules` and `scipy`.

A function without samples fails a test; `registry.samples` enters them. `compositions` has those of `functional`.
"""

from . import (
    compositions,
    decompositions,
    elementwise,
    indexing,
    linalg,
    matrices,
    reductions,
    sampled,
    shapes,
    special,
    waves,
)
from .registry import SAMPLES, of_the_rules

__all__ = [
    "SAMPLES", "compositions", "decompositions", "elementwise", "indexing", "linalg", "matrices", "of_the_rules",
    "reductions", "sampled", "shapes", "special", "waves",
]  # fmt: skip
