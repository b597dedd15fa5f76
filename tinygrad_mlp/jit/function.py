"""`jit`: a function that is recorded once for each kind of input, and from then on runs as a program."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import GraphError, RecordingError
from ..graph import Value, mode, wrap
from .emit import Program, execute
from .plan import Plan, make_plan
from .record import Record, Recorder, Slot, memory_of

PROGRAM_LIMIT = 64
"""Records of one function; more means that something changes at each call that should be an argument."""


class _Leaf:
    """The place of an array in arguments or results."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Compiled:
    """A record, and from its second use on the program made of it."""

    def __init__(self, record: Record, results: list[Any], structure: Any, name: str) -> None:
        self.record, self.structure, self.name = record, structure, name
        self.results = results
        self.program: Program | None = None
        self.plan: Plan | None = None
        self.fits = _guard_function(record)

    def compile(self) -> None:
        """Plan, emit and build the program."""
        outputs = [r for r in self.results if isinstance(r, Slot)]
        self.plan = make_plan(self.record, outputs)
        self.program = Program(self.plan)
        namespace: dict[str, Any] = {"np": np, **self.program.arrays, **self.program.objects}
        for name, index in self.program.objects.items():
            if name.startswith("read") and isinstance(index, int):
                namespace[name] = self._reader(index)
        execute("\n".join(self.program.setup), namespace, f"{self.name} setup")
        execute(self.program.source, namespace, self.name)
        self.namespace = namespace
        self.step = namespace["step"]
        self.grads = [(t, None if s is None else wrap(namespace[self.program.name(s)])) for t, s in self.plan.grads.items()]
        self.versions = [_version(t) for t in self.record.changed]
        buffers = [namespace[storage.name] for storage in self.plan.storages]
        states = [memory_of(t._data) for t in self.record.changed]
        self.own = {id(a) for a in (*buffers, *states)}

    def _reader(self, index: int) -> Callable[[], tuple[float, ...]]:
        read, names = self.record.numbers[index][0], self.program.number_names[index]  # type: ignore[union-attr]

        def reader() -> tuple[float, ...]:
            values = read()
            return tuple([values[n] for n in names])

        return reader

    def run(self, arrays: list[Any]) -> Any:
        """Run the program, and leave changed what the eager step leaves changed."""
        for i, a in enumerate(arrays):
            if id(memory_of(a)) in self.own:
                arrays[i] = a.copy(order="K")
        values = self.step(*arrays)
        for t, g in self.grads:
            t._grad = g
        for version in self.versions:
            version[0] += 1
        if self.structure.__class__ is _Leaf:
            return wrap(values[0])
        results = iter(values)
        return _rebuild(self.structure, [wrap(next(results)) if isinstance(r, Slot) else r for r in self.results])


def _version(t: Any) -> list[int]:
    if t._version is None:
        t._version = [0]
    return t._version


def _guard_function(record: Record) -> Callable[[], bool]:
    """Return a function that says whether all that the record depends on is as it was."""
    namespace: dict[str, Any] = {}
    tests = []
    for i, (owner, attribute, value) in enumerate(record.guards):
        namespace[f"o{i}"], namespace[f"v{i}"] = owner, value
        test = f"(o{i}._grad is None) is v{i}" if attribute == "grad_is_none" else f"o{i}.{attribute} is v{i}"
        tests.append(test)
    for i, (read, value) in enumerate(record.conditions):
        namespace[f"r{i}"], namespace[f"c{i}"] = read, value
        tests.append(f"r{i}() == c{i}")
    execute(f"def fits():\n    return {' and '.join(tests) or 'True'}", namespace, "guards")
    return namespace["fits"]


