"""The text of native programs run by Python: slow, without a compiler, and with every index checked."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided


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


def strided(address: Any, dtype: Any, shape: Any, strides: Any) -> Any:
    return Checked(as_strided(array(address, dtype, (1,)).array, shape, strides))


def gemm(blas: Any, alpha: Any, a: Any, ta: bool, b: Any, tb: bool, beta: Any, out: Any, sizes: Any) -> None:
    m, n, k, lda, ldb, ldc = sizes
    dtype = out.array.dtype

    def matrix(x: Any, rows: int, columns: int, length: int) -> Any:
        assert length >= columns
        start = x.array.__array_interface__["data"][0]
        size = ((rows - 1) * length + columns) * dtype.itemsize
        buffer = (ctypes.c_byte * size).from_address(start)
        return np.ndarray((rows, columns), dtype, buffer, strides=(length * dtype.itemsize, dtype.itemsize))

    x = matrix(a, k, m, lda).T if ta else matrix(a, m, k, lda)
    y = matrix(b, n, k, ldb).T if tb else matrix(b, k, n, ldb)
    z = matrix(out, m, n, ldc)
    z[...] = alpha * (x @ y) + (beta * z if beta else 0)


def load(source: str, name: str) -> dict[str, Any]:
    """Stand in for `jit.native.cache.load`."""
    space: dict[str, Any] = {
        "np": np, "array": array, "strided": strided, "gemm": gemm,
        "exp_f": np.exp, "exp_d": np.exp, "plus": lambda total, x: total + x,
        "njit": lambda **options: lambda function: function,
    }  # fmt: skip
    exec(source, space)
    return space
