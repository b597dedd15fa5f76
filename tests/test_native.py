"""Native programs: what compiles, compiles natively, to what eager gives but for rounding, and exactly where it can be.

Most tests run the text of the programs by Python (`native_text`): that takes no time to compile, and checks types and
indices. The others compile it. Those of `test_jit` that compare trainings bit for bit run here again, within tolerance.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")
pytest.importorskip("hypothesis")

import native_text
import test_jit
import test_jit_ops
import test_jit_programs
from draws import calls_of, name_of
from hypothesis import HealthCheck, given, settings
from test_jit import (  # noqa: F401  # which run here again
    test_a_batch_of_no_samples,
    test_batch_norm_of_three_axes,
    test_betas_that_change_between_calls,
    test_cross_entropy,
    test_evaluation_under_no_grad_and_modes,
    test_gradient_accumulation_over_two_calls,
    test_gradient_penalty,
    test_gradients_clipped_in_the_step,
    test_gradients_of_different_memory_layouts_add_up_alike,
    test_layers,
    test_losses,
    test_losses_as_modules,
    test_optimizer_options,
    test_options_that_change_between_calls,
    test_tied_weights_and_shared_layers,
    test_two_backward_calls_and_several_outputs,
    test_two_backward_calls_through_one_graph,
    test_two_optimizers_that_train_against_each_other,
)

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, jit, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.core.tensor import assign
from tinygrad_mlp.jit import compiled
from tinygrad_mlp.jit.native import cache, program

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep native programs of tests where only this run finds them."""
    monkeypatch.setenv("TINYGRAD_MLP_CACHE", str(tmp_path_factory.getbasetemp() / "native"))


@pytest.fixture(autouse=True)
def _trainings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests of `test_jit` compare natively."""
    if request.function.__module__ == "test_jit":
        request.getfixturevalue("by_python")
        monkeypatch.setattr(test_jit, "assert_same_bits", assert_close_trainings)


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the text of programs by Python."""
    monkeypatch.setattr(program, "load", native_text.load)
    monkeypatch.setattr(program, "blas", lambda name: 0)


def arrays_of(result: Any) -> list[Any]:
    """Return what is in a result: arrays of Tensors, and all else."""
    if isinstance(result, dict):
        return [x for k, v in result.items() for x in (k, *arrays_of(v))]
    if isinstance(result, (tuple, list)):
        return [x for v in result for x in arrays_of(v)]
    return [result._data.copy() if isinstance(result, Tensor) else result]


def size(a: Any) -> float:
    """Return the largest finite absolute value."""
    a = np.asarray(a)
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) if a.dtype.kind == "f" else 0.0


def assert_close(actual: list[Any], expected: list[Any], others: list[Any] | None = None) -> None:
    """Compare floats within 1e-12 of the largest number, or 1e-5 if any is float32, and everything else exactly.

    Where ``others``, the same from a start that is rounded otherwise, are further away, ten times that is allowed.
    """
    assert len(actual) == len(expected)
    single = any(getattr(e, "dtype", None) == np.float32 for e in expected)
    scale = max(map(size, expected), default=0.0) * (1e-5 if single else 1e-12)
    for a, e, other in zip(actual, expected, others or expected, strict=True):
        if not isinstance(e, np.ndarray) or e.dtype.kind != "f":
            assert np.array_equal(a, e) and getattr(a, "dtype", None) == getattr(e, "dtype", None), f"{a}, not {e}"
            continue
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        finite = np.isfinite(e)
        assert np.array_equal(a[~finite], e[~finite], equal_nan=True), f"{a}, not {e}"
        allowed = max(scale, 10 * size(np.subtract(e, other, where=finite, out=np.zeros_like(e))))
        gap = np.abs(np.subtract(a, e, where=finite, out=np.zeros_like(e))).max(initial=0.0)
        assert gap <= allowed, f"{gap} > {allowed}: {a}, not {e}"


def tensors_of(run: test_jit.Run) -> Iterator[Any]:
    """Yield all Tensors that a step may change."""
    yield from (t for _, t in (*run.model.named_parameters(), *run.model.named_buffers()))
    for o in run.optimizers:
        for p in (p for group in o.param_groups for p in group["params"]):
            yield from (v for v in o.state.get(p, {}).values() if isinstance(v, Tensor))


