"""Checkpoints: a state in one `.npz` file that holds no code, is written whole or not at all, and shows any damage.

The file is a zip archive that ``np.load`` reads too, of arrays alone and not compressed, and then one line:

* ``0.weight.npy``: an array, named by the keys that lead to it, joined by dots. Characters other than letters, digits
  and ``_.~-`` are written as ``%XX``, as in a URL.
* ``structure.json.npy``: the rest, as the bytes of a JSON text. A JSON object there has one key, which says what it
  is: ``{"dict": [[key, value], ...]}``, ``{"tuple": [...]}``, or ``{"array": name}`` in the place of an array.
* the comment of the archive: ``tinygrad_mlp checkpoint 1 sha256 `` (1 is the version of this format) and the SHA-256,
  in hexadecimal digits, of every byte of the file before those digits.

The SHA-256 finds accidents, each flipped bit and each cut. Whoever changes a file on purpose can compute it anew: what
they can reach by that is other numbers or an error, never code that runs or memory beyond a few times the file's size.

Weights for other programs go into a file whose name ends in ``.safetensors``, through the library of that format
(https://huggingface.co/docs/safetensors). It holds arrays alone, written as carefully, and no code either. The format
has no checksum, so ours has one among its metadata: the SHA-256 of the file with zeros in its place.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..checks import as_path, check_integer
from ..errors import CheckpointError, DtypeError, describe, need
from ..foreign import answers

__all__ = ["load", "save"]
__dir__ = __all__.copy  # what Tab offers

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
VERSION = 1
STRUCTURE = "structure.json"
DTYPES = ("|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16")
SAFETENSORS_DTYPES = DTYPES[:-1]
DIGITS = 2 * hashlib.sha256().digest_size
MARK = re.compile(rb"tinygrad_mlp checkpoint ([0-9]{1,9}) sha256 ([0-9a-f]{%d})\Z" % DIGITS)
MEMBER = re.compile(r"([A-Za-z0-9_.~%-]*)\.npy")

DEEPEST = 100
DIGEST = "tinygrad_mlp sha256"
DIGEST_FIELD = f'"{DIGEST}":"'.encode()
LONGEST_HEADER = 10_000_000

Array = NDArray[Any]


@answers
def save(state: Any, path: str | os.PathLike[str], keep: int = 1) -> None:
    """Write a state to a file, which `load` gives back and ``np.load`` can look into.

    Args:
        state: dicts, lists and tuples, nested at will, of Tensors, arrays, numbers, strings, booleans and None. The
            keys of a dict are strings or integers. Tensors and NumPy scalars are stored as arrays. The arrays are of
            booleans, integers, float16/32/64 or complex64/128.
        path: the file, by its whole name: no suffix is added to it. An old file is replaced, a symbolic link too, and
            not what it points to. A name that ends in ``.safetensors`` makes it a file of that format, for PyTorch and
            others: it needs the extra ``safetensors``, and a state that is one dict of arrays by strings, such as
            ``model.state_dict()``.
        keep: how many files are kept: ``path``, the one before as ``path.1``, and so on; 0 is a trial, which leaves
            nothing.

    The old file stays until the new one is safe on the disk, and is as it was after any error; the new one gets its
    mode and owner. A process that is killed can leave a ``.<name>.<random>.tmp`` beside it, which the next save
    removes. The same state gives the same bytes, of the state alone.

    Raises:
        TypeError, DtypeError: something in the state is not of these types; the message names its place.
        ValueError: two arrays would have the same name, such as those of ``{"a": {"b": x}, "a.b": x}``; or the state is
            nested more than 100 deep, as one that holds itself.
        OSError: the file cannot be written.
        ImportError: the library safetensors is needed and not installed.

    >>> import tempfile
    >>> state = {"0.weight": np.eye(2, dtype=np.float32), "epoch": 3}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(state, f"{folder}/model.npz")
    ...     with np.load(f"{folder}/model.npz") as file:
    ...         print(file["0.weight"].tolist())
    [[1.0, 0.0], [0.0, 1.0]]
    """
    check_integer("keep", keep, 0)
    _replace(as_path(path), pack(state, path), keep)


def pack(state: Any, path: str | os.PathLike[str]) -> bytes | memoryview:
    """Return the bytes of the file that `save` would write."""
    if _is_safetensors(Path(path)):
        return _pack_safetensors(_flat(state), need("safetensors.numpy", "safetensors"))
    arrays: dict[str, Array] = {STRUCTURE: np.empty(0)}
    text = json.dumps(_encode(state, "", arrays))
    arrays[STRUCTURE] = np.frombuffer(text.encode("ascii"), np.uint8)
    return _pack(arrays)


@answers
def load(path: str | os.PathLike[str]) -> Any:
    """Return the state that `save` wrote: the same dicts, lists, tuples and plain values, with arrays as they were.

    Arrays keep dtype, shape, memory order and every bit; what was a Tensor comes back as an array. Nothing in the file
    is run, and nothing is unpacked to the disk. Of a file whose name ends in ``.safetensors``, whoever wrote it, the
    result is a dict of arrays in C order, keys in the order of the file. One that another program wrote has no
    checksum: a flipped bit among its numbers is found by nobody.

    What is no checkpoint is refused by its last bytes or its header; the rest is read only then.

    Raises:
        CheckpointError: the file is damaged, was not written by `save`, or is of a newer format.
        OSError: the file cannot be read.
        ImportError: the library safetensors is needed and not installed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"rng": np.random.default_rng(0).bit_generator.state, "losses": [0.5, math.inf]}, f"{folder}/run.npz")
    ...     state = load(f"{folder}/run.npz")
    >>> state["losses"], state["rng"]["state"]["inc"]
    ([0.5, inf], 87136372517582989555478159403783844777)
    """
    path = as_path(path)
    library = need("safetensors.numpy", "safetensors") if _is_safetensors(path) else None
    try:
        data = _read(path, _check_mark if library is None else _check_header)
        return _decode(_unpack(data)) if library is None else _unpack_safetensors(data, library)
    except OSError:
        raise
    except Exception as error:  # zipfile and NumPy raise a dozen kinds on a crafted file
        reason = error if isinstance(error, CheckpointError) else f"damaged: {type(error).__name__}: {error}"
        raise CheckpointError(f"{os.fspath(path)!r}: {reason}") from error


def _read(path: Path, check: Callable[[BinaryIO, int], None]) -> bytes:
    """Return what is in a file, once its size and the bytes that say what it is are found to be right."""
    if path.exists() and not path.is_file():
        raise CheckpointError("not a regular file; expected one that save wrote")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        check(file, size)
        file.seek(0)
        data = file.read(size)
    if len(data) != size:
        raise CheckpointError(f"expected {size} bytes, found {len(data)}: somebody is writing into it")
    return data


def _encode(value: Any, place: str, arrays: dict[str, Array], depth: int = 0) -> Any:
    """Return a state as JSON holds it, and put its arrays into ``arrays`` under their names."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > DEEPEST:
        raise ValueError(f"the state is nested more than {DEEPEST} deep at '{place[:40]}...'; does it hold itself?")
    if isinstance(value, (list, tuple)):
        items = [_encode(item, _join(place, i), arrays, depth + 1) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict):
        return {"dict": [[key, _encode(item, _join(place, key), arrays, depth + 1)] for key, item in value.items()]}
    array = _array(
        value, place, DTYPES, "dicts, lists and tuples of Tensors, arrays, numbers, strings, booleans and None"
    )
    name = quote(place, safe="")
    if name in arrays:
        raise ValueError(f"the state holds two arrays that would be named {name!r} in the file; rename a key")
    arrays[name] = array
    return {"array": name}


