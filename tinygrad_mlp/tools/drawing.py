"""`draw`: the graph behind a result, as text that Mermaid and Graphviz turn into a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.graph import Node, ancestors
from ..core.tensor import Tensor
from ..core.tracer import Tracer, tracing
from ..errors import GraphError, OptionError, describe, nearest
from ..nn.module import Module, Parameter
from ..rules.table import Rule


@dataclass(frozen=True, repr=False)
class Drawing:
    """A graph as text, made by `draw`. ``print`` shows the Mermaid text; a notebook that knows Mermaid, the picture.

    Attributes:
        mermaid: for https://mermaid.js.org, which GitHub, GitLab and JupyterLab have built in. By its defaults it
            refuses more than 500 edges.
        dot: for Graphviz, https://graphviz.org: ``dot -Tsvg graph.dot -o graph.svg``.
    """

    mermaid: str
    dot: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file: Mermaid to ``.mmd``, Mermaid inside of Markdown to ``.md``, DOT to ``.dot``.

        Raises:
            ValueError: another suffix.
            OSError: the file cannot be written.
        """
        texts = {".mmd": self.mermaid, ".md": self._repr_markdown_(), ".dot": self.dot}
        suffix = Path(path).suffix
        if suffix not in texts:
            raise OptionError(f"draw writes no {suffix!r} files, as in {os.fspath(path)!r}; {nearest(suffix, texts)}")
        Path(path).write_text(texts[suffix], encoding="utf-8")

    def _repr_markdown_(self) -> str:
        return f"```mermaid\n{self.mermaid}```\n"

    def __str__(self) -> str:
        return self.mermaid

    def __repr__(self) -> str:
        return "<Drawing: see .mermaid, .dot, save(path)>"


def draw(output: Any, *inputs: Any, fold: bool = False) -> Drawing:
    """Return the graph behind a result, as text for Mermaid and for Graphviz.

    A node is an op, with the constants among its operands ("·" stands for an arrow) and the shape of its result; a
    parameter, as a cylinder under its qualified name; or an array from outside, as a parallelogram. A dtype is written
    where it is not that of the output. A module's nodes stand in a frame.

    Args:
        output: a Tensor, to be drawn before ``backward()``, which releases its graph. An op stands in the frame of
            the module whose parameters it reads itself, as their names tell: "0" for "0.weight". Or a function or
            module that returns a Tensor: it is called, and its modules are watched, so that each op stands in the
            frame of the module that made it, "0: Linear".
        inputs: what the function or module is called with.
        fold: draw each innermost module as one node, with its parameters and the shape of its result.

    Raises:
        GraphError: the Tensor has no graph, or one that is released; or the ops are watched already, as they are
            inside of `detect_anomaly` and while `jit` records.
        TypeError: ``output`` is something else, or returns something else.

    >>> from tinygrad_mlp import functional, nn
    >>> model = nn.MLP([784, 10], rng=0)
    >>> x, labels = np.zeros((128, 784), np.float32), np.zeros(128, int)
    >>> loss = functional.cross_entropy(model(x), labels)
    >>> print(draw(loss))
    flowchart TD
      n0[/"input<br>(128, 784)"/]
      subgraph m1["0"]
        n1[("0.weight<br>(10, 784)")]
        n2[("0.bias<br>(10,)")]
        n3("linear<br>(128, 10)")
      end
      n4("log_softmax(·, 1)<br>(128, 10)")
      n5[/"input<br>(128,) int64"/]
      n6("gather<br>(128,)")
      n7("negative<br>(128,)")
      n8("mean<br>()")
      n0 --> n3
      n1 --> n3
      n2 --> n3
      n3 --> n4
      n4 --> n6
      n5 --> n6
      n6 --> n7
      n7 --> n8
    <BLANKLINE>
    >>> print(draw(model, x, fold=True).dot)  # doctest: +ELLIPSIS
    digraph {
      ...
      n0 [label="input\\n(128, 784)" shape=parallelogram]
      subgraph cluster_m1 { label="MLP"
        n1 [label="0: Linear\\nweight (10, 784)\\nbias (10,)\\n→ (128, 10)" shape=box peripheries=2]
      }
      n0 -> n1
    }
    <BLANKLINE>
    """
    if not isinstance(output, Tensor) and callable(output):
        watcher = _Watcher()
        with tracing(watcher, "draw"):
            result = output(*inputs)
        return _drawing(result, fold, watcher.origins)
    if inputs:
        raise TypeError("draw takes inputs for a function or module that it calls; for a Tensor, draw(output) is all")
    return _drawing(output, fold)


