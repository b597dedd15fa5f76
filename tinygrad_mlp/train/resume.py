"""Checkpoints of a whole training, from which it goes on to the same bits.

What a training is made of are parts: a model, an optimizer, a schedule, Generators, plain values. `save_checkpoint`
writes all of them to one file, `load_checkpoint` puts them back, `latest` finds the newest file that is whole. `fit`
does the same with ``resume=``.

Generators, and the older ``np.random.RandomState`` and ``random.Random``, are found wherever a part leads to one: in
attributes, lists, dicts, closures, partials, and in what their functions take from modules. Those without a handle,
``np.random.rand`` and ``random.random``, and those inside of a Python generator or an iterator are not.
"""

from __future__ import annotations

import dis
import functools
import os
import platform
import random
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .. import blas
from ..checks import as_path
from ..errors import CheckpointError, describe, warn
from ..foreign import answers
from .checkpoint import load, save

RESERVED = ("generators", "made_with")
KNOWN = {"builtins", "numpy", "pandas", "scipy", "matplotlib", "tqdm", "abc"}
"""Packages whose objects are arrays, tables and the like, which hold no Generators."""
LARGE = 1000
"""A longer list or dict is data, in which nobody looks for Generators."""

State = dict[str, Any]
RANDOM = (np.random.Generator, np.random.RandomState, random.Random)
"""What draws random numbers, and is called a Generator here."""


@answers
def save_checkpoint(path: str | os.PathLike[str], *, keep: int = 1, **parts: Any) -> None:
    """Write the state of all parts of a training to one file, from which `load_checkpoint` goes on to the same bits.

    Args:
        path: the file; `save` says how it is written. It takes no ``.safetensors``, which hold arrays alone.
        keep: how many checkpoints are kept: ``run.npz`` is the newest, ``run.npz.1`` the one before, and so on; 0 tries
            whether the state can be written, and leaves nothing.
        parts: by names of your own: what has ``state_dict()``, such as a model, an optimizer or a schedule; Generators;
            and plain values, as `save` takes them. Generators inside of parts, as in a Dropout, come with them.

    Raises:
        TypeError, ValueError, OSError: as `save`.

    >>> import tempfile
    >>> from tinygrad_mlp import nn
    >>> model, rng = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Dropout(rng=1)), np.random.default_rng(2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.npz", model=model, rng=rng, epoch=3)
    ...     first = rng.random(), model[1].rng.random()
    ...     load_checkpoint(f"{folder}/run.npz", model=model, rng=rng)
    {'epoch': 3}
    >>> first == (rng.random(), model[1].rng.random())
    True
    """
    if wrong := [name for name in parts if name in RESERVED]:
        raise ValueError(f"a part cannot be called {wrong[0]!r}, which the file has already; choose another name")
    if as_path(path).suffix.lower() == ".safetensors":
        raise ValueError(f"{str(path)!r}: .safetensors hold arrays alone, no state of a training; expected .npz, say")
    state = {name: _state(part) for name, part in parts.items()}
    state |= {"generators": [_state(rng) for rng in generators(parts)], "made_with": made_with()}
    save(state, path, keep)


@answers
def load_checkpoint(path: str | os.PathLike[str], **parts: Any) -> State:
    """Put the state that `save_checkpoint` wrote into these parts, and return what no part takes: the plain values.

    Pass the ``parts`` under their names, made as they were; all that have a state in the file ``path``. If anything
    does not fit, all are as they were before. A warning says when another version of NumPy or another number of threads
    made the file, after which the training goes on, but not to the same last bit.

    Raises:
        CheckpointError: the file is damaged, or not of these parts.
        OSError: the file cannot be read.
    """
    state = load(path)
    try:
        return restore(state, parts)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{os.fspath(path)!r}: {error}") from error


def restore(state: Any, parts: Mapping[str, Any]) -> State:
    """Put a loaded state into its parts, all or none, and return the rest of it."""
    if not isinstance(state, dict) or not {*RESERVED, *parts} <= set(state):
        found = sorted(map(str, state)) if isinstance(state, dict) else describe(state)
        raise CheckpointError(f"expected a checkpoint of {', '.join([*parts, *RESERVED])}, found {found}")
    for name, part in parts.items():
        if not isinstance(part, RANDOM) and not hasattr(part, "load_state_dict"):
            raise CheckpointError(f"{name} is {describe(part)}, which has no load_state_dict; leave it out")
    inner = generators(parts)
    if not isinstance(state["generators"], list) or len(state["generators"]) != len(inner):
        number = len(state["generators"]) if isinstance(state["generators"], list) else describe(state["generators"])
        raise CheckpointError(f"expected {len(inner)} Generators, found {number}; make the parts as they were")
    pairs = [(part, state[name]) for name, part in parts.items()] + list(zip(inner, state["generators"], strict=True))
    before = [_state(part) for part, _ in pairs]
    try:
        for part, new in pairs:
            _set_state(part, new)
    except BaseException:
        for (part, _), old in zip(pairs, before, strict=True):
            _set_state(part, old)
        raise
    _warn_of_others(state["made_with"])
    return {name: value for name, value in state.items() if name not in (*parts, *RESERVED)}


def latest(path: str | os.PathLike[str]) -> Path | None:
    """Return the newest checkpoint that is whole, of those that ``keep`` has left: ``fit(..., resume=latest(path))``.

    It is ``path`` itself, or if that is damaged or missing ``path.1``, and so on; None if there is none.
    """
    for candidate in _numbered(as_path(path)):
        with suppress(CheckpointError, FileNotFoundError):
            load(candidate)
            return candidate
    return None


