"""Names whose rooms are loaded when they are first used, and rooms that users know by a short name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .foreign import no_such


class _Rooms:
    """Imports a room by its short name: the same module, not a second one. A finder and loader of `sys.meta_path`.

    It derives from nothing, since `importlib.abc` would bring twenty modules along that nothing else needs.
    """

    def __init__(self, package: str, rooms: Mapping[str, str]) -> None:
        self.package, self.rooms = package, rooms

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, room = fullname.rpartition(".")
        known = package == self.package and room in self.rooms
        return ModuleSpec(fullname, self) if known else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"{self.package}.{self.rooms[spec.name.rpartition('.')[2]]}")
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own_spec


def later(package: str, rooms: Mapping[str, str], names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``, which loads the room that a name stands for, or is in.

    ``rooms`` says which room a short name stands for, also in an import; ``names`` which room a name is in.
    """
    sys.meta_path.append(_Rooms(package, rooms))

    def load(name: str) -> Any:
        if name in rooms:
            return import_module(f"{package}.{name}")
        if name in names:
            return getattr(import_module(f"{package}.{names[name]}"), name)
        text = name if name.startswith("__") else no_such(package, name, sys.modules[package].__all__)
        raise AttributeError(text, name=name, obj=sys.modules[package])

    return load
