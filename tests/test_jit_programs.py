"""Random programs: compiled and eager give the same bits, whatever the ops, shapes and memory layouts."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, func, jit, trees
from tinygrad_mlp import functional as F

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
Array = np.ndarray[Any, Any]
SHAPES = [(), (1,), (5,), (0,), (4, 5), (5, 4), (4, 4), (1, 5), (4, 1), (0, 5), (2, 4, 5), (4, 2, 5), (33, 20)]
LAYOUTS = ["C", "F", "strided", "reversed", "middle"]
SPECIAL = [np.inf, -np.inf, np.nan, -0.0, 0.0, 1e-310, 3e38, -1e-45]
DTYPES = [np.float32, np.float64]


def laid_out(a: Array, layout: str) -> Array:
    """Return the same elements in another memory layout."""
    if layout == "F":
        return np.asfortranarray(a)
    if layout == "strided" and a.ndim:
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
        wide[..., ::2] = a
        return wide[..., ::2]
    if layout == "reversed" and a.ndim:
        return np.ascontiguousarray(a[::-1])[::-1]
    if layout == "middle" and a.ndim > 1:
        return np.ascontiguousarray(np.moveaxis(a, 0, 1)).swapaxes(0, 1)
    return a.copy()


UNARY = {
    "negative": np.negative,
    "exp": lambda x: np.exp(np.minimum(x, 3)),
    "tanh": np.tanh,
    "square": np.square,
    "abs": np.abs,
    "sqrt": lambda x: np.sqrt(np.abs(x) + 1),
    "log1p": lambda x: np.log1p(x * x),
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "softplus": F.softplus,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "clip": lambda x: np.clip(x, -0.5, 1.5),
    "clip_low": lambda x: x.clip(0.1),
    "cube": lambda x: x**3,
    "half_power": lambda x: (x * x + 1) ** 0.5,
    "copy": np.copy,
    "detach": lambda x: x.detach() * x,
    "round_trip": lambda x: x.astype(np.float64).astype(x.dtype),
    "double": lambda x: x.astype(np.float64),
    "reciprocal": lambda x: 1 / (2 + np.abs(x)),
    "where": lambda x: np.where(x > 0.2, x, 0.3 * x),
    "sign": lambda x: np.sign(x) * x,
    "mean": lambda x: x.mean() if x.size else x,
    "ravel": np.ravel,
    "sort": lambda x: np.sort(x, axis=None),
    "cumsum": lambda x: np.cumsum(x, axis=None),
    "integers": lambda x: (x > 0).astype(np.int64) * x,
    "tile": lambda x: np.tile(x, 2),
}
AXIS = {
    "sum": lambda x, a, k: x.sum(axis=a, keepdims=k),
    "mean": lambda x, a, k: x.mean(axis=a, keepdims=k),
    "max": lambda x, a, k: x.max(axis=a, keepdims=k),
    "min": lambda x, a, k: x.min(axis=a, keepdims=k),
    "var": lambda x, a, k: x.var(axis=a, keepdims=k),
    "std": lambda x, a, k: x.std(axis=a, keepdims=k),
    "logsumexp": lambda x, a, k: F.logsumexp(x, a, k),
    "softmax": lambda x, a, k: F.softmax(x, a),
    "log_softmax": lambda x, a, k: F.log_softmax(x, a),
    "norm": lambda x, a, k: np.linalg.norm(x, axis=a, keepdims=k),
    "flip": lambda x, a, k: np.flip(x, a),
    "roll": lambda x, a, k: np.roll(x, 1, axis=a),
    "first": lambda x, a, k: np.moveaxis(x, a, 0),
    "every_other": lambda x, a, k: np.moveaxis(x, a, 0)[::2],
    "pick": lambda x, a, k: np.take(x, [0, -1, 0], axis=a),
    "row": lambda x, a, k: np.moveaxis(x, a, 0)[0],
    "fancy": lambda x, a, k: np.moveaxis(x, a, -1)[..., np.array([0, 0])],
    "mask": lambda x, a, k: np.moveaxis(x, a, 0)[np.arange(x.shape[a]) % 2 == 0],
    "expand": lambda x, a, k: np.expand_dims(x, a),
    "repeat": lambda x, a, k: np.repeat(x, 2, axis=a),
    "join_self": lambda x, a, k: np.concatenate([x, x * 2], axis=a),
    "prod": lambda x, a, k: np.tanh(x).prod(axis=a),
    "diff": lambda x, a, k: np.diff(x, axis=a),
    "stack": lambda x, a, k: np.stack([x, -x], axis=a),
}
BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": lambda x, y: x / (np.abs(y) + 1),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "where": lambda x, y: np.where(x > y, x, y),
    "hypot": np.hypot,
    "arctan2": lambda x, y: np.arctan2(x, np.abs(y) + 1),
    "logaddexp": np.logaddexp,
    "select": lambda x, y: np.where(y > 0, x, 0),
}


def views(x: Any, choice: int) -> Any:
    """Return x through one of several views, or copies where a view is impossible."""
    options = [
        lambda: x.T,
        lambda: x.reshape(-1),
        lambda: x.reshape(*x.shape, 1),
        lambda: np.swapaxes(x, 0, -1),
        lambda: x.T.reshape(-1),
        lambda: x[..., ::-1],
        lambda: x[1:],
        lambda: x[:, None] if x.ndim > 1 else x,
        lambda: np.squeeze(x),
        lambda: x[...],
        lambda: np.broadcast_to(x, (3, *x.shape)),
        lambda: np.transpose(x, (1, 0, *range(2, x.ndim))) if x.ndim > 1 else x,
        lambda: x.T[::2].T,
        lambda: x[()],
    ]
    return options[choice % len(options)]() if x.ndim else x.reshape(1)


def matmul(x: Any, y: Any) -> Any:
    """Return a product of two operands of any shape, made to fit."""
    if not x.ndim or not y.ndim:
        return x * y
    if x.shape[-1] == (y.shape[-2] if y.ndim > 1 else y.shape[0]):
        return x @ y
    if y.ndim > 1 and x.shape[-1] == y.shape[-1]:
        return x @ np.swapaxes(y, -1, -2)
    return np.ravel(x)[:, None] @ np.ravel(y)[None, :7]


@st.composite
def programs(draw: Any) -> dict[str, Any]:
    steps = []
    for _ in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(["unary", "unary", "axis", "axis", "binary", "binary", "view", "view", "matmul"]))
        table = {"unary": UNARY, "axis": AXIS, "binary": BINARY}.get(kind)
        name = draw(st.sampled_from(sorted(table))) if table else kind
        steps.append((kind, name, draw(st.integers(0, 30)), draw(st.integers(0, 30)), draw(st.integers(0, 20))))
    arrays = [
        (draw(st.sampled_from(SHAPES)), draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(DTYPES))) for _ in range(4)
    ]
    return {
        "steps": steps,
        "arrays": arrays,
        "seed": draw(st.integers(0, 99)),
        "outputs": draw(st.lists(st.integers(0, 30), max_size=3)),
        "special": draw(st.integers(0, 3)) == 0,
        "accumulate": draw(st.booleans()),
        "twice": draw(st.booleans()),
        "second_order": draw(st.integers(0, 4)) == 0,
    }


class Step:
    """A program drawn at random, with two parameters and two inputs, as an eager step."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, rng = spec, np.random.default_rng(spec["seed"])
        data = [laid_out(np.asarray(rng.uniform(-2, 2, s)).astype(d), lay) for s, lay, d in spec["arrays"][:2]]
        self.params = [
            Tensor(a, requires_grad=True, name=name) for a, name in zip(data, ["weight", "bias"], strict=True)
        ]

    def inputs(self, call: int) -> list[Array]:
        rng = np.random.default_rng((self.spec["seed"], call))
        drawn = [np.asarray(rng.uniform(-2, 2, s)) for s, _, _ in self.spec["arrays"][2:]]
        if self.spec["special"]:
            drawn = [np.where(rng.random(a.shape) < 0.2, rng.choice(SPECIAL, a.shape), a) for a in drawn]
        return [laid_out(a.astype(d), lay) for a, (_, lay, d) in zip(drawn, self.spec["arrays"][2:], strict=True)]

    def __call__(self, x: Any, y: Any) -> Any:
        values: list[Any] = [*self.params, x, y]
        for kind, name, i, j, k in self.spec["steps"]:
            a, b = values[i % len(values)], values[j % len(values)]
            try:
                values.append(self.one(kind, name, a, b, k))
            except (ValueError, IndexError):  # shapes that do not fit: the same in every call
                values.append(a * 1.5)
            if values[-1].size > 20_000:
                values[-1] = a + 1
        loss = sum((v.mean() if v.size else v.sum()) * (n + 1) for n, v in enumerate(values[2:])) + sum(
            p.sum() for p in self.params
        )
        if not self.spec["accumulate"]:
            for p in self.params:
                p.grad = None
        if self.spec["second_order"]:
            slopes = tg.grad(loss, self.params, create_graph=True, allow_unused=True)
            if any(s is not None and s.requires_grad for s in slopes):
                loss = loss + sum((s * s).sum() for s in slopes if s is not None)
        loss.backward(retain_graph=self.spec["twice"])
        if self.spec["twice"]:
            loss.backward()
        kept = [values[n % len(values)] for n in self.spec["outputs"]]
        with tg.no_grad():
            for p in self.params:
                p -= 0.01 * np.tanh(p.grad)
        return loss, kept

    @staticmethod
    def one(kind: str, name: str, a: Any, b: Any, k: int) -> Any:
        if kind == "unary":
            return UNARY[name](a)
        if kind == "axis":
            return AXIS[name](a, k % a.ndim, k % 2 == 0) if a.ndim else a * 2
        if kind == "binary":
            return BINARY[name](a, b)
        return views(a, k) if kind == "view" else matmul(a, b)


