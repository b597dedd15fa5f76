"""The form of a planted bug, and the small functions that many of them are written with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]


class Case(NamedTuple):
    """A function, its correct gradient, where both are tried, and wrong gradients under "kind: what is wrong".

    A gradient is ``gradient(g, *inputs)``, from the gradient ``g`` of the result, which is 1.0 for a result that is a
    number. It returns one gradient, or a tuple of one for each input. ``exact`` is the same function, computed without
    the cancellation or large offset of ``f``, for those who want to know the truth.
    """

    f: Function
    gradient: Function
    inputs: Sequence[Array]
    bugs: dict[str, Any]
    exact: Function | None = None


class Fresh(NamedTuple):
    """A gradient that keeps something from one call to the next, and so is made anew for each check."""

    make: Callable[[], Function]


class Bug(NamedTuple):
    """A function with a gradient, of which that of a bug is wrong, and where it is tried."""

    name: str
    case: str
    f: Function
    gradient: Any
    inputs: Sequence[Array]
    exact: Function | None = None

    @property
    def kind(self) -> str:
        return self.name.split(":")[0]

    def start(self) -> tuple[Function, Function, list[Array]]:
        """Return function, gradient and inputs as no check before has left them."""
        gradient = self.gradient.make() if isinstance(self.gradient, Fresh) else self.gradient
        return self.f, gradient, [a.copy(order="K") for a in self.inputs]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(1000 + seed).normal(size=shape))


def positive(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(2000 + seed).uniform(0.5, 2, shape))


def apart(*shape: int, seed: int = 0) -> Array:
    """Draw numbers in random order, no two of which are near each other in size, and none near 0."""
    rng, n = np.random.default_rng(3000 + seed), int(np.prod(shape))
    return (rng.permutation(np.arange(1, n + 1)) * rng.choice([-1, 1], n) * (2 / n)).reshape(shape)


def definite(n: int, seed: int = 0) -> Array:
    a = normal(n, n, seed=seed)
    return a @ a.T / n + np.eye(n)


def changed(gradient: Function, change: Function) -> Function:
    """Return a gradient whose results are changed, each in the same way."""

    def wrong(g: Any, *inputs: Array) -> Any:
        found = gradient(g, *inputs)
        return tuple(map(change, found)) if isinstance(found, tuple) else change(found)

    return wrong


def times(gradient: Function, factor: Any) -> Function:
    return changed(gradient, lambda a: factor * a)


def at(place: Any, factor: float) -> Function:
    """Return what multiplies one place of an array by a factor."""

    def change(a: Array) -> Array:
        a = np.array(a)
        a[place] *= factor
        return a

    return change


def put(x: Array, where: Any, values: Any) -> Array:
    """Return zeros of the shape of x, to which values are added at places that may be repeated."""
    out = np.zeros_like(x)
    np.add.at(out, where, values)
    return out


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_back(g: Array, p: Array, axis: int = -1) -> Array:
    """Pass a gradient back through a softmax that gave p."""
    return p * (g - (g * p).sum(axis=axis, keepdims=True))
