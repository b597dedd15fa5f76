"""Augmentation against SciPy's own resampling, by direction, and for what it must leave alone."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

import tinygrad_mlp as tg
from tinygrad_mlp.errors import DtypeError, OptionError, ShapeError
from tinygrad_mlp.train.augment import distort, shift

STILL = {"rotation": 0, "scale": 0, "shear": 0, "shift": 0, "elastic": 0}
SIZE = (28, 28)


class Extreme(np.random.Generator):
    """Draws the upper end of each range, and keeps the noise that it draws."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))
        self.noise = []

    def uniform(self, low, high, size):
        return np.full(size, high, float)

    def random(self, size, dtype):
        self.noise.append(super().random(size, dtype))
        return self.noise[-1]


def draw(count, shape=SIZE, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).random((count, shape[0] * shape[1]), dtype)


def rng(seed=0):
    return np.random.default_rng(seed)


def moved(images, down, right):
    """Move images (N, height, width), one pixel and row at a time, zeros moving in."""
    result = np.zeros_like(images)
    _, height, width = images.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[:, y, x] = images[:, y - down, x - right]
    return result


def expected(X, matrix, offset=(0, 0), shape=SIZE):
    """Resample about the centre as SciPy does, zeros around the image."""
    centre = (np.array(shape) - 1) / 2
    offset = centre - matrix @ centre + offset
    images = X.astype(np.float64).reshape(-1, *shape)
    done = [ndimage.affine_transform(i, matrix, offset, order=1, mode="grid-constant") for i in images]
    return np.reshape(done, X.shape)


