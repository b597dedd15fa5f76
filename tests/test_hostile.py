"""Tests of files that are damaged, huge or made to harm: refused by size, header and digest; and fuzzing of readers."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp.errors import CheckpointError

ROOT = Path(__file__).parents[1]
library = pytest.importorskip("safetensors.numpy")
STATE = {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "0.bias": np.array([1.5, -0.0]), "n": np.array(3)}


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Path, bytes]:
    tg.save(STATE, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors", (tmp_path / "w.safetensors").read_bytes()


def is_equal_or_refused(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    try:
        return fuzz.same(dict(sorted(tg.load(path).items())), dict(sorted(STATE.items())))
    except CheckpointError:
        return True


def test_every_flipped_bit_of_our_safetensors_is_found_or_changes_nothing(sealed: tuple[Path, bytes]) -> None:
    path, data = sealed
    for i in range(len(data)):
        for bit in range(8):
            assert is_equal_or_refused(path, data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :]), (i, bit)


def test_every_cut_of_our_safetensors_is_found(sealed: tuple[Path, bytes]) -> None:
    path, data = sealed
    for i in range(len(data)):
        for damaged in (data[:i], data[i:], data[:i] + data[i + 1 :]):
            assert damaged == data or is_equal_or_refused(path, damaged), i


def test_the_digest_is_among_the_metadata_and_others_read_the_file(sealed: tuple[Path, bytes]) -> None:
    path, data = sealed
    assert fuzz.same(dict(sorted(library.load(data).items())), dict(sorted(STATE.items())))
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["tinygrad_mlp sha256"] and len(header["__metadata__"].popitem()[1]) == 64
    flipped = bytearray(data)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(CheckpointError, match=r"damaged: expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"):
        tg.load(path)
    path.write_bytes(library.save(STATE, metadata={"format": "pt"}))  # of another program
    assert len(tg.load(path)) == 3


def with_header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


ENTRY = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_header(f'{{"a":{{{ENTRY}}},"a":{{{ENTRY}}}}}', b"1234"), "a key twice"),
        (with_header(f'{{"a":{{{ENTRY},"dtype":"F32"}}}}', b"1234"), "a key twice"),
        (with_header(f'{{"a":{{{ENTRY},"code":"x"}}}}', b"1234"), "expected .* of 'a', found"),
        (with_header('{"a":{"dtype":"F32","shape":[1]}}', b"1234"), "expected .* of 'a', found"),
        (with_header('{"a":3}', b"1234"), "expected .* of 'a', found 3"),
        (with_header('{"__metadata__":[]}'), "header is no dict"),
        (with_header("[]"), "header is no dict"),
        (with_header(f'{{"a":{{{ENTRY}}}}}', b"12345"), "expected 4 bytes behind the header, found 5"),
        (with_header(f'{{"a":{{{ENTRY}}}}}', b"123"), "expected 4 bytes behind the header, found 3"),
        (with_header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,"4"]}}', b"1234"), "damaged"),
        (with_header('{"a":{"dtype":"F32","shape":[1],"data_offsets":4}}', b"1234"), "damaged"),
        (with_header("{" * 10_000), "damaged"),
        (struct.pack("<Q", 2**63) + b"{}", "its header has"),
        (struct.pack("<Q", 10**9) + b"{}", "its header has"),
        (b"", "its header has 0 bytes"),
        (b"\x02", "its header has"),
    ],
)
def test_headers_of_safetensors_that_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        tg.load(path)


LIMITED = """
import re, resource, sys
import safetensors.numpy
import tinygrad_mlp as tg, tinygrad_mlp.train.checkpoint
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
for path in sys.argv[1:]:
    try:
        tg.load(path)
    except tg.CheckpointError as error:
        assert "MemoryError" not in str(error), error
        status = open("/proc/self/status").read() if sys.platform == "linux" else "VmHWM: 0 kB"
        print("refused", int(re.search(r"VmHWM:\\s+([0-9]+)", status)[1]) < 200_000)
