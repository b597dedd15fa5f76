"""Weights as safetensors: what comes back, what the format cannot hold, damage, and exchange with PyTorch."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import nn
from tinygrad_mlp.core.tensor import Tensor
from tinygrad_mlp.errors import CheckpointError, DtypeError

library = pytest.importorskip("safetensors.numpy")
DTYPES = [np.dtype(code) for code in "?bhiqBHIQefdF"]


def network(seed):
    """Return a network whose every parameter and buffer has a value of its own."""
    model = nn.Sequential(
        nn.Linear(6, 5, rng=seed), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4, rng=seed + 1), nn.LayerNorm(4)
    )
    rng = np.random.default_rng(seed)
    for _ in range(3):
        model(Tensor(rng.normal(size=(8, 6)).astype(np.float32)))
    with tg.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * rng.normal(size=parameter.shape).astype(np.float32)
    return model.eval()


def crafted(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_a_state_comes_back_to_the_bit_and_can_be_written_to(tmp_path):
    path = tmp_path / "weights.safetensors"
    state = network(0).state_dict()
    tg.save(state, path)
    loaded = tg.load(path)
    assert set(loaded) == set(state)
    for key, array in state.items():
        assert (loaded[key].dtype, loaded[key].shape, loaded[key].tobytes()) == (
            array.dtype, array.shape, array.tobytes(),
        )  # fmt: skip
        loaded[key][...] = 0
    assert (state["1.num_batches_tracked"].dtype, state["1.num_batches_tracked"].shape) == (np.int64, ())
    assert state["1.num_batches_tracked"] == 3


def test_it_is_the_file_that_the_library_reads(tmp_path):
    tg.save(network(0).state_dict(), str(tmp_path / "W.SafeTensors"))
    loaded = library.load_file(tmp_path / "W.SafeTensors")
    assert all(np.array_equal(loaded[key], array) for key, array in network(0).state_dict().items())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_shape_and_layout(tmp_path, dtype):
    path = tmp_path / "weights.safetensors"
    values = np.random.default_rng(0).integers(0, 100, (3, 4, 2)).astype(dtype)
    state = {
        "c": values, "f": np.asfortranarray(values), "strided": values[::2, ::-1], "transposed": values.T,
        "0-d": values[0, 0, 0], "empty": values[:0], "": values[0],
    }  # fmt: skip
    tg.save(state, path)
    loaded = tg.load(path)
    assert set(loaded) == set(state)
    for key, array in state.items():
        assert (loaded[key].dtype, loaded[key].shape) == (dtype, array.shape)
        assert np.array_equal(loaded[key], array)


def test_tensors_and_special_values(tmp_path):
    special = np.array([-0.0, np.nan, np.inf, -np.inf, 1e-45], np.float32)
    tg.save({"w": Tensor(special, requires_grad=True)}, tmp_path / "a.safetensors")
    assert tg.load(tmp_path / "a.safetensors")["w"].tobytes() == special.tobytes()
    tg.save({}, tmp_path / "a.safetensors")
    assert tg.load(tmp_path / "a.safetensors") == {}


def test_the_same_state_gives_the_same_bytes(tmp_path):
    state = network(0).state_dict()
    tg.save(state, tmp_path / "a.safetensors")
    tg.save(dict(reversed(state.items())), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_suffix_alone_decides(tmp_path):
    tg.save({"a": np.ones(2)}, tmp_path / "safetensors")
    with np.load(tmp_path / "safetensors") as file:
        assert file["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ([np.ones(2)], TypeError, "the state is .*; expected one dict of Tensors and arrays"),
        (np.ones(2), TypeError, r"the state is float64\(2,\); expected one dict"),
        ({"model": {"w": np.ones(2)}}, TypeError, "holds a dict at 'model', .*save anything else as .npz"),
        ({"w": np.ones(2), "epoch": 3}, TypeError, "holds a int at 'epoch', 3; expected one dict"),
        ({"w": None}, TypeError, "holds a NoneType at 'w'"),
        ({"w": [1.0, 2.0]}, TypeError, "holds a list at 'w'"),
        ({0: np.ones(2)}, TypeError, "has the key 0; expected a string"),
        ({"__metadata__": np.ones(2)}, TypeError, "has the key '__metadata__'; expected a string other"),
        ({"w": np.ones(2, np.complex128)}, DtypeError, "holds complex128 at 'w'; expected one of .* <f4"),
        ({"w": np.array(["a"])}, DtypeError, "holds <U1 at 'w'"),
        ({"w": np.ones(2, ">f4")}, DtypeError, "holds >f4 at 'w'"),
    ],
)
def test_what_the_format_cannot_hold_is_named_and_nothing_is_written(tmp_path, state, error, message):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        tg.save(state, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    tg.save({"w": np.zeros(3)}, path)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="nothing is saved, an old file is as it was"):
        tg.save({"w": np.ones(3)}, path)
    assert tg.load(path)["w"].tolist() == [0, 0, 0]
    assert os.listdir(tmp_path) == [path.name]


def test_every_cut_is_found(tmp_path):
    path = tmp_path / "weights.safetensors"
    tg.save({"a": np.arange(3.0), "b": np.ones((2, 2), np.float32)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="weights.safetensors': damaged"):
            tg.load(path)


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (crafted({"w": ENTRY}, b"1234") + b"behind", "damaged"),
        (crafted({"w": ENTRY | {"shape": [2]}}, b"1234"), "damaged"),
        (crafted({"w": ENTRY | {"shape": [2**62, 4]}}, b"1234"), "damaged"),
        (crafted({"w": ENTRY, "v": ENTRY}, b"1234"), "damaged"),
        (crafted({"w": ENTRY | {"dtype": "object"}}, b"1234"), "damaged"),
        (struct.pack("<Q", 1 << 60) + b"{}", "damaged"),
        (crafted({"w": ENTRY | {"dtype": "BF16", "shape": [2]}}, b"1234"), "arrays of 'BF16', which NumPy does not"),
        (b"PK\x03\x04 an archive", "damaged"),
    ],
)
def test_damage_is_one_kind_of_error(tmp_path, data, message):
    (tmp_path / "weights.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        tg.load(tmp_path / "weights.safetensors")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "weights.safetensors")


def test_the_library_is_loaded_when_used_and_named_when_absent(tmp_path):
    code = """
