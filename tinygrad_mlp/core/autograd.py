"""Derivatives on request: gradients of any order, Jacobians, Hessians and Hessian-vector products."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from ..errors import DtypeError, GraphError, ShapeError, describe
from ..rules.shapes import astype
from .graph import Value, ancestors, backpropagate, wrap
from .tracer import mode


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

    def __init__(self) -> None:
        self._before: list[bool | None] = []

    def __enter__(self) -> None:
        self._before.append(mode.grad_enabled)
        mode.grad_enabled = False

    def __exit__(self, *_: object) -> None:
        mode.grad_enabled = self._before.pop()

    def __call__(self, function: Any) -> Any:
        run: Any
        if inspect.isgeneratorfunction(function):

            def run(*args: Any, **kwargs: Any) -> Any:
                return (yield from _Steps(function(*args, **kwargs)))

        elif inspect.iscoroutinefunction(function):

            async def run(*args: Any, **kwargs: Any) -> Any:
                return await _Steps(function(*args, **kwargs))

        elif inspect.isasyncgenfunction(function):

            def run(*args: Any, **kwargs: Any) -> Any:
                return _Steps(function(*args, **kwargs))

        else:
            return super().__call__(function)
        return functools.wraps(function)(run)

    def _recreate_cm(self) -> no_grad:
        return no_grad()


class _Steps(Generator[Any, Any, Any], AsyncGenerator[Any, Any]):
    """A generator or coroutine, each of whose steps, from one place where it waits to the next, is under `no_grad`."""

    def __init__(self, body: Any) -> None:
        self.body = body

    def send(self, value: Any) -> Any:
        with no_grad():
            return self.body.send(value)

    def throw(self, *error: Any) -> Any:
        with no_grad():
            return self.body.throw(*error)

    def asend(self, value: Any) -> Any:
        return _Steps(self.body.asend(value))

    def athrow(self, *error: Any) -> Any:
        return _Steps(self.body.athrow(*error))

    __await__ = Generator.__iter__


class HookHandle:
    """A function that is called with the gradient of a Tensor once it is complete, or None for one that is kept."""

    def __init__(self, t: Any, function: Callable[[Any], Any] | None) -> None:
        if not t._requires_grad:
            raise GraphError("a Tensor that does not require grad gets no gradient; set requires_grad=True")
        self._tensor, self._function, self.retains = weakref.ref(t), function, function is None
        t._hooks = (*t._hooks, self)

    def remove(self) -> None:
        """Take the hook away."""
        if (t := self._tensor()) is not None:
            t._hooks = tuple(hook for hook in t._hooks if hook is not self)

    def __call__(self, t: Any, g: Any, own: set[Any], lifted: bool) -> Any:
        """Return the gradient as the hook leaves it; ``own`` says which gradients nothing else refers to."""
        if self._function is None:
            return g
        mode.tracer.differentiates(None)
        g = g if t in own else g.copy()
        own.add(t)
        given = self._function(seen := g if lifted else wrap(g))
        if given is None or given is seen:
            return g
        own.remove(t)
        given = _upstream(t, given, f"what a hook of {t.name or 'a Tensor'} gave")
        return given if lifted else given._data


def backward(root: Any, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Add the gradients of ``root`` to ``.grad`` of all leaves that it was made from; on failure none changes."""
    results = backpropagate([root], [_seed(root, gradient)], None, retain_graph, create_graph)
    gradients = [g if isinstance(g, Value) else wrap(g) for g in results.values()]
    totals = [g if leaf.grad is None else leaf.grad + g for leaf, g in zip(results, gradients, strict=True)]
    for leaf, total in zip(results, totals, strict=True):
        leaf.grad = total


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
    outputs, inputs = _as_tensors("outputs", outputs), _as_tensors("inputs", inputs)
    upstream = (None,) * len(outputs) if grad_outputs is None else _as_tuple(grad_outputs)
    if len(upstream) != len(outputs):
        raise ShapeError(f"grad_outputs are {len(upstream)} for {len(outputs)} outputs; pass one for each, or None")
    for i, t in enumerate(inputs):
        if not t._requires_grad:
            raise GraphError(f"{_called('inputs', i, t)} does not require grad; create it with requires_grad=True")
    seeds = [_seed(t, g) for t, g in zip(outputs, upstream, strict=True)]
    used = ancestors(outputs)[0]
    for i, t in enumerate(inputs):
        if t not in used and not allow_unused:
            raise GraphError(f"{_called('inputs', i, t)} was not used for the outputs; pass allow_unused=True")
    retain_graph = create_graph if retain_graph is None else retain_graph
    results = backpropagate(outputs, seeds, set(inputs), retain_graph, create_graph)
    found: list[Any] = [results.get(t) for t in inputs]
    for i, t in enumerate(inputs):
        if found[i] is not None and any(t is other for other in inputs[:i]):
            found[i] = found[i].copy()
    return tuple(g if g is None or isinstance(g, Value) else wrap(g) for g in found)


def _called(what: str, i: int, t: Any) -> str:
    return f"{what}[{i}] {t.name}" if t.name else f"{what}[{i}]"


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, (Value, np.ndarray)) else (values,)


