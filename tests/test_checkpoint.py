"""Tests of checkpoints: what comes back, what damage is found, what hostile files reach, and what a crash leaves."""

from __future__ import annotations

import ast
import base64
import errno
import hashlib
import inspect
import io
import json
import math
import os
import pickle
import re
import secrets
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import checkpoint
from tinygrad_mlp.errors import CheckpointError, DtypeError
from tinygrad_mlp.nn.optim import Adam
from tinygrad_mlp.train.checkpoint import load, save

ROOT = Path(__file__).parents[1]
DTYPES = [np.dtype(code) for code in "?bhilqBHILQefdFD"]
SMALL = {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "epoch": 3, "betas": (0.9, 0.999)}

# Written by the first release; every later one must read it: {"0.weight": float32 [[-0.0, nan]], "t": (1, [None])}
VERSION_1 = """
eNqlkU9Kw0AUxidWXZQupHiAMZsopCV/2jQprly4KUo2IlJKmUwmbTQmYTJRYi267N4jeAtXnqBrj+AlRCc0oVZBRL8ZeMz33htmfs/uVdYbYKEd8Pp2
mr0XqoNtkDCaYpZS0jxPorAZxpkAtsC8qC/jw/HJkX0mgCswkVySYCp1oXSbqpIMJS+ijKJwGFGX5P4hChLC/WSMYsLPux1T3pPhFP5d1Yno+piJXdjv
i0rzmvijMRNlOBERpSjj/tKdDmTYFxdZlsYBybtU7oVpEAwGU77tFSJP9sFjSaTGiZQ3lSxmReXsJxb7XutXLPhDtP/BqPIn3Avg+c7uCWuNyupk58XM
6mApXsz1fc5f+3MOs+KftZX+Or/hMxW7t7GZZ9b4uuHxhecRYH6YjShyh5dBDPGY4Is48kMGVch/r7UNaLQ8FZG2qXuI4JZpOpZlWoaiKJ7lqlghbY90
LIKxbro68jSiqYqjajriWccxOugD4UGtYQ==
"""


def same(a: Any, b: Any) -> bool:
    """Whether two states are the same in structure, types and every bit."""
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


def through(state: Any, folder: Path) -> Any:
    save(state, folder / "state.npz")
    return load(folder / "state.npz")