def all_of(run: test_jit.Run, result: Any) -> list[Any]:
    grads = [None if t._grad is None else t._grad._data.copy() for _, t in run.model.named_parameters()]
    drawn = [value for key, value in run.state().items() if key.startswith("generator")]
    return [*arrays_of(result), *(t._data.copy() for t in tensors_of(run)), *grads, *drawn]


def assert_close_trainings(
    build: Callable[[], dict[str, Any]], batches: Callable[[int], tuple[Any, ...]], steps: int
) -> Any:
    """Compare an eager and a native copy after each step, and start the next one from the same numbers."""
    eager, native, rounded = (test_jit.Run(build) for _ in range(3))
    step = jit(native.step, backend="numba")
    for i in range(min(steps, 6)):
        batch = batches(i)
        given = [Tensor(a) if isinstance(a, np.ndarray) else a for a in batch]
        for t in tensors_of(rounded):
            t._data[...] *= t._data.dtype.type(1 + 2 * np.finfo(t.dtype).eps) if t.dtype.kind == "f" else 1
        others, expected = (all_of(run, run.step(*given)) for run in (rounded, eager))
        try:
            assert_close(all_of(native, step(*batch)), expected, others)
        except AssertionError as error:
            raise AssertionError(f"step {i}: {error}\n{step.source if i > 2 else ''}") from error
        for run in (native, rounded):
            for mine, other in zip(tensors_of(run), tensors_of(eager), strict=True):
                np.copyto(mine._data, other._data)
        for run in (eager, native, rounded):
            run.after(i)
    assert step.last is not None and step.last.program is not None, "nothing has been compiled"
    return step


def run_samples(function: Callable[..., Any], dtype: Any) -> None:
    for call in calls_of(function):
        arrays = [a.astype(dtype) for a in call.arrays]
        (eager, params), (compiled, others) = (
            test_jit_ops.differentiated(call, [a.copy() for a in arrays]) for _ in range(2)
        )
        step = jit(compiled, backend="numba")
        for i in range(4):
            expected = arrays_of(eager())
            try:
                assert_close(arrays_of(step()), expected)
            except AssertionError as error:
                raise AssertionError(f"{call}, call {i}: {error}\n{step.source if i > 1 else ''}") from error
            for p in (*params, *others):
                p.data[...] *= dtype(0.875)


SAMPLED = [f for f in test_jit_ops.FUNCTIONS if f not in test_jit_ops.SHAPED_BY_VALUES]
COMPILED = [np.exp, np.maximum, np.sum, np.where, np.matmul, np.tanh, np.std, F.softmax, F.cross_entropy]


@pytest.mark.parametrize("function", SAMPLED, ids=name_of)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("by_python")
def test_samples(function: Any, dtype: Any) -> None:
    run_samples(function, dtype)


@pytest.mark.parametrize(
    "function", [pytest.param(f, marks=() if f in COMPILED[:3] else pytest.mark.slow) for f in SAMPLED], ids=name_of
)
@pytest.mark.filterwarnings("ignore")
def test_samples_compiled(function: Any) -> None:
    for dtype in (np.float64, np.float32):
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
        single = np.zeros(1, np.float32 if np.float32 in [d for _, _, d in spec["arrays"]] else np.float64)
        expected = [single, *arrays_of([loss, kept, eager.params, [p.grad for p in eager.params]])]
        actual = [single, *arrays_of([result, others, compiled.params, [p.grad for p in compiled.params]])]
        try:
            assert_close(actual, expected)
        except AssertionError as error:
            raise AssertionError(f"call {call}: {error}\n{step.source if call > 1 else ''}") from error
        if call >= 2:
            test_jit_programs.poison(step)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(test_jit_programs.programs())
def test_random_programs(spec: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "load", native_text.load)
        patch.setattr(program, "blas", lambda name: 0)
        run_program(spec)


@pytest.mark.slow
def test_random_programs_compiled_with_bounds_checked() -> None:
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from hypothesis import HealthCheck, given, settings
import test_native, test_jit_programs

@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(test_jit_programs.programs())
def run(spec):
    test_native.run_program(spec)

