"""Every rule of the tables against plain NumPy and numeric derivatives, on the calls that `samples` gives."""

from __future__ import annotations

import inspect
import itertools
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import scipy.special
from differences import EPS, assert_slope, slope
from draws import Array, Call, calls_of, errors_of, name_of, results
from numpy.testing.overrides import get_overridable_numpy_ufuncs
from samples import SAMPLES, matrices, of_the_rules

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, no_grad
from tinygrad_mlp import functional as F
from tinygrad_mlp.core.tensor import assign
from tinygrad_mlp.errors import GraphError
from tinygrad_mlp.rules import decompositions, elementwise, indexing, linalg, reductions, sampled, shapes, waves
from tinygrad_mlp.rules.table import RULES
from tinygrad_mlp.scipy import special

FUNCTIONS = sorted(
    (f for f in of_the_rules() if RULES[f].kind != "constant" or not name_of(f).startswith("rules.")), key=name_of
)
COMPOSITIONS = sorted({sample.function for sample in SAMPLES} - set(RULES), key=name_of)
UFUNCS = set(get_overridable_numpy_ufuncs())
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
every_function_and_composition = pytest.mark.parametrize("function", FUNCTIONS + COMPOSITIONS, ids=name_of)
Function = Callable[..., Any]


def wide(x: Array) -> Array:
    return x.astype(np.longdouble)


