"""Differentiate what a solver solves: a layer that is a fixed point, and a choice of regularisation.

    pip install '.[augment]'  # SciPy
    python examples/implicit.py

A *fixed point layer* returns the z for which z = tanh(W z + U x + b), however it is found (Bai, Kolter and Koltun,
arXiv:1909.01377); here it learns to tell two spirals apart. The *bilevel problem* chooses a weight decay for each
feature of a ridge regression by the error on held-out data, whose gradient goes through the minimum of the fit. Both
gradients come from the implicit function theorem, by `tg.implicit`: no step of a solver is recorded.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, root

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F

UNITS = 12


def residual(z, w, drive):
    """Return what is 0 at the fixed point of a batch, (N, UNITS) as one vector."""
    z = z.reshape(drive.shape)
    return (np.tanh(z @ w.T + drive) - z).reshape(-1)


@tg.implicit(residual)
def fixed_point(w, drive):
    """Return the fixed point for each row, by iteration: w is kept small enough for it to converge."""
    z = np.zeros_like(drive)
    for _ in range(200):
        new = np.tanh(z @ w.T + drive)
        if np.abs(new - z).max() < 1e-13:
            break
        z = new
    return new.reshape(-1)


def spirals(rng, n):
    """Return points on two spirals, and which one each is on."""
    labels = rng.integers(0, 2, n)
    t = rng.uniform(0.5, 2.5, n)
    angle = 2.2 * t + np.pi * labels
    return np.stack([t * np.cos(angle), t * np.sin(angle)], 1) / 2 + rng.normal(0, 0.02, (n, 2)), labels


def scores(p, x):
    """Return the scores of both classes: a linear map of the fixed point."""
    w = 0.9 * p["w"] / (1 + np.sqrt(np.sum(p["w"] ** 2)))  # a contraction
    z = fixed_point(w, x @ p["u"].T + p["b"]).reshape(x.shape[0], UNITS)
    return z @ p["v"].T + p["c"]


def learn(seed=0, steps=250):
    """Train the fixed point layer, and return its accuracy on new points before and after."""
    rng = np.random.default_rng(seed)
    p = {
        "w": rng.normal(size=(UNITS, UNITS)), "u": 2 * rng.normal(size=(UNITS, 2)), "b": rng.normal(size=UNITS),
        "v": 0.3 * rng.normal(size=(2, UNITS)), "c": np.zeros(2),
    }  # fmt: skip
    x, labels = spirals(rng, 60)
    new, truth = spirals(rng, 500)
    accuracy = lambda: float(np.mean(scores(p, new).argmax(axis=1) == truth))
    accuracies = [accuracy()]
    slope = tg.func.value_and_grad(lambda p: F.cross_entropy(scores(p, x), labels))
    first, second = ({name: np.zeros_like(a) for name, a in p.items()} for _ in range(2))
    for step in range(1, steps + 1):  # Adam
        value, g = slope(p)
        for name in p:
            first[name] += 0.1 * (g[name] - first[name])
            second[name] += 0.001 * (g[name] ** 2 - second[name])
            size = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
            p[name] = p[name] - 0.05 * first[name] / (1 - 0.9**step) / size
        if step % 50 == 0:
            print(f"{step:5}  {value:8.4f}  {100 * accuracy():6.1f} %")
    return accuracies[0], accuracy()


def objective(beta, decay, x, y):
    """Return the loss of a ridge regression with a weight decay for each feature."""
    return np.mean((x @ beta - y) ** 2) + np.sum(np.exp(decay) * beta**2)


@tg.implicit(tg.func.grad(objective))
def ridge(decay, x, y):
    """Return the coefficients, by SciPy."""
    start = np.zeros(x.shape[1])
    slope = tg.func.value_and_grad(objective)
    return minimize(slope, start, (decay, x, y), jac=True, method="BFGS", options={"gtol": 1e-10}).x


def bilevel(seed=0):
    """Choose the decays on held-out data; return the error on new data with one decay for all, and with the chosen."""
    rng = np.random.default_rng(seed)
    true = np.concatenate([rng.normal(size=5), np.zeros(15)])
    draw = lambda n: (x := rng.normal(size=(n, 20)), x @ true + rng.normal(size=n))
    fit, held, new = draw(30), draw(60), draw(2000)
    error = lambda decay, data: np.mean((data[0] @ ridge(decay, *fit) - data[1]) ** 2)
    outer = tg.func.value_and_grad(lambda decay: error(decay, held))
    same = min((float(error(np.full(20, d), held)), d) for d in np.linspace(-6, 1, 15))[1]
    found = minimize(outer, np.full(20, same), jac=True, method="L-BFGS-B", bounds=[(-8, 4)] * 20)
    return float(error(np.full(20, same), new)), float(error(found.x, new))


def check():
    """Return how far the gradient is from that of another solver's solution, by differences."""
    rng = np.random.default_rng(0)
    w, drive = 0.3 * rng.normal(size=(UNITS, UNITS)) / UNITS**0.5, rng.normal(size=(3, UNITS))
    g = tg.func.grad(lambda w: np.sum(fixed_point(w, drive) ** 2))(w)
    direction, h = rng.normal(size=w.shape), 1e-4
    solve = lambda w: root(residual, np.zeros(drive.size), (w, drive), tol=1e-14).x
    ends = [np.sum(solve(w + s * h * direction) ** 2) for s in (1, -1)]
    return float(abs(np.sum(g * direction) / ((ends[0] - ends[1]) / (2 * h)) - 1))


def main(seed=0):
    """Print both examples; return the accuracies, the errors, and the relative error of a gradient."""
    print("two spirals, a fixed point layer\n step      loss  accuracy on 500 new points")
    accuracies = learn(seed)
    errors = bilevel(seed)
    print("\nridge regression, 30 rows, 20 features of which 5 count: squared error on new data")
    print(f"one weight decay, the best of 15 on held-out data  {errors[0]:.3f}")
    print(f"one for each feature, by gradients                 {errors[1]:.3f}")
    wrong = check()
    print(f"\ngradient of a fixed point beside differences of another solver's: relative error {wrong:.1e}")
    return accuracies, errors, wrong


if __name__ == "__main__":
    main()