run()
"""
    here = Path(__file__).parent
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.usefixtures("by_python")
def test_a_vector_is_told_apart_by_how_it_broadcasts() -> None:
    """In one loop, the same numbers may be those of its rows and of its columns."""
    rng = np.random.default_rng(0)
    step = jit(lambda x: (np.arctan2(x.T, np.abs(x) + 1), F.logsumexp(np.exp(x.T) * x, 0, True)), backend="numba")
    for _ in range(4):
        x = rng.normal(size=(1, 5))
        eager = np.arctan2(x.T, np.abs(x) + 1), F.logsumexp(np.exp(x.T) * x, 0, True)
        assert_close(arrays_of(step(x)), list(eager))


def trained(steps: int = 4, hidden: int = 8) -> tuple[Any, Any]:
    """Return a network that has taken steps, and its native step."""
    model = nn.MLP([12, hidden, 5], rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    native, batches = jit(step, backend="numba"), test_jit.data()
    for _ in range(steps):
        native(*batches(0))
    return model, native


def test_the_same_bits_every_time_and_what_the_text_says() -> None:
    (first, step), (second, _) = trained(), trained()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert a._data.tobytes() == b._data.tobytes()
    for part in ("# forward", "# backward", "# update", "gemm(", "for i in range(32):", "relu", "test_native.py"):
        assert part in step.source, part
    assert "layer0_weight_momentum_buffer += " in step.source  # the product is the momentum's update
    words = r"Plan: (\d+) calls fused into (\d+) loops (\d+) products 1 calls of NumPy .* (\d+) bytes saved"
    fused, loops, products, saved = map(int, re.match(words, repr(step.plan).replace(",", "")).groups())
    assert fused > 20 and loops > 0 and products == 5 and saved > 0


@pytest.mark.usefixtures("by_python")
def test_a_program_goes_on_in_memory_that_has_moved() -> None:
    w = Tensor(np.linspace(-1, 1, 60).reshape(3, 20), name="w")

    def f(x: Any) -> Any:
        return np.exp(np.tanh(x @ w) @ w.T).sum(axis=0)

    step = jit(f, backend="numba")
    for n in (4, 7, 30, 4, 7):
        x = np.linspace(0, 1, 3 * n).reshape(n, 3)
        for _ in range(4):
            assert_close(arrays_of(step(x)), arrays_of(f(Tensor(x))))
    assert sum(map(len, step.cache.values())) == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_the_library(dtype: Any) -> None:
    """NaN and infinity pass through loops, and exp is right to the last digits."""
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -3.0, 88.0, -104.0, 720.0, -760.0], dtype)
    x = np.concatenate([special, np.linspace(-80, 80, 101)]).astype(dtype)
    f = lambda x: (F.relu(x), np.exp(x), np.maximum(x, -x), np.sign(x), x.max(), x.sum(), np.isfinite(x))
    step = jit(f, backend="numba")
    with np.errstate(all="ignore"):
        for _ in range(3):
            results = step(x)
        expected = [t._data for t in f(Tensor(x))]
    for a, e in zip(arrays_of(results), expected, strict=True):
        digits = 4e-7 if dtype == np.float32 else 4e-16
        assert np.allclose(a, e, rtol=digits, atol=1e-44 if dtype == np.float32 else 5e-324, equal_nan=True)


def test_zeros_have_the_signs_that_numpy_gives_them() -> None:
    f = lambda x, y: (np.sign(x), np.maximum(x, y), np.minimum(y, x), F.relu(x), np.copysign(y, x))
    step, x, y = jit(f, backend="numba"), np.array([-0.0, np.nan, -2.0]), np.array([0.0, 1.0, np.nan])
    for _ in range(3):
        results = step(x, y)
    for a, e in zip(arrays_of(results), [t._data for t in f(Tensor(x), Tensor(y))], strict=True):
        assert np.array_equal(a, e, equal_nan=True) and np.signbit(a[0]) == np.signbit(e[0])


@pytest.mark.parametrize("rows", [4095, 4096, 4097])
def test_sums_over_rows_on_both_sides_of_where_numpy_takes_them(rows: int) -> None:
    """Column sums, means and a training batch norm in float32, against float64."""
    norm, x = nn.BatchNorm1d(2), np.random.default_rng(0).normal(3, 2, (rows, 2)).astype(np.float32)

    def f(x: Any, norm: Any) -> Any:
        return (x * 2).sum(axis=0), (x * 2).mean(axis=0), (norm(x) * x).mean(axis=0)

    step = jit(lambda x: f(x, norm), backend="numba")
    for _ in range(3):
        results = step(x)
    wide = x.astype(np.float64)
    exact = f(Tensor(wide), nn.BatchNorm1d(2, dtype=np.float64))
    for a, e in zip(arrays_of(results), exact, strict=True):
        np.testing.assert_allclose(a, e._data, rtol=1e-5)
    seen = 1 - 0.9**3
    np.testing.assert_allclose(norm.running_mean._data, seen * wide.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var._data, 1 - seen + seen * wide.var(axis=0, ddof=1), rtol=1e-5)


def test_labels_out_of_range_change_nothing() -> None:
    model, step = trained()
    before = [p._data.copy() for p in model.parameters()]
    x, y = test_jit.data()(0)
    y[3] = 5
    with pytest.raises(ValueError, match=r"labels\[3\] is 5"):
        step(x, y)
    assert all(np.array_equal(p._data, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.usefixtures("by_python")
def test_an_array_is_written_when_all_have_read_it() -> None:
    w = Tensor([1.0, 2.0, 3.0])

    def f(x: Any) -> Any:
        sums = (x * w).sum(axis=1)  # of which each row reads all of w
        assign(w, w * 0.5)
        return sums

    step, x = jit(f, backend="numba"), np.arange(9.0).reshape(3, 3)
    for i in range(4):
        expected = (x * [1.0, 2.0, 3.0]).sum(axis=1) * 0.5**i
        assert_close(arrays_of(step(x)), [expected])


@pytest.mark.usefixtures("by_python")
def test_a_product_is_no_update_where_the_old_values_are_read_before_it() -> None:
    w, x = Tensor(np.ones((3, 3))), np.arange(9.0).reshape(3, 3)

    def f(x: Any) -> Any:
        new = w - 0.1 * (x @ x)
        twice = w * 2
        assign(w, new)
        return twice

    step, expected = jit(f, backend="numba"), np.ones((3, 3))
    for _ in range(4):
        assert_close(arrays_of(step(x)), [expected * 2])
        expected = expected - 0.1 * (x @ x)
        assert_close(arrays_of(w), [expected])


@pytest.mark.usefixtures("by_python")
def test_a_product_that_is_a_plain_step() -> None:
    ours, theirs = (Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True) for _ in range(2))
    x = np.random.default_rng(0).normal(size=(5, 3))

    def descend(w: Any) -> Any:
        optimizer = optim.SGD([w], lr=0.1)

        def step(x: Any) -> Any:
            loss = ((x @ w) ** 2).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return step

    native, eager = jit(descend(ours), backend="numba"), descend(theirs)
    for _ in range(4):
        assert_close(arrays_of((native(x), ours)), arrays_of((eager(Tensor(x)), theirs)))
    assert " += " in native.source  # the product is the step


@pytest.mark.usefixtures("by_python")
@pytest.mark.parametrize("most", [4000, 10], ids=["rows that run backwards", "too many calls"])
@pytest.mark.usefixtures("by_python")
def test_an_update_whose_product_stays_with_numpy_adds_to_the_weight(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "MOST", most)

    def build() -> dict[str, Any]:
        model = nn.MLP([6, 5, 3], activation="tanh", rng=0)
        sgd = optim.SGD(model.parameters(), lr=0.05)

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x[::-1, ::-1]), y)
            loss.backward()
            sgd.step()
            sgd.zero_grad()
            return loss

        return {"model": model, "optimizers": [sgd], "step": step}

    assert_close_trainings(build, test_jit.data(6, 3, batch=4), 6)


@pytest.mark.usefixtures("by_python")
def test_a_long_program_is_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PIECE", 7)

    def build() -> dict[str, Any]:
        model = nn.MLP([6, 5, 3], batch_norm=True, dropout=0.2, rng=0)
        adam = optim.Adam(model.parameters(), lr=0.05)

        def step(x: Any, y: Any) -> Any:
            adam.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            adam.step()
            return loss

        return {"model": model, "optimizers": [adam], "step": step}

    step = assert_close_trainings(build, test_jit.data(6, 3, batch=4), 6)
    assert len(step.last.program.pieces) > 5


def test_many_numbers_of_float32_are_summed_in_float64() -> None:
    step, x = jit(lambda x: (x * 1).sum(), backend="numba"), np.full(50_000, 0.1, np.float32)
    for _ in range(3):
        total = step(x)
    np.testing.assert_allclose(total.item(), 5000, rtol=3e-7)


@pytest.mark.usefixtures("by_python")
def test_a_product_of_numpys_beside_a_matrix_in_columns() -> None:
    """NumPy's dot writes rows, also where all around it lies in columns."""
    columns, gaps = Tensor(np.asfortranarray(np.arange(12.0).reshape(4, 3))), np.arange(18.0).reshape(3, 6)[:, ::2]
    step, x = jit(lambda x, y=Tensor(gaps): (x @ y) * columns + columns, backend="numba"), np.ones((4, 3))
    for _ in range(4):
        assert_close(arrays_of(step(x)), [(x @ gaps) * columns._data + columns._data])


