"""Updates: what recording needs to know of an optimiser, and how it leaves one that cannot be recorded."""

from __future__ import annotations

from typing import Any


def is_complete(optimizer: Any) -> bool:
    """Return whether an optimiser has the state that its next step goes on from."""
    return all(
        name in optimizer.state.get(p, ())
        for group in optimizer.param_groups
        for name in optimizer.used_buffers(optimizer.scalars(group, 1))
        for p in group["params"]
        if p._grad is not None
    )


def put_back(optimizer: Any, state: Any, kept: Any) -> None:
    """Give an optimiser its ``state`` back, as it was when it was ``kept``."""
    optimizer.state = state
    state.clear()
    state.update(kept)
