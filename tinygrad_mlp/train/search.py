"""The search for a learning rate (Smith, arXiv:1506.01186): raise it step by step, and look at the loss."""

from __future__ import annotations

import math
from typing import Any

from ..checks import check_integer, check_number, check_positive
from ..errors import NonFiniteError
from ..nn.module import Module
from ..nn.optim import LRScheduler, Optimizer
from ..tools.undo import unchanged
from .callbacks import Callback, Run
from .fit import fit

SMOOTHING = 0.9
DIVERGED = 4.0


class LRSearch(Callback):
    """What `find_lr` returns; `plot.learning_rates` draws it.

    Attributes:
        steps: after how many it ends, if the loss does not grow before.
        lr: the learning rate of each step.
        loss: the loss of each step, averaged over those before: the last ones count most.
        suggestion: the rate at which the loss falls fastest, on the logarithmic axis of the rates.
    """

    def __init__(self, steps: int = 0) -> None:
        self.steps = steps
        self.lr: list[float] = []
        self.loss: list[float] = []
        self._average = 0.0

    def on_batch_end(self, run: Run) -> None:
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * run.loss
        self.lr.append(run.lr)
        self.loss.append(self._average / (1 - SMOOTHING ** (len(self.lr))))
        if self.loss[-1] > DIVERGED * min(self.loss):
            run.stop("the loss grows")
        elif run.step == self.steps:
            run.stop("the search is over")

    @property
    def suggestion(self) -> float:
        """The rate at which the loss falls fastest."""
        count, reach = len(self.loss), max(1, len(self.loss) // 8)
        slopes = {  # of a line through the points around, by least squares, but for a factor
            i: sum(k * self.loss[i + k] for k in range(-reach, reach + 1)) for i in range(reach, count - reach)
        }
        return self.lr[min(slopes, key=slopes.__getitem__)] if slopes else self.lr[0]


class _Raise(LRScheduler):
    """From ``low`` to ``high``, by the same factor at each step."""

    def __init__(self, optimizer: Optimizer, low: float, high: float, steps: int) -> None:
        self.low, self.growth = low, (high / low) ** (1 / max(1, steps - 1))
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [self.low * self.growth**self.last_step] * len(self.base_lrs)


def find_lr(
    model: Module,
    X: Any,
    y: Any,
    *,
    optimizer: Optimizer,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    **options: Any,
) -> LRSearch:
    """Train for some steps, each with a higher learning rate, and return what the loss did.

    Model and optimizer are afterwards what they were. ``options`` are those of `fit`.

    Args:
        model, X, y, optimizer: as for `fit`.
        low, high: the first and the last learning rate. The search ends before if the loss grows fourfold.
        steps: how many.

    Raises what `fit` does.

    >>> from tinygrad_mlp import nn, optim
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> model = nn.MLP([2, 16, 2], rng=0)
    >>> found = find_lr(model, X, (X[:, 0] * X[:, 1] > 0).astype(int), optimizer=optim.SGD(model.parameters()))
    >>> 1e-3 < found.suggestion < 10
    True
    """
    check_positive("low", low)
    check_number("high", high, low, math.inf, "a finite number >= low")
    check_integer("steps", steps, 2)
    before, state = model.state_dict(), optimizer.state_dict()
    found, schedule = LRSearch(steps), _Raise(optimizer, low, high, steps)
    options = {"epochs": steps, "progress": False, "metrics": [], **options}
    options["callbacks"] = [found, *options.get("callbacks", [])]
    try:
        with unchanged(model):
            fit(model, X, y, optimizer=optimizer, schedule=schedule, **options)
    except NonFiniteError:
        if not found.lr:
            raise
    finally:
        model.load_state_dict(before)
        optimizer.load_state_dict(state)
    return found
