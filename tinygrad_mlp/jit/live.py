"""Live numbers: those that a program reads anew at each call, and what stands for them while a step is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..core.tracer import mode


class Live(float):
    """A number that the program reads anew at each call, such as the learning rate."""

    slot: Any


class Given:
    """A Python float among the arguments. It is live where it meets Tensors; where its value is used, it is frozen.

    It passes for a float but is none, so that no C function takes its value unseen.
    """

    __class__ = property(lambda self: float)
    __hash__: Any

    def __init__(self, use: Callable[..., Any], name: str, floats: dict[str, float], slot: Any) -> None:
        self._use, self._name, self._floats, self.slot = use, name, floats, slot

    @property
    def number(self) -> float:
        """Its value, which a Tensor op takes and the program reads anew."""
        return self._floats[self._name]

    def __float__(self) -> float:
        self._use(self._floats, "global", self._name, self._name, False, True)
        return self.number

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if any(isinstance(a, Tensor) for a in inputs):
            return NotImplemented
        return getattr(ufunc, method)(*[float(a) if type(a) is Given else a for a in inputs], **keywords)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(float(self), dtype)

    def __getattr__(self, name: str) -> Any:
        getattr(float, name)
        return getattr(float(self), name)


def _of_float(name: str) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        if any(isinstance(other, (Tensor, np.ndarray)) for other in others):
            return NotImplemented
        return getattr(float(self), name)(*[float(a) if type(a) is Given else a for a in others])

    return method


def _of_live(name: str) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        if any(isinstance(other, Tensor) for other in others):
            return NotImplemented
        mode.tracer.fail("a live number takes part in array ops only; compute it in Optimizer.scalars")  # type: ignore
        return getattr(float, name)(self, *others)

    return method


_ARITHMETIC = {
    f"__{side}{name}__" for side in ("", "r") for name in ("add", "sub", "mul", "truediv", "pow", "mod", "floordiv")
} | {"__neg__", "__abs__"}
_KEPT = ("__new__", "__float__", "__getattribute__", "__getnewargs__", "__getformat__", "__doc__")
for _name in _ARITHMETIC:
    setattr(Live, _name, _of_live(_name))
for _name in vars(float):
    if _name.startswith("__") and _name not in _KEPT:
        setattr(Given, _name, _of_float(_name))