@pytest.mark.usefixtures("by_python")
def test_a_product_of_rows_that_are_one_and_the_same() -> None:
    step = jit(lambda x, y: np.broadcast_to(x, (4, 3)) @ y, backend="numba")
    x, y = np.array([1.0, 2.0, 3.0]), np.arange(6.0).reshape(3, 2)
    for _ in range(4):
        assert_close(arrays_of(step(x, y)), [np.broadcast_to(x, (4, 3)) @ y])


def test_columns_that_are_not_checked_are_picked_by_numpy() -> None:
    x, columns = np.arange(12.0).reshape(4, 3), np.array([2, 0, -1, 1])
    step = jit(lambda x, i: F.gather(x * x, i) + 1, backend="numba")
    for _ in range(4):
        assert_close(arrays_of(step(x, columns)), [np.array([5.0, 10.0, 65.0, 101.0])])
    with pytest.raises(IndexError):
        step(x, columns + 1000)


def test_the_audit_allows_rounding_and_finds_a_wrong_number(monkeypatch: pytest.MonkeyPatch) -> None:
    load = cache.load
    trained(9)  # of which the eighth is audited, and warns of nothing
    wrong = lambda source, name: load(source.replace("np.float32(0.03125)", "np.float32(0.03126)"), name)
    monkeypatch.setattr(program, "load", wrong)
    with pytest.warns(RuntimeWarning, match="the program and the eager step differ in"):
        trained(12)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_audit_knows_steps_of_nothing_but_rounding() -> None:
    """Adam divides the gradient of a bias before batch norm, which is 0 but for rounding, by its own size."""
    model = nn.MLP([12, 16, 5], batch_norm=True, rng=0)
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    native, batches = jit(step, backend="numba"), test_jit.data()
    for i in range(12):
        native(*batches(i % 4))
    assert native.eager is None and native.last.runs > 8


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numba", "scipy"):
        with monkeypatch.context() as patch:
            patch.setattr("importlib.util.find_spec", lambda n, name=name: None if n == name else n)
            with pytest.raises(ImportError, match=rf"backend='numba' needs {name}: pip install '.\[native\]'"):
                jit(lambda x: x, backend="numba")
    with pytest.raises(ValueError, match="unknown backend 'numbr'; did you mean 'numba'"):
        jit(lambda x: x, backend="numbr")


