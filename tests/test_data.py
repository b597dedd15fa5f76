"""Tests of the data room: the files it reads, every defect it must find, and the steps from arrays to batches."""

from __future__ import annotations

import csv
import io
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tinygrad_mlp import data
from tinygrad_mlp.errors import DataError, DtypeError, ShapeError
from tinygrad_mlp.train.data import (
    as_array,
    check_features,
    check_rows,
    load_mnist,
    minibatches,
    one_hot,
    read_mnist,
    scale_pixels,
)

ROOT = Path(__file__).parents[1]
MNIST = ROOT / "examples" / "data" / "mnist.npz"
HEADER = [f"pixel{i}" for i in range(1, 785)] + ["class"]
Table = list[list[str]]


def small_mnist(rows: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (rows, 784), dtype=np.uint8), rng.integers(0, 10, rows, dtype=np.uint8)


def table(X: np.ndarray, y: np.ndarray) -> Table:
    return [HEADER[:], *([str(v) for v in row] + [str(label)] for row, label in zip(X, y, strict=True))]


def text_of(rows: Table) -> str:
    return "".join(",".join(row) + "\n" for row in rows)


def write_npz(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path


class TensorLike:
    """What data.py knows of a Tensor: it detaches, and then becomes an array."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def detach(self) -> TensorLike:
        return TensorLike(self.values)

    def numpy(self) -> np.ndarray:
        return self.values

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("requires grad: call detach() first")


# Reading files


def test_importing_data_loads_no_pandas() -> None:
    code = "import sys, tinygrad_mlp.data; assert not any(m.split('.')[0] == 'pandas' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_load_mnist_splits_the_packed_file() -> None:
    X_train, y_train, X_test, y_test = load_mnist(MNIST)
    assert (X_train.shape, X_test.shape) == ((60000, 784), (10000, 784))
    assert X_train.dtype == X_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int64
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


CSV_VARIANTS: dict[str, Callable[[Table], str]] = {
    "plain": text_of,
    "quoted header and label": lambda t: text_of(
        [[f'"{name}"' for name in t[0]], *([*row[:-1], f'"{row[-1]}"'] for row in t[1:])]
    ),
    "every cell quoted": lambda t: text_of([[f'"{cell}"' for cell in row] for row in t]),
    "class first": lambda t: text_of([[row[-1], *row[:-1]] for row in t]),
    "class in the middle": lambda t: text_of([[*row[:300], row[-1], *row[300:-1]] for row in t]),
    "columns in reverse": lambda t: text_of([row[::-1] for row in t]),
    "whole floats": lambda t: text_of([t[0], *([f"{cell}.0" for cell in row] for row in t[1:])]),
    "exponents": lambda t: text_of([t[0], *([f"{cell}0e-1" for cell in row] for row in t[1:])]),
    "spaces": lambda t: text_of([[f" {cell} " for cell in row] for row in t]),
    "space before a quote": lambda t: text_of([[f' "{cell}" ' for cell in row] for row in t]),
    "carriage returns": lambda t: text_of(t).replace("\n", "\r\n"),
    "byte order mark": lambda t: "\ufeff" + text_of(t),
    "blank lines": lambda t: "\n" + text_of(t).replace("\n", "\n\n \n") + "\n",
    "no newline at the end": lambda t: text_of(t)[:-1],
    "signs and points": lambda t: text_of([t[0], *([f"+{cell}." for cell in row] for row in t[1:])]),
    "zeros before": lambda t: text_of([t[0], *([f"{'0' * (i % 70)}{c}" for i, c in enumerate(row)] for row in t[1:])]),
}


@pytest.mark.parametrize("variant", CSV_VARIANTS)
def test_csv_variants_give_the_same_data(tmp_path: Path, variant: str) -> None:
    X, y = small_mnist(rows=5)
    path = tmp_path / "mnist_784.csv"
    path.write_text(CSV_VARIANTS[variant](table(X, y)), encoding="utf-8", newline="")
    X_read, y_read = read_mnist(str(path))
    assert (X_read.dtype, y_read.dtype) == (np.uint8, np.int64)
    assert np.array_equal(X_read, X)
    assert np.array_equal(y_read, y)


def with_cell(line: int, column: int, cell: str) -> Callable[[Table], str]:
    """Return an edit that puts ``cell`` into a line, counted from 1 as an editor does, and a column from 0."""

    def edit(rows: Table) -> str:
        rows[line - 1][column] = cell
        return text_of(rows)

    return edit


def with_line(line: int, change: Callable[[list[str]], list[str]]) -> Callable[[Table], str]:
    def edit(rows: Table) -> str:
        rows[line - 1] = change(rows[line - 1])
        return text_of(rows)

    return edit


# name: (edit of a good file with a header and five rows, what the message must hold besides the path)
PIXEL, LABEL = "expected a whole number in 0..255", "expected a whole number in 0..9"
CSV_DEFECTS: dict[str, tuple[Callable[[Table], str], tuple[str, ...]]] = {
    "pixel 256": (with_cell(3, 7, "256"), ("line 3, column 'pixel8'", "'256'", PIXEL)),
    "pixel -1": (with_cell(2, 0, "-1"), ("line 2, column 'pixel1'", "'-1'", PIXEL)),
    "pixel that wraps to 0 in 64 bits": (with_cell(4, 5, str(2**64)), ("line 4, column 'pixel6'", str(2**64))),
    "pixel 255.5": (with_cell(6, 783, "255.5"), ("line 6, column 'pixel784'", "'255.5'", PIXEL)),
    "pixel almost 0": (with_cell(3, 1, "1e-400"), ("line 3, column 'pixel2'", "'1e-400'", PIXEL)),
    "pixel almost 255": (with_cell(3, 1, f"255.{'0' * 40}1"), ("line 3, column 'pixel2'", "'255.000", PIXEL)),
    "pixel beyond Decimal": (with_cell(3, 1, f"1e-{10**30}"), ("line 3, column 'pixel2'", "'1e-1000", PIXEL)),
    "pixel with many digits": (with_cell(3, 1, f"{'0' * 9000}256"), ("line 3, column 'pixel2'", "'0000", PIXEL)),
    "pixel inf": (with_cell(3, 1, "inf"), ("line 3, column 'pixel2'", "'inf'")),
    "pixel nan": (with_cell(3, 1, "nan"), ("line 3, column 'pixel2'", "'nan'")),
    "pixel NA": (with_cell(3, 1, "NA"), ("line 3, column 'pixel2'", "'NA'")),
    "missing pixel": (with_cell(5, 2, ""), ("line 5, column 'pixel3'", "found nothing", PIXEL)),
    "missing quoted pixel": (with_cell(5, 2, '""'), ("line 5, column 'pixel3'",)),
    "question mark": (with_cell(5, 2, "?"), ("line 5, column 'pixel3'", "'?'")),
    "text": (with_cell(5, 2, "dark"), ("line 5, column 'pixel3'", "'dark'")),
    "bool": (with_cell(5, 2, "True"), ("line 5, column 'pixel3'", "'True'")),
    "hexadecimal": (with_cell(5, 2, "0x10"), ("line 5, column 'pixel3'", "'0x10'")),
    "underscore": (with_cell(5, 2, "1_0"), ("line 5, column 'pixel3'", "'1_0'")),
    "digit of another script": (with_cell(5, 2, "\u0663"), ("line 5, column 'pixel3'",)),
    "thousands separator": (with_cell(5, 2, '"1,000"'), ("line 5, column 786", "786 fields, expected 785")),
    "comma in quotes for two cells": (
        with_line(5, lambda row: [*row[:2], '"1', '0"', *row[4:]]),
        ("line 5, column 'pixel3'", "'\"1'"),
    ),
    "text after quotes": (with_cell(5, 2, '"7"2'), ("line 5, column 'pixel3'", "'\"7\"2'")),
    "separator byte": (with_cell(5, 2, "\x1c7"), ("line 5, column 'pixel3'",)),
    "NUL byte": (with_cell(5, 2, "1\0"), ("line 5, column 'pixel3'", r"'1\x00'")),
    "escape codes": (with_cell(5, 2, "\x1b[31m"), ("line 5, column 'pixel3'", r"'\x1b[31m'")),
    "unterminated quote": (with_cell(3, 2, '"7'), ("line 3, column 'pixel3'", "'\"7'")),
    "single quotes": (with_cell(3, 784, "'5'"), ("line 3, column 'class'", "\"'5'\"", LABEL)),
    "label 10": (with_cell(4, 784, "10"), ("line 4, column 'class'", "'10'", LABEL)),
    "label -1": (with_cell(4, 784, "-1"), ("line 4, column 'class'", "'-1'", LABEL)),
    "label 5.5": (with_cell(4, 784, "5.5"), ("line 4, column 'class'", "'5.5'", LABEL)),
    "missing label": (with_cell(4, 784, ""), ("line 4, column 'class'", "found nothing", LABEL)),
    "label in words": (with_cell(4, 784, "five"), ("line 4, column 'class'", "'five'", LABEL)),
    "short line": (with_line(4, lambda row: row[:-1]), ("line 4, column 'class'", "784 fields, expected 785")),
    "first line short": (with_line(2, lambda row: row[:-2]), ("line 2, column 'pixel784'", "783 fields")),
    "last line cut": (with_line(6, lambda row: row[:100]), ("line 6, column 'pixel101'", "100 fields", "cut")),
    "last line cut before the label": (with_cell(6, 784, ""), ("line 6, column 'class'", "found nothing")),
    "long line": (with_line(4, lambda row: [*row, "0"]), ("line 4, column 786", "786 fields, expected 785")),
    "first line long": (with_line(2, lambda row: [*row, "0"]), ("line 2, column 786",)),
    "all lines long": (
        lambda rows: text_of([rows[0], *([*row, "0"] for row in rows[1:])]),
        ("line 2, column 786",),
    ),
    "one short, the next long": (
        lambda rows: text_of([*rows[:2], rows[2][:-1], [*rows[3], "0"], *rows[4:]]),
        ("line 3, column 'class'",),
    ),
    "endless line": (with_cell(3, 2, "0" * 200_000), ("line 3, column 'pixel4'", "3 fields")),
    "no header": (lambda rows: text_of(rows[1:]), ("line 1, column 1", "unknown name", "expected a header")),
    "wrong name": (with_cell(1, 9, "pixel_10"), ("line 1, column 10", "unknown name 'pixel_10'")),
    "repeated name": (with_cell(1, 9, "pixel1"), ("line 1, column 10", "repeated name 'pixel1'")),
    "no class column": (lambda rows: text_of([row[:-1] for row in rows]), ("line 1", "no column 'class' (1 missing)")),
    "a column too many": (lambda rows: text_of([[*row, "id"] for row in rows]), ("line 1, column 786", "'id'")),
    "semicolons": (lambda rows: text_of(rows).replace(",", ";"), ("line 1, column 1", "separated by commas")),
    "a million columns": (lambda rows: "0," * 1_000_000, ("line 1, column 1", "unknown name '0'")),
    "header only": (lambda rows: text_of(rows[:1]), ("no rows",)),
    "empty": (lambda rows: "", ("line 1, column 1", "expected a header")),
    "a web page": (lambda rows: "<!DOCTYPE html>\n<html></html>\n", ("line 1, column 1", "'<!DOCTYPE html>'")),
}


@pytest.mark.parametrize("defect", CSV_DEFECTS)
def test_csv_defects_are_named_by_file_line_and_column(tmp_path: Path, defect: str) -> None:
    edit, fragments = CSV_DEFECTS[defect]
    path = tmp_path / "mnist_784.csv"
    path.write_text(edit(table(*small_mnist(rows=5))), encoding="utf-8", newline="")
    with pytest.raises(DataError) as caught:
        read_mnist(path)
    for fragment in (repr(str(path)), *fragments):
        assert fragment in str(caught.value)
    assert len(str(caught.value)) < 250 + len(str(path))


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    rows = table(*small_mnist(rows=3))
    rows[3][4] = "x"
    path = tmp_path / "a.csv"
    path.write_text(text_of(rows).replace("\n", "\n\n"))
    with pytest.raises(DataError, match="line 7, column 'pixel5': found 'x'"):
        read_mnist(path)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text_of(table(*small_mnist())), encoding="utf-16")
    with pytest.raises(DataError, match="line 1, column 1"):
        read_mnist(path)


def test_what_is_no_local_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "missing.csv", tmp_path / "folder.csv", "https://www.openml.org/mnist_784.csv"):
        with pytest.raises(FileNotFoundError) as caught:
            load_mnist(path)
        assert repr(str(Path(path))) in str(caught.value)
    for name in ("mnist_784.csv.gz", "mnist.zip", "mnist", "mnist.arff"):
        with pytest.raises(DataError, match="neither") as refused:
            load_mnist(tmp_path / name)
        assert name in str(refused.value)


def test_a_part_of_mnist_is_read_but_not_split(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text_of(table(*small_mnist(rows=7))))
    assert read_mnist(path)[0].shape == (7, 784)
    with pytest.raises(DataError, match="has 7 rows, expected 70000"):
        load_mnist(path)


def test_more_rows_than_mnist_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "ROWS", 5)
    X, y = small_mnist(rows=6)
    (tmp_path / "a.csv").write_text(text_of(table(X, y)))
    with pytest.raises(DataError, match=r"a\.csv' has more rows than MNIST's 5"):
        read_mnist(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.npz' .* X\.npy is uint8\(6, 784\)"):
        read_mnist(write_npz(tmp_path / "a.npz", X=X, y=y))


@pytest.mark.slow
def test_the_whole_csv_gives_the_packed_data_in_little_memory(tmp_path: Path) -> None:
    X, y = read_mnist(MNIST)
    path = tmp_path / "mnist_784.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerow(HEADER)
        csv.writer(file).writerows(np.column_stack([X, y]).tolist())
    tracemalloc.start()
    try:
        X_train, y_train, X_test, y_test = load_mnist(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(np.concatenate([X_train, X_test]), X)
    assert np.array_equal(np.concatenate([y_train, y_test]), y)
    assert peak < X.nbytes + 30e6


class Trap:
    """An object that, unpickled, would raise."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a file was unpickled",))


