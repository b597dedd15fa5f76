"""The engine: what the graph visits, counts, frees and refuses, and both doors through which NumPy comes in."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import itertools
import math
import operator
import pickle
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from graphs import array, gc_disabled, leaf

import tinygrad_mlp as tg
from tinygrad_mlp import GraphError, NoRuleError, ShapeError, Tensor, grad, no_grad
from tinygrad_mlp import functional as F
from tinygrad_mlp.core.tensor import assign
from tinygrad_mlp.nn.optim import SGD, Adam, OneCycleLR
from tinygrad_mlp.rules.table import find

# How often rules run


def test_sixty_doublings_at_second_order() -> None:
    x = y = leaf(1.0)
    for _ in range(60):
        y = y + y
    (dy,) = grad(y * y, x, create_graph=True)
    (d2y,) = grad(dy, x)
    assert d2y.item() == 2.0**121


def test_only_what_leads_to_a_wanted_input_is_visited(counted: Callable[[Any], list[int]]) -> None:
    calls = counted(np.exp)
    x, y = leaf(0.0), leaf(0.0)
    out = np.exp(x) * np.exp(np.exp(y))
    grad(out, x, retain_graph=True)
    assert calls == [1]
    grad(out, y)
    assert calls == [3]


# Long graphs


def test_chain_at_second_order_is_deleted_too() -> None:
    with gc_disabled():
        x = y = leaf(0.1)
        for _ in range(5_000):
            y = y * 1.0001
        (dy,) = grad(y * y, x, create_graph=True)
        (d2y,) = grad(dy, x)
        np.testing.assert_allclose(d2y.item(), 2 * 1.0001**10_000, rtol=1e-9)
        dead = weakref.ref(y)
        del y, dy
        assert dead() is None


def test_chain_of_2_000_is_no_depth_for_any_tool() -> None:
    """A call for each op, or a frame, would be more than Python allows."""
    assert sys.getrecursionlimit() < 2_000

    def chain(t: Any) -> Any:
        for _ in range(2_000):
            t = t * 1.0001
        return (t * t).sum()

    x = leaf([0.1, 0.2])
    slope = 2 * 1.0001**4_000
    y = chain(x)
    assert len(repr(y)) < 100
    assert len(tg.draw(y).dot) > 2_000
    y.backward(create_graph=True)
    np.testing.assert_allclose(array(x.grad), slope * array(x), rtol=1e-9)
    x.zero_grad()
    np.testing.assert_allclose(array(tg.hessian(chain, x)), slope * np.eye(2), rtol=1e-9)
    np.testing.assert_allclose(array(tg.hvp(chain, x, np.ones(2))), [slope, slope], rtol=1e-9)
    assert tg.gradcheck(chain, x)
    with tg.detect_anomaly():
        chain(x).backward()
    step = tg.jit(lambda t: (x.zero_grad(), loss := chain(x * t), loss.backward(), loss)[-1])
    for _ in range(3):
        step(np.ones(2))
    np.testing.assert_allclose(array(x.grad), slope * array(x), rtol=1e-9)


def test_wide_graph() -> None:
    x = leaf(2.0)
    parts = [x * i for i in range(5_000)]
    np.stack(parts).sum().backward()
    assert x.grad.item() == sum(range(5_000))


# Memory


def test_backward_frees_the_graph_although_the_result_is_kept() -> None:
    with gc_disabled():
        x = leaf(np.ones(3))
        h = x * 2
        dead = weakref.ref(h)
        loss = np.exp(h).sum()
        del h
        loss.backward()
        assert dead() is None
        assert loss.item() == pytest.approx(3 * math.e**2)


def test_failed_op_and_failed_backward_leave_no_cycle() -> None:
    with gc_disabled():
        h = leaf(np.ones(3)) * 2
        dead = weakref.ref(h)
        with contextlib.suppress(ShapeError):
            h + np.ones(4)
        with contextlib.suppress(GraphError):
            h.backward()
        del h
        assert dead() is None


def test_grad_of_the_same_input_twice_shares_no_memory() -> None:
    x = leaf([1.0, 2.0])
    first, second = grad((x * x).sum(), [x, x])
    np.testing.assert_array_equal(array(first), array(second))
    assert not np.shares_memory(array(first), array(second))


# no_grad, threads


def test_no_grad_nests_and_decorates() -> None:
    x = leaf(1.0)
    with no_grad():
        with no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @no_grad()
    def double(t: Tensor) -> Tensor:
        """Double."""
        return t * 2 if t.requires_grad else double(t)

    assert not double(x).requires_grad
    assert double.__doc__ == "Double."
    assert double.__name__ == "double"
    assert (x * 2).requires_grad


def test_no_grad_generator_keeps_no_graph_while_its_own_body_runs() -> None:
    x, seen = leaf(2.0), []

    @no_grad()
    def double() -> Any:
        """Double what is sent."""
        given = yield "start"
        while True:
            try:
                seen.append((x * 2).requires_grad)
                given = yield given * 2
            except KeyError:
                seen.append((x * 2).requires_grad)
                given = 10
            finally:
                seen.append((x * 2).requires_grad)
            if given is None:
                return (x * 2).requires_grad

    assert inspect.isgeneratorfunction(double)
    assert double.__doc__ == "Double what is sent."
    g = double()
    assert next(g) == "start"
    assert (x * 2).requires_grad
    assert g.send(3) == 6
    assert (x * 2).requires_grad
    with no_grad():
        assert g.throw(KeyError) == 20
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(StopIteration) as stop:
        g.send(None)
    assert stop.value.value is False
    with pytest.raises(ValueError, match="out"):
        next(g := double()) and g.throw(ValueError("out"))
    g.close()
    assert (x * 2).requires_grad
    next(g := double())
    g.send(1)
    del g  # closed by its deletion
    assert (x * 2).requires_grad
    assert not any(seen)


def test_no_grad_generator_as_others_use_it() -> None:
    x = leaf(2.0)

    @contextlib.contextmanager
    @no_grad()
    def context() -> Any:
        yield (x * 2).requires_grad

    with context() as inside:
        assert not inside
        assert (x * 2).requires_grad

    class Batches:
        @no_grad()
        def __iter__(self) -> Any:
            yield from ((x * i).requires_grad for i in range(2))

    assert [(flag, (x * 2).requires_grad) for flag in Batches()] == [(False, True)] * 2


def test_no_grad_async_function_and_generator() -> None:
    x, seen = leaf(2.0), []

    @no_grad()
    async def body() -> Any:
        seen.append((x * 2).requires_grad)
        await asyncio.sleep(0)
        seen.append((x * 2).requires_grad)
        return x * 2

    @no_grad()
    async def source() -> Any:
        sent = None
        try:
            while sent != "stop":
                await asyncio.sleep(0)
                seen.append((x * 2).requires_grad)
                sent = yield sent
        finally:
            seen.append((x * 2).requires_grad)

    async def other() -> None:
        for _ in range(6):
            assert (x * 2).requires_grad
            await asyncio.sleep(0)

    async def drain() -> None:
        stream = source()
        assert await anext(stream) is None
        assert (x * 2).requires_grad
        assert await stream.asend("hello") == "hello"
        with pytest.raises(StopAsyncIteration):
            await stream.asend("stop")
        stream = source()
        await anext(stream)
        with pytest.raises(KeyError):
            await stream.athrow(KeyError())
        async for _ in (stream := source()):
            assert (x * 2).requires_grad
            break
        await stream.aclose()

    async def main() -> Any:
        result, _, _ = await asyncio.gather(body(), other(), drain())
        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return result

    assert inspect.iscoroutinefunction(body)
    assert not asyncio.run(main()).requires_grad
    assert (x * 2).requires_grad
    assert not any(seen)


def test_no_grad_object_can_be_used_again() -> None:
    x, off = leaf(1.0), no_grad()
    for _ in range(2):
        with off:
            assert not (x * 2).requires_grad
        assert (x * 2).requires_grad


def test_no_grad_of_generators_that_take_turns() -> None:
    def body() -> Any:
        with no_grad():
            yield

    x, first, second = leaf(1.0), body(), body()
    next(first)
    next(second)
    first.close()
    assert not (x * 2).requires_grad
    second.close()
    assert (x * 2).requires_grad


def test_no_grad_object_nests_in_itself() -> None:
    x, off = leaf(1.0), no_grad()
    with off:
        with off:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_tensors_are_leaves_and_new_leaves_still_require_grad() -> None:
    with no_grad():
        w = leaf(2.0)
        y = w * 2
    assert w.requires_grad
    assert y.is_leaf
    assert not y.requires_grad
    with pytest.raises(GraphError, match="no_grad"):
        y.backward()
    (w * w).backward()
    assert w.grad.item() == 4


def test_backward_inside_no_grad() -> None:
    x = leaf(3.0)
    y = x**3
    with no_grad():
        y.backward()
        assert not (x * 2).requires_grad
    assert x.grad.item() == 27
    assert (x * 2).requires_grad


def test_backward_restores_the_mode_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("inside a rule")

    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    x.grad = before = Tensor([7.0, 7.0])
    monkeypatch.setattr(find(np.exp), "vjps", (broken,))
    for create_graph in (False, True):
        y = (w * 2 + np.exp(x)).sum() + (x * w).sum()
        with pytest.raises(ZeroDivisionError):
            y.backward(create_graph=create_graph)
        assert x.grad is before
        assert w.grad is None
        np.testing.assert_array_equal(array(before), [7, 7])
        assert (x * 2).requires_grad
        y = np.exp(x).sum()
        with no_grad():
            with pytest.raises(ZeroDivisionError):
                y.backward(create_graph=create_graph)
            assert not (x * 2).requires_grad


def test_commit_of_gradients_is_all_or_nothing() -> None:
    """A leaf whose old .grad cannot be added to leaves the other leaves' .grad as it was."""
    for names in itertools.permutations("abc"):
        leaves = dict(zip(names, (leaf([1.0, 2.0]), leaf([3.0, 4.0]), leaf([5.0, 6.0])), strict=True))
        y = sum(t * t for t in leaves.values()).sum()
        leaves["b"]._grad = Tensor(np.ones((3, 5)))
        with pytest.raises((ValueError, GraphError)):
            y.backward()
        assert leaves["a"].grad is None
        assert leaves["c"].grad is None
        assert leaves["b"].grad.shape == (3, 5)


def test_graph_of_one_thread_goes_backward_in_another() -> None:
    x = leaf(2.0)
    y = x**3
    thread = threading.Thread(target=y.backward)
    thread.start()
    thread.join()
    assert x.grad.item() == 12


