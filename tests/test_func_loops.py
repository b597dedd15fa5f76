"""`scan`, `checkpoint`, `odeint` and `implicit`: against loops that are written out, SciPy, and closed forms."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, func, functional, nn
from tinygrad_mlp.errors import GraphError, ShapeError

RNG = np.random.default_rng(0)
INIT = {"p": np.array([0.1, 0.2, 0.3]), "q": np.zeros(3)}
XS = (np.linspace(1, 2, 20), RNG.normal(size=(20, 3)))


def step(carry, x, rate):
    scale, push = x
    new = {"p": carry["p"] + 0.1 * carry["q"], "q": carry["q"] - 0.1 * np.sin(carry["p"]) * rate * scale + 0.01 * push}
    return new, (new["p"], np.sum(new["q"] ** 2))


def scanned(init, xs, rate):
    carry, (path, sums) = tg.scan(step, init, xs, args=(rate,))
    return np.sum(path**2) + np.sum(carry["q"]) + sums[3]


def written_out(init, xs, rate):
    carry, total, sums = init, 0.0, []
    for i in range(20):
        carry, (p, s) = step(carry, (xs[0][i], xs[1][i]), rate)
        total, sums = total + np.sum(p**2), [*sums, s]
    return total + np.sum(carry["q"]) + sums[3]


def same(found, expected, rtol=1e-12):
    for a, b in zip(func_leaves(found), func_leaves(expected), strict=True):
        a, b = (t.detach().numpy() if isinstance(t, Tensor) else t for t in (a, b))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def func_leaves(tree):
    from tinygrad_mlp.trees import leaves

    return leaves(tree)


def test_scan_is_the_loop_with_its_derivatives():
    at = (INIT, XS, 1.3)
    same(scanned(*at), written_out(*at))
    same(func.grad(scanned, (0, 1, 2))(*at), func.grad(written_out, (0, 1, 2))(*at))
    same(func.hessian(scanned, (0, 2))(*at), func.hessian(written_out, (0, 2))(*at))
    same(func.jvp(scanned, at, at), func.jvp(written_out, at, at))
    tg.assert_gradcheck(
        lambda q, rate: scanned({"p": INIT["p"], "q": q}, XS, rate), [np.ones(3), np.array(1.3)], order=2
    )


def test_scan_gives_arrays_for_arrays_and_keeps_dtypes():
    carry, ys = tg.scan(lambda c, x: (c + x, None), np.float32(0), np.arange(3, dtype=np.float32))
    assert carry == 3 and carry.dtype == np.float32 and ys is None
    carry, ys = tg.scan(lambda c, x: ((c[0] * 2, c[1]), c[1]), (np.ones(2), np.ones(2, np.float32)), length=3)
    assert type(carry[0]) is np.ndarray and carry[0].tolist() == [8.0, 8.0]
    assert ys.dtype == np.float32 and ys.shape == (3, 2)
    assert isinstance(tg.scan(lambda c, x: (c, c), Tensor(1.0), length=2)[1], Tensor)


def test_scan_takes_any_callable_and_arguments_that_do_not_move():
    class Power:
        __hash__ = None

        def __call__(self, carry, x, options):
            return carry * x ** options["n"] * options["by"], carry

    options, xs = {"n": 2, "by": 0.5}, np.arange(1.0, 4)
    last, carries = tg.scan(Power(), 1.0, xs, args=(options,))
    assert last == 4.5 and carries.tolist() == [1, 0.5, 1]
    slope = func.grad(lambda by: tg.scan(Power(), 1.0, xs, args=({"n": 2, "by": by},))[0])(0.5)
    assert slope == pytest.approx(27)


def test_scan_of_any_length_is_the_same_program():
    sizes, seconds = [], []
    for n in (50, 5000):
        xs = np.linspace(1, 2, n), np.zeros((n, 3))
        run = tg.jit(func.value_and_grad(lambda xs, rate: scanned(INIT, xs, rate[0]), (0, 1)))
        for _ in range(3):
            begin = time.perf_counter()
            run(xs, np.array([1.3]))
            seconds.append(time.perf_counter() - begin)
        assert run.eager is None
        sizes.append(sum(map(bool, run.source.splitlines())))
        assert f"for i, x in enumerate(xs.reshape(({n}, 4))):" in run.source
        same(
            run(xs, np.array([1.3])),
            func.value_and_grad(lambda xs, r: scanned(INIT, xs, r[0]), (0, 1))(xs, np.array([1.3])),
        )
    assert sizes[0] == sizes[1] <= 60


def test_scan_needs_memory_for_the_carries_alone():
    def wide(c, x):
        for _ in range(20):
            c = np.sin(c) + x
        return c, None

    def peak(f):
        tracemalloc.start()
        func.grad(f)(np.ones(1000))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    loop = lambda c: [c := wide(c, 0.1)[0] for _ in range(100)][-1].sum()
    scan = lambda c: tg.scan(wide, c, np.full(100, 0.1))[0].sum()
    scan(np.ones(1000))
    same(func.grad(scan)(np.ones(1000)), func.grad(loop)(np.ones(1000)))
    assert peak(scan) < 0.5 * peak(loop)


def test_checkpoint_is_the_function_with_less_memory():
    def f(p, x):
        for _ in range(10):
            x = np.tanh(p["w"] @ x + p["b"])
        return {"x": x, "norm": np.sum(x**2)}

    p, x = {"w": RNG.normal(size=(3, 3)), "b": np.ones(3)}, RNG.normal(size=3)
    again = func.checkpoint(f)
    same(again(p, x), f(p, x))
    for by in (0, 1):
        ours, theirs = (func.grad(lambda p, x, g=g: g(p, x)["norm"], by)(p, x) for g in (again, f))
        same(ours, theirs)
    same(*(func.hessian(lambda x, g=g: g(p, x)["norm"])(x) for g in (again, f)))


W = Tensor(2.0, requires_grad=True, name="w")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tg.scan(lambda c, x: (c * W, None), 1.0, length=3), GraphError, "uses w of shape .*pass it in args"),
        (lambda: func.checkpoint(lambda x: x * W)(1.0), GraphError, "pass it in args"),
        (lambda: tg.scan(lambda c, x: (c[:2], c), np.ones(3), length=3), ShapeError, r"next carry is float64\(2,\)"),
        (lambda: tg.scan(lambda c, x: (c, c), 1.0, (np.ones(3), np.ones(2))), ShapeError, "first axis"),
        (lambda: tg.scan(lambda c, x: (c, c), 1.0, np.ones(0)), ShapeError, "one step or more"),
        (lambda: tg.scan(lambda c, x: (c, c), 1.0), TypeError, "length must be"),
        (lambda: tg.odeint(lambda y, t: y, 1.0, [0, 1], method="rk5"), ValueError, "did you mean 'rk4'"),
        (lambda: tg.odeint(lambda y, t: np.sum(y), np.ones(2), [0, 1]), ShapeError, r"for a state of shape \(2,\)"),
        (lambda: tg.odeint(lambda y, t: y, 1.0, [0, W]), GraphError, "gradient of t would be lost"),
        (
            lambda: tg.scan(lambda c, x: c, 1.0, np.ones(3)),
            TypeError,
            "returns a pair, the next carry and a result; got",
        ),
        (lambda: tg.scan(lambda c, x: (c, x), 1.0, [1.0, 2.0]), ShapeError, r"write np.array\(xs\), since a list is"),
        (lambda: tg.implicit(lambda x, a: x - a)(lambda a: {"x": a})(1.0), TypeError, "a number or an array, this one"),
        (lambda: tg.odeint(lambda y, t: y, 1.0, [0, 1, 1]), ShapeError, "in order"),
        (lambda: tg.odeint(lambda y, t: y * y, 1.0, [0.0, 2.0]), GraphError, "stops at t = 1"),
        (lambda: tg.implicit(lambda x, a: x - a * W)(lambda a: a)(Tensor(1.0)), GraphError, "pass it in args"),
        (lambda: func.grad(tg.implicit(lambda x, a: a * x[:1])(lambda a: np.ones(2)))(1.0), ShapeError, "grad takes"),
        (
            lambda: func.jacrev(tg.implicit(lambda x, a: a * x[:1])(lambda a: np.ones(2)))(1.0),
            ShapeError,
            r"residual has shape \(1,\) for a solution of \(2,\)",
        ),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_jitted_function_refuses_what_scan_would_freeze():
    run = tg.jit(lambda x: tg.scan(lambda c, _: (c * x, None), np.ones(3), length=2)[0])
    with pytest.raises(GraphError, match="pass it in args"):
        run(np.ones(3))


def pendulum(y, t, g, drag):
    return np.stack([y[1], -g * np.sin(y[0]) - drag * y[1]])


TIMES = np.array([0.0, 0.5, 1.1, 3.0])


@pytest.mark.parametrize("options", [{}, {"method": "rk4", "steps": 200}])
@pytest.mark.parametrize("times", [TIMES, TIMES[::-1]])
def test_odeint_against_scipy(options, times):
    ours = tg.odeint(pendulum, np.array([1.0, 0.2]), times, args=(2.0, 0.1), **options)
    theirs = scipy.integrate.odeint(pendulum, [1.0, 0.2], times, args=(2.0, 0.1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"method": "rk4", "steps": 3}])
def test_gradients_of_odeint_are_those_of_the_computed_solution(options):
    def last(y0, g, drag):
        return np.sum(tg.odeint(pendulum, y0, TIMES, args=(g, drag), **options)[-1] ** 2)

    at = (np.array([1.0, 0.2]), 2.0, 0.1)
    slopes = func.grad(last, (0, 1, 2))(*at)
    if options:  # the steps are fixed: exact
        tg.assert_gradcheck(last, [np.array(a) for a in at], order=2)
    for i, h in ((1, 1e-5), (2, 1e-5)):
        moved = [last(*(a + s * h * (j == i) for j, a in enumerate(at))) for s in (1, -1)]
        np.testing.assert_allclose(slopes[i], (moved[0] - moved[1]) / (2 * h), rtol=1e-5)


def test_order_of_both_methods():
    exact = np.exp(-1.0)
    errors = [abs(tg.odeint(lambda y, t: -y, 1.0, [0.0, 1.0], method="rk4", steps=n)[-1] - exact) for n in (10, 20)]
    assert 3.8 < np.log2(errors[0] / errors[1]) < 4.2
    errors = [abs(tg.odeint(lambda y, t: -y, 1.0, [0.0, 1.0], rtol=r, atol=r)[-1] - exact) for r in (1e-4, 1e-9)]
    assert errors[1] < 1e-8 and errors[0] < 1e-3


def test_steps_between_two_times_have_times_of_their_own():
    y = tg.odeint(lambda y, t: 3 * t**2, 0.0, [0.0, 1.0, 2.0], method="rk4", steps=3)  # Simpson's rule: exact for t**3
    np.testing.assert_allclose(y, [0, 1, 8], atol=1e-13)


def test_rk4_is_compiled_and_dopri5_is_refused_there():
    fit = lambda g: np.sum(
        tg.odeint(pendulum, np.array([1.0, 0.2]), TIMES, args=(g[0], 0.1), method="rk4", steps=9) ** 2
    )
    run = tg.jit(func.value_and_grad(fit))
    for _ in range(4):
        same(run(np.array([2.0])), func.value_and_grad(fit)(np.array([2.0])))
    assert run.eager is None
    with pytest.raises(GraphError, match="rk4"):
        tg.jit(lambda g: tg.odeint(pendulum, np.ones(2), TIMES, args=(g[0], 0.1)))(np.ones(1))


def cubic(x, a, b):
    return x**3 + a * x - b


@tg.implicit(cubic)
def solve_cubic(a, b):
    return scipy.optimize.root(lambda x: cubic(x, a, b), np.zeros(np.shape(b)), tol=1e-14).x


def test_implicit_gradients_of_any_order():
    a, b = 1.5, np.array([1.0, -2.0, 0.3])
    x = solve_cubic(a, b)
    np.testing.assert_allclose(cubic(x, a, b), 0, atol=1e-12)
    np.testing.assert_allclose(func.jacrev(solve_cubic, 1)(a, b), np.diag(1 / (3 * x**2 + a)), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(func.jacfwd(solve_cubic, 0)(a, b), -x / (3 * x**2 + a), rtol=1e-10)
    tg.assert_gradcheck(lambda a, b: np.sum(solve_cubic(a, b) ** 2), [np.array(a), b], order=2, rtol=1e-7)
    run = tg.jit(func.grad(lambda b: np.sum(solve_cubic(a, b) ** 2)))
    for scale in (1, 2, 3, 4):
        same(run(b * scale), func.grad(lambda b: np.sum(solve_cubic(a, b) ** 2))(b * scale))


def test_implicit_of_equations_that_are_not_symmetric():
    matrix = np.array([[2.0, 1.0, 0.0], [-3.0, 1.0, 0.5], [0.0, 4.0, -1.0]])
    solve = tg.implicit(lambda x, a, b: a @ x - b)(np.linalg.solve)
    np.testing.assert_allclose(func.jacrev(solve, 1)(matrix, np.ones(3)), np.linalg.inv(matrix), rtol=1e-12)
    tg.assert_gradcheck(lambda a, b: np.sum(solve(a, b) ** 2), [matrix, np.ones(3)], order=2)


def test_implicit_of_a_minimum_and_of_a_tree():
    def objective(x, p):
        return np.sum((p["a"] @ x - p["b"]) ** 2) + p["ridge"] * np.sum(x**2)

    @tg.implicit(func.grad(objective))
    def ridge(p):
        return scipy.optimize.minimize(func.value_and_grad(objective), np.zeros(2), (p,), jac=True, tol=1e-12).x

    p = {"a": RNG.normal(size=(5, 2)), "b": RNG.normal(size=5), "ridge": 0.7}
    closed = lambda p: np.linalg.solve(p["a"].T @ p["a"] + p["ridge"] * np.eye(2), p["a"].T @ p["b"])
    same(ridge(p), closed(p), rtol=1e-6)
    ours, theirs = (func.grad(lambda p, f=f: np.sum(f(p) ** 2))(p) for f in (ridge, closed))
    same(ours, theirs, rtol=1e-6)


AT, NOISE = np.array([0.3, 0.7, -1.2]), np.random.default_rng(0)
STEPS = np.random.default_rng(1).normal(size=(5, 3))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(func.checkpoint(lambda d: d * x)(x)),
        lambda x: np.sum(tg.scan(lambda c, v: (c + x * v, None), x, STEPS)[0]),
        lambda x: np.sum(tg.scan(lambda c, v: (x, None), x, STEPS)[0]),
        lambda x: np.sum(tg.scan(lambda c, v: (c, x), x, STEPS)[1]),
        lambda x: np.sum(tg.odeint(lambda y, t, k: -x * y, np.ones(3), [0.0, 1.0], args=(x,), method="rk4")),
        lambda x: np.sum(tg.odeint(lambda y, t: -x * y, x, [0.0, 1.0])),
        lambda x: np.sum(tg.implicit(lambda s, k: s - k * x)(lambda k: k.copy())(x)),
        lambda x: np.sum(tg.implicit(lambda s, n: s - x**n)(lambda n: AT**n)(2)),
    ],
)
@pytest.mark.parametrize("transform", [func.grad, lambda f: lambda x: func.jvp(f, (x,), (x,))])
def test_what_is_an_argument_and_comes_from_around_too_is_refused(f, transform):
    with pytest.raises(GraphError, match="from around it, whose gradient would be lost; pass it in args"):
        transform(f)(AT)


@pytest.mark.parametrize(
    "body",
    [
        lambda c, x: (functional.dropout(c, 0.5, rng=NOISE), x),
        lambda c, x: (DROPOUT(c), x),
        lambda c, x: (c * NOISE.normal(size=3), x),
        lambda c, x: (c, x + NOISE.integers(3)),
    ],
)
def test_what_draws_is_refused_since_its_reverse_would_draw_anew(body):
    for call in (lambda x: tg.scan(body, x, STEPS)[0], lambda x: func.checkpoint(lambda x: body(x, x)[0])(x)):
        with pytest.raises(GraphError, match="draws random numbers, which its reverse would draw anew"):
            func.grad(lambda x: np.sum(call(x)))(AT)


DROPOUT = nn.Dropout(0.5, rng=0)


def inner(x):
    def body(c, u):
        return np.sin(c) + u, c

    return tg.scan(body, x, STEPS)[0]


@pytest.mark.parametrize(
    "f",
    [
        inner,
        func.grad(lambda x: np.sum(inner(x))),
        lambda x: tg.scan(lambda c, u: (tg.scan(lambda d, v: (np.sin(d) + v, None), c, STEPS)[0] + u, None), x, STEPS)[
            0
        ],
        lambda x: tg.odeint(lambda y, t: -y * t, x, [0.0, 1.0], method="rk4")[-1],
        lambda x: func.checkpoint(lambda y: np.sin(y) * y)(x),
    ],
)
@pytest.mark.filterwarnings("error")
def test_functions_that_are_made_anew_at_each_call_are_compiled_once(f):
    run = tg.jit(f)
    for k in range(5):
        same(run(AT + k), f(AT + k))
    assert run.eager is None


def test_functions_over_other_values_are_others():
    powers = [tg.scan(lambda c, u: (c * u**n, None), 1.0, np.arange(1.0, 4))[0] for n in (1, 2, 3)]
    assert powers == [6, 36, 216]
    made = [lambda c, u, n=n, w=w: (c * u**n + w, None) for n in (1, 2) for w in (0.0, 1.0)]
    assert [tg.scan(f, 1.0, np.arange(1.0, 4))[0] for f in made] == [6, 16, 36, 82]


def test_whole_numbers_are_carried_and_stacked():
    (last, count), (ones, rows) = tg.scan(lambda c, x: ((c[0] * x, c[1] + 1), (1, c[1])), (1.0, 0), np.arange(1.0, 4))
    assert (last, count, ones.tolist(), rows.tolist()) == (6, 3, [1, 1, 1], [0, 1, 2])
    assert rows.dtype.kind == "i"


def test_a_slope_as_a_list_and_options_of_a_checkpoint():
    y = tg.odeint(lambda y, t: [y[1], -y[0]], [1.0, 0.0], [0.0, 1.0])
    np.testing.assert_allclose(y[-1], [np.cos(1), -np.sin(1)], rtol=1e-7)
    assert func.grad(lambda x: np.sum(func.checkpoint(lambda x, n: x**n)(x, n=3)))(AT) == pytest.approx(3 * AT**2)


def test_an_equation_that_is_fitted_goes_on_eagerly_where_steps_are_chosen():
    p = func.for_scipy(lambda k: tg.odeint(lambda y, t, k: -k * y, 1.0, [0.0, 1.0], args=(k[0],))[-1] ** 2)
    with pytest.warns(RuntimeWarning, match='"dopri5", which "rk4" does not make'):
        results = [p.fun_and_jac([1.0]) for _ in range(4)]
    for value, slope in results:
        assert value == pytest.approx(np.exp(-2)) and slope[0] == pytest.approx(-2 * np.exp(-2))


def test_a_tracer_sees_the_ops_inside_of_a_loop():
    def step(c, x):
        return c * np.log(x), c

    counted = Counted()
    with tg.tracing(counted), np.errstate(all="ignore"):
        tg.scan(step, 2.0, np.array([1.0, 2.0, 3.0]))
    assert counted.ops["log"] == 3
    with np.errstate(all="ignore"), tg.detect_anomaly(), pytest.raises(FloatingPointError, match="log of float64"):
        tg.scan(step, tg.Tensor(2.0, requires_grad=True), np.array([1.0, -1.0]))
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with np.errstate(all="ignore"), tg.detect_anomaly(), pytest.raises(FloatingPointError, match="gradient of sqrt"):
        tg.scan(lambda c, x: (c * np.sqrt(x - 1), c), 2.0, x)[0].backward()


class Counted(tg.Tracer):
    def __init__(self):
        self.ops = Counter()

    def op(self, rule, inputs, keywords, result):
        self.ops[rule.name] += 1
