"""Ops and tracers that users define outside of the package, in a few lines: every tool takes them up."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor
from tinygrad_mlp.rules.table import BRIDGES, RULES


@tg.primitive
def cube(x):
    """The two lines of a user: what it computes, and below its derivative."""
    return x * x * x


@tg.primitive
def weighted(x, y, scale=1.0):
    return x * np.exp(y) * scale


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    for package, bridge in BRIDGES.items():
        if find_spec(package):
            import_module(bridge)  # which enters its rules once
    before = dict(RULES)
    tg.vjp(cube, lambda g, out, x: 3 * g * (x * x))
    tg.vjp(weighted, lambda g, out, x, y, scale=1.0: g * np.exp(y) * scale, lambda g, out, x, y, scale=1.0: g * out)
    yield
    RULES.clear()
    RULES.update(before)


X = np.array([0.5, -1.5, 2.0])


def test_an_op_is_plain_on_arrays_of_a_subclass(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=(2,))
    mapped[:] = [-1, 2]
    assert cube(mapped).tolist() == [-1, 8]
    assert (2 * Tensor(mapped)).numpy().tolist() == [-2, 4]


def test_an_op_is_plain_on_arrays_and_differentiable_to_any_order():
    assert type(cube(X)) is np.ndarray
    x = Tensor(2.0, requires_grad=True)
    y = cube(x)
    assert repr(y) == "Tensor(8., dtype=float64, op=cube)"
    for expected in (12.0, 12.0, 6.0):
        (y,) = tg.grad(y, x, create_graph=True)
        assert y.item() == expected


@pytest.mark.parametrize("order", [1, 2])
def test_an_op_passes_the_checker_and_a_wrong_one_fails(order):
    assert tg.gradcheck(lambda x, y: weighted(cube(x), y, scale=0.5), [X, X[::-1].copy()], order=order).ok
    tg.vjp(cube, lambda g, out, x: 3.001 * g * (x * x))
    with pytest.raises(tg.GradcheckError, match=r"1\.000333"):
        tg.gradcheck(cube, X)


def test_an_op_is_named_where_it_gives_infinity():
    tg.annotate(cube, hint="cube less")
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"cube of float64.* has 1 of 1 .*: cube less"):
        cube(Tensor([1e200]))


def test_an_op_is_drawn():
    assert "cube" in str(tg.draw(cube(Tensor(X, requires_grad=True)).sum()))


def train(step, w, steps=5):
    for _ in range(steps):
        step(X)
    return w.numpy().copy() if not w.requires_grad else w.detach().numpy().copy()


def make_step():
    w = Tensor(np.array([0.1, 0.2, 0.3]), requires_grad=True, name="w")
    optimizer = tg.optim.SGD([w], lr=0.01)

    def step(x):
        loss = weighted(cube(w) + x, w).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, w


def test_an_op_is_compiled_to_the_same_bits():
    eager, compiled = make_step(), make_step()
    jitted = tg.jit(compiled[0])
    assert train(eager[0], eager[1]).tobytes() == train(jitted, compiled[1]).tobytes()
    assert "cube(" in jitted.source and "weighted(" in jitted.source


def test_an_op_is_exported(tmp_path):
    step, w = make_step()
    jitted = tg.jit(step)
    train(jitted, w)
    jitted.export(tmp_path / "program.py")
    expected = [step(X).item() for _ in range(3)]
    code = "import sys, numpy as np, program; "
    code += "print(*(float(program.step(np.array([0.5, -1.5, 2.0]))[0]) for _ in range(3))); "
    code += "assert 'tinygrad_mlp' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [float(x) for x in run.stdout.split()] == expected


@tg.primitive
def fourth(x):
    return cube(x) * x


def test_an_op_of_another_op_is_exported(tmp_path):
    tg.vjp(fourth, lambda g, out, x: 4 * g * cube(x))
    step = tg.jit(lambda x: np.sum(fourth(x)))
    for _ in range(3):
        expected = step(X)
    step.export(tmp_path / "fourth.py")
    code = "import sys, fourth, numpy as np; print(repr(float(fourth.step(np.array([0.5, -1.5, 2.0]))[0])))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(run.stdout) == expected.item()


def test_an_op_whose_lines_and_body_are_known_is_emitted_by_them():
    tg.annotate(cube, emit=lambda out, x: [f"np.multiply({x}, {x}, out={out})", f"np.multiply({out}, {x}, out={out})"])
    tg.annotate(weighted, inline=True)
    jitted = tg.jit(lambda x: weighted(cube(x), x))
    results = [jitted(X).numpy() for _ in range(4)]
    assert "cube(" not in jitted.source and "weighted(" not in jitted.source
    assert all(r.tobytes() == weighted(cube(X), X).tobytes() for r in results)


def test_results_of_an_op_are_called_by_what_it_holds():
    tg.annotate(cube, holds="volume")
    tg.annotate(weighted, called=[("light.*", "none"), (r"(vol\w*), #", r"heavy_\1")])
    jitted = tg.jit(lambda x: weighted(cube(x), 2.0).sum())
    for _ in range(4):
        jitted(X)
    assert "volume[...] = cube(x)" in jitted.source and "heavy_volume[...] = weighted(volume, 2.0)" in jitted.source


def test_a_ufunc_from_elsewhere_needs_one_line():
    special = pytest.importorskip("scipy.special")
    with pytest.raises(tg.NoRuleError, match="dawsn has no derivative rule"):
        special.dawsn(Tensor(X))
    tg.vjp(special.dawsn, lambda g, out, x: g * (1 - 2 * x * out))
    assert tg.gradcheck(lambda x: special.dawsn(x), X, order=2).ok
    jitted = tg.jit(lambda x: special.dawsn(x) * 2)
    assert all((jitted(X).numpy() == special.dawsn(X) * 2).all() for _ in range(4))
    assert "dawsn" in str(tg.draw(special.dawsn(Tensor(X, requires_grad=True))))


def test_a_function_of_numpy_that_is_refused_can_be_given_a_rule():
    tg.vjp(np.sinc, lambda g, out, x: g * np.where(x == 0, 0.0, (np.cos(np.pi * x) - out) / np.where(x == 0, 1.0, x)))
    x = Tensor(np.array([0.0, 0.3]), requires_grad=True)
    np.sinc(x).sum().backward()
    assert np.allclose(x.grad.numpy(), [0.0, (np.cos(0.3 * np.pi) - np.sinc(0.3)) / 0.3])
    assert tg.gradcheck(np.sinc, X).ok


def test_a_rule_that_no_tensor_would_find_is_refused():
    with pytest.raises(TypeError, match="plain is neither a function of NumPy nor a primitive"):
        tg.vjp(plain, lambda g, out, x: g)
    with pytest.raises(TypeError, match="'hints'"):
        tg.annotate(cube, hints="more than one")


def plain(x):
    return x


@tg.primitive
def reverse(x, y=0.0):
    """Return x as it is, with a gradient that goes the other way."""
    return np.sum(np.stack(x), 0) if isinstance(x, (list, tuple)) else x + y * 0.0


def back(g, out, x, y=0.0):
    return -g


def test_an_argument_by_keyword_has_the_same_rule():
    tg.vjp(reverse, back)
    x = Tensor(X, requires_grad=True)
    reverse(y=np.ones(3), x=x).sum().backward()
    assert x.grad.tolist() == [-1, -1, -1]


def test_tensors_in_a_list_are_not_taken_apart():
    tg.vjp(reverse, back)
    t = Tensor(X, requires_grad=True)
    for call in (lambda: reverse([t, X]), lambda: reverse(x=(X, t)), lambda: reverse([t], 1.0)):
        with pytest.raises(
            TypeError, match=r"reverse computes with Tensors in a list, .* write def reverse\(\*tensors"
        ):
            call()
    with pytest.raises(tg.GraphError, match="an array would lose it silently"):
        reverse([t], t)
    assert reverse([X, X]).tolist() == (2 * X).tolist()


@pytest.mark.parametrize("result", [(X, X), [1.0, 2.0], {"sum": X}, None], ids=lambda r: type(r).__name__)
def test_an_op_gives_one_array(result):
    several = tg.primitive(lambda x: result)
    tg.vjp(several, lambda g, out, x: g)
    for x in Tensor(X), Tensor(X, requires_grad=True):
        with pytest.raises(TypeError, match=r"<lambda> gives .*, but an op gives one array or number; .*np\.stack"):
            several(x)
    with pytest.raises(TypeError, match="vjp of modf: it gives 2 results"):
        tg.vjp(np.modf, lambda g, out, x: g)
    assert [t.tolist() for t in np.nonzero(Tensor(X))] == [[0, 1, 2]]  # a constant may give several


def test_a_forgotten_rule_is_named_in_both_modes():
    tg.vjp(weighted, lambda g, out, x, y, scale=1.0: g * np.exp(y) * scale)
    x, y = Tensor(X, requires_grad=True), Tensor(X, requires_grad=True)
    tg.vjp(cube, None)
    for attempt in (
        lambda: weighted(x, y).sum().backward(),
        lambda: tg.func.jvp(weighted, (X, X), (X, X)),
        lambda: tg.func.jacfwd(weighted, argnums=1)(X, X),
        lambda: tg.trace(weighted(x, y).sum()),
    ):
        with pytest.raises(tg.NoRuleError, match=r"weighted has no derivative rule for argument 1 \(y\); give vjp one"):
            attempt()
    assert tg.gradcheck(lambda x: weighted(x, X), X).ok
    assert tg.func.jvp(lambda x: weighted(x, X), (X,), (X,))[1].tolist() == weighted(X, X).tolist()
    assert tg.func.jvp(lambda x: cube(x) + x, (X,), (X,))[1].tolist() == X.tolist()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([back] * 3, "3 rules were given, but it takes 2 arguments"),
        ([], "takes a function and its rules"),
        ([np.negative], r"the ufunc negative is no rule, .*; write lambda g, out, x: negative\(g\)"),
    ],
)
def test_rules_that_do_not_fit_are_refused_when_they_are_given(rules, message):
    before = tg.vjp(reverse, back), RULES[reverse]
    with pytest.raises(TypeError, match=message):
        tg.vjp(reverse, *rules)
    assert RULES[reverse] is before[1]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, TypeError, "returned None, expected one array, .*; write None in place of the rule"),
        ([1.0, 2.0, 3.0], TypeError, r"returned \[1.0, 2.0, 3.0\], expected one array, of shape \(3,\)"),
        (np.ones(2), tg.ShapeError, r"returned float64\(2,\), expected one array, of shape \(3,\)"),
    ],
)
def test_a_rule_that_gives_no_gradient_is_named(given, error, message, order):
    tg.vjp(cube, lambda g, out, x: given)
    with pytest.raises(error, match=f"the rule of cube for argument 0 {message}"):
        cube(Tensor(X, requires_grad=True)).sum().backward(create_graph=order > 1)


def test_a_second_rule_keeps_what_was_said_of_the_op():
    tg.annotate(cube, hint="cube less")
    tg.vjp(cube, lambda g, out, x: 3 * g * x * x)
    assert RULES[cube].hint == "cube less"
    with pytest.raises(TypeError, match="plain has no rule; call vjp first"):
        tg.annotate(cube, plain, hint="none")
    assert RULES[cube].hint == "cube less"


class Scaled:
    """An object that can be called, as op or as rule."""

    def __call__(self, *args):
        return 3.0 * args[0]


@pytest.mark.parametrize(
    ("function", "name"),
    [(functools.partial(np.multiply, 3.0), "multiply"), (Scaled(), "Scaled")],
    ids=["of a partial", "of an object"],
)
@pytest.mark.parametrize(
    "rule", [functools.partial(lambda k, g, out, x: k * g, 3.0), Scaled()], ids=["partial", "object"]
)
def test_partials_and_objects_are_ops_and_rules(function, name, rule):
    op = tg.primitive(function)
    tg.vjp(op, rule)
    assert op(X).tolist() == (3 * X).tolist() and repr(op(Tensor(1.0, requires_grad=True))).endswith(f"op={name})")
    assert tg.gradcheck(op, X).ok
    jitted = tg.jit(lambda x: op(x * 1.5) * 2.0)
    assert all(jitted(X).tolist() == (9 * X).tolist() for _ in range(4))
    assert f"{name}(" in jitted.source


class CountOps(tg.Tracer):
    """A tracer of a user: how often each op runs, in a forward and in a backward pass."""

    def __init__(self):
        self.forward, self.backward, self.walking = Counter(), Counter(), False

    def op(self, rule, inputs, keywords, result):
        (self.backward if self.walking else self.forward)[rule.name] += 1

    def differentiates(self, t):
        self.walking = t is not None


def test_a_tracer_of_ones_own_sees_every_op():
    x = Tensor(X, requires_grad=True)
    with tg.tracing(CountOps()) as count:
        (np.tanh(x) * cube(x)).sum().backward()
    assert count.forward == {"tanh": 1, "cube": 1, "multiply": 1, "sum": 1}
    assert count.backward["multiply"] >= 3 and "tanh" not in count.backward
    x.grad = None
    np.tanh(x)
    assert count.forward["tanh"] == 1


class HalfPrecision(tg.Tracer):
    """A tracer that takes part: every op gives what float16 would hold."""

    def compute(self, rule, arrays, inputs, keywords):
        out = super().compute(rule, arrays, inputs, keywords)
        return out.astype(np.float16).astype(out.dtype) if out.dtype.kind == "f" else out


def test_a_tracer_of_ones_own_can_change_what_ops_compute():
    with tg.tracing(HalfPrecision()):
        assert (Tensor([1.0]) / 3).numpy()[0] == np.float16(1 / 3)
    assert (Tensor([1.0]) / 3).numpy()[0] == 1 / 3


@pytest.mark.parametrize("tracer", [CountOps, 3], ids=str)
def test_a_tracer_is_an_instance(tracer):
    with pytest.raises(TypeError, match=r"tracing takes a Tracer, as in tracing\(Count\(\)\), got"), tg.tracing(tracer):
        pass


def test_one_tracer_at_a_time():
    with tg.tracing(CountOps()), pytest.raises(tg.GraphError, match="watched already"), tg.tracing(CountOps()):
        pass


VIEWS = {
    "reshape": lambda x: x.reshape(-1),
    "part": lambda x: x[1:],
    "reversed": lambda x: x[::-1],
    "real": lambda x: np.fft.fft(x).real,
    "reversed result": lambda x: np.exp(x)[::-1],
    "every other": lambda x: np.exp(x)[::2],
    "column": lambda x: np.stack([x, -x], 1)[:, 0],
    "turned": lambda x: np.exp(x * np.ones((2, 4, 1))).transpose(2, 0, 1)[:, ::-1],
}


@pytest.mark.parametrize("body", VIEWS.values(), ids=VIEWS)
def test_results_of_a_program_are_the_callers_whatever_an_op_returns(body):
    op = tg.primitive(body)
    tg.vjp(op, lambda g, out, x: g)
    for function in (lambda x: op(x * 1.5), lambda x: op(x * 1.5) * 2.0, lambda x: op(x * 1.5) + op(x)):
        step = tg.jit(function)
        results = [step(X + k) for k in range(5)]
        assert step.eager is None
        for k, result in enumerate(results):
            np.testing.assert_array_equal(result.numpy(), function(Tensor(X + k)).numpy())


def test_a_compiled_step_notices_a_rule_that_is_corrected():
    op = tg.primitive(lambda x: 2.0 * x)
    tg.vjp(op, lambda g, out, x: 3.0 * g)
    step = tg.jit(tg.func.grad(lambda x: np.sum(op(x))))
    assert [step(X).tolist() for _ in range(4)] == [[3.0, 3.0, 3.0]] * 4
    tg.vjp(op, lambda g, out, x: 2.0 * g)
    assert [step(X).tolist() for _ in range(4)] == [[2.0, 2.0, 2.0]] * 4
    assert step.reasons == {"the rule of <lambda>": 1}
