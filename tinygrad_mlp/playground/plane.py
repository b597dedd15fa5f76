"""A small network on points in the plane, and all that can be seen of it while it trains."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

import numpy as np

import tinygrad_mlp as tg

from .. import nn
from ..nn import functional as F
from ..nn import optim
from . import bugs

Array = np.ndarray[Any, Any]
Step = Any
"""A training step: a function of x and y that returns the loss."""

POINTS, GRID = 200, 40
"""How many points there are to learn, and on how many by how many the surface is shown, from -1 to 1."""


def moons(rng: np.random.Generator, side: Array) -> Array:
    """Return points of two half circles that reach into each other."""
    angle = np.pi * (rng.random(len(side)) + side)
    return 0.55 * np.stack([np.cos(angle) + side - 0.5, np.sin(angle) * 1.1 + 0.5 * side - 0.25], axis=1)


def circles(rng: np.random.Generator, side: Array) -> Array:
    """Return points of a disc, and of a ring around it."""
    angle, radius = 2 * np.pi * rng.random(len(side)), 0.4 * np.sqrt(rng.random(len(side)))
    radius = np.where(side, 0.65 + radius / 2, radius)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def spirals(rng: np.random.Generator, side: Array) -> Array:
    """Return points of two spirals that wind around each other."""
    radius = np.sqrt(rng.uniform(0.02, 0.8, len(side)))
    angle = np.pi * (2.6 * radius + side)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def xor(rng: np.random.Generator, side: Array) -> Array:
    """Return points of the four quarters, of which those opposite to each other go together."""
    x, y = rng.uniform(0.08, 0.9, (2, len(side)))
    right = rng.choice([-1, 1], len(side))
    return np.stack([right * x, np.where(side, -right, right) * y], axis=1)


DATA = {"moons": moons, "circles": circles, "spirals": spirals, "xor": xor}


def compiled(model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """Return the training step, as one writes it; `jit` makes a program of it."""

    @tg.jit
    def step(x: Array, y: Array) -> tg.Tensor:
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def by_hand(model: nn.Module, optimizer: optim.Optimizer, pieces: bugs.Pieces) -> Step:
    """Return the same step with the backward pass of `bugs`, written by hand and with a bug in it."""

    def step(x: Array, y: Array) -> float:
        weights = [p.data for p in model.parameters()]
        loss, gradients = bugs.backward(weights, x, y, pieces)
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = tg.Tensor(g)
        optimizer.step()
        return loss

    return step


class Plane:
    """A network 2-width-width-1 with ReLU, its data, and its training by plain SGD, all points a step.

    >>> plane = Plane("moons", width=8)
    >>> before, after = plane.train(1, lr=0.5), plane.train(300, lr=0.5)
    >>> before["loss"] > 0.5 and after["loss"] < 0.2, after["step"]
    (True, 301)
    """

    def __init__(self, data: str, width: int) -> None:
        rng = np.random.default_rng(0)
        side = np.arange(POINTS) % 2
        self.x = DATA[data](rng, side) + rng.normal(0, 0.03, (POINTS, 2))
        self.y = side[:, None].astype(np.float64)
        self.model = nn.MLP([2, width, width, 1], rng=rng, dtype=np.float64)
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.1)
        self.steps, self.loss = 0, np.nan
        self.plant("")

    def plant(self, bug: str) -> None:
        """Train from now on by hand, with a bug; the empty name takes it out again. The weights stay."""
        self.bug, self.has_run = bug, False
        self.step = (
            by_hand(self.model, self.optimizer, bugs.with_bug(bug)) if bug else compiled(self.model, self.optimizer)
        )

    def train(self, steps: int, lr: float) -> dict[str, Any]:
        """Train; return what there is to see then, as `frame` does."""
        self.optimizer.param_groups[0]["lr"] = lr
        with np.errstate(all="ignore"):  # bugs and high rates lead to NaN, which the page shows
            for _ in range(steps):
                self.loss = float(self.step(self.x, self.y))
        self.steps, self.has_run = self.steps + steps, True
        return self.frame()

    def frame(self) -> dict[str, Any]:
        """Return the loss, the accuracy, the surface, and the weights and gradients of each layer's units.

        The surface has the probability of the second class, from 0 to 255, row by row from the top; None once it is
        NaN somewhere. A unit is a row: its weights, and its bias last.
        """
        line = np.linspace(-1, 1, GRID)
        grid = np.stack(np.meshgrid(line, line[::-1]), axis=-1).reshape(-1, 2)
        with tg.no_grad(), np.errstate(all="ignore"):
            surface = 255 * F.sigmoid(self.model(grid)).numpy()[:, 0]
            hits = (self.model(self.x).numpy() > 0) == (self.y > 0.5)
        known = bool(np.isfinite(surface).all())
        parameters = list(self.model.parameters())
        units = [np.column_stack([w.data, b.data]) for w, b in zip(parameters[::2], parameters[1::2], strict=True)]
        gradients = [
            np.column_stack([w.grad.numpy(), b.grad.numpy()]) if w.grad is not None and b.grad is not None else None
            for w, b in zip(parameters[::2], parameters[1::2], strict=True)
        ]
        return {
            "step": self.steps,
            "loss": self.loss,
            "accuracy": hits.mean() if known else None,
            "surface": surface.round().astype(int) if known else None,
            "units": units,
            "gradients": gradients,
        }

    def written(self) -> str:
        """Return the step as a person has written it: for `jit`, or by hand with a bug."""
        if self.bug:
            return bugs.listing(self.bug)
        lines = inspect.getsource(compiled).splitlines()
        first = lines.index("    @tg.jit")
        return textwrap.dedent("\n".join(lines[first:-2]))

    def program(self) -> str:
        """Return the program that `jit` has made of the step, once it has run; nothing for one by hand."""
        if self.bug or not self.has_run:
            return ""
        return re.sub(r" {2,}# .*:\d+", "", self.step.source)  # without the line that each call comes from

    def check(self) -> dict[str, Any]:
        """Compare the gradients of the step with differences, on a few points and fresh weights."""
        width = self.model[0].out_features
        return bugs.check(self.bug, width, self.x[:8], self.y[:8])
