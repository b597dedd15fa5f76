"""Draw graphs with their numbers: Rosenbrock's function, a network with two layers, and the program of a training step.

    pip install '.[draw]'
    python examples/drawings.py examples/pictures

The chain rule of Rosenbrock's function is printed, too. Without a folder, nothing is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim


def rosenbrock():
    """Return Rosenbrock's function at (-0.5, 2): its graph has eight ops, and all its arrays are numbers."""
    x, y = tg.Tensor(-0.5, requires_grad=True, name="x"), tg.Tensor(2.0, requires_grad=True, name="y")
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def network():
    """Return a network with two layers, small enough for each number to be shown, and three points with labels."""
    rng = np.random.default_rng(0)
    return nn.MLP([2, 3, 2], activation="tanh", rng=0), rng.normal(size=(3, 2)).astype(np.float32), np.array([0, 1, 1])


def step():
    """Return the compiled step of a network for MNIST's digits, which has run."""
    model = nn.MLP([784, 64, 10], rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @tg.jit
    def train(x, labels):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    x, labels = rng.random((128, 784), np.float32), rng.integers(0, 10, 128)
    for _ in range(3):
        train(x, labels)
    return train


def main(folder=None):
    """Print the chain rule, and write the pictures to a folder, if one is given; return them by name."""
    print(tg.trace(rosenbrock()))
    model, x, labels = network()
    pictures = {
        "rosenbrock": tg.draw(rosenbrock(), values=True, grads=True),
        "network": tg.draw(lambda x, labels: F.cross_entropy(model(x), labels), x, labels, values=True, grads=True),
        "step": tg.draw(step(), fold=True),
    }
    for name, drawing in pictures.items():
        if folder is not None:
            drawing.save(Path(folder) / f"{name}.svg")
    return pictures


if __name__ == "__main__":
    main(*sys.argv[1:2])
