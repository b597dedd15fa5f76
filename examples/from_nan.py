"""From NaN to 98 %: repair a hand-written network's faults one after another, and measure what each repair does.

    python examples/from_nan.py
    python examples/from_nan.py --images 10000 --epochs 2

The network and its four faults, a reconstruction, are in `notebook_pieces.py`. It learns with the notebook's settings,
batches of 200, ten epochs and a learning rate of 0.001, from the pixels as they stand in the file, 0 to 255. Three
things are worth watching:

* 9.80 % is what NaN looks like. `argmax` takes a NaN for the largest score, so ten of them make every image a 0, and
  980 of the 10 000 test images are zeros.
* NaN hides progress. The right sign of the cost gradient is worth nothing as long as the outputs that the gradient is
  computed from have been overwritten.
* A network with wrong gradients may well learn. Nothing but the accuracy says that two faults are left at about 80 %,
  and one at 93 %. `gradients.py` shows how a gradient check finds them; with the framework there is no backward pass
  to get wrong.
"""

from __future__ import annotations

import argparse

import mnist
import numpy as np
from notebook_pieces import AFTER, BEFORE, backward, cost, forward

import tinygrad_mlp as tg

HIDDEN, BATCH_SIZE, LEARNING_RATE = 64, 200, 0.001
REPAIRS = {
    "cost_gradient": "sign of the cost gradient",
    "sigmoid_gradient": "sigmoid gradient not in place",
    "relu_backward": "ReLU backward's direction",
    "relu": "ReLU forward not in place",
}


def with_repairs(names):
    """Return the notebook's pieces, those named in their repaired form."""
    return BEFORE._replace(**{name: getattr(AFTER, name) for name in names})


def train_by_hand(pieces, data, epochs, seed):
    """Train the hand-written network; return the step that made the first NaN, the last epoch's loss, the accuracy."""
    X_train, y_train, X_test, y_test = data
    init_rng, order_rng = np.random.default_rng(seed).spawn(2)
    weights = [
        0.01 * init_rng.standard_normal((784, HIDDEN)),
        np.zeros(HIDDEN),
        0.01 * init_rng.standard_normal((HIDDEN, 10)),
        np.zeros(10),
    ]
    step, nan_since = 0, None
    for _ in range(epochs):
        losses = 0.0
        for xb, yb in tg.minibatches(X_train, y_train, BATCH_SIZE, rng=order_rng):
            step += 1
            x, y = xb.astype(np.float64), tg.one_hot(yb, 10)
            z, h, a = forward(weights, x, pieces)
            losses += cost(a, y) * len(y)
            gradients = backward(weights, x, y, z, h, a, pieces)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= LEARNING_RATE * gradient
            if nan_since is None and any(np.isnan(weight).any() for weight in weights):
                nan_since = step
        if np.isnan(weights[-1]).all():
            break  # every output is NaN from here on: more epochs change nothing
    _, _, scores = forward(weights, X_test, pieces)
    return nan_since, losses / len(y_train), np.mean(scores.argmax(axis=1) == y_test)


def train_with_framework(data, epochs, seed):
    """Train the model of `mnist.py` as it does; return the same as `train_by_hand`."""
    X_train, y_train, X_test, y_test = data
    options = mnist.parse_options(["--seed", str(seed)])
    options.epochs = epochs or options.epochs
    init_rng, order_rng = np.random.default_rng(seed).spawn(2)
    model, step, _, schedule = mnist.build(options, -(-len(X_train) // options.batch_size), init_rng)
    for _ in range(options.epochs):
        batches = tg.minibatches(X_train, y_train, options.batch_size, rng=order_rng)
        loss, _ = mnist.train(step, schedule, batches)
    return None, loss, mnist.evaluate(model, X_test, y_test)


def print_row(repairs, label, result):
    """Print a row of the table."""
    nan_since, loss, accuracy = result
    print(f"{repairs:>7}  {label:38}  {nan_since or '-':>9}  {loss:6.4f}  {accuracy:13.2%}", flush=True)


def parse_options(arguments=None):
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000, metavar="N", help="train on the first N images (60000)")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes through them (10; the framework's model: 7)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of the images (0)")
    options = parser.parse_args(arguments)
    if not BATCH_SIZE <= options.images <= 60_000:
        parser.error(f"argument --images: must be in {BATCH_SIZE}..60000, got {options.images}")
    if options.epochs is not None and options.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1, got {options.epochs}")
    return options


def main(arguments=None):
    """Train with none to four repairs, with each fault alone, and with the framework; print and return a row each."""
    options = parse_options(arguments)
    X_train, y_train, X_test, y_test = tg.load_mnist(mnist.PACKED)
    data = X_train[: options.images], y_train[: options.images], X_test, y_test
    names = list(REPAIRS)
    runs = {"none": []}
    runs |= {f"+ {REPAIRS[name]}": names[: i + 1] for i, name in enumerate(names)}
    runs |= {f"all but: {REPAIRS[name]}": [other for other in names if other != name] for name in names[:-1]}
    rows = {}
    print(f"repairs  {'':38}  NaN since    loss  test accuracy")
    for label, repairs in runs.items():
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # NumPy only warns, and goes on
            rows[label] = train_by_hand(with_repairs(repairs), data, options.epochs or 10, options.seed)
        print_row(len(repairs), label, rows[label])
    rows["framework"] = train_with_framework(data, options.epochs, options.seed)
    print_row("-", "the framework's model, mnist.py", rows["framework"])
    print(f"\nNaN since: the step that made the first one. seed {options.seed} ({mnist.machine()})")
    return rows


if __name__ == "__main__":
    main()
