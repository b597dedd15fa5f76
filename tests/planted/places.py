"""Windows, indices, scattered and gathered elements, transposes, padding and convolutions."""

from __future__ import annotations

import numpy as np

from .base import Array, Case, apart, normal, put

X6, X44 = normal(6), normal(4, 4, seed=1)
IDS, ROWS = np.array([1, 3, 1, 0]), np.array([[0, 2], [2, 2], [1, 0]])
SEGMENTS = np.array([0, 0, 1, 2, 2, 2])
ORDER = np.array([2, 0, 3, 1])
TAPS, KERNEL = np.array([0.5, -1.0, 2.0]), normal(2, 2, seed=2)
DECAY = 0.8


def unrolled(x: Array, size: int = 3) -> Array:
    """Return the windows of a row, one in each row."""
    return x[np.arange(len(x) - size + 1)[:, None] + np.arange(size)]


def window_mean_back(g: Array, x: Array, shift: int = 0) -> Array:
    return put(x, np.clip(np.arange(4)[:, None] + np.arange(3) + shift, 0, 5), g[:, None] / 3)


def ema(x: Array) -> Array:
    out = [x[0]]
    for a in x[1:]:
        out.append(DECAY * out[-1] + (1 - DECAY) * a)
    return np.stack(out)


def ema_back(g: Array, x: Array, first: float = 1.0) -> Array:
    out, carried = np.zeros_like(x), 0.0
    for t in range(len(x) - 1, -1, -1):
        carried = g[t] + DECAY * carried
        out[t] = carried * (1 - DECAY if t else first)
    return out


def correlate2(x: Array, k: Array) -> Array:
    return sum(k[i, j] * x[i : i + 3, j : j + 3] for i in range(2) for j in range(2))


def correlate2_back(g: Array, x: Array, k: Array, turned: bool = True, flip: bool = False) -> tuple[Array, Array]:
    """Return the gradients of `correlate2`; what x gets is the full convolution of g with k."""
    dx, dk = np.zeros_like(x), np.zeros_like(k)
    for i in range(2):
        for j in range(2):
            dx[i : i + 3, j : j + 3] += g * (k[i, j] if turned else k[1 - i, 1 - j])
            dk[i, j] = (g * x[i : i + 3, j : j + 3]).sum()
    return dx, dk[::-1, ::-1] if flip else dk


def dilated(x: Array, k: Array) -> Array:
    return sum(k[j] * x[2 * j : 2 * j + 4] for j in range(3))


def dilated_back(g: Array, x: Array, k: Array, step: int = 2) -> tuple[Array, Array]:
    dx = sum(put(x, slice(step * j, step * j + 4), g * k[j]) for j in range(3))
    return dx, np.stack([(g * x[2 * j : 2 * j + 4]).sum() for j in range(3)])


def pooled(x: Array) -> Array:
    return x.reshape(2, 2, 2, 2).max(axis=(1, 3))


def pooled_back(g: Array, x: Array, tile: bool = False) -> Array:
    spread = np.tile(g, (2, 2)) if tile else np.repeat(np.repeat(g, 2, 0), 2, 1)
    return spread * (x == np.repeat(np.repeat(pooled(x), 2, 0), 2, 1))


def reflected(x: Array) -> Array:
    return np.concatenate([x[2:0:-1], x, x[-2:-4:-1]])


def reflected_back(g: Array, x: Array, edge: int = 1) -> Array:
    return g[2:-2] + put(x, [1 + edge, edge], g[:2]) + put(x, [-1 - edge, -2 - edge], g[-2:])


def interpolated(x: Array, where: Array) -> Array:
    i = np.floor(where.real).astype(int)
    return x[i] + (where - i) * (x[i + 1] - x[i])


def interpolated_back(g: Array, x: Array, where: Array, both: float = 1.0, swap: bool = False) -> tuple[Array, Array]:
    i = np.floor(where).astype(int)
    t = 1 - (where - i) if swap else where - i
    return put(x, i, g * (1 - t)) + both * put(x, i + 1, g * t), g * (x[i + 1] - x[i])


