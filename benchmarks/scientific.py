"""Time derivatives that are no network's: the gradient and the Hessian of Rosenbrock's function, and of a trajectory.

    python benchmarks/scientific.py

Rosenbrock's function has 100 arguments, in float64. The trajectory is that of a pendulum, 50 steps of the method of
Runge and Kutta, and its derivative that of the last angle by the first. Each contestant runs in a process of its own,
with two threads; medians over rounds, in microseconds. Before it is timed, each must agree with eager to 1e-9.
"""

from __future__ import annotations

import argparse
from statistics import median

import common
import numpy as np

POINTS = {
    "Rosenbrock, gradient": np.linspace(-1.2, 1.0, 100),
    "Rosenbrock, Hessian": np.linspace(-1.2, 1.0, 100),
    "pendulum, gradient": np.array([1.0]),
}
CONTESTANTS = {
    "tinygrad_mlp": "tinygrad_mlp",
    "tinygrad_mlp jit": "tinygrad_mlp",
    "tinygrad_mlp native": "numba",
    "JAX jit": "jax",
    "autograd": "autograd",
}


def functions(np):
    """Return what is differentiated, in terms of a module like NumPy."""

    def rosenbrock(x):
        return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def pendulum(angle, h=0.02):
        speed = 0 * angle
        for _ in range(50):
            a, p = speed, -np.sin(angle)
            b, q = speed + h / 2 * p, -np.sin(angle + h / 2 * a)
            c, r = speed + h / 2 * q, -np.sin(angle + h / 2 * b)
            d, s = speed + h * r, -np.sin(angle + h * c)
            angle, speed = angle + h / 6 * (a + 2 * b + 2 * c + d), speed + h / 6 * (p + 2 * q + 2 * r + s)
        return np.sum(angle)

    return {"Rosenbrock": rosenbrock, "pendulum": pendulum}


def derivative(name, case):
    """Return a function from an array to the derivative as an array, in the manner of a contestant."""
    function, kind = case.split(", ")
    if name == "JAX jit":
        import jax

        jax.config.update("jax_enable_x64", True)
        f = functions(jax.numpy)[function]
        compiled = jax.jit(jax.grad(f) if kind == "gradient" else jax.hessian(f))
        return lambda x: np.asarray(compiled(x))
    if name == "autograd":
        import autograd

        f = functions(autograd.numpy)[function]
        return autograd.grad(f) if kind == "gradient" else autograd.hessian(f)
    import tinygrad_mlp as tg

    f = functions(np)[function]

    def gradient(x):
        x = tg.Tensor(x).detach().requires_grad_()
        return tg.grad(f(x), [x])[0]

    step = gradient if kind == "gradient" else lambda x: tg.hessian(f, x)
    if name == "tinygrad_mlp":
        return lambda x: step(tg.Tensor(x))._data
    step = tg.jit(step, backend="numba" if name.endswith("native") else "numpy")
    return lambda x: step(x)._data


def measure(name, case, seconds):
    """In a child: check a contestant, and return the microseconds of a derivative."""
    x = POINTS[case]
    f, expected = derivative(name, case), derivative("tinygrad_mlp", case)(x)
    if not np.allclose(f(x), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max()):
        raise ValueError(f"{case} is wrong")

    def run(calls):
        for _ in range(calls):
            f(x)

    return {"us": 1e6 * common.seconds_per_call(run, seconds)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="processes for each contestant (3)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of timing in each process (0.5)")
    options = parser.parse_args()
    print(common.machine())
    print(common.versions(CONTESTANTS.values()))
    rows = [["us", *POINTS]]
    for name in CONTESTANTS:
        cells = []
        for case in POINTS:
            answers = [
                common.in_child(__file__, name=name, case=case, seconds=options.seconds) for _ in range(options.rounds)
            ]
            times = [answer["us"] for answer in answers if "us" in answer]
            cells.append(f"{median(times):.1f}" if times else answers[-1]["note"])
        rows.append([name, *cells])
    common.print_table(rows)


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
