"""draw: what stands in the picture, in which frame, under which name; and that both languages get it right."""

from __future__ import annotations

import html
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn
from tinygrad_mlp.core.tracer import IDLE, mode
from tinygrad_mlp.tools import languages

X, LABELS = np.zeros((4, 5), np.float32), np.array([0, 1, 2, 0])


class Picture:
    """A drawing read back from its text: the lines of each node, its kind, the frames around it, and the edges."""

    def __init__(self, drawing: tg.drawing.Drawing) -> None:
        dot, mermaid = _read_dot(drawing.dot), _read_mermaid(drawing.mermaid)
        assert dot == mermaid
        self.nodes, self.kinds, self.frames, edges = dot
        self.edges = [(self.nodes[a][0], self.nodes[b][0]) for a, b in edges]
        self.ids = edges

    def frame_of(self, name: str) -> list[str]:
        (node,) = (n for n, lines in self.nodes.items() if lines[0] == name)
        return self.frames[node]

    def names(self) -> list[str]:
        return [lines[0] for lines in self.nodes.values()]

    def __contains__(self, lines: tuple[str, ...]) -> bool:
        return list(lines) in self.nodes.values()


def _read(text, node, frame, end, edge, lines_of, kinds):
    nodes, kind_of, frames, edges, stack = {}, {}, {}, [], []
    for line in text:
        if m := re.fullmatch(node, line):
            name = m["name"]
            assert name not in nodes
            nodes[name], kind_of[name], frames[name] = lines_of(m["text"]), kinds[m["kind"]], list(stack)
        elif m := re.fullmatch(frame, line):
            stack.extend(lines_of(m["text"]))
        elif line.strip() == end:
            stack.pop()
        else:
            m = re.fullmatch(edge, line)
            assert m, line
            assert m[1] in nodes and m[2] in nodes
            edges.append((m[1], m[2]))
    assert not stack
    return nodes, kind_of, frames, edges


def _read_dot(text):
    """Read DOT by its rules: Graphviz reads tags, entities and then escapes in labels between < and >."""
    lines = text.splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}" and text.endswith("}\n")
    label = r"label=<(?P<text>.*)>"
    return _read(
        lines[5:-1],
        rf"\s+(?P<name>n\d+) \[{label} (?P<kind>.*) fillcolor=\"#\w+\" color=\"#\w+\"(?: penwidth=2.5)?\]",
        rf"\s+subgraph cluster_m\d+ {{ {label}",
        "}",
        r"  (n\d+) -> (n\d+)",
        _read_label,
        {
            'style="rounded,filled"': "op", "style=filled": "parameter", 'style="filled,dashed"': "state",
            "shape=note style=filled": "input", "peripheries=2 style=filled": "module",
        },
    )  # fmt: skip


def _read_label(text):
    """Return the lines of a label, and the rows of a table as lines."""
    text = re.sub(r"</TD><TD[^>]*>", " ", text.replace("</TR>", "<BR/>"))
    text = re.sub(r"<BR/?>$", "", re.sub(r"</?(B|TABLE|TR|TD|FONT)( [^>]*)?>", "", text).replace("</TABLE>", ""))
    text = re.sub(r'<BR ALIGN="left"/>', " ", text)
    return [_unescaped(part) for part in text.split("<BR/>")]


def _unescaped(text):
    return re.sub(r"\\(.)", r"\1", html.unescape(text)).replace("\xa0", " ")


def _read_mermaid(text):
    lines = [line for line in text.splitlines() if not re.match("  class(Def)? ", line)]
    assert lines[0] == "flowchart TD" and text.endswith("\n")
    quoted = r'"(?P<text>[^"`<>&]*(?:<br>[^"`<>&]*)*)"'
    nodes, kinds, *rest = _read(
        lines[1:],
        rf"\s+(?P<name>n\d+)(?P<kind>\(|\[\(|\[/|\[\[){quoted}(?:\)|\)\]|/\]|\]\])",
        rf"\s+subgraph m\d+\[{quoted}\]",
        "end",
        r"  (n\d+) --> (n\d+)",
        lambda s: [re.sub(r"#(\d+);", lambda m: chr(int(m[1])), part) for part in s.split("<br>")],
        {"(": "op", "[(": "parameter", "[/": "input", "[[": "module"},
    )
    classes = {n: m[2] for m in re.finditer(r"^  class (\S+) (\w+)$", text, re.MULTILINE) for n in m[1].split(",")}
    assert all(classes[n] in (kind, "state") for n, kind in kinds.items())
    return nodes, classes, *rest


