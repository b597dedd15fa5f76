"""Differential equations, and solutions of equations: derivatives of what a solver gives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks import as_numbers, check_integer, check_number
from ..core.tensor import Tensor
from ..core.tracer import mode
from ..errors import GraphError, OptionError, ShapeError, describe, nearest
from ..jit.live import recorded
from ..trees import leaves, parts, tree_map
from . import transforms
from .loops import scan
from .packed import Layout, apart, first_alike, lifted, packed, tried

Function = Callable[..., Any]
Array = np.ndarray[Any, Any]

RK4 = ([[], [1 / 2], [0, 1 / 2], [0, 0, 1]], [0, 1 / 2, 1 / 2, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6])
"""Kutta's method of order 4: the stages, their times, and their weights."""
DOPRI5 = (
    [
        [], [1 / 5], [3 / 40, 9 / 40], [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    ],
    [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
)  # fmt: skip
ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]
"""Dormand and Prince's method of order 5, and the weights of its error (J. Comput. Appl. Math. 6, 1980)."""
METHODS = {"dopri5": DOPRI5, "rk4": RK4}


def _stages(func: Function, y: Any, t: Any, h: Any, args: Any, method: Any) -> tuple[Any, list[Any]]:
    """Return the state after one step, and the slopes of its stages."""
    weights, times, last = method
    slopes: list[Any] = []
    for row, c in zip(weights, times, strict=True):
        slopes.append(_slope(func, _moved(y, h, row, slopes), t + c * h, args))
    return _moved(y, h, last, slopes), slopes


def _slope(func: Function, y: Any, t: Any, args: Any) -> Any:
    slope = func(y, t, *args)
    slope = np.stack(slope) if isinstance(slope, (list, tuple)) else slope
    if np.shape(slope) != np.shape(y):
        raise ShapeError(f"func gives {describe(slope)} for a state of shape {np.shape(y)}; make the shapes equal")
    return slope


def _moved(y: Any, h: Any, weights: Any, slopes: list[Any]) -> Any:
    parts = [w * k for w, k in zip(weights, slopes, strict=True) if w]
    return y + h * functools.reduce(lambda a, b: a + b, parts) if parts else y


def odeint(
    func: Function,
    y0: Any,
    t: Any,
    args: tuple[Any, ...] = (),
    *,
    method: str = "dopri5",
    rtol: float = 1e-8,
    atol: float = 1e-8,
    steps: int = 1,
    max_steps: int = 100_000,
) -> Any:
    """Solve ``dy/dt = func(y, t, *args)`` from ``y0`` at ``t[0]``; return y at all times, ``(len(t), *y0.shape)``.

    The order of the arguments is that of `scipy.integrate.odeint`. Gradients flow to ``y0`` and ``args``; they are
    those of the computed solution, step by step, by `scan`: exact to rounding, whatever the error of the steps is. The
    times are constant.

    Args:
        func: the slope; Tensors that it uses go through ``args``.
        y0: the state at the first time, an array or a number.
        t: times, each later than the one before, or each earlier.
        args: further arguments of ``func``: arrays, floats, and trees of them.
        method: "dopri5", with steps as long as the tolerances allow (Dormand and Prince 1980), or "rk4", ``steps``
            equal steps between two times, which can be compiled.
        rtol: the error that a step may make, relative to the state.
        atol: the same, absolute.
        steps: how many steps "rk4" takes from one time to the next.
        max_steps: how many "dopri5" may take.

    Raises:
        GraphError: "dopri5" needs more steps, or is used where values are not known, as in a jitted function.

    >>> y = odeint(lambda y, t, rate: -rate * y, 1.0, np.array([0.0, 1.0, 2.0]), args=(0.5,))
    >>> y.round(6)
    array([1.      , 0.606531, 0.367879])
    """
    if method not in METHODS:
        raise OptionError(f"unknown method {method!r}; {nearest(method, METHODS)}")
    if any(isinstance(a, Tensor) and a._requires_grad for a in leaves(t)):
        raise GraphError("the times of odeint are constant, and the gradient of t would be lost; pass t.detach()")
    times, y = as_numbers(t).astype(np.float64), recorded(y0)
    y = y if isinstance(y, Tensor) else as_numbers(y)
    y = y if y.dtype.kind == "f" else y.astype(np.float64)
    moves = np.diff(times)
    if times.ndim != 1 or times.size < 2 or not ((moves > 0).all() or (moves < 0).all()):
        raise ShapeError(f"t holds two times or more, in order, got {times}; sort them, each once")
    if method == "rk4":
        parts = np.full(len(moves), check_integer("steps", steps))
        starts = np.concatenate([a + np.arange(steps) * h / steps for a, h in zip(times, moves, strict=False)])
        lengths = np.repeat(moves / steps, steps)
    else:
        for name, value in (("rtol", rtol), ("atol", atol)):
            check_number(name, value, 0, 1, "a number from 0 to 1")
        starts, lengths, parts = _chosen(func, y, times, args, rtol, atol, max_steps)
    if isinstance(y, np.ndarray) and any(isinstance(a, Tensor) for a in leaves(args)):
        y = Tensor(y)
    _, path = scan(_step_of(first_alike(func), method), y, (starts, lengths), args=args)
    every = np.concatenate([y.reshape((1, *y.shape)), path])
    return every[np.concatenate([[0], np.cumsum(parts)])]


@functools.lru_cache(maxsize=64)
def _step_of(func: Function, method: str) -> Function:
    """Return a step of a method for `scan`: one object for one function, so that it is compiled once."""

    def step(y: Any, at: Any, *args: Any) -> Any:
        new, _ = _stages(func, y, _like(at[0], y), _like(at[1], y), args, METHODS[method])
        return new, new

    return step


def _like(number: Any, y: Any) -> Any:
    return number if number.dtype == y.dtype else number.astype(y.dtype)


def _chosen(
    func: Function, y0: Any, times: Array, args: Any, rtol: float, atol: float, max_steps: int
) -> tuple[Array, Array, Array]:
    """Return where the steps of "dopri5" start, how long they are, and how many lead from one time to the next."""
    mode.tracer.reads_value('the choice of steps by "dopri5", which "rk4" does not make,')
    bare = lambda a: a._data if isinstance(a, Tensor) else a
    y, args = np.array(bare(y0), np.float64), tree_map(bare, args)
    starts: list[float] = []
    lengths: list[float] = []
    parts: list[int] = []
    with apart():
        slope = lambda y, t, *args: np.asarray(bare(_slope(func, y, t, args)))
        t, h = times[0], (times[1] - times[0]) / 100
        for end in times[1:]:
            begin = len(starts)
            while (end - t) * np.sign(h) > 0:
                h = end - t if abs(h) > abs(end - t) or abs(end - t - h) < 1e-12 * abs(h) else h
                new, slopes = _stages(slope, y, t, h, args, DOPRI5)
                error = h * sum(w * k for w, k in zip(ERROR, [*slopes, slope(new, t + h, *args)], strict=True))
                scale = atol + rtol * np.maximum(np.abs(y), np.abs(new))
                size = float(np.sqrt(np.mean(np.square(error / scale)))) if y.size else 0.0
                if size <= 1:
                    starts.append(t)
                    lengths.append(h)
                    t, y = end if h == end - t else t + h, new
                factor = 5.0 if size == 0 else min(5.0, max(0.2, 0.9 * size**-0.2)) if size == size else 0.2
                h *= factor
                if len(starts) > max_steps or abs(h) < 1e-14 * max(1.0, abs(t)):
                    raise GraphError(f"odeint stops at t = {t:.6g} after {len(starts)} steps; look at func there")
            parts.append(len(starts) - begin)
    return np.array(starts), np.array(lengths), np.array(parts)


class _Implicit:
    """The solution of ``residual(x, *args) = 0`` as an op of the packed arguments."""

    def __init__(self, solve: Function, residual: Function, layout: Layout) -> None:
        self.solve, self.residual, self.layout = solve, residual, layout
        self.shape: tuple[int, ...] = ()

    def forward(self, z: Any) -> Any:
        """Return the solution that the solver gives for arrays."""
        args = tree_map(lambda a: a[()] if getattr(a, "ndim", 1) == 0 else a, self.layout.unpack(z))
        found = _bare(self.solve(*args))
        if parts(found) is not None:
            raise TypeError(f"a solution is a number or an array, this one is {describe(found)}; stack its parts")
        x = np.array(found, z.dtype)
        self.shape = x.shape
        return x.reshape(-1)

    def reverse(self, g: Any, out: Any, z: Any) -> Any:
        """Return ``-(dr/dz).T @ inv(dr/dx).T @ g``, by the implicit function theorem."""

        def residual(x: Any, z: Any) -> Any:
            r = self.residual(x.reshape(self.shape), *self.layout.unpack(z))
            if np.shape(r) != np.shape(x) and np.size(r) != x.size:
                raise ShapeError(
                    f"the residual has shape {np.shape(r)} for a solution of {self.shape}; make them equal"
                )
            return r.reshape(-1)

        by_x = transforms.jacrev(residual)(out, z)
        _, pull = transforms.vjp(lambda z: residual(out, z), z)
        return pull(-np.linalg.solve(by_x.T, g))[0]


def _bare(a: Any) -> Any:
    return a._data if isinstance(a, Tensor) else a


def implicit(residual: Function) -> Callable[[Function], Function]:
    """Decorator: differentiate what a black box solves, by the implicit function theorem.

    The function ``x = solve(*args)`` gets plain arrays and may do what it likes: call `scipy.optimize.root` or
    ``minimize``, or iterate to a fixed point. ``residual(x, *args)`` is 0 at its solution, and made of functions that
    have rules: for a minimum the gradient of the objective, for a fixed point ``f(x, *args) - x``. Then
    ``dx/dargs = -inv(dr/dx) @ dr/dargs``, which costs one linear system for a gradient, however long the solver took.
    Derivatives of any order are right as far as the solution is.

    Raises:
        GraphError: ``residual`` uses a Tensor from around it, whose gradient would be lost: pass it as an argument.
        numpy.linalg.LinAlgError: the residual has no derivative by x that can be inverted: solutions are not isolated.

    >>> @implicit(lambda x, a: x * x - a)
    ... def root(a):
    ...     return float(np.sqrt(a))  # any solver
    >>> from tinygrad_mlp import func
    >>> root(4.0), func.grad(root)(4.0), func.grad(func.grad(root))(4.0)
    (np.float64(2.0), np.float64(0.25), np.float64(-0.03125))
    """
    transforms._checked(residual, "implicit")

    def decorate(solve: Function) -> Function:
        transforms._checked(solve, "implicit")

        known: dict[Any, _Implicit] = {}

        @functools.wraps(solve)
        def solution(*args: Any) -> Any:
            args = tree_map(recorded, args)
            layout = Layout(args)
            again = layout.key in known
            op = known.setdefault(layout.key, _Implicit(solve, residual, layout))
            x = packed(layout.pack(args, np.dtype(np.float64)), op=op)
            x = x.reshape(op.shape)
            tried("implicit", residual, lifted((x, *args)), again)
            return x if isinstance(x, Tensor) or x.ndim else x[()]

        return solution

    return decorate
