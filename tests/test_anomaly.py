"""detect_anomaly: what it finds, what it says, and that it leaves everything as it was."""

from __future__ import annotations

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
    with pytest.raises(FloatingPointError, match=r"x float64\(4,\) in \[-2, 1\] with 2 entries not finite"):
        with tg.detect_anomaly():
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
            tg.GraphError, match=r"input 0 of multiply, x float64\(2,\).*changed after.*test_anomaly.py:\d+"
        ):
            y.backward()
    assert x.grad is None


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