def test_shift_gives_each_image_one_of_all_moves():
    images = draw(400, (5, 4)).reshape(-1, 5, 4)
    result = shift(images.reshape(-1, 20), rng(), pixels=1, shape=(5, 4)).reshape(-1, 5, 4)
    moves = {(down, right): moved(images, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    found = [[move for move, all_moved in moves.items() if np.array_equal(all_moved[i], result[i])] for i in range(400)]
    assert all(len(f) == 1 for f in found)
    assert {f[0] for f in found} == set(moves)


def test_shift_by_zero_pixels_is_the_image():
    X = draw(3)
    assert shift(X, rng(), 0).tobytes() == X.tobytes()


def test_shift_reaches_its_limit_and_no_further():
    X = np.zeros((500, 784), np.uint8)
    X[:, 14 * 28 + 14] = 255
    rows, columns = np.nonzero(shift(X, rng(), pixels=3).reshape(-1, *SIZE).any(axis=0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (11, 17, 11, 17)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.bool_, np.int16])
def test_shift_keeps_the_dtype(dtype):
    X = (draw(20) * 255).astype(dtype)
    assert shift(X, rng()).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_ranges_nothing_changes_by_a_bit(dtype):
    X = draw(13, (7, 6), dtype=dtype)
    result = distort(X, rng(), **STILL, shape=(7, 6))
    assert (result.dtype, result.tobytes()) == (dtype, X.tobytes())
    assert not np.shares_memory(result, X)


@pytest.mark.parametrize("pixels", [1, 3])
def test_a_shift_by_whole_pixels_moves_every_pixel_exactly(pixels):
    X = draw(5)
    result = distort(X, Extreme(), **{**STILL, "shift": pixels})
    assert np.array_equal(result.reshape(-1, *SIZE), moved(X.reshape(-1, *SIZE), -pixels, -pixels))


def test_a_shift_by_half_a_pixel_is_the_mean_of_four():
    images = draw(1).reshape(28, 28)
    result = distort(images.reshape(1, -1), Extreme(), **{**STILL, "shift": 0.5}).reshape(28, 28)
    mean = (images[:-1, :-1] + images[1:, :-1] + images[:-1, 1:] + images[1:, 1:]) / 4
    np.testing.assert_allclose(result[:-1, :-1], mean, rtol=1e-6)
    np.testing.assert_allclose(result[-1, -1], images[-1, -1] / 4, rtol=1e-6)


@pytest.mark.parametrize("shape", [(28, 28), (9, 14)])
@pytest.mark.parametrize("angle", [1, 15, 90, 200])
def test_a_rotation_is_scipys(angle, shape):
    X = draw(3, shape)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    result = distort(X, Extreme(), **{**STILL, "rotation": angle}, shape=shape)
    np.testing.assert_allclose(result, expected(X, np.array([[c, -s], [s, c]]), shape=shape), atol=1e-5)


def test_a_digit_with_a_blank_border_turns_as_in_any_mode_of_scipy():
    image = np.zeros(SIZE, np.float32)
    image[4:-4, 4:-4] = draw(1, (20, 20)).reshape(20, 20)
    c, s = np.cos(np.deg2rad(15)), np.sin(np.deg2rad(15))
    matrix = np.array([[c, -s], [s, c]])
    turned = ndimage.affine_transform(image, matrix, 13.5 - matrix @ [13.5, 13.5], order=1, mode="constant")
    result = distort(image.reshape(1, -1), Extreme(), **{**STILL, "rotation": 15})
    np.testing.assert_allclose(result.reshape(SIZE), turned, atol=1e-5)


def test_all_affine_parts_together_are_scipys():
    X, k = draw(3), 0.3
    c, s = np.cos(np.deg2rad(10)), np.sin(np.deg2rad(10))
    matrix = np.array([[c, -s], [s, c]]) @ np.array([[1, 0], [k, 1]]) @ np.diag([1 / 1.2, 1 / 1.2])
    result = distort(X, Extreme(), rotation=10, scale=0.2, shear=k, shift=2.3, elastic=0)
    np.testing.assert_allclose(result, expected(X, matrix, offset=(2.3, 2.3)), atol=1e-5)


def test_scale_enlarges_and_shear_slants():
    bar = np.zeros((1, 21, 21), np.float32)
    bar[0, 6:15, 10] = 1
    large = distort(bar.reshape(1, -1), Extreme(), **{**STILL, "scale": 0.5}, shape=(21, 21)).reshape(21, 21)
    assert np.count_nonzero(large[:, 10]) > 9 + 2
    slanted = distort(bar.reshape(1, -1), Extreme(), **{**STILL, "shear": 0.5}, shape=(21, 21)).reshape(21, 21)
    assert slanted[6:15].argmax(axis=1).tolist() == pytest.approx([12, 12, 11, 10, 10, 10, 9, 8, 8], abs=1)
    assert np.array_equal(slanted.any(axis=1), bar[0].any(axis=1))


@pytest.mark.parametrize(("smoothness", "shape"), [(1, SIZE), (5, SIZE), (2.5, (9, 14))])
def test_the_elastic_part_is_scipys(smoothness, shape):
    X, generator = draw(300, shape), Extreme()
    result = distort(X, generator, **{**STILL, "elastic": 30}, smoothness=smoothness, group=1, shape=shape)
    noise = np.concatenate(generator.noise)
    assert noise.shape == (300, 2, *shape)
    for i in (0, 1, 150, 299):
        moves = [30 * ndimage.gaussian_filter(2 * axis - 1, smoothness, mode="constant") for axis in noise[i]]
        image = X[i].reshape(shape)
        wanted = ndimage.map_coordinates(image, np.indices(shape) + moves, order=1, mode="grid-constant")
        np.testing.assert_allclose(result[i], wanted.ravel(), atol=2e-5)


def test_elastic_moves_are_as_large_as_documented():
    ramp = np.tile(np.arange(100, dtype=np.float32), 100)
    result = distort(np.tile(ramp, (40, 1)), rng(), **{**STILL, "elastic": 36}, group=1, shape=(100, 100))
    moves = (result - ramp).reshape(-1, 100, 100)[:, 20:-20, 20:-20]
    assert moves.std() == pytest.approx(0.16 * 36 / 5, rel=0.05)


def test_each_group_has_a_deformation_of_its_own():
    X = np.tile(draw(1), (10, 1))
    result = distort(X, rng(), group=4)
    same = (result[:, None] == result).all(axis=2)
    group = np.arange(10) // 4
    assert np.array_equal(same, group[:, None] == group)


def test_a_group_larger_than_the_batch_is_the_batch():
    X = draw(5)
    assert distort(X, rng(), group=10**12).tobytes() == distort(X, rng(), group=5).tobytes()


def test_the_length_of_the_last_group_and_of_blocks_changes_nothing(monkeypatch):
    X = draw(45)
    whole = distort(X, rng(), group=4)
    monkeypatch.setattr("tinygrad_mlp.train.augment.BLOCK", 3 * 784)
    assert distort(X, rng(), group=4).tobytes() == whole.tobytes()
    alone = np.concatenate([X, np.ones((3, 784), np.float32)])
    assert distort(alone, rng(), group=4)[:45].tobytes() == whole.tobytes()


@pytest.mark.parametrize("augment", [shift, distort, partial(distort, group=1)])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9])
def test_any_number_of_images(augment, count):
    X = draw(count)
    result = augment(X, rng())
    assert (result.shape, result.dtype) == ((count, 784), np.float32)
    assert result.flags.c_contiguous
    assert result.flags.writeable


