"""Solve a differential equation with a network whose second derivatives are what it learns from.

    python examples/differential_equation.py

Poisson's equation on the unit square: u_xx + u_yy = -2 pi^2 sin(pi x) sin(pi y), and u = 0 on the border; its solution
is sin(pi x) sin(pi y). The network N makes u(x, y) = x (1 - x) y (1 - y) N(x, y), which is 0 on the border whatever N
is (Lagaris, Likas and Fotiadis, IEEE Transactions on Neural Networks 9, 1998). It never sees the solution: the loss
is the mean square of what is left of the equation, at points drawn anew for each step.

Finite differences, with about as many unknowns as the network has weights, solve the same for comparison.
"""

from __future__ import annotations

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim

STEPS, POINTS = 4000, 256


def exact(points):
    """Return the solution at points of shape (N, 2)."""
    return np.prod(np.sin(np.pi * points), axis=1)


def right_hand_side(points):
    """Return what the second derivatives must add up to."""
    return -2 * np.pi**2 * exact(points)


def solution(model, points):
    """Return u at the points, by the network."""
    return np.prod(points * (1 - points), axis=1) * model(points)[:, 0]


def laplacian(u, points):
    """Return u_xx + u_yy. Each u depends on its own point alone, so the gradient of their sum holds all derivatives."""
    (slopes,) = tg.grad(u.sum(), points, create_graph=True)
    (of_u_x,) = tg.grad(slopes[:, 0].sum(), points, create_graph=True)
    (of_u_y,) = tg.grad(slopes[:, 1].sum(), points, create_graph=True)
    return of_u_x[:, 0] + of_u_y[:, 1]


def finite_differences(n):
    """Return the solution by the five-point formula, on n by n points inside the square, and the points."""
    ticks = np.arange(1, n + 1) / (n + 1)
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    second = (np.eye(n, k=1) - 2 * np.eye(n) + np.eye(n, k=-1)) * (n + 1) ** 2
    operator = np.kron(second, np.eye(n)) + np.kron(np.eye(n), second)
    return np.linalg.solve(operator, right_hand_side(points)), points


def main(seed=0):
    """Train, print how far the network and finite differences are from the solution; return the network's error."""
    init_rng, point_rng = np.random.default_rng(seed).spawn(2)
    model = nn.MLP([2, 32, 32, 1], activation="tanh", rng=init_rng, dtype=np.float64)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=STEPS)

    @tg.jit
    def step(points):
        points = tg.Tensor(points, requires_grad=True)
        residual = laplacian(solution(model, points), points) - right_hand_side(points.detach())
        loss = (residual**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    print("step       loss")
    for i in range(1, STEPS + 1):
        loss = step(point_rng.random((POINTS, 2)))
        schedule.step()
        if i % 500 == 0:
            print(f"{i:4}  {loss.item():9.2e}", flush=True)

    weights = sum(parameter.size for parameter in model.parameters())
    side = round(weights**0.5)
    by_differences, points = finite_differences(side)
    with tg.no_grad():
        by_network = solution(model, points).numpy()
    error = float(np.abs(by_network - exact(points)).max())
    print("\nlargest error, where the solution reaches 1")
    print(f"{error:.1e}  network of {weights} weights, seed {seed}")
    print(f"{np.abs(by_differences - exact(points)).max():.1e}  finite differences with {side**2} unknowns")
    return error


if __name__ == "__main__":
    main()
