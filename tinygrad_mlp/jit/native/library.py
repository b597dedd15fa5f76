"""What native programs call: memory by its address, products by BLAS, and functions that compilers can vectorise."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numba.np.arrayobj import populate_array

from ...nn.blas import function

__all__ = ["array", "exp_d", "exp_f", "gemm", "njit", "np", "plus", "strided"]


@intrinsic
def array(typing: Any, address: Any, dtype: Any, shape: Any) -> Any:
    """Return the array of a shape, in rows, whose memory is at an address and belongs to somebody else."""
    return _array(address, dtype, shape, None)


@intrinsic
def strided(typing: Any, address: Any, dtype: Any, shape: Any, strides: Any) -> Any:
    """Return the array whose memory is at an address, with these strides."""
    return _array(address, dtype, shape, strides)


def _array(address: Any, dtype: Any, shape: Any, strides: Any) -> Any:
    kind = types.Array(dtype.dtype, len(shape), "A" if strides else "C")

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(kind)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        lengths = cgutils.unpack_tuple(builder, args[2])
        steps = cgutils.unpack_tuple(builder, args[3]) if strides else [context.get_constant(types.intp, size)]
        for length in lengths[:0:-1] if not strides else ():
            steps.insert(0, builder.mul(steps[0], length))
        data = builder.inttoptr(args[0], made.data.type)
        populate_array(made, data=data, shape=lengths, strides=steps, itemsize=size, meminfo=None)
        return made._getvalue()

    parts = (address, dtype, shape) if strides is None else (address, dtype, shape, strides)
    return kind(*parts), code


@intrinsic
def gemm(typing: Any, blas: Any, alpha: Any, a: Any, ta: Any, b: Any, tb: Any, beta: Any, out: Any, sizes: Any) -> Any:
    """Set ``out`` to ``alpha * (a @ b) + beta * out``, all in rows, for a or b given transposed as ta and tb say.

    ``blas`` is the address of BLAS's function, and ``sizes`` are those of the result and what is summed over, and the
    lengths of the rows of a, b and out. BLAS thinks in columns, and is given everything by address: it computes the
    transpose. A BLAS that counts in 32 bits finds them at the same address as one that counts in 64.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8)

        def by_address(value: Any) -> Any:
            place = cgutils.alloca_once(builder, value.type)
            builder.store(value, place)
            return place

        def letter(flag: Any) -> Any:
            transposed = builder.icmp_unsigned("!=", flag, flag.type(0))
            return by_address(builder.select(transposed, byte(ord("T")), byte(ord("N"))))

        def data(i: int) -> Any:
            return context.make_array(signature.args[i])(context, builder, args[i]).data

        m, n, k, lda, ldb, ldc = (by_address(builder.extract_value(args[8], i)) for i in range(6))
        scale, keep = by_address(args[1]), by_address(args[6])
        given = [letter(args[5]), letter(args[3]), n, m, k, scale, data(4), ldb, data(2), lda, keep, data(7), ldc]
        kind = ir.FunctionType(ir.VoidType(), [g.type for g in given])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(blas, alpha, a, ta, b, tb, beta, out, sizes), code


def blas(name: str) -> int:
    """Return the address of a function of NumPy's BLAS, whose threads are then the only ones, or else of SciPy's."""
    found = function(f"scipy_{name}_64_")
    if found is None:
        return int(get_cython_function_address("scipy.linalg.cython_blas", name))
    return int(ctypes.cast(found, ctypes.c_void_p).value or 0)


@njit(fastmath={"reassoc"}, forceinline=True)
def plus(total: Any, x: Any) -> Any:
    """Return a sum that may be taken in any order, so that several are taken at once."""
    return total + x


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