def _numbered(path: Path) -> list[Path]:
    numbers = [int(tail) for p in path.parent.glob("*") if (tail := p.name.removeprefix(f"{path.name}.")).isdecimal()]
    return [path, *(path.with_name(f"{path.name}.{i}") for i in sorted(numbers))]


def generator_state(rng: Any) -> State:
    """Return the whole state of a Generator: its bits, and how many others it has spawned."""
    if isinstance(rng, random.Random):
        return {"bits": rng.getstate()}
    if isinstance(rng, np.random.RandomState):
        return {"bits": rng.get_state(legacy=False)}
    return {"bits": rng.bit_generator.state, "spawned": getattr(rng.bit_generator.seed_seq, "n_children_spawned", 0)}


def set_generator(rng: Any, state: Any) -> None:
    """Put a Generator into a state that `generator_state` gave."""
    missing = 0
    try:
        if isinstance(rng, random.Random):
            rng.setstate(state["bits"])
        elif isinstance(rng, np.random.RandomState):
            rng.set_state(state["bits"])
        else:
            rng.bit_generator.state = state["bits"]
            missing = int(state["spawned"]) - generator_state(rng)["spawned"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        kind = type(getattr(rng, "bit_generator", rng)).__name__
        raise CheckpointError(f"expected the state of a {kind}: {error}") from error
    if missing > 0:  # the next one that it spawns is another than those before
        rng.bit_generator.seed_seq.spawn(missing)


def _state(part: Any) -> Any:
    if isinstance(part, RANDOM):
        return generator_state(part)
    return part.state_dict() if hasattr(part, "state_dict") else part


def _set_state(part: Any, state: Any) -> None:
    if isinstance(part, RANDOM):
        set_generator(part, state)
    else:
        part.load_state_dict(state)


def generators(root: Any) -> list[Any]:
    """Return all Generators that a value leads to, each once, but for those that are values of a dict of parts."""
    found: list[Any] = []
    seen, stack = {id(value): value for value in [root]}, list(_inside(root))[::-1]
    top = [value for value in _inside(root) if isinstance(value, RANDOM)]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, RANDOM):
            found.append(value)
        else:
            stack += list(_inside(value))[::-1]
    return [rng for rng in found if not any(rng is other for other in top)]


def _inside(value: Any) -> Iterator[Any]:
    """Yield what a value holds and might draw random numbers from."""
    if isinstance(value, (list, tuple, dict, set)):
        if len(value) <= LARGE:
            yield from value.values() if isinstance(value, dict) else value
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif isinstance(value, types.BuiltinMethodType):  # such as rng.normal
        yield from [value.__self__] * isinstance(value.__self__, np.random.Generator)
    elif isinstance(value, types.FunctionType):
        yield from () if _is_ours(value.__module__) else _of_function(value)
    elif not (isinstance(value, (type, types.ModuleType)) or _is_known(type(value).__module__)):
        yield from getattr(value, "__dict__", {}).values()
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            yield from (getattr(value, name, None) for name in ([slots] if isinstance(slots, str) else slots))
            yield from () if _is_ours(kind.__module__) else vars(kind).values()


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    names, attributes = _names(function.__code__)
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            values.append(cell.cell_contents)
    values += [function.__globals__[name] for name in names if name in function.__globals__]
    yield from values
    for module in [value for value in values if isinstance(value, types.ModuleType) and not _is_ours(value.__name__)]:
        yield from (vars(module)[name] for name in attributes if name in vars(module))


@functools.cache
def _names(code: types.CodeType) -> tuple[list[str], list[str]]:
    """Return what a function, and those inside of it, take from their module, and all names of attributes."""
    lines, inner = list(dis.get_instructions(code)), [c for c in code.co_consts if isinstance(c, types.CodeType)]
    found = [[line.argval for line in lines if line.opname in ("LOAD_GLOBAL", "LOAD_NAME")], list(code.co_names)]
    for names in map(_names, inner):
        found = [mine + theirs for mine, theirs in zip(found, names, strict=True)]
    globals_, attributes = (list(dict.fromkeys(names)) for names in found)
    return globals_, attributes


def _is_known(module: str | None) -> bool:
    return (module or "builtins").partition(".")[0] in KNOWN


def _is_ours(module: str | None) -> bool:
    return _is_known(module) or (module or "").startswith(__name__.partition(".")[0])


def made_with() -> State:
    """Return what decides the last bits of a result besides the state: versions, the kind of machine and threads."""
    from importlib import metadata

    try:
        own = metadata.version("tinygrad_mlp")
    except metadata.PackageNotFoundError:
        own = "unknown"
    name, threads = blas.loaded()
    machine = {"machine": platform.machine(), "blas": name, "threads": threads}
    return {"tinygrad_mlp": own, "numpy": np.__version__, "python": platform.python_version(), **machine}


def _warn_of_others(theirs: Any) -> None:
    mine = made_with()
    theirs = theirs if isinstance(theirs, dict) else {}
    other = [
        f"{name} {theirs.get(name)!r} there, {value!r} here"
        for name, value in mine.items()
        if theirs.get(name) != value
    ]
    if other:
        warn(
            f"the checkpoint was made with {'; '.join(other)}: the training goes on, but its last digits may differ "
            "from those without a break; use the same versions, and set OPENBLAS_NUM_THREADS"
        )