def _drawing(output: Any, fold: bool, origins: Mapping[Any, _Origin] | None = None) -> Drawing:
    if not isinstance(output, Tensor):
        raise TypeError(f"draw takes a Tensor, or a function that returns one, got {describe(output)}")
    order = _ops(output)
    vertices, edges = _sketch(order, _origins_by_name(order) if origins is None else origins)
    if fold:
        vertices, edges = _folded(vertices, edges)
    names = {vertex: f"n{i}" for i, vertex in enumerate(vertices)}
    graph = list(_items(vertices, names)), [(names[a], names[b]) for a, b in edges]
    return Drawing(_mermaid(*graph), _dot(*graph))


def _ops(output: Any) -> list[Any]:
    """Return all Tensors that recorded ops have made on the way to the output, oldest first."""
    if output._node is None:
        why = "it is a leaf" if output._requires_grad else "nothing that it was made from requires grad"
        if output._cut:
            why = f"it comes through {output._cut}, which is constant"
        raise GraphError(
            f"draw: this Tensor of shape {output._data.shape} has no graph, {why}; "
            "draw a result of Tensors with requires_grad=True, computed outside of no_grad()"
        )
    try:
        return ancestors([output])[1]
    except GraphError as error:
        raise GraphError(f"draw before backward(), not after it: {error}") from error


@dataclass(eq=False)
class _Frame:
    """One call of a module: its path, its class if that is known, the frame around it, its parameters and buffers."""

    path: str
    module: str
    outer: _Frame | None
    own: set[Any]

    def title(self, content: str = "") -> str:
        """Return what is written above; the content stands for a class that is not known."""
        return ": ".join(filter(None, [self.path, self.module or content]))


class _Origin(NamedTuple):
    """Which function has made a Tensor, and in which frame."""

    name: str
    frame: _Frame | None


_NOWHERE = _Origin("", None)


