"""What native programs call: memory by its address, products by BLAS, and functions that compilers can vectorise."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numba.np.arrayobj import populate_array

from ...blas import function


@intrinsic
def array(typing: Any, address: Any, dtype: Any, shape: Any) -> Any:
    """Return the array of a shape, in rows, whose memory is at an address and belongs to somebody else."""
    kind = types.Array(dtype.dtype, len(shape), "C")

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(kind)(context, builder)
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        lengths, steps = cgutils.unpack_tuple(builder, args[2]), [size]
        for length in lengths[:0:-1]:
            steps.insert(0, builder.mul(steps[0], length))
        data = builder.inttoptr(args[0], made.data.type)
        populate_array(made, data=data, shape=lengths, strides=steps, itemsize=size, meminfo=None)
        return made._getvalue()

    return kind(address, dtype, shape), code


@intrinsic
def gemm(typing: Any, blas: Any, alpha: Any, a: Any, ta: Any, b: Any, tb: Any, beta: Any, out: Any) -> Any:
    """Set ``out`` to ``alpha * (a @ b) + beta * out``, all in rows, for a or b given transposed as ta and tb say.

    ``blas`` is the address of BLAS's function. BLAS thinks in columns, and is given everything by address: it computes
    the transpose. A BLAS that counts in 32 bits finds the sizes at the same address as one that counts in 64.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8)

        def by_address(value: Any) -> Any:
            place = cgutils.alloca_once(builder, value.type)
            builder.store(value, place)
            return place

        def letter(flag: Any) -> Any:
            return by_address(builder.select(flag, byte(ord("T")), byte(ord("N"))))

        a, b, out = (context.make_array(signature.args[i])(context, builder, args[i]) for i in (2, 4, 7))
        (rows, lda), (_, ldb), (m, n) = (cgutils.unpack_tuple(builder, x.shape) for x in (a, b, out))
        sizes = [by_address(size) for size in (n, m, builder.select(args[3], rows, lda))]
        lda, ldb, ldc = map(by_address, (lda, ldb, n))
        scale, keep = by_address(args[1]), by_address(args[6])
        given = [letter(args[5]), letter(args[3]), *sizes, scale, b.data, ldb, a.data, lda, keep, out.data, ldc]
        kind = ir.FunctionType(ir.VoidType(), [g.type for g in given])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(blas, alpha, a, types.boolean, b, types.boolean, beta, out), code


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


def _exponential(dtype: Any, integer: Any, ends: Any, log2: Any, polynomial: Any) -> Any:
    """Return exp for a dtype, right to a unit of the last digit or two: a power of 2 times a polynomial.

    ``ends`` are where the result is infinite and where it is 0, and ``log2`` are two numbers whose sum is log(2), of
    which the first has few digits. The power is made of integers that are the bits of two halves of it.
    """
    (high, low), (first, second), coefficients = (tuple(map(dtype, numbers)) for numbers in (ends, log2, polynomial))
    digits, bias = np.finfo(dtype).nmant, 1 - np.finfo(dtype).minexp
    magic, per_log2, zero, one = map(dtype, (1.5 * 2**digits, 1 / math.log(2), 0, 1))

    @njit(forceinline=True)
    def exp(x: Any) -> Any:
        z = x if x < high else high
        z = z if z > low else low
        n = (z * per_log2 + magic) - magic  # the nearest integer
        r = z - n * first - n * second
        p = zero
        for coefficient in coefficients:
            p = p * r + coefficient
        p = p * (r * r) + r + one
        k = integer(n)
        half = integer(k >> 1)
        power = integer((half + bias) << digits).view(dtype)
        other = integer((k - half + bias) << digits).view(dtype)
        return x if x != x else p * power * other

    return exp


_CEPHES = 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1
_TAYLOR = [1 / math.factorial(n) for n in range(13, 1, -1)]
exp_f = _exponential(np.float32, np.int32, (89, -104), (0.693359375, -2.12194440e-4), _CEPHES)
exp_d = _exponential(np.float64, np.int64, (710, -746), (6.93145751953125e-1, 1.42860682030941723212e-6), _TAYLOR)
