"""Tensor: an ndarray that differentiates itself, through Python's operators, NumPy's functions and its own methods."""

from __future__ import annotations

import dis
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..checks import as_numbers
from ..errors import DtypeError, GraphError, NoRuleError, ShapeError
from ..rules.elementwise import POWERS
from ..rules.indexing import getitem
from ..rules.shapes import Axis, astype
from ..rules.table import constant_operand, find
from . import autograd, graph
from .autograd import HookHandle
from .graph import Value, apply, assign, call, wrap
from .tracer import mode
from .versions import changed, version_of

_NONE: dict[str, Any] = {}
_STORE = dis.opmap["STORE_SUBSCR"]


def _unary(function: Any, doc: str | None = None) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return apply(function, (self,), _NONE)

    method.__name__, method.__doc__ = function.__name__, doc
    return method


def _binary(function: Any) -> Callable[[Tensor, Any], Tensor]:
    return lambda self, other: apply(function, (self, other), _NONE)


def _reflected(function: Any) -> Callable[[Tensor, Any], Tensor]:
    return lambda self, other: apply(function, (other, self), _NONE)


def _in_place(function: Any) -> Callable[[Tensor, Any], Tensor]:
    return lambda self, other: self._updated(function(self, other))


class Tensor(Value):
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

    __slots__ = ()

    def __init__(self, data: ArrayLike, requires_grad: bool = False, name: str | None = None) -> None:
        array = data._data if isinstance(data, Value) else as_numbers(data)
        self._data, self._node, self._version, self._cut = array, None, [0], None
        self._requires_grad, self._grad, self._hooks, self.name = False, None, (), name
        if isinstance(data, Value):
            self._version = version_of(data)
        if requires_grad:
            self.requires_grad = True

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The array itself, not a copy. Writing into it is not seen by the graph: prefer ``with no_grad():``."""
        mode.tracer.reads_value("data")
        return self._data

    @data.setter
    def data(self, value: ArrayLike) -> None:
        if self._node is not None or self._version is None:
            raise GraphError("only the data of a leaf can be replaced, this is the result of an op; make a new Tensor")
        array = as_numbers(value)
        if self._requires_grad and array.dtype.kind != "f":
            raise DtypeError(f"a Tensor of {array.dtype} cannot require grad; use float32/float64")
        self._data = array
        changed(self)

    @property
    def grad(self) -> Any:
        """The gradient, a Tensor of the same shape and dtype, or None."""
        mode.tracer.reads_grad(self)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            autograd.check_gradient(self, value, f"the new grad of {self.name or 'a Tensor'}")
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
        if value and self._data.dtype.kind != "f":
            raise DtypeError(f"a Tensor of {self._data.dtype} cannot require grad; use float32/float64")
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the Tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op that is recorded has made this Tensor."""
        return self._node is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements, as in NumPy."""
        return self._data.size

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's spelling
        """The Tensor with its axes reversed."""
        return apply(np.transpose, (self,), _NONE)

    @property
    def real(self) -> Tensor:
        """The real part: the Tensor itself unless it is complex, as under the complex step."""
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
        autograd.backward(self, gradient, retain_graph, create_graph)

    def register_hook(self, hook: Callable[[Any], Any]) -> HookHandle:
        """Call a function with the gradient of this Tensor whenever `backward` or `grad` has completed it.

        What it returns, unless that is None, takes the gradient's place: in ``.grad``, and in what goes on to the
        inputs. Hooks run in the order in which they came; under ``create_graph`` their ops are differentiable. A
        jitted step repeats the ops of its hooks; register those of its parameters outside of it.

        Returns:
            A handle: its ``remove()`` takes the hook away.

        Raises:
            GraphError: this Tensor does not require grad.

        >>> w = Tensor([1.0, 2.0], requires_grad=True)
        >>> handle = w.register_hook(lambda g: np.clip(g, -1, 1))
        >>> (w * [5.0, 0.5]).sum().backward()
        >>> w.grad
        Tensor([1. , 0.5], dtype=float64)
        >>> handle.remove()
        """
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
        return wrap(self._data, version=version_of(self))

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the array itself.

        Raises:
            GraphError: the Tensor requires grad, which the array would lose silently.
        """
        mode.tracer.reads_value("numpy")
        if self._requires_grad:
            raise GraphError("this Tensor requires grad, and an array would lose it silently; use t.detach().numpy()")
        return self._data

    def item(self) -> Any:
        """Return the only element as a Python number."""
        mode.tracer.reads_value("item")
        if self._data.size != 1:
            raise ValueError(f"a Tensor of shape {self.shape} has {self.size} elements; item() needs exactly one")
        return self._data.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists."""
        mode.tracer.reads_value("tolist")
        return self._data.tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
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
        state = {name: getattr(self, name) for name in Value.__slots__[1:]}
        return None, {**state, "_version": version_of(self), "_hooks": ()}

    def __repr__(self) -> str:
        values = np.array2string(self._data, separator=", ", prefix="Tensor(", threshold=100, edgeitems=3)
        made = f", op={self._node.rule.name}" if self._node else ", requires_grad=True" if self._requires_grad else ""
        name = f", name={self.name!r}" if self.name else ""
        return f"Tensor({values}, dtype={self.dtype}{made}{name})"

    def __bool__(self) -> bool:
        mode.tracer.reads_value("bool()")
        if self._data.size != 1:
            raise ValueError(f"the truth of a Tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return bool(self._data)

    def __float__(self) -> float:
        return float(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def _number(self) -> Any:
        """Return the only element, but not to ``array[i] = t``: unlike ``float(t)``, it does not say what is lost."""
        frame = sys._getframe(2)
        if self._requires_grad and frame.f_code.co_code[frame.f_lasti] == _STORE:
            self.numpy()
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

    def __getitem__(self, index: Any) -> Tensor:
        items = index if isinstance(index, tuple) else (index,)
        return apply(getitem, (self, *[_as_index(i) if isinstance(i, list) else i for i in items]), _NONE)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("item assignment is not differentiable; use np.where(mask, new, old) or np.concatenate")

    __hash__ = object.__hash__

    __neg__, __pos__ = _unary(np.negative), _unary(np.positive)
    __abs__, __invert__ = _unary(np.absolute), _unary(np.invert)
    __add__, __radd__ = _binary(np.add), _reflected(np.add)
    __sub__, __rsub__ = _binary(np.subtract), _reflected(np.subtract)
    __mul__, __rmul__ = _binary(np.multiply), _reflected(np.multiply)
    __truediv__, __rtruediv__ = _binary(np.divide), _reflected(np.divide)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide), _reflected(np.floor_divide)
    __mod__, __rmod__ = _binary(np.remainder), _reflected(np.remainder)
    __divmod__, __rdivmod__ = (lambda x, y: np.divmod(x, y)), (lambda x, y: np.divmod(y, x))
    __matmul__, __rmatmul__ = _binary(np.matmul), _reflected(np.matmul)
    __and__, __rand__ = _binary(np.bitwise_and), _reflected(np.bitwise_and)
    __or__, __ror__ = _binary(np.bitwise_or), _reflected(np.bitwise_or)
    __xor__, __rxor__ = _binary(np.bitwise_xor), _reflected(np.bitwise_xor)
    __lt__, __le__ = _binary(np.less), _binary(np.less_equal)
    __gt__, __ge__ = _binary(np.greater), _binary(np.greater_equal)
    __rpow__ = _reflected(np.power)

    def __pow__(self, other: Any) -> Tensor:
        exponent = other if isinstance(other, Value) else constant_operand(other)
        if isinstance(exponent, (int, float)) and exponent in POWERS and self._data.dtype.kind in "fc":
            return apply(POWERS[exponent], (self,), _NONE)
        return apply(np.power, (self, exponent), _NONE)

    def __eq__(self, other: Any) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else apply(np.equal, (self, other), _NONE)

    def __ne__(self, other: Any) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else apply(np.not_equal, (self, other), _NONE)

    def _updated(self, value: Tensor) -> Tensor:
        """Return what ``+=`` and its kind give: under `no_grad` the same memory, as in NumPy, else a new Tensor."""
        if mode.grad_enabled is False:
            if value._data.shape != self._data.shape:
                raise ShapeError(f"a Tensor of shape {self.shape} cannot take the result, {value.shape}; use t = t + x")
            return assign(self, value)
        if mode.grad_enabled and self._node is None and self._requires_grad:
            name = self.name or "a leaf Tensor"
            raise GraphError(f"{name} requires grad and cannot be changed in place; use no_grad() or an optimizer")
        return value

    __iadd__, __isub__ = _in_place(operator.add), _in_place(operator.sub)
    __imul__, __itruediv__ = _in_place(operator.mul), _in_place(operator.truediv)
    __ifloordiv__, __imod__ = _in_place(operator.floordiv), _in_place(operator.mod)
    __imatmul__, __ipow__ = _in_place(operator.matmul), _in_place(operator.pow)
    __iand__, __ior__, __ixor__ = _in_place(operator.and_), _in_place(operator.or_), _in_place(operator.xor)

    abs = _unary(np.absolute, "Return the absolute values.")
    exp = _unary(np.exp, "Return e to the power of each element.")
    log = _unary(np.log, "Return the natural logarithms.")
    sqrt = _unary(np.sqrt, "Return the square roots.")
    sin = _unary(np.sin, "Return the sines, of radians.")
    cos = _unary(np.cos, "Return the cosines, of radians.")
    tanh = _unary(np.tanh, "Return the hyperbolic tangents.")
    ravel = _unary(np.ravel, "Return the elements along one axis.")
    copy = _unary(np.copy, "Return a copy, through which gradients flow.")

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Return the elements limited to [min, max]; either may be None. The gradient passes at the bounds."""
        return apply(np.clip, (self, min, max), _NONE)

    def round(self, decimals: int = 0) -> Tensor:
        """Return the elements rounded, as a constant."""
        return apply(np.round, (self,), {"decimals": decimals})

    def sum(self, axis: Axis = None, dtype: DTypeLike | None = None, keepdims: bool = False) -> Tensor:
        """Return the sum over an axis, several, or all."""
        return apply(np.sum, (self,), {"axis": axis, "dtype": dtype, "keepdims": keepdims})

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the mean over an axis, several, or all."""
        return apply(np.mean, (self,), {"axis": axis, "keepdims": keepdims})

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """Return the variance, the sum of squared deviations divided by N - ddof, as in NumPy."""
        return apply(np.var, (self,), {"axis": axis, "ddof": ddof, "keepdims": keepdims})

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """Return the standard deviation. Its gradient where all elements are equal is taken to be 0."""
        return apply(np.std, (self,), {"axis": axis, "ddof": ddof, "keepdims": keepdims})

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the maximum. Ties share its gradient evenly."""
        return apply(np.max, (self,), {"axis": axis, "keepdims": keepdims})

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the minimum. Ties share its gradient evenly."""
        return apply(np.min, (self,), {"axis": axis, "keepdims": keepdims})

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the product over an axis, several, or all."""
        return call(np.prod, (self,), {"axis": axis, "keepdims": keepdims})

    def argmax(self, axis: int | None = None) -> Tensor:
        """Return the position of the maximum, an integer Tensor."""
        return apply(np.argmax, (self,), {"axis": axis})

    def argmin(self, axis: int | None = None) -> Tensor:
        """Return the position of the minimum, an integer Tensor."""
        return apply(np.argmin, (self,), {"axis": axis})

    def all(self, axis: Axis = None) -> Tensor:
        """Return whether all elements are true."""
        return apply(np.all, (self,), {"axis": axis})

    def any(self, axis: Axis = None) -> Tensor:
        """Return whether any element is true."""
        return apply(np.any, (self,), {"axis": axis})

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in another shape: ``reshape(2, 3)`` or ``reshape((2, 3))``, -1 for what is left."""
        return apply(np.reshape, (self,), {"shape": shape[0] if len(shape) == 1 else shape})

    def transpose(self, *axes: Any) -> Tensor:
        """Return the Tensor with its axes in another order, reversed by default."""
        order = axes[0] if len(axes) == 1 else axes or None
        return apply(np.transpose, (self,), {"axes": order})

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Return the Tensor with two axes exchanged."""
        return apply(np.swapaxes, (self,), {"axis1": axis1, "axis2": axis2})

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Return the Tensor without its axes of length 1."""
        return apply(np.squeeze, (self,), {"axis": axis})

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """Return the elements at the indices along an axis."""
        return call(np.take, (self, indices), {"axis": axis})

    def dot(self, other: Any) -> Tensor:
        """Return ``np.dot(self, other)``."""
        return call(np.dot, (self, other), _NONE)

    def astype(self, dtype: DTypeLike) -> Tensor:
        """Return a copy in another dtype; a float one lets gradients through, in the old dtype."""
        return apply(astype, (self, np.dtype(dtype)), _NONE)


def _as_index(items: list[Any]) -> np.ndarray[Any, Any]:
    return np.array(items) if items else np.array(items, np.intp)


graph.result_class = Tensor