# Versions: data changed between forward and backward


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w.T,
        lambda w: w[0],
        lambda w: w[:, 1:],
        lambda w: w[..., None],
        lambda w: w.reshape(-1),
        lambda w: w.ravel(),
        lambda w: w.T.T.reshape(1, -1),
        lambda w: w.detach(),
        lambda w: w.detach().T[0],
        lambda w: w.T.detach(),
        lambda w: Tensor(w),
        lambda w: np.swapaxes(w, 0, 1),
        lambda w: np.moveaxis(w, 0, 1),
        lambda w: np.expand_dims(w, 0),
        lambda w: np.squeeze(w[None]),
        lambda w: np.broadcast_to(w, (4, 2, 2)),
        lambda w: np.flip(w),
        lambda w: np.transpose(w, (1, 0)),
        lambda w: np.atleast_3d(w.detach()),
        lambda w: np.split(w, 2)[1],
        lambda w: np.broadcast_arrays(w, np.ones((3, 2, 2)))[0],
        lambda w: np.real(w.detach()),
        lambda w: w.real,
        lambda w: np.rot90(w.detach()),
        lambda w: np.linalg.matrix_transpose(w.detach()),
        lambda w: next(iter(w)),
    ],
    ids=[
        "T", "row", "slice", "newaxis", "reshape", "ravel", "views_of_views", "detach", "view_of_detach",
        "detach_of_view", "Tensor", "swapaxes", "moveaxis", "expand_dims", "squeeze", "broadcast_to", "flip",
        "transpose", "atleast_3d", "split",
        "broadcast_arrays", "np_real", "real", "rot90", "matrix_transpose", "iter",
    ],
)  # fmt: skip
def test_change_is_seen_through_a_view(view: Callable[[Any], Any]) -> None:
    w, x = leaf([[1.0, 2.0], [3.0, 4.0]], name="w"), leaf(5.0)
    v = view(w)
    assert np.shares_memory(array(v), array(w))
    y = (v * x).sum()
    with no_grad():
        w += 1.0
    with pytest.raises(GraphError, match=r"version 0.*changed.*version 0 -> 1"):
        y.backward()
    assert w.grad is None
    assert x.grad is None


def test_what_was_changed_before_an_op_read_it_is_good() -> None:
    n, x = Tensor([0, 0]), leaf([1.0, 2.0])
    assign(n, np.array([1, 0]))
    assign(n, np.array([1, 1]))
    for y in (x[n], x * n, np.where(n > 0, x, n)):
        assign(Tensor(0.0), 1.0)  # after any change, all that was read is looked at
        y.sum().backward()
    np.testing.assert_array_equal(array(x.grad), [2, 4])


def test_change_of_what_no_rule_reads_is_allowed() -> None:
    w = leaf([1.0, 2.0])
    y = (w[::-1] + 3 - w.reshape(2)).sum()
    with no_grad():
        w += 1.0
    y.backward()
    np.testing.assert_array_equal(array(w.grad), [0, 0])


@pytest.mark.parametrize(
    "f",
    [
        lambda w, x: np.where(w > 1.5, x, 0.0) * w,
        lambda w, x: np.clip(x, w, 9.0),
        lambda w, x: np.maximum(w, x),
        lambda w, x: F.linear(x[None], w[None]),
        lambda w, x: np.einsum("i,i->i", w, x),
        lambda w, x: F.binary_cross_entropy_with_logits(x, w),
    ],
    ids=["comparison", "clip", "maximum", "linear", "einsum", "bce_with_logits"],
)
def test_change_of_another_argument_is_seen(f: Callable[[Any, Any], Any]) -> None:
    """Whichever argument it is that the rules read."""
    w, x = leaf([0.0, 2.0]), leaf([1.0, 3.0])
    y = f(w, x).sum()
    with no_grad():
        w += 1.0
    with pytest.raises(GraphError, match="changed"):
        grad(y, x)


@pytest.mark.parametrize(
    ("f", "data", "new"),
    [
        (lambda x, t: x[t], [0, 0], [1, 1]),
        (lambda x, t: np.take(x, t), [0, 0], [1, 1]),
        (lambda x, t: np.where(t, x, 0.0), [True, False, True], [False, True, False]),
        (lambda x, t: F.cross_entropy(x[None], t), [0], [1]),
        (lambda x, t: x * t, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
    ],
    ids=["index", "take", "condition", "labels", "factor"],
)
def test_change_of_a_constant_tensor_is_seen(f: Callable[[Any, Any], Any], data: Any, new: Any) -> None:
    x, t = leaf([1.0, 2.0, 3.0]), Tensor(np.array(data))
    y = f(x, t).sum()
    t.data = np.array(new)
    with pytest.raises(GraphError, match="changed"):
        grad(y, x)


def test_data_of_a_leaf_replaced_before_backward() -> None:
    w = leaf([1.0, 2.0])
    y = (w * w).sum()
    w.data = np.array([5.0, 6.0])
    with pytest.raises(GraphError, match="changed"):
        y.backward()


def test_data_of_a_result_replaced_before_backward() -> None:
    w = leaf([1.0, 2.0])
    h = w * 2
    y = (h * h).sum()
    with contextlib.suppress(AttributeError, GraphError):
        h.data = np.array([50.0, 60.0])
        with pytest.raises(GraphError, match="changed"):
            y.backward()
    assert w.grad is None


def test_data_setter_checks_what_it_is_given() -> None:
    w = leaf([1.0, 2.0], name="w")
    for bad in (np.array([1, 2]), np.array(["a", "b"]), np.array([1j, 2j])):
        with pytest.raises(TypeError):
            w.data = bad
        np.testing.assert_array_equal(w.data, [1, 2])
        assert w.dtype == np.float64


@pytest.mark.parametrize(
    ("data", "value"), [([1, 2], [0.5, 1.5]), ([1.0, 2.0], [1j, 2.0]), ([True, False], [1, 2])], ids=str
)
def test_assign_casts_within_a_kind_only(data: Any, value: Any) -> None:
    t = Tensor(np.array(data))
    with pytest.raises(TypeError, match="assign.*same_kind"):
        assign(t, value)
    assert t.tolist() == data
    assign(f := leaf(data, np.float32), np.array(np.real(value), np.float64))
    np.testing.assert_array_equal(f.data, np.real(value))


def test_assign_to_a_view_is_seen_by_its_base() -> None:
    w = leaf([[1.0, 2.0], [3.0, 4.0]])
    y = (w * w).sum()
    with no_grad():
        assign(w.detach()[0], 9.0)
    np.testing.assert_array_equal(w.data[0], [9, 9])
    with pytest.raises(GraphError, match="changed"):
        y.backward()


@pytest.mark.parametrize("op", [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow])
def test_augmented_assignment_changes_a_leaf_in_place_under_no_grad(op: Callable[[Any, Any], Any]) -> None:
    w, other = leaf([1.0, 4.0]), 3
    memory, expected = w.data, op(np.array([1.0, 4.0]), other)
    with no_grad():
        result = op(w, other)
    assert result is w
    assert w.data is memory
    assert w.requires_grad
    assert w.is_leaf
    np.testing.assert_array_equal(memory, expected)
    with pytest.raises(GraphError, match="no_grad"):
        op(w, other)
    h = w * 1
    r = op(h, other)
    assert r is not h
    assert r.requires_grad
    constant = Tensor([1.0, 2.0])
    alias = constant
    constant = op(constant, other)
    assert constant is not alias
    np.testing.assert_array_equal(alias.data, [1, 2])


IN_PLACE = [
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow, operator.ifloordiv, operator.imod,
    operator.imatmul, operator.iand, operator.ior, operator.ixor,
]  # fmt: skip


@pytest.mark.parametrize("op", IN_PLACE, ids=lambda op: op.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, np.uint8, np.bool_])
def test_augmented_assignment_without_grad_does_what_numpy_does(op: Callable[[Any, Any], Any], dtype: Any) -> None:
    """Under no_grad: the same memory, dtype, values and refusals, and aliases that see it."""
    others: list[Any] = [
        2, 1.5, True, np.array(3), np.ones((2, 2), np.float32), np.full((2, 2), 2), np.eye(2, dtype=bool),
        np.ones((1, 2, 2), dtype), np.ones((2, 1)), np.ones(3), np.full((2, 2), 2, np.int8),
    ]  # fmt: skip
    if op is operator.imatmul:  # NumPy lets go of an axis of length 1 here, which is not broadcasting
        del others[7]
    for other in others:
        array_ = np.array([[3, 1], [2, 4]]).astype(dtype)
        t = Tensor(array_.copy())
        memory, alias, row = t.data, t, t.detach()[0]
        other_ = other.item() if np.ndim(other) == 0 and isinstance(other, np.ndarray) else other
        with no_grad(), np.errstate(all="ignore"):
            try:
                expected = op(array_, other_)
            except (TypeError, ValueError):
                with pytest.raises((TypeError, ValueError)):
                    op(t, other)
                np.testing.assert_array_equal(memory, np.array([[3, 1], [2, 4]]).astype(dtype))
                continue
            t = op(t, other)
        assert t is alias
        assert t.data is memory
        np.testing.assert_array_equal(memory, expected, strict=True)
        np.testing.assert_array_equal(array(row), expected[0])


def test_augmented_assignment_of_results_and_views() -> None:
    data = np.zeros(3)
    with no_grad():
        t = Tensor(data)
        view = t[1:]
        view += 1.0
        t[:1].detach().__iadd__(5.0)
        total = same = leaf([1.0]) * 2
        total *= 3
        backwards = t[::-1]
        t += backwards
    np.testing.assert_array_equal(data, [6, 2, 6])
    assert total is same
    assert same.item() == 6
    with no_grad(), pytest.raises(ValueError, match="read-only"):
        operator.iadd(Tensor(np.broadcast_to(1.0, (2,))), 1.0)
    with no_grad():
        for n, other in ((Tensor([1, 2]), 1.5), (Tensor([1, 2]), np.ones(2)), (Tensor([True]), 1), (Tensor([1.0]), 1j)):
            with pytest.raises(TypeError, match="[Cc]ast.*astype"):
                operator.iadd(n, other)
        with pytest.raises(TypeError, match="[Cc]ast.*astype"):
            operator.itruediv(Tensor([1, 2]), 2)
        for wrong in (np.ones((1, 3)), np.ones((4, 3))):
            with pytest.raises(ShapeError, match=r"\(3,\).*\(\d, 3\)"):
                operator.iadd(t, wrong)
        with pytest.raises(ShapeError, match=r"\(2, 3\).*\(2, 1\)"):
            operator.imatmul(Tensor(np.ones((2, 3))), np.ones((3, 1)))


@pytest.mark.parametrize(
    "stale",
    [
        lambda c, x: (x * c).sum(),
        lambda c, x: (x * c.T).sum(),
        lambda c, x: (x * c.detach()).sum(),
        lambda c, x: F.linear(x[None], c[None]).sum(),
        lambda c, x: np.maximum(x, c).sum(),
    ],
    ids=["itself", "view", "detach", "linear", "maximum"],
)
def test_change_of_a_constant_result_is_seen(stale: Callable[[Any, Any], Any]) -> None:
    """A result has no counter until it is changed: what has read it before that is found all the same."""
    x = leaf([1.0, 2.0, 3.0])
    c = Tensor([0.0, 1.0, 2.0]) * 1
    y = stale(c, x) * c.sum()
    with no_grad():
        c += 1.0
    with pytest.raises(GraphError, match=r"version 0 -> 1"):
        y.backward()
    assert x.grad is None
    stale(c, leaf([1.0, 2.0, 3.0, 4.0])[:3]).backward()


