"""Learning-rate schedules: each sets the rate of an optimiser after a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from .. import checks, notebook
from ..checks import Check
from ..errors import CheckpointError, OptionError, describe
from ..foreign import Answers
from .states import check_keys

if TYPE_CHECKING:
    from .optim import Optimizer


_check_count: Check = partial(checks.check_integer, low=0)
_check_any: Check = partial(checks.check_number, low=-math.inf, high=math.inf, expected="a number", closed=True)


class LRScheduler(Answers):
    """What schedules share: ``step()`` after each ``optimizer.step()`` sets every group's learning rate.

    A subclass gives ``factor(step)``, which multiplies the learning rate that the group had at the start; this base
    class keeps it. Or, as in PyTorch, it gives ``get_lr()``: a rate for each group, made of ``base_lrs`` and
    ``last_epoch``, which is the same as ``last_step``: the number of calls of ``step()``. `fit` calls it after each
    step, so a schedule that counts epochs says ``by_epoch = True``.

    Attributes:
        by_epoch: whether `fit` calls ``step()`` after each epoch, rather than after each step.
        total: the name of the option, if any, that `fit` fills with the number of all steps where it is None.
        ends: whether there are no rates beyond that, so that `fit` refuses to take more steps.
        kept: the attributes that are the state.
        kept_checks: what raises an error for a value of one of them, by its name, where it is not just any number.
    """

    by_epoch = False
    total = ""
    ends = False
    kept: tuple[str, ...] = ("last_step", "base_lrs")
    kept_checks: ClassVar[dict[str, Check]] = dict(last_step=_check_count)

    def __init__(self, optimizer: Optimizer) -> None:
        if not hasattr(optimizer, "param_groups"):
            example = "optim.SGD(model.parameters())"
            raise TypeError(f"a schedule takes an optimizer, such as {example}, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.last_step = 0
        self._set()

    def factor(self, step: int) -> float:
        """Return by what the base learning rate is multiplied at a step, the first being 0."""
        return 1.0

    def get_lr(self) -> list[float]:
        """Return the learning rate of each group at the present step."""
        return [lr * self.factor(self.last_step) for lr in self.base_lrs]

    @property
    def last_epoch(self) -> int:
        """PyTorch's name of ``last_step``."""
        return self.last_step

    def size(self, steps: int) -> None:
        """Take over how many steps there will be in all, unless that was said before: `fit` calls this."""
        if self.total and getattr(self, self.total) is None:
            setattr(self, self.total, checks.check_integer(self.total, self.last_step + steps))
            self._set()

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        """Do what is to be done after an epoch, of which the history has this row: `fit` calls this."""
        if self.by_epoch:
            self.step()

    def step(self) -> None:
        """Go on to the next step's learning rate.

        Raises:
            OptionError: it is not known how many steps there will be.
        """
        if self.total and getattr(self, self.total) is None:
            raise OptionError(f"{self.total} is not known; pass it to the schedule, or the schedule to fit")
        self.last_step += 1
        self._set()

    def _set(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """Return the present learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def __repr__(self) -> str:
        return notebook.schedule_text(self)

    def _repr_html_(self) -> str:
        return notebook.schedule(self)

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on from here."""
        return {name: copy(getattr(self, name)) for name in self.kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where a state was taken; checked as a whole before anything changes.

        Raises:
            CheckpointError: it is not the state of a schedule of so many groups.
        """
        check_keys("a schedule", state_dict, self.kept)
        rates, groups = state_dict["base_lrs"], len(self.optimizer.param_groups)
        try:
            for name in set(self.kept) - {"base_lrs"}:
                self.kept_checks.get(name, _check_any)(name, state_dict[name])
            if not isinstance(rates, (list, tuple)) or len(rates) != groups:
                each = f"a list of {groups}, one for each parameter group"
                raise TypeError(f"base_lrs must be {each}, got {describe(rates)}")
            for rate in rates:
                checks.check_not_negative("each of base_lrs", rate)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the state does not fit {type(self).__name__}: {error}") from error
        vars(self).update(state_dict, last_step=int(state_dict["last_step"]), base_lrs=list(rates))
        self._set()


class CosineAnnealingLR(LRScheduler):
    """The optimiser's learning rate, after a linear warm-up, lowered along half a cosine (arXiv:1608.03983).

    Args:
        optimizer: whose learning rates are the highest ones.
        T_max: steps in all, at which the rate is ``eta_min``. None: as many as `fit` will take.
        eta_min: the last rate, as a share of the highest.
        warmup: steps of the warm-up; the first has 1 / (warmup + 1) of the highest rate.

    Raises:
        ValueError: a number of steps out of range.

    >>> import tinygrad_mlp as tg
    >>> opt = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = CosineAnnealingLR(opt, T_max=4)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(round(opt.param_groups[0]["lr"], 3))
    ...     schedule.step()
    >>> rates
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    total = "T_max"

    def __init__(self, optimizer: Optimizer, T_max: int | None = None, eta_min: float = 0.0, warmup: int = 0) -> None:
        if T_max is not None:
            checks.check_integer("T_max", T_max)
        checks.check_integer("warmup", warmup, 0, *(() if T_max is None else (T_max - 1, "T_max - 1")))
        checks.check_share("eta_min", eta_min)
        self.T_max, self.eta_min, self.warmup = T_max, eta_min, warmup
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return _cosine(1.0, self.eta_min, (step - self.warmup) / max(1, (self.T_max or math.inf) - self.warmup))


class OneCycleLR(LRScheduler):
    """One cycle (Smith and Topin, arXiv:1708.07120): up from ``max_lr / div_factor``, then down to almost nothing.

    As PyTorch's with cosine annealing, except that the momentum stays as it is.

    Args:
        optimizer: whose learning rates are replaced.
        max_lr: the highest rate, of every group.
        total_steps: steps in all. None: as many as `fit` will take.
        pct_start: the share of them that goes up.
        div_factor: the first rate is ``max_lr / div_factor``.
        final_div_factor: the last rate is the first divided by this.

    Raises:
        ValueError: an option out of range.
    """

    total = "total_steps"
    ends = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        if total_steps is not None:
            checks.check_integer("total_steps", total_steps, 2)
        checks.check_number("pct_start", pct_start, math.ulp(0.0), 1, "between 0 and 1")
        checks.check_not_negative("max_lr", max_lr)
        checks.check_positive("div_factor", div_factor)
        checks.check_positive("final_div_factor", final_div_factor)
        self.pct_start, self.total_steps = pct_start, total_steps
        self.first, self.last = 1 / div_factor, 1 / (div_factor * final_div_factor)
        super().__init__(optimizer)
        self.base_lrs = [max_lr] * len(self.base_lrs)
        self._set()

    def factor(self, step: int) -> float:
        last = (self.total_steps or math.inf) - 1
        top = self.pct_start * (last + 1) - 1
        if step < top:
            return _cosine(self.first, 1.0, step / top)
        return _cosine(1.0, self.last, (step - top) / (last - top))


class StepLR(LRScheduler):
    """The learning rates of ``optimizer`` multiplied by ``gamma`` every ``step_size`` epochs.

    >>> import tinygrad_mlp as tg
    >>> opt = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = StepLR(opt, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     print(schedule.get_last_lr())
    ...     schedule.step()
    [1.0]
    [1.0]
    [0.5]
    [0.5]
    """

    by_epoch = True

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        checks.check_integer("step_size", step_size)
        checks.check_not_negative("gamma", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return float(self.gamma ** (step // self.step_size))


class ExponentialLR(StepLR):
    """The learning rates of ``optimizer`` multiplied by ``gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer, 1, gamma)


class ReduceLROnPlateau(LRScheduler):
    """The learning rate multiplied by ``factor`` when a value has not improved for more than ``patience`` epochs.

    ``step(value)`` after each epoch; `fit` passes the validation loss, or without validation the loss.

    Args:
        optimizer: whose learning rates are replaced.
        mode: "min" or "max", what is better.
        factor: in [0, 1).
        patience: epochs without improvement that are allowed.
        threshold: the share of the best value, taken as positive, by which another must be better to count.
        cooldown: epochs after a reduction that do not count.
        min_lr: no rate becomes less.

    Raises:
        ValueError: an option out of range.
    """

    by_epoch = True
    kept = ("last_step", "base_lrs", "best", "bad_epochs", "cooling")
    kept_checks = LRScheduler.kept_checks | dict(bad_epochs=_check_count, cooling=_check_count)

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        checks.check_choice("mode", mode, ("min", "max"))
        checks.check_below_one("factor", factor)
        _check_count("patience", patience)
        _check_count("cooldown", cooldown)
        checks.check_not_negative("threshold", threshold)
        checks.check_not_negative("min_lr", min_lr)
        self.sign, self.reduction, self.patience = 1 if mode == "min" else -1, factor, patience
        self.threshold, self.cooldown, self.min_lr = threshold, cooldown, min_lr
        self.best, self.bad_epochs, self.cooling = self.sign * math.inf, 0, 0
        super().__init__(optimizer)

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        self.step(row.get("validation_loss", row["loss"]))

    def step(self, value: float) -> None:  # type: ignore[override]
        """Go on to the next epoch's learning rate, after one that has ended with a value."""
        known = 0.0 if value != value else value  # NaN is not better
        checks.check_number("value", known, -math.inf, math.inf, "a number, the loss or score of an epoch", closed=True)
        value, margin = float(value), self.threshold * abs(self.best) if math.isfinite(self.best) else 0.0
        self.last_step += 1
        if self.sign * (self.best - value) > margin:  # which NaN is not
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if self.cooling > 0:
            self.cooling, self.bad_epochs = self.cooling - 1, 0
        if self.bad_epochs > self.patience:
            self.base_lrs = [max(lr * self.reduction, self.min_lr) for lr in self.base_lrs]
            self.cooling, self.bad_epochs = self.cooldown, 0
        self._set()


def _cosine(start: float, end: float, share: float) -> float:
    """Return the value between start and end after a share of half a cosine, after all of which it stays."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
