"""The calculus: what every function's derivative is, in plain NumPy. Nothing here knows of Tensors."""

from . import decompositions, elementwise, indexing, linalg, reductions, sampled, shapes, waves, words

__all__ = ["decompositions", "elementwise", "indexing", "linalg", "reductions", "sampled", "shapes", "waves", "words"]
