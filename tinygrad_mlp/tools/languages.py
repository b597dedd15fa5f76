"""Languages of drawings: a sketch as text for Mermaid and for Graphviz, and Graphviz' picture of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..errors import need
from ..notebook import escape
from .sketch import Frame, Vertex, outwards


class _Kind(NamedTuple):
    """How a kind of vertex is drawn: what stands around its text in Mermaid, its shape in DOT, its colours."""

    around: tuple[str, str]
    shape: str
    fill: str
    line: str


_KINDS = {
    "op": _Kind(("(", ")"), 'style="rounded,filled"', "#fafafa", "#6e6e6e"),
    "parameter": _Kind(("[(", ")]"), "style=filled", "#efc078", "#8a5a00"),
    "state": _Kind(("[(", ")]"), 'style="filled,dashed"', "#bfb1d9", "#5f4a86"),
    "input": _Kind(("[/", "/]"), "shape=note style=filled", "#dceefb", "#2b6a99"),
    "module": _Kind(("[[", "]]"), "peripheries=2 style=filled", "#c6e2ce", "#2f6b46"),
}
"""The kinds differ in shape, in hue, and in how light they are, so that the colour-blind can tell them apart too.

The text is black or dark red on all of them; edges and frames are of a grey that shows on light pages and on dark ones.
"""
_GREY, _BLACK, _RED = "#787878", "#111111", "#801010"
_FONT, _DIGITS = "Helvetica,Arial,sans-serif", "DejaVu Sans Mono,Menlo,Consolas,monospace"


Item = tuple[str, str, "Vertex | Frame | None"]


def items_of(vertices: list[Vertex], names: Mapping[Vertex, str]) -> Iterator[Item]:
    """Yield what a language writes, each with its indent and its name: a vertex, the begin of a frame, or its end."""
    contents: dict[Frame | None, list[Vertex | Frame]] = {None: []}
    for vertex in vertices:
        item: Vertex | Frame = vertex
        for around in (*outwards(vertex.frame), None):
            known = around in contents
            contents.setdefault(around, []).append(item)
            if known or around is None:
                break
            item = around
    frames = {frame: f"m{i}" for i, frame in enumerate(contents)}

    def inside(frame: Frame | None, indent: str) -> Iterator[Item]:
        for item in contents[frame]:
            if isinstance(item, Vertex):
                yield indent, names[item], item
            else:
                yield indent, frames[item], item
                yield from inside(item, indent + "  ")
                yield indent, "", None

    return inside(None, "  ")


def mermaid(items: list[Item], edges: list[tuple[str, str]]) -> str:
    """Return the text for Mermaid."""
    lines, used = ["flowchart TD"], {}  # type: tuple[list[str], dict[str, list[str]]]
    for indent, name, item in items:
        if isinstance(item, Vertex):
            left, right = _KINDS[item.kind].around
            text = "<br>".join(map(_escape_mermaid, _lines(item)))
            lines.append(f'{indent}{name}{left}"{text}"{right}')
            used.setdefault(item.kind, []).append(name)
        else:
            lines.append(indent + (f'subgraph {name}["{_escape_mermaid(item.title())}"]' if item else "end"))
    lines += [f"  {a} --> {b}" for a, b in edges]
    for kind, names in used.items():
        lines.append(f"  classDef {kind} fill:{_KINDS[kind].fill},stroke:{_KINDS[kind].line},color:{_BLACK}")
        lines.append(f"  class {','.join(names)} {kind}")
    return "\n".join([*lines, ""])


def _lines(vertex: Vertex) -> Iterator[str]:
    """Yield what stands in a vertex, line by line."""
    yield vertex.name
    for size, numbers in vertex.arrays:
        yield size
        for what, lines in numbers:
            yield f"{what} {' '.join(' '.join(lines).split())}"


def dot(items: list[Item], edges: list[tuple[str, str]]) -> str:
    """Return the text for Graphviz."""
    lines = [
        "digraph {",
        f'  graph [fontname="{_FONT}" fontsize=12 fontcolor="{_GREY}" color="{_GREY}" bgcolor=transparent]',
        '  graph [style="rounded,filled" fillcolor="#78787812" labeljust=l ranksep=0.35]',
        f'  node [fontname="{_FONT}" fontsize=12 fontcolor="{_BLACK}" shape=box margin="0.1,0.06" height=0.3]',
        f'  edge [color="{_GREY}" arrowsize=0.7]',
    ]
    for indent, name, item in items:
        if isinstance(item, Vertex):
            kind, bold = _KINDS[item.kind], " penwidth=2.5" if item.result else ""
            colours = f'fillcolor="{kind.fill}" color="{kind.line}"'
            lines.append(f"{indent}{name} [label=<{_label(item)}> {kind.shape} {colours}{bold}]")
        else:
            lines.append(indent + (f"subgraph cluster_{name} {{ label=<{_escape_dot(item.title())}>" if item else "}"))
    return "\n".join([*lines, *(f"  {a} -> {b}" for a, b in edges), "}", ""])


def _label(vertex: Vertex) -> str:
    """Return what stands in a vertex, as Graphviz' HTML: its name, its arrays, and the numbers of these as a table."""
    name = f"<B>{_escape_dot(vertex.name)}</B>"
    rows = []
    for size, numbers in vertex.arrays:
        if numbers and len(vertex.arrays) == 1:
            rows += [] if size == "()" else [[_cell(size, "center", 2)]]
            rows += [[_cell(what), _number(what, lines)] for what, lines in numbers]
        else:
            rows.append([_cell(size), *(cell for n in numbers for cell in (_cell(n[0]), _number(*n)))])
    if not any(numbers for _, numbers in vertex.arrays):
        return "<BR/>".join([name, *(_escape_dot(size) for size, _ in vertex.arrays)])
    head = f'<TR><TD COLSPAN="{max(map(len, rows))}">{name}</TD></TR>'
    body = "".join(f"<TR>{''.join(row)}</TR>" for row in rows)
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{head}{body}</TABLE>'


