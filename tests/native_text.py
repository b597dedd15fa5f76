"""The text of native programs run by Python: slow, without a compiler, and with every index checked."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


class Checked:
    """An array that takes no index from the end, as machine code would not."""

    def __init__(self, array: Any) -> None:
        self.array, self.ctypes = array, array.ctypes

    def __getitem__(self, index: Any) -> Any:
        assert min(np.atleast_1d(index)) >= 0
        return self.array[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        assert isinstance(index, slice) or min(np.atleast_1d(index)) >= 0
        assert np.asarray(value).dtype == self.array.dtype, f"{np.asarray(value).dtype} into {self.array.dtype}"
        self.array[index] = value


def array(address: Any, dtype: Any, shape: Any) -> Any:
    dtype = np.dtype(dtype)
    return Checked(
        np.ndarray(shape, dtype, (ctypes.c_byte * (int(np.prod(shape)) * dtype.itemsize)).from_address(int(address)))
    )


def gemm(blas: Any, alpha: Any, a: Any, ta: bool, b: Any, tb: bool, beta: Any, out: Any) -> None:
    x, y, z = (matrix.array for matrix in (a, b, out))
    assert x.ndim == y.ndim == z.ndim == 2
    x, y = x.T if ta else x, y.T if tb else y
    z[...] = alpha * (x @ y) + (beta * z if beta else 0)


def load(source: str, name: str) -> dict[str, Any]:
    """Stand in for `jit.native.cache.load`."""
    space: dict[str, Any] = {
        "np": np, "array": array, "gemm": gemm,
        "exp_f": np.exp, "exp_d": np.exp, "plus": lambda total, x: total + x,
        "compiled": lambda function: function,
    }  # fmt: skip
    exec(source, space)
    return space