def bits(step: Step, result: Any) -> list[tuple[Any, ...]]:
    loss, kept = result
    tensors = [loss, *kept, *step.params, *(p.grad for p in step.params)]
    if step.spec["special"]:  # IEEE 754 leaves open which NaN of two an operation gives
        return [
            (t.dtype.str, t.shape, np.where(t._data != t._data, t.dtype.type(np.nan), t._data).tobytes())
            for t in tensors
        ]
    return [(t.dtype.str, t.shape, t._data.tobytes()) for t in tensors]


def poison(compiled: Any) -> None:
    """Fill all temporary memory of a program with NaN: whatever a step gives must be made in that very step."""
    program = compiled.last
    if program.program is None:
        return
    names = program.step.__globals__
    kept = {id(g._data.base) for _, g in program.grads if g is not None}
    for storage in program.plan.storages:
        if id(names[storage.name]) not in kept:
            names[storage.name].fill(255)


def as_given(a: Array) -> Any:
    """Return an array as it is; without axes, ops would take it as a number."""
    return a if a.ndim else Tensor(a)


def run(spec: dict[str, Any], calls: int = 5) -> None:
    eager, compiled = Step(spec), Step(spec)
    step = jit(compiled.__call__)
    held: list[tuple[Any, bytes]] = []
    for call in range(calls):
        x, y = eager.inputs(call)
        try:
            expected = bits(eager, eager(Tensor(x), Tensor(y)))
        except Exception as error:
            with pytest.raises(type(error)):
                step(*map(as_given, compiled.inputs(call)))
            return
        result = step(*map(as_given, compiled.inputs(call)))
        assert bits(compiled, result) == expected, f"call {call}\n{step.source if call > 1 else ''}"
        for t, before in held:
            assert t._data.tobytes() == before, "a returned Tensor has changed"
        held = [(t, t._data.tobytes()) for t in (result[0], *result[1])]
        if call >= 2:
            poison(step)
            for t, _ in held[1:]:
                if t._data.flags.writeable:
                    t._data.fill(0)
            held = held[:1]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(programs())
