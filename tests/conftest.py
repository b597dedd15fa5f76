"""Fixtures of several files."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # several share the cores, and BLAS's threads would wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from tinygrad_mlp.rules.table import find

np.seterr(all=os.environ.get("NUMPY_ERRSTATE"))  # type: ignore[arg-type] # None leaves it as it is

gc.disable()  # collecting the tests makes half a million objects, all of which stay


def pytest_collection_finish() -> None:
    """Leave those objects out of all that the garbage collector walks through while the tests run."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[int]]:
    """Return a function that makes the rules of an op count their calls, by argument."""

    def count(function: Any) -> list[int]:
        rule = find(function)
        original, calls = rule.vjps, [0] * len(rule.vjps)

        def counting(i: int) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                calls[i] += 1
                return original[i](*args, **kwargs)

            return run

        monkeypatch.setattr(rule, "vjps", {i: counting(i) for i in original})
        return calls

    return count


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C do what it does in Python: a parent may have turned it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


collect_ignore = ["typed_script.py"]  # it has errors on purpose, for type checkers
