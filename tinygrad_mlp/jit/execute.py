"""The text of a program becomes a function; no other code is dynamic, but that of `native`."""

from __future__ import annotations

import functools
import itertools
import linecache
import types
import weakref
import zlib
from collections.abc import Callable, Sequence
from typing import Any

_numbers = itertools.count()


class _Lines(Sequence[str]):
    """The lines of a text, which hardly anybody reads, and which take a fifth of the memory until somebody does."""

    def __init__(self, source: str) -> None:
        self.packed = zlib.compress(source.encode(), 1)

    def _unpacked(self) -> list[str]:
        return zlib.decompress(self.packed).decode().splitlines(keepends=True)

    def __getitem__(self, index: Any) -> Any:
        return self._unpacked()[index]

    def __len__(self) -> int:
        return len(self._unpacked())


def execute(source: str, namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """Run the text of a program and return its function. Tracebacks show its lines."""
    filename = f"<jit {name} {next(_numbers)}>"
    function = _run(compile(source, filename, "exec"), namespace, name)
    linecache.cache[filename] = (len(source), None, _Lines(source), filename)  # type: ignore[assignment]
    weakref.finalize(function, linecache.cache.pop, filename, None)
    return function


def execute_test(source: str, namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """Run the text of a test that decides whether a program runs, and return it. Its text recurs, compiled once."""
    return _run(_code(source, f"<jit {name}>"), namespace, name)


@functools.lru_cache(256)
def _code(source: str, filename: str) -> types.CodeType:
    return compile(source, filename, "exec")


def _run(code: types.CodeType, namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    namespace["__name__"] = __name__  # what it reads is no business of a step that is being recorded
    exec(code, namespace)
    function: Callable[..., Any] = namespace.pop(name)  # a namespace that holds its function would die by the collector
    return function
