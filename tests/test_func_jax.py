"""Every transform of `tg.func` against JAX in float64, on random functions of random trees."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_mlp as tg

jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

SHAPES = [(), (3,), (2, 3)]
ELEMENTWISE = [
    lambda xp, x: xp.sin(x),
    lambda xp, x: xp.tanh(x) * x,
    lambda xp, x: xp.exp(-x * x),
    lambda xp, x: xp.log1p(x * x),
    lambda xp, x: xp.sqrt(x * x + 1.0),
    lambda xp, x: xp.arctan(x) / (2.0 + xp.cos(x)),
    lambda xp, x: xp.where(x > 0.1, x * x, -0.5 * x),
    lambda xp, x: xp.logaddexp(x, 0.3) - xp.square(x),
    lambda xp, x: x**3 - 1.5 * x,
    lambda xp, x: xp.reciprocal(x * x + 2.0),
]
JOINS = [
    lambda xp, x, y: x * y,
    lambda xp, x, y: x + xp.sin(y),
    lambda xp, x, y: x / (1.5 + y * y),
    lambda xp, x, y: xp.maximum(x, y + 0.01),
    lambda xp, x, y: xp.hypot(x + 2.5, y),
    lambda xp, x, y: xp.arctan2(y, x * x + 1.0),
]
SHAPED = [  # of a (2, 3) matrix m, a vector v of 3 and a number s
    lambda xp, m, v, s: m @ v,
    lambda xp, m, v, s: (m.T @ m) @ v,
    lambda xp, m, v, s: xp.einsum("ij,j->i", m, v) * s,
    lambda xp, m, v, s: xp.cumsum(m, axis=1).sum(axis=0),
    lambda xp, m, v, s: xp.concatenate([m[0], v])[::2],
    lambda xp, m, v, s: xp.linalg.solve(m @ m.T + 3.0 * xp.eye(2), m[:, 0]),
    lambda xp, m, v, s: xp.linalg.norm(m, axis=0) + v,
    lambda xp, m, v, s: xp.var(m, axis=0) * s,
    lambda xp, m, v, s: xp.stack([v, v * s]).reshape(-1)[1:4],
    lambda xp, m, v, s: xp.outer(v, m[1])[:, 0],
    lambda xp, m, v, s: xp.log(xp.linalg.det(m @ m.T + 2.0 * xp.eye(2))),
    lambda xp, m, v, s: xp.flip(m, 1).mean(axis=0) + xp.prod(v + 1.7),
]


class Point(NamedTuple):
    """One of the kinds of trees."""

    left: Any
    right: Any


class Problem:
    """A random function of two trees with a result for each of `SHAPES`, and where to differentiate it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.steps = [
            (self.rng.integers(1000), self.rng.integers(1000, size=4)) for _ in range(self.rng.integers(3, 8))
        ]
        self.first, self.second = self.tree(), self.tree()
        self.scale = self.rng.uniform(0.5, 1.5)

    def array(self, shape: tuple[int, ...]) -> Any:
        return self.rng.uniform(-1.5, 1.5, shape) if shape else float(self.rng.uniform(-1.5, 1.5))

    def tree(self) -> Any:
        m, v, s = (self.array(shape) for shape in ((2, 3), (3,), ()))
        kind = self.rng.integers(4)
        return [(m, [v, s]), {"m": m, "rest": (v, s)}, Point(m, {"v": v, "s": s}), [m, Point(v, s)]][kind]

    def results(self, xp: Any, first: Any, second: Any) -> Any:
        values = [*jax.tree.leaves(first), *jax.tree.leaves(second)] if xp is jnp else [*leaves(first), *leaves(second)]
        by_shape = {shape: [v for v in values if np.shape(v) == shape] for shape in SHAPES}
        for kind, picks in self.steps:
            m, v, s = (by_shape[shape][picks[i] % len(by_shape[shape])] for i, shape in enumerate(((2, 3), (3,), ())))
            a = by_shape[SHAPES[picks[3] % 3]]
            if kind % 3 == 0:
                new = ELEMENTWISE[picks[0] % len(ELEMENTWISE)](xp, a[picks[1] % len(a)])
            elif kind % 3 == 1:
                new = JOINS[picks[0] % len(JOINS)](xp, a[picks[1] % len(a)], a[picks[2] % len(a)])
            else:
                new = SHAPED[picks[3] % len(SHAPED)](xp, m, v, s)
            by_shape.setdefault(np.shape(new), []).append(new)
        newest = {str(len(shape)): group[-1] * self.scale for shape, group in by_shape.items()}
        return {"value": sum(xp.sum(xp.sin(x)) for group in by_shape.values() for x in group[-2:]), "all": newest}

    def value(self, xp: Any) -> Any:
        return lambda *trees: self.results(xp, *trees)["value"]

    def all(self, xp: Any) -> Any:
        return lambda *trees: self.results(xp, *trees)

    def like(self, tree: Any) -> Any:
        """Random numbers in the shapes of a tree."""
        return jax.tree.map(lambda x: self.array(np.shape(x)), tree)


