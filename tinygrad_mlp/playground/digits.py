"""What a trained network makes of a drawing: the image that it sees, its layers, its scores and their gradient.

The network, 784-64-32-10, was trained by ``.ci/playground_weights.py`` on MNIST.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_mlp as tg

from .. import nn
from ..nn import functional as F

Array = np.ndarray[Any, Any]

SIDE, BOX, PEN = 28, 20, 1.1
"""Pixels of an image and of the box that a digit fills, as in MNIST, and the radius of the pen."""
SMALLEST = 0.15
"""A drawing that is smaller than this part of the sheet is a dot, and not blown up to a digit."""
WEIGHTS = Path(__file__).with_name("digits.npz")


@cache
def reader() -> nn.MLP:
    """Return the trained network."""
    state = {name: np.float32(value) for name, value in tg.load(WEIGHTS).items()}  # in the file: half precision
    biases = [len(value) for name, value in state.items() if name.endswith("bias")]
    model = nn.MLP([SIDE * SIDE, *biases], rng=0)
    model.load_state_dict(state)
    model.eval()
    return model


def segments(strokes: list[Array]) -> tuple[Array, Array]:
    """Return where the segments of all strokes begin and end, (N, 2) each; a stroke of one point is a dot."""
    pairs = [(s, s) if len(s) == 1 else (s[:-1], s[1:]) for s in strokes]
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])


def placed(begin: Array, end: Array) -> tuple[float, Array]:
    """Return the scale and the offset by which a drawing becomes an image as MNIST has them: ``scale * xy + offset``.

    Its ink fills a box of 20 by 20 pixels, and its centre of mass, that of the strokes as lines, lies at (14, 14).
    """
    points = np.concatenate([begin, end])
    scale = (BOX - 2 * PEN) / max(float(np.ptp(points, axis=0).max()), SMALLEST)
    length = np.hypot(*(end - begin).T) + 1e-6  # of a dot too
    centre = length @ (begin + end) / (2 * length.sum())
    return scale, SIDE / 2 - scale * centre


def image(begin: Array, end: Array) -> Array:
    """Return the pixels (28, 28) of segments in pixels: 1 within the pen's radius, falling to 0 over a pixel's width.

    >>> dot = np.array([[1.0, 2.0]])
    >>> image(dot, dot)[:4, :4].round(1)
    array([[0. , 0. , 0. , 0. ],
           [0.2, 0.6, 0.2, 0. ],
           [0.6, 1. , 0.6, 0. ],
           [0.2, 0.6, 0.2, 0. ]], dtype=float32)
    """
    line = np.arange(SIDE, dtype=np.float32)
    (x, y), (along, down) = begin.T.astype(np.float32), (end - begin).T.astype(np.float32)
    right, below = line[:, None] - x, line[:, None, None] - y
    part = np.clip((right * along + below * down) / np.maximum(along**2 + down**2, 1e-12), 0, 1)
    distance = np.sqrt(((right - part * along) ** 2 + (below - part * down) ** 2).min(axis=-1))
    return np.clip(PEN + 0.5 - distance, 0, 1)


def reading(strokes: list[Array], digit: int | None = None) -> dict[str, Any]:
    """Return what the network makes of strokes, arrays (N, 2) of x and y from 0 to 1, y downwards.

    That is the image, and where it lies on the sheet; what the ReLU layers give, the probabilities, and the gradient of
    the score of a digit (None: the likeliest) with respect to the pixels.

    >>> found = reading([np.array([[0.5, 0.2], [0.5, 0.8]])])
    >>> found["prediction"], [len(layer) for layer in found["layers"]]
    (1, [64, 32])
    """
    begin, end = segments(strokes)
    scale, offset = placed(begin, end)
    pixels = tg.Tensor(image(scale * begin + offset, scale * end + offset).reshape(1, -1), requires_grad=True)
    x, layers = pixels, []
    for layer in reader():
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            layers.append(np.float64(x.data[0]).round(3))
    probabilities = F.softmax(x).detach().numpy()[0]
    prediction = int(probabilities.argmax())
    digit = prediction if digit is None else digit
    (gradient,) = tg.grad(x[0, digit], pixels)
    return {
        "image": np.float64(pixels.data[0]).round(3),
        "scale": scale,
        "offset": offset,
        "layers": layers,
        "probabilities": np.float64(probabilities).round(4),
        "prediction": prediction,
        "digit": digit,
        "gradient": np.float64(gradient.data[0]).round(4),
    }
