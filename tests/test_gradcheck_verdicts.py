"""The checker's claims at the edges: no correct function is called wrong, and no wrong one passes without a note."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn
from tinygrad_mlp.tools.gradcheck import GradcheckError, Report, assert_gradcheck, gradcheck

Array = np.ndarray[Any, Any]


def normal(seed: int, *shape: int) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape))


def hilbert(n: int) -> Array:
    return np.asarray(1 / (np.arange(n)[:, None] + np.arange(n) + 1.0))


def linear_and_batch_norm(seed: int) -> tuple[Any, ...]:
    model = nn.Sequential(nn.Linear(5, 8, rng=np.random.default_rng(seed)), nn.BatchNorm1d(8))
    return lambda model: (model(normal(seed, 8, 5)) * 1.0).sum(), model


def single(x: Any) -> Any:
    return x.astype(np.float32)


CORRECT: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "sum of a layer norm": lambda s: (lambda x: nn.LayerNorm(5)(x).sum(), normal(s, 3, 5)),
    "sum of a batch norm": lambda s: (lambda x: nn.BatchNorm1d(4)(x).sum(), normal(s, 6, 4)),
    "sum of what is centred": lambda s: (lambda x: (x - x.mean()).sum(), normal(s, 7)),
    "sum of what is centred by columns": lambda s: (lambda x: (x - x.mean(axis=0)).sum(), normal(s, 7, 3)),
    "sum of a softmax": lambda s: (lambda x: F.softmax(x).sum(), normal(s, 3, 4)),
    "parameters of linear and batch norm": linear_and_batch_norm,
    "float32 inside": lambda s: (lambda x: np.sin(single(x)).sum(), normal(s, 5)),
    "float32 inside, by hand": lambda s: (lambda x: np.sin(single(x)), normal(s, 5), lambda g, x: g * np.cos(x)),
    "float32 inside of layers": lambda s: (
        lambda x, w: np.tanh(single(x) @ single(w)).mean(), [normal(s, 4, 3), normal(s + 9, 3, 2)]),
    "log(1 + exp(x)) near -30": lambda s: (lambda x: np.log(1 + np.exp(x)).sum(), normal(s, 4) - 30),
    "log(1 + exp(x)) near -30, by hand": lambda s: (
        lambda x: np.log(1 + np.exp(x)).sum(), normal(s, 4) - 30, lambda x: np.exp(x) / (1 + np.exp(x))),
    "(1e8 + sin x) - 1e8": lambda s: (lambda x: ((1e8 + np.sin(x)) - 1e8).sum(), normal(s, 4)),
    "Hilbert matrix solved": lambda s: (lambda b: np.linalg.solve(hilbert(8), b), normal(s, 8)),
    "Hilbert matrix as input": lambda s: (
        lambda a: np.linalg.solve(a, np.ones(5)).sum(), hilbert(5) * (1 + 1e-3 * normal(s, 5, 5))),
    "sin x + 1e-9 sin(1e4 x)": lambda s: (lambda x: (np.sin(x) + 1e-9 * np.sin(1e4 * x)).sum(), normal(s, 4)),
    "two kinks at once": lambda s: (
        lambda x, y: np.clip(np.maximum(x, y), -1, 1), [np.round(normal(s, 6)), np.round(normal(s + 50, 6))]),
    "three kinks at once": lambda s: (
        lambda x, y: F.relu(np.clip(np.maximum(x, y), -1, 1)), [np.round(normal(s, 6)), np.round(normal(s + 50, 6))]),
    "joint of a squared hinge, by hand": lambda s: (
        lambda x: (np.maximum(1 - x, 0) ** 2).sum(), np.array([1.0, 0.5, 2.0]), lambda x: -2 * np.maximum(1 - x, 0)),
    "values of 1e160": lambda s: (lambda x: 1e160 * np.sin(x), normal(s, 4)),
    "inputs of 1e200": lambda s: (
        lambda x: np.abs(x).sum(), 1e200 * normal(s, 4), lambda x: np.sign(x)),
    "(exp(x) - 1) / x near 1e-6": lambda s: (lambda x: ((np.exp(x) - 1) / x).sum(), (3 + np.abs(normal(s, 3))) * 1e-6),
    "inputs of 1e-9, 1 and 1e9": lambda s: (
        lambda x: np.sin(x / [1e-9, 1, 1e9]).sum(), (1 + np.abs(normal(s, 3))) * [1e-9, 1, 1e9]),
    "inputs of 1e-150": lambda s: (lambda x: np.sqrt(x).sum(), 1e-150 * (1 + np.abs(normal(s, 3)))),
}  # fmt: skip


def passes(name: str, seed: int) -> bool:
    f, inputs, *gradient = CORRECT[name](seed)
    report = gradcheck(f, inputs, gradient=gradient[0] if gradient else None, raise_on_fail=False, seed=seed)
    assert report.verdict != "fail", report
    return report.ok


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_function_is_not_called_wrong(name: str) -> None:
    assert all(passes(name, seed) for seed in range(3))


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_function_is_not_called_wrong_in_40_of_40_times(name: str) -> None:
    assert sum(passes(name, seed) for seed in range(40)) >= 38


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda b: np.linalg.solve(hilbert(13), b), normal(0, 13)),
        (lambda x: np.sin(x.astype(np.float16)).astype(np.float64), normal(0, 4)),
        (lambda x: np.log(x).sum(), np.array([1e-300, 1e-308])),
    ],
)
def test_a_hopeless_function_is_neither_right_nor_wrong(f: Any, x: Array) -> None:
    assert gradcheck(f, x, raise_on_fail=False).verdict == "unresolved"


def by_hand(f: Any, inputs: Any, gradient: Any) -> Report:
    return gradcheck(f, inputs, gradient=gradient, raise_on_fail=False)


def one_wrong(x: Array, factor: float = 1 + 1e-7) -> Array:
    g = np.cos(x)
    g[1234] *= factor
    return g


TIED = [np.array([1.0, 2.0, 0.5]), np.array([1.0, 2.0, -0.5])]
WRONG: dict[str, tuple[Any, ...]] = {
    "any gradient of 1e160": (lambda x: 1e160 * np.sin(x).sum(), normal(0, 4), lambda x: 1e160 * np.sin(x)),
    "1 to both of a tie": (np.maximum, TIED, lambda g, x, y: (g * (x >= y), g * (y >= x))),
    "0 to both of a tie": (np.maximum, TIED, lambda g, x, y: (g * (x > y), g * (y > x))),
    "1 to both of a tie at 0": (np.maximum, [np.zeros(1)] * 2, lambda g, x, y: (g * (x >= y), g * (y >= x))),
    "sign of what is 1e-11 of the largest": (
        lambda x: np.sin(x[1:]).sum() + 1e-11 * np.sin(x[0]), normal(0, 4),
        lambda x: np.cos(x) * np.array([-1e-11, 1, 1, 1])),
    "1e-6 of one that is 1e-8 of those of another input": (
        lambda x, y: np.sin(x).sum() + 1e-8 * np.sin(y).sum(), [normal(0, 3), normal(1, 3)],
        lambda x, y: (np.cos(x), (1 + 1e-6) * 1e-8 * np.cos(y))),
    "one element of many by 1e-7": (lambda x: np.sin(x).sum(), normal(0, 4000), one_wrong),
    "right at a tie alone": (lambda x: (x * x[::-1]).sum(), np.ones(3), lambda x: 2 * x),
    "right for ones alone": (lambda x: (x**3).sum(), np.ones(3), lambda x: 3 * x),
    "right at a kink alone": (lambda x: np.maximum(x, 0).sum(), np.zeros(3), lambda x: np.full(3, 0.5)),
    "-2 at the joint of a hinge": (
        lambda x: (np.maximum(1 - x, 0) ** 2).sum(), np.array([1.0, 0.5, 2.0]),
        lambda x: -2 * np.where(x == 1, 1, np.maximum(1 - x, 0))),
    "the other side of a kink at 1e-5": (
        lambda x: np.abs(x).sum(), np.array([1e-5, -1.0]), lambda x: np.where(np.abs(x) < 1e-3, -1, 1) * np.sign(x)),
    "float32 in the gradient alone": (
        lambda x: np.sin(x), normal(0, 9), lambda g, x: g * np.cos(x).astype(np.float32).astype(float)),
    "one infinite element": (
        lambda x: np.sin(x).sum(), normal(0, 4), lambda x: np.where(x == x[2], np.inf, np.cos(x))),
    "factor 1 + 1e-8 near 1e-12": (
        lambda x: np.sqrt(x).sum(), np.array([1e-10, 3e-10]), lambda x: (1 + 1e-8) / 2 / np.sqrt(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_caught(name: str) -> None:
    assert by_hand(*WRONG[name]).verdict == "fail"


@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_what_is_flat_does_not_pass_in_silence(factor: float) -> None:
    f = lambda x, y: 1e6 + np.sin(x).sum() + 1e-8 * np.sin(y).sum()
    report = by_hand(f, [normal(0, 3), normal(1, 3)], lambda x, y: (np.cos(x), factor * 1e-8 * np.cos(y)))
    assert report.verdict != "pass" or any("y: 3 derivatives are so small" in note for note in report.notes)


def test_the_complex_step_passes_little_more_than_differences_confirm() -> None:
    """A modulus has no derivative for it, and that of this one is hidden below the rounding of the result."""
    report = by_hand(lambda x: 1e10 + np.sin(x).sum() + 1e-4 * np.abs(x).sum(), normal(0, 3), lambda x: np.cos(x))
    assert report.verdict == "unresolved"


def test_less_than_float64_is_noted() -> None:
    report = gradcheck(lambda x: np.sin(single(x)).sum(), normal(0, 5))
    assert any(re.fullmatch(r"x: precise to \de-0[78] only, .*", note) for note in report.notes)


def test_what_holds_for_symmetric_matrices_alone_is_noted() -> None:
    a = normal(0, 3, 3)
    report = by_hand(lambda x: (x @ x).sum(), a + a.T, lambda x: x.sum(0) + x.sum(1)[:, None] + 0 * x)
    assert report.ok
    assert any("right as long as the inputs are symmetric" in note for note in report.notes)


def test_no_trap_of_many_evaluations() -> None:
    f, model = linear_and_batch_norm(0)
    report = gradcheck(f, model)
    assert int(report.summary.split("; ")[1].split()[0]) < 1500
    wrong = by_hand(lambda x: np.sin(x).sum(), normal(0, 90), lambda x: np.cos(x) + 1)
    assert int(wrong.summary.split("; ")[1].split()[0]) < 5000


@pytest.mark.parametrize(
    ("f", "inputs", "gradient", "not_said"),
    [
        (lambda x: np.sin(x).sum(), normal(0, 4), lambda x: np.cos(x) + np.arange(4) * 1e-3, "transposed"),
        (lambda x: np.sin(x[0, 0] * x).sum() * 0 + (x * x).sum(), np.ones((3, 3)), lambda x: 3 * x, "transposed"),
        (lambda x: np.sin(x).sum(), normal(0, 4000), one_wrong, "0 of"),
        (lambda x: (x * x).sum(), normal(0, 2, 2), lambda x: 4 * x, "mean over 2"),
        (lambda x: np.sin(x).sum(), normal(0, 20), lambda x: np.cos(x) * (1 + 1e-6 * (x == x[3])), "rounded"),
        (lambda x: np.floor(3 * x).sum(), normal(0, 4), lambda x: 3 + 0 * x, "wrong way round"),
        (lambda x: np.min(x), normal(0, 4), lambda x: 1.0 * (x == x.max()), "0 times"),
        (lambda x: np.linalg.norm(x), np.zeros(3), lambda x: np.ones(3), "tie"),
    ],
)
def test_what_a_diagnosis_does_not_say(f: Any, inputs: Any, gradient: Any, not_said: str) -> None:
    report = by_hand(f, inputs, gradient)
    assert report.verdict == "fail"
    assert not_said not in " ".join(report.problems)


def named(x: Any, y: Any) -> Any:
    return (x * y).sum()


pair = np.array([1.0, 2.0])


twice = [pair, pair]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gradcheck(named, pair, pair), r"takes all inputs as one list: gradcheck\(f, \[a, b\]\)"),
        (lambda: gradcheck(lambda x: x.sum(), [1.0, 2.0]), r"a list is a list of inputs: pass np.array\(\[...\]\)"),
        (lambda: gradcheck(named, pair), r"named\(x, y\) cannot be called with 1 inputs; pass a list of all"),
        (lambda: gradcheck(pair, named), r"takes a function and its inputs: .*, not float64\(2,\) for f"),
        (lambda: assert_gradcheck(named, pair, pair), "takes all inputs as one list"),
        (lambda: gradcheck(np.sin, pair, rtol="1e-9"), "rtol must be between 1e-13 and 0.01, got '1e-9'"),
        (lambda: gradcheck(np.sin, pair, sample=1.5), "sample must be an integer >= 1, got 1.5"),
        (lambda: gradcheck(named, twice, gradient=pair), "gradient must be a function .*, got float64"),
        (lambda: by_hand(named, twice, lambda x, y: None), "gradient returned None; .* for each of: x, y"),
        (lambda: by_hand(named, twice, lambda x, y: (y, None)), "gradient returned None"),
        (lambda: by_hand(named, twice, lambda x, y: "(y, x)"), r"gradient returned \(y, x\); .* for each of: x, y"),
        (lambda: by_hand(np.sin, pair, lambda x: np.cos(x)), r"must take \(upstream, x\), as f returns an array"),
        (lambda: by_hand(named, twice, lambda g, x, y: (y, x)), r"must take \(x, y\), as f returns a number"),
    ],
)  # fmt: skip
def test_misuse_is_explained(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call()


def test_a_jitted_function_is_checked_as_the_function_that_it_is() -> None:
    report = gradcheck(tg.jit(named), [pair, pair])
    assert report.ok
    assert report.notes == ["named is jitted: the function itself is checked, its program computes the same"]


class TestReports:
    def report(self) -> Report:
        return by_hand(lambda x: np.sin(x).sum(), normal(0, 3, 4), lambda x: np.cos(x) * (1 + 1e-8 * (x > 1)))

    def test_digits_show_the_difference(self) -> None:
        worst = self.report().worst[0]
        analytic, numeric = map(float, str(self.report()).split("the worst:")[1].splitlines()[2].split()[6:8])
        assert analytic - numeric == pytest.approx(worst.analytic - worst.numeric, rel=0.02)

    def test_html_is_the_text_with_the_verdicts_in_colour(self) -> None:
        text, red = self.report()._repr_html_(), '<b style="color:#d9363f">fail</b>'
        assert re.sub("<pre[^>]*>", "<pre>", text).startswith(f"<pre>gradcheck: {red}; ")
        assert text.index("gradcheck: ") < text.index("problem: x") < text.index("the worst:")
        assert text.endswith("rerun: gradcheck(f, inputs, gradient=gradient)</pre>")
        assert text.count(red) == 2 + len(self.report().worst[:5])
        fine = gradcheck(np.sin, pair)._repr_html_()
        assert fine.count('<b style="color:#218739">pass</b>') == 2
        assert "the worst" not in fine

    def test_a_pytest_helper(self) -> None:
        assert_gradcheck(np.sin, pair)
        with pytest.raises(GradcheckError, match="the sign is wrong") as caught:
            assert_gradcheck(lambda x: np.sin(x).sum(), pair, gradient=lambda x: -np.cos(x))
        assert "rerun: " in str(caught.value)
        assert caught.traceback[-1].frame.f_locals["__tracebackhide__"] is True
