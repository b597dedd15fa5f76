"""Minimise with SciPy: exact derivatives, compiled, beside finite differences, HIPS/autograd and JAX.

    pip install '.[augment]'  # SciPy; autograd and jax take part where they are installed
    python examples/optimise.py

Rosenbrock's function of 100 numbers; the likelihood of a Gaussian process in three hyperparameters; and a problem with
two constraints, which takes Hessians. Each is written once, for any module that has NumPy's functions. The first one is
exported to a file that needs nothing but NumPy, with its gradient and Hessian.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
from scipy.optimize import NonlinearConstraint, minimize

import tinygrad_mlp as tg

RNG = np.random.default_rng(0)
TIMES = np.sort(RNG.uniform(0, 10, 80))
VALUES = np.sin(TIMES) + 0.3 * RNG.normal(size=80)


def rosenbrock(xp):
    """Return Rosenbrock's function, which is 0 where all numbers are 1."""
    return lambda x: xp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def likelihood(xp):
    """Return minus the log likelihood of a Gaussian process, by the logarithms of its length, scale and noise."""
    squares = (TIMES[:, None] - TIMES) ** 2

    def value(p):
        length, scale, noise = xp.exp(p[0]), xp.exp(p[1]), xp.exp(p[2])
        covariance = scale * xp.exp(-squares / (2 * length**2)) + noise * np.eye(len(TIMES))
        return 0.5 * VALUES @ xp.linalg.solve(covariance, VALUES) + 0.5 * xp.linalg.slogdet(covariance)[1]

    return value


def constraints(xp):
    """Return the squared distance from 0, and the sum of the products of neighbours."""
    return lambda x: xp.stack([xp.sum(x * x), xp.sum(x[1:] * x[:-1])])


class Peer:
    """What a framework makes of a function: value and gradient, and for the constrained problem all derivatives."""

    def __init__(self, name, xp, value_and_grad, derivatives):
        self.name, self.xp, self.value_and_grad, self.derivatives = name, xp, value_and_grad, derivatives


def ours():
    """Return this package as a peer."""

    def derivatives(f):
        p = tg.func.for_scipy(f)
        return p.fun, p.jac, p.hess

    return Peer("tinygrad_mlp", np, lambda f: tg.func.for_scipy(f).fun_and_jac, derivatives)


def hips():
    """Return HIPS/autograd as a peer."""
    autograd, xp = import_module("autograd"), import_module("autograd.numpy")

    def derivatives(f):
        if np.ndim(f(np.ones(2))) == 0:
            return f, autograd.grad(f), autograd.hessian(f)
        of_sum = autograd.hessian(lambda x, v: xp.dot(v, f(x)))
        return f, autograd.jacobian(f), of_sum

    return Peer("HIPS/autograd", xp, autograd.value_and_grad, derivatives)


def jax():
    """Return JAX, in double precision and compiled, as a peer."""
    module, xp = import_module("jax"), import_module("jax.numpy")
    module.config.update("jax_enable_x64", True)

    def arrays(f):
        compiled = module.jit(f)
        return lambda *args: module.tree.map(lambda a: np.array(a) if a.ndim else float(a), compiled(*args))

    def derivatives(f):
        if f(xp.ones(2)).ndim == 0:
            return arrays(f), arrays(module.grad(f)), arrays(module.hessian(f))
        return arrays(f), arrays(module.jacrev(f)), arrays(module.hessian(lambda x, v: xp.dot(v, f(x))))

    return Peer("JAX", xp, lambda f: arrays(module.value_and_grad(f)), derivatives)


def peers():
    """Return those that are installed, ours first."""
    found = [ours()]
    for make in (hips, jax):
        try:
            found.append(make())
        except ImportError:
            continue
    return found


def timed(function):
    """Return what a call gives, and how many seconds it took."""
    begin = time.perf_counter()
    return function(), time.perf_counter() - begin


def row(name, found, seconds, error):
    """Print a line of a table."""
    print(f"{name:22} {found.nfev:11} {1e3 * seconds:9.1f}  {error:.1e}")


def heading(title):
    """Print the top of a table."""
    print(f"\n{title}\n{'':22} evaluations        ms  error")


