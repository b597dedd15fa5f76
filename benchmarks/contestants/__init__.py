"""Those who take the training step of `steps.py`, each in its own framework's best manner.

A contestant is a function that takes a `Problem` and returns a `Contestant`. What it needs is imported inside it, so
that whatever is not installed is merely missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from common import NotApplicableError


@dataclass(frozen=True)
class Problem:
    """A network, the size of its batches, and the options of its training."""

    batch: int
    widths: tuple[int, ...]
    momentum: float
    dropout: float
    lr: float
    seed: int = 0
    adam: bool = False

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the initial ``(W, b)`` of each layer, the same at each call; W has shape (in, out)."""
        rng = np.random.default_rng(self.seed)
        layers = []
        for fan_in, fan_out in pairwise(self.widths):
            W = rng.normal(0, (2 / fan_in) ** 0.5, (fan_in, fan_out))
            layers.append((W.astype(np.float32), rng.normal(0, 0.1, fan_out).astype(np.float32)))
        return layers

    def batches(self, count: int = 8) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return batches of float32 inputs and integer labels, the same at each call."""
        rng = np.random.default_rng(self.seed + 1)
        shape, classes = (self.batch, self.widths[0]), self.widths[-1]
        return [(rng.standard_normal(shape, np.float32), rng.integers(0, classes, self.batch)) for _ in range(count)]


class Contestant(NamedTuple):
    """A training step, how a batch becomes what it takes, and how to read its loss, which also waits for it."""

    step: Callable[[Any, Any], Any]
    convert: Callable[[np.ndarray, np.ndarray], tuple[Any, Any]] = lambda x, y: (x, y)
    read: Callable[[Any], float] = float


# name: module and function here, and the distribution on which it stands
CONTESTANTS = {
    "tinygrad_mlp": ("ours.eager", "tinygrad_mlp"),
    "tinygrad_mlp jit": ("ours.compiled", "tinygrad_mlp"),
    "tinygrad_mlp native": ("ours.native", "numba"),
    "NumPy": ("by_hand.numpy_loop", "numpy"),
    "Numba": ("by_hand.numba_loop", "numba"),
    "matrix products": ("by_hand.matrix_products", "numpy"),
    "PyTorch": ("pytorch.eager", "torch"),
    "torch.compile": ("pytorch.compiled", "torch"),
    "JAX jit": ("xla.jitted", "jax"),
    "autograd": ("tapes.hips_autograd", "autograd"),
    "MyGrad": ("tapes.mygrad", "mygrad"),
    "MyGrad unguarded": ("tapes.unguarded_mygrad", "mygrad"),
    "scikit-learn": ("sklearn_mlp.partial_fit", "scikit-learn"),
    "tinygrad jit": ("tinygrad_cpu.jitted", "tinygrad"),
}
WITH_ADAM = (*list(CONTESTANTS)[:4], "matrix products", "PyTorch", "torch.compile", "JAX jit")


def build(name: str, problem: Problem) -> Contestant:
    """Return a contestant that is ready to train, from the initial weights."""
    if problem.adam and name not in WITH_ADAM:
        raise NotApplicableError("takes no step of Adam here")
    module, function = CONTESTANTS[name][0].split(".")
    contestant: Contestant = getattr(import_module(f"{__name__}.{module}"), function)(problem)
    return contestant


def title(batch: int, widths: str) -> str:
    """Return a size as tables show it; ``widths`` are joined by dashes, of which many equal ones become one."""
    first, *hidden, last = widths.split("-")
    if len(hidden) > 3 and len(set(hidden)) == 1:
        widths = f"{first}-{len(hidden)}x{hidden[0]}-{last}"
    return f"{batch}, {widths}"