def is_acyclic(edges: list[tuple[str, str]]) -> bool:
    remaining = set(edges)
    while remaining:
        targets = {b for _, b in remaining}
        fewer = {(a, b) for a, b in remaining if a in targets}
        if fewer == remaining:
            return False
        remaining = fewer
    return True


class Own(nn.Module):
    """A module with parameters of its own and a module inside; an op without parameters stands between its ops."""

    def __init__(self) -> None:
        self.w = nn.Parameter(np.ones((5, 5), np.float32))
        self.b = nn.Parameter(np.zeros(5, np.float32))
        self.norm = nn.LayerNorm(5)

    def forward(self, x):
        return self.norm(np.tanh(x @ self.w.T) + self.b) + x


@pytest.fixture
def model():
    return nn.MLP([5, 8, 3], dropout=0.5, rng=0)


def test_step_of_an_mlp(model):
    picture = Picture(tg.draw(F.cross_entropy(model(X), LABELS)))
    assert picture.names() == [
        "input", "0.weight", "0.bias", "linear", "relu", "multiply(·, 2)", "input", "select",
        "3.weight", "3.bias", "linear", "log_softmax(·, 1)", "input", "gather", "negative", "mean",
    ]  # fmt: skip
    for lines in [("0.weight", "(8, 5)"), ("input", "(4, 8) bool"), ("input", "(4,) int64"), ("mean", "()")]:
        assert lines in picture
    assert picture.edges == [
        ("input", "linear"), ("0.weight", "linear"), ("0.bias", "linear"), ("linear", "relu"),
        ("relu", "multiply(·, 2)"), ("input", "select"), ("multiply(·, 2)", "select"), ("select", "linear"),
        ("3.weight", "linear"), ("3.bias", "linear"), ("linear", "log_softmax(·, 1)"),
        ("log_softmax(·, 1)", "gather"), ("input", "gather"), ("gather", "negative"), ("negative", "mean"),
    ]  # fmt: skip
    assert picture.frame_of("0.weight") == ["0"] and picture.frame_of("3.bias") == ["3"]
    assert picture.frame_of("relu") == picture.frame_of("mean") == []
    assert [picture.frames[n] for n, lines in picture.nodes.items() if lines[0] == "linear"] == [["0"], ["3"]]


def test_step_that_is_watched(model):
    picture = Picture(tg.draw(lambda x, labels: F.cross_entropy(model(x), labels), X, LABELS))
    assert picture.frame_of("0.bias") == ["MLP", "0: Linear"]
    assert picture.frame_of("relu") == ["MLP", "1: ReLU"]
    assert picture.frame_of("greater_equal") == picture.frame_of("select") == ["MLP", "2: Dropout"]
    assert picture.frame_of("mean") == []
    assert [k for k, f in zip(picture.kinds.values(), picture.frames.values(), strict=True) if not f] == [
        "input", "op", "input", "op", "op", "op",
    ]  # fmt: skip


def test_folded(model):
    by_name = Picture(tg.draw(model(X), fold=True))
    assert ("0: linear", "weight (8, 5)", "bias (8,)", "→ (4, 8)") in by_name
    assert by_name.names() == ["input", "0: linear", "relu", "multiply(·, 2)", "input", "select", "3: linear"]
    watched = Picture(tg.draw(model, X, fold=True))
    assert watched.nodes == {
        "n0": ["x", "(4, 5)"],
        "n1": ["0: Linear", "weight (8, 5)", "bias (8,)", "→ (4, 8)"],
        "n2": ["1: ReLU", "→ (4, 8)"],
        "n3": ["2: Dropout", "→ (4, 8)"],
        "n4": ["3: Linear", "weight (3, 8)", "bias (3,)", "→ (4, 3)"],
    }
    assert watched.ids == [("n0", "n1"), ("n1", "n2"), ("n2", "n3"), ("n3", "n4")]
    assert [watched.frames[n] for n in watched.nodes] == [[], *[["MLP"]] * 4]


