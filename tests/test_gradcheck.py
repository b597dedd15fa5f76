"""The gradient checker: what it lets pass, what it notices, what it says, and what it leaves behind."""

from __future__ import annotations

import importlib
import math
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, nn
from tinygrad_mlp import functional as F
from tinygrad_mlp.errors import DtypeError
from tinygrad_mlp.rules.table import RULES
from tinygrad_mlp.tools.gradcheck import Element, GradcheckError, Report, gradcheck
from tinygrad_mlp.tools.gradcheck.differences import COMPLEX_STEP

EXAMPLES = Path(__file__).parents[1] / "examples"
module = importlib.import_module("tinygrad_mlp.tools.gradcheck.differences")
Array = np.ndarray[Any, Any]
SCALES = [1e-12, 1e-6, 1.0, 1e6]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape))


def gradients_of(f: Callable[..., Any], inputs: Any, factor: float = 1.0) -> Callable[..., list[Array]]:
    """The gradient of a scalar function as one would write it by hand, times a factor."""

    def gradient(*arrays: Array) -> list[Array]:
        ts = [Tensor(a, requires_grad=True) for a in arrays]
        return [factor * g.numpy() for g in tg.grad(f(*ts), ts)]

    return gradient


def check(f: Callable[..., Any], inputs: Any, factor: float = 1.0, **options: Any) -> Report:
    """Check a scalar function, its gradient multiplied by a factor."""
    gradient = gradients_of(f, inputs, factor)
    return gradcheck(lambda *x: np.asarray(f(*x)), inputs, gradient=gradient, raise_on_fail=False, **options)


LABELS = np.array([0, 3, 1, 1, 2])
MLP = [normal(5, 4), normal(4, 6, seed=1), normal(6, seed=2) / 5, normal(6, 4, seed=3), normal(4, seed=4) / 5]


