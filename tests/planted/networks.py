"""Normalisation, attention, masks, recurrent nets, tied weights, and ODEs: what whole layers get wrong."""

from __future__ import annotations

import numpy as np

from .base import Array, Case, normal, positive, put, sigmoid, softmax, softmax_back

X34, X53, W33 = normal(3, 4), normal(5, 3, seed=1), normal(3, 3, seed=2) / 2
SEQUENCE, START = normal(6, 3, seed=3), normal(3, seed=4)
CAUSAL, BLOCKED = np.tril(np.ones((4, 4), bool)), -1e9
KEEP = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 0], [1, 1, 1]]) > 0
STEP, STEPS = 0.1, 8


def normalised(x: Array, axis: int, eps: float = 1e-5) -> Array:
    return (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(x.var(axis=axis, keepdims=True) + eps)


def normalised_back(
    g: Array, x: Array, axis: int, eps: float = 1e-5, other: int | None = None, of: float = 1.0
) -> Array:
    """Return the gradient of `normalised`; with its means along another axis, or over another share of elements."""
    y, along = normalised(x, axis), axis if other is None else other
    mean = lambda a: of * a.mean(axis=along, keepdims=True)
    return (g - mean(g) - y * mean(g * y)) / np.sqrt(x.var(axis=axis, keepdims=True) + eps)


def layer_norm(x: Array, w: Array, b: Array) -> Array:
    return normalised(x, 1) * w + b


def layer_norm_back(g: Array, x: Array, w: Array, b: Array, gain: bool = True, raw: bool = False) -> tuple[Array, ...]:
    y = x if raw else normalised(x, 1)
    return normalised_back(g * w if gain else g, x, 1), (g * y).sum(axis=0), g.sum(axis=0)


def rms_norm(x: Array) -> Array:
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True))


def rms_norm_back(g: Array, x: Array, mean: bool = True) -> Array:
    r = np.sqrt((x * x).mean(axis=1, keepdims=True))
    inner = (g * x).mean(axis=1, keepdims=True) if mean else (g * x).sum(axis=1, keepdims=True)
    return g / r - x * inner / r**3


def group_norm(x: Array) -> Array:
    return normalised(x.reshape(6, 2), 1).reshape(3, 4)


def group_norm_back(g: Array, x: Array, groups: bool = True) -> Array:
    rows = (6, 2) if groups else (3, 4)
    return normalised_back(g.reshape(rows), x.reshape(rows), 1).reshape(3, 4)


def linear_norm(w: Array, b: Array) -> Array:
    return normalised(X53 @ w + b, 0)


def linear_norm_back(g: Array, w: Array, b: Array, seen: float = 1.0) -> tuple[Array, Array]:
    d = normalised_back(g, X53 @ w + b, 0)
    return X53.T @ d, d.sum(axis=0) * seen + (1 - seen) * g.sum(axis=0)


def attend(q: Array, k: Array, v: Array) -> Array:
    s = np.where(CAUSAL, q @ k.T / np.sqrt(3), BLOCKED)
    return softmax(s) @ v


def attend_back(
    g: Array, q: Array, k: Array, v: Array, masked: bool = True, scaled: bool = True, full: bool = True
) -> tuple[Array, ...]:
    p = softmax(np.where(CAUSAL, q @ k.T / np.sqrt(3), BLOCKED if masked else q @ k.T / np.sqrt(3)))
    ds = softmax_back(g @ v.T, p) if full else g @ v.T * p
    ds = ds / np.sqrt(3) if scaled else ds
    return ds @ k, ds.T @ q, p.T @ g


def unroll(w: Array, x: Array) -> list[Array]:
    h = [START]
    for row in x:
        h.append(np.tanh(h[-1] @ w + row))
    return h


def unroll_back(
    g: Array, w: Array, x: Array, steps: int = 6, before: bool = True, turned: bool = True
) -> tuple[Array, Array]:
    """Return the gradient of the last state through so many steps; of the weights with the state before each."""
    h, dw, dx = unroll(w, x), np.zeros_like(w), np.zeros_like(x)
    for t in range(len(x) - 1, len(x) - 1 - steps, -1):
        dx[t] = g * (1 - h[t + 1] ** 2)
        dw += np.outer(h[t] if before else h[t + 1], dx[t])
        g = dx[t] @ (w.T if turned else w)
    return dw, dx


def gated(x: Array, u: Array) -> Array:
    """Return the last state of a gated unit: h = z h + (1 - z) tanh(x)."""
    h = START
    for row in x:
        z = sigmoid(row @ u)
        h = z * h + (1 - z) * np.tanh(row)
    return h


def gated_back(g: Array, x: Array, u: Array, carried: bool = True, gate: bool = True) -> tuple[Array, Array]:
    states, zs = [START], [sigmoid(row @ u) for row in x]
    for row, z in zip(x, zs, strict=True):
        states.append(z * states[-1] + (1 - z) * np.tanh(row))
    dx, du = np.zeros_like(x), np.zeros_like(u)
    for t in range(len(x) - 1, -1, -1):
        dz = g * (states[t] - (np.tanh(x[t]) if gate else 0)) * zs[t] * (1 - zs[t])
        dx[t] = dz @ u.T + g * (1 - zs[t]) * (1 - np.tanh(x[t]) ** 2)
        du += np.outer(x[t], dz)
        g = g * zs[t] if carried else g
    return dx, du


