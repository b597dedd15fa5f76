"""trace: the chain rule as text, each line with the numbers that a backward pass gives, and the rule that made them."""

from __future__ import annotations

import linecache
import re

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn
from tinygrad_mlp.rules.table import RULES
from tinygrad_mlp.tools.chain import rule_text


def rows(trace):
    """Return the table as lists of cells, which at least two spaces part."""
    return [re.split(r" {2,}", line.strip()) for line in repr(trace).splitlines()]


def test_rosenbrock():
    x, y = tg.Tensor(-0.5, True, "x"), tg.Tensor(2.0, True, "y")
    loss = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    loss.name = "loss"
    table = rows(tg.trace(loss))
    assert [row[:-1] for row in table if " gets" in row[0]] == [
        ["t2 gets", "1", "g"], ["t6 gets", "1", "g"], ["t5 gets", "100", "g * x"], ["t4 gets", "350", "g * (2 * x)"],
        ["y gets", "350", "g"], ["t3 gets", "-350", "-g"], ["x gets", "350", "g * (2 * x)"],
        ["t1 gets", "3", "g * (2 * x)"], ["x gets", "-3", "-g"],
    ]  # fmt: skip
    assert table[1] == ["loss = add(x=t2, y=t6)", "308.5", "1"]
    assert [row for row in table if row[0] in ("x", "y")] == [["x", "-0.5", "347"], ["y", "2", "350"]]
    assert x.grad is None
    loss.backward()  # the graph is still there
    assert (x.grad.item(), y.grad.item()) == (347.0, 350.0)


def test_the_parts_add_up_to_the_gradients():
    """Of numbers, whose every digit is shown but the last ones."""
    x, y = tg.Tensor(0.7, True, "x"), tg.Tensor(1.3, True, "y")
    table = rows(tg.trace(np.tanh(x * y) * np.exp(x) / (x + y) + F.softplus(x)))
    total = {}
    for row in table[1:]:
        if row[0].endswith(" gets"):
            name = row[0].removesuffix(" gets")
            total[name] = total.get(name, 0.0) + float(row[1])
    shown = {row[0].split(" = ")[0]: float(row[2]) for row in table[1:] if not row[0].endswith(" gets")}
    assert set(total) < set(shown)
    for name, gradient in total.items():
        assert abs(gradient - shown[name]) <= 1e-3 * (1 + abs(gradient)), name


def test_a_network_with_broadcasting_options_and_arrays_from_outside():
    model = nn.MLP([5, 3], rng=0)
    text = repr(tg.trace(F.cross_entropy(model(np.zeros((4, 5), np.float32)), np.array([0, 1, 2, 0]))))
    assert re.search(r"t1 = linear\(x=float32\(4, 5\), 0\.weight, 0\.bias\) ", text)
    assert re.search(r"0\.bias gets +\[.*\] +g, summed to \(3,\) +rules/linalg\.py:\d+", text)
    assert re.search(r"t2 = log_softmax\(x=t1, axis=1\) +\(4, 3\) norm \S+ +\(4, 3\) norm ", text)
    assert re.search(r"gather\(x=t2, labels=\[0, 1, 2, 0\]\)", text) and "keepdims=F" not in text
    assert model[0].weight.grad is None


def test_hooks_are_told():
    x = tg.Tensor(2.0, True, "x")
    y = x * x
    y.register_hook(lambda g: g * 10)
    table = rows(tg.trace(y + 1))
    assert ["t1 = multiply(x, y=x)", "4", "10", "what its hook made of it"] in table
    assert [row[1] for row in table if row[0] == "x gets"] == ["20", "20"]


def test_names_are_given_once():
    a, b, c = tg.Tensor(1.0, True, "w"), tg.Tensor(2.0, True, "w"), tg.Tensor(3.0, True, "leaf1")
    table = rows(tg.trace(a * b * c))
    assert [row[0] for row in table[-3:]] == ["w", "leaf2", "leaf1"]


def test_what_reaches_nothing():
    x = tg.Tensor(2.0, True, "x")
    text = repr(tg.trace(F.bce(x * 0.1, x.detach() * 0.2) + 1))
    assert "bce(p=t1, t=0.4)" in text


def test_a_rule_of_ones_own_is_shown_as_it_stands():
    double = tg.primitive(lambda x: 2 * x)
    tg.vjp(double, lambda g, out, x: g + g)
    x = tg.Tensor(1.0, True, "x")
    assert rows(tg.trace(double(x)))[2][1:3] == ["2", "g + g"]
    assert rows(tg.trace(double(x)))[2][3].startswith("test_chain.py:")


def test_lambdas_in_one_line_are_told_apart():
    a, b, c = (lambda g, out, x: g * 2), (lambda g, out, x: g * 3), (lambda g, out, x: g * x)
    assert [rule_text(f)[0] for f in (a, b, c)] == ["g * 2", "g * 3", "g * x"]
    assert rule_text(eval("lambda g, out, x: g"))[0] == "<lambda>(g, out, x, ...)"  # which has no file


def test_a_cell_with_magics_has_no_text(monkeypatch):
    monkeypatch.setitem(linecache.cache, "cell", (1, None, ["%time\n", "f = lambda g, out, x: 5 * g\n"], "cell"))
    names = {}
    exec(compile("\nf = lambda g, out, x: 5 * g\n", "cell", "exec"), names)
    assert rule_text(names["f"])[0] == "<lambda>(g, out, x, ...)"


def test_every_rule_of_the_table_has_its_text():
    for rule in (rule for rule in RULES.values() if rule.kind == "vjp"):
        rules = [rule.vjps[1]] if rule.vjps.each else [r for r in rule.vjps.values() if r is not None]
        for text, where in map(rule_text, rules):
            assert text and "<lambda>" not in text and "\n" not in text
            assert re.search(r"\.py:\d+$", where)


def test_html_is_escaped():
    x = tg.Tensor(2.0, True, "<script>")
    assert "&lt;script&gt;" in tg.trace(x * 2)._repr_html_() and "<script>" not in tg.trace(x * 2)._repr_html_()


def _released():
    loss = tg.Tensor(1.0, True) * 2
    loss.backward()
    return loss


@pytest.mark.parametrize(
    ("misuse", "error", "message"),
    [
        (lambda: tg.trace(3.0), TypeError, r"trace takes a Tensor, got 3\.0; of a function f, trace\(f\(x\)\)"),
        (
            lambda: tg.trace(tg.Tensor(1.0)),
            tg.GraphError,
            r"this Tensor of shape \(\) has no graph, .*; trace a result of",
        ),
        (
            lambda: tg.trace(tg.Tensor([1.0, 2.0], True) * 2),
            tg.GraphError,
            r"trace shows.*one number, got shape \(2,\)",
        ),
        (lambda: tg.trace(_released()), tg.GraphError, "released at multiply"),
    ],
)
def test_errors(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
