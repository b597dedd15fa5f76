"""What draws random numbers: where a value leads to such a thing, and its state.

Generators, and the older ``np.random.RandomState`` and ``random.Random``, are found wherever a value leads to one: in
attributes, lists, dicts, closures, partials, and in what its functions take from modules. Those without a handle,
``np.random.rand`` and ``random.random``, and those inside of a Python generator or an iterator are not.
"""

from __future__ import annotations

import dis
import functools
import random
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from .errors import CheckpointError

RANDOM = (np.random.Generator, np.random.RandomState, random.Random)
"""What draws random numbers, and is called a Generator here."""
KNOWN = {"builtins", "numpy", "pandas", "scipy", "matplotlib", "tqdm", "abc"}
"""Packages whose objects are arrays, tables and the like, which hold no Generators."""
LARGE = 1000
"""A longer list or dict is data, in which nobody looks for Generators."""

State = dict[str, Any]


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
