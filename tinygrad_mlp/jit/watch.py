"""What a step calls: the functions that it runs in Python, one by one, as a profiler sees them."""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ..core.tensor import Tensor
from .objects import MISSING, SCALARS, SEEN, is_foreign, is_of_the_user
from .paths import Scan, scan

F = TypeVar("F", bound=Callable[..., Any])
look_away = functools.partial(sys.setprofile, None)
"""Called to see nothing any more; a function of Python would be seen itself."""
TELLING = Scan({}, set(), set())
"""Stands for the functions of ``logging``."""
NOT_LOOKED_INTO = (*SCALARS, Tensor)


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


def quiet(method: F, whose: Callable[[Any], Any] | None = None) -> F:
    """Make a method of what has ``reads`` one in which these look away, unless it runs code of the user.

    ``whose`` code it is, the argument says.
    """

    @functools.wraps(method)
    def asleep(self: Any, *args: Any) -> Any:
        reads = self.reads
        if reads.asleep or (whose and is_of_the_user(whose(args[0]))):
            return method(self, *args)
        look_away()
        reads.asleep = 1
        try:
            return method(self, *args)
        finally:
            reads.wake()

    return asleep  # type: ignore[return-value]


class Watch:
    """Sees the user's functions begin and end, and those of Python that look into what a user's objects hold."""

    def __init__(self) -> None:
        self.scans: dict[int, Scan | None] = {}
        self.of_python: set[int] = set()
        self.alive: list[Any] = []
        self.generators: dict[int, Any] = {}
        self.trouble: str | None = None
        self.told: Any = None
        self.names: list[list[str]] = []
        self.asleep = 1

    def begins(self, frame: Any, seen: Scan) -> None:
        """See that a function begins, whose code reads what has been ``seen`` in it."""
        raise NotImplementedError

    def gives(self, frame: Any, value: Any, caller: Scan) -> None:
        """See what a function gives to its caller."""
        raise NotImplementedError

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Context manager that sees what is called, and leaves other profilers as they were."""
        before = sys.getprofile()
        self.asleep = 0
        sys.setprofile(self._see)
        try:
            yield
        finally:
            self.asleep = 1
            self.generators.clear()
            look_away()
            if before is not None:
                getattr(before, "enable", functools.partial(sys.setprofile, before))()

    def sleep(self) -> None:
        """Stop looking, while this package is at work."""
        if not self.asleep:
            look_away()
        self.asleep += 1

    def wake(self) -> None:
        """Go on looking."""
        self.asleep -= 1
        if not self.asleep:
            sys.setprofile(self._see)

    def _see(self, frame: Any, event: str, value: Any) -> None:
        if event != "call" and event != "return":
            if value is print:
                self.told = print if event == "c_call" else None
            return
        if self.told is not None:  # what is done for a print or a log is no part of a program
            if frame is self.told and event == "return":
                self.told = None
            return
        seen: Any = self.scans.get(id(frame.f_code), MISSING)  # code objects take long to be hashed
        if seen is MISSING:
            name, code = frame.f_globals.get("__name__") or "", frame.f_code
            called = getattr(code, "co_qualname", code.co_name)
            hands_on = name in SEEN and "__call__" in called  # to what the recorder sees
            seen = self.scans[id(code)] = None if hands_on or is_foreign(name) else scan(code)
            if name == "logging":
                seen = self.scans[id(code)] = TELLING
            self.alive.append(code)
            if name.partition(".")[0] in sys.stdlib_module_names and name != "__main__":
                self.of_python.add(id(code))
        if seen is TELLING:
            self.told = frame if event == "call" else None
        elif seen is not None:
            try:
                self._look(frame, event, value, seen)
            except Exception as error:  # of code of the user's that looking has run after all
                self.trouble = f"what {frame.f_code.co_name} reads cannot be followed: {error!r}"

    def _look(self, frame: Any, event: str, value: Any, seen: Scan) -> None:
        if event == "call":
            if id(frame.f_code) in self.of_python and not self._is_followed(frame):
                return
            if frame.f_code.co_flags & inspect.CO_GENERATOR:
                if id(frame) in self.generators:  # which goes on
                    return
                self.generators[id(frame)] = frame
            self.begins(frame, seen)
        elif frame.f_back and not isinstance(value, NOT_LOOKED_INTO):
            caller = self.scans.get(id(frame.f_back.f_code))
            if caller and (caller.loose or self.names) and self._is_followed(frame.f_back):
                self.gives(frame, value, caller)

    def _is_followed(self, frame: Any) -> bool:
        """Return whether a function is looked into: one of Python's only where it works for the user's code."""
        while frame is not None and id(frame.f_code) in self.of_python:
            frame = frame.f_back
        return frame is not None and self.scans.get(id(frame.f_code)) is not None
