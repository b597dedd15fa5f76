"""`draw`: the graph behind a result, or a compiled program, as a picture, and as text for Mermaid and Graphviz."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import parameter_names
from ..core.tensor import Tensor
from ..core.tracer import tracing
from ..errors import OptionError, describe, nearest
from . import languages
from .numbers import gradients, ops, short
from .sketch import Edges, Numbers, Vertex, Watcher, folded, graph_sketch, program_sketch

LARGEST = 300
"""Up to how many nodes a notebook draws a picture by itself: Graphviz takes seconds for a thousand."""


@dataclass(frozen=True, repr=False)
class Drawing:
    """A graph as text, made by `draw`, of which Graphviz makes a picture. A notebook shows that by itself.

    Attributes:
        mermaid: for https://mermaid.js.org, which GitHub, GitLab and JupyterLab have built in. By its defaults it
            refuses more than 500 edges. ``print`` shows it.
        dot: for Graphviz, https://graphviz.org.
        nodes: how many there are.
    """

    mermaid: str
    dot: str
    nodes: int

    @property
    def svg(self) -> str:
        """The picture as an SVG element, for a light page or a dark one. Needs the extra ``draw``."""
        return languages.svg(self.dot)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a picture to ``.svg``, ``.png`` or ``.pdf``, or a text to ``.mmd`` or ``.md`` (Mermaid) or ``.dot``.

        Raises:
            ValueError: another suffix.
            ImportError: a picture needs the extra ``draw``.
            OSError: the file cannot be written.
        """
        make = {
            ".svg": lambda: self.svg.encode(),
            ".png": lambda: languages.picture(self.dot, "png"),
            ".pdf": lambda: languages.picture(self.dot, "pdf"),
            ".mmd": lambda: self.mermaid.encode(),
            ".md": lambda: self._in_markdown().encode(),
            ".dot": lambda: self.dot.encode(),
        }
        suffix = Path(path).suffix
        if suffix not in make:
            raise OptionError(f"draw writes no {suffix!r} files, as in {os.fspath(path)!r}; {nearest(suffix, make)}")
        Path(path).write_bytes(make[suffix]())

    def _in_markdown(self) -> str:
        return f"```mermaid\n{self.mermaid}```\n"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the picture; without Graphviz, the text for Mermaid; of what is too large for both, what to do."""
        if self.nodes > LARGEST:
            return {"text/plain": f"<Drawing of {self.nodes} nodes: use fold=True, or save(path)>"}
        try:
            return {"image/svg+xml": self.svg, "text/plain": repr(self)}
        except ImportError:
            return {"text/markdown": self._in_markdown(), "text/plain": repr(self)}

    def __str__(self) -> str:
        return self.mermaid

    def __repr__(self) -> str:
        return f"<Drawing of {self.nodes} nodes: see .svg, .mermaid, .dot, save(path)>"


def draw(output: Any, *inputs: Any, values: bool = False, grads: bool = False, fold: bool = False) -> Drawing:
    """Return the graph behind a result, or a compiled step, as a picture, with its numbers if they are asked for.

    A node is an op, with the constants among its operands ("·" stands for an arrow) and the shape of its result; a
    parameter, as a cylinder under its qualified name; or an array from outside, as a parallelogram. A dtype is written
    where it is not that of the output. A module's nodes stand in a frame. The output has a thick line.

    Of a compiled step, the nodes are the calls of its program in NumPy, in three parts: forward, backward and update.
    What is written to, a parameter say, has a second node for its new value.

    Args:
        output: a Tensor, to be drawn before ``backward()``, which releases its graph. An op stands in the frame of
            the module whose parameters it reads itself, as their names tell: "0" for "0.weight". Or a function or
            module that returns a Tensor: it is called, and its modules are watched, so that each op stands in the
            frame of the module that made it, "0: Linear". Or, without inputs, what `jit` has compiled.
        inputs: what the function or module is called with.
        values: show the values of each node: of up to 12 elements all, of more the Euclidean norm.
        grads: show, likewise, the gradient of the output by each node. No ``.grad`` changes.
        fold: draw each innermost module as one node, with its parameters and the shape of its result; of a compiled
            step, each op that was called, and the update of each parameter.

    Raises:
        GraphError: the Tensor has no graph, or one that is released; or the ops are watched already, as they are
            inside of `detect_anomaly` and while `jit` records; or grads of a result of several elements.
        TypeError: ``output`` is something else, or returns something else; or numbers of a compiled step, whose memory
            is used again and again.

    >>> import tinygrad_mlp as tg
    >>> x, y = tg.Tensor(-0.5, True, "x"), tg.Tensor(2.0, True, "y")
    >>> print(draw(x * y, values=True, grads=True))
    flowchart TD
      n0[("x<br>()<br>value -0.5<br>grad 2")]
      n1[("y<br>()<br>value 2<br>grad -0.5")]
      n2("multiply<br>()<br>value -1<br>grad 1")
      n0 --> n2
      n1 --> n2
      classDef parameter fill:#efc078,stroke:#8a5a00,color:#111111
      class n0,n1 parameter
      classDef op fill:#fafafa,stroke:#6e6e6e,color:#111111
      class n2 op
    <BLANKLINE>
    """
    if not isinstance(output, Tensor) and callable(output):
        if not inputs and hasattr(output, "plan"):
            if values or grads:
                raise TypeError(
                    "draw: a compiled step keeps no numbers; draw(loss, values=True) shows those of a graph"
                )
            return _finished(*program_sketch(output._main().planned()), fold)
        watcher = Watcher(_given(output, inputs))
        with tracing(watcher, "draw"):
            result = output(*inputs)
        return _drawing(result, values, grads, fold, watcher)
    if inputs:
        raise TypeError("draw takes inputs for a function or module that it calls; for a Tensor, draw(output) is all")
    return _drawing(output, values, grads, fold)


def _drawing(output: Any, values: bool, grads: bool, fold: bool, watcher: Watcher | None = None) -> Drawing:
    if not isinstance(output, Tensor):
        raise TypeError(f"draw takes a Tensor, or a function that returns one, got {describe(output)}")
    order = ops(output, "draw")
    found = gradients(output, "draw(grads=True)") if grads else {}

    def show(a: Any) -> Numbers:
        array = a._data if isinstance(a, Tensor) else a
        value = [("value", short(array))] if values else []
        return [*value, ("grad", short(found[a]))] if isinstance(a, Tensor) and a in found else value

    return _finished(*graph_sketch(order, watcher, show), fold)


def _given(function: Any, inputs: Sequence[Any]) -> dict[int, str]:
    """Return what a function calls the arrays that it is given."""
    names = parameter_names(getattr(function, "forward", function))
    return {id(a._data if isinstance(a, Tensor) else a): name for name, a in zip(names, inputs, strict=False)}


def _finished(vertices: list[Vertex], edges: Edges, fold: bool) -> Drawing:
    if fold:
        vertices, edges = folded(vertices, edges)
    names = {vertex: f"n{i}" for i, vertex in enumerate(vertices)}
    graph = list(languages.items_of(vertices, names)), [(names[a], names[b]) for a, b in edges]
    return Drawing(languages.mermaid(*graph), languages.dot(*graph), len(vertices))
