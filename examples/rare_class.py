"""Find a rare class: nines among fours, one for every hundred, with and without weights of the classes.

    python examples/rare_class.py

A network that is told to get as many rows right as it can does well by calling everything a four. With
``class_weight="balanced"`` the few nines have as large a part in the loss as all fours together.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim

DATA = Path(__file__).parent / "data" / "mnist.npz"
CLASSES = ["four", "nine"]


def load(seed):
    """Return 3000 fours and 30 nines to train on, and all fours and nines of the test images."""
    X_train, y_train, X_test, y_test = tg.load_mnist(DATA)
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(y_train == digit))[:n] for digit, n in ((4, 3000), (9, 30))])
    test = np.isin(y_test, (4, 9))
    return X_train[rows], (y_train[rows] == 9).astype(int), X_test[test], (y_test[test] == 9).astype(int)


def main(seed=0):
    """Train without and with weights, print both confusion matrices, and return the recall of nines for each."""
    X_train, y_train, X_test, y_test = load(seed)
    recalls = []
    for class_weight in (None, "balanced"):
        model = nn.MLP([784, 32, 2], rng=seed)
        tg.fit(
            model,
            X_train,
            y_train,
            optimizer=optim.AdamW(model.parameters(), weight_decay=0.1),
            epochs=20,
            class_weight=class_weight,
            transform=tg.scale_pixels,
            progress=False,
        )
        counts = tg.metrics.confusion_matrix(tg.predict(model, X_test, transform=tg.scale_pixels), y_test)
        recalls.append(counts[1, 1] / counts[1].sum())
        print(f"class_weight={class_weight!r}: {recalls[-1]:.1%} of the nines found")
        print(f"{'':8}{'called ' + CLASSES[0]:>12}{'called ' + CLASSES[1]:>12}")
        for name, row in zip(CLASSES, counts, strict=True):
            print(f"{name:8}{row[0]:12}{row[1]:12}")
    return recalls


if __name__ == "__main__":
    main()
