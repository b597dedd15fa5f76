"""The recipe of `examples/mnist.py`: trained by the example itself, by a loop in plain NumPy, and by PyTorch.

Each of them takes what `load_recipe` returns, and returns two functions: one that trains for an epoch, one that
returns the accuracy on images and labels.
"""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import THREADS

EXAMPLE = Path(__file__).parents[1] / "examples" / "mnist.py"


def load_recipe(seed, eager=True):
    """Return the example, its data and all that it trains with."""
    import tinygrad_mlp as tg

    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    options = example.parse_options(["--seed", str(seed), *["--eager"] * eager])
    data = tg.load_mnist(example.PACKED)
    steps = -(-len(data[0]) // options.batch_size)
    init_rng, order_rng = np.random.default_rng(seed).spawn(2)
    parts = dict(zip(("model", "step", "optimizer", "schedule"), example.build(options, steps, init_rng), strict=True))
    return SimpleNamespace(example=example, options=options, data=data, steps=steps, rng=order_rng, **parts)


def hyperparameters(recipe):
    """Return the initial (W, b) of the two layers, the rate of each step, and the other numbers of the optimizer."""
    arrays = [p.detach().numpy().copy() for p in recipe.model.parameters()]
    rates = []
    for _ in range(recipe.options.epochs * recipe.steps):
        rates.append(recipe.schedule.get_last_lr()[0])
        recipe.schedule.step()
    group = recipe.optimizer.param_groups[0]
    if len(arrays) != 4 or not group["nesterov"]:
        raise NotImplementedError("the loops here have one hidden layer and Nesterov momentum; the example has not")
    return arrays, iter(rates), group["momentum"], group["weight_decay"]


def batches_of_rows(recipe):
    order = recipe.rng.permutation(len(recipe.data[0]))
    return [order[i : i + recipe.options.batch_size] for i in range(0, len(order), recipe.options.batch_size)]


def by_example(recipe):
    import tinygrad_mlp as tg

    X, y = recipe.data[:2]

    def epoch():
        batches = tg.minibatches(X, y, recipe.options.batch_size, rng=recipe.rng)
        recipe.example.train(recipe.step, recipe.schedule, batches)

    return epoch, partial(recipe.example.evaluate, recipe.model)


def numpy_loop(recipe):
    X, y = recipe.data[:2]
    (W1, b1, W2, b2), rates, momentum, weight_decay = hyperparameters(recipe)
    smoothing = recipe.example.SMOOTHING
    parameters = [W1, b1, W2, b2] = [np.ascontiguousarray(W1.T), b1, np.ascontiguousarray(W2.T), b2]
    velocities = [np.zeros_like(parameter) for parameter in parameters]

    def epoch():
        losses = hits = 0.0
        for rows in batches_of_rows(recipe):
            x, labels, samples = np.divide(X[rows], 255, dtype=np.float32), y[rows], np.arange(len(rows))
            h = np.maximum(x @ W1 + b1, 0)
            z = h @ W2 + b2
            z -= z.max(axis=1, keepdims=True)
            exps = np.exp(z)
            sums = exps.sum(axis=1, keepdims=True)
            losses += (np.log(sums[:, 0]) - (1 - smoothing) * z[samples, labels] - smoothing * z.mean(axis=1)).sum()
            hits += (z.argmax(axis=1) == labels).sum()
            g = exps / sums
            g -= np.float32(smoothing / z.shape[1])
            g[samples, labels] -= np.float32(1 - smoothing)
            g /= len(rows)
            g1 = (g @ W2.T) * (h > 0)
            lr = next(rates)
            gradients = [x.T @ g1, g1.sum(axis=0), h.T @ g, g.sum(axis=0)]
            for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
                gradient += weight_decay * parameter
                velocity *= momentum
                velocity += gradient
                parameter -= lr * (gradient + momentum * velocity)
        return losses / len(X), hits / len(X)

    def evaluate(X, y):
        h = np.maximum(np.divide(X, 255, dtype=np.float32) @ W1 + b1, 0)
        return float(((h @ W2 + b2).argmax(axis=1) == y).mean())

    return epoch, evaluate


def pytorch(recipe):
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    arrays, rates, momentum, weight_decay = hyperparameters(recipe)
    model = nn.Sequential(nn.Linear(784, len(arrays[1])), nn.ReLU(), nn.Linear(len(arrays[1]), 10))
    model.load_state_dict(
        {name: torch.from_numpy(array) for name, array in zip(model.state_dict(), arrays, strict=True)}
    )
    optimizer = torch.optim.SGD(model.parameters(), momentum=momentum, weight_decay=weight_decay, nesterov=True)
    X, y = map(torch.from_numpy, recipe.data[:2])

    def epoch():
        losses = hits = 0.0
        for rows in map(torch.from_numpy, batches_of_rows(recipe)):
            labels = y[rows]
            logits = model(X[rows].float().div_(255))
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=recipe.example.SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.param_groups[0]["lr"] = next(rates)
            optimizer.step()
            losses += loss.item() * len(rows)
            hits += (logits.argmax(dim=1) == labels).sum().item()
        return losses / len(X), hits / len(X)

    @torch.no_grad()
    def evaluate(X, y):
        logits = model(torch.from_numpy(X).float().div_(255))
        return (logits.argmax(dim=1) == torch.from_numpy(y)).double().mean().item()

    return epoch, evaluate


CONTESTANTS = {
    "tinygrad_mlp": by_example,  # with --eager
    "tinygrad_mlp jit": by_example,
    "NumPy": numpy_loop,
    "PyTorch": pytorch,
}
