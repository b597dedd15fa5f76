"""The step written by hand in plain NumPy, and its matrix products alone."""

from __future__ import annotations

import numpy as np
from common import NotApplicableError

from . import Contestant, Problem


def sgd_update(parameters, gradients, velocities, lr, momentum):
    for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
        if momentum:
            velocity *= momentum
            velocity += gradient
            gradient = velocity
        parameter -= lr * gradient


def adam_update(parameters, gradients, means, squares, lr, steps):
    for parameter, gradient, m, v in zip(parameters, gradients, means, squares, strict=True):
        m *= 0.9
        m += 0.1 * gradient
        v *= 0.999
        v += 0.001 * gradient**2
        parameter -= lr / (1 - 0.9**steps) * m / (np.sqrt(v) / (1 - 0.999**steps) ** 0.5 + 1e-8)


def numpy_loop(problem: Problem) -> Contestant:
    """What a careful person writes: every array is made when it is needed."""
    layers, steps = problem.weights(), 0
    velocities, squares = ([(np.zeros_like(W), np.zeros_like(b)) for W, b in layers] for _ in range(2))
    rng = np.random.default_rng(2)
    dropout = problem.dropout
    scale = np.float32(1 / (1 - dropout))

    def step(x, y):
        nonlocal steps
        steps += 1
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
            if problem.adam:
                adam_update(layers[i], gradients, velocities[i], squares[i], problem.lr, steps)
            else:
                sgd_update(layers[i], gradients, velocities[i], problem.lr, problem.momentum)
        return loss

    return Contestant(step)


def numba_loop(problem: Problem) -> Contestant:
    """The same as loops for Numba: a function for each kind of layer, products by BLAS, and nothing else in memory."""
    from numba import njit

    if problem.dropout:
        raise NotApplicableError("the loop in Numba has no dropout")
    layers = problem.weights()
    hidden = [np.empty((problem.batch, W.shape[1]), np.float32) for W, _ in layers]
    deltas = [np.empty_like(h) for h in hidden]
    gradients = [(np.empty_like(W), np.empty_like(b)) for W, b in layers]
    velocities = [(np.zeros_like(W), np.zeros_like(b)) for W, b in layers]
    lr, momentum = np.float32(problem.lr), np.float32(problem.momentum)

    @njit
    def relu_layer(x, W, b, h):
        np.dot(x, W, h)
        for i in range(h.shape[0]):
            for j in range(h.shape[1]):
                v = h[i, j] + b[j]
                h[i, j] = np.float32(0) if v < 0 else v

    @njit
    def loss_layer(x, W, b, y, d):
        np.dot(x, W, d)
        n, total = np.float32(len(y)), np.float32(0)
        for i in range(d.shape[0]):
            top, exps = np.float32(-np.inf), np.float32(0)
            for j in range(d.shape[1]):
                d[i, j] += b[j]
                top = max(top, d[i, j])
            shifted = d[i, y[i]] - top
            for j in range(d.shape[1]):
                d[i, j] = np.exp(d[i, j] - top)
                exps += d[i, j]
            total += np.log(exps) - shifted
            for j in range(d.shape[1]):
                d[i, j] = (d[i, j] / exps - np.float32(j == y[i])) / n
        return total / n

    @njit
    def pass_back(d, W, h, out):
        np.dot(d, W.T, out)
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = out[i, j] if h[i, j] > 0 else np.float32(0)

    @njit
    def update(x, d, W, b, dW, db, vW, vb):
        np.dot(x.T, d, dW)
        db[:] = np.float32(0)
        for i in range(d.shape[0]):
            for j in range(d.shape[1]):
                db[j] += d[i, j]
        if momentum:
            for i in range(W.shape[0]):
                for j in range(W.shape[1]):
                    vW[i, j] = momentum * vW[i, j] + dW[i, j]
                    W[i, j] -= lr * vW[i, j]
            for j in range(b.shape[0]):
                vb[j] = momentum * vb[j] + db[j]
                b[j] -= lr * vb[j]
        else:
            for i in range(W.shape[0]):
                for j in range(W.shape[1]):
                    W[i, j] -= lr * dW[i, j]
            for j in range(b.shape[0]):
                b[j] -= lr * db[j]

    def step(x, y):
        inputs = [x, *hidden[:-1]]
        for i, (W, b) in enumerate(layers[:-1]):
            relu_layer(inputs[i], W, b, hidden[i])
        loss = loss_layer(inputs[-1], *layers[-1], y, deltas[-1])
        for i in reversed(range(len(layers))):
            if i:
                pass_back(deltas[i], layers[i][0], inputs[i], deltas[i - 1])
            update(inputs[i], deltas[i], *layers[i], *gradients[i], *velocities[i])
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
