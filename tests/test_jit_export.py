"""An exported step: the same bits as the training would have gone on with, from NumPy alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special

import tinygrad_mlp as tg
from tinygrad_mlp import RecordingError, Tensor, jit, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.rules.table import RULES, constant

Array = np.ndarray[Any, Any]

FRESH = """
import sys
sys.modules.update(tinygrad_mlp=None, scipy=None, pandas=None)
import numpy as np
import {name} as program
data, losses = np.load("data.npz"), []
for x, y in zip(data["x"], data["y"]):
    losses.append(program.{name}(x, y)[0])
    if {scheduled}:
        program.schedule()
np.savez("result.npz", *losses, *(getattr(program, key) for key in {parameters}))
"""


def run_fresh(folder: Path, name: str, x: Array, y: Array, parameters: list[str], scheduled: bool) -> list[bytes]:
    """Run the exported function on batches in a fresh interpreter; return its losses, then the parameters."""
    np.savez(folder / "data.npz", x=x, y=y)
    code = FRESH.format(name=name, parameters=parameters, scheduled=scheduled)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [a.tobytes() for a in np.load(folder / "result.npz").values()]


def make(optimizer: Callable[..., Any], **options: Any) -> tuple[Any, Any, Any]:
    model = nn.Sequential(nn.Linear(6, 8, rng=0), nn.GELU(), nn.Dropout(0.3, rng=1), nn.Linear(8, 3, rng=2))
    opt = optimizer(model.parameters(), **options)

    def train(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return model, opt, train


def batches(n: int, rows: int = 5) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, rows, 6)).astype(np.float32), rng.integers(0, 3, (n, rows))


PARAMETERS = ["layer0_weight", "layer0_bias", "layer3_weight", "layer3_bias"]
CASES = {
    "SGD": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, None),
    "Adam": (optim.Adam, {"lr": 0.01}, None),
    "Adam, cosine": (optim.Adam, {"lr": 0.01}, lambda opt: optim.CosineAnnealingLR(opt, T_max=300, warmup=10)),
    "AdamW, one cycle": (optim.AdamW, {"lr": 0.01}, lambda opt: optim.OneCycleLR(opt, 0.02, total_steps=300)),
}


@pytest.mark.parametrize("case", CASES)
def test_200_steps_with_dropout(case: str, tmp_path: Path) -> None:
    optimizer, options, scheduled = CASES[case]
    (model, slow, eager), (_, fast, function) = make(optimizer, **options), make(optimizer, **options)
    schedules = [] if scheduled is None else [scheduled(slow), scheduled(fast)]
    step, (x, y), losses = jit(function), batches(207), []
    for i in range(207):
        if i == 7:
            step.export(tmp_path / "train.py", schedule=schedules[1] if schedules else None)
        losses.append(eager(Tensor(x[i]), Tensor(y[i])))
        if i < 7:
            step(x[i], y[i])
        for schedule in schedules:
            schedule.step()
    found = run_fresh(tmp_path, "train", x[7:], y[7:], PARAMETERS, scheduled is not None)
    assert found == [t._data.tobytes() for t in [*losses[7:], *model.parameters()]]


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_gradients_that_a_step_adds_to_are_arrays_of_the_module(optimizer: Any, tmp_path: Path) -> None:
    (model, slow, _), (other, opt, _) = make(optimizer, lr=0.01), make(optimizer, lr=0.01)

    def training(model: Any, opt: Any) -> Any:
        def train(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss

        return train

    step, eager, (x, y) = jit(training(other, opt)), training(model, slow), batches(12)
    losses = [eager(Tensor(a), Tensor(b)) for a, b in zip(x, y, strict=True)]
    for i in range(5):
        step(x[i], y[i])
    step.export(tmp_path / "train.py")
    names = [*PARAMETERS, "layer0_weight_grad"]
    found = run_fresh(tmp_path, "train", x[5:], y[5:], names, False)
    assert found == [t._data.tobytes() for t in [*losses[5:], *model.parameters(), model[0].weight.grad]]


def test_a_step_that_takes_gradients_away_is_not_exported(tmp_path: Path) -> None:
    w = Tensor(np.ones(3), requires_grad=True, name="w")

    def train(x: Any) -> Any:
        (w * x).sum().backward()
        total = w.grad * 2
        w.grad = None
        return total

    step = jit(train)
    for _ in range(4):
        w.grad = Tensor(np.ones(3))
        step(np.ones(3))
    with pytest.raises(tg.RecordingError, match="finds a gradient of w and gives it back, or away"):
        step.export(tmp_path / "train.py")


def load(path: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    return names


def test_every_recorded_shape_is_exported_and_others_are_refused_by_name(tmp_path: Path) -> None:
    model, _, train = make(optim.Adam, lr=0.01)
    step = jit(train)
    for rows in (8, 3, 8, 8, 3, 3):
        step(*(a[0] for a in batches(1, rows)))
    step.export(tmp_path / "train.py")
    module = load(tmp_path / "train.py")
    for rows in (8, 3, 3, 8):
        x, y = (a[0] for a in batches(1, rows))
        assert module["train"](x, y)[0].tobytes() == train(Tensor(x), Tensor(y))._data.tobytes()
    assert module["layer0_weight"].tobytes() == model[0].weight._data.tobytes()
    x, y = (a[0] for a in batches(1, 4))
    with pytest.raises(ValueError, match=r"train knows arrays of float32\(.*\) or .*got float32\(4, 6\), int64\(4,\)"):
        module["train"](x, y)


def test_shapes_asked_for_by_examples(tmp_path: Path) -> None:
    model, _, train = make(optim.Adam, lr=0.01)
    step = jit(train)
    for _ in range(3):
        step(*(a[0] for a in batches(1, 8)))
    before = [p._data.tobytes() for p in model.parameters()]
    few, many = (tuple(a[0] for a in batches(1, rows)) for rows in (2, 16))
    step.export(tmp_path / "train.py", few, many)
    assert before == [p._data.tobytes() for p in model.parameters()]
    module = load(tmp_path / "train.py")
    for x, y in (few, many, few):
        assert module["train"](x, y)[0].tobytes() == train(Tensor(x), Tensor(y))._data.tobytes()
    with pytest.raises(ValueError, match="train knows"):
        module["train"](*(a[0] for a in batches(1, 8)))


def test_the_learning_rate_is_that_of_now_and_can_be_changed(tmp_path: Path) -> None:
    (_, slow, eager), (_, fast, train) = (make(optim.SGD, lr=0.1) for _ in range(2))
    step, (x, y) = jit(train), batches(9)
    for i in range(4):
        eager(Tensor(x[i]), Tensor(y[i]))
        step(x[i], y[i])
    slow.param_groups[0]["lr"] = fast.param_groups[0]["lr"] = 0.03
    step.export(tmp_path / "train.py")
    module = load(tmp_path / "train.py")
    for i in range(4, 9):
        assert module["train"](x[i], y[i])[0].tobytes() == eager(Tensor(x[i]), Tensor(y[i]))._data.tobytes()
        slow.param_groups[0]["lr"] = module["options"]["lr"] = 0.05


OFFSET, POWERS = 0.25, [1, 2]


def shifted(x: Any) -> Any:
    return x + OFFSET


@tg.primitive
def of_helpers(x: Any, *, places: int = 2) -> Any:
    return np.round(shifted(np.sqrt(np.abs(x))), places)


of_lambdas = tg.primitive(lambda x: (lambda y: y * y)(x) - 1)


@tg.primitive
def of_lists(x: Any) -> Any:
    return x + POWERS[1]


of_twins = tg.primitive(lambda x: x + 1), tg.primitive(lambda x: x + 2), tg.primitive(lambda x: x - 1)  # fmt: skip
of_no_file = tg.primitive(eval("lambda x: x * 2"))


@tg.primitive
def of_notes(x: Any) -> Any:
    half: float = 0.5
    return x * half


@pytest.fixture
def own_ops() -> Iterator[None]:
    """Enter the ops above in the table for the time of a test."""
    ops = (of_helpers, of_lambdas, of_lists, *of_twins, of_no_file, of_notes)
    for op in ops:
        constant(op)
    yield
    for op in ops:
        del RULES[op]


@pytest.mark.usefixtures("own_ops")
def test_functions_are_exported_with_what_they_call(tmp_path: Path) -> None:
    step, x = jit(lambda x: of_lambdas(of_helpers(np.cumsum(x, axis=0), places=1))), np.array([[0.3, -2.0], [4.0, 1.0]])
    for _ in range(3):
        result = step(x)
    step.export(tmp_path / "step.py")
    module = load(tmp_path / "step.py")
    assert module["step"](x)[0].tobytes() == result._data.tobytes()
    assert "tinygrad_mlp import" not in (tmp_path / "step.py").read_text(encoding="utf-8")


@pytest.mark.usefixtures("own_ops")
def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    step = jit(lambda x: of_lists(x))
    for _ in range(3):
        step(np.ones(2))
    with pytest.raises(RecordingError, match="of_lists cannot be exported: it needs POWERS"):
        step.export(tmp_path / "step.py")


def exported(function: Any, path: Path, *arguments: Any) -> Any:
    """Return what a function gives, once it is a program, and what the module gives that it is exported as."""
    step = jit(function)
    for _ in range(3):
        result = step(*arguments)
    step.export(path)
    return result._data, load(path)["step"](*[a for a in arguments if isinstance(a, np.ndarray)])[0]


@pytest.mark.usefixtures("own_ops")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: of_twins[2](of_twins[1](of_twins[0](x) * 3) * 5),
        lambda x: of_notes(x),
        lambda x: scipy.special.erf(x) + np.exp(x),
        lambda x, rate=0.25: x * rate,
    ],
    ids=["lambdas in one line", "types", "a function of another library", "a default"],
)
def test_what_a_step_calls_stands_in_the_module(function: Any, tmp_path: Path) -> None:
    ours, theirs = exported(function, tmp_path / "step.py", np.array([0.3, -2.0]))
    assert ours.tobytes() == theirs.tobytes()


def test_a_float_is_exported_as_it_was(tmp_path: Path) -> None:
    ours, theirs = exported(lambda x, a, b: a * x - b, tmp_path / "step.py", np.arange(3.0), 0.5, 0.25)
    assert ours.tobytes() == theirs.tobytes()
    step = jit(lambda x, a, b: a * x - b)
    for a in (0.5, 1.5, 2.5, 3.5):
        last = step(np.arange(3.0), a, 0.25)
    step.export(tmp_path / "other.py")
    assert load(tmp_path / "other.py")["step"](np.arange(3.0))[0].tobytes() == last._data.tobytes()


@pytest.mark.usefixtures("own_ops")
def test_a_function_without_a_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"cannot be exported: its source is not to be found"):
        exported(lambda x: of_no_file(x), tmp_path / "step.py", np.ones(2))


def test_programs_of_one_module_share_the_gradients_that_one_adds_to(tmp_path: Path) -> None:
    def build() -> Any:
        p = Tensor([1.0], requires_grad=True, name="p")
        opt = optim.SGD([p], lr=0.01)

        def train(x: Any) -> Any:
            if x.shape[0] == 3:
                opt.zero_grad()
            loss = (p * p * x.sum()).sum()
            loss.backward()
            opt.step()
            return loss

        return train

    eager, step = build(), jit(build())
    sizes = [3, 2, 2, 3, 2, 3, 2, 2, 3, 3, 2, 2]
    expected = [eager(Tensor(np.ones(n))).item() for n in [*sizes, *sizes]]
    assert [step(np.ones(n)).item() for n in sizes] == expected[: len(sizes)]
    step.export(tmp_path / "train.py")
    module = load(tmp_path / "train.py")
    assert [module["train"](np.ones(n))[0].item() for n in sizes] == expected[len(sizes) :]