def test_module_with_parameters_of_its_own():
    own = nn.Sequential(Own())
    watched = Picture(tg.draw(own, X))
    assert watched.frame_of("0.norm.weight") == ["Sequential", "0: Own", "0.norm: LayerNorm"]
    assert watched.frame_of("transpose") == watched.frame_of("tanh") == ["Sequential", "0: Own"]
    folded = Picture(tg.draw(own, X, fold=True))
    assert folded.names() == ["0.w", "transpose", "matmul", "tanh", "0.b", "add", "0.norm: LayerNorm", "add", "x"]
    by_name = Picture(tg.draw(own(X)))
    assert by_name.frame_of("0.w") == by_name.frame_of("transpose") == ["0"]
    assert by_name.frame_of("matmul") == by_name.frame_of("tanh") == []  # they read no parameter, and nobody watched
    assert by_name.frame_of("0.norm.bias") == ["0.norm"]


def test_modules_called_twice_have_two_frames_and_their_parameters_stand_outside():
    layer = nn.Linear(5, 5, rng=0)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    for drawing in (tg.draw(model, X), tg.draw(model(X))):
        picture = Picture(drawing)
        frames = [f[-1] for n, f in picture.frames.items() if picture.nodes[n][0] == "linear"]
        assert len(frames) == 2 and len(set(frames)) == 1
        assert drawing.mermaid.count(f'["{frames[0]}"]') == 2
        assert frames[0] not in picture.frame_of("2.weight") + picture.frame_of("2.bias")
    folded = Picture(tg.draw(model, X, fold=True))
    assert folded.names() == ["x", "2.weight", "2.bias", "2: Linear", "1: ReLU", "2: Linear"]
    assert folded.edges.count(("2.weight", "2: Linear")) == 2 and is_acyclic(folded.ids)


def test_frozen_parameters_keep_their_names(model):
    model[0].requires_grad_(False)
    picture = Picture(tg.draw(model[2:], model[:2](X)))
    assert "0.weight" not in picture.names()  # no graph leads there
    x = tg.Tensor(X, requires_grad=True, name="x")
    picture = Picture(tg.draw(model, x))
    assert picture.frame_of("0.weight") == ["MLP", "0: Linear"] and picture.frame_of("x") == []
    assert {picture.kinds[n] for n, lines in picture.nodes.items() if lines[0] in ("x", "0.weight")} == {"parameter"}


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x: 0.5 * x, "multiply(0.5, ·)"),
        (lambda x: x * (1 / 3), "multiply(·, 0.333333)"),
        (lambda x: x - np.float64(2), "subtract(·, 2)"),
        (lambda x: x**3, "power(·, 3)"),
        (lambda x: x * x, "multiply"),
        (lambda x: x[1:, None], "getitem(·, 1:, None)"),
        (lambda x: x[::-1, ..., 0], "getitem(·, ::-1, Ellipsis, 0)"),
        (lambda x: x.sum(axis=0), "sum(axis=0)"),
        (lambda x: x.mean(axis=(0, 1), keepdims=True), "mean(axis=(0, 1), keepdims=True)"),
        (lambda x: np.clip(x, None, 3), "clip(·, None, 3)"),
        (lambda x: np.einsum("ij->ji", x), "einsum('ij->ji', ·)"),
        (lambda x: np.concatenate([x, x], axis=1), "concatenate(axis=1)"),
        (lambda x: F.linear(x, x), "linear"),
        (lambda x: x.astype(np.float32), "astype(·, dtype('float32'))"),
    ],
)
def test_ops_with_their_constants(f, name):
    x = tg.Tensor(np.ones((2, 2)), requires_grad=True, name="x")
    assert Picture(tg.draw(f(x))).names() == ["x", name]


def test_each_operand_has_its_edge_and_each_array_one_node():
    x = tg.Tensor(np.ones(2), requires_grad=True)
    data = np.ones(2)
    picture = Picture(tg.draw(x * x + data + tg.Tensor(data) + x.detach()))
    assert picture.names() == ["Tensor", "multiply", "input", "add", "add", "input", "add"]
    assert picture.ids[:2] == [("n0", "n1")] * 2
    assert [b for a, b in picture.ids if a == "n2"] == ["n3", "n4"]