def _array(value: Any, place: str, dtypes: Sequence[str], expected: str) -> Array:
    """Return a Tensor or an array of the state as an array."""
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        value = value.detach().numpy()
    if type(value) is not np.ndarray and not isinstance(value, np.generic):
        hint = "; pass its state_dict()" if hasattr(value, "state_dict") else ""
        raise TypeError(
            f"the state holds a {type(value).__name__} at {place!r}, {describe(value)}; expected {expected}{hint}"
        )
    if value.dtype.str not in dtypes:
        raise DtypeError(f"the state holds {value.dtype} at {place!r}; expected one of {' '.join(dtypes)}")
    return np.asarray(value)


def is_plain(value: Any) -> bool:
    """Return whether `save` can hold a value."""
    try:
        _encode(value, "", {})
    except (TypeError, ValueError):
        return False
    return True


def _join(place: str, key: object) -> str:
    if type(key) not in (str, int):
        raise TypeError(f"the state has the key {describe(key)} at {place!r}; expected a string or an integer")
    return f"{place}.{key}" if place else str(key)


def _pack(arrays: dict[str, Array]) -> memoryview:
    """Return the bytes of the file."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = b"tinygrad_mlp checkpoint %d sha256 %s" % (VERSION, b"0" * DIGITS)
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, version=(1, 0), allow_pickle=False)
    data = file.getbuffer()
    data[-DIGITS:] = _digest(data)
    return data


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(memoryview(data)[:-DIGITS]).hexdigest().encode("ascii")


def _replace(path: Path, data: bytes | memoryview, keep: int) -> None:
    """Write a file in one step: whoever looks, or comes back after a crash, finds the old bytes or the new ones."""
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{str(path)!r} is not a regular file; expected a file to write or to replace")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        _remove_stale(path)
        with _create(temporary) as file:
            _take_mode(file, path)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # or Windows would not let it go
            if keep == 0:
                return temporary.unlink()
            _shift(path, keep, temporary.with_suffix(".old.tmp"))
            os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            reason = f"{error.strerror or error}; nothing is saved, an old file is as it was"
            raise OSError(error.errno, reason, str(path)) from error
        raise
    with suppress(OSError):  # Windows cannot open a folder, some file systems cannot sync one; the file is whole
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _create(path: Path) -> BinaryIO:
    """Return a new file, which is locked as long as it is open, so that nobody takes it for a stale one."""
    while True:
        file = path.open("xb")  # x: never through a link that someone has put there
        with suppress(OSError):
            lock(file, wait=True)
        if os.fstat(file.fileno()).st_nlink or os.name != "posix":
            return file
        file.close()  # somebody took it for a stale one before it was locked, and has removed it


def _remove_stale(path: Path) -> None:
    """Remove the temporary files of this path that processes have left when they died: nobody holds their lock."""
    for entry in os.listdir(path.parent):
        if entry.startswith(f".{path.name}.") and entry.endswith(".tmp"):
            stale = path.with_name(entry)
            with suppress(OSError), open(os.open(stale, os.O_RDWR | NO_FOLLOW), "rb") as file:
                lock(file)
                if os.path.samestat(stale.stat(), os.fstat(file.fileno())):  # else its owner has made another since
                    stale.unlink()


def lock(file: Any, wait: bool = False) -> None:
    """Lock a file until it is closed; raise OSError if somebody else has and one does not wait, or without locks."""
    if fcntl is None:
        raise OSError("this system has no locks that end with their process")
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _take_mode(file: BinaryIO, path: Path) -> None:
    """Give a new file the mode and, where that is allowed, the owner of the one that it replaces."""
    with suppress(OSError, AttributeError):  # no such file, not ours, Windows
        old = path.stat()
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) & 0o777)
        os.fchown(file.fileno(), old.st_uid, old.st_gid)


def _shift(path: Path, keep: int, spare: Path) -> None:
    """Give each of the files that are kept the next number; the newest one is under its own name all the time."""
    names = [path.with_name(f"{path.name}.{i}") for i in range(1, keep)]
    if not names or not path.exists():
        return
    for i in range(len(names) - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(names[i - 1], names[i])
    try:
        os.link(path, spare)
    except FileNotFoundError:  # another process has just replaced it
        return
    except OSError:  # a file system without links: it has no name for a moment, and `latest` finds the older one
        spare = path
    with suppress(FileNotFoundError):  # another process shifts them too
        os.replace(spare, names[0])
    if spare != path:
        spare.unlink(missing_ok=True)  # as it is if both were names of one file


def _unpack(data: bytes) -> dict[str, Array]:
    """Return the arrays in the bytes of a file, by name."""
    mark = _mark(data[-2 * DIGITS :])
    if mark[2] != (digest := _digest(data)):
        raise CheckpointError(f"damaged: expected SHA-256 {mark[2].decode()}, found {digest.decode()}")
    if int(mark[1]) != VERSION:
        raise CheckpointError(f"format version {int(mark[1])}, expected {VERSION}; a newer tinygrad_mlp wrote it")
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = archive.infolist()
        if archive.comment != mark[0] or members[0].header_offset != 0:
            raise CheckpointError("expected nothing before and behind the archive, found other bytes")
        if (total := sum(member.file_size for member in members)) > len(data):
            raise CheckpointError(f"expected members of at most {len(data)} bytes, the file's size, found {total}")
        for member in members:
            name = MEMBER.fullmatch(member.filename)
            if name is None or name[1] in arrays:
                raise CheckpointError(f"expected each array once, as '<name>.npy', found {member.filename!r}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f"expected no compression, found method {member.compress_type} for {name[0]!r}")
            arrays[name[1]] = _read_array(archive, member)
    return arrays


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Return a member as an array, once its header is found to tell the truth about its size."""
    with archive.open(member) as file:
        if (version := npy.read_magic(file)) != (1, 0):
            raise CheckpointError(f"member {member.filename!r}: expected npy version (1, 0), found {version}")
        shape, _, dtype = npy.read_array_header_1_0(file)
        if dtype.str not in DTYPES:
            raise CheckpointError(f"member {member.filename!r}: expected one of {' '.join(DTYPES)}, found {dtype}")
        expected, found = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if expected != found:
            raise CheckpointError(f"member {member.filename!r}: expected {expected} bytes for {shape}, found {found}")
        file.seek(0)
        return npy.read_array(file, allow_pickle=False)


