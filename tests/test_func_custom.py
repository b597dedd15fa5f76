"""`tg.custom_vjp`: functions of users, whose rules are checked when they are given, in every tool."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import scipy.linalg

import tinygrad_mlp as tg
from tinygrad_mlp import NoRuleError, Tensor, func
from tinygrad_mlp.rules.table import RULES

X = np.array([0.5, -1.5, 2.0])
RNG = np.random.default_rng(0)
BANDS, RIGHT = RNG.uniform(-1, 1, (3, 5)) + np.array([[0], [4], [0]]), RNG.normal(size=5)


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


def transposed(bands):
    """The bands of the transpose of a tridiagonal matrix."""
    return np.stack([np.roll(bands[2], 1), bands[1], np.roll(bands[0], -1)])


def by_bands(u, x):
    """Minus the outer product of two vectors, on three diagonals."""
    zero = np.zeros(1)
    return -np.stack([np.concatenate([zero, u[:-1]]), u, np.concatenate([u[1:], zero])]) * x


def make_solver(sign=1.0):
    """A solver of LAPACK, as a user wraps it: its derivative is another call of the solver."""

    @tg.custom_vjp
    def solve(bands, b):
        return scipy.linalg.solve_banded((1, 1), bands, b)

    solve.defvjp(
        lambda g, out, bands, b: by_bands(solve(transposed(bands), g), out),
        lambda g, out, bands, b: sign * solve(transposed(bands), g),
        samples=[(BANDS, RIGHT)],
        order=2,
    )
    return solve


def test_a_solver_of_fortran_trains_compiles_and_passes_the_checker():
    solve = make_solver()
    assert tg.gradcheck(lambda bands, b: np.sum(np.sin(solve(bands, b))), [BANDS, RIGHT], order=2).ok
    runs, target = [], solve(BANDS * 1.3 - 0.2, RIGHT)
    for wrap in (lambda f: f, tg.jit):
        bands = Tensor(BANDS.copy(), requires_grad=True, name="bands")
        adam = tg.optim.Adam([bands], lr=0.05)

        @wrap
        def step(b, target):
            loss = np.mean((solve(bands, b) - target) ** 2)
            adam.zero_grad()
            loss.backward()
            adam.step()
            return loss

        runs.append([step(RIGHT, target).item() for _ in range(60)])
    assert runs[0] == runs[1] and runs[0][-1] < 0.1 * runs[0][0]
    assert step.eager is None and "solve(" in step.source
    matrix = np.diag(BANDS[1]) + np.diag(BANDS[0, 1:], 1) + np.diag(BANDS[2, :-1], -1)
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(func.jacrev(solve, 1)(BANDS, RIGHT), inverse, rtol=1e-12)
    np.testing.assert_allclose(func.jacfwd(solve, 1)(BANDS, RIGHT), inverse, rtol=1e-12)


def test_a_wrong_sign_is_found_when_the_rule_is_given():
    with pytest.raises(tg.GradcheckError, match=r"(?s)-1 times the numeric one: the sign is wrong.*analytic"):
        make_solver(sign=-1.0)
    double = tg.custom_vjp(lambda x: x + x)
    with pytest.raises(tg.GradcheckError):
        double.defvjp(lambda g, out, x: -2 * g, samples=[X])
    with pytest.raises(NoRuleError):
        func.grad(lambda x: np.sum(double(x)))(X)


def test_what_is_said_to_be_constant_is_checked_too():
    with pytest.raises(tg.GradcheckError, match="not connected"):
        tg.custom_vjp(lambda x, y: x * y).defvjp(lambda g, out, x, y: g * y, None, samples=[(X, X)])


def test_a_second_order_that_the_rule_does_not_allow():
    @tg.custom_vjp
    def slope(x):
        return np.cos(x)

    sine = tg.custom_vjp(lambda x: np.sin(x))
    sine.defvjp(lambda g, out, x: g * slope(x), samples=[X])
    np.testing.assert_array_equal(func.grad(lambda x: np.sum(sine(x)))(X), np.cos(X))
    step = tg.jit(func.grad(lambda x: np.sum(sine(x))))
    for _ in range(4):
        np.testing.assert_array_equal(step(X).numpy(), np.cos(X))
    with pytest.raises(NoRuleError, match="slope has no derivative rule for argument 0"):
        func.hessian(lambda x: np.sum(sine(x)))(X)
    with pytest.raises(NoRuleError, match="argument 0"):
        sine.defvjp(lambda g, out, x: g * slope(x), samples=[X], order=2)


def test_a_workspace_that_is_used_again_and_a_result_that_is_the_argument():
    work = np.empty(3)

    @tg.custom_vjp
    def double(x):
        np.multiply(x, 2, out=work)
        return work

    double.defvjp(lambda g, out, x: 2 * g, samples=[X])
    same = tg.custom_vjp(lambda x: x)
    same.defvjp(lambda g, out, x: g, samples=[X])
    first, second = double(X), double(np.ones(3))
    assert first[0] == 1.0 and second[0] == 2.0
    assert not np.may_share_memory(same(X), X)


def test_every_tool_knows_it():
    @tg.custom_vjp
    def raised(x, power=3):
        return x**power

    raised.defvjp(lambda g, out, x, power=3: power * g * x ** (power - 1), samples=[X, (X, 2)])
    assert raised(X, 2)[0] == 0.25 and func.grad(lambda x: np.sum(raised(x, power=2)))(X)[0] == 1.0
    assert "raised" in str(tg.draw(raised(Tensor(X, requires_grad=True)).sum()))
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match="raised of float64"):
        raised(Tensor([1e200]))


@pytest.mark.parametrize("constant", [3, np.int64(2), "squared", {"power": 2.0}, np.square, None, X[::-1]])
def test_an_argument_without_a_rule_may_be_anything(constant):
    @tg.custom_vjp
    def scaled(what, x):
        return x * (2 + callable(what))

    scaled.defvjp(None, lambda g, out, what, x: g * (2 + callable(what)), samples=[(constant, X)], order=2)
    slope = func.grad(lambda x: np.sum(scaled(constant, x)))
    np.testing.assert_array_equal(slope(X), np.full(3, 2 + callable(constant)))
    by_what = func.grad(lambda what: np.sum(scaled(what, X)))
    if isinstance(constant, np.ndarray):
        np.testing.assert_array_equal(by_what(X), np.zeros(3))
    else:
        with pytest.raises(NoRuleError, match="no derivative rule for argument 0"):
            by_what(2.0)
    compiled = tg.jit(slope)
    for _ in range(4):
        np.testing.assert_array_equal(compiled(X).numpy(), slope(X))


def test_a_rule_that_reads_values_is_found_by_order_2():
    sine = tg.custom_vjp(lambda x: np.sin(x))
    rule = lambda g, out, x: g * np.cos(np.asarray(x.data))
    sine.defvjp(rule, samples=[X])
    with pytest.raises(tg.GradcheckError):
        sine.defvjp(rule, samples=[X], order=2)


def giving(result):
    """Define a function whose rule returns this."""

    @tg.custom_vjp
    def double(x):
        return x + x

    double.defvjp(lambda g, out, x: result, samples=[X])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tg.custom_vjp(np.add).defvjp(lambda g, out, x: g, samples=[]), "add: .*floats for argument 0"),
        (lambda: tg.custom_vjp(np.add).defvjp(None, lambda g, out, x, y: g, samples=[(X, 1)]), "argument 1"),
        (lambda: tg.custom_vjp(np.add).defvjp(None, None, samples=[(1, 1)]), "argument 0"),
        (lambda: giving(None), "the rule of double for argument 0 returned None, .*; write None in place"),
        (lambda: giving([1.0, 2.0, 3.0]), "argument 0 returned list, expected one array or number"),
        (lambda: giving((X,)), "returned tuple"),
        (lambda: giving("a"), "returned str"),
        (lambda: tg.custom_vjp(lambda x: None)(X), "returned None, expected one real array or number; join several"),
        (lambda: tg.custom_vjp(lambda x: {"a": x})(Tensor(X)), "<lambda> returned dict"),
        (lambda: tg.custom_vjp(lambda x: (x, x))(X), "returned tuple"),
        (lambda: tg.custom_vjp(lambda x: [x, x])(X), "returned list"),
        (lambda: tg.custom_vjp(np.add).defvjp(samples=[X]), "argument 0"),
        (lambda: tg.custom_vjp(np.add).defvjp(lambda g, out, x: g), "argument 0"),
        (lambda: tg.custom_vjp(np.copy).defvjp(X, samples=[X]), r"called as rule\(g, out, \*arguments\), got float64"),
        (lambda: tg.custom_vjp(np.copy).defvjp(lambda g, x: g, samples=[X]), "rule.* got <lambda>: too many"),
        (lambda: tg.custom_vjp(3), "takes a function, got 3"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(TypeError, match=message):
        call()
