"""The graph: how an op is recorded, and how gradients walk back through it.

`apply` is the only door through which an op on Tensors passes. It computes the op on arrays, lets a tracer take part
if there is one, and keeps a `Node` if a gradient may be asked for. `backpropagate` is the only walk back. Neither knows
any derivative: those stand in `rules`. The same walk serves first order, where rules get arrays, and any order, where
they get Tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DtypeError, GraphError, NoRuleError, attempt
from ..rules.shapes import astype, sum_to
from ..rules.table import Rule, constant_operand, find
from .tracer import IDLE, mode
from .versions import age, changed, check_unchanged, version_of


class Node:
    """How a result was made: its rule, inputs and keywords, and the versions that it read. Not the result itself.

    ``inputs`` is None once a backward pass has used and released the node.
    """

    __slots__ = ("age", "inputs", "keywords", "reads", "rule")

    def __init__(self, rule: Rule, inputs: Sequence[Any], keywords: Mapping[str, Any], reads: Sequence[Any]) -> None:
        self.rule, self.inputs, self.keywords, self.reads = rule, inputs, keywords, reads
        self.age = age()


class Value:
    """An array and the node that made it: what the graph is made of. `Tensor` gives it its operators and methods.

    ``_version`` counts changes of the memory, see `versions`. ``_cut`` names the constant function that ended the
    graph, for the error message. ``_hooks`` are called with the gradient.
    """

    __slots__ = ("__weakref__", "_cut", "_data", "_grad", "_hooks", "_node", "_requires_grad", "_version", "name")

    _data: np.ndarray[Any, Any]
    _node: Node | None
    _requires_grad: bool
    _version: list[int] | None
    _cut: str | None
    _hooks: tuple[Any, ...]
    _grad: Any
    name: str | None


result_class: type[Value] = Value
"""What `apply` returns; `tensor.py` puts Tensor here."""


def wrap(data: np.ndarray[Any, Any], version: list[int] | None = None) -> Any:
    """Return a Tensor around an array as it is, one that does not require grad."""
    t = result_class.__new__(result_class)
    t._data, t._requires_grad, t._version, t._hooks = data, False, version, ()
    t._node = t._cut = t._grad = t.name = None
    return t


def call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a function as NumPy's own signature has it, with Tensors among its arguments."""
    rule = find(function)
    if rule.kind == "composite":
        return attempt(rule.name, rule.forward, args, kwargs)
    if rule.binds or (kwargs and rule.bind is not None):
        args, kwargs = rule.bind(*args, **kwargs)  # type: ignore[misc]
    return apply(function, args, kwargs)