@pytest.mark.parametrize("alias", [lambda h: h, lambda h: h.detach(), lambda h: h.detach()[:1], lambda h: Tensor(h)])
def test_change_of_a_result_that_a_rule_reads_is_seen(alias: Callable[[Any], Any]) -> None:
    x = leaf([1.0, 2.0])
    h = np.exp(x)  # its rule reads its own result
    y = h.sum()
    a = alias(h)
    with no_grad():
        a += 1.0
    assert h.data[0] == np.exp(1.0) + 1
    with pytest.raises(GraphError, match=r"exp gave a Tensor of shape \(2,\) at version 0.*version 0 -> 1"):
        y.backward()


def test_change_after_the_last_read_is_allowed() -> None:
    x = leaf([1.0, 2.0])
    h = np.exp(x)
    h.sum().backward()
    p = h.detach()
    with no_grad():
        p -= 1.0
    y = (x * p).sum()
    y.backward()
    np.testing.assert_allclose(array(x.grad), 2 * np.exp([1.0, 2.0]) - 1)


def test_formulas_of_the_package_change_nothing_but_their_targets() -> None:
    """An optimiser's formula and fused ops are written for arrays, with ``+=``: on Tensors that makes new ones."""
    w, bias = leaf([[1.0, 2.0]]), leaf([0.5])
    with no_grad():
        for optimizer in (SGD([w], 0.1, momentum=0.9, weight_decay=0.1), Adam([w], 0.1)):
            for _ in range(3):
                w.grad = g = Tensor([[0.5, 0.25]])
                with tg.detect_anomaly():
                    optimizer.step()
                np.testing.assert_array_equal(g.data, [[0.5, 0.25]])
        F.linear(Tensor([[1.0, 1.0]]), w, bias)
    np.testing.assert_array_equal(bias.data, [0.5])


@pytest.mark.parametrize("op", [operator.ifloordiv, operator.imod, operator.imatmul])
def test_other_augmented_assignments_do_not_quietly_replace_a_parameter(op: Callable[[Any, Any], Any]) -> None:
    w = leaf([[1.0, 2.0], [3.0, 4.0]])
    with no_grad():
        try:
            result = op(w, np.eye(2) + 1)
        except (TypeError, GraphError):
            return
    assert result is w
    assert result.requires_grad


def test_augmented_assignment_keeps_dtype_and_layout() -> None:
    w = Tensor(np.asfortranarray(np.ones((2, 3), np.float32)), requires_grad=True)
    with no_grad():
        w -= 0.1 * Tensor(np.ones((2, 3)))
    assert w.dtype == np.float32
    assert w.data.flags.f_contiguous


@pytest.mark.parametrize("make", [lambda c: c, lambda c: c * 1], ids=["state", "result"])
def test_augmented_assignment_under_jit_gives_the_same_bits(make: Callable[[Any], Any]) -> None:
    def run(compiled: bool) -> Any:
        w, average, x = leaf([1.0, 2.0]), Tensor([0.0, 0.0]), np.array([3.0, 4.0])

        def step(x: Any) -> Any:
            w.zero_grad()
            loss = (w * w * x).sum()
            loss.backward()
            with no_grad():
                w.grad *= 0.5
                a = make(average)
                a *= 0.9
                a += 0.1 * w
                a **= 2
                w.__isub__(0.1 * w.grad)
            return loss, a

        f = tg.jit(step) if compiled else lambda x: step(Tensor(x))
        results = [[t.tolist() for t in f(x + i)] for i in range(6)]
        return results, w.tolist(), average.tolist(), w.grad.tolist()

    assert run(True) == run(False)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: operator.iadd(x, 1.0),
        lambda x: operator.iadd(x[:1], 1.0),
        lambda x: (h := x * 2, h[:1], h.__iadd__(1.0)),
    ],
    ids=["argument", "view", "result_with_views"],
)
def test_augmented_assignment_that_a_program_cannot_repeat_is_refused(change: Callable[[Any], Any]) -> None:
    data = np.array([1.0, 2.0])

    @tg.jit
    def step(x: Any) -> Any:
        with no_grad():
            change(x)
        return x * 1

    with pytest.raises(tg.RecordingError, match=r"change in place.*test_engine.py.*t = t \+ 1"):
        step(data)
    np.testing.assert_array_equal(data, [1, 2])


# Hooks


def test_hook_sees_the_complete_gradient_and_may_replace_it() -> None:
    x, seen = leaf([1.0, 2.0]), []
    h = x * 2
    h.register_hook(lambda g: seen.append(("h", g.tolist())))
    h.register_hook(lambda g: g * 10)
    h.register_hook(lambda g: seen.append(("h again", g.tolist())))
    x.register_hook(lambda g: seen.append(("x", g.tolist())) or g + 1)
    (h * 3 + h).sum().backward()
    assert seen == [("h", [4, 4]), ("h again", [40, 40]), ("x", [80, 80])]
    assert x.grad.tolist() == [81, 81]
    (x * 1).sum().backward()
    assert x.grad.tolist() == [83, 83]
    (y := x * 2).register_hook(lambda g: np.array([5, 7]))  # whatever can be a gradient
    assert grad(y.sum(), [x, y])[1].tolist() == [5, 7]
    assert x.grad.tolist() == [83, 83]


def test_hook_of_a_root_and_of_what_grad_wants() -> None:
    x = leaf(2.0)
    y = x * x
    y.register_hook(lambda g: g * 3)
    dy, dx = grad(y, [y, x], retain_graph=True)
    assert (dy.item(), dx.item()) == (3, 12)
    y.backward()
    assert x.grad.item() == 12
    unused = leaf(1.0)
    unused.register_hook(lambda g: pytest.fail("its gradient is not asked for"))
    grad(unused * x, x)


def test_hook_is_differentiable_under_create_graph() -> None:
    x = leaf(2.0)
    h = x * x
    h.register_hook(lambda g: g * x)
    (constant,) = grad(h * h, x, retain_graph=True)
    assert not constant.requires_grad
    (first,) = grad(h * h, x, create_graph=True)  # 2 h x 2 x = 4 x**4
    assert first.item() == 64
    assert grad(first, x)[0].item() == 8 * 4 * 2 + 4 * 4 * 2 * 4  # of 4 h x**2 by x, and by h, through the hook again


def test_hook_is_taken_away_and_dies_with_its_tensor() -> None:
    x, seen = leaf(1.0), []
    first, second = x.register_hook(lambda g: seen.append(1)), x.register_hook(lambda g: seen.append(2))
    first.remove()
    first.remove()
    (x * 1).backward()
    second.remove()
    (x * 1).backward()
    assert seen == [2]
    with gc_disabled():
        h = x * 2
        handle, dead = h.register_hook(lambda g: g), weakref.ref(h)
        h.retain_grad()
        del h
        assert dead() is None
        handle.remove()


def test_hook_that_removes_itself() -> None:
    x, seen = leaf(1.0), []
    handle = x.register_hook(lambda g: (seen.append(g.item()), handle.remove())[0])
    x.register_hook(lambda g: seen.append("second"))
    for _ in range(2):
        (x * 1).backward()
    assert seen == [1, "second", "second"]


@pytest.mark.parametrize(
    ("given", "error", "word"),
    [(np.ones(3), ShapeError, r"\(3,\).*\(2,\)"), (1.0, ShapeError, r"\(\).*\(2,\)"), ("a", TypeError, "dtype"),
     (np.array([1j, 2]), TypeError, "complex")],
)  # fmt: skip
def test_hook_that_gives_no_gradient_changes_nothing(given: Any, error: Any, word: str) -> None:
    x, y = leaf([1.0, 2.0], name="w"), leaf([1.0, 2.0])
    x.register_hook(lambda g: given)
    with pytest.raises(error, match=rf"hook of w.*{word}"):
        (x * y).sum().backward()
    assert x.grad is None
    assert y.grad is None


def test_hook_that_changes_its_gradient_in_place_changes_no_other() -> None:
    x, y, upstream = leaf([1.0, 2.0]), leaf([1.0, 2.0]), np.ones(2)
    x.register_hook(lambda g: operator.imul(g, 5) and None if g.size == 1 else (g.__imul__(5), None)[1])
    (x + y).backward(upstream)
    assert x.grad.tolist() == [5, 5]
    assert y.grad.tolist() == [1, 1]
    assert upstream.tolist() == [1, 1]
    kept = []
    x.register_hook(kept.append)
    x.zero_grad()
    (x + y).backward(upstream)
    assert not np.shares_memory(kept[0].data, y.grad.data)


def test_hook_needs_a_tensor_that_gets_a_gradient() -> None:
    for t in (Tensor([1.0]), leaf(1.0).detach(), leaf(1.0) > 0):
        for call in (lambda t: t.register_hook(print), lambda t: t.retain_grad()):
            with pytest.raises(GraphError, match="does not require grad"):
                call(t)


@pytest.mark.parametrize("create_graph", [False, True])
def test_retain_grad(create_graph: bool) -> None:
    x = leaf([1.0, 2.0])
    h = x * 2
    h.retain_grad()
    h.retain_grad()
    x.retain_grad()
    h.register_hook(lambda g: g * 10)
    y = (h * h).sum()
    y.backward(retain_graph=True, create_graph=create_graph)
    assert h.grad.tolist() == [40, 80]
    assert h.grad.requires_grad == create_graph
    assert x.grad.tolist() == [80, 160]
    assert not np.shares_memory(h.grad.data, x.grad.data)
    grad(y, x, retain_graph=True)
    assert h.grad.tolist() == [40, 80]
    y.backward()
    assert h.grad.tolist() == [80, 160]
    k = x * 3
    k.sum().backward()
    assert k.grad is None
    x.zero_grad()
    h.zero_grad()


def test_hooks_run_in_a_jitted_step_and_make_it_anew() -> None:
    def run(compiled: bool) -> Any:
        w, found = leaf([1.0, 2.0]), []

        def step(x: Any) -> Any:
            w.zero_grad()
            h = w * x
            h.register_hook(lambda g: g * g)
            h.retain_grad()
            (h * h).sum().backward()
            return h.grad * 1

        f = tg.jit(step) if compiled else lambda x: step(Tensor(x))
        handles = []
        for i in range(15):
            if i in (4, 8):
                handles.append(w.register_hook(lambda g: np.tanh(g) + len(handles)))
            if i == 12:
                handles[0].remove()
            found.append((f(np.array([0.1, 0.2])).tolist(), w.grad.tolist()))
        return found

    assert run(True) == run(False)


def test_hook_of_a_leaf_inside_of_a_jitted_step_is_refused() -> None:
    w = leaf([1.0, 2.0])

    @tg.jit
    def step(x: Any) -> Any:
        w.register_hook(lambda g: g)
        return (w * x).sum()

    with pytest.raises(tg.RecordingError, match="hook of a leaf"):
        step(np.ones(2))
    (w * 1).sum().backward()


