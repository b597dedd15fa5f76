"""Tensor: an ndarray that differentiates itself, and `apply`, the only door through which an op on Tensors passes."""

from __future__ import annotations

import dis
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..checks import as_numbers, as_operand, as_result, check_flag, check_function
from ..errors import DtypeError, GraphError, NoRuleError, ShapeError, attempt, describe, warn
from ..foreign import knows_foreign
from ..refused import LOST, no_array, no_gradient
from ..rules.shapes import astype
from ..rules.table import RULES, Rule, find
from .graph import Node, backpropagate
from .methods import ArrayMethods
from .tracer import IDLE, mode
from .versions import PUBLIC, changed, hand_out, next_age, note, rebound, version_of

_STORE = dis.opmap["STORE_SUBSCR"]
_adding = [threading.RLock()]
"""Held while gradients are added to those of leaves, which threads may share."""
if hasattr(os, "register_at_fork"):  # a thread that held it does not exist in the child
    os.register_at_fork(after_in_child=lambda: _adding.__setitem__(0, threading.RLock()))


def wrap(data: np.ndarray[Any, Any], version: list[Any] | None = None) -> Tensor:
    """Return a Tensor around an array as it is, one that does not require grad."""
    t = Tensor.__new__(Tensor)
    t._data, t._requires_grad, t._version, t._hooks = data, False, version, ()
    t._node = t._cut = t._grad = t.name = None
    return t


def call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a function as NumPy's own signature has it, with Tensors among its arguments."""
    rule = RULES.get(function) or find(function)
    if rule.kind == "composite":
        return attempt(rule.name, rule.forward, args, kwargs)
    if kwargs or rule.binds:
        args, kwargs = attempt(rule.name, rule.bind, args, kwargs)  # type: ignore[arg-type]
    return apply(function, args, kwargs)


