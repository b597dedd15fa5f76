"""JAX: the whole step in one compiled function, whose old parameters are given away."""

from __future__ import annotations

from . import Contestant, Problem


def jitted(problem: Problem) -> Contestant:
    import jax
    import jax.numpy as jnp

    def loss_of(layers, xb, yb, key):
        h = xb
        for i, (W, b) in enumerate(layers):
            h = h @ W + b
            if i < len(layers) - 1:
                h = jax.nn.relu(h)
                if problem.dropout:
                    kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - problem.dropout, h.shape)
                    h = jnp.where(kept, h / (1 - problem.dropout), 0)
        return -jnp.take_along_axis(jax.nn.log_softmax(h), yb[:, None], axis=1).mean()

    def whole_step(state, xb, yb):
        layers, velocities, key, steps = state
        if problem.dropout:
            key, subkey = jax.random.split(key)
        else:
            subkey = key
        loss, grads = jax.value_and_grad(loss_of)(layers, xb, yb, subkey)
        if problem.momentum:
            velocities = grads = jax.tree.map(lambda v, g: problem.momentum * v + g, velocities, grads)
        if problem.adam:
            steps, (m, v) = steps + 1, velocities
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
            root, velocities = jnp.sqrt(1 - 0.999**steps), (m, v)
            grads = jax.tree.map(lambda m, v: m / (1 - 0.9**steps) / (jnp.sqrt(v) / root + 1e-8), m, v)
        layers = jax.tree.map(lambda p, g: p - problem.lr * g, layers, grads)
        return (layers, velocities, key, steps), loss

    compiled = jax.jit(whole_step, donate_argnums=0)
    layers = jax.tree.map(jnp.array, problem.weights())
    zeros = lambda: jax.tree.map(jnp.zeros_like, layers)
    velocities = (zeros(), zeros()) if problem.adam else zeros() if problem.momentum else None
    state = layers, velocities, jax.random.key(2) if problem.dropout else None, jnp.zeros(())

    def step(xb, yb):
        nonlocal state
        state, loss = compiled(state, xb, yb)
        return loss

    return Contestant(step, convert=lambda x, y: (jnp.array(x), jnp.array(y)))
