"""Live numbers: those that a program reads anew at each call, by what stands for them while a step is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor, apply


def recorded(a: Any) -> Any:
    """Return a live number as a Tensor that the program makes of it, so that it can be differentiated by."""
    return apply(np.positive, (a,), {}) if type(a) is Live else a


def as_plain(a: Any) -> Any:
    """Return the number or the array that an operand is or stands for."""
    return a.number if type(a) is Live else a._data if isinstance(a, Tensor) else a


class Live:
    """A number that is live where it meets Tensors: a float among the arguments, or the learning rate.

    Where its value is used otherwise, ``use`` is told by which method of a float. It passes for a float but is none, so
    that no C function takes its value unseen.
    """

    __class__ = property(lambda self: float)
    __hash__: Any

    def __init__(self, number: float, slot: Any, use: Callable[[str], Any]) -> None:
        self.number, self.slot, self._use = number, slot, use

    def __float__(self) -> float:
        self._use("__float__")
        return self.number

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if any(isinstance(a, Tensor) for a in inputs):
            return NotImplemented
        return getattr(ufunc, method)(*[float(a) if type(a) is Live else a for a in inputs], **keywords)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(float(self), dtype)

    def __getattr__(self, name: str) -> Any:
        getattr(float, name)
        return getattr(float(self), name)


def _of_float(name: str) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        if any(isinstance(other, (Tensor, np.ndarray)) for other in others):
            return NotImplemented
        self._use(name)
        return getattr(self.number, name)(*[float(a) if type(a) is Live else a for a in others])

    return method


_KEPT = (*vars(Live), "__new__", "__getattribute__", "__getnewargs__", "__getformat__")
for _name in vars(float):
    if _name.startswith("__") and _name not in _KEPT:
        setattr(Live, _name, _of_float(_name))
