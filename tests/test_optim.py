"""Optimisers and schedules: every rate against a table by hand, and the state that steps keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinygrad_mlp import Tensor
from tinygrad_mlp.errors import CheckpointError, GraphError
from tinygrad_mlp.nn import optim
from tinygrad_mlp.nn.optim import SGD, Adam, AdamW, CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau
from tinygrad_mlp.nn.utils import clip_grad_norm_


def parameter(*values: float, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def rates(schedule: Any, steps: int) -> list[list[float]]:
    """The rates of all groups at so many steps."""
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr())
        schedule.step()
    return found


SQRT2, SQRT3 = math.sqrt(2), math.sqrt(3)
COSINES: dict[str, tuple[dict[str, Any], Sequence[float]]] = {
    "plain": ({"T_max": 4}, [1, (2 + SQRT2) / 4, 1 / 2, (2 - SQRT2) / 4, 0, 0, 0]),
    "a step": ({"T_max": 1}, [1, 0, 0]),
    "a floor": ({"T_max": 2, "eta_min": 0.2}, [1, 0.6, 0.2, 0.2, 0.2]),
    "a step of warm-up": ({"T_max": 3, "warmup": 1}, [1 / 2, 1, 1 / 2, 0, 0]),
    "warm-up": (
        {"T_max": 6, "eta_min": 0.1, "warmup": 3},
        [1 / 4, 2 / 4, 3 / 4, 1, 0.1 + 0.9 * 3 / 4, 0.1 + 0.9 / 4, 0.1, 0.1, 0.1, 0.1],
    ),
    "nearly all is warm-up": ({"T_max": 5, "warmup": 4}, [0.2, 0.4, 0.6, 0.8, 1, 0, 0]),
}


@pytest.mark.parametrize("name", COSINES)
def test_every_rate_of_a_cosine(name: str) -> None:
    options, shares = COSINES[name]
    groups = [{"params": [parameter(1.0)]}, {"params": [parameter(1.0)], "lr": 0.3}]
    found = rates(optim.CosineAnnealingLR(optim.SGD(groups, lr=2.0), **options), len(shares))
    np.testing.assert_allclose(found, [[2 * share, 0.3 * share] for share in shares], rtol=1e-14, atol=1e-16)


CYCLES: dict[str, tuple[dict[str, Any], Sequence[float]]] = {
    "half up": (
        {"total_steps": 8, "pct_start": 0.5, "div_factor": 4, "final_div_factor": 25},
        [1 / 4, 7 / 16, 13 / 16, 1, *(0.01 + 0.99 * (2 + c) / 4 for c in (SQRT2, 0, -SQRT2)), 0.01, 0.01, 0.01],
    ),
    "no whole step is the top": (
        {"total_steps": 5, "pct_start": 0.5, "div_factor": 2, "final_div_factor": 5},
        [1 / 2, 7 / 8, 0.1 + 0.9 * (1 + math.cos(math.pi / 5)) / 2, 0.1 + 0.9 * (1 + math.cos(math.pi * 3 / 5)) / 2]
        + [0.1] * 3,
    ),
    "by default": ({"total_steps": 10}, [1 / 25, (1 + 1 / 25) / 2, 1]),
}


@pytest.mark.parametrize("name", CYCLES)
def test_every_rate_of_a_cycle(name: str) -> None:
    options, shares = CYCLES[name]
    groups = [{"params": [parameter(1.0)]}, {"params": [parameter(1.0)], "lr": 0.3}]
    optimizer = optim.SGD(groups, lr=2.0)
    schedule = optim.OneCycleLR(optimizer, max_lr=3.0, **options)
    assert [group["lr"] for group in optimizer.param_groups] == schedule.get_last_lr()
    found = rates(schedule, len(shares))
    np.testing.assert_allclose(found, [[3 * share, 3 * share] for share in shares], rtol=1e-14)


def test_a_cycle_ends_at_its_last_rate_by_default() -> None:
    schedule = optim.OneCycleLR(optim.SGD([parameter(1.0)]), max_lr=1.0, total_steps=10)
    assert rates(schedule, 12)[9:] == [[pytest.approx(1 / 25e4)]] * 3


@pytest.mark.parametrize("make", [
    lambda opt: optim.CosineAnnealingLR(opt, T_max=6, warmup=2, eta_min=0.1),
    lambda opt: optim.OneCycleLR(opt, max_lr=0.7, total_steps=6),
])  # fmt: skip
def test_a_loaded_schedule_goes_on_and_sets_the_rate_at_once(make: Any) -> None:
    first, second = (make(optim.SGD([parameter(1.0)], lr=0.5)) for _ in range(2))
    rates(first, 3)
    state = first.state_dict()
    second.load_state_dict(state)
    assert second.get_last_lr() == first.get_last_lr()
    expected = rates(first, 6)
    assert state == second.state_dict()
    assert rates(second, 6) == expected


def test_what_a_schedule_cannot_do() -> None:
    opt = optim.SGD([parameter(1.0)])
    with pytest.raises(ValueError, match=r"warmup must be .*T_max - 1.*, got 4"):
        optim.CosineAnnealingLR(opt, T_max=4, warmup=4)
    with pytest.raises(ValueError, match=r"pct_start must be between 0 and 1, got 1"):
        optim.OneCycleLR(opt, 1.0, 10, pct_start=1)


def steps(opt: Any, gradients: Sequence[Sequence[Any]]) -> list[bytes]:
    """Step with the gradients of all parameters, None for no gradient, and return the parameters' bits."""
    params = opt.param_groups[0]["params"]
    for row in gradients:
        opt.zero_grad()
        for p, g in zip(params, row, strict=True):
            p.grad = None if g is None else Tensor(np.full(p.shape, g, p.dtype))
        opt.step()
    return [p.data.tobytes() for p in params]