def _cell(text: str, align: str = "left", columns: int = 1) -> str:
    return f'<TD ALIGN="{align}" COLSPAN="{columns}">{_escape_dot(text)}</TD>'


def _number(what: str, lines: list[str]) -> str:
    """Return a cell with numbers, those of a gradient in red, in a font whose digits stand one below another."""
    text = '<BR ALIGN="left"/>'.join(_escape_dot(line).replace(" ", "&#160;") for line in lines)
    colour = _RED if what == "grad" else _BLACK
    font = f'<FONT FACE="{_DIGITS}" POINT-SIZE="11" COLOR="{colour}">'
    return f'<TD ALIGN="left" BALIGN="left">{font}{text}</FONT></TD>'


def picture(text: str, suffix: str) -> bytes:
    """Return Graphviz' picture of a DOT text: "svg", "png" or "pdf".

    Raises:
        ImportError: pygraphviz, whose wheels have Graphviz inside, is not installed, or finds no GLib.
    """
    graph = need("pygraphviz", "draw").AGraph(string=text)
    if suffix != "svg":
        graph.graph_attr.update(bgcolor="white", dpi="144")
    return bytes(graph.draw(format=suffix, prog="dot"))


def svg(text: str) -> str:
    """Return Graphviz' picture of a DOT text as an SVG element, without the names of nodes as tooltips.

    Raises:
        ImportError: pygraphviz is not installed, or finds no GLib.
    """
    whole = picture(text, "svg").decode()
    plain = re.sub(r"<!--.*?-->\n*|<title>.*?</title>\n*", "", whole[whole.index("<svg") :], flags=re.DOTALL)
    return plain.replace("<svg ", '<svg role="img" aria-label="graph" ', 1)


def _escape_mermaid(text: str) -> str:
    """Return text for quotes: what Mermaid might read as more than text, such as tags, by its number."""
    plain = " _.,:()=+-/·→"
    return "".join(c if (c.isascii() and c.isalnum()) or c in plain else f"#{ord(c)};" for c in _printable(text))


def _escape_dot(text: str) -> str:
    r"""Return text for Graphviz' HTML, in which ``\N`` still is the name of the node."""
    return escape(_printable(text).replace("\\", "\\\\"))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
