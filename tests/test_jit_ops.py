"""Every op in a program: the samples of all rules, and every ufunc with constants of every type, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from draws import Call, calls_of, name_of
from samples import SAMPLES

from tinygrad_mlp import RecordingError, Tensor, jit
from tinygrad_mlp.rules.table import RULES

pytestmark = pytest.mark.filterwarnings("ignore")
Function = Callable[..., Any]
FUNCTIONS = sorted({sample.function for sample in SAMPLES if sample.error is None}, key=name_of)
SHAPED_BY_VALUES = [np.nonzero, np.flatnonzero, np.argwhere]
UFUNCS = sorted((f for f in RULES if isinstance(f, np.ufunc) and f.signature is None), key=name_of)


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
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_samples(function: Function, dtype: Any) -> None:
    for call in calls_of(function):
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
def test_ufuncs_with_constants(ufunc: Any) -> None:
    """NumPy's loop is chosen by the arrays alone beside Python numbers, and the constant is converted to its dtype."""
    compiled = 0
    for x, c in itertools.product(ARRAYS, CONSTANTS if ufunc.nin == 2 else [None]):
        functions = [ufunc] if ufunc.nin == 1 else [lambda t, c=c: ufunc(t, c), lambda t, c=c: ufunc(c, t)]
        for function in functions:
            if same_error(function, [x]) is None:
                assert_same(function, (x,), (x,), (x,), (x[::-1].copy(),))
                compiled += 1
    assert compiled
