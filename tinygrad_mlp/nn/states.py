"""Whether a state that was loaded fits an optimizer or a schedule: everything in which it does not, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.tensor import Tensor
from ..errors import CheckpointError, describe

if TYPE_CHECKING:
    from .optim import Optimizer


def check_keys(what: str, state: Any, keys: Collection[str]) -> None:
    """Raise CheckpointError unless what is loaded as the state of something is a dict with these keys."""
    found = sorted(map(str, state)) if isinstance(state, Mapping) else describe(state)
    if found != sorted(keys):
        absent = sorted(set(keys) - set(found))
        it = f"it has no {absent}, only {found}" if absent else f"expected {sorted(keys)}, found {found}"
        raise CheckpointError(f"not the state of {what}: {it}; pass what state_dict() gave")


def different_groups(optimizer: Optimizer, groups: Any) -> list[str]:
    """Return in words all in which loaded parameter groups do not fit an optimiser."""
    if not isinstance(groups, (list, tuple)) or not all(isinstance(g, Mapping) for g in groups):
        return [f"param_groups are {describe(groups)}, expected a list of dicts"]
    wrong, sizes = [], [len(group["params"]) for group in optimizer.param_groups]
    if (loaded := [_numbers(group.get("params", ())) for group in groups]) != sizes:
        wrong.append(f"groups have {loaded} parameters, expected {sizes}")
    for mine, theirs in zip(optimizer.param_groups, groups, strict=False):
        if mine.keys() != theirs.keys():
            wrong.append(f"options {sorted(theirs)}, expected {sorted(mine)}")
            continue
        try:
            optimizer.check({**theirs})
        except (TypeError, ValueError) as error:
            wrong.append(str(error))
    return wrong


def _numbers(params: Any) -> Any:
    """Return how many parameters a loaded group has, if it has numbers for them."""
    whole = isinstance(params, (list, tuple)) and all(type(i) is int for i in params)
    return len(params) if whole else describe(params)


def different_state(optimizer: Optimizer, params: list[Any], state: Any) -> list[str]:
    """Return in words all in which the loaded state of parameters does not fit an optimiser."""
    if not isinstance(state, Mapping):
        return [f"state is {describe(state)}, expected a dict"]
    wrong, numbers = [], {str(i): p for i, p in enumerate(params)}
    most = set(optimizer.buffers) | ({"step"} if optimizer.counts_steps else set())
    least = most - set(optimizer.optional)
    for i, entries in state.items():
        if str(i) not in numbers:
            wrong.append(f"state for parameter {describe(i)} of {len(params)}")
        elif not isinstance(entries, Mapping) or (entries and not least <= set(entries) <= most):
            found = sorted(map(str, entries)) if isinstance(entries, Mapping) else describe(entries)
            wrong.append(f"parameter {i} has {found}, expected {sorted(most)}")
        else:
            wrong += [
                f"{name} of parameter {i} {f}" for name, v in entries.items() if (f := _fault(name, v, numbers[str(i)]))
            ]
    return wrong


def _fault(name: str, value: Any, p: Any) -> str:
    """Return what is wrong with an entry of a parameter's state, if anything."""
    array = value._data if isinstance(value, Tensor) else np.asarray(value)
    if name == "step":
        whole = array.ndim == 0 and array.dtype.kind in "iuf" and np.isfinite(array) and array >= 1 and array % 1 == 0
        return "" if whole else f"is {describe(value)}, expected a whole number >= 1"
    if array.shape != p.shape:
        return f"has shape {array.shape}, expected {p.shape}"
    if array.dtype.kind != "f" or not np.isfinite(array).all() or (name.endswith("_sq") and (array < 0).any()):
        return f"is {describe(value)}, expected finite floats{', none below 0' if name.endswith('_sq') else ''}"
    return ""
