"""Random compositions of correct functions: what a checker of gradients must never call wrong.

`composition` draws one for each number: of a family, with inputs. All are continuous and finite where they are tried,
and made of functions of this package, whose rules other tests prove.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, nn
from tinygrad_mlp import functional as F

from .base import Array

Rng = np.random.Generator
Function = Callable[..., Any]


class Composition(NamedTuple):
    """A correct function of Tensors or of a module, and what it is checked with."""

    seed: int
    family: str
    f: Function
    inputs: Any

    def __repr__(self) -> str:
        return f"composition({self.seed}), {self.family}"


def fitted(x: Any, y: Any) -> Any:
    """Return y if it has the shape of x, else its mean."""
    return y if y.shape == x.shape else y.mean()


def square(x: Any) -> Any:
    """Return a matrix made of x that can be solved with."""
    a = np.tanh(np.reshape(x, (-1,))[:4])
    return np.outer(a, a) + 2 * np.eye(a.shape[0])


SMOOTH: dict[str, Function] = {
    "add": lambda x, y, k: x + fitted(x, y),
    "subtract": lambda x, y, k: x - fitted(x, y),
    "multiply": lambda x, y, k: x * np.tanh(fitted(x, y)),
    "divide": lambda x, y, k: x / (2 + np.sin(fitted(x, y))),
    "sin": lambda x, y, k: np.sin(x),
    "cos": lambda x, y, k: np.cos(x),
    "tanh": lambda x, y, k: np.tanh(x),
    "arctan": lambda x, y, k: np.arctan(x),
    "exp": lambda x, y, k: np.exp(np.sin(x)),
    "log": lambda x, y, k: np.log(1.5 + np.tanh(x)),
    "sqrt": lambda x, y, k: np.sqrt(1 + x * x),
    "reciprocal": lambda x, y, k: 1 / (1.5 + np.sin(x)),
    "power": lambda x, y, k: np.tanh(x) ** (2 + k % 3),
    "power of two": lambda x, y, k: (1.5 + np.sin(x)) ** np.tanh(fitted(x, y)),
    "logaddexp": lambda x, y, k: np.logaddexp(x, fitted(x, y)),
    "hypot": lambda x, y, k: np.hypot(x, 1 + fitted(x, y) ** 2),
    "sigmoid": lambda x, y, k: F.sigmoid(x),
    "softplus": lambda x, y, k: F.softplus(x),
    "gelu": lambda x, y, k: F.gelu(x),
    "softmax": lambda x, y, k: F.softmax(x),
    "log softmax": lambda x, y, k: F.log_softmax(x),
    "logsumexp": lambda x, y, k: np.reshape(F.logsumexp(x, axis=-1), (-1,)),
    "layer norm": lambda x, y, k: F.layer_norm(x, x.shape[-1:]),
    "centre": lambda x, y, k: x - x.mean(axis=-1, keepdims=True),
    "scale to one": lambda x, y, k: x / np.sqrt((x * x).sum() + 0.1),
    "standardise": lambda x, y, k: (x - x.mean()) / (0.1 + np.std(x + np.linspace(0, 3, x.shape[-1]))),
    "sum": lambda x, y, k: x.sum(axis=-1, keepdims=True),
    "mean": lambda x, y, k: x.mean(axis=k % x.ndim, keepdims=True),
    "var": lambda x, y, k: x.var(axis=-1, keepdims=True) + x,
    "cumsum": lambda x, y, k: np.cumsum(x, axis=-1),
    "prod": lambda x, y, k: np.prod(1 + np.tanh(x) / 2, axis=-1, keepdims=True),
    "matmul": lambda x, y, k: np.matmul(np.reshape(np.tanh(x), (-1, 1)), np.reshape(np.tanh(y), (1, -1)))[:3, :3],
    "solve": lambda x, y, k: np.linalg.solve(square(x), np.ones(min(4, math.prod(x.shape)))),
    "flip": lambda x, y, k: x[..., ::-1] * 1.5,
    "repeat": lambda x, y, k: x[..., [0, -1, 0]],
    "roll": lambda x, y, k: np.roll(x, 1, axis=-1) * x,
    "flatten": lambda x, y, k: np.reshape(x, (-1,)),
    "join": lambda x, y, k: np.concatenate([x, np.sin(x)], axis=-1),
}  # fmt: skip
KINKED: dict[str, Function] = {
    "abs": lambda x, y, k: np.abs(x),
    "relu": lambda x, y, k: F.relu(x),
    "leaky relu": lambda x, y, k: F.leaky_relu(x, 0.1),
    "maximum": lambda x, y, k: np.maximum(x, fitted(x, y)),
    "minimum": lambda x, y, k: np.minimum(x, 0.5),
    "where": lambda x, y, k: np.where(x > 0, x, -2 * x),
    "clip": lambda x, y, k: np.clip(x, -0.5, 1.0),
    "max": lambda x, y, k: np.max(x, axis=-1, keepdims=True),
    "min": lambda x, y, k: np.min(x, axis=-1, keepdims=True),
    "sort": lambda x, y, k: np.sort(x, axis=-1),
    "huber": lambda x, y, k: F.huber_loss(x, np.zeros(x.shape), reduction="none"),
    "relu squared": lambda x, y, k: F.relu(x) * x,
}
LINEAR = {name: SMOOTH[name] for name in ("add", "subtract", "flip", "repeat", "flatten")}


def program(rng: Rng, ops: dict[str, Function], shapes: Sequence[tuple[int, ...]], longest: int = 6) -> Function:
    """Return a function that takes so many inputs through some steps, and adds a little of each value to the last."""
    names, numbers = sorted(ops), rng.integers(0, 12, (int(rng.integers(1, longest + 1)), 3)).tolist()
    steps = [(ops[names[int(rng.integers(len(names)))]], *three) for three in numbers]

    def f(*inputs: Any) -> Any:
        values = list(inputs)
        for op, i, j, k in steps:
            x = op(values[-1 - i % min(3, len(values))], values[j % len(values)], k)
            values += [x] if 0 < math.prod(x.shape) <= 24 else []
        return values[-1] + sum(0.5 ** (k + 1) * v.sum() for k, v in enumerate(values[:-1]))

    return f


def shapes_of(rng: Rng) -> list[tuple[int, ...]]:
    side = lambda: int(rng.integers(1, 4))
    shape = (side() + 1,) if rng.random() < 0.5 else (side(), side())
    return [shape, shape, (side(),)][: int(rng.integers(1, 4))]


def uniform(rng: Rng, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    return [rng.uniform(-2, 2, shape) for shape in shapes]


def smooth(rng: Rng) -> tuple[Function, Any]:
    shapes = shapes_of(rng)
    return program(rng, SMOOTH, shapes), uniform(rng, shapes)


def kinked(rng: Rng) -> tuple[Function, Any]:
    shapes = shapes_of(rng)
    return program(rng, {**SMOOTH, **KINKED}, shapes), uniform(rng, shapes)


def on_kinks(rng: Rng) -> tuple[Function, Any]:
    """Halves are where the kinked functions have their kinks, and there are ties among them."""
    shapes = shapes_of(rng)
    return program(rng, {**LINEAR, **KINKED}, shapes, 4), [np.round(2 * a) / 2 for a in uniform(rng, shapes)]


def near_kinks(rng: Rng) -> tuple[Function, Any]:
    f, inputs = on_kinks(rng)
    return f, [a + 10.0 ** -rng.uniform(2, 6) * rng.uniform(-1, 1, a.shape) for a in inputs]


def two_kinks(rng: Rng) -> tuple[Function, Any]:
    a = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], 3)
    f = [
        lambda x, y: np.clip(np.maximum(x, y), -1, 1),
        lambda x, y: np.maximum(np.minimum(x, y), 0.5),
        lambda x, y: F.relu(np.abs(x - y)) + np.maximum(x, -y),
        lambda x, y: np.max(np.stack([x, y, F.relu(x)]), axis=0),
    ][int(rng.integers(4))]
    return lambda x, y: f(x, y).sum(), [a, np.where(rng.random(3) < 0.6, a, a[::-1])]


def rescaled(rng: Rng) -> tuple[Function, Any]:
    """A program whose inputs are of other sizes than 1, and its result too."""
    f, inputs = smooth(rng) if rng.random() < 0.7 else kinked(rng)
    sizes, scale = 10.0 ** rng.uniform(-8, 8, len(inputs)), 10.0 ** rng.uniform(-12, 12)
    return lambda *xs: scale * f(*(x / s for x, s in zip(xs, sizes, strict=True))), [
        a * s for a, s in zip(inputs, sizes, strict=True)
    ]


def steep(rng: Rng) -> tuple[Function, Any]:
    x, big = rng.uniform(0.5, 2, 3), 10.0 ** rng.uniform(1, 3)
    return [
        (lambda x: np.sin(big * x), x),
        (lambda x: 1 / x, x / big),
        (lambda x: np.log(x), x * 10.0 ** rng.uniform(-30, 30)),
        (lambda x: np.sqrt(x), x * 10.0 ** rng.uniform(-20, 20)),
        (lambda x: np.exp(-big * x * x).sum(), x / math.sqrt(big)),
        (lambda x: np.sin(x), x + 10 * big),
        (lambda x: x ** -3.0, x / big),
        (lambda x: np.exp(x).sum(), 300 * (x - 1.2)),
        (lambda x: np.linalg.norm(x), x * 10.0 ** rng.uniform(-100, 100)),
        (lambda x: (10.0 ** -np.arange(0, 9, 3) * x).sum(), x),
        (lambda x: (x ** 4).sum(), x * 10.0 ** rng.uniform(-30, 30)),
        (lambda x: F.logsumexp(x, axis=-1), x * big),
        (lambda x: F.sigmoid(x), x * 15 - 20),
    ][int(rng.integers(13))]  # fmt: skip


def normalised(rng: Rng) -> tuple[Function, Any]:
    """Sums over what was normalised, whose gradient is zero but for rounding, plain or weighted."""
    rows, columns = int(rng.integers(2, 5)), int(rng.integers(2, 6))
    layer, batch = nn.LayerNorm(columns, dtype=np.float64), nn.BatchNorm1d(columns, dtype=np.float64)
    weights = rng.normal(size=(rows, columns)) if rng.random() < 0.4 else np.ones((rows, columns))
    f = [
        layer,
        batch,
        lambda x: x - x.mean(),
        lambda x: x - x.mean(axis=0),
        F.softmax,
        lambda x: F.softmax(x, axis=0),
        lambda x: (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3),
        lambda x: x / np.sqrt((x * x).sum(axis=-1, keepdims=True)),
        lambda x: layer(batch(x)),
        lambda x: F.softmax(layer(x)),
    ][int(rng.integers(10))]
    return lambda x: (f(x) * weights).sum(), rng.normal(size=(rows, columns)) * 10.0 ** rng.uniform(-1, 1)


def modules(rng: Rng) -> tuple[Function, Any]:
    """A small network and a loss, by the parameters."""
    seed, labels = int(rng.integers(1000)), rng.integers(0, 2, 4)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    norm = [nn.BatchNorm1d, nn.LayerNorm][int(rng.integers(2))](2, dtype=np.float64)
    activation = [nn.Tanh(), nn.ReLU(), nn.GELU(), nn.Sigmoid()][int(rng.integers(4))]
    loss = [
        lambda z: F.cross_entropy(z, labels),
        lambda z: F.mse_loss(z, y),
        lambda z: F.huber_loss(z, y),
        lambda z: F.binary_cross_entropy_with_logits(z, F.sigmoid(y)),
        lambda z: z.sum(),
    ][int(rng.integers(5))]
    linear = lambda i, k: nn.Linear(i, 2, rng=seed + k, dtype=np.float64)
    layers = [linear(3, 0), norm] if rng.random() < 0.5 else [linear(3, 0), norm, activation, linear(2, 1)]
    return lambda model: loss(model(x)), nn.Sequential(*layers)


def flat(rng: Rng) -> tuple[Function, Any]:
    """Functions whose gradient is zero, in part or in all."""
    x, (f, inputs) = rng.uniform(0.5, 2, 4), smooth(rng)
    return [
        (lambda x: F.relu(-x).sum(), x),
        (lambda x: np.sin(x)[:2].sum(), x),
        (lambda x: (x - x).sum(), x),
        (lambda x: np.sign(x) * 2.0 + 0 * x, x),
        (lambda x: np.cos(x).sum(), np.zeros(3)),
        (lambda x: (x ** 3).sum(), np.zeros(3)),
        (lambda x: np.tanh(x).sum(), 40 + x),
        (lambda x: np.clip(x, -1, 1).sum(), 2 + x),
        (lambda x: (np.sin(x) ** 2 + np.cos(x) ** 2).sum(), x),
        (lambda *xs: f(*xs) * 0.0, inputs),
        (lambda x: np.exp(-x * x).sum(), 8 + x),
        (lambda x: np.prod(x), np.array([0.0, 1.5, 0.0, 2.0])),
        (lambda x: F.softmax(x)[0], np.array([-60.0, 0.0, 60.0])),
    ][int(rng.integers(13))]  # fmt: skip


def cancelling(rng: Rng) -> tuple[Function, Any]:
    """What loses digits by its own nature, though its gradient does not."""
    x, n = rng.uniform(-2, 2, 3), int(rng.integers(3, 9))
    offset, hilbert = 10.0 ** rng.uniform(3, 8), 1 / (np.arange(n)[:, None] + np.arange(n) + 1.0)
    return [
        (lambda x: ((offset + np.sin(x)) - offset).sum(), x),
        (lambda x: offset + np.exp(x), x),
        (lambda x: np.log(1 + np.exp(x)).sum(), x - rng.uniform(15, 32)),
        (lambda b: np.linalg.solve(hilbert, b).sum(), rng.normal(size=n)),
        (lambda x: (np.sin(x) + 1e-9 * np.sin(1e4 * x)).sum(), x),
        (lambda x: ((x + 1e4) ** 2 - 1e8 - 2e4 * x).sum(), x),
        (lambda x: (1 - np.cos(x)).sum(), x * 1e-4),
        (lambda x: ((np.exp(x) - 1) / x).sum(), (x + 3) * 1e-2),
    ][int(rng.integers(8))]  # fmt: skip


def single_inputs(rng: Rng) -> tuple[Function, Any]:
    f, inputs = kinked(rng)
    return f, [a.astype(np.float32) for a in inputs]


def single_inside(rng: Rng) -> tuple[Function, Any]:
    f, inputs = smooth(rng)
    return lambda *xs: f(*(x.astype(np.float32) for x in xs)).astype(np.float64), inputs


FAMILIES: dict[str, tuple[Function, float]] = {
    "smooth": (smooth, 0.22),
    "kinked": (kinked, 0.14),
    "on kinks": (on_kinks, 0.13),
    "near kinks": (near_kinks, 0.08),
    "two kinks": (two_kinks, 0.04),
    "rescaled": (rescaled, 0.10),
    "steep": (steep, 0.06),
    "normalised": (normalised, 0.10),
    "modules": (modules, 0.03),
    "flat": (flat, 0.03),
    "cancelling": (cancelling, 0.015),
    "float32 inputs": (single_inputs, 0.05),
    "float32 inside": (single_inside, 0.005),
}
"""The families, and which share of all compositions each has."""


def normal(rng: Rng, *shape: int) -> Array:
    return np.asarray(rng.normal(size=shape))


KNOWN: dict[str, Callable[[Rng], tuple[Function, Any]]] = {
    "sum of a LayerNorm": lambda rng: (lambda x: nn.LayerNorm(5, dtype=np.float64)(x).sum(), normal(rng, 3, 5)),
    "sum of a BatchNorm1d": lambda rng: (lambda x: nn.BatchNorm1d(3, dtype=np.float64)(x).sum(), normal(rng, 5, 3)),
    "sum of what is centred": lambda rng: (lambda x: (x - x.mean()).sum(), normal(rng, 6)),
    "Linear and BatchNorm1d": lambda rng: (
        lambda model, x=normal(rng, 8, 5): model(x).sum(),
        nn.Sequential(nn.Linear(5, 6, rng=rng, dtype=np.float64), nn.BatchNorm1d(6, dtype=np.float64)),
    ),
    "loss of Linear and BatchNorm1d": lambda rng: (
        lambda model, x=normal(rng, 8, 5): F.cross_entropy(model(x), np.arange(8) % 6),
        nn.Sequential(nn.Linear(5, 6, rng=rng, dtype=np.float64), nn.BatchNorm1d(6, dtype=np.float64)),
    ),
    "float32 inside": lambda rng: (
        lambda x: np.sin(x.astype(np.float32)).astype(np.float64) * np.arange(1, 5), normal(rng, 4)),
    "log(1 + exp(x)) near -30": lambda rng: (lambda x: np.log(1 + np.exp(x)).sum(), normal(rng, 4) - 30),
    "(1e8 + sin x) - 1e8": lambda rng: (lambda x: ((1e8 + np.sin(x)) - 1e8).sum(), normal(rng, 4)),
    "Hilbert solve": lambda rng: (
        lambda b: np.linalg.solve(1 / (np.arange(8)[:, None] + np.arange(8) + 1.0), b).sum(), normal(rng, 8)),
    "sin of two rates": lambda rng: (lambda x: (np.sin(x) + 1e-9 * np.sin(1e4 * x)).sum(), normal(rng, 4)),
    "two kinks at once": lambda rng: (
        lambda x, y: np.clip(np.maximum(x, y), -1, 1), [np.array([1.0, -1.0, *normal(rng, 2)])] * 2),
    "maximum of many": lambda rng: (lambda x: np.max(x), np.round(normal(rng, 5))),
}  # fmt: skip
"""Correct functions that checkers have called wrong."""


def gradients(f: Function, arrays: Sequence[Array], upstreams: int = 1) -> list[Array]:
    """Return the gradients for an upstream gradient of one sign, and for so many more of any signs."""
    xs, rng = [Tensor(a, requires_grad=True) for a in arrays], np.random.default_rng(0)
    y, found = f(*xs), list[Array]()
    for k in range(upstreams):
        upstream = Tensor((rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1, 1] if k else [1], y.shape)).astype(y.dtype))
        options: Any = {"allow_unused": True, "retain_graph": True}
        gs = tg.grad(y, xs, upstream, **options) if y.requires_grad else [None] * len(xs)
        found += [np.zeros(a.shape) if g is None else g.numpy() for g, a in zip(gs, arrays, strict=True)]
    return found


def is_sound(f: Function, arrays: Sequence[Array], rng: Rng) -> bool:
    """Return whether f is finite, and its gradient one of those nearby or between them.

    It is not, for example, that of ``relu(x) - relu(-x)`` at 0: 0 by the rules, where every slope nearby is 1.
    """
    with np.errstate(all="ignore"):
        y, found = f(*map(Tensor, arrays)), gradients(f, arrays)
        if not all(np.isfinite(a).all() for a in (y.detach().numpy(), *found)):
            return False
        if all(np.isclose(a, b, rtol=1e-6).all() for a, b in zip(found, gradients(f, moved(arrays, rng)), strict=True)):
            return True
        near = [(x, gradients(f, x)) for x in (moved(arrays, rng) for _ in range(200))]
        regions = {np.concatenate([g.ravel() for g in gs]).round(5).tobytes(): x for x, gs in near}
        more = [gradients(f, x, 25) for x in regions.values()]
        return is_between(found, [gs for _, gs in near]) and is_between(gradients(f, arrays, 25), more)


def is_between(found: Sequence[Array], near: Sequence[Sequence[Array]]) -> bool:
    """Return whether gradients, and their derivatives in some directions, are between those nearby."""
    size = 1e-9 * max(np.abs(a).max(initial=0.0) for a in found)
    for g, others in zip(with_shadows(found), zip(*map(with_shadows, near), strict=True), strict=True):
        low, high = np.min(others, axis=0), np.max(others, axis=0)
        room = 1e-5 * np.maximum(np.abs(low), np.abs(high)) + size
        if not ((low - room <= g) & (g <= high + room)).all():
            return False
    return True


def with_shadows(found: Sequence[Array]) -> list[Array]:
    """Return gradients, and the derivatives along some directions that are the same each time."""
    rng = np.random.default_rng(4)
    return [*found, *(np.array([(g * rng.choice([-1.0, 1.0], g.shape)).sum() for _ in range(8)]) for g in found)]


def moved(arrays: Sequence[Array], rng: Rng) -> list[Array]:
    return [
        a + np.asarray(1e-7 * np.where(a == 0, 1, np.abs(a)) * rng.uniform(-1, 1, a.shape), a.dtype) for a in arrays
    ]


def composition(seed: int) -> Composition:
    """Return one of the compositions, the same for the same number."""
    rng = np.random.default_rng([seed, 9])
    names, shares = list(FAMILIES), np.array([share for _, share in FAMILIES.values()])
    name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    while True:
        f, inputs = FAMILIES[name][0](rng)
        arrays = inputs if isinstance(inputs, (list, nn.Module)) else [inputs]
        if isinstance(arrays, nn.Module) or name == "float32 inside" or is_sound(f, arrays, rng):
            return Composition(seed, name, f, inputs)