def sgd_by_hand(p: Any, gradients: Sequence[Any], lr: float, momentum: float = 0, dampening: float = 0,
                weight_decay: float = 0, nesterov: bool = False) -> Any:  # fmt: skip
    for i, g in enumerate(gradients):
        g = g + weight_decay * p
        buf = g if i == 0 else momentum * buf + (1 - dampening) * g  # noqa: F821 - of the step before
        p = p - lr * (g + momentum * buf if nesterov else buf if momentum else g)
    return p


def adam_by_hand(p: Any, gradients: Sequence[Any], lr: float, betas: Any = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decay: float = 0) -> Any:  # fmt: skip
    m = v = 0 * p
    for t, g in enumerate(gradients, 1):
        g, p = g + weight_decay * p, p - lr * decay * p
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p


def rmsprop_by_hand(p: Any, gradients: Sequence[Any], lr: float, alpha: float = 0.99, eps: float = 1e-8,
                    weight_decay: float = 0, momentum: float = 0, centered: bool = False) -> Any:  # fmt: skip
    square = mean = buf = 0 * p
    for g in gradients:
        g = g + weight_decay * p
        square, mean = alpha * square + (1 - alpha) * g**2, alpha * mean + (1 - alpha) * g
        buf = momentum * buf + g / (np.sqrt(square - mean**2 if centered else square) + eps)
        p = p - lr * buf
    return p