WINDOWS = {
    "moving average": Case(
        lambda x: unrolled(x).mean(axis=1), window_mean_back, [X6],
        {"off by one: window begins one too late": lambda g, x: window_mean_back(g, x, 1)},
    ),
    "differences": Case(
        lambda x: np.sin(x[1:] - x[:-1]),
        lambda g, x: np.diff(-g * np.cos(np.diff(x)), prepend=0, append=0), [X6],
        {
            "off by one: differences of the other neighbour": lambda g, x: np.diff(
                -np.roll(g, 1) * np.cos(np.diff(x)), prepend=0, append=0),
            "missing term: left neighbours": lambda g, x: put(x, slice(1, None), g * np.cos(np.diff(x))),
        },
    ),
    "exponential average": Case(
        ema, ema_back, [X6], {"off by one: start of an average weighted as the rest":
            lambda g, x: ema_back(g, x, 1 - DECAY)}
    ),
    "every second": Case(
        lambda x: x[1::2] ** 3, lambda g, x: put(x, slice(1, None, 2), 3 * g * x[1::2] ** 2), [X6],
        {"off by one: even for odd": lambda g, x: put(x, slice(0, None, 2), 3 * g * x[1::2] ** 2)},
    ),
    "upper triangle": Case(
        lambda x: np.triu(x, 1) * np.arange(16).reshape(4, 4),
        lambda g, x: np.triu(g * np.arange(16).reshape(4, 4), 1), [X44],
        {"off by one: diagonal counted": lambda g, x: np.triu(g * np.arange(16).reshape(4, 4))},
    ),
    "trapezoid rule": Case(
        lambda y: ((y[1:] + y[:-1]) / 2).sum(), lambda g, y: g * np.where((np.arange(6) % 5) == 0, 0.5, 1), [X6],
        {"off by one: ends of a rule weighted as the rest": lambda g, y: g * np.ones_like(y)},
    ),
    "shifted by one": Case(
        lambda x: x * np.roll(x, 1), lambda g, x: g * np.roll(x, 1) + np.roll(g * x, -1), [X6],
        {"off by one: rolled the same way back": lambda g, x: g * np.roll(x, 1) + np.roll(g * x, 1)},
    ),
    "linear interpolation": Case(
        interpolated, interpolated_back, [X6, np.array([0.3, 2.6, 2.1, 4.5])],
        {
            "missing term: right ends of intervals": lambda g, x, w: interpolated_back(g, x, w, 0.0),
            "wrong input: weights of the ends swapped": lambda g, x, w: interpolated_back(g, x, w, swap=True),
        },
    ),
}  # fmt: skip

SCATTERS = {
    "embedding": Case(
        lambda table: np.tanh(table[ROWS]), lambda g, table: put(table, ROWS, g * (1 - np.tanh(table[ROWS]) ** 2)),
        [normal(3, 2)],
        {
            "duplicates: last use of a row": lambda g, table: np.stack([(g * (1 - np.tanh(table[ROWS]) ** 2))[
                tuple(np.argwhere(i == ROWS)[-1])] for i in range(3)]),
            "duplicates: averaged over uses": lambda g, table: put(
                table, ROWS, g * (1 - np.tanh(table[ROWS]) ** 2)) / np.bincount(ROWS.ravel())[:, None],
        },
    ),
    "sum by segment": Case(
        lambda x: np.stack([(x[i == SEGMENTS] ** 2).sum() for i in range(3)]), lambda g, x: 2 * g[SEGMENTS] * x, [X6],
        {"duplicates: counts of segments divided out": lambda g, x: 2 * (g / np.bincount(SEGMENTS))[SEGMENTS] * x},
    ),
    "scattered sum": Case(
        lambda v: put(np.zeros(5, v.dtype), IDS, v) ** 2, lambda g, v: 2 * g[IDS] * put(np.zeros(5), IDS, v)[IDS],
        [normal(4)],
        {"duplicates: own value for the sum in a place": lambda g, v: 2 * g[IDS] * v},
    ),
    "matrix entries by pairs": Case(
        lambda x: x[IDS, ORDER] * np.arange(1, 5), lambda g, x: put(x, (IDS, ORDER), g * np.arange(1, 5)), [X44],
        {"transpose: row and column of an index": lambda g, x: put(x, (ORDER, IDS), g * np.arange(1, 5))},
    ),
    "permutation": Case(
        lambda x: np.exp(x[ORDER]), lambda g, x: put(x, ORDER, g * np.exp(x[ORDER])), [normal(4)],
        {"permutation: applied for undone": lambda g, x: (g * np.exp(x[ORDER]))[ORDER]},
    ),
    "two largest": Case(
        lambda x: np.sort(x)[-2:] ** 2, lambda g, x: put(x, np.argsort(x)[-2:], 2 * g * np.sort(x)[-2:]), [apart(5)],
        {"permutation: largest two the other way round":
            lambda g, x: put(x, np.argsort(x)[:-3:-1], 2 * g * np.sort(x)[-2:])},
    ),
    "median": Case(
        np.median, lambda g, x: put(x, np.argsort(x)[2:4], g / 2), [apart(6)],
        {"off by one: lower middle of an even number": lambda g, x: put(x, np.argsort(x)[[2]], g)},
    ),
    "quantile": Case(
        lambda x: 0.7 * np.sort(x)[1] + 0.3 * np.sort(x)[2],
        lambda g, x: put(x, np.argsort(x)[1:3], g * np.array([0.7, 0.3])),
        [apart(5, seed=1)],
        {"wrong input: quantile's weights swapped": lambda g, x: put(x, np.argsort(x)[1:3], g * np.array([0.3, 0.7]))},
    ),
}  # fmt: skip