@pytest.mark.parametrize("augment", [shift, distort])
def test_the_same_seed_gives_the_same_bits_whatever_the_layout(augment):
    X = draw(21)
    first = augment(X, rng(7)).tobytes()
    assert augment(X, rng(8)).tobytes() != first
    strided = np.zeros((42, 2 * 784), np.float32)
    strided[::2, ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    for other in (X, np.asfortranarray(X), strided[::2, ::2], frozen):
        before = other.copy()
        assert augment(other, rng(7)).tobytes() == first
        assert np.array_equal(before, other)
    assert augment(tg.Tensor(X), rng(7)).tobytes() == first


def test_values_stay_in_their_range():
    result = distort(draw(200), rng())
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6


def test_far_sources_are_blank():
    X = draw(4)
    assert not distort(X, Extreme(), **{**STILL, "shift": 999_999.0}).any()
    assert not distort(X, Extreme(), **{**STILL, "shift": 29}).any()


def test_the_global_generator_is_left_alone():
    state = np.random.get_state()[1].tobytes()  # noqa: NPY002
    distort(shift(draw(3), rng()), rng())
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X: distort(X[:, :100], rng()), ShapeError, r"X has shape \(4, 100\), expected \(N, 784\).*shape="),
        (lambda X: distort(X.reshape(4, 28, 28), rng()), ShapeError, r"X has shape \(4, 28, 28\), expected"),
        (lambda X: shift(X[0], rng()), ShapeError, r"X has shape \(784,\), expected"),
        (lambda X: shift(X, rng(), shape=(10, 10)), ShapeError, r"expected \(N, 100\).*10 by 10"),
        (lambda X: shift(X, rng(), shape=784), OptionError, "shape must be a tuple .*height, width.*got 784"),
        (lambda X: shift(X, rng(), shape=(784,)), OptionError, "shape must be"),
        (lambda X: shift(X, rng(), shape=(0, 784)), OptionError, "each of shape must be an integer >= 1, got 0"),
        (lambda X: shift(X, rng(), shape=(28.0, 28)), TypeError, "each of shape must be an integer >= 1, got 28.0"),
        (lambda X: shift(X, rng(), -1), OptionError, r"pixels must be an integer in 0\.\.27, got -1"),
        (lambda X: shift(X, rng(), 28), OptionError, r"pixels must be an integer in 0\.\.27, got 28"),
        (lambda X: shift(X, rng(), 1.5), TypeError, r"pixels must be an integer in 0\.\.27, got 1.5"),
        (lambda X: shift(X, 0), TypeError, r"rng must be a Generator, such as np.random.default_rng\(seed\), got 0"),
        (lambda X: distort(X, None), TypeError, "rng must be a Generator"),
        (lambda X: distort(X.astype(np.uint8), rng()), DtypeError, r"X is uint8\(4, 784\), .*scale_pixels\(X\)"),
        (lambda X: distort(X.astype(np.float16), rng()), DtypeError, "expected float32 or float64"),
        (lambda X: distort(X, rng(), rotation=-1), OptionError, r"rotation must be in \[0, 360\), got -1"),
        (lambda X: distort(X, rng(), scale=1), OptionError, r"scale must be in \[0, 1\), got 1"),
        (lambda X: distort(X, rng(), shear=np.nan), OptionError, r"shear must be in \[0, 10\), got nan"),
        (lambda X: distort(X, rng(), shift=np.inf), OptionError, r"shift must be in \[0, 1e\+06\), got inf"),
        (lambda X: distort(X, rng(), elastic="36"), TypeError, "elastic must be .* got '36'"),
        (lambda X: distort(X, rng(), smoothness=0), OptionError, r"smoothness must be in \[0.1, 1000\), got 0"),
        (lambda X: distort(X, rng(), group=0), OptionError, "group must be an integer >= 1, got 0"),
        (lambda X: distort(X, rng(), group=2.0), TypeError, "group must be an integer >= 1, got 2.0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(draw(4))


def test_an_error_leaves_the_generator_as_it_was():
    generator = rng()
    state = str(generator.bit_generator.state)
    for keywords in ({"group": 0}, {"rotation": -1}, {"shape": (5, 5)}):
        with pytest.raises(ValueError):
            distort(draw(4), generator, **keywords)
    assert str(generator.bit_generator.state) == state


def test_scipy_is_loaded_when_used_and_named_when_absent():
    code = """
import sys
class Absent:
    def find_spec(self, name, path, target=None):
        if name == "scipy":
            raise ModuleNotFoundError("No module named 'scipy'", name=name)
sys.meta_path.insert(0, Absent())
import numpy as np
import tinygrad_mlp as tg
assert "tinygrad_mlp.train.augment" not in sys.modules
X, rng = np.zeros((2, 784), np.float32), np.random.default_rng(0)
tg.augment.shift(X, rng)
try:
    tg.augment.distort(X, rng)
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("this needs scipy, which is not installed: pip install '.[augment]' in the clone")
