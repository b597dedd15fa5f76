"""Derivatives on request: gradients of any order, Jacobians, Hessians and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .errors import GraphError, ShapeError
from .graph import Value, backpropagate, mode, wrap
from .rules.shapes import astype


def backward(root: Any, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Add the gradients of ``root`` to ``.grad`` of all leaves that it was made from; on failure none changes."""
    if mode.recorder is not None:
        mode.recorder.section = "backward"
    results = backpropagate([root], [_seed(root, gradient)], None, retain_graph, create_graph)
    if mode.recorder is not None:
        mode.recorder.section = "forward"
    for leaf, g in results.items():
        g = g if isinstance(g, Value) else wrap(g)
        leaf.grad = g if leaf.grad is None else leaf.grad + g


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Return the gradients of the sum of the outputs with respect to the inputs; no ``.grad`` changes.

    Args:
        outputs: a Tensor, or several; those that are not scalar need their ``grad_outputs``.
        inputs: a Tensor, or several, anywhere in the graph.
        grad_outputs: the upstream gradient of each output, of its shape. Default: 1 for scalars.
        retain_graph: keep the graph for another pass. Default: as ``create_graph``.
        create_graph: make the gradients differentiable, for higher orders.
        allow_unused: give None for an input that the outputs do not depend on, rather than raise.

    Raises:
        GraphError: an input is not part of the graph, or the graph has been released.

    >>> import tinygrad_mlp as tg
    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> (dy,) = tg.grad(x**3, x, create_graph=True)
    >>> (d2y,) = tg.grad(dy, x)
    >>> float(dy), float(d2y)
    (12.0, 12.0)
    """
    outputs, inputs = _as_tuple(outputs), _as_tuple(inputs)
    upstream = _as_tuple(grad_outputs) if grad_outputs is not None else (None,) * len(outputs)
    if len(upstream) != len(outputs):
        raise ShapeError(f"grad needs one of grad_outputs for each output: {len(upstream)} for {len(outputs)} outputs")
    for i, t in enumerate(inputs):
        if not t._requires_grad:
            raise GraphError(f"inputs[{i}] {t.name or ''} does not require grad; create it with requires_grad=True")
    seeds = [_seed(t, g) for t, g in zip(outputs, upstream, strict=True)]
    results = backpropagate(
        outputs, seeds, set(inputs), create_graph if retain_graph is None else retain_graph, create_graph
    )
    for i, t in enumerate(inputs):
        if t not in results and not allow_unused:
            raise GraphError(
                f"inputs[{i}] {t.name or ''} was not used to compute the outputs; pass allow_unused=True to get None for it"
            )
    found = (results.get(t) for t in inputs)
    return tuple(g if g is None or isinstance(g, Value) else wrap(g) for g in found)


def _as_tuple(tensors: Any) -> tuple[Any, ...]:
    return (tensors,) if isinstance(tensors, Value) or not isinstance(tensors, (tuple, list)) else tuple(tensors)


def _seed(root: Any, gradient: Any) -> Any:
    """Return the upstream gradient of a root as a Tensor, in its shape and dtype."""
    if not root._requires_grad:
        why = (
            f"it comes through {root._cut}, which is constant"
            if root._cut
            else "was it made under no_grad or detached?"
        )
        raise GraphError(f"no tensor in this graph requires grad: {why} Create the leaves with requires_grad=True")
    data = root._data
    if gradient is None:
        if data.size != 1:
            raise GraphError(
                f"backward of a result of shape {data.shape} needs its upstream gradient: "
                "pass gradient=... or reduce with sum()/mean()"
            )
        seed = wrap(np.ones_like(data))
        if mode.recorder is not None:
            mode.recorder.frozen(seed)
        return seed
    seed = gradient if isinstance(gradient, Value) else wrap(np.asarray(gradient))
    if seed._data.shape != data.shape:
        raise ShapeError(
            f"the upstream gradient has shape {seed._data.shape}, the result {data.shape}; they must be equal"
        )
    return seed if seed._data.dtype == data.dtype else astype(seed, data.dtype)


def jacobian(f: Callable[[Any], Any], x: Any, create_graph: bool = False) -> Any:
    """Return all derivatives of ``f(x)`` by ``x``, of shape ``f(x).shape + x.shape``, by one backward pass a row.

    >>> import tinygrad_mlp as tg
    >>> tg.jacobian(lambda x: x * x, tg.Tensor([1.0, 2.0])).numpy()
    array([[2., 0.],
           [0., 4.]])
    """
    x = x if x._requires_grad else _leaf(x)
    y = f(x)
    rows = [grad(y, x, e, retain_graph=True, create_graph=create_graph)[0] for e in _basis(y._data)]
    return np.stack(rows).reshape(y.shape + x.shape)


def hessian(f: Callable[[Any], Any], x: Any) -> Any:
    """Return all second derivatives of a scalar ``f(x)``, of shape ``x.shape + x.shape``.

    >>> import tinygrad_mlp as tg
    >>> tg.hessian(lambda x: x[0] * x[1] ** 2, tg.Tensor([3.0, 5.0])).numpy()
    array([[ 0., 10.],
           [10.,  6.]])
    """
    return jacobian(lambda t: grad(f(t), t, create_graph=True)[0], x)


def hvp(f: Callable[[Any], Any], x: Any, v: Any) -> Any:
    """Return the product of the Hessian of a scalar ``f(x)`` with ``v``, of the shape of ``x``, without the Hessian.

    The derivative of ``grad f . v``: twice the work of a gradient (Pearlmutter, Neural Computation 6, 1994).

    >>> import tinygrad_mlp as tg
    >>> tg.hvp(lambda x: (x**3).sum(), tg.Tensor([1.0, 2.0]), np.array([1.0, 1.0])).numpy()
    array([ 6., 12.])
    """
    x = x if x._requires_grad else _leaf(x)
    (slope,) = grad(f(x), x, create_graph=True)
    return grad((slope * v).sum(), x)[0]


def _leaf(x: Any) -> Any:
    leaf = wrap(x._data)
    leaf.requires_grad = True
    return leaf


def _basis(y: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    for index in np.ndindex(y.shape):
        e = np.zeros_like(y)
        e[index] = 1
        yield e
