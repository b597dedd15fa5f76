"""Every op in a program: the samples of all rules, and every ufunc with constants of every type, bit for bit."""

from __future__ import annotations

import gc
import itertools
import linecache
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from draws import Call, calls_of, name_of
from samples import SAMPLES

from tinygrad_mlp import RecordingError, Tensor, jit, optim
from tinygrad_mlp.rules.table import RULES, constant

pytestmark = pytest.mark.filterwarnings("ignore")
Function = Callable[..., Any]
FUNCTIONS = sorted({sample.function for sample in SAMPLES if sample.error is None}, key=name_of)
SHAPED_BY_VALUES = [np.nonzero, np.flatnonzero, np.argwhere]
UFUNCS = sorted((f for f in RULES if isinstance(f, np.ufunc) and f.signature is None and f.nin < 3), key=name_of)


def bits(result: Any) -> Any:
    """Return all that a result is, but for which NaN of two an operation gives, which IEEE 754 leaves open."""
    if isinstance(result, (tuple, list)):
        return [bits(part) for part in result]
    if isinstance(result, Tensor):
        data = result._data
        if data.dtype.kind in "fc":
            data = np.where(data != data, data.dtype.type(np.nan), data)
        return data.dtype.str, data.shape, data.tobytes()
    return result


def assert_same(function: Function, *batches: tuple[Any, ...]) -> Any:
    """Call a function eagerly and compiled, on one batch after the other, and compare; return what was compiled."""
    step = jit(function)
    for batch in batches:
        expected = bits(function(*(Tensor(a) for a in batch)))
        assert bits(step(*batch)) == expected, f"eager {expected}\n{step.source if step.calls > 2 else ''}"
    assert step.last.program is not None
    return step


def differentiated(call: Call, arrays: list[Any]) -> Any:
    """Return a function without arguments that makes a call on parameters, and gives the results and the gradients."""
    params = [Tensor(a, requires_grad=True, name=f"p{i}") for i, a in enumerate(arrays)]

    def step() -> Any:
        outs = call.on(params)
        flat = [out for out in (outs if isinstance(outs, (tuple, list)) else [outs]) if isinstance(out, Tensor)]
        loss = sum((np.tanh(out).sum() for out in flat if out.requires_grad), Tensor(np.zeros(())))
        for p in params:
            p.grad = None
        if loss.requires_grad:
            loss.backward()
        return [*flat, *(p.grad for p in params)]

    return step, params


@pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
@pytest.mark.parametrize(
    ("dtype", "share"),
    [
        pytest.param(np.float64, slice(None), id="float64"),
        pytest.param(np.float32, slice(None, None, 2), id="float32"),
        pytest.param(np.float32, slice(1, None, 2), id="float32, the rest", marks=pytest.mark.slow),
    ],
)
def test_samples(function: Function, dtype: Any, share: slice) -> None:
    for call in calls_of(function)[share]:
        arrays = [a.astype(dtype) for a in call.arrays]
        (eager, params), (compiled, others) = (differentiated(call, [a.copy() for a in arrays]) for _ in range(2))
        step = jit(compiled)
        if function in SHAPED_BY_VALUES:
            with pytest.raises(RecordingError, match="the shape of what"):
                step()
            continue
        for i in range(4):
            expected = bits(eager())
            assert bits(step()) == expected, f"{call}, call {i}\n{step.source if i > 1 else ''}"
            for p in (*params, *others):
                p.data[...] *= dtype(0.875)


SCALARS = [2, -1, 0, 0.5, -1.5, 1e-50, 1e300, np.inf, np.nan, True]
DTYPES = [np.dtype(code) for code in "?bBhHiIlLefd"]
CONSTANTS = [*SCALARS, *(d.type(1.75) for d in DTYPES), *(np.array(2.5, d) for d in DTYPES)]
ARRAYS = [
    np.array([[0.75, -1.5, 2.0], [0.0, np.inf, np.nan]], np.float32),
    np.array([0.75, -1.5, 2.0, 1e-50]),
    np.array([3, -2, 0, 1]),
    np.array([True, False, True]),
]


def same_error(function: Function, arrays: Any) -> type[Exception] | None:
    """Return what a function raises eagerly, having seen that it raises the same when it is recorded."""
    try:
        function(*map(Tensor, arrays))
    except Exception as error:
        with pytest.raises(type(error)):
            jit(function)(*arrays)
        return type(error)
    return None


@pytest.mark.parametrize("ufunc", UFUNCS, ids=name_of)
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_ufuncs_with_constants(ufunc: Any, every: int) -> None:
    """NumPy's loop is chosen by the arrays alone beside Python numbers, and the constant is converted to its dtype.

    Each ufunc meets another third of the constants than the one before.
    """
    compiled, constants = 0, CONSTANTS[UFUNCS.index(ufunc) % every :: every]
    for x, c in itertools.product(ARRAYS, constants if ufunc.nin == 2 else [None]):
        functions = [ufunc] if ufunc.nin == 1 else [lambda t, c=c: ufunc(t, c), lambda t, c=c: ufunc(c, t)]
        for function in functions:
            if same_error(function, [x]) is None:
                assert_same(function, (x,), (x,), (x,), (x[::-1].copy(),))
                compiled += 1
    assert compiled


