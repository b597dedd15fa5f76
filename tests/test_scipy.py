"""`scipy.linalg` on Tensors: the functions of the bridge beside those of SciPy, in transforms and programs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.special

import tinygrad_mlp as tg
from tinygrad_mlp import GraphError, Tensor, func
from tinygrad_mlp.scipy import linalg, special

RNG = np.random.default_rng(0)
A = RNG.uniform(-0.5, 0.5, (4, 4)) + 2 * np.eye(4)
B = RNG.normal(size=4)


def test_the_derivative_of_an_exponential_is_scipys():
    """Also where the upstream gradient is large or small beside the matrix."""
    for scale in (1e-12, 1.0, 1e12):
        upstream = scale * RNG.normal(size=(4, 4))
        slope = func.grad(lambda a, u=upstream: np.sum(u * linalg.expm(a)))(A)
        expected = scipy.linalg.expm_frechet(A.T, upstream, compute_expm=False)
        np.testing.assert_allclose(slope, expected, rtol=1e-11, atol=1e-11 * scale * np.abs(expected / scale).max())


def test_logarithm_and_exponential_undo_each_other():
    jacobian = func.jacrev(lambda a: linalg.logm(linalg.expm(a)))(A)
    np.testing.assert_allclose(jacobian.reshape(16, 16), np.eye(16), atol=1e-11)
    second = func.jacfwd(func.jacrev(lambda a: linalg.sqrtm(a) @ linalg.sqrtm(a)))(A[:2, :2])
    np.testing.assert_allclose(second, np.zeros((2,) * 6), atol=1e-10)


@pytest.mark.parametrize("lower", [False, True])
def test_cholesky_solves_what_solve_solves(lower):
    """A linear system by its factor, as Gaussian processes do: value and gradients, compiled too."""
    by_factor = lambda a, b: np.sum(np.sin(linalg.cho_solve(linalg.cho_factor(a @ a.T, lower), b)))
    by_lu = lambda a, b: np.sum(np.sin(np.linalg.solve(a @ a.T, b)))
    expected = func.grad(by_lu, (0, 1))(A, B)
    compiled = tg.jit(func.grad(by_factor, (0, 1)))
    for _ in range(4):
        for g, h, k in zip(func.grad(by_factor, (0, 1))(A, B), compiled(A, B), expected, strict=True):
            np.testing.assert_allclose(g, k, rtol=1e-11, atol=1e-13)
            np.testing.assert_array_equal(h.numpy(), g)
    assert compiled.eager is None
    theirs = scipy.linalg.cho_solve(scipy.linalg.cho_factor(A @ A.T, lower), B)
    np.testing.assert_allclose(linalg.cho_solve(linalg.cho_factor(A @ A.T, lower), B), theirs, rtol=1e-12)


def test_matrix_functions_are_compiled():
    compiled = tg.jit(func.value_and_grad(lambda a: np.sum(np.tanh(linalg.expm(a) - linalg.logm(a)))))
    for scale in (1.0, 1.1, 0.9, 1.2):
        value, slope = func.value_and_grad(lambda a: np.sum(np.tanh(linalg.expm(a) - linalg.logm(a))))(A * scale)
        assert compiled(A * scale)[0].item() == value
        np.testing.assert_array_equal(compiled(A * scale)[1].numpy(), slope)
    assert compiled.eager is None


def test_special_functions_that_are_no_ufuncs():
    x = RNG.normal(size=(2, 3))
    for axis in (None, 0, 1):
        for name in ("logsumexp", "softmax", "log_softmax"):
            ours, theirs = getattr(special, name), getattr(scipy.special, name)
            np.testing.assert_allclose(ours(x, axis=axis), theirs(x, axis=axis), rtol=1e-14)
            tg.assert_gradcheck(lambda x, ours=ours, axis=axis: ours(x, axis=axis), x)
    weights = np.array([2.0, 0.5, 0.0])
    with np.errstate(divide="ignore"):
        ours = special.logsumexp(Tensor(x) + np.log(weights), axis=1)
    np.testing.assert_allclose(ours.numpy(), scipy.special.logsumexp(x, axis=1, b=weights), rtol=1e-14)
    np.testing.assert_allclose(special.polygamma(2, np.array([1.5])), scipy.special.polygamma(2, [1.5]))


def test_all_else_is_scipys_own():
    assert linalg.block_diag is scipy.linalg.block_diag
    assert special.gammaln is scipy.special.gammaln
    with pytest.raises(AttributeError, match="nothing"):
        _ = linalg.nothing


@pytest.mark.parametrize(
    "call",
    [lambda t: scipy.linalg.expm(t), lambda t: scipy.linalg.solve_triangular(t, B), lambda t: scipy.linalg.det(t),
     lambda t: scipy.linalg.cho_factor(t), lambda t: scipy.special.logsumexp(t), lambda t: scipy.linalg.lu(t)],
)  # fmt: skip
def test_scipys_own_loses_no_gradient_and_says_where_to_look(call):
    with pytest.raises(GraphError, match="an array would lose it silently; "):
        call(Tensor(A, requires_grad=True))


def test_the_error_names_the_bridge():
    with pytest.raises(GraphError, match="tinygrad_mlp.scipy.linalg"):
        scipy.linalg.expm(Tensor(A, requires_grad=True))


def test_complex_results_are_refused():
    with pytest.raises(ValueError, match="logm of this matrix has complex numbers"):
        linalg.logm(Tensor(np.diag([-1.0, 2.0])))


def test_functions_of_no_rows():
    assert linalg.expm(np.zeros((0, 0))).shape == (0, 0) and linalg.expm(np.zeros((2, 0, 0))).shape == (2, 0, 0)
    assert func.grad(lambda m: np.sum(linalg.expm(m)))(np.zeros((0, 0))).shape == (0, 0)
    with pytest.raises(TypeError, match="'check_finite'; leave it out"):
        linalg.solve_triangular(np.eye(2), Tensor(np.ones(2)), check_finite=False)


@pytest.mark.filterwarnings("ignore:Matrix is singular")
@pytest.mark.parametrize("singular", [np.diag([0.0, 2.0]), np.ones((2, 2))])
def test_what_is_infinite_for_a_singular_matrix_is_refused(singular):
    """SciPy's logarithm of 0 is that of 1e-20, with a warning; a root of 0 has a value, and no slope."""
    for call in (
        linalg.logm,
        func.grad(lambda a: np.sum(linalg.logm(a))),
        func.grad(lambda a: np.sum(linalg.sqrtm(a))),
    ):
        with pytest.raises(ValueError, match="(logm|derivative of sqrtm) does not exist for a singular matrix"):
            call(singular)
    np.testing.assert_allclose(linalg.sqrtm(np.diag([0.0, 4.0])), np.diag([0.0, 2.0]))
