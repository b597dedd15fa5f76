"""Every rule of the tables against plain NumPy and numeric derivatives, on the calls that `rules.samples` gives."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from differences import EPS, assert_slope, slope
from draws import Array, Call, calls_of, errors_of, name_of, results

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, functional
from tinygrad_mlp.rules.table import RULES, SAMPLES

FUNCTIONS = sorted(RULES, key=name_of)
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)


def leaves(arrays: Sequence[Array]) -> list[Tensor]:
    return [Tensor(a, requires_grad=True) for a in arrays]


def weighted(outs: Sequence[Any], weights: Sequence[Any]) -> Any:
    """The sum of all results, each element with its weight."""
    return sum(((w * out).sum() for w, out in zip(weights, outs, strict=True)), 0.0)


def floats(outs: Sequence[Any]) -> list[Any]:
    return [out for out in outs if getattr(out, "dtype", np.dtype(int)).kind in "fc"]


class Problem:
    """A call as a function of its inputs and of the weights of its results, with derivatives of any order."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.rng = np.random.default_rng(1)
        self.inputs = call.arrays
        with np.errstate(all="ignore"):
            self.outs = floats(call.plain(self.inputs))
        self.weights = self.directions(self.outs)
        self.point = [*self.inputs, *self.weights]

    def directions(self, arrays: Sequence[Array]) -> list[Array]:
        """Numbers between 0.2 and 1 in size, in the shapes of arrays."""
        sign = self.rng.choice
        return [np.asarray(self.rng.uniform(0.2, 1, a.shape) * sign([-1, 1], a.shape)) for a in arrays]

    def value(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(weighted(floats(self.call.plain(inputs)), self.weights))

    def derivative(self, point: Sequence[Array], *directions: Sequence[Array]) -> Array:
        """The gradient, differentiated along one direction after the other, as one vector."""
        ts = leaves(point)
        n = len(self.inputs)
        tracked = [(w, out) for w, out in zip(ts[n:], floats(results(self.call.on(ts[:n]))), strict=True)]
        y = weighted([out for _, out in tracked], [w for w, _ in tracked])
        for d in directions:
            slopes = tg.grad(y, ts, create_graph=True, allow_unused=True)
            y = sum(((g * v).sum() for g, v in zip(slopes, d, strict=True) if g is not None), 0.0)
            if not (isinstance(y, Tensor) and y.requires_grad):
                return np.zeros(sum(t.size for t in ts))
        slopes = tg.grad(y, ts, allow_unused=True)
        return flat([np.zeros(t.shape) if g is None else g.numpy() for t, g in zip(ts, slopes, strict=True)])


def flat(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *(np.ravel(a) for a in arrays)])


def unit_vectors(arrays: Sequence[Array]) -> Any:
    for i, a in enumerate(arrays):
        for index in np.ndindex(a.shape):
            direction = [np.zeros(b.shape) for b in arrays]
            direction[i][index] = 1
            yield direction


def problems(function: Callable[..., Any]) -> list[Problem]:
    return [Problem(call) for call in calls_of(function)]


@every_function
def test_first_derivative(function):
    for p in problems(function):
        if p.outs:
            analytic = p.derivative(p.point)[: sum(a.size for a in p.inputs)]
            numeric = [slope(lambda x, p=p: p.value(x), p.inputs, e) for e in unit_vectors(p.inputs)]
            for a, n in zip(analytic, numeric, strict=True):
                assert_slope(a, n, repr(p.call))


@every_function
def test_second_and_third_derivatives(function):
    for p in problems(function):
        if p.outs:
            d, e = p.directions(p.point), p.directions(p.point)
            assert_slope(p.derivative(p.point, d), slope(p.derivative, p.point, d), f"second of {p.call}")
            numeric = slope(lambda x, p=p, d=d: p.derivative(x, d), p.point, e)
            assert_slope(p.derivative(p.point, d, e), numeric, f"third of {p.call}")