def left_over(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


@contextmanager
def peak_below(limit: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
        assert peak < limit
    finally:
        tracemalloc.stop()


def npy_bytes(array: Any, **keywords: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **keywords)
    return file.getvalue()


def npy_header(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode("latin1") + data


def as_npy(tree: Any) -> bytes:
    return npy_bytes(np.frombuffer(json.dumps(tree).encode(), np.uint8))


def seal(data: bytes) -> bytes:
    """Make the last 64 bytes the SHA-256 of all before them, as anybody can who changes a file on purpose."""
    return data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode()


def craft(
    members: list[tuple[str, bytes]], *, version: int = 1, compression: int = zipfile.ZIP_STORED, extra: bytes = b""
) -> bytes:
    """Return a file of any members under the mark of a checkpoint, the SHA-256 right."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about duplicate names
        with zipfile.ZipFile(file, "w", compression) as archive:
            archive.comment = extra + b"tinygrad_mlp checkpoint %d sha256 " % version + b"0" * 64
            for name, data in members:
                archive.writestr(name, data)
    return seal(file.getvalue())


def crafted(tree: Any, **members: bytes) -> bytes:
    return craft([("structure.json.npy", as_npy(tree)), *((f"{k}.npy", v) for k, v in members.items())])


ONE = npy_bytes(np.ones(3))
TREE_W = {"dict": [["w", {"array": "w"}]]}


# ---- what comes back


def test_a_model_state_is_an_npz_that_numpy_reads(tmp_path: Path) -> None:
    state = {"0.weight": tg.Tensor([[1.5, -0.0]], requires_grad=True), "0.bias": tg.Tensor(np.array([7], np.float32))}
    save(state, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["0.bias", "0.weight", "structure.json"]
        assert file["0.weight"].tobytes() == np.array([[1.5, -0.0]]).tobytes()
        assert file["0.bias"].dtype == np.float32
        tree = json.loads(file["structure.json"].tobytes())
    assert tree == {"dict": [["0.weight", {"array": "0.weight"}], ["0.bias", {"array": "0.bias"}]]}
    expected = {"0.weight": np.array([[1.5, -0.0]]), "0.bias": np.array([7], np.float32)}
    assert same(load(tmp_path / "model.npz"), expected)


def test_a_training_state_comes_back_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rng.integers(0, 9, 3, dtype=np.uint8)  # leaves half a word behind, in has_uint32 and uinteger
    state = {
        "model": {"0.weight": np.ones((2, 3), np.float32)},
        "optimizer": {"state": {0: {"momentum_buffer": np.zeros(3)}, 10: {"step": 2}}, "param_groups": [{"lr": 0.1}]},
        "rng": rng.bit_generator.state,
        "others": [np.random.MT19937(1).state, np.random.Philox(1).state, np.random.SFC64(1).state],
        "history": [0.1, math.inf, -math.inf, math.nan, -0.0, 5e-324],
        "plain": [None, True, False, 0, -1, 2**127, "", "ü\0\n\U0001f600", (), (1, (2.0,)), [], {}, {"": {}}, {-1: 1}],
    }
    loaded = through(state, tmp_path)
    assert same(loaded, state)
    again = np.random.default_rng()
    again.bit_generator.state = loaded["rng"]
    assert again.bytes(100) == rng.bytes(100)


@pytest.mark.parametrize("state", [[], {}, None, 5, "text", (), [np.ones(2)], np.ones(2), np.array(3)], ids=repr)
def test_any_part_of_a_state_is_a_state(state: Any, tmp_path: Path) -> None:
    assert same(through(state, tmp_path), state)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 3), (2, 3), (3, 0, 2), (1,) * 32], ids=str)
def test_arrays_keep_dtype_shape_and_every_bit(dtype: np.dtype[Any], shape: tuple[int, ...], tmp_path: Path) -> None:
    size = math.prod(shape) * dtype.itemsize
    raw = np.random.default_rng(0).integers(0, 2 if dtype.kind == "b" else 256, size, dtype=np.uint8)
    array = raw.view(dtype).reshape(shape)
    loaded = through({"x": array}, tmp_path)["x"]
    assert same(loaded, array)
    assert loaded.flags.writeable


def test_special_floats_keep_their_bits(tmp_path: Path) -> None:
    singles = np.array([0x80000000, 0x7FC12345, 0xFF800001, 0x7F800000, 1], np.uint32).view(np.float32)
    doubles = np.array([1 << 63, 0x7FF0000000ABCDEF, 0xFFF8000000000001, 1], np.uint64).view(np.float64)
    assert same(through([singles, doubles], tmp_path), [singles, doubles])


def test_memory_order_is_kept_and_views_are_written_out(tmp_path: Path) -> None:
    base = np.arange(24.0).reshape(4, 6)
    state = {"F": np.asfortranarray(base), "step": base[::2, ::3], "back": base[::-1], "wide": np.broadcast_to(1.0, 4)}
    loaded = through(state, tmp_path)
    assert same(loaded, state)
    assert loaded["F"].flags.f_contiguous
    assert all(array.flags.writeable for array in loaded.values())


def test_numpy_scalars_come_back_as_arrays_that_promote_alike(tmp_path: Path) -> None:
    loaded = through({"lr": np.float64(0.1), "n": np.int64(3), "b": np.bool_(True)}, tmp_path)
    assert same(loaded, {"lr": np.array(0.1), "n": np.array(3), "b": np.array(True)})
    assert (np.ones(1, np.float32) * loaded["lr"]).dtype == (np.ones(1, np.float32) * np.float64(0.1)).dtype


def test_dict_and_list_subclasses_come_back_plain(tmp_path: Path) -> None:
    assert same(through(OrderedDict(a=1, b=np.ones(1)), tmp_path), {"a": 1, "b": np.ones(1)})


@pytest.mark.parametrize(
    "key", ["a/b", "../x", "/etc/x", "a\\b", "nul\0", "ü", "%2F", "structure", "file", "w.npy", "", " ", "..", "C:x", 0]
)
def test_any_key_can_lead_to_an_array(key: str | int, tmp_path: Path) -> None:
    state = {key: np.ones(2), "z": {key: np.zeros(2)}}
    assert same(through(state, tmp_path), state)
    with zipfile.ZipFile(tmp_path / "state.npz") as archive:
        assert all(re.fullmatch(r"[\w.~%-]+", name, re.ASCII) for name in archive.namelist())


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"a": {"b": np.ones(1)}, "a.b": np.ones(1)}, ValueError, "named 'a.b'"),
        ({1: np.ones(1), "1": np.ones(1)}, ValueError, "named '1'"),
        ({"structure.json": np.ones(1)}, ValueError, "named 'structure.json'"),
        ({"a": [{2.5: 1}]}, TypeError, r"key 2.5 at 'a.0'; expected a string or an integer"),
        ({True: 1}, TypeError, "key True"),
        ({"a": {"b": {1, 2}}}, TypeError, r"a set at 'a.b', \{1, 2\}; expected dicts"),
        ([print], TypeError, "builtin_function_or_method at '0'"),
        ({"x": b"bytes"}, TypeError, "a bytes at 'x'"),
        ({"x": np.ma.array([1, 2], mask=[False, True])}, TypeError, "MaskedArray at 'x'"),
        ({"x": np.array([None])}, DtypeError, "object at 'x'"),
        ({"x": np.array(2**100)}, DtypeError, "object at 'x'"),
        ({"x": np.ones(2, ">f8")}, DtypeError, ">f8 at 'x'"),
        ({"x": np.array(["s"])}, DtypeError, "<U1 at 'x'"),
        ({"x": np.zeros(2, "i4,f4")}, DtypeError, "at 'x'"),
        ({"x": np.array("2026-01-01", "M8[D]")}, DtypeError, "at 'x'"),
        ({"x": 10**5000}, ValueError, "4300"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_nothing_written(
    state: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    save(SMALL, tmp_path / "x.npz")
    before = (tmp_path / "x.npz").read_bytes()
    with pytest.raises(error, match=message):
        save(state, tmp_path / "x.npz")
    assert os.listdir(tmp_path) == ["x.npz"]
    assert (tmp_path / "x.npz").read_bytes() == before


@pytest.mark.parametrize("examples", [75, pytest.param(2000, marks=pytest.mark.slow)])
def test_random_states_come_back_as_they_were(examples: int, tmp_path: Path) -> None:
    hypothesis = pytest.importorskip("hypothesis")
    arrays = pytest.importorskip("hypothesis.extra.numpy")
    st = hypothesis.strategies
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.integers(-(2**200), 2**200),
        arrays.arrays(st.sampled_from(DTYPES), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    )  # fmt: skip

    def nested(children: Any) -> Any:
        keys = st.one_of(st.text(), st.integers())
        lists = st.lists(children, max_size=4)
        return st.one_of(lists, lists.map(tuple), st.dictionaries(keys, children, max_size=4))

    @hypothesis.settings(max_examples=examples, deadline=None, database=None)
    @hypothesis.given(st.recursive(leaves, nested, max_leaves=12))
    def check(state: Any) -> None:
        try:
            loaded = through(state, tmp_path)
        except ValueError as error:
            hypothesis.assume("two arrays" not in str(error))
            raise
        assert same(loaded, state)

    check()


def test_training_goes_on_to_the_same_bits_after_a_restart(tmp_path: Path) -> None:
    def start() -> tuple[tg.Tensor, Adam, np.random.Generator]:
        w = tg.Tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), requires_grad=True)
        return w, Adam([w], lr=0.05, betas=(0.8, 0.99)), np.random.default_rng(3)

    def steps(w: tg.Tensor, optimizer: Adam, rng: np.random.Generator, count: int) -> None:
        for _ in range(count):
            x = rng.standard_normal((5, 4)).astype(np.float32)
            optimizer.zero_grad()
            np.sum(np.tanh(x @ w) ** 2).backward()
            optimizer.step()

    straight = start()
    steps(*straight, 9)
    w, optimizer, rng = start()
    steps(w, optimizer, rng, 4)
    path = tmp_path / "run.npz"
    save({"w": w, "optimizer": optimizer.state_dict(), "rng": rng.bit_generator.state}, path)
    w, optimizer, rng = start()
    state = load(path)
    w.data = state["w"]
    optimizer.load_state_dict(state["optimizer"])
    rng.bit_generator.state = state["rng"]
    steps(w, optimizer, rng, 5)
    assert w.data.tobytes() == straight[0].data.tobytes()
    assert isinstance(optimizer.param_groups[0]["betas"], tuple)


def test_a_file_of_version_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.npz").write_bytes(zlib.decompress(base64.b64decode(VERSION_1)))
    expected = {"0.weight": np.array([0x80000000, 0x7FC00001], np.uint32).view("f").reshape(1, 2), "t": (1, [None])}
    assert same(load(tmp_path / "old.npz"), expected)


def test_the_file_holds_the_state_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    save(SMALL, tmp_path / "a.npz")
    save(SMALL, tmp_path / "elsewhere" / "b")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "elsewhere" / "b").read_bytes()


# ---- paths


@pytest.mark.parametrize("name", ["model", "model.ckpt", "model.npz", "with space ü.bin"])
def test_the_name_is_taken_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(SMALL, name)
    assert os.listdir() == [name]
    assert same(load(tmp_path / name), load(name))


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    paths = [tmp_path, tmp_path / ".."]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        paths.append(tmp_path / "pipe")
    before = os.listdir(tmp_path)
    for path in paths:
        with pytest.raises(FileExistsError, match=re.escape(repr(str(path)))):
            save(SMALL, path)
    assert os.listdir(tmp_path) == before
    with pytest.raises(FileNotFoundError, match="missing"):
        save(SMALL, tmp_path / "missing" / "x.npz")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "x.npz")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and modes of POSIX")
def test_a_link_is_replaced_and_its_target_is_not(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    save(SMALL, tmp_path / "link")
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()
    assert same(load(tmp_path / "link"), SMALL)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and modes of POSIX")
def test_a_planted_temporary_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "guessed")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / ".x.npz.guessed.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError, match=r"x\.npz"):
        save(SMALL, tmp_path / "x.npz")
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and modes of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_mode_respects_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        save(SMALL, tmp_path / "x.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.npz").stat().st_mode) == 0o666 & ~umask


# ---- damage


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, bytes]:
    save(SMALL, tmp_path / "small.npz")
    return tmp_path / "small.npz", (tmp_path / "small.npz").read_bytes()


def outcome(path: Path, data: bytes) -> Any:
    """Return the state in these bytes, or the CheckpointError that names the path; anything else fails the test."""
    path.write_bytes(data)
    try:
        return load(path)
    except CheckpointError as error:
        result = error
    assert str(result).startswith(repr(str(path)))
    return result


@pytest.mark.parametrize("bits", [(0, 7), pytest.param(range(1, 7), marks=pytest.mark.slow)])
def test_every_flipped_bit_is_found(bits: Sequence[int], small: tuple[Path, bytes]) -> None:
    path, data = small
    for i in range(len(data)):
        for bit in bits:
            damaged = data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :]
            assert isinstance(outcome(path, damaged), CheckpointError), (i, bit)


def test_every_cut_is_found(small: tuple[Path, bytes]) -> None:
    path, data = small
    for i in range(len(data)):
        for damaged in (data[:i], data[len(data) - i :], data[:i] + data[i + 1 :]):
            assert isinstance(outcome(path, damaged), CheckpointError), i


def test_added_and_exchanged_bytes_are_found(small: tuple[Path, bytes]) -> None:
    path, data = small
    rng = np.random.default_rng(0)
    for damaged in (data + b"\0", b"\0" + data, data + data, data + data[-97:], data[:-97] + data):
        assert isinstance(outcome(path, damaged), CheckpointError)
    for _ in range(1000):
        i, j = rng.integers(0, len(data), 2)
        damaged = data[:i] + rng.bytes(int(rng.integers(1, 9))) + data[j:]
        assert isinstance(outcome(path, damaged), CheckpointError)
        assert isinstance(outcome(path, rng.bytes(int(i))), CheckpointError)


def test_a_changed_file_with_a_new_sum_is_a_state_or_an_error(small: tuple[Path, bytes]) -> None:
    path, data = small
    mark, kinds = data[-97:], []
    with warnings.catch_warnings(), peak_below(4 << 20):
        warnings.simplefilter("ignore")  # NumPy's, about headers that look like those of Python 2
        for i in range(len(data) - 64):
            for bit in (0, 3, 7):
                kinds.append(type(outcome(path, seal(data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :]))))
        for i in range(len(data) - len(mark)):
            assert isinstance(outcome(path, seal(data[:i] + mark)), CheckpointError)
    assert kinds.count(CheckpointError) > 1000
    assert kinds.count(dict) > 200  # bits of the numbers, of times and of attributes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a whole checkpoint"),
        (b"tinygrad_mlp", "not a whole checkpoint"),
        (craft([("structure.json.npy", as_npy([]))], version=2), "format version 2, expected 1; a newer"),
        (craft([("structure.json.npy", as_npy([]))], version=0), "format version 0, expected 1"),
        (craft([("structure.json.npy", as_npy([]))])[:-64] + b"0" * 64, r"expected SHA-256 0+, found [0-9a-f]{64}"),
        (seal(b"tinygrad_mlp checkpoint 1 sha256 " + b"0" * 64), "BadZipFile"),
        (seal(b"\0" * 100 + b"tinygrad_mlp checkpoint 1 sha256 " + b"0" * 64), "BadZipFile"),
        (craft([]), "damaged"),
        (craft([("w.npy", ONE)]), r"expected a member 'structure.json', found \['w'\]"),
        (crafted(TREE_W), "expected a dict, tuple or array of the file, found .*'w'"),
        (crafted([], w=ONE), r"expected all arrays of the file, found none of \['w'\]"),
        (crafted([{"array": "w"}, {"array": "w"}], w=ONE), "expected a dict, tuple or array of the file"),
        (crafted({"object": "os.system"}), "found .*'os.system'"),
        (crafted({}), "expected a dict, tuple or array of the file"),
        (crafted({"dict": [], "tuple": []}), "expected a dict, tuple or array of the file"),
        (crafted({"dict": [["a", 1], ["a", 2]]}), "expected a dict, tuple or array of the file"),
        (crafted({"dict": [["a"]]}), "ValueError"),
        (crafted({"dict": [[[], 1]]}), "TypeError"),
        (crafted({"tuple": "ab"}), "expected a dict, tuple or array of the file"),
        (craft([("structure.json.npy", npy_bytes(np.frombuffer(b"[1", np.uint8)))]), "JSONDecodeError"),
        (craft([("structure.json.npy", npy_bytes(np.frombuffer(b"\xff\xfe\xfd", np.uint8)))]), "UnicodeDecodeError"),
        (craft([("structure.json.npy", npy_bytes(np.frombuffer(b"9" * 5000, np.uint8)))]), "4300"),
        (craft([("structure.json.npy", npy_bytes(np.frombuffer(b"[" * 10**5, np.uint8)))]), "RecursionError"),
    ],
)
def test_a_wrong_frame_is_named(data: bytes, message: str, tmp_path: Path) -> None:
    result = outcome(tmp_path / "x.npz", data)
    assert isinstance(result, CheckpointError)
    assert re.search(message, str(result))


def with_w(*members: tuple[str, bytes], **keywords: Any) -> bytes:
    return craft([("structure.json.npy", as_npy(TREE_W)), *members], **keywords)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_w(("w.npy", ONE), ("w.npy", ONE)), "expected each array once, as '<name>.npy', found 'w.npy'"),
        (with_w(("w", b"bytes"), ("w.npy", ONE)), "found 'w'"),
        (with_w(("w.npy", ONE), ("readme.txt", b"hello")), "found 'readme.txt'"),
        (with_w(("w.npy", ONE), ("../x.npy", ONE)), r"found '\.\./x\.npy'"),
        (with_w(("w.npy", ONE), ("/x.npy", ONE)), "found '/x.npy'"),
        (with_w(("w.npy", ONE), ("C:\\x.npy", ONE)), "found 'C:"),
        (with_w(("w.npy", ONE), ("x\x1b[31m.npy", ONE)), r"found 'x\\x1b\[31m.npy'"),
        (with_w(("w.npy", ONE), ("folder/", b"")), "found 'folder/'"),
        (with_w(("w.npy", ONE), extra=b"trailing bytes"), "expected nothing before and behind"),
        (seal(b"#!/bin/sh\n" + with_w(("w.npy", ONE))), "expected nothing before and behind"),
        (seal(with_w(("w.npy", ONE))[:-97] + with_w(("w.npy", ONE))), "expected nothing before and behind"),
        (seal(with_w(("w.npy", ONE)) + b"junk" + with_w()[-97:]), "expected nothing before and behind"),
        (with_w(("w.npy", npy_bytes(np.zeros(10**6))), compression=zipfile.ZIP_DEFLATED), "file's size, found 8000"),
        (with_w(("w.npy", ONE), compression=zipfile.ZIP_DEFLATED), "expected no compression, found method 8"),
        (with_w(("w.npy", ONE), compression=zipfile.ZIP_LZMA), "expected no compression, found method 14"),
        (with_w(("w.npy", ONE + b"\0")), r"'w.npy': expected 24 bytes for \(3,\), found 25"),
        (with_w(("w.npy", ONE[:-1])), r"'w.npy': expected 24 bytes for \(3,\), found 23"),
        (with_w(("w.npy", npy_bytes(np.ones(3, ">f8")))), "'w.npy': expected one of .*, found >f8"),
        (with_w(("w.npy", npy_bytes(np.array(["ab"])))), "found <U2"),
        (with_w(("w.npy", npy_bytes(np.zeros(2, "V0")))), "found |V0"),
        (with_w(("w.npy", npy_bytes(np.zeros(2, "i4,f4")))), "found "),
        (with_w(("w.npy", npy_bytes(np.ones(3), version=(2, 0)))), r"expected npy version \(1, 0\), found \(2, 0\)"),
        (with_w(("w.npy", npy_bytes(np.ones(3), version=(3, 0)))), r"expected npy version \(1, 0\), found \(3, 0\)"),
        (with_w(("w.npy", b"")), "damaged: ValueError"),
        (with_w(("w.npy", b"\x93NUMPY\x01\x00")), "damaged: ValueError"),
        (with_w(("w.npy", b"PK\x03\x04 not an array")), "damaged: ValueError"),
    ],
)
def test_wrong_members_are_named(data: bytes, message: str, tmp_path: Path) -> None:
    result = outcome(tmp_path / "x.npz", data)
    assert isinstance(result, CheckpointError)
    assert re.search(message, str(result))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 0), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 30 + ",), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 30 + ", 0), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1.0,), }",
        "{'descr': '<f8', 'fortran_order': 2, 'shape': (1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "(" * 150 + ")" * 150 + ",), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "-" * 9000 + "1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), " + " " * 60_000 + "}",
        "{'descr': '<f8', 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|V8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '(2,)<f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': 'no such', 'fortran_order': False, 'shape': (1,), }",
        "__import__('os').system('true')",
        "",
    ],
    ids=lambda header: header[:70],
)
def test_a_lying_header_costs_no_memory(header: str, tmp_path: Path) -> None:
    data = with_w(("w.npy", npy_header(header, b"\0" * 8)))
    with peak_below(4 << 20):
        assert isinstance(outcome(tmp_path / "x.npz", data), CheckpointError)


def test_a_directory_that_lies_about_sizes_costs_no_memory(tmp_path: Path) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000,), }"
    data = with_w(("w.npy", npy_header(header, b"\0" * 8)))
    true_size = struct.pack("<I", len(npy_header(header)) + 8)
    assert data.count(true_size) == 4  # compressed and not, before the member and in the directory
    lie = seal(data.replace(true_size, struct.pack("<I", len(npy_header(header)) + 3_000_000_000)))
    with peak_below(1 << 20):
        result = outcome(tmp_path / "x.npz", lie)
    assert isinstance(result, CheckpointError)
    assert re.search(rf"at most {len(lie)} bytes, the file's size, found 3000\d+", str(result))


def test_loading_takes_little_more_memory_than_the_file(tmp_path: Path) -> None:
    save({"w": np.zeros(10**6)}, tmp_path / "x.npz")
    with peak_below(2.2 * (tmp_path / "x.npz").stat().st_size):
        assert load(tmp_path / "x.npz")["w"].size == 10**6


class Exploit:
    """Touches a file when it is unpickled."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return Path.touch, (self.flag,)


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    pickled = npy_bytes(np.array([Exploit(flag)], dtype=object), allow_pickle=True)
    in_fields = npy_bytes(np.array([(1, Exploit(flag))], dtype=[("a", "i4"), ("b", "O")]), allow_pickle=True)
    path = tmp_path / "x.npz"
    for data in (
        with_w(("w.npy", pickled)),
        with_w(("w.npy", in_fields)),
        craft([("structure.json.npy", pickled)]),
        with_w(("w.pkl", pickle.dumps(Exploit(flag)))),
        pickled,
        pickle.dumps(Exploit(flag)),
        seal(pickle.dumps(Exploit(flag)) + with_w(("w.npy", ONE))),
    ):
        assert isinstance(outcome(path, data), CheckpointError)
        assert not flag.exists()
    pickle.loads(pickle.dumps(Exploit(flag)))
    assert flag.exists()  # the exploit works, where it is let


def test_nothing_can_switch_pickle_on() -> None:
    assert list(inspect.signature(load).parameters) == ["path"]
    assert "environ" not in inspect.getsource(checkpoint)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(100))
    with pytest.raises(CheckpointError, match="expected 100 bytes, found 60: somebody is writing into it"):
        checkpoint._read(path, lambda file, size: os.truncate(path, 60))


def test_files_of_savez_are_told_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", w=np.ones(3))
    with pytest.raises(CheckpointError, match=r"another program wrote it .*np\.load"):
        load(tmp_path / "plain.npz")


def dangers(source: str) -> list[str]:
    """Return what in a module could run data as code."""
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "copyreg", "yaml"}
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in modules]
        elif isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(name.name for name in node.names)]
            found += [name for name in names if name in modules | {"eval", "exec"}]
        elif isinstance(node, ast.Name) and node.id in modules | {"eval", "exec", "__import__"}:
            found.append(node.id)
        elif isinstance(node, ast.Attribute) and node.attr in modules | {"exec", "__import__", "import_module"}:
            found.append(node.attr)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.append("allow_pickle")
    return found


