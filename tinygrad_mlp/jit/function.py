"""`jit`: a function that is recorded once for each kind of input, and from then on runs as a program."""

from __future__ import annotations

import functools
import gc
import operator
import os
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import numpy as np

from ..core.tensor import Tensor, wrap
from ..core.tracer import IDLE, Stateful, mode
from ..core.versions import count
from ..errors import GraphError, RecordingError, describe, out_of_range
from .emit import Program, execute
from .plan import Plan, make_plan
from .record import Record, Recorder, Slot, difference, memory_of

PROGRAM_LIMIT = 64
"""Records of one function; more means that something changes at each call that should be an argument."""


P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

WATCHED = (Tensor, np.ndarray, Stateful)


class _Leaf:
    """The place of an array among the arguments or results."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Compiled:
    """A record, and the program made of it once a second run has shown that the step does the same again."""

    def __init__(self, record: Record, results: list[Any], structure: Any, name: str) -> None:
        self.record, self.results, self.structure, self.name = record, results, structure, name
        self.fits = _guard_function(record)
        self.outline = [(call.function, len(call.inputs)) for call in record.calls]
        self.confirmed = False
        self.runs = 0
        self.plan: Plan | None = None
        self.program: Program | None = None

    def planned(self) -> Plan:
        """Return the plan, made the first time."""
        if self.plan is None:
            self.plan = make_plan(self.record, [r for r in self.results if isinstance(r, Slot)])
        return self.plan

    def compile(self) -> None:
        """Plan, emit and build the program."""
        plan = self.planned()
        program = Program(plan, self.name)
        namespace = {"np": np, **program.scope.values}
        namespace.update((name, self._reader(*of)) for name, of in program.readers.items())
        self.step = execute(program.source, namespace, program.function)
        self.grads = [(t, None if s is None else wrap(namespace[program.name(s)], [0])) for t, s in plan.grads.items()]
        self.versions = [t._version for t in (*self.record.changed, *(g for _, g in self.grads if g is not None))]
        self.own = {id(namespace[name]) for name in program.memory.values()}
        self.changed = {id(memory_of(t._data)) for t in self.record.changed}
        self.program = program

    def _reader(self, index: int, names: list[tuple[str, Any]]) -> Callable[[], Any]:
        """Return a function that reads live numbers and gives them, one or several, as the program takes them up."""
        read = self.record.numbers[index][0]
        before: Any = None
        given: Any = ()

        def reader() -> Any:
            nonlocal before, given
            values = read()
            if values != before:
                given = [values[n] if dtype is None else np.array(values[n], dtype) for n, dtype in names]
                given = given[0] if len(given) == 1 else given
                before = values
            return given

        return reader

    def changes(self, arrays: list[Any]) -> bool:
        """Return whether the step writes into one of its own arguments."""
        return any(id(memory_of(a)) in self.changed for a in arrays)

    def run(self, arrays: list[Any]) -> Any:
        """Run the program, and leave changed what the eager step leaves changed."""
        copies: dict[int, Any] = {}
        for i, a in enumerate(arrays):
            if id(memory_of(a)) in self.own:
                arrays[i] = copies.setdefault(id(a), a.copy(order="K"))
        self.runs += 1
        values = iter(self.step(*arrays, *map(self._found, self.plan.found)))  # type: ignore[union-attr]
        for t, g in self.grads:
            t._grad = g
        for module, training in self.record.modes.items():
            module.training = training
        for version in self.versions:
            count(version)
        return _rebuild(self.structure, [wrap(next(values)) if isinstance(r, Slot) else r for r in self.results])

    def _found(self, slot: Slot) -> Any:
        """Return a gradient from before, in memory that the program does not write to before it has read it."""
        array = slot.source._grad._data
        own = any(t is slot.source and g is t._grad for t, g in self.grads)
        in_place = own and self.plan.found[slot]  # type: ignore[union-attr]
        return array if in_place or id(memory_of(array)) not in self.own else array.copy(order="K")


class Jitted(Generic[P, R]):
    """A function that runs as a program; made by `jit`, which says what it does.

    Attributes:
        source: the text of the program that has run most often.
        plan: its plan: calls, buffers, bytes, what was dropped.
    """

    __name__: str

    def __init__(self, function: Callable[P, R], check: int | None = None) -> None:
        if check is not None and check < 1:
            raise out_of_range("check", check, "a number of calls >= 1, or None")
        functools.update_wrapper(self, function, updated=())
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.function, self.check, self.calls = function, check, 0
        self.cache: dict[Any, list[Compiled]] = {}
        self.lock = threading.RLock()
        self.last: Compiled | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if isinstance(mode.tracer, Recorder):  # recorded by an outer function
            return self.function(*args, **kwargs)
        if mode.tracer is not IDLE:  # watched op by op
            return self.function(*map(_as_input, args), **{k: _as_input(v) for k, v in kwargs.items()})
        arrays: list[Any] = []
        key: list[Any] = [mode.grad_enabled]
        structure = ([_flatten(a, arrays, key) for a in args], {k: _flatten(v, arrays, key) for k, v in kwargs.items()})
        key.extend(kwargs)
        with self.lock:
            self.calls += 1
            known = self.cache.setdefault(tuple(key), [])
            for i, compiled in enumerate(known):
                if compiled.fits():
                    if i:
                        known.insert(0, known.pop(i))
                    self.last = compiled
                    return self._run(compiled, structure, arrays)
            return self._record(known, structure, arrays)

    @overload
    def __get__(self, instance: None, owner: type) -> Jitted[P, R]: ...
    @overload
    def __get__(self: Jitted[Concatenate[S, Q], R], instance: S, owner: type) -> Callable[Q, R]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def _run(self, compiled: Compiled, structure: Any, arrays: list[Any]) -> Any:
        if not compiled.confirmed:
            return self._confirm(compiled, structure, arrays)
        if compiled.program is None:
            with _without_collector():
                compiled.compile()
        if compiled.changes(arrays):
            return self._eagerly(structure, arrays)
        if self.check is not None and self.calls % self.check == 0:
            return self._checked(compiled, structure, arrays)
        return compiled.run(arrays)

    def _record(self, known: list[Compiled], structure: Any, arrays: list[Any]) -> Any:
        if sum(map(len, self.cache.values())) >= PROGRAM_LIMIT:
            raise RecordingError(
                f"{self.__name__} has been recorded {PROGRAM_LIMIT} times: what it depends on changes at every call; "
                "pass it as an array, or keep it as it is"
            )
        recorder = Recorder()
        with _without_collector():
            compiled, result = self._trace(recorder, structure, arrays)
        known.insert(0, compiled)
        self.last = compiled
        return result

    def _trace(
        self, recorder: Recorder, structure: Any, arrays: list[Any], first: Compiled | None = None
    ) -> tuple[Compiled, Any]:
        """Run the function as it is, recorded, and return the record and the results.

        Raise, with everything put back, if it does the same as the first record but for what would be frozen.
        """
        for owner, attribute, value in [*_surroundings(self.function), (self, "", structure)]:
            if isinstance(value, WATCHED):
                recorder.guard(owner, attribute, value)
            elif any(True for _ in _parts(value)):
                recorder.condition(_Contents(value))
        optimizers = [] if first is None else first.record.optimizers
        options = [(group, dict(group)) for optimizer in optimizers for group in optimizer.param_groups]
        with recorder.running():
            names = _argument_names(self.function, len(arrays))
            tensors = [recorder.input(a, name) for a, name in zip(arrays, names, strict=True)]
            args, kwargs = _rebuild(structure, tensors)
            leaves: list[Any] = []
            shape = _flatten_result(self.function(*args, **kwargs), leaves)
            slots = [recorder.slot(t) if isinstance(t, Tensor) else t for t in leaves]
            compiled = Compiled(recorder.record, slots, shape, self.__name__)
            self._compare_options(options)
            if first is not None and first.outline == compiled.outline:
                self._compare_calls(first.record, compiled.record)
                compiled.confirmed = True
        return compiled, _rebuild(shape, _own_copies(leaves))

    def _confirm(self, compiled: Compiled, structure: Any, arrays: list[Any]) -> Any:
        """Run the step as it is a second time: only one that does the same again can be a program."""
        with _without_collector():
            again, result = self._trace(Recorder(), structure, arrays, compiled)
        known = next(k for k in self.cache.values() if compiled in k)
        known[known.index(compiled)] = self.last = again
        return result

    def _compare_calls(self, first: Record, second: Record) -> None:
        call = difference(first, second)
        if call is not None:
            raise RecordingError(
                f"{self.__name__}: {call.op} at {call.line} gets a number or an array that the step makes anew, "
                "differently at each call, and that would be frozen; pass it as an argument, or use functional.dropout"
            )

    def _compare_options(self, options: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        for group, before in options:
            changed = [key for key in before if key != "params" and group[key] != before[key]]
            if changed:
                group.update(before)
                raise RecordingError(
                    f"{self.__name__} changes {changed[0]} of an optimizer, which its program would not do; "
                    "do that outside of it, and call a schedule's step() there"
                )

    def _eagerly(self, structure: Any, arrays: list[Any]) -> Any:
        args, kwargs = _rebuild(structure, [wrap(a) for a in arrays])
        leaves: list[Any] = []
        shape = _flatten_result(self.function(*args, **kwargs), leaves)
        return _rebuild(shape, _own_copies(leaves))

    def _checked(self, compiled: Compiled, structure: Any, arrays: list[Any]) -> Any:
        """Run the step eagerly, put everything back, run the program, and raise if any bit differs."""
        recorder = Recorder()
        _, result = self._trace(recorder, structure, arrays)
        changed = list(recorder.record.changed)
        grads = [t for t, _ in compiled.grads]
        expected = [
            *_arrays(result),
            *(t._data.copy() for t in changed),
            *(t._grad._data.copy() for t in grads if t._grad is not None),
        ]
        recorder.roll_back()
        result = compiled.run(arrays)
        actual = [*_arrays(result), *(t._data for t in changed), *(t._grad._data for t in grads if t._grad is not None)]
        if len(expected) != len(actual) or not all(map(_equal_bits, expected, actual)):
            raise RecordingError(f"{self.__name__}: the program and the eager step differ; please report its source")
        return result

    def _main(self) -> Compiled:
        """Return what has run most often, the last one of equals: a short last batch says little of a step."""
        if self.last is None:
            raise GraphError(f"{self.__name__} has not run yet; call it once, then read its program")
        every = [self.last, *(compiled for known in self.cache.values() for compiled in known)]
        main = max(every, key=lambda compiled: compiled.runs)
        if main.program is None:
            main.compile()
        return main

    @property
    def source(self) -> str:
        """The text of the program that has run most often."""
        return self._main().program.source  # type: ignore[union-attr]

    @property
    def plan(self) -> Plan:
        """The plan of the program that has run most often: calls, buffers, bytes, what was dropped."""
        return self._main().plan  # type: ignore[return-value]

    def export(self, path: str | os.PathLike[str], *examples: Any, schedule: Any = None) -> None:
        """Write the programs as a module that needs only NumPy, with an npz file of their arrays beside it.

        The module's function has this function's name; it takes the arrays that this one takes, and returns its
        results as arrays. It knows the shapes and dtypes for which this function has a program, or those of the
        examples, and names them when it gets others. It goes on from where the training stands now: parameters are
        arrays under their own names in the module, optimisers count on, and the options of each parameter group
        are dictionaries, the learning rate among them.

        Args:
            path: the file to write.
            examples: tuples of arguments; nothing changes by them.
            schedule: a learning-rate schedule; the module's ``schedule()`` does what its ``step()`` does.

        Raises:
            GraphError: the function has not run yet.
            RecordingError: the program calls something that does not run without this package.
        """
        from pathlib import Path

        from .export import Module

        main, path = self._main(), Path(path)
        every = [c for known in self.cache.values() for c in known if c.confirmed and c is not main and c.fits()]
        every = [main, *sorted(every, key=lambda compiled: -compiled.runs)]
        plans = [c.planned() for c in (every if not examples else map(self._example, examples))]
        module = Module(self.__name__, plans, schedule)
        path.write_text(module.source, encoding="utf-8")
        with path.with_suffix(".npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **module.arrays)

    def _example(self, args: Any) -> Compiled:
        """Return what is recorded for arguments; where nothing is, record it, and put everything back."""
        arrays: list[Any] = []
        key: list[Any] = [mode.grad_enabled]
        args = args if isinstance(args, tuple) else (args,)
        structure: Any = ([_flatten(a, arrays, key) for a in args], {})
        found = next((c for c in self.cache.get(tuple(key), ()) if c.confirmed and c.fits()), None)
        while found is None or not found.confirmed:
            recorder = Recorder()
            found = self._trace(recorder, structure, arrays, found)[0]
            recorder.roll_back()
        return found

    def __repr__(self) -> str:
        return f"jit({self.__name__}): {self.plan!r}" if self.last else f"jit({self.__name__}): has not run yet"

    def _repr_html_(self) -> str:
        import html

        if self.last is None:
            return html.escape(repr(self))
        return f"<p>{html.escape(repr(self))}</p><pre>{html.escape(self.source)}</pre>"


@overload
def jit(function: Callable[P, R], *, check: int | None = None) -> Jitted[P, R]: ...
@overload
def jit(function: None = None, *, check: int | None = None) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...
def jit(function: Callable[..., Any] | None = None, *, check: int | None = None) -> Any:
    """Make a function of Tensor ops run as a NumPy program, with the same bits as before, and faster.

    Also a decorator, ``@jit`` or ``@jit(check=100)``. The first two calls with a kind of input run as always and
    are recorded; from the third on, a straight program of NumPy calls on buffers of its own does the same: forward,
    ``loss.backward()``, ``optimizer.step()``, ``.grad``, running statistics and random draws. ``print(step.source)``
    shows it, ``step.export("step.py")`` writes it as a module.

    Arrays, DataFrames and Tensors among the arguments are its inputs; each combination of shapes and dtypes gets its
    own program, and so does each mode, training or evaluation. Learning rates and other options of optimisers are
    read at each call. All other numbers are frozen as they were when it was recorded, and arrays from around the
    function are used as they are at each call. ``.grad`` is valid until the next call. What a step does besides,
    ``print`` or appending to a list, it does at the first two calls only.

    Args:
        function: what to compile. It returns Tensors or numbers, alone or in tuples, lists and dicts.
        check: run each ``check``-th call eagerly as well, and raise if a bit differs.

    Raises:
        RecordingError: when called, if the function needs a value (``.item()``, ``if tensor:``) or returns an array;
            parameters, optimiser and generators are then as they were.

    >>> import tinygrad_mlp as tg
    >>> model = tg.nn.Linear(2, 1, rng=0)
    >>> opt = tg.optim.SGD(model.parameters(), lr=0.1)
    >>> @jit
    ... def step(x, y):
    ...     loss = tg.functional.mse_loss(model(x), y)
    ...     opt.zero_grad()
    ...     loss.backward()
    ...     opt.step()
    ...     return loss
    >>> x, y = np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)
    >>> losses = [step(x, y).item() for _ in range(3)]
    >>> losses[0] > losses[1] > losses[2]
    True
    """
    if function is None:
        return functools.partial(jit, check=check)
    return Jitted(function, check)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Context manager in which the collector does not look, again and again, at a record that grows and stays."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _guard_function(record: Record) -> Callable[[], bool]:
    """Return a function that says whether all that a record depends on is as it was."""
    namespace: dict[str, Any] = {}
    tests = []
    for i, (owner, attribute, value) in enumerate(record.guards):
        namespace[f"owner{i}"], namespace[f"value{i}"] = owner, value
        found = f"(owner{i}._grad is None)" if attribute == "grad_is_none" else f"owner{i}{attribute}"
        tests.append(f"{found} is value{i}")
    for i, (read, value) in enumerate(record.conditions):
        namespace[f"read{i}"], namespace[f"was{i}"] = read, value
        tests.append(f"read{i}() == was{i}")
    return execute(f"def fits():\n    return {' and '.join(tests) or 'True'}", namespace, "fits")


def _flatten(a: Any, arrays: list[Any], key: list[Any]) -> Any:
    """Return an argument with its arrays replaced by leaves; add the arrays, and to the key what the program is for."""
    if isinstance(a, Tensor):
        if a._requires_grad:
            raise RecordingError("a jitted function takes Tensors that require grad from around it, not as arguments")
        a = a._data
    elif type(a) is not np.ndarray and hasattr(a, "__array__") and not isinstance(a, (np.ndarray, np.generic)):
        a = np.asarray(a)
    if isinstance(a, np.ndarray):
        key.append((a.shape, a.strides, a.dtype))
        arrays.append(a)
        return _Leaf(len(arrays) - 1)
    if isinstance(a, (list, tuple)):
        key.append((type(a), len(a)))
        return _like(a, [_flatten(x, arrays, key) for x in a])
    if isinstance(a, dict):
        key.append((dict, *a))
        return {k: _flatten(v, arrays, key) for k, v in a.items()}
    key.append((type(a), repr(a) if isinstance(a, (float, complex, np.generic)) else a))  # tells -0.0 from 0.0
    if type(a).__hash__ is None:
        raise TypeError(f"a jitted function takes arrays, and constants that can be hashed, got {describe(a)}")
    return a


def _as_input(a: Any) -> Any:
    """Return an argument with its arrays as Tensors, as the function gets them when it is recorded."""
    if isinstance(a, (list, tuple)):
        return _like(a, [_as_input(x) for x in a])
    if isinstance(a, dict):
        return {k: _as_input(v) for k, v in a.items()}
    is_array = hasattr(a, "__array__") and not isinstance(a, (Tensor, np.generic))
    return wrap(np.asarray(a)) if is_array else a


def _flatten_result(r: Any, leaves: list[Any]) -> Any:
    if isinstance(r, (list, tuple)):
        return _like(r, [_flatten_result(x, leaves) for x in r])
    if isinstance(r, dict):
        return {k: _flatten_result(v, leaves) for k, v in r.items()}
    if isinstance(r, np.ndarray):
        raise RecordingError("a jitted function returns Tensors or numbers, got an array, which would be frozen")
    leaves.append(r)
    return _Leaf(len(leaves) - 1)


def _like(a: Any, parts: list[Any]) -> Any:
    """Return a list or tuple, a named one too, of the same type as another one."""
    return type(a)(*parts) if hasattr(a, "_fields") else type(a)(parts)


def _own_copies(leaves: list[Any]) -> list[Any]:
    return [wrap(t._data.copy(order="K")) if isinstance(t, Tensor) else t for t in leaves]


def _surroundings(function: Any) -> Iterator[tuple[Any, str, Any]]:
    """Yield what a function finds around it, in its closure, among the globals or as ``self``: where, and its value."""
    if isinstance(function, functools.partial):
        yield from ((function, f".args[{i}]", a) for i, a in enumerate(function.args))
        yield from ((function, f".keywords[{name!r}]", a) for name, a in function.keywords.items())
        function = function.func
    if isinstance(function, types.MethodType):
        yield function, ".__self__", function.__self__
        function = function.__func__
    if isinstance(function, types.FunctionType):
        cells = [cell for cell in function.__closure__ or () if cell != types.CellType()]
        yield from ((cell, ".cell_contents", cell.cell_contents) for cell in cells)
        names = [name for name in function.__code__.co_names if name in function.__globals__]
        yield from ((function.__globals__, f".get({name!r})", function.__globals__[name]) for name in names)


def _parts(value: Any, depth: int = 4) -> Iterator[Any]:
    """Yield the models, optimisers, Tensors and arrays that a value is, or holds, or has around it if it is a function.

    Models and optimisers say themselves what in them decides about a step.
    """
    if isinstance(value, WATCHED):
        yield value
    elif depth and not isinstance(value, (str, bytes, type, types.ModuleType, Jitted)):
        if isinstance(value, (list, tuple)):
            inside = list(value)
        elif isinstance(value, dict):
            inside = list(value.values())
        elif callable(value) and not str(getattr(value, "__module__", "")).startswith(("tinygrad_mlp", "numpy")):
            inside = [around for _, _, around in _surroundings(value)]
        else:
            inside = list(getattr(value, "__dict__", {}).values())
        for part in inside:
            yield from _parts(part, depth - 1)


class _Contents:
    """Whether a value still holds the same models, optimisers, Tensors and arrays as it did."""

    def __init__(self, value: Any) -> None:
        self.value, self.parts = value, list(_parts(value))

    def __call__(self) -> bool:
        parts = list(_parts(self.value))
        return len(parts) == len(self.parts) and all(map(operator.is_, parts, self.parts))


def _rebuild(structure: Any, leaves: list[Any]) -> Any:
    if structure.__class__ is _Leaf:
        return leaves[structure.index]
    if isinstance(structure, (list, tuple)):
        return _like(structure, [_rebuild(s, leaves) for s in structure])
    if isinstance(structure, dict):
        return {k: _rebuild(v, leaves) for k, v in structure.items()}
    return structure


def _argument_names(function: Callable[..., Any], count: int) -> list[str]:
    code = getattr(function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    names = names[1:] if names[:1] == ("self",) else names
    return [names[i] if i < len(names) else f"array{i}" for i in range(count)]


def _arrays(result: Any) -> list[Any]:
    leaves: list[Any] = []
    _flatten_result(result, leaves)
    return [t._data for t in leaves if isinstance(t, Tensor)]


def _equal_bits(a: Any, b: Any) -> bool:
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.tobytes() == b.tobytes()
