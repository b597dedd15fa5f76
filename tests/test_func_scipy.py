"""`tg.func.for_scipy`: SciPy's solvers with compiled functions and exact derivatives, and their export."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize as so

from tinygrad_mlp import func
from tinygrad_mlp.errors import GraphError


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def circle(x):
    return np.stack([np.sum(x * x), x[0] * x[1]])


X = np.linspace(-1.2, 1.5, 6)


def test_what_scipy_gets_is_floats_and_fresh_arrays_of_float64():
    p = func.for_scipy(rosenbrock)
    for x in (X, X.astype(np.float32).astype(float), X.tolist(), np.arange(6)):
        given = np.array(x, float)
        for _ in range(4):
            value, slope = p.fun_and_jac(x)
            assert type(value) is float and type(p.fun(x)) is float and value == p.fun(x)
            assert slope.dtype == np.float64 and slope.base is None and slope.flags.writeable
            np.testing.assert_allclose(slope, so.rosen_der(given), rtol=1e-12)
            np.testing.assert_allclose(p.hess(x), so.rosen_hess(given), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(p.hessp(x, X), so.rosen_hess_prod(given, X), rtol=1e-12)
    first = p.jac(X)
    kept = first.copy()
    p.jac(X + 1)
    np.testing.assert_array_equal(first, kept)
    assert p.program.eager is None and p.program.calls > 10


@pytest.mark.parametrize("options", [{"method": "BFGS"}, {"method": "L-BFGS-B"}, {"method": "Newton-CG"}])
def test_minimize(options):
    p = func.for_scipy(rosenbrock)
    more = {"hessp": p.hessp} if options["method"] == "Newton-CG" else {}
    found = so.minimize(p.fun_and_jac, np.full(6, 1.3), jac=True, **options, **more)
    np.testing.assert_allclose(found.x, np.ones(6), rtol=1e-3)


def test_a_constrained_problem():
    p, c = func.for_scipy(rosenbrock), func.for_scipy(circle)
    constraint = so.NonlinearConstraint(c.fun, [0, -np.inf], [1, 0.1], c.jac, c.hess)
    start = np.full(3, 0.1)
    found = so.minimize(p.fun_and_jac, start, jac=True, hess=p.hess, constraints=constraint, method="trust-constr")
    assert c.fun(found.x)[0] <= 1 + 1e-6 and c.fun(found.x)[1] <= 0.1 + 1e-6
    assert found.optimality < 1e-6
    v = np.array([0.5, -2.0])
    expected = v[0] * 2 * np.eye(3)
    expected[0, 1] = expected[1, 0] = v[1]
    np.testing.assert_allclose(c.hess(start, v), expected, rtol=1e-14)


def test_a_hessian_takes_weights_of_a_constraint_and_arguments_of_its_own():
    number, array = func.for_scipy(lambda x, a=1.0: a * np.sum(x**3)), func.for_scipy(circle)
    alone = func.for_scipy(lambda x: np.sum(x * x))
    constraint = so.NonlinearConstraint(alone.fun, 1, 1, alone.jac, alone.hess)
    goal = func.for_scipy(lambda x: np.sum((x - 2.0) ** 2))
    options = dict(jac=goal.jac, hess=goal.hess, constraints=constraint, method="trust-constr")
    np.testing.assert_allclose(so.minimize(goal.fun, [0.1, 0.2], **options).x, np.sqrt([0.5, 0.5]), rtol=1e-5)
    assert alone.hess([1.0, 2.0], [3.0]).tolist() == [[6, 0], [0, 6]]
    assert number.hess([1.0, 2.0], 0.5).tolist() == [[3, 0], [0, 6]]
    with pytest.raises(TypeError, match=r"circle gives an array, whose Hessian needs weights: hess\(x, v\)"):
        array.hess(np.ones(3))


def test_least_squares_root_and_curve_fit():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 3, 50)
    y = 2.5 * np.exp(-1.3 * t) + 0.5 + 0.01 * rng.normal(size=50)

    def model(t, a, b, c):
        return a * np.exp(-b * t) + c

    residuals = func.for_scipy(lambda p, t, y: model(t, *p) - y)
    found = so.least_squares(residuals.fun, np.ones(3), residuals.jac, args=(t, y))
    np.testing.assert_allclose(found.x, [2.5, 1.3, 0.5], rtol=0.05)
    fit = func.for_curve_fit(model)
    values, covariance = so.curve_fit(fit.fun, t, y, [1.0, 1.0, 1.0], jac=fit.jac)
    np.testing.assert_allclose(values, found.x, rtol=1e-6)
    theirs = so.curve_fit(model, t, y, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(covariance, theirs[1], rtol=1e-4)
    system = func.for_scipy(lambda x: np.stack([x[0] ** 2 + x[1] ** 2 - 4, x[0] * x[1] - 1]))
    solution = so.root(system.fun_and_jac, [2.0, 0.3], jac=True)
    np.testing.assert_allclose(system.fun(solution.x), [0, 0], atol=1e-12)
    wide = func.for_scipy(lambda x: np.stack([np.sum(x**2), np.prod(x)]))
    np.testing.assert_allclose(wide.jac(X), [2 * X, np.prod(X) / X], rtol=1e-12)


def test_further_arguments_are_live():
    p = func.for_scipy(lambda x, scale, shift: scale * np.sum((x - shift) ** 2))
    for i in range(5):
        assert p.jac(X, float(i), X[::-1].copy() * i).tolist() == (2.0 * i * (X - X[::-1] * i)).tolist()
    np.testing.assert_allclose(p.hess(X, 3.0, X), 6 * np.eye(6))


def test_what_branches_on_values_goes_on_eagerly():
    p = func.for_scipy(lambda x: np.sum(x**2) if x[0] > 0 else np.sum(x**4))
    with pytest.warns(RuntimeWarning, match="is not compiled"):
        p.jac(X)
    np.testing.assert_allclose(p.jac(X), 4 * X**3)
    np.testing.assert_allclose(p.jac(-X), -2 * X)


@pytest.mark.parametrize("f", [rosenbrock, lambda x: rosenbrock(x)])
def test_a_problem_is_exported_as_one_file(tmp_path, f):
    p = func.for_scipy(f)
    p.export(tmp_path / "problem.py", X)
    code = """
