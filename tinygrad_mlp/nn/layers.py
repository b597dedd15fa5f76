"""Layers: modules that a network is made of. What each computes stands in `functional`.

Whatever draws random numbers takes ``rng``: a ``numpy.random.Generator``, a seed, or None for a fresh Generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike

from .. import checks
from ..core.tensor import Tensor, assign
from ..errors import ShapeError, describe, out_of_range
from ..rules.elementwise import is_wide
from . import functional, init
from .init import Rng
from .module import Module, Parameter


class _Layer(Module):
    """A module that takes one array, or what becomes one; its repr is ``shown``, with attributes in braces."""

    shown: str = ""

    def _as_input(self, x: Any) -> Tensor:
        return x if isinstance(x, Tensor) else Tensor(x)

    def extra_repr(self) -> str:
        return self.shown.format_map(vars(self))


class Linear(_Layer):
    """``x @ weight.T + bias``, for x of shape (..., in_features).

    Args:
        in_features: how many features the input has.
        out_features: how many features the output has.
        bias: whether to add one.
        rng: where the initial values come from.
        dtype: float32 or float64.

    Attributes:
        weight: of shape (out_features, in_features), in the memory layout of its gradient (see `rules.linalg.matmul`).
        bias: of shape (out_features,), or None.

    Both begin as PyTorch's do, spread evenly over +-1 / sqrt(in_features); `init` has other ways.

    Raises:
        ValueError: a size is no integer >= 1.
        ShapeError: when called, the input has another number of features.

    >>> layer = Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: Rng = None, dtype: DTypeLike = np.float32
    ) -> None:
        checks.check_integer("in_features", in_features)
        checks.check_integer("out_features", out_features)
        self.in_features, self.out_features = in_features, out_features
        rng, dtype = checks.as_generator(rng), checks.as_float_dtype(dtype)
        checks.check_flag("bias", bias)
        shape = out_features, in_features
        self.weight = Parameter(np.empty(shape, dtype, order="F" if is_wide(shape) else "C"))
        self.bias = Parameter(np.empty(out_features, dtype)) if bias else None
        init.kaiming_uniform_(self.weight, math.sqrt(5), rng=rng)
        if self.bias is not None:
            init.uniform_(self.bias, -1 / math.sqrt(in_features), 1 / math.sqrt(in_features), rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return functional.linear(x, self.weight, self.bias)
        except ShapeError as error:
            raise _other_features(self, x) from error

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class _Function(_Layer):
    """A function of one array."""

    function: Callable[..., Any]

    def __init__(self) -> None:
        """There is nothing to choose."""

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class ReLU(_Function):
    """max(x, 0)."""

    function = staticmethod(functional.relu)


class LeakyReLU(_Layer):
    """x where it is positive, ``negative_slope * x`` elsewhere."""

    shown = "negative_slope={negative_slope}"

    def __init__(self, negative_slope: float = 0.01) -> None:
        checks.check_number("negative_slope", negative_slope, -math.inf, math.inf, "a finite number")
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.negative_slope)


class Sigmoid(_Function):
    """1 / (1 + exp(-x))."""

    function = staticmethod(functional.sigmoid)


class Tanh(_Function):
    """The hyperbolic tangent."""

    function = staticmethod(functional.tanh)


class GELU(_Function):
    """The Gaussian error linear unit in its tanh form, PyTorch's ``GELU(approximate="tanh")``."""

    function = staticmethod(functional.gelu)
    shown = "approximate='tanh'"


class Softplus(_Function):
    """log(1 + exp(x))."""

    function = staticmethod(functional.softplus)


class _AlongAxis(_Function):
    """A function along an axis."""

    shown = "axis={axis}"

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.axis)


class Softmax(_AlongAxis):
    """exp(x) / sum(exp(x)) along an axis. `CrossEntropyLoss` takes the logits before it."""

    function = staticmethod(functional.softmax)


class LogSoftmax(_AlongAxis):
    """log(softmax(x)) along an axis, what `NLLLoss` takes."""

    function = staticmethod(functional.log_softmax)


