"""How far derivatives of the incomplete gamma and beta functions by their parameters are from mpmath, on random draws.

`python tests/incomplete.py [COUNT]` prints the largest error of each derivative. Draws are of the domain that
`docs/howto/scipy.md` states: parameters from 1e-6 to 1000, evenly in their logarithm, and of the limit x half evenly in
log(x), or in the logit, and half by quantiles of the density, of 1e-6 to 1 - 1e-6. An error is a share of the
derivative; where a second one passes through 0, of a hundredth of the first, over the root of 1 + the parameter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import special

from tinygrad_mlp import func

Array = np.ndarray[Any, np.dtype[Any]]
ORDERS = {"gammainc": ((1,), (2,)), "betainc": ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))}
"""The functions, and how often each derivative is by each parameter."""


def draws(name: str, count: int, seed: int = 0) -> tuple[list[Array], Array]:
    """Return parameters and limits of the domain."""
    rng = np.random.default_rng(seed)
    parameters = list(10 ** rng.uniform(-6, 3, (len(ORDERS[name][0]), count)))
    p, far = special.expit(rng.uniform(-13.8, 13.8, count)), rng.uniform(-13.8, 13.8, count)
    quantile = special.gammaincinv if name == "gammainc" else special.betaincinv
    evenly = np.exp(far) if name == "gammainc" else special.expit(far)
    x = np.where(rng.random(count) < 0.5, quantile(*parameters, p), evenly)
    value = getattr(special, name)(*parameters, x)
    inside = (value > 1e-12) & (value < 1 - 1e-12) & (x > 1e-300) & (x < (1e4 if name == "gammainc" else 1 - 1e-9))
    return [a[inside] for a in parameters], x[inside]


def ours(name: str, order: tuple[int, ...], parameters: list[Array], x: Array) -> Array:
    """Return a derivative at each of the draws, by the package."""
    f: Callable[..., Any] = lambda *parameters: getattr(special, name)(*parameters, x)
    for i in np.repeat(range(len(order)), order):
        f = func.grad(lambda *parameters, f=f: np.sum(f(*parameters)), int(i))
    return np.asarray(f(*parameters))


def exact(name: str, order: tuple[int, ...], parameters: Iterable[float], x: float) -> float:
    """Return a derivative by mpmath, in 50 digits, of series whose terms are positive (DLMF 8.7.1, 8.17.8)."""
    import mpmath as mp

    def total(ratio: Callable[[int], Any]) -> Any:
        term = result = mp.mpf(1)
        k = 0
        while term > result * mp.eps:
            term = term * ratio(k)
            result, k = result + term, k + 1
        return result

    def gammainc(a: Any) -> Any:
        return mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1)) * total(lambda k: x / (a + k + 1))

    def betainc(a: Any, b: Any) -> Any:
        if x > 0.5:
            return 1 - lower(b, a, 1 - mp.mpf(x))
        return lower(a, b, mp.mpf(x))

    def lower(a: Any, b: Any, x: Any) -> Any:
        front = mp.exp(a * mp.log(x) + b * mp.log(1 - x) + mp.loggamma(a + b) - mp.loggamma(a + 1) - mp.loggamma(b))
        return front * total(lambda k: x * (a + b + k) / (a + 1 + k))

    with mp.workdps(50):
        value = {"gammainc": gammainc, "betainc": betainc}[name]
        return float(mp.diff(value, tuple(map(mp.mpf, parameters)), order))


def errors(name: str, count: int) -> dict[tuple[int, ...], float]:
    """Return the largest error of each derivative, over ``count`` draws."""
    parameters, x = draws(name, count)
    expected: dict[tuple[int, ...], Array] = {}
    result = {}
    for order in ORDERS[name]:
        expected[order] = np.array(
            [exact(name, order, *each) for each in zip(zip(*parameters, strict=True), x, strict=True)]
        )
        size = np.abs(expected[order])
        if sum(order) == 2:
            last = max(i for i, n in enumerate(order) if n)
            first = expected[tuple(n - (i == last) for i, n in enumerate(order))]
            size = np.maximum(size, np.abs(first) / 100 / np.sqrt(1 + parameters[last]))
        result[order] = float(np.max(np.abs(ours(name, order, parameters, x) - expected[order]) / size))
    return result


def main(count: int) -> None:
    for name in ORDERS:
        for order, error in errors(name, count).items():
            print(f"{name:9} by {', '.join('ab'[i] for i in np.repeat(range(len(order)), order)):5} {error:.1e}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 500)
