"""Train a network on all of MNIST, and print how well it reads digits that it has never seen.

    python examples/mnist.py
    python examples/mnist.py --hidden 512 256 --epochs 12
    python examples/mnist.py --csv mnist_784.csv
    python examples/mnist.py --model notebook

`--model notebook` is the network that this project began with, repaired: ten sigmoid units on the pixels, binary cross
entropy on one-hot labels, plain SGD.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import time
from functools import partial
from pathlib import Path

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim

PACKED = Path(__file__).parent / "data" / "mnist.npz"
SMOOTHING = 0.05
DEFAULTS = {
    "mlp": {"hidden": [256], "epochs": 4, "batch_size": 128, "lr": 0.3},
    "notebook": {"hidden": [], "epochs": 10, "batch_size": 200, "lr": 1.0},
}


def binary_cross_entropy(logits, targets):
    """The notebook's cost on one-hot targets: summed over the ten outputs, averaged over the images."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(targets)


def build(options, steps_per_epoch, rng):
    """Return the model, its training step, the optimizer and the schedule of its learning rate."""
    model = nn.MLP([784, *options.hidden, 10], rng=rng)
    if options.model == "notebook":
        loss_of, optimizer = binary_cross_entropy, optim.SGD(model.parameters(), lr=options.lr)
        schedule = optim.LRScheduler(optimizer)
    else:
        loss_of = partial(F.cross_entropy, label_smoothing=SMOOTHING)
        optimizer = optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, nesterov=True, weight_decay=1e-4)
        total = options.epochs * steps_per_epoch
        schedule = optim.CosineAnnealingLR(optimizer, T_max=total, warmup=total // 10)

    def step(x, targets):
        logits = model(x)
        loss = loss_of(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, logits

    return model, step if options.eager else tg.jit(step), optimizer, schedule


def train(step, schedule, batches, one_hot=False):
    """Train for one epoch; return the mean loss and the accuracy, both measured while learning."""
    losses, hits, count = 0.0, 0.0, 0
    for xb, yb in batches:
        loss, logits = step(tg.scale_pixels(xb), tg.one_hot(yb, 10) if one_hot else yb)
        schedule.step()
        losses += loss.item() * len(yb)
        hits += tg.accuracy(logits, yb) * len(yb)
        count += len(yb)
    return losses / count, hits / count


@tg.no_grad()
def evaluate(model, X, y):
    """Return the accuracy on images and labels, in batches."""
    return sum(tg.accuracy(model(tg.scale_pixels(xb)), yb) * len(yb) for xb, yb in tg.minibatches(X, y, 1000)) / len(y)


def machine():
    """Return NumPy's version, its BLAS and the number of threads that it may use."""
    with contextlib.redirect_stdout(io.StringIO()):
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    return f"NumPy {np.__version__}, {blas['name']} {blas['version']}, {threads} threads"


def parse_options(arguments=None):
    """Return the command line's options, with the model's own defaults for those not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="read OpenML's mnist_784.csv, not the packed file")
    parser.add_argument("--model", choices=DEFAULTS, default="mlp")
    parser.add_argument("--hidden", type=int, nargs="*", metavar="N", help="widths of the hidden layers (256)")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes through the training images (4; notebook: 10)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step (128; notebook: 200)")
    parser.add_argument("--lr", type=float, metavar="X", help="highest learning rate (0.3; notebook: 1.0)")
    parser.add_argument(
        "--eager", action="store_true", help="run the training step op by op, not as a program: same digits"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of the images (0)")
    options = parser.parse_args(arguments)
    for name, value in DEFAULTS[options.model].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1, got {options.epochs}")
    return options


def main(arguments=None):
    """Train as the options say; print a row an epoch and the result; return the test accuracy."""
    options = parse_options(arguments)
    X_train, y_train, X_test, y_test = tg.load_mnist(options.csv or PACKED)
    init_rng, order_rng = np.random.default_rng(options.seed).spawn(2)
    steps = -(-len(X_train) // options.batch_size)
    model, step, _, schedule = build(options, steps, init_rng)
    print(model)
    print("\nepoch    loss   train    test  seconds")
    start = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        batches = tg.minibatches(X_train, y_train, options.batch_size, rng=order_rng)
        loss, accuracy = train(step, schedule, batches, one_hot=options.model == "notebook")
        test = evaluate(model, X_test, y_test)
        print(f"{epoch:5}  {loss:.4f}  {accuracy:6.2%}  {test:6.2%}  {time.perf_counter() - start:7.1f}", flush=True)
    seconds = time.perf_counter() - start
    print(f"\ntest accuracy {test:.2%} after {seconds:.1f} s, seed {options.seed} ({machine()})")
    return test


if __name__ == "__main__":
    main()