X4, Y4 = small_mnist()
NPZ_DEFECTS: dict[str, tuple[dict[str, Any], str]] = {
    "no y": ({"X": X4}, "members ['X.npy']"),
    "other names": ({"x": X4, "labels": Y4}, "members ['x.npy', 'labels.npy']"),
    "a third array": ({"X": X4, "y": Y4, "z": Y4}, "members"),
    "float pixels": ({"X": X4 / 255, "y": Y4}, "X.npy is float64(4, 784)"),
    "images": ({"X": X4.reshape(4, 28, 28), "y": Y4}, "X.npy is uint8(4, 28, 28)"),
    "too few pixels": ({"X": X4[:, :100], "y": Y4}, "X.npy is uint8(4, 100)"),
    "scalar labels": ({"X": X4, "y": Y4[0]}, "y.npy is uint8()"),
    "text labels": ({"X": X4, "y": Y4.astype(str)}, "y.npy is <U3(4,)"),
    "one-hot labels": ({"X": X4, "y": np.eye(10, dtype=np.uint8)[Y4]}, "y.npy is uint8(4, 10)"),
    "a label too few": ({"X": X4, "y": Y4[1:]}, "X has 4 rows and y has 3"),
    "label 10": ({"X": X4, "y": np.array([0, 1, 10, 2], np.uint8)}, "y[2] is 10, expected a whole number in 0..9"),
    "no rows": ({"X": X4[:0], "y": Y4[:0]}, "X.npy is uint8(0, 784)"),
    "objects": ({"X": X4, "y": np.array([Trap()] * 4, object)}, "y.npy is object(4,)"),
}