class Flatten(_Layer):
    """Each sample along one axis: (N, 28, 28) becomes (N, 784).

    Raises:
        ShapeError: when called, the input has fewer than two axes.
    """

    shown = "start_dim=1, end_dim=-1"

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 2:
            raise _misfit(self, x, "at least 2 axes", x.ndim)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Dropout(_Layer):
    """In training, elements set to 0 with probability ``p``, the others scaled by 1 / (1 - p): `functional.dropout`.

    Args:
        p: from 0 to 1.
        rng: where the masks come from.

    Raises:
        ValueError: ``p`` is out of range.

    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(8))
    Tensor([2., 2., 2., 0., 0., 0., 0., 0.], dtype=float64)
    >>> layer.eval()(np.ones(8))
    Tensor([1., 1., 1., 1., 1., 1., 1., 1.], dtype=float64)
    """

    shown = "p={p}, inplace=False"

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        checks.check_share("p", p)
        self.p, self.rng = p, checks.as_generator(rng)

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.p, self.rng, self.training)


class BatchNorm1d(_Layer):
    """Normalisation of each feature over the batch: `functional.batch_norm`, for x of shape (N, C) or (N, C, L).

    Args:
        num_features: C.
        eps: what is added to the variance.
        momentum: by how much the running statistics move at each training step; None makes them plain averages.
        affine: whether to scale and shift by ``weight`` and ``bias``.
        track_running_stats: whether to keep ``running_mean`` and ``running_var``, which evaluation uses.
        dtype: float32 or float64.

    Attributes:
        weight: of shape (C,), or None.
        bias: the same.
        running_mean: a buffer of shape (C,), or None.
        running_var: the same.
        num_batches_tracked: a buffer, how many training steps they have seen, or None.

    Raises:
        ValueError: ``num_features`` is no integer >= 1; when called in training, there is a single value per feature.
        ShapeError: when called, the input has another shape.
    """

    needs_several_rows = True
    shown = (
        "{num_features}, eps={eps}, momentum={momentum}, affine={affine}, bias={affine}, "
        "track_running_stats={track_running_stats}"
    )

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        checks.check_integer("num_features", num_features)
        checks.check_not_negative("eps", eps)
        if momentum is not None:
            checks.check_share("momentum", momentum)
        dtype = checks.as_float_dtype(dtype)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        self.register_buffer("running_mean", Tensor(np.zeros(num_features, dtype)) if track_running_stats else None)
        self.register_buffer("running_var", Tensor(np.ones(num_features, dtype)) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", Tensor(np.zeros((), np.int64)) if track_running_stats else None)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            raise _misfit(self, x, f"shape (N, {self.num_features}) or (N, {self.num_features}, L)", x.shape)
        statistics, affine = (self.running_mean, self.running_var), (self.weight, self.bias)
        if not self.training or self.num_batches_tracked is None:
            return functional.batch_norm(x, *statistics, *affine, self.training, eps=self.eps)
        batches = self.num_batches_tracked + 1
        momentum = 1 / batches if self.momentum is None else self.momentum
        out = functional.batch_norm(x, *statistics, *affine, True, momentum, self.eps)
        assign(self.num_batches_tracked, batches)
        return out


class LayerNorm(_Layer):
    """Normalisation of each sample over its last axes: `functional.layer_norm`.

    Args:
        normalized_shape: the lengths of those axes, or of the last one.
        eps: what is added to the variance.
        elementwise_affine: whether to scale and shift by ``weight`` and ``bias``, of that shape.
        dtype: float32 or float64.

    Raises:
        ValueError: a length is no integer >= 1.
        ShapeError: when called, the last axes of the input have other lengths.
    """

    shown = "{normalized_shape}, eps={eps}, elementwise_affine={elementwise_affine}, bias={elementwise_affine}"

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        shape = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        for size in shape:
            checks.check_integer("normalized_shape", size)
        checks.check_not_negative("eps", eps)
        dtype = checks.as_float_dtype(dtype)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = Parameter(np.ones(shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(shape, dtype)) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise _misfit(self, x, f"last axes {self.normalized_shape}", x.shape[-len(self.normalized_shape) :])
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class Sequential(Module):
    """Modules one after another. They are its attributes "0", "1", ..., so that a key of the state reads "0.weight".

    It has a length, can be iterated over and indexed; a slice is a Sequential of the same modules.

    Raises:
        TypeError: something that is no module.

    >>> model = Sequential(Linear(4, 3, rng=0), ReLU(), Linear(3, 2, rng=1))
    >>> model[:2]
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(
                    f"Sequential takes modules, got {describe(layer)} at position {i}; "
                    "pass them one by one, as in Sequential(Linear(4, 2), ReLU())"
                )
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        if not isinstance(index, slice):
            try:
                return list(self.children())[index]
            except IndexError:
                raise IndexError(f"a Sequential of {len(self)} modules has no module {index}; count from 0") from None
        part = Sequential()
        vars(part).update(list(self.named_children())[index])  # past __setattr__: they keep their names in this model
        return part


ACTIVATIONS: dict[str, tuple[type[Module], Callable[..., Tensor]]] = {
    "relu": (ReLU, init.kaiming_uniform_),
    "leaky_relu": (LeakyReLU, init.kaiming_uniform_),
    "gelu": (GELU, init.kaiming_uniform_),
    "sigmoid": (Sigmoid, init.xavier_uniform_),
    "tanh": (Tanh, init.xavier_uniform_),
    "softplus": (Softplus, init.xavier_uniform_),
}
"""The activations of an `MLP`, each with what fills the weights."""


class MLP(Sequential):
    """A multi-layer perceptron: Linear layers with an activation after each but the last, whose results are logits.

    Weights begin as He and others have it for relu, leaky relu and gelu (`init.kaiming_uniform_`), as Glorot and
    Bengio have it for the other activations (`init.xavier_uniform_`), and biases at 0: so signals keep their size
    however many layers there are. PyTorch's way, which a `Linear` by itself has, lets them fade: from six hidden
    layers on, such a network hardly learns.

    Args:
        sizes: how many features the input, each hidden layer and the output have.
        activation: "relu", "leaky_relu", "gelu", "sigmoid", "tanh" or "softplus".
        batch_norm: whether a `BatchNorm1d` comes before each activation.
        dropout: the probability ``p`` of a `Dropout` after each activation; 0 for none.
        rng: where initial values and dropout masks come from.
        dtype: float32 or float64.

    Raises:
        ValueError: an unknown activation, a size that is no integer >= 1, or a probability outside [0, 1].

    >>> model = MLP([784, 256, 10], rng=0)
    >>> model
    MLP(
      (0): Linear(in_features=784, out_features=256, bias=True)
      (1): ReLU()
      (2): Linear(in_features=256, out_features=10, bias=True)
    )
    >>> model(np.zeros((32, 784), np.float32)).shape
    (32, 10)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        batch_norm: bool = False,
        dropout: float = 0.0,
        rng: Rng = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if isinstance(sizes, str):
            raise TypeError(str(out_of_range("sizes", sizes, "a list of sizes, as [784, 256, 10]")))
        if not isinstance(sizes, Sequence) or len(sizes) < 2:
            raise out_of_range("sizes", sizes, "a list of at least two sizes, as [784, 256, 10]")
        for i, size in enumerate(sizes):
            checks.check_integer(f"sizes[{i}]", size)
        checks.check_choice("activation", activation, ACTIVATIONS)
        checks.check_share("dropout", dropout)
        rng = checks.as_generator(rng)
        kind, fill = ACTIVATIONS[activation]
        layers: list[Module] = []
        for size_in, size_out in pairwise(sizes):
            if layers and batch_norm:
                layers.append(BatchNorm1d(size_in, dtype=dtype))
            if layers:
                layers.append(kind())
            if layers and dropout:
                layers.append(Dropout(dropout, rng=rng))
            layers.append(Linear(size_in, size_out, rng=rng, dtype=dtype))
        super().__init__(*layers)
        for layer in layers:
            if isinstance(layer, Linear) and layer.bias is not None:
                fill(layer.weight, rng=rng)
                assign(layer.bias, 0.0)


def _other_features(layer: Linear, x: Tensor) -> ShapeError:
    """Return the error for another number of features; by itself, as `jit` guards what a ``forward`` may read."""
    flat = x.ndim > 2 and math.prod(x.shape[1:]) == layer.in_features
    hint = "flatten it, x.reshape(len(x), -1), or put nn.Flatten() first" if flat else ""
    return _misfit(layer, x, f"{layer.in_features} features", x.shape[-1] if x.ndim else "none", hint)


def _misfit(layer: Module, x: Any, expected: str, got: object, hint: str = "") -> ShapeError:
    """Return the error for an input that a layer was not built for."""
    name = f"layer {layer._prefix[:-1]!r}, " if layer._prefix else ""
    return ShapeError(
        f"{name}{layer!r}: expected {expected}, got {got} in an input of shape {x.shape}; "
        f"{hint or 'reshape the input, or build the layer for it'}"
    )