def apply(function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Compute a function on arrays and Tensors and return a Tensor that knows how it was made.

    Raises `NoRuleError` for a function without a rule, `ShapeError`, with all shapes, for operands that do not fit.
    """
    rule, tracer = RULES.get(function) or find(function), mode.tracer
    arrays, inputs, parents, reads = [], [], [], []  # type: tuple[list[Any], list[Any], list[Any], list[Any]]
    cut = None  # what ended the graph of one of the inputs
    for i, a in enumerate(args):
        if isinstance(a, Tensor):
            array: Any = a._data
            if a._requires_grad:
                parents.append((i, a))
            elif cut is None:
                cut = a._cut
            if a._version is not None:
                reads.append((a, array, a._version))
        else:
            array = a = a if type(a) is float else as_operand(a, rule.own)
            if isinstance(a, np.ndarray):
                reads.append((a, a, PUBLIC))
        inputs.append(a)
        arrays.append(array)
    for value in keywords.values():
        if isinstance(value, Tensor):
            raise NoRuleError(f"{rule.name}: a Tensor as keyword would lose its gradient; pass it by position")
    if tracer is IDLE:
        out = attempt(rule.name, rule.forward, arrays, keywords)
    else:
        out = tracer.compute(rule, arrays, inputs, keywords)
    if type(out) is not np.ndarray:
        out = as_result(rule.name, out, rule.kind == "constant")
        if type(out) is not np.ndarray:  # several, such as those of nonzero
            return type(out)(map(wrap, out))
    result = wrap(out)
    if rule.view and isinstance(inputs[0], Tensor) and np.may_share_memory(result._data, arrays[0]):
        result._version = version_of(inputs[0])
    if parents:
        _connect(result, rule, inputs, arrays, parents, keywords, reads)
    else:
        result._cut = cut
    if tracer is not IDLE:
        tracer.op(rule, inputs, keywords, result)
    return result


def _connect(result: Tensor, rule: Rule, inputs: Any, arrays: Any, parents: Any, keywords: Any, reads: Any) -> None:
    """Make a result part of the graph, unless it is constant, or no graph is kept."""
    dtype = result._data.dtype
    if rule.kind == "constant" or dtype.kind in "biu":
        result._cut = rule.name
    elif mode.grad_enabled:
        if dtype.kind != "f":
            raise DtypeError(f"{rule.name} gives {dtype}, which carries no gradient; use float32/float64 operands")
        if rule.linear:  # its rules read labels, masks and indices, if anything
            reads = [r for r in reads if not (r[1].dtype.kind == "f" if r[2] is PUBLIC else r[0]._requires_grad)]
        reads = note(reads) if reads else ()
        result._node, result._requires_grad = Node(rule, inputs, arrays, parents, keywords, reads, next_age()), True


def assign(target: Tensor, value: Any) -> Tensor:
    """Write values into a Tensor's memory, without recording: the only way in which data changes in place.

    Raises `ShapeError` if the value does not broadcast to the target's shape; nothing is written then.
    """
    array = value._data if isinstance(value, Tensor) else np.asarray(value)

    def write() -> None:
        attempt("assign", np.copyto, (target._data, array), {"casting": "same_kind"})
        changed(target)

    mode.tracer.assign(target, value, write)
    return target


@knows_foreign
class Tensor(ArrayMethods):
    """An array whose operations are recorded, so that they can be differentiated.

    Args:
        data: anything that ``np.asarray`` takes, a DataFrame too. An ndarray is not copied: the Tensor is a view.
        requires_grad: whether ``backward()`` fills ``grad``. Needs a float dtype.
        name: how errors, reports and drawings call it.

    Attributes:
        grad: the gradient, a Tensor of the same shape and dtype, or None.

    Raises:
        DtypeError: an object array, or requires_grad of integers, booleans or complex numbers.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> loss = np.sum(x**2)
    >>> loss.backward()
    >>> x.grad
    Tensor([2., 4., 6.], dtype=float64)
    """

    __slots__ = ("__weakref__", "_cut", "_data", "_grad", "_hooks", "_node", "_requires_grad", "_version", "name")

    _data: np.ndarray[Any, Any]
    _node: Node | None
    _requires_grad: bool
    _version: list[Any] | None
    """Counts changes of the memory, see `versions`."""
    _cut: str | None
    """Names the constant function that ended the graph, for the error message."""
    _hooks: tuple[HookHandle, ...]
    """Called with the gradient."""
    _grad: Tensor | None
    name: str | None

    _apply, _call, _assign, _wrap = staticmethod(apply), staticmethod(call), staticmethod(assign), staticmethod(wrap)

    def __init__(self, data: ArrayLike, requires_grad: bool = False, name: str | None = None) -> None:
        array = data._data if isinstance(data, Tensor) else as_numbers(data)
        self._data, self._node, self._cut, self._grad, self._hooks = array, None, None, None, ()
        self._requires_grad, self.name = False, name
        self._version = version_of(data) if isinstance(data, Tensor) else [0]
        if requires_grad:
            self.requires_grad = requires_grad

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The array itself, not a copy. Write into it before a graph reads it, or after, or else `backward` raises."""
        mode.tracer.reads_value("data")
        return hand_out(self)

    @data.setter
    def data(self, value: ArrayLike) -> None:
        if self._node is not None or self._version is None:
            raise GraphError("only the data of a leaf can be replaced, this is the result of an op; make a new Tensor")
        array = as_numbers(value)
        if self._requires_grad and array.dtype.kind != "f":
            raise DtypeError(f"a Tensor of {array.dtype} cannot require grad; use float32/float64")
        rebound[0] += 1
        self._data = array
        del self._version[1:]
        changed(self)

    @property
    def grad(self) -> Tensor | None:
        """The gradient, a Tensor of the same shape and dtype, or None."""
        mode.tracer.reads_grad(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            check_gradient(self, value, f"the new grad of {self.name or 'a Tensor'}")
        mode.tracer.sets_grad(self, value)
        self._grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach this Tensor. Can be set on leaves, those that no op has made."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if (node := self._node) is not None:
            raise GraphError(f"only a leaf can change requires_grad, {node.rule.name} made this; use detach()")
        check_flag("requires_grad", value)
        if value and self._data.dtype.kind != "f":
            raise DtypeError(f"a Tensor of {self._data.dtype} cannot require grad; use float32/float64")
        self._requires_grad = bool(value)
        rebound[0] += 1

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the Tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op that is recorded has made this Tensor."""
        return self._node is None

    @property
    def real(self) -> Tensor:
        """The real part, which is the Tensor itself unless it is complex, as under the complex step."""
        return wrap(self._data.real) if self._data.dtype.kind == "c" else self

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add the gradients of this Tensor to ``.grad`` of every leaf that it was made from.

        Args:
            gradient: the upstream gradient, of this shape. Default: 1, for a Tensor of one element.
            retain_graph: keep the graph, so that another pass can go through it.
            create_graph: make the gradients differentiable. Prefer `grad`, which leaves no reference cycle.

        Raises:
            GraphError: nothing requires grad, the graph is released, its data has changed, or ``gradient`` is missing.
            ShapeError: ``gradient`` has another shape.

        >>> w = Tensor(3.0, requires_grad=True)
        >>> (w * w).backward()
        >>> w.grad.item()
        6.0
        """
        results = backpropagate([self], [seed_of(self, gradient)], None, retain_graph, create_graph)
        with _adding[0]:
            totals = [g if leaf.grad is None else leaf.grad + g for leaf, g in results.items()]
            for leaf, total in zip(results, totals, strict=True):
                mode.tracer.sets_grad(leaf, total)
                leaf._grad = total

    def register_hook(self, hook: Callable[[Tensor], Any]) -> HookHandle:
        """Call a function with the gradient of this Tensor whenever `backward` or `grad` has completed it.

        What it returns, unless that is None, takes the gradient's place: in ``.grad``, and in what goes on to the
        inputs. Hooks run in the order in which they came; under ``create_graph`` their ops are differentiable. A
        jitted step repeats the ops of its hooks; register those of its parameters outside of it.

        Returns:
            A handle, whose ``remove()`` takes the hook away.

        Raises:
            GraphError: this Tensor does not require grad.

        >>> w = Tensor([1.0, 2.0], requires_grad=True)
        >>> handle = w.register_hook(lambda g: np.clip(g, -1, 1))
        >>> (w * [5.0, 0.5]).sum().backward()
        >>> w.grad
        Tensor([1. , 0.5], dtype=float64)
        >>> handle.remove()
        """
        check_function("hook", hook, "hook(gradient)", 1)
        if self._node is None:
            mode.tracer.reads_value("the hook of a leaf")
        return HookHandle(self, hook)

    def retain_grad(self) -> None:
        """Make `backward` keep the gradient of this Tensor in ``.grad``, although it is the result of an op.

        Raises:
            GraphError: this Tensor does not require grad.
        """
        HookHandle(self, None)

    def zero_grad(self) -> None:
        """Forget the gradient: ``grad`` becomes None."""
        self.grad = None

    def detach(self) -> Tensor:
        """Return a Tensor over the same memory that is constant to the graph."""
        mode.tracer.detaches(self)
        return wrap(self._data, version=version_of(self))

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the array itself.

        Raises:
            GraphError: the Tensor requires grad, which the array would lose silently.
        """
        mode.tracer.reads_value("numpy")
        if self._requires_grad:
            raise no_array()
        return hand_out(self)

    def item(self) -> Any:
        """Return the only element as a Python number. `float` does too, but warns of a gradient that is lost."""
        mode.tracer.reads_value("item")
        if self._data.size != 1:
            raise ValueError(f"a Tensor of shape {self.shape} has {self.size} elements; item() needs exactly one")
        return self._data.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists."""
        mode.tracer.reads_value("tolist")
        return self._data.tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        caller = sys._getframe(1)
        if caller.f_code.co_name == "_matmul_dispatch":  # of a sparse matrix, which then asks `__rmatmul__`
            unknown = np.empty((), object)
            unknown[()] = self
            return unknown
        if self._requires_grad:
            raise no_array(caller.f_globals.get("__name__", ""))
        array = self.numpy()
        return array.astype(array.dtype if dtype is None else dtype, copy=bool(copy))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__":
            return call(ufunc, inputs, kwargs)
        if method == "reduce" and (function := find(ufunc).reduce):
            return call(function, inputs, {"axis": 0, **kwargs})
        raise NoRuleError(f"{ufunc.__name__}.{method} has no derivative rule; write it with functions that have one")

    def __array_function__(self, func: Any, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return call(func, args, kwargs)

    def __getstate__(self) -> Any:
        if (node := self._node) is not None:
            raise GraphError(f"only leaf Tensors can be copied or pickled, {node.rule.name} made this; use detach()")
        state = {name: getattr(self, name) for name in Tensor.__slots__[1:]}
        return None, {**state, "_version": version_of(self), "_hooks": ()}

    def __repr__(self) -> str:
        values = np.array2string(self._data, separator=", ", prefix="Tensor(", threshold=100, edgeitems=3)
        made = f", op={self._node.rule.name}" if self._node else ", requires_grad=True" if self._requires_grad else ""
        name = f", name={self.name!r}" if self.name else ""
        return f"Tensor({values}, dtype={self.dtype}{made}{name})"

    def _repr_html_(self) -> str:
        from .. import notebook

        return notebook.tensor(self)

    def __bool__(self) -> bool:
        mode.tracer.reads_value("bool()")
        if self._data.size != 1:
            raise ValueError(f"the truth of a Tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return bool(self._data)

    def __float__(self) -> float:
        number = float(self._number())
        if self._requires_grad:
            warn(LOST)
        return number

    def __int__(self) -> int:
        return int(self._number())

    def _number(self) -> Any:
        """Return the only element, but not to ``array[i] = t``: unlike ``float(t)``, it does not say what is lost."""
        frame = sys._getframe(2)
        if self._requires_grad and frame.f_code.co_code[frame.f_lasti] == _STORE:
            self.__array__()
        return self.item()

    def __index__(self) -> int:
        mode.tracer.reads_value("int()")
        return self._data.__index__()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("a Tensor of shape () has no length")
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))


class HookHandle:
    """A function that is called with the gradient of a Tensor once it is complete, or None for one that is kept."""

    def __init__(self, t: Tensor, function: Callable[[Tensor], Any] | None) -> None:
        if not t._requires_grad:
            raise GraphError("a Tensor that does not require grad gets no gradient; set requires_grad=True")
        self._tensor, self._function, self.retains = weakref.ref(t), function, function is None
        t._hooks = (*t._hooks, self)
        rebound[0] += 1

    def remove(self) -> None:
        """Take the hook away."""
        if (t := self._tensor()) is not None:
            t._hooks = tuple(hook for hook in t._hooks if hook is not self)
            rebound[0] += 1

    def __call__(self, t: Tensor, g: Any, own: set[Tensor], lifted: bool) -> Any:
        """Return the gradient as the hook leaves it; ``own`` says which gradients nothing else refers to."""
        if self._function is None:
            return g
        mode.tracer.differentiates(None)
        g = g if t in own else np.copy(g)
        own.add(t)
        given = self._function(seen := g if lifted else wrap(g))
        if given is None or given is seen:
            return g
        own.remove(t)
        given = _upstream(t, given, f"what a hook of {t.name or 'a Tensor'} gave")
        return given if lifted else given._data


def seed_of(root: Tensor, gradient: Any) -> Tensor:
    """Return the upstream gradient of a root as a Tensor, in its shape and dtype."""
    if not root._requires_grad:
        raise no_gradient(root._cut)
    data = root._data
    if gradient is None:
        if data.size != 1:
            needs = f"backward of a result of shape {data.shape} needs its upstream gradient"
            raise GraphError(f"{needs}: pass gradient=... or reduce with sum()/mean()")
        seed = wrap(np.ones_like(data))
        mode.tracer.constant(seed)
        return seed
    return _upstream(root, gradient, "the upstream gradient")


def _upstream(t: Tensor, gradient: Any, what: str) -> Tensor:
    """Return a gradient that somebody gave for a Tensor as a Tensor, in its dtype."""
    g, dtype = gradient if isinstance(gradient, Tensor) else wrap(np.asarray(gradient)), t._data.dtype
    if g._data.dtype.kind not in "biuf":
        raise DtypeError(f"{what} has dtype {g._data.dtype}; use {dtype}")
    g = g if g._data.dtype == dtype else astype(g, dtype)
    check_gradient(t, g, what)
    return g


def check_gradient(t: Tensor, g: Any, what: str) -> None:
    """Raise unless ``g`` is a Tensor of the shape and dtype of ``t``; ``what`` is how the error calls it."""
    if not isinstance(g, Tensor):
        raise TypeError(f"{what} is {describe(g)}, expected a Tensor or None; use Tensor(array)")
    if g._data.shape != t._data.shape:
        raise ShapeError(f"{what} has shape {g._data.shape}, expected {t._data.shape}; make them equal")
    if g._data.dtype != t._data.dtype:
        raise DtypeError(f"{what} has dtype {g._data.dtype}; use {t._data.dtype}, as the Tensor")