def _decode(arrays: dict[str, Array]) -> Any:
    """Return the state that `_encode` has seen."""

    def revive(pairs: list[tuple[str, Any]]) -> Any:
        match pairs:
            case [("array", str(name))] if name in arrays:
                return arrays.pop(name)
            case [("tuple", list(items))]:
                return tuple(items)
            case [("dict", list(items))] if len(state := dict(items)) == len(items):
                if all(type(key) in (str, int) for key in state):
                    return state
        raise CheckpointError(f"{STRUCTURE}: expected a dict, tuple or array of the file, found {describe(pairs)}")

    if STRUCTURE not in arrays:
        raise CheckpointError(f"expected a member {STRUCTURE!r}, found {sorted(arrays)}")
    state = json.loads(arrays.pop(STRUCTURE).tobytes(), object_pairs_hook=revive)
    if arrays:
        raise CheckpointError(f"{STRUCTURE}: expected all arrays of the file, found none of {sorted(arrays)}")
    return state


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def _flat(state: Any) -> dict[str, Array]:
    """Return a state as the format safetensors can hold it: one dict of arrays in C order."""
    expected = "one dict of Tensors and arrays, which is all that .safetensors can hold; save anything else as .npz"
    if not isinstance(state, dict):
        raise TypeError(f"the state is {describe(state)}; expected {expected}")
    if odd := [key for key in state if not isinstance(key, str) or key == "__metadata__"]:
        raise TypeError(f"the state has the key {describe(odd[0])}; expected a string other than '__metadata__'")
    arrays = {key: _array(value, key, SAFETENSORS_DTYPES, expected) for key, value in state.items()}
    return {key: np.asarray(array, order="C") for key, array in arrays.items()}  # the library reads bytes as they lie