@pytest.mark.parametrize(
    "source",
    ["import pickle", "import os, marshal", "from pickle import loads", "import numpy\nnumpy.core._pickle", "eval('1')",
     "exec(x)", "f = exec", "import builtins\nbuiltins.exec(x)", "np.load(f, allow_pickle=True)", "import shelve as s",
     "np.load(f, allow_pickle=flag)", "from builtins import eval", "__import__('os')", "importlib.import_module(x)"],
)  # fmt: skip
def test_the_search_for_dangers_finds_them(source: str) -> None:
    assert dangers(source)
    assert not dangers("model.eval()\nnp.load(f, allow_pickle=False)\ndef eval(self): ...")


ALLOWED = {
    "jit/execute.py": {"exec"},
    "jit/native/cache.py": {"exec", "pickle"},  # texts of programs; machine code: who writes there runs code anyway
    "errors.py": {"import_module"},  # optional extras, by names that the package's own code gives
    "__init__.py": {"import_module"},  # the package's own rooms, from a table
    "rules/table.py": {"import_module"},  # the package's own bridges, from a table
    "jit/packing.py": {"pickle"},  # bytes that it has made itself, which are in no file
}


def test_no_module_of_the_package_can_run_data_as_code() -> None:
    package = ROOT / "tinygrad_mlp"
    paths = sorted(package.rglob("*.py"))
    assert package / "train" / "checkpoint.py" in paths
    for path in paths:
        allowed = ALLOWED.get(path.relative_to(package).as_posix(), set())
        assert set(dangers(path.read_text(encoding="utf-8"))) <= allowed, path


