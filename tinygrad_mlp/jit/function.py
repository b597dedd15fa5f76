"""`jit`: a function that is recorded once for each kind of input, and from then on runs as a program."""

from __future__ import annotations

import functools
import inspect
import os
import threading
import types
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import numpy as np

from ..core.tensor import Tensor, wrap
from ..core.tracer import IDLE, mode
from ..errors import GraphError, OptionError, RecordingError, describe, nearest, out_of_range, warn
from .arena import Arena
from .arguments import Arguments, as_input, flatten_result, rebuild, taker
from .audit import Effects
from .compiled import Compiled
from .plan import Plan
from .reads import Reads
from .recorder import Recorder

PROGRAMS, PROGRAM_BYTES = 128, 1 << 28
"""How many programs of one function are kept, and of what size together; the one that has not run for longest goes."""
PATIENCE, EARNED = 3 * PROGRAMS, 1 / 8
"""How often a function is recorded without running as a program in between, and what each such run is worth."""
AUDITED = frozenset(8**k for k in range(1, 21))
"""On which runs of a program the step runs eagerly as well."""

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class Jitted(Generic[P, R]):
    """A function that runs as a program; made by `jit`, which says what it does.

    ``function``, ``check`` and ``backend`` are those of `jit`. Unless ``strict``, what cannot be compiled runs eagerly.

    Attributes:
        source: the text of the program that has run most often.
        plan: its plan: calls, buffers, bytes, what was dropped.
        eager: why the function goes on eagerly, or None.
    """

    __name__: str

    def __init__(
        self, function: Callable[P, R], check: int | None = None, strict: bool = True, backend: str = "numpy"
    ) -> None:
        _check(function, check)
        check_backend(backend)
        functools.update_wrapper(self, function, updated=())
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.function, self.check, self.strict, self.calls = function, check, strict, 0
        self.backend = backend
        self.parameters = _parameters(function)
        self.cache: dict[Any, list[Compiled]] = {}
        self.arena, self.floats = Arena(), {}  # type: tuple[Arena, dict[str, float]]
        self.lock = threading.RLock()
        self.last: Compiled | None = None
        self.quick: Any = None  # the program that ran last, if the next call can come to it without its key
        self.eager: str | None = None
        self.patience: float = PATIENCE
        self.reasons: Counter[str] = Counter()
        self.changing: str | None = None
        self.before: Reads | None = None
        self.words: dict[str, Any] = {}
        _ALL.add(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        tracer = mode.tracer
        if tracer is IDLE and self.quick is not None and not kwargs:
            with self.lock:
                compiled = self.quick
                arrays = None if compiled is None else compiled.take(args)
                if arrays is not None and compiled.runs + 1 not in AUDITED and compiled.test():
                    self.calls += 1
                    self.last, compiled.called = compiled, self.calls
                    self.patience = min(self.patience + EARNED, PATIENCE)
                    return compiled.run_on(arrays)
        if isinstance(tracer, Recorder):  # recorded by an outer function
            return self.function(*args, **kwargs)
        if tracer is not IDLE or self.eager is not None:  # watched op by op, or not to be compiled
            return self.function(
                *[as_input(a, wrap) for a in args], **{k: as_input(v, wrap) for k, v in kwargs.items()}
            )
        given = Arguments(args, kwargs, self.parameters)
        key = self._key(given)
        with self.lock:
            self.calls += 1
            self.floats.update(given.floats)
            known = self.cache.setdefault(key, [])
            for i, compiled in enumerate(known):
                if compiled.fits():
                    if i:
                        known.insert(0, known.pop(i))
                    self.last, compiled.called = compiled, self.calls
                    return self._run(compiled, key, given)
            return self._record(key, given)

    def _key(self, given: Arguments) -> Any:
        return (mode.grad_enabled, *given.key)

    @overload
    def __get__(self, instance: None, owner: type) -> Jitted[P, R]: ...
    @overload
    def __get__(self: Jitted[Concatenate[S, Q], R], instance: S, owner: type) -> Callable[Q, R]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        module = inspect.getmodule(self.function)
        name = getattr(self.function, "__qualname__", "")
        return (
            name
            if getattr(module, name, None) is self
            else (Jitted, (self.function, self.check, self.strict, self.backend))
        )

    def _run(self, compiled: Compiled, key: Any, given: Arguments) -> Any:
        if not compiled.confirmed:
            return self._record(key, given, compiled)
        if compiled.test is None:
            compiled.compile(self.arena)
            self._make_room()
        if compiled.changes(given.arrays):
            return self._traced(Recorder(strict=False), given)[1]
        self.patience = min(self.patience + EARNED, PATIENCE)
        asked = self.check is not None and self.calls % self.check == 0
        if asked or compiled.runs + 1 in AUDITED:
            return self._audit(compiled, given)
        if self.check is None:
            compiled.take = compiled.take or taker(given, self.floats, compiled.touched)
            self.quick = compiled
        return compiled.run(given.arrays)

    def _record(self, key: Any, given: Arguments, first: Compiled | None = None) -> Any:
        """Run the step as it is, recorded: only one that does the same again, as the first record, can be a program."""
        self.quick = None
        known = self.cache[key]
        self._note_reasons(key, given, first)
        self.patience -= 2 if first is None and known else 1  # what changes at each call is not worth as many tries
        if self.patience < 0:
            self._warn(self._why())
            return self(*given.given[0], **given.given[1])
        recorder = Recorder(self.strict, first.record if first else None)
        watched = first is None or not first.reads.settled()
        if first is not None and not watched:  # all that decides is as it was: the same is read again
            recorder.reads = first.reads
            first.reads.begin_again()
        compiled, result = self._traced(recorder, given, first, watched)
        self.before = recorder.reads
        if first is not None:
            known.remove(first)
        if recorder.refused is not None:
            self._warn(f"{recorder.refused}")
        elif self.changing is None and compiled is not None:
            known.insert(0, compiled)
            self.last, compiled.called = compiled, self.calls
            self._make_room()
        return result

    def _traced(
        self,
        recorder: Recorder,
        given: Arguments,
        first: Compiled | None = None,
        watched: bool = False,
    ) -> tuple[Compiled | None, Any]:
        """Run the function as it is, recorded, and return what may become a program, and the results.

        That is the ``first`` record, if there is one and the step has done the same again. Raise, with everything put
        back, if it cannot be a program.
        """
        with recorder.running():
            tensors = [recorder.input(a, name) for a, name in zip(given.arrays, given.names, strict=True)]
            live = {name: recorder.given(name, self.floats) for name in given.floats}
            args, kwargs = rebuild(given.structure, {**dict(enumerate(tensors)), **live})
            around = recorder.reads.watching(self.function, (*args, *kwargs.values())) if watched else nullcontext()
            with around:
                result = self.function(*args, **kwargs)
            leaves: list[Any] = []
            try:
                shape = flatten_result(result, leaves)
            except RecordingError as error:
                recorder.fail(str(error))
                return None, result
            leaves = [float(a) if type(a) is not float and isinstance(a, float) else a for a in leaves]
            slots = [recorder.slot(t) if isinstance(t, Tensor) else t for t in leaves]
            compiled = Compiled(recorder.record, recorder.reads, slots, shape, self.__name__, self.backend)
            if watched or first is not None:
                self._compare(recorder, compiled, first)
            recorder.reads.release((*args, *kwargs.values()))
            if recorder.refused is not None and self.strict:
                raise recorder.refused
        made = [wrap(t._data.copy(order="K")) if isinstance(t, Tensor) else t for t in leaves]
        kept = compiled if first is None else first if first.confirmed else None
        return None if recorder.passing else kept, compiled.result(made)

    def _compare(self, recorder: Recorder, compiled: Compiled, first: Compiled | None) -> None:
        """Find what the step does not do again, as in the first run, and what it changes of its own."""
        reads = recorder.reads
        if reads.trouble is not None:
            recorder.fail(f"{self.__name__}: {reads.trouble}")
        same = first is not None and recorder.has_followed()
        call = recorder.departs
        if first is not None and same and (call is not None or not first.gives_what(compiled)):
            where = "what it returns" if call is None else f"{call.op} at {call.line}"
            recorder.fail(
                f"{self.__name__}: {where} gets a number or an array that the step makes anew, differently at "
                "each call, and that would be frozen; pass it as an argument, or use functional.dropout"
            )
        changing = reads.changed(recorder.is_replayed, self.before, first is None)
        if changing is not None and (self.changing is not None or first is not None):
            recorder.fail(
                f"{self.__name__} changes {changing}, which its program would not do; do that outside of it, "
                "after the call, and call a schedule's step() there"
            )
        self.changing = changing
        if first is not None and same:
            first.reads, first.confirmed = reads, True
            if self.before is not None:
                reads.forget_all_but(self.before.owners())

    def _note_reasons(self, key: Any, given: Arguments, first: Compiled | None) -> None:
        """Count what has changed since the last record, for the warning."""
        words = dict(zip(given.words, given.key, strict=False))
        if first is None and self.cache[key]:
            self.reasons[self.cache[key][0].differs() or "what it depends on"] += 1
        elif first is None and self.words:
            self.reasons.update([f"the argument {k}" for k, v in words.items() if self.words.get(k) != v][:1])
        self.words = words

    def _why(self) -> str:
        what, times = self.reasons.most_common(1)[0] if self.reasons else ("what it does", 0)
        return (
            f"{self.__name__} is recorded again and again: {what} changed most often, {times} times; keep it as it is, "
            "or pass it as an array or a float"
        )

    def _warn(self, reason: str) -> None:
        self.eager = reason
        self.cache, self.last, self.quick, self.arena = {}, None, None, Arena()
        warn(f"{self.__name__} is not compiled, and goes on eagerly: {reason}", RuntimeWarning)

    def _make_room(self) -> None:
        """Drop the programs that have not run for longest, where there are too many."""
        by_age = sorted((c for known in self.cache.values() for c in known), key=lambda compiled: compiled.called)
        sizes = [c.bytes for c in by_age]
        while len(sizes) > PROGRAMS or (sum(sizes) > PROGRAM_BYTES and len(sizes) > 1):
            del sizes[0]
            self._drop(by_age.pop(0))

    def _drop(self, compiled: Compiled) -> None:
        self.quick = None
        for known in self.cache.values():
            known[:] = [c for c in known if c is not compiled]
        self.cache = {key: known for key, known in self.cache.items() if known}

    def _audit(self, compiled: Compiled, given: Arguments) -> Any:
        """Run the step eagerly, put everything back, run the program, and say so if anything differs."""
        recorder = Recorder(strict=False)
        _, expected = self._traced(recorder, given)
        changes = Effects(recorder, compiled)
        before = changes.state(expected)
        recorder.roll_back()
        result = compiled.run(list(given.arrays))
        difference = changes.compare(before, changes.state(result), compiled.tolerance)
        if difference is not None and compiled.tolerance:
            result, difference = self._audit_rounding(compiled, given, recorder, changes, before)
        if difference is None:
            return result
        changes.restore(before)
        self._drop(compiled)
        message = (
            f"{self.__name__}: the program and the eager step differ in {difference}; the program is dropped, and "
            "what the eager step gives is kept: something that it reads has changed unseen, or it is a bug: please "
            "report its source"
        )
        if self.check is not None:
            raise RecordingError(message)
        warn(message, RuntimeWarning)
        return expected

    def _audit_rounding(
        self, compiled: Compiled, given: Arguments, recorder: Recorder, changes: Effects, expected: Any
    ) -> tuple[Any, str | None]:
        """Run the step eagerly from a start that is rounded otherwise, then the program, and compare with that in mind.

        Adam makes steps of full length of a gradient that is 0 but for rounding, as that of a bias before batch norm.
        """
        recorder.roll_back()
        other = Recorder(strict=False)
        with changes.rounded():
            others = changes.state(self._traced(other, given)[1])
            other.roll_back()
        result = compiled.run(list(given.arrays))
        return result, changes.compare(expected, changes.state(result), compiled.tolerance, others)

    def _main(self) -> Compiled:
        """Return what has run most often, the last one of equals: a short last batch says little of a step."""
        if self.last is None:
            raise GraphError(f"{self.__name__} has not run yet; call it once, then read its program")
        every = [self.last, *(compiled for known in self.cache.values() for compiled in known)]
        main = max(every, key=lambda compiled: compiled.runs)
        if main.test is None:
            main.compile(self.arena)
        main.unpack()
        return main

    @property
    def source(self) -> str:
        """The text of the program that has run most often."""
        return self._main().program.listing  # type: ignore[union-attr]

    @property
    def plan(self) -> Plan:
        """The plan of the program that has run most often, with its calls, buffers, bytes, and what was dropped."""
        return self._main().plan  # type: ignore[return-value]

    def export(self, path: str | os.PathLike[str], *examples: Any, schedule: Any = None) -> None:
        """Write the programs as a module that needs only NumPy, with an npz file of their arrays beside it.

        The module's function has this function's name; it takes the arrays that this one takes, and returns its
        results as arrays; what else is among the arguments, floats too, is as it was at the last call. It knows the
        shapes and dtypes for which this function has a program, or those of the examples, and names them when it gets
        others. It goes on from where the training stands now: parameters are arrays under their own names in the
        module, and so are gradients that the step adds to ("layer0_weight_grad"; those that it only takes up are
        further arguments); optimisers count on, and the options of each parameter group are dictionaries, the learning
        rate among them.

        Args:
            path: the file to write.
            examples: tuples of arguments; nothing changes by them.
            schedule: a learning-rate schedule; the module's ``schedule()`` does what its ``step()`` does.

        Raises:
            GraphError: the function has not run yet.
            RecordingError: the program calls something that does not run without this package, or it gives back, or
                takes away, the gradient that it finds.
        """
        from pathlib import Path

        from .export import Module

        main, path = self._main(), Path(path)
        every = [c for known in self.cache.values() for c in known if c.confirmed and c is not main and c.fits()]
        every = [main, *sorted(every, key=lambda compiled: -compiled.runs)]
        module = Module(self.__name__, [*map(self._example, examples)] or every, schedule)
        path.write_text(module.source, encoding="utf-8")
        with path.with_suffix(".npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **module.arrays)

    def _example(self, args: Any) -> Compiled:
        """Return what is recorded for arguments; where nothing is, record it, and put everything back."""
        given = Arguments(args if isinstance(args, tuple) else (args,), {}, self.parameters)
        self.floats.update(given.floats)
        known = self.cache.get(self._key(given), ())
        found = next((c for c in known if c.confirmed and c.fits()), None)
        while found is None or not found.confirmed:
            recorder = Recorder(known=found.record if found else None)
            found = self._traced(recorder, given, found, watched=True)[0]
            recorder.roll_back()
        return found

    def __repr__(self) -> str:
        return f"jit({self.__name__}): {self.plan!r}" if self.last else f"jit({self.__name__}): has not run yet"

    def _repr_html_(self) -> str:
        from .. import notebook

        return notebook.program(repr(self), self.source if self.last else "")


BACKENDS = ("numpy", "numba")


def check_backend(backend: Any) -> None:
    """Raise unless a backend is known and installed."""
    if backend not in BACKENDS:
        raise OptionError(f"unknown backend {backend!r}; {nearest(str(backend), BACKENDS)}")
    if backend == "numpy":
        return
    from importlib.util import find_spec

    if missing := [name for name in ("numba", "scipy") if find_spec(name) is None]:
        command = "pip install '.[native]' in the clone of tinygrad_mlp"
        raise ImportError(f"backend='numba' needs {' and '.join(missing)}: {command}")


def _check(function: Any, check: Any) -> None:
    if not callable(function):
        raise TypeError(f"jit takes a function, got {describe(function)}; write @jit above a def, or jit(model)")
    if check is not None and (not isinstance(check, int) or isinstance(check, bool)):
        raise TypeError(f"check must be a number of calls, or None, got {describe(check)}")
    if check is not None and check < 1:
        raise out_of_range("check", check, "a number of calls >= 1, or None")
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    for kind in (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction):
        if kind(inner) or kind(getattr(type(inner), "__call__", None)):  # noqa: B004
            raise RecordingError(
                f"{describe(function)} is a generator or an async function, which pauses; jit what it calls in between"
            )


def _parameters(function: Any) -> list[str]:
    """Return the names of the positional parameters of a function, or of the one in it, as far as they are known."""
    while hasattr(function, "__wrapped__") and not getattr(getattr(function, "__code__", None), "co_argcount", 0):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    names = list(code.co_varnames[: code.co_argcount]) if code else []
    return names[isinstance(function, types.MethodType) :]


_ALL: weakref.WeakSet[Any] = weakref.WeakSet()


def _unlock() -> None:
    """Give a forked child locks of its own: a thread that it has not may hold the old ones."""
    for jitted in _ALL:
        jitted.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


@overload
def jit(function: Callable[P, R], *, check: int | None = None, backend: str = "numpy") -> Jitted[P, R]: ...
@overload
def jit(
    function: None = None, *, check: int | None = None, backend: str = "numpy"
) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...
def jit(function: Callable[..., Any] | None = None, *, check: int | None = None, backend: str = "numpy") -> Any:
    """Make a function of Tensor ops run as a NumPy program, with the same bits as before, and faster.

    Also a decorator, ``@jit`` or ``@jit(check=100)``. The first two calls with a kind of input run as always and are
    recorded, three where an optimiser makes its state at the first; from then on a straight program of NumPy calls on
    buffers of its own does the same: forward, ``loss.backward()``, ``optimizer.step()``, ``.grad``, running statistics
    and random draws. ``print(step.source)`` shows it, ``step.export("step.py")`` writes it as a module.

    Arrays, DataFrames and Tensors among the arguments are its inputs, and floats are live numbers; each combination
    of shapes, dtypes and other constants gets its own program. Learning rates, other options of optimisers, and arrays
    from around the function are read at each call. Everything else that the step's own code reads, an attribute, a
    global, the items of a list, training or evaluation, is a guard: if it changes, the step is recorded again. So
    each state has its program, and those that have not run for longest go. A step that is recorded again and again
    goes on eagerly, after a warning that names what changes. On calls 8, 64, 512, ... of a program the step runs
    eagerly as well, and a difference is a warning. ``.grad`` is valid until the next call. What a step does besides,
    such as ``print``, it does only when it runs eagerly or is recorded.

    Args:
        function: what to compile. It returns Tensors, numbers, texts and None, alone or in tuples, lists, dicts and
            dataclasses.
        check: run each ``check``-th call eagerly as well, and raise if a bit differs.
        backend: "numpy", or "numba" for loops in machine code, which are compiled once for each machine: several
            times as fast for small networks, and equal to eager but for rounding (needs the extra ``native``).

    Raises:
        TypeError: ``function`` is none, or ``check`` no number of calls.
        ImportError: the backend is not installed.
        RecordingError: the function pauses (a generator, async). When called: it needs a value (``.item()``,
            ``if tensor:``), changes something of its own (a counter, a list), or returns something else; everything
            is then as it was.

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
        return functools.partial(jit, check=check, backend=backend)
    return Jitted(function, check, backend=backend)