def test_hook_that_reads_a_value_is_refused_by_jit() -> None:
    w = leaf([1.0, 2.0])
    w.register_hook(lambda g: print(float(g.sum())))

    @tg.jit
    def step(x: Any) -> Any:
        (w * x).sum().backward()

    with pytest.raises(tg.RecordingError, match="item.*test_engine.py"):
        step(np.ones(2))


# retain_graph, create_graph, grad


def test_shared_part_of_a_released_graph_is_an_error() -> None:
    x = leaf(2.0)
    h = np.exp(x)
    y, z = h * 2, h * 3
    y.backward()
    with pytest.raises(GraphError, match=r"already released at exp.*retain_graph=True"):
        z.backward()


def test_interior_input_leaves_the_graph_below_it_intact() -> None:
    """As in PyTorch: what a pass did not go through is not released."""
    x = leaf(2.0)
    h = x * x
    (dh,) = grad(h * h, h)
    assert dh.item() == 8
    h.backward(dh)
    assert x.grad.item() == 32


def test_other_branch_of_a_partial_grad_is_intact() -> None:
    x, z = leaf(2.0), leaf(3.0)
    a, b = x * x, z * z
    grad((a * b), x)
    b.backward()
    assert z.grad.item() == 6


def test_create_graph_keeps_the_graph() -> None:
    x = leaf(2.0)
    y = x**3
    (first,) = grad(y, x, create_graph=True)
    y.backward()
    assert x.grad.item() == 12
    assert first.requires_grad
    first.backward()
    assert x.grad.item() == 24


def test_backward_with_create_graph_makes_grad_differentiable() -> None:
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    (d2,) = grad(x.grad, x)
    assert d2.item() == 12


def test_backward_with_create_graph_keeps_what_its_gradients_are_made_of() -> None:
    x = leaf([0.5, 1.0])
    np.exp(x).sum().backward(create_graph=True)
    np.testing.assert_allclose(array(grad(x.grad.sum(), x)[0]), np.exp([0.5, 1.0]), rtol=1e-15)


def test_create_graph_false_gives_constants() -> None:
    x = leaf(2.0)
    (g,) = grad(x**3, x)
    assert not g.requires_grad
    assert g.is_leaf
    (x**3).backward()
    assert not x.grad.requires_grad


def test_grad_changes_no_grad_attribute() -> None:
    x, w = leaf(2.0), leaf(3.0)
    grad(x * w, x)
    assert x.grad is None
    assert w.grad is None


def test_grad_with_interior_inputs() -> None:
    x = leaf([1.0, 2.0])
    h = x * 3
    k = h * h
    y = (k * h).sum()
    dx, dh, dk, dy = grad(y, [x, h, k, y])
    np.testing.assert_array_equal(array(dh), 3 * array(h) ** 2)
    np.testing.assert_array_equal(array(dk), array(h))
    np.testing.assert_array_equal(array(dx), 9 * array(h) ** 2)
    assert dy.item() == 1


def test_grad_of_several_outputs_adds_up() -> None:
    x = leaf([1.0, 2.0])
    y, z = x * x, (x * 5).sum()
    (g,) = grad([y, z], x, [np.array([10.0, 100.0]), None])
    np.testing.assert_array_equal(array(g), [25, 405])
    y = x * x
    (g,) = grad([y.sum(), y.sum(), x.sum()], x)
    np.testing.assert_array_equal(array(g), [5, 9])
    h = x * 2
    (g,) = grad([h, h * h], x, [np.ones(2), np.ones(2)])
    np.testing.assert_array_equal(array(g), [10, 18])


def test_grad_allow_unused() -> None:
    x, unused = leaf(2.0), leaf(1.0, name="unused")
    with pytest.raises(GraphError, match=r"inputs\[1\] unused.*allow_unused=True"):
        grad(x * x, [x, unused], retain_graph=True)
    assert grad(x * x, [x, unused], allow_unused=True)[1] is None
    constant = Tensor(1.0)
    with pytest.raises(GraphError, match=r"inputs\[0\].*requires_grad=True"):
        grad(x * constant, constant)


def test_grad_takes_any_iterable_of_inputs() -> None:
    params = {"w": leaf(2.0), "b": leaf(3.0)}
    y = params["w"] * params["b"]
    for inputs in (params.values(), (p for p in params.values()), iter([*params.values()])):
        assert [g.item() for g in grad(y, inputs, retain_graph=True)] == [3.0, 2.0]


def test_leaf_is_its_own_result() -> None:
    x = leaf([1.0, 2.0])
    assert array(grad(x, x, np.ones(2))[0]).tolist() == [1, 1]
    s = leaf(1.0)
    s.backward()
    s.backward()
    assert s.grad.item() == 2


def test_backward_of_one_element_needs_no_gradient() -> None:
    for shape in ((), (1,), (1, 1)):
        x = leaf(np.full(shape, 3.0))
        (x * x).backward()
        assert x.grad.shape == shape
        assert x.grad.item() == 6


def test_upstream_gradient_of_another_kind() -> None:
    x = leaf([1.0, 2.0], np.float32)
    for gradient in ([3.0, 4.0], (3, 4), np.array([3, 4]), Tensor([3.0, 4.0]), np.array([3.0, 4.0], np.float32)):
        x.zero_grad()
        (x * 2).backward(gradient)
        assert x.grad.dtype == np.float32
        assert array(x.grad).tolist() == [6, 8]


def test_upstream_gradient_of_another_dtype_is_rounded_first() -> None:
    rng = np.random.default_rng(0)
    data, upstream = rng.uniform(0.5, 2, 50).astype(np.float32), rng.uniform(0.5, 2, 50)
    found = []
    for g in (upstream, upstream.astype(np.float32)):
        x = leaf(data, np.float32)
        y = np.exp(x * x)
        found.append(array(grad(y, x, g)[0]))
    assert found[0].tobytes() == found[1].tobytes()


def test_gradient_does_not_flow_into_an_upstream_leaf_without_create_graph() -> None:
    x, v = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (g,) = grad(x * x, x, v, create_graph=True)
    (dv,) = grad(g.sum(), v)
    np.testing.assert_array_equal(array(dv), [2, 4])


def test_requires_grad_set_later_and_taken_away() -> None:
    x = Tensor([1.0, 2.0])
    y = x * 2
    assert x.requires_grad_() is x
    assert not y.requires_grad
    assert (x * 2).requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad
    h = leaf(1.0) * 2
    with pytest.raises(GraphError, match=r"leaf.*multiply.*detach"):
        h.requires_grad = False
    with pytest.raises(GraphError, match="detach"):
        h.requires_grad_(False)


def test_detach_cuts_the_graph_and_shares_the_memory() -> None:
    x = leaf([1.0, 2.0])
    h = x * 3
    d = h.detach()
    assert not d.requires_grad
    assert d.is_leaf
    assert np.shares_memory(array(d), array(h))
    (h * d).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [9, 18])


# Higher orders against closed forms

X = 0.37
THIRD: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "power": (lambda x: x**2.5, [2.5 * X**1.5, 3.75 * X**0.5, 1.875 * X**-0.5]),
    "power_1": (lambda x: x**1, [1, 0, 0]),
    "power_0": (lambda x: x**0 * x, [1, 0, 0]),
    "reciprocal": (lambda x: 1 / x, [-(X**-2), 2 * X**-3, -6 * X**-4]),
    "power_minus_1": (lambda x: x**-1, [-(X**-2), 2 * X**-3, -6 * X**-4]),
    "sqrt": (np.sqrt, [0.5 * X**-0.5, -0.25 * X**-1.5, 0.375 * X**-2.5]),
    "cbrt": (np.cbrt, [X ** (-2 / 3) / 3, -2 / 9 * X ** (-5 / 3), 10 / 27 * X ** (-8 / 3)]),
    "exp": (lambda x: np.exp(2 * x), [2**k * math.exp(2 * X) for k in (1, 2, 3)]),
    "base": (lambda x: 3**x, [math.log(3) ** k * 3**X for k in (1, 2, 3)]),
    "exp_of_square": (
        lambda x: np.exp(x * x),
        [math.exp(X * X) * p for p in (2 * X, 4 * X**2 + 2, 8 * X**3 + 12 * X)],
    ),
    "log": (np.log, [1 / X, -(X**-2), 2 * X**-3]),
    "log1p": (np.log1p, [1 / (1 + X), -((1 + X) ** -2), 2 * (1 + X) ** -3]),
    "expm1": (np.expm1, [math.exp(X)] * 3),
    "sin_cos": (lambda x: np.sin(x) * np.cos(x), [math.cos(2 * X), -2 * math.sin(2 * X), -4 * math.cos(2 * X)]),
    "tan": (
        np.tan,
        [(s := 1 / math.cos(X) ** 2), 2 * s * math.tan(X), 2 * s * (s + 2 * math.tan(X) ** 2)],
    ),
    "sinh_cosh": (lambda x: np.sinh(x) + np.cosh(x), [math.exp(X)] * 3),
    "sin_of_exp": (
        lambda x: np.sin(np.exp(x)),
        [
            (e := math.exp(X)) * math.cos(e),
            e * math.cos(e) - e**2 * math.sin(e),
            e * math.cos(e) - 3 * e**2 * math.sin(e) - e**3 * math.cos(e),
        ],
    ),
    "sigmoid": (
        F.sigmoid,
        [(p := 1 / (1 + math.exp(-X))) * (1 - p), p * (1 - p) * (1 - 2 * p), p * (1 - p) * (1 - 6 * p + 6 * p * p)],
    ),
    "softplus": (F.softplus, [p, p * (1 - p), p * (1 - p) * (1 - 2 * p)]),
    "logistic_loss": (
        lambda x: F.binary_cross_entropy_with_logits(x, np.array(1.0)),
        [p - 1, p * (1 - p), p * (1 - p) * (1 - 2 * p)],
    ),
    "log_softmax": (
        lambda x: F.log_softmax(np.stack([x, 0 * x]))[0],
        [1 - p, -p * (1 - p), -p * (1 - p) * (1 - 2 * p)],
    ),
    "softmax": (
        lambda x: F.softmax(np.stack([x, 0 * x]))[0],
        [p * (1 - p), p * (1 - p) * (1 - 2 * p), p * (1 - p) * (1 - 6 * p + 6 * p * p)],
    ),
    "logsumexp": (lambda x: F.logsumexp(np.stack([x, 0 * x])), [p, p * (1 - p), p * (1 - p) * (1 - 2 * p)]),
    "cross_entropy": (
        lambda x: F.cross_entropy(np.stack([x, 0 * x])[None], np.array([1])),
        [p, p * (1 - p), p * (1 - p) * (1 - 2 * p)],
    ),
    "relu_cubed": (lambda x: F.relu(x) ** 3 + F.relu(-x), [3 * X**2, 6 * X, 6]),
    "abs_cubed": (lambda x: np.abs(-x) ** 3, [3 * X**2, 6 * X, 6]),
    "maximum": (lambda x: np.maximum(x**3, x - 9), [3 * X**2, 6 * X, 6]),
    "max": (lambda x: np.max(np.stack([x**3, x - 9])), [3 * X**2, 6 * X, 6]),
    "where": (lambda x: np.where(x > 0, x**3, x), [3 * X**2, 6 * X, 6]),
    "clip": (lambda x: np.clip(x, 0, 1) ** 3, [3 * X**2, 6 * X, 6]),
    "prod": (lambda x: np.prod(np.stack([x, x, x])), [3 * X**2, 6 * X, 6]),
    "matmul": (lambda x: x.reshape(1, 1) @ x.reshape(1, 1) @ x.reshape(1, 1), [3 * X**2, 6 * X, 6]),
    "einsum": (lambda x: np.einsum("i,i,i", x.reshape(1), x.reshape(1), x.reshape(1)), [3 * X**2, 6 * X, 6]),
    "linear": (lambda x: F.linear(x.reshape(1, 1), (x * x).reshape(1, 1), x.reshape(1)), [3 * X**2 + 1, 6 * X, 6]),
    "norm": (lambda x: np.linalg.norm(np.stack([x, 1 + 0 * x])),
             [X / (n := math.hypot(X, 1)), n**-3, -3 * X * n**-5]),
    "var": (lambda x: np.var(np.stack([x**2, -(x**2)])), [4 * X**3, 12 * X**2, 24 * X]),
    "std": (lambda x: np.std(np.stack([x**3, -(x**3)])), [3 * X**2, 6 * X, 6]),
    "mean": (lambda x: np.mean(np.stack([x**3, x**3])), [3 * X**2, 6 * X, 6]),
    "getitem": (lambda x: (np.stack([x, x])[[0, 0, 1]] ** 3).sum() / 3, [3 * X**2, 6 * X, 6]),
    "quotient": (lambda x: x / (1 + x), [(1 + X) ** -2, -2 * (1 + X) ** -3, 6 * (1 + X) ** -4]),
    "x_to_x": (
        lambda x: x**x,
        [(q := X**X) * (L := 1 + math.log(X)), q * (L * L + 1 / X), q * (L**3 + 3 * L / X - 1 / X**2)],
    ),
    "mse": (lambda x: F.mse_loss(np.stack([x**2, x**2]), np.zeros(2)), [4 * X**3, 12 * X**2, 24 * X]),
    "huber": (lambda x: F.huber_loss(x**2, np.array(0.0)), [2 * X**3, 6 * X**2, 12 * X]),
}  # fmt: skip


