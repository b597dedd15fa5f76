"""MNIST from a file, and the few steps between a data set and a training loop.

Everything here is plain NumPy: arrays in, arrays out, no Tensor. Wherever an array is taken, a list, a pandas
DataFrame or Series, or a Tensor does as well.

>>> X, y = np.arange(12, dtype=np.uint8).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])
>>> for xb, yb in minibatches(X, y, 4, rng=np.random.default_rng(0)):
...     print(scale_pixels(xb).shape, one_hot(yb, 3).shape)
(4, 2) (4, 3)
(2, 2) (2, 3)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from ..checks import Array, T, as_array, as_classes, check_generator, check_integer, to_an_array
from ..errors import DataError, DtypeError, ShapeError, describe
from ..foreign import answers

__all__ = ["load_mnist", "minibatches", "one_hot", "scale_pixels"]
__dir__ = __all__.copy  # what Tab offers

if TYPE_CHECKING:  # loaded where they are used: importing them takes longer than all the rest
    import zipfile
    from pathlib import Path

TRAIN_ROWS, ROWS, PIXELS, CLASSES = 60_000, 70_000, 784, 10
COLUMNS = [f"pixel{i}" for i in range(1, PIXELS + 1)] + ["class"]
BLOCK_VALUES = 1 << 18  # that are checked at once: they fit into a cache
LINE_LIMIT = 1 << 16  # characters; a longer line is cut here, and then found to be wrong
BLANK = " \t\n"  # str.strip() alone would also take control characters away
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@answers
def load_mnist(path: str | os.PathLike[str]) -> tuple[Array, Array, Array, Array]:
    """Read the whole of MNIST and split it as its authors did: 60 000 images to train on, 10 000 to test on.

    Returns ``X_train, y_train, X_test, y_test``: pixels as uint8 of shape (60000, 784) and (10000, 784), labels
    as int64. See :func:`read_mnist` for the files it takes and the errors it raises; a file with another number of
    rows than 70 000 raises DataError, because a CSV file that was cut after a whole line shows in no other way.

    >>> X_train, y_train, X_test, y_test = load_mnist("examples/data/mnist.npz")
    >>> X_train.shape, X_test.shape, y_train[:5].tolist()
    ((60000, 784), (10000, 784), [5, 0, 4, 1, 9])
    """
    X, y = read_mnist(path)
    if len(X) != ROWS:
        raise DataError(
            f"{str(path)!r} has {len(X)} rows, expected {ROWS}: the file may be cut; "
            "read_mnist reads a part of MNIST, to be split by slicing"
        )
    return X[:TRAIN_ROWS], y[:TRAIN_ROWS], X[TRAIN_ROWS:], y[TRAIN_ROWS:]


def read_mnist(path: str | os.PathLike[str]) -> tuple[Array, Array]:
    """Read MNIST, or a part of it, as pixels (N, 784) uint8 and labels (N,) int64, with N from 1 to 70 000.

    The suffix says what the file is:

    * ``.csv``: OpenML's ``mnist_784.csv`` (https://www.openml.org/d/554). A header with ``pixel1`` to ``pixel784`` and
      ``class``, in any order and quoted or not, then a line an image. Cells are whole numbers, ``5``, ``5.0`` and
      ``"5"`` alike. Blank lines, spaces around a cell and a byte order mark do no harm.
    * ``.npz``: the same, packed by ``np.savez_compressed(file, X=X, y=y)`` with both arrays uint8.

    Raises FileNotFoundError when there is no such local file, and DataError, with the path, for anything wrong in it;
    in a CSV file the error names the line and the column.

    >>> X, y = read_mnist("examples/data/mnist.npz")
    >>> X.shape, X.dtype.name, y.dtype.name
    ((70000, 784), 'uint8', 'int64')
    """
    from pathlib import Path

    path = Path(path)
    reader = {".csv": _read_csv, ".npz": _read_npz}.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{str(path)!r} is neither .csv nor .npz; unpack a compressed file first")
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} is not a local file; expected MNIST as a .csv or .npz file")
    return reader(path)


class _Cells(dict[str, int]):
    """What cells hold, by their text: a whole number from 0 to 255, or -1 for anything else. Each text is read once."""

    def __missing__(self, cell: str) -> int:
        from decimal import Decimal

        text = _unquoted(cell)
        number = Decimal(text) if NUMBER.fullmatch(text) else Decimal(-1)  # exact, as a float would not be
        value = int(number) if 0 <= number <= 255 and number == int(number) else -1
        return self.setdefault(cell, value) if len(self) < 4096 else value


def _unquoted(cell: str) -> str:
    cell = cell.strip(BLANK)
    return cell[1:-1].strip(BLANK) if cell[:1] == cell[-1:] == '"' else cell


def _read_csv(path: Path) -> tuple[Array, Array]:
    # Pages of np.empty that no row reaches are never touched: a small file takes little memory, a full one 55 MB.
    pixels, labels = np.empty((ROWS, PIXELS), np.uint8), np.empty(ROWS, np.int64)
    count, known, where = 0, _Cells(), repr(str(path))
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        numbered = enumerate(iter(partial(file.readline, LINE_LIMIT), ""), 1)
        lines = ((number, line) for number, line in numbered if line.strip(BLANK))
        number, header = next(lines, (1, ""))
        names = [_unquoted(cell) for cell in header.split(",")]
        _check_header(names, f"{where}, line {number}")
        order = np.array([names.index(name) for name in COLUMNS])
        limits = np.array([CLASSES - 1 if name == "class" else 255 for name in names])
        for number, line in lines:
            if count == ROWS:
                raise DataError(f"{where} has more rows than MNIST's {ROWS}; expected a part of MNIST")
            cells = line.split(",")
            values = np.fromiter(map(known.__getitem__, cells), np.int64, len(cells))
            if len(values) != len(names) or ((values < 0) | (values > limits)).any():
                raise DataError(f"{where}, line {number}, {_fault(cells, values, names, limits)}")
            values = values[order]
            pixels[count], labels[count] = values[:PIXELS], values[PIXELS]
            count += 1
    if count == 0:
        raise DataError(f"{where} has a header but no rows; expected a line an image")
    return pixels[:count], labels[:count]


def _fault(cells: list[str], values: Array, names: list[str], limits: Array) -> str:
    """Return what is wrong with a line, from the column on."""
    if len(cells) != len(names):
        column = repr(names[len(cells)]) if len(cells) < len(names) else len(names) + 1
        return f"column {column}: {len(cells)} fields, expected {len(names)}; it may be cut, or have a comma too many"
    column = int(((values < 0) | (values > limits)).argmax())
    cell = cells[column].strip(BLANK)
    found = describe(cell) if cell else "nothing"
    return f"column {names[column]!r}: found {found}, expected a whole number in 0..{limits[column]}"


def _check_header(names: list[str], where: str) -> None:
    expected = "expected a header with pixel1 to pixel784 and class, separated by commas"
    for i, name in enumerate(names):
        if name not in COLUMNS or name in names[:i]:
            fault = "repeated" if name in COLUMNS else "unknown"
            raise DataError(f"{where}, column {i + 1}: {fault} name {describe(name)}; {expected}")
    if absent := [name for name in COLUMNS if name not in names]:
        raise DataError(f"{where}: no column {absent[0]!r} ({len(absent)} missing); {expected}")


def _read_npz(path: Path) -> tuple[Array, Array]:
    import zipfile

    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if sorted(names) != ["X.npy", "y.npy"]:
                    raise DataError(f"it has the members {describe(names)}")
                X, y = _read_member(archive, "X.npy", (PIXELS,)), _read_member(archive, "y.npy", ())
            if len(X) != len(y):
                raise DataError(f"X has {len(X)} rows and y has {len(y)}")
            labels = as_classes(y, CLASSES, "y")
        except Exception as error:  # a damaged archive raises any of a dozen types, from five modules
            raise DataError(
                f"{str(path)!r} is damaged or holds something else: {error or type(error).__name__}; "
                f"expected the arrays X uint8(N, {PIXELS}) and y uint8(N,), N <= {ROWS}"
            ) from error
    return X, labels


def _read_member(archive: zipfile.ZipFile, name: str, row_shape: tuple[int, ...]) -> Array:
    with archive.open(name) as member:  # the header first: it could ask for more memory than there is
        if np.lib.format.read_magic(member) != (1, 0):
            raise DataError(f"{name} has an unknown format version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        rows, *rest = shape or (0,)
        if dtype != np.uint8 or tuple(rest) != row_shape or not 0 < rows <= ROWS:
            raise DataError(f"{name} is {dtype}{shape}")
    with archive.open(name) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise DataError(f"{name} has bytes after its end")
    return array


def check_features(X: Any) -> Array:
    """Return X as an array of shape (N, features) that a network can take: what `check_rows` does, and two axes.

    >>> check_features([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    array = as_array(X)
    if array.ndim != 2:
        raise DataError(f"X has shape {array.shape}, expected (N, features); try X.reshape(len(X), -1)")
    checked: Array = check_rows(array)
    return checked


def check_rows(value: Any, name: str = "X") -> Any:
    """Return what has a row for each sample, once it is found to be numbers, not empty and finite, block by block.

    An array, an ``np.memmap`` and a DataFrame come back as they are, not copied; a list or a Tensor as an array.
    Raises DataError, with row and column, for NaN and infinity, and for no rows or columns; DtypeError, a TypeError,
    for objects, text and complex numbers.

    >>> check_rows([[1.0, 2.0], [3.0, np.nan]])
    Traceback (most recent call last):
    tinygrad_mlp.errors.DataError: X is nan at row 1, column 1 (from 0), 1 of 4 not finite; remove or replace them
    """
    given, value = value, _sliceable(value)
    if value.ndim == 0:
        simple = given is None or isinstance(given, (str, bytes, int, float))
        got = describe(given) if simple else f"of type {type(given).__name__}"
        hint = to_an_array(given) or "an array, a DataFrame or a list of rows"
        raise DataError(f"{name} is {got}, expected an array with a row for each sample: {hint}")
    if 0 in value.shape:
        raise DataError(f"{name} has shape {value.shape}, expected at least one row and one column")
    if value.ndim == 2 and hasattr(value, "dtypes"):
        for column, dtype in value.dtypes.items():
            if dtype.kind not in "biuf":
                raise DtypeError(f"{name} has {dtype} in column {column!r}, expected numbers; convert or drop it")
    size = max(1, BLOCK_VALUES * len(value) // value.size)
    first, bad = "", 0
    for start in range(0, len(value), size):
        block = rows(value, slice(start, start + size))
        if block.dtype.kind not in "biuf":
            raise DtypeError(
                f"{name} holds {block.dtype}, expected numbers; convert it (pandas.factorize numbers classes)"
            )
        if block.dtype.kind == "f" and not (finite := np.isfinite(block)).all():
            row, *column = at = _first(~finite)
            where = ", ".join([f"row {start + row}", *(f"column {i}" for i in column)])
            first, bad = first or f"{block[at]} at {where}", bad + block.size - np.count_nonzero(finite)
    if bad:
        count = f"{bad} of {value.size} not finite"
        raise DataError(f"{name} is {first} (from 0), {count}; remove or replace them")
    return value


def select(value: T, where: Any) -> T:
    """Return the rows of an array or DataFrame that a slice or an array of numbers says."""
    return value.iloc[where] if hasattr(value, "iloc") else value[where]


def rows(value: Any, where: Any) -> Array:
    """Return `select`ed rows as an array: for a slice a view, unless a DataFrame has to convert them."""
    return as_array(select(value, where))


def _first(bad: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape))


def scale_pixels(X: Any) -> Array:
    """Return whole pixel values 0..255 as float32 in [0, 1]: exactly ``x / 255``, rounded once.

    Each value is converted on its own, so a batch at a time gives the same bits as all at once, in a fraction of the
    memory: keep the data set as uint8 and scale each batch. Any shape will do.

    Raises DtypeError for floats, which as a rule have been scaled already, and DataError for a value outside 0..255.

    >>> scale_pixels(np.array([0, 51, 255], np.uint8))
    array([0. , 0.2, 1. ], dtype=float32)
    """
    pixels = as_array(X)
    if pixels.dtype.kind not in "iu":
        raise DtypeError(
            f"pixels are {describe(pixels)}, expected integers in 0..255; if they are not scaled yet, convert them "
            "with X.astype(np.uint8)"
        )
    if pixels.dtype != np.uint8 and (bad := (pixels < 0) | (pixels > 255)).any():
        at = _first(bad)
        raise DataError(f"pixels{list(at)} is {pixels[at]}, expected a whole number in 0..255")
    return np.divide(pixels, 255, dtype=np.float32)


@answers
def one_hot(labels: Any, num_classes: int | None = None, dtype: DTypeLike = np.float32) -> Array:
    """Return labels (N,) as rows (N, num_classes) that are 1 in the label's column and 0 elsewhere.

    ``num_classes`` defaults to the largest of the ``labels`` + 1; pass it whenever a part of the data may lack a class.
    ``dtype`` is that of the result.
    Raises ShapeError unless the labels are one-dimensional, DtypeError unless they are numbers, and DataError, with the
    first bad value and its position, for a label that is NaN, has a fraction or is out of range.

    >>> one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    classes = as_classes(labels, num_classes)
    if num_classes is None:
        num_classes = int(classes.max()) + 1
    rows = np.zeros((len(classes), num_classes), dtype)
    rows[np.arange(len(classes)), classes] = 1
    return rows


@answers
def minibatches(
    X: Any, y: Any, batch_size: int, *, rng: np.random.Generator | None = None
) -> Iterator[tuple[Array, Array]]:
    """Yield ``(xb, yb)``, the rows of ``X`` and ``y`` in batches of ``batch_size``; the last one may be shorter.

    With ``rng``, one permutation drawn from it at the call decides the order; without, rows come as they stand. Every
    batch is a fresh array, and only a batch at a time is copied, also from a memory-mapped file or a DataFrame.

    Raises, at the call: ShapeError when the lengths differ, DataError when there are no rows, ValueError unless
    ``batch_size >= 1``, TypeError for a batch size that is no integer or an ``rng`` that is no Generator.

    >>> [(xb.tolist(), yb.tolist()) for xb, yb in minibatches([[1], [2], [3]], [10, 20, 30], 2)]
    [([[1], [2]], [10, 20]), ([[3]], [30])]
    """
    X, y = _sliceable(X), _sliceable(y)
    if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
        raise ShapeError(f"X and y must have one row for each sample, got shapes {X.shape} and {y.shape}")
    if len(X) == 0:
        raise DataError(f"X has shape {X.shape}, expected at least one row")
    batch_size = check_integer("batch_size", batch_size)
    if rng is not None:
        check_generator(rng)
    return ((rows(X, numbers), rows(y, numbers)) for numbers in batch_numbers(len(X), batch_size, rng))


def batch_numbers(count: int, batch_size: int, rng: np.random.Generator | None) -> Iterator[Array]:
    """Yield the numbers of the rows of each batch; with ``rng``, in an order that is drawn at the call."""
    order = np.arange(count) if rng is None else rng.permutation(count)
    return (order[start : start + batch_size] for start in range(0, count, batch_size))


def _sliceable(value: Any) -> Any:
    return value if hasattr(value, "iloc") else as_array(value)
