"""`tg.func`: what its transforms take and give, how they nest, and what is left of them in a compiled program."""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import numpy as np
import pytest
from draws import name_of
from test_rules import FUNCTIONS, Problem, floats, problems, results

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, func
from tinygrad_mlp.errors import DtypeError, GraphError, ShapeError
from tinygrad_mlp.func import transforms

X = np.array([0.5, -1.5, 2.0])


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass(frozen=True)
class Box:
    held: Any
    size: int = 1


def cubes(x):
    return np.sum(x**3)


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_arrays_give_arrays_and_tensors_give_tensors():
    assert type(func.grad(cubes)(X)) is np.ndarray
    assert type(func.grad(cubes)(2.0)) is np.float64
    assert func.grad(cubes)(X.astype(np.float32)).dtype == np.float32
    for t in (Tensor(X), Tensor(X, requires_grad=True)):
        g = func.grad(cubes)(t)
        assert type(g) is Tensor and g.requires_grad == t.requires_grad
    value, slope = func.value_and_grad(cubes)(Tensor(X))
    assert not value.requires_grad and not slope.requires_grad
    y, pull = func.vjp(np.sin, X)
    assert type(y) is np.ndarray and type(pull(X)[0]) is np.ndarray
    assert all(type(a) is np.ndarray for a in func.jvp(np.sin, (X,), (X,)))
    assert type(func.linearize(np.sin, X)[1](Tensor(X))) is Tensor


def test_trees_of_every_kind():
    first = {"b": X, "a": (2.0, [np.ones((2, 2))])}
    second = OrderedDict(z=Pair(1.5, None), y=Box(np.ones(1, np.float32)))

    def f(p, q):
        return np.sum(p["b"]) * p["a"][0] + np.sum(p["a"][1][0] ** 2) * q["z"].left + np.sum(q["y"].held)

    def boxed(p, q):
        return f(p, {"z": q["z"], "y": q["y"]["held"]})

    g = func.grad(f)(first, second)
    assert list(g) == ["b", "a"] and type(g["a"]) is tuple and type(g["a"][1]) is list
    same(g["b"], [2, 2, 2])
    same(g["a"][1][0], 3 * np.ones((2, 2)))
    held = OrderedDict(z=Pair(1.5, None), y=defaultdict(list, held=Box(np.ones(1, np.float32), size=1.0)))
    g = func.grad(boxed, 1)(first, held)
    assert type(g) is OrderedDict and type(g["y"]) is defaultdict and g["z"] == Pair(4.0, None)
    assert g["y"]["held"].held.dtype == np.float32 and g["y"]["held"].size == 0.0
    assert type(g["y"]["held"]) is Box


def test_argnums_and_aux():
    def f(x, y, scale=1.0):
        return np.sum(x * y) * scale, {"kept": x + y, "text": "t", "n": 3}

    (gx, gy), aux = func.grad(f, argnums=(0, -1), has_aux=True)(X, X + 1, scale=2.0)
    same(gx, 2 * (X + 1))
    same(gy, 2 * X)
    same(aux["kept"], X + X + 1)
    assert (aux["text"], aux["n"]) == ("t", 3) and type(aux["kept"]) is np.ndarray
    (value, _), _ = func.value_and_grad(f, 1, has_aux=True)(X, X)
    same(value, X @ X)
    for transform in (func.jacrev, func.jacfwd, func.hessian):
        assert transform(f, has_aux=True)(X, X)[1]["text"] == "t"
    assert func.hvp(f, has_aux=True)(X, X, X)[1]["n"] == 3
    assert func.vjp(f, X, X, has_aux=True)[2]["n"] == func.linearize(f, X, X, has_aux=True)[2]["n"] == 3
    assert func.jvp(f, (X, X), (X, X), has_aux=True)[2]["n"] == 3


