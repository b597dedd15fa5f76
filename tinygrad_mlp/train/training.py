"""What of a training a checkpoint holds besides its model, optimizer and schedule, and how `fit` goes on from it."""

from __future__ import annotations

import math
import os
from copy import deepcopy
from typing import Any

import numpy as np

from ..checks import check_integer, check_kind, check_number
from ..errors import CheckpointError, describe
from ..generators import generator_state, set_generator
from .attributes import kept_of, put_back
from .callbacks import Callback, Run
from .resume import load_checkpoint

GATHERED = ("outputs", "targets")


class Training:
    """A run with its Generators, as one part of a checkpoint.

    In the middle of an epoch, the state is that at its start, where the order of the rows was drawn, and the number of
    the steps that have been taken since, with what they have gathered for its row.
    """

    def __init__(
        self,
        run: Run,
        order: np.random.Generator,
        settings: dict[str, Any],
        callbacks: list[Callback],
        functions: list[Any],
    ) -> None:
        self.run, self.settings, self.callbacks = run, settings, callbacks
        self.order, self.functions = order, functions  # where Generators are looked for
        (self.rng,) = order.spawn(1)  # which leaves the order what it is without augmentation
        self.kept: list[dict[str, Any]] = []
        self.modes: dict[Any, bool] = {}
        self.start = generator_state(order)
        parts = {"model": run.model, "optimizer": run.optimizer, "schedule": run.schedule, "training": self}
        run.parts = {name: part for name, part in parts.items() if part is not None}

    def begin_epoch(self, listeners: list[Any]) -> None:
        """Begin an epoch and tell the callbacks, or go on with the one that a checkpoint was made in."""
        run = self.run
        if not run.position:
            run.epoch += 1
            self.start = generator_state(self.order)
            run.so_far = {"losses": 0.0, "count": 0, "seconds": 0.0, "outputs": [], "targets": []}
            for listener in listeners:
                listener.on_epoch_begin(run)
        else:
            set_generator(self.order, self.start)

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, as plain values and arrays."""
        run, so_far = self.run, dict(self.run.so_far)
        if run.position:
            so_far |= {name: [np.concatenate(so_far[name])] for name in GATHERED if so_far[name]}
        return {
            "settings": self.settings,
            "callbacks": [[type(c).__name__, c.state_dict()] for c in self.callbacks],
            "rows": run.history.rows,
            "lr": run.history.lr,
            "stopped": run.history.stopped,
            "epoch": run.epoch,
            "step": run.step,
            "position": run.position,
            "so_far": so_far if run.position else {},
            "order": self.start,
            "attributes": self.attributes(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be as `state_dict` has it, but for the callbacks, which have not begun yet."""
        run, mine = self.run, self.state_dict()
        if not isinstance(state, dict) or state.keys() != mine.keys() or not isinstance(state["settings"], dict):
            raise CheckpointError(f"expected the state of a training by fit, found {describe(state)}")
        names, theirs = ([name for name, _ in s["callbacks"]] for s in (mine, state))
        wrong = [
            f"{name} {describe(state['settings'].get(name))} there, {describe(value)} here"
            for name, value in self.settings.items()
            if state["settings"].get(name) != value
        ]
        wrong += [f"callbacks {theirs} there, {names} here"] * (names != theirs)
        if wrong:
            raise CheckpointError(f"it is of another training: {'; '.join(wrong)}; pass the same data and options")
        self._check(state)
        self.start = state["order"]
        run.epoch, run.step, run.position, run.so_far = (state[k] for k in ("epoch", "step", "position", "so_far"))
        rows = [row for row in state["rows"] if not run.position or row["epoch"] < run.epoch]
        run.history.rows = [{k: v[()] if isinstance(v, np.ndarray) else v for k, v in row.items()} for row in rows]
        run.history.lr = [float(lr) for lr in state["lr"]]
        run.history.stopped = None if state["stopped"] == "interrupted" else state["stopped"]
        self.kept = [kept for _, kept in state["callbacks"]]
        self._put_attributes(state["attributes"])

    def _check(self, state: dict[str, Any]) -> None:
        """Raise CheckpointError unless this can be the state of a training."""
        for name in ("epoch", "step", "position"):
            check_integer(name, state[name], 0, self.run.steps_per_epoch if name == "position" else math.inf)
        so_far = state["so_far"]
        check_kind("so_far", so_far, dict, "a dict")
        if state["position"]:
            for name in ("losses", "count", "seconds"):
                check_number(f"so_far {name}", so_far[name], -math.inf, math.inf, "a number")
            if not all(isinstance(so_far[name], list) for name in GATHERED):
                raise CheckpointError(f"so_far is {describe(so_far)}, expected lists of {' and '.join(GATHERED)}")
        if not all(isinstance(row, dict) and set(self.run.columns) <= set(row) for row in state["rows"]):
            raise CheckpointError(f"rows are {describe(state['rows'])}, expected dicts of {self.run.columns}")
        if not all(isinstance(kept, dict) for _, kept in state["callbacks"]):
            raise CheckpointError("the state of a callback is no dict")
        if not isinstance(state["stopped"], (str, type(None))):
            raise CheckpointError(f"stopped is {describe(state['stopped'])}, expected a text or None")
        set_generator(deepcopy(self.order), state["order"])

    def _put_attributes(self, attributes: Any) -> None:
        model = self.run.model
        owners: dict[str, Any] = {**dict(model.named_modules()), **dict(model.named_parameters())}
        self.modes = {}
        for name, value in attributes:
            path, _, attribute = name.rpartition(".")
            if attribute == "training":
                self.modes[owners[path]] = value
            elif attribute == "requires_grad":
                owners[path].requires_grad = value
            else:
                put_back(owners[path], {attribute: value})

    def attributes(self) -> list[tuple[str, Any]]:
        """Return what modules have besides parameters and buffers: the p of a Dropout, say, and what is frozen."""
        run, skipped = self.run, ("_prefix", "_buffers")
        found = [(f"{name}.requires_grad", p.requires_grad) for name, p in run.model.named_parameters()]
        for path, module in run.model.named_modules():
            names = [name for name in vars(module) if name not in (*skipped, *module._buffers)]
            found += [(f"{path}.{name}", value) for name, value in kept_of(module, names).items()]
            found.append((f"{path}.training", module.training))
        return found

    def resume(self, path: str | os.PathLike[str] | None) -> None:
        """Put all but the callbacks into the state that a checkpoint has, if there is one."""
        if path is not None:
            load_checkpoint(path, **self.run.parts)

    def resume_callbacks(self) -> None:
        """Put callbacks that have begun, and the modes of modules, into the state that the checkpoint has."""
        for module, training in self.modes.items():
            module.training = training
        for callback, kept in zip(self.callbacks, self.kept, strict=False):
            callback.load_state_dict(kept)
