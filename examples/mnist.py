"""Train a network on all of MNIST, and print how well it reads digits that it has never seen.

    python examples/mnist.py
    python examples/mnist.py --recipe record
    python examples/mnist.py --hidden 512 256 --epochs 12
    python examples/mnist.py --csv mnist_784.csv
    python examples/mnist.py --model notebook

`--recipe fast` is done in seconds; `plain` and `strong` see nothing but the 60 000 images; `record` sees them shifted,
rotated and bent, each time in another way. `--model notebook` is the network that this project began with, repaired:
ten sigmoid units on the pixels, binary cross entropy on one-hot labels, plain SGD.
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
HELD_OUT = 8000
RECIPES = {
    "fast": {"hidden": [256], "epochs": 4, "batch_size": 128, "lr": 0.3, "smoothing": 0.05},
    "plain": {
        "hidden": [800, 800],
        "epochs": 20,
        "batch_size": 128,
        "lr": 0.2,
        "smoothing": 0.1,
        "dropout": 0.4,
        "batch_norm": True,
    },
    "strong": {
        "hidden": [800, 400],
        "epochs": 24,
        "batch_size": 128,
        "lr": 0.15,
        "dropout": 0.2,
        "attack": 0.08,
        "batch_norm": True,
    },
    "record": {
        "hidden": [1024, 1024],
        "epochs": 120,
        "batch_size": 256,
        "lr": 0.3,
        "smoothing": 0.1,
        "distort": True,
        "batch_norm": True,
    },
}
NOTEBOOK = {"hidden": [], "epochs": 10, "batch_size": 200, "lr": 1.0}


def binary_cross_entropy(logits, targets):
    """The notebook's cost on one-hot targets: summed over the ten outputs, averaged over the images."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(targets)


