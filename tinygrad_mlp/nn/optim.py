"""Optimisers; the learning-rate schedules, which have a room of their own, are here too.

An update is a formula, as a rule is: on arrays it works in place, and on Tensors, while a tracer records, the same
lines make new ones, which are then assigned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import notebook
from ..blas import is_better_copied
from ..checks import Check, check_below_one, check_flag, check_kind, check_not_negative, check_positive, check_share
from ..core.tensor import Tensor, assign, wrap
from ..core.tracer import IDLE, Stateful, mode, out_of_place
from ..core.versions import changed, rebound
from ..errors import CheckpointError, GraphError, OptionError, describe, nearest, out_of_range
from ..foreign import answers, knows_foreign, missing
from .schedules import CosineAnnealingLR, ExponentialLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR
from .states import check_keys, different_groups, different_state

__all__ = [
    "SGD", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "OneCycleLR", "Optimizer", "RMSprop",
    "ReduceLROnPlateau", "StepLR",
]  # fmt: skip
__dir__ = __all__.copy  # what Tab offers

Group = dict[str, Any]
if not TYPE_CHECKING:
    __getattr__ = missing(__name__)


def _counted(change: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        rebound[0] += 1
        return change(self, *args, **keywords)

    return method


_CHANGES = ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")
State: Any = type("State", (dict,), {name: _counted(getattr(dict, name)) for name in _CHANGES})
"""A dict of states, or the state of one parameter: what depends on its Tensors notices when it gets others."""


@knows_foreign
class Optimizer(Stateful):
    """What all optimisers share: parameter groups, the state of each parameter, and the walk over them.

    A subclass gives ``buffers``, the names of its state arrays; ``optional``, of those that are needed only where an
    option is set, the option; ``checks``, what raises an error for a value of an option by the option's name; and
    ``formula(p, g, *buffers, **scalars)``, which returns the new values of the parameter and its buffers, and may write
    into the old ones, but not into ``g``.

    Args:
        params: the parameters, or dicts of them with options of their own.
        defaults: the options of groups that have none of their own.
    """

    buffers: tuple[str, ...] = ()
    optional: ClassVar[Mapping[str, str]] = {}
    checks: ClassVar[dict[str, Check]] = dict(lr=check_not_negative, weight_decay=check_not_negative)
    formula: Callable[..., tuple[Any, ...]]
    counts_steps: bool = False
    stepped_by: object = None

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.state: dict[Any, dict[str, Any]] = State()
        for group in _as_groups(params):
            self.add_param_group(group)

    def check(self, group: Group) -> None:
        """Raise ValueError if an option of a group is out of range."""
        for name, check in self.checks.items():
            check(name, group[name])

    def scalars(self, group: Group, step: int) -> dict[str, Any]:
        """Return the numbers that `formula` needs at a ``step``, counted from 1, by the options of a ``group``.

        All are computed here: the formula uses them in array ops only.
        """
        raise NotImplementedError

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own: ``{"params": [...], "lr": 0.01}``."""
        check_kind("a parameter group", group, Mapping, 'a dict, such as {"params": [...], "lr": 0.01}')
        unknown = sorted(set(group) - set(self.defaults) - {"params"})
        if unknown:
            raise OptionError(f"unknown option {unknown[0]!r}; {nearest(unknown[0], self.defaults)}")
        if "params" not in group:
            raise ValueError(f"a parameter group has no 'params', only {sorted(group)}; add the list of its parameters")
        params = _checked_params(group["params"], self._all_params())
        group = {**self.defaults, **group, "params": params}
        self.check(group)
        self.param_groups.append(group)

    def __repr__(self) -> str:
        return notebook.optimizer_text(self)

    def _repr_html_(self) -> str:
        return notebook.optimizer(self)

    def _all_params(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    def part(self, rows: Any) -> Any:
        """Return those rows of a batch that `fit` trains on here: all of them, if this is the only process."""
        return rows

    def agree(self, buffers: Iterable[Tensor]) -> None:
        """Give a model's ``buffers`` the same numbers in all processes; `fit` calls this after each epoch."""

    @answers
    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: ``grad`` becomes None."""
        for p in self._all_params():
            p.grad = None

    def step(self) -> None:
        """Update, in place, every parameter that has a gradient.

        Raises:
            GraphError: no parameter has one: ``backward()`` was not called.
        """
        if all(p.grad is None for p in self._all_params()):
            raise GraphError("step(): no parameter has a gradient; call loss.backward() first, on a loss of these")
        mode.tracer.updates(self)

    def update(self) -> None:
        """Do what `step` does, without a word to the tracer."""
        if type(self.state) is not State:
            self.state = State(self.state)
        tracer, whose = mode.tracer, object()
        update = self._update if tracer is IDLE else self._update_traced
        for group in self.param_groups:
            for params in self._in_step(group):
                scalars = tracer.numbers(partial(self._advance, group, params, whose))
                names = self.used_buffers(scalars)
                for p in params:
                    update(p, names, scalars)

    def _in_step(self, group: Group) -> list[list[Any]]:
        """Return the parameters that have a gradient, those together that have been updated equally often."""
        together: dict[int, list[Any]] = {}
        for p in group["params"]:
            if p.grad is not None:
                state: Any = self.state.get(p, ())
                if type(state) is not State:
                    state = self.state[p] = State(state)
                together.setdefault(state.get("step", 0), []).append(p)
        return list(together.values())

    def _advance(self, group: Group, params: list[Any], whose: object) -> dict[str, Any]:
        """Count the step, where the formula needs that, and return its numbers; ``whose`` step it is, a program says.

        A step of somebody else's may leave other parameters together than before, which `held` tells.
        """
        step = 0
        if self.counts_steps:
            if whose is not self.stepped_by:
                self.stepped_by, rebound[0] = whose, rebound[0] + 1
            step = self.state[params[0]].get("step", 0) + 1
            for p in params:
                dict.__setitem__(self.state[p], "step", step)
        return self.scalars(group, step)

    def signature(self) -> tuple[Any, ...]:
        """Return what decides, besides what is `held`, which ops a step consists of: the options that are set."""
        groups = self.param_groups
        options = [entry for g in groups for entry in (id(g), id(g["params"]), *map(bool, g.values()))]
        return (id(self.state), *options)

    def held(self) -> tuple[int, ...]:
        """Return which Tensors there are in the state, and which parameters have been updated equally often.

        `rebound` counts where that may have changed.
        """
        tensors = [id(v) for state in self.state.values() for v in state.values() if isinstance(v, Tensor)]
        first: dict[int, int] = {}
        steps = [state.get("step", 0) for state in self.state.values()] if self.counts_steps else []
        return (*tensors, *[first.setdefault(step, i) for i, step in enumerate(steps)])

    def _update(self, p: Any, names: tuple[str, ...], scalars: Mapping[str, Any]) -> None:
        """Compute on arrays, in place where the formula does."""
        old, new = self._buffers(p, names)
        values = self.formula(p._data, p._grad._data, *[None if b is None else b._data for b in old], **scalars)
        for target, value in zip((p, *new), values, strict=True):
            if value is not target._data:
                np.copyto(target._data, value)
            changed(target)

    def _update_traced(self, p: Any, names: tuple[str, ...], scalars: Mapping[str, Any]) -> None:
        """Compute on Tensors, so that the tracer sees every op."""
        old, new = self._buffers(p, names)
        with out_of_place():
            for target, value in zip((p, *new), self.formula(p.detach(), p.grad, *old, **scalars), strict=True):
                assign(target, value)

    def _buffers(self, p: Any, names: tuple[str, ...]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return a parameter's buffers as the formula gets them, None at the first step, and as it fills them."""
        if not names:
            return (), ()
        state = self.state[p]
        try:
            old = new = [state[name] for name in names]
        except KeyError:
            old = [state.get(name) for name in names]
            state.update((name, _like(0.0, p, name)) for name in names if name not in state)
            new = [state[name] for name in names]
        return old, new

    def used_buffers(self, scalars: Mapping[str, Any]) -> tuple[str, ...]:
        """Return which buffers a step uses."""
        if not self.optional:
            return self.buffers
        return tuple([b for b in self.buffers if scalars.get(self.optional.get(b, ""), True)])

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state: options by group, and arrays by the parameter's number, as in PyTorch."""
        mode.tracer.reads_value("state_dict")
        number = {p: i for i, p in enumerate(self._all_params())}
        state = {i: {k: _copied(v) for k, v in self.state.get(p, {}).items()} for p, i in number.items()}
        groups = [{**group, "params": [number[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {i: s for i, s in state.items() if s}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` gave; checked as a whole before anything changes.

        Raises:
            CheckpointError: it is of another optimiser or of other parameters; everything that differs is listed.
        """
        check_keys("an optimizer", state_dict, ("param_groups", "state"))
        groups, state, params = state_dict["param_groups"], state_dict["state"], self._all_params()
        if wrong := different_groups(self, groups) + different_state(self, params, state):
            raise CheckpointError("optimizer state does not fit: " + "; ".join(wrong))
        for mine, theirs in zip(self.param_groups, groups, strict=True):
            mine.update({k: v for k, v in theirs.items() if k != "params"})
        self.state.clear()
        for i, entries in state.items():
            p = params[int(i)]
            self.state[p] = State({k: _like(v, p, k) if k in self.buffers else int(v) for k, v in entries.items()})


def _less(p: Any, change: Any) -> Any:
    """Return ``p - change``, which is written into p, or into the change, which nobody else has, to be copied."""
    if type(p) is np.ndarray and is_better_copied(p.nbytes) and change.strides == p.strides:
        return np.subtract(p, change, out=change)
    p -= change
    return p


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever and others, ICML 2013), in PyTorch's form.

    ``g += weight_decay * p``; with momentum ``buf = momentum * buf + (1 - dampening) * g``, and ``buf = g`` at the
    first step; ``g = g + momentum * buf`` with Nesterov, else ``g = buf``; ``p -= lr * g``.

    Args:
        params: the parameters, or dicts of them with options of their own.
        lr: the learning rate, finite, >= 0.
        momentum: in [0, 1).
        dampening: how much of the gradient the momentum ignores.
        weight_decay: >= 0, added to the gradient.
        nesterov: look ahead; needs momentum and no dampening.

    Raises:
        ValueError, TypeError: an option out of range, or parameters that cannot be optimised.

    >>> import tinygrad_mlp as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> opt = SGD([p], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     opt.zero_grad()
    ...     p.sum().backward()
    ...     opt.step()
    >>> p
    Tensor([0.71], dtype=float64, requires_grad=True)
    """

    buffers = ("momentum_buffer",)
    optional: ClassVar = {"momentum_buffer": "momentum"}
    checks = Optimizer.checks | dict(nesterov=check_flag, momentum=check_below_one, dampening=check_share)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        options = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov)
        super().__init__(params, options)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("nesterov needs momentum > 0 and dampening = 0; set momentum=0.9, say")

    def scalars(self, group: Group, step: int) -> dict[str, Any]:
        numbers = {name: float(group[name]) for name in ("lr", "momentum", "weight_decay")}
        return {**numbers, "undamped": 1.0 - group["dampening"], "nesterov": group["nesterov"]}

    @staticmethod
    def formula(
        p: Any, g: Any, buf: Any = None, *, lr: float, weight_decay: float, momentum: float, undamped: float,
        nesterov: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        g = g + weight_decay * p if weight_decay else g
        if not momentum:
            return (_less(p, lr * g),)
        if buf is None:
            buf = g.copy()
        else:
            buf *= momentum
            buf += undamped * g if undamped != 1 else g
        return _less(p, lr * (g + momentum * buf if nesterov else buf)), buf


def _check_betas(name: str, betas: Any) -> None:
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(str(out_of_range(name, betas, "two numbers in [0, 1), such as (0.9, 0.999)")))
    for beta in betas:
        check_below_one(f"each of {name}", beta)


class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980), in PyTorch's form: weight decay is added to the gradient.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g**2``, and with m and v divided by ``1 - b**t``,
    ``p -= lr * m / (sqrt(v) + eps)``.

    Args:
        params: the parameters, or dicts of them with options of their own.
        lr: the learning rate, finite, >= 0.
        betas: the decay of the two averages, each in [0, 1).
        eps: > 0.
        weight_decay: >= 0.

    Raises:
        ValueError, TypeError: an option out of range, or parameters that cannot be optimised.
    """

    buffers = ("exp_avg", "exp_avg_sq")
    checks = Optimizer.checks | dict(betas=_check_betas, eps=check_positive)
    counts_steps = True
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def scalars(self, group: Group, step: int) -> dict[str, Any]:
        b1, b2 = map(float, group["betas"])
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        averages = dict(b1=b1, share1=1 - b1, b2=b2, share2=1 - b2)
        corrected = dict(step_size=lr / (1 - b1**step), correction=math.sqrt(1 - b2**step), eps=float(group["eps"]))
        shrink = 1 - lr * decay if self.decoupled and decay else None
        return {**averages, **corrected, "weight_decay": 0.0 if self.decoupled else decay, "shrink": shrink}

    @staticmethod
    def formula(
        p: Any, g: Any, m: Any, v: Any, *, step_size: float, weight_decay: float, shrink: float | None,
        b1: float, share1: float, b2: float, share2: float, correction: float, eps: float,
    ) -> tuple[Any, ...]:  # fmt: skip
        g = g + weight_decay * p if weight_decay else g
        if shrink is not None:
            p *= shrink
        if m is None:
            m, v = share1 * g, share2 * (g * g)
        else:
            m *= b1
            m += share1 * g
            v *= b2
            v += share2 * (g * g)
        scale = np.sqrt(v)
        scale /= correction
        scale += eps
        return _less(p, step_size * (m / scale)), m, v


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101): ``p *= 1 - lr * weight_decay``.

    ``params``, ``lr``, ``betas``, ``eps`` and errors are those of `Adam`; the default of ``weight_decay`` is
    PyTorch's.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class RMSprop(Optimizer):
    """RMSprop (Hinton, "Neural networks for machine learning", lecture 6), in PyTorch's form.

    ``v = alpha v + (1 - alpha) g**2``; with ``centered``, ``m = alpha m + (1 - alpha) g`` and v less ``m**2`` in its
    place; ``p -= lr * g / (sqrt(v) + eps)``, or with momentum ``buf = momentum * buf + g / (sqrt(v) + eps)`` and
    ``p -= lr * buf``.

    Args:
        params: the parameters, or dicts of them with options of their own.
        lr: the learning rate, finite, >= 0.
        alpha: the decay of the averages, in [0, 1).
        eps: > 0.
        weight_decay: >= 0, added to the gradient.
        momentum: in [0, 1).
        centered: divide by an estimate of the variance.

    Raises:
        ValueError, TypeError: an option out of range, or parameters that cannot be optimised.
    """

    buffers = ("square_avg", "grad_avg", "momentum_buffer")
    optional: ClassVar = {"grad_avg": "centered", "momentum_buffer": "momentum"}
    checks = Optimizer.checks | dict(
        alpha=check_below_one, momentum=check_below_one, eps=check_positive, centered=check_flag
    )

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False,
    ) -> None:  # fmt: skip
        options = dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered)
        super().__init__(params, options)

    def scalars(self, group: Group, step: int) -> dict[str, Any]:
        numbers = {name: float(group[name]) for name in ("lr", "alpha", "eps", "weight_decay", "momentum")}
        return {**numbers, "share": 1 - numbers["alpha"], "centered": group["centered"]}

    @staticmethod
    def formula(
        p: Any, g: Any, v: Any, *more: Any, lr: float, weight_decay: float, alpha: float, share: float, eps: float,
        momentum: float, centered: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        g = g + weight_decay * p if weight_decay else g
        averaged, before = [g * g, g] if centered else [g * g], [v, *more]
        after = [share * a if b is None else b * alpha + share * a for a, b in zip(averaged, before, strict=False)]
        change = g / (np.sqrt(after[0] - after[1] * after[1] if centered else after[0]) + eps)
        if momentum:
            change = change if before[-1] is None else before[-1] * momentum + change
            after.append(change)
        return _less(p, lr * change), *after


def _as_groups(params: Iterable[Any]) -> list[Mapping[str, Any]]:
    if isinstance(params, Tensor):
        raise TypeError("the optimizer takes a list of parameters, got a single Tensor; pass [parameter]")
    if not isinstance(params, Iterable):
        raise TypeError(f"the optimizer takes a list of parameters, got {describe(params)}; pass model.parameters()")
    entries = list(params)
    if not entries:
        raise ValueError("empty parameter list: is it a used generator, or are the modules in a list? Use Sequential")
    return entries if isinstance(entries[0], Mapping) else [{"params": entries}]


def _checked_params(params: Any, present: Sequence[Any]) -> list[Any]:
    params = [params] if isinstance(params, Tensor) else list(params)
    seen = set(present)
    for i, p in enumerate(params):
        if not isinstance(p, Tensor):
            raise TypeError(f"parameter {i} is a {type(p).__name__}, not a Tensor; pass model.parameters(), say")
        if p._node is not None:
            raise ValueError(f"parameter {i} was made by {p._node.rule.name}; only leaf Tensors can be optimized")
        if p in seen:
            raise ValueError(f"parameter {i} {p.name or ''} appears twice; each may be updated once a step")
        seen.add(p)
    return params


def _copied(value: Any) -> Any:
    return value._data.copy() if isinstance(value, Tensor) else value


def _like(value: Any, p: Any, name: str) -> Any:
    """Return an array as a buffer of a parameter, in its memory layout and under its name."""
    buffer = wrap(np.empty_like(p._data))
    buffer._data[...] = value._data if isinstance(value, Tensor) else value
    buffer.name = f"{p.name or 'parameter'}.{name}"
    return buffer
