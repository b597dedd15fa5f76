"""Beginners' mistakes are answered with what was got, what was expected and what to do, and change nothing."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from mistakes import MISTAKES, Mistake, Work

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim
from tinygrad_mlp.foreign import answers


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name.replace(" ", "_"))
def test_mistake(mistake: Mistake, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    work = Work()
    before = work.state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(mistake.error) as caught:
            mistake.call(work)
    message = str(caught.value)
    for part in (mistake.got, mistake.expected, mistake.remedy):
        assert part in message, message
    assert not re.search(r"0x[0-9a-f]{4,}|object has no attribute '_", message), message
    assert not isinstance(caught.value, (AssertionError, RecursionError, MemoryError, KeyError))
    assert work.state() == before
    assert not list(tmp_path.iterdir())


def test_there_are_many_and_each_is_another() -> None:
    assert len({m.name for m in MISTAKES}) == len(MISTAKES) >= 200


@pytest.mark.parametrize(
    ("part", "ours", "theirs"), [("t", "reshape", "view"), ("model", "train", "fit"), ("optimizer", "step", "lr")]
)
def test_what_tab_offers_is_ours(part: str, ours: str, theirs: str) -> None:
    thing = getattr(Work(), part)
    assert ours in dir(thing) and theirs not in dir(thing) and not hasattr(thing, theirs)


def test_an_attribute_of_ones_own_can_have_any_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.weights = 3

        def fit(self) -> int:
            return self.weights

    assert Net().fit() == 3
    assert {"weights", "fit"} <= set(vars(Net())) | set(vars(Net))


def test_a_class_is_called_by_the_name_that_a_user_has_written() -> None:
    class Net(nn.MLP):
        pass

    class Own(nn.MLP):
        def __init__(self) -> None:
            super().__init__(784, 128, 10)

    with pytest.raises(TypeError, match=r"^Net\(784, 128, 10\): too many"):
        Net(784, 128, 10)
    with pytest.raises(TypeError, match=r"^MLP\(784, 128, 10\): too many"):
        Own()
    with pytest.raises(TypeError, match=r"^Own\(3\): too many positional arguments; write Own\(\)"):
        Own(3)


def test_what_fails_inside_of_a_call_says_what_it_said() -> None:
    class Net(nn.Module):
        def __init__(self, size: int) -> None:
            raise TypeError("a bad argument of mine")

        def forward(self, x: Any) -> Any:
            raise TypeError("another bad argument")

    with pytest.raises(TypeError, match="^a bad argument of mine$"):
        Net(3)
    with pytest.raises(TypeError, match="^another bad argument$"):
        Net.__new__(Net)(np.ones(3))
    with pytest.raises(TypeError, match="unexpected keyword argument 'b'"):
        answers(lambda a: dict(a=1)["a"] + (lambda c: c)(b=2))(1)


def test_names_of_modules_that_python_asks_for_are_not_advised_on() -> None:
    for module in (tg, nn, tg.optim, tg.functional):
        with pytest.raises(AttributeError, match="^__path_of_nothing__$"):
            getattr(module, "__path_of_nothing__")


def test_an_optimizer_of_ones_own_may_have_a_learning_rate() -> None:
    class Own(optim.SGD):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr=lr)
            self.lr = lr

    assert Own(nn.Linear(1, 1).parameters(), 0.5).lr == 0.5


def test_a_warning_is_given_where_code_has_no_module() -> None:
    """As in ``exec(text, {...})``."""
    with pytest.warns(UserWarning, match="its gradient is lost"):
        exec("float(t)", {"t": tg.Tensor(1.0, requires_grad=True)})


def test_a_plateau_takes_nan_for_no_better() -> None:
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0)
    for value in (tg.Tensor(1.0), np.float32(np.nan), 2):
        schedule.step(value)
    assert (schedule.best, optimizer.param_groups[0]["lr"]) == (1.0, pytest.approx(0.01))
