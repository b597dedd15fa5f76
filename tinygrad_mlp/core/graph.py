"""The graph: how a result was made, and how gradients walk back from it.

An op on Tensors keeps a `Node` (`tensor.apply`), and `backpropagate` is the only walk back. It knows no derivative:
those stand in `rules`. The same walk serves first order, where rules get arrays, and any order, where they get Tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..refused import no_gradient_of, released
from ..rules.shapes import astype, sum_to
from ..rules.table import Rule, T
from .tracer import IDLE, mode
from .versions import Read, check_unchanged

if TYPE_CHECKING:
    from .tensor import Tensor


@dataclass(eq=False, slots=True)
class Node:
    """How a result was made: its rule, inputs and keywords, and what it read, as it was. Not the result itself.

    ``arrays`` are the inputs with the arrays of Tensors in their place, and ``parents`` the inputs that require grad,
    with their positions. ``inputs`` is None once a backward pass has used and released the node.
    """

    rule: Rule
    inputs: Sequence[Any]
    arrays: Sequence[Any]
    parents: Sequence[tuple[int, Tensor]]
    keywords: Mapping[str, Any]
    reads: Sequence[Read]
    age: int

    def release(self) -> None:
        """Let go of all that the node refers to."""
        self.inputs = None  # type: ignore[assignment]
        self.arrays = self.parents = self.reads = ()


class _Gradients:
    """The gradients on their way back: what has reached each Tensor, as Tensors if ``lifted``, else as arrays.

    ``own`` holds the Tensors to whose gradients nothing else refers.
    """

    def __init__(self, lifted: bool) -> None:
        self.lifted, self.sums, self.own = lifted, {}, set()  # type: tuple[bool, dict[Tensor, Any], set[Tensor]]

    def add(self, t: Tensor, g: Any, fresh: bool = False) -> None:
        """Add a contribution to the gradient of ``t``; ``fresh`` says that nothing else refers to it.

        The first contribution is borrowed unless it is fresh, a second one makes a new array, and an array of our own
        is added to in place, where that gives the memory layout that a new array would have: sums depend on it.
        """
        if self.lifted:
            mode.tracer.gradient_of(t, g)
        before = self.sums.get(t)
        if before is None:
            self.sums[t] = g
            if fresh and (g._data if self.lifted else g).base is None:
                self.own.add(t)
        elif t in self.own and not self.lifted and g.strides == before.strides:
            before += g
        else:
            self.sums[t] = fit(before + g, t._data)
            self.own.add(t)
            if self.lifted:
                mode.tracer.gradient_of(t, self.sums[t])

    def complete(self, t: Tensor) -> Any:
        """Take out the gradient of ``t``, as its hooks leave it; None if nothing has reached it."""
        g = self.sums.pop(t, None)
        if g is not None:
            for hook in t._hooks:
                g = hook(t, g, self.own, self.lifted)
        return g

    def given(self, t: Tensor, g: Any, shared: bool) -> Tensor:
        """Return the gradient of ``t``, in memory that nothing else refers to unless it may be ``shared``."""
        g = g if shared or t in self.own else np.copy(g)
        return g if self.lifted else t._wrap(g)


def backpropagate(
    roots: Sequence[Tensor],
    seeds: Sequence[Tensor],
    wanted: set[Tensor] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    shared: bool = False,
) -> dict[Tensor, Tensor]:
    """Return the gradients of the wanted Tensors (None: of all leaves), which share no memory unless they may.

    ``seeds`` are the gradients of the roots. Tensors are visited once each, newest first, so that a gradient is
    complete before its rules run. What does not lead to a wanted Tensor is not visited.
    """
    order, leading = ancestors(roots)[1], None
    if wanted is not None:
        leading = _leading_to(wanted, order)
        order = [t for t in order if t in leading]
    check_unchanged(order)
    tracer, to_leaves = mode.tracer, wanted is None and not create_graph
    gradients = _Gradients(lifted=tracer.walks(order, seeds) if to_leaves else create_graph or tracer is not IDLE)
    for t, seed in zip(roots, seeds, strict=True):
        gradients.add(t, seed if gradients.lifted else seed._data)
    results = {}
    before, mode.grad_enabled = mode.grad_enabled, create_graph
    try:
        while order:
            t = order.pop()
            if (g := gradients.complete(t)) is None:
                continue
            if t in wanted if wanted is not None else t._hooks and any(hook.retains for hook in t._hooks):
                results[t] = gradients.given(t, g, shared)
            used = _differentiate(t, g, gradients, leading)
            if used and not (retain_graph or create_graph):
                t._node.release()  # type: ignore[union-attr]
        for t in list(gradients.sums):
            results[t] = gradients.given(t, gradients.complete(t), shared)
    finally:
        mode.grad_enabled = before
        tracer.differentiates(None)
    if to_leaves:
        tracer.arrives(results)
    return results


def _differentiate(t: Tensor, g: Any, gradients: _Gradients, leading: set[Tensor] | None) -> bool:
    """Run the rules of the op that made ``t``, whose gradient is ``g``; return whether any was wanted."""
    node: Any = t._node
    lifted, keywords, vjps, used = gradients.lifted, node.keywords, node.rule.vjps, False
    values, out = (node.inputs, t) if lifted else (node.arrays, t._data)
    if lifted:
        mode.tracer.differentiates(t)
    for i, a in node.parents:
        if leading is None or a in leading:
            rule, used = vjps[i], True
            if rule is not None:
                c = rule(g, out, *values, **keywords)
                try:
                    c = fit(c, a._data)
                except (AttributeError, ShapeError) as error:
                    raise no_gradient_of(node.rule.name, i, c, a.shape) from error
                gradients.add(a, c, c is not g)
    return used


def fit(g: T, x: np.ndarray[Any, Any]) -> T:
    """Return a gradient in the shape and dtype of its input: the one place where both are undone."""
    if g.shape != x.shape:
        g = sum_to(g, x.shape)
    if g.dtype != x.dtype:
        g = astype(g, x.dtype)
    return np.asarray(g) if isinstance(g, np.generic) else g  # type: ignore[return-value]


def ancestors(roots: Sequence[Tensor]) -> tuple[set[Tensor], list[Tensor]]:
    """Return all Tensors that lead to the roots, and those of them that an op has made, oldest first."""
    seen, found, made = set(roots), list(roots), []
    for t in found:  # which grows
        if (node := t._node) is None:
            continue
        if node.inputs is None:
            raise released(node.rule.name)
        made.append((node.age, t))
        for _, a in node.parents:
            if a not in seen:
                seen.add(a)
                found.append(a)
    made.sort()
    return seen, [t for _, t in made]


def _leading_to(wanted: set[Tensor], order: list[Tensor]) -> set[Tensor]:
    """Return which of the Tensors, oldest first, lead from a wanted one."""
    leading = set(wanted)
    for t in order:
        if any(a in leading for _, a in t._node.parents):  # type: ignore[union-attr]
            leading.add(t)
    return leading
