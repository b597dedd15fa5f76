"""On what every function of the tables is tried: sample calls, one file per table. Only tests import them.

A function without samples fails a test; see `rules.table.samples`.
"""

from . import elementwise, indexing, linalg, reductions, shapes

__all__ = ["elementwise", "indexing", "linalg", "reductions", "shapes"]
