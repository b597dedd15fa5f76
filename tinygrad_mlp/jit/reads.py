"""What a step reads: the access paths of every function that it runs, and what stands at their ends.

A program is valid while all that is as it was. Nothing else is a guard, and what the step itself has changed by the
end of a recording is no program.
"""

from __future__ import annotations

import abc
import contextvars
import decimal
import functools
import itertools
import operator
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..core.tracer import Stateful
from ..rules.table import Rule
from .guards import ATTRIBUTES, LAYOUT, READERS, TEXTS, Read
from .objects import CONTAINERS, MISSING, SCALARS, SEEN, indices, is_foreign, is_open, items, look, own_attributes, same
from .opaque import (
    BY_PLACE,
    CACHES,
    GETTERS,
    SETTINGS,
    arrays_of_frame,
    inside,
    is_opaque,
    lasting,
    names_in,
    parts,
    referent,
    to_be_restored,
)
from .paths import ANY, SUPER, VARS, Path, Scan
from .record import memory_of
from .watch import Watch

WRAPPING = ("__func__", "func", "function", "fget", "__wrapped__")
"""The attributes by which what is called says what it calls."""


class Reads(Watch):
    """What one run of a step reads, seen by the functions that it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[int, str, str], Read] = {}
        self.cells: dict[types.CodeType, list[dict[str, Any]]] = {}
        self.outside: dict[int, Any] = {}
        self.inputs: set[int] = set()
        self.framed: dict[int, list[np.ndarray[Any, Any]]] = {}
        self.shallow = self.arrays = self.cached = self.getting = False

    def watching(self, function: Any, arguments: Sequence[Any]) -> AbstractContextManager[None]:
        """Note what a function is and is given, and return a context manager that sees what it reads."""
        self.learn(function)
        names = function.__code__.co_freevars if isinstance(function, types.FunctionType) else ()
        for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
            if cell != types.CellType():
                self._is_given(cell.cell_contents, name)
        for value in (getattr(function, "__self__", function), *arguments):
            self._is_given(value)
        return self.looking()

    def _is_given(self, value: Any, label: str = "an argument") -> None:
        """Note that a value comes from outside; of a container only what is read of it counts."""
        if not isinstance(value, CONTAINERS):
            self._reach(value, label, True)
        self.outside[id(value)] = value

    def gives(self, frame: Any, value: Any, caller: Scan) -> None:
        """Follow the paths that the caller takes from what a function gives it."""
        for steps in (*caller.loose, *self._by_name()):
            for item in inside(value):
                self._walk_maybe(item, steps, f"what {frame.f_code.co_name} gives", False, False)

    def begins(self, frame: Any, seen: Scan) -> None:
        """Follow the paths of a function that begins."""
        values = frame.f_locals
        ends: dict[Path, tuple[Any, ...]] = {}
        self.shallow = frame.f_globals.get("__name__") in SEEN  # walks over the modules inside, whatever else there is
        cells = next((c for c in self.cells.get(frame.f_code, ()) if _are(c, values)), {})
        for path, only_written in seen.paths.items():
            kind, name, *steps = path
            if kind == "global" and self.shallow:  # this package does not change its own
                continue
            if kind == "local" or (kind == "free" and name not in cells):
                value, outside = self._held(values, name)
            else:
                value, outside = self._begin(frame, kind, name, only_written and not steps, cells), True
            ends[path] = self._walk(value, steps, name, only_written, outside)
        if self.names or self.getting:
            self._meet([value for end in ends.values() for value in end])
        for paths in seen.joined if self.arrays else ():
            self._judge([ends.get(p[:-1] if p[-1] == ANY else p, ()) for p in paths if p[0] != "const"])

    def _held(self, values: Any, name: str) -> tuple[Any, bool]:
        """Return what a function holds itself under a name, and whether that comes from outside of the step."""
        value = values.get(name, MISSING)
        outside = id(value) in self.outside
        if outside and value is not MISSING:
            self._reach(value, name, True)
        return value, outside

    def _begin(self, frame: Any, kind: str, name: str, only_written: bool, cells: dict[str, Any]) -> Any:
        """Return the value that a path begins at outside of the function, and note that it is read."""
        if kind == "module":
            known = name in sys.modules  # not imported by the step only now
            return self.note(sys.modules, "global", name, name, False, True) if known else MISSING
        if kind == "globals":
            self._reach(frame.f_globals, "globals()", True)
            return frame.f_globals
        owner, way = (frame.f_globals, "global") if kind == "global" else (cells[name], "cell")
        value = self.note(owner, way, name, name, only_written, True)
        if value is MISSING and kind == "global" and name in frame.f_builtins:
            value = self.note(frame.f_builtins, "global", name, name, False, True)
        return value

    def _meet(self, values: list[Any]) -> None:
        """Note what getters and texts with fields read of the values that meet in a function."""
        for text in [value for value in values if self.getting and isinstance(value, str)]:
            self._know_names(text)
        for names in self._by_name():
            for value in values:
                self._walk(value, (ANY, *names), "an object", False, id(value) in self.outside)

    def _know_names(self, value: Any) -> None:
        self.names += [names for names in names_in(value) if names not in self.names]

    def _by_name(self) -> list[tuple[str, ...]]:
        """Return the steps that getters and texts take which have been reached, from any object that they may meet."""
        return [tuple(f".{name}" for name in names) for names in self.names]

    def _walk(self, value: Any, steps: Sequence[Any], label: str, only_written: bool, outside: bool) -> tuple[Any, ...]:
        """Follow a path from a value, note what is read on the way, and return what stands at its end."""
        for i, step in enumerate(steps):
            value = referent(value)
            if value is MISSING:
                return ()
            if step == SUPER:
                self._walk_up(value, steps[i + 1 + (ANY in steps[i + 1 : i + 2]) :], only_written)
                return ()
            if step == ANY or (isinstance(step, tuple) and is_opaque(value)):
                for item in inside(value) if i + 1 < len(steps) else ():
                    self._walk_maybe(item, steps[i + 1 :], f"{label}[...]", only_written, outside)
                return ()
            last = only_written and i + 1 == len(steps)
            if step in (VARS, ".__dict__"):
                self._note_all(value, label, outside)
                return ()
            if step in BY_PLACE or isinstance(step, tuple):
                self._judge([arrays_of_frame(value)])
            if isinstance(step, tuple):
                value = self._item(value, step[1])
                label += f"[{step[1]!r}]"
                continue
            label += f".{step[1:]}"
            value = self._attribute(value, step[1:], label, last, outside)
        return (value,)

    def _walk_up(self, value: Any, steps: Sequence[Any], only_written: bool) -> None:
        """Follow a path from each class in which ``super()`` may find its first attribute."""
        name = steps[0][1:] if steps and isinstance(steps[0], str) else ""
        for kind in (value if isinstance(value, type) else type(value)).__mro__ if is_open(value) else ():
            if name in kind.__dict__:
                self._walk(kind, steps, kind.__name__, only_written, True)

    def _note_all(self, value: Any, label: str, outside: bool) -> None:
        """Note all attributes of an object, or of a module of the user's."""
        foreign = isinstance(value, types.ModuleType) and is_foreign(value.__name__)
        if is_open(value) and hasattr(value, "__dict__") and not foreign:
            self.note(value, "vars", "", label, False, outside)
            for part in vars(value).values():
                if not (self.shallow and (isinstance(part, CONTAINERS) or is_opaque(part))):
                    self._reach(part, label, outside)

    def _walk_maybe(self, value: Any, steps: Sequence[Any], label: str, only_written: bool, outside: bool) -> None:
        """Follow a path from what may be the value that it is meant for: not if it has no such attribute.

        The value is one of those that lie, however deep, in what the path has come to: its steps to items are done.
        """
        steps = [*itertools.dropwhile(lambda step: isinstance(step, tuple), steps)]
        if not steps:
            return
        name = steps[0][1:] if isinstance(steps[0], str) and steps[0][0] == "." else ""
        value = referent(value)
        if only_written or not name or not is_open(value) or look(value, name)[0] is not MISSING:
            self._walk(value, steps, label, only_written, outside or id(value) in self.outside)

    def _item(self, value: Any, key: Any) -> Any:
        if type(value) in (list, tuple, dict):  # whose items are noted
            with suppress(LookupError, TypeError):
                return value[key]
        return MISSING

    def _attribute(self, owner: Any, name: str, label: str, only_written: bool, outside: bool) -> Any:
        if isinstance(owner, Tensor):
            if id(owner) in self.inputs:  # another one at each call, of the same kind
                return MISSING
            if name in ATTRIBUTES and outside:
                self.note(owner, "tensor", "", label, False, True)
            elif outside and (name == "name" or (type(owner) is not Tensor and not hasattr(Tensor, name))):
                return self.note(owner, ".", name, label, only_written, True)
        elif isinstance(owner, np.ndarray):
            if name not in LAYOUT and not (name == "__iter__" and owner.ndim > 1):  # whose rows are views
                self._judge([(owner,)])
        elif is_open(owner) and not (self.shallow and name == "__class__"):  # which tells what is a module
            return self.note(owner, ".", name, label, only_written, outside)
        return MISSING

    def rule(self, rule: Rule) -> None:
        """Note that the rule of a user's op is used, and learn what its derivatives read."""
        self.note(rule.function, "rule", "", f"the rule of {rule.name}", False, True)
        for vjp in (*dict(rule.vjps).values(), getattr(rule.vjps, "each", None)):
            self.learn(vjp)

    def note(self, owner: Any, kind: str, name: str, label: str, only_written: bool, outside: bool) -> Any:
        """Note that something was read, or written to, and return its value."""
        key = (id(owner), kind, name)
        read = self.found.get(key)
        if read is None:
            value, way = look(owner, name) if kind == "." else (READERS[kind](owner, name), kind)
            if not way:
                self.learn(value)
                if isinstance(value, property):
                    self.note(type(owner), ".", name, label, False, True)
                elif value is not MISSING and type(value).__module__ != "builtins":
                    self.note(owner if isinstance(owner, type) else type(owner), "class", name, label, False, True)
                return MISSING
            read = self.found[key] = Read(owner, way, name, value, label, not only_written, outside)
            if kind in TEXTS and value is not MISSING:
                self._reach(value, label, outside)
        read.used |= not only_written and kind not in ("array", "draws")
        read.outside |= outside
        return read.value

    def _reach(self, value: Any, label: str, outside: bool) -> None:
        """Note what a value is made of, where its identity does not say all."""
        if outside:
            if id(value) in self.outside and not isinstance(value, CONTAINERS):
                return
            self.outside[id(value)] = value
        if isinstance(value, CONTAINERS):
            if (id(value), "items", "") in self.found:
                return
            if not isinstance(value, (tuple, frozenset)):
                self.note(value, "items", "", label, False, outside)
            for index, item in zip(indices(value), items(value), strict=True):
                self._reach(item, label + index, outside)
        elif isinstance(value, np.ndarray):
            if outside:
                self.note(value, "array", "", label, value.ndim > 0, True)
                self.arrays = True
        elif isinstance(value, np.random.Generator):
            self.note(value, "draws", "", label, True, outside)
        elif isinstance(value, contextvars.ContextVar):
            self.note(value, "context", "", label, False, True)
        elif isinstance(value, abc.ABCMeta):
            self.note(abc, "abc", "", f"what is registered as {label}", False, True)
        else:
            self._reach_object(value, label, outside)

    def _reach_object(self, value: Any, label: str, outside: bool) -> None:
        """Note what an object of a C type holds, and learn what is called."""
        if isinstance(value, SCALARS):
            if isinstance(value, str) and "{" in value:
                self._know_names(value)
            return
        if is_opaque(value):
            self._reach_opaque(value, label, outside)
        for array in arrays_of_frame(value):
            self._reach(array, label, outside)
            self.framed.setdefault(id(memory_of(array)), []).append(array)
        if callable(value):
            self._reach_function(value, label, outside)

    def _reach_function(self, value: Any, label: str, outside: bool) -> None:
        """Learn what a function may run, and note what one of Python's asks the process for."""
        self.getting = self.getting or value is getattr or any(value is kind for kind in GETTERS)
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)) and value in SETTINGS:
            self.note(value, "setting", "", label, False, True)
        if value is decimal.Decimal:
            self.note(decimal.getcontext, "setting", "", "the decimal context", False, True)
        if isinstance(value, CACHES[1]):
            self.cached = True  # what is found in it now may have been made before
            for part in parts(value):
                for given in part.values() if type(part) is dict else (part,):  # more of which is no change
                    self._reach(given, f"what {label} gives", outside)
        self.learn(value)

    def _reach_opaque(self, value: Any, label: str, outside: bool) -> None:
        if isinstance(getattr(value, "__self__", None), types.ModuleType):  # a function in C, without a state
            return
        if isinstance(value, GETTERS):
            self._know_names(value)
        if isinstance(value, decimal.Decimal):
            self.note(decimal.getcontext, "setting", "", "the decimal context", False, True)
        try:
            now, again = (READERS["state"](value, "") for _ in range(2))
        except TypeError as error:  # of an iterator that does not tell
            self.trouble = f"{label} is read, and {error}"
            return
        if len(now) > 1 and same(now, again):
            self.note(value, "state", "", label, False, outside)
            self.found[id(value), "state", ""].value.kept = to_be_restored(value)
        for part in lasting(value):
            self._reach(part, label, outside)

    def learn(self, function: Any) -> None:
        """Note the cells of a function, by which its closure is read when it runs."""
        if isinstance(function, (type, Tensor, types.ModuleType)):
            return
        own = own_attributes(function) or ()
        for name in WRAPPING:
            if name in own or hasattr(type(function), name):
                inner = look(function, name)[0]
                if inner is not MISSING and inner is not function:
                    self.learn(inner)
        if isinstance(function, functools.partial):
            self._reach(function.keywords, "a keyword", True)
            for value in function.args:
                if hasattr(function.func, "__code__"):
                    self._is_given(value)
                else:
                    self._reach(value, "an argument", True)
        if isinstance(function, types.FunctionType):
            self._learn_code(function)

    def _learn_code(self, function: types.FunctionType) -> None:
        """Note what a function is made of, and the cells of all code inside of it."""
        module = function.__module__ or ""
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            if getattr(function, name) and not is_foreign(module) and module not in SEEN:
                self.note(function, ".", name, f"{function.__name__}.{name}", False, True)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        codes = [function.__code__]
        for code in codes:
            known = self.cells.setdefault(code, [])
            own = {name: cells[name] for name in code.co_freevars if name in cells}
            if not any(all(map(operator.is_, own.values(), other.values())) for other in known):
                known.append(own)
            codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]

    def _judge(self, ends: Iterable[tuple[Any, ...]]) -> None:
        """Freeze arrays that meet in an operation without a Tensor: what comes out is made of their values."""
        values = [value for end in ends for value in end]
        met = [x for value in values for x in (inside(value) if isinstance(value, CONTAINERS) else (value,))]
        if not any(isinstance(x, Tensor) or (isinstance(x, Stateful) and callable(x)) or x is Tensor for x in met):
            arrays = [x for x in met if isinstance(x, np.ndarray)]
            for array in (*arrays, *(a for x in arrays for a in self.framed.get(id(memory_of(x)), ()))):
                if read := self.found.get((id(array), "array", "")):
                    read.used = True

    def settled(self) -> bool:
        """Return whether all that was read is surely not made by the step, so that another run need not be watched."""
        return not self.cached and all(read.outside for read in self.found.values())

    def begin_again(self) -> None:
        """Take what does not decide what the step does as it is now."""
        for read in self.found.values():
            if not read.used:
                read.value = read.now()

    def owners(self) -> set[int]:
        """Return the ids of all whose attributes or items were read."""
        return {key[0] for key in self.found}

    def forget_all_but(self, known: set[int]) -> None:
        """Drop what was read of objects that the step itself has made."""
        self.found = {key: read for key, read in self.found.items() if read.outside or key[0] in known}

    def release(self, arguments: Iterable[Any]) -> None:
        """Let go of the arrays among the arguments, and of what held them, which is made anew for each call."""
        for value in arguments:
            if isinstance(value, (Tensor, *CONTAINERS)):
                self.outside.pop(id(value), None)
            if isinstance(value, CONTAINERS):
                read = self.found.get((id(value), "items", ""))
                if read is not None and read.holds():
                    del self.found[id(value), "items", ""]
                self.release(items(value))

    def guards(self) -> list[Read]:
        """Return what a program depends on."""
        return [read for read in self.found.values() if read.used]

    def decides_as(self, other: Reads) -> bool:
        """Return whether a program depends on the same as another one."""
        pairs = itertools.zip_longest(self.guards(), other.guards())
        return all(a and b and a.is_like(b) for a, b in pairs)

    def changed(self, but: Callable[[Read], bool], before: Reads | None, lenient: bool) -> str | None:
        """Return the words for the first thing that is not as it was when it was read, if it was not made here.

        An object of which it is not known whether the step has made it was not if a run before has met it as well.
        """
        known = before.owners() if before else set()
        for read in self.found.values():
            if (lenient and read.kind == "draws") or but(read) or read.holds():
                continue
            if read.outside or id(read.owner) in known:
                return read.words()
            read.used = False  # made by the step, as far as is known
        return None

    def restore(self, but: Callable[[Read], bool]) -> None:
        """Put back what was not made by the step and has changed."""
        for read in self.found.values():
            if read.outside and not but(read) and not read.holds():
                read.restore()


def _are(cells: dict[str, Any], values: Any) -> bool:
    empty = types.CellType()
    return all(cell == empty or cell.cell_contents is values.get(name, MISSING) for name, cell in cells.items())
