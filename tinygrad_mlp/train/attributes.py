"""The attributes of a callback or a module that a checkpoint holds, and how it puts them back.

What is no plain value, such as an open file, a function or another module, is not kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..nn.module import Parameter
from .checkpoint import is_plain


def kept_of(owner: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the attributes of these names that a file can hold, but for parameters, which belong to a model.

    >>> from types import SimpleNamespace
    >>> kept_of(SimpleNamespace(best=0.5, seen={2, 1}, log=print), ["best", "seen", "log"])
    {'best': 0.5, 'seen': [1, 2]}
    """
    found = {name: _plain(vars(owner)[name]) for name in names}
    return {name: v for name, v in found.items() if is_plain(v) and not _is_the_models(v)}


def put_back(owner: Any, state: Mapping[str, Any]) -> None:
    """Give an object attributes that `kept_of` has returned, of the types that its own have."""
    for name, value in state.items():
        vars(owner)[name] = _like(vars(owner).get(name), value)


def _is_the_models(value: Any) -> bool:
    return isinstance(value, Parameter) or (isinstance(value, Tensor) and value.requires_grad)


def _plain(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value, key=repr)
    return list(value) if isinstance(value, deque) else value


def _like(mine: Any, value: Any) -> Any:
    """Return a loaded value as mine is: a Tensor, a Counter, a set, ...; 0-d arrays are scalars, unless mine is one."""
    if isinstance(mine, Tensor):
        return mine if _is_the_models(mine) else Tensor(value)
    if isinstance(value, dict):
        value = {key: _like(mine.get(key) if isinstance(mine, dict) else None, item) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        items = [*mine] if isinstance(mine, (list, tuple)) else []
        value = type(value)(map(_like, items + [None] * len(value), value))
    elif isinstance(value, np.ndarray) and not value.ndim and not isinstance(mine, np.ndarray):
        return value[()]
    if isinstance(mine, (dict, set, deque)) and type(mine) is not dict and isinstance(value, (dict, list)):
        mine = copy(mine)
        mine.clear()
        (mine.extend if isinstance(mine, deque) else mine.update)(value)
        return mine
    return value
