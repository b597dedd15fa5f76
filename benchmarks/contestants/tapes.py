"""HIPS/autograd and MyGrad: NumPy with a tape, as this package."""

from __future__ import annotations

import numpy as np

from . import Contestant, Problem
from .by_hand import sgd_update


def hips_autograd(problem: Problem) -> Contestant:
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.tracer import getval

    layers = problem.weights()
    velocities = [(np.zeros_like(W), np.zeros_like(b)) for W, b in layers]
    rng = np.random.default_rng(2)
    scale = np.float32(1 / (1 - problem.dropout))

    def loss_of(layers, x, y):
        h = x
        for W, b in layers[:-1]:
            h = anp.dot(h, W) + b
            h = h * (h > 0)  # anp.maximum, whose gradient is shared at ties, takes twice as long
            if problem.dropout:
                h = h * ((rng.random(h.shape, np.float32) >= problem.dropout) * scale)
        W, b = layers[-1]
        z = anp.dot(h, W) + b
        z = z - getval(z).max(axis=1, keepdims=True)
        log_probs = z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
        return -anp.sum(log_probs[np.arange(len(y)), y]) / len(y)

    loss_and_gradients = value_and_grad(loss_of)

    def step(xb, yb):
        loss, gradients = loss_and_gradients(layers, xb, yb)
        for i, layer in enumerate(layers):
            sgd_update(layer, gradients[i], velocities[i], problem.lr, problem.momentum)
        return loss

    return Contestant(step)


def unguarded_mygrad(problem: Problem) -> Contestant:
    import mygrad as mg

    mg.turn_memory_guarding_off()
    return mygrad(problem)


def mygrad(problem: Problem) -> Contestant:
    import mygrad as mg
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy

    layers = [(mg.tensor(W), mg.tensor(b)) for W, b in problem.weights()]
    parameters = [parameter for layer in layers for parameter in layer]
    velocities = [np.zeros_like(parameter.data) for parameter in parameters]
    rng = np.random.default_rng(2)
    scale = np.float32(1 / (1 - problem.dropout))

    def step(xb, yb):
        h = xb
        for W, b in layers[:-1]:
            h = relu(mg.matmul(h, W) + b)
            if problem.dropout:
                h = h * ((rng.random(h.shape, np.float32) >= problem.dropout) * scale)
        W, b = layers[-1]
        loss = softmax_crossentropy(mg.matmul(h, W) + b, yb)
        loss.backward()
        gradients = [parameter.grad for parameter in parameters]
        sgd_update([parameter.data for parameter in parameters], gradients, velocities, problem.lr, problem.momentum)
        for parameter in parameters:
            parameter.null_grad()
        return loss

    return Contestant(step)