UPDATES: list[tuple[Any, Any, dict[str, Any]]] = [
    (optim.SGD, sgd_by_hand, {}),
    (optim.SGD, sgd_by_hand, {"weight_decay": 0.3}),
    (optim.SGD, sgd_by_hand, {"momentum": 0.9}),
    (optim.SGD, sgd_by_hand, {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    (optim.SGD, sgd_by_hand, {"momentum": 0.8, "nesterov": True}),
    (optim.Adam, adam_by_hand, {}),
    (optim.Adam, adam_by_hand, {"betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.2}),
    (optim.AdamW, partial(adam_by_hand, decay=0.01), {}),
    (optim.AdamW, lambda p, gs, weight_decay, **o: adam_by_hand(p, gs, decay=weight_decay, **o), {"weight_decay": 0.3}),
    (optim.RMSprop, rmsprop_by_hand, {}),
    (optim.RMSprop, rmsprop_by_hand, {"alpha": 0.8, "momentum": 0.9, "weight_decay": 0.2}),
    (optim.RMSprop, rmsprop_by_hand, {"centered": True, "eps": 0.1}),
    (optim.RMSprop, rmsprop_by_hand, {"centered": True, "eps": 0.1, "momentum": 0.5}),
]


@pytest.mark.parametrize(("kind", "by_hand", "options"), UPDATES)
def test_updates_are_those_of_the_formula(kind: Any, by_hand: Any, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=7), rng.normal(size=(5, 7)) * 0.1
    p = Tensor(start.copy(), requires_grad=True)
    opt = kind([p], lr=0.05, **options)
    for g in gradients:
        p.grad = Tensor(g)
        opt.step()
    np.testing.assert_allclose(p.data, by_hand(start, gradients, lr=0.05, **options), rtol=1e-12)


@pytest.mark.parametrize(("norm_type", "expected"), [(1.0, 7.0), (2.0, 5.0), (math.inf, 4.0)])
def test_the_norm_of_all_gradients_is_clipped(norm_type: float, expected: float) -> None:
    a, b, none = parameter(1.0), parameter(2.0, 3.0), parameter(4.0)
    a.grad, b.grad = Tensor(np.array([-3.0])), Tensor(np.array([0.0, 4.0]))
    assert clip_grad_norm_([a, b, none], 10.0, norm_type).item() == pytest.approx(expected)
    assert a.grad.numpy()[0] == -3.0
    clip_grad_norm_([a, b, none], expected / 2, norm_type)
    clipped = np.concatenate([a.grad.numpy(), b.grad.numpy()])
    np.testing.assert_allclose(clipped, np.array([-1.5, 0, 2]) * expected / (expected + 1e-6), rtol=1e-15)
    assert none.grad is None


def test_an_optimizer_of_ones_own_says_what_it_needs() -> None:
    class Sign(optim.Optimizer):
        formula = staticmethod(lambda p, g, *, lr: (p - lr * np.sign(g),))

        def check(self, group: Any) -> None:
            pass

    class Whole(Sign):
        def scalars(self, group: Any, step: int) -> dict[str, Any]:
            return {"lr": group["lr"]}

    for kind in (Sign, Whole):
        p = parameter(1.0, -1.0)
        p.grad = Tensor(np.array([0.2, -7.0]))
        opt = kind([p], {"lr": 0.5})
        if kind is Sign:
            with pytest.raises(NotImplementedError):
                opt.step()
        else:
            opt.step()
            assert p.data.tolist() == [0.5, -0.5]


def test_a_state_may_be_replaced_by_a_dict_of_ones_own() -> None:
    p, twin = parameter(1.0, 2.0), parameter(1.0, 2.0)
    opt, other = SGD([p], lr=0.1, momentum=0.9), SGD([twin], lr=0.1, momentum=0.9)
    steps(opt, [[1.0], [2.0]])
    steps(other, [[1.0]])
    other.state = dict(other.state)
    steps(other, [[2.0]])
    assert p.data.tobytes() == twin.data.tobytes()


def test_each_parameter_is_corrected_by_the_steps_of_its_own() -> None:
    together = optim.Adam([parameter(1.0, 2.0), parameter(3.0)], lr=0.1)
    alone = [optim.Adam([parameter(1.0, 2.0)], lr=0.1), optim.Adam([parameter(3.0)], lr=0.1)]
    gradients = [(0.5, None), (2.0, 0.3), (None, -1.0), (1.0, 0.7)]
    expected = [steps(opt, [[row[i]] for row in gradients if row[i] is not None])[0] for i, opt in enumerate(alone)]
    assert steps(together, gradients) == expected
    assert [s["step"] for s in together.state.values()] == [3, 3]


def test_zero_grad_reaches_every_group() -> None:
    params = [parameter(1.0), parameter(2.0), parameter(3.0)]
    opt = optim.SGD([{"params": params[:1]}, {"params": params[1:], "lr": 0.1}], lr=1.0)
    for p in params:
        p.grad = Tensor([1.0])
    opt.zero_grad()
    assert [p.grad for p in params] == [None] * 3


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9), optim.Adam, optim.AdamW,
])  # fmt: skip
def test_buffers_have_the_layout_and_the_dtype_of_their_parameter(make: Any) -> None:
    for dtype in (np.float32, np.float64):
        p = Tensor(np.ones((3, 4), dtype, order="F"), requires_grad=True)
        opt = make([p])
        steps(opt, [[0.5]])
        again = make([p])
        again.load_state_dict(opt.state_dict())
        for o in (opt, again):
            for name in o.buffers:
                buffer = o.state[p][name].data
                assert (buffer.strides, buffer.dtype) == (p.data.strides, dtype)


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9), optim.Adam, optim.AdamW,
])  # fmt: skip
def test_a_state_stays_what_it_was(make: Any) -> None:
    opt = make([parameter(1.0, 2.0)])
    steps(opt, [[0.5]])
    state = opt.state_dict()
    before = repr(state)
    steps(opt, [[0.25], [4.0]])
    assert repr(state) == before


