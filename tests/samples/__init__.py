"""On what every function of the tables is tried: sample calls, one file for each file of `tinygrad_mlp.rules`.

A function without samples fails a test; `registry.samples` enters them.
"""

from . import elementwise, indexing, linalg, reductions, shapes
from .registry import SAMPLES

__all__ = ["SAMPLES", "elementwise", "indexing", "linalg", "reductions", "shapes"]
