"""The calculus: what every function's derivative is, in plain NumPy. Nothing here knows of Tensors."""

from . import elementwise, indexing, linalg, reductions, shapes, words

__all__ = ["elementwise", "indexing", "linalg", "reductions", "shapes", "words"]