def test_dtypes_that_differ_and_names_of_results():
    w = tg.Tensor(np.ones(2, np.float32), requires_grad=True, name="w")
    hidden = w * np.ones(2)
    hidden.name = "hidden"
    picture = Picture(tg.draw(hidden.sum()))
    assert [*picture.nodes.values()] == [
        ["w", "(2,) float32"], ["input", "(2,)"], ["hidden = multiply", "(2,)"], ["sum", "()"],
    ]  # fmt: skip


@settings(deadline=None)
@given(st.text(max_size=12), st.text(max_size=12))
def test_any_name_is_only_text(name, module):
    t = tg.Tensor([1.0], requires_grad=True, name=f"{module}.{name}")
    drawing = tg.draw(t * t)
    shown = "".join(c if c.isprintable() else " " for c in t.name)
    assert Picture(drawing).names() == [shown, "multiply"]
    assert all(line.isprintable() for text in (drawing.mermaid, drawing.dot) for line in text.split("\n"))


@pytest.mark.parametrize("name", ['"', "\\", "\\N", 'a\\"b', "&lt;", "#quot;", "<b>x</b>", "`a`", "a\nb", "end", "}"])
def test_what_the_languages_give_a_meaning(name):
    drawing = tg.draw(tg.Tensor([1.0], requires_grad=True, name=name) * 2)
    assert Picture(drawing).names()[0] == name.replace("\n", " ")


@pytest.mark.parametrize("name", ["\\", "\\N", "\\G", "&lt;", "a&b", "<b>x</b>", "é‖", " ", "]]>", "-->", '"'])
def test_graphviz_shows_names_as_they_are(name):
    pytest.importorskip("pygraphviz", exc_type=ImportError)
    svg = tg.draw(tg.Tensor([1.0], requires_grad=True, name=name) * 2).svg
    texts = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    assert texts[0].replace("\xa0", " ").strip() == name.strip()


def _chain(length):
    x = tg.Tensor(1.0, requires_grad=True, name="chain.x")
    y = x
    for _ in range(length):
        y = y + x
    return y


def test_a_long_chain_needs_no_recursion():
    assert tg.draw(_chain(10_000)).mermaid.count('("add<br>()")') == 10_000
    assert tg.draw(_chain(5_000), fold=True).mermaid.count('[["chain: add<br>→ ()"]]') == 5_000


def test_the_text_is_the_same_each_time(model):
    step = lambda: F.cross_entropy(model(X), LABELS)
    assert tg.draw(step) == tg.draw(step)
    assert tg.draw(step(), fold=True) == tg.draw(step(), fold=True)
    assert "0x" not in tg.draw(step).dot + tg.draw(step).mermaid


def test_drawing_changes_nothing(model):
    model.eval()
    loss = F.cross_entropy(model(X), LABELS)
    tg.draw(loss)
    tg.draw(model, X)
    assert all(p.grad is None for p in model.parameters())
    loss.backward()
    expected = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    F.cross_entropy(model(X), LABELS).backward()
    for p, g in zip(model.parameters(), expected, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), g)


