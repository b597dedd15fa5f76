"""What SciPy's solvers take: a function with its derivatives, as callables that are compiled programs."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..checks import as_numbers, why_not_called
from ..core.tensor import Tensor
from ..errors import GraphError
from ..jit.function import Jitted
from . import transforms

Function = Callable[..., Any]
Array = np.ndarray[Any, Any]
VALUE, GRADIENT, PUSH, PULL, CURVATURE = 1, 2, 3, 4, 5
"""What a program computes, told by the number of axes of its second argument, a direction."""


class ForScipy:
    """A function of a vector with its derivatives, for `scipy.optimize`; made by `for_scipy`, which says what it does.

    Each method gives a float, or a fresh array of float64. Further arguments are those of ``args=``. An array with one
    element counts as a number, and derivatives at a number are numbers, as `scipy.optimize.root_scalar` takes them.
    """

    def __init__(self, f: Function) -> None:
        transforms._checked(f, "for_scipy")
        self.shapes: dict[Any, tuple[int, ...]] = {}
        self.f = f

        def program(x: Any, direction: Any, *args: Any) -> Any:
            def at(x: Any) -> Any:
                y = f(x, *args)
                return y.reshape(()) if getattr(y, "ndim", 0) and y.size == 1 else y

            def along(x: Any) -> Any:
                return np.sum(at(x) * v) if v.size else at(x)

            kind, n = direction.ndim, x.shape[0]
            if kind == VALUE:
                return at(x)
            if kind == GRADIENT:
                return transforms.value_and_grad(at)(x)
            direction = direction.reshape(-1)
            if kind == PUSH:
                return transforms.jvp(at, (x,), (direction,))[1]
            if kind == PULL:
                y, pull = transforms.vjp(at, x)
                return pull(direction.reshape(y.shape))[0]
            v = direction[n:]
            return transforms.hvp(along)(x, direction[:n])

        program.__name__ = name if (name := getattr(f, "__name__", "")).isidentifier() else "f"
        self.program = Jitted(program, strict=False)

    def _run(self, kind: int, x: Any, direction: Any, args: tuple[Any, ...]) -> Any:
        x, direction = np.array(x, np.float64, ndmin=1), np.asarray(direction, np.float64)
        result: Any = self.program(x, direction.reshape((1,) * (kind - 1) + (-1,)), *args)
        return tuple(map(_fresh, result)) if isinstance(result, tuple) else _fresh(result)

    def _shape(self, x: Any, args: tuple[Any, ...]) -> tuple[int, ...]:
        """Return the shape of the results for x."""
        if np.shape(x) not in self.shapes:
            self.shapes[np.shape(x)] = np.shape(self.fun(x, *args))
        return self.shapes[np.shape(x)]

    def fun(self, x: Any, *args: Any) -> Any:
        """Return ``f(x)``, a float where it is a number."""
        return self._run(VALUE, x, (), args)

    def fun_and_jac(self, x: Any, *args: Any) -> tuple[Any, Any]:
        """Return ``f(x)`` and its gradient, or its Jacobian, for ``jac=True``."""
        if self._shape(x, args):
            return self.fun(x, *args), self.jac(x, *args)
        value, slope = self._run(GRADIENT, x, (), args)
        return value, slope if np.ndim(x) else slope.item()

    def jac(self, x: Any, *args: Any) -> Any:
        """Return the gradient (n,) of a number, or the Jacobian (m, n) of m results."""
        shape, n = self._shape(x, args), np.size(x)
        if not shape:
            return self.fun_and_jac(x, *args)[1]
        m = math.prod(shape)
        kind, axis = _rows_by(n, m)
        rows = [np.ravel(self._run(kind, x, e, args)) for e in np.eye(n if kind == PUSH else m)]
        return np.stack(rows, axis) if rows else np.zeros((m, n))

    def hessp(self, x: Any, p: Any, *args: Any) -> Array:
        """Return the product of the Hessian of a number with a vector, without the Hessian."""
        if self._shape(x, args):
            raise self._needs_weights()
        return self._run(CURVATURE, x, p, args)

    def hess(self, x: Any, *args: Any) -> Any:
        """Return the Hessian (n, n) of a number: ``hess(x, *args)``; of m results their sum, weighted by ``v``, for a
        `scipy.optimize.NonlinearConstraint`: ``hess(x, v, *args)``."""
        v: Any = ()
        if args and (why_not_called(self.f, None, *args) or self._shape(x, args[1:])):
            v, args = args[0], args[1:]
        elif self._shape(x, args):
            raise self._needs_weights()
        columns = [self._run(CURVATURE, x, np.concatenate([e, np.ravel(v)]), args) for e in np.eye(np.size(x))]
        return np.stack(columns, 1) if np.ndim(x) else columns[0].item()

    def _needs_weights(self) -> TypeError:
        return TypeError(f"{self.program.__name__} gives an array, whose Hessian needs weights: hess(x, v)")

    def export(self, path: str | os.PathLike[str], x: Any, *args: Any) -> None:
        """Write a module that needs only NumPy, for an ``x`` of this length, with an npz file of its arrays beside it.

        It has ``fun``, ``fun_and_jac``, ``jac`` and ``hess``, of a function that gives a number ``hessp`` too. They
        take no further arguments: those of the function are frozen as they are given here.

        Raises:
            GraphError: the function cannot be compiled, since it branches on values.
        """
        if args:
            bound: Any = lambda x: self.f(x, *args)
            return ForScipy(functools.wraps(self.f)(bound)).export(path, x)
        x, name = np.array(x, np.float64, ndmin=1), self.program.__name__
        shape, n = self._shape(x, ()), x.size
        m = math.prod(shape)
        kind, axis = _rows_by(n, m) if shape else (GRADIENT, 0)
        size = {GRADIENT: 0, PUSH: n, PULL: m}[kind]
        self.fun(x)
        if self.program.eager is not None:
            raise GraphError(f"{name} cannot be exported, since it is not compiled: {self.program.eager}")
        kinds = ((VALUE, 0), (kind, size), (CURVATURE, n + m * bool(shape)))
        self.program.export(path, *((x, np.zeros((1,) * (k - 1) + (count,))) for k, count in kinds))
        text = (_OF_ARRAYS if shape else _CALLABLES).replace("PROGRAM", name)
        for word, value in {"DIRECTION": (1,) * (kind - 1) + (-1,), "SIZE": size, "AXIS": axis}.items():
            text = text.replace(word, str(value))
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def _rows_by(n: int, m: int) -> tuple[int, int]:
    """Return how a Jacobian (m, n) is computed with the fewest calls, and along which axis these stand."""
    return (PUSH, 1) if n <= m else (PULL, 0)


_OF_ARRAYS = f'''

def fun(x):
    """Return the results at x."""
    return PROGRAM(x, np.empty(0))[0]


def jac(x):
    """Return the Jacobian at x, a row for each result."""
    return np.stack([np.ravel(PROGRAM(x, np.reshape(e, DIRECTION))[0]) for e in np.eye(SIZE)], AXIS)


def fun_and_jac(x):
    """Return the results and the Jacobian at x."""
    return fun(x), jac(x)


def hess(x, v):
    """Return the Hessian at x of the sum of the results, weighted by v."""
    rows = [np.reshape(np.concatenate([e, np.ravel(v)]), {(1,) * (CURVATURE - 1) + (-1,)}) for e in np.eye(len(x))]
    return np.stack([PROGRAM(x, row)[0] for row in rows], 1)
'''
_CALLABLES = f'''

def fun(x):
    """Return the value at x."""
    return float(PROGRAM(x, np.empty(0))[0])


def fun_and_jac(x):
    """Return the value and the gradient at x."""
    value, gradient = PROGRAM(x, np.empty({(1,) * (GRADIENT - 1) + (0,)}))
    return float(value), gradient


def jac(x):
    """Return the gradient at x."""
    return fun_and_jac(x)[1]


def hessp(x, p):
    """Return the product of the Hessian at x with a vector."""
    return PROGRAM(x, np.reshape(p, {(1,) * (CURVATURE - 1) + (-1,)}))[0]


def hess(x):
    """Return the Hessian at x."""
    return np.stack([hessp(x, e) for e in np.eye(len(x))], 1)
'''


def _fresh(result: Any) -> Any:
    array = np.array(result._data if type(result) is Tensor else as_numbers(result), np.float64)
    return array if array.ndim else float(array)


def for_scipy(f: Function) -> ForScipy:
    """Return a function ``f(x, *args)`` of a vector with its derivatives, as callables that SciPy's solvers take.

    ==================================== ================================================================
    ``minimize``                         ``minimize(p.fun_and_jac, x0, jac=True, hess=p.hess)``, or ``hessp=p.hessp``
    ``least_squares``                    ``least_squares(p.fun, x0, p.jac)``
    ``root``                             ``root(p.fun_and_jac, x0, jac=True)``
    ``root_scalar``                      ``root_scalar(p.fun, x0=x0, fprime=p.jac, fprime2=p.hess)``
    ``NonlinearConstraint``              ``NonlinearConstraint(p.fun, lower, upper, p.jac, p.hess)``
    ==================================== ================================================================

    All are programs, compiled at the third call, and derivatives are exact. One that cannot be compiled, since it
    branches on values, goes on eagerly after a warning. `for_curve_fit` is for `scipy.optimize.curve_fit`.

    >>> rosenbrock = for_scipy(lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))
    >>> rosenbrock.fun_and_jac([0.0, 0.0])
    (1.0, array([-2.,  0.]))
    >>> rosenbrock.hess([1.0, 1.0])
    array([[ 802., -400.],
           [-400.,  200.]])
    """
    return ForScipy(f)


def for_curve_fit(f: Function) -> SimpleNamespace:
    """Return a model ``f(x, *parameters)`` as `scipy.optimize.curve_fit` takes it: ``fun``, and ``jac`` beside it.

    >>> model = for_curve_fit(lambda x, a, b: a * np.exp(-b * x))
    >>> model.jac(np.array([0.0, 1.0]), 2.0, 0.0)
    array([[ 1.,  0.],
           [ 1., -2.]])
    """
    transforms._checked(f, "for_curve_fit")
    inner = ForScipy(lambda p, x: f(x, *p))

    @functools.wraps(f)  # curve_fit counts the parameters that it shows
    def fun(x: Any, *parameters: Any) -> Any:
        return inner.fun(parameters, np.asarray(x))

    @functools.wraps(f)
    def jac(x: Any, *parameters: Any) -> Any:
        return inner.jac(parameters, np.asarray(x))

    return SimpleNamespace(fun=fun, jac=jac)
