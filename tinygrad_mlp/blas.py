"""NumPy's BLAS, as far as it tells of itself: where its functions are, how many threads it has, and what these cost."""

from __future__ import annotations

import ctypes
import functools
import os
from importlib import import_module
from typing import Any

READ_BY_ALL = range(1 << 16, 1 << 20)
"""Of how many bytes a weight is that the threads of BLAS hold in the caches of their cores: fewer are written in no
time, and more do not stay there. To write into it where it lies is slow, as each line is first taken from the others; a
copy, which reads nothing of what it overwrites, is not."""


def function(symbol: str) -> Any:
    """Return a C function of the BLAS that NumPy's own wheels bring, or None: others call theirs otherwise."""
    try:
        return ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)[symbol]
    except (AttributeError, OSError):
        return None


def loaded() -> tuple[str, int]:
    """Return which BLAS NumPy has loaded, for which processor, and how many threads it uses."""
    name, count = function("scipy_openblas_get_config64_"), function("scipy_openblas_get_num_threads64_")
    if name is not None and count is not None:
        name.restype = ctypes.c_char_p
        return name().decode(), int(count())
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        if (value := os.environ.get(variable, "")).isdecimal():
            return "unknown", int(value)
    return "unknown", os.cpu_count() or 1


@functools.cache
def _threads() -> int:
    name, count = loaded()
    return 1 if name == "unknown" else count


def is_better_copied(nbytes: int) -> bool:
    """Return whether a weight of so many bytes is updated in less time through a copy than where it lies."""
    return nbytes in READ_BY_ALL and _threads() > 1
