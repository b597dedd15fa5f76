"""`summary`: what a model is made of, layer by layer: shapes, parameters, bytes and multiply-adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import notebook
from ..checks import check_integer
from ..core.autograd import no_grad
from ..core.tensor import Tensor
from ..core.tracer import Tracer, tracing
from ..errors import describe
from ..nn.module import Module
from ..rules.table import Rule
from .numbers import aligned
from .undo import unchanged


class Row(NamedTuple):
    """One layer in a `Summary`.

    ``output_shape`` is that of its last result for a batch of one, or None if the layer is not called, or returns no
    Tensor. ``parameters`` is a number of elements, ``bytes`` the size of the parameters and buffers, ``multiply_adds``
    those for one sample.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    parameters: int
    bytes: int
    multiply_adds: int


@dataclass(frozen=True, repr=False)
class Summary:
    """A table made by `summary`. It shows itself as text and, in a notebook, as HTML.

    Attributes:
        rows: a `Row` for each layer; ``pandas.DataFrame(summary.rows)`` makes a frame of them.
        total: a `Row` with the sums, and the output shape of the model.
    """

    rows: tuple[Row, ...]
    total: Row

    def _cells(self) -> list[list[str]]:
        """Return the table as text: the names of the columns, the layers, and the sums."""
        table = [[column.replace("_", " ") for column in Row._fields]]
        for name, kind, shape, *numbers in (*self.rows, self.total):
            table.append([name, kind, "-" if shape is None else str(shape), *(f"{n:,}" for n in numbers)])
        return table

    def __repr__(self) -> str:
        return "\n".join(aligned(self._cells(), "<<<>>>"))

    def _repr_html_(self) -> str:
        head, *body = self._cells()
        return notebook.table(head, body)


def summary(model: Module, input_shape: int | Sequence[int]) -> Summary:
    """Return a table of a model's layers: names, output shapes, parameters, bytes and multiply-adds.

    There is a row for each module without modules inside, and for each other one that has parameters or products of
    its own. Each row counts what is its own, a parameter shared by several at the first of them, so that the rows add
    up to the total. Bytes are those of parameters and buffers.

    Multiply-adds are those of products of matrices, where nearly all time goes: a Linear from n to m features takes
    n * m for a sample. What is elementwise, biases too, is not counted.

    The model is called once, in evaluation and under `no_grad`, on one sample of zeros, in the dtype of its first
    parameter. Afterwards its modes, attributes, buffers and generators are what they were, also if that fails.

    Args:
        model: any module.
        input_shape: the shape of one sample, without the batch: ``(784,)`` or 784.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: a length in ``input_shape`` is no integer >= 1.
        ShapeError: the model does not take samples of this shape; it names the layer.
        GraphError: the ops are watched already, as they are inside of `detect_anomaly` and while `jit` records.

    >>> from tinygrad_mlp import nn
    >>> summary(nn.MLP([784, 256, 10], rng=0), (784,))
    name   type    output shape  parameters    bytes  multiply adds
    0      Linear  (1, 256)         200,960  803,840        200,704
    1      ReLU    (1, 256)               0        0              0
    2      Linear  (1, 10)            2,570   10,280          2,560
    total          (1, 10)          203,530  814,120        203,264
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary takes a Module, got {describe(model)}; wrap a function in a class with forward()")
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
    for size in shape:
        check_integer("each length in input_shape", size)
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    meter = _Meter(model)
    with tracing(meter, "summary"), unchanged(model), no_grad():
        model.eval()(Tensor(np.zeros((1, *shape), dtype)))
    rows = tuple(_rows(model, meter))
    sums = [sum(column) for column in zip(*(row[3:] for row in rows), strict=True)]
    return Summary(rows, Row("total", "", meter.shapes[model], *sums))


class _Meter(Tracer):
    """The tracer: it counts multiply-adds for the innermost module that runs, and notes the shapes of results."""

    def __init__(self, model: Module) -> None:
        self.running: list[Module] = []
        self.shapes: dict[Module, tuple[int, ...] | None] = {}
        self.multiply_adds: Counter[Module] = Counter()
        self.known = set(model.modules())

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Any, result: Any) -> None:
        if rule.cost is not None:
            self.multiply_adds[self.running[-1]] += rule.cost(result, *inputs)

    def calls(self, module: Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        if module not in self.known:
            return super().calls(module, inputs, keywords)
        self.running.append(module)
        try:
            result = super().calls(module, inputs, keywords)
        finally:
            self.running.pop()
        self.shapes[module] = result._data.shape if isinstance(result, Tensor) else None
        return result


def _rows(model: Module, meter: _Meter) -> Iterator[Row]:
    """Yield the rows, in the order of the modules."""
    seen: set[Tensor] = set()
    for name, module in model.named_modules():
        parameters = {p for _, p in module._own_parameters()} - seen
        state = parameters | {b for _, b in module._own_buffers()} - seen
        seen |= state
        products = meter.multiply_adds[module]
        if parameters or products or not any(module.children()):
            size, nbytes = sum(p.size for p in parameters), sum(t._data.nbytes for t in state)
            yield Row(name, type(module).__name__, meter.shapes.get(module), size, nbytes, products)
