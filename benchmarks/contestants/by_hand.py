"""The step written by hand in plain NumPy, and its matrix products alone."""

from __future__ import annotations

import numpy as np

from . import Contestant, Problem


def sgd_update(parameters, gradients, velocities, lr, momentum):
    for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
        if momentum:
            velocity *= momentum
            velocity += gradient
            gradient = velocity
        parameter -= lr * gradient


def numpy_loop(problem: Problem) -> Contestant:
    """What a careful person writes: every array is made when it is needed."""
    layers = problem.weights()
    velocities = [(np.zeros_like(W), np.zeros_like(b)) for W, b in layers]
    rng = np.random.default_rng(2)
    dropout = problem.dropout
    scale = np.float32(1 / (1 - dropout))

    def step(x, y):
        inputs, masks = [x], []
        for W, b in layers[:-1]:
            h = np.maximum(inputs[-1] @ W + b, 0)
            if dropout:
                masks.append((rng.random(h.shape, np.float32) >= dropout) * scale)
                h = h * masks[-1]
            inputs.append(h)
        W, b = layers[-1]
        z = inputs[-1] @ W + b
        z -= z.max(axis=1, keepdims=True)
        exps = np.exp(z)
        sums = exps.sum(axis=1, keepdims=True)
        samples = np.arange(len(y))
        loss = (np.log(sums[:, 0]) - z[samples, y]).mean()

        g = exps / sums
        g[samples, y] -= 1
        g /= len(y)
        for i in reversed(range(len(layers))):
            gradients = inputs[i].T @ g, g.sum(axis=0)
            if i:
                g = (g @ layers[i][0].T) * (inputs[i] > 0)
                if dropout:
                    g = g * masks[i - 1]
            sgd_update(layers[i], gradients, velocities[i], problem.lr, problem.momentum)
        return loss

    return Contestant(step)


def matrix_products(problem: Problem) -> Contestant:
    """Only the products, into buffers: forward, for the weights and, but for the first layer, for the inputs."""
    weights = [W for W, _ in problem.weights()]
    outputs = [np.empty((problem.batch, W.shape[1]), np.float32) for W in weights]
    grads = [np.ones_like(output) for output in outputs]
    weight_grads = [np.empty_like(W) for W in weights]

    def step(x, y):
        inputs = [x, *outputs]
        for i, W in enumerate(weights):
            np.matmul(inputs[i], W, out=outputs[i])
        for i in reversed(range(len(weights))):
            np.matmul(inputs[i].T, grads[i], out=weight_grads[i])
            if i:
                np.matmul(grads[i], weights[i].T, out=grads[i - 1])

    return Contestant(step, read=lambda loss: float("nan"))