def cross_entropy_of_mlp(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    return F.cross_entropy(np.tanh(x @ w1 + b1) @ w2 + b2, LABELS)


SMOOTH: dict[str, tuple[Callable[..., Any], Any]] = {
    "tanh MLP with cross entropy": (cross_entropy_of_mlp, MLP),
    "sin": (lambda x: np.sin(x).sum(), normal(7)),
    "product": (lambda x, y: (x * y).sum(), [normal(3), normal(3, seed=1)]),
    "softmax": (lambda x: (F.softmax(x) * normal(3, 4, seed=5)).sum(), normal(3, 4)),
}
BADLY_SCALED: dict[str, tuple[Callable[..., Any], Any]] = {
    "tanh(x / 1e-8)": (lambda x: np.tanh(x / 1e-8).sum(), 1e-8 * normal(5)),
    "sin(200 x)": (lambda x: np.sin(200 * x).sum(), normal(5)),
    "1 / x near 1e-3": (lambda x: (1 / x).sum(), 1e-3 * (1 + np.abs(normal(5)))),
    "sqrt near 1e-12": (lambda x: np.sqrt(x).sum(), np.array([1e-12, 3e-12])),
    "sin near 1e6": (lambda x: np.sin(x).sum(), 1e6 + normal(3)),
    "logits + 1e4": (lambda z: F.cross_entropy(z, LABELS), normal(5, 4) + 1e4),
    "logits + 1e6": (lambda z: F.cross_entropy(z, LABELS), normal(5, 4) + 1e6),
    "loss + 1e6": (lambda z: F.cross_entropy(z, LABELS) + 1e6, normal(5, 4)),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SMOOTH)
class TestScales:
    def case(self, name: str, scale: float) -> tuple[Callable[..., Any], Any]:
        f, inputs = SMOOTH[name]
        return lambda *x: scale * f(*x), inputs

    def test_a_correct_gradient_passes(self, name: str, scale: float) -> None:
        f, inputs = self.case(name, scale)
        assert check(f, inputs).verdict == "pass"
        assert gradcheck(f, inputs).verdict == "pass"

    def test_a_factor_of_1_plus_1e8th_fails(self, name: str, scale: float) -> None:
        report = check(*self.case(name, scale), 1 + 1e-8)
        assert {row.verdict for row in report.rows} == {"fail"}
        assert "1.00000001 times" in report.problems[0]

    def test_a_gradient_of_zero_fails(self, name: str, scale: float) -> None:
        report = check(*self.case(name, scale), 0.0)
        assert {row.verdict for row in report.rows} == {"fail"}
        assert "not connected" in report.problems[0]


@pytest.mark.parametrize("name", BADLY_SCALED)
def test_badly_scaled_inputs_give_no_false_verdict(name: str) -> None:
    f, inputs = BADLY_SCALED[name]
    assert gradcheck(f, inputs, raise_on_fail=False).verdict in ("pass", "unresolved")
    assert check(f, inputs, 1 + 1e-8).verdict in ("fail", "unresolved")
    assert check(f, inputs, 0.0).verdict in ("fail", "unresolved")


@pytest.mark.parametrize("name", ["tanh(x / 1e-8)", "sin(200 x)", "1 / x near 1e-3", "logits + 1e4"])
def test_what_can_be_resolved_is(name: str) -> None:
    f, inputs = BADLY_SCALED[name]
    assert gradcheck(f, inputs).ok
    assert check(f, inputs, 1 + 1e-8).verdict == "fail"


def test_agreement_on_a_tanh_mlp() -> None:
    report = gradcheck(cross_entropy_of_mlp, MLP)
    assert max(e.columns()["rel. error"] for e in report.elements if e.step != COMPLEX_STEP) < 1e-9
    assert sum(e.step != COMPLEX_STEP for e in report.elements) > 0.95 * len(report.elements)


def test_the_complex_step_resolves_what_differences_cannot() -> None:
    report = gradcheck(cross_entropy_of_mlp, MLP, rtol=1e-12)
    assert all(e.step == COMPLEX_STEP for e in report.elements)
    assert max(e.error for e in report.elements) < 1e-13


@pytest.mark.parametrize(
    "f",
    [
        lambda x: Tensor(x.data.real) * x,  # the real part alone: the complex step sees a constant
        lambda x: (np.abs(x.detach().numpy()) * x).sum(),  # a modulus: not analytic
        lambda x: (x * Tensor(x.data.astype(np.float64))).sum(),  # drops the imaginary part with a warning
    ],
)
def test_the_complex_step_is_not_believed_alone(f: Callable[[Any], Any]) -> None:
    """All three stop half of the gradient, and the complex step would be stopped by the same trick."""
    report = gradcheck(f, normal(4), raise_on_fail=False)
    assert report.verdict == "fail"
    assert "0.5 times" in report.problems[0]


def test_what_cannot_be_told_is_unresolved_and_not_ok() -> None:
    x = normal(3)
    with pytest.raises(GradcheckError, match="unresolved") as caught:
        gradcheck(lambda x: np.arctan2(x, 1.0).sum() + 1e10, x)
    assert not caught.value.report.ok
    assert caught.value.report.worst[0].verdict == "unresolved"
    assert caught.value.report.problems == []


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.square(x).sum(), np.zeros(3)),
        (lambda x: np.cos(x).sum(), np.zeros(3)),
        (lambda x: F.softmax(x).sum(), normal(2, 3)),
        (lambda x: (x - x.mean()).sum(), normal(4)),
        (lambda x: F.relu(x).sum(), -np.ones(3)),
        (lambda x: np.sign(x) * 2.0, normal(3)),
        (lambda x: Tensor(np.zeros(2)) + 0.0 * x[0], normal(2)),
    ],
)
def test_a_derivative_that_is_zero_passes_and_another_value_does_not(f: Callable[[Any], Any], x: Array) -> None:
    assert gradcheck(f, x).ok
    wrong = gradcheck(
        lambda x: np.asarray(f(Tensor(x)).numpy()), x, gradient=lambda *a: np.full_like(x, 1e-3), raise_on_fail=False
    )
    assert wrong.verdict == "fail"


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_steps_out_of_what_a_function_takes_are_shortened(reduction: str) -> None:
    p = np.array([[0.1, 0.9, 0.5]])
    assert gradcheck(lambda p: F.binary_cross_entropy(p, np.array([[0.0, 1.0, 0.3]]), reduction=reduction), p).ok


