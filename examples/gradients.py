"""Check gradients: a model of Tensor ops, the notebook's hand-written pieces, and a model of MNIST's size.

    python examples/gradients.py

Whoever writes a backward pass by hand should compare it with finite differences, and whoever trusts a framework's can.
`gradcheck` does it for both, and says what is wrong. The four faulty pieces, before and after their repair, are in
`notebook_pieces.py`. The exit code is 0 if everything that is right passes and everything that is wrong fails.
"""

from __future__ import annotations

import sys

import numpy as np
from notebook_pieces import AFTER, BEFORE, cost

from tinygrad_mlp import functional as F
from tinygrad_mlp import nn
from tinygrad_mlp.tools.gradcheck import gradcheck


def loss_of_small_model(x, w1, b1, w2, b2):
    """Return the loss of a model written with Tensor ops: nobody wrote its backward pass."""
    hidden = np.tanh(x @ w1 + b1)
    return F.cross_entropy(hidden @ w2 + b2, np.array([2, 0, 1, 1, 0]))


def check_small_model(rng):
    """Check every derivative of the small model, the second ones too; print the table."""
    inputs = [rng.normal(size=shape) for shape in ((5, 4), (4, 6), (6,), (6, 3), (3,))]
    report = gradcheck(loss_of_small_model, inputs, order=2, raise_on_fail=False)
    print(report)
    return report.ok


def cases(pieces, z, y):
    """Return for each of the four pieces a function that uses it, its inputs and its gradient, in plain NumPy.

    A function that returns an array has a gradient of the form ``gradient(upstream, *inputs)``, a scalar one
    ``gradient(*inputs)``.
    """

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def backward_through_relu(upstream, z):
        pieces.relu(z)  # the forward pass comes before the backward pass
        return AFTER.relu_backward(upstream, z)

    def backward_through_sigmoid(z):
        a = sigmoid(z)
        return pieces.sigmoid_gradient(a) * AFTER.cost_gradient(a, y) / len(y)

    return {
        "ReLU backward": (AFTER.relu, z, pieces.relu_backward),
        "cost gradient": (lambda a: cost(a, y), sigmoid(z), lambda a: pieces.cost_gradient(a, y) / len(y)),
        "sigmoid gradient": (lambda z: cost(sigmoid(z), y), z, backward_through_sigmoid),
        "ReLU forward": (pieces.relu, z, backward_through_relu),
    }


def check_pieces(rng):
    """Check the notebook's pieces as they were, which must fail, and repaired, which must pass."""
    z, y = rng.normal(size=(4, 5)), rng.integers(0, 2, (4, 5))
    as_expected = True
    before, after = cases(BEFORE, z, y), cases(AFTER, z, y)
    for piece in before:
        for title, (f, inputs, gradient) in (("before", before[piece]), ("after", after[piece])):
            report = gradcheck(f, inputs, gradient=gradient, raise_on_fail=False)
            print(f"{piece:16}  {title:6}  {report.verdict:4}  {'; '.join(report.problems)}")
            as_expected &= report.verdict == ("fail" if title == "before" else "pass")
    return as_expected


def check_mnist_sized_model(rng):
    """Check a sample of the 203 530 derivatives of a model for MNIST on 16 images, and directions that involve all."""
    model = nn.MLP([784, 256, 10], rng=rng)
    images, labels = rng.random((16, 784)), rng.integers(0, 10, 16)
    report = gradcheck(lambda model: F.cross_entropy(model(images), labels), model, raise_on_fail=False)
    print(report)
    return report.ok


def main():
    """Run the three checks; return whether everything came out as expected."""
    checks = {
        "A small model of Tensor ops, and its second derivatives": check_small_model,
        "The notebook's four pieces, before and after their repair": check_pieces,
        "A model of MNIST's size": check_mnist_sized_model,
    }
    results = []
    for title, check in checks.items():
        print(f"\n{title}\n")
        results.append(check(np.random.default_rng(0)))
    return all(results)


if __name__ == "__main__":
    sys.exit(not main())
