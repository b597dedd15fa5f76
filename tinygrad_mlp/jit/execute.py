"""The text of a program becomes a function; no other code is dynamic, but that of `native`."""

from __future__ import annotations

import itertools
import linecache
import weakref
from collections.abc import Callable
from typing import Any

_numbers = itertools.count()


def execute(source: str, namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """Run the text of a function and return it. Tracebacks show its lines."""
    filename = f"<jit {name} {next(_numbers)}>"
    namespace["__name__"] = __name__  # what it reads is no business of a step that is being recorded
    exec(compile(source, filename, "exec"), namespace)
    function: Callable[..., Any] = namespace.pop(name)  # a namespace that holds its function would die by the collector
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    weakref.finalize(function, linecache.cache.pop, filename, None)
    return function
