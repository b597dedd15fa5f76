"""Models as files: a NumPy module and an ONNX graph give what the model gives, for any number of rows."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import deploy, nn
from tinygrad_mlp import functional as F
from tinygrad_mlp.deploy import export_numpy, export_onnx
from tinygrad_mlp.rules.table import RULES

RNG = np.random.default_rng(0)


def trained_norm(*shape):
    norm = nn.BatchNorm1d(shape[0])
    for step in range(3):
        norm(np.random.default_rng(step).normal(2, 3, size=(9, *shape)).astype(np.float32))
    nn.init.normal_(norm.weight, rng=0), nn.init.normal_(norm.bias, rng=1)
    return norm


def layer_norm(*shape, **options):
    norm = nn.LayerNorm(shape, **options)
    for i, p in enumerate(norm.parameters()):
        nn.init.normal_(p, rng=i)
    return norm


LAYERS = [
    (nn.Linear(5, 3, rng=0), (5,)),
    (nn.Linear(5, 3, bias=False, rng=0), (5,)),
    (nn.Linear(5, 3, rng=0), (4, 5)),
    (nn.ReLU(), (5,)),
    (nn.LeakyReLU(0.3), (5,)),
    (nn.Sigmoid(), (5,)),
    (nn.Tanh(), (5,)),
    (nn.GELU(), (5,)),
    (nn.Softplus(), (5,)),
    (nn.Softmax(), (5,)),
    (nn.Softmax(1), (4, 5)),
    (nn.LogSoftmax(), (5,)),
    (nn.Flatten(), (2, 3, 4)),
    (nn.Dropout(0.4, rng=0), (5,)),
    (trained_norm(5), (5,)),
    (trained_norm(5, 3), (5, 3)),
    (layer_norm(5), (5,)),
    (layer_norm(4, 5), (4, 5)),
    (layer_norm(5, elementwise_affine=False), (5,)),
    (nn.MLP([5, 8, 7, 3], "gelu", batch_norm=True, dropout=0.2, rng=0), (5,)),
    (nn.Sequential(nn.Flatten(), nn.MLP([12, 6, 2], "leaky_relu", rng=0, dtype=np.float64), nn.LogSoftmax()), (3, 4)),
]
IDS = [f"{type(layer).__name__}{shape}" for layer, shape in LAYERS]
each = pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=IDS)


def with_numpy(path, name="predict"):
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def with_onnxruntime(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["output"], {"x": x})[0]


def assert_agrees(run, layer, shape):
    dtype = next((p.dtype for p in layer.parameters()), np.float32)
    for rows in (1, 7, 1000):
        x = (3 * RNG.normal(size=(rows, *shape))).astype(dtype)
        expected = tg.predict(layer, x)
        found = run(x)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@each
def test_every_layer_as_a_numpy_module(layer, shape, tmp_path):
    layer.train()
    export_numpy(layer, np.ones((1, *shape)), tmp_path / "model.py")
    assert all(module.training for module in layer.modules())
    assert_agrees(with_numpy(tmp_path / "model.py"), layer, shape)


@each
def test_every_layer_as_an_onnx_graph(layer, shape, tmp_path):
    pytest.importorskip("onnx")
    export_onnx(layer, np.ones((1, *shape)), tmp_path / "model.onnx")
    assert_agrees(with_onnxruntime(tmp_path / "model.onnx"), layer, shape)


def test_a_function_keeps_its_name_compiled_or_not_and_needs_numpy_alone(tmp_path):
    model = nn.MLP([4, 8, 3], "softplus", rng=0).eval()

    @tg.jit
    def chances(x):
        return F.softmax(model(np.log1p(np.exp(x))), 1)

    x = RNG.normal(size=(7, 4)).astype(np.float32)
    export_numpy(chances, x[:1], tmp_path / "chances.py")
    np.save(tmp_path / "x.npy", x)
    code = "import sys, numpy as np, chances; np.save('y.npy', chances.chances(np.load('x.npy'))); "
    code += "assert not any(name.startswith('tinygrad') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with tg.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), chances(x).numpy(), rtol=1e-6)


CALLS = [
    lambda x: np.concatenate([x, 2 * x], axis=1),
    lambda x: np.stack([x, 2 * x], axis=-1).reshape(-1, 8),
    lambda x: np.tile(x, (1, 3)),
    lambda x: np.broadcast_to(x[:, :1], (x.shape[0], 5)),
    lambda x: x.astype(np.float64),
    lambda x: F.linear(np.reshape(x, (-1, 2, 2)), np.ones((3, 2), np.float32)),
    lambda x: np.where(x > 0, x, 0.1 * x)[:, ::-1],
]


@pytest.mark.parametrize("call", CALLS)
def test_functions_of_numpy_as_a_module(call, tmp_path):
    def made(x):
        return call(x)

    export_numpy(made, np.ones((1, 4), np.float32), tmp_path / "made.py")
    x = RNG.normal(size=(7, 4)).astype(np.float32)
    with tg.no_grad():
        expected = made(tg.Tensor(x)).numpy()
    found = with_numpy(tmp_path / "made.py", "made")(x)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [lambda x: x * 2 - np.sum(x * x), lambda x: x - np.mean(x), CALLS[5], lambda x: x, np.square],
    ids=["sum of all", "mean of all", "linear without bias", "nothing", "square"],
)
def test_functions_as_an_onnx_graph(call, tmp_path):
    pytest.importorskip("onnx")
    export_onnx(call, np.ones((1, 4), np.float32), tmp_path / "model.onnx")
    x = RNG.normal(size=(7, 4)).astype(np.float32)
    with tg.no_grad():
        expected = call(tg.Tensor(x)).numpy()
    np.testing.assert_allclose(with_onnxruntime(tmp_path / "model.onnx")(x), expected, rtol=1e-5)


def test_what_fails_as_a_module_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(deploy._TEXTS, "relu", "np.minimum({0}, 0)")

    def positive(x):
        return F.relu(x)

    with pytest.raises(NotImplementedError, match="positive cannot be exported to NumPy: as a module it fails with"):
        export_numpy(positive, np.ones((1, 2)), tmp_path / "f.py")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["class", "<lambda>", "np", "c", "softmax", "Path", "1st"])
def test_names_that_no_module_can_have(name, tmp_path):
    def function(x):
        return F.softmax(x, 1)

    function.__name__ = name
    with pytest.raises(ValueError, match=f"a function cannot be called '{name}' in the module"):
        export_numpy(function, np.ones((1, 4)), tmp_path / "model.py")


def test_what_is_no_function_and_paths_of_no_module(tmp_path):
    pytest.importorskip("onnx")
    for export in (export_numpy, export_onnx):
        with pytest.raises(TypeError, match="function is 3, expected a Module, or a function made with def"):
            export(3, np.ones((1, 4)), tmp_path / "model.py")
        with pytest.raises(TypeError, match="expected a Module, or a function made with def"):
            export(partial(F.softmax, axis=1), np.ones((1, 4)), tmp_path / "model.py")
    with pytest.raises(ValueError, match=r"path must be that of a module, such as 'model.py', got '.*model.npz'"):
        export_numpy(nn.ReLU(), np.ones((1, 4)), tmp_path / "model.npz")


@pytest.mark.parametrize("op", [F.softmax, F.log_softmax])
def test_large_numbers_do_not_overflow(op, tmp_path):
    x = np.array([[1e4, 0.0, -1e4], [3.0, 1e38, 2.0]], np.float32)

    def shares(x):
        return op(x, 1)

    export_numpy(shares, x, tmp_path / "shares.py")
    np.testing.assert_array_equal(with_numpy(tmp_path / "shares.py", "shares")(x), op(x, 1))


def test_sizes_that_count_rows_are_the_rows(tmp_path):
    def flat(x):
        return np.reshape(x * 2, (x.shape[0] * 3, 2)).sum(axis=1, keepdims=True)

    export_numpy(flat, np.ones((5, 6), np.float32), tmp_path / "flat.py")
    assert with_numpy(tmp_path / "flat.py", "flat")(np.ones((4, 6))).tolist() == [[4.0]] * 12


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            lambda x: x * np.ones(x.shape, np.float32),
            ValueError,
            "a constant of the function depends on the number of rows",
        ),
        (
            lambda x: x * np.array([x.shape[0]], np.float32),
            ValueError,
            "a constant of the function depends on the number of rows",
        ),
        (lambda x: x / x.shape[0], ValueError, "does something else for three rows"),
        (lambda x: x - 1.5 * len(x), ValueError, "does something else for three rows"),
        (lambda x: x[: len(x) - 1], ValueError, "a constant of the function depends on the number of rows"),
        (lambda x: x * 2 if x.shape[0] == 2 else x * 2 * 3, ValueError, "does something else for three rows"),
        (lambda x: tg.Tensor([1.0]), TypeError, "that its input has no part in"),
        (
            lambda x: F.gather(x, np.array([0, 1, 0])[: x.shape[0]]),
            (ValueError, NotImplementedError),
            "gather|number of rows",
        ),
    ],
)
def test_what_cannot_be_exported(function, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export_numpy(function, np.ones((1, 2), np.float32), tmp_path / "f.py")


def test_an_op_of_ones_own_is_refused_by_name(tmp_path):
    @tg.primitive
    def doubled(x):
        return 2 * x

    def model(x):
        return doubled(x)

    tg.vjp(doubled, lambda g, out, x: 2 * g)
    try:
        with pytest.raises(NotImplementedError, match="doubled cannot be exported to NumPy; build it of NumPy's"):
            export_numpy(model, np.ones((1, 2), np.float32), tmp_path / "f.py")
    finally:
        del RULES[doubled]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["square", "relu", "softmax"])
def test_an_op_of_ones_own_is_not_taken_for_another_of_its_name(name, tmp_path):
    def body(x):
        return np.minimum(np.maximum(x, 0), 6)

    def model(x):
        return op(x * 2.0)

    body.__name__ = name
    op = tg.primitive(body)
    tg.vjp(op, lambda g, out, x: g)
    try:
        with pytest.raises(NotImplementedError, match=rf"test_deploy\.{name} cannot be exported to NumPy"):
            export_numpy(model, np.ones((1, 2)), tmp_path / "model.py")
        pytest.importorskip("onnx")
        with pytest.raises(NotImplementedError, match=rf"test_deploy\.{name} cannot be exported to ONNX"):
            export_onnx(model, np.ones((1, 2)), tmp_path / "model.onnx")
    finally:
        del RULES[op]


def test_inputs_are_floats(tmp_path):
    with pytest.raises(TypeError, match=r"x is int64\(1, 2\), expected rows of float32 or float64"):
        export_numpy(lambda x: x, np.ones((1, 2), int), tmp_path / "f.py")


def test_onnx_refuses_by_name(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(NotImplementedError, match="cumsum cannot be exported to ONNX; export_numpy"):
        export_onnx(lambda x: np.cumsum(x, axis=1), np.ones((1, 2), np.float32), tmp_path / "f.onnx")


def test_onnx_refuses_what_is_not_returned(tmp_path):
    pytest.importorskip("onnx")

    def unused(x):
        y = 2 * x
        np.exp(y)
        return y

    with pytest.raises(ValueError, match="computes something that it does not return"):
        export_onnx(unused, np.ones((1, 2), np.float32), tmp_path / "f.onnx")
