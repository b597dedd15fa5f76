"""Second derivatives of every rule do not depend on the order, at zeros, ties and infinities too."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from draws import Array, Call, calls_of, name_of, results

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor
from tinygrad_mlp.core.tracer import Tracer, tracing
from tinygrad_mlp.rules.elementwise import bce
from tinygrad_mlp.rules.table import RULES

Function = Callable[..., Any]
POINTS = 1000
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf])


class Sizes(Tracer):
    """Adds up the sizes of all contributions to the gradient of one Tensor, and keeps the largest to any."""

    def __init__(self, leaf: Tensor) -> None:
        self.leaf, self.size, self.largest = leaf, np.zeros(leaf.shape), 0.0

    def gradient_of(self, t: Any, g: Any) -> None:
        self.largest = max(self.largest, largest(g.data))
        if t is self.leaf:
            self.size += np.abs(g.data)


def moved(function: Function, a: Array, rng: np.random.Generator) -> Array:
    """Return the numbers of a sample somewhat changed, and at two times of three zeros, infinities or ties among them.

    Probabilities stay between 0 and 1; systems stay finite, as the solution for several infinities has no one limit.
    """
    a = np.array(a * rng.uniform(0.7, 1.3, a.shape))
    kind = rng.integers(3)
    if a.size and kind:
        chosen = rng.random(a.shape) < rng.choice([0.2, 0.6])
        others = rng.choice(SPECIAL, a.shape) if kind == 1 else rng.choice(a.reshape(-1), a.shape)
        a[chosen] = others[chosen]
    if function is np.linalg.solve:
        a = np.nan_to_num(a, posinf=2.0, neginf=-2.0)
    return np.clip(a, 0, 1) if function is bce else a


def floats(outs: Sequence[Any]) -> list[Any]:
    return [out for out in outs if isinstance(out, Tensor) and out.requires_grad]


def wide(call: Call) -> Call:
    """Return a call of a ufunc in which each input is a vector: each place of it is a point of its own."""
    call = call.with_constants(lambda a: np.resize(a, POINTS))
    inputs = [np.resize(a, POINTS) for a in call.arrays]
    seen: list[Any] = []
    Call(lambda *args, **kwargs: seen.append((args, kwargs)), call.args, call.kwargs).on(inputs)
    return Call(call.function, *seen[0])


def mixed(call: Call, rng: np.random.Generator, dtype: Any) -> Iterator[tuple[Array, Array, Array]]:
    """Yield what the second derivatives of a call by two of its variables are in both orders, and the size of terms.

    The variables are all inputs, and the weights of all results.
    """
    whole = isinstance(call.function, np.ufunc) and call.function.signature is None
    inputs = [Tensor(moved(call.function, a, rng).astype(dtype), requires_grad=True) for a in call.arrays]
    outs = floats(results(call.on(inputs)))
    if not outs:
        return
    weights = [Tensor(rng.uniform(0.2, 1, out.shape).astype(dtype), requires_grad=True) for out in outs]
    ts = [*inputs, *weights]
    y = sum((w * out).sum() for w, out in zip(weights, outs, strict=True))
    first = tg.grad(y, ts, create_graph=True, allow_unused=True)
    used = [i for i, (t, g) in enumerate(zip(ts, first, strict=True)) if t.size and g is not None]
    for _ in range(3 if whole else 1):
        k, m = rng.choice(used, 2, replace=not whole or len(used) < 2)
        at, to = (Ellipsis, Ellipsis) if whole else (tuple(rng.integers(ts[i].shape)) for i in (k, m))
        (one, size), (other, also) = second(first[k][at].sum(), ts[m]), second(first[m][to].sum(), ts[k])
        yield one[to], other[at], size.size + also.size if whole else np.asarray(size.largest + also.largest)


def largest(a: Array) -> float:
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def second(slope: Any, t: Tensor) -> tuple[Array, Sizes]:
    """Return the gradient of a first derivative by a variable, and the sizes of its terms."""
    g = None
    with tracing(Sizes(t)) as sizes:
        if slope.requires_grad:
            (g,) = tg.grad(slope, [t], retain_graph=True, allow_unused=True)
    return np.zeros(t.shape) if g is None else g.numpy(), sizes


def differentiable(function: Function) -> list[Call]:
    """Return the samples of a function through which a gradient flows."""
    return [
        call
        for call in calls_of(function)
        if any(a.size for a in call.arrays)
        and floats(results(call.on([Tensor(a, requires_grad=True) for a in call.arrays])))
    ]


FUNCTIONS = sorted((f for f in RULES if RULES[f].kind != "constant" and differentiable(f)), key=name_of)


def compare(function: Function, dtype: Any, points: int) -> tuple[float, list[str]]:
    """Return which share of the points are comparable, being finite in both orders, and what differs."""
    rng = np.random.default_rng(points)
    calls, wrong, comparable, tried = differentiable(function), [], 0, 0
    if isinstance(function, np.ufunc) and function.signature is None:
        calls = [wide(call) for call in calls]
        points *= 60  # a call tries a thousand at once
    while tried < points:
        call = calls[rng.integers(len(calls))]
        tried += 1
        try:
            pairs = list(mixed(call, rng, dtype))
        except (np.linalg.LinAlgError, ZeroDivisionError):
            continue
        for one, other, size in pairs:
            tried += one.size - 1
            finite = np.isfinite(one) & np.isfinite(other) & np.isfinite(size)
            comparable += int(finite.sum())
            with np.errstate(all="ignore"):
                # weights are up to 1: terms such as 1 - out round by EPS, whatever is left of them
                allowed = (1e-9 if dtype == np.float64 else 2e-4) * size + 4 * np.finfo(dtype).eps
                bad = finite & (np.abs(one - other) > allowed)
            wrong += [f"{call!r}: {one[i]} and {other[i]}, of {size[i]}" for i in np.ndindex(bad.shape) if bad[i]]
    return comparable / tried, wrong


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
def test_second_derivatives_do_not_depend_on_the_order(function: Function, dtype: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        share, wrong = compare(function, dtype, POINTS)
    assert not wrong, "\n".join([f"{len(wrong)} differ", *wrong[:5]])
    assert share > 0.3
