"""Learning-rate schedules: each sets the rate of an optimiser after a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..checks import check_integer, check_number, check_share
from ..errors import CheckpointError, describe
from ..foreign import Answers

if TYPE_CHECKING:
    from .optim import Optimizer


class LRScheduler(Answers):
    """What schedules share: ``step()`` after each ``optimizer.step()`` sets every group's learning rate.

    A subclass gives ``factor(step)``, which multiplies the learning rate that the group had at the start; this base
    class keeps it.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.last_step = 0
        self._set()

    def factor(self, step: int) -> float:
        """Return by what the base learning rate is multiplied at a step, the first being 0."""
        return 1.0

    def step(self) -> None:
        """Go on to the next step's learning rate."""
        self.last_step += 1
        self._set()

    def _set(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * self.factor(self.last_step)

    def get_last_lr(self) -> list[float]:
        """Return the present learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on from here."""
        return {"last_step": self.last_step, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where a state was taken; checked as a whole before anything changes.

        Raises:
            CheckpointError: it is not the state of a schedule of so many groups.
        """
        keys = sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else describe(state_dict)
        if keys != ["base_lrs", "last_step"]:
            raise CheckpointError(f"not the state of a schedule, which has 'base_lrs' and 'last_step': {keys}")
        step, rates, groups = state_dict["last_step"], state_dict["base_lrs"], len(self.optimizer.param_groups)
        try:
            check_integer("last_step", step, 0)
            if not isinstance(rates, (list, tuple)) or len(rates) != groups:
                raise TypeError(
                    f"base_lrs must be a list of {groups}, one for each parameter group, got {describe(rates)}"
                )
            for rate in rates:
                check_number("each of base_lrs", rate, 0, math.inf, "a finite number >= 0")
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the state does not fit {type(self).__name__}: {error}") from error
        self.last_step, self.base_lrs = int(step), list(rates)
        self._set()


class CosineAnnealingLR(LRScheduler):
    """The optimiser's learning rate, after a linear warm-up, lowered along half a cosine (arXiv:1608.03983).

    Args:
        optimizer: whose learning rates are the highest ones.
        T_max: steps in all, at which the rate is ``eta_min``.
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

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, warmup: int = 0) -> None:
        check_integer("T_max", T_max)
        check_integer("warmup", warmup, 0, T_max - 1, "T_max - 1")
        check_share("eta_min", eta_min)
        self.T_max, self.eta_min, self.warmup = T_max, eta_min, warmup
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return _cosine(1.0, self.eta_min, min(1.0, (step - self.warmup) / (self.T_max - self.warmup)))


class OneCycleLR(LRScheduler):
    """One cycle (Smith and Topin, arXiv:1708.07120): up from ``max_lr / div_factor``, then down to almost nothing.

    As PyTorch's with cosine annealing, except that the momentum stays as it is.

    Args:
        optimizer: whose learning rates are replaced.
        max_lr: the highest rate, of every group.
        total_steps: steps in all.
        pct_start: the share of them that goes up.
        div_factor: the first rate is ``max_lr / div_factor``.
        final_div_factor: the last rate is the first divided by this.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        _check_optimizer(optimizer)
        check_integer("total_steps", total_steps, 2)
        check_number("pct_start", pct_start, math.ulp(0.0), 1, "between 0 and 1")
        check_number("max_lr", max_lr, 0, math.inf, "a finite number >= 0")
        for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            check_number(name, value, math.ulp(0.0), math.inf, "a finite number > 0")
        self.top, self.total_steps = pct_start * total_steps - 1, total_steps
        self.first, self.last = 1 / div_factor, 1 / (div_factor * final_div_factor)
        for group in getattr(optimizer, "param_groups", ()):
            group["lr"] = max_lr
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        if step < self.top:
            return _cosine(self.first, 1.0, step / self.top)
        return _cosine(1.0, self.last, min(1.0, (step - self.top) / (self.total_steps - 1 - self.top)))


def _check_optimizer(optimizer: Any) -> None:
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(
            f"a schedule takes an optimizer, such as optim.SGD(model.parameters()), got {describe(optimizer)}"
        )


def _cosine(start: float, end: float, share: float) -> float:
    """Return the value between start and end after a share of half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
