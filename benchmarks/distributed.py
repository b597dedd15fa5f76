"""Training steps by one and by two processes, and what a model of bytes, bandwidth and latency says of more.

    OPENBLAS_NUM_THREADS=1 python benchmarks/distributed.py [--rounds 5]

A step of p processes on B rows takes what one process takes for B / p rows, and an Allreduce of the gradient:
``T(p, B) = T(1, B / p) + 2 (p - 1) / p * bytes / bandwidth + 2 log2(p) * latency``. The first is measured; for two
processes here, the Allreduce is measured too, and the sum held against the step. For more machines, bandwidth and
latency are those that the options say. Each time is the shortest of all rounds, as other work can only lengthen it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim

SIZES = ([784, 256, 10], [784, 1024, 1024, 10])
ROWS = (16, 128, 512, 1024)
BATCH = 1024


def shortest(function, count=5, blocks=8):
    """Return the seconds of a call, from the shortest of some blocks."""
    for _ in range(4):
        function()
    found = []
    for _ in range(blocks):
        start = perf_counter()
        for _ in range(count):
            function()
        found.append((perf_counter() - start) / count)
    return min(found)


def child():
    """Measure in each process, and let process 0 print what it found as JSON."""
    from mpi4py import MPI

    from tinygrad_mlp.distributed import DistributedOptimizer

    comm, found = MPI.COMM_WORLD, {}
    for sizes in SIZES:
        model = nn.MLP(sizes, rng=0)
        optimizer = DistributedOptimizer(optim.SGD(model.parameters(), lr=1e-3, momentum=0.9))
        step = make_step(model, optimizer)
        rng = np.random.default_rng(comm.rank)
        flat = np.zeros(sum(p.size for p in model.parameters()), np.float32)
        name = "-".join(map(str, sizes))
        for rows in ROWS:
            x, y = rng.random((rows, 784), np.float32), rng.integers(0, 10, rows)
            found[f"{name} {rows}"] = shortest(lambda: step(x, y))  # noqa: B023 - called at once
        found[f"{name} allreduce"] = shortest(lambda: comm.Allreduce(MPI.IN_PLACE, flat))  # noqa: B023
        found[f"{name} bytes"] = flat.nbytes
    if comm.rank == 0:
        print(json.dumps(found))


def make_step(model, optimizer):
    @tg.jit
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def measure(processes):
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    command = [mpiexec, "-n", str(processes), sys.executable, __file__, "--child"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bandwidth", type=float, default=10e9, help="bytes a second between machines")
    parser.add_argument("--latency", type=float, default=5e-6, help="seconds of a message")
    options = parser.parse_args()
    if options.child:
        return child()
    rounds = [(measure(1), measure(2)) for _ in range(options.rounds)]
    one, two = ({key: min(r[i][key] for r in rounds) for key in rounds[0][i]} for i in (0, 1))
    heads = ["network", "rows in all", "1 process, ms", f"{BATCH // 2} rows, ms", "Allreduce, ms", "sum, ms"]
    print("|", " | ".join([*heads, "2 processes, ms", "efficiency"]), "|")
    print("|---|---|---|---|---|---|---|---|")
    for sizes in SIZES:
        name = "-".join(map(str, sizes))
        whole, half, exchange = one[f"{name} {BATCH}"], one[f"{name} {BATCH // 2}"], two[f"{name} allreduce"]
        step = two[f"{name} {BATCH // 2}"]
        cells = [whole, half, exchange, half + exchange, step]
        print(f"| {name} | {BATCH} | {' | '.join(f'{1e3 * t:.2f}' for t in cells)} | {whole / 2 / step:.0%} |")
    print("\n| network | processes | rows in all | rows of each | step, ms | of it Allreduce | efficiency |")
    print("|---|---|---|---|---|---|---|")
    for sizes in SIZES:
        name = "-".join(map(str, sizes))
        for p in (8, 64):
            for total, own in dict.fromkeys([(BATCH, BATCH // p), (128 * p, 128)]):
                size = one[f"{name} bytes"]
                exchange = 2 * (p - 1) / p * size / options.bandwidth + 2 * math.log2(p) * options.latency
                alone = one[f"{name} {own}"]
                whole = one[f"{name} {BATCH}"] if total == BATCH else p * alone
                step = alone + exchange
                efficiency = whole / p / step
                print(
                    f"| {name} | {p} | {total} | {own} | {1e3 * step:.2f} | {exchange / step:.0%} | {efficiency:.0%} |"
                )
    return None


if __name__ == "__main__":
    main()
