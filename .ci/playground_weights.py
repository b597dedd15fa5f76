"""Train the digit reader of the playground, and write its weights: ``python .ci/playground_weights.py``, two minutes.

The network is small, so that each unit can be shown, and sees MNIST's images rotated, stretched and bent, each time in
another way, because those who draw with a mouse write otherwise than with a pen. Needs SciPy (the extra ``augment``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim
from tinygrad_mlp.playground.digits import WEIGHTS, reader

ROOT = Path(__file__).parents[1]
SIZES, EPOCHS, BATCH_SIZE = [784, 64, 32, 10], 24, 128


def main() -> None:
    """Train, print the accuracy on MNIST's test images, and write the weights in half precision."""
    X_train, y_train, X_test, y_test = tg.load_mnist(ROOT / "examples" / "data" / "mnist.npz")
    model = nn.MLP(SIZES, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    steps = EPOCHS * -(-len(X_train) // BATCH_SIZE)
    tg.fit(
        model,
        X_train,
        y_train,
        loss=F.cross_entropy,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        schedule=optim.CosineAnnealingLR(optimizer, T_max=steps, warmup=steps // 10),
        transform=tg.scale_pixels,
        augment=tg.augment.distort,
    )
    halves = {name: weights.astype(np.float16) for name, weights in model.state_dict().items()}
    tg.save(halves, WEIGHTS)
    print(tg.evaluate(reader(), X_test, y_test, transform=tg.scale_pixels), WEIGHTS.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
