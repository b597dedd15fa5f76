"""The traps of captured steps: whatever changes around a compiled step is seen by it, or refused by name and line."""

from __future__ import annotations

import copy
import gc
import operator
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import RecordingError, Tensor, jit, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.core.tensor import assign

Array = np.ndarray[Any, Any]
X = [np.random.default_rng(i).normal(size=(4, 3)) for i in range(12)]
Y = np.array([0, 1, 1, 0])


def parameter(*shape: int, name: str = "w", seed: int = 1, dtype: Any = np.float64) -> Any:
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=True, name=name)


def seen(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        return [seen(r) for r in result]
    return (result.dtype.str, result.shape, result._data.tobytes()) if isinstance(result, Tensor) else result


def assert_same(
    make: Callable[[], tuple[Callable[..., Any], list[Any]]],
    arguments: Callable[[int, list[Any]], tuple[Any, ...]] = lambda i, state: (X[i],),
    calls: int = 8,
    between: Callable[[int, list[Any]], None] = lambda i, state: None,
) -> Any:
    """Run an eager and a compiled copy, with the same changes between the calls, and compare all bits after each call.

    ``make`` gives a step and its state: Tensors, whose gradients are compared as well, and what ``between`` needs.
    """
    (eager, state), (function, other) = make(), make()
    step = jit(function)
    for i in range(calls):
        expected = eager(*[Tensor(a) if isinstance(a, np.ndarray) else a for a in arguments(i, state)])
        result = step(*arguments(i, other))
        assert seen(result) == seen(expected), f"returned values, call {i}"
        for k, (a, b) in enumerate(zip(state, other, strict=True)):
            if isinstance(a, Tensor):
                assert seen(a) == seen(b), f"Tensor {k}, call {i}"
                assert (a.grad is None) == (b.grad is None) and (a.grad is None or seen(a.grad) == seen(b.grad)), (
                    f"gradient {k}, call {i}"
                )
        between(i, state)
        between(i, other)
    assert any(c.test is not None for known in step.cache.values() for c in known), "nothing has been compiled"
    return step


def training(momentum: float = 0.0) -> tuple[Callable[..., Any], list[Any]]:
    w, b = parameter(3, 2), parameter(2, name="b", seed=2)
    opt = optim.SGD([w, b], lr=0.1, momentum=momentum)

    def step(x: Any) -> Any:
        loss = F.cross_entropy(x @ w + b, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step, [w, b, opt]


# aliases


def test_one_array_for_two_inputs() -> None:
    def make() -> Any:
        return (lambda x, y: (x.T @ y, x * y, (x @ y.T).sum())), []

    big = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float32)
    other = big.copy()
    assert_same(make, lambda i, s: (big, big if i % 2 else other))
    assert_same(make, lambda i, s: (big, big) if i != 4 else (big, other))


def test_an_input_that_is_the_data_of_a_parameter() -> None:
    def make() -> Any:
        w = parameter(4, 3)
        opt = optim.SGD([w], lr=0.1)

        def step(x: Any) -> Any:
            opt.zero_grad()
            (w * x).sum().backward()
            opt.step()
            return x.sum(), x * 2, w.sum()

        return step, [w]

    assert_same(make, lambda i, state: (state[0]._data if i != 5 else X[0],))
    assert_same(make, lambda i, state: (state[0]._data[::-1] if i in (3, 4, 7) else X[i],))
    assert_same(make, lambda i, state: (state[0].detach() if i in (3, 4, 7) else X[i],))


def test_an_input_that_is_the_memory_of_what_is_assigned_to() -> None:
    def make() -> Any:
        w = parameter(4, 3)

        def step(x: Any, z: Any) -> Any:
            with tg.no_grad():
                e = np.exp(z)
                total = (x * 3).sum()
                assign(w, np.tanh(e))
                return total, (x * 5).sum()

        return step, [w]

    assert_same(make, lambda i, state: (state[0]._data if i % 2 else X[i + 1], X[i]))


def test_an_input_that_is_a_gradient() -> None:
    def make() -> Any:
        w = parameter(4, 3)

        def step(x: Any, y: Any) -> Any:
            loss = (w * w * x).sum() + (x.T @ y).sum()
            w.grad = None
            loss.backward()
            return loss, x.T @ y

        return step, [w]

    def arguments(i: int, state: list[Any]) -> tuple[Any, ...]:
        g = state[0]._grad
        return (X[i], X[i]) if g is None else (g._data, g._data) if i % 2 else (g._data, X[i])

    assert_same(make, arguments, 10)


def test_an_input_that_was_returned_before() -> None:
    def make() -> Any:
        w = parameter(3, 3)
        state = [w, [X[0]]]

        def step(x: Any) -> Any:
            return np.tanh(x @ w)

        return step, state

    def between(i: int, state: list[Any]) -> None:
        state[1][0] = np.tanh(Tensor(state[1][0]) @ state[0]).detach()._data

    assert_same(make, lambda i, s: (s[1][0],), between=between)
    step, w = jit(lambda x: np.tanh(x @ w)), parameter(3, 3)
    out, expected = Tensor(X[0]), Tensor(X[0])
    for _ in range(6):
        out, expected = step(out.detach()), np.tanh(expected @ w)
        assert seen(out) == seen(expected)


def test_overlapping_views_as_inputs() -> None:
    memory = np.random.default_rng(0).normal(size=(8, 3))

    def make() -> Any:
        w = parameter(4, 3)
        opt = optim.SGD([w], lr=0.1)

        def step(x: Any, y: Any, z: Any) -> Any:
            opt.zero_grad()
            loss = (w * x - y).sum() + (z.T @ x).sum()
            loss.backward()
            opt.step()
            return loss, x + y

        return step, [w]

    assert_same(make, lambda i, s: (memory[i % 3 : i % 3 + 4], memory[1:5], memory[::2]))


def test_parameters_that_share_memory() -> None:
    def make() -> Any:
        memory = np.random.default_rng(0).normal(size=(4, 3))
        whole, part, last = (Tensor(a, requires_grad=True, name="w") for a in (memory, memory[:2], memory[3]))
        flipped = Tensor(memory[::-1])

        def step(x: Any) -> Any:
            for t in (whole, part, last):
                t.grad = None
            before = flipped * 2, part * 2
            loss = (whole * x).sum() + (part**2).sum() + (last * flipped[0]).sum()
            loss.backward()
            with tg.no_grad():
                for t in (whole, part, last):
                    t -= 0.1 * t.grad
                whole.__isub__(flipped * 0.1)
            return loss, before, (flipped * 2, part * 2), whole.T, flipped

        return step, [whole, part, last, flipped]

    assert_same(make)


def test_views_of_a_parameter_before_and_after_its_update() -> None:
    def make() -> Any:
        w = parameter(4, 3)

        def step(x: Any) -> Any:
            with tg.no_grad():
                view, turned, row = w.reshape(12), w.T, w[1]
                before = view * 2, turned * 2, row * 2, np.copy(w), w * 2
                w.__isub__(x)
                middle = view * 2, turned * 2, row * 2, w * 2
                w.__imul__(row)
                w.__iadd__(turned.reshape(3, 4).T)
            return before, middle, (view * 2, turned * 2, row * 2, w * 2), view, row, w

        return step, [w]

    assert_same(make)


def test_the_same_array_as_a_tensor_and_as_an_array() -> None:
    def make() -> Any:
        memory = np.ones(3)
        w = Tensor(memory, requires_grad=True)

        def step(x: Any) -> Any:
            one = x * memory
            with tg.no_grad():
                w.__isub__(x.sum(axis=0))
            return one, x * memory, x * memory[::-1]

        return step, [w]

    assert_same(make)


def test_a_tensor_detached_in_the_step() -> None:
    def make() -> Any:
        w = parameter(3)

        def step(x: Any) -> Any:
            y = w * x
            z = y.detach() * y + Tensor(x) * x.detach() + Tensor(y.detach()) + w.detach()
            w.grad = None
            z.sum().backward()
            return z

        return step, [w]

    assert_same(make)


# what changes around the step


def test_rebound_data() -> None:
    def between(i: int, state: list[Any]) -> None:
        if i in (3, 6):
            state[0].data = state[0]._data * 2
        if i == 8:
            state[1].data = np.ascontiguousarray(state[1]._data[::-1])[::-1]

    assert_same(training, between=between, calls=11)


def test_a_loaded_model_and_optimizer() -> None:
    def make() -> Any:
        model = nn.Sequential(
            nn.Linear(3, 4, rng=0, dtype=np.float64),
            nn.BatchNorm1d(4, dtype=np.float64),
            nn.Linear(4, 2, rng=1, dtype=np.float64),
        )
        opt = optim.Adam(model.parameters(), lr=0.05)

        def step(x: Any) -> Any:
            loss = F.cross_entropy(model(x), Y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        return step, [*model.parameters(), *model.buffers(), (model, opt, {})]

    def between(i: int, state: list[Any]) -> None:
        model, opt, saved = state[-1]
        if i == 4:
            saved.update(model=model.state_dict(), opt=opt.state_dict())
        if i in (7, 9):
            model.load_state_dict(saved["model"])
        if i in (7, 8):
            opt.load_state_dict(saved["opt"])

    assert_same(make, calls=12, between=between)


def test_evaluation_after_capture_and_back() -> None:
    def make() -> Any:
        rng = np.random.default_rng(3)
        model = nn.Sequential(
            nn.Linear(3, 4, rng=0, dtype=np.float64), nn.BatchNorm1d(4, dtype=np.float64), nn.Dropout(0.5, rng=rng)
        )
        return (lambda x: model(x)), [*model.buffers(), model, rng]

    def between(i: int, state: list[Any]) -> None:
        state[-2].train(i % 8 < 4)
        if i == 5:
            state[-2][2].train()

    assert_same(make, lambda i, s: (X[i % 12],), calls=30, between=between)


def test_modes_that_the_function_itself_switches() -> None:
    def make() -> Any:
        rng = np.random.default_rng(3)
        model = nn.Sequential(nn.Linear(3, 4, rng=0, dtype=np.float64), nn.Dropout(0.5, rng=rng))

        def evaluate(x: Any) -> Any:
            model.eval()
            out = model(x)
            model.train()
            return out

        return evaluate, [model, rng]

    assert_same(make, lambda i, s: (X[i % 12],), calls=80)


def test_a_program_leaves_the_mode_that_the_step_leaves() -> None:
    model = nn.Sequential(nn.Dropout(0.5, rng=0))

    @jit
    def step(x: Any) -> Any:
        y = model(x)
        model.eval()
        return y

    for i in range(5):
        model.train()
        step(X[i])
        assert [module.training for module in model.modules()] == [False, False]


def test_parts_of_a_model_that_are_replaced() -> None:
    def make() -> Any:
        model = nn.Sequential(
            nn.Linear(3, 3, rng=0, dtype=np.float64),
            nn.Tanh(),
            nn.Dropout(0.2, rng=0),
            nn.Linear(3, 2, rng=1, dtype=np.float64),
        )
        return (lambda x: model(x)), [model]

    def between(i: int, state: list[Any]) -> None:
        model = state[0]
        changes: dict[int, Callable[[], Any]] = {
            3: lambda: setattr(model[0], "weight", nn.Parameter(np.eye(3))),
            6: lambda: setattr(model[0], "bias", None),
            9: lambda: setattr(model, "1", nn.ReLU()),
            12: lambda: setattr(model[2], "p", 0.7),
            15: lambda: setattr(model[2], "rng", np.random.default_rng(5)),
            18: lambda: setattr(model[0], "bias", nn.Parameter(np.ones(3))),
        }
        changes.get(i, lambda: None)()

    assert_same(make, lambda i, s: (X[i % 12],), calls=22, between=between)


def test_names_around_the_function_that_get_another_value() -> None:
    w, c, model = Tensor(np.ones(3)), np.ones(3), nn.Linear(3, 2, rng=0, dtype=np.float64)

    @jit
    def step(x: Any) -> Any:
        return (model(x * w + c)).sum()

    for i in range(12):
        if i % 4 == 3:
            w, c, model = Tensor(np.ones(3) * i), np.ones(3) * i, nn.Linear(3, 2, rng=i, dtype=np.float64)
        assert step(X[i]).item() == model(Tensor(X[i]) * w + c).sum().item()


def test_a_global_that_gets_another_value() -> None:
    names: dict[str, Any] = {"w": Tensor(np.ones(3))}
    exec("def f(x):\n    return x * w\n", names)
    step = jit(names["f"])
    for i in range(9):
        if i % 3 == 0:
            names["w"] = Tensor(np.full(3, float(i)))
        assert step(X[i]).tolist() == (X[i] * (i // 3 * 3)).tolist()


def held(where: str) -> tuple[Any, Callable[[Tensor], None]]:
    """Return a jitted product of its argument and a Tensor that is held somewhere, and what puts another one there."""

    class Holder:
        def __init__(self) -> None:
            self.w = Tensor(np.ones(3))

        def step(self, x: Any) -> Any:
            return x * self.w

        decorated = jit(step)

    holder, names, nested = Holder(), {"w": Tensor(np.ones(3))}, [0, (1, [Tensor(np.ones(3))])]
    rebind = partial(setattr, holder, "w")
    steps: dict[str, tuple[Any, Callable[[Tensor], None]]] = {
        "a dict": (jit(lambda x: x * names["w"]), lambda t: names.update(w=t)),
        "nested lists": (jit(lambda x: x * nested[1][1][0]), lambda t: operator.setitem(nested[1][1], 0, t)),
        "an argument of a partial": (jit(partial(lambda n, x: x * n["w"], names)), lambda t: names.update(w=t)),
        "an object": (jit(lambda x: x * holder.w), rebind),
        "the object of a method": (jit(holder.step), rebind),
        "the object of a decorated method": (holder.decorated, rebind),
        "the closure of another function": (jit(lambda x: holder.step(x)), rebind),
    }
    return steps[where]


@pytest.mark.parametrize(
    "where",
    ["a dict", "nested lists", "an argument of a partial", "an object", "the object of a method",
     "the object of a decorated method", "the closure of another function"],
)  # fmt: skip
def test_a_tensor_that_another_one_replaces(where: str) -> None:
    step, replace = held(where)
    factor = 1.0
    for i in range(12):
        if i in (3, 4, 8):
            factor = float(i)
            replace(Tensor(np.full(3, factor)))
        assert step(X[i]).tolist() == (X[i] * factor).tolist()


def test_a_partial_of_a_model_is_recorded_once() -> None:
    model = nn.Linear(3, 2, rng=0, dtype=np.float64)
    step = jit(partial(lambda m, x, scale: m(x) * scale, model, scale=Tensor(2.0)))
    for i in range(12):
        assert step(X[i]).tolist() == (model(Tensor(X[i])) * 2.0).tolist()
    assert [len(known) for known in step.cache.values()] == [1]


def test_frozen_and_thawed_layers() -> None:
    def between(i: int, state: list[Any]) -> None:
        state[0].requires_grad_(i not in (3, 4, 5, 9))
        state[1].requires_grad_(i not in (5, 6))
        if i == 5:
            state[0].requires_grad_()

    assert_same(training, calls=12, between=between)
    assert_same(lambda: training(0.9), calls=12, between=between)


def test_a_group_that_is_added() -> None:
    def make() -> Any:
        a, b = parameter(3, name="a"), parameter(3, name="b", seed=2)
        opt = optim.SGD([a], lr=0.1, momentum=0.5)

        def step(x: Any) -> Any:
            for p in (a, b):
                p.grad = None
            loss = (a * x * b).sum()
            loss.backward()
            opt.step()
            return loss

        return step, [a, b, opt]

    def between(i: int, state: list[Any]) -> None:
        if i == 3:
            state[2].add_param_group({"params": [state[1]], "lr": 0.01, "momentum": 0.9})

    assert_same(make, calls=9, between=between)


def test_the_state_of_an_optimizer_that_is_cleared_or_replaced() -> None:
    def between(i: int, state: list[Any]) -> None:
        w, _, opt = state
        if i == 4:
            opt.state.clear()
        if i == 8:
            opt.state[w]["momentum_buffer"] = Tensor(np.ones((3, 2)))
        if i == 11:
            opt.param_groups[0] = {**opt.param_groups[0], "lr": 0.01}

    assert_same(lambda: training(0.9), lambda i, s: (X[i % 12],), calls=15, between=between)


def test_gradients_cleared_or_set_outside() -> None:
    def make() -> Any:
        w, b = parameter(3, 2), parameter(2, name="b", seed=2)
        opt = optim.SGD([w, b], lr=0.1)

        def step(x: Any) -> Any:
            loss = F.cross_entropy(x @ w + b, Y)
            loss.backward()
            opt.step()
            return loss

        return step, [w, b, opt]

    def between(i: int, state: list[Any]) -> None:
        w, b, opt = state
        if i in (2, 3, 4):
            opt.zero_grad()
        if i == 6:
            w.grad = None
        if i == 7:
            w.grad, b.grad = Tensor(np.ones((3, 2))), Tensor(np.ones(2))
        if i == 8:
            w.grad = Tensor(np.asfortranarray(np.ones((3, 2))))
        if i == 9:
            w.grad = Tensor(b.grad._data[None] * np.ones((3, 1)))

    assert_same(make, calls=12, between=between)


def test_gradients_that_are_exchanged_and_read_again() -> None:
    def make() -> Any:
        a, b = parameter(3, name="a"), parameter(3, name="b", seed=2)
        for p in (a, b):
            p.grad = Tensor(np.ones(3))

        def step(x: Any) -> Any:
            old_a, old_b = a.grad, b.grad
            a.grad = old_b * 2 + x.sum(axis=0)
            b.grad = old_a - a.grad
            return (old_a * 3).sum(), (old_b * 5).sum(), old_a

        return step, [a, b]

    def between(i: int, state: list[Any]) -> None:
        if i == 4:
            state[0].grad, state[1].grad = state[1].grad, state[0].grad

    assert_same(make, between=between)


def test_a_gradient_that_is_an_input_or_a_view_of_a_result() -> None:
    def make() -> Any:
        w, v = parameter(4, 3), parameter(3, 4, name="v")
        opt = optim.SGD([w, v], lr=0.1)

        def step(x: Any) -> Any:
            result = x * 2
            w.grad, v.grad = x, result.T
            opt.step()
            return result

        return step, [w, v]

    assert_same(make)


def test_gradients_that_are_exchanged_and_added_to() -> None:
    def make() -> Any:
        a, b = parameter(3, name="a"), parameter(3, name="b", seed=2)
        for p in (a, b):
            p.grad = Tensor(np.ones(3))

        def step(x: Any) -> Any:
            a.grad = a.grad + x.sum(axis=0)
            b.grad = b.grad + x.max(axis=0)
            return x.sum()

        return step, [a, b]

    def between(i: int, state: list[Any]) -> None:
        if i in (4, 5):
            state[0].grad, state[1].grad = state[1].grad, state[0].grad

    assert_same(make, between=between)


def test_a_gradient_that_is_read_before_and_after_it_is_replaced() -> None:
    def make() -> Any:
        a, b = parameter(3, name="a"), parameter(3, name="b", seed=2)
        for p in (a, b):
            p.grad = Tensor(np.ones(3))

        def step(x: Any) -> Any:
            old = a.grad
            a.grad = old + x.sum(axis=0)
            return (old * a.grad).sum(), old.sum()

        return step, [a, b]

    assert_same(make)


def test_a_gradient_of_another_memory_layout_is_added_to() -> None:
    w, twin = parameter(3, 2), parameter(3, 2)

    def of(w: Any) -> Callable[[Any], None]:
        def step(x: Any) -> None:
            w.grad = w.grad + (x * 2).T

        return step

    compiled = jit(of(w))
    for i, order in enumerate("CCCCFFFCF"):
        for p in (w, twin):
            p.grad = Tensor(np.ones((3, 2), order=order))
        compiled(X[i][:2])
        of(twin)(Tensor(X[i][:2]))
        assert w.grad._data.strides == twin.grad._data.strides
        assert seen(w.grad) == seen(twin.grad)


def test_a_gradient_that_becomes_that_of_another() -> None:
    def make() -> Any:
        a, b = parameter(3, name="a"), parameter(3, name="b", seed=2)
        for p in (a, b):
            p.grad = Tensor(np.ones(3))

        def step(x: Any) -> Any:
            old = a.grad
            a.grad = x.sum(axis=0)
            b.grad = old + 1
            return x.sum()

        return step, [a, b]

    assert_same(make)


def test_a_gradient_that_is_returned_and_added_to() -> None:
    def make() -> Any:
        a = parameter(3, name="a")
        a.grad = Tensor(np.ones(3))

        def step(x: Any) -> Any:
            old = a.grad
            a.grad = old + x.sum(axis=0)
            return old, a.grad

        return step, [a]

    assert_same(make)


def test_equal_calls_before_and_after_an_assignment() -> None:
    def make() -> Any:
        w = parameter(3, 2)

        def step(x: Any) -> Any:
            with tg.no_grad():
                before = np.tanh(w), w.T * 2, np.tanh(x @ w)
                operator.isub(w, 0.1)
                return before, np.tanh(w), w.T * 2, np.tanh(x @ w)

        return step, [w]

    assert_same(make)


def test_equal_results_that_are_returned_are_two() -> None:
    step = jit(lambda x: (np.tanh(x), np.tanh(x), [np.tanh(x)]))
    for i in range(4):
        first, second, (third,) = step(X[i])
        first._data[...] = 7
        np.testing.assert_array_equal(second._data, np.tanh(X[i]))
        second._data[...] = 8
        np.testing.assert_array_equal(third._data, np.tanh(X[i]))


def test_draws_that_nothing_needs_are_drawn_all_the_same() -> None:
    def make() -> Any:
        rng = np.random.default_rng(3)

        def step(x: Any) -> Any:
            F.dropout(x, 0.5, rng)
            return F.dropout(x, 0.5, rng)

        return step, []

    assert_same(make)


def test_what_is_silent_in_the_step_is_silent_in_the_program() -> None:
    """A warning is an error here."""

    def make() -> Any:
        w = parameter(3)

        def step(x: Any) -> Any:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log(np.abs(x)) + 0 * w
                loss = F.binary_cross_entropy(np.where(x > 0, 1.0, 0.0) * np.clip(w, 0.5, 0.5), (x > 0) * 1.0)
                w.grad = None
                loss.backward()
            return logs, loss

        return step, [w]

    assert_same(make, lambda i, state: (np.maximum(X[i], 0) if i > 2 else X[i],))


def test_constants_that_are_not_finite() -> None:
    def make() -> Any:
        fills = (np.nan, np.inf, -np.inf, -0.0, 1e-320)
        bounds = lambda x: [np.maximum(x, -np.inf), np.minimum(x, np.inf)]
        return lambda x: [np.where(x > 0, x, c) * 2 for c in fills] + bounds(x), []

    assert_same(make)


def parts_of(losses: Any) -> Any:
    return 2 * losses[:2].sum() + 3 * losses[2:].sum()


LIKELIHOODS: dict[str, Callable[[Any], Any]] = {
    "as usual": lambda z: F.nll_loss(F.log_softmax(z, 1), Y),
    "maximised": lambda z: -F.nll_loss(F.log_softmax(z, 1), Y),
    "of no share": lambda z: 0.0 * F.nll_loss(F.log_softmax(z, 1), Y),
    "of unequal rows": lambda z: parts_of(F.nll_loss(F.log_softmax(z, 1), Y, reduction="none")),
    "along the rows": lambda z: F.nll_loss(F.log_softmax(z, 0), Y),
    "of two": lambda z: F.nll_loss(F.log_softmax(z, 1), Y) + F.nll_loss(2 * F.log_softmax(z, 1), 1 - Y),
    "of what is used again": lambda z: (lambda p: F.nll_loss(p, Y) + (p * p).sum())(F.log_softmax(z, 1)),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_of_every_kind_to_the_bit(name: str) -> None:
    """Logits that are far apart: shares underflow to 0, whose sign is a bit as well."""

    def make() -> Any:
        w = parameter(4, 2)

        def step(x: Any) -> Any:
            w.grad = None
            loss = LIKELIHOODS[name](w + 900 * np.sign(x[:, :2]))
            loss.backward()
            return loss

        return step, [w]

    assert_same(make)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_masks_of_every_dtype(dtype: Any) -> None:
    def make() -> Any:
        w = parameter(3, dtype=dtype)

        def step(x: Any) -> Any:
            w.grad = None
            loss = (F.relu(w * x) + np.where(x > 0, w, 0)).sum()
            loss.backward()
            return loss

        return step, [w]

    assert_same(make, lambda i, state: (X[i].astype(dtype),))


def test_gradients_are_read_after_the_step() -> None:
    step_of, (w, b, _) = training()
    step = jit(step_of)
    for i in range(6):
        before = w._data.copy()
        step(X[i])
        np.testing.assert_allclose(w._data, before - 0.1 * w.grad.numpy(), rtol=1e-15)
        assert w.grad.shape == (3, 2) and b.grad.shape == (2,)


def test_an_array_around_the_function_that_changes_in_place() -> None:
    def make() -> Any:
        array, mask, labels, tensor = np.ones(3), np.array([True, False, True]), Y.copy(), Tensor(np.ones(3))

        def step(x: Any) -> Any:
            return x * array + array[1:2], x[:, mask], F.cross_entropy(x, labels), (x * tensor).sum(), x[:, labels]

        return step, [tensor, (array, mask, labels)]

    def between(i: int, state: list[Any]) -> None:
        tensor, (array, mask, labels) = state
        array *= i
        tensor._data[...] = i
        mask[...] = mask[[1, 0, 2]] if i % 2 else mask
        labels[...] = (labels + i) % 3
        assert mask.sum() == 2

    assert_same(make, between=between)


def test_a_mask_around_the_function_that_selects_another_number() -> None:
    mask = np.array([True, True, False])
    step = jit(lambda x: (x[:, mask] * 2).sum())
    for i in range(4):
        step(X[i])
    mask[1] = False
    with pytest.raises(ValueError, match="reshape"):
        step(X[0])
    mask[1] = True
    assert step(X[0]).item() == (Tensor(X[0])[:, mask] * 2).sum().item()


# what would be frozen


DRAWN: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "array": lambda rng, x: x * rng.normal(size=3),
    "Tensor": lambda rng, x: x * Tensor(rng.normal(size=3)),
    "number": lambda rng, x: x * rng.normal(),
    "index": lambda rng, x: x[rng.permutation(4)],
    "order": lambda rng, x: x[list(rng.permutation(4))],
    "slice": lambda rng, x: x[:, : int(rng.integers(1, 1000))] * int(rng.integers(1000)),
    "choice": lambda rng, x: np.where(rng.random((4, 3)) < 0.5, x, 0),
    "shift": lambda rng, x: np.roll(x, int(rng.integers(1, 1000)), axis=0) * 1.5,
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", DRAWN)
def test_random_numbers_drawn_in_the_step(kind: str, backward: bool) -> None:
    rng, w = np.random.default_rng(0), parameter(4, 3)
    before = w._data.copy()

    @jit
    def step(x: Any) -> Any:
        loss = (DRAWN[kind](rng, x * w) ** 2).sum()
        if backward:
            w.grad = None
            loss.backward()
            with tg.no_grad():
                w.__isub__(w.grad)
        return loss

    step(X[0])
    after, grad = w._data.copy(), w.grad
    _ = step.source
    with pytest.raises(RecordingError, match=r"step: .* at test_jit_traps.py:\d+"):
        step(X[0])
    assert (w._data == after).all() and w.grad is grad
    assert backward == (w._data != before).any()


def test_numbers_drawn_in_the_step_and_kept_outside() -> None:
    rng, kept = np.random.default_rng(0), {}

    @jit
    def step(x: Any) -> Any:
        kept["noise"] = rng.normal(size=3)
        return x * kept["noise"]

    step(X[0])
    with pytest.raises(RecordingError, match="step changes kept"):
        step(X[0])


def test_a_gradient_drawn_in_the_step() -> None:
    rng, w = np.random.default_rng(0), parameter(4, 3)

    @jit
    def step(x: Any) -> Any:
        w.grad = None
        (w * x).backward(rng.normal(size=(4, 3)))

    step(X[0])
    with pytest.raises(RecordingError, match="frozen"):
        step(X[0])


def test_a_gradient_drawn_in_a_rule() -> None:
    rng, w, same = np.random.default_rng(0), parameter(3), tg.primitive(lambda x: x + 0)
    tg.vjp(same, lambda g, out, x: g * rng.normal())

    @jit
    def step(x: Any) -> Any:
        w.grad = None
        same(w * x).sum().backward()

    step(X[0])
    with pytest.raises(RecordingError, match="multiply at .* makes anew"):
        step(X[0])


def test_a_gradient_drawn_in_a_hook() -> None:
    rng, w = np.random.default_rng(0), parameter(3)

    @jit
    def step(x: Any) -> Any:
        w.grad = None
        y = w * x
        y.register_hook(lambda g: g * rng.normal())
        y.sum().backward()

    step(X[0])
    with pytest.raises(RecordingError, match="multiply at .* makes anew"):
        step(X[0])


def test_a_walk_back_that_takes_another_way_each_time(tmp_path: Path) -> None:
    file, w = str(tmp_path / "turn"), parameter(3)

    @jit
    def step(x: Any) -> Any:
        w.grad = None
        sums = (w * x).sum(), (w + w).sum()
        sums[os.path.getsize(file)].backward()  # which nobody sees to change
        return w.grad

    for turn, expected in enumerate(6 * [X[0].sum(axis=0), np.full(3, 2.0)]):
        Path(file).write_text("x" * (turn % 2))
        np.testing.assert_allclose(step(X[0]).numpy(), expected)


def test_a_rule_of_ours_by_a_number_that_is_live() -> None:
    def make() -> Any:
        w = parameter(3)

        def step(x: Any, scale: float) -> Any:
            w.grad = None
            (w * scale).sum().backward()

        return step, [w]

    step = assert_same(make, lambda i, state: (X[0], 0.5 + i))
    assert len(step.cache) == 1 and "scale" in step.source


def test_a_generator_made_in_the_step() -> None:
    step = jit(lambda x: F.dropout(x, 0.5, np.random.default_rng(0)))
    expected = seen(step(X[0]))
    with pytest.raises(RecordingError, match="frozen"):
        assert seen(step(X[0])) == expected


def test_constants_made_in_the_step() -> None:
    def make() -> Any:
        w = parameter(3)

        def step(x: Any) -> Any:
            w.grad = None
            loss = (x @ np.eye(3) * w + np.arange(3.0) + Tensor(np.linspace(0, 1, 3)) + np.full(3, 2)).sum()
            loss.backward()
            return loss

        return step, [w]

    assert_same(make)


def test_a_copy_of_a_parameter_made_in_the_step() -> None:
    w = parameter(4, 3)

    @jit
    def step(x: Any) -> Any:
        before = copy.deepcopy(w)
        with tg.no_grad():
            w.__isub__(x)
        return w - before

    step(X[0])
    with pytest.raises(RecordingError, match="frozen"):
        step(X[1])


def test_a_tensor_made_in_the_step_and_written_in_place() -> None:
    @jit
    def step(x: Any) -> Any:
        total = Tensor(np.zeros(3), requires_grad=True)
        with tg.no_grad():
            total += x.sum(axis=0)
        return total * 1

    step(X[0])
    with pytest.raises(RecordingError, match="frozen"):
        step(X[0])


def test_data_replaced_in_the_step() -> None:
    w = parameter(4, 3)

    @jit
    def step(x: Any) -> Any:
        w.data = np.ones((4, 3))
        with tg.no_grad():
            w.__isub__(x)
        return w * 1

    with pytest.raises(RecordingError):
        for i in range(3):
            assert step(X[i]).tolist() == (1 - X[i]).tolist()


def test_a_schedule_inside_the_step() -> None:
    w = parameter(3)
    opt = optim.SGD([w], lr=1.0)
    schedule = optim.CosineAnnealingLR(opt, 10)

    @jit
    def step(x: Any) -> Any:
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()
        schedule.step()

    with pytest.raises(RecordingError):
        for i in range(3):
            step(X[i])


def test_an_option_changed_inside_the_step() -> None:
    w = parameter(3)
    opt = optim.SGD([w], lr=1.0)

    @jit
    def step(x: Any) -> Any:
        opt.param_groups[0]["lr"] *= 0.5
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    step(X[0])
    before = w._data.tobytes()
    with pytest.raises(RecordingError, match=r"changes opt.param_groups\[0\]\['lr'\]"):
        step(X[1])
    assert w._data.tobytes() == before and opt.param_groups[0]["lr"] == 0.5


def test_a_python_number_is_a_guard() -> None:
    scale = 2.0
    step = jit(lambda x: x * scale)
    for i in range(9):
        scale = 2.0 + i // 3
        assert step(X[i]).tolist() == (X[i] * scale).tolist()
    assert sum(map(len, step.cache.values())) == 3


def test_a_function_that_does_more_the_first_time() -> None:
    def make() -> Any:
        cache: list[Any] = []

        def step(x: Any) -> Any:
            if not cache:
                cache.append(Tensor(np.arange(3.0)))
                return (x * cache[0] + 1).sum()
            return (x * cache[0]).sum()

        return step, []

    assert_same(make)


VALUES: dict[str, Callable[[Any], Any]] = {
    "item": lambda t: t.sum().item(),
    "float": lambda t: float(t.sum()),
    "int": lambda t: int(t.sum()),
    "bool": lambda t: bool(t.sum()),
    "branch": lambda t: 1 if t.sum() > 0 else 2,
    "numpy": lambda t: t.numpy(),
    "data": lambda t: t.data,
    "tolist": lambda t: t.tolist(),
    "format": lambda t: f"{t.sum():.2f}",
    "asarray": lambda t: np.asarray(t),
    "max": lambda t: max(t.sum(), t.mean()),
    "in": lambda t: t[0, 0] in [1.0, 2.0],
    "range": lambda t: range(np.argmax(t)),
    "slice": lambda t: t[: np.argmax(t)],
    "mask": lambda t: t[t > 0],
    "nonzero": lambda t: np.nonzero(t),
    "argwhere": lambda t: np.argwhere(t > 0),
    "flatnonzero": lambda t: t.ravel()[np.flatnonzero(t)],
    "masked rows": lambda t: t[t[:, 0] > 0],
    "one-hot": lambda t: np.eye(3)[np.argmax(t, axis=1)],
    "unpack": lambda t: [float(v) for v in t.sum(axis=0)],
    "put": lambda t: np.eye(3).__setitem__(0, t[0]),
    "accuracy": lambda t: tg.accuracy(t, Y),
    "array": lambda t: t,
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_is_refused_where_it_is_asked_for(kind: str) -> None:
    w = parameter(3)

    @jit
    def step(x: Any) -> Any:
        out = x * w.detach()
        got = VALUES[kind](out)
        return out._data if kind == "array" else (out, got)

    with pytest.raises(RecordingError) as caught:
        for i in range(3):
            step(X[i])
    if kind != "array":
        assert f"test_jit_traps.py:{VALUES[kind].__code__.co_firstlineno}" in str(caught.value)


# state


def test_the_first_step_with_momentum() -> None:
    assert_same(lambda: training(0.9), calls=8)


def test_outputs_are_the_callers_own() -> None:
    w = parameter(4, 3)
    opt = optim.SGD([w], lr=0.1)

    @jit
    def step(x: Any) -> Any:
        h = w * x
        opt.zero_grad()
        h.sum().backward()
        opt.step()
        return h, h.T, w, w.T, x, x[1:], w.grad, [h.sum()], h

    held: list[tuple[Any, bytes]] = []
    for i in range(8):
        inside = X[i].copy()
        results = step(inside)
        flat = [*results[:7], *results[7], results[8]]
        inside.fill(np.nan)
        before, grad = w._data.tobytes(), w.grad._data.tobytes()
        for t in held:
            assert t[0]._data.tobytes() == t[1], f"call {i}"
        held = [(t, t._data.tobytes()) for t in flat]
        if i % 2:
            for t in flat[:-1]:
                t._data.fill(np.nan)
            held = []
            assert (w._data.tobytes(), w.grad._data.tobytes()) == (before, grad)


def test_a_label_out_of_range_in_a_later_batch() -> None:
    model = nn.MLP([3, 4, 2], rng=0, dtype=np.float64)
    opt = optim.Adam(model.parameters())

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    for i in range(5):
        step(X[i], Y)
    state = [p._data.tobytes() for p in model.parameters()]
    moments = {
        k: v.tobytes() if hasattr(v, "tobytes") else v for s in opt.state_dict()["state"].values() for k, v in s.items()
    }
    grads = [p.grad._data.tobytes() for p in model.parameters()]
    for bad in ([0, 1, 7, 0], [0, -1, 0, 0]):
        with pytest.raises(ValueError, match=rf"labels\[\d+\] is {min(bad) or max(bad)}, expected"):
            step(X[5], np.array(bad))
    assert [p._data.tobytes() for p in model.parameters()] == state
    assert {
        k: v.tobytes() if hasattr(v, "tobytes") else v for s in opt.state_dict()["state"].values() for k, v in s.items()
    } == moments
    assert [p.grad._data.tobytes() for p in model.parameters()] == grads
    other = copy.deepcopy(model)
    expected = F.cross_entropy(other(X[5]), Y)
    assert step(X[5], Y).item() == expected.item()


def test_an_error_in_the_middle_of_a_step() -> None:
    def make() -> Any:
        return training(0.9)

    function, (w, b, opt) = make()
    step = jit(function)
    for i in range(4):
        step(X[i])
    before = w._data.tobytes(), b._data.tobytes(), opt.state_dict()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        step(np.full((4, 3), 1e200) * w._data[:, 0] * 1e200)
    assert (w._data.tobytes(), b._data.tobytes()) == before[:2]
    step(X[4])
    eager, (w2, b2, _) = make()
    for i in range(5):
        eager(Tensor(X[i]))
    assert seen(w) == seen(w2) and seen(b) == seen(b2)


FAILURES = [
    "at once",
    "after the forward pass",
    "after zero_grad",
    "after backward",
    "after the step",
    "in the middle of the step",
    "returns an array",
]


def test_modes_after_a_recording_that_failed() -> None:
    model = nn.Sequential(nn.Dropout(0.5, rng=0), nn.Sequential(nn.Dropout(0.5, rng=1)))
    model[1][0].eval()
    before = [module.training for module in model.modules()]

    def step(x: Any) -> Any:
        model.eval()
        y = model(x)
        model[1].train()
        return y.sum().item()

    for _ in range(2):
        with pytest.raises(RecordingError, match="item"):
            jit(step)(X[0])
        assert [module.training for module in model.modules()] == before


class Odd(optim.SGD):
    """Computes with a number what is not to be frozen."""

    compute: Callable[[Any], Any]

    @staticmethod
    def formula(p: Any, g: Any, *, lr: float, **_: Any) -> Any:
        return (p - Odd.compute(lr) * g,)


@pytest.mark.parametrize("compute", [
    lambda lr: lr**2, lambda lr: 2**lr, lambda lr: lr + 1, lambda lr: 1 - lr, lambda lr: lr * 2, lambda lr: lr / 2,
    lambda lr: 1 / lr, lambda lr: -lr, lambda lr: lr * lr, abs, lambda lr: lr % 1, lambda lr: lr // 2,
    lambda lr: 1 // lr,
])  # fmt: skip
def test_numbers_that_are_computed_of_a_live_one(compute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "compute", compute, raising=False)
    w = parameter(3, 2)
    before, opt = w._data.tobytes(), Odd([w], lr=0.1)

    def step(x: Any) -> Any:
        loss = (x @ w).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    with pytest.raises(RecordingError, match="a live number takes part in array ops only"):
        jit(step)(X[0])
    assert w._data.tobytes() == before


@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize("where", FAILURES)
def test_a_failed_recording_changes_nothing(where: str, calls: int) -> None:
    rng = np.random.default_rng(5)
    model = nn.Sequential(
        nn.Linear(3, 4, rng=0, dtype=np.float64),
        nn.BatchNorm1d(4, momentum=None, dtype=np.float64),
        nn.Dropout(0.5, rng=rng),
        nn.Linear(4, 2, rng=1, dtype=np.float64),
    )
    opt = optim.Adam(model.parameters(), lr=0.1)

    def plain(x: Any, fail: str = "") -> Any:
        def here(place: str) -> None:
            if fail == place:
                raise RuntimeError("planted")

        here("at once")
        loss = F.cross_entropy(model(x), Y)
        here("after the forward pass")
        opt.zero_grad()
        here("after zero_grad")
        loss.backward()
        here("after backward")
        if fail == "in the middle of the step":
            model[3].weight.grad = Tensor(np.ones((7, 7)))
        opt.step()
        here("after the step")
        return loss._data if fail == "returns an array" else loss

    for i in range(calls):
        plain(Tensor(X[i]))
    step = jit(plain)

    def everything() -> list[Any]:
        tensors = [t for _, t in (*model.named_parameters(), *model.named_buffers())]
        moments = [
            sorted((k, v._data.tobytes() if isinstance(v, Tensor) else v) for k, v in opt.state[p].items())
            for p in model.parameters()
            if p in opt.state
        ]
        return [
            *map(seen, tensors),
            [None if t.grad is None else (id(t.grad), seen(t.grad)) for t in tensors],
            moments,
            repr(rng.bit_generator.state),
        ]

    before = everything()
    with pytest.raises(Exception, match="planted|array|shape"):
        step(X[5], where)
    assert everything() == before
    result = step(X[5])
    after = everything()
    assert after != before and isinstance(result, Tensor)


def test_recursion_of_one_compiled_function_into_another() -> None:
    def make() -> Any:
        w = parameter(3)
        inner = jit(lambda x: np.tanh(x * w))

        @jit
        def middle(x: Any) -> Any:
            return inner(x) + inner(x * 2)

        def step(x: Any) -> Any:
            w.grad = None
            loss = middle(x).sum() + inner(x).mean()
            loss.backward()
            with tg.no_grad():
                w.__isub__(0.1 * w.grad)
            return loss

        return step, [w]

    def plain() -> Any:
        w = parameter(3)
        f = lambda x: np.tanh(x * w)

        def step(x: Any) -> Any:
            w.grad = None
            loss = (f(x) + f(x * 2)).sum() + f(x).mean()
            loss.backward()
            with tg.no_grad():
                w.__isub__(0.1 * w.grad)
            return loss

        return step, [w]

    (function, state), (eager, other) = make(), plain()
    step = jit(function)
    for i in range(6):
        assert seen(step(X[i])) == seen(eager(Tensor(X[i])))
        assert seen(state[0]) == seen(other[0])
    factorial = jit(lambda x, n: x if n == 0 else factorial(x, n - 1) * n)
    for _ in range(3):
        assert factorial(np.ones(2), 5).tolist() == [120.0, 120.0]


def test_two_threads() -> None:
    function, (w, _, _) = training(0.9)
    step = jit(function)
    evaluate = jit(lambda x: np.tanh(x @ np.ones((3, 2))).sum())
    expected = {i: evaluate.function(Tensor(X[i])).item() for i in range(12)}
    errors: list[Any] = []

    def work() -> None:
        try:
            for k in range(60):
                step(X[k % 12])
                if evaluate(X[k % 12]).item() != expected[k % 12]:
                    errors.append(k)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert np.isfinite(w._data).all()


def test_one_thread_records_while_another_runs_eagerly() -> None:
    errors: list[Any] = []
    go, done = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        go.set()
        done.wait(10)
        return x * 2

    def eager() -> None:
        go.wait(10)
        try:
            t = Tensor(2.0, requires_grad=True)
            (t * t).backward()
            assert t.grad.item() == 4.0 and bool(t > 1)
        except Exception as error:
            errors.append(error)
        done.set()

    thread = threading.Thread(target=eager)
    thread.start()
    assert jit(slow)(np.ones(1)).item() == 2.0
    thread.join()
    assert not errors


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_freeing_the_function_frees_its_buffers(momentum: float) -> None:
    w = parameter(300, 300)
    opt = optim.SGD([w], lr=0.1, momentum=momentum)
    x = np.ones((300, 300))

    def make() -> Any:
        @jit
        def step(x: Any) -> Any:
            loss = F.mse_loss(np.tanh(x @ w), x)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        return step

    warm = make()
    for _ in range(4):
        warm(x)
    del warm
    w.grad = None
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        step = make()
        for _ in range(5):
            step(x)
        held = tracemalloc.get_traced_memory()[0] - before
        program = weakref.ref(step.last.program)
        dead = weakref.ref(step)
        del step
        w.grad = None
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held > 1_000_000
    assert dead() is None and program() is None
    assert left < 100_000


def test_a_further_size_holds_little_memory(tmp_path: Any) -> None:
    """Programs of one function share their memory, which moves where it grows; of each, only bytes are kept to read."""
    model = nn.MLP([784, 128, 10], rng=0)
    opt = optim.SGD(model.parameters(), lr=0.01)

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    def run(n: int) -> None:
        step(np.ones((n, 784), np.float32), np.arange(n) % 10)

    sizes, texts, held = (*range(40, 45), *range(60, 64)), [], []
    tracemalloc.start()
    try:
        for n in sizes:
            for _ in range(4):
                run(n)
            texts.append((step.last.program.listing, repr(step.last.plan)))
            gc.collect()
            shared = [step.arena.memory, *step.arena.constants.values()]
            held.append(tracemalloc.get_traced_memory()[0] - sum(a.nbytes for a in shared))
    finally:
        tracemalloc.stop()
    further = (held[-1] - held[1]) / (len(sizes) - 2)
    assert further < 40_000, f"{further:,.0f} bytes for each size more"  # with arrays of its own it would be 250 kB
    programs = [c for known in step.cache.values() for c in known]
    assert len(programs) == len(sizes) and sum(c.program is not None for c in programs) == 1
    assert step.arena.memory.nbytes <= 1.25 * max(c.bytes for c in programs)
    for _ in range(20):
        run(sizes[0])
    assert (step.source, repr(step.plan)) == texts[0]
    step.export(tmp_path / "step.py")
    assert all(f"({n}, 784)" in (tmp_path / "step.py").read_text() for n in sizes)


def test_a_graph_over_a_gradient_that_the_next_step_overwrites() -> None:
    function, (w, _, _) = training()
    step = jit(function)
    for i in range(4):
        step(X[i])
    other = Tensor(np.ones((3, 2)), requires_grad=True)
    loss = (other * w.grad).sum()
    step(X[4])
    with pytest.raises(tg.GraphError, match="changed"):
        loss.backward()


def test_a_graph_over_a_parameter_that_the_next_step_updates() -> None:
    function, (w, _, _) = training()
    step = jit(function)
    for i in range(4):
        step(X[i])
    loss = (w * w).sum()
    step(X[4])
    with pytest.raises(tg.GraphError, match="changed"):
        loss.backward()


def test_a_tensor_that_requires_grad_is_no_argument() -> None:
    with pytest.raises(RecordingError, match="require grad"):
        jit(lambda x: x * 2)(parameter(3))


def test_under_no_grad_and_with_it() -> None:
    w = parameter(3)
    step = jit(lambda x: (x * w).sum())
    for i in range(4):
        with tg.no_grad():
            assert not step(X[i]).requires_grad
        assert step(X[i]).item() == (Tensor(X[i]) * w).sum().item()


def test_a_step_that_needs_gradients_under_no_grad() -> None:
    function, (w, _, _) = training()
    step = jit(function)
    for i in range(4):
        step(X[i])
    before = w._data.tobytes()
    with tg.no_grad(), pytest.raises(tg.GraphError, match="no_grad"):
        step(X[4])
    assert w._data.tobytes() == before


def test_a_function_that_returns_a_gradient_and_does_nothing() -> None:
    w = parameter(3)
    w.grad = Tensor(np.ones(3))
    step = jit(lambda x: (w.grad, w))
    for i in range(5):
        grad, same = step(X[i])
        assert grad.tolist() == [1.0] * 3
        assert seen(same) == seen(w.detach())
        grad._data.fill(0)


GRADIENTS: dict[str, Callable[..., Any]] = {
    "an argument": lambda x, p, q: x,
    "a view of an argument": lambda x, p, q: x.T.reshape(2, 3),
    "the transpose of an argument": lambda x, p, q: x.reshape(3, 2).T,
    "a view of a result": lambda x, p, q: (x * 2).reshape(3, 2).T,
    "a view of a parameter that is updated": lambda x, p, q: q.detach().T,
    "a parameter that is updated": lambda x, p, q: p.detach(),
    "a view of another gradient": lambda x, p, q: q.grad.T,
    "a view of the gradient itself": lambda x, p, q: p.grad[:],
}


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_gradient_that_the_step_sets_is_in_the_same_memory(gradient: str) -> None:
    def build() -> Any:
        p, q = (Tensor(np.full(shape, 0.5), requires_grad=True, name=str(shape)) for shape in ((2, 3), (3, 2)))
        opt = optim.SGD([p, q], lr=0.1)

        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = ((p.T * q) ** 2).sum() + x.sum()
            loss.backward()
            p.grad = GRADIENTS[gradient](x, p, q)
            opt.step()
            return loss

        return p, q, step

    (p, q, eager), (*others, function) = build(), build()
    step = jit(function)
    for i in range(6):
        x = np.arange(6.0).reshape(2, 3) + i
        assert step(x).item() == eager(Tensor(x)).item()
        for t, other in zip((p, q), others, strict=True):
            assert t._data.tolist() == other._data.tolist()
            assert t.grad._data.tolist() == other.grad._data.tolist()  # type: ignore[union-attr]


class Counts(optim.Optimizer):
    """An optimiser whose formula needs no number, and which counts its steps."""

    counts_steps = True
    formula = staticmethod(lambda p, g, **_: (p - g,))

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1, "weight_decay": 0.0})

    def scalars(self, group: Any, step: int) -> dict[str, Any]:
        return {"unused": float(step)}


def test_steps_are_counted_although_nothing_needs_their_number() -> None:
    p = Tensor(np.ones(2), requires_grad=True)
    opt = Counts([p])

    @jit
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = (p * x).sum()
        loss.backward()
        opt.step()
        return loss

    for i in range(6):
        step(np.ones(2))
        assert opt.state[p]["step"] == i + 1


@pytest.mark.parametrize("calls", [1, 2, 4])
@pytest.mark.parametrize("given", [lambda x: x, lambda x: [x], lambda x: {"a": (x, 1)}], ids=["x", "list", "tree"])
def test_nothing_holds_the_arguments_of_a_call(given: Any, calls: int) -> None:
    model = nn.Linear(3, 2, rng=0)

    @jit
    def step(a: Any) -> Any:
        x = a["a"][0] if isinstance(a, dict) else a[0] if isinstance(a, list) else a
        return model(x).sum() * x.ndim

    x = np.ones((4, 3), np.float32)
    held = weakref.ref(x)
    for _ in range(calls):
        step(given(x))
    del x
    gc.collect()
    assert step.eager is None and held() is None


def test_a_warning_of_numpy_in_a_program_points_at_the_line_of_the_user() -> None:
    code = (
        "import numpy as np, tinygrad_mlp as tg\n"
        "f = tg.jit(lambda x: np.log(x))\n"
        "for x in (np.ones(2),) * 3 + (np.zeros(2),) * 2:\n"
        "    y = f(x)\n"
        "print(y.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[-inf, -inf]\n"
    assert done.stderr == "<string>:4: RuntimeWarning: divide by zero encountered in log\n"


def test_data_that_is_replaced_is_seen_through_detach_and_by_updates_alone() -> None:
    p, q = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    opt = optim.SGD([p], lr=0.1)
    update, read = jit(lambda: opt.step()), jit(lambda x: q.detach() * x)
    for i in range(9):
        if i == 5:
            p.data, q.data = np.array([10.0, 20.0]), np.full(2, 7.0)
        p.grad = Tensor([1.0, 1.0])
        update()
        expected = q.data * 3
        assert read(np.full(2, 3.0)).tolist() == expected.tolist()
    assert p.data.tolist() == pytest.approx([9.6, 19.6])


def test_a_gradient_that_two_parameters_share_is_refused_by_name() -> None:
    p, q = (Tensor([1.0], requires_grad=True, name=name) for name in "pq")

    @jit
    def step(x: Any) -> Any:
        loss = ((p + q) * x).sum() + (q * q).sum()
        loss.backward()
        return loss

    p.grad = q.grad = Tensor([5.0])
    with pytest.raises(tg.RecordingError, match="p shares its gradient with q; give it a copy"):
        step(np.ones(1))
    assert p.grad is q.grad


def test_a_draw_over_a_constant_gradient_is_made_at_each_call() -> None:
    def build() -> Any:
        rng, p = np.random.default_rng(0), Tensor(np.ones(4), requires_grad=True)

        def step(x: Any) -> Any:
            p.grad = None
            p.sum().backward()
            return F.dropout(p.grad, 0.5, rng=rng) * x

        return step

    eager, step = build(), jit(build())
    x = np.ones(4)
    assert [step(x).tolist() for _ in range(6)] == [eager(Tensor(x)).tolist() for _ in range(6)]


@pytest.mark.parametrize("whole_class", [False, True])
def test_a_formula_that_is_replaced_is_seen(whole_class: bool) -> None:
    class Own(optim.SGD):
        pass

    p = Tensor([1.0], requires_grad=True)
    opt = Own([p], lr=0.1)

    @jit
    def step(x: Any) -> None:
        opt.zero_grad()
        (p * x).sum().backward()
        opt.step()

    def formula(p: Any, g: Any, buf: Any = None, **_: Any) -> Any:
        return (p - g,)

    for i in range(7):
        if i == 4:
            setattr(*(Own, "formula", staticmethod(formula)) if whole_class else (opt, "formula", formula))
        step(np.ones(1))
    assert p.data.tolist() == pytest.approx([1 - 4 * 0.1 - 3])
