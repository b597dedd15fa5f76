"""Derivatives on request: gradients of any order, and `no_grad`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ContextDecorator
from typing import Any, TypeVar

import numpy as np

from ..errors import GraphError, ShapeError, describe
from ..steps import in_steps
from .graph import ancestors, backpropagate
from .tensor import Tensor, seed_of
from .tracer import mode

Tensors = Tensor | Iterable[Tensor]
C = TypeVar("C", bound=Callable[..., Any])


class no_grad(ContextDecorator):  # noqa: N801 - PyTorch's spelling
    """Context manager, also a decorator, inside which no op is recorded, in this thread.

    A generator or an async function that it decorates records nothing while its own body runs; where it yields or
    waits, the mode is that of its surroundings.

    >>> import tinygrad_mlp as tg
    >>> w = tg.Tensor(2.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     y = w * 3
    >>> y.requires_grad
    False
    """

    def __enter__(self) -> None:
        mode.outside.append(mode.grad_enabled)
        mode.grad_enabled = False

    def __exit__(self, *_: object) -> None:
        mode.grad_enabled = mode.outside.pop()

    def __call__(self, function: C) -> C:
        return in_steps(function, no_grad) or super().__call__(function)  # type: ignore[return-value]


def grad(
    outputs: Tensors,
    inputs: Tensors = (),
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """Return the gradients of the sum of the outputs with respect to the inputs; no ``.grad`` changes.

    Args:
        outputs: a Tensor, or several; those that are not scalar need their ``grad_outputs``.
        inputs: a Tensor, or several, anywhere in the graph.
        grad_outputs: the upstream gradient of each output, of its shape. Default: 1 for scalars.
        retain_graph: keep the graph for another pass. Default: as ``create_graph``.
        create_graph: make the gradients differentiable, for higher orders.
        allow_unused: give None for an input that the outputs do not depend on, rather than raise. The type of the
            result leaves that None out, as PyTorch's does: it would be asked about in every other call.

    Raises:
        GraphError: an input is not part of the graph, or the graph has been released.

    >>> import tinygrad_mlp as tg
    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> (dy,) = tg.grad(x**3, x, create_graph=True)
    >>> (d2y,) = tg.grad(dy, x)
    >>> dy.item(), d2y.item()
    (12.0, 12.0)
    """
    if callable(outputs):
        raise TypeError("tg.grad takes Tensors of a graph; the gradient of a function is tg.func.grad(f)(x)")
    outputs, inputs = _as_tensors("outputs", outputs), _as_tensors("inputs", inputs)
    upstream = (None,) * len(outputs) if grad_outputs is None else _as_tuple(grad_outputs)
    if len(upstream) != len(outputs):
        raise ShapeError(f"grad_outputs are {len(upstream)} for {len(outputs)} outputs; pass one for each, or None")
    for i, t in enumerate(inputs):
        if not t._requires_grad:
            raise GraphError(f"{_called(i, t)} does not require grad; create it with requires_grad=True")
    seeds = [seed_of(t, g) for t, g in zip(outputs, upstream, strict=True)]
    used = ancestors(outputs)[0]
    for i, t in enumerate(inputs):
        if t not in used and not allow_unused:
            raise GraphError(f"{_called(i, t)} was not used for the outputs; pass allow_unused=True")
    retain_graph = create_graph if retain_graph is None else retain_graph
    results = backpropagate(outputs, seeds, set(inputs), retain_graph, create_graph)
    found: list[Any] = [results.get(t) for t in inputs]  # None where it was not used
    for i, t in enumerate(inputs):
        if found[i] is not None and any(t is other for other in inputs[:i]):
            found[i] = np.copy(found[i])
    return tuple(found)


def _called(i: int, t: Tensor) -> str:
    return f"inputs[{i}] {t.name}" if t.name else f"inputs[{i}]"


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, (Tensor, np.ndarray)) else (values,)


def _as_tensors(what: str, values: Any) -> tuple[Tensor, ...]:
    tensors = _as_tuple(values)
    if not tensors:
        raise ValueError(f"grad got no {what}; pass a Tensor or several")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"{what}[{i}] is {describe(t)}, not a Tensor; make one with Tensor(...)")
    return tensors
