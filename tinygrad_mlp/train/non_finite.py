"""A step that is not finite: found before it has changed a weight, undone, and explained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import Array
from ..core.autograd import no_grad
from ..core.tensor import Tensor
from ..core.tracer import Tracer, tracing
from ..errors import NonFiniteError
from ..nn.module import Module
from ..tools.anomaly import not_finite
from ..tools.undo import unchanged
from .callbacks import Run


def finite_buffers(model: Module) -> list[Tensor]:
    """Return the buffers of a model that are finite, and stay so unless a step goes wrong."""
    return [b for b in model.buffers() if b.dtype.kind == "f" and np.isfinite(b._data).all()]


def find_not_finite(run: Run, buffers: Sequence[Tensor]) -> tuple[float, str] | None:
    """Return what of a step is not finite, before it has changed a weight: loss, buffer, gradient."""
    if not math.isfinite(run.loss):
        return run.loss, "loss"
    for b in buffers:
        if (bad := _bad(b._data)).size:
            return bad[0], f"buffer {b.name}"
    for group in run.optimizer.param_groups:
        for p in group["params"]:
            if p._grad is not None and (bad := _bad(p._grad._data)).size:
                return bad[0], f"gradient of {p.name or 'a parameter'}"
    return None


def _bad(array: Array) -> Array:
    """Return the numbers that are not finite; one sum of squares, which takes the least time, says that there are none.

    A sum that is not finite itself may only be too large.
    """
    flat = array.ravel("K")
    return flat[:0] if math.isfinite(flat.dot(flat)) else flat[~np.isfinite(flat)]


def explained(run: Run, value: float, xb: Array, what: str = "loss") -> NonFiniteError:
    """Return the error of a step: where it was, what is not finite, and which layer is so first."""
    error = NonFiniteError(
        f"epoch {run.epoch}, step {run.step}, learning rate {run.lr:g}: the {what} is {value}; "
        f"{_first_non_finite(run.model, xb)}; lower the learning rate, scale the inputs, or train inside of "
        "tg.detect_anomaly(), which names the op"
    )
    error.history = run.history
    return error


class _LayerCheck(Tracer):
    """The tracer that finds the first layer, in the order of a forward pass, with something that is not finite."""

    def __init__(self, model: Module) -> None:
        self.names = {module: name for name, module in model.named_modules()}
        self.found = ""

    def calls(self, module: Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        output = super().calls(module, inputs, keywords)
        own = [(f"its {name}", value) for name, value in vars(module).items() if isinstance(value, Tensor)]
        for label, tensor in (*own, ("its output", output)):
            if not self.found and isinstance(tensor, Tensor) and (bad := not_finite(tensor.detach().numpy())):
                self.found = f"layer {self.names[module]!r}, {module!r}, is the first not finite: {label} has {bad}"
        return output


def _first_non_finite(model: Module, xb: Array) -> str:
    """Return in words what is not finite first: the batch, or a layer's parameter or output."""
    if bad := not_finite(xb):
        return f"the batch, as transform and augment leave it, has {bad}"
    check = _LayerCheck(model)
    with unchanged(model), no_grad(), np.errstate(all="ignore"), tracing(check, "fit"):
        model(xb)
    return check.found or "every layer's parameters and output are finite, so that the loss itself is to blame"