TRANSPOSES = {
    "A B'": Case(
        lambda a, b: a @ b.T, lambda g, a, b: (g @ b, g.T @ a), [normal(3, 3), normal(3, 3, seed=1)],
        {"transpose: g of A B'": lambda g, a, b: (g @ b, g @ a)},
    ),
    "bilinear form": Case(
        lambda x, w, y: np.einsum("ni,ij,nj->n", x, w, y),
        lambda g, x, w, y: (g[:, None] * (y @ w.T), (g[:, None] * x).T @ y, g[:, None] * (x @ w)),
        [normal(3, 3), normal(3, 3, seed=1), normal(3, 3, seed=2)],
        {"transpose: weights of a bilinear form": lambda g, x, w, y: (
            g[:, None] * (y @ w.T), ((g[:, None] * x).T @ y).T, g[:, None] * (x @ w))},
    ),
    "axes moved": Case(
        lambda x: np.moveaxis(x, 0, 2) * np.arange(27).reshape(3, 3, 3),
        lambda g, x: np.moveaxis(g * np.arange(27).reshape(3, 3, 3), 2, 0), [normal(3, 3, 3)],
        {"transpose: moved the same way": lambda g, x: np.moveaxis(g * np.arange(27).reshape(3, 3, 3), 0, 2)},
    ),
    "Kronecker product": Case(
        np.kron, lambda g, a, b: (
            np.einsum("ikjl,kl->ij", g.reshape(2, 2, 2, 2), b), np.einsum("ikjl,ij->kl", g.reshape(2, 2, 2, 2), a)),
        [normal(2, 2), normal(2, 2, seed=1)],
        {"transpose: blocks of a Kronecker product": lambda g, a, b: (
            np.einsum("kilj,kl->ij", g.reshape(2, 2, 2, 2), b), np.einsum("ikjl,ij->kl", g.reshape(2, 2, 2, 2), a))},
    ),
    "turned by 90 degrees": Case(
        lambda x: np.rot90(x) * np.arange(16).reshape(4, 4),
        lambda g, x: np.rot90(g * np.arange(16).reshape(4, 4), -1), [X44],
        {"permutation: turned on, not back": lambda g, x: np.rot90(g * np.arange(16).reshape(4, 4))},
    ),
}  # fmt: skip

CONVOLUTIONS = {
    "correlation of images": Case(
        correlate2, correlate2_back, [X44, KERNEL],
        {
            "convolution: kernel turned on the way back": lambda g, x, k: correlate2_back(g, x, k, turned=False),
            "convolution: gradient of the kernel flipped": lambda g, x, k: correlate2_back(g, x, k, flip=True),
        },
    ),
    "dilated correlation": Case(
        dilated, dilated_back, [normal(8), TAPS],
        {"convolution: dilation forgotten on the way back": lambda g, x, k: dilated_back(g, x, k, 1)},
    ),
    "causal filter": Case(
        lambda x: np.convolve(x, TAPS)[:6], lambda g, x: np.correlate(np.pad(g, (0, 2)), TAPS, "valid"), [X6],
        {
            "convolution: future for past": lambda g, x: np.convolve(g, TAPS)[:6],
            "padding: last taps cut off": lambda g, x: np.correlate(np.pad(g, (1, 1)), TAPS, "valid"),
        },
    ),
    "strided filter": Case(
        lambda x: unrolled(x)[::2] @ TAPS,
        lambda g, x: put(x, np.arange(0, 4, 2)[:, None] + np.arange(3), g[:, None] * TAPS), [X6],
        {"convolution: stride forgotten": lambda g, x: put(x, np.arange(2)[:, None] + np.arange(3), g[:, None] * TAPS)},
    ),
    "pooling": Case(
        pooled, pooled_back, [apart(4, 4)],
        {"permutation: tiled for repeated in pooling": lambda g, x: pooled_back(g, x, tile=True)}
    ),
    "reflected padding": Case(
        reflected, reflected_back, [X6],
        {
            "padding: what is reflected not added": lambda g, x: g[2:-2],
            "padding: reflected about the edge": lambda g, x: reflected_back(g, x, 0),
        },
    ),
    "zero padding": Case(
        lambda x: np.pad(x, 1) * np.arange(36).reshape(6, 6),
        lambda g, x: (g * np.arange(36).reshape(6, 6))[1:-1, 1:-1], [X44],
        {"padding: cropped at one side": lambda g, x: (g * np.arange(36).reshape(6, 6))[2:, 2:]},
    ),
    "wrapped padding": Case(
        lambda x: np.concatenate([x[-2:], x, x[:2]]) ** 2,
        lambda g, x: 2 * x * (g[2:-2] + put(x, [-2, -1], g[:2]) + put(x, [0, 1], g[-2:])), [X6],
        {"padding: ends wrapped to their own side": lambda g, x: 2 * x * (
            g[2:-2] + put(x, [0, 1], g[:2]) + put(x, [-2, -1], g[-2:]))},
    ),
    "transposed filter": Case(
        lambda x: np.convolve(put(np.zeros(7, x.dtype), slice(None, None, 2), x), TAPS),
        lambda g, x: np.correlate(g, TAPS, "valid")[::2], [normal(4)],
        {"convolution: inserted zeros not skipped": lambda g, x: np.correlate(g, TAPS, "valid")[:4]},
    ),
}  # fmt: skip

CASES = {**WINDOWS, **SCATTERS, **TRANSPOSES, **CONVOLUTIONS}
