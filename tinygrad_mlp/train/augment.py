"""Augmentation: random shifts and distortions of images, so that a network never sees the same image twice.

Images are rows of X: one of 28 by 28 pixels is a row of 784. Each function takes any number of rows and a Generator,
returns a fresh array of the same shape and dtype, and leaves X alone. ``fit`` calls what it is given on each batch of
scaled pixels, ``augment(xb, rng)``; `functools.partial` fixes options::

    fit(model, X, y, ..., augment=partial(tg.augment.distort, rotation=10, group=4))

>>> from functools import partial
>>> rng = np.random.default_rng(0)
>>> xb = rng.random((128, 784), np.float32)
>>> for augment in (shift, partial(shift, pixels=1), partial(distort, rotation=10, group=4)):
...     print(augment(xb, rng).shape)
(128, 784)
(128, 784)
(128, 784)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..checks import Array, as_array, check_generator, check_integer, check_number
from ..errors import DtypeError, ShapeError, describe, need, out_of_range

__all__ = ["distort", "shift"]
__dir__ = __all__.copy  # what Tab offers

BLOCK = 1 << 15  # pixels of the deformations that are made at once: so few that they stay in the processor's cache
LIMITS = {"rotation": 360, "scale": 1, "shear": 10, "shift": 1e6, "elastic": 1e6}  # float32 tells pixels apart below

Shape = tuple[int, int]


def shift(X: Any, rng: np.random.Generator, pixels: int = 2, shape: Shape = (28, 28)) -> Array:
    """Move each image by whole pixels, drawn from -pixels to pixels for its rows and for its columns; zeros move in.

    Args:
        X: images, (N, height * width), of any dtype: uint8 stays uint8.
        rng: draws the moves; the same seed gives the same bits.
        pixels: the farthest move, less than height and width.
        shape: height and width of an image.

    Raises:
        ShapeError: X does not have rows of height * width pixels.
        ValueError, TypeError: an option is out of range or of another type.

    >>> shift([[1, 2, 3, 4]], np.random.default_rng(2), pixels=1, shape=(2, 2)).reshape(2, 2)
    array([[0, 3],
           [0, 0]])
    """
    images = _images(X, rng, shape)
    check_integer("pixels", pixels, 0, max(shape) - 1)
    framed = np.pad(images, [(0, 0), (pixels, pixels), (pixels, pixels)])
    windows = sliding_window_view(framed, shape, axis=(1, 2))
    top, left = rng.integers(0, 2 * pixels + 1, (2, len(images)))
    return windows[np.arange(len(images)), top, left].reshape(len(images), math.prod(shape))


def distort(
    X: Any,
    rng: np.random.Generator,
    *,
    rotation: float = 15,
    scale: float = 0.15,
    shear: float = 0.15,
    shift: float = 1.5,
    elastic: float = 36,
    smoothness: float = 5,
    group: int = 8,
    shape: Shape = (28, 28),
) -> Array:
    """Rotate, scale, slant, shift and bend images at random, in one bilinear resampling; a zero switches a part off.

    The result at p, a row and a column, is the image at ``c + A (p - c) + t + elastic * (g * u)(p)``, zero outside.
    c is its centre, A a random rotation, shear and scaling, t a random shift, ``g * u`` noise, uniform in [-1, 1) for
    each pixel and direction, smoothed by a Gaussian g. That elastic part is from Simard, Steinkraus and Platt, "Best
    practices for convolutional neural networks applied to visual document analysis", ICDAR 2003.

    Args:
        X: images, (N, height * width), float32 or float64.
        rng: draws the deformations; the same seed gives the same bits.
        rotation: the largest angle, either way, in degrees.
        scale: height and width are stretched by factors from 1 - scale to 1 + scale.
        shear: the largest slant, either way, in columns for each row.
        shift: the largest shift of rows and of columns, either way, in pixels, whole or not.
        elastic: alpha of the paper; a pixel moves each way by a standard deviation of ``0.16 * elastic / smoothness``.
        smoothness: sigma of the paper, the standard deviation of g in pixels.
        group: how many consecutive images share a deformation: making one takes far longer than applying it. Batches
            are shuffled, so an image looks different in each epoch all the same. 1 gives each image its own.
        shape: height and width of an image.

    Raises:
        ShapeError, DtypeError: X is no such array.
        ValueError, TypeError: an option is out of range or of another type.
        ImportError: SciPy is not installed.

    >>> bar = np.tile(np.array([0, 0, 1, 0, 0], np.float32), (1, 5))
    >>> turned = distort(bar, np.random.default_rng(6), rotation=45, scale=0, shear=0, shift=0, elastic=0, shape=(5, 5))
    >>> turned.reshape(5, 5).round(1)
    array([[0. , 0.4, 0.6, 0. , 0. ],
           [0. , 0.2, 0.8, 0. , 0. ],
           [0. , 0. , 1. , 0. , 0. ],
           [0. , 0. , 0.8, 0.2, 0. ],
           [0. , 0. , 0.6, 0.4, 0. ]], dtype=float32)
    """
    images = _images(X, rng, shape)
    if images.dtype not in (np.float32, np.float64):
        raise DtypeError(f"X is {describe(X)}, expected float32 or float64; scale_pixels(X) gives float32")
    ranges = {"rotation": rotation, "scale": scale, "shear": shear, "shift": shift, "elastic": elastic}
    _check_options(ranges, smoothness, group)
    group = min(group, max(1, len(images)))
    result = np.empty((len(images), math.prod(shape)), images.dtype)
    start = 0
    for source in _deformations(-(-len(images) // group), rng, ranges, smoothness, shape):
        block = slice(start, start := start + len(source) * group)
        result[block] = _resample(images[block], source, group)
    return result


def _images(X: Any, rng: np.random.Generator, shape: Shape) -> Array:
    """Return X as (N, height, width)."""
    check_generator(rng)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise out_of_range("shape", shape, "a tuple (height, width)")
    height, width = (check_integer("each of shape", size) for size in shape)
    rows = as_array(X)
    if rows.ndim != 2 or rows.shape[1] != height * width:
        raise ShapeError(
            f"X has shape {rows.shape}, expected (N, {height * width}): a row for each image of {height} by {width} "
            "pixels; say shape=(height, width) where they are of another size"
        )
    return rows.reshape(len(rows), height, width)


def _check_options(ranges: dict[str, float], smoothness: float, group: int) -> None:
    for name, value in ranges.items():
        check_number(name, value, 0, LIMITS[name], f"in [0, {LIMITS[name]:g})")
    check_number("smoothness", smoothness, 0.1, 1e3, "in [0.1, 1000)")
    check_integer("group", group)


def _deformations(
    count: int, rng: np.random.Generator, ranges: dict[str, float], smoothness: float, shape: Shape
) -> Iterator[Array]:
    """Yield ``count`` deformations in blocks (n, 2, height * width): row and column of the source of each pixel."""
    gaussian_filter1d = need("scipy.ndimage", "augment").gaussian_filter1d
    centre = (np.array(shape, np.float32)[:, None] - 1) / 2
    grid = np.indices(shape, np.float32).reshape(2, -1) - centre
    matrices, shifts = _affine(count, rng, ranges)
    # The filter is linear: its matrices, one for each axis, smooth many small fields far faster than it does itself.
    down, across = (gaussian_filter1d(np.eye(size, dtype=np.float32), smoothness, mode="constant") for size in shape)
    step = max(1, BLOCK // math.prod(shape))
    for start in range(0, count, step):
        block = slice(start, start + step)
        source = matrices[block] @ grid + (shifts[block] + centre)
        if ranges["elastic"]:
            noise = 2 * rng.random((len(source), 2, *shape), np.float32) - 1
            source += ranges["elastic"] * (down @ noise @ across).reshape(source.shape)
        yield source


def _affine(count: int, rng: np.random.Generator, ranges: dict[str, float]) -> tuple[Array, Array]:
    """Return matrices (count, 2, 2), each rotation @ shear @ scaling, and shifts (count, 2, 1), both float32."""
    low, high = (1 + sign * ranges["scale"] for sign in (-1, 1))
    a, b = 1 / rng.uniform(low, high, (2, count))
    angle, k, *t = (rng.uniform(-ranges[name], ranges[name], count) for name in ("rotation", "shear", "shift", "shift"))
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    matrices = np.array([[(c - s * k) * a, -s * b], [(s + c * k) * a, c * b]], np.float32)
    return matrices.transpose(2, 0, 1), np.array(t, np.float32).T[:, :, None]


def _resample(images: Array, source: Array, group: int) -> Array:
    """Return images (N, height, width), interpolated at the positions ``source``, one for each ``group`` of them.

    Each pixel of a result is a weighted sum of four of the image: a deformation is a sparse matrix with four entries in
    a row, and those of a block are one matrix, along whose diagonal they stand.
    """
    csr_array = need("scipy.sparse", "augment").csr_array
    framed = _framed(images, len(source), group)
    count, height, width, _ = framed.shape
    last = np.array([[height - 2], [width - 2]], np.float32)
    position = np.clip(source + 1, 0, last + 1)
    low = np.minimum(np.floor(position), last)
    y, x = (position - low).swapaxes(0, 1)
    weights = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], axis=2)
    row, column = low.astype(np.int32).swapaxes(0, 1)
    row += np.arange(0, count * height, height, dtype=np.int32)[:, None]
    pixel = row * width + column
    pixels = np.stack([pixel, pixel + 1, pixel + width, pixel + width + 1], axis=2)
    ends = np.arange(0, pixels.size + 1, 4, dtype=np.int32)
    operator = csr_array((weights.ravel(), pixels.ravel(), ends), shape=(pixel.size, count * height * width))
    result = operator @ framed.reshape(-1, group)
    rows = result.reshape(count, -1, group).swapaxes(1, 2).reshape(count * group, -1)
    return rows[: len(images)]


def _framed(images: Array, count: int, group: int) -> Array:
    """Return images in a frame of zeros, the pixels of a group side by side: (count, height + 2, width + 2, group)."""
    _, height, width = images.shape
    framed = np.zeros((count, height + 2, width + 2, group), images.dtype)
    inner = framed[:, 1:-1, 1:-1].transpose(0, 3, 1, 2)
    full, rest = divmod(len(images), group)
    inner[:full] = images[: full * group].reshape(full, group, height, width)
    inner[full:, :rest] = images[full * group :]
    return framed