X = np.array([[0.3, 2.0, 1.0], [5.0, 4.0, 0.0]], np.float32)
CALLS: dict[str, Function] = {
    "argsort of all": lambda x: np.argsort(x, axis=None),
    "argpartition of all": lambda x: np.argpartition(x, kth=np.array([1]), axis=None),
    "concatenate of all": lambda x: np.concatenate([x, x], axis=None),
    "floor in another dtype": lambda x: np.floor(x, dtype=np.float64),
    "isclose by a scalar of NumPy": lambda x: np.isclose(x, 2.0, rtol=np.float32(0.1)),
    "round by an integer of NumPy": lambda x: np.round(x, decimals=np.int64(1)),
    "transpose by an array": lambda x: np.transpose(x, axes=np.array([1, 0])),
    "cumsum of all": lambda x: np.cumsum(x, axis=None),
    "sum backwards": lambda x: np.repeat(x, 500)[::-1].sum(),
    "sum backwards along an axis": lambda x: np.tile(x, (50, 40))[:, ::-1].sum(axis=0),
}


@pytest.mark.parametrize("call", CALLS)
def test_keywords_and_layouts(call: str) -> None:
    assert_same(CALLS[call], (X,), (X * 3,), (X - 1,), (-X,))


def test_arrays_in_keywords_are_live_and_told_apart() -> None:
    left = np.arange(2000.0) / 400
    right = left.copy()
    right[1000] = right[1001]

    def difference(x: Any) -> Any:
        return np.digitize(x, bins=right) - np.digitize(x, bins=left)

    step = assert_same(difference, *[(np.array([2.5, 2.501, 2.4999]),)] * 4)
    assert step(np.array([2.5, 2.501, 2.4999])).tolist() == [-1, -1, 0]
    right += 1
    assert step(np.array([2.5, 2.501, 2.4999])).tolist() == [-400, -400, -400]


def test_a_ufunc_from_elsewhere_is_called_by_the_object() -> None:
    special = pytest.importorskip("scipy.special")
    constant(special.spence)
    try:
        step = assert_same(lambda x: special.spence(x) * 2, (X,), (X,), (X,), (X - 1,))
        assert "spence(x, out=" in step.source and "np.spence" not in step.source
    finally:
        del RULES[special.spence]


def sums(count: int) -> Any:
    params = [Tensor(np.ones(2), requires_grad=True, name=f"p{i}") for i in range(count)]
    opt = optim.Adam(params)

    def step(x: Any) -> Any:
        loss = sum((p * x).sum() for p in params)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return jit(step)


def calls_while(function: Function) -> int:
    """Return how many functions are called while one runs."""
    count = 0

    def see(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_compiling_is_linear_in_the_number_of_parameters() -> None:
    counts = []
    for parameters in (20, 40, 160):
        step = sums(parameters)
        step(np.ones(2))
        step(np.ones(2))
        counts.append(calls_while(lambda: step(np.ones(2))))
    once, twice, eightfold = counts
    assert eightfold - twice < 6 * (twice - once) * 1.1


def test_the_text_of_a_program_goes_with_it() -> None:
    def texts() -> int:
        gc.collect()
        return sum(key.startswith("<jit") for key in linecache.cache)

    before = texts()
    step = sums(2)
    for _ in range(5):
        step(np.ones(2))
    assert texts() > before
    del step
    assert texts() == before


PRODUCTS: dict[str, Function] = {
    "by the transpose": lambda x, w: x @ w.T,
    "linear": lambda x, w: x @ w.swapaxes(0, 1) + (w * w).sum(axis=1),
    "inner": lambda x, w: np.inner(x, w),
    "einsum": lambda x, w: np.einsum("ni,oi->no", x, w),
    "from the left": lambda x, w: w @ x.T,
}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("shape", [(3, 500), (500, 3), (1, 500)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_gradients_lie_as_eager_ones_do(product: str, shape: tuple[int, int], order: Any) -> None:
    rng = np.random.default_rng(0)
    x, start = rng.normal(size=(5, shape[1])), np.array(rng.normal(size=shape), order=order)

    def build() -> Any:
        w = Tensor(start.copy(order="K"), requires_grad=True)

        def step(x: Any) -> Any:
            w.grad = None
            (PRODUCTS[product](x, w) ** 2).sum().backward()
            return (w.grad * w.grad).sum()  # which depends, in the last bits, on the layout

        return w, step

    (w, eager), (other, function) = build(), build()
    step = jit(function)
    for _ in range(4):
        assert bits(eager(Tensor(x))) == bits(step(x))
        assert w.grad._data.strides == other.grad._data.strides