def _pack_safetensors(arrays: dict[str, Array], library: Any) -> bytes:
    data = bytearray(library.save(arrays, metadata={DIGEST: "0" * DIGITS}))
    start = data.index(DIGEST_FIELD) + len(DIGEST_FIELD)  # the metadata come first
    data[start : start + DIGITS] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def _check_mark(file: BinaryIO, size: int) -> None:
    """Raise unless a file ends as `save` ends one."""
    file.seek(max(0, size - 2 * DIGITS))
    _mark(file.read())


def _mark(tail: bytes) -> re.Match[bytes]:
    if (mark := MARK.search(tail)) is None:
        raise CheckpointError(
            "not a whole checkpoint: expected 'tinygrad_mlp checkpoint ...' as its last line, found "
            f"{tail[-20:]!r}; it is cut off, or another program wrote it (np.load reads what np.savez wrote)"
        )
    return mark


def _check_header(file: BinaryIO, size: int) -> None:
    """Raise unless the header of a safetensors file describes a file of this size, each array once and nothing else."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, LONGEST_HEADER):
        raise CheckpointError(f"damaged: its header has {length} bytes, expected at most {min(size, LONGEST_HEADER)}")
    header = json.loads(file.read(length), object_pairs_hook=_once)
    fields = {"dtype", "shape", "data_offsets"}
    if not isinstance(header, dict) or not isinstance(header.pop("__metadata__", {}), dict):
        raise CheckpointError("damaged: its header is no dict, with another one as '__metadata__'")
    if odd := [key for key, value in header.items() if not isinstance(value, dict) or set(value) != fields]:
        raise CheckpointError(f"damaged: expected {sorted(fields)} of {odd[0]!r}, found {describe(header[odd[0]])}")
    if (end := max((value["data_offsets"][1] for value in header.values()), default=0)) != size - 8 - length:
        raise CheckpointError(f"damaged: expected {end} bytes behind the header, found {size - 8 - length}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) != len(pairs):
        raise CheckpointError(f"damaged: its header has a key twice, one of {describe([key for key, _ in pairs])}")
    return found


def _unpack_safetensors(data: bytes, library: Any) -> dict[str, Array]:
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    if digest := json.loads(header).get("__metadata__", {}).get(DIGEST):
        start = data.find(DIGEST_FIELD) + len(DIGEST_FIELD)
        zeroed = data[:start] + b"0" * DIGITS + data[start + DIGITS :]
        if (found := hashlib.sha256(zeroed).hexdigest()) != digest:
            raise CheckpointError(f"damaged: expected SHA-256 {digest}, found {found}")
    try:
        arrays: dict[str, Array] = library.load(data)
    except KeyError as error:
        raise CheckpointError(f"it holds arrays of {error}, which NumPy does not have; convert them to F32") from error
    return arrays