import sys, numpy as np, problem
x = np.linspace(-1.2, 1.5, 6)
assert type(problem.fun(x)) is float
np.savez("out.npz", fun=problem.fun(x), jac=problem.jac(x), hess=problem.hess(x), hessp=problem.hessp(x, x))
assert not [name for name in sys.modules if name.partition(".")[0] in ("tinygrad_mlp", "scipy", "pandas")]
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with np.load(tmp_path / "out.npz") as out:
        for name, value in {"fun": p.fun(X), "jac": p.jac(X), "hess": p.hess(X), "hessp": p.hessp(X, X)}.items():
            np.testing.assert_array_equal(out[name], value)


@pytest.mark.parametrize("rows", [2, 6])
def test_functions_that_give_arrays_are_exported_and_arguments_are_frozen(tmp_path, rows):
    def residuals(x, t, y):
        return x[0] * np.exp(-x[1] * t) + x[2] - y

    t, x = np.linspace(0.0, 1.0, rows), np.array([1.0, 0.5, -0.3])
    p = func.for_scipy(residuals)
    p.export(tmp_path / "fitted.py", x, t, t**2)
    func.for_scipy(lambda x, a: a * np.sum(x**3)).export(tmp_path / "number.py", x, 2.0)
    code = """
import numpy as np, fitted, number
x = np.array([1.0, 0.5, -0.3])
first = fitted.fun(x)
fitted.fun(x + 1)
value, jac = fitted.fun_and_jac(x)
assert (value == first).all()
np.savez("out.npz", fun=first, jac=jac, hess=fitted.hess(x, value))
assert (number.jac(x) == 6 * x**2).all()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with np.load(tmp_path / "out.npz") as out:
        expected = p.fun(x, t, t**2), p.jac(x, t, t**2), p.hess(x, p.fun(x, t, t**2), t, t**2)
        for name, value in zip(("fun", "jac", "hess"), expected, strict=True):
            np.testing.assert_array_equal(out[name], value)
    with pytest.warns(RuntimeWarning, match="not compiled"), pytest.raises(GraphError, match=r"since .* bool"):
        func.for_scipy(lambda x: np.sum(x) if x[0] > 0 else x[0]).export(tmp_path / "other.py", x)
    assert not (tmp_path / "other.py").exists()


def test_an_array_with_one_element_is_a_number():
    goal, zero = func.for_scipy(lambda z: (z - 2) ** 2), func.for_scipy(lambda z: z**3 - 8)
    assert goal.fun([3.0]) == 1.0 and goal.jac([3.0]).tolist() == [2.0] and goal.hess([3.0]).tolist() == [[2.0]]
    found = [
        so.minimize(goal.fun_and_jac, 3.0, jac=True).x,
        so.minimize(goal.fun, 3.0, jac=goal.jac, hess=goal.hess, method="trust-constr").x,
        so.root(zero.fun_and_jac, [3.0], jac=True).x,
        so.least_squares(zero.fun, [3.0], zero.jac).x,
        so.root_scalar(zero.fun, fprime=zero.jac, x0=3.0, method="newton").root,
        so.root_scalar(zero.fun, fprime=zero.jac, fprime2=zero.hess, x0=3.0, method="halley").root,
    ]
    np.testing.assert_allclose(np.hstack(found), np.full(6, 2.0), rtol=1e-6)
    with pytest.raises(TypeError, match=r"needs weights: hess\(x, v\)"):
        func.for_scipy(circle).hessp(X, X)


def test_curve_fit_counts_the_parameters():
    model = func.for_curve_fit(lambda t, a, b: a * np.exp(-b * t))
    t = np.linspace(0, 1, 20)
    np.testing.assert_allclose(so.curve_fit(model.fun, t, 2 * np.exp(-t), jac=model.jac)[0], [2, 1], rtol=1e-8)