import sys
class Absent:
    def find_spec(self, name, path, target=None):
        if name == "safetensors":
            raise ModuleNotFoundError("No module named 'safetensors'", name=name)
sys.meta_path.insert(0, Absent())
import numpy as np
import tinygrad_mlp as tg
tg.save({"w": np.ones(2)}, "weights.npz")
for use in (lambda: tg.save({"w": np.ones(2)}, "weights.safetensors"), lambda: tg.load("weights.safetensors")):
    try:
        use()
    except ImportError as error:
        print(error)
"""
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(tg.__file__))}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    message = "this needs safetensors, which is not installed: "
    message += "pip install '.[safetensors]' in the clone of tinygrad_mlp"
    assert result.stdout.splitlines() == [message, message]
    assert os.listdir(tmp_path) == ["weights.npz"]


def torch_network(torch):
    layers = torch.nn
    return layers.Sequential(
        layers.Linear(6, 5), layers.BatchNorm1d(5), layers.ReLU(), layers.Linear(5, 4), layers.LayerNorm(4)
    )


def assert_same_outputs(torch, ours, theirs):
    x = np.random.default_rng(9).normal(size=(7, 6)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x)).numpy()
    result = ours.eval()(Tensor(x)).detach().numpy()
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=4e-6)


def test_pytorch_takes_our_weights(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    ours, theirs = network(0), torch_network(torch)
    tg.save(ours.state_dict(), tmp_path / "weights.safetensors")
    theirs.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    assert (theirs[1].num_batches_tracked.dtype, theirs[1].num_batches_tracked.item()) == (torch.int64, 3)
    assert_same_outputs(torch, ours, theirs)


def test_we_take_pytorchs_weights(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    theirs = torch_network(torch)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        for _ in range(5):
            theirs(torch.randn(8, 6))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = network(1)
    ours.load_state_dict(tg.load(tmp_path / "weights.safetensors"), strict=True)
    assert ours.state_dict()["1.num_batches_tracked"].item() == 5
    assert_same_outputs(torch, ours, theirs)
