"""What puts a model back: all that a call of it changes, but for its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..core.tensor import assign
from ..generators import generator_state, generators, set_generator
from ..nn.module import Module


def keeper(model: Module) -> Callable[[], Callable[[], None]]:
    """Return a function that notes the buffers and Generators of a model, and returns one that puts them back."""
    buffers, drawing = list(model.buffers()), generators({"model": model})

    def keep() -> Callable[[], None]:
        arrays, states = [b._data.copy(order="K") for b in buffers], [generator_state(rng) for rng in drawing]

        def put_back() -> None:
            for buffer, array in zip(buffers, arrays, strict=True):
                if buffer._data.tobytes() != array.tobytes():
                    assign(buffer, array)
            for rng, state in zip(drawing, states, strict=True):
                set_generator(rng, state)

        return put_back

    return keep


@contextmanager
def unchanged(model: Module) -> Iterator[None]:
    """Context manager that leaves the attributes, buffers and Generators of a model as it found them."""
    attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
    put_back = keeper(model)()
    try:
        yield
    finally:
        for now, before in attributes:
            now.clear()
            now.update(before)
        put_back()
