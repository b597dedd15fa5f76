"""Native programs: what compiles, compiles natively, to what eager gives but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

import native_text
import test_jit_ops
import test_jit_programs
from draws import calls_of, name_of
from hypothesis import HealthCheck, given, settings

from tinygrad_mlp import Tensor, jit
from tinygrad_mlp.jit.native import program

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCES = {"f": 1e-5, "d": 1e-12}


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the text of programs by Python, which takes no time to compile, and checks types and bounds."""
    monkeypatch.setattr(program, "load", native_text.load)
    monkeypatch.setattr(program, "_blas", lambda name: 0)


def assert_close(actual: Any, expected: Any, scale: float = 0.0, tolerance: float | None = None) -> None:
    """Compare results: numbers within the tolerance of their dtype, everything else exactly."""
    if isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_close(a, e, scale, tolerance)
        return
    if isinstance(expected, Tensor):
        a, e = actual._data, expected._data
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        finite = np.isfinite(e)
        assert np.array_equal(a[~finite], e[~finite], equal_nan=e.dtype.kind in "fc"), f"{a} {e}"
        allowed = (TOLERANCES.get(e.dtype.char, 0.0) if tolerance is None else tolerance) * max(
            scale, np.abs(e, where=finite, out=np.zeros_like(e)).max(initial=0)
        )
        assert (
            np.abs(np.subtract(a, e, where=finite, out=np.zeros_like(e)) if e.dtype.kind != "b" else a != e).max(
                initial=0
            )
            <= allowed
        ), f"{a} {e}"
    else:
        assert actual == expected


def run_samples(function: Callable[..., Any], dtype: Any) -> None:
    for call in calls_of(function):
        arrays = [a.astype(dtype) for a in call.arrays]
        (eager, params), (compiled, others) = (
            test_jit_ops.differentiated(call, [a.copy() for a in arrays]) for _ in range(2)
        )
        if function in test_jit_ops.SHAPED_BY_VALUES:
            continue
        step = jit(compiled, backend="numba")
        for i in range(4):
            expected = eager()
            try:
                assert_close(step(), expected)
            except AssertionError as error:
                raise AssertionError(f"{call}, call {i}\n{step.source if i > 1 else ''}") from error
            for p in (*params, *others):
                p.data[...] *= dtype(0.875)


@pytest.mark.parametrize("function", test_jit_ops.FUNCTIONS, ids=name_of)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.usefixtures("by_python")
def test_samples_by_python(function: Any, dtype: Any) -> None:
    run_samples(function, dtype)


def run_program(spec: dict[str, Any], calls: int = 5) -> None:
    eager, compiled = test_jit_programs.Step(spec), test_jit_programs.Step(spec)
    step = jit(compiled.__call__, backend="numba")
    for call in range(calls):
        x, y = eager.inputs(call)
        try:
            loss, kept = eager(Tensor(x), Tensor(y))
        except Exception as error:
            with pytest.raises(type(error)):
                step(*map(test_jit_programs.as_given, compiled.inputs(call)))
            return
        result, others = step(*map(test_jit_programs.as_given, compiled.inputs(call)))
        expected = [loss, *kept, *eager.params, *(p.grad for p in eager.params)]
        actual = [result, *others, *compiled.params, *(p.grad for p in compiled.params)]
        scale = max(
            float(np.abs(t._data[np.isfinite(t._data)]).max(initial=1)) for t in expected if t.dtype.kind == "f"
        )
        try:
            assert_close(
                actual, expected, scale * 10, 1e-5 if np.float32 in [d for _, _, d in spec["arrays"]] else 1e-12
            )
        except AssertionError as error:
            raise AssertionError(f"call {call}: {error}\n{step.source if call > 1 else ''}") from error
        if call >= 2:
            test_jit_programs.poison(step)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(test_jit_programs.programs())
def test_random_programs_by_python(spec: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "load", native_text.load)
        patch.setattr(program, "_blas", lambda name: 0)
        run_program(spec)