def unconstrained(title, problem, start, method, best=None):
    """Minimise with each peer's gradient, once to compile and once with the clock, and by finite differences."""
    heading(title)
    runs = []
    for peer in peers():
        f = peer.value_and_grad(problem(peer.xp))
        solve = lambda f=f: minimize(f, start, jac=True, method=method)
        solve()
        runs.append((peer.name, *timed(solve)))
    runs.append(("finite differences", *timed(lambda: minimize(problem(np), start, method=method))))
    best = min(float(found.fun) for _, found, _ in runs) if best is None else best
    for name, found, seconds in runs:
        row(name, found, seconds, float(found.fun) - best)
    return {name: (found, seconds) for name, found, seconds in runs}


def constrained():
    """Minimise Rosenbrock's function of ten numbers in a ball, with a bound on the products of neighbours."""
    heading("10 numbers, two constraints, trust-constr with Hessians (error: the first optimality condition)")
    start, results = np.full(10, 0.1), {}
    for peer in peers():
        f, c = peer.derivatives(rosenbrock(peer.xp)), peer.derivatives(constraints(peer.xp))
        bound = NonlinearConstraint(c[0], [0, -np.inf], [2, 0.5], c[1], c[2])
        solve = lambda f=f, bound=bound: minimize(
            f[0], start, jac=f[1], hess=f[2], constraints=bound, method="trust-constr", options={"maxiter": 300}
        )
        solve()
        found, seconds = timed(solve)
        row(peer.name, found, seconds, found.optimality)
        results[peer.name] = found
    bound = NonlinearConstraint(constraints(np), [0, -np.inf], [2, 0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, seconds = timed(
            lambda: minimize(rosenbrock(np), start, constraints=bound, method="trust-constr", options={"maxiter": 300})
        )
    row("finite differences", found, seconds, found.optimality)
    return results


def gradients():
    """Print how long value and gradient of Rosenbrock's function take, all peers in turn, medians."""
    print("\nvalue and gradient, us\n" + " " * 22 + "".join(f"{f'n = {n}':>10}" for n in (2, 100, 1000)))
    everyone = [(peer.name, peer.value_and_grad(rosenbrock(peer.xp))) for peer in peers()]
    rows = {name: [] for name, _ in (*everyone, ("finite differences", None))}
    for n in (2, 100, 1000):
        x, f = np.linspace(-1, 1, n), rosenbrock(np)
        steps = 1e-8 * np.eye(n)
        everyone_here = [*everyone, ("finite differences", lambda x, f=f, d=steps: [f(x), [f(x + e) for e in d]])]
        laps = {name: [] for name, _ in everyone_here}
        for lap in range(11):
            for name, g in everyone_here:
                count = 3 if name == "finite differences" else 50
                seconds = timed(lambda g=g, count=count, x=x: [g(x) for _ in range(count)])[1]
                laps[name] += [seconds / count] * (lap > 0)
        for name, found in laps.items():
            rows[name].append(1e6 * float(np.median(found)))
    for name, found in rows.items():
        print(f"{name:22}" + "".join(f"{t:10.1f}" for t in found))
    return rows


def export(folder):
    """Write Rosenbrock's function of 100 numbers as a module, which needs only NumPy; return its path."""
    path = Path(folder) / "rosenbrock.py"
    tg.func.for_scipy(rosenbrock(np)).export(path, np.zeros(100))
    return path


def main():
    """Print the tables; return what was found."""
    start = np.tile([-1.2, 1.0], 50)
    found = unconstrained("Rosenbrock, 100 numbers, L-BFGS-B", rosenbrock, start, "L-BFGS-B", best=0.0)
    process = unconstrained("Gaussian process, 3 hyperparameters, BFGS", likelihood, np.zeros(3), "BFGS")
    inside = constrained()
    speeds = gradients()
    with tempfile.TemporaryDirectory() as folder:
        path = export(folder)
        print(f"\nexported: {len(path.read_text(encoding='utf-8').splitlines())} lines of NumPy")
    return found, process, inside, speeds


if __name__ == "__main__":
    main()
