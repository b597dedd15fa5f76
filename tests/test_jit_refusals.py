"""What a compiled step does not do is said by name; whatever the step is, its loop goes on to the end."""

from __future__ import annotations

import asyncio
import copy
import cProfile
import dataclasses
import io
import os
import pickle
import sys
import threading
import time
import types
import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import RecordingError, Tensor, jit, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.jit import Jitted

X = np.random.default_rng(0).normal(size=(4, 3))
COUNT = 0


def bits(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        return [bits(r) for r in result]
    return (result.dtype, result.shape, result._data.tobytes()) if isinstance(result, Tensor) else result


# what a step changes of its own


class Own:
    """What steps of the table below have around them."""

    def __init__(self) -> None:
        self.n, self.last, self.losses, self.log = 0, None, [], {"n": 0}
        self.array, self.seen, self.queue = np.zeros(3), set(), [1, 2, 3]
        self.rng, self.w = np.random.default_rng(0), Tensor(np.ones(3), requires_grad=True, name="w")
        self.opt = optim.SGD([self.w], lr=0.1)
        self.schedule = optim.CosineAnnealingLR(self.opt, 100)
        self.flag = False
        self.deep = Own.__new__(Own) if type(self) is Own else self
        self.deep.n = 0


def counts(o: Own, x: Any) -> Any:
    o.n += 1
    return x * 2


def returns_a_counter(o: Own, x: Any) -> Any:
    o.n += 1
    return x * 2, o.n


def counts_deep_inside(o: Own, x: Any) -> Any:
    o.deep.n += 1
    return x * 2


def every_fourth_time(o: Own, x: Any) -> Any:
    o.n = o.n + 1
    return x * 2 if o.n % 4 == 0 else x


def keeps_the_last(o: Own, x: Any) -> Any:
    o.last = x * 2
    return o.last


def appends(o: Own, x: Any) -> Any:
    o.losses.append((x * 2).sum())
    return x


def extends_in_another_function(o: Own, x: Any) -> Any:
    note(o.losses)
    return x


def note(losses: list[Any]) -> None:
    losses += [1]


def sets_an_item(o: Own, x: Any) -> Any:
    o.log["n"] = o.log["n"] + 1
    return x


def updates_a_dict(o: Own, x: Any) -> Any:
    o.log.update(n=o.log["n"] + 1)
    return x


def adds_to_a_set(o: Own, x: Any) -> Any:
    o.seen.add(len(o.seen))
    return x


def pops(o: Own, x: Any) -> Any:
    return x * o.queue.pop()


def changes_an_array(o: Own, x: Any) -> Any:
    o.array += 1
    return x


def fills_an_array(o: Own, x: Any) -> Any:
    o.array.fill(o.array[0] + 1)
    return x


def shuffles_an_array(o: Own, x: Any) -> Any:
    np.add(o.array, 1, out=o.array)
    return x


def counts_globally(o: Own, x: Any) -> Any:
    global COUNT
    COUNT += 1
    return x


def toggles(o: Own, x: Any) -> Any:
    o.flag = not o.flag
    return x * (2 if o.flag else 3)


def sets_by_name(o: Own, x: Any) -> Any:
    setattr(o, "n", o.n + 1)
    return x


def deletes(o: Own, x: Any) -> Any:
    if hasattr(o, "last"):
        del o.last
    else:
        o.last = 1
    return x


def draws_for_nothing(o: Own, x: Any) -> Any:
    o.rng.normal()
    return x


def steps_a_schedule(o: Own, x: Any) -> Any:
    o.opt.zero_grad()
    (o.w * x).sum().backward()
    o.opt.step()
    o.schedule.step()
    return x


def changes_an_option(o: Own, x: Any) -> Any:
    o.opt.param_groups[0]["lr"] *= 0.5
    return x


def replaces_data(o: Own, x: Any) -> Any:
    o.w.data = np.ones(3)
    return x * o.w


def freezes(o: Own, x: Any) -> Any:
    o.w.requires_grad = not o.w.requires_grad
    return x * o.w


def returns_a_time(o: Own, x: Any) -> Any:
    return x, time.perf_counter()


REFUSED: dict[Callable[..., Any], str] = {
    counts: r"changes o\.n", returns_a_counter: r"changes o\.n", counts_deep_inside: r"changes o\.deep\.n",
    every_fourth_time: r"changes o\.n", keeps_the_last: r"changes o\.last", appends: r"changes o\.losses",
    extends_in_another_function: r"changes o\.losses", sets_an_item: r"changes o\.log\['n'\]",
    updates_a_dict: r"changes o\.log\['n'\]", adds_to_a_set: r"changes o\.seen", pops: r"changes o\.queue",
    changes_an_array: r"changes o\.array", fills_an_array: r"changes o\.array", shuffles_an_array: r"changes o\.array",
    counts_globally: "changes COUNT", toggles: r"changes o\.flag", sets_by_name: r"changes o\.n",
    deletes: r"changes o\.last", draws_for_nothing: r"changes o\.rng",
    steps_a_schedule: r"changes .*self.*a schedule.s step\(\) there",
    changes_an_option: r"changes o\.opt\.param_groups\[0\]\['lr'\]", replaces_data: r"changes o\.w\.data",
    freezes: r"changes o\.w\.requires_grad", returns_a_time: "what it returns",
}  # fmt: skip


@pytest.mark.parametrize("step", REFUSED)
@pytest.mark.parametrize("strict", [True, False])
def test_what_a_step_changes_is_refused_by_name(step: Callable[..., Any], strict: bool) -> None:
    o, other = Own(), Own()
    jitted = Jitted(lambda x: step(o, x), strict=strict)
    if strict:
        with pytest.raises(RecordingError, match=REFUSED[step]):
            for _ in range(4):
                jitted(X)
    else:
        with pytest.warns(RuntimeWarning, match=REFUSED[step]) as caught:  # noqa: PT031
            for i in range(3):
                result, expected = jitted(X), step(other, Tensor(X))
                assert step is returns_a_time or bits(result) == bits(expected), f"call {i}"
        assert len(caught) == 1
        assert step in (counts_globally, freezes) or (o.n, o.log, o.losses == [], o.queue, o.flag, o.deep.n) == (
            other.n,
            other.log,
            other.losses == [],
            other.queue,
            other.flag,
            other.deep.n,
        )
        assert o.array.tolist() == other.array.tolist() and o.w._data.tolist() == other.w._data.tolist()
        assert repr(o.rng.bit_generator.state) == repr(other.rng.bit_generator.state)


def test_a_refused_step_leaves_everything_as_it_was() -> None:
    o = Own()

    @jit
    def step(x: Any) -> Any:
        o.n, o.last = o.n + 1, x
        o.losses.append(1)
        o.log["n"] += 1
        o.opt.param_groups[0]["lr"] *= 0.5
        o.opt.zero_grad()
        (o.w * x).sum().backward()
        o.opt.step()
        return x

    step(X)
    before = copy.deepcopy((o.n, o.losses, o.log, o.opt.param_groups[0]["lr"], o.w._data)), o.last, o.w.grad
    with pytest.raises(RecordingError, match="step changes o"):
        step(X)
    after = copy.deepcopy((o.n, o.losses, o.log, o.opt.param_groups[0]["lr"], o.w._data)), o.last, o.w.grad
    assert repr(before) == repr(after) and o.n == 1 and before[1] is after[1]


def test_objects_that_the_step_makes_are_its_own_business() -> None:
    class Tape:
        def __init__(self) -> None:
            self.n, self.values = 0, []

        def add(self, t: Any) -> None:
            self.n += 1
            self.values.append(t)

    @jit
    def step(x: Any) -> Any:
        tape = Tape()
        for i in range(3):
            tape.add(x * i)
        counts = {"n": 0}
        counts["n"] += 1
        return sum(tape.values) * tape.n * counts["n"]

    for _ in range(5):
        assert step(X).tolist() == (sum([X * 0, X * 1, X * 2]) * 3).tolist()
    assert step.last.program is not None


def test_what_a_step_makes_once_is_kept() -> None:
    class Lazy(nn.Module):
        w: Any = None

        def forward(self, x: Any) -> Any:
            if self.w is None:
                self.w = nn.Parameter(np.arange(3.0))
            return x * self.w

    model = Lazy()
    step = jit(lambda x: model(x))
    for _ in range(6):
        assert step(X).tolist() == (X * np.arange(3.0)).tolist()
    assert step.last.program is not None


def test_a_refusal_that_the_step_swallows_is_raised_at_the_end() -> None:
    @jit
    def step(x: Any) -> Any:
        try:
            if float(x.max()) > 0:
                return x * 2
        except Exception:
            pass
        return x * 3

    for _ in range(3):
        with pytest.raises(RecordingError, match="item at .* needs a value"):
            step(X)


def test_a_refusal_that_is_swallowed_is_no_other_branch() -> None:
    def step(x: Any) -> Any:
        with warnings.catch_warnings():
            try:
                return x * 2 if float(x.max()) > 0 else x
            except RecordingError:
                return x * 3

    jitted = Jitted(step, strict=False)
    with pytest.warns(RuntimeWarning, match="needs a value"):  # noqa: PT031
        for _ in range(3):
            assert jitted(X).tolist() == (X * 2).tolist()


# results

Pair = namedtuple("Pair", "a b")


@dataclasses.dataclass(frozen=True)
class Output:
    loss: Any
    parts: dict[str, Any]
    name: str = "out"


@pytest.mark.parametrize("make", [
    lambda x: x, lambda x: (x, 1), lambda x: [x, 2.5, "text", None, True, b"x", 1j], lambda x: {"a": x, 3: [x * 2]},
    lambda x: Pair(x, (x * 2,)), lambda x: Output(x, {"b": x * 2}), lambda x: [Output(x, {}), Pair(1, Output(x, {}))],
    lambda x: None, lambda x: (), lambda x: {}, lambda x: "text", lambda x: np.float32(2),
])  # fmt: skip
def test_results_are_what_eager_gives(make: Callable[[Any], Any]) -> None:
    step = jit(make)
    for i in range(10):
        assert repr(step(X + i)) == repr(make(Tensor(X + i)))


@pytest.mark.parametrize("make", [
    lambda x: X, lambda x: np.arange(3), lambda x: zip([x], [x], strict=True), lambda x: (lambda: x), lambda x: {1, 2},
    lambda x: (t for t in [x]), lambda x: Own(), lambda x: object(), lambda x: [iter([x])], lambda x: map(abs, [x]),
    lambda x: {"a": [X]}, lambda x: int, lambda x: range(3), lambda x: nn.ReLU(),
])  # fmt: skip
def test_other_results_are_refused(make: Callable[[Any], Any]) -> None:
    for _ in range(3):
        with pytest.raises(RecordingError, match="a jitted function returns Tensors, numbers"):
            jit(make)(X)


@pytest.mark.parametrize("of", ["model", "optimizer"])
def test_a_state_dict_inside_of_a_step_is_refused(of: str) -> None:
    model = nn.Linear(3, 2, rng=0)
    held = {"model": model, "optimizer": optim.SGD(model.parameters(), momentum=0.9)}[of]
    with pytest.raises(RecordingError, match="state_dict at"):
        jit(lambda x: (held.state_dict(), model(x))[1])(X)


# arguments


def test_a_float_is_a_live_number() -> None:
    w = Tensor(np.ones(3), requires_grad=True)

    def f(x: Any, lr: float, *, scale: float = 1.0) -> Any:
        return x * lr, (x @ w) * scale + lr, np.maximum(x, lr), np.where(x > lr, x, scale), scale

    step, rng = jit(f), np.random.default_rng(0)
    values = [1.0, 0.0, -0.0, np.nan, np.inf, 1e-300, *rng.normal(size=60).tolist()]
    with np.errstate(all="ignore"):
        for x in (X, X.astype(np.float32)):
            for lr in values:
                for scale in (0.5, 0.0):
                    assert repr(bits(step(x, lr, scale=scale))) == repr(bits(f(Tensor(x), lr, scale=scale))), lr
    assert sum(map(len, step.cache.values())) == 4, "what is returned is no input of an op, and a guard"


@pytest.mark.parametrize("use", [
    lambda x, t: x * (t + 1), lambda x, t: x * t**2, lambda x, t: x * np.exp(t), lambda x, t: x * (2 if t > 0.5 else 3),
    lambda x, t: x ** t, lambda x, t: x * np.sqrt(t * t), lambda x, t: x * float(t), lambda x, t: x * int(t * 10),
    lambda x, t: x * np.array([t, 1, 2]), lambda x, t: x * np.full(3, t), lambda x, t: np.clip(x, -t, t),
    lambda x, t: np.clip(x, 0, t), lambda x, t: F.leaky_relu(x, t), lambda x, t: F.huber_loss(x, X, delta=t + 0.1),
    lambda x, t: x * round(t, 1), lambda x, t: x * len(f"{t:.3f}"), lambda x, t: x * max(t, 0.3), lambda x, t: x * -t,
    lambda x, t: x * abs(t), lambda x, t: x + {0.25: 1}.get(t, 0), lambda x, t: x * bool(t), lambda x, t: x * t.real,
    lambda x, t: X * t * x, lambda x, t: x * np.float64(t), lambda x, t: x * np.linspace(0, t, 3),
    lambda x, t: x * sum([t]),
    lambda x, t: x * isinstance(t, float), lambda x, t: x * np.asarray(t), lambda x, t: x * [t, t, 1.0],
    lambda x, t: t * x,
    lambda x, t: F.cross_entropy(x, np.array([0, 1, 2, 0]), label_smoothing=t / 10),
    lambda x, t: x - t, lambda x, t: t / (x * x + 1),
])  # fmt: skip
def test_what_is_computed_of_a_float_is_never_stale(use: Callable[[Any, Any], Any]) -> None:
    step = jit(use)
    with np.errstate(all="ignore"):
        for x in (np.abs(X), np.abs(X).astype(np.float32)):
            for t in (0.25, 0.25, 0.25, 0.75, 0.75, 0.75, 0.25, 1.5, 0.0, -0.0):
                assert bits(step(x, t)) == bits(use(Tensor(x), t)), t


def test_other_constants_are_part_of_the_key() -> None:
    step = jit(lambda x, n: x * (n if not isinstance(n, str) else len(n)))
    for n in (
        1,
        2,
        True,
        1,
        "ab",
        "abc",
        np.float32(0.1),
        np.float64(0.1),
        1.0,
        np.array(2.0),
        np.array(2, np.float32),
    ) * 4:
        x = X.astype(np.float32)
        assert bits(step(x, n)) == bits(step.function(Tensor(x), n))


def test_arguments_that_the_step_changes() -> None:
    def appends(x: Any, kept: list[Any]) -> Any:
        kept.append(1)
        return x * len(kept)

    def assigns(x: Any, y: Any) -> Any:
        with tg.no_grad():
            y += 1
        return x * 2

    for function, argument in ((appends, [2]), (assigns, X.copy())):
        with pytest.raises(RecordingError, match="kept|in place of an argument"):
            for _ in range(3):
                jit(function)(X, argument) if function is assigns else _twice(function, argument)


def _twice(function: Any, argument: Any) -> None:
    step = jit(function)
    for _ in range(3):
        step(X, argument)


# never a dead end


def loop(step: Callable[..., Any], calls: int, between: Callable[[int], Any], *args: Any) -> Jitted[..., Any]:
    jitted = jit(step)
    for i in range(calls):
        assert bits(jitted(X, *args)) == bits(step(Tensor(X), *args))
        between(i)
    return jitted


def test_lists_that_grow_outside_are_no_guards() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.history: list[Any] = []
            self.batch: Any = None
            self.rows = [(i, i) for i in range(100)]
            self.w = Tensor(np.ones(3))

        def step(self, x: Any) -> Any:
            return x * self.w

    trainer, losses = Trainer(), []

    def between(i: int) -> None:
        trainer.history.append(i)
        trainer.batch = trainer.last = X + i
        losses.append(i)
        trainer.rows.append((i, i))

    assert sum(map(len, loop(trainer.step, 100, between).cache.values())) == 1


def test_a_step_between_two_states_has_a_program_for_each() -> None:
    drop, o = nn.Dropout(0.5, rng=0), Own()

    def step(x: Any) -> Any:
        return (drop(x) if o.flag else x) * 2

    def between(i: int) -> None:
        o.flag = not o.flag

    jitted = jit(step)
    for i in range(40):
        jitted(X)
        between(i)
    assert [len(known) for known in jitted.cache.values()] == [2]
    assert all(c.runs > 10 for known in jitted.cache.values() for c in known)


def test_65_sizes_of_a_batch() -> None:
    w = Tensor(np.ones((3, 2)))
    step = jit(lambda x: x @ w)
    for _ in range(4):
        for n in range(1, 66):
            assert step(np.ones((n, 3))).tolist() == [[3.0, 3.0]] * n
    assert step.eager is None and all(c.runs == 2 for known in step.cache.values() for c in known)


def test_many_objects_with_one_decorated_method() -> None:
    class Model:
        def __init__(self, i: int) -> None:
            self.w = Tensor(np.full(3, float(i)))

        @jit
        def step(self, x: Any) -> Any:
            return x * self.w

    for model in [Model(i) for i in range(40)]:
        for _ in range(10):
            assert model.step(X).tolist() == (X * model.w.numpy()).tolist()
    assert Model.step.eager is None


def test_data_that_is_replaced_at_each_call_ends_in_a_warning() -> None:
    w = Tensor(np.ones(3), name="w")

    def between(i: int) -> None:
        w.data = w._data * 1.01

    with pytest.warns(RuntimeWarning, match="data of w changed most often") as caught:
        step = loop(lambda x: x * w, 250, between)
    assert len(caught) == 1 and step.eager is not None


def test_old_programs_go() -> None:
    w = Tensor(np.ones((3, 2)))
    step = jit(lambda x: np.tanh(x @ w))
    for n in range(1, 150):
        for _ in range(20):
            step(np.ones((n, 3)))
    assert sum(map(len, step.cache.values())) == 128


def test_programs_share_their_memory() -> None:
    w = Tensor(np.ones((3, 20)), requires_grad=True)

    def f(x: Any) -> Any:
        w.grad = None
        loss = np.tanh(np.tanh(x @ w) * 2).sum()
        loss.backward()
        return loss

    step = jit(f)
    for n in (200, *range(1, 60), 300, 7, 300):
        for _ in range(3):
            result = step(np.ones((n, 3)))
            grad = w.grad._data.tobytes()
            assert (bits(result), grad) == (bits(f(Tensor(np.ones((n, 3))))), w.grad._data.tobytes())
    largest = max(c.bytes for known in step.cache.values() for c in known)
    assert step.arena.memory.nbytes <= 2 * largest + 4096


# audits


def test_a_program_audits_itself() -> None:
    w = Tensor(np.ones(3), name="w")

    def f(x: Any) -> Any:
        with tg.no_grad():
            w.__imul__(0.5)
        return x * w

    step = jit(f)
    for _ in range(4):
        step(X)
    program = step.last
    right = program.step
    program.step = lambda *a: (right(*a)[0] * 1.5,)
    with pytest.warns(  # noqa: PT031
        RuntimeWarning, match=r"differ in result 0, by 0\.0\d+ at most; the program is dropped"
    ) as caught:
        for _ in range(20):
            step(X)
    assert len(caught) == 1
    assert step.last is not program and w._data.tolist() == [0.5**24] * 3


def test_nans_compare_by_being_nan() -> None:
    step = jit(lambda x: np.sqrt(x) * np.nan, check=1)
    with np.errstate(all="ignore"):
        for _ in range(5):
            step(X)


def test_check_names_what_differs() -> None:
    w = Tensor(np.ones(3), name="w")

    @jit(check=1)
    def step(x: Any) -> Any:
        with tg.no_grad():
            w.__imul__(0.5)
        return x * 2

    for _ in range(3):
        step(X)
    right = step.last.step

    def wrong(*a: Any) -> Any:
        result = right(*a)
        w._data += 1
        return result

    step.last.step = wrong
    with pytest.raises(RecordingError, match="differ in w, by 1 at most"):
        step(X)
    assert w._data.tolist() == [0.0625] * 3


# errors


def test_a_bad_label_while_recording_says_what_eager_says() -> None:
    f = lambda x, y: F.cross_entropy(x, y)
    with pytest.raises(ValueError) as eager:
        f(Tensor(X), Tensor(np.array([0, 1, 7, 0])))
    with pytest.raises(ValueError) as recorded:
        jit(f)(X, np.array([0, 1, 7, 0]))
    assert str(recorded.value) == str(eager.value) and "labels[2] is 7" in str(eager.value)


def test_backward_on_a_result_names_jit() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    step = jit(lambda x: (x * w).sum())
    for _ in range(4):
        with pytest.raises(tg.GraphError, match="jit"):
            step(X).backward()


@pytest.mark.parametrize("bad", [5, "f", None, [abs]])
def test_what_is_no_function(bad: Any) -> None:
    if bad is not None:
        with pytest.raises(TypeError, match="jit takes a function"):
            jit(bad)


@pytest.mark.parametrize("check", ["a", 1.5, True, [1]])
def test_what_is_no_number_of_calls(check: Any) -> None:
    with pytest.raises(TypeError, match="check must be a number of calls"):
        jit(lambda x: x, check=check)


def test_functions_that_pause_are_refused_when_they_are_decorated() -> None:
    def gives(x: Any) -> Any:
        yield x

    async def waits(x: Any) -> Any:
        await asyncio.sleep(0)
        return x

    async def both(x: Any) -> Any:
        yield x

    for function in (gives, waits, both):
        with pytest.raises(RecordingError, match="generator or an async function"):
            jit(function)


@jit
def decorated(x: Any) -> Any:
    return x * 2


def plain(x: Any) -> Any:
    return x * 3


def test_copies_and_pickles() -> None:
    for step in (decorated, jit(plain), jit(nn.Linear(3, 2, rng=0, dtype=np.float64))):
        expected = bits(step(X))
        for other in (copy.copy(step), copy.deepcopy(step), pickle.loads(pickle.dumps(step))):
            for _ in range(4):
                assert bits(other(X)) == expected
        assert repr(step) is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_a_thread_is_inside_does_not_hang_the_child() -> None:
    inside, leave = threading.Event(), threading.Event()

    @jit
    def step(x: Any, wait: bool) -> Any:
        if wait:
            inside.set()
            leave.wait(10)
        return x * 2

    thread = threading.Thread(target=lambda: step(X, True))
    thread.start()
    inside.wait(10)
    child = os.fork()
    if not child:
        done = threading.Thread(target=lambda: step(X, False), daemon=True)
        done.start()
        done.join(5)
        os._exit(done.is_alive())
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert status == 0


def test_errstate_is_that_of_the_caller() -> None:
    step = jit(lambda x: np.log(x))
    x = np.array([-1.0, 0.0])
    for _ in range(4):
        with np.errstate(all="ignore"):
            step(x)
        with np.errstate(all="raise"), pytest.raises(FloatingPointError):
            step(x)
        with pytest.warns(RuntimeWarning):
            step(x)


def test_other_profilers_are_put_back() -> None:
    seen: list[Any] = []
    before = sys.getprofile()
    own = lambda frame, event, arg: seen.append(event)
    sys.setprofile(own)
    try:
        jit(lambda x: x * 2)(X)
        assert sys.getprofile() is own
    finally:
        sys.setprofile(before)
    with cProfile.Profile() as profile:
        jit(lambda x: x * 2)(X)
        plain(3)
    assert any(entry.code is plain.__code__ for entry in profile.getstats())


def test_what_cannot_be_followed_is_refused() -> None:
    class Hostile:
        @property
        def __class__(self) -> Any:
            raise ValueError("no class")

    box = types.SimpleNamespace(v=Hostile())

    @jit
    def step(x: Any) -> Any:
        return x * 2 if box.v else x

    with pytest.raises(RecordingError, match="what step reads cannot be followed: ValueError"):
        step(X)


def test_a_step_that_takes_another_of_its_values_at_each_call_is_refused() -> None:
    numbers = io.StringIO("01")

    @jit
    def step(x: Any) -> Any:
        values = np.exp(x), np.sin(x)
        return values[0] * values[int(numbers.read(1))]

    step(X)
    with pytest.raises(RecordingError, match="multiply at .* gets a number or an array that the step makes anew"):
        step(X)


def test_a_step_that_returns_another_of_its_values_at_each_call_is_refused() -> None:
    numbers = io.StringIO("01")

    @jit
    def step(x: Any) -> Any:
        return (np.exp(x), np.sin(x))[int(numbers.read(1))]

    step(X)
    with pytest.raises(RecordingError, match="what it returns gets a number or an array that the step makes anew"):
        step(X)


def test_a_step_that_is_refused_when_it_runs_again_leaves_the_state_of_an_optimizer_as_it_was() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    opt = optim.Adam([w], lr=0.1)
    numbers = io.StringIO("123")

    @jit
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = (w * x * int(numbers.read(1))).sum()
        loss.backward()
        opt.step()
        return loss

    def state() -> Any:
        values = opt.state.get(w, {})
        return w._data.tolist(), {k: v.tolist() if isinstance(v, Tensor) else v for k, v in values.items()}

    step(np.ones(3))
    step(np.ones(3))
    before = state()
    with pytest.raises(RecordingError, match="multiply at .* gets a number or an array that the step makes anew"):
        step(np.ones(3))
    assert state() == before
