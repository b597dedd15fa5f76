"""What samples are drawn with: ``x`` draws arrays, ``f`` keeps a call, and `calls_of` gives a function's calls."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from samples import SAMPLES

Array = np.ndarray[Any, Any]
__all__ = ["Array", "Call", "Draws", "calls_of", "errors_of", "name_of"]


class Draws:
    """Draws float64 arrays, the same ones for the same name. Called itself, from -2 to 2.

    >>> x = Draws("doctest")
    >>> x(2, 3).shape, x.positive().ndim, bool((x.unit(5) < 1).all())
    ((2, 3), 0, True)
    """

    def __init__(self, name: str) -> None:
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def __call__(self, *shape: int) -> Array:
        return self.between(-2, 2, *shape)

    def between(self, low: float, high: float, *shape: int) -> Array:
        """Draw from an interval."""
        return np.asarray(self.rng.uniform(low, high, shape))

    def positive(self, *shape: int) -> Array:
        """Draw from 0.5 to 2."""
        return self.between(0.5, 2, *shape)

    def nonzero(self, *shape: int) -> Array:
        """Draw numbers of either sign that are 0.5 or more away from 0."""
        return np.asarray(self.positive(*shape) * self.rng.choice([-1, 1], shape))

    def unit(self, *shape: int) -> Array:
        """Draw from 0.1 to 0.9."""
        return self.between(0.1, 0.9, *shape)

    def distinct(self, *shape: int) -> Array:
        """Draw numbers in random order, no two of which are near each other in size, and none near 0."""
        return self.apart(shape)[0]

    def apart(self, *shapes: Sequence[int]) -> list[Array]:
        """Draw several arrays of numbers that are distinct in size, as those of one array."""
        sizes = [math.prod(shape) for shape in shapes]
        n = max(1, sum(sizes))
        values = self.rng.permutation(np.arange(1, n + 1)) * self.rng.choice([-1, 1], n) * (2 / n)
        parts = np.split(values, np.cumsum(sizes))
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=False)]

    def gaps(self, *shape: int) -> Array:
        """Draw distinct numbers, but NaN in the second, seventh, twelfth, ... place."""
        values = self.distinct(*shape)
        values.reshape(-1)[1::5] = np.nan
        return values

    def invertible(self, *shape: int) -> Array:
        """Draw square matrices that are far from singular."""
        return self.between(-0.5, 0.5, *shape) + 2 * np.eye(shape[-1])

    def definite(self, *shape: int) -> Array:
        """Draw symmetric positive definite matrices."""
        a = self.invertible(*shape)
        return np.matmul(a, a.swapaxes(-1, -2))

    def integers(self, low: int, high: int, *shape: int) -> Array:
        """Draw whole numbers from ``low`` up to but not including ``high``."""
        return np.asarray(self.rng.integers(low, high, shape))

    def booleans(self, *shape: int) -> Array:
        """Draw truth values."""
        return self.integers(0, 2, *shape) == 1


class Call(NamedTuple):
    """A call of a function that has not been made. All float arrays in it can be replaced, by Tensors say."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __repr__(self) -> str:
        words = [*map(_short, self.args), *(f"{key}={_short(value)}" for key, value in self.kwargs.items())]
        return f"{name_of(self.function)}({', '.join(words)})"

    @property
    def arrays(self) -> list[Array]:
        """All float arrays among the arguments, in lists and tuples too: the inputs of the function."""
        return [np.asarray(leaf) for leaf in _leaves((self.args, self.kwargs)) if _is_input(leaf)]

    def on(self, inputs: Sequence[Any]) -> Any:
        """Make the call, with other values in place of its `arrays`."""
        values = iter(inputs)
        args, kwargs = _mapped((self.args, self.kwargs), _is_input, lambda _: next(values))
        return self.function(*args, **kwargs)

    def with_constants(self, change: Callable[[Array], Any]) -> Call:
        """Return the call with all whole numbers and truth values in arrays replaced."""
        args, kwargs = _mapped((self.args, self.kwargs), _is_constant, change)
        return Call(self.function, args, kwargs)


def results(out: Any) -> list[Any]:
    """Return the results of a call as a list, be it one or several; of a dtype, its number."""
    return [leaf.num if isinstance(leaf, np.dtype) else leaf for leaf in _leaves(out) if leaf is not None]


def _is_input(leaf: Any) -> bool:
    return isinstance(leaf, (np.ndarray, np.floating)) and leaf.dtype.kind == "f"


def _is_constant(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind in "bi"


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (tuple, list, dict)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(part)
    else:
        yield tree


def _mapped(tree: Any, which: Callable[[Any], bool], change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _mapped(value, which, change) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)([_mapped(part, which, change) for part in tree])
    return change(tree) if which(tree) else tree


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return f"[{', '.join(map(_short, value))}]" if isinstance(value, (list, tuple)) else repr(value)


def name_of(function: Callable[..., Any]) -> str:
    """Return a function's name, with the module of one that is not in NumPy itself.

    >>> name_of(np.trace), name_of(np.linalg.trace)
    ('trace', 'linalg.trace')
    """
    module = getattr(function, "__module__", None) or "numpy"
    prefix = "rules" if module.startswith("tinygrad_mlp") else module.removeprefix("numpy").removeprefix(".")
    prefix += "." if prefix else ""
    return prefix + function.__name__


def calls_of(function: Callable[..., Any]) -> list[Call]:
    """Return all calls on which a function is tried."""
    calls, x = [], Draws(name_of(function))
    for sample in SAMPLES:
        if sample.function is function and sample.error is None:
            calls += sample.make(lambda *args, **kwargs: Call(function, args, kwargs), x)
    return calls


def errors_of(function: Callable[..., Any]) -> list[tuple[Call, type[Exception], str]]:
    """Return all calls on which a function must raise: with the error, and what its message matches."""
    x = Draws(name_of(function))
    return [
        (call, sample.error, sample.match)
        for sample in SAMPLES
        if sample.function is function and sample.error is not None
        for call in sample.make(lambda *args, **kwargs: Call(function, args, kwargs), x)
    ]
