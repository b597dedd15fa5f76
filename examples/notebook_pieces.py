"""The hand-written network that this project began with: its four faulty pieces, before and after their repair.

The notebook itself is not at hand: the pieces are reconstructed, as mistakes that one makes with a clear conscience.
It trained on one-hot labels with binary cross entropy, ended in NaN, and named 9.8 % of the test images correctly.
Here the network goes from the pixels through one hidden layer of ReLU to ten sigmoid units, in plain NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def relu_before(z):
    """Return max(z, 0)."""
    z[z < 0] = 0  # WRONG: writes into the caller's array, and backward finds no z below 0 any more
    return z


def relu(z):
    """Return max(z, 0) as a new array."""
    return np.maximum(z, 0)


def relu_backward_before(grad, z):
    """Return the gradient with respect to z, from the gradient with respect to relu(z)."""
    return np.where(z < 0, grad, 0)  # WRONG way round: passes the gradient where ReLU is flat, stops it elsewhere


def relu_backward(grad, z):
    """Return the gradient with respect to z, from the gradient with respect to relu(z)."""
    return np.where(z < 0, 0, grad)  # the mask z > 0 would forgive a ReLU in place; this one needs z as it was


def cost_gradient_before(a, y):
    """Return the derivative of the binary cross entropy with respect to the outputs a."""
    return y / a - (1 - y) / (1 - a)  # WRONG: the cost has a minus in front, so must this; here SGD climbs


def cost_gradient(a, y):
    """Return the derivative of the binary cross entropy with respect to the outputs a."""
    return -(y / a - (1 - y) / (1 - a))


def sigmoid_gradient_before(a):
    """Return the derivative of the sigmoid whose value is a."""
    a *= 1 - a  # WRONG: overwrites the outputs, and the cost gradient is yet to be computed from them
    return a


def sigmoid_gradient(a):
    """Return the derivative of the sigmoid whose value is a, as a new array."""
    return a * (1 - a)


class Pieces(NamedTuple):
    """The functions that the network is made of."""

    relu_backward: Callable
    cost_gradient: Callable
    sigmoid_gradient: Callable
    relu: Callable


BEFORE = Pieces(relu_backward_before, cost_gradient_before, sigmoid_gradient_before, relu_before)
AFTER = Pieces(relu_backward, cost_gradient, sigmoid_gradient, relu)


def forward(weights, x, pieces):
    """Return what backward needs: the hidden layer before and after ReLU, and the outputs of the sigmoid units."""
    w1, b1, w2, b2 = weights
    z = x @ w1 + b1
    h = pieces.relu(z)
    a = 1 / (1 + np.exp(-(h @ w2 + b2)))
    return z, h, a


def cost(a, y):
    """Return the binary cross entropy of the outputs: summed over the units, averaged over the images."""
    return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / len(y)


def backward(weights, x, y, z, h, a, pieces):
    """Return the gradients of the cost with respect to the weights."""
    _, _, w2, _ = weights
    slope = pieces.sigmoid_gradient(a)
    dz2 = slope * pieces.cost_gradient(a, y) / len(y)
    dz1 = pieces.relu_backward(dz2 @ w2.T, z)
    return x.T @ dz1, dz1.sum(axis=0), h.T @ dz2, dz2.sum(axis=0)
