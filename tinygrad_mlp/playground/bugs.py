"""The four bugs that this project began with, in a backward pass written by hand, and the checks that find them.

The network is that of `plane`, in plain NumPy, with binary cross entropy on the sigmoid of its last layer. Each piece
comes in two forms, the right one and the one from the notebook (``examples/notebook_pieces.py`` tells their story).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_mlp as tg

from .. import nn
from ..nn import functional as F

Array = np.ndarray[Any, Any]


def relu(z: Array) -> Array:
    """Return max(z, 0)."""
    return np.maximum(z, 0)


def relu_bug(z: Array) -> Array:
    """Return max(z, 0)."""
    z[z < 0] = 0
    return z


def relu_backward(grad: Array, z: Array) -> Array:
    """Return the gradient by z, from the gradient by relu(z)."""
    return np.where(z < 0, 0, grad)


def relu_backward_bug(grad: Array, z: Array) -> Array:
    """Return the gradient by z, from the gradient by relu(z)."""
    return np.where(z < 0, grad, 0)


def cost_gradient(a: Array, y: Array) -> Array:
    """Return the derivative of the cross entropy by the outputs."""
    return -(y / a - (1 - y) / (1 - a))


def cost_gradient_bug(a: Array, y: Array) -> Array:
    """Return the derivative of the cross entropy by the outputs."""
    return y / a - (1 - y) / (1 - a)


def sigmoid_gradient(a: Array) -> Array:
    """Return the derivative of the sigmoid whose value is a."""
    return a * (1 - a)


def sigmoid_gradient_bug(a: Array) -> Array:
    """Return the derivative of the sigmoid whose value is a."""
    a *= 1 - a
    return a


class Pieces(NamedTuple):
    """The functions that the network is made of."""

    relu: Callable[..., Array] = relu
    relu_backward: Callable[..., Array] = relu_backward
    cost_gradient: Callable[..., Array] = cost_gradient
    sigmoid_gradient: Callable[..., Array] = sigmoid_gradient


BUGS: dict[str, Any] = {
    "cost_gradient": cost_gradient_bug,
    "sigmoid_gradient": sigmoid_gradient_bug,
    "relu_backward": relu_backward_bug,
    "relu": relu_bug,
}


def with_bug(bug: str) -> Pieces:
    """Return the pieces, the one that is named with its bug."""
    return Pieces(**{bug: BUGS[bug]})


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


def cost(a: Array, y: Array) -> Any:
    """Return the mean binary cross entropy of outputs between 0 and 1."""
    return -np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))


def forward(weights: list[Array], x: Array, pieces: Pieces) -> list[Array]:
    """Return what backward needs: both hidden layers before and after ReLU, and the outputs."""
    w1, b1, w2, b2, w3, b3 = weights
    z1 = x @ w1.T + b1
    h1 = pieces.relu(z1)
    z2 = h1 @ w2.T + b2
    h2 = pieces.relu(z2)
    return [z1, h1, z2, h2, sigmoid(h2 @ w3.T + b3)]


def backward(weights: list[Array], x: Array, y: Array, pieces: Pieces) -> tuple[float, list[Array]]:
    """Return the cost, and its gradients by the weights."""
    z1, h1, z2, h2, a = forward(weights, x, pieces)
    loss = cost(a, y)
    slope = pieces.sigmoid_gradient(a)
    d3 = slope * pieces.cost_gradient(a, y) / len(y)
    d2 = pieces.relu_backward(d3 @ weights[4], z2)
    d1 = pieces.relu_backward(d2 @ weights[2], z1)
    return loss, [d1.T @ x, d1.sum(axis=0), d2.T @ h1, d2.sum(axis=0), d3.T @ h2, d3.sum(axis=0)]


def listing(bug: str) -> str:
    """Return the program that is written by hand, the piece with the bug first."""
    pieces = with_bug(bug)
    functions = [getattr(pieces, bug), forward, backward, *(f for f in pieces if f is not getattr(pieces, bug))]
    return "\n\n".join(inspect.getsource(function).rstrip() for function in functions)


def cases(pieces: Pieces, z: Array, y: Array) -> dict[str, tuple[Callable[..., Any], Array, Callable[..., Any]]]:
    """Return for each piece a function that uses it, its input, and the gradient by it."""

    def through_relu(upstream: Array, z: Array) -> Array:
        pieces.relu(z)  # the forward pass comes before the backward pass
        return relu_backward(upstream, z)

    def through_sigmoid(z: Array) -> Array:
        a = sigmoid(z)
        return pieces.sigmoid_gradient(a) * cost_gradient(a, y) / y.size

    return {
        "relu": (pieces.relu, z, through_relu),
        "relu_backward": (relu, z, pieces.relu_backward),
        "sigmoid_gradient": (lambda z: cost(sigmoid(z), y), z, through_sigmoid),
        "cost_gradient": (lambda a: cost(a, y), sigmoid(z), lambda a: pieces.cost_gradient(a, y) / y.size),
    }


def check(bug: str, width: int, x: Array, y: Array) -> dict[str, Any]:
    """Have `gradcheck` compare the gradients of the network with differences, and those of each piece.

    The weights are fresh ones: those of a training that a bug has led astray may be NaN. Without a bug, what is checked
    are the gradients that this package computes.

    >>> found = check("cost_gradient", 4, np.array([[0.5, -0.2]]), np.array([[1.0]]))
    >>> found["verdict"], [piece["name"] for piece in found["pieces"] if piece["verdict"] == "fail"]
    ('fail', ['cost_gradient'])
    >>> check("", 4, np.array([[0.5, -0.2]]), np.array([[1.0]]))["verdict"]
    'pass'
    """
    model = nn.MLP([2, width, width, 1], rng=1, dtype=np.float64)
    if not bug:
        report = tg.gradcheck(lambda model: F.binary_cross_entropy_with_logits(model(x), y), model, raise_on_fail=False)
        return {"verdict": report.verdict, "pieces": [], "report": str(report)}
    pieces, rng = with_bug(bug), np.random.default_rng(0)
    report = tg.gradcheck(
        lambda w1, b1, w2, b2, w3, b3: cost(forward([w1, b1, w2, b2, w3, b3], x, Pieces())[-1], y),
        [p.data for p in model.parameters()],
        gradient=lambda *weights: backward(list(weights), x, y, pieces)[1],
        raise_on_fail=False,
    )
    found = {
        name: tg.gradcheck(f, z, gradient=gradient, raise_on_fail=False)
        for name, (f, z, gradient) in cases(pieces, rng.normal(size=(4, 5)), rng.integers(0, 2, (4, 5))).items()
    }
    rows = [{"name": name, "verdict": r.verdict, "problem": "; ".join(r.problems)} for name, r in found.items()]
    return {"verdict": report.verdict, "pieces": rows, "report": str(report)}
