"""What compiling costs: the first five calls of a jitted step together, less five eager steps.

`python benchmarks/compile.py` prints, for a deep network and for many parameters, the least time of an eager step and
of each of the first five calls over some rounds, each with a new step and all in one process, and what compiling takes
in milliseconds and in eager steps. The first call is recorded and watched, the second is compared with that record, and
the third compiles; with Adam, which makes its state in the first, each of these comes one call later.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_mlp as tg

CALLS = 5
Step = tuple[Callable[..., Any], list[Any]]


def deep() -> Step:
    """Return a training step of an MLP with ten hidden layers, and its arguments."""
    rng = np.random.default_rng(0)
    model = tg.nn.MLP([784, *[64] * 10, 10], activation="relu", rng=0)
    sgd = tg.optim.SGD(model.parameters(), lr=0.01)

    def step(x: Any, labels: Any) -> Any:
        loss = tg.functional.cross_entropy(model(x), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    return step, [tg.Tensor(rng.random((64, 784), np.float32)), rng.integers(0, 10, 64)]


def wide(count: int, kind: type[Any]) -> Step:
    """Return a training step of as many parameters of three numbers, and its argument."""
    parameters = [tg.Tensor(np.full(3, 0.1), requires_grad=True) for _ in range(count)]
    optimizer = kind(parameters, lr=0.01)

    def step(x: Any) -> Any:
        total = x
        for p in parameters:
            total = total + p * x
        loss = np.sum(total)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, [tg.Tensor(np.ones(3))]


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Return how long a call takes."""
    start = perf_counter()
    function(*args)
    return perf_counter() - start


def measure(make: Callable[[], Step]) -> list[float]:
    """Return the time of an eager step, of each of the first calls when it is compiled, and of a call of its guards."""
    step, args = make()
    eager = min(seconds(step, *args) for _ in range(CALLS))
    step, args = make()
    compiled = tg.jit(step)
    gc.collect()
    calls = [seconds(compiled, *args) for _ in range(CALLS)]
    guards = next(iter(compiled.cache.values()))[0].test
    return [eager, *calls, min(seconds(guards) for _ in range(20))]


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of the deep network; of many parameters some less")
    parser.add_argument("--parameters", type=int, nargs="*", default=[1000], help="how many; none leaves them out")
    options = parser.parse_args()
    cases: list[tuple[str, Callable[[], Step], int]] = [("64, 784-64x10-10, SGD", deep, options.rounds)]
    for count in options.parameters:
        for kind in (tg.optim.SGD, tg.optim.Adam):
            name = f"{count} parameters, {kind.__name__}"
            cases.append((name, partial(wide, count, kind), max(1, options.rounds * 300 // count // 2)))
    for name, make, rounds in cases:
        measure(make)
        eager, *calls, guards = np.min([measure(make) for _ in range(rounds)], axis=0)
        cost = sum(calls) - CALLS * eager
        times = ", ".join(f"{1e3 * t:.2f}" for t in calls)
        print(f"{name}: eager {1e3 * eager:.2f} ms, calls {times} ms, guards {1e6 * guards:.1f} us")
        print(f"    compiling takes {1e3 * cost:.1f} ms, {cost / eager:.1f} eager steps (least of {rounds} rounds)")


if __name__ == "__main__":
    main()