class Jitted:
    """A function that runs as a program; see `jit`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.cache: dict[Any, list[Compiled]] = {}
        self.lock = threading.RLock()
        self.last: Compiled | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if mode.recorder is not None:
            return self.function(*args, **kwargs)
        arrays: list[Any] = []
        key: list[Any] = [mode.grad_enabled]
        structure = [_flatten(a, arrays, key) for a in args]
        named = {k: _flatten(v, arrays, key) for k, v in sorted(kwargs.items())} if kwargs else {}
        if named:
            key.extend(named)
        with self.lock:
            known = self.cache.setdefault(tuple(key), [])
            for i, compiled in enumerate(known):
                if compiled.fits():
                    if i:
                        known.insert(0, known.pop(i))
                    if compiled.program is None:
                        compiled.compile()
                    self.last = compiled
                    return compiled.run(arrays)
            return self._record(known, structure, named, arrays)

    def _record(self, known: list[Compiled], structure: list[Any], named: Mapping[str, Any], arrays: list[Any]) -> Any:
        if sum(map(len, self.cache.values())) >= PROGRAM_LIMIT:
            raise RecordingError(
                f"{self.__name__} was recorded {PROGRAM_LIMIT} times: "  # type: ignore[attr-defined]
                "an argument or what it reads changes at every call; pass what changes as an array"
            )
        recorder = Recorder()
        with recorder.running():
            names = iter(_argument_names(self.function, len(arrays)))
            tensors = [recorder.input(a, next(names)) for a in arrays]
            args = [_rebuild(s, tensors) for s in structure]
            result = self.function(*args, **{k: _rebuild(s, tensors) for k, s in named.items()})
            leaves: list[Any] = []
            shape = _flatten_result(result, leaves)
            results = [recorder.slot(t) if isinstance(t, Value) else t for t in leaves]
        compiled = Compiled(recorder.record, results, shape, self.__name__)  # type: ignore[attr-defined]
        known.insert(0, compiled)
        self.last = compiled
        return _rebuild(shape, [wrap(t._data) if isinstance(t, Value) else t for t in leaves])

    def _latest(self) -> Compiled:
        if self.last is None:
            raise GraphError(f"{self.__name__} has not run yet; call it once, then read its program")  # type: ignore[attr-defined]
        if self.last.program is None:
            self.last.compile()
        return self.last

    @property
    def source(self) -> str:
        """The text of the program that ran last."""
        return self._latest().program.source  # type: ignore[union-attr]

    @property
    def plan(self) -> Plan:
        """The plan of the program that ran last: calls, buffers, bytes, what was merged or dropped."""
        return self._latest().plan  # type: ignore[return-value]


def jit(function: Callable[..., Any]) -> Jitted:
    """Return a function that does the same as ``function``, as a NumPy program that it becomes when first called."""
    return Jitted(function)


def _flatten(a: Any, arrays: list[Any], key: list[Any]) -> Any:
    """Return an argument with its arrays replaced by leaves; add the arrays, and what the program depends on."""
    if isinstance(a, Value):
        if a._requires_grad:
            raise RecordingError("a jitted function takes Tensors that require grad from around it, not as arguments")
        a = a._data
    elif hasattr(a, "__array__") and not isinstance(a, (np.ndarray, np.generic)):
        a = np.asarray(a)
    if isinstance(a, np.ndarray):
        key.append((a.shape, a.strides, a.dtype))
        arrays.append(a)
        return _Leaf(len(arrays) - 1)
    if isinstance(a, (list, tuple)):
        key.append(len(a))
        return type(a)([_flatten(x, arrays, key) for x in a])
    if isinstance(a, dict):
        key.extend(a)
        return {k: _flatten(v, arrays, key) for k, v in a.items()}
    key.append((type(a), a))
    return a


def _flatten_result(r: Any, leaves: list[Any]) -> Any:
    if isinstance(r, (list, tuple)):
        return type(r)([_flatten_result(x, leaves) for x in r])
    if isinstance(r, dict):
        return {k: _flatten_result(v, leaves) for k, v in r.items()}
    if isinstance(r, np.ndarray):
        raise RecordingError("a jitted function returns Tensors or numbers, got an array, which would be frozen")
    leaves.append(r)
    return _Leaf(len(leaves) - 1)


def _rebuild(structure: Any, leaves: list[Any]) -> Any:
    if structure.__class__ is _Leaf:
        return leaves[structure.index]
    if isinstance(structure, (list, tuple)):
        return type(structure)([_rebuild(s, leaves) for s in structure])
    if isinstance(structure, dict):
        return {k: _rebuild(v, leaves) for k, v in structure.items()}
    return structure


def _argument_names(function: Callable[..., Any], count: int) -> list[str]:
    code = getattr(function, "__code__", None)
    names = list(code.co_varnames[: code.co_argcount]) if code else []
    return [names[i] if i < len(names) else f"array{i}" for i in range(count)]