@pytest.mark.parametrize("defect", NPZ_DEFECTS)
def test_npz_defects_are_named(tmp_path: Path, defect: str) -> None:
    arrays, fragment = NPZ_DEFECTS[defect]
    path = write_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError) as caught:
        read_mnist(path)
    assert repr(str(path)) in str(caught.value)
    assert fragment in str(caught.value)
    assert "expected the arrays X uint8(N, 784) and y uint8(N,)" in str(caught.value)


def npy(shape: str, content: bytes, descr: str = "'|u1'", version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    "member",
    [
        npy("(1000000000000, 784)", b""),
        npy("(4294967296, 4294967296)", b""),
        npy("(-1, 784)", b""),
        npy("(True, 784)", b""),
        npy("(1e3, 784)", b""),
        npy("(1, 784)", bytes(783)),
        npy("(1, 784)", bytes(785)),
        npy("(1, 784)", bytes(784), version=b"\x07\x00"),
        npy("(1, 784)", bytes(784), descr="'|V1'"),
        npy("(1, 784)", bytes(784), descr="'|b1'"),
        npy("(1, 784)", pickle.dumps(Trap()), descr="'|O'"),
        npy("(" * 3000, b""),
        npy("(1, 784)" + " " * 60_000, bytes(784)),
        b"not an array",
        b"",
    ],
    ids=lambda member: repr(member[10:80]),
)
def test_crafted_members_are_refused(tmp_path: Path, member: bytes) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", member)
        archive.writestr("y.npy", npy("(1,)", b"\1"))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"a\.npz"):
            read_mnist(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [["X.npy", "y.npy", "y.npy"], ["X.npy", "y"], ["X.npy", "../y.npy"], ["X.npy"] * 2])
