"""What native programs call: memory by its address, products by BLAS, and functions that compilers can vectorise."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import get_cython_function_address, intrinsic

__all__ = ["carray", "exp_d", "exp_f", "gemm", "njit", "np", "outside", "plus", "pointer"]


@intrinsic
def pointer(typing: Any, address: Any, dtype: Any) -> Any:
    """Return an address as a pointer to numbers of a dtype."""
    kind = types.CPointer(dtype.dtype)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(address, dtype), code


@intrinsic
def _call_gemm(typing: Any, function: Any, letters: Any, sizes: Any, factors: Any, addresses: Any) -> Any:
    """Call BLAS's gemm by its address; Fortran takes everything by address."""
    real = factors.dtype

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, letters, sizes, factors, addresses = args

        def by_address(pair: Any, i: int, kind: Any) -> Any:
            place = builder.alloca(kind)
            builder.store(builder.trunc(v, kind) if (v := builder.extract_value(pair, i)).type != kind else v, place)
            return place

        byte, integer, number = ir.IntType(8), ir.IntType(32), context.get_value_type(real)
        m, n, k, lda, ldb, ldc = (by_address(sizes, i, integer) for i in range(6))
        ta, tb = (by_address(letters, i, byte) for i in range(2))
        alpha, beta = (by_address(factors, i, number) for i in range(2))
        a, b, c = (builder.inttoptr(builder.extract_value(addresses, i), number.as_pointer()) for i in range(3))
        given = [ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc]
        kind = ir.FunctionType(ir.VoidType(), [g.type for g in given])
        builder.call(builder.inttoptr(function, kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(function, letters, sizes, factors, addresses), code


@njit
def gemm(blas: Any, alpha: Any, a: Any, ta: Any, b: Any, tb: Any, beta: Any, out: Any, sizes: Any) -> None:
    """Set ``out`` to ``alpha * (a @ b) + beta * out``, all in rows, for a or b given transposed as ta and tb say.

    ``sizes`` are those of the result and what is summed over, and the lengths of the rows of a, b and out. BLAS thinks
    in columns: it computes the transpose.
    """
    m, n, k, lda, ldb, ldc = sizes
    letters = (84 if tb else 78, 84 if ta else 78)
    data = (b.ctypes.data, a.ctypes.data, out.ctypes.data)
    _call_gemm(blas, letters, (n, m, k, ldb, lda, ldc), (alpha, beta), data)


def blas(name: str) -> int:
    """Return the address of a function of SciPy's BLAS."""
    return int(get_cython_function_address("scipy.linalg.cython_blas", name))


@njit(fastmath={"reassoc"}, forceinline=True)
def plus(total: Any, x: Any) -> Any:
    """Return a sum that may be taken in any order, so that several are taken at once."""
    return total + x


@njit
def outside(labels: Any, classes: int) -> bool:
    """Return whether one of the labels is no number of a class."""
    wrong = False
    for i in range(len(labels)):
        wrong |= not 0 <= labels[i] < classes
    return wrong


@njit(forceinline=True)
def exp_f(x: Any) -> Any:
    """Return exp(x) in float32, to one unit of the last digit or two: by powers of two and a polynomial (Cephes)."""
    one = np.float32(1)
    z = x if x < np.float32(89) else np.float32(89)
    z = z if z > np.float32(-104) else np.float32(-104)
    magic = np.float32(12582912)
    n = (z * np.float32(1.44269504088896341) + magic) - magic
    r = z - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * (r * r) + r + one
    k = np.int32(n)
    half = np.int32(k >> 1)
    first = np.int32((half + 127) << 23).view(np.float32)
    second = np.int32((k - half + 127) << 23).view(np.float32)
    return x if x != x else p * first * second


@njit(forceinline=True)
def exp_d(x: Any) -> Any:
    """Return exp(x) in float64, by powers of two and Taylor's polynomial of degree 13."""
    z = x if x < 710.0 else 710.0
    z = z if z > -746.0 else -746.0
    magic = 6755399441055744.0
    n = (z * 1.4426950408889634 + magic) - magic
    r = z - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * (r * r) + r + 1
    k = np.int64(n)
    half = k >> 1
    first = np.int64((half + 1023) << 52).view(np.float64)
    second = np.int64((k - half + 1023) << 52).view(np.float64)
    return x if x != x else p * first * second