def _as_tensors(what: str, values: Any) -> tuple[Any, ...]:
    tensors = _as_tuple(values)
    if not tensors:
        raise ValueError(f"grad got no {what}; pass a Tensor or several")
    for i, t in enumerate(tensors):
        if not isinstance(t, Value):
            raise TypeError(f"{what}[{i}] is {describe(t)}, not a Tensor; make one with Tensor(...)")
    return tensors


def _seed(root: Any, gradient: Any) -> Any:
    """Return the upstream gradient of a root as a Tensor, in its shape and dtype."""
    if not root._requires_grad:
        constant = f"the result comes through {root._cut}, which is constant"
        why = constant if root._cut else "it was detached or made under no_grad"
        raise GraphError(f"no tensor in this graph requires grad: {why}, or no leaf has requires_grad=True; set it")
    data = root._data
    if gradient is None:
        if data.size != 1:
            needs = f"backward of a result of shape {data.shape} needs its upstream gradient"
            raise GraphError(f"{needs}: pass gradient=... or reduce with sum()/mean()")
        seed = wrap(np.ones_like(data))
        mode.tracer.constant(seed)
        return seed
    return _upstream(root, gradient, "the upstream gradient")


def _upstream(t: Any, gradient: Any, what: str) -> Any:
    """Return a gradient that somebody gave for a Tensor as a Tensor, in its dtype."""
    g, dtype = gradient if isinstance(gradient, Value) else wrap(np.asarray(gradient)), t._data.dtype
    if g._data.dtype.kind not in "biuf":
        raise DtypeError(f"{what} has dtype {g._data.dtype}; use {dtype}")
    g = g if g._data.dtype == dtype else astype(g, dtype)
    check_gradient(t, g, what)
    return g


def check_gradient(t: Any, g: Any, what: str) -> None:
    """Raise unless ``g`` is a Tensor of the shape and dtype of ``t``; ``what`` is how the error calls it."""
    if not isinstance(g, Value):
        raise TypeError(f"{what} is {describe(g)}, expected a Tensor or None; use Tensor(array)")
    if g._data.shape != t._data.shape:
        raise ShapeError(f"{what} has shape {g._data.shape}, expected {t._data.shape}; make them equal")
    if g._data.dtype != t._data.dtype:
        raise DtypeError(f"{what} has dtype {g._data.dtype}; use {t._data.dtype}, as the Tensor")


def jacobian(f: Callable[[Any], Any], x: Any, create_graph: bool = False) -> Any:
    """Return all derivatives of ``f(x)`` by ``x``, of shape ``f(x).shape + x.shape``, by one backward pass a row.

    >>> import tinygrad_mlp as tg
    >>> tg.jacobian(lambda x: x * x, tg.Tensor([1.0, 2.0])).numpy()
    array([[2., 0.],
           [0., 4.]])
    """
    x = _differentiable(x)
    y = f(x)
    rows = [_slope(y, x, e, retain_graph=True, create_graph=create_graph) for e in _basis(y._data)]
    return np.stack(rows).reshape(y.shape + x.shape)


def hessian(f: Callable[[Any], Any], x: Any) -> Any:
    """Return all second derivatives of a scalar ``f(x)``, of shape ``x.shape + x.shape``.

    >>> import tinygrad_mlp as tg
    >>> tg.hessian(lambda x: x[0] * x[1] ** 2, tg.Tensor([3.0, 5.0])).numpy()
    array([[ 0., 10.],
           [10.,  6.]])
    """
    return jacobian(lambda t: _slope(f(t), t, create_graph=True), x)


def hvp(f: Callable[[Any], Any], x: Any, v: Any) -> Any:
    """Return the product of the Hessian of a scalar ``f(x)`` with ``v``, of the shape of ``x``, without the Hessian.

    The derivative of ``grad f . v``: twice the work of a gradient (Pearlmutter, Neural Computation 6, 1994).

    >>> import tinygrad_mlp as tg
    >>> tg.hvp(lambda x: (x**3).sum(), tg.Tensor([1.0, 2.0]), np.array([1.0, 1.0])).numpy()
    array([ 6., 12.])
    """
    x = _differentiable(x)
    return _slope((_slope(f(x), x, create_graph=True) * v).sum(), x)


def _differentiable(x: Any) -> Any:
    """Return x itself if it requires grad, else a leaf over its data that does."""
    (x,) = _as_tensors("x", x)
    if x._requires_grad:
        return x
    leaf = wrap(x._data, version=x._version)
    leaf.requires_grad = True
    return leaf


def _slope(y: Any, x: Any, upstream: Any = None, **options: Any) -> Any:
    """Return the gradient of y by x: zeros where y does not depend on x."""
    g = grad(y, x, upstream, allow_unused=True, **options)[0] if y._requires_grad else None
    return wrap(np.zeros_like(x._data)) if g is None else g


def _basis(y: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    for index in np.ndindex(y.shape):
        e = np.zeros_like(y)
        e[index] = 1
        yield e