def test_transforms_nest_without_confusion():
    """The derivative by y of x + y is 1, not 2, though both are made of the same Tensor (Siskind, Pearlmutter 2005)."""
    assert func.grad(lambda x: x * func.grad(lambda y: x + y)(x))(3.0) == 1.0
    assert func.grad(lambda x: func.jvp(lambda y: x * y, (x,), (1.0,))[1])(3.0) == 1.0
    assert func.grad(lambda x: func.grad(lambda y: x * y)(1.0))(3.0) == 1.0
    assert func.jvp(lambda x: func.jvp(lambda y: x * y * y, (x,), (1.0,))[1], (3.0,), (1.0,))[1] == 12.0
    x = Tensor(3.0, requires_grad=True)
    assert func.grad(lambda y: x * y * y)(x).item() == 18.0
    assert tg.grad(func.grad(lambda y: x * y * y)(x), x)[0].item() == 12.0
    order = np.sin
    for expected in (np.cos(0.3), -np.sin(0.3), -np.cos(0.3), np.sin(0.3)):
        order = func.grad(order)
        same(order(0.3), expected)


@pytest.mark.parametrize("outer", [func.jacrev, func.jacfwd])
@pytest.mark.parametrize("inner", [func.grad, func.jacrev, func.jacfwd])
def test_every_way_to_a_hessian(outer, inner):
    same(outer(inner(cubes))(X), np.diag(6 * X))


def test_what_is_around_can_be_differentiated_or_not():
    w = Tensor(2.0, requires_grad=True)
    slope = func.grad(lambda x: w * x * x)
    g = slope(3.0)
    assert type(g) is Tensor and tg.grad(g, w)[0].item() == 6.0
    with tg.no_grad():
        assert type(slope(3.0)) is np.float64 and slope(3.0) == 12.0
    assert w.grad is None


def test_no_result_depends_on_an_array_that_changes_later():
    x = X.copy()
    _, pull = func.vjp(lambda x: x * x, x)
    _, push = func.linearize(lambda x: x * x, x)
    x[:] = 0
    same(pull(np.ones(3))[0], 2 * X)
    same(push(np.ones(3)), 2 * X)
    g = func.grad(lambda x: np.sum(x * 1.0))(X)
    g[:] = 7
    assert X[0] == 0.5


