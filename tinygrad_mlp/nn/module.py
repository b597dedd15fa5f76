"""Module and Parameter: how a model holds its state, names it, saves and restores it, and is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.tensor import Tensor, assign
from ..core.tracer import IDLE, Stateful
from ..core.tracer import mode as thread_mode
from ..core.versions import rebound
from ..errors import CheckpointError, describe, out_of_range
from ..foreign import answers, explain, knows_foreign

T = TypeVar("T")
M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A Tensor that a `Module` counts among its parameters. It requires grad by default; ops make plain Tensors of it.

    ``data`` is copied, and ``name`` is what drawings and errors call it, "0.weight" in an `MLP`.

    Raises:
        DtypeError: data that is not float32 or float64, with ``requires_grad=True``.

    >>> weight = Parameter(np.ones(2))
    >>> weight.requires_grad, type(weight * 2).__name__
    (True, 'Tensor')
    """

    __slots__ = ()

    def __init__(self, data: ArrayLike, requires_grad: bool = True, name: str | None = None) -> None:
        super().__init__(data, requires_grad, name)
        self._data = self._data.copy(order="K")
        self._version = [0, self._data, None]


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` has skipped, as ``strict=False`` allows: ``missing_keys``, ``unexpected_keys``."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@knows_foreign
class Module(Stateful):
    """A function with parameters: what a layer, a loss and a whole network are.

    A subclass makes its parameters and modules attributes of itself and says in ``forward`` what it computes.
    Parameters, modules and buffers (`register_buffer`) are found wherever they are attributes; those in a list are
    not: put modules into a `Sequential`. Every parameter gets its qualified name, by which errors and reports call it.

    Calling a module calls ``forward``. Arrays, DataFrames and Series given by position become Tensors on the way.

    Attributes:
        training: whether it trains or evaluates, see `train`.
        needs_several_rows: whether it cannot train on a single row of features (1, C), as batch norm cannot: `fit` then
            refuses a batch size that leaves one.

    >>> class Scale(Module):
    ...     def __init__(self, size):
    ...         self.factor = Parameter(np.ones(size))
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> scale = Scale(2)
    >>> scale(np.array([3.0, 4.0]))
    Tensor([3., 4.], dtype=float64, op=multiply)
    >>> dict(scale.named_parameters())
    {'factor': Tensor([1., 1.], dtype=float64, requires_grad=True, name='factor')}
    """

    training: bool = True
    needs_several_rows: bool = False
    _buffers: tuple[str, ...] = ()
    _prefix: str = ""

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the result for ``inputs`` and ``keywords``. Every subclass defines its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward; define forward(self, x) in the class")

    def __call__(self, *inputs: Any, **keywords: Any) -> Tensor:
        given = [x if type(x) is Tensor else self._as_input(x) for x in inputs]
        tracer = thread_mode.tracer
        try:
            return self.forward(*given, **keywords) if tracer is IDLE else tracer.calls(self, given, keywords)
        except TypeError as error:
            explain(error, self.forward, given, keywords, "model")
            raise

    def _as_input(self, x: Any) -> Any:
        """Return whatever has axes as a Tensor, and all else, Tensors too, as it is."""
        return x if isinstance(x, Tensor) or not getattr(x, "ndim", 0) else Tensor(x)

    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self).get(name)
        otherwise = Tensor if name in self._buffers else object
        self._check_kind(name, value, next((k for k in (Parameter, Module) if isinstance(held, k)), otherwise))
        if type(value) is Tensor and value.is_leaf and value.requires_grad and name not in self._buffers:
            raise TypeError(
                f"{type(self).__name__}.{name} would be a Tensor that requires grad but no parameter, which no "
                "optimizer would find; make it a Parameter, or detach() it"
            )
        if isinstance(value, Module) and any(module is self for module in value.modules()):
            raise ValueError(f"{type(self).__name__} cannot be part of itself, as {name!r} would make it")
        super().__setattr__(name, value)
        if name in ("__class__", "__dict__"):  # all attributes at once
            rebound[0] += 1
        if isinstance(value, Parameter) or (isinstance(value, Tensor) and name in self._buffers):
            value.name = self._prefix + name
        elif isinstance(value, Module):
            value._set_prefix(f"{self._prefix}{name}.")

    def _check_kind(self, name: str, value: Any, kind: type) -> None:
        """Raise TypeError if a value would make a member something else, which would drop it from the state."""
        if value is not None and not isinstance(value, kind):
            raise TypeError(
                f"{type(self).__name__}.{name} holds a {kind.__name__}, got {describe(value)}; "
                f"assign a {kind.__name__} or None, or change values in place under no_grad()"
            )

    if TYPE_CHECKING:  # a member can be anything

        def __getattr__(self, name: str) -> Any: ...

    def _set_prefix(self, prefix: str) -> None:
        """Name all that is in this module by its path from the outermost one."""
        for path, module in _once(self._paths(prefix)):
            vars(module)["_prefix"] = path
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            tensor.name = prefix + name

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Make ``tensor`` part of the state, by ``name``, without being a parameter, such as a running mean.

        Raises:
            TypeError: it is no Tensor.
            ValueError: the module has an attribute of that name.
        """
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__} has an attribute {name!r} already; choose another name")
        self._check_kind(name, tensor, Tensor)
        self._buffers = (*self._buffers, name)
        setattr(self, name, tensor)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that are attributes of this one, by their names."""
        return ((name, value) for name, value in list(vars(self).items()) if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """Yield the modules that are attributes of this one."""
        return (value for value in list(vars(self).values()) if isinstance(value, Module))

    def _paths(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all inside, by every path that leads to them: "" or "0." or "encoder.0."."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._paths(f"{prefix}{name}.")

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((name, value) for name, value in list(vars(self).items()) if isinstance(value, Parameter))

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, vars(self)[name]) for name in self._buffers if vars(self).get(name) is not None)

    def _named(self, *kinds: Callable[[Module], Iterator[tuple[str, T]]]) -> Iterator[tuple[str, T]]:
        """Yield what this module and all inside have of these kinds, by qualified names, in PyTorch's order."""
        return ((path + name, t) for path, module in self._paths() for own in kinds for name, t in own(module))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this module, named "", and all inside by their qualified names, each once."""
        return ((path[:-1], module) for path, module in _once(self._paths()))

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield all parameters by their qualified names, each once, in the order in which they were registered."""
        return _once(self._named(Module._own_parameters))

    def parameters(self) -> Iterator[Parameter]:
        """Yield all parameters, each once: what an optimizer takes."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all buffers by their qualified names, each once."""
        return _once(self._named(Module._own_buffers))

    def buffers(self) -> Iterator[Tensor]:
        """Yield all buffers, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def _state(self) -> dict[str, Tensor]:
        """Return all parameters and buffers by their keys."""
        return dict(self._named(Module._own_parameters, Module._own_buffers))

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters and buffers, as arrays, by their qualified names.

        PyTorch returns the live tensors, which training goes on changing; a copy stays the state that it was. The
        keys and shapes are PyTorch's, so that weights can be exchanged both ways: its ``load_state_dict`` takes
        ``{key: torch.from_numpy(array) for key, array in model.state_dict().items()}``.
        """
        thread_mode.tracer.reads_value("state_dict")
        return {name: tensor._data.copy(order="K") for name, tensor in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Write a state into the parameters and buffers, which stay the same Tensors, so that an optimizer goes on.

        Args:
            state_dict: arrays by key, as `state_dict` returns; values can be Tensors too, also PyTorch's.
            strict: whether each key of the state must be one of the module and the reverse. If not, the others
                are skipped and returned.

        Raises:
            CheckpointError: keys, shapes or dtypes do not fit. It lists all that do not; nothing has changed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict takes a dict, as state_dict() returns it, got {describe(state_dict)}")
        own = self._state()
        missing = [key for key in own if key not in state_dict]
        unexpected = [key for key in state_dict if key not in own]
        arrays = {key: _as_array(state_dict[key]) for key in own if key in state_dict}
        problems = [
            f"{key!r} is {describe(array)}, expected {describe(own[key])}"
            for key, array in arrays.items()
            if (array.shape, array.dtype) != (own[key].shape, own[key].dtype)
        ]
        if strict:
            problems += [f"missing key {key!r}, expected {describe(own[key])}" for key in missing]
            problems += [f"unexpected key {key!r}" for key in unexpected]
        if problems:
            raise CheckpointError(
                "\n  ".join([f"the state does not fit {type(self).__name__}:", *problems])
                + "\nbuild the model as the saved one was; strict=False skips missing and unexpected keys"
            )
        for key, array in arrays.items():
            assign(own[key], array)
        return IncompatibleKeys(missing, unexpected)

    def train(self: M, mode: bool = True) -> M:
        """Switch this module and all inside to training, where dropout drops and batch norm uses the batch.

        Raises:
            ValueError: ``mode`` is no bool; the function that trains a model is another one.
        """
        if not isinstance(mode, bool):
            raise out_of_range("mode of train()", describe(mode), "True or False")
        thread_mode.tracer.sets_mode(self, mode)
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: M) -> M:
        """Switch this module and all inside to evaluation: the opposite of `train`."""
        return self.train(False)

    @answers
    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: each ``grad`` becomes None."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set whether the parameters require grad: False freezes them."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of the repr, before the modules inside."""
        return ""

    def __repr__(self) -> str:
        extra, children = self.extra_repr(), [f"({name}): {child!r}" for name, child in self.named_children()]
        if not children and "\n" not in extra:
            return f"{type(self).__name__}({extra})"
        body = "\n".join([extra, *children] if extra else children)
        return f"{type(self).__name__}(\n{body}".replace("\n", "\n  ") + "\n)"


def _as_array(value: Any) -> NDArray[Any]:
    return value._data if isinstance(value, Tensor) else np.asarray(value)


def _once(named: Iterable[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Yield the pairs without those whose second part has come before."""
    seen = set()
    for name, value in named:
        if value not in seen:
            seen.add(value)
            yield name, value