def test_compiled_functions_are_watched_too(model):
    step = tg.jit(lambda x: model(x).sum())
    for _ in range(3):
        step(X)
    assert Picture(tg.draw(step, X)).frame_of("relu") == ["MLP", "1: ReLU"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_folding_keeps_what_leads_to_what(data):
    """For any graph, whatever the names: no cycle, and a path between two ops outside is one in the folded graph."""
    made = [tg.Tensor(1.0, True, name) for name in ("a.w", "a.b", "b.w", "b.c.w", "x", "y")]
    for i in range(data.draw(st.integers(4, 14))):
        f = data.draw(st.sampled_from([np.transpose, np.multiply, lambda *t: np.einsum(",,->", *t)]))
        count = {np.transpose: 1, np.multiply: 2}.get(f, 3)
        t = f(*(made[data.draw(st.integers(max(0, len(made) - 9), len(made) - 1))] for _ in range(count)))
        t.name = f"t{i}"
        made.append(t)
    output = np.stack(made).sum()
    whole, folded = Picture(tg.draw(output)), Picture(tg.draw(output, fold=True))
    assert is_acyclic(whole.ids) and is_acyclic(folded.ids)
    outside = {name for name in folded.names() if name in whole.names()}
    assert "sum" in outside
    before, after = _reached(whole), _reached(folded)
    for name in outside:
        assert before[name] & outside <= after[name] & outside


def test_an_op_stands_with_the_parameters_that_it_reads_itself():
    w, b, x = (tg.Tensor(2.0, True, name) for name in ("a.w", "a.b", "x"))
    first = w * x
    picture = Picture(tg.draw(np.einsum(",,->", first, np.tanh(first), b), fold=True))
    assert picture.names() == ["a: multiply", "x", "tanh", "a: einsum(',,->', ·, ·, ·)"]
    assert ("a: multiply", "w ()", "→ ()") in picture
    other = tg.Tensor(np.eye(2), True, "b.w") * tg.Tensor(np.eye(2), True, "a.w")
    assert Picture(tg.draw(other, fold=True)).names() == ["b.w", "a.w", "multiply"]


def _reached(picture):
    reached = {name: set() for name in picture.names()}
    for a, b in reversed(picture.edges):  # each edge after those that lead to its start
        reached[a] |= {b} | reached[b]
    return reached


def test_save(model, tmp_path):
    drawing = tg.draw(model, X)
    for suffix, text in [(".mmd", drawing.mermaid), (".dot", drawing.dot), (".md", f"```mermaid\n{drawing}```\n")]:
        drawing.save(tmp_path / f"graph{suffix}")
        assert (tmp_path / f"graph{suffix}").read_text(encoding="utf-8") == text
    assert len(repr(drawing)) < 100


def test_pictures(model, tmp_path):
    pytest.importorskip("pygraphviz", exc_type=ImportError)
    drawing = tg.draw(lambda x: model(x).sum(), X, values=True, grads=True)
    for suffix, begin in [("svg", b"<svg role="), ("png", b"\x89PNG\r\n"), ("pdf", b"%PDF")]:
        drawing.save(tmp_path / f"graph.{suffix}")
        assert (tmp_path / f"graph.{suffix}").read_bytes().startswith(begin)
    assert drawing._repr_mimebundle_()["image/svg+xml"] == drawing.svg
    assert "<title>" not in drawing.svg and "script" not in drawing.svg and "http" not in _without_xmlns(drawing.svg)


def _without_xmlns(svg):
    return re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)


