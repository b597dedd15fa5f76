"""`scipy.special` on Tensors: loaded when it is first used, and the incomplete functions by all parameters."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from incomplete import ORDERS, errors
from scipy import special

from tinygrad_mlp import NoRuleError, Tensor, func, jit


def test_rules_are_loaded_with_the_first_function_of_scipy():
    code = "import sys, tinygrad_mlp as tg; from scipy import special; "
    code += "assert 'tinygrad_mlp.scipy' not in sys.modules; "
    code += "t = tg.Tensor([0.5], requires_grad=True); special.gammaln(t).sum().backward(); print(t.grad.item())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == special.digamma(0.5)


def test_what_has_no_rule_is_refused_by_name():
    with pytest.raises(NoRuleError, match="sici has no derivative rule"):
        special.sici(Tensor([1.0]))
    with pytest.raises(NoRuleError, match="no derivative by their order"):
        func.grad(lambda v: special.jv(v, 1.0))(0.5)


def test_incomplete_functions_agree_with_mpmath_where_the_page_says_so():
    """A part of what `python tests/incomplete.py` draws: first and second derivatives by all parameters, to 1e-10."""
    pytest.importorskip("mpmath")
    for name in ORDERS:
        for order, error in errors(name, 40).items():
            assert error < 1e-10, (name, order)


def test_small_parameters_cancel_nothing():
    """Second derivatives by a, whose parts are of size 1 / a**2; expected values by mpmath in 50 digits."""
    slope = lambda f: func.grad(func.grad(f))
    for a, x, expected in (
        (1e-6, 1.0, -0.44894977070052568),
        (1e-6, 5.0, -0.005367105308184539),
        (1e-4, 5.0, -0.0053684131960102367),
        (0.01, 5.0, -0.0055000585375698087),
    ):
        np.testing.assert_allclose(slope(special.gammainc)(a, x), expected, rtol=1e-13)
        np.testing.assert_allclose(slope(special.gammaincc)(a, x), -expected, rtol=1e-13)
    np.testing.assert_allclose(slope(special.betainc)(1e-4, 1.0, 0.3), 1.4493760021223386, rtol=1e-13)
    assert func.grad(special.gammainc)(0.0, 1.0) == pytest.approx(-special.exp1(1.0), rel=1e-13)  # a at its edge
    assert func.grad(special.gammainc)(0.5, 0.0) == func.grad(special.gammainc)(0.5, np.inf) == 0
    assert func.grad(special.betainc)(0.5, 2.0, 0.0) == func.grad(special.betainc)(0.5, 2.0, 1.0) == 0
    assert np.isnan(func.grad(special.gammainc)(0.5, -1.0))


def test_logarithm_of_beta_by_a_parameter_that_is_large_beside_the_other():
    """By a, betaln(a, 1) = -log(a); by b, with digamma(b) = -1 / b + ..., near b = 0."""
    by_a, by_b = func.grad(special.betaln, (0, 1))(1e10, 1.0)
    np.testing.assert_allclose([by_a, func.grad(func.grad(special.betaln))(1e10, 1.0)], [-1e-10, 1e-20], rtol=1e-15)
    np.testing.assert_allclose(by_b, special.digamma(1.0) - special.digamma(1e10 + 1), rtol=1e-15)
    np.testing.assert_allclose(func.grad(special.beta)(1e10, 1.0), -1e-20, rtol=1e-15)
    np.testing.assert_allclose(func.grad(special.betaln)(1.0, 1e-8), -1e-8 * np.pi**2 / 6, rtol=1e-7)
    below = special.digamma(-0.5) - special.digamma(0.25)
    assert func.grad(special.betaln)(-0.5, 0.75) == pytest.approx(below, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_derivatives_at_far_ends_keep_their_digits(dtype):
    """Where the textbook's rule cancels: 2 x erfcx(x) - 2 / sqrt(pi), y (1 - y), and exp(-x**2 / 2 - log_ndtr(x))."""
    far = dtype(3000)
    for function, x, expected in (
        (special.erfcx, far, -1 / (np.sqrt(np.pi) * 3000.0**2) * (1 - 1.5 / 3000.0**2 + 3.75 / 3000.0**4)),
        (special.expit, dtype(20), np.exp(-20.0) / (1 + np.exp(-20.0)) ** 2),
        (special.expit, dtype(-20), np.exp(-20.0) / (1 + np.exp(-20.0)) ** 2),
        (special.expit, dtype(40), np.exp(-40.0)),
        (special.log_ndtr, -far, 3000.0 + 1 / 3000.0 - 2 / 3000.0**3),
        (special.log_ndtr, dtype(5), np.exp(-12.5) / np.sqrt(2 * np.pi) / special.ndtr(5.0)),
    ):
        np.testing.assert_allclose(
            func.grad(function)(x), expected, rtol=20 * np.finfo(dtype).eps, err_msg=repr((function, x))
        )


def test_second_derivatives_at_far_ends():
    slope = lambda f: func.grad(func.grad(f))
    np.testing.assert_allclose(slope(special.erfcx)(1e8), 2 / np.sqrt(np.pi) * 1e-24, rtol=1e-14)
    np.testing.assert_allclose(slope(special.expit)(40.0), -np.exp(-40.0), rtol=1e-14)
    np.testing.assert_allclose(slope(special.log_ndtr)(-1e8), -1, rtol=1e-14)
    np.testing.assert_allclose(slope(special.log_ndtr)(30.0), -30 * np.exp(-450) / np.sqrt(2 * np.pi), rtol=1e-13)


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value)")
def test_at_the_edge_of_a_domain_a_derivative_is_that_from_inside():
    """Infinite, where JAX has 0 by rel_entr's first; and 0 by y where x is 0, where JAX and PyTorch have NaN."""
    both = lambda f: tuple(map(float, func.grad(f[0], (0, 1))(*f[1:])))
    assert both((special.rel_entr, 0.0, 1.0)) == (-np.inf, 0)
    assert both((special.kl_div, 0.0, 1.0)) == (-np.inf, 1)
    assert both((special.xlogy, 0.0, 0.0)) == both((special.xlog1py, 0.0, -1.0)) == (-np.inf, 0)
    assert func.grad(special.rel_entr, 1)(0.0, 0.0) == 0
    assert func.grad(special.kl_div, 1)(0.0, 0.0) == 1
    assert func.grad(lambda p: -special.xlogy(p, p))(0.0) == func.grad(special.entr)(0.0) == np.inf
    assert func.grad(func.grad(special.xlogy, 1))(0.0, 2.0) == 0.5


def test_a_likelihood_is_compiled():
    data = np.random.default_rng(0).gamma(2.5, size=50)
    loss = lambda p: -np.sum(np.log(special.gammainc(p, data + 0.5) - special.gammainc(p, data)))
    step = jit(func.value_and_grad(loss))
    for _ in range(4):
        for ours, theirs in zip(step(np.array([2.0])), func.value_and_grad(loss)(np.array([2.0])), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs)