def test_random_programs_give_the_same_bits(spec: dict[str, Any]) -> None:
    run(spec)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x - x.max(axis=1, keepdims=True), {"maximum", "shifted"}),
        (lambda x: x - x.mean(axis=0), {"total", "mean", "centred"}),
        (lambda x: (x * x + 1 / (x + 3)) * 0.5, {"squares", "inverse", "added", "scaled"}),
        (lambda x: np.exp(F.log_softmax(x)), {"exponentials", "total", "log_total", "log_softmax", "softmax"}),
        (lambda x: (x * x > 0.1) * x, {"squares", "mask"}),
    ],
    ids=["shifted", "centred", "inverse", "softmax", "mask"],
)
def test_values_are_called_by_what_they_hold(function: Any, names: set[str]) -> None:
    step = jit(lambda x: function(x) * 1.0)
    with np.errstate(all="ignore"):
        for _ in range(3):
            step(np.arange(6.0).reshape(2, 3))
    assert names <= set(re.findall(r"out=(\w+)", step.source)), step.source


def test_a_gradient_that_is_a_sum_is_told_from_its_terms() -> None:
    step = jit(func.grad(lambda x: np.sum(np.square(x[1:] - x[:-1]) * x[1:])))
    for _ in range(3):
        step(np.arange(4.0))
    program: Any = step.last.program
    shapes = {name: np.shape(program.scope.values.get(name)) for name in re.findall(r"\bd_x\w*", step.source)}
    assert shapes.pop("d_x") == ()  # which each call makes
    assert {name.rpartition("_")[0] if name[-1].isdigit() else name for name in shapes} == {"d_x_part", "d_x_term"}
    assert all(shape == ((3,) if "part" in name else (4,)) for name, shape in shapes.items()), step.source


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (func.value_and_grad(lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2, argnums=(0, 1)), (1.0, 2.0)),
        (func.grad(func.grad(lambda x: np.sin(x) * x)), (0.5,)),
        (lambda x, s: func.vjp(lambda x: x * x, x)[1](s), (np.arange(3.0), np.ones(3))),
        (lambda x, v: func.jvp(lambda x: x**3, (x,), (v,)), (1.5, 0.5)),
        (func.hessian(lambda x: x["a"] ** 3 * x["b"]), ({"a": 1.5, "b": 0.5},)),
        (lambda a, b: tg.scan(lambda c, x, b: (c * x + b, c), a, np.arange(3.0), args=(b,)), (0.5, 2.0)),
        (lambda y, k: tg.odeint(lambda y, t, k: -k * y, y, np.arange(3.0), (k,), method="rk4"), (1.0, 0.5)),
        (func.grad(func.checkpoint(lambda x: np.sin(x) * x)), (0.5,)),
    ],
    ids=["value_and_grad", "twice", "upstream", "direction", "tree", "scan", "odeint", "checkpoint"],
)
def test_floats_are_live_through_the_transforms(function: Any, arguments: Any) -> None:
    step = jit(function)

    def leaves(result: Any) -> list[Any]:
        return [np.asarray(a) for a in trees.leaves(result)]

    for n in range(8):
        given = trees.tree_map(lambda a: a + n * 0.25, arguments)
        for got, expected in zip(leaves(step(*given)), leaves(function(*given)), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
    assert not step.reasons, step.reasons
    assert sum(map(len, step.cache.values())) == 1


def test_a_float_that_a_loop_takes_from_around_it_is_seen_to_change() -> None:
    def function(a: float, b: float) -> Any:
        return tg.scan(lambda c, x: (c * x + b, c), a, np.arange(3.0))

    step = jit(function)
    for b in (2.0, 2.0, 2.0, 3.0, 2.0, 4.0):
        for got, expected in zip(step(0.5, b), function(0.5, b), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert set(step.reasons) == {"b"}


def _freezes(i: int, a: Any, b: Any, opt: Any, fresh: Any) -> None:
    if i in (4, 7, 20, 26):
        a.requires_grad = i in (7, 26)


def _loads(i: int, a: Any, b: Any, opt: Any, fresh: Any) -> None:
    if i in (10, 18, 30):
        opt.load_state_dict(copy.deepcopy(fresh))


def _clears(i: int, a: Any, b: Any, opt: Any, fresh: Any) -> None:
    if i in (10, 18, 30):
        opt.state.clear()


def _pops(i: int, a: Any, b: Any, opt: Any, fresh: Any) -> None:
    if i in (10, 18, 30):
        opt.state.pop(b, None)


def _empties(i: int, a: Any, b: Any, opt: Any, fresh: Any) -> None:
    if i in (10, 18, 30):
        opt.state[b] = {}


def _steps_eagerly(i: int, a: Any, b: Any, opt: Any, fresh: Any) -> None:
    if i in (10, 11, 20):
        opt.zero_grad()
        (b * 2).sum().backward()
        opt.step()


def _counts(i: int, a: Any, b: Any, opt: Any, fresh: Any) -> None:
    if i in (10, 20) and "step" in opt.state[b]:
        opt.state[b]["step"] = 50


OPTIMIZERS = {
    "Adam": lambda p: tg.optim.Adam(p, lr=0.1),
    "AdamW": lambda p: tg.optim.AdamW(p, lr=0.1),
    "RMSprop": lambda p: tg.optim.RMSprop(p, lr=0.1),
    "RMSprop with all": lambda p: tg.optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
    "momentum": lambda p: tg.optim.SGD(p, lr=0.01, momentum=0.9),
}


@pytest.mark.parametrize("change", [_freezes, _loads, _clears, _pops, _empties, _steps_eagerly, _counts])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_whose_state_is_changed_goes_on_as_eagerly(make: Any, change: Any) -> None:
    def train(compiled: bool) -> list[Any]:
        a, b = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
        opt, seen = make([a, b]), []
        fresh = copy.deepcopy(opt.state_dict())

        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = ((a * x + b - 3) ** 2).sum()
            loss.backward()
            opt.step()
            return loss

        run = jit(step) if compiled else step
        for i in range(36):
            change(i, a, b, opt, fresh)
            loss = run(np.arange(2.0) + 0.3 * i)
            seen += [loss.item(), *a.detach().numpy(), *b.detach().numpy(), [s.get("step") for s in opt.state.values()]]
        return seen

    assert train(True) == train(False)
