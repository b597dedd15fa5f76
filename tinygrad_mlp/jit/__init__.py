"""The compiled step: a function of Tensor ops becomes a NumPy program with buffers of its own, and the same bits."""

from .function import Jitted, jit

__all__ = ["Jitted", "jit"]