def test_results_that_do_not_depend_on_the_arguments():
    same(func.grad(lambda x: 3.0)(X), np.zeros(3))
    same(func.jacrev(lambda x: np.arange(2.0))(X), np.zeros((2, 3)))
    same(func.jacfwd(lambda x: np.arange(2.0))(X), np.zeros((2, 3)))
    y, push = func.jvp(lambda x: {"n": np.argmax(x), "c": 1, "x": x}, (X,), (X,))
    assert y["n"] == 2 and push["n"] == 0.0 and push["c"] == 0.0
    assert func.jacrev(lambda x: x[:0])(X).shape == func.jacfwd(lambda x: x[:0])(X).shape == (0, 3)
    assert func.jacrev(lambda x: x.sum())(X[:0]).shape == func.jacfwd(lambda x: x.sum())(X[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: func.grad(np.sin)(X), ShapeError, r"returns a number, this one returned float64\(3,\).*np\.sum"),
        (lambda: func.grad(lambda x: None)(X), ShapeError, "returned None"),
        (lambda: func.grad(lambda x: (x.sum(), x))(X), ShapeError, "has_aux=True"),
        (lambda: func.grad(cubes, has_aux=True)(X), TypeError, r"a pair.*got float64\(\)"),
        (lambda: func.grad(cubes)(3), DtypeError, "argument 0 has 3, .*use floats"),
        (lambda: func.grad(cubes)(np.arange(3)), DtypeError, "int64"),
        (lambda: func.grad(cubes)(), ValueError, "argnums must be positions of the 0 arguments"),
        (lambda: func.grad(cubes, 1)(X), ValueError, "argnums"),
        (lambda: func.grad(cubes, 1.5)(X), ValueError, "argnums must be a position, or several that differ, got 1.5"),
        (lambda: func.grad(cubes, True)(X), ValueError, "argnums must be a position"),
        (lambda: func.grad(cubes, [0.5])(X), ValueError, "argnums must be a position"),
        (lambda: func.grad(cubes)("text"), TypeError, "'text'"),
        (lambda: func.vjp(np.power, X, 3), TypeError, "argument 1 has 3, .*; use floats, or keep it constant"),
        (lambda: func.jvp(np.power, (X, 3), (X, 0)), TypeError, r"keep it constant, as in lambda x: f\(x, 3\)"),
        (lambda: func.jacrev(lambda x: "a")(X), TypeError, "a result is str, expected arrays and numbers"),
        (lambda: func.jacfwd(lambda x: "a")(X), TypeError, "a result is str"),
        (lambda: func.vjp(lambda x: {"a": x, "b": "b"}, X), TypeError, "a result is str"),
        (lambda: tg.jacobian(cubes), TypeError, r"write jacobian\(f, x, create_graph=False\)"),
        (lambda: tg.hessian(cubes), TypeError, r"write hessian\(f, x\), as in hessian"),
        (lambda: tg.hvp(cubes), TypeError, r"write hvp\(f, x, v\), as in hvp"),
        (lambda: func.jacobian, AttributeError, "use tg.func.jacrev or tg.func.jacfwd"),
        (lambda: func.vmap, AttributeError, "use a batch axis"),
        (lambda: tg.vmap, AttributeError, "use a batch axis"),
        (lambda: func.hess, AttributeError, "did you mean 'hessian'"),
        (lambda: func.grad(cubes, (0, 0))(X), ValueError, "that differ"),
        (lambda: func.grad(X), TypeError, "takes a function"),
        (lambda: func.jvp(np.sin, X, X), TypeError, "primals are a tuple"),
        (lambda: func.jvp(np.sin, (X,), X), TypeError, "tangents are a tuple"),
        (lambda: func.jvp(np.sin, (X,), (X[:2],)), ShapeError, r"\(2,\) where \(3,\)"),
        (lambda: func.jvp(np.sin, (X,), (X, X)), ShapeError, "tangents is tuple of 0, 1, expected what fits tuple"),
        (lambda: func.vjp(lambda x: {"a": x}, X)[1]({"b": X}), ShapeError, "expected what fits dict of 'a'"),
        (lambda: func.hvp(cubes)(X), TypeError, "v as the last one"),
        (lambda: tg.grad(cubes), TypeError, r"tg\.func\.grad"),
        (lambda: tg.vjp(cubes, X), TypeError, r"tg\.func\.vjp"),
        (lambda: tg.value_and_grad, AttributeError, r"tg\.func\.value_and_grad"),
        (lambda: tg.jacfwd, AttributeError, r"tg\.func\.jacfwd"),
        (lambda: tg.elementwise_grad, AttributeError, r"tg\.func\.grad"),
    ],
)  # fmt: skip
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_derivatives_at_a_point_take_arrays_and_trees():
    same(tg.jacobian(lambda x: x * x, X), np.diag(2 * X))
    same(tg.hessian(cubes, X), np.diag(6 * X))
    same(tg.hvp(cubes, X, X), 6 * X * X)
    nested = tg.hessian(lambda p: p["a"] * np.sum(p["b"] ** 2), {"a": 2.0, "b": X})
    same(nested["a"]["b"], 2 * X)
    same(nested["b"]["b"], 4 * np.eye(3))
    x = Tensor(X, requires_grad=True)
    assert not tg.jacobian(np.sin, x).requires_grad and tg.jacobian(np.sin, x, create_graph=True).requires_grad


def test_forward_mode_is_fast_where_there_are_many_results():
    wide = np.linspace(0, 1, 10_000)

    def f(x):
        return np.sin(x[0] * wide) + x[1] * wide**2 + x[2]

    (_, rows), begin = func.vjp(f, X), time.perf_counter()
    for i in range(100):
        rows(np.eye(1, 10_000, i)[0])
    backward, begin = 100 * (time.perf_counter() - begin), time.perf_counter()
    found = func.jacfwd(f)(X)
    forward = time.perf_counter() - begin
    same(found, np.stack([wide * np.cos(X[0] * wide), wide**2, np.ones(10_000)], 1))
    assert backward > 20 * forward  # 100 times and more, where nothing else runs