def apply(function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Compute a function on arrays and Tensors and return a Tensor that knows how it was made.

    Raises `NoRuleError` for a function without a rule, `ShapeError`, with all shapes, for operands that do not fit.
    """
    rule = find(function)
    arrays, inputs, reads, tracked = [], [], [], False
    for a in args:
        if isinstance(a, Value):
            arrays.append(a._data)
            if a._requires_grad:
                tracked = True
            if a._version is not None:
                reads.append((a, a._version[0]))
        else:
            if type(a) is not float:
                a = constant_operand(a, rule.own)
            arrays.append(a)
        inputs.append(a)
    if keywords and any(isinstance(k, Value) for k in keywords.values()):
        raise NoRuleError(f"{rule.name}: a Tensor as keyword would lose its gradient; pass it by position")
    tracer = mode.tracer
    if tracer is IDLE:
        out = attempt(rule.name, rule.forward, arrays, keywords)
    else:
        out = tracer.compute(rule, arrays, inputs, keywords)
    if type(out) is not np.ndarray:
        if rule.kind == "constant" and isinstance(out, (tuple, list)):
            return type(out)([wrap(np.asarray(part)) for part in out])
        out = np.asarray(out)
    result = wrap(out)
    if rule.view and isinstance(inputs[0], Value) and np.may_share_memory(out, arrays[0]):
        result._version = version_of(inputs[0])
    if not tracked:
        result._cut = next((a._cut for a in inputs if isinstance(a, Value) and a._cut), None)
    elif rule.kind == "constant" or out.dtype.kind in "biu":
        result._cut = rule.name
    elif mode.grad_enabled:
        if out.dtype.kind != "f":
            raise DtypeError(f"{rule.name} gives {out.dtype}, which carries no gradient; use float32/float64 operands")
        if rule.linear:  # its rules read labels and indices, if anything
            reads = [r for r in reads if not r[0]._requires_grad]
        result._node = Node(rule, inputs, keywords, reads)
        result._requires_grad = True
    if tracer is not IDLE:
        tracer.op(rule, inputs, keywords, result)
    return result


def assign(target: Any, value: Any) -> Any:
    """Write values into a Tensor's memory, without recording: the only way in which data changes in place.

    Raises `ShapeError` if the value does not broadcast to the target's shape; nothing is written then.
    """
    array = value._data if isinstance(value, Value) else np.asarray(value)

    def write() -> None:
        attempt("assign", np.copyto, (target._data, array), {"casting": "same_kind"})
        changed(target)

    mode.tracer.assign(target, value, write)
    return target


def backpropagate(
    roots: Sequence[Any],
    seeds: Sequence[Any],
    wanted: set[Any] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> dict[Any, Any]:
    """Return the gradients of the wanted Tensors (None: of all leaves), no two of which share memory.

    ``seeds`` are the gradients of the roots. Tensors are visited once each, newest first, so that a gradient is
    complete before its rules run. What does not lead to a wanted Tensor is not visited.
    """
    order, leading = ancestors(roots)[1], None
    if wanted is not None:
        leading = _leading_to(wanted, order)
        order = [t for t in order if t in leading]
    check_unchanged(order)
    tracer = mode.tracer
    lifted = create_graph or tracer is not IDLE
    sums: dict[Any, Any] = {}
    own: set[Any] = set()
    for t, seed in zip(roots, seeds, strict=True):
        if tracer is not IDLE:
            tracer.gradient_of(t, seed)
        _accumulate(sums, own, t, seed if lifted else seed._data, False, lifted)
    results = {}
    before, mode.grad_enabled = mode.grad_enabled, create_graph
    try:
        while order:
            t = order.pop()
            if (g := sums.pop(t, None)) is None:
                continue
            kept = wanted is not None and t in wanted
            for hook in t._hooks:
                g, kept = hook(t, g, own, lifted), kept or (wanted is None and hook.retains)
            if kept:
                results[t] = g if t in own else g.copy()
            node = t._node
            if tracer is not IDLE:
                tracer.differentiates(t)
            inputs, keywords, vjps = node.inputs, node.keywords, node.rule.vjps
            values = inputs if lifted else [a._data if isinstance(a, Value) else a for a in inputs]
            out, used = t if lifted else t._data, False
            for i, a in enumerate(inputs):
                if isinstance(a, Value) and a._requires_grad and (leading is None or a in leading):
                    rule, used = vjps[i], True
                    if rule is not None:
                        c = fit(rule(g, out, *values, **keywords), a._data)
                        if tracer is not IDLE:
                            tracer.gradient_of(a, c)  # type: ignore[arg-type]
                        _accumulate(sums, own, a, c, c is not g, lifted)
            if used and not (retain_graph or create_graph):
                node.inputs = None
        for t, g in sums.items():
            for hook in t._hooks:
                g = hook(t, g, own, lifted)
            results[t] = g if t in own else g.copy()
    finally:
        mode.grad_enabled = before
        tracer.differentiates(None)
    return results


def _accumulate(sums: dict[Any, Any], own: set[Any], t: Any, g: Any, fresh: bool, lifted: bool) -> None:
    """Add a contribution to the gradient of ``t``; ``own`` says which sums nothing else refers to.

    The first contribution is borrowed unless it is fresh, a second one makes a new array, and an array of our own
    is added to in place, where that gives the memory layout that a new array would have: sums depend on it.
    """
    if t not in sums:
        sums[t] = g
        if fresh and (g._data if lifted else g).base is None:
            own.add(t)
    elif t in own and not lifted and g.strides == sums[t].strides:
        sums[t] += g
    else:
        sums[t] = fit(sums[t] + g, t._data)
        own.add(t)


def fit(g: Any, x: np.ndarray[Any, Any]) -> Any:
    """Return a gradient in the shape and dtype of its input: the one place where both are undone."""
    if g.shape != x.shape:
        g = sum_to(g, x.shape)
    if g.dtype != x.dtype:
        g = astype(g, x.dtype)
    return g if isinstance(g, (np.ndarray, Value)) else np.asarray(g)


def ancestors(roots: Sequence[Any]) -> tuple[set[Any], list[Any]]:
    """Return all Tensors that lead to the roots, and those of them that an op has made, oldest first."""
    seen, stack, made = set(roots), list(roots), []
    while stack:
        if (node := (t := stack.pop())._node) is None:
            continue
        if node.inputs is None:
            raise GraphError(
                f"graph already released at {node.rule.name}: a backward pass has gone through it; "
                "call backward(retain_graph=True) the first time, or compute the result again"
            )
        made.append((node.age, t))
        for a in node.inputs:
            if isinstance(a, Value) and a._requires_grad and a not in seen:
                seen.add(a)
                stack.append(a)
    made.sort()
    return seen, [t for _, t in made]


def _leading_to(wanted: set[Any], order: list[Any]) -> set[Any]:
    """Return which of the Tensors, oldest first, lead from a wanted one."""
    leading = set(wanted)
    for t in order:
        if not leading.isdisjoint(a for a in t._node.inputs if isinstance(a, Value)):
            leading.add(t)
    return leading