@pytest.mark.parametrize("make", [optim.SGD, lambda p: optim.SGD(p, momentum=0.9), optim.Adam, optim.AdamW])
def test_a_graph_notices_a_step(make: Any) -> None:
    p = parameter(1.0, 2.0)
    loss, opt = (p * p).sum(), make([p])
    steps(opt, [[0.5]])
    with pytest.raises(GraphError, match="its data has changed since"):
        loss.backward()


def test_a_parameter_is_in_one_group_and_once() -> None:
    p, q = parameter(1.0), parameter(2.0)
    for groups in ([{"params": [p]}, {"params": [q, p]}], [p, q, p]):
        with pytest.raises(ValueError, match="appears twice"):
            optim.SGD(groups)


@pytest.mark.parametrize(("make", "match"), [
    (lambda p: optim.Adam(p, eps=0), "eps must be a finite number > 0, got 0"),
    (lambda p: optim.Adam(p, betas=(0.9, 1.0)), r"each of betas must be in \[0, 1\), got 1.0"),
    (lambda p: optim.SGD(p, lr=math.inf), "lr must be a finite number >= 0, got inf"),
    (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "nesterov needs .* dampening = 0"),
    (lambda p: optim.SGD(p, nesterov=True), "nesterov needs momentum > 0"),
])  # fmt: skip
def test_options_out_of_range(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make([parameter(1.0)])


def test_every_difference_of_a_state_is_listed_and_nothing_changes() -> None:
    p, q = parameter(1.0, 2.0), parameter(3.0)
    opt = optim.SGD([p, q], lr=0.1, momentum=0.9)
    steps(opt, [[0.5, 0.5]])
    before = repr(opt.state_dict())
    good = opt.state_dict()
    state = {0: {"momentum_buffer": np.ones(3)}, -1: {"momentum_buffer": np.ones(1)}, 2: {}}
    (group,) = good["param_groups"]
    del group["nesterov"]
    group["params"] = [0]
    with pytest.raises(CheckpointError) as error:
        opt.load_state_dict({"state": state, "param_groups": [group]})
    for part in (
        "groups have [1] parameters, expected [2]",
        "options ['dampening', 'lr', 'momentum', 'params', 'weight_decay'], expected",
        "momentum_buffer of parameter 0 has shape (3,), expected (2,)",
        "state for parameter -1 of 2",
        "state for parameter 2 of 2",
    ):
        assert part in str(error.value)
    assert repr(opt.state_dict()) == before


BAD_NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, -1, -1e-300, "0.1", None, [0.1], b"1", 1j, object]
MAKES: dict[str, tuple[Any, list[str]]] = {
    "SGD": (
        lambda p, **o: SGD(p, **{"lr": 0.1, "momentum": 0.9, **o}),
        ["lr", "momentum", "dampening", "weight_decay"],
    ),
    "Adam": (lambda p, **o: Adam(p, **o), ["lr", "eps", "weight_decay"]),
    "AdamW": (lambda p, **o: AdamW(p, **o), ["lr", "eps", "weight_decay"]),
}


