"""`scipy.special` on Tensors: loaded when it is first used, and the incomplete functions by all parameters."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
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


def derivative(f, at):
    """The derivative of a function of a number by mpmath, in 40 digits."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        return float(mpmath.diff(lambda t: f(mpmath, t), mpmath.mpf(at)))


def test_incomplete_gamma_by_its_parameter():
    """For a from 0.01 to 1000, and x within three standard deviations of the density over log(t)."""
    rng = np.random.default_rng(0)
    a = 10 ** rng.uniform(-2, 3, 40)
    x = a * np.exp(rng.uniform(-3, 3, 40) / np.sqrt(np.maximum(a, 1)))
    slope = func.grad(lambda a: np.sum(special.gammainc(a, x)))(a)
    complement = func.grad(lambda a: np.sum(special.gammaincc(a, x)))(a)
    for a_i, x_i, g, h in zip(a, x, slope, complement, strict=True):
        expected = derivative(lambda mp, t, x=x_i: mp.gammainc(t, 0, mp.mpf(float(x)), regularized=True), a_i)
        assert abs(g - expected) <= 1e-10 * abs(expected)
        assert abs(h + expected) <= 1e-10 * abs(expected)


def test_incomplete_beta_by_its_parameters():
    """For a and b from 0.1 to 1000, and x within two standard deviations of the density over log(t / (1 - t))."""
    rng = np.random.default_rng(1)
    a, b = 10 ** rng.uniform(-1, 3, (2, 25))
    x = special.expit(np.log(a / b) + rng.uniform(-2, 2, 25) * np.sqrt((a + b) / (a * b)))
    inside = (x > 1e-6) & (x < 1 - 1e-6)
    a, b, x = a[inside], b[inside], x[inside]
    assert len(a) > 15
    by_a, by_b = func.grad(lambda a, b: np.sum(special.betainc(a, b, x)), (0, 1))(a, b)
    for i in range(len(a)):
        p, q, at = float(a[i]), float(b[i]), float(x[i])
        for found, f, where in (
            (by_a[i], lambda mp, t, q=q, at=at: mp.betainc(t, mp.mpf(q), 0, mp.mpf(at), regularized=True), p),
            (by_b[i], lambda mp, t, p=p, at=at: mp.betainc(mp.mpf(p), t, 0, mp.mpf(at), regularized=True), q),
        ):
            expected = derivative(f, where)
            assert abs(found - expected) <= 1e-10 * abs(expected)


def test_a_likelihood_is_compiled():
    data = np.random.default_rng(0).gamma(2.5, size=50)
    loss = lambda p: -np.sum(np.log(special.gammainc(p, data + 0.5) - special.gammainc(p, data)))
    step = jit(func.value_and_grad(loss))
    for _ in range(4):
        for ours, theirs in zip(step(np.array([2.0])), func.value_and_grad(loss)(np.array([2.0])), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs)