class TestKinks:
    @pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
    def test_any_slope_between_those_on_the_sides_passes(self, slope: float) -> None:
        report = gradcheck(
            lambda x: np.maximum(x, 0),
            np.array([-1.0, 0.0, 2.0]),
            gradient=lambda g, x: g * np.where(x == 0, slope, x > 0),
        )
        low, high = report.elements[1].kink or (0, 0)
        assert sorted([abs(low), abs(high)]) == pytest.approx([0, abs(report.elements[2].numeric)], rel=0.7, abs=1e-6)
        assert report.elements[0].kink is None

    @pytest.mark.parametrize("slope", [-0.1, 1.1, 2.0])
    def test_a_slope_outside_fails(self, slope: float) -> None:
        report = gradcheck(
            lambda x: np.maximum(x, 0).sum(), np.zeros(1), gradient=lambda x: np.array([slope]), raise_on_fail=False
        )
        assert report.verdict == "fail"
        assert "kink from" in str(report)

    @pytest.mark.parametrize(
        ("f", "x"),
        [
            (F.relu, np.array([0.0, 1.0])),
            (np.abs, np.array([0.0, -2.0])),
            (lambda x: np.maximum(x, x[::-1] * 1.0), np.array([1.0, 2.0, 1.0])),
            (lambda x: np.max(x, axis=0), np.array([3.0, 1.0, 3.0])),
            (lambda x: np.clip(x, -1, 1), np.array([-1.0, 0.5, 1.0])),
            (lambda x: np.where(x > 0, 3 * x, x), np.array([0.0, 1.0])),
            (np.sort, np.array([1.0, 1.0, 1.0, 2.0])),
            (lambda x: F.leaky_relu(x, 0.1), np.array([0.0])),
            (lambda x: F.huber_loss(x, np.zeros(2)), np.array([1.0, -1.0])),
            (lambda x: F.relu(x) ** 2, np.zeros(2)),
            (lambda x: x * np.abs(x), np.zeros(2)),
        ],
    )
    def test_the_subgradients_of_the_rules_pass(self, f: Callable[[Any], Any], x: Array) -> None:
        assert gradcheck(f, x).ok

    @pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-5])
    @pytest.mark.parametrize("by_hand", [True, False])
    def test_near_a_kink_only_the_slope_of_its_side_passes(self, distance: float, by_hand: bool) -> None:
        x = np.array([-distance, distance])
        right, wrong = np.array([0.0, 1.0]), np.array([0.5, 0.5])
        if by_hand:
            assert gradcheck(lambda x: np.maximum(x, 0).sum(), x, gradient=lambda x: right).ok
        else:
            assert gradcheck(lambda x: F.relu(x).sum(), x).ok
        report = gradcheck(lambda x: np.maximum(x, 0).sum(), x, gradient=lambda x: wrong, raise_on_fail=False)
        assert [e.verdict for e in report.elements] == ["fail", "fail"]

    def test_a_network_of_relus_is_checked_within_one_branch(self) -> None:
        weights = [normal(20, 10), normal(10, 30, seed=1), normal(30, 3, seed=2)]
        report = gradcheck(lambda x, w, v: F.cross_entropy(F.relu(x @ w) @ v, np.arange(20) % 3), weights)
        assert report.ok
        assert not any(e.kink for e in report.elements)


def in_place_relu(z: Array) -> Array:
    z[z < 0] = 0
    return z


def in_place_upstream(upstream: Array, x: Array) -> Array:
    upstream[x < 0] = 0
    return upstream


