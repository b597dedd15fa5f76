"""What it costs to notice that an array was changed between forward and backward: eager steps with and without.

`python benchmarks/changes.py` runs steps of each kind in turn, and prints the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import statistics
from time import perf_counter

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp.core import graph, tensor, versions

SIZES = [(16, (2, 16, 16, 2)), (32, (784, 128, 10)), (64, (784, *[64] * 10, 10)), (200, (784, 128, 10))]


def step(batch: int, widths: tuple[int, ...]) -> None:
    """Return a training step of an MLP, eager, on arrays that its caller holds."""
    rng = np.random.default_rng(0)
    model = tg.nn.MLP(list(widths), activation="relu", rng=0)
    sgd = tg.optim.SGD(model.parameters(), lr=0.01)
    x, labels = rng.random((batch, widths[0]), np.float32), rng.integers(0, widths[-1], batch)

    def run() -> None:
        loss = tg.functional.cross_entropy(model(x), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()

    return run


def counts_alone(order: list) -> None:
    """Do what `versions.check_unchanged` does, without the fingerprints."""
    for t in order:
        if t._node.age > versions.last_change[0]:
            return
        raise AssertionError("nothing changes between forward and backward here")


def without() -> None:
    """Switch the fingerprints off."""
    tensor.note = lambda values: values
    graph.check_unchanged = counts_alone


def main() -> None:
    """Print how much longer a step takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    pairs, usual = parser.parse_args().pairs, (tensor.note, graph.check_unchanged)
    for batch, widths in SIZES:
        run, times = step(batch, widths), []
        for i in range(pairs):
            pair = [0.0, 0.0]
            for switched in (i % 2, 1 - i % 2):
                tensor.note, graph.check_unchanged = usual
                if switched:
                    without()
                start = perf_counter()
                run()
                pair[switched] = perf_counter() - start
            times.append(pair)
        ratio = statistics.median(a / b for a, b in times[pairs // 10 :])
        microseconds = 1e6 * statistics.median(b for _, b in times)
        print(f"batch {batch}, {'-'.join(map(str, widths))}: {microseconds:.0f} us, with the check {ratio:.4f} of that")


if __name__ == "__main__":
    main()