"""


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of POSIX")
def test_what_is_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """8 GB of zeros, a device and a pipe without end, in a process that may have 2 GB."""
    paths = ["/dev/zero"]
    for name, start in (
        ("a.npz", b""),
        ("b.safetensors", b""),
        ("c.safetensors", with_header('{"a":{' + ENTRY + "}}")),
    ):
        with open(tmp_path / name, "wb") as file:
            file.write(start)
            file.truncate(8 << 30)
        paths.append(str(tmp_path / name))
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    paths += [str(tmp_path / "zero.safetensors"), str(tmp_path / "pipe")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *paths],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.stdout == "refused True\n" * len(paths), done.stderr


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors"])
def test_deep_and_circular_states_are_a_clear_error(name: str, tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(1000):
        deep = [deep]
    lists: list[Any] = [1]
    lists.append(lists)
    dicts: dict[str, Any] = {}
    dicts["self"] = dicts
    for state in (deep, lists, dicts, {"a": (dicts,)}):
        with pytest.raises(
            (ValueError, TypeError), match="nested more than 100 deep|expected one dict of|is .*expected one"
        ):
            tg.save(state, tmp_path / name)
    assert os.listdir(tmp_path) == []
    fine: Any = []
    for _ in range(99):
        fine = {"a": fine}
    tg.save(fine, tmp_path / "fine.npz")
    assert tg.load(tmp_path / "fine.npz") == fine


def test_keys_of_another_type_are_refused(tmp_path: Path) -> None:
    from test_checkpoint import crafted

    for tree in ({"dict": [[True, 1]]}, {"dict": [[1.5, 1]]}, {"dict": [[None, 1]]}):
        (tmp_path / "x.npz").write_bytes(crafted(tree))
        with pytest.raises(CheckpointError, match="expected a dict, tuple or array of the file"):
            tg.load(tmp_path / "x.npz")


# Fuzzing


@pytest.fixture
def limits() -> Any:
    before = resource.getrlimit(resource.RLIMIT_AS)
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", fuzz.READERS)
def test_every_file_of_the_corpus_is_read_or_refused(name: str, tmp_path: Path) -> None:
    reader, outcomes = fuzz.READERS[name], set()
    assert (fuzz.CORPUS / name).is_dir()
    for content in fuzz.corpus(name, tmp_path):
        (tmp_path / f"x{reader.suffix}").write_bytes(content)
        try:
            reader.read(tmp_path / f"x{reader.suffix}")
            outcomes.add("read")
        except reader.error as error:
            outcomes.add("no memory" if "MemoryError" in str(error) else "refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_moment_of_fuzzing_finds_nothing(name: str) -> None:
    """CI takes fifteen seconds for each."""
    result = fuzz.fuzz(name, 0.3, seed=os.getpid())
    assert not result["found"] and result["inputs"] > 5


@pytest.mark.slow
@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("name", fuzz.READERS)
def test_ten_minutes_of_fuzzing_find_nothing(name: str) -> None:
    assert not fuzz.fuzz(name, 600.0, seed=1)["found"]


def test_the_fuzzer_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch, limits: Any) -> None:
    def broken(path: Path) -> Any:
        content = path.read_bytes()
        return {}["x"] if len(content) % 3 == 0 else tg.load(path)

    monkeypatch.setitem(fuzz.READERS, "npz", fuzz.READERS["npz"]._replace(read=broken))
    assert any(text.startswith("KeyError") for text in fuzz.fuzz("npz", 0.5, seed=0)["found"])
    calls = iter(range(10**9))
    monkeypatch.setitem(fuzz.READERS, "npz", fuzz.READERS["npz"]._replace(read=lambda path: {"another": next(calls)}))
    assert any(text.startswith("silent") for text in fuzz.fuzz("npz", 0.5, seed=0)["found"])