def log_of_sum(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return np.log(np.exp(wide(x)).sum(axis=axis, keepdims=keepdims))


def added_up(x: Array, shape: tuple[int, ...]) -> Array:
    total = np.zeros(shape)
    places = np.arange(total.size).reshape(shape)
    np.add.at(total.reshape(-1), np.broadcast_to(places, x.shape), x)
    return total


def replaced_one_by_one(x: Array, value: Array, *items: Any) -> Array:
    result, places = x.copy(), np.arange(x.size).reshape(x.shape)[items]
    for place, new in zip(np.ravel(places), np.ravel(np.broadcast_to(value, places.shape)), strict=True):
        result.reshape(-1)[place] = new
    return result


def eigen_in_rows(x: Array) -> Array:
    values, vectors = np.linalg.eigh((x + x.swapaxes(-1, -2)) / 2)
    return np.concatenate([values[..., None, :], vectors], -2)


def by_waves(x: Array, n: int, imaginary: bool) -> Array:
    """Derivatives of sin(pi x) / (pi x), and of I0 by the recursion of Bessel functions."""
    if imaginary:
        i0, i1 = scipy.special.i0(x), scipy.special.i1(x)
        return i1 if n == 1 else i0 - np.divide(i1, x, out=np.full_like(i1, 0.5), where=x != 0)
    wave = lambda s: np.pi**n * s**n * np.cos(np.pi * s * x[..., None] + n * np.pi / 2)
    if n == 1 and np.abs(x).max() > 3:
        return np.array([0.0 if t == 0 else (np.cos(np.pi * t) - np.sinc(t)) / t for t in x])
    nodes, weights = np.polynomial.legendre.leggauss(90)
    return np.asarray(wave((nodes + 1) / 2) @ (weights / 2))


def by_quadrature(density: Function, arguments: Any, powers: Any) -> Array:
    """Integrals up to the last argument, over s = log(t), by Gauss's formula on panels of half a unit."""
    *parameters, end = np.broadcast_arrays(*arguments)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    s = np.log(end)[..., None, None] - (np.arange(400)[:, None] + (1 - nodes) / 2) / 2
    values = density(np.exp(s), *(p[..., None, None] for p in parameters), *powers) * np.exp(s)
    return np.asarray((values * weights / 4).sum(axis=(-1, -2)))


def gamma_slope(t: Array, a: Array, n: int) -> Array:
    """The density times what its logarithm's derivatives make of it: the first squared, and the second, for n = 2."""
    density = np.exp((a - 1) * np.log(t) - t - scipy.special.gammaln(a))
    return density * product_of((np.log(t) - scipy.special.digamma(a),) * n, -scipy.special.polygamma(1, a))


def by_less(a: Array, b: Array, x: Array, i: int, j: int) -> Array:
    """A derivative of betainc, by the part that has less of the density: the other cancels."""
    lower, upper = by_quadrature(beta_slope, (a, b, x), (i, j)), by_quadrature(beta_slope, (b, a, 1 - x), (j, i))
    return np.where(scipy.special.betainc(a, b, x) < 0.5, lower, -upper)


def beta_slope(t: Array, a: Array, b: Array, i: int, j: int) -> Array:
    density = np.exp((a - 1) * np.log(t) + (b - 1) * np.log1p(-t) - scipy.special.betaln(a, b))
    digamma, trigamma = scipy.special.digamma, lambda x: scipy.special.polygamma(1, x)
    left, right = np.log(t) - digamma(a) + digamma(a + b), np.log1p(-t) - digamma(b) + digamma(a + b)
    return density * product_of((left,) * i + (right,) * j, trigamma(a + b) - (i == 2) * trigamma(a))


def product_of(slopes: tuple[Array, ...], second: Array) -> Array:
    return slopes[0] if len(slopes) == 1 else slopes[0] * slopes[1] + second


def erfcx_slope(x: Array, n: int) -> Array:
    first = 2 * x * scipy.special.erfcx(x) - 2 / np.sqrt(np.pi)
    return first if n == 1 else 2 * (scipy.special.erfcx(x) + x * first)


def by_contour(f: Function, centre: float, radius: float) -> Function:
    """A function of matrices, or its derivative along a direction, by Cauchy's integral over a circle.

    Of what is real, the lower half of the circle gives the conjugate of what the upper one does.
    """

    def function(x: Array, direction: Any = None) -> Array:
        way = radius * np.exp(1j * np.pi * (np.arange(400) + 0.5) / 400)
        resolvent = np.linalg.inv((centre + way)[:, None, None] * np.eye(x.shape[-1]) - x[..., None, :, :])
        inner = resolvent if direction is None else resolvent @ direction[..., None, :, :] @ resolvent
        return np.asarray(((f(centre + way) * way)[:, None, None] * inner).mean(axis=-3).real)

    return function


def put_one_by_one(x: Array, *items: Any, shape: tuple[int, ...]) -> Array:
    result, places = np.zeros(shape), np.arange(np.prod(shape)).reshape(shape)[items]
    for place, value in zip(np.ravel(places), np.ravel(np.broadcast_to(x, places.shape)), strict=True):
        result.reshape(-1)[place] += value
    return result


REFERENCES: dict[Function, Function] = {
    elementwise.relu: lambda x: np.where(x > 0, x, 0.0),
    elementwise.leaky_relu: lambda x, negative_slope=0.01: x * np.where(x > 0, 1.0, negative_slope),
    elementwise.sigmoid: lambda x: 0.5 + 0.5 * np.tanh(0.5 * wide(x)),
    elementwise.softplus: lambda x: np.logaddexp(0, wide(x)),
    elementwise.bce_with_logits: lambda x, t: np.logaddexp(0, x) - t * x,
    elementwise.bce: lambda p, t: -t * np.log(p) - (1 - t) * np.log(1 - p),
    elementwise.fraction: lambda x: np.modf(x)[0],
    elementwise.select: lambda mask, x: np.where(mask, x, 0.0),
    reductions.euclidean_norm: lambda x, axis=None, keepdims=False: np.sqrt((x**2).sum(axis=axis, keepdims=keepdims)),
    reductions.logsumexp: log_of_sum,
    reductions.softmax: lambda x, axis=-1: np.exp(x - log_of_sum(x, axis, True)),
    reductions.log_softmax: lambda x, axis=-1: x - log_of_sum(x, axis, True),
    indexing.getitem: lambda x, *items: x[items],
    indexing.put: put_one_by_one,
    indexing.replaced: replaced_one_by_one,
    indexing.picked_once: lambda x, *items: x,
    indexing.gather: lambda x, labels: np.take_along_axis(x, labels[:, None], 1)[:, 0],
    indexing.scatter: lambda x, labels, classes: x[:, None] * np.eye(classes)[labels],
    indexing.minus_one_hot: lambda x, labels, factor: (x - np.eye(x.shape[1])[labels]) * factor,
    linalg.matmul: np.matmul,
    linalg.linear: lambda x, w, bias=None: np.einsum("...i,oi->...o", x, w) + (0.0 if bias is None else bias),
    linalg.cofactors: lambda x: np.linalg.det(x)[..., None, None] * np.linalg.inv(x).swapaxes(-1, -2),
    linalg.logabsdet: lambda x: np.log(np.abs(np.linalg.det(x))),
    shapes.astype: lambda x, dtype: np.array(x, dtype),
    shapes.sum_to: added_up,
    shapes.spread: lambda x, shape, axis=None: np.broadcast_to(x.reshape(shapes.kept_shape(shape, axis)), shape),
    np.linalg.cholesky: lambda x: np.linalg.cholesky((x + x.swapaxes(-1, -2)) / 2),
    np.linalg.eigvalsh: lambda x: np.linalg.eigvalsh((x + x.swapaxes(-1, -2)) / 2),
    np.linalg.eigh: lambda x: np.linalg.eigh((x + x.swapaxes(-1, -2)) / 2),
    decompositions.eigen: eigen_in_rows,
    decompositions.singular: lambda x: np.concatenate(
        [p.reshape((*x.shape[:-2], -1)) for p in np.linalg.svd(x, full_matrices=False)], -1
    ),
    decompositions.triangular: lambda x: np.concatenate(np.linalg.qr(x), -2),
    decompositions.reciprocal_gaps: lambda x, scale: np.nan_to_num(
        1 / (x[..., None, :] - x[..., None]), posinf=0, neginf=0
    ),
    waves.sinc_slope: lambda x, n: by_waves(x, n, 0),
    waves.i0_slope: lambda x, n: by_waves(x, n, 1),
    sampled.partition_order: lambda x, kth, axis: np.take_along_axis(
        np.argsort(x, axis), np.argsort(np.argsort(np.partition(x, kth, axis), axis), axis), axis
    ),
    special.polygamma: scipy.special.polygamma,
    special.polygamma_rise: lambda n, a, b: scipy.special.polygamma(n, a + b) - scipy.special.polygamma(n, a),
    special.gammainc_slope: lambda a, x, n: by_quadrature(gamma_slope, (a, x), (n,)),
    special.betainc_slope: by_less,
    special.erfcx_slope: erfcx_slope,
}
"""What our own functions are, in other words. NumPy's cholesky reads one triangle only, ours the mean of both."""


def reduced(f: Function, mean_by: str = "count") -> Function:
    """A loss of (prediction, target) from what it is for each element or sample, which weights multiply."""

    def loss(p: Array, t: Array, reduction: str = "mean", weight: Any = None, **options: Any) -> Array:
        losses = f(p, t, **options)
        weights = np.broadcast_to(
            1.0 if weight is None else weight[t] if mean_by == "classes" else weight, losses.shape
        )
        total = losses.size if mean_by == "count" else weights.sum()
        return {"mean": np.sum(losses * weights) / total, "sum": np.sum(losses * weights), "none": losses * weights}[
            reduction
        ]

    return loss


def cross_entropies(logits: Array, target: Array, label_smoothing: float = 0.0) -> Array:
    classes = logits.shape[1]
    shares = np.eye(classes)[target] if target.ndim == 1 else target
    shares = (1 - label_smoothing) * shares + label_smoothing / classes
    return -(shares * (logits - log_of_sum(logits, 1, True))).sum(axis=1).astype(float)


def normalised(x: Array, mean: Array, var: Array, weight: Any, bias: Any, eps: float) -> Array:
    return (x - mean) / np.sqrt(var + eps) * (1 if weight is None else weight) + (0 if bias is None else bias)


def by_layer(x: Array, shape: tuple[int, ...], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Array:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return normalised(x, x.mean(axes, keepdims=True), x.var(axes, keepdims=True), weight, bias, eps)


def by_batch(
    x: Array, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False, eps: float = 1e-5
) -> Array:
    x = np.moveaxis(x, 1, -1)
    axes = tuple(range(x.ndim - 1))
    mean, var = (x.mean(axes), x.var(axes)) if mean is None else (mean, var)
    return np.moveaxis(normalised(x, mean, var, weight, bias, eps), -1, 1)


REFERENCES |= {
    f: by_contour(getattr(np, f.__name__.partition("m")[0]), *circle)
    for circle, group in {(2.0, 1.9): matrices.POSITIVE, (0.0, 1.4): matrices.SMALL}.items()
    for f in [*group, *map(matrices.slope_of, group)]
}
REFERENCES |= {
    F.gelu: lambda x: x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    F.cross_entropy: reduced(cross_entropies, "classes"),
    F.nll_loss: reduced(lambda p, t: -np.array([row[label] for row, label in zip(p, t, strict=True)]), "classes"),
    F.binary_cross_entropy: reduced(lambda p, t: -t * np.log(p) - (1 - t) * np.log(1 - p)),
    F.binary_cross_entropy_with_logits: reduced(
        lambda x, t, pos_weight=1.0: pos_weight * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)
    ),
    F.mse_loss: reduced(lambda p, t: (p - t) ** 2, "weights"),
    F.l1_loss: reduced(lambda p, t: np.abs(p - t), "weights"),
    F.huber_loss: reduced(
        lambda p, t, delta=1.0: np.where(abs(p - t) < delta, (p - t) ** 2 / 2, delta * (abs(p - t) - delta / 2))
    ),
    F.layer_norm: by_layer,
    F.batch_norm: by_batch,
}


def plain(call: Call, inputs: Sequence[Any] | None = None) -> list[Array]:
    """The results of a call in plain NumPy."""
    reference = call._replace(function=REFERENCES.get(call.function, call.function))
    with np.errstate(all="ignore"):
        return [np.asarray(out) for out in results(reference.on(call.arrays if inputs is None else inputs))]


def leaves(arrays: Sequence[Array]) -> list[Tensor]:
    return [Tensor(a, requires_grad=True) for a in arrays]


def floats(outs: Sequence[Any]) -> list[Any]:
    return [out for out in outs if getattr(out, "dtype", np.dtype(int)).kind in "fc"]


def weighted(outs: Sequence[Any], weights: Sequence[Any]) -> Any:
    """The sum of all results, each element with its weight."""
    return sum(((w * out).sum() for w, out in zip(weights, outs, strict=True)), 0.0)


def flat(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *(np.ravel(a) for a in arrays)])


