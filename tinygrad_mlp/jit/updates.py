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


def note(reads: Any, optimizer: Any) -> None:
    """Note what of an optimiser decides which ops its step consists of."""
    name = type(optimizer).__name__
    for group in optimizer.param_groups:
        reads.note(group["params"], "items", "", "the parameters of an optimizer", False, True)
    for kind in ("signature", "held"):
        reads.note(optimizer, kind, "", f"the options or the state of {name}", False, True)
    for method in ("formula", "scalars"):
        reads.note(optimizer, ".", method, f"{name}.{method}", False, True)


def put_back(optimizer: Any, state: Any, kept: Any) -> None:
    """Give an optimiser its ``state`` back, as it was when it was ``kept``."""
    optimizer.state = state
    state.clear()
    state.update(kept)
