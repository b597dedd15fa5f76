"""Time `fit` beside the loop by hand with the same compiled step: 784-256-10 on MNIST, SGD with momentum.

    python benchmarks/fit.py
    python benchmarks/fit.py --rounds 9 --epochs 4

All start from the same weights and see the same images in the same order, 128 a step; each contestant has a process of
its own, in turn, and two threads. Timed is everything from the untrained model on: the checks of `fit`, the recording
and compilation of the step, and the epochs. `fit` measures the accuracy while learning, as it does by default.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median
from time import perf_counter

import common
import numpy as np
from recipe import EXAMPLE

BATCH_SIZE = 128


def loop(tg, model, optimizer, X, y, epochs, accuracy):
    """The loop that one writes by hand."""
    F = tg.functional

    @tg.jit
    def step(x, labels):
        outputs = model(x)
        loss = F.cross_entropy(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, outputs

    rng = np.random.default_rng(0)
    for _ in range(epochs):
        total = hits = 0.0
        for xb, yb in tg.minibatches(X, y, BATCH_SIZE, rng=rng):
            loss, outputs = step(tg.scale_pixels(xb), yb)
            total += loss.item() * len(yb)
            if accuracy:
                hits += tg.accuracy(outputs, yb) * len(yb)
    return total / len(X)


def fit(tg, model, optimizer, X, y, epochs):
    options = dict(optimizer=optimizer, transform=tg.scale_pixels, progress=False)
    return tg.fit(model, X, y, epochs=epochs, batch_size=BATCH_SIZE, **options).rows[-1]["loss"]


CONTESTANTS = {
    "loop": partial(loop, accuracy=False),
    "loop with accuracy": partial(loop, accuracy=True),
    "fit": fit,
}


def measure(name, epochs):
    """In a child: train, and return the seconds that it took and the mean loss of the last epoch."""
    import tinygrad_mlp as tg

    X, y = tg.load_mnist(EXAMPLE.parent / "data" / "mnist.npz")[:2]
    model = tg.nn.MLP([784, 256, 10], rng=0)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    start = perf_counter()
    loss = CONTESTANTS[name](tg, model, optimizer, X, y, epochs)
    return {"seconds": perf_counter() - start, "loss": loss}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="(7)")
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="(4)")
    options = parser.parse_args()
    print(common.machine())
    seconds, losses = {name: [] for name in CONTESTANTS}, set()
    for _ in range(options.rounds):
        for name in CONTESTANTS:
            answer = common.in_child(__file__, name=name, epochs=options.epochs)
            if "note" in answer:
                raise SystemExit(f"{name}: {answer['note']}")
            seconds[name].append(answer["seconds"])
            losses.add(answer["loss"])
    if len(losses) > 1:
        raise SystemExit(f"not the same digits: mean losses of the last epoch {sorted(losses)}")
    rows = [["", "seconds", "lowest", "highest", "/ loop"]]
    for name, taken in seconds.items():
        cells = [f"{value:.3f}" for value in (median(taken), min(taken), max(taken))]
        rows.append([name, *cells, f"{common.ratio(taken, seconds['loop']):.3f}"])
    common.print_table(rows)


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
