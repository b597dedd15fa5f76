"""What a step reads: the access paths of every function that it runs, and what stands at their ends.

A program is valid while all that is as it was. Nothing else is a guard, and what the step itself has changed by the
end of a recording is no program.
"""

from __future__ import annotations

import contextvars
import functools
import gc
import inspect
import itertools
import operator
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..core.tracer import Stateful
from .guards import (
    ATTRIBUTES,
    CONTAINERS,
    LAYOUT,
    MISSING,
    READERS,
    SEEN,
    TEXTS,
    Read,
    indices,
    inside,
    is_foreign,
    is_open,
    items,
    look,
)
from .paths import ANY, VARS, Scan, scan


@contextmanager
def without_collector() -> Iterator[None]:
    """Context manager in which the collector neither looks at a record that grows nor calls what is no part of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Reads:
    """What one run of a step reads, seen by the functions that it runs."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, str, str], Read] = {}
        self.cells: dict[types.CodeType, list[dict[str, Any]]] = {}
        self.scans: dict[int, Scan | None] = {}
        self.alive: list[Any] = []
        self.trouble: str | None = None
        self.asleep = 1
        self.generators: dict[int, Any] = {}
        self.outside: dict[int, Any] = {}
        self.inputs: set[int] = set()
        self.shallow = self.arrays = False

    @contextmanager
    def watching(self, function: Any, arguments: Sequence[Any]) -> Iterator[None]:
        """Context manager that sees what a function calls, and leaves other profilers as they were."""
        self.learn(function)
        around = [c.cell_contents for c in getattr(function, "__closure__", None) or () if c != types.CellType()]
        owner = getattr(function, "__self__", function)
        for value in (owner, *around, *arguments):
            self._is_given(value)
        before = sys.getprofile()
        self.asleep = 0
        sys.setprofile(self._see)
        try:
            yield
        finally:
            self.asleep = 1
            self.generators.clear()
            sys.setprofile(None)
            if before is not None:
                getattr(before, "enable", functools.partial(sys.setprofile, before))()

    def _is_given(self, value: Any) -> None:
        """Note that a value comes from outside; of a container only what is read of it counts."""
        if not isinstance(value, CONTAINERS):
            self._reach(value, "an argument", True)
        self.outside[id(value)] = value

    def sleep(self) -> None:
        """Stop looking, while this package is at work."""
        if not self.asleep:
            sys.setprofile(None)
        self.asleep += 1

    def wake(self) -> None:
        """Go on looking."""
        self.asleep -= 1
        if not self.asleep:
            sys.setprofile(self._see)

    def _see(self, frame: Any, event: str, value: Any) -> None:
        if event != "call" and event != "return":
            return
        seen: Any = self.scans.get(id(frame.f_code), MISSING)  # code objects take long to be hashed
        if seen is MISSING:
            name, code = frame.f_globals.get("__name__") or "", frame.f_code
            called = getattr(code, "co_qualname", code.co_name)
            hands_on = name in SEEN and "__call__" in called  # to what the recorder sees
            seen = self.scans[id(code)] = None if hands_on or is_foreign(name) else scan(code)
            self.alive.append(code)
        if seen is not None:
            try:
                self._look(frame, event, value, seen)
            except Exception as error:  # of code of the user's that looking has run after all
                self.trouble = f"what {frame.f_code.co_name} reads cannot be followed: {error!r}"

    def _look(self, frame: Any, event: str, value: Any, seen: Scan) -> None:
        if event == "call":
            if frame.f_code.co_flags & inspect.CO_GENERATOR:
                if id(frame) in self.generators:  # which goes on
                    return
                self.generators[id(frame)] = frame
            self._enter(frame, seen)
        elif frame.f_back and value is not None and not isinstance(value, Tensor):
            caller = self.scans.get(id(frame.f_back.f_code))
            for steps in caller.loose if caller else ():
                for item in inside(value):
                    self._walk_maybe(item, steps, f"what {frame.f_code.co_name} gives", False, False)

    def _enter(self, frame: Any, seen: Scan) -> None:
        """Follow the paths of a function that begins."""
        values, code, ends = frame.f_locals, frame.f_code, {}
        self.shallow = frame.f_globals.get("__name__") in SEEN  # walks over the modules inside, whatever else there is
        self._note_method(code, values)
        cells = next((c for c in self.cells.get(code, ()) if _are(c, values)), {})
        for path, only_written in seen.paths.items():
            kind, name, *steps = path
            outside = True
            if kind == "global" and self.shallow:  # this package does not change its own
                continue
            if kind == "module":
                known = name in sys.modules  # not imported by the step only now
                value = self.note(sys.modules, "global", name, name, False, True) if known else MISSING
            elif kind == "global":
                value = self.note(frame.f_globals, "global", name, name, only_written and not steps, True)
            elif kind == "free" and name in cells:
                value = self.note(cells[name], "cell", name, name, only_written and not steps, True)
            else:
                value = values.get(name, MISSING)
                outside = id(value) in self.outside
                if value is not MISSING and outside:
                    self._reach(value, name, True)
            ends[path] = self._walk(value, steps, name, only_written, outside)
        for paths in seen.joined if self.arrays else ():
            self._judge([ends.get(p[:-1] if p[-1] == ANY else p, ()) for p in paths if p[0] != "const"])

    def _note_method(self, code: types.CodeType, values: Any) -> None:
        """Note by which class a method has been found that is not the one of its object's own: by ``super()``."""
        name, owner = code.co_name, values.get(code.co_varnames[0]) if code.co_argcount else None
        if is_open(owner) and getattr(getattr(type(owner), name, None), "__code__", code) is not code:
            for kind in type(owner).__mro__:
                if getattr(kind.__dict__.get(name), "__code__", None) is code:
                    self.note(kind, ".", name, f"{kind.__name__}.{name}", False, True)

    def _walk(self, value: Any, steps: Sequence[Any], label: str, only_written: bool, outside: bool) -> tuple[Any, ...]:
        """Follow a path from a value, note what is read on the way, and return what stands at its end."""
        for i, step in enumerate(steps):
            if value is MISSING:
                return ()
            if step == ANY:
                for item in inside(value) if i + 1 < len(steps) else ():
                    self._walk_maybe(item, steps[i + 1 :], f"{label}[...]", only_written, outside)
                return ()
            last = only_written and i + 1 == len(steps)
            if step in (VARS, ".__dict__"):
                if is_open(value) and hasattr(value, "__dict__"):
                    self.note(value, "vars", "", label, False, outside)
                    for part in vars(value).values():
                        if not (self.shallow and isinstance(part, CONTAINERS)):
                            self._reach(part, label, outside)
                return ()
            if isinstance(step, tuple):
                value = self._item(value, step[1])
                label += f"[{step[1]!r}]"
                continue
            label += f".{step[1:]}"
            value = self._attribute(value, step[1:], label, last, outside)
        return (value,)

    def _walk_maybe(self, value: Any, steps: Sequence[Any], label: str, only_written: bool, outside: bool) -> None:
        """Follow a path from what may be the value that it is meant for: not if it has no such attribute.

        The value is one of those that lie, however deep, in what the path has come to: its steps to items are done.
        """
        steps = [*itertools.dropwhile(lambda step: isinstance(step, tuple), steps)]
        if not steps:
            return
        name = steps[0][1:] if isinstance(steps[0], str) and steps[0][0] == "." else ""
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
        elif is_open(owner):
            return self.note(owner, ".", name, label, only_written, outside)
        return MISSING

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
        elif callable(value):
            self.learn(value)

    def learn(self, function: Any) -> None:
        """Note the cells of a function, by which its closure is read when it runs."""
        for name in ("__func__", "func", "function", "fget", "__wrapped__"):
            inner = getattr(function, name, None) if not isinstance(function, type) else None
            if inner is not None and inner is not function and not isinstance(function, (Tensor, types.ModuleType)):
                self.learn(inner)
        if isinstance(function, functools.partial):
            self._reach(function.keywords, "a keyword", True)
            for value in function.args:
                self._is_given(value)
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
            for x in met:
                if isinstance(x, np.ndarray) and (read := self.found.get((id(x), "array", ""))):
                    read.used = True

    def settled(self) -> bool:
        """Return whether all that was read is surely not made by the step, so that another run need not be watched."""
        return all(read.outside for read in self.found.values())

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