@pytest.mark.parametrize("name", THIRD)
def test_three_derivatives_of(name: str) -> None:
    f, expected = THIRD[name]
    x = leaf(X)
    y = f(x).sum() if name in ("matmul", "linear") else f(x)
    for value in expected:
        (y,) = grad(y, x, create_graph=True) if y.requires_grad else (Tensor(0.0),)
        np.testing.assert_allclose(y.item(), value, rtol=1e-13, atol=1e-15)


def test_mixed_partial_derivatives() -> None:
    x, y = leaf(0.7), leaf(0.4)
    (dx,) = grad(np.exp(x * y) * np.sin(y), x, create_graph=True)
    (dxy,) = grad(dx, y, create_graph=True)
    (dyx,) = grad(grad(np.exp(x * y) * np.sin(y), y, create_graph=True)[0], x)
    e = math.exp(0.28)
    np.testing.assert_allclose(dxy.item(), e * (math.sin(0.4) * (1 + 0.28) + 0.4 * math.cos(0.4)), rtol=1e-14)
    np.testing.assert_allclose(dxy.item(), dyx.item(), rtol=1e-14)


def test_hessians_against_closed_forms() -> None:
    z = np.array([0.5, -1.0, 2.0])
    p = np.exp(z) / np.exp(z).sum()
    n = np.linalg.norm(z)
    forms: list[tuple[Callable[[Any], Any], Any, Any]] = [
        (F.logsumexp, z, np.diag(p) - np.outer(p, p)),
        (lambda t: F.cross_entropy(t[None], np.array([1])), z, np.diag(p) - np.outer(p, p)),
        (np.linalg.norm, z, (np.eye(3) - np.outer(z, z) / n**2) / n),
        (np.prod, [2.0, 0.0, 3.0], [[0, 3, 0], [3, 0, 2], [0, 2, 0]]),
        (np.prod, [0.0, 0.0, 3.0], [[0, 3, 0], [3, 0, 0], [0, 0, 0]]),
        (lambda t: (t * t).sum(), z, 2 * np.eye(3)),
        (lambda t: (t**2).mean(), z, 2 / 3 * np.eye(3)),
        (lambda t: t[0] * t[1] * t[2], z, [[0, 2, -1], [2, 0, 0.5], [-1, 0.5, 0]]),
        (lambda t: F.mse_loss(t, np.zeros(3)), z, 2 / 3 * np.eye(3)),
        (np.var, z, 2 / 3 * (np.eye(3) - 1 / 3)),
        (lambda t: t @ t, z, 2 * np.eye(3)),
        (lambda t: t[0] ** 2, z, np.diag([2.0, 0, 0])),
    ]
    for f, at, expected in forms:
        np.testing.assert_allclose(array(tg.hessian(f, Tensor(at))), expected, rtol=1e-13, atol=1e-15)
        v = np.array([1.0, -2.0, 0.5])
        np.testing.assert_allclose(array(tg.hvp(f, Tensor(at), v)), np.array(expected) @ v, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("f", [lambda t: t.sum(), lambda t: 3 * t[0] - t[1], lambda t: np.zeros(2) @ t])
def test_hessian_of_a_linear_function_is_zero(f: Callable[[Any], Any]) -> None:
    np.testing.assert_array_equal(array(tg.hvp(f, Tensor([1.0, 2.0]), np.ones(2))), np.zeros(2))
    np.testing.assert_array_equal(array(tg.hessian(f, Tensor([1.0, 2.0]))), np.zeros((2, 2)))


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_without_axes_are_arrays(create_graph: bool) -> None:
    x = leaf(2.0, np.float32)
    (x * x + 3 * x - x).backward(create_graph=create_graph)
    assert type(x.grad.data) is np.ndarray
    assert x.grad.dtype == np.float32
    assert x.grad.item() == 6


def test_a_gradient_that_depends_on_something_else_has_a_hessian_of_zero() -> None:
    w, x = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    np.testing.assert_array_equal(array(tg.hvp(lambda x: (w * x).sum(), x, np.ones(2))), [0, 0])
    np.testing.assert_array_equal(array(tg.hessian(lambda x: (w * x).sum(), x)), np.zeros((2, 2)))


def test_a_function_that_changes_its_point_is_noticed() -> None:
    x = Tensor([1.0, 2.0])

    def f(t: Tensor) -> Tensor:
        y = (t * t).sum()
        assign(x, np.zeros(2))
        return y

    with pytest.raises(GraphError, match="its data has changed since"):
        tg.jacobian(f, x)


def test_a_jacobian_can_be_differentiated() -> None:
    x = leaf([1.0, 2.0])
    tg.jacobian(lambda t: t**3, x, create_graph=True).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [6, 12])


def test_jacobian_of_a_constant_function_is_zero() -> None:
    np.testing.assert_array_equal(array(tg.jacobian(lambda t: t > 0, Tensor([1.0, 2.0]))), np.zeros((2, 2)))
    np.testing.assert_array_equal(
        array(tg.jacobian(lambda t: Tensor([1.0, 2.0, 3.0]), Tensor([1.0, 2.0]))), np.zeros((3, 2))
    )


def test_second_order_at_kinks_and_edges() -> None:
    """No NaN where the function is flat or its gradient is chosen: the second derivative is 0 there."""
    cases: list[tuple[Callable[[Any], Any], Any]] = [
        (lambda x: F.relu(x).sum(), [0.0, -1.0]),
        (lambda x: np.abs(x).sum(), [0.0, 2.0]),
        (np.linalg.norm, [0.0, 0.0]),
        (np.std, [2.0, 2.0]),
        (lambda x: np.maximum(x, 0.0).sum(), [0.0, 0.0]),
        (lambda x: np.log(np.where(x > 0, x, 1)).sum(), [0.0, -2.0]),
        (lambda x: (x**1).sum(), [0.0, 0.0]),
        (lambda x: (x**0).sum(), [0.0, 0.0]),
        (lambda x: (x ** np.array([0.0, 1.0])).sum(), [0.0, 0.0]),
        (lambda x: np.log(np.exp(F.relu(x))).sum(), [-1.0, -2.0]),
        (lambda x: F.sigmoid(x).sum(), [-1000.0, 1000.0]),
        (lambda x: F.softplus(x).sum(), [-1000.0, 1000.0]),
        (lambda x: np.tanh(x).sum(), [-1000.0, 1000.0]),
        (lambda x: -F.log_softmax(x)[1], [1000.0, 0.0]),
    ]
    for f, at in cases:
        x = leaf(at)
        (g,) = grad(f(x), x, create_graph=True)
        if g.requires_grad:
            (h,) = grad(g.sum(), x)
            np.testing.assert_array_equal(array(h), [0, 0])
    x = leaf([0.0, -3.0])
    (g,) = grad((x**2).sum(), x, create_graph=True)
    np.testing.assert_array_equal(array(grad(g.sum(), x)[0]), [2, 2])
    (g,) = grad((x ** np.array([2.0, 2.0])).sum(), x, create_graph=True)
    np.testing.assert_array_equal(array(grad(g.sum(), x)[0]), [2, 2])


def test_gradient_penalty_trains() -> None:
    """The norm of a gradient is minimised through the gradient itself (Gulrajani and others, arXiv:1704.00028)."""
    rng = np.random.default_rng(0)
    x, w1, w2 = leaf(rng.normal(size=(4, 3))), leaf(rng.normal(size=(5, 3))), leaf(rng.normal(size=(1, 5)))

    def penalty() -> Any:
        (slope,) = grad(F.linear(np.tanh(F.linear(x, w1)), w2).sum(), x, create_graph=True)
        return ((np.linalg.norm(slope, axis=1) - 1) ** 2).mean()

    found = grad(penalty(), [w1, w2])
    for w, g in zip((w1, w2), found, strict=True):
        for index in [(0, 0), (0, 2)]:
            h, values = 1e-5, []
            for sign in (1, -1):
                with no_grad():
                    w.data[index] += sign * h
                values.append(penalty().item())
                w.data[index] -= sign * h
            np.testing.assert_allclose(array(g)[index], (values[0] - values[1]) / (2 * h), rtol=1e-6)


# NumPy's two doors


EXPRESSIONS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: np.square(a) + np.sqrt(a) + np.log(a) + np.exp(-a) + np.abs(a) + np.reciprocal(a),
    lambda a, b: np.maximum(a, b) + np.minimum(a, 2.0) - np.power(a, b) / np.subtract(a, 9.0),
    lambda a, b: np.add(a, [1.0, 2.0, 3.0]) * (1, 2, 3) + [[1], [2]],
    lambda a, b: a**2 - 2**a + a**0.5 + a**-1 + a ** np.float64(1.5),
    lambda a, b: a @ np.ones((3, 1)) + np.ones((1, 2)) @ a.sum(1),
    lambda a, b: 1 - a + (2 / a) * 3 - (-a) + (+a),
    lambda a, b: a[1] + a[:, 0].sum() + a[[0, 1], [2, 2]].sum() + a[a > 2].sum(),
]