def unit_vectors(arrays: Sequence[Array]) -> Iterator[list[Array]]:
    for i, a in enumerate(arrays):
        for index in np.ndindex(a.shape):
            direction = [np.zeros(b.shape) for b in arrays]
            direction[i][index] = 1
            yield direction


class Problem:
    """A call as a function of its inputs and of the weights of its results, with derivatives of any order."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.rng = np.random.default_rng(1)
        self.inputs = call.arrays
        self.weights = self.directions(floats(plain(call)))
        self.point = [*self.inputs, *self.weights]

    def directions(self, arrays: Sequence[Array]) -> list[Array]:
        """Numbers between 0.2 and 1 in size, in the shapes of arrays."""
        sign = self.rng.choice
        return [np.asarray(self.rng.uniform(0.2, 1, a.shape) * sign([-1, 1], a.shape)) for a in arrays]

    def value(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(weighted(floats(plain(self.call, inputs)), self.weights), np.float64)

    def derivative(self, point: Sequence[Array], *directions: Sequence[Array]) -> Array:
        """The gradient, differentiated along one direction after the other, as one vector."""
        ts = leaves(point)
        n = len(self.inputs)
        y = weighted(floats(results(self.call.on(ts[:n]))), ts[n:])
        for d in directions:
            slopes = tg.grad(y, ts, create_graph=True, allow_unused=True)
            y = sum(((g * v).sum() for g, v in zip(slopes, d, strict=True) if g is not None), 0.0)
            if not (isinstance(y, Tensor) and y.requires_grad):
                return np.zeros(sum(t.size for t in ts))
        slopes = tg.grad(y, ts, allow_unused=True)
        return flat([np.zeros(t.shape) if g is None else g.numpy() for t, g in zip(ts, slopes, strict=True)])

    def gradients(self, inputs: Sequence[Array] | None = None, create_graph: bool = False) -> list[Array | None]:
        """The gradient of each input, with the weights as upstream gradients; None where it is constant in all."""
        ts = leaves(self.inputs if inputs is None else inputs)
        outs = floats(results(self.call.on(ts)))
        found = gradients(outs, ts, self.weights, create_graph=create_graph)
        return [None if g is None else g.detach().numpy() for g in found]


def gradients(
    outs: Sequence[Any], inputs: Sequence[Tensor], weights: Sequence[Array], **options: bool
) -> list[Tensor | None]:
    tracked = [(out, w) for out, w in zip(outs, weights, strict=True) if isinstance(out, Tensor) and out.requires_grad]
    if not tracked:
        return [None] * len(inputs)
    kept, upstream = zip(*tracked, strict=True)
    return list(tg.grad(kept, inputs, upstream, allow_unused=True, **options))


def problems(function: Function) -> list[Problem]:
    """All sample calls of a function that have float inputs and float results."""
    return [p for p in map(Problem, calls_of(function)) if p.inputs and p.weights]


@every_function
def test_has_samples_for_every_argument_and_keyword(function: Function) -> None:
    calls = calls_of(function)
    assert calls, f"{name_of(function)} has no samples; give it some in tests/samples"
    rule = RULES[function]
    if rule.kind == "vjp" and not rule.vjps.each:
        untried = {i for i, r in rule.vjps.items() if r not in (None, special.no_order)}
        for call in calls:
            untried -= {i for i, a in enumerate(bound(call)[0]) if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
        assert not untried, f"no sample of {name_of(function)} has a float array as argument {sorted(untried)}"
    untried_options = options_of(function).keys() - {name for call in calls for name in given_names(call)}
    assert not untried_options, f"no sample of {name_of(function)} gives {sorted(untried_options)}"
    if isinstance(function, np.ufunc) and function.signature is None and rule.kind != "constant":
        assert any(a.ndim == 0 for call in calls for a in call.arrays), "a 0-d input is missing"
        if function.nin == 2:
            assert any(len({np.shape(a) for a in call.args}) > 1 for call in calls), "broadcasting is missing"


def options_of(function: Function) -> dict[str, Any]:
    """The keywords that a function of the table takes, with their defaults."""
    rule = RULES[function]
    if rule.kind == "constant":
        return {}
    known = rule.forward if rule.kind == "composite" else next(filter(None, map(rule.vjps.__getitem__, range(9))))
    return {name: p.default for name, p in inspect.signature(known).parameters.items() if p.default is not p.empty}


def bound(call: Call) -> tuple[Sequence[Any], dict[str, Any]]:
    """The positional arguments and keywords of a call as the rule gets them."""
    rule = RULES[call.function]
    return (
        rule.bind(*call.args, **call.kwargs) if rule.bind and (rule.binds or call.kwargs) else (call.args, call.kwargs)
    )


def given_names(call: Call) -> set[str]:
    """The names of the arguments in a call."""
    rule = RULES[call.function]
    known = rule.forward if rule.kind == "composite" else call.function
    try:
        names = set(inspect.signature(known).bind(*call.args, **call.kwargs).arguments)
    except (TypeError, ValueError):
        names = set()
    return names | set(call.kwargs) | (set(bound(call)[1]) if rule.kind == "vjp" else set())


@every_function
def test_options_have_the_names_and_defaults_of_numpy(function: Function) -> None:
    if name_of(function).startswith("rules.") or not callable(getattr(np, function.__name__, None)):
        return
    try:
        theirs = inspect.signature(function).parameters
    except ValueError:
        return
    for name, default in options_of(function).items():
        if name[0] != "_" and name != "shape" and not isinstance(function, np.ufunc):
            assert name in theirs or "kwargs" in theirs, name
            if name in theirs and theirs[name].default not in (np._NoValue, inspect.Parameter.empty):
                assert default == theirs[name].default, name


@every_function_and_composition
def test_forward_equals_plain_numpy(function: Function) -> None:
    exact = function not in COMPOSITIONS and RULES[function].forward is function
    for call in calls_of(function):
        for inputs in (leaves(call.arrays), [Tensor(a) for a in call.arrays]):
            if inputs:
                for ours, theirs in zip(results(call.on(inputs)), plain(call), strict=True):
                    assert isinstance(ours, Tensor) or not hasattr(theirs, "shape") or theirs.ndim == 0
                    ours = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours)
                    assert ours.shape == theirs.shape, call
                    assert ours.dtype == theirs.dtype or theirs.dtype == np.longdouble, (call, ours.dtype, theirs.dtype)
                    assert_near(ours, theirs, 0.0 if exact else 32 * EPS, call)


def assert_near(ours: Array, theirs: Array, rtol: float, what: Any) -> None:
    """Assert that two arrays differ by no more than a share of the largest element."""
    size = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * size, equal_nan=True, err_msg=repr(what))


@every_function_and_composition
def test_first_derivative(function: Function) -> None:
    for p in problems(function):
        analytic = flat([np.zeros(a.shape) if g is None else g for a, g in zip(p.inputs, p.gradients(), strict=True)])
        for a, e in zip(analytic, unit_vectors(p.inputs), strict=True):
            assert_slope(a, slope(p.value, p.inputs, e), repr(p.call))


@every_function_and_composition
def test_second_derivatives(function: Function) -> None:
    for p in problems(function):
        d = p.directions(p.point)
        assert_slope(p.derivative(p.point, d), slope(p.derivative, p.point, d), f"second of {p.call}")


@every_function_and_composition
@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_third_derivatives(function: Function, every: int) -> None:
    for p in problems(function)[::every]:
        d, e = p.directions(p.point), p.directions(p.point)
        numeric = slope(lambda x, p=p, d=d: p.derivative(x, d), p.point, e)
        assert_slope(p.derivative(p.point, d, e), numeric, f"third of {p.call}")


NOT_ANALYTIC = {
    np.arctan2, np.cbrt, np.copysign, np.deg2rad, np.degrees, np.divmod, np.fabs, np.fmod, np.hypot, np.ldexp,
    np.logaddexp, np.logaddexp2, np.modf, elementwise.fraction, np.rad2deg, np.radians,
    np.remainder,  # NumPy has no complex version of them
    np.conjugate, np.real, np.heaviside,  # not analytic anywhere
    np.linalg.cholesky, np.linalg.slogdet, linalg.logabsdet,
    linalg.cofactors,  # NumPy takes the conjugate, or the absolute value
    *(f for f in RULES if type(f) is np.ufunc and f not in UFUNCS and "D" not in "".join(f.types)),
    special.polygamma, special.polygamma_rise, special.gammainc_slope, special.betainc_slope, special.erfcx_slope,
    # SciPy has no complex version of these
    np.i0, np.linalg.eigh, np.linalg.eigvalsh, np.linalg.qr, np.linalg.svdvals,
    np.linalg.svd, np.linalg.pinv, np.interp, np.unwrap,
    decompositions.eigen, decompositions.singular, decompositions.triangular,  # nor of these
    *matrices.POSITIVE, *matrices.ROUNDED, *map(matrices.slope_of, matrices.ROUNDED),  # SciPy's versions round
    scipy.special.jv,  # nor one of this that has digits enough
}  # fmt: skip


def complex_step(p: Problem) -> Array:
    """The gradient by f(x + ih) / h, exact to rounding (Squire and Trapp, SIAM Review 40, 1998)."""
    slopes = []
    for direction in unit_vectors(p.inputs):
        steps = [Tensor(a + 1e-30j * d) for a, d in zip(p.inputs, direction, strict=True)]
        slopes.append(weighted(floats(results(p.call.on(steps))), p.weights).data.imag * 1e30)
    return np.array(slopes, np.float64)


def has_complex_version(p: Problem) -> bool:
    """Whether the call neither casts to a dtype nor has NaN or large numbers, which overflow in complex arithmetic."""
    given = [*p.call.args, *p.call.kwargs.values()]
    if p.call.function in (np.linalg.norm, np.linalg.matrix_norm) and any(a in ("nuc", 2, -2) for a in given[1:]):
        return False  # singular values have none
    if p.call.function in (scipy.special.ive, scipy.special.expi):
        return False  # SciPy's are others for complex numbers
    if p.call.function in map(matrices.slope_of, matrices.POSITIVE):
        return False  # SciPy's rounds more than it may here
    return not any(isinstance(a, (type, np.dtype)) for a in given) and all((np.abs(a) < 50).all() for a in p.inputs)


@every_function
def test_complex_step(function: Function) -> None:
    for p in filter(has_complex_version, problems(function)):
        analytic = flat([np.zeros(a.shape) if g is None else g for a, g in zip(p.inputs, p.gradients(), strict=True)])
        if function in NOT_ANALYTIC:
            with pytest.raises((TypeError, AssertionError)):
                assert_near(analytic, complex_step(p), 1e-3, p.call)
            break
        if RULES[function].kind != "constant":
            assert_near(analytic, complex_step(p), 64 * EPS, p.call)


WAYS = ["grad", "differentiable grad", "backward"]


@pytest.mark.parametrize("way", WAYS)
@every_function_and_composition
def test_gradients_have_shape_dtype_and_memory_of_their_own(function: Function, way: str) -> None:
    for p in problems(function):
        for dtype in (np.float64, np.float32):
            ts = leaves([a.astype(dtype) for a in p.inputs])
            outs = floats(results(p.call.on(ts)))
            weights = [np.asarray(w, out.dtype) for w, out in zip(p.weights, outs, strict=True)]
            arrays = [*(t.data for t in ts), *(out.data for out in outs), *weights]
            before = [a.copy() for a in arrays]
            found = pulled(outs, ts, weights, way)
            for t, g in zip(ts, found, strict=True):
                assert g is None or (type(g) is Tensor and g.shape == t.shape and g.dtype == t.dtype), p.call
                assert g is None or (type(g.data) is np.ndarray and g.data.flags.writeable), p.call
            memory = [g.data for g in found if g is not None]
            for a, b in itertools.chain(itertools.combinations(memory, 2), itertools.product(memory, arrays)):
                assert not np.shares_memory(a, b), p.call
            for a, b in zip(arrays, before, strict=True):
                assert a.tobytes() == b.tobytes(), f"{p.call} writes into what it was given"
            numpys = {a.dtype for a in plain(p.call, [t.data for t in ts])}
            assert {out.dtype for out in outs} <= numpys | {np.dtype(dtype)}, p.call


def pulled(outs: Sequence[Any], ts: Sequence[Tensor], weights: Sequence[Array], way: str) -> list[Tensor | None]:
    if way != "backward":
        return gradients(outs, ts, weights, create_graph=way != "grad")
    for out, w in zip(outs, weights, strict=True):
        if isinstance(out, Tensor) and out.requires_grad:
            out.backward(w, retain_graph=True)
    return [t.grad for t in ts]


@every_function
def test_only_views_share_memory_and_with_it_the_version(function: Function) -> None:
    for call in calls_of(function):
        ts = leaves(call.arrays)
        if len(ts) != 1:
            continue
        for out in results(call.on(ts)):
            if isinstance(out, Tensor) and out.data is not ts[0].data and out.size:
                shares = np.shares_memory(out.data, ts[0].data)
                assert shares == (out._version is ts[0]._version), call
                assert RULES[function].view or RULES[function].kind == "composite" or not shares, call


@every_function_and_composition
def test_float32_agrees_with_float64(function: Function) -> None:
    for p in problems(function):
        narrow = [a.astype(np.float32) for a in p.inputs]
        for a, b in zip(p.gradients(narrow), p.gradients([a.astype(np.float64) for a in narrow]), strict=True):
            if b is not None:
                assert_near(a, b, 2e-6, p.call)


@every_function_and_composition
def test_memory_layout_does_not_matter(function: Function) -> None:
    for p in problems(function):
        expected = p.gradients()
        for layout in (fortran, strided, reverse):
            for a, b in zip(p.gradients([layout(a) for a in p.inputs]), expected, strict=True):
                if b is not None:
                    assert_near(a, b, 4 * EPS, p.call)


def fortran(a: Array) -> Array:
    return a.copy(order="F")


def strided(a: Array) -> Array:
    return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a


def reverse(a: Array) -> Array:
    return np.flip(np.flip(a).copy())


@every_function_and_composition
def test_differentiable_path_gives_the_same_bits(function: Function) -> None:
    for p in problems(function):
        ts = leaves(p.inputs)
        outs = floats(results(p.call.on(ts)))
        runs = [gradients(outs, ts, p.weights, create_graph=c, retain_graph=True) for c in (False, True, False)]
        assert len({tuple(None if g is None else g.data.tobytes() for g in found) for found in runs}) == 1, p.call


@every_function
def test_a_linear_rule_reads_no_values(function: Function) -> None:
    if not RULES[function].linear:
        return
    for p in problems(function):
        expected = p.gradients()
        ts = leaves([a.copy() for a in p.inputs])
        outs = floats(results(p.call.on(ts)))
        for t in [*ts, *outs]:
            if t.data.flags.writeable:
                t.data[...] = np.nan
        for a, b in zip(gradients(outs, ts, p.weights), expected, strict=True):
            assert b is None or a.numpy().tobytes() == b.tobytes(), p.call


@every_function
def test_a_mask_or_index_that_has_changed_is_noticed(function: Function) -> None:
    for p in problems(function):
        changed: list[Tensor] = []
        call = p.call.with_constants(lambda a, changed=changed: changed.append(Tensor(a.copy())) or changed[-1])
        for i in range(len(changed)):
            changed.clear()
            call = p.call.with_constants(lambda a, changed=changed: changed.append(Tensor(a.copy())) or changed[-1])
            ts = leaves(p.inputs)
            outs = floats(results(call.on(ts)))
            with no_grad():
                assign(changed[i], ~changed[i].data if changed[i].dtype == bool else np.zeros_like(changed[i].data))
            with suppress(GraphError):
                for a, b in zip(gradients(outs, ts, p.weights), p.gradients(), strict=True):
                    assert (a is None) == (b is None), call
                    assert a is None or a.numpy().tobytes() == b.tobytes(), call


OPERATORS: dict[Function, Function] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.divide: operator.truediv,
    np.floor_divide: operator.floordiv, np.remainder: operator.mod, np.power: operator.pow,
    np.matmul: operator.matmul, np.negative: operator.neg, np.positive: operator.pos, np.absolute: abs,
    np.invert: operator.invert, np.bitwise_and: operator.and_, np.bitwise_or: operator.or_,
    np.bitwise_xor: operator.xor, np.equal: operator.eq, np.not_equal: operator.ne, np.less: operator.lt,
    np.less_equal: operator.le, np.greater: operator.gt, np.greater_equal: operator.ge,
    indexing.getitem: lambda x, *items: x[items], np.transpose: lambda x: x.T, np.real: lambda x: x.real,
}  # fmt: skip
METHODS: dict[Function, Function] = {
    getattr(np, name): getattr(Tensor, name)
    for name in dir(Tensor)
    if not name.startswith("_") and inspect.isfunction(getattr(Tensor, name, None)) and getattr(np, name, None) in RULES
} | {shapes.astype: Tensor.astype, np.absolute: Tensor.abs}


@pytest.mark.parametrize("function", OPERATORS, ids=name_of)
def test_operator_equals_function(function: Function) -> None:
    as_operator = OPERATORS[function]
    tried = 0
    for call in calls_of(function):
        if call.kwargs or (function is np.transpose and len(call.args) > 1):
            continue
        tried += 1
        arrays = [isinstance(a, np.ndarray) for a in call.args]
        for wrapped in itertools.product([True, False], repeat=min(2, len(call.args))):
            if function is indexing.getitem and not wrapped[0]:
                continue
            if any(w and a for w, a in zip(wrapped, arrays, strict=False)):
                assert_same(call, [w and a for w, a in zip((*wrapped, False), arrays, strict=False)], as_operator)
    assert tried


def assert_same(call: Call, wrapped: Sequence[bool], other: Function) -> None:
    """Assert that another way of calling gives the same values and gradients, some arguments being Tensors."""
    found = []
    for way in (call.function, other):
        args = list(call.args)
        for i, wrap in enumerate(wrapped):
            if wrap:
                args[i] = Tensor(args[i], requires_grad=args[i].dtype.kind == "f")
        (out,) = results(way(*args, **call.kwargs))
        ts = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
        slopes = tg.grad(out, ts, np.ones(out.shape), allow_unused=True) if out.requires_grad else []
        found.append([out.detach().numpy(), *(np.zeros(()) if g is None else g.numpy() for g in slopes)])
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert_near(a, b, 2 * EPS if call.function is np.power else 0.0, call)


def test_there_are_methods() -> None:
    assert {np.sum, np.std, np.argmin, np.round, np.take, np.clip, np.prod, shapes.astype} <= set(METHODS)


@pytest.mark.parametrize("function", METHODS, ids=name_of)
def test_method_equals_function(function: Function) -> None:
    method = METHODS[function]
    tried = 0
    for call in calls_of(function):
        try:
            inspect.signature(method).bind(*call.args, **call.kwargs)
        except TypeError:
            continue
        if isinstance(call.args[0], np.ndarray):
            tried += 1
            assert_same(call, [True], method)
    assert tried


def test_reductions_of_ufuncs_are_their_functions() -> None:
    x = calls_of(np.prod)[0].args[0]
    for ufunc, function in ((np.add, np.sum), (np.multiply, np.prod), (np.maximum, np.max), (np.minimum, np.min)):
        for axis in (0, 1, None, (0, 1)):
            assert_same(Call(function, (x,), {"axis": axis}), [True], ufunc.reduce)
            assert_same(Call(function, (x,), {"axis": axis, "keepdims": True}), [True], ufunc.reduce)
        by_position = lambda t, axis, keepdims, ufunc=ufunc: ufunc.reduce(t, axis, None, None, keepdims)
        assert_same(Call(function, (x,), {"axis": 1, "keepdims": True}), [True], by_position)
        assert_same(Call(function, (x,), {"axis": 0}), [True], lambda t, axis, ufunc=ufunc: ufunc.reduce(t))


@every_function
def test_errors(function: Function) -> None:
    for call, error, match in errors_of(function):
        with pytest.raises(error, match=match):
            call.on(leaves(call.arrays))


def keyword_values(name: str, default: Any, call: Call) -> list[Any]:
    """Values for a keyword other than its default."""
    if isinstance(default, bool):
        return [not default]
    shape = call.arrays[0].shape if call.arrays else ()
    out = plain(call)[0]
    return KEYWORDS[name](shape, out) if callable(KEYWORDS[name]) else KEYWORDS[name]


KEYWORDS: dict[str, Any] = {
    "descending": [True],
    "out": lambda shape, out: [np.empty_like(out), Tensor(np.empty_like(out))],
    "where": lambda shape, out: [np.zeros(shape, bool), np.arange(np.prod(shape)).reshape(shape) % 2 == 0],
    "weights": lambda shape, out: [np.arange(1.0, 1 + np.prod(shape)).reshape(shape)],
    "x": lambda shape, out: [np.arange(shape[-1]) ** 2.0],
    "y": lambda shape, out: [np.ones(shape)],
    "axis": [0, -1], "axis1": [1], "axis2": [0], "axisa": [0], "axisb": [0], "axisc": [0], "axes": [[1, 0], 1],
    "dtype": [np.float32, int], "casting": ["unsafe"], "order": ["F"], "subok": [True, False], "device": ["cpu"],
    "keepdims": [True], "initial": [1.5], "ddof": [1], "correction": [1], "mean": [0.25], "bias": [True], "n": [2],
    "kind": ["heapsort"], "stable": [True], "method": ["lower"], "interpolation": ["lower"], "side": ["right"],
    "prepend": [0.5], "append": [0.5], "to_end": [0.5], "to_begin": [0.5], "dx": [0.5], "default": [1.5],
    "fweights": [np.arange(1, 6)], "aweights": [np.arange(1, 6)], "sorter": [[1, 0, 2]], "indexing": ["ij"],
    "offset": [1], "k": [1], "mode": ["wrap", "same", "edge"], "shape": [(1, 2)], "newshape": [-1], "num": [3],
    "start": [1], "ord": [1, np.inf], "decimals": [1], "nan": [2.5], "posinf": [9.0], "neginf": [-9.0],
    "min": [0.0], "max": [0.5], "a_min": [0.0], "a_max": [0.5], "rtol": [0.5], "atol": [0.5], "tol": [1e3],
    "optimize": ["greedy"], "fill_value": [2.0], "UPLO": ["U"], "rcond": [1e-3],
    "edge_order": [2], "left": [0.25], "right": [0.25], "period": [3.0], "discont": [4.0],
    "signature": ["ff->f", "f->f"], "copy": [True],
}  # fmt: skip


@every_function
def test_a_keyword_is_obeyed_or_refused_by_name(function: Function) -> None:
    try:
        parameters = dict(inspect.signature(function).parameters)
    except ValueError:
        parameters = {}
    if name_of(function).startswith("rules.") or function is np.empty_like:
        return
    names = {n: p.default for n, p in parameters.items() if p.default is not p.empty and p.kind is not p.VAR_KEYWORD}
    if isinstance(function, np.ufunc):
        names |= dict.fromkeys(
            [
                "out",
                "where",
                "casting",
                "order",
                "subok",
                "dtype",
                *(["axis", "keepdims"] if function.signature else []),
            ]
        )
    positional = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for call in calls_of(function)[:4]:
        if call.arrays:
            for name, default in names.items():
                if name in call.kwargs or name in positional[: len(call.args)]:
                    continue
                for value in keyword_values(name, default, call):
                    assert_obeyed_or_refused(call._replace(kwargs={**call.kwargs, name: value}), name)
                    if name in positional and not call.kwargs:
                        between = [names[n] for n in positional[len(call.args) : positional.index(name)] if n in names]
                        assert_obeyed_or_refused(call._replace(args=(*call.args, *between, value)), name)


def assert_obeyed_or_refused(call: Call, name: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = plain(call)
    except (TypeError, ValueError, IndexError, RuntimeError):
        if name != "out":
            return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = results(call.on(leaves(call.arrays)))
    except (TypeError, ValueError) as error:
        if name not in str(error):
            raise AssertionError(f"{call!r} is refused without naming {name}") from error
        return
    assert not name.startswith("out"), f"{call!r} writes to out"
    for a, b in zip(ours, theirs, strict=True):
        a = a.detach().numpy() if isinstance(a, Tensor) else np.asarray(a)
        assert a.shape == b.shape, call
        assert a.dtype == b.dtype, call
        assert_near(a, b, 32 * EPS, call)


nan, inf = np.nan, np.inf
EDGES: dict[str, tuple[Function, Any, Any, Any]] = {
    "norm_3_of_zeros": (lambda x: np.linalg.norm(x, 3), [0.0, 0.0], 0.0, [0.0, 0.0]),
    "norm_1_of_zeros": (lambda x: np.linalg.norm(x, 1), [0.0, 0.0], 0.0, [0.0, 0.0]),
    "norm_0": (lambda x: np.linalg.norm(x, 0), [0.0, 2.0], 1.0, None),
    "nanstd_of_equal": (np.nanstd, [2.0, nan, 2.0], 0.0, [0.0, 0.0, 0.0]),
    "nanvar_of_too_few": (lambda x: np.nanvar(x, ddof=2), [1.0, nan, 2.0], nan, [nan, 0.0, nan]),
    "nanmin_of_infinity": (np.nanmin, [inf, nan], inf, [1.0, 0.0]),
    "median_of_nan": (np.median, [1.0, nan, 3.0], nan, [0.0, 1.0, 0.0]),
    "percentile_of_nan": (lambda x: np.percentile(x, [0, 100]), [1.0, nan], [nan, nan], [0.0, 2.0]),
    "prod_of_nothing": (np.prod, [], 1.0, []),
    "cumprod_of_zeros": (np.cumprod, [0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
    "heaviside_at_0": (lambda x: np.heaviside(0, x), [0.25], [0.25], [1.0]),
    "where_hides_infinity": (
        lambda x: np.where(x > 0, 1 / np.where(x > 0, x, 1), 0),
        [0.0, 2.0],
        [0.0, 0.5],
        [0.0, -0.25],
    ),
    "slogdet_by_name": (lambda x: np.linalg.slogdet(x).logabsdet, [[2.0]], np.log(2.0), [[0.5]]),
    "take_twice": (lambda x: np.take(x, [1, 1, -1]), [1.0, 2.0], [2.0, 2.0, 2.0], [0.0, 3.0]),
    "sort_of_ties": (lambda x: np.sort(x)[0], [1.0, 1.0], 1.0, [1.0, 0.0]),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str) -> None:
    function, x, value, slope_at = EDGES[name]
    t = Tensor(np.array(x, np.float64), requires_grad=True)
    out = function(t)
    np.testing.assert_array_equal(out.detach().numpy(), value)
    assert out.requires_grad == (slope_at is not None)
    if out.requires_grad:
        np.testing.assert_array_equal(tg.grad(out, t, np.ones(out.shape))[0].numpy(), slope_at)


def test_ties_are_sorted_as_they_stand() -> None:
    x, y = np.random.default_rng(0).integers(0, 3, (2, 500)).astype(float)
    t = Tensor(x, requires_grad=True)
    (g,) = tg.grad(np.sort(t), t, np.arange(500.0))
    np.testing.assert_array_equal(g.numpy()[np.argsort(x, kind="stable")], np.arange(500.0))
    np.testing.assert_array_equal(np.lexsort(Tensor(np.stack([x, y]))).numpy(), np.lexsort([x, y]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_binary_cross_entropy_is_exact_near_0_and_1(dtype: Any) -> None:
    digits = 11 if dtype == np.float64 else 6
    p = np.array([0.1**k for k in range(1, digits)] + [1 - 0.1**k for k in range(1, digits)], dtype)
    exact = p.astype(np.longdouble)
    for target, value, slope_at in ((0, -np.log1p(-exact), 1 / (1 - exact)), (1, -np.log(exact), -1 / exact)):
        t = Tensor(p, requires_grad=True)
        out = elementwise.bce(t, np.full(p.shape, target, dtype))
        np.testing.assert_allclose(out.detach().numpy(), value, rtol=4 * np.finfo(dtype).eps)
        (g,) = tg.grad(out, t, np.ones(p.shape, dtype))
        np.testing.assert_allclose(g.numpy(), slope_at, rtol=8 * np.finfo(dtype).eps)


def test_binary_cross_entropy_ends_at_100() -> None:
    p, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(elementwise.bce(Tensor(p), t).numpy(), [100, 100, 0, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_what_is_not_selected_is_0_whatever_it_is(dtype: Any) -> None:
    x = np.array([nan, inf, -inf, -0.0, nan, 2.0], dtype)
    out = elementwise.select(np.array([False] * 4 + [True] * 2), x)
    np.testing.assert_array_equal(out, np.array([0, 0, 0, 0, nan, 2], dtype), strict=True)
    assert not np.signbit(out[:4]).any()


@pytest.mark.parametrize(("rows", "columns"), [(3, 4), (4, 3), (4, 4), (1, 2), (2, 1)])
def test_wide_products_and_their_masks_are_laid_out_by_columns(rows: int, columns: int) -> None:
    order = "F_CONTIGUOUS" if columns > rows else "C_CONTIGUOUS"
    product = (Tensor(np.ones((rows, 5))) @ Tensor(np.ones((5, columns)))).data
    assert product.flags[order]
    mask = elementwise.uniform(np.random.default_rng(0), product)
    assert mask.strides == tuple(s // 2 for s in product.strides)


@pytest.mark.parametrize("f", [lambda x: np.var(x, ddof=3), lambda x: np.std(x, ddof=4), lambda x: np.cov(x, ddof=3)])
def test_less_than_no_freedom_is_numpys(f: Function) -> None:
    x = np.array([1.0, 3.0])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(f(Tensor(x)).numpy(), f(x))


@pytest.mark.parametrize("size", [1.0, 1e200, 1e-200, 5e-324, inf])
def test_norms_neither_overflow_nor_underflow(size: float) -> None:
    x = Tensor([3 * size, 0.0, -4 * min(size, 1e300) if size < inf else 1.0])
    assert np.linalg.norm(x).item() == pytest.approx(5 * size, rel=1e-15, abs=0)


def test_a_sum_of_no_exponentials_is_silent() -> None:
    x = Tensor([[-inf, -inf], [-inf, 0.0]], requires_grad=True)
    out = reductions.logsumexp(x, 1)
    np.testing.assert_array_equal(out.detach().numpy(), [-inf, 0])
    (g,) = tg.grad(out, x, np.ones(2))
    assert np.isfinite(g.numpy()).all()


def test_nanmax_of_nothing_warns_like_numpy() -> None:
    t = Tensor(np.array([[nan, nan], [1.0, nan]]), requires_grad=True)
    with pytest.warns(RuntimeWarning, match="All-NaN"):
        out = np.nanmax(t, axis=1)
    np.testing.assert_array_equal(out.detach().numpy(), [nan, 1.0])
    np.testing.assert_array_equal(tg.grad(out, t, np.ones(2))[0].numpy(), [[0.0, 0.0], [1.0, 0.0]])


NUMBERS = {
    "weights", "dx", "x", "y", "to_end", "to_begin", "prepend", "append", "initial", "fill_value", "default", "nan",
    "posinf", "neginf", "min", "max", "a_min", "a_max", "rtol", "atol", "tol", "ddof", "correction", "mean", "aweights",
    "fweights", "bias",
}  # fmt: skip


@every_function
def test_a_tensor_as_keyword_keeps_its_gradient_or_is_refused(function: Function) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return
    names = NUMBERS & {p.name for p in parameters if p.default is not p.empty}
    for call in calls_of(function)[:3]:
        for name in sorted(names - call.kwargs.keys()):
            with_number = call._replace(kwargs={**call.kwargs, name: np.array(0.75)})
            with_tensor = call._replace(kwargs={**call.kwargs, name: (t := Tensor(0.75, requires_grad=True))})
            try:
                plain(with_number)
                ours = floats(results(with_tensor.on([Tensor(a) for a in call.arrays])))
            except (TypeError, ValueError, IndexError, RuntimeError, DeprecationWarning):
                continue
            p = Problem(with_number)
            numeric = slope(p.value, p.inputs, list(unit_vectors(p.inputs))[-1])
            (analytic,) = gradients(ours, [t], p.weights)
            assert_slope(np.zeros(()) if analytic is None else analytic.numpy(), numeric, repr(with_number))
