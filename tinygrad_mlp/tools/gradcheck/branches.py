"""Which branch an op takes: how a step across a kink is noticed where ops are seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...core.tensor import Tensor
from ...core.tracer import Tracer, mode
from ...rules.table import Rule

ILL_CONDITIONED = {np.linalg.solve, np.linalg.inv, np.linalg.pinv, np.linalg.det, np.linalg.slogdet}
"""Functions whose gradients are as imprecise as their first argument is near a singular matrix."""


class Branches(Tracer):
    """The tracer that tells branches apart: ``taken`` is another number if an op has taken another branch.

    ``condition`` is the largest condition number of a matrix that was inverted.
    """

    taken, condition = 0, 1.0

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        if rule.forward in ILL_CONDITIONED and self.condition == 1.0:
            a = inputs[0]
            self.condition = float(np.max(np.linalg.cond(a._data if isinstance(a, Tensor) else a), initial=1.0))
        if rule.branch is not None:
            branch = rule.branch(result._data, *(a._data if isinstance(a, Tensor) else a for a in inputs), **keywords)
        elif rule.kind == "constant":
            branch = result._data
        else:
            return
        self.taken = hash((self.taken, np.asarray(branch).tobytes()))


@contextmanager
def settings(**values: Any) -> Iterator[None]:
    """Set what `graph.mode` says, for a while."""
    before = {name: getattr(mode, name) for name in values}
    vars(mode).update(values)
    try:
        yield
    finally:
        vars(mode).update(before)
