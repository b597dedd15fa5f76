"""Bugs in the table of rules itself: the gradient is right, and what is wrong shows in the second order alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mlp import functional as F

from .base import Array, normal, positive


class RuleBug(NamedTuple):
    """A function of Tensors, and a wrong rule of one argument of one function that it uses."""

    name: str
    f: Callable[..., Any]
    inputs: Sequence[Array]
    function: Callable[..., Any]
    argument: int
    rule: Callable[..., Any]


def cut(a: Any) -> Any:
    """Return a value without its graph, so that a derivative of it is zero."""
    return a.detach() if hasattr(a, "detach") else a


X4, P4, X23, W33 = normal(4), positive(4), normal(2, 3), normal(3, 3, seed=1)
LABELS = np.array([2, 0])

RULE_BUGS = [
    RuleBug("cos in the rule of sin", lambda x: np.sin(x).sum(), [X4],
            np.sin, 0, lambda g, out, x: g * cut(np.cos(x))),
    RuleBug("result in the rule of exp", lambda x: np.exp(x) * x, [X4],
            np.exp, 0, lambda g, out, x: g * cut(out)),
    RuleBug("result in the rule of tanh", lambda x, w: np.tanh(x @ w).sum(), [X23, W33],
            np.tanh, 0, lambda g, out, x: g * (1 - cut(out) * out)),
    RuleBug("other factor in the rule of a product", lambda x, y: (x * y * y).sum(), [X4, P4],
            np.multiply, 0, lambda g, out, x, y: g * cut(y)),
    RuleBug("divisor in the rule of a quotient", lambda x, y: (x / y).sum(), [X4, P4],
            np.divide, 0, lambda g, out, x, y: g / cut(y)),
    RuleBug("root in the rule of sqrt", lambda x: np.sqrt(x).sum(), [P4],
            np.sqrt, 0, lambda g, out, x: g / (2 * cut(out))),
    RuleBug("x in the rule of log", lambda x: np.log(x) * x, [P4],
            np.log, 0, lambda g, out, x: g / cut(x)),
    RuleBug("weights in the rule of a matrix product", lambda x, w: np.tanh(x @ w), [X23, W33],
            np.matmul, 0, lambda g, out, x, w: np.matmul(g, cut(w).T)),
    RuleBug("upstream in the rule of cos", lambda x: np.cos(x * x).sum(), [X4],
            np.cos, 0, lambda g, out, x: -cut(g) * np.sin(x)),
    RuleBug("x in the rule of square", lambda x: np.square(x).sum() * x.sum(), [X4],
            np.square, 0, lambda g, out, x: 2 * g * cut(x)),
    RuleBug("slope of sinh with the sign of cos", lambda x: np.sinh(x).sum(), [X4],
            np.sinh, 0, lambda g, out, x: g * (2 * cut(np.cosh(x)) - np.cosh(x))),
    RuleBug("upstream in the rule of maximum", lambda x, y: np.maximum(np.sin(x), y).sum(), [X4, X4 - 0.3],
            np.maximum, 0, lambda g, out, x, y: cut(g) * (cut(x) > cut(y))),
    RuleBug("result in the rule of softmax", lambda x: (F.softmax(x) * np.arange(3.0)).sum(), [X23],
            F.softmax, 0, lambda g, out, x, axis=-1: cut(out) * (g - (g * out).sum(axis, keepdims=True))),
    RuleBug("x in the rule of arctan", lambda x: np.arctan(x) * x, [X4],
            np.arctan, 0, lambda g, out, x: g / (1 + cut(x) * x)),
]  # fmt: skip