class Remembering:
    """A gradient that accumulates where it should begin anew."""

    def __init__(self) -> None:
        self.total: Any = 0.0

    def __call__(self, x: Array) -> Array:
        self.total = self.total + np.cos(x)
        return self.total


x34, w43 = normal(3, 4), normal(4, 3, seed=1)


@pytest.mark.parametrize(
    ("f", "inputs", "gradient", "said"),
    [
        (lambda x: np.sum(x * x), x34, lambda x: 4 * x, "x: every derivative is 2 times the numeric one: a factor"),
        (lambda x: np.sum(x * x), x34, lambda x: -2 * x, "is -1 times the numeric one: the sign is wrong"),
        (lambda x: np.mean(x * x), x34, lambda x: 2 * x, "is 12 times the numeric one: the 1/N of a mean over 12"),
        (lambda x: np.sum(x * x), x34, lambda x: x / 2, "is 0.25 times the numeric one: it may be a mean over 4"),
        (lambda x: np.mean(x * x), x34, lambda x: -2 * x, "the sign is wrong, and the 1/N of a mean over 12"),
        (lambda x: np.sum(x * x), x34, lambda x: 0 * x, "is zero: the result is not connected to this input"),
        (lambda x: np.sum(x @ x), x34[:, :3], lambda x: (x + x.sum(0)) * np.nan, "x: the gradient is not finite"),
        (
            lambda x: np.sum(np.tanh(x @ x)), x34[:, :3],
            lambda x: ((1 - np.tanh(x @ x) ** 2) @ x.T + x.T @ (1 - np.tanh(x @ x) ** 2)).T,
            "x: the gradient is transposed",
        ),
        (lambda x, w: x @ w, [x34, w43], lambda g, x, w: (g @ w.T, g.T @ x), "w has shape (4, 3), its gradient (3, 4)"),
        (lambda x, w: x @ w, [x34, w43], lambda g, x, w: (g @ w.T, g.T @ x), "(3, 4): it is transposed"),
        (lambda x, b: x + b, [x34, w43[:, 0]], lambda g, x, b: (g, g), "b: it was broadcast, and its gradient is not"),
        (lambda x, b: x * b, [x34, x34[:, :1]], lambda g, x, b: (g * b, g * x), "not summed over axis 1"),
        (lambda x: np.sum(x * x), x34, lambda x: 2 * x[0], "x has shape (3, 4), its gradient (4,)"),
        (lambda x: np.maximum(x, 0), x34, lambda g, x: g, "where the function does not change: a mask is missing"),
        (lambda x: np.maximum(x, 0), x34, lambda g, x: g * (x < 0), "a mask is the wrong way round"),
        (lambda x: np.sum(x), x34, lambda x: 1.0 * (x > 0), "they are zero: elements are cut off"),
        (lambda x: np.sin(x), x34, lambda g, x: g * np.cos(x).astype(np.float32), "by a little: something is rounded"),
        (lambda x: np.sin(x), x34, lambda g, x: (g * np.cos(x)).astype(np.float32), "is not float64, as its input is"),
        (lambda x: np.sin(x), x34, lambda g, x: np.clip(g, -1, 1) * np.cos(x), "not linear in the upstream"),
        (lambda x: np.sin(x), x34, lambda g, x: np.abs(g) * np.cos(x), "not linear in the upstream gradient: x"),
        (lambda x: np.sin(x), x34, lambda g, x: g * np.cos(x) + 1, "a zero upstream gradient does not give a zero"),
        (lambda x: np.sin(x).sum(), x34, Remembering(), "a second backward pass gives another gradient: x"),
        (in_place_relu, x34, lambda g, x: g * (x > 0), "in_place_relu changes its inputs in place; let it"),
        (lambda x: np.maximum(x, 0), x34, in_place_upstream, "in_place_upstream changes its inputs in place"),
        (lambda x: x * 1.0, x34, lambda g, x: in_place_relu(x) * 0 + g, "gradient changes its inputs in place"),
        (lambda x: x + np.random.default_rng().normal(), x34, lambda g, x: g, "f is random: two calls with equal"),
    ],
)  # fmt: skip
def test_the_diagnosis(f: Any, inputs: Any, gradient: Any, said: str) -> None:
    with pytest.raises(GradcheckError) as caught:
        gradcheck(f, inputs, gradient=gradient)
    assert any(said in problem for problem in caught.value.report.problems), caught.value.report.problems
    assert said in str(caught.value)


