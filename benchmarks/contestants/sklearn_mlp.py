"""scikit-learn's MLPClassifier: one call of partial_fit is one step."""

from __future__ import annotations

import numpy as np
from common import NotApplicableError

from . import Contestant, Problem


def partial_fit(problem: Problem) -> Contestant:
    from sklearn.neural_network import MLPClassifier

    classes = problem.widths[-1]
    if problem.dropout:
        raise NotApplicableError("has no dropout")
    if classes == 2:
        raise NotApplicableError("has one sigmoid output for two classes, not a softmax")
    network = MLPClassifier(
        hidden_layer_sizes=problem.widths[1:-1],
        solver="sgd",
        alpha=0.0,
        batch_size=problem.batch,
        learning_rate_init=problem.lr,
        momentum=problem.momentum,
        nesterovs_momentum=False,
        shuffle=False,
    )
    network.partial_fit(*problem.batches(1)[0], classes=np.arange(classes))
    for i, (W, b) in enumerate(problem.weights()):
        network.coefs_[i][...], network.intercepts_[i][...] = W, b
    for velocity in network._optimizer.velocities:
        velocity[...] = 0

    def step(xb, yb):
        network.partial_fit(xb, yb)
        return network.loss_

    return Contestant(step)
