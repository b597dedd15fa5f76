"""The recipe of `examples/mnist.py`: trained by the example itself, by a loop in plain NumPy, by PyTorch and by JAX.

Each of them takes what `load_recipe` returns, and returns two functions: one that trains on batches, each given by its
rows, and returns the mean loss and the accuracy seen meanwhile; one that returns the accuracy on images and labels.
"""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import THREADS

EXAMPLE = Path(__file__).parents[1] / "examples" / "mnist.py"


OPTIONS = {"tinygrad_mlp jit": [], "tinygrad_mlp native": ["--backend", "numba"]}
"""With what options, besides the seed, the example is run for whom; for all others with --eager."""


def load_recipe(seed, name="NumPy"):
    """Return the example, its data and all that it trains with."""
    import tinygrad_mlp as tg

    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    options = example.parse_options(["--seed", str(seed), *OPTIONS.get(name, ["--eager"])])
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


def parts(recipe, count):
    """Yield the rows of the batches of all epochs in turn, ``count`` lists of them for each epoch."""
    size = recipe.options.batch_size
    for _ in range(recipe.options.epochs):
        order = recipe.rng.permutation(len(recipe.data[0]))  # what `minibatches` draws
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        length = -(-len(batches) // count)
        yield from (batches[i : i + length] for i in range(0, len(batches), length))


def by_example(recipe):
    X, y = recipe.data[:2]

    def train(batches):
        return recipe.example.train(recipe.step, recipe.schedule, ((X[rows], y[rows]) for rows in batches))

    return train, partial(recipe.example.evaluate, recipe.model)


def numpy_loop(recipe):
    X, y = recipe.data[:2]
    (W1, b1, W2, b2), rates, momentum, weight_decay = hyperparameters(recipe)
    smoothing = recipe.options.smoothing
    parameters = [W1, b1, W2, b2] = [np.ascontiguousarray(W1.T), b1, np.ascontiguousarray(W2.T), b2]
    velocities = [np.zeros_like(parameter) for parameter in parameters]

    def train(batches):
        losses = hits = 0.0
        for rows in batches:
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
        return mean(losses, hits, batches)

    def evaluate(X, y):
        h = np.maximum(np.divide(X, 255, dtype=np.float32) @ W1 + b1, 0)
        return float(((h @ W2 + b2).argmax(axis=1) == y).mean())

    return train, evaluate


def pytorch(recipe, compiled=False):
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    maybe_compile = torch.compile if compiled else lambda function: function
    arrays, rates, momentum, weight_decay = hyperparameters(recipe)
    model = nn.Sequential(nn.Linear(784, len(arrays[1])), nn.ReLU(), nn.Linear(len(arrays[1]), 10))
    model.load_state_dict(
        {name: torch.from_numpy(array) for name, array in zip(model.state_dict(), arrays, strict=True)}
    )
    lr = torch.tensor(0.0) if compiled else 0.0  # a number would be compiled into the step
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum, weight_decay=weight_decay, nesterov=True)
    group = optimizer.param_groups[0]
    update = maybe_compile(optimizer.step)
    X, y = map(torch.from_numpy, recipe.data[:2])

    @maybe_compile
    def loss_and_hits(images, labels):
        logits = model(images.float().div_(255))
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=recipe.options.smoothing)
        return loss, (logits.argmax(dim=1) == labels).sum()

    def train(batches):
        losses = hits = 0.0
        for rows in map(torch.from_numpy, batches):
            loss, right = loss_and_hits(X[rows], y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            group["lr"] = lr.fill_(next(rates)) if compiled else next(rates)
            update()
            losses += loss.item() * len(rows)
            hits += right.item()
        return mean(losses, hits, batches)

    @torch.no_grad()
    def evaluate(X, y):
        logits = model(torch.from_numpy(X).float().div_(255))
        return (logits.argmax(dim=1) == torch.from_numpy(y)).double().mean().item()

    return train, evaluate


def jax_jit(recipe):
    import jax
    import jax.numpy as jnp

    (W1, b1, W2, b2), rates, momentum, weight_decay = hyperparameters(recipe)
    smoothing = recipe.options.smoothing
    X, y = map(jnp.array, recipe.data[:2])

    def forward(parameters, images):
        W1, b1, W2, b2 = parameters
        return jax.nn.relu(images.astype(jnp.float32) / 255 @ W1 + b1) @ W2 + b2

    def loss_of(parameters, images, labels):
        logits = forward(parameters, images)
        log_probs = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(log_probs, labels[:, None], axis=1).mean()
        hits = (logits.argmax(axis=1) == labels).sum()
        return -(1 - smoothing) * chosen - smoothing * log_probs.mean(), hits

    @partial(jax.jit, donate_argnums=0)
    def step(state, X, y, rows, lr):
        parameters, velocities, losses, hits = state
        (loss, right), grads = jax.value_and_grad(loss_of, has_aux=True)(parameters, X[rows], y[rows])
        grads = jax.tree.map(lambda g, p: g + weight_decay * p, grads, parameters)
        velocities = jax.tree.map(lambda v, g: momentum * v + g, velocities, grads)
        parameters = jax.tree.map(lambda p, g, v: p - lr * (g + momentum * v), parameters, grads, velocities)
        return parameters, velocities, losses + loss * len(rows), hits + right

    parameters = jax.tree.map(jnp.array, (W1.T, b1, W2.T, b2))
    state = parameters, jax.tree.map(jnp.zeros_like, parameters)

    def train(batches):
        nonlocal state
        state = *state[:2], jnp.zeros(()), jnp.zeros((), int)
        for rows in batches:
            state = step(state, X, y, rows, next(rates))
        return mean(float(state[2]), int(state[3]), batches)  # which waits for all steps

    @jax.jit
    def accuracy(parameters, images, labels):
        return (forward(parameters, images).argmax(axis=1) == labels).mean()

    return train, lambda X, y: float(accuracy(state[0], X, y))


def mean(losses, hits, batches):
    """Return sums over the samples of batches as means."""
    count = sum(map(len, batches))
    return float(losses / count), float(hits / count)


CONTESTANTS = {
    "tinygrad_mlp": by_example,  # with --eager
    "tinygrad_mlp jit": by_example,
    "tinygrad_mlp native": by_example,
    "NumPy": numpy_loop,
    "PyTorch": pytorch,
    "torch.compile": partial(pytorch, compiled=True),
    "JAX jit": jax_jit,
}