@pytest.mark.parametrize(
    "shapes", [((4, 3), (3,)), ((2, 4, 3), (3,)), ((5, 2, 4, 3), (3,)), ((3,), (3, 4)), ((3,), (2, 3, 4))]
)
def test_the_gradient_of_a_product_with_a_vector_is_a_product(shapes):
    """And not the sum of an outer product, which has the size of the matrix."""

    class Ops(tg.Tracer):
        def __init__(self):
            self.names = []

        def op(self, rule, inputs, keywords, result):
            self.names.append(rule.name)

    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=s) for s in shapes)
    vector = Tensor(a if a.ndim == 1 else b, requires_grad=True)
    y, u = (vector @ b if a.ndim == 1 else a @ vector), rng.normal(size=(a @ b).shape)
    with tg.tracing(Ops()) as ops:
        (g,) = tg.grad(y, vector, u)
    assert set(ops.names) <= {"matmul", "reshape", "getitem", "sum_to"}
    one_by_one = np.einsum("...ij,...j->...i", b, u) if a.ndim == 1 else np.einsum("...ij,...i->...j", a, u)
    same(g.numpy(), one_by_one.reshape(-1, vector.size).sum(axis=0))


def compiled(f, *arrays):
    """A function as a program, after the calls in which it is recorded."""
    step = tg.jit(f)
    for _ in range(3):
        step(*arrays)
    assert step.eager is None
    return step


def test_transforms_are_compiled():
    f = lambda x: np.sum(np.sin(x) * x**2)
    for transform in (func.grad, func.value_and_grad, func.jacrev, func.jacfwd, func.hessian):
        step = compiled(transform(f), X)
        eager = transform(f)(X)
        for ours, theirs in zip(results(step(X)), results(eager), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs)
    step = compiled(lambda x, v: func.jvp(f, (x,), (v,)), X, X)
    for ours, theirs in zip(step(X, 2 * X), func.jvp(f, (X,), (2 * X,)), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    constant = compiled(lambda x: x * func.grad(cubes)(X), X)
    np.testing.assert_array_equal(constant(X).numpy(), X * func.grad(cubes)(X))


def forward_mode(p: Problem) -> Any:
    """`func.jvp` of a call, of flat arrays, since a jitted function takes arrays without axes as constants."""
    n, shapes = len(p.inputs), [a.shape for a in (*p.inputs, *p.inputs)]

    def along(*arrays: Any) -> Any:
        given = [a.reshape(shape) for a, shape in zip(arrays, shapes, strict=True)]
        return func.jvp(lambda *xs: floats(results(p.call.on(xs))), given[:n], given[n:])[1]

    return along


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_compiled_forward_mode_of_every_rule_walks_nowhere(function, every, monkeypatch):
    """Nothing depends on the upstream gradients by which rules are transposed, and `jit` leaves them out."""
    made: list[Tensor] = []
    zeros = transforms._upstream

    def noted(t: Any) -> Tensor:
        made.append(zeros(t))
        made[-1]._data.fill(1.5)
        return made[-1]

    for p in problems(function)[::every]:
        tangents = p.directions(p.inputs)
        flat = [*map(np.ravel, (*p.inputs, *tangents))]
        eager = forward_mode(p)(*flat)
        with monkeypatch.context() as patch:
            patch.setattr(transforms, "_upstream", noted)
            step = compiled(forward_mode(p), *flat)
        upstreams = {id(u._data) for u in made}
        read = {slot for c in step.plan.calls for slot in c.slots}
        assert not any(id(slot.array) in upstreams for slot in read), f"{p.call}\n{step.source}"
        for a, b in zip(step(*flat), eager, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-14)
        slopes = p.gradients()
        if all(g is None for g in slopes):
            continue
        along = sum(float((g * v).sum()) for g, v in zip(slopes, tangents, strict=True) if g is not None)
        across = sum(float((w * t).sum()) for w, t in zip(p.weights, eager, strict=True))
        np.testing.assert_allclose(across, along, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "transform",
    [lambda v: func.jvp(np.sin, (X,), (v,))[1], lambda v: func.linearize(np.sin, X)[1](v),
     lambda v: func.vjp(np.sin, X)[1](v)[0], lambda v: func.hvp(lambda x: -np.sum(np.cos(x)))(X, v)],
)  # fmt: skip
def test_gradients_flow_to_tangents_and_upstreams(transform):
    """What is given after the point: the result depends on it too."""
    slope = func.grad(lambda v: np.sum(transform(v)))
    np.testing.assert_allclose(slope(X + 1), np.cos(X), rtol=1e-14)
    np.testing.assert_allclose(compiled(slope, X)(X + 1).numpy(), np.cos(X), rtol=1e-14)
    t = Tensor(X + 1, requires_grad=True)
    (g,) = tg.grad(transform(t).sum(), t)
    np.testing.assert_allclose(g.numpy(), np.cos(X), rtol=1e-14)
    np.testing.assert_allclose(func.jacfwd(transform)(X), np.diag(np.cos(X)), rtol=1e-14)


def test_results_of_forward_mode_share_no_memory():
    along = func.jvp(lambda x: (x, x.reshape(1, -1), x + 1, x + 2, np.exp(x), np.exp(x) + 1), (X,), (X,))[1]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(along) for b in (X, *along[:i]))