def test_a_notebook_without_graphviz_gets_mermaid_and_of_a_large_graph_a_hint(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    drawing = tg.draw(model, X)
    assert drawing._repr_mimebundle_()["text/markdown"] == f"```mermaid\n{drawing}```\n"
    with pytest.raises(ImportError, match=r"needs pygraphviz.*\.\[draw\]"):
        drawing.svg
    large = tg.draw(_chain(400))._repr_mimebundle_()
    assert list(large) == ["text/plain"] and "401 nodes: use fold=True" in large["text/plain"]


def test_numbers_of_rosenbrock_in_each_node():
    x, y = tg.Tensor(-0.5, True, "x"), tg.Tensor(2.0, True, "y")
    loss = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    loss.name = "loss"
    picture = tg.draw(loss, values=True, grads=True)
    shown = [
        re.sub(r"^\S*?[(/[]+\"|\".*$", "", line.strip()).split("<br>") for line in picture.mermaid.splitlines()[1:10]
    ]
    assert [(row[0], row[2], row[3]) for row in shown] == [
        ("x", "value -0.5", "grad 347"),
        ("subtract(1, ·)", "value 1.5", "grad 3"),
        ("square", "value 2.25", "grad 1"),
        ("square", "value 0.25", "grad -350"),
        ("y", "value 2", "grad 350"),
        ("subtract", "value 1.75", "grad 350"),
        ("square", "value 3.062", "grad 100"),
        ("multiply(100, ·)", "value 306.2", "grad 1"),
        ("loss = add", "value 308.5", "grad 1"),
    ]
    assert "<TD" in picture.dot and "()" not in picture.dot  # the shape of a number is not worth a line
    assert x.grad is None and loss.requires_grad
    loss.backward()
    assert (x.grad.item(), y.grad.item()) == (347.0, 350.0)


def test_numbers_of_many_elements_are_norms_and_say_what_is_not_finite(model):
    x = np.ones((4, 5), np.float32)
    x[0, 1], x[2, 2] = np.nan, np.inf
    with np.errstate(all="ignore"):
        text = tg.draw(lambda x, labels: F.cross_entropy(model.eval()(x), labels), x, LABELS, values=True).mermaid
    norm = f"norm {18**0.5:.4g}, 2 of 20 not finite"
    assert f'"x<br>(4, 5)<br>value {norm}"' in text and "grad" not in text
    weight = np.linalg.norm(model[0].weight.data.astype(np.float64))
    assert f'"0.weight<br>(8, 5)<br>value norm {weight:.4g}"' in text
    assert '"labels<br>(4,) int64<br>value #91;0, 1, 2, 0#93;"' in text


def test_folded_modules_keep_the_numbers_of_their_parameters_and_results(model):
    model.eval()
    loss = lambda x: model(x).sum()
    loss(X).backward()
    (box,) = (
        line for line in tg.draw(loss, X, values=True, grads=True, fold=True).mermaid.splitlines() if "0: L" in line
    )
    norm = np.linalg.norm(model[0].weight.grad.numpy().astype(np.float64))
    assert box.split("<br>")[1:4:2] == ["weight (8, 5)", f"grad norm {norm:.4g}"]
    assert [part for part in box.split("<br>") if part[0] not in "vg"][2:] == ["bias (8,)", "→ (4, 8)"]


def test_gradients_are_those_after_hooks_and_grad_stays_as_it_was():
    x = tg.Tensor([1.0, 2.0], True, "x")
    (x * x).sum().backward()
    before = x.grad
    y = x * 3
    y.register_hook(lambda g: g * 10)
    text = tg.draw(y.sum(), grads=True).mermaid
    assert '"x<br>(2,)<br>grad #91;30, 30#93;"' in text and "multiply(·, 3)<br>(2,)<br>grad #91;10, 10#93;" in text
    assert x.grad is before and before.numpy().tolist() == [2.0, 4.0]


def _trained(optimizer):
    model = nn.MLP([5, 8, 3], rng=0)
    opt = optimizer(model.parameters())

    @tg.jit
    def step(x, labels):
        loss = F.cross_entropy(model(x), labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    for _ in range(4):
        step(X, LABELS)
    return step


def test_a_compiled_step():
    step = _trained(lambda params: tg.optim.SGD(params, lr=0.1, momentum=0.9))
    picture = Picture(tg.draw(step))
    assert {frame[0] for frame in picture.frames.values() if frame} == {"forward", "backward", "update"}
    assert picture.frame_of("0.weight, new") == ["update", "0.weight"] and picture.frame_of("0.weight") == []
    kinds = {lines[0]: picture.kinds[n] for n, lines in picture.nodes.items()}
    assert kinds["0.weight"] == kinds["2.bias, new"] == "parameter" and kinds["x"] == kinds["labels"] == "input"
    assert kinds["0.weight.momentum_buffer"] == "state" and kinds["maximum(·, 0)"] == "op"
    assert [a for a, b in picture.edges if b == "0.weight, new"] == ["subtract"]
    assert ("divide(·, 4)", "loss ()") in picture and ("x", "matmul") in picture.edges
    assert is_acyclic(picture.ids)
    made = {call.output for call in step.plan.calls if call.output is not None}
    assert sum(kind == "op" for kind in picture.kinds.values()) == sum(slot.kind != "state" for slot in made)
    folded = Picture(tg.draw(step, fold=True))
    assert ("linear", "→ d_relu (4, 8)", "→ d_layer2_weight (3, 8)", "→ d_layer2_bias (3,)") in folded
    assert ("0.weight", "new (8, 5)", "momentum_buffer, new (8, 5)") in folded


def test_other_compiled_steps():
    picture = Picture(tg.draw(_trained(lambda params: tg.optim.Adam(params, lr=0.1)), fold=True))
    assert is_acyclic(picture.ids) and "0.weight" in picture.names()
    norm = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5, rng=0))
    for result in (lambda x: norm(x).sum(), lambda x: x.T, lambda x: 3.0):
        step = tg.jit(result)
        for _ in range(3):
            step(X)
        for fold in (False, True):
            assert is_acyclic(Picture(tg.draw(step, fold=fold)).ids)