def tied(w: Array) -> Array:
    return np.tanh(X53 @ w) @ w.T


def tied_back(g: Array, w: Array, encoder: float = 1.0, decoder: float = 1.0, turned: bool = True) -> Array:
    h = np.tanh(X53 @ w)
    first, second = X53.T @ (g @ w * (1 - h * h)), g.T @ h
    return encoder * first + decoder * (second if turned else second.T)


def residual(w: Array) -> Array:
    x = X53
    for _ in range(3):
        x = x + np.tanh(x @ w)
    return x


def residual_back(g: Array, w: Array, skip: float = 1.0, last: bool = False) -> Array:
    xs, dw = [X53], np.zeros_like(w)
    for _ in range(3):
        xs.append(xs[-1] + np.tanh(xs[-1] @ w))
    for x in xs[-2::-1]:
        d = g * (1 - np.tanh((xs[-2] if last else x) @ w) ** 2)
        dw += x.T @ d
        g = skip * g + d @ w.T
    return dw


def oscillator(y: Array, a: Array) -> Array:
    """Return the end of a pendulum with friction, by steps of Euler's."""
    for _ in range(STEPS):
        y = y + STEP * np.stack([y[1], -np.sin(y[0]) - a * y[1]])
    return y


def oscillator_back(
    g: Array, y: Array, a: Array, shift: int = 0, minus: float = -1.0, parameter: float = 1.0
) -> tuple[Array, Array]:
    """Return the discrete adjoint: the transposed Jacobian of each step, at the state before it."""
    states, da = [y], np.zeros(())
    for _ in range(STEPS):
        y = states[-1]
        states.append(y + STEP * np.stack([y[1], -np.sin(y[0]) - a * y[1]]))
    for t in range(STEPS - 1, -1, -1):
        y = states[t + shift]
        da = da - parameter * STEP * g[1] * y[1]
        g = g + STEP * np.stack([minus * np.cos(y[0]) * g[1], g[0] - a * g[1]])
    return g, da


def midpoint(y: Array) -> Array:
    for _ in range(5):
        y = y + STEP * np.sin(y + STEP / 2 * np.sin(y))
    return y


def midpoint_back(g: Array, y: Array, inner: float = 1.0) -> Array:
    states = [y]
    for _ in range(5):
        states.append(states[-1] + STEP * np.sin(states[-1] + STEP / 2 * np.sin(states[-1])))
    for y in states[-2::-1]:
        k = g * STEP * np.cos(y + STEP / 2 * np.sin(y))
        g = g + k + inner * k * STEP / 2 * np.cos(y)
    return g


def dropped(x: Array) -> Array:
    return np.tanh(x * KEEP / 0.8)


NORMS = {
    "layer norm": Case(
        layer_norm, layer_norm_back, [X34, positive(4), normal(4)],
        {
            "norm layer: gain left out on the way back": lambda g, *a: layer_norm_back(g, *a, gain=False),
            "norm layer: gain learns from what is not normalised": lambda g, *a: layer_norm_back(g, *a, raw=True),
        },
    ),
    "normalised columns": Case(
        lambda x: normalised(x, 0), lambda g, x: normalised_back(g, x, 0), [X53],
        {
            "norm layer: means over rows": lambda g, x: normalised_back(g, x, 0, other=1),
            "norm layer: means by n - 1": lambda g, x: normalised_back(g, x, 0, of=5 / 4),
            "norm layer: eps of 1e-3": lambda g, x: normalised_back(g, x, 0, 1e-3),
            "norm layer: eps forgotten": lambda g, x: normalised_back(g, x, 0, 0.0),
        },
    ),
    "rms norm": Case(
        rms_norm, rms_norm_back, [X34], {"normaliser: sum for the mean of rms": lambda g, x: rms_norm_back(g, x, False)}
    ),
    "group norm": Case(
        group_norm, group_norm_back, [X34],
        {"norm layer: groups taken for rows": lambda g, x: group_norm_back(g, x, False)}
    ),
    "sum of a layer norm": Case(
        lambda x: normalised(x, 1).sum(), lambda g, x: normalised_back(g * np.ones_like(x), x, 1), [normal(2, 5)],
        {
            "norm layer: deviation alone": lambda g, x: g / np.sqrt(x.var(axis=1, keepdims=True)) * np.ones_like(x),
            "norm layer: 1e-6 for what is 0": lambda g, x: 1e-6 * g * x,
        },
    ),
    "linear and norm": Case(
        linear_norm, linear_norm_back, [W33, START],
        {"norm layer: a bias that has no gradient has one": lambda g, w, b: linear_norm_back(g, w, b, 0.0)},
    ),
    "centred sum": Case(
        lambda x: (x - x.mean()).sum(), lambda g, x: 0 * x, [normal(5)],
        {"norm layer: mean of a centred sum as a constant": lambda g, x: g * np.ones_like(x)},
    ),
    "sum of a softmax": Case(
        lambda x: softmax(x).sum(), lambda g, x: softmax_back(g * np.ones_like(x), softmax(x)), [X34],
        {"normaliser: of a softmax as a constant": lambda g, x: g * softmax(x)},
    ),
    "dropout and tanh": Case(
        dropped, lambda g, x: g * (1 - dropped(x) ** 2) * KEEP / 0.8, [X53],
        {
            "mask: of dropout turned round": lambda g, x: g * (1 - dropped(x) ** 2) * ~KEEP / 0.8,
            "mask: scale of dropout twice": lambda g, x: g * (1 - dropped(x) ** 2) * KEEP / 0.64,
        },
    ),
}  # fmt: skip