def test_that_something_reads_the_upstream_is_seen():
    step = compiled(lambda x, u: func.vjp(np.sin, x)[1](u), X, X)
    assert step.plan.record.inputs[1] in {slot for c in step.plan.calls for slot in c.slots}


def test_what_was_given_may_be_written_to():
    def both(x):
        return np.sum(np.exp(x)), np.exp(x)

    slope = np.exp(X)
    y, pull = func.vjp(np.exp, X)
    z, push = func.linearize(np.exp, X)
    _, pull_total, aux = func.vjp(both, X, has_aux=True)
    for array in (y, z, aux):
        array[:] = 0
    for _ in range(2):
        gradient = pull(np.ones(3))[0]
        np.testing.assert_array_equal(gradient, slope)
        np.testing.assert_array_equal(push(np.ones(3)), slope)
        np.testing.assert_array_equal(pull_total(1.0)[0], slope)
        gradient[:] = 0
    y, pull = func.vjp(np.exp, Tensor(X))
    y.data[:] = 0
    with pytest.raises(GraphError, match="changed"):
        pull(np.ones(3))


@dataclasses.dataclass
class Named:
    name: str
    weights: Any
    act: Any = np.tanh
    deep: bool = True


def test_what_is_no_number_in_a_tree_is_constant():
    def f(p, x):
        assert p.name == "layer" and p.deep is True
        return np.sum(p.act(p.weights * x))

    p, slope = Named("layer", X), (1 - np.tanh(X * X) ** 2) * X
    gradient = func.grad(f)(p, X)
    assert (gradient.name, gradient.act, gradient.deep) == (None, None, None)
    same(gradient.weights, slope)
    value, pull = func.vjp(lambda p: f(p, X), p)
    same(pull(2.0)[0].weights, 2 * slope)
    same(func.jvp(lambda p: f(p, X), (p,), (dataclasses.replace(gradient, weights=X),))[1], slope @ X)
    same(func.hvp(f)({"p": p}["p"], X, gradient).weights, func.hessian(lambda w: f(Named("layer", w), X))(X) @ slope)
    same(value, f(p, X))
    for argnums in (np.int64(1), [np.int64(1)]):
        found = func.grad(f, argnums)(p, X)
        same(found if isinstance(argnums, np.integer) else found[0], slope)


@dataclasses.dataclass(slots=True)
class Slotted:
    held: Any
    rate: float = 0.5


def test_dataclasses_are_arguments_of_compiled_functions():
    def f(p, q):
        return np.sum(p.act(p.weights * q.held * q.rate)) if p.deep else np.sum(p.weights * q.held)

    slope, compiled = func.grad(f), tg.jit(func.grad(f))
    boxed = tg.jit(lambda box: func.grad(cubes)(box.held))
    for i in range(6):
        for p in (Named("layer", X + i), Named("layer", X, deep=False)):
            q = Slotted(X[::-1].copy() * i, 0.1 * i)
            found = compiled(p, q)
            same(boxed(Box(X * i)).numpy(), 3 * (X * i) ** 2)
            assert type(found) is Named and found.name is None
            np.testing.assert_array_equal(found.weights.numpy(), slope(p, q).weights)
    assert compiled.eager is None is boxed.eager and len(compiled.cache) == 2