def test_colours_can_be_told_apart_in_grey_and_text_can_be_read():
    """Lightness as CIE has it, and contrast as WCAG 2 has it, which wants 4.5 for text and 3 for lines."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return np.dot(
            [0.2126, 0.7152, 0.0722], [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        )

    def contrast(a, b):
        a, b = sorted([luminance(a), luminance(b)])
        return (b + 0.05) / (a + 0.05)

    lightness = sorted(116 * luminance(kind.fill) ** (1 / 3) - 16 for kind in languages._KINDS.values())
    assert min(np.diff(lightness)) > 3
    for kind in languages._KINDS.values():
        assert min(contrast(text, kind.fill) for text in (languages._BLACK, languages._RED)) > 4.5
        assert contrast(kind.line, kind.fill) > 3
    assert min(contrast(languages._GREY, page) for page in ("#ffffff", "#111111")) > 4


def _released():
    loss = (tg.Tensor([1.0], requires_grad=True) * 2).sum()
    loss.backward()
    return loss


def _watched():
    with tg.detect_anomaly():
        tg.draw(lambda: None)


ERRORS = [
    (lambda: tg.draw(_released()), tg.GraphError, r"draw before backward\(\).*released at sum.*retain_graph=True"),
    (lambda: tg.draw(tg.Tensor([1.0], requires_grad=True)), tg.GraphError, r"shape \(1,\).*a leaf; draw a result"),
    (lambda: tg.draw(tg.Tensor([1.0]) * 2), tg.GraphError, "nothing that it was made from requires grad.*requires_gr"),
    (lambda: tg.draw(np.argmax(tg.Tensor([1.0], requires_grad=True))), tg.GraphError, "comes through argmax, which is"),
    (lambda: tg.draw(np.ones(2)), TypeError, r"draw takes a Tensor, or a function that returns one, got float64\(2,\)"),
    (lambda: tg.draw(lambda: 3.0), TypeError, r"a function that returns one, got 3\.0"),
    (lambda: tg.draw(tg.Tensor([1.0], requires_grad=True) * 2, X), TypeError, r"for a Tensor, draw\(output\) is all"),
    (lambda: tg.draw(tg.Tensor([1.0], requires_grad=True) * 2).save("a.gif"), ValueError, r"'\.gif'.*Valid: \.dot"),
    (
        lambda: tg.draw(tg.Tensor([1.0, 2.0], True) * 2, grads=True),
        tg.GraphError,
        r"one number, got shape \(2,\); redu",
    ),
    (lambda: tg.draw(tg.jit(lambda x: x * 2)), tg.GraphError, "has not run yet; call it once"),
    (lambda: tg.draw(_trained(lambda p: tg.optim.SGD(p, lr=0.1)), values=True), TypeError, "keeps no numbers; draw"),
    (lambda: tg.draw(tg.Tensor([1.0], requires_grad=True) * 2).save("a"), ValueError, "no '' files.*'a'"),
    (lambda: tg.draw(nn.MLP([4, 3], rng=0), X), tg.ShapeError, r"layer '0'.*expected 4 features, got 5"),
    (_watched, tg.GraphError, "draw: this thread's ops are being watched already"),
    (tg.jit(lambda: tg.draw(lambda: None)), tg.GraphError, "draw: this thread's ops are being watched already"),
]


@pytest.mark.parametrize(("misuse", "error", "message"), ERRORS)
def test_errors(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
    assert mode.tracer is IDLE


def test_a_graph_that_is_retained_can_be_drawn_after_backward():
    loss = (tg.Tensor([1.0], requires_grad=True, name="w") * 2).sum()
    before = tg.draw(loss)
    loss.backward(retain_graph=True)
    assert tg.draw(loss) == before


def test_folding_draws_one_arrow_for_many():
    class Twice(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(np.ones(3))

        def forward(self, x):
            return np.tanh(x) * np.exp(x) * self.w

    h = tg.Tensor(np.ones((2, 3)), requires_grad=True) * 2
    text = tg.draw(Twice(), h, fold=True).mermaid
    arrows = [line for line in text.splitlines() if "-->" in line and "n1" in line.split()[0]]
    assert len(arrows) == len(set(arrows)) == 1