def test_other_member_names_are_refused(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, npy("(1, 784)", bytes(784)) if name[0] == "X" else npy("(1,)", b"\1"))
    with pytest.raises(DataError, match="members"):
        read_mnist(path)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes with a bit flipped, a part cut away, or a part overwritten by another part or by noise."""
    start, end = np.sort(rng.integers(0, len(content) + 1, 2)).tolist()
    at = int(rng.integers(len(content)))
    match int(rng.integers(5)):
        case 0:
            return content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :]
        case 1:
            return content[:at]
        case 2:
            return content[:start] + content[end:]
        case 3:
            return content[:at] + content[start:end] + content[at:]
        case _:
            return content[:at] + rng.bytes(int(rng.integers(1, 9))) + content[at + 1 :]


def outcome(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what the damaged file gives, or None if it is refused; anything but DataError fails the test."""
    path.write_bytes(content)
    try:
        return read_mnist(path)
    except DataError:
        return None


def reference(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read a CSV file by the standard library alone, without checks."""
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    names, *rows = csv.reader(lines, skipinitialspace=True)
    columns = [[name.strip() for name in names].index(name) for name in HEADER]
    values = np.array([[float(row[column]) for column in columns] for row in rows])
    return values[:, :784], values[:, 784]


@pytest.mark.parametrize("files", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_damaged_csv_is_refused_or_read_as_it_stands(files: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    good = text_of(table(*small_mnist(rows=3))).encode()
    read = 0
    for _ in range(files):
        content = damaged(good, rng)
        result = outcome(tmp_path / "a.csv", content)
        if result is not None:
            read += 1
            X, y = reference(content)
            assert np.array_equal(result[0], X)
            assert np.array_equal(result[1], y)
    assert 0 < read < files


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_npz_is_refused_or_gives_equal_data(tmp_path: Path, compression: int) -> None:
    rng = np.random.default_rng(2)
    X, y = small_mnist(rows=2)
    buffer = io.BytesIO()
    (np.savez if compression == zipfile.ZIP_STORED else np.savez_compressed)(buffer, X=X, y=y)
    read = 0
    for _ in range(600):
        result = outcome(tmp_path / "a.npz", damaged(buffer.getvalue(), rng))
        if result is not None:
            read += 1
            assert np.array_equal(result[0], X)
            assert np.array_equal(result[1], y)
    assert 0 < read < 600


# Arrays, and what stands for one


def test_as_array_takes_what_users_have() -> None:
    values = np.arange(6.0).reshape(3, 2)
    for given in (values, values.tolist(), pd.DataFrame(values), TensorLike(values)):
        assert isinstance(as_array(given), np.ndarray)
        assert np.array_equal(as_array(given), values)
    assert as_array(pd.Series([1, 2])).tolist() == [1, 2]
    assert as_array(3).shape == ()
    assert as_array(values) is values
    frame = pd.DataFrame(values)
    assert np.shares_memory(as_array(frame), as_array(frame))
    with pytest.raises(ShapeError, match="its rows differ in length"):
        as_array([[1, 2], [3]])


@pytest.mark.parametrize(
    ("X", "error", "fragment"),
    [
        ([[1.0, 2.0], [np.nan, np.inf]], DataError, "X is nan at row 1, column 0"),
        ([[1.0, -np.inf]], DataError, "X is -inf at row 0, column 1"),
        (np.zeros((0, 3)), DataError, "(0, 3)"),
        (np.zeros((3, 0)), DataError, "(3, 0)"),
        (np.zeros(3), DataError, "shape (3,), expected (N, features)"),
        (np.zeros((2, 2, 2)), DataError, "shape (2, 2, 2)"),
        (1.0, DataError, "shape ()"),
        (np.array([[None, 1]]), DtypeError, "X holds object"),
        (np.ones((1, 2), complex), DtypeError, "X holds complex128"),
        ([["1", "2"]], DtypeError, "X holds <U1"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), DtypeError, "X holds object"),
        (None, DataError, "shape ()"),
    ],
    ids=str,
)
def test_check_features_refuses(X: Any, error: type[Exception], fragment: str) -> None:
    with pytest.raises(error) as caught:
        check_features(X)
    assert fragment in str(caught.value)


def test_check_features_gives_the_array() -> None:
    X = np.ones((2, 3), np.float32)
    assert check_features(X) is X
    assert check_features(TensorLike(X)).dtype == np.float32
    assert check_features(pd.DataFrame({"a": [1, 2]})).tolist() == [[1], [2]]
    assert check_features([[True, False]]).shape == (1, 2)


# Pixels and labels


def test_scaled_pixels_are_the_nearest_float32() -> None:
    scaled = scale_pixels(np.arange(256, dtype=np.uint8))
    assert scaled.dtype == np.float32
    for pixel, value in enumerate(scaled):
        error = abs(Fraction(float(value)) - Fraction(pixel, 255))
        for neighbour in (np.nextafter(value, np.float32(-1)), np.nextafter(value, np.float32(2))):
            assert error <= abs(Fraction(float(neighbour)) - Fraction(pixel, 255))


def test_scaling_by_the_batch_gives_the_same_bits() -> None:
    X, y = small_mnist(rows=50)
    batches = [scale_pixels(xb) for xb, _ in minibatches(X, y, 7)]
    for given in (X, X.astype(np.int64), pd.DataFrame(X), X.tolist(), np.asfortranarray(X)):
        assert np.concatenate(batches).tobytes() == np.ascontiguousarray(scale_pixels(given)).tobytes()


def test_scale_pixels_refuses() -> None:
    for given in (np.ones((2, 2), np.float32), [[0.5]], np.array([["1"]]), np.array([True])):
        with pytest.raises(DtypeError, match="expected integers in 0"):
            scale_pixels(given)
    with pytest.raises(DataError, match=r"pixels\[1, 0\] is 256, expected a whole number in 0..255"):
        scale_pixels([[0, 255], [256, 0]])
    with pytest.raises(DataError, match=r"pixels\[0, 1\] is -1"):
        scale_pixels(np.array([[0, -1]], np.int8))


def test_a_table_of_several_kinds_of_numbers_is_an_array_of_floats() -> None:
    table = pd.DataFrame({"a": [0.5, 1.5], "b": [True, False], "c": pd.array([2, None], dtype="Int64")})
    assert as_array(table).dtype == np.float64
    np.testing.assert_array_equal(as_array(table), [[0.5, 1, 2], [1.5, 0, np.nan]])
    np.testing.assert_array_equal(as_array(table["c"]), [2, np.nan])
    assert as_array(table.assign(d="text")).dtype == object


def test_one_hot() -> None:
    rows = one_hot([2, 0, 1, 2])
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert one_hot([2, 0], 5, np.float64).dtype == np.float64
    for given in (np.array([1, 0], np.uint8), [1.0, 0.0], [True, False], pd.Series([1, 0]), TensorLike([1, 0])):
        assert one_hot(given, 2).tolist() == [[0, 1], [1, 0]]
    y = read_mnist(MNIST)[1]
    assert np.array_equal(one_hot(y, 10).argmax(axis=1), y)


@pytest.mark.parametrize(
    ("labels", "num_classes", "error", "fragment"),
    [
        ([0, 1, 3], 3, DataError, "labels[2] is 3, expected a whole number in 0..2"),
        ([0, -1], 3, DataError, "labels[1] is -1"),
        ([0, -1], None, DataError, "labels[1] is -1"),
        (np.array([0, 255], np.uint8), 10, DataError, "labels[1] is 255"),
        ([0.0, 1.5], 3, DataError, "labels[1] is 1.5"),
        ([0.0, np.nan], 3, DataError, "labels[1] is nan"),
        ([np.inf], None, DataError, "labels[0] is inf"),
        ([1e300], None, DataError, "labels[0] is 1e+300"),
        (np.array([2**63], np.uint64), None, DataError, "labels[0] is 9223372036854775808"),
        ([], 3, DataError, "labels is empty"),
        ([[0, 1], [1, 0]], 2, ShapeError, "shape (2, 2), expected (N,)"),
        (1, 2, ShapeError, "shape ()"),
        (["1", "2"], 3, DtypeError, "<U1(2,)"),
        (pd.Series(["1"], dtype="category"), 3, DtypeError, "object(1,)"),
        ([0, 1], 0, ValueError, "num_classes must be an integer >= 1, got 0"),
        ([0, 1], 2.0, TypeError, "num_classes must be an integer >= 1, got 2.0"),
        ([0, 1], True, TypeError, "num_classes must be an integer >= 1, got True"),
    ],
    ids=str,
)
def test_one_hot_refuses(labels: Any, num_classes: Any, error: type[Exception], fragment: str) -> None:
    with pytest.raises(error) as caught:
        one_hot(labels, num_classes)
    assert fragment in str(caught.value)


# Batches


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, np.uint8(4)])
@pytest.mark.parametrize("seed", [None, 0])
def test_batches_hold_every_row_once(batch_size: int, seed: int | None) -> None:
    X, y = np.arange(20).reshape(10, 2), np.arange(10)
    rng = None if seed is None else np.random.default_rng(seed)
    batches = list(minibatches(X, y, batch_size, rng=rng))
    assert [len(xb) for xb, _ in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert all(np.array_equal(X[yb], xb) for xb, yb in batches)
    rows = np.concatenate([yb for _, yb in batches])
    expected = np.arange(10) if seed is None else np.random.default_rng(seed).permutation(10)
    assert np.array_equal(rows, expected)


def test_batches_take_frames_lists_and_tensors() -> None:
    X, y = np.arange(12.0).reshape(6, 2), np.arange(6)
    frame = pd.DataFrame(X, index=list("fedcba"), columns=["a", "b"])
    series = pd.Series(y, index=range(10, 16))
    expected = list(minibatches(X, y, 4, rng=np.random.default_rng(3)))
    for given in ((frame, series), (X.tolist(), y.tolist()), (TensorLike(X), TensorLike(y))):
        batches = list(minibatches(*given, 4, rng=np.random.default_rng(3)))
        for (xb, yb), (want_x, want_y) in zip(batches, expected, strict=True):
            assert type(xb) is type(yb) is np.ndarray
            assert np.array_equal(xb, want_x)
            assert np.array_equal(yb, want_y)


def test_batches_are_fresh_arrays() -> None:
    X, y = np.zeros((4, 2)), np.zeros(4)
    for xb, yb in minibatches(X, y, 2):
        xb += 1
        yb += 1
    assert not X.any()
    assert not y.any()


def test_batches_copy_only_a_batch_at_a_time(tmp_path: Path) -> None:
    X = np.memmap(tmp_path / "X", np.uint8, "w+", shape=(20_000, 500))
    X[:] = np.arange(500) % 251
    frame, y = pd.DataFrame({f"c{i}": np.zeros(20_000, np.float32 if i % 2 else np.int32) for i in range(50)}), X[:, 0]
    for given in (X, frame):
        tracemalloc.start()
        try:
            for xb, _ in minibatches(given, y, 64, rng=np.random.default_rng(0)):
                assert type(xb) is np.ndarray
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1e6


@pytest.mark.parametrize(
    ("X", "y", "batch_size", "rng", "error", "fragment"),
    [
        (np.zeros((4, 2)), np.zeros(3), 2, None, ShapeError, "got shapes (4, 2) and (3,)"),
        (np.zeros((4, 2)), 1, 2, None, ShapeError, "got shapes (4, 2) and ()"),
        (pd.DataFrame({"a": [1, 2]}), pd.Series([1]), 1, None, ShapeError, "got shapes (2, 1) and (1,)"),
        (np.zeros((0, 2)), np.zeros(0), 1, None, DataError, "shape (0, 2), expected at least one row"),
        (
            np.zeros((4, 2)),
            np.zeros(4),
            0,
            None,
            ValueError,
            "an integer >= 1, got 0",
        ),
        (np.zeros((4, 2)), np.zeros(4), -1, None, ValueError, "got -1"),
        (
            np.zeros((4, 2)),
            np.zeros(4),
            2.0,
            None,
            TypeError,
            "batch_size must be an integer >= 1, got 2.0",
        ),
        (np.zeros((4, 2)), np.zeros(4), "2", None, TypeError, "got '2'"),
        (np.zeros((4, 2)), np.zeros(4), True, None, TypeError, "got True"),
        (np.zeros((4, 2)), np.zeros(4), None, None, TypeError, "got None"),
        (np.zeros((4, 2)), np.zeros(4), 2, 42, TypeError, "rng must be a Generator"),
    ],
)
def test_batches_refuse_at_the_call(
    X: Any, y: Any, batch_size: Any, rng: Any, error: type[Exception], fragment: str
) -> None:
    with pytest.raises(error) as caught:
        minibatches(X, y, batch_size, rng=rng)
    assert fragment in str(caught.value)


def test_a_refused_call_leaves_the_generator_as_it_was() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises(ValueError, match="batch_size"):
        minibatches([[1], [2]], [1, 2], 0, rng=rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("rows", [1, 2**18, 2**18 + 3, 2**19 + 1])
def test_bad_values_are_found_in_every_block(rows: int) -> None:
    X = np.zeros((rows, 1), np.float32)
    check_rows(X)
    X[-1] = np.inf
    with pytest.raises(DataError, match=rf"X is inf at row {rows - 1}, column 0 "):
        check_rows(X)


def test_an_absent_integer_is_found_as_nan() -> None:
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 1.5]})
    with pytest.raises(DataError, match=r"X is nan at row 1, column 0 "):
        check_rows(frame)
    check_rows(frame.fillna(0))
    with pytest.raises(DataError, match=r"y is nan at row 1 "):
        check_rows(as_array(frame["a"]), "y")
    assert as_array(frame["a"]).dtype == np.float64


def test_the_order_is_drawn_at_the_call() -> None:
    rng, twin = np.random.default_rng(0), np.random.default_rng(0)
    batches = minibatches(np.arange(6), np.arange(6), 4, rng=rng)
    order = twin.permutation(6)
    assert rng.bit_generator.state == twin.bit_generator.state
    rng.random(3)
    assert np.concatenate([xb for xb, _ in batches]).tolist() == order.tolist()


def test_a_part_of_mnist_is_not_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    np.savez_compressed(path, X=np.zeros((3, 784), np.uint8), y=np.zeros(3, np.uint8))
    assert len(read_mnist(path)[0]) == 3
    with pytest.raises(DataError, match="has 3 rows, expected 70000"):
        load_mnist(path)
