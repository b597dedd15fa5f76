"""Properties that hold for every program: gradients of random compositions of ops, on shapes that broadcast."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
from differences import EPS, assert_slope, slope

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor
from tinygrad_mlp.core.tracer import Tracer, tracing
from tinygrad_mlp.nn.functional import softmax

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
shapes_of_arrays = pytest.importorskip("hypothesis.extra.numpy").mutually_broadcastable_shapes

Array = np.ndarray[Any, Any]
Op = Callable[[Any, Any, Any, int], Any]
LARGEST = 200


def fitted(x: Any, y: Any) -> Any:
    """Return y if it broadcasts with x, else its sum, which always does."""
    try:
        np.broadcast_shapes(tuple(x.shape), tuple(y.shape))
    except ValueError:
        return y.sum()
    return y


def along(k: int, x: Any) -> int:
    return k % x.ndim


MOVES: dict[str, Op] = {
    "swap": lambda m, x, y, k: x.swapaxes(along(k, x), -1) if x.ndim else x,
    "flatten": lambda m, x, y, k: x.reshape(-1),
    "expand": lambda m, x, y, k: x[None] if k % 2 else x[..., None],
    "slice": lambda m, x, y, k: x[k % 3 :] if x.ndim else x,
    "step": lambda m, x, y, k: x[..., :: 1 + k % 3] if x.ndim else x,
    "flip": lambda m, x, y, k: m.flip(x, (along(k, x),)) if x.ndim else x,
    "repeat": lambda m, x, y, k: x[[0, -1, 0]] if x.ndim and len(x) else x,
    "sum": lambda m, x, y, k: x.sum(along(k, x)) if x.ndim else x.sum(),
    "total": lambda m, x, y, k: x.sum(),
    "join": lambda m, x, y, k: m.concatenate((x, x + 1), along(k, x)) if x.ndim else x,
}
EXACT: dict[str, Op] = {
    "add": lambda m, x, y, k: x + fitted(x, y),
    "subtract": lambda m, x, y, k: x - fitted(x, y),
    "multiply": lambda m, x, y, k: x * fitted(x, y),
    "double": lambda m, x, y, k: 2 * x + x,
    **MOVES,
}
ANALYTIC: dict[str, Op] = {
    **EXACT,
    "sin": lambda m, x, y, k: m.sin(x),
    "tanh": lambda m, x, y, k: m.tanh(x),
    "exp": lambda m, x, y, k: m.exp(m.sin(x)),
    "log": lambda m, x, y, k: m.log(1.5 + m.tanh(x)),
    "sqrt": lambda m, x, y, k: m.sqrt(2 + m.cos(x)),
    "reciprocal": lambda m, x, y, k: 1 / (1.5 + m.sin(x)),
    "power": lambda m, x, y, k: m.tanh(x) ** (2 + k % 2),
    "divide": lambda m, x, y, k: x / (2 + m.sin(fitted(x, y))),
    "mean": lambda m, x, y, k: x.mean(along(k, x), keepdims=True) if x.ndim and 0 not in x.shape else x,
    "matmul": lambda m, x, y, k: m.matmul(m.tanh(x), m.tanh(x).swapaxes(-1, -2)) if x.ndim > 1 else x,
    "outer": lambda m, x, y, k: m.tanh(x).reshape(-1, 1) * m.tanh(y).reshape(1, -1),
}
KINKED: dict[str, Op] = {
    **ANALYTIC,
    "abs": lambda m, x, y, k: m.abs(x),
    "maximum": lambda m, x, y, k: m.maximum(x, fitted(x, y)),
    "relu": lambda m, x, y, k: tg.functional.relu(x) if m is np else m.relu(x),
    "where": lambda m, x, y, k: m.where(x > 0.1, x, -2 * x),
    "clip": lambda m, x, y, k: m.clip(x, -0.7, 0.9),
}


class Program(NamedTuple):
    """Steps, each of which appends op(values[i], values[j]) to the values, which begin as the inputs."""

    ops: dict[str, Op]
    shapes: tuple[tuple[int, ...], ...]
    seed: int
    steps: list[tuple[str, int, int, int]]

    def __repr__(self) -> str:
        return f"shapes {self.shapes}, seed {self.seed}, steps {self.steps}"

    def values(self, inputs: Sequence[Any], m: Any = np) -> list[Any]:
        """Return the inputs and what each step makes of them, with the functions of a module like NumPy."""
        values = list(inputs)
        for name, i, j, k in self.steps:
            out = self.ops[name](m, values[i % len(values)], values[j % len(values)], k)
            out = out if hasattr(out, "shape") else np.array(out)
            if np.prod(out.shape) <= LARGEST:
                values.append(out)
        return values

    def run(self, inputs: Sequence[Any], m: Any = np) -> Any:
        """Return the last value, plus a share of the sum of every other."""
        values = self.values(inputs, m)
        return values[-1] + sum(0.5 ** (i + 1) * v.sum() for i, v in enumerate(values[:-1]))

    def draw(self) -> list[Array]:
        rng = np.random.default_rng(self.seed)
        return [np.asarray(rng.uniform(-1.5, 1.5, shape)) for shape in self.shapes]

    def directions(self, count: int = 1) -> list[list[Array]]:
        rng = np.random.default_rng(self.seed + 1)
        return [[np.asarray(rng.uniform(-1, 1, shape)) for shape in self.shapes] for _ in range(count)]


@st.composite
def programs(draw: Any, ops: dict[str, Op]) -> Program:
    shapes = draw(shapes_of_arrays(num_shapes=draw(st.integers(1, 3)), min_side=0, max_side=4, max_dims=4)).input_shapes
    hypothesis.assume(all(np.prod(shape) <= 60 for shape in shapes))
    number = st.integers(0, 11)
    steps = draw(st.lists(st.tuples(st.sampled_from(sorted(ops)), number, number, number), min_size=1, max_size=8))
    return Program(ops, shapes, draw(st.integers(0, 2**16)), steps)


def leaves(arrays: Sequence[Array]) -> list[Tensor]:
    return [Tensor(a, requires_grad=True) for a in arrays]


def dot(xs: Sequence[Any], ys: Sequence[Any]) -> Any:
    return sum(((x * y).sum() for x, y in zip(xs, ys, strict=True) if x is not None), 0.0)


def gradient(program: Program, inputs: Sequence[Array], scale: float = 1.0) -> list[Array]:
    ts = leaves(inputs)
    slopes = tg.grad((program.run(ts) * scale).sum(), ts, allow_unused=True)
    return [np.zeros(t.shape) if g is None else g.numpy() for t, g in zip(ts, slopes, strict=True)]


def assert_near(ours: Sequence[Any], theirs: Sequence[Any], rtol: float) -> None:
    """Assert that lists of arrays differ by no more than a share of the largest element."""
    size = max((np.abs(b).max(initial=0.0) for b in theirs), default=0.0)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * size)


def reverse_mode_equals_differences(program: Program) -> None:
    inputs, (d,) = program.draw(), program.directions()
    numeric = slope(lambda x: program.run(x).sum(), inputs, d)
    hypothesis.assume(float(numeric.error) <= 1e-8 * numeric.size)  # no kink or pole near
    assert_slope(np.asarray(dot(gradient(program, inputs), d)), numeric, repr(program))


def reverse_mode_equals_complex_step(program: Program) -> None:
    inputs = program.draw()
    places = [(i, place) for i, x in enumerate(inputs) for place in np.ndindex(x.shape)]
    numeric, slopes = [], gradient(program, inputs)
    for i, place in places[:12]:
        steps = [x.astype(complex) for x in inputs]
        steps[i][place] += 1e-30j
        numeric.append(program.run([Tensor(x) for x in steps]).sum().data.imag * 1e30)
    assert_near([slopes[i][place] for i, place in places[:12]], numeric, 1e-12)


def forward_mode_is_the_vjp_of_the_vjp(program: Program) -> None:
    """The gradient of (J^T v) . d by v is J d; it agrees with differences, and v . J d with (J^T v) . d."""
    inputs, (d,) = program.draw(), program.directions()
    ts = leaves(inputs)
    y = program.run(ts)
    v = Tensor(np.random.default_rng(program.seed).uniform(-1, 1, y.shape), requires_grad=True)
    pulled = tg.grad(y, ts, v, create_graph=True, allow_unused=True)
    product = dot(pulled, d)
    (pushed,) = tg.grad(product, v)
    assert_slope(pushed.numpy(), slope(program.run, inputs, d), repr(program))
    size = sum(np.abs(a).sum() for a in (v * pushed).detach().numpy().ravel())
    assert abs(dot([v], [pushed]).item() - product.item()) <= 64 * EPS * max(1.0, size)


class Terms(Tracer):
    """Keeps what ops give; on the way back, adds up the size of each contribution to the derivative along a line."""

    def __init__(self, tangents: dict[Any, Array]) -> None:
        self.results: list[Any] = []
        self.tangents, self.size = tangents, 0.0

    def op(self, rule: Any, inputs: Any, keywords: Any, result: Any) -> None:
        self.results.append(result)

    def gradient_of(self, t: Any, g: Any) -> None:
        if t in self.tangents:
            self.size += float(np.abs(g.data * self.tangents[t]).sum())


def size_of_terms(program: Program, inputs: Sequence[Array], u: Sequence[Array], v: Sequence[Array]) -> float:
    """Return how large the terms of u H v are before they cancel, wherever in the second pass back they do.

    A rounding error in a contribution g to the gradient of a value t changes u H v by as much as it changes g . dt,
    for the tangent dt of t along v: so that sum |g . dt| over all contributions bounds what rounding does, times EPS.
    Tangents are differences, whose few digits are enough for a bound.
    """

    def first(step: float) -> tuple[list[Tensor], list[Any], Any]:
        ts = leaves([np.asarray(x + step * d) for x, d in zip(inputs, v, strict=True)])
        with tracing(Terms({})) as terms:
            slopes = tg.grad(program.run(ts).sum(), ts, create_graph=True, allow_unused=True)
            return ts, terms.results, dot(slopes, u)

    step = 2.0**-12
    (ts, middle, y), above, below = first(0.0), first(step)[1], first(-step)[1]
    if not (isinstance(y, Tensor) and y.requires_grad):
        return 0.0
    tangents = {t: (a.data - b.data) / (2 * step) for t, a, b in zip(middle, above, below, strict=True)}
    with tracing(Terms(tangents | dict(zip(ts, v, strict=True)))) as terms:
        tg.grad(y, ts, allow_unused=True)
    return terms.size


def second_derivatives_are_symmetric_and_equal_differences(program: Program) -> None:
    inputs, (u, v) = program.draw(), program.directions(2)

    def curvature(x: Sequence[Array], direction: Sequence[Array]) -> list[Array]:
        ts = leaves(x)
        first = dot(tg.grad(program.run(ts).sum(), ts, create_graph=True, allow_unused=True), direction)
        if not (isinstance(first, Tensor) and first.requires_grad):
            return [np.zeros(t.shape) for t in ts]
        second = tg.grad(first, ts, allow_unused=True)
        return [np.zeros(t.shape) if g is None else g.numpy() for t, g in zip(ts, second, strict=True)]

    hu, hv = curvature(inputs, u), curvature(inputs, v)
    size = size_of_terms(program, inputs, u, v) + size_of_terms(program, inputs, v, u)
    assert abs(dot(hu, v) - dot(hv, u)) <= 4 * EPS * size
    numeric = slope(lambda x: np.concatenate([np.ravel(g) for g in gradient(program, x)]), inputs, v)
    assert_slope(np.concatenate([np.ravel(h) for h in hv]), numeric, repr(program))


class Dual:
    """An exact number a + b eps with eps**2 = 0: b carries the derivative."""

    def __init__(self, value: Any, slope: Any = 0) -> None:
        self.value, self.slope = Fraction(value), Fraction(slope)

    def __add__(self, other: Any) -> Dual:
        if isinstance(other, np.ndarray):
            return NotImplemented
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other: Any) -> Dual:
        if isinstance(other, np.ndarray):
            return NotImplemented
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def __sub__(self, other: Any) -> Dual:
        return self + other * -1

    def __rsub__(self, other: Any) -> Dual:
        return self * -1 + other

    __radd__, __rmul__ = __add__, __mul__


def sums_and_products_are_exact(program: Program) -> None:
    rng = np.random.default_rng(program.seed)
    inputs = [rng.integers(-3, 4, shape).astype(float) for shape in program.shapes]
    slopes = gradient(program, inputs)
    for i, x in enumerate(inputs):
        for place in list(np.ndindex(x.shape))[:6]:
            duals = [np.array([Dual(n) for n in np.ravel(a)], object).reshape(a.shape) for a in inputs]
            duals[i][place] = Dual(x[place], 1)
            numbers = [Dual(0) + n for v in program.values(duals) for n in np.ravel(v)]
            hypothesis.assume(all(abs(n.value) < 2**40 for n in numbers))
            total = Dual(0) + np.sum(program.run(duals))
            assert Fraction(float(slopes[i][place])) == total.slope
    assert Fraction(float(np.sum(program.run(inputs)))) == Fraction(
        program.run([Tensor(x) for x in inputs]).sum().item()
    )


def a_scale_of_two_scales_the_gradient_exactly(program: Program) -> None:
    inputs = program.draw()
    once = gradient(program, inputs)
    for exponent in (-40, -1, 3, 60):
        for a, b in zip(gradient(program, inputs, 2.0**exponent), once, strict=True):
            assert (a == b * 2.0**exponent).all()


def identities_change_no_bit(program: Program) -> None:
    inputs = program.draw()
    expected = gradient(program, inputs)
    for identity in (
        lambda x: x * 1,
        lambda x: -(-x),
        lambda x: np.transpose(np.transpose(x)),
        lambda x: x[None][0],
        lambda x: x.reshape(-1).reshape(x.shape),
        lambda x: np.where(np.ones(x.shape, bool), x, 0.0),
    ):
        ts = leaves(inputs)
        slopes = tg.grad(program.run([identity(t) for t in ts]).sum(), ts, allow_unused=True)
        for a, b in zip(slopes, expected, strict=True):
            assert (np.zeros_like(b) if a is None else a.numpy()).tobytes() == (b + 0).tobytes()


def a_batch_is_the_sum_of_its_parts(data: Any) -> None:
    n, split = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    x, w = rng.normal(size=(n, 3)), Tensor(rng.normal(size=(3, 4)), requires_grad=True)

    def slopes(rows: Array) -> tuple[Array, Array]:
        t = Tensor(rows, requires_grad=True)
        loss = (softmax(np.tanh(t @ w), 1) ** 2).sum()
        return tuple(g.numpy() for g in tg.grad(loss, (t, w)))

    (whole_x, whole_w), parts = slopes(x), [slopes(x[:split]), slopes(x[split:])]
    rounding = 16 * EPS * max(np.abs(w.data).sum(), np.abs(x).sum())  # of the terms that the products add up
    assert np.abs(whole_x - np.concatenate([p[0] for p in parts])).max(initial=0) <= rounding
    assert np.abs(whole_w - parts[0][1] - parts[1][1]).max(initial=0) <= rounding


def pytorch_agrees(program: Program) -> None:
    torch = pytest.importorskip("torch")
    inputs = program.draw()
    ts = [torch.tensor(x, requires_grad=True) for x in inputs]
    y = program.run(ts, torch).sum()
    theirs = [np.zeros(t.shape) for t in ts]
    if y.requires_grad:
        slopes = torch.autograd.grad(y, ts, allow_unused=True)
        theirs = [z if g is None else g.numpy() for z, g in zip(theirs, slopes, strict=True)]
    assert_near([program.run([Tensor(x) for x in inputs]).sum().numpy()], [y.detach().numpy()], 1e-12)
    assert_near(gradient(program, inputs), theirs, 1e-12)


PROPERTIES: dict[Callable[[Any], None], Any] = {
    reverse_mode_equals_differences: programs(KINKED),
    reverse_mode_equals_complex_step: programs(ANALYTIC),
    forward_mode_is_the_vjp_of_the_vjp: programs(ANALYTIC),
    second_derivatives_are_symmetric_and_equal_differences: programs(ANALYTIC),
    sums_and_products_are_exact: programs(EXACT),
    a_scale_of_two_scales_the_gradient_exactly: programs(KINKED),
    identities_change_no_bit: programs(KINKED),
    a_batch_is_the_sum_of_its_parts: st.data(),
    pytorch_agrees: programs(KINKED),
}
every_property = pytest.mark.parametrize("holds", PROPERTIES, ids=lambda f: f.__name__)


def check(holds: Callable[[Any], None], examples: int) -> None:
    """Try a property on that many examples, in CI on the same ones each time."""
    options = settings(
        max_examples=examples,
        deadline=None,
        derandomize="CI" in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    options(given(PROPERTIES[holds])(holds))()


@every_property
@pytest.mark.parametrize("examples", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_property(holds: Callable[[Any], None], examples: int) -> None:
    check(holds, examples)


def test_second_derivatives_that_cancel_are_symmetric() -> None:
    """Here the terms are thousands of times as large as their sum."""
    program = Program(ANALYTIC, ((), ()), 1085, [("sin", 0, 0, 0), ("add", 0, 2, 0), ("reciprocal", 2, 0, 0)])
    assert np.isfinite(program.run(program.draw())).all()
    second_derivatives_are_symmetric_and_equal_differences(program)


@pytest.mark.slow
@every_property
def test_property_on_many_examples(holds: Callable[[Any], None]) -> None:
    check(holds, 5000)
