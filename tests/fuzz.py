"""Fuzzing of each reader of files, guided by the lines that an input reaches: `python tests/fuzz.py READER SECONDS`.

A reader gets changed copies of the files in `tests/corpus/READER`. It may return a state or raise its documented error,
in little time and memory; anything else is a finding, which is written to the folder ``--findings``. An input that
reaches lines that none has reached before joins the corpus. Half of the changed checkpoints get the right SHA-256, as
anybody can give them who changes a file on purpose; of the others, whatever loads must be the state that it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp.errors import CheckpointError, DataError
from tinygrad_mlp.train import checkpoint, data

CORPUS = Path(__file__).parent / "corpus"
LARGEST = 1 << 15
SLOW = 2.0
WORDS = [
    b"", b"\0", b"\xff" * 8, b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\x00", b"'descr': '|O'",
    b"(1000000000000,)", b'{"dict": []}', b'{"tuple": []}', b'{"array": "w"}', b"[" * 50, b"1e999", b"NaN",
    b'"data_offsets":[0,0]', b'"dtype":"F32"', b"__metadata__", b",", b"\r\n", b'"', b"1e-400", b"-1", b"?", b"True",
    b"255.0000000000000000001", b"pixel1", b"9" * 400,
]  # fmt: skip


class Reader(NamedTuple):
    suffix: str
    read: Callable[[Path], Any]
    error: type[Exception]
    seal: Callable[[bytes], bytes]
    sealed: bool
    rooms: tuple[str, ...]


def seal_npz(content: bytes) -> bytes:
    return content[:-64] + hashlib.sha256(content[:-64]).hexdigest().encode()


def seal_safetensors(content: bytes) -> bytes:
    start = content.find(checkpoint.DIGEST_FIELD) + len(checkpoint.DIGEST_FIELD)
    if start < len(checkpoint.DIGEST_FIELD):
        return content
    zeroed = content[:start] + b"0" * 64 + content[start + 64 :]
    return zeroed[:start] + hashlib.sha256(zeroed).hexdigest().encode() + zeroed[start + 64 :]


ROOMS = ("checkpoint.py", "zipfile.py", "_format_impl.py", "format.py", "decoder.py")
READERS = {
    "npz": Reader(".npz", tg.load, CheckpointError, seal_npz, True, ROOMS),
    "safetensors": Reader(".safetensors", tg.load, CheckpointError, seal_safetensors, False, ROOMS),
    "mnist_csv": Reader(".csv", data.read_mnist, DataError, bytes, False, ("data.py",)),
    "mnist_npz": Reader(".npz", data.read_mnist, DataError, bytes, False, ("data.py", *ROOMS)),
}


def seeds(name: str, folder: Path) -> list[bytes]:
    """Return the files that a corpus begins with."""
    rng, path, found = np.random.default_rng(0), folder / f"seed{READERS[name].suffix}", []
    if name == "npz":
        states = [
            {"w": np.ones(3, np.float32), "t": (1, None, [2.5, "x"])},
            [],
            {"a": {"b": np.zeros((2, 0))}, 3: True},
        ]
        for state in states:
            tg.save(state, path)
            found.append(path.read_bytes())
    elif name == "safetensors":
        for state in ({"w": np.ones((2, 3), np.float32), "n": np.array(7)}, {}):
            tg.save(state, path)
            found.append(path.read_bytes())
        from safetensors.numpy import save

        found.append(save({"foreign": np.arange(4.0)}))
    elif name == "mnist_csv":
        rows = [",".join(map(str, [*rng.integers(0, 256, 784), i])) for i in (0, 9)]
        found.append("\n".join([",".join(data.COLUMNS), *rows, ""]).encode())
    else:
        np.savez_compressed(path, X=np.zeros((2, 784), np.uint8), y=np.arange(2, dtype=np.uint8))
        found.append(path.read_bytes())
    return found


def change(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return a changed copy."""
    result = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        i, j = sorted(rng.randrange(len(result) + 1) for _ in range(2))
        j = min(j, i + rng.choice((1, 4, 64, LARGEST)))
        match rng.randrange(8):
            case 0 if result:
                result[i % len(result)] ^= 1 << rng.randrange(8)
            case 1 if result:
                result[i % len(result)] = rng.randrange(256)
            case 2:
                del result[i:j]
            case 3:
                result[i:i] = rng.choice(WORDS)
            case 4:
                result[i : i + len(word)] = (word := rng.choice(WORDS))
            case 5:
                result[i:i] = result[i:j]
            case 6:
                other = rng.choice(others)
                result[i:j] = other[i:j]
            case 7:
                result[i : i + 8] = rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, len(result))).to_bytes(8, "little")
    return bytes(result[:LARGEST])


