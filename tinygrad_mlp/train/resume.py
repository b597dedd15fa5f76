"""Checkpoints of a whole training, from which it goes on to the same bits.

What a training is made of are parts: a model, an optimizer, a schedule, Generators, plain values. `save_checkpoint`
writes all of them to one file, `load_checkpoint` puts them back, `latest` finds the newest file that is whole. `fit`
does the same with ``resume=``.

Generators are found wherever a part leads to one, see `generators`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .. import blas
from ..checks import as_path
from ..errors import CheckpointError, describe, warn
from ..foreign import answers
from ..generators import RANDOM, State, generator_state, generators, set_generator
from .checkpoint import load, save

RESERVED = ("generators", "made_with")


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


def _state(part: Any) -> Any:
    if isinstance(part, RANDOM):
        return generator_state(part)
    return part.state_dict() if hasattr(part, "state_dict") else part


def _set_state(part: Any, state: Any) -> None:
    if isinstance(part, RANDOM):
        set_generator(part, state)
    else:
        part.load_state_dict(state)


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
