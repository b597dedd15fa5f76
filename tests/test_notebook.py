"""What notebooks show: HTML that is escaped and needs no script, a bar, and errors in the user's own lines."""

from __future__ import annotations

import copy
import re
import sys
import traceback
import types

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, notebook, optim

X, LABELS = np.ones((4, 5), np.float32), np.array([0, 1, 2, 0])


class Odd(optim.SGD):
    """An optimiser with a name that HTML would take for a tag."""


Odd.__name__ = "<i>Odd"


def shown():
    """Return all that has HTML of its own, by name, with names that would be tags."""
    model = nn.MLP([5, 8, 3], rng=0)
    opt = Odd(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.CosineAnnealingLR(opt, T_max=20, warmup=4)
    step = tg.jit(lambda x: model(x).sum())
    for _ in range(3):
        step(X)
    w = tg.Tensor([1.0, 2.0], True, "<u>&")
    loss = (w * w).sum()
    made = w * 2
    loss.backward()
    return {
        "tensor": w, "result": made, "optimizer": opt, "schedule": schedule, "program": step,
        "report": tg.gradcheck(np.sum, w), "trace": tg.trace(made.sum()), "summary": tg.summary(model, 5),
    }  # fmt: skip


def test_all_is_escaped_and_runs_nothing():
    for name, thing in shown().items():
        page = thing._repr_html_()
        assert "<script" not in page and "http" not in page and "<i>" not in page and "<u>" not in page, name
        opened = re.findall(r"<(?!br|polyline|circle)(\w+)[^>]*>", page)
        assert sorted(opened) == sorted(re.findall(r"</(\w+)>", page)), name


def test_a_tensor_and_its_gradient():
    things = shown()
    page = things["tensor"]._repr_html_()
    assert "&lt;u&gt;&amp;, (2,), float64, requires grad" in page
    assert "values<pre>[1., 2.]</pre>" in page and "gradient<pre>[2., 4.]</pre>" in page
    assert "(2,), float64, made by multiply" in things["result"]._repr_html_()


def test_an_optimizer():
    model = nn.MLP([5, 3], rng=0)
    groups = [{"params": [model[0].weight]}, {"params": [model[0].bias], "lr": 0.5}]
    opt = optim.SGD(groups, lr=0.1, momentum=0.9)
    options = "momentum=0.9, dampening=0, weight_decay=0, nesterov=False"
    assert repr(opt).splitlines() == [
        f"SGD(lr=0.1, {options}): 1 parameters, 15 numbers", f"SGD(lr=0.5, {options}): 1 parameters, 3 numbers",
    ]  # fmt: skip
    assert "no step taken yet" in opt._repr_html_()
    F.cross_entropy(model(X), LABELS).backward()
    opt.step()
    page = opt._repr_html_()
    assert "remembers momentum_buffer of 2 parameters" in page
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells[:2] == ["0", "0.1"] and cells[len(cells) // 2 :][:2] == ["1", "0.5"]


@pytest.mark.parametrize(
    ("make", "text", "has_curve"),
    [
        (lambda opt: optim.CosineAnnealingLR(opt, T_max=20), "CosineAnnealingLR(T_max=20, eta_min=0, warmup=0)", True),
        (lambda opt: optim.CosineAnnealingLR(opt), "CosineAnnealingLR(eta_min=0, warmup=0)", False),
        (lambda opt: optim.StepLR(opt, 3), "StepLR(step_size=3, gamma=0.1)", True),
        (lambda opt: optim.ExponentialLR(opt, 0.9), "ExponentialLR(gamma=0.9)", True),
        (lambda opt: optim.ReduceLROnPlateau(opt), "ReduceLROnPlateau(patience=10", False),
        (lambda opt: optim.LRScheduler(opt), "LRScheduler()", False),
    ],
)
def test_a_schedule(make, text, has_curve):
    opt = optim.SGD([tg.Tensor([1.0], True)], lr=0.5)
    schedule = make(opt)
    before = copy.deepcopy(schedule.state_dict()), opt.param_groups[0]["lr"]
    page = schedule._repr_html_()
    assert repr(schedule).startswith(text) and repr(schedule).endswith(f"step 0, lr {opt.param_groups[0]['lr']:.4g}")
    assert ("<svg" in page) == has_curve
    assert (schedule.state_dict(), opt.param_groups[0]["lr"]) == before


def test_the_curve_goes_through_the_rates_and_marks_the_step():
    opt = optim.SGD([tg.Tensor([1.0], True)], lr=0.5)
    schedule = optim.CosineAnnealingLR(opt, T_max=10)
    rates = []
    for _ in range(10):
        rates.append(opt.param_groups[0]["lr"])
        schedule.step()
    page = schedule._repr_html_()
    heights = [float(p.split(",")[1]) for p in re.search(r'points="([^"]*)"', page)[1].split()]
    np.testing.assert_allclose(heights, [4 + 72 * (1 - lr / 0.5) for lr in [*rates, 0.0]], atol=0.06)
    assert 'cx="316.0" cy="76.0"' in page and "steps 0 to 10" in page


def test_a_program_that_has_not_run():
    assert tg.jit(lambda x: x)._repr_html_().startswith("jit(&lt;lambda&gt;): has not run yet")


class _Display(types.ModuleType):
    """Stands for IPython.display: it keeps what is displayed."""

    def __init__(self):
        super().__init__("IPython.display")
        self.pages = []
        self.HTML = str

    def display(self, page, display_id):
        self.pages.append(page)
        return types.SimpleNamespace(update=self.pages.append)


def test_fit_shows_a_bar_in_a_notebook(monkeypatch, capsys):
    display = _Display()
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook, "runs", lambda: True)
    monkeypatch.setattr(notebook.time, "monotonic", iter(np.arange(1000.0)).__next__)
    tg.fit(nn.MLP([5, 3], rng=0), np.tile(X, (5, 1)), np.tile(LABELS, 5), epochs=2, batch_size=4)
    values = [int(re.search(r'value="(\d+)" max="10"', page)[1]) for page in display.pages[:-1]]
    assert values == list(range(11)) and display.pages[-1] == ""
    assert re.search(r"100% epoch 2 of 2, loss \d", display.pages[-2])
    assert capsys.readouterr().out.count("\n") == 3


def test_nothing_is_a_notebook_here(capsys):
    assert not notebook.runs()


class _Shell:
    """Stands for IPython's shell: it formats as Python does."""

    def __init__(self):
        self.InteractiveTB = self

    def structured_traceback(self, kind, error, tb, offset, context):
        return traceback.format_exception(kind, error, tb)


def _shape():
    nn.MLP([5, 3], rng=0)(np.ones((4, 6), np.float32))


def _explained():
    np.linalg.inv(tg.Tensor(np.ones((2, 2)), True))


def _option():
    tg.fit(nn.MLP([5, 3], rng=0), X, LABELS, epochs=0)


@pytest.mark.parametrize("mistake", [_shape, _explained, _option])
def test_an_error_is_shown_in_the_users_own_lines(monkeypatch, mistake):
    shell = types.ModuleType("IPython")
    shell.get_ipython = _Shell
    monkeypatch.setitem(sys.modules, "IPython", shell)
    with pytest.raises(Exception) as caught:
        mistake()
    error, cause, tb = caught.value, caught.value.__cause__, caught.value.__traceback__
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    lines = "".join(error._render_traceback_()).splitlines()
    assert [line for line in lines if line.startswith("  File")][-1].endswith(f"in {mistake.__name__}")
    assert lines[-1].endswith(str(error)) and len(lines) < 12
    assert "/tinygrad_mlp/" not in re.sub(r"/tests/.*", "", "\n".join(lines)) and "direct cause" not in "\n".join(lines)
    assert error.__cause__ is cause and error.__traceback__ is tb  # for %debug


def test_a_real_notebook(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [
        "import numpy as np, tinygrad_mlp as tg\nmodel = tg.nn.MLP([5, 3], rng=0)\nx = np.ones((4, 5), np.float32)",
        "tg.fit(model, np.tile(x, (9, 1)), np.zeros(36, int), epochs=2)",
        "model[0].weight",
        "tg.draw(model, x)",
        "def step(x):\n    return model(x)\nstep(x[:, :3])",
    ]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(page, allow_errors=True, kernel_name="python3", timeout=60).execute()
    _, fitted, weight, drawing, error = ([dict(o) for o in cell.outputs] for cell in page.cells)
    assert fitted[0]["output_type"] == "display_data" and fitted[1]["output_type"] == "stream"
    assert "<table" in fitted[-1]["data"]["text/html"] and "0.weight" in weight[0]["data"]["text/html"]
    assert {"image/svg+xml", "text/markdown"} & set(drawing[0]["data"])
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error[0]["traceback"]))
    assert (
        len(text.splitlines()) <= 12 and "----> 2     return model(x)" in text and "expected 5 features, got 3" in text
    )