def reached(reader: Reader, path: Path) -> tuple[Any, frozenset[tuple[str, int, int]]]:
    """Return what a reader gives or raises, and the pairs of lines that it went through, one after the other."""
    lines: set[tuple[str, int, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = os.path.basename(frame.f_code.co_filename)
        if name not in reader.rooms:
            return None
        before = frame.f_lineno

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            lines.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        result = reader.read(path)
    except BaseException as error:
        result = error.with_traceback(None)  # which would keep alive all that the reader had
        result.__cause__ = result.__context__ = None
    finally:
        sys.settrace(None)
    return result, frozenset(lines)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def is_finding(reader: Reader, result: Any, took: float, kept: Any) -> str:
    """Return what is wrong with an outcome, if anything; ``kept`` is what it must be if it loads, None for anything."""
    if isinstance(result, BaseException) and not isinstance(result, reader.error):
        return f"{type(result).__name__}: {result}"
    if isinstance(result, reader.error) and "MemoryError" in str(result):
        return f"memory: {result}"
    if took > SLOW:
        return f"slow: {took:.1f} s"
    if not isinstance(result, BaseException) and kept is not None and not same(result, kept):
        return "silent: it loads, and is another state"
    return ""


def corpus(name: str, folder: Path) -> list[bytes]:
    files = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    return [path.read_bytes() for path in files] or seeds(name, folder)


def fuzz(name: str, seconds: float, seed: int, findings: Path | None = None, grow: bool = False) -> dict[str, Any]:
    """Fuzz one reader; return figures, and what was found."""
    reader, rng = READERS[name], random.Random(seed)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory() as folder:
        path, known, seen = Path(folder) / f"x{reader.suffix}", corpus(name, Path(folder)), set()
        originals = []
        for content in known:
            path.write_bytes(content)
            result, lines = reached(reader, path)
            originals.append(None if isinstance(result, BaseException) else result)
            seen |= lines
        start, before, count, loaded, found = (
            time.monotonic(),
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            0,
            0,
            [],
        )
        while time.monotonic() - start < seconds:
            i = rng.randrange(len(known))
            content = change(known[i], known, rng)
            seal = rng.random() < 0.5
            content = reader.seal(content) if seal else content
            path.write_bytes(content)
            began = time.monotonic()
            result, lines = reached(reader, path)
            kept = originals[i] if reader.sealed and not seal else None
            wrong = is_finding(reader, result, time.monotonic() - began, kept)
            count, loaded = count + 1, loaded + (not isinstance(result, BaseException))
            if wrong:
                found.append(wrong)
                if findings is not None:
                    findings.mkdir(parents=True, exist_ok=True)
                    (findings / f"{name}-{len(found)}{reader.suffix}").write_bytes(content)
            if not lines <= seen:
                seen |= lines
                known.append(content)
                originals.append(None if isinstance(result, BaseException) else result)
                if grow:
                    (CORPUS / name).mkdir(parents=True, exist_ok=True)
                    (CORPUS / name / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "inputs": count,
        "loaded": loaded,
        "corpus": len(known),
        "lines": len(seen),
        "more memory, kB": grown,
        "found": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path)
    parser.add_argument("--grow", action="store_true", help="write new inputs to the corpus")
    options = parser.parse_args()
    if options.grow and not (CORPUS / options.reader).is_dir():
        (CORPUS / options.reader).mkdir(parents=True)
        folder = Path(tempfile.mkdtemp())
        for content in seeds(options.reader, folder):
            (CORPUS / options.reader / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
        shutil.rmtree(folder)
    result = fuzz(options.reader, options.seconds, options.seed, options.findings, options.grow)
    print(options.reader, {**result, "found": len(result["found"])}, *sorted(set(result["found"]))[:20], sep="\n")
    sys.exit(bool(result["found"]))


if __name__ == "__main__":
    main()