def trained(make: Any) -> tuple[list[Tensor], Any]:
    params = [parameter(1.0, 2.0), Tensor(np.array([[3.0]]), requires_grad=True)]
    opt = make(params)
    for _ in range(2):
        opt.zero_grad()
        sum(np.sum(p * p) for p in params).backward()
        opt.step()
    return params, opt


@pytest.mark.parametrize("name", MAKES)
def test_no_number_that_is_none_gets_into_an_optimizer(name: str) -> None:
    make, options = MAKES[name]
    for option in options:
        for value in BAD_NUMBERS:
            with pytest.raises((ValueError, TypeError), match=option):
                make([parameter(1.0)], **{option: value})
            _, opt = trained(make)
            state, before = opt.state_dict(), repr(opt.state_dict())
            state["param_groups"][0][option] = value
            state["state"][0][opt.buffers[0]] = np.array([7.0, 7.0])
            with pytest.raises(CheckpointError, match=f"does not fit: {option} must be"):
                opt.load_state_dict(state)
            assert repr(opt.state_dict()) == before


@pytest.mark.parametrize(
    "betas", [0.9, (0.9,), (0.9, 0.9, 0.9), "ab", None, (0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9), (0.9, None)]
)
def test_betas_are_two_numbers(betas: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="betas"):
        Adam([parameter(1.0)], betas=betas)
    _, opt = trained(Adam)
    state, before = opt.state_dict(), repr(opt.state_dict())
    state["param_groups"][0]["betas"] = betas
    with pytest.raises(CheckpointError, match="betas must be"):
        opt.load_state_dict(state)
    assert repr(opt.state_dict()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["state"][0].update(exp_avg=np.array(["a", "b"])), "exp_avg of parameter 0 is <U1.*expected"),
        (lambda s: s["state"][0].update(exp_avg=np.array([1.0, np.nan])), "exp_avg of parameter 0 .*expected finite"),
        (lambda s: s["state"][1].update(exp_avg_sq=np.array([[-1.0]])), "exp_avg_sq of parameter 1 .*none below 0"),
        (lambda s: s["state"][1].update(exp_avg=None), r"exp_avg of parameter 1 has shape \(\)"),
        (lambda s: s["state"][1].update(exp_avg=np.array([[1]])), "exp_avg of parameter 1 is int64.*expected"),
        (lambda s: s["state"][1].update(step=-1), "step of parameter 1 is -1, expected a whole number >= 1"),
        (lambda s: s["state"][1].update(step=1.5), "step of parameter 1 is 1.5"),
        (lambda s: s["state"][1].update(step="2"), "step of parameter 1 is '2'"),
        (lambda s: s["state"][1].update(step=math.nan), "step of parameter 1 is nan"),
        (lambda s: s["state"][1].update(step=math.inf), "step of parameter 1 is inf"),
        (lambda s: s["state"][1].update(other=1), "parameter 1 has .*'other'"),
        (lambda s: s["state"][1].pop("step"), "parameter 1 has .*expected .*'step'"),
        (lambda s: s["state"].update({2: s["state"][0]}), "state for parameter 2 of 2"),
        (lambda s: s["state"].update(x=s["state"][0]), "state for parameter 'x' of 2"),
        (lambda s: s["state"].update({0: None}), "parameter 0 has None"),
        (lambda s: s.update(state=[1]), r"state is \[1\], expected a dict"),
        (lambda s: s.update(param_groups=None), "param_groups are None, expected a list of dicts"),
        (lambda s: s.update(param_groups=[3]), r"param_groups are \[3\]"),
        (lambda s: s.update(param_groups=s["param_groups"] * 2), r"groups have \[2, 2\] parameters, expected \[2\]"),
        (lambda s: s["param_groups"][0].update(params=[0]), r"groups have \[1\] parameters, expected \[2\]"),
        (lambda s: s["param_groups"][0].pop("params"), "options|groups have"),
        (lambda s: s["param_groups"][0].update(params=[0, "x"]), r"groups have \[\"\[0, 'x'\]\"\] parameters"),
        (lambda s: s["param_groups"][0].update(params=[0, [1, 2]]), r"groups have \['\[0, \[1, 2\]\]'\] parameters"),
        (lambda s: s.update(more=1), "expected .*found .*more"),
        (lambda s: s.pop("state"), "has no .*state"),
    ],
)  # fmt: skip
def test_a_state_that_is_wrong_anywhere_changes_nothing(change: Any, message: str) -> None:
    _, opt = trained(Adam)
    state, before = opt.state_dict(), repr(opt.state_dict())
    change(state)
    with pytest.raises(CheckpointError, match=message), np.errstate(all="raise"):
        opt.load_state_dict(state)
    assert repr(opt.state_dict()) == before


