"""Folding: a program computes nothing twice and nothing for nothing, and gives the same bits as the eager step."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, jit, nn
from tinygrad_mlp import functional as F
from tinygrad_mlp.core.tensor import assign

X = np.array([[0.5, -0.0, 3.0, -2.0], [1e-310, 1.0, -1.0, 0.25], [2.0, np.nan, np.inf, -1.5]])


def leaves(a: Any) -> list[tuple[Any, ...]]:
    parts = a if isinstance(a, (tuple, list)) else [a]
    return [(t.shape, t.dtype.str, t.numpy().tobytes()) for t in parts]


def compiled(f: Callable[..., Any], *args: Any) -> Any:
    """Return a function that has become a program, which gives the same bits as eager."""
    step = jit(f)
    with np.errstate(all="ignore"):
        for _ in range(4):
            expected = leaves(f(*map(Tensor, args)))
            assert leaves(step(*args)) == expected
    return step


def count(step: Any, text: str) -> int:
    return len(re.findall(text, step.source))


FOLDED: dict[str, tuple[Callable[[Any], Any], str, int]] = {
    "the same twice": (lambda x: np.sin(np.exp(x) + np.exp(x)), r"np\.exp", 1),
    "with options": (lambda x: np.sin(x.sum(axis=1)) * np.cos(x.sum(axis=1)), r"np\.add\.reduce", 1),
    "of what is the same": (lambda x: np.sin(np.exp(x) * 2) * np.cos(np.exp(x) * 2), r"np\.(exp|multiply)\(", 3),
    "the mean of a variance": (
        lambda x: (x - x.mean(axis=1, keepdims=True)) / x.var(axis=1, keepdims=True),
        "out=mean",
        1,
    ),
    "times one": (lambda x: np.sin(np.exp(x) * 1), r"np\.multiply", 0),
    "one times": (lambda x: np.sin(1.0 * np.exp(x)), r"np\.multiply", 0),
    "by one": (lambda x: np.sin(np.exp(x) / 1), r"np\.divide", 0),
    "less zero": (lambda x: np.sin(np.exp(x) - 0), r"np\.subtract", 0),
    "a copy": (lambda x: np.sin(np.copy(np.exp(x))), "copyto", 0),
    "turned twice": (lambda x: np.sin(np.exp(x).T.T), r"\.T|_T", 0),
    "in its own shape": (lambda x: np.sin(x.reshape(3, 4)), "reshape", 0),
    "an array full of a number": (tg.func.grad(lambda x: np.mean(np.sin(x))), r"np\.full|copyto", 0),
}


@pytest.mark.parametrize("case", FOLDED)
def test_what_need_not_be_computed_is_not(case: str) -> None:
    function, text, number = FOLDED[case]
    step = compiled(function, X)
    assert count(step, text) == number, step.source


DIFFERENT: dict[str, tuple[Callable[[Any], Any], str, int]] = {
    "another option": (lambda x: x.sum(axis=1, keepdims=True) * x.sum(axis=0, keepdims=True), r"np\.add\.reduce", 2),
    "another constant": (lambda x: np.exp(x * 2) + np.exp(x * 2.5), r"np\.exp", 2),
    "zeros of both signs": (lambda x: np.arctan2(x * 0.0, x) + np.arctan2(x * -0.0, x), r"np\.arctan2", 2),
    "True for 1": (lambda x: np.power(x, 1) * np.power(np.abs(x), True), r"np\.power", 2),
    "plus zero": (lambda x: np.copysign(1, np.negative(np.abs(x)) + 0.0), r"np\.add", 1),
    "less -0": (lambda x: np.copysign(1, np.negative(np.abs(x)) - -0.0), r"np\.subtract", 1),
    "zero less": (lambda x: 0 - np.exp(x), r"np\.subtract", 1),
    "one by": (lambda x: 1 / np.exp(x), r"np\.divide", 1),
    "complex times one": (lambda x: (np.exp(x) * 1j) * 1.0, r"np\.multiply", 2),
    "another dtype": (lambda x: np.sin(np.floor_divide(x, 1).astype(np.int64) * 1.0), r"np\.multiply", 1),
    "another layout": (lambda x: np.sin(np.copy(np.exp(x).T[::-1], order="K")).sum(axis=0), "copyto", 1),
    "both are returned": (lambda x: (np.exp(x), np.exp(x)), r"np\.exp", 2),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_only_looks_the_same_is_computed(case: str) -> None:
    function, text, number = DIFFERENT[case]
    step = compiled(function, X)
    assert count(step, text) == number, step.source


MEMORIES: dict[str, Callable[[Any], Any]] = {
    "its own": lambda a: Tensor(a, requires_grad=True),
    "a view of it": lambda a: Tensor(a.T),
    "a part of it": lambda a: Tensor(a[:2]),
}


@pytest.mark.parametrize("memory", MEMORIES)
def test_what_is_read_of_state_is_read_again_after_an_assignment(memory: str) -> None:
    def start() -> tuple[Any, Any]:
        w = Tensor(np.arange(9.0).reshape(3, 3) / 9)
        other = w if memory == "its own" else MEMORIES[memory](w._data)

        def step(x: Any) -> Any:
            view = other.T
            before = np.exp(other), np.exp(view) * 2, np.sin(np.copy(view))
            assign(w, w - x)
            return (
                *before,
                np.exp(other),
                np.exp(view) * 2,
                np.sin(np.copy(view)),
                np.sin(np.exp(other) + np.exp(other)),
            )

        return step, w

    (eager, _), (step, _) = start(), start()
    program, x = jit(step), np.full((3, 3), 0.25)
    for _ in range(5):
        assert leaves(program(x)) == leaves(eager(Tensor(x)))
    assert count(program, r"np\.exp\(") == 4, program.source


def test_a_value_is_read_after_its_target_has_got_another_one() -> None:
    def start() -> Any:
        w = Tensor(np.arange(3.0))

        def step(x: Any) -> Any:
            value = w - x
            assign(w, value)
            assign(w, w * 2)
            return np.sin(value + 0.5) * 1.5, np.copy(w)

        return step

    eager, program, x = start(), jit(start()), np.ones(3)
    for _ in range(5):
        assert leaves(program(x)) == leaves(eager(Tensor(x)))


def test_results_and_gradients_that_are_equal_have_memory_of_their_own() -> None:
    a, b = (Tensor(np.ones(3), requires_grad=True) for _ in "ab")

    def step(x: Any) -> Any:
        a.grad = b.grad = None
        twice = np.exp(x) * 1.0, np.exp(x) / 1
        ((a + b) * twice[0]).sum().backward()
        return *twice, np.exp(x), np.copy(x)

    program, x = jit(step), np.arange(3.0)
    for _ in range(4):
        results = [t.numpy() for t in program(x)] + [a.grad.numpy(), b.grad.numpy(), x]
        for i, array in enumerate(results):
            assert not any(np.shares_memory(array, other) for other in results[:i])
        assert all(np.array_equal(array, np.exp(x)) for array in (*results[:3], *results[4:6]))


def test_a_gradient_that_is_copied_is_computed_in_its_place() -> None:
    """Autograd copies a gradient that is a view, as that of a bias which is reshaped."""
    norm, x = nn.BatchNorm1d(4), np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)

    def step(x: Any) -> Any:
        norm.zero_grad()
        loss = np.sum(np.sin(norm(x)))
        loss.backward()
        return loss

    program, other = jit(step), nn.BatchNorm1d(4)
    for _ in range(4):
        program(x)
        loss = np.sum(np.sin(other(x)))
        other.zero_grad()
        loss.backward()
        assert norm.bias.grad.numpy().tobytes() == other.bias.grad.numpy().tobytes()
    assert "out=d_bias)" in program.source and "copy" not in program.source
    assert count(program, "out=mean") == count(program, "out=centred") == 1, program.source


def test_ops_of_ones_own_and_random_numbers_are_computed_each_time() -> None:
    @tg.primitive
    def doubled(x: Any) -> Any:
        return x * 2

    tg.vjp(doubled, lambda g, out, x: g * 2)

    def step(x: Any, rng: Any) -> Any:
        return doubled(x) + doubled(x) + F.dropout(x, 0.5, rng) * F.dropout(x, 0.5, rng)

    mine, theirs = np.random.default_rng(0), np.random.default_rng(0)
    program = jit(lambda x: step(x, mine))
    for _ in range(4):
        assert leaves(program(np.ones((3, 4)))) == leaves(step(Tensor(np.ones((3, 4))), theirs))
    assert count(program, r"doubled\(") == count(program, r"rng\.random") == 2


@pytest.mark.parametrize("order", ["warning first", "warning second"])
def test_a_warning_is_not_lost(order: str) -> None:
    def step(x: Any) -> Any:
        with np.errstate(divide="ignore" if order == "warning second" else "warn"):
            first = np.log(x)
        with np.errstate(divide="warn" if order == "warning second" else "ignore"):
            return np.sin(first * np.log(x))

    program = jit(step)
    for _ in range(4):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            program(np.array([0.0, 1.0]))
        assert sum("divide by zero" in str(w.message) for w in seen) == 1
    assert count(program, r"np\.log") == 1 + (order == "warning second"), program.source


def test_numbers_are_called_by_what_they_are() -> None:
    step = compiled(lambda x: np.minimum(x, np.inf) + np.maximum(x, -np.inf) + (x < np.nan), X)
    assert {"full_of_inf", "full_of_minus_inf", "nan"} <= set(re.findall(r"\w+", step.source)), step.source