@pytest.mark.parametrize("f", EXPRESSIONS)
def test_expressions_of_numpy_on_tensors(f: Callable[[Any, Any], Any]) -> None:
    """NumPy's value, and the gradient of central differences."""
    a, b = leaf([[1.1, 2.2, 3.3], [4.4, 5.6, 6.6]]), leaf([[1.0, 0.3, 2.0], [0.5, 1.0, 1.0]])
    y = f(a, b)
    assert type(y) is Tensor
    np.testing.assert_allclose(array(y), f(array(a), array(b)), rtol=1e-15, strict=True)
    upstream = np.arange(1.0, y.size + 1).reshape(y.shape)
    (g,) = grad(y, a, upstream)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(
            array(g)[index], difference(f, array(a), array(b), index, upstream), rtol=1e-7, atol=1e-9
        )


def difference(f: Any, a: Any, b: Any, index: Any, upstream: Any, h: float = 1e-5) -> float:
    """Return the derivative of ``(f(a, b) * upstream).sum()`` by one element of ``a``, by central differences."""
    up, down = a.copy(), a.copy()
    up[index] += h
    down[index] -= h
    return ((f(up, b) - f(down, b)) * upstream).sum() / (2 * h)


def test_list_operand_changed_later_does_not_change_the_gradient() -> None:
    t, numbers = leaf([1.0, 2.0]), [3.0, 4.0]
    y = (t * numbers).sum()
    numbers[0] = 99.0
    y.backward()
    np.testing.assert_array_equal(array(t.grad), [3, 4])


def test_pandas_as_data() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    t = Tensor(frame, requires_grad=True)
    assert t.shape == (2, 2)
    assert type(t.data) is np.ndarray
    assert Tensor(pd.Series([1, 2])).dtype == np.int64
    (t * t).sum().backward()
    np.testing.assert_array_equal(array(t.grad), 2 * frame.to_numpy())
    with pytest.raises(TypeError, match="object"):
        Tensor(pd.DataFrame({"a": [1.0, "x"]}))


REFUSED: dict[str, Callable[[Any], Any]] = {
    "fft": lambda t: np.fft.fft(t),
    "at": lambda t: np.add.at(np.zeros(2), [0, 1], t),
    "svd": lambda t: np.linalg.svd(t.reshape(1, 2)),
    "accumulate": lambda t: np.add.accumulate(t),
    "reduceat": lambda t: np.add.reduceat(t, [0]),
    "outer": lambda t: np.add.outer(t, t),
    "piecewise": lambda t: np.piecewise(t, [t > 0], [1.0]),
    "histogram": lambda t: np.histogram(t),
    "copyto": lambda t: np.copyto(np.zeros(2), t),
    "frexp": lambda t: np.frexp(t),
    "put": lambda t: np.put(np.zeros(2), [0, 1], t),
    "full": lambda t: np.full((3, 2), t),
    "apply_along_axis": lambda t: np.apply_along_axis(sum, 0, t),
    "unique": lambda t: np.unique(t),
    "logical_reduce": lambda t: np.logaddexp.reduce(t),
}


@pytest.mark.parametrize("name", REFUSED)
def test_function_without_rule_is_refused_by_name(name: str) -> None:
    """What has no rule says which function it is, and what to do."""
    word = {"full": "array would lose", "logical_reduce": "logaddexp"}.get(name, name)
    with pytest.raises((NoRuleError, GraphError), match=rf"{word}.*(use|build|write|make|pass)"):
        REFUSED[name](leaf([1.0, 2.0]))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda t, out: np.add(t, 1.0, out=out), "add.*out"),
        (lambda t, out: np.add(t, 1.0, out), "add.*out"),
        (lambda t, out: np.add(out, 1.0, out=t), "add.*out"),
        (lambda t, out: np.exp(t, out=out), "exp.*out"),
        (lambda t, out: np.exp(out, out=t), "exp.*out"),
        (lambda t, out: np.exp(t, where=out > 0), "exp.*where"),
        (lambda t, out: np.sum(t, out=out[0]), "sum.*out"),
        (lambda t, out: np.sum(t, where=out > 0), "sum.*where"),
        (lambda t, out: np.sum(t, initial=3.0), "sum.*initial"),
        (lambda t, out: np.max(t, initial=3.0), "max.*initial"),
        (lambda t, out: np.mean(t, where=out > 0), "mean.*where"),
        (lambda t, out: np.mean(t, dtype=np.float32), "mean.*dtype"),
        (lambda t, out: np.clip(t, 0, 1, out=out), "clip.*out"),
        (lambda t, out: np.matmul(t, t, out=out), "matmul.*out"),
        (lambda t, out: np.einsum("i->i", t, out=out), "einsum.*out"),
        (lambda t, out: np.concatenate([t], out=out), "concatenate.*out"),
        (lambda t, out: np.stack([t], out=out), "stack.*out"),
        (lambda t, out: np.take(t, [0], out=out), "take.*out"),
        (lambda t, out: np.prod(t, out=out), "prod.*out"),
        (lambda t, out: np.dot(t, t, out=out), "dot.*out"),
        (lambda t, out: np.add.reduce(t, out=out), "(sum|add|reduce).*out"),
        (lambda t, out: np.greater(t, 0.0, out=t), "greater.*out"),
        (lambda t, out: np.greater(out, 0.0, out=t), "greater.*out"),
        (lambda t, out: np.floor(t, out=t), "floor.*out"),
        (lambda t, out: np.floor(t, out=out), "floor.*out"),
        (lambda t, out: np.argmax(t, out=t), "argmax"),
        (lambda t, out: operator.iadd(out, t), "add.*out"),
        (lambda t, out: operator.imatmul(out.reshape(1, 2), t.reshape(2, 1)), "matmul"),
        (lambda t, out: np.add(t, 1.0, dtype=np.float32), "add.*dtype"),
        (lambda t, out: np.add(t, 1.0, casting="unsafe"), "add.*casting"),
        (lambda t, out: np.reshape(t, (2,), order="F"), "reshape.*order"),
        (lambda t, out: np.var(t, mean=np.array(0.0)) if np.__version__ >= "2" else 0, "var.*mean"),
        (lambda t, out: np.std(t, correction=1), "std.*correction"),
    ],
)
def test_keywords_that_write_or_mask_are_refused_by_name(call: Callable[[Any, Any], Any], word: str) -> None:
    t, out = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    with pytest.raises(TypeError, match=word):
        call(t, out)
    np.testing.assert_array_equal(out, [3, 4])
    np.testing.assert_array_equal(array(t), [1, 2])


NOT_CALLED = {
    "test", "info", "save", "savez", "savez_compressed", "savetxt", "load", "loadtxt", "fromfile", "genfromtxt",
    "memmap", "show_config", "show_runtime", "fromregex", "setbufsize", "seterr", "seterrcall", "set_printoptions",
    "printoptions", "shape", "ndim", "size", "isscalar", "iterable", "shares_memory", "may_share_memory",
    "array_repr", "array_str", "array2string", "result_type", "min_scalar_type", "can_cast", "object_", "isrealobj",
    "iscomplexobj", "common_type", "typename", "get_include", "array_equal", "array_equiv", "allclose", "deprecate",
    "ndindex", "broadcast_shapes", "format_float_positional", "format_float_scientific", "errstate", "finfo", "iinfo",
    "dtype", "vectorize", "frompyfunc", "isdtype", "issubdtype", "seterrobj", "base_repr", "binary_repr",
    "mintypecode", "str_", "bytes_", "void", "require", "datetime_as_string", "nested_iters", "fromiter",
    "get_printoptions", "geterr", "getbufsize", "poly1d", "LinAlgError", "matrix_rank",
}  # fmt: skip


def numpy_functions() -> list[str]:
    names = [f"np.{n}" for n in sorted(set(dir(np)) - NOT_CALLED) if callable(getattr(np, n)) and not n.startswith("_")]
    for module in ("linalg", "fft"):
        space = getattr(np, module)
        names += [f"np.{module}.{n}" for n in sorted(set(space.__all__) - NOT_CALLED) if callable(getattr(space, n))]
    return names


def loses_gradient(result: Any) -> bool:
    if isinstance(result, (tuple, list)):
        return any(map(loses_gradient, result))
    return isinstance(result, (np.ndarray, np.inexact, float)) and np.asarray(result).dtype.kind in "fcO"


def test_no_numpy_function_drops_a_gradient_silently() -> None:
    """Every function of NumPy gives Tensors, gives no numbers that a gradient could belong to, or refuses."""
    silent = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in numpy_functions():
            function = operator.attrgetter(name[3:])(np)
            t, m = leaf([1.0, 2.0]), leaf([[2.0, 1.0], [1.0, 3.0]])
            calls = [(t,), (m,), (t, t), (m, m), ([t, t],), (t, 1), (m, 1), (t, t, t), ([t, t], 1)]
            if isinstance(function, np.ufunc):
                calls += [(1.0, t), (np.ones(2), t), ([1.0, 2.0], t)]
            for args in calls:
                try:
                    result = function(*args)
                except RecursionError:
                    silent.append(f"{name}{tuple(type(a).__name__ for a in args)} recurses for ever")
                except Exception:  # refused
                    continue
                else:
                    if loses_gradient(result):
                        silent.append(f"{name}{tuple(type(a).__name__ for a in args)} -> {type(result).__name__}")
    assert not silent, "\n".join(silent)


def test_conversion_to_an_array_names_detach() -> None:
    t = leaf([1.0, 2.0])
    out = np.zeros((2, 2))
    for convert in (
        np.asarray, np.array, np.ascontiguousarray, np.asanyarray, np.float64, lambda t: np.array([t, t]),
        lambda t: np.array([[t], [t]]),
        lambda t: np.asarray((t, np.ones(2))), lambda t: np.array(t, dtype=np.float32),
        lambda t: np.array(t, copy=True),
        lambda t: t.numpy(), lambda t: Tensor([t, t]), lambda t: pd.Series(t), lambda t: pd.DataFrame(t.reshape(1, 2)),
        lambda t: out.__setitem__(0, t), lambda t: np.random.default_rng(0).normal(t),
        lambda t: t * [t, t], lambda t: np.array(t[0]), lambda t: np.array([t[0], t[1]]), lambda t: np.asarray(t * 2),
    ):  # fmt: skip
        with pytest.raises(GraphError, match="detach"):
            convert(t)
    np.testing.assert_array_equal(out, 0)
    assert np.asarray(t.detach()).tolist() == [1, 2]
    assert np.array([t.detach(), t.detach()]).shape == (2, 2)
    assert np.array(t.detach(), dtype=np.float32).dtype == np.float32
    copied = np.array(t.detach())
    assert not np.shares_memory(copied, t.data)
    assert np.shares_memory(np.asarray(t.detach()), t.data)