# ---- crashes


def fail(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), OSError("odd"), KeyboardInterrupt(), MemoryError()])
def test_a_failed_call_leaves_the_old_file(
    call: str, error: BaseException, small: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = small

    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(os, call, broken)
    with pytest.raises(type(error)) as caught:
        save({"new": np.ones(5)}, path)
    raised = caught.value
    if isinstance(raised, OSError) and isinstance(error, OSError):
        assert (raised.errno, raised.filename) == (error.errno, str(path))
        assert "nothing is saved, an old file is as it was" in str(raised)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_the_disk_has_the_file_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(number: int) -> None:
        info = os.fstat(number)
        calls.append("folder" if stat.S_ISDIR(info.st_mode) else f"file of {info.st_size} bytes")
        fsync(number)

    def watched_replace(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    save(SMALL, tmp_path / "x.npz")
    expected = [f"file of {(tmp_path / 'x.npz').stat().st_size} bytes", "replace", "folder"]
    assert calls == (expected if os.name == "posix" else expected[:2])


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def files_only(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(number)

    monkeypatch.setattr(os, "fsync", files_only)
    assert same(through(SMALL, tmp_path), SMALL)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file opened, but not yet in its with
def test_an_interrupt_at_any_line_leaves_the_old_file_or_the_new(small: tuple[Path, bytes]) -> None:
    path, old = small
    save({"new": 1}, path.with_name("new"))
    new = path.with_name("new").read_bytes()
    seen = set()
    for stop in range(1, 100):
        path.write_bytes(old)
        count = 0

        def trace(frame: FrameType, event: str, _: Any, stop: int = stop) -> Any:
            nonlocal count
            if frame.f_code.co_name != "_replace":
                return None if frame.f_code.co_name != "save" else trace
            if event == "line":
                count += 1
                if count == stop:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            save({"new": 1}, path)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert path.read_bytes() in (old, new)
        assert left_over(path.parent) == []
        seen.add(path.read_bytes() == new)
        if count < stop:
            break
    assert stop > 10
    assert seen == {True, False}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
def test_a_read_only_folder_is_an_error() -> None:
    folder = Path(tempfile.mkdtemp())
    path, user = folder / "x.npz", os.geteuid()
    try:
        save(SMALL, path)
        path.chmod(0o444)
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)  # root may write everywhere
        with pytest.raises(PermissionError, match=r"x\.npz"):
            save({"new": 1}, path)
        assert same(load(path), SMALL)
        assert os.listdir(folder) == ["x.npz"]
    finally:
        if user == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        path.unlink()
        folder.rmdir()


def run(script: str, *args: str) -> str:
    """Run a script in a process of its own and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *args], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL = """
import os, resource, signal, sys
import numpy as np
from tinygrad_mlp.train.checkpoint import load, save

folder = sys.argv[1]
path = os.path.join(folder, "x.npz")
save({"step": 1, "w": np.zeros(1000)}, path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 1, 4096, 50_000, 400_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save({"step": 2, "w": np.ones(100_000)}, path)
    except OSError as error:
        print(type(error).__name__, error.errno, error.filename == path)
    assert load(path)["step"] == 1
    assert os.listdir(folder) == ["x.npz"]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
save({"step": 2, "w": np.ones(100_000)}, path)
assert load(path)["step"] == 2
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    assert run(FULL, str(tmp_path)) == f"OSError {errno.EFBIG} True\n" * 5


KILL = """
import os, random, signal, sys, time
import numpy as np
from tinygrad_mlp.train.checkpoint import load, save

folder, rounds = sys.argv[1], int(sys.argv[2])
path = os.path.join(folder, "x.npz")
random.seed(0)
step, killed_inside = 0, 0
save({"step": step, "w": np.full(30_000, step)}, path)
deadline = time.monotonic() + 6
while rounds and time.monotonic() < deadline:
    rounds -= 1
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        while True:
            step += 1
            save({"step": step, "w": np.full(30_000, step)}, path)
            os.write(writer, step.to_bytes(4, "little"))
    time.sleep(random.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        done = pipe.read()
    told = int.from_bytes(done[-4:], "little") if done else step
    state = load(path)
    assert state["step"] in (told, told + 1), (told, state["step"])
    assert (state["w"] == state["step"]).all() and state["w"].size == 30_000
    step = state["step"]
    for name in set(os.listdir(folder)) - {"x.npz"}:
        assert name.startswith(".x.npz.") and name.endswith(".tmp"), name
        os.unlink(os.path.join(folder, name))
        killed_inside += 1
print(rounds, killed_inside)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.parametrize("kills", [80, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_killed_process_leaves_the_old_file_or_the_new(kills: int, tmp_path: Path) -> None:
    _, killed_inside = map(int, run(KILL, str(tmp_path), str(kills)).split())
    assert killed_inside > 0


def test_threads_that_save_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path, errors = tmp_path / "x.npz", []

    def work(number: int) -> None:
        try:
            for _ in range(25):
                save({"number": number, "w": np.full(1000, number)}, path)
                state = load(path)
                assert (state["w"] == state["number"]).all()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path) == ["x.npz"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the list of open files of Linux")
def test_no_file_stays_open(small: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = small
    path.with_name("bad").write_bytes(data[:-1])
    before = len(os.listdir("/proc/self/fd"))
    for i in range(100):
        save({"step": i}, path)
        assert load(path) == {"step": i}
        with suppress(CheckpointError):
            load(path.with_name("bad"))
    monkeypatch.setattr(os, "replace", fail)
    for _ in range(100):
        with pytest.raises(OSError, match="nothing is saved"):
            save({"step": 0}, path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert sorted(os.listdir(path.parent)) == ["bad", path.name]
