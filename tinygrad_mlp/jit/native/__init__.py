"""Native programs: a plan becomes loops in machine code, by Numba, and products of BLAS."""
