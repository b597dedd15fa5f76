"""NumPy's operators and methods of an array: each calls the function of NumPy that it stands for, on Tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from ..checks import as_operand, check_choice
from ..errors import GraphError, ShapeError
from ..rules.elementwise import POWERS
from ..rules.indexing import getitem, picked_once, put, replaced
from ..rules.linalg import is_sparse
from ..rules.shapes import Axis, astype
from .tracer import mode

if TYPE_CHECKING:
    from .tensor import Tensor

_NONE: dict[str, Any] = {}


def _unary(function: Any, doc: str | None = None) -> Callable[[Any], Tensor]:
    def method(self: Any) -> Tensor:
        return self._apply(function, (self,), _NONE)

    method.__name__, method.__doc__ = function.__name__, doc
    return method


def _property(get: Callable[[Any], Any], doc: str) -> Any:
    """Return a property whose type is that of the name which it is given."""
    return property(get, doc=doc)


def _binary(function: Any) -> Callable[[Any, Any], Tensor]:
    return lambda self, other: self._apply(function, (self, other), _NONE)


def _reflected(function: Any) -> Callable[[Any, Any], Tensor]:
    return lambda self, other: self._apply(function, (other, self), _NONE)


def _compared(function: Any, t: Any, other: object) -> Any:
    """Return a comparison, but with None or a text, which no Tensor equals."""
    no = (type(None), str)
    return NotImplemented if isinstance(other, no) else t._apply(function, (t, other), _NONE)


def _in_place(function: Any) -> Callable[[Any, Any], Tensor]:
    return lambda self, other: self._updated(function(self, other))


class At:
    """An index of a Tensor, at which `set`, `add` and `multiply` give a changed copy: ``x.at[i].set(v)``, as in JAX."""

    def __init__(self, t: Any, items: Any = ()) -> None:
        self._t, self._items = t, items

    def __getitem__(self, index: Any) -> At:
        return At(self._t, _as_items(index))

    def set(self, value: Any) -> Tensor:
        """Return a copy with the value at the index."""
        return self._t._apply(replaced, (self._t, value, *self._items), _NONE)

    def add(self, value: Any) -> Tensor:
        """Return a copy with the value added at the index, several times where it picks an element several times."""
        t: Any = self._t
        value = np.asarray(value, t.dtype) if not isinstance(value, ArrayMethods) else value
        return t + put(value, *self._items, shape=t.shape)

    def multiply(self, value: Any) -> Tensor:
        """Return a copy with what is at the index multiplied by the value."""
        once = self._t._apply(picked_once, (self._t, *self._items), _NONE)
        return self.set(once[tuple(self._items)] * value)


class ArrayMethods:
    """What a Tensor can do because an ndarray can: `Tensor` adds what makes it differentiable.

    ``words`` are keywords that there are not, such as ``dim``; `_call` refuses them and says what to write.
    """

    __slots__ = ()

    _apply: ClassVar[Callable[..., Any]]
    _call: ClassVar[Callable[..., Any]]
    _assign: ClassVar[Callable[..., Any]]

    shape: tuple[int, ...] = _property(operator.attrgetter("_data.shape"), "The length of each axis.")
    dtype: np.dtype[Any] = _property(operator.attrgetter("_data.dtype"), "The type of the elements.")
    ndim: int = _property(operator.attrgetter("_data.ndim"), "The number of axes.")
    size: int = _property(operator.attrgetter("_data.size"), "The number of elements, as in NumPy.")
    nbytes: int = _property(operator.attrgetter("_data.nbytes"), "The size of the elements, in bytes.")
    T: Tensor = _property(_unary(np.transpose), "The Tensor with its axes reversed.")
    mT: Tensor = _property(lambda self: self.swapaxes(-1, -2), "The Tensor with its last two axes exchanged.")  # noqa: N815
    at: At = _property(At, "What ``t.at[i].set(v)``, ``.add(v)``, ``.multiply(v)`` start with: all give a new Tensor.")

    __hash__ = object.__hash__

    __neg__, __pos__ = _unary(np.negative), _unary(np.positive)
    __abs__, __invert__ = _unary(np.absolute), _unary(np.invert)
    __add__, __radd__ = _binary(np.add), _reflected(np.add)
    __sub__, __rsub__ = _binary(np.subtract), _reflected(np.subtract)
    __mul__ = _binary(np.multiply)
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

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _compared(np.equal, self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _compared(np.not_equal, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        product = np.matmul if is_sparse(other) else np.multiply  # what * means for a matrix of SciPy
        return self._apply(product, (other, self), _NONE)

    def __pow__(self: Any, other: Any) -> Tensor:
        exponent = other if isinstance(other, ArrayMethods) else as_operand(other)
        if isinstance(exponent, (int, float)) and exponent in POWERS and self.dtype.kind in "fc":
            return self._apply(POWERS[exponent], (self,), _NONE)
        return self._apply(np.power, (self, exponent), _NONE)

    def __getitem__(self, index: Any) -> Tensor:
        return self._apply(getitem, (self, *_as_items(index)), _NONE)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("item assignment is not differentiable; use t = t.at[i].set(v), or np.where(mask, new, old)")

    def _updated(self: Any, value: Tensor) -> Tensor:
        """Return what ``+=`` and its kind give: under `no_grad` the same memory, as in NumPy, else a new Tensor."""
        if mode.rebinds or (mode.grad_enabled and not (self.is_leaf and self.requires_grad)):
            return value
        if mode.grad_enabled:
            name = self.name or "a leaf Tensor"
            hint = "write t = t + x, or for an update use no_grad() or an optimizer"
            raise GraphError(f"{name} requires grad and cannot be changed in place; {hint}")
        if value.shape != self.shape:
            raise ShapeError(f"a Tensor of shape {self.shape} cannot take the result, {value.shape}; use t = t + x")
        return self._assign(self, value)

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
    copy = _unary(np.copy, "Return a copy, through which gradients flow.")

    def _over(self, function: Any, words: Any, **keywords: Any) -> Any:
        """Call a function of NumPy along axes; ``words`` are keywords that there are not, which `_call` refuses."""
        return (self._call if words else self._apply)(function, (self,), {**keywords, **words})

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Return the elements limited to [min, max]; either may be None. The gradient passes at the bounds."""
        return self._apply(np.clip, (self, min, max), _NONE)

    def round(self, decimals: int = 0) -> Tensor:
        """Return the elements rounded, as a constant."""
        return self._apply(np.round, (self,), {"decimals": decimals})

    def sum(
        self, axis: Axis = None, dtype: DTypeLike | None = None, keepdims: bool = False, **words: NoReturn
    ) -> Tensor:
        """Return the sum over an axis, several, or all."""
        return self._over(np.sum, words, axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False, **words: NoReturn) -> Tensor:
        """Return the mean over an axis, several, or all."""
        return self._over(np.mean, words, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **words: NoReturn) -> Tensor:
        """Return the variance, the sum of squared deviations divided by N - ddof, as in NumPy."""
        return self._over(np.var, words, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **words: NoReturn) -> Tensor:
        """Return the standard deviation. Its gradient where all elements are equal is taken to be 0."""
        return self._over(np.std, words, axis=axis, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False, **words: NoReturn) -> Tensor:
        """Return the maximum. Ties share its gradient evenly."""
        return self._over(np.max, words, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False, **words: NoReturn) -> Tensor:
        """Return the minimum. Ties share its gradient evenly."""
        return self._over(np.min, words, axis=axis, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False, **words: NoReturn) -> Tensor:
        """Return the product over an axis, several, or all."""
        return self._call(np.prod, (self,), {"axis": axis, "keepdims": keepdims, **words})

    def cumsum(self, axis: int | None = None, **words: NoReturn) -> Tensor:
        """Return the sums of all elements so far, along an axis or of the flat array."""
        return self._call(np.cumsum, (self,), {"axis": axis, **words})

    def argmax(self, axis: int | None = None, **words: NoReturn) -> Tensor:
        """Return the position of the maximum, an integer Tensor."""
        return self._over(np.argmax, words, axis=axis)

    def argmin(self, axis: int | None = None, **words: NoReturn) -> Tensor:
        """Return the position of the minimum, an integer Tensor."""
        return self._over(np.argmin, words, axis=axis)

    def sort(self, axis: int | None = -1, **words: NoReturn) -> Tensor:
        """Return the elements in order along an axis: a new Tensor, where an ndarray's method works in place."""
        return self._call(np.sort, (self,), {"axis": axis, **words})

    def argsort(self, axis: int | None = -1, **words: NoReturn) -> Tensor:
        """Return the positions of the elements in order, an integer Tensor."""
        return self._call(np.argsort, (self,), {"axis": axis, **words})

    def all(self, axis: Axis = None, **words: NoReturn) -> Tensor:
        """Return whether all elements are true."""
        return self._over(np.all, words, axis=axis)

    def any(self, axis: Axis = None, **words: NoReturn) -> Tensor:
        """Return whether any element is true."""
        return self._over(np.any, words, axis=axis)

    def ravel(self, order: str = "C") -> Tensor:
        """Return the elements along one axis: row by row, or column by column for ``order="F"``."""
        check_choice("order", order, ("C", "F"))
        return self._apply(np.ravel, (self.T if order == "F" else self,), _NONE)

    flatten = ravel

    def reshape(self, *shape: Any, **words: NoReturn) -> Tensor:
        """Return the elements in another shape: ``reshape(2, 3)`` or ``reshape((2, 3))``, -1 for what is left."""
        apply: Any = self._call if words else self._apply
        return apply(np.reshape, (self,), {"shape": shape[0] if len(shape) == 1 else shape, **words})

    def transpose(self, *axes: Any) -> Tensor:
        """Return the Tensor with its axes in another order, reversed by default."""
        order = axes[0] if len(axes) == 1 else axes or None
        return self._apply(np.transpose, (self,), {"axes": order})

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Return the Tensor with two axes exchanged."""
        return self._apply(np.swapaxes, (self,), {"axis1": axis1, "axis2": axis2})

    def squeeze(self, axis: Axis = None, **words: NoReturn) -> Tensor:
        """Return the Tensor without its axes of length 1."""
        return self._over(np.squeeze, words, axis=axis)

    def take(self, indices: Any, axis: int | None = None, **words: NoReturn) -> Tensor:
        """Return the elements at the indices along an axis."""
        return self._call(np.take, (self, indices), {"axis": axis, **words})

    def repeat(self, repeats: Any, axis: int | None = None, **words: NoReturn) -> Tensor:
        """Return each element several times in a row, along an axis or of the flat array."""
        return self._call(np.repeat, (self, repeats), {"axis": axis, **words})

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Return the diagonals of two axes, along the last axis."""
        return self._call(np.diagonal, (self, offset, axis1, axis2), _NONE)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Return the sums of the diagonals of two axes."""
        return self._call(np.trace, (self, offset, axis1, axis2), _NONE)

    def dot(self, other: Any) -> Tensor:
        """Return ``np.dot(self, other)``."""
        return self._call(np.dot, (self, other), _NONE)

    def astype(self, dtype: DTypeLike) -> Tensor:
        """Return a copy in another dtype; a float one lets gradients through, in the old dtype."""
        return self._apply(astype, (self, np.dtype(dtype)), _NONE)


def _as_items(index: Any) -> list[Any]:
    """Return what stands between brackets, with lists as arrays."""
    items = index if isinstance(index, tuple) else (index,)
    return [np.array(i, None if i else np.intp) if isinstance(i, list) else i for i in items]