class _Watcher(Tracer):
    """The tracer: it notes where each Tensor comes from."""

    def __init__(self) -> None:
        self.origins: dict[Any, _Origin] = {}
        self.frame: _Frame | None = None

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        self.origins[result] = _Origin(rule.name, self.frame)

    def calls(self, module: Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        own = {value for value in vars(module).values() if isinstance(value, Tensor)}
        outer, self.frame = self.frame, _Frame(module._prefix[:-1], type(module).__name__, self.frame, own)
        try:
            return super().calls(module, inputs, keywords)
        finally:
            self.frame = outer


def _origins_by_name(order: list[Any]) -> dict[Any, _Origin]:
    """Return where ops stand that read parameters of one module, each in a frame of its own: "0" for "0.weight"."""
    origins = {}
    for t in order:
        leaves = {a for a in t._node.inputs if isinstance(a, Tensor) and _path(a)}
        paths = {_path(a) for a in leaves}
        if len(paths) == 1:
            origins[t] = _Origin("", _Frame(paths.pop(), "", None, leaves))
    return origins


def _path(t: Any) -> str:
    """Return the path of the module that a leaf belongs to, as its name has it, or nothing."""
    return t.name.rpartition(".")[0] if t._node is None and t.name else ""


@dataclass(eq=False)
class _Vertex:
    """What is drawn as one node: an "op", a "parameter", an "input" or a "module". Its last line has the shape."""

    kind: str
    lines: list[str]
    frame: _Frame | None


_Edges = list[tuple[_Vertex, _Vertex]]


def _sketch(order: list[Any], origins: Mapping[Any, _Origin]) -> tuple[list[_Vertex], _Edges]:
    """Return the graph with all ops, each vertex after those that it reads."""
    vertices: dict[int, _Vertex] = {}
    edges: _Edges = []
    dtype = order[-1]._data.dtype
    for t in order:
        frame = origins.get(t, _NOWHERE).frame
        sources = []
        for a in t._node.inputs:
            if isinstance(a, (Tensor, np.ndarray)):
                array = a._data if isinstance(a, Tensor) else a
                key = id(a) if isinstance(a, Tensor) and a._requires_grad else id(array)
                if key not in vertices:
                    vertices[key] = _leaf(a, origins, frame, _size(array, dtype))
                if vertices[key].kind != "op":
                    vertices[key].frame = _common(vertices[key].frame, frame)
                sources.append(vertices[key])
        name = f"{t.name} = {_call(t._node)}" if t.name else _call(t._node)
        vertices[id(t)] = _Vertex("op", [name, _size(t._data, dtype)], frame)
        edges += [(source, vertices[id(t)]) for source in sources]
    return list(vertices.values()), edges


def _leaf(a: Any, origins: Mapping[Any, _Origin], reader: _Frame | None, size: str) -> _Vertex:
    """Return the vertex of what no recorded op has made: in the frame that has made it, or that it is a part of."""
    if not isinstance(a, Tensor):
        return _Vertex("input", ["input", size], None)
    made = origins.get(a, _NOWHERE)
    frame = made.frame or next((f for f in _outwards(reader) if a in f.own), None)
    if a._requires_grad or isinstance(a, Parameter):
        return _Vertex("parameter", [a.name or "Tensor", size], frame)
    return _Vertex("input", [a.name or made.name or "input", size], frame)


def _outwards(frame: _Frame | None) -> Iterator[_Frame]:
    """Yield a frame and those around it."""
    while frame is not None:
        yield frame
        frame = frame.outer


def _common(a: _Frame | None, b: _Frame | None) -> _Frame | None:
    """Return the innermost frame around both."""
    around = set(_outwards(b))
    return next((frame for frame in _outwards(a) if frame in around), None)


def _size(array: np.ndarray[Any, Any], usual: np.dtype[Any]) -> str:
    return str(array.shape) if array.dtype == usual else f"{array.shape} {array.dtype}"


def _call(node: Node) -> str:
    """Return an op with the constants among its operands and its options: "multiply(0.5, ·)", "sum(axis=1)"."""
    operands = ["·" if isinstance(a, (Tensor, np.ndarray)) else _constant(a) for a in node.inputs]
    if set(operands) <= {"·", "None"}:
        operands = []
    options = [
        f"{name}={_constant(value)}"
        for name, value in node.keywords.items()
        if name[0] != "_" and value is not None and value is not False
    ]
    arguments = ", ".join([*operands, *options])
    return f"{node.rule.name}({arguments})" if arguments else node.rule.name


def _constant(value: Any) -> str:
    """Return a constant as a person writes it."""
    if isinstance(value, slice):
        start, stop, step = ("" if k is None else str(k) for k in (value.start, value.stop, value.step))
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    return f"{value:.6g}" if isinstance(value, float) else describe(value)


def _folded(vertices: list[_Vertex], edges: _Edges) -> tuple[list[_Vertex], _Edges]:
    """Return the graph with one vertex in the place of all that stands in a frame without frames inside."""
    around = {frame.outer for vertex in vertices for frame in _outwards(vertex.frame)}
    inside: dict[_Frame, list[_Vertex]] = {}
    for vertex in vertices:
        if vertex.frame is not None and vertex.frame not in around:
            inside.setdefault(vertex.frame, []).append(vertex)
    whole: dict[_Vertex, _Vertex] = {}
    for frame, parts in inside.items():
        whole.update(dict.fromkeys(parts, _module(frame, parts)))
    kept = dict.fromkeys(whole.get(v, v) for v in vertices)
    ends = dict.fromkeys((whole.get(a, a), whole.get(b, b)) for a, b in edges)
    return list(kept), [(a, b) for a, b in ends if a is not b]


def _module(frame: _Frame, parts: list[_Vertex]) -> _Vertex:
    """Return the vertex that stands for a whole frame, with the module's parameters and the shape of its result."""
    ops = [v.lines for v in parts if v.kind == "op"]
    parameters = [" ".join(v.lines).removeprefix(f"{frame.path}.") for v in parts if v.kind == "parameter"]
    title = frame.title(", ".join(dict.fromkeys(name for name, _ in ops)))
    return _Vertex("module", [title, *parameters, f"→ {ops[-1][1]}"], frame.outer)


_KINDS = {
    "op": ("(", ")", "shape=box style=rounded"),
    "parameter": ("[(", ")]", "shape=cylinder"),
    "input": ("[/", "/]", "shape=parallelogram"),
    "module": ("[[", "]]", "shape=box peripheries=2"),
}
"""How the kinds of nodes are written: what stands around the text in Mermaid, and the attributes in DOT."""


_Item = tuple[str, str, "_Vertex | _Frame | None"]


def _items(vertices: list[_Vertex], names: Mapping[_Vertex, str]) -> Iterator[_Item]:
    """Yield what a language writes, each with its indent and its name: a vertex, the begin of a frame, or its end."""
    contents: dict[_Frame | None, list[_Vertex | _Frame]] = {None: []}
    for vertex in vertices:
        item: _Vertex | _Frame = vertex
        for around in (*_outwards(vertex.frame), None):
            known = around in contents
            contents.setdefault(around, []).append(item)
            if known or around is None:
                break
            item = around
    frames = {frame: f"m{i}" for i, frame in enumerate(contents)}

    def inside(frame: _Frame | None, indent: str) -> Iterator[_Item]:
        for item in contents[frame]:
            if isinstance(item, _Vertex):
                yield indent, names[item], item
            else:
                yield indent, frames[item], item
                yield from inside(item, indent + "  ")
                yield indent, "", None

    return inside(None, "  ")


def _mermaid(items: list[_Item], edges: list[tuple[str, str]]) -> str:
    lines = ["flowchart TD"]
    for indent, name, item in items:
        if isinstance(item, _Vertex):
            left, right, _ = _KINDS[item.kind]
            lines.append(f'{indent}{name}{left}"{"<br>".join(map(_escape_mermaid, item.lines))}"{right}')
        else:
            lines.append(indent + (f'subgraph {name}["{_escape_mermaid(item.title())}"]' if item else "end"))
    return "\n".join([*lines, *(f"  {a} --> {b}" for a, b in edges), ""])


def _dot(items: list[_Item], edges: list[tuple[str, str]]) -> str:
    lines = ["digraph {", '  node [fontname="sans-serif"]', '  graph [fontname="sans-serif"]']
    for indent, name, item in items:
        if isinstance(item, _Vertex):
            text = "\\n".join(map(_escape_dot, item.lines))
            lines.append(f'{indent}{name} [label="{text}" {_KINDS[item.kind][2]}]')
        else:
            lines.append(indent + (f'subgraph cluster_{name} {{ label="{_escape_dot(item.title())}"' if item else "}"))
    return "\n".join([*lines, *(f"  {a} -> {b}" for a, b in edges), "}", ""])


def _escape_mermaid(text: str) -> str:
    """Return text for quotes: what Mermaid might read as more than text, such as tags, by its number."""
    plain = " _.,:()=+-/·→"
    return "".join(c if (c.isascii() and c.isalnum()) or c in plain else f"#{ord(c)};" for c in _printable(text))


def _escape_dot(text: str) -> str:
    r"""Return text for quotes: Graphviz reads ``\N`` and ``&lt;`` in them."""
    return _printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
