"""How many calls forward mode takes, of every rule's samples: `python tests/forward_calls.py`.

For each sample the programs of f, of (f, its derivative along a direction) and of (f, its gradient) are compared by how
many calls of NumPy they have, views not counted. With the names of functions, it prints their programs instead.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from draws import Call, calls_of, name_of, results
from samples import of_the_rules

import tinygrad_mlp as tg
from tinygrad_mlp.rules.table import RULES


def floats(out: Any) -> list[Any]:
    """Return the results that are not whole numbers."""
    return [part for part in results(out) if getattr(part, "dtype", np.dtype(int)).kind == "f"]


def program(f: Callable[..., Any], arrays: list[Any]) -> Any:
    """Return what computes a function of arrays, compiled; of flat ones, since those without axes are constants."""
    shapes = [a.shape for a in arrays]
    step = tg.jit(lambda *xs: f([x.reshape(shape) for x, shape in zip(xs, shapes, strict=True)]))
    for _ in range(3):
        step(*map(np.ravel, arrays))
    return step


def programs(call: Call) -> list[Any]:
    """Return the programs of a call: of it, with its derivative along a direction, and with its gradient."""
    at = lambda *xs: floats(call.on(xs))
    inputs, n = [np.asarray(a, np.float64) for a in call.arrays], len(call.arrays)
    directions = [np.cos(a + 1) for a in inputs]
    upstream = [np.ones(out.shape) for out in at(*inputs)]

    def pulled(xs: list[Any]) -> Any:
        out, pull = tg.func.vjp(at, *xs[:n])
        return [*out, *pull(xs[n:])]

    return [
        program(lambda xs: at(*xs), inputs),
        program(lambda xs: [*itertools.chain(*tg.func.jvp(at, xs[:n], xs[n:]))], [*inputs, *directions]),
        program(pulled, [*inputs, *upstream]),
    ]


def main() -> None:
    """Print the figures, or the programs of some functions."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    rows = []
    for function in sorted((f for f in of_the_rules() if RULES[f].kind != "constant"), key=name_of):
        if len(sys.argv) > 1 and name_of(function) not in sys.argv[1:]:
            continue
        for call in calls_of(function):
            if call.arrays and floats(call.on(call.arrays)):
                found = programs(call)
                rows.append([len(step.plan.calls) for step in found])
                if len(sys.argv) > 1:
                    print(f"\n{call}", *(step.source for step in found), sep="\n\n")
    one, both, grad = np.transpose(rows)
    ratios, along = both / np.maximum(one, 1), (both - one) / np.maximum(one, 1)
    print(f"{len(rows)} samples; calls of f {sum(one)}, with forward mode {sum(both)}, with the gradient {sum(grad)}")
    print(f"forward mode over f: median {statistics.median(ratios):.1f}, at most 2 for {np.mean(ratios <= 2):.0%}")
    print(
        f"the derivative alone over f: median {statistics.median(along):.1f}, at most 2 for {np.mean(along <= 2):.0%}"
    )
    print(
        f"no more than the gradient: {np.mean(both <= grad):.0%}, than one call more: {np.mean(both <= grad + 1):.0%}"
    )


if __name__ == "__main__":
    main()
