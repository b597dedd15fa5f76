"""A user's script, which type checkers must understand: `test_typing.py` runs them on it, and looks at their errors.

A line that ends in ``# error: ...`` must be an error; no other line may be one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, nn, optim
from tinygrad_mlp import functional as F


class Residual(nn.Module):
    def __init__(self, size: int) -> None:
        self.inner = nn.Linear(size, size, rng=0)
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.inner(x)))


model = nn.Sequential(nn.Linear(4, 8, rng=0), Residual(8), nn.Dropout(0.1, rng=1), nn.Linear(8, 3, rng=2))
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
schedule = optim.CosineAnnealingLR(optimizer, T_max=10)


@tg.jit
def step(x: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(model(x), labels, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@tg.jit(check=100)
def penalty(x: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    return (x * scale).sum(), x.mean(axis=0)


def batches(x: NDArray[np.float32], y: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
    for xb, yb in tg.minibatches(x, y, 16):
        yield Tensor(xb), Tensor(yb)


def train(x: NDArray[np.float32], y: NDArray[np.int64]) -> list[float]:
    losses = []
    for xb, yb in batches(x, y):
        loss = step(xb, yb)
        losses.append(float(loss))
        schedule.step()
    return losses


@tg.no_grad()
def predict(x: Tensor) -> NDArray[Any]:
    model.eval()
    return model(x).argmax(axis=1).numpy()


def derivatives(x: Tensor) -> tuple[Tensor, Tensor]:
    (first,) = tg.grad((x.tanh() * x).sum(), x, create_graph=True)
    (second,) = tg.grad(first.sum(), [x])
    return first, second


def curvature(x: Tensor) -> float:
    h = tg.hessian(lambda t: (t.exp() * t).sum(), x)
    return float(tg.hvp(lambda t: t.sin().sum(), x, np.ones(3)).sum() + h.trace())


def methods(x: Tensor) -> Tensor:
    y = x.reshape(2, 3).T.mT.flatten().sort().cumsum().clip(0, 1)
    z = (2 * y - y / 3 + y**2 - (-y) @ y)[:3]
    z += abs(z).max(keepdims=True).repeat(3)
    return z.astype(np.float32).sum(axis=0, keepdims=True)


def energy(position: Tensor, mass: float) -> Tensor:
    return (position**2).sum() * mass


force = tg.func.grad(energy)


class Calls(tg.Tracer):
    number = 0


with tg.tracing(Calls()) as calls:
    equal: Tensor = (model(Tensor([[1.0] * 4])) == 2.0).sum() + (Tensor([1.0]) != np.ones(1)).mean()
number: int = calls.number

gradient: Tensor | None = Tensor([1.0], requires_grad=True).grad
shape: tuple[int, ...] = model(Tensor([[1.0] * 4])).shape
report: bool = tg.gradcheck(np.tanh, np.ones(3)).ok

x = Tensor([1.0, 2.0], requires_grad=True)
x.tanh().sum().backwards()  # error: "backwards"
(x * 2).foo  # error: "foo"
F.relu(x).foo  # error: "foo"
model(x).logits  # error: "logits"
step(x)  # error: "labels"
step(x, x).items()  # error: "items"
penalty(x)[0].lossy  # error: "lossy"
x.sum(dim=0)  # error: "dim"
tg.gradd(x, x)  # error: "gradd"
force(x, 1.0, 2.0)  # error: "arguments"
tg.func.value_and_grad(energy)(x, 1.0, weight=2.0)  # error: "weight"
calls.numbered  # error: "numbered"
tg.tracing(Calls)  # error: "tracing"
