"""On what every function of the tables is tried: sample calls, one file for each file of `tinygrad_mlp.rules`.

A function without samples fails a test; `registry.samples` enters them. `compositions` has those of `functional`.
"""

from . import compositions, decompositions, elementwise, indexing, linalg, reductions, shapes, special, waves
from .registry import SAMPLES, of_the_rules

__all__ = [
    "SAMPLES", "compositions", "decompositions", "elementwise", "indexing", "linalg", "of_the_rules", "reductions",
    "shapes", "special", "waves",
]  # fmt: skip