def test_comparisons_are_constant() -> None:
    x, y = leaf([1.0, 2.0]), leaf([2.0, 2.0])
    for op in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
        for other in (y, 2.0, np.array([2.0, 2.0]), [2.0, 2.0]):
            result = op(x, other)
            assert type(result) is Tensor
            assert result.dtype == bool
            assert not result.requires_grad
            reference = op(array(x), array(y))
            np.testing.assert_array_equal(result.data, reference)
    assert type(np.array([1.0, 2.0]) == x) is Tensor
    mask = (x > 1) & (y > 1) | ~(x < 0) ^ (x == 1)
    assert mask.dtype == bool
    assert not mask.requires_grad
    assert x[mask].requires_grad
    np.testing.assert_array_equal(array(grad((x * (x > 1.5)).sum(), x)[0]), [0, 1])


def test_comparison_with_other_objects_does_not_fail() -> None:
    """As for arrays: a Tensor differs from what it cannot be compared with."""
    x = leaf([1.0, 2.0])
    for other in (None, "text", object()):
        assert not np.any(np.asarray(x == other))
        assert np.all(np.asarray(x != other))
    assert x in [None, x]
    assert x not in [None, "text"]


def test_tensors_are_dict_keys_by_identity() -> None:
    x, y = leaf(1.0), leaf(1.0)
    table = {x: "x", y: "y"}
    assert table[x] == "x"
    assert table[y] == "y"
    assert len({x, y, x}) == 2


@pytest.mark.parametrize(
    ("make", "op"),
    [
        (lambda x: np.floor(x), "floor"),
        (lambda x: (x > 1).sum(), "greater"),
        (lambda x: np.argmax(x) * 2.0, "argmax"),
        (lambda x: np.round(x).sum() + 1, "round"),
        (lambda x: x.astype(int).sum(), "astype"),
        (lambda x: np.sign(x).reshape(2).T, "sign"),
        (lambda x: F.relu(np.ceil(x)), "ceil"),
        (lambda x: (x == x).astype(float).mean(), "equal"),
        (lambda x: np.concatenate([np.floor(x)]), "floor"),
    ],
)
def test_backward_through_a_constant_names_it(make: Callable[[Any], Any], op: str) -> None:
    y = make(leaf([1.0, 2.0]))
    assert not y.requires_grad
    with pytest.raises(GraphError, match=rf"{op}.*constant"):
        y.backward()
    with pytest.raises(GraphError, match=rf"{op}.*constant"):
        grad(y, leaf(1.0))


def test_constant_op_among_others_does_not_stop_the_gradient() -> None:
    x = leaf([1.4, 2.6])
    (x * np.floor(x) + np.round(x)).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [1, 2])


# Python's view of a Tensor


def test_repr() -> None:
    x = leaf([1.0, 2.0])
    assert repr(x) == "Tensor([1., 2.], dtype=float64, requires_grad=True)"
    assert repr(leaf(1.5, np.float32, "bias")) == "Tensor(1.5, dtype=float32, requires_grad=True, name='bias')"
    assert repr(x * 2) == "Tensor([2., 4.], dtype=float64, op=multiply)"
    assert repr(x > 1) == "Tensor([False,  True], dtype=bool)"
    assert repr(Tensor([[1], [2]])) == "Tensor([[1],\n        [2]], dtype=int64)"
    assert len(repr(Tensor(np.zeros((1000, 1000))))) < 500
    assert repr(Tensor(np.zeros((0, 3)))) == "Tensor([], dtype=float64)" or "(0, 3)" in repr(Tensor(np.zeros((0, 3))))
    assert str(x) == repr(x)
    assert f"{leaf(3.14159):.2f}" == "3.14"
    assert f"{x}" == str(x)
    assert f"{Tensor(7):04d}" == "0007"


def test_numbers() -> None:
    for t in (leaf(2.5), leaf([2.5]), leaf([[2.5]])):
        with pytest.warns(UserWarning, match="gradient is lost"):
            assert float(t) == 2.5
        assert int(t) == 2
        assert bool(t)
        assert t.item() == 2.5
        assert isinstance(float(t.detach()), float)
    assert not bool(leaf(0.0))
    assert type(Tensor(3).item()) is int
    assert type(leaf(1.0, np.float32).item()) is float
    assert ["a", "b", "c"][Tensor(1)] == "b"
    assert list(range(Tensor(3))) == [0, 1, 2]
    assert operator.index(Tensor(2)) == 2
    assert np.arange(3)[Tensor(1)] == 1
    assert np.arange(5)[Tensor([1, 3])].tolist() == [1, 3]
    assert math.isclose(math.sqrt(leaf(4.0).detach()), 2)
    assert round(leaf(2.6).item()) == 3
    for bad in (leaf([1.0, 2.0]), leaf([])):
        for convert in (float, int, bool, operator.methodcaller("item")):
            with pytest.raises(ValueError, match=r"\((2|0),\)"):
                convert(bad)
    for bad in (leaf(1.0), Tensor([1, 2]), Tensor(1.0)):
        with pytest.raises(TypeError):
            operator.index(bad)


def test_len_and_iter() -> None:
    x = leaf([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert len(x) == 3
    assert x.size == 6
    assert x.ndim == 2
    a, b, c = x
    (a * b * c).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [[15, 24], [5, 12], [3, 8]])
    assert [t.item() for t in leaf([1.0, 2.0])] == [1, 2]
    assert list(leaf(np.zeros((0, 2)))) == []
    for bad in (len, iter, list):
        with pytest.raises(TypeError, match=r"\(\)|0-d"):
            bad(leaf(1.0))
    assert [t.item() for t in reversed(leaf([1.0, 2.0]))] == [2, 1]
    assert max(leaf([1.0, 3.0, 2.0])).item() == 3
    assert sorted(leaf([2.0, 1.0]))[0].item() == 1


@pytest.mark.parametrize(
    "value",
    [np.ones(2), [1.0, 1.0], 1.0, "a", Tensor(np.ones(3)), Tensor(np.ones((1, 2))), Tensor(1.0), Tensor([1, 1]),
     Tensor(np.ones(2, np.float32)), Tensor([True, False])],
    ids=str,
)  # fmt: skip
def test_grad_that_does_not_fit_is_refused(value: Any) -> None:
    x = leaf([1.0, 2.0], name="w")
    x.grad = before = Tensor([3.0, 4.0])
    error = ShapeError if isinstance(value, Tensor) and value.shape != (2,) else TypeError
    with pytest.raises(error, match=r"grad of w .*(use|make)"):
        x.grad = value
    assert x.grad is before
    x.grad = None
    assert x.grad is None


STORES: dict[str, Callable[[Any, Any], None]] = {
    "item": lambda a, t: exec("a[0] = t", {}, {"a": a, "t": t}),
    "items": lambda a, t: exec("a[:] = t", {}, {"a": a, "t": t}),
    "mask": lambda a, t: exec("a[a > -1] = t", {}, {"a": a, "t": t}),
    "list": lambda a, t: exec("a[[0, 1]] = t", {}, {"a": a, "t": t}),
    "two_axes": lambda a, t: exec("a.reshape(1, 2)[0, 1] = t", {}, {"a": a, "t": t}),
    "flat": lambda a, t: exec("a.flat[0] = t", {}, {"a": a, "t": t}),
    "augmented": lambda a, t: exec("a[0] += t", {}, {"a": a, "t": t}),
    "series": lambda a, t: exec("s.iloc[0] = t", {}, {"s": pd.Series(a), "t": t}),
    "loop": lambda a, t: exec("for i in range(2):\n    a[i] = t * i", {}, {"a": a, "t": t}),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", STORES)
def test_assignment_into_an_array_does_not_lose_the_gradient_in_silence(name: str, dtype: Any) -> None:
    a = np.zeros(2, dtype)
    for t in (leaf(3.0), leaf([3.0])[0], leaf(1.0) * 3, leaf([3.0])):
        with pytest.raises((GraphError, ValueError)) as caught:
            STORES[name](a, t)
        chain: list[Any] = [caught.value]
        while chain[-1] is not None:
            chain.append(chain[-1].__cause__ or chain[-1].__context__)
        assert name == "flat" or any("detach" in str(error) for error in chain)  # a flatiter says nothing of causes
        if name != "loop":
            np.testing.assert_array_equal(a, 0)
    STORES[name](a, leaf(3.0).detach())


def test_numbers_of_a_loss_can_be_logged() -> None:
    loss, log, a, table = leaf(2.0) * 2, [], np.zeros(3), {}
    with pytest.warns(UserWarning, match=r"t\.item\(\) where a plain number is wanted"):
        log.append(float(loss))
    with pytest.warns(UserWarning, match="gradient is lost"):
        a[0] = float(loss)
    a[1], a[2] = loss.item(), int(loss)
    table["loss"] = float(loss.detach())
    table["tensor"] = loss
    assert [*log, *a, table["loss"], math.sqrt(loss.detach()), f"{loss:.1f}"] == [4, 4, 4, 4, 4, 2, "4.0"]
    losses = [loss, loss]
    losses[0] = loss


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickle.dumps, lambda t: copy.deepcopy({"a": [t]})])
def test_results_are_not_copied(copied: Callable[[Any], Any]) -> None:
    """As in PyTorch, and a long graph is no exception."""
    x = y = leaf([1.0, 2.0])
    for _ in range(5_000):
        y = y * 1.0001
    for t in (y, y[0], grad((x**3).sum(), x, create_graph=True)[0]):
        with pytest.raises(GraphError, match=r"only leaf Tensors.*(multiply|getitem).*detach"):
            copied(t)
    copied(y.detach())
    (x**3).sum().backward(create_graph=True)
    with pytest.raises(GraphError, match="only leaf"):
        copy.deepcopy(x)
    x.grad = None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_of_leaves_keep_all_that_they_have(copied: Callable[[Any], Any]) -> None:
    x = leaf([1.0, 2.0], np.float32, name="w")
    (x * 3).sum().backward()
    x.register_hook(lambda g: g * 2)
    y = copied(x)
    assert (y.requires_grad, y.name, y.dtype, y.is_leaf) == (True, "w", np.float32, True)
    np.testing.assert_array_equal(y.grad.data, [3, 3])
    assert not np.shares_memory(y.grad.data, x.grad.data)
    (y * 3).sum().backward()
    np.testing.assert_array_equal(y.grad.data, [6, 6])  # a hook stays with the Tensor that it was registered on
    np.testing.assert_array_equal(x.grad.data, [3, 3])
    for constant in (Tensor([1, 2], name="n"), Tensor([True]) | True, x.detach() * 2, np.floor(x), x.detach().T):
        other = copied(constant)
        assert (other.name, other.dtype, other.requires_grad) == (constant.name, constant.dtype, False)
        np.testing.assert_array_equal(other.data, constant.data)
        with no_grad():
            other *= other
    other = copied(twice := [x, x])
    assert other[0] is other[1]
    assert other[0] is not twice[0]


def test_copies_of_a_parameter_are_independent() -> None:
    x = leaf([1.0, 2.0], name="w")
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(other) is Tensor
        assert other.requires_grad
        assert other.name == "w"
        with no_grad():
            other += 1.0
        np.testing.assert_array_equal(array(x), [1, 2])
        y = (x * x).sum()
        y.backward()
        x.zero_grad()