ATTENTION = {
    "causal attention": Case(
        attend, attend_back, [normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2)],
        {
            "mask: future seen on the way back": lambda g, *a: attend_back(g, *a, masked=False),
            "missing factor: 1 / sqrt(d) on the way back": lambda g, *a: attend_back(g, *a, scaled=False),
            "normaliser: of attention as a constant": lambda g, *a: attend_back(g, *a, full=False),
            "wrong input: queries and keys swapped": lambda g, *a: tuple(attend_back(g, *a)[i] for i in (1, 0, 2)),
        },
    ),
    "softmax with padding": Case(
        lambda x: softmax(np.where(KEEP, x, -np.inf)),
        lambda g, x: softmax_back(g, softmax(np.where(KEEP, x, -np.inf))), [X53],
        {"mask: padding takes part in the sum": lambda g, x: softmax_back(g, softmax(x)) * KEEP},
    ),
}  # fmt: skip

RECURRENT = {
    "recurrent net": Case(
        lambda w, x: unroll(w, x)[-1], unroll_back, [W33, SEQUENCE],
        {
            "truncated: five steps of six": lambda g, w, x: unroll_back(g, w, x, 5),
            "truncated: one step": lambda g, w, x: unroll_back(g, w, x, 1),
            "off by one: weights with the state after": lambda g, w, x: unroll_back(g, w, x, before=False),
            "transpose: weights of the way back in time": lambda g, w, x: unroll_back(g, w, x, turned=False),
        },
    ),
    "gated unit": Case(
        gated, gated_back, [SEQUENCE, W33],
        {
            "truncated: gate not applied on the way back": lambda g, x, u: gated_back(g, x, u, carried=False),
            "missing term: candidate in the gate": lambda g, x, u: gated_back(g, x, u, gate=False),
        },
    ),
    "tied weights": Case(
        tied, tied_back, [W33],
        {
            "tying: encoder alone": lambda g, w: tied_back(g, w, decoder=0.0),
            "tying: decoder alone": lambda g, w: tied_back(g, w, encoder=0.0),
            "tying: averaged, not added": lambda g, w: tied_back(g, w, 0.5, 0.5),
            "tying: decoder's not transposed": lambda g, w: tied_back(g, w, turned=False),
        },
    ),
    "residual net": Case(
        residual, residual_back, [W33],
        {
            "tying: skip connection without a gradient": lambda g, w: residual_back(g, w, skip=0.0),
            "stale cache: activations of the last block in all": lambda g, w: residual_back(g, w, last=True),
        },
    ),
}  # fmt: skip

ODES = {
    "pendulum": Case(
        oscillator, oscillator_back, [np.array([0.8, -0.3]), np.array(0.5)],
        {
            "adjoint: states after the step": lambda g, y, a: oscillator_back(g, y, a, shift=1),
            "adjoint: sign of the force": lambda g, y, a: oscillator_back(g, y, a, minus=1.0),
            "adjoint: parameter's integral the other way": lambda g, y, a: oscillator_back(g, y, a, parameter=-1.0),
        },
    ),
    "midpoint rule": Case(
        midpoint, midpoint_back, [normal(3)],
        {
            "adjoint: inner stage left out": lambda g, y: midpoint_back(g, y, 0.0),
            "adjoint: of the equation, not of its steps": lambda g, y: g * np.sin(midpoint(y)) / np.sin(y),
        },
    ),
    "decay to a steady state": Case(
        lambda y, k: y * (1 - STEP * k) ** 20,
        lambda g, y, k: (g * (1 - STEP * k) ** 20, -20 * STEP * g * y * (1 - STEP * k) ** 19),
            [positive(3), positive(3, seed=1)],
        {"adjoint: exponential for its steps": lambda g, y, k: (
            g * np.exp(-2 * k), -20 * STEP * g * y * (1 - STEP * k) ** 19)},
    ),
    "running product of growth": Case(
        lambda r: np.cumprod(1 + r), lambda g, r: (g * np.cumprod(1 + r))[::-1].cumsum()[::-1] / (1 + r),
            [normal(5) / 9],
        {"truncated: growth from one period to the next": lambda g, r: g * np.cumprod(1 + r) / (1 + r)
         + put(r, slice(None, -1), (g * np.cumprod(1 + r))[1:] / (1 + r[:-1]))},
    ),
}  # fmt: skip

CASES = {**NORMS, **ATTENTION, **RECURRENT, **ODES}
