"""What tests of graphs share: leaves, arrays, counted rules, and a switch for the garbage collector."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_mlp import Tensor


def leaf(data: Any, dtype: Any = np.float64, name: str | None = None) -> Tensor:
    return Tensor(np.array(data, dtype), requires_grad=True, name=name)


def array(t: Any) -> np.ndarray[Any, Any]:
    return t.detach().numpy()


@contextlib.contextmanager
def gc_disabled() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
