"""What the programs of many batch sizes hold beside that of one.

    python benchmarks/shapes.py
    python benchmarks/shapes.py --lines 20

A training step of 784-128-10 (relu, cross entropy, SGD) is jitted and called four times with each batch size, each time
with other arrays, which are gone afterwards. What is counted is held after the last call and a round of the collector:
"traced" by tracemalloc, which sees NumPy's arrays and Python's objects, and "resident" as the operating system sees the
process, in another process, without tracemalloc. Each number is what all sizes hold beyond one alone, the first or the
last, which is counted in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import os
import tracemalloc

import common
import numpy as np

import tinygrad_mlp as tg

CALLS = 4


def make(backend):
    """Return the jitted step."""
    model = tg.nn.MLP([784, 128, 10], activation="relu", rng=0)
    sgd = tg.optim.SGD(model.parameters(), lr=0.01)

    def step(x, labels):
        loss = tg.functional.cross_entropy(model(x), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    return tg.jit(step, backend=backend)


def call(step, sizes):
    """Call the step four times with each batch size."""
    rng = np.random.default_rng(0)
    for n in sizes:
        for _ in range(CALLS):
            step(rng.random((n, 784), np.float32), rng.integers(0, 10, n))
    gc.collect()


def resident():
    """Return the bytes of this process that are in memory (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(sizes, backend, traced):
    """In a child: return the bytes held by a step after calls with these sizes, and the number of its programs."""
    call(make(backend), sizes[:1])  # what is there once: caches, lazily made
    if traced:
        tracemalloc.start()
    before = 0 if traced else resident()
    step = make(backend)
    call(step, sizes)
    held = tracemalloc.get_traced_memory()[0] if traced else resident()
    return {"bytes": held - before, "programs": sum(map(len, step.cache.values()))}


def print_lines(sizes, backend, count):
    """Print which lines have allocated most of what the sizes after the first hold."""
    step = make(backend)
    tracemalloc.start(8)
    call(step, sizes[:1])
    before = tracemalloc.take_snapshot()
    call(step, sizes[1:])
    after = tracemalloc.take_snapshot()
    for line in after.compare_to(before, "lineno")[:count]:
        print(f"{line.size_diff / 1024 / (len(sizes) - 1):8.2f} KiB a program  {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=141, metavar="N", help="the smallest batch size (141)")
    parser.add_argument("--count", type=int, default=60, metavar="N", help="how many sizes there are (60)")
    parser.add_argument("--backend", default="numpy", choices=["numpy", "numba"])
    parser.add_argument("--lines", type=int, metavar="N", help="print the N lines that allocate most, and nothing else")
    options = parser.parse_args()
    sizes = [*range(options.first, options.first + options.count)]
    if options.lines:
        return print_lines(sizes, options.backend, options.lines)
    print(common.machine())
    rows = [["held, MB", *(f"above {size} alone" for size in (sizes[0], sizes[-1])), "programs"]]
    for traced, name in ((True, "traced"), (False, "resident")):
        parts = [sizes, sizes[:1], sizes[-1:]]
        every, *alone = [
            common.in_child(__file__, sizes=part, backend=options.backend, traced=traced) for part in parts
        ]
        more = [f"{(every['bytes'] - one['bytes']) / 1e6:.2f}" for one in alone]
        rows.append([name, *more, str(every["programs"])])
    common.print_table(rows)
    return None


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
