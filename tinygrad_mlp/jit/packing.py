"""Packing: a record as a few bytes, until somebody asks for what is made of it."""

from __future__ import annotations

import io
import pickle
import zlib
from typing import Any

from .record import Call, Record, Slot

Packed = tuple[bytes, list[Any]]
_PLAIN = frozenset({Record, Call, Slot, list, tuple, dict, str, int, float, bool, type(None)})


class _Packer(pickle.Pickler):
    """Writes what a record is made of; all else is ``kept`` as it is, and its place among that is written."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.kept: list[Any] = []
        self.places: dict[int, int] = {}

    def persistent_id(self, a: Any) -> int | None:
        if type(a) in _PLAIN:
            return None
        place = self.places.setdefault(id(a), len(self.kept))
        if place == len(self.kept):
            self.kept.append(a)
        return place


class _Unpacker(pickle.Unpickler):
    def __init__(self, data: bytes, kept: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self.kept = kept

    def persistent_load(self, place: int) -> Any:
        return self.kept[place]


def pack(record: Record, outputs: list[Slot]) -> Packed:
    """Return a record and its outputs as bytes, and the arrays, functions and other objects that are in it."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump((record, outputs))
    return zlib.compress(file.getvalue(), 1), packer.kept


def unpack(packed: Packed) -> tuple[Record, list[Slot]]:
    """Return the record and the outputs that were packed."""
    data, kept = packed
    made: tuple[Record, list[Slot]] = _Unpacker(zlib.decompress(data), kept).load()
    return made
