"""Sketches: what stands in a drawing, as vertices in frames with edges between them, of a graph or of a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core.tensor import Tensor
from ..core.tracer import Tracer
from ..errors import describe
from ..nn.module import Module, Parameter
from ..rules.table import Rule


@dataclass(eq=False)
class Frame:
    """One call of a module: its path, its class if that is known, the frame around it, its parameters and buffers."""

    path: str
    module: str
    outer: Frame | None
    own: set[Any]

    def title(self, content: str = "") -> str:
        """Return what is written above; the content stands for a class that is not known."""
        return ": ".join(filter(None, [self.path, self.module or content]))


class Origin(NamedTuple):
    """Which function has made a Tensor, and in which frame."""

    name: str
    frame: Frame | None


_NOWHERE = Origin("", None)


class Watcher(Tracer):
    """The tracer: it notes where each Tensor comes from; ``given`` has the names of arrays that come from outside."""

    def __init__(self, given: Mapping[int, str]) -> None:
        self.given, self.origins = given, {}  # type: tuple[Mapping[int, str], dict[Any, Origin]]
        self.frame: Frame | None = None

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        self.origins[result] = Origin(rule.name, self.frame)

    def calls(self, module: Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        own = {value for value in vars(module).values() if isinstance(value, Tensor)}
        outer, self.frame = self.frame, Frame(module._prefix[:-1], type(module).__name__, self.frame, own)
        try:
            return super().calls(module, inputs, keywords)
        finally:
            self.frame = outer


def _origins_by_name(order: list[Any]) -> dict[Any, Origin]:
    """Return where ops stand that read parameters of one module, each in a frame of its own: "0" for "0.weight"."""
    origins = {}
    for t in order:
        leaves = {a for a in t._node.inputs if isinstance(a, Tensor) and _path(a)}
        paths = {_path(a) for a in leaves}
        if len(paths) == 1:
            origins[t] = Origin("", Frame(paths.pop(), "", None, leaves))
    return origins


def _path(t: Any) -> str:
    """Return the path of the module that a leaf belongs to, as its name has it, or nothing."""
    return t.name.rpartition(".")[0] if t._node is None and t.name else ""


Numbers = list[tuple[str, list[str]]]
"""Numbers of an array, each with what it is and its lines: ("value", ["0.5"])."""
Show = Callable[[Any], Numbers]
"""What gives the numbers of a Tensor, or of an array from outside."""


@dataclass(eq=False)
class Vertex:
    """What is drawn as one node: its name, and a line with the shape of each array that it is or has, and its numbers.

    ``kind`` is "op", "parameter", "state", "input" or "module"; ``result`` says that it is what was asked for.
    """

    kind: str
    name: str
    arrays: list[tuple[str, Numbers]]
    frame: Frame | None
    result: bool = False


Edges = list[tuple[Vertex, Vertex]]


def graph_sketch(order: list[Any], watcher: Watcher | None, show: Show) -> tuple[list[Vertex], Edges]:
    """Return the graph with all ops, given oldest first, each vertex after those that it reads."""
    vertices: dict[int, Vertex] = {}
    edges: Edges = []
    dtype = order[-1]._data.dtype
    origins, given = (_origins_by_name(order), {}) if watcher is None else (watcher.origins, watcher.given)
    for t in order:
        frame = origins.get(t, _NOWHERE).frame
        sources = []
        for a in t._node.inputs:
            if isinstance(a, (Tensor, np.ndarray)):
                array = a._data if isinstance(a, Tensor) else a
                key = id(a) if isinstance(a, Tensor) and a._requires_grad else id(array)
                if key not in vertices:
                    name = given.get(id(array), "input")
                    vertices[key] = _leaf(a, name, origins, frame, (_size(array, dtype), show(a)))
                if vertices[key].kind != "op":
                    vertices[key].frame = _common(vertices[key].frame, frame)
                sources.append(vertices[key])
        operands = ["·" if isinstance(a, (Tensor, np.ndarray)) else _constant(a) for a in t._node.inputs]
        call = _call(t._node.rule.name, operands, t._node.keywords)
        name = f"{t.name} = {call}" if t.name else call
        vertices[id(t)] = Vertex("op", name, [(_size(t._data, dtype), show(t))], frame)
        edges += [(source, vertices[id(t)]) for source in sources]
    vertices[id(order[-1])].result = True
    return list(vertices.values()), edges


def _leaf(a: Any, name: str, origins: Mapping[Any, Origin], reader: Frame | None, array: tuple[str, Numbers]) -> Vertex:
    """Return the vertex of what no recorded op has made: in the frame that has made it, or that it is a part of."""
    if not isinstance(a, Tensor):
        return Vertex("input", name, [array], None)
    made = origins.get(a, _NOWHERE)
    frame = made.frame or next((f for f in outwards(reader) if a in f.own), None)
    if a._requires_grad or isinstance(a, Parameter):
        return Vertex("parameter", a.name or "Tensor", [array], frame)
    return Vertex("input", a.name or made.name or name, [array], frame)


def program_sketch(plan: Any) -> tuple[list[Vertex], Edges]:
    """Return a program, given its `jit.plan.Plan`: its calls by section, each in the frame of the op it is part of.

    Views are not drawn, and nothing that only checks: who reads a view reads what it is a view of. What is written to
    has a second vertex, that of its new value.
    """
    made = [call for call in plan.calls if call.output is not None]
    results = [*(call.output for call in made), *plan.outputs]
    dtype = results[-1].dtype if results else None
    learned = {id(t._data) for t in plan.record.changed if t._requires_grad}
    vertices: dict[Any, Vertex] = {}
    edges: Edges = []

    def read(slot: Any) -> Vertex:
        while slot in plan.views:
            slot = plan.views[slot].inputs[0]
        if slot not in vertices:
            kind = "parameter" if id(slot.source) in learned else "state" if slot.kind == "state" else "input"
            vertices[slot] = Vertex(kind, slot.name or slot.kind, [(_size(slot, dtype), [])], None)
        return vertices[slot]

    for call, frame in _in_frames(made):
        sources = [read(a) for a in call.slots if a.kind != "number"]
        name, size = call.output.name, _size(call.output, dtype)
        if call.output.kind == "state":
            vertices[call.output] = Vertex(sources.pop(0).kind, f"{name or 'state'}, new", [(size, [])], frame)
        else:
            vertices[call.output] = Vertex("op", _title(call), [(f"{name} {size}".strip(), [])], frame)
        edges += [(source, vertices[call.output]) for source in sources]
    for slot in plan.outputs:
        read(slot).result = True
    return list(vertices.values()), edges


def _title(call: Any) -> str:
    """Return a call of a program as `_call` writes it, with the names of numbers that are read at each run."""
    texts = {id(a): a.name if a.kind == "number" else "·" for a in call.slots}
    operands = [texts.get(id(a)) or _constant(a) for a in call.inputs]
    return _call(call.function.__name__, operands, call.keywords)


def _in_frames(calls: list[Any]) -> Iterator[tuple[Any, Frame]]:
    """Yield calls, each with its frame: that of the op that the user has called, or of the parameter it updates."""
    sections: dict[str, Frame] = {}
    groups: list[list[Any]] = []
    for call in calls:
        if groups and _belongs(call, groups[-1][-1]):
            groups[-1].append(call)
        else:
            groups.append([call])
    for group in groups:
        section, written = group[0].section, [call.output.name for call in group if call.output.kind == "state"]
        frame = sections.setdefault(section, Frame(section, "", None, set()))
        if len(group) > 1:
            frame = Frame("", written[0] if written else group[0].op, frame, set())
        yield from ((call, frame) for call in group)


def _belongs(call: Any, before: Any) -> bool:
    """Return whether a call belongs to what the one before it is part of: an update ends with what it writes."""
    if call.section != before.section:
        return False
    if call.section == "update":
        return call.output.kind == "state" or before.output.kind != "state"
    return (call.op, call.line) == (before.op, before.line)


def outwards(frame: Frame | None) -> Iterator[Frame]:
    """Yield a frame and those around it."""
    while frame is not None:
        yield frame
        frame = frame.outer


def _common(a: Frame | None, b: Frame | None) -> Frame | None:
    """Return the innermost frame around both."""
    around = set(outwards(b))
    return next((frame for frame in outwards(a) if frame in around), None)


def _size(array: Any, usual: np.dtype[Any] | None) -> str:
    return str(array.shape) if array.dtype == usual else f"{array.shape} {array.dtype}"


def _call(name: str, operands: Sequence[str], keywords: Mapping[str, Any]) -> str:
    """Return an op with the constants among its operands and its options: "multiply(0.5, ·)", "sum(axis=1)"."""
    if set(operands) <= {"·", "None"}:
        operands = []
    arguments = ", ".join([*operands, *options(keywords)])
    return f"{name}({arguments})" if arguments else name


def options(keywords: Mapping[str, Any]) -> list[str]:
    """Return the options of an op that are not off, as a call has them."""
    given = {k: v for k, v in keywords.items() if k[0] != "_" and v is not None and v is not False}
    return [f"{name}={_constant(value)}" for name, value in given.items()]


def _constant(value: Any) -> str:
    """Return a constant as a person writes it."""
    if isinstance(value, slice):
        start, stop, step = ("" if k is None else str(k) for k in (value.start, value.stop, value.step))
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    return f"{value:.6g}" if isinstance(value, float) else describe(value)


def folded(vertices: list[Vertex], edges: Edges) -> tuple[list[Vertex], Edges]:
    """Return the graph with one vertex in the place of all that stands in a frame without frames inside."""
    around = {frame.outer for vertex in vertices for frame in outwards(vertex.frame)}
    inside: dict[Frame, list[Vertex]] = {}
    for vertex in vertices:
        if vertex.frame is not None and vertex.frame not in around:
            inside.setdefault(vertex.frame, []).append(vertex)
    leaving = {a for a, b in edges if a.frame is not b.frame}
    whole: dict[Vertex, Vertex] = {}
    for frame, parts in inside.items():
        whole.update(dict.fromkeys(parts, _module(frame, parts, leaving)))
    kept = dict.fromkeys(whole.get(v, v) for v in vertices)
    ends = dict.fromkeys((whole.get(a, a), whole.get(b, b)) for a, b in edges)
    return list(kept), [(a, b) for a, b in ends if a is not b]


def _module(frame: Frame, parts: list[Vertex], leaving: set[Vertex]) -> Vertex:
    """Return the vertex that stands for a whole frame, with the module's parameters and the results that leave it."""
    ops = [v for v in parts if v.kind == "op"]
    stored = [v for v in parts if v.kind in ("parameter", "state")]
    results = [v for v in ops if v in leaving or v.result] or [v for v in parts[-1:] if v.kind == "op"]
    arrays = [(f"{_within(frame, v.name)} {size}", n) for v in stored for size, n in v.arrays]
    arrays += [(f"→ {size}", n) for v in results for size, n in v.arrays]
    title = frame.title(", ".join(dict.fromkeys(v.name for v in ops)))
    return Vertex("module", title, arrays, frame.outer, any(v.result for v in parts))


def _within(frame: Frame, name: str) -> str:
    """Return what a parameter is called inside of a frame: "weight" for "0.weight"."""
    outer = frame.path or frame.module
    return name[len(outer) :].lstrip("., ") if outer and name.startswith((f"{outer}.", f"{outer},")) else name