@pytest.mark.parametrize("state", [None, 3, "state", [], {}])
def test_what_is_no_state_is_refused(state: Any) -> None:
    _, opt = trained(Adam)
    with pytest.raises(CheckpointError, match="not the state of an optimizer"):
        opt.load_state_dict(state)
    with pytest.raises(CheckpointError, match="not the state of a schedule"):
        CosineAnnealingLR(opt, 5).load_state_dict(state)


@pytest.mark.parametrize(
    ("key", "value"),
    [("last_step", v) for v in (-1, 1.5, "3", None, math.nan, True)]
    + [("base_lrs", v) for v in (None, 0.1, [], [0.1, 0.1], [-0.1], [math.nan], [math.inf], ["0.1"], [None], "a")]
    + [("more", 1)],
)
def test_a_schedule_takes_no_state_that_is_wrong(key: str, value: Any) -> None:
    opt = SGD([parameter(1.0)], lr=0.1)
    schedule = CosineAnnealingLR(opt, 5)
    schedule.step()
    before, rate = schedule.state_dict(), opt.param_groups[0]["lr"]
    with pytest.raises(CheckpointError, match=key):
        schedule.load_state_dict({**before, key: value})
    assert schedule.state_dict() == before and opt.param_groups[0]["lr"] == rate


@pytest.mark.parametrize("key", ["bad_epochs", "cooling"])
@pytest.mark.parametrize("value", [-1, 1.5, math.inf, math.nan, "1", None])
def test_a_plateau_counts_in_whole_numbers(key: str, value: Any) -> None:
    schedule = ReduceLROnPlateau(SGD([parameter(1.0)], lr=0.1))
    before = schedule.state_dict()
    with pytest.raises(CheckpointError, match=key):
        schedule.load_state_dict({**before, key: value})
    assert schedule.state_dict() == before


@pytest.mark.parametrize("option", ["max_lr", "pct_start", "div_factor", "final_div_factor"])
@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
def test_a_schedule_takes_no_option_that_is_wrong(option: str, value: Any) -> None:
    opt = SGD([parameter(1.0)], lr=0.1)
    with pytest.raises((ValueError, TypeError), match=option):
        OneCycleLR(opt, **{"max_lr": 1.0, "total_steps": 10, option: value})
    with pytest.raises((ValueError, TypeError), match="eta_min"):
        CosineAnnealingLR(opt, 5, eta_min=value)
    assert opt.param_groups[0]["lr"] == 0.1
