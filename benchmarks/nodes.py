"""Time a node of the graph: forward and backward of fifty chained sines of eight float64 numbers.

    python benchmarks/nodes.py

Each contestant runs in its own process, in turn, in several rounds; the table has microseconds per node.
"""

from __future__ import annotations

import argparse
from statistics import median

import common

NODES, LENGTH = 50, 8


def ours(sin):
    import numpy as np

    import tinygrad_mlp as tg

    x, ones = tg.Tensor(np.linspace(0, 1, LENGTH), requires_grad=True), np.ones(LENGTH)

    def once():
        x.grad = None
        y = x
        for _ in range(NODES):
            y = sin(y)
        y.backward(ones)
        return x.grad.numpy()

    return once


def method():
    return ours(lambda y: y.sin())


def function():
    import numpy as np

    return ours(lambda y: np.sin(y))


def hips_autograd():
    import autograd.numpy as anp
    from autograd import make_vjp

    x, ones = anp.linspace(0, 1, LENGTH), anp.ones(LENGTH)

    def chain(y):
        for _ in range(NODES):
            y = anp.sin(y)
        return y

    return lambda: make_vjp(chain)(x)[0](ones)


def mygrad():
    import mygrad as mg
    import numpy as np

    mg.turn_memory_guarding_off()
    x, ones = mg.tensor(np.linspace(0, 1, LENGTH)), np.ones(LENGTH)

    def once():
        x.null_grad()
        y = x
        for _ in range(NODES):
            y = mg.sin(y)
        y.backward(ones)
        return x.grad

    return once


def pytorch():
    import torch

    torch.set_num_threads(common.THREADS)
    x = torch.linspace(0, 1, LENGTH, dtype=torch.float64, requires_grad=True)
    ones = torch.ones(LENGTH, dtype=torch.float64)

    def once():
        x.grad = None
        y = x
        for _ in range(NODES):
            y = y.sin()
        y.backward(ones)
        return x.grad.numpy()

    return once


CONTESTANTS = {
    "tinygrad_mlp, x.sin()": method,
    "tinygrad_mlp, np.sin(x)": function,
    "autograd": hips_autograd,
    "MyGrad unguarded": mygrad,
    "PyTorch": pytorch,
}


def measure(name, seconds):
    """In a child: check a contestant's derivative, and return its microseconds per node."""
    import numpy as np

    once = CONTESTANTS[name]()
    y, derivative = np.linspace(0, 1, LENGTH), np.ones(LENGTH)
    for _ in range(NODES):
        y, derivative = np.sin(y), derivative * np.cos(y)
    np.testing.assert_allclose(once(), derivative, rtol=1e-12)

    def run(calls):
        for _ in range(calls):
            once()

    return {"us": 1e6 * common.seconds_per_call(run, seconds) / NODES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="processes for each contestant (5)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of timing in each process (0.5)")
    options = parser.parse_args()
    print(common.machine())
    print(common.versions(["numpy", "autograd", "mygrad", "torch"]))
    answers = {name: [] for name in CONTESTANTS}
    for _ in range(options.rounds):
        for name, list_of_answers in answers.items():
            list_of_answers.append(common.in_child(__file__, name=name, seconds=options.seconds))
    rows = [["forward and backward of sin", "us per node", "lowest", "highest"]]
    for name, list_of_answers in answers.items():
        times = [answer["us"] for answer in list_of_answers if "us" in answer]
        if times:
            rows.append([name, *[f"{value:.2f}" for value in (median(times), min(times), max(times))]])
        else:
            rows.append([name, list_of_answers[0]["note"], "", ""])
    common.print_table(rows)


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