def test_shallow_copy_shares_data_and_version() -> None:
    x = leaf([1.0, 2.0])
    other = copy.copy(x)
    y = (x * x).sum()
    with no_grad():
        other += 1.0
    with pytest.raises(GraphError, match="changed"):
        y.backward()


def test_tensor_of_a_tensor_and_of_an_array_share_memory() -> None:
    data = np.array([1.0, 2.0])
    t = Tensor(data)
    assert np.shares_memory(t.data, data)
    assert np.shares_memory(Tensor(t).data, data)
    assert Tensor([1, 2]).dtype == np.int64
    assert Tensor([1.0]).dtype == np.float64
    assert Tensor(True).dtype == bool
    assert Tensor(2.0).shape == ()
    assert type(Tensor(np.float32(2)).data) is np.ndarray
    assert type(Tensor(np.ma.array([1.0, 2.0])).data) is np.ndarray


# dtype


FLOAT32: dict[str, Callable[[Any], Any]] = {
    "python_float": lambda x: x * 0.1 + 1.0 - 2.0 / x,
    "python_int": lambda x: x * 3 + 1 - 2 / x,
    "numpy_float64": lambda x: x * np.float64(0.1) + np.sqrt(2.0) - np.pi / x,
    "numpy_int64": lambda x: x / np.int64(3) + np.int64(1),
    "0d_array": lambda x: np.array(0.1) * x + np.array(1) - x / np.array(3.0),
    "left": lambda x: np.float64(2) ** x + np.float64(1) / x - np.float64(2),
    "power": lambda x: x**2 + x**2.5 + x**-1 + x**0.5 + x ** np.float64(1.5),
    "maximum": lambda x: np.maximum(x, 0.5) + np.minimum(np.float64(0.5), x) + np.clip(x, np.float64(0.1), 0.9),
    "where": lambda x: np.where(x > 0.5, x, 0.0) + np.where(x > 0.5, np.float64(1.0), x),
    "dropout": lambda x: F.dropout(x, 0.3, np.random.default_rng(0)),
    "losses": lambda x: (
        F.mse_loss(x, np.zeros((2, 3))) + F.huber_loss(x, np.zeros((2, 3))) + F.l1_loss(x, np.ones((2, 3)))
    ),
    "cross_entropy": lambda x: F.cross_entropy(x, np.array([0, 2]), label_smoothing=0.1),
    "soft_targets": lambda x: F.cross_entropy(x, np.full((2, 3), 1 / 3)),
    "bce": lambda x: (
        F.binary_cross_entropy_with_logits(x, np.ones((2, 3))) + F.binary_cross_entropy(x, np.ones((2, 3)))
    ),
    "bool_mask": lambda x: x * (x > 0.5) + x * np.array([True, False, True]),
    "pad": lambda x: np.pad(x, 1, constant_values=np.float64(2.0)),
    "int_scalar_tensor": lambda x: x * 2 + x[Tensor(0)],
    "list": lambda x: x * np.float32(2) + x[[0, 1]],
}


@pytest.mark.parametrize("create_graph", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("name", FLOAT32)
def test_float32_stays_float32(name: str, create_graph: bool) -> None:
    x = leaf(np.random.default_rng(0).uniform(0.2, 0.8, (2, 3)), np.float32)
    y = FLOAT32[name](x)
    assert y.dtype == np.float32
    (g,) = grad(y.sum(), x, create_graph=create_graph)
    assert g.dtype == np.float32
    if create_graph and g.requires_grad:
        assert grad(g.sum(), x)[0].dtype == np.float32
    high = leaf(array(x), np.float64)
    (exact,) = grad(FLOAT32[name](high).sum(), high)
    np.testing.assert_allclose(array(g), array(exact), rtol=0, atol=2e-6 * max(1.0, np.abs(array(exact)).max()))


def test_arrays_promote_as_in_numpy_and_gradients_come_back() -> None:
    low, high = leaf([1.0, 2.0], np.float32), leaf([3.0, 4.0])
    y = low * high
    assert y.dtype == np.float64
    gl, gh = grad(y.sum(), [low, high])
    assert gl.dtype == np.float32
    assert gh.dtype == np.float64
    assert (low * np.array([1.0, 2.0])).dtype == np.float64
    assert (low * Tensor(2.0)).dtype == (np.float32(1) * np.ones(2) * np.float64(1)).dtype
    (g,) = grad((low.astype(np.float64) * high).sum(), low)
    assert g.dtype == np.float32
    (g,) = grad(low.sum(dtype=np.float64), low)
    assert g.dtype == np.float32
    half = leaf([1.0, 2.0], np.float16)
    assert grad((half * 2.0).sum(), half)[0].dtype == np.float16


def test_integer_tensors_take_part_as_constants() -> None:
    n, x = Tensor([1, 2]), leaf([1.0, 2.0])
    assert (n * 2).dtype == np.int64
    assert not (n * 2).requires_grad
    np.testing.assert_array_equal(array(grad((n * x).sum(), x)[0]), [1, 2])
    assert (n**2).dtype == np.int64
    assert (n / 2).dtype == np.float64
    np.testing.assert_array_equal(array(grad((x**n).sum(), x)[0]), [1, 4])


def test_powers_of_integers_are_numpys() -> None:
    n = np.array([2, -3])
    with pytest.raises(ValueError, match="[Ii]ntegers to negative integer powers"):
        Tensor(n) ** -1
    for exponent in (2, 0.5, -1.0, 2.0, 0):
        with np.errstate(invalid="ignore"):
            ours, theirs = Tensor(n) ** exponent, n**exponent
        np.testing.assert_array_equal(array(ours), theirs, strict=True)


def test_complex_tensors_flow_forward_only() -> None:
    z = Tensor(np.array([0.5 + 1e-30j]))
    for f in (np.tanh, np.exp, F.relu, F.softplus, np.abs, F.logsumexp, np.linalg.norm, lambda t: t.sum() * 2):
        assert f(z).dtype == complex
        assert not f(z).requires_grad
    with pytest.raises(TypeError, match="complex"):
        leaf(1.0) * 1j
    with pytest.raises(TypeError, match="complex"):
        leaf(1.0) * z


# Habits from elsewhere


def test_a_sum_in_another_dtype() -> None:
    x = leaf([0.1, 0.2], np.float32)
    assert x.sum(dtype=np.float64).dtype == np.float64
    assert Tensor([1, 2]).sum(dtype=np.float32).dtype == np.float32
    assert grad(x.sum(dtype=np.float64), x)[0].dtype == np.float32


def test_an_empty_list_picks_nothing() -> None:
    x = leaf(np.ones((2, 3)))
    assert x[[]].shape == (0, 3)
    assert x[:, []].shape == (2, 0)
    np.testing.assert_array_equal(array(grad(x[[]].sum(), x)[0]), np.zeros((2, 3)))


def test_assignment_to_an_item_is_refused() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="item assignment"):
        x[0] = 5.0
    with pytest.raises(TypeError, match="item assignment"):
        x[0] += 5.0
    np.testing.assert_array_equal(array(x), [1, 2])


def test_loss_that_is_summed_over_steps() -> None:
    """``total += loss``: the graph of all steps is kept, and one backward pass serves them."""
    w, total = leaf(2.0), 0.0
    for i in range(1, 5):
        total += w * i
    total.backward()
    assert w.grad.item() == 10
    total = Tensor(0.0)
    for i in range(1, 5):
        total += w * i
    total.backward()
    assert w.grad.item() == 20


def test_running_total_of_detached_losses_keeps_no_graph() -> None:
    w, total = leaf(2.0), 0.0
    with gc_disabled():
        loss = w * w
        dead = weakref.ref(loss)
        total += loss.detach()
        del loss
        assert dead() is None
    assert float(total) == 4


def test_gradient_descent_by_hand() -> None:
    w = leaf([5.0, -3.0])
    for _ in range(100):
        w.zero_grad()
        (w * w).sum().backward()
        with no_grad():
            w -= 0.1 * w.grad
    assert np.abs(array(w)).max() < 1e-8
    assert w.is_leaf
    assert w.requires_grad


def test_truncated_backpropagation() -> None:
    w, h = leaf(0.5), Tensor(1.0)
    for _ in range(3):
        h = h.detach() * w
        h.backward()
    assert w.grad.item() == 1 + 0.5 + 0.25


def test_inputs_are_never_changed_by_a_read_only_view() -> None:
    x = Tensor(np.broadcast_to(np.array([1.0, 2.0]), (3, 2)), requires_grad=True)
    (x * x).sum().backward()
    np.testing.assert_array_equal(array(x.grad), 2 * np.ones((3, 1)) * [1, 2])
    x.grad.data[0, 0] = 9.0
    assert x.grad.data[1, 0] == 2


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_empty_tensors(shape: tuple[int, ...]) -> None:
    x = leaf(np.zeros(shape))
    for f in (
        np.exp,
        np.sum,
        np.prod,
        np.linalg.norm,
        lambda t: t.reshape(-1),
        lambda t: t * 2 + 1,
        lambda t: t.T,
        F.relu,
    ):
        (g,) = grad(f(x).sum(), x)
        assert g.shape == shape
        assert g.dtype == np.float64


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std"])
@pytest.mark.parametrize("axis", [0, -1, (0,), None, ()])
def test_reductions_of_0d_tensors(name: str, axis: Any) -> None:
    """As NumPy, which lets a 0-d array be reduced over axis 0."""
    x = leaf(3.0)
    try:
        expected = getattr(np, name)(array(x), axis=axis)
    except ValueError:
        with pytest.raises(ValueError, match=name):
            getattr(np, name)(x, axis=axis)
        return
    y = getattr(np, name)(x, axis=axis)
    assert y.shape == ()
    assert y.item() == expected
    assert grad(y, x)[0].item() == (0 if name in ("var", "std") else 1)


def test_one_cycle_of_two_steps() -> None:
    p = leaf([1.0])
    for pct_start in (0.3, 0.5, 0.9):
        schedule = OneCycleLR(SGD([p], lr=1.0), max_lr=1.0, total_steps=2, pct_start=pct_start)
        rates = [schedule.get_last_lr()[0]]
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
        assert np.isfinite(rates).all()
        assert 0 < rates[1] < rates[0] <= 1


def test_byte_order_and_subclasses() -> None:
    x = Tensor(np.array([1.0, 2.0], ">f8"), requires_grad=True)
    (F.relu(x) * x).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [2, 4])
    assert type((Tensor(np.ma.array([1.0, 2.0])) * 2).data) is np.ndarray
    assert type((leaf([1.0, 2.0]) * np.ma.array([1.0, 2.0])).data) is np.ndarray


def test_float16_and_longdouble_gradients() -> None:
    for dtype in (np.float16, np.longdouble):
        x = leaf([0.5, -0.25], dtype)
        y = (
            F.relu(x) + np.maximum(x, 0.1) + np.where(x > 0, x, 0) + np.clip(x, -1, 1) + np.tanh(x) + x * np.float64(2)
        ).sum()
        (g,) = grad(y, x)
        assert y.dtype == g.dtype == dtype
