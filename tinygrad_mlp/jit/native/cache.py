"""The programs on disk: the text of native pieces in the user's cache folder, where Numba keeps the machine code."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_LOCK = threading.Lock()
_HEAD = """\
\"\"\"Native pieces of {name}, written by tinygrad_mlp; safe to delete.\"\"\"

from tinygrad_mlp.jit.native.library import *


"""


@contextmanager
def reporting(name: str, after: float = 1.0) -> Iterator[None]:
    """Context manager that says so, on the error stream, if what is inside compiles for more than a second."""
    start, told = time.perf_counter(), threading.Event()

    def tell() -> None:
        told.set()
        print(f"jit({name}): compiling to machine code, once for this machine ...", file=sys.stderr, flush=True)

    timer = threading.Timer(after, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if told.is_set():
            print(f"jit({name}): compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def folder() -> Path:
    """Return where native programs are kept: ``TINYGRAD_MLP_CACHE``, or a folder of the user's cache."""
    given = os.environ.get("TINYGRAD_MLP_CACHE")
    if given:
        return Path(given)
    home = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache") / "tinygrad_mlp"


def load(source: str, name: str) -> dict[str, Any]:
    """Return the functions of a text, from a file named by all that decides on their machine code but the CPU.

    The file appears at once and whole, and is never written again, so that processes can share it; Numba does the same
    with the machine code, and tells CPUs apart.
    """
    import llvmlite
    import numba

    text = _HEAD.format(name=name) + source + "\n"
    library = Path(__file__).with_name("library.py").read_text(encoding="utf-8")
    versions = [np.__version__, numba.__version__, llvmlite.__version__, sys.version, numba.config.BOUNDSCHECK]
    key = hashlib.sha256("\0".join([text, library, *map(str, versions)]).encode()).hexdigest()[:24]
    stem = f"tinygrad_mlp_native_{key}"
    with _LOCK:
        if stem not in sys.modules:
            module = ModuleType(stem)
            exec(compile(text, _written(stem, text), "exec"), vars(module))
            sys.modules[stem] = module  # where Numba looks for it
    return vars(sys.modules[stem])


def _written(stem: str, text: str) -> Path:
    """Return a file of a text, in a folder of this process alone where the cache cannot be written."""
    path, data = folder() / f"{stem}.py", text.encode()
    try:
        if not path.exists() or path.read_bytes() != data:
            _write(path, data)
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="tinygrad_mlp")) / path.name
        path.write_bytes(data)
    return path


def _write(path: Path, data: bytes) -> None:
    """Let a file appear at once and whole, or leave nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(".tmp", dir=path.parent)
    try:
        with open(number, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise
