"""The machine code of native programs: it is compiled once for each machine, and kept in the user's cache folder."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from . import library

VERSIONS = np.__version__, numba.__version__, llvmlite.__version__, sys.version, numba.config.BOUNDSCHECK


@contextmanager
def reporting(name: str, after: float = 1.0) -> Iterator[None]:
    """Context manager that says so, on the error stream, if what is inside compiles for more than a second."""
    tell = functools.partial(print, file=sys.stderr, flush=True)
    timer = threading.Timer(after, tell, [f"jit({name}): compiling to machine code, once for this machine ..."])
    timer.daemon = True
    start = time.perf_counter()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        seconds = time.perf_counter() - start
        if seconds > after:
            tell(f"jit({name}): compiled in {seconds:.1f} s")


def folder() -> Path:
    """Return where machine code is kept: ``TINYGRAD_MLP_CACHE``, or a folder of the user's cache."""
    given = os.environ.get("TINYGRAD_MLP_CACHE")
    if given:
        return Path(given)
    home = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache") / "tinygrad_mlp"


@functools.cache
def load(source: str, name: str) -> dict[str, Any]:
    """Return the functions of a text, which are compiled, or loaded, when they are called."""
    space: dict[str, Any] = {**vars(library), "compiled": functools.partial(_compiled, source)}
    exec(compile(source, f"<native pieces of {name}>", "exec"), space)
    return space


def _compiled(source: str, function: Any) -> Any:
    """Return a function of a text as machine code, under a name that no other function has."""
    key = "\0".join([source, Path(library.__file__).read_text(encoding="utf-8"), *map(str, VERSIONS)])
    function.__qualname__ += f"_{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    made = numba.njit(error_model="numpy", _nrt=False)(function)
    made._cache = _Kept(function.__qualname__)
    return made


class _Kept:
    """Where Numba looks for the machine code of a function: files of a name, by signature and CPU.

    Each begins with its checksum, as a wrong byte would end the process. So it may be written in any way: what is
    damaged, or not there as a whole yet, is compiled anew, and what cannot be written is not kept.
    """

    def __init__(self, name: str) -> None:
        self.name, self.cache_path = name, str(folder())

    def _file(self, signature: Any, codegen: Any) -> Path:
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()
        return Path(self.cache_path) / f"{self.name}_{key[:24]}.native"

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return what was compiled for a signature, or None."""
        with suppress(OSError):
            kept = self._file(signature, context.codegen()).read_bytes()
            if hashlib.sha256(kept[32:]).digest() == kept[:32]:
                return CompileResult._rebuild(context, *pickle.loads(kept[32:]))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled for a signature."""
        data, file = dumps(result._reduce()), self._file(signature, result.codegen)
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(hashlib.sha256(data).digest() + data)
