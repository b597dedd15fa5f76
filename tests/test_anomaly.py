"""detect_anomaly: what it finds, what it says, and that it leaves everything as it was."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim
from tinygrad_mlp.core.tracer import IDLE, mode

FORWARD = [
    (lambda x: np.log(x), [1.0, 0.0, -1.0], r"log of .*float64\(3,\) in \[-1, 1\] has 2 of 3 .*-inf at \(1,\)"),
    (lambda x: 1 / x, [0.0, 2.0], r"divide of .*1 of 2 entries not finite, the first inf at \(0,\)"),
    (lambda x: np.exp(x * 1000), [0.1, 1.0], r"exp of .*in \[100, 1000\].*inf at \(1,\).*log_softmax"),
    (lambda x: x**-0.5, [0.0, 1.0], r"power of .*inf at \(0,\)"),
]
BACKWARD = [
    (
        lambda x: np.sqrt(x).sum(),
        [0.0, 4.0],
        r"gradient of sqrt by its input 0.*1 of 2 .*inf at \(0,\).*small constant",
    ),
    (lambda x: np.sqrt(F.relu(x)).sum(), [-1.0, 4.0], r"gradient of sqrt by its input 0"),
    (lambda x: np.arccos(x).sum(), [1.0, 0.0], r"gradient of arccos by its input 0.*clip"),
]


@pytest.mark.parametrize(("f", "data", "message"), FORWARD)
def test_forward(f, data, message):
    x = tg.Tensor(data, requires_grad=True)
    with pytest.raises(FloatingPointError, match=message) as caught, tg.detect_anomaly():
        f(x)
    assert "test_anomaly.py:" in str(caught.value)


@pytest.mark.parametrize(("f", "data", "message"), BACKWARD)
def test_backward(f, data, message):
    x = tg.Tensor(data, requires_grad=True)
    with pytest.raises(FloatingPointError, match=message) as caught, tg.detect_anomaly():
        f(x).backward()
    assert "test_anomaly.py:" in str(caught.value)
    assert x.grad is None


def test_ranges_are_those_of_the_finite_entries():
    x = tg.Tensor([1.0, np.inf, -2.0, np.nan], name="x")
    message = r"x float64\(4,\) in \[-2, 1\] with 2 entries not finite"
    with pytest.raises(FloatingPointError, match=message), tg.detect_anomaly():
        np.tanh(x) * x


def test_infinities_inside_of_a_rule_are_no_anomaly():
    x = tg.Tensor([2.0, 2.0, 2.0], requires_grad=True)
    with tg.detect_anomaly():
        np.std(x).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0, 0])


def test_trap_83_data_changed_through_an_alias():
    data = np.array([1.0, 2.0])
    x = tg.Tensor(data, requires_grad=True, name="x")
    with tg.detect_anomaly():
        y = (x * x).sum()
        data[0] = 10.0
        with pytest.raises(
            tg.GraphError, match=r"multiply, called at test_anomaly.py:\d+, read x of shape \(2,\).*changed .*shares"
        ):
            y.backward()
    assert x.grad is None


def test_the_result_that_is_differentiated_was_changed():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with tg.detect_anomaly():
        y = np.exp(x)
        y.data[0] = 5.0
        with pytest.raises(tg.GraphError, match=r"exp, called at test_anomaly.py:\d+, gave a Tensor .*changed.*shares"):
            tg.grad(y, x, np.ones(2))


def test_training_step_gives_the_same_bits_as_without():
    def trained(watched: bool) -> list[bytes]:
        model = nn.MLP([4, 8, 3], rng=0)
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        rng = np.random.default_rng(0)
        for _ in range(3):
            x, y = rng.standard_normal((5, 4)).astype(np.float32), rng.integers(0, 3, 5)
            opt.zero_grad()
            if watched:
                with tg.detect_anomaly():
                    F.cross_entropy(model(x), y).backward()
                    opt.step()
            else:
                F.cross_entropy(model(x), y).backward()
                opt.step()
        return [p.numpy().tobytes() for p in map(tg.Tensor.detach, model.parameters())]

    assert trained(True) == trained(False)


def test_the_mode_is_restored_and_nesting_refused():
    with pytest.raises(FloatingPointError), tg.detect_anomaly():
        np.log(tg.Tensor([0.0]))
    assert mode.tracer is IDLE
    with tg.detect_anomaly(), pytest.raises(tg.GraphError, match="watched already"), tg.detect_anomaly():
        pass
    assert mode.tracer is IDLE


def test_jitted_functions_are_watched_too():
    step = tg.jit(lambda x: np.log(tg.Tensor(x)).sum())
    step(np.array([1.0, 2.0]))
    step(np.array([1.0, 2.0]))
    with pytest.raises(FloatingPointError, match="log"), tg.detect_anomaly():
        step(np.array([0.0, 2.0]))


def test_a_forward_pass_after_a_backward_pass_is_watched_too():
    x, bad = tg.Tensor([2.0], requires_grad=True), tg.Tensor([-1.0], requires_grad=True)
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match="log of .* entries not finite"):
        (x * x).sum().backward()
        np.log(bad)


MASK = np.array([[True, False, True], [True, True, False]])
MASKED = {
    "softmax": lambda x: F.softmax(np.where(MASK, x, -np.inf)).max(axis=0).sum(),
    "log_softmax": lambda x: F.log_softmax(np.where(MASK, x, -np.inf))[MASK].sum(),
    "logsumexp": lambda x: F.logsumexp(np.where(MASK, x, -np.inf), axis=1).sum(),
    "added": lambda x: F.softmax(x + np.where(MASK, 0, -np.inf))[:, 0].sum(),
    "added_tensor": lambda x: F.softmax(x + tg.Tensor(np.where(MASK, 0, -np.inf)))[:, 0].sum(),
    "attention": lambda x: (F.softmax(np.where(np.tri(2) > 0, x @ x.T / np.sqrt(3.0), -np.inf)) @ x).sum(),
    "by_hand": lambda x: (e := np.exp((z := np.where(MASK, x, -np.inf)) - z.max(axis=1, keepdims=True)), e / e.sum())[
        1
    ].max(),
    "cross_entropy": lambda x: F.cross_entropy(np.where(MASK, x, -np.inf), np.array([0, 1])),
    "nll": lambda x: F.nll_loss(F.log_softmax(np.where(MASK, x, -np.inf)), np.array([2, 1])),
    "negative": lambda x: (-F.log_softmax(np.where(MASK, x, -np.inf)).reshape(3, 2).T)[0, 0],
    "smallest": lambda x: np.where(MASK, x, np.inf).min(axis=1).sum(),
    "largest": lambda x: np.where(MASK, x, -np.inf).T.max(axis=0).sum(),
    "stacked": lambda x: F.softmax(np.concatenate([np.where(MASK, x, -np.inf), x])).max(),
}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_mask_of_infinities_is_no_anomaly(name, create_graph):
    x = tg.Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    with tg.detect_anomaly():
        (g,) = tg.grad(MASKED[name](x), x, create_graph=create_graph)
        if g.requires_grad:
            tg.grad(g.sum(), x)
    assert np.isfinite(g.detach().numpy()).all()


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: F.softmax(np.where(False, x, -np.inf)), r"softmax of .*6 of 6 entries not finite, the first nan"),
        (lambda x: np.where(MASK, x, -np.inf) * 0, r"multiply of .*the first nan at \(0, 1\)"),
        (lambda x: np.where(MASK, x, np.inf) - np.where(MASK, x, np.inf), r"subtract of .*the first nan at \(0, 1\)"),
        (lambda x: np.log(F.softmax(np.where(MASK, x, -np.inf))), r"log of .*the first -inf at \(0, 1\)"),
        (
            lambda x: F.cross_entropy(np.where(MASK, x, -np.inf), np.array([1, 1])).backward(),
            r"result to differentiate, made at test_anomaly.py:\d+, is inf: .*mask",
        ),
    ],
)
def test_what_infinities_of_a_mask_lead_to_is_found(f, message):
    x = tg.Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    with pytest.raises(FloatingPointError, match=message), tg.detect_anomaly():
        f(x)
    assert x.grad is None


NAN = float("nan")


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x, w: x * 2, r"input 0 of multiply, x float64\(3,\).*is NaN already: 1 of 3 .*first nan at \(1,\)"),
        (lambda x, w: w * x, r"input 1 of multiply, x float64"),
        (lambda x, w: w.detach() * np.array([1.0, NAN, 1.0]), r"input 1 of multiply, float64\(3,\)"),
        (lambda x, w: w * NAN, r"input 1 of multiply, float64\(\).*NaN already"),
        (lambda x, w: np.where(w > 1.5, w, NAN), r"input 2 of where.*NaN already"),
        (lambda x, w: F.linear(w[None], x[None]), r"input 0 of getitem, x"),
        (lambda x, w: np.concatenate([w, x]), r"input 1 of concatenate, x"),
        (lambda x, w: F.mse_loss(w, np.array([1.0, 2.0, NAN])), r"input 1 of subtract"),
        (lambda x, w: (w * 2).backward(np.array([1.0, NAN, 1.0])), r"upstream gradient of .*\(3,\).*nan at \(1,\)"),
        (lambda x, w: tg.grad(w * 2, w, tg.Tensor([np.inf, 1, 1])), r"upstream gradient of .*inf at \(0,\)"),
        (lambda x, w: tg.Tensor([np.inf], requires_grad=True) * w, r"input 0 of multiply.*is infinite already"),
    ],
)
def test_an_input_that_is_not_finite_already_is_named(f, message):
    x, w = tg.Tensor([1.0, NAN, 3.0], requires_grad=True, name="x"), tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(FloatingPointError, match=message) as caught, tg.detect_anomaly():
        f(x, w)
    assert "test_anomaly.py" in str(caught.value) or "upstream" in str(caught.value)


def test_a_nan_that_is_left_out_is_no_anomaly():
    x = tg.Tensor([1.0, NAN, 3.0], requires_grad=True)
    with tg.detect_anomaly():
        np.where(np.isnan(x), 0.0, np.maximum(2.0, 2.0)).sum()
        assert not (x > 2)[1]


@pytest.mark.parametrize(
    "argument",
    [np.array([0.0, 2.0]), [np.array([0.0, 2.0])], {"a": np.array([0.0, 2.0])}, (np.array([0.0, 2.0]), 3)],
    ids=["array", "list", "dict", "tuple"],
)
def test_arrays_for_a_jitted_function_are_watched_from_its_first_op(argument):
    w = tg.Tensor([1.0, 1.0], requires_grad=True)

    @tg.jit
    def step(x):
        x = x["a"] if isinstance(x, dict) else x[0] if isinstance(x, (list, tuple)) else x
        loss = (np.log(x) * w).sum()
        loss.backward()
        return loss

    for _ in range(3):
        found = pytest.raises(FloatingPointError, match=r"^log of float64\(2,\) in \[0, 2\].*test_anomaly.py")
        with found, tg.detect_anomaly():
            step(argument)
        with np.errstate(all="ignore"):
            step(argument)
    good = np.array([1.0, 2.0])
    with tg.detect_anomaly():
        assert step(good).item() == pytest.approx(np.log(2))


def test_double_backward_has_the_line_of_the_op():
    x = tg.Tensor([0.0, 4.0], requires_grad=True)
    with pytest.raises(FloatingPointError, match="gradient of .* of power") as caught, tg.detect_anomaly():
        y = x**1.5
        line = inspect.currentframe().f_lineno - 1
        (g,) = tg.grad(y.sum(), x, create_graph=True)
        g.sum().backward()
    assert f"test_anomaly.py:{line}, in the derivative of power" in str(caught.value)


def test_a_second_pass_through_a_retained_graph_has_its_line():
    x = tg.Tensor([0.0, 4.0], requires_grad=True)
    found = pytest.raises(FloatingPointError, match=r"gradient of sqrt by its input 0.*test_anomaly.py:\d+")
    with found, tg.detect_anomaly():
        y = np.sqrt(x)
        z = y + 0
        tg.grad(z.sum(), y, retain_graph=True)
        tg.grad(z.sum(), z, retain_graph=True)
        tg.grad(z.sum(), x)


def test_a_released_graph_is_forgotten_and_a_retained_one_checked_again():
    data = np.array([1.0, 4.0])
    x = tg.Tensor(data, requires_grad=True)
    with tg.detect_anomaly():
        for _ in range(3):
            np.sqrt(x).sum().backward()
        assert not mode.tracer.suspects
        y = (x * x).sum()
        y.backward(retain_graph=True)
        data[0] = 9.0
        with pytest.raises(tg.GraphError, match=r"multiply, called at test_anomaly.py:\d+, read .*changed"):
            y.backward()


def test_what_a_hook_makes_is_the_hooks():
    x = tg.Tensor([0.0, 4.0], requires_grad=True)
    h = x * 2
    h.register_hook(lambda g: np.log(g - 1))
    with pytest.raises(FloatingPointError, match=r"log of .*-inf at \(0,\).*test_anomaly.py"), tg.detect_anomaly():
        (h * 1).sum().backward()
    assert x.grad is None