def test_one_wrong_element_among_ten_thousand_is_found() -> None:
    def gradient(x: Array) -> Array:
        g = np.cos(x)
        g[12, 34] *= 1.1
        return g

    report = gradcheck(lambda x: np.sin(x).sum(), normal(100, 100), gradient=gradient, raise_on_fail=False)
    assert report.worst[0].at == (12, 34)
    assert len([e for e in report.elements if e.verdict == "fail"]) == 3  # it and two directions
    assert any("of 10000 elements, and 2 random directions" in note for note in report.notes)


def loss(x: Any) -> Any:
    return x.sum().item()


def doubled(x: Any) -> Any:
    x.data[...] *= 2
    return x * 1.0


def broken(model: nn.Module) -> Any:
    raise RuntimeError("broken")


class TestTensorFunctions:
    def test_what_is_no_tensor_is_named(self) -> None:
        with pytest.raises(TypeError, match=r"f returned float64\(3,\); it must return one Tensor"):
            gradcheck(lambda x: x.detach().numpy(), normal(3))
        with pytest.raises(TypeError, match="f returned a tuple; it must return one Tensor"):
            gradcheck(lambda x: (x, x), normal(3))
        with pytest.raises(TypeError, match="loss returned a float"):
            gradcheck(loss, normal(3))

    @pytest.mark.parametrize("x", [np.arange(3), np.array([True]), np.ones(2) * 1j, Tensor(np.arange(3))])
    def test_inputs_that_are_not_float_raise(self, x: Any) -> None:
        with pytest.raises(DtypeError, match=r"x is (int64|bool|complex128)\(\d,\) and has no gradient; pass float64"):
            gradcheck(lambda x: x * 2.0, x)

    def test_results_without_a_derivative_raise(self) -> None:
        with pytest.raises(ValueError, match=r"log gives float64\(2,\), not finite floats"):
            gradcheck(np.log, np.array([1.0, -1.0]), gradient=lambda g, x: g / x)
        with pytest.raises(ValueError, match=r"f gives int64\(\), not finite floats"):
            gradcheck(lambda x: np.argmax(x), normal(3))
        with pytest.raises(ValueError, match="nothing to check"):
            gradcheck(lambda x: x.sum(), np.zeros((0, 3)))

    def test_a_random_function_is_named(self) -> None:
        rng = np.random.default_rng(0)
        with pytest.raises(GradcheckError, match="is random: two calls with equal inputs differ; fix the seed"):
            gradcheck(lambda x: F.dropout(x, 0.5, rng), normal(9))

    def test_a_function_that_changes_its_inputs_is_named(self) -> None:
        with pytest.raises(GradcheckError, match="doubled changes its inputs in place; let it compute on copies: x"):
            gradcheck(doubled, normal(3))

    def test_a_rule_that_changes_the_upstream_gradient_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doubles = tg.primitive(lambda x: 2.0 * x)
        monkeypatch.setitem(RULES, doubles, None)  # which takes it out afterwards
        tg.vjp(doubles, lambda g, out, x: np.multiply(g, 2.0, out=g))
        with pytest.raises(GradcheckError, match="the backward pass changes its inputs in place.*: upstream gradient"):
            gradcheck(doubles, normal(3))

    def test_a_cut_graph_is_not_connected(self) -> None:
        with pytest.raises(GradcheckError, match="x: the gradient is zero: the result is not connected"):
            gradcheck(lambda x: x.detach() * 2.0, normal(3))

    def test_gradients_that_share_memory_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = module.grad  # type: ignore[attr-defined]

        def shared(*args: Any, **kwargs: Any) -> Any:
            first, *_ = real(*args, **kwargs)
            return first, first

        monkeypatch.setattr(module, "grad", shared)
        with pytest.raises(GradcheckError, match="the gradient shares memory: x with y"):
            gradcheck(lambda x, y: x + y, [normal(3), normal(3)])

    def test_inputs_and_their_gradients_are_left_as_they_were(self) -> None:
        x, before = Tensor(normal(4), requires_grad=True, name="weights"), normal(4)
        (x * x).sum().backward()
        slope, graph = x.grad, (x * x).sum()
        report = gradcheck(lambda x: np.tanh(x).sum(), x)
        assert report.rows[0].input == "weights"
        assert x.grad is slope
        assert np.array_equal(x.numpy() if not x.requires_grad else x.detach().numpy(), before)
        graph.backward()
        assert np.array_equal(x.grad.numpy(), 4 * before)

    def test_float32_is_lifted_with_a_note(self) -> None:
        report = gradcheck(lambda x: np.sin(x), normal(3).astype(np.float32))
        assert report.notes == ["checked in float64: x (float32)"]

    def test_non_contiguous_inputs(self) -> None:
        assert gradcheck(lambda x: np.tanh(x) @ x.T, normal(8, 6)[::2, ::-2]).ok
        assert gradcheck(lambda x: np.tanh(x), np.asfortranarray(normal(3, 2))).ok
        assert gradcheck(lambda x: np.exp(x), np.array(0.3)).ok

    def test_no_warning_escapes(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert gradcheck(lambda x: np.log(x) + np.sqrt(x) + x**-3.0, np.array([1e-9, 1e-3, 5.0])).ok
            assert gradcheck(lambda x: np.exp(x), np.array([700.0, -700.0])).ok

    def test_it_runs_under_no_grad(self) -> None:
        with tg.no_grad():
            assert gradcheck(lambda x: np.sin(x), normal(3)).ok
        assert Tensor(1.0, requires_grad=True).exp().requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": 1.0}, "rtol must be between 1e-13 and 0.01, got 1.0"),
        ({"rtol": math.nan}, "rtol must be between"),
        ({"sample": 0}, "sample must be an integer >= 1, got 0"),
        ({"order": 3}, "order must be 1 or 2"),
        ({"order": 2, "gradient": lambda x: x}, "order must be 1 or 2, and 1 for a gradient written by hand, got 2"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradcheck(lambda x: (x * x).sum(), normal(3), **options)


def test_a_gradient_for_each_input() -> None:
    with pytest.raises(ValueError, match="gradient returned 1 gradients, not 2"):
        gradcheck(lambda x, y: (x * y).sum(), [normal(3), normal(3)], gradient=lambda x, y: y)


class TestModules:
    x, labels = normal(8, 5, seed=7), np.arange(8) % 3

    def loss(self, model: nn.Module) -> Any:
        return F.cross_entropy(model(self.x), self.labels)

    def test_parameters_appear_under_their_names(self) -> None:
        model = nn.Sequential(nn.Linear(5, 6, rng=0, dtype=np.float64), nn.Tanh(), nn.Linear(6, 3, rng=1))
        report = gradcheck(self.loss, model, order=2)
        assert [row.input for row in report.rows[:4]] == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert [row.input for row in report.rows[4:6]] == ["0.weight, order 2", "0.bias, order 2"]
        assert report.notes == ["checked in float64: 2.weight (float32), 2.bias (float32)"]

    def test_a_model_together_with_its_input(self) -> None:
        model = nn.Linear(5, 3, rng=0)
        report = gradcheck(lambda model, x: F.cross_entropy(model(x), self.labels), [model, self.x])
        assert [row.input for row in report.rows] == ["model.weight", "model.bias", "x"]

    def test_the_model_is_left_as_it_was(self) -> None:
        model = nn.Sequential(nn.Linear(5, 6, rng=0), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3, rng=1))
        self.loss(model).backward()
        tensors = [*model.parameters(), *model.buffers()]
        before = [(t.data, t.data.copy(), t.grad) for t in tensors]
        report = gradcheck(self.loss, model)
        assert report.ok  # the bias before the normalisation too, whose gradient is zero but for rounding
        for t, (data, values, slope) in zip(tensors, before, strict=True):
            assert t.data is data
            assert t.grad is slope
            assert np.array_equal(data, values)

    def test_it_is_left_as_it_was_by_an_error_too(self) -> None:
        model = nn.Linear(5, 3, rng=0)
        data = model.weight.data
        with pytest.raises(RuntimeError, match="broken"):
            gradcheck(broken, model)
        assert model.weight.data is data
        assert Tensor(1.0, requires_grad=True).exp().requires_grad

    def test_frozen_parameters_are_not_checked(self) -> None:
        model = nn.Sequential(nn.Linear(5, 6, rng=0), nn.Linear(6, 3, rng=1))
        model[0].requires_grad_(False)
        assert [row.input for row in gradcheck(self.loss, model).rows] == ["1.weight", "1.bias"]
        model.requires_grad_(False)
        with pytest.raises(ValueError, match="nothing to check"):
            gradcheck(self.loss, model)

    def test_a_model_of_mnists_size(self) -> None:
        model = nn.MLP([784, 256, 10], rng=0)
        x, labels = np.random.default_rng(0).random((16, 784)), np.arange(16) % 10
        report = gradcheck(lambda model: F.cross_entropy(model(x), labels), model)
        assert report.ok
        assert len(report.elements) < 150
        assert int(report.summary.split(";")[1].split()[0]) < 2500


def test_a_function_that_differentiates_inside() -> None:
    def slope(x: Any) -> Any:
        return tg.grad((np.sin(x) * x).sum(), x, create_graph=True)[0]

    assert gradcheck(slope, normal(4)).ok
    assert gradcheck(slope, normal(4), order=2).ok


class TestOrder2:
    def test_it_notices_a_gradient_that_is_right_but_not_differentiable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def rule(g: Any, out: Any, x: Any) -> Any:
            return g * np.cos(x._data if isinstance(x, Tensor) else x)

        monkeypatch.setattr(RULES[np.sin], "vjps", (rule,))
        assert gradcheck(np.sin, normal(3)).ok
        report = gradcheck(np.sin, normal(3), order=2, raise_on_fail=False)
        assert [(row.input, row.verdict) for row in report.rows] == [
            ("x", "pass"), ("x, order 2", "fail"), ("upstream, order 2", "pass"),
        ]  # fmt: skip

    @pytest.mark.parametrize("f", [lambda x: 3 * x, lambda x: F.relu(x), lambda x: x @ x.T, lambda x: np.sign(x) * 1.0])
    def test_second_derivatives_that_are_zero_or_constant(self, f: Callable[[Any], Any]) -> None:
        assert gradcheck(f, normal(3, 3), order=2).ok


@pytest.mark.parametrize(
    ("function", "count"), [(np.sin, 1), (np.max, 1), (F.softmax, 1), (np.multiply, 2), (np.matmul, 2), (F.linear, 2)]
)
@pytest.mark.parametrize("factor", [1 + 1e-6, -1.0, 0.0])
def test_wrong_rules_are_noticed(monkeypatch: pytest.MonkeyPatch, function: Any, count: int, factor: float) -> None:
    inputs = [normal(3, 3, seed=k) for k in range(count)]
    rules = RULES[function].vjps
    wrong = [None if r is None else lambda g, *a, r=r, **k: r(g, *a, **k) * factor for r in rules.values()]
    monkeypatch.setattr(RULES[function], "vjps", wrong)
    report = gradcheck(function, inputs, raise_on_fail=False)
    assert {row.verdict for row in report.rows} == {"fail"}


class TestReport:
    def report(self) -> Report:
        return gradcheck(
            lambda x, y: np.sum(x * y),
            [x34, normal(3, 4, seed=9)],
            gradient=lambda x, y: (3 * y, 3 * x),
            raise_on_fail=False,
        )

    def test_it_is_a_table(self) -> None:
        text = str(gradcheck(lambda x, y: x * y, [x34, normal(3, 4, seed=9)]))
        lines = text.splitlines()
        assert lines[0].startswith("gradcheck: pass; 24 derivatives by central differences, 0 by the complex step, 0 o")
        assert lines[0].endswith("s, seed 0")
        assert " ".join(lines[2].split()) == "input shape element x analytic numeric rel. error estimated verdict"
        assert [line.split()[0] for line in lines[3:]] == ["x", "y"]
        assert len({line.rindex("pass") for line in lines[3:]}) == 1

    def test_a_failure_lists_the_worst_and_how_to_rerun(self) -> None:
        def loss(x: Any) -> Any:
            return (x * x).sum()

        with pytest.raises(GradcheckError) as caught:
            gradcheck(loss, x34, gradient=lambda x: 3 * x, seed=5, rtol=1e-8)
        lines = str(caught.value).splitlines()
        start = lines.index("the worst:")
        assert len(lines[start + 1 : start + 7]) == 6
        assert all(line.endswith("fail") for line in lines[start + 2 : start + 7])
        assert lines[-1] == "rerun: gradcheck(loss, inputs, gradient=gradient, rtol=1e-08, seed=5)"
        assert isinstance(caught.value, AssertionError)

    def test_as_a_value(self) -> None:
        report = self.report()
        assert not report
        assert (report.ok, report.verdict) == (False, "fail")
        assert [row.input for row in report.rows] == ["x", "y"]
        assert [e.error for e in report.worst] == sorted((e.error for e in report.worst), reverse=True)
        assert all(isinstance(e, Element) for e in report.elements)

    def test_as_a_dataframe(self) -> None:
        frame = self.report().to_dataframe()
        assert list(frame.columns)[:3] == ["input", "shape", "element"]
        assert list(frame["verdict"]) == ["fail", "fail"]
        assert frame["analytic"].to_numpy() == pytest.approx(3 * frame["numeric"].to_numpy())

    def test_as_html(self) -> None:
        text = check(lambda x: (x * x).sum(), [Tensor(x34, name="<script>")], 3.0)._repr_html_()
        assert text.count(">fail</b>") == 1 + 1 + 5  # the verdict, a row for the input, the five worst derivatives
        assert "<script>" not in text
        assert "&lt;script&gt;: every derivative is 3 times" in text

    def test_the_seed_decides_everything(self) -> None:
        def run(seed: int) -> list[tuple[Any, ...]]:
            return [(e.at, e.numeric) for e in gradcheck(lambda x: np.tanh(x), normal(20, 20), seed=seed).elements]

        assert run(3) == run(3)
        assert run(3) != run(4)

    def test_a_larger_sample(self) -> None:
        report = gradcheck(lambda x: np.tanh(x).sum(), normal(20, 20), sample=150)
        assert sum(e.at is not None for e in report.elements) in (150, 151)
        assert len(gradcheck(lambda x: np.tanh(x).sum(), normal(20, 20), sample=400).elements) == 400


def test_the_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(EXAMPLES / "gradients.py"), run_name="__main__")
    assert caught.value.code is False
    lines = capsys.readouterr().out.splitlines()
    outcomes = [line.split()[2:4] for line in lines if line[:4] in ("ReLU", "cost", "sigm")]
    assert outcomes == [["before", "fail"], ["after", "pass"]] * 4
    said = [
        "a mask is the wrong way round",
        "the sign is wrong",
        "20 of 20 derivatives are wrong",
        "its inputs in place",
    ]
    failures = [line for line in lines if "before  fail" in line]
    assert all(text in line for text, line in zip(said, failures, strict=True))