def build(options, steps_per_epoch, rng):
    """Return the model, its training step, the optimizer and the schedule of its learning rate."""
    model = nn.MLP([784, *options.hidden, 10], batch_norm=options.batch_norm, dropout=options.dropout, rng=rng)
    if options.model == "notebook":
        loss_of, optimizer = binary_cross_entropy, optim.SGD(model.parameters(), lr=options.lr)
        schedule = optim.LRScheduler(optimizer)
    else:
        loss_of = partial(F.cross_entropy, label_smoothing=options.smoothing)
        optimizer = optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, nesterov=True, weight_decay=1e-4)
        total = options.epochs * steps_per_epoch
        schedule = optim.CosineAnnealingLR(optimizer, T_max=total, warmup=total // 10)

    def step(x, targets):
        if options.attack:
            x, targets = with_attacks(model, loss_of, x, targets, options.attack)
        logits = model(x)
        loss = loss_of(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, logits

    return model, step if options.eager else tg.jit(step, backend=options.backend), optimizer, schedule


def with_attacks(model, loss_of, x, targets, size):
    """Return the batch and, after it, the same images with each pixel moved by ``size`` to where the loss grows.

    Training on both is the fast gradient sign method of Goodfellow, Shlens and Szegedy (arXiv:1412.6572).
    """
    pixels = tg.Tensor(x).detach().requires_grad_()
    (gradient,) = tg.grad(loss_of(model(pixels), targets), pixels)
    return np.concatenate([x, x + size * np.sign(gradient)]), np.concatenate([targets, targets])


def distorted(xb, rng):
    """Return pixels scaled and, each image in a way of its own, shifted, rotated and bent."""
    return tg.augment.distort(tg.scale_pixels(xb), rng)


def train(step, schedule, batches, one_hot=False, prepare=tg.scale_pixels):
    """Train for one epoch; return the mean loss and the accuracy, both measured while learning."""
    losses, hits, count = 0.0, 0.0, 0
    for xb, yb in batches:
        loss, logits = step(prepare(xb), tg.one_hot(yb, 10) if one_hot else yb)
        schedule.step()
        losses += loss.item() * len(yb)
        hits += tg.accuracy(logits[: len(yb)], yb) * len(yb)
        count += len(yb)
    return losses / count, hits / count


@tg.no_grad()
def evaluate(model, X, y):
    """Return the accuracy on images and labels, in batches."""
    model.eval()
    hits = sum(tg.accuracy(model(tg.scale_pixels(xb)), yb) * len(yb) for xb, yb in tg.minibatches(X, y, 1000))
    model.train()
    return hits / len(y)


def machine():
    """Return NumPy's version, its BLAS and the number of threads that it may use."""
    with contextlib.redirect_stdout(io.StringIO()):
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    return f"NumPy {np.__version__}, {blas['name']} {blas['version']}, {threads} threads"


def parse_options(arguments=None):
    """Return the command line's options, with the recipe's own values for those not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="read OpenML's mnist_784.csv, not the packed file")
    parser.add_argument("--recipe", choices=RECIPES, default="fast")
    parser.add_argument("--model", choices=["mlp", "notebook"], default="mlp")
    parser.add_argument("--hidden", type=int, nargs="*", metavar="N", help="widths of the hidden layers")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes through the training images")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step")
    parser.add_argument("--lr", type=float, metavar="X", help="highest learning rate")
    parser.add_argument("--dropout", type=float, metavar="P", help="share of hidden units that a step leaves out")
    parser.add_argument("--attack", type=float, metavar="X", help="how far an adversarial pixel moves, of 1")
    parser.add_argument("--eager", action="store_true", help="run the step op by op, not as a program: same digits")
    parser.add_argument("--backend", choices=["numpy", "numba"], default="numpy", help="of the program (numpy)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of the images (0)")
    parser.add_argument(
        "--validation", action="store_true", help=f"hold out the last {HELD_OUT} training images, and test on those"
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write pictures there (needs matplotlib)")
    options = parser.parse_args(arguments)
    values = NOTEBOOK if options.model == "notebook" else RECIPES[options.recipe]
    unset = {"smoothing": 0.0, "batch_norm": False, "dropout": 0.0, "attack": 0.0, "distort": False}
    for name, value in {**unset, **values}.items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    if options.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1, got {options.epochs}")
    return options


def draw(model, rows, X, y, directory):
    """Write pictures of how the training went and of what the model makes of images that it has not seen."""
    import pandas as pd

    probabilities = tg.predict_proba(model, X, transform=tg.scale_pixels)
    figures = {
        "training_curves": tg.plot.training_curves(pd.DataFrame(rows)),
        "confusion_matrix": tg.plot.confusion_matrix(probabilities, y),
        "mistakes": tg.plot.mistakes(X, probabilities, y),
        "gradient_flow": tg.plot.gradient_flow(model),
        "first_layer": tg.plot.first_layer(model),
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(directory / f"{name}.png")
    print(f"{len(figures)} pictures in {directory}")


def load(options):
    """Return the images and labels to train on, and those to test on."""
    X_train, y_train, X_test, y_test = tg.load_mnist(options.csv or PACKED)
    if options.validation:
        return X_train[:-HELD_OUT], y_train[:-HELD_OUT], X_train[-HELD_OUT:], y_train[-HELD_OUT:]
    return X_train, y_train, X_test, y_test


def main(arguments=None):
    """Train as the options say; print a row an epoch and the result; return the test accuracy."""
    options = parse_options(arguments)
    X_train, y_train, X_test, y_test = load(options)
    init_rng, order_rng, image_rng = np.random.default_rng(options.seed).spawn(3)
    steps = -(-len(X_train) // options.batch_size)
    model, step, _, schedule = build(options, steps, init_rng)
    prepare = partial(distorted, rng=image_rng) if options.distort else tg.scale_pixels
    print(model)
    print("\nepoch    loss   train    test  seconds")
    rows, held_out = [], "validation_accuracy" if options.validation else "test_accuracy"
    start = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        batches = tg.minibatches(X_train, y_train, options.batch_size, rng=order_rng)
        loss, accuracy = train(step, schedule, batches, options.model == "notebook", prepare)
        test = evaluate(model, X_test, y_test)
        lr = schedule.get_last_lr()[0]
        rows.append({"epoch": epoch, "loss": loss, "accuracy": accuracy, held_out: test, "lr": lr})
        print(f"{epoch:5}  {loss:.4f}  {accuracy:6.2%}  {test:6.2%}  {time.perf_counter() - start:7.1f}", flush=True)
    seconds = time.perf_counter() - start
    data = f"accuracy on the last {HELD_OUT} training images" if options.validation else "test accuracy"
    print(f"\n{data} {test:.2%} after {seconds:.1f} s, seed {options.seed} ({machine()})")
    if options.plots:
        draw(model, rows, X_test, y_test, options.plots)
    return test


if __name__ == "__main__":
    main()