def leaves(tree: Any) -> list[Any]:
    """The leaves in JAX's order, which sorts the keys of a dict."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


def assert_same(ours: Any, theirs: Any, what: str) -> None:
    """Assert that two trees have the same kinds of nodes, and leaves that agree to 1e-10 of the largest."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs), what
    mine, others = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    scale = max([1.0, *(float(np.abs(x).max(initial=0.0)) for x in others)])
    for a, b in zip(mine, others, strict=True):
        assert isinstance(a, (np.ndarray, np.float64)) or what == "aux", (what, type(a))
        assert np.asarray(a).dtype == np.float64
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-10, atol=1e-10 * scale, err_msg=what)


def check(seed: int) -> None:
    p = Problem(seed)
    at = (p.first, p.second)
    tangents, both, one = p.like(at), (0, 1), int(p.rng.integers(2))
    ours, theirs, value, their_value = p.all(np), p.all(jnp), p.value(np), p.value(jnp)
    upstream = p.like(jax.eval_shape(theirs, *at))

    @jax.jit  # compiled as a whole, in a third of the time
    def expected(at: Any, tangents: Any, upstream: Any) -> Any:
        return {
            "grad": jax.grad(their_value, one)(*at),
            "value_and_grad": jax.value_and_grad(their_value, both)(*at),
            "result": theirs(*at),
            "vjp": jax.vjp(theirs, *at)[1](upstream),
            "jvp": jax.jvp(theirs, at, tangents),
            "jacrev": jax.jacrev(theirs, one)(*at),
            "jacfwd": jax.jacfwd(theirs, both)(*at),
            "hessian": jax.hessian(their_value, one)(*at),
            "hvp": jax.jvp(jax.grad(their_value, both), at, tangents)[1],
        }

    y, pull = tg.func.vjp(ours, *at)
    z, push = tg.func.linearize(ours, *at)
    _, aux = tg.func.grad(lambda *a: (value(*a), ours(*a)), one, has_aux=True)(*at)
    want = expected(at, tangents, upstream)
    found = {
        "grad": tg.func.grad(value, one)(*at),
        "value_and_grad": tg.func.value_and_grad(value, both)(*at),
        "result": y,
        "vjp": pull(upstream),
        "jvp": tg.func.jvp(ours, at, tangents),
        "jacrev": tg.func.jacrev(ours, one)(*at),
        "jacfwd": tg.func.jacfwd(ours, both)(*at),
        "hessian": tg.func.hessian(value, one)(*at),
        "hvp": tg.func.hvp(value, both)(*at, tangents),
    }
    for name, tree in want.items():
        assert_same(found[name], tree, f"{name} of function {seed}")
    assert_same(aux, want["result"], "aux")
    assert_same((z, push(*tangents)), want["jvp"], "linearize")


@pytest.fixture(autouse=True)
def float64() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def test_transforms_agree_with_jax() -> None:
    for seed in range(500, 506):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_transforms_agree_with_jax_on_500_functions(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        check(seed)