CHILD = """
import sys, time
start = time.time()
import numpy as np, tinygrad_mlp as tg
import numba
model = tg.nn.Linear(3, 2, rng=0)
step = tg.jit(lambda x: np.tanh(model(x)).sum(), backend="numba")
x = np.ones((4, 3), np.float32)
for _ in range(3):
    start = time.perf_counter()
    loss = step(x).item()
function = next(f for name, f in step.last.step.__globals__.items() if name.endswith("_loops"))
print(loss, sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values()))
"""


def test_processes_share_the_cache(tmp_path: Path) -> None:
    environment = os.environ | {
        "TINYGRAD_MLP_CACHE": str(tmp_path / "a" / "b"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    start = lambda: subprocess.Popen(
        [sys.executable, "-c", CHILD], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    together = [child.communicate() for child in [start(), start()]]
    after = start().communicate()
    lines = [out.split() for out, _ in [*together, after]]
    assert len({line[0] for line in lines}) == 1, together
    assert lines[-1][1:] == ["1", "0"], "the last process has compiled anew"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


def test_a_folder_need_not_be_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("TINYGRAD_MLP_CACHE", str(file / "no folder"))
    f = cache.load("@compiled\ndef f():\n    return 1", "step")["f"]
    assert f() == 1 and sum(f.stats.cache_misses.values()) == 1


def test_machine_code_is_that_of_its_own_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_MLP_CACHE", str(tmp_path))
    for number in (3, 4, 3):
        cache.load.cache_clear()
        assert cache.load(f"@compiled\ndef f():\n    return {number}", "step")["f"]() == number
    assert len(list(tmp_path.iterdir())) == 2


def _flip(data: bytes) -> bytes:
    """Return bytes of which one is another, amid the machine code."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:100], lambda data: data[:-1], _flip],
    ids=["empty", "short", "cut", "flipped"],
)
def test_what_is_damaged_is_compiled_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MLP_CACHE", str(tmp_path))

    def run() -> list[int]:
        """Return whether a new process would load the machine code, and whether it would compile it."""
        cache.load.cache_clear()
        f = cache.load(f"@compiled\ndef f(x):\n    return x + 1  # {tmp_path.name}", "step")["f"]
        assert f(2) == 3
        return [sum(counts.values()) for counts in (f.stats.cache_hits, f.stats.cache_misses)]

    assert (run(), run()) == ([0, 1], [1, 0])
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert (run(), run()) == ([0, 1], [1, 0])


def test_a_full_disk_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("TINYGRAD_MLP_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", full)
    f = cache.load("@compiled\ndef f(x):\n    return x + 2", "step")["f"]
    assert f(2) == 4 and not list(tmp_path.iterdir())


def test_a_text_that_cannot_be_run_is_no_module() -> None:
    for _ in range(2):
        with pytest.raises(NameError, match="nothing"):
            cache.load("nothing()", "step")


@pytest.mark.parametrize(("dtype", "name", "digits"), [(np.float32, "exp_f", 4e-7), (np.float64, "exp_d", 4e-16)])
def test_the_exponentials_of_machine_code_as_python(dtype: Any, name: str, digits: float) -> None:
    from tinygrad_mlp.jit.native import library

    x = np.concatenate([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30], np.linspace(-80, 80, 201)]).astype(dtype)
    with np.errstate(all="ignore"):
        found = np.array([getattr(library, name).py_func(a) for a in x], dtype)
        np.testing.assert_allclose(found, np.exp(x), rtol=digits, atol=1e-44 if dtype == np.float32 else 5e-324)


def test_a_line_of_progress_where_it_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    with cache.reporting("step", after=0.01):
        time.sleep(0.2)
    with cache.reporting("other"):
        pass
    err = capsys.readouterr().err
    assert "jit(step): compiling to machine code" in err and "jit(step): compiled in 0." in err and "other" not in err


def test_fit_trains_natively() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    rows = {}
    for backend in (True, "numba"):
        model = nn.MLP([2, 16, 2], rng=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        rows[backend] = tg.fit(model, X, y, optimizer=optimizer, epochs=3, progress=False, jit=backend).rows[-1]
    assert rows["numba"]["loss"] == pytest.approx(rows[True]["loss"], rel=1e-5)
    with pytest.raises(ValueError, match="unknown backend 'cuda'"):
        tg.fit(model, X, y, epochs=1, progress=False, jit="cuda")


def test_products_are_of_numpys_blas_or_else_of_scipys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One library means one pool of threads; where NumPy's does not say where its functions are, SciPy's does."""
    from numba.extending import get_cython_function_address

    from tinygrad_mlp import blas
    from tinygrad_mlp.jit.native import library

    def hidden(name: str) -> Any:
        raise OSError(name)

    found = library.blas("sgemm")
    monkeypatch.setattr(blas.ctypes, "CDLL", hidden)
    scipys = get_cython_function_address("scipy.linalg.cython_blas", "sgemm")
    assert library.blas("sgemm") == scipys
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=(70, 70)).astype(np.float32) for _ in range(2))
    results = []
    for address in (found, scipys):
        monkeypatch.setattr(program, "blas", lambda name, address=address: address)
        step = jit(lambda x, w=Tensor(w): x @ w + 1, backend="numba")
        results.append([step(x) for _ in range(3)][-1].numpy())
    np.testing.assert_allclose(results[0], x @ w + 1, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(results[1], x @ w + 1, rtol=1e-5, atol=1e-4)
