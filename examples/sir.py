"""Fit an epidemic: the rates of an SIR model from noisy counts, by gradients through the differential equation.

    pip install '.[augment]'  # SciPy
    python examples/sir.py

S, I and R are the shares of people who can fall ill, are ill, and have recovered (Kermack and McKendrick, Proc. R.
Soc. A 115, 1927): S' = -b S I, I' = b S I - c I, R' = c I. The data are the shares of the ill on 40 days, with noise;
b, c and the share of those who were ill on the first day are fitted. The same by SciPy alone takes differences of whole
solutions.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

import tinygrad_mlp as tg

TRUE = np.array([0.6, 0.15, 0.002])
DAYS = np.arange(0.0, 80.0, 2.0)
START = np.array([0.3, 0.3, 0.01])


def slope(y, t, b, c):
    """Return how fast the shares of the susceptible and of the ill change."""
    new = b * y[0] * y[1]
    return np.stack([-new, new - c * y[1]])


def ill(p):
    """Return the share of the ill on each day, for (b, c, share of the ill on the first day)."""
    y0 = np.stack([1 - p[2], p[2]])
    return tg.odeint(slope, y0, DAYS, args=(p[0], p[1]), method="rk4", steps=2)[:, 1]


def ill_by_scipy(p):
    """Return the same by SciPy's solver."""
    found = solve_ivp(
        lambda t, y: slope(y, t, p[0], p[1]), (0, DAYS[-1]), [1 - p[2], p[2]], t_eval=DAYS, rtol=1e-9, atol=1e-9
    )
    return found.y[1]


def data(seed):
    """Return what was counted: the true shares, and noise of 5 % of each."""
    return ill_by_scipy(TRUE) * np.random.default_rng(seed).normal(1, 0.05, DAYS.size)


def main(seed=0):
    """Fit by exact derivatives and by differences, and print both; return the parameters and their errors."""
    counts = data(seed)
    ours = tg.func.for_scipy(lambda p: 10 * (ill(p) - counts))
    runs = {
        "exact derivatives": lambda: least_squares(ours.fun, START, ours.jac, bounds=(0, 2)),
        "finite differences": lambda: least_squares(lambda p: 10 * (ill_by_scipy(p) - counts), START, bounds=(0, 2)),
    }
    runs["exact derivatives"]()  # compiles
    print(f"{'':20} {'b':>8} {'c':>8} {'ill at 0':>9}  solutions     ms")
    print(f"{'true':20} {TRUE[0]:8.4f} {TRUE[1]:8.4f} {TRUE[2]:9.5f}")
    results = {}
    for name, run in runs.items():
        begin = time.perf_counter()
        found = run()
        seconds, p = time.perf_counter() - begin, found.x
        solved = found.nfev + found.njev * (3 if name == "finite differences" else 1)
        print(f"{name:20} {p[0]:8.4f} {p[1]:8.4f} {p[2]:9.5f} {solved:10} {1e3 * seconds:6.0f}")
        results[name] = found
    jacobian = ours.jac(results["exact derivatives"].x)
    spread = np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)) * 2 * results["exact derivatives"].cost / 37)
    print(f"{'standard errors':20} {spread[0]:8.4f} {spread[1]:8.4f} {spread[2]:9.5f}")
    return results, spread


if __name__ == "__main__":
    main()
