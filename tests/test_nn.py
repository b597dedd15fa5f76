"""Tests of modules, layers, losses and initialisers: their state, names, values, gradients and errors."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tinygrad_mlp import functional, nn, no_grad, optim
from tinygrad_mlp.core.tensor import Tensor
from tinygrad_mlp.errors import CheckpointError, DtypeError, GraphError, ShapeError
from tinygrad_mlp.nn import init

Array = np.ndarray[Any, Any]
F32, F64 = np.float32, np.float64


def draw(*shape: int, seed: int = 0, dtype: Any = F64) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def array(t: Any) -> Array:
    values: Array = t.detach().numpy()
    return values


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Return all that an error must leave as it is."""
    state = {key: (value.tobytes(), value.shape, value.dtype) for key, value in model.state_dict().items()}
    return {
        "state": state,
        "identities": [(name, id(t), id(t.data), t.name) for name, t in model.named_parameters()],
        "modes": [m.training for m in model.modules()],
        "generators": [m.rng.bit_generator.state for m in model.modules() if isinstance(m, nn.Dropout)],
    }


class Block(nn.Module):
    """A module with every kind of member: a parameter, a buffer, modules at two levels, and what is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(np.ones(3))
        self.register_buffer("offset", Tensor(np.zeros(3)))
        self.layers = nn.Sequential(nn.Linear(3, 4, rng=0, dtype=F64), nn.Tanh(), nn.Linear(4, 3, rng=1, dtype=F64))
        self.constant = Tensor(np.ones(3))
        self.in_a_list = [nn.Linear(2, 2)]

    def forward(self, x: Any) -> Any:
        return self.layers(x * self.gain + self.offset)


BLOCK_PARAMETERS = ["gain", "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]


class TestParameter:
    def test_is_a_leaf_that_requires_grad_and_whose_results_are_tensors(self) -> None:
        p = nn.Parameter([1.0, 2.0])
        assert isinstance(p, Tensor) and p.requires_grad and p.is_leaf
        assert type(p * 2) is Tensor and type(p.detach()) is Tensor and type(np.exp(p)) is Tensor

    def test_an_update_in_place_keeps_the_parameter(self) -> None:
        layer = nn.Linear(2, 2, rng=0)
        weight, memory, before = layer.weight, layer.weight.data, array(layer.weight).copy()
        with no_grad():
            layer.weight -= 0.5  # type: ignore[misc]
        assert layer.weight is weight and weight.data is memory
        assert np.array_equal(memory, before - F32(0.5))

    @pytest.mark.parametrize("data", [[1, 2], [True], [1j]])
    def test_of_a_dtype_without_gradient_is_refused(self, data: Any) -> None:
        with pytest.raises(DtypeError, match="use float32/float64"):
            nn.Parameter(data)
        assert not nn.Parameter(data, requires_grad=False).requires_grad


class TestMembers:
    def test_parameters_are_found_in_the_order_of_registration(self) -> None:
        block = Block()
        assert [name for name, _ in block.named_parameters()] == BLOCK_PARAMETERS
        assert next(iter(block.parameters())) is block.gain
        assert list(block.parameters())[1] is block.layers[0].weight

    def test_modules_children_and_buffers(self) -> None:
        block = Block()
        assert [name for name, _ in block.named_modules()] == ["", "layers", "layers.0", "layers.1", "layers.2"]
        assert next(iter(block.modules())) is block
        assert [name for name, _ in block.named_children()] == ["layers"]
        assert list(block.children()) == [block.layers]
        assert [name for name, _ in block.named_buffers()] == ["offset"]
        assert next(iter(block.buffers())) is block.offset

    def test_super_init_need_not_be_called(self) -> None:
        class Bare(nn.Module):
            def __init__(self) -> None:
                self.fc = nn.Linear(2, 1)

        model = Bare()
        assert model.training and len(list(model.parameters())) == 2
        assert repr(model) == "Bare(\n  (fc): Linear(in_features=2, out_features=1, bias=True)\n)"

    def test_removed_members_are_forgotten(self) -> None:
        block: Any = Block()
        del block.layers
        block.gain = None
        assert list(block.parameters()) == [] and list(block.state_dict()) == ["offset"]

    def test_a_shared_parameter_counts_once_and_has_two_keys(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
        model[1].weight = model[0].weight
        assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
        assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]

    def test_a_shared_module_runs_twice_and_counts_once(self) -> None:
        layer = nn.Linear(2, 2, rng=0)
        model = nn.Sequential(layer, nn.Tanh(), layer)
        x = draw(3, 2, dtype=F32)
        assert np.array_equal(array(model(x)), array(layer(np.tanh(layer(x)))))
        assert len(model) == 3 and len(list(model.modules())) == 3 and len(list(model.parameters())) == 2
        assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]

    def test_zero_grad_and_freezing(self) -> None:
        block = Block()
        block(np.ones((2, 3))).sum().backward()
        assert all(p.grad is not None for p in block.parameters())
        block.zero_grad()
        assert all(p.grad is None for p in block.parameters())
        assert block.layers.requires_grad_(False) is block.layers
        block(np.ones((2, 3))).sum().backward()
        assert [p.grad is not None for p in block.parameters()] == [True, False, False, False, False]
        block.requires_grad_()
        assert all(p.requires_grad for p in block.parameters()) and not block.offset.requires_grad

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_a_copy_is_equal_and_independent(self, copied: Callable[[nn.Module], Any]) -> None:
        model = nn.MLP([5, 4, 3], dropout=0.5, rng=0)
        twin = copied(model)
        assert snapshot(twin)["state"] == snapshot(model)["state"]
        assert [p.name for p in twin.parameters()] == [p.name for p in model.parameters()]
        assert [p.data.flags.f_contiguous for p in twin.parameters()] == [
            p.data.flags.f_contiguous for p in model.parameters()
        ]
        assert np.array_equal(array(twin(np.ones((2, 5), F32))), array(model(np.ones((2, 5), F32))))
        init.uniform_(twin[0].weight, rng=1)
        assert not np.array_equal(array(twin[0].weight), array(model[0].weight))


class TestNames:
    def test_are_qualified_as_soon_as_the_model_is_built(self) -> None:
        block = Block()
        assert block.layers[2].bias.name == "layers.2.bias"
        assert [p.name for p in block.parameters()] == BLOCK_PARAMETERS
        assert block.offset.name == "offset"

    def test_follow_the_outermost_module(self) -> None:
        block = Block()
        outer = nn.Sequential(nn.Tanh(), block)
        assert [p.name for p in outer.parameters()] == [f"1.{name}" for name in BLOCK_PARAMETERS]
        assert block.offset.name == "1.offset"

    def test_of_a_late_member_are_complete(self) -> None:
        block = Block()
        block.layers[0].extra = nn.Parameter(np.ones(2))
        block.layers[0].inner = nn.Sequential(nn.Linear(2, 2))
        assert block.layers[0].extra.name == "layers.0.extra"
        assert block.layers[0].inner[0].bias.name == "layers.0.inner.0.bias"

    def test_asking_an_inner_module_or_a_slice_changes_none(self) -> None:
        block = Block()
        assert [name for name, _ in block.layers[2:].named_parameters()] == ["2.weight", "2.bias"]
        assert [name for name, _ in block.layers[2].named_parameters()] == ["weight", "bias"]
        assert [p.name for p in block.parameters()] == BLOCK_PARAMETERS

    def test_stand_in_errors(self) -> None:
        block = Block()
        with pytest.raises(GraphError, match=r"layers\.0\.weight requires grad"):
            block.layers[0].weight += 1
        with pytest.raises(ShapeError, match=r"layer 'layers\.0', Linear\(in_features=3"):
            block.layers(np.ones((2, 5)))


class TestAssignment:
    @pytest.mark.parametrize("value", [Tensor(np.ones((2, 3))), np.ones((2, 3)), 1.0, nn.ReLU()])
    def test_only_a_parameter_takes_the_place_of_a_parameter(self, value: Any) -> None:
        layer = nn.Linear(3, 2, rng=0)
        before = snapshot(layer)
        with pytest.raises(TypeError, match=r"Linear\.weight holds a Parameter, got .*no_grad"):
            layer.weight = value
        assert snapshot(layer) == before

    def test_only_a_module_takes_the_place_of_a_module(self) -> None:
        block: Any = Block()
        with pytest.raises(TypeError, match=r"Block\.layers holds a Module, got tanh;"):
            block.layers = np.tanh
        block.layers = nn.Tanh()
        assert [name for name, _ in block.named_parameters()] == ["gain"]

    def test_only_a_tensor_takes_the_place_of_a_buffer(self) -> None:
        layer = nn.BatchNorm1d(2)
        with pytest.raises(TypeError, match=r"BatchNorm1d\.running_mean holds a Tensor, got float64\(2,\)"):
            layer.running_mean = np.ones(2)
        layer.running_mean = Tensor(np.ones(2, F32))
        assert layer.state_dict()["running_mean"].tolist() == [1, 1] and layer.running_mean.name == "running_mean"

    def test_a_buffer_needs_a_free_name_and_a_tensor(self) -> None:
        block = Block()
        before = snapshot(block)
        for name in ("gain", "offset", "forward"):
            with pytest.raises(ValueError, match=f"has an attribute '{name}' already; choose another name"):
                block.register_buffer(name, Tensor(1.0))
        with pytest.raises(TypeError, match=r"Block\.mean holds a Tensor, got float64\(3,\)"):
            block.register_buffer("mean", np.ones(3))  # type: ignore[arg-type]
        assert snapshot(block) == before and not hasattr(block, "mean")

    def test_a_module_cannot_contain_itself(self) -> None:
        block = Block()
        for inner in (block, block.layers, block.layers[0]):
            with pytest.raises(ValueError, match="cannot be part of itself"):
                inner.parent = block
        assert [p.name for p in block.parameters()] == BLOCK_PARAMETERS


class TestCall:
    def test_arrays_and_frames_become_tensors(self) -> None:
        x = draw(4, 3, dtype=F32)
        model = nn.MLP([3, 2], rng=0)
        expected = array(model(Tensor(x)))
        for given in (x, pd.DataFrame(x), pd.DataFrame(x, columns=["a", "b", "c"], index=list("wxyz"))):
            result = model(given)
            assert type(result) is Tensor and np.array_equal(array(result), expected)
        for module in (nn.ReLU(), nn.Flatten(), nn.Softmax(), nn.Dropout(0.0)):
            assert type(module(pd.DataFrame(x))) is Tensor

    def test_all_else_arrives_as_it_is(self) -> None:
        class Echo(nn.Module):
            def forward(self, *inputs: Any, **keywords: Any) -> Any:
                return inputs, keywords

        given = (Tensor(1.0), nn.Parameter([1.0]), 2, 2.0, F32(2), np.array(2.0), "text", [1.0], None)
        inputs, keywords = Echo()(*given, mask=(mask := np.ones(2)))
        assert all(a is b for a, b in zip(inputs, given, strict=True)) and keywords["mask"] is mask

    def test_a_list_is_an_array(self) -> None:
        layer = nn.Linear(2, 1, rng=0, dtype=F64)
        layer([[1.0, 2.0], [3.0, 4.0]]).sum().backward()
        assert layer.weight.grad.tolist() == [[4.0, 6.0]]

    def test_integer_images_and_float64_follow_numpy(self) -> None:
        layer = nn.Linear(3, 2, rng=0)
        assert layer(np.ones((2, 3), np.uint8)).dtype == F32
        assert layer(np.ones((2, 3), F64)).dtype == F64

    def test_objects_are_refused(self) -> None:
        with pytest.raises(DtypeError, match="has dtype object, expected numbers"):
            nn.Linear(2, 2)(pd.DataFrame({"a": [1.0], "b": ["x"]}))

    def test_a_module_without_forward_says_so(self) -> None:
        class Empty(nn.Module):
            pass

        with pytest.raises(NotImplementedError, match="Empty has no forward; define"):
            Empty()(1)


class TestModes:
    def test_reach_every_module(self) -> None:
        block = Block()
        assert block.eval() is block and not any(m.training for m in block.modules())
        assert block.train() is block and all(m.training for m in block.modules())

    def test_a_module_can_keep_its_own(self) -> None:
        class Frozen(nn.BatchNorm1d):
            def train(self, mode: bool = True) -> Frozen:
                return super().train(False)

        model = nn.Sequential(Frozen(2), nn.Tanh()).train()
        assert [m.training for m in model.modules()] == [True, False, True]

    @pytest.mark.parametrize("mode", [np.ones((70000, 784), np.uint8), 1, None, "yes"])
    def test_must_be_bools(self, mode: Any) -> None:
        model = Block()
        with pytest.raises(ValueError, match=r"mode of train\(\) must be True or False, got") as info:
            model.train(mode)
        assert model.training and len(str(info.value)) < 100


class TestState:
    def test_is_a_copy_in_pytorchs_order(self) -> None:
        model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1, bias=False, rng=1))
        state = model.state_dict()
        assert list(state) == [
            "0.weight", "0.bias",
            "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
            "3.weight",
        ]  # fmt: skip
        assert all(type(value) is np.ndarray for value in state.values())
        assert state["1.num_batches_tracked"].dtype == np.int64 and state["1.num_batches_tracked"].shape == ()
        kept = {key: value.copy() for key, value in state.items()}
        model(draw(5, 2, dtype=F32)).sum().backward()
        optim.SGD(model.parameters(), lr=0.1).step()
        assert all(np.array_equal(state[key], kept[key]) for key in state)
        assert not np.array_equal(model.state_dict()["1.running_mean"], kept["1.running_mean"])

    def test_round_trip_restores_every_bit_in_place(self) -> None:
        model, other = (nn.Sequential(nn.Linear(7, 3, rng=seed), nn.BatchNorm1d(3)) for seed in (0, 1))
        other(draw(4, 7, dtype=F32))
        odd = np.array([[-0.0, np.nan, np.inf, -np.inf, 1e-45, 3e38, 0]] * 3, F32)
        with no_grad():
            other[0].weight *= 0
            other[0].weight += odd
        identities, memories = snapshot(model)["identities"], [p.data for p in model.parameters()]
        result = model.load_state_dict(other.state_dict())
        assert result == ([], []) and snapshot(model)["state"] == snapshot(other)["state"]
        assert snapshot(model)["identities"] == identities
        assert all(p.data is memory for p, memory in zip(model.parameters(), memories, strict=True))

    def test_memory_layout_is_kept(self) -> None:
        model = nn.Linear(5, 3, rng=0)
        assert model.weight.data.flags.f_contiguous
        state = model.state_dict()
        assert state["weight"].flags.f_contiguous
        model.load_state_dict({key: np.ascontiguousarray(value) for key, value in state.items()})
        assert model.weight.data.flags.f_contiguous and np.array_equal(array(model.weight), state["weight"])

    def test_the_best_state_can_be_kept_and_an_optimizer_goes_on(self) -> None:
        model = nn.Linear(2, 1, rng=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        best = model.state_dict()
        for _ in range(2):
            optimizer.zero_grad()
            model(np.ones((1, 2), F32)).sum().backward()
            optimizer.step()
        model.load_state_dict(best)
        assert np.array_equal(array(model.weight), best["weight"])
        optimizer.step()
        assert not np.array_equal(array(model.weight), best["weight"])

    def test_loading_between_forward_and_backward_is_noticed(self) -> None:
        model = nn.MLP([2, 2, 1], rng=0)
        loss = model(np.ones((1, 2), F32)).sum()
        model.load_state_dict(model.state_dict())
        with pytest.raises(GraphError, match=r"linear read \d\.weight .* has changed since"):
            loss.backward()

    def test_takes_tensors_and_npz_files(self, tmp_path: Path) -> None:
        model, other = nn.MLP([3, 2, 1], rng=0), nn.MLP([3, 2, 1], rng=1)
        model.load_state_dict(dict(other.named_parameters()))
        assert snapshot(model)["state"] == snapshot(other)["state"]
        saved: dict[str, Any] = dict(nn.MLP([3, 2, 1], rng=2).state_dict())
        np.savez(tmp_path / "weights.npz", **saved)
        with np.load(tmp_path / "weights.npz") as file:
            model.load_state_dict(file)
        assert np.array_equal(array(model[0].weight), saved["0.weight"])

    def test_every_bad_key_is_listed_and_nothing_changes(self) -> None:
        model = nn.MLP([4, 3, 2], rng=0)
        before = snapshot(model)
        state = nn.MLP([4, 3, 2], rng=1).state_dict()
        state["0.weight"] = state["0.weight"][:, :2]
        state["0.bias"] = state["0.bias"].astype(F64)
        state["2.bias"] = np.array(["a", "b"], object)
        state["head.weight"] = state.pop("2.weight")
        with pytest.raises(CheckpointError) as info:
            model.load_state_dict(state)
        assert str(info.value).splitlines() == [
            "the state does not fit MLP:",
            "  '0.weight' is float32(3, 2), expected float32(3, 4)",
            "  '0.bias' is float64(3,), expected float32(3,)",
            "  '2.bias' is object(2,), expected float32(2,)",
            "  missing key '2.weight', expected float32(2, 3)",
            "  unexpected key 'head.weight'",
            "build the model as the saved one was; strict=False skips missing and unexpected keys",
        ]
        assert snapshot(model) == before

    def test_a_shape_that_would_broadcast_is_refused(self) -> None:
        model = nn.Linear(3, 2, rng=0)
        for bias in (np.ones(1, F32), np.ones((), F32), np.ones((1, 2), F32)):
            with pytest.raises(CheckpointError, match=r"'bias' is float32\(.*\), expected float32\(2,\)"):
                model.load_state_dict({"weight": np.ones((2, 3), F32), "bias": bias})
        assert snapshot(model) == snapshot(nn.Linear(3, 2, rng=0)) | {"identities": snapshot(model)["identities"]}

    def test_not_strict_skips_keys_but_no_shapes(self) -> None:
        model = nn.MLP([4, 3, 2], rng=0)
        state = nn.MLP([4, 3, 5], rng=1).state_dict()
        part = {key: value for key, value in state.items() if key.startswith("0.")} | {"head": np.ones(1)}
        result = model.load_state_dict(part, strict=False)
        assert result.missing_keys == ["2.weight", "2.bias"] and result.unexpected_keys == ["head"]
        assert np.array_equal(array(model[0].weight), state["0.weight"])
        with pytest.raises(CheckpointError, match=r"'2\.weight' is float32\(5, 3\), expected float32\(2, 3\)"):
            model.load_state_dict(state, strict=False)

    def test_what_is_no_mapping_is_refused(self) -> None:
        for state in ("weights.npz", None, [("weight", 1)]):
            with pytest.raises(TypeError, match="takes a dict, as state_dict"):
                nn.Linear(1, 1).load_state_dict(state)  # type: ignore[arg-type]


REPRS = [
    (nn.Linear(784, 256), "Linear(in_features=784, out_features=256, bias=True)"),
    (nn.Linear(3, 2, bias=False), "Linear(in_features=3, out_features=2, bias=False)"),
    (nn.ReLU(), "ReLU()"),
    (nn.LeakyReLU(), "LeakyReLU(negative_slope=0.01)"),
    (nn.Sigmoid(), "Sigmoid()"),
    (nn.Tanh(), "Tanh()"),
    (nn.GELU(), "GELU(approximate='tanh')"),
    (nn.Softplus(), "Softplus()"),
    (nn.Softmax(), "Softmax(axis=-1)"),
    (nn.LogSoftmax(1), "LogSoftmax(axis=1)"),
    (nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
    (nn.Dropout(0.2), "Dropout(p=0.2, inplace=False)"),
    (nn.BatchNorm1d(5), "BatchNorm1d(5, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"),
    (
        nn.BatchNorm1d(5, momentum=None, affine=False, track_running_stats=False),
        "BatchNorm1d(5, eps=1e-05, momentum=None, affine=False, bias=False, track_running_stats=False)",
    ),
    (nn.LayerNorm(5), "LayerNorm((5,), eps=1e-05, elementwise_affine=True, bias=True)"),
    (
        nn.LayerNorm([2, 5], eps=1e-6, elementwise_affine=False),
        "LayerNorm((2, 5), eps=1e-06, elementwise_affine=False, bias=False)",
    ),
    (nn.Sequential(), "Sequential()"),
    (
        nn.Sequential(nn.Linear(1, 2), nn.Sequential(nn.ReLU(), nn.Sequential())),
        "Sequential(\n"
        "  (0): Linear(in_features=1, out_features=2, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Sequential()\n"
        "  )\n"
        ")",
    ),
    (
        nn.MLP([784, 256, 10], dropout=0.5),
        "MLP(\n"
        "  (0): Linear(in_features=784, out_features=256, bias=True)\n"
        "  (1): ReLU()\n"
        "  (2): Dropout(p=0.5, inplace=False)\n"
        "  (3): Linear(in_features=256, out_features=10, bias=True)\n"
        ")",
    ),
    (
        nn.MLP([4, 3, 2], batch_norm=True, dropout=0.5),
        "MLP(\n"
        "  (0): Linear(in_features=4, out_features=3, bias=True)\n"
        "  (1): BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)\n"
        "  (2): ReLU()\n"
        "  (3): Dropout(p=0.5, inplace=False)\n"
        "  (4): Linear(in_features=3, out_features=2, bias=True)\n"
        ")",
    ),
    (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
    (nn.HuberLoss(delta=2.0), "HuberLoss()"),
]


class TestRepr:
    @pytest.mark.parametrize(("module", "text"), REPRS, ids=[type(m).__name__ for m, _ in REPRS])
    def test_is_pytorchs(self, module: nn.Module, text: str) -> None:
        assert repr(module) == text

    def test_of_modules_with_lines_of_their_own(self) -> None:
        class Two(nn.Module):
            def extra_repr(self) -> str:
                return "a=1\nb=2"

        two = Two()
        assert repr(two) == "Two(\n  a=1\n  b=2\n)"
        two.loss = nn.MSELoss()
        assert repr(nn.Sequential(two)) == ("Sequential(\n  (0): Two(\n    a=1\n    b=2\n    (loss): MSELoss()\n  )\n)")


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


VALUES: list[tuple[nn.Module, Callable[[Array], Array]]] = [
    (nn.ReLU(), lambda x: x * (x > 0)),
    (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.Sigmoid(), sigmoid),
    (nn.Tanh(), np.tanh),
    (nn.GELU(), lambda x: x * sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    (nn.Softplus(), lambda x: np.log(1 + np.exp(x))),
    (nn.Softmax(), softmax),
    (nn.Softmax(0), lambda x: softmax(x.T).T),
    (nn.LogSoftmax(), lambda x: np.log(softmax(x))),
    (nn.LogSoftmax(0), lambda x: np.log(softmax(x.T).T)),
    (nn.LayerNorm(3, 0.3, dtype=F64), lambda x: (x.T - x.mean(1)).T / np.sqrt(x.var(1) + 0.3)[:, None]),
    (nn.BatchNorm1d(3, 0.3, dtype=F64), lambda x: (x - x.mean(0)) / np.sqrt(x.var(0) + 0.3)),
    (nn.BatchNorm1d(3, 0.3, dtype=F64).eval(), lambda x: x / np.sqrt(1.3)),
    (nn.LayerNorm(3, dtype=F64), lambda x: (x.T - x.mean(1)).T / np.sqrt(x.var(1) + 1e-5)[:, None]),
]


class TestValues:
    @pytest.mark.parametrize(("layer", "reference"), VALUES, ids=[repr(m) for m, _ in VALUES])
    def test_are_those_of_the_formula(self, layer: nn.Module, reference: Callable[[Array], Array]) -> None:
        x = draw(4, 3)
        np.testing.assert_allclose(array(layer(x)), reference(x), rtol=1e-13, atol=1e-14)

    @pytest.mark.parametrize("shape", [(3,), (4, 3), (0, 3), (2, 4, 3)])
    def test_of_linear_for_every_rank(self, shape: tuple[int, ...]) -> None:
        layer, x = nn.Linear(3, 2, rng=0, dtype=F64), draw(*shape)
        expected = np.einsum("...i,oi->...o", x, array(layer.weight)) + array(layer.bias)
        np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-14, atol=1e-15)
        bare = nn.Linear(3, 2, bias=False, rng=0, dtype=F64)
        assert bare.bias is None and np.array_equal(array(bare.weight), array(layer.weight))
        np.testing.assert_allclose(array(bare(x)), expected - array(layer.bias), rtol=1e-13, atol=1e-15)

    @pytest.mark.parametrize(("shape", "flat"), [((2, 3, 4), (2, 12)), ((5, 3), (5, 3)), ((0, 2, 2), (0, 4))])
    def test_of_flatten(self, shape: tuple[int, ...], flat: tuple[int, ...]) -> None:
        x = draw(*shape)
        assert np.array_equal(array(nn.Flatten()(x)), x.reshape(flat))

    def test_of_layer_norm_over_two_axes(self) -> None:
        layer, x = nn.LayerNorm((2, 3), 0.1, dtype=F64), draw(4, 2, 3)
        for p in layer.parameters():
            init.normal_(p, rng=1)
        mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        expected = (x - mean) / np.sqrt(var + 0.1) * array(layer.weight) + array(layer.bias)
        np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-13)

    def test_golden_mlp(self) -> None:
        """Loss and gradients of a small network, computed with 60 digits."""
        model = nn.MLP([3, 4, 3], "tanh", dtype=F64)
        w1 = np.array([[((4 * i + j) % 7 - 3) / 10 for j in range(4)] for i in range(3)])
        w2 = np.array([[((3 * i + j) % 5 - 2) / 5 for j in range(3)] for i in range(4)])
        biases = [j / 20 for j in range(4)], [(1 - j) / 10 for j in range(3)]
        model.load_state_dict({"0.weight": w1.T, "0.bias": biases[0], "2.weight": w2.T, "2.bias": biases[1]})
        loss = nn.CrossEntropyLoss()(model(np.array([[1, -2, 0.5], [0.3, 0.7, -1.1]])), np.array([2, 0]))
        loss.backward()
        assert loss.item() == pytest.approx(1.2406557629558361, rel=1e-15)
        expected: dict[str, Any] = {
            "0.weight": [
                [-0.061965525068862035, 0.15705117814588239, -0.063013891557087966, 0.007112799892785937],
                [0.24684553159651515, -0.37880213880194478, 0.24439934312398797, -0.32048151459137722],
                [-0.14916976393711475, 0.14073691840965274, -0.14532575348028633, 0.29803324110582118],
            ],
            "0.bias": [0.0042191957166408529, 0.12221283371732392, 0.00072464075588774808, -0.15779423115649386],
            "2.weight": [
                [-0.21017348794913571, -0.017619835959170331, 0.22779332390830604],
                [-0.2231663749755991, -0.010385935912342933, 0.23355231088794204],
                [-0.2359168927554532, -0.0032869769991392999, 0.2392038697545925],
                [0.23408045105581325, 0.036144504184028959, -0.27022495523984221],
            ],
            "2.bias": [-0.074753523444056241, 0.29231478235813086, -0.21756125891407462],
        }
        for name, p in model.named_parameters():
            np.testing.assert_allclose(p.grad.numpy().T, expected[name], rtol=2e-14, atol=1e-16)


def numeric_gradient(f: Callable[[], float], values: Array, h: float = 1e-3) -> Array:
    """Return the derivatives of ``f()`` by each of the values, by central differences of fourth order."""
    result = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        middle, at = values[index], {}
        for step in (-2, -1, 1, 2):
            values[index] = middle + step * h
            at[step] = f()
        values[index] = middle
        result[index] = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
    return result


GRADIENTS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Linear(3, 2, rng=0, dtype=F64), (4, 3)),
    (lambda: nn.Linear(2, 3, rng=0, dtype=F64), (4, 2)),
    (lambda: nn.Linear(3, 2, bias=False, rng=0, dtype=F64), (2, 2, 3)),
    (nn.ReLU, (4, 3)),
    (lambda: nn.LeakyReLU(0.2), (4, 3)),
    (nn.Sigmoid, (4, 3)),
    (nn.Tanh, (4, 3)),
    (nn.GELU, (4, 3)),
    (nn.Softplus, (4, 3)),
    (nn.Softmax, (4, 3)),
    (lambda: nn.Softmax(0), (4, 3)),
    (nn.LogSoftmax, (4, 3)),
    (nn.Flatten, (2, 3, 2)),
    (lambda: nn.Dropout(0.4), (4, 3)),
    (lambda: nn.BatchNorm1d(3, dtype=F64), (5, 3)),
    (lambda: nn.BatchNorm1d(3, dtype=F64), (3, 3, 2)),
    (lambda: nn.BatchNorm1d(3, dtype=F64).eval(), (5, 3)),
    (lambda: nn.BatchNorm1d(3, affine=False, track_running_stats=False, dtype=F64), (5, 3)),
    (lambda: nn.LayerNorm(3, dtype=F64), (4, 3)),
    (lambda: nn.LayerNorm((2, 3), dtype=F64), (2, 2, 3)),
    (Block, (4, 3)),
    *((lambda name=name: nn.MLP([3, 4, 2], name, dropout=0.3, rng=0, dtype=F64), (5, 3)) for name in
      ("gelu", "sigmoid", "tanh", "softplus")),
]  # fmt: skip


class TestGradients:
    @pytest.mark.parametrize(("make", "shape"), GRADIENTS)
    def test_agree_with_differences(self, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
        module, values = make(), draw(*shape, seed=1)
        x = Tensor(values + 0.1 * np.sign(values), requires_grad=True)  # away from the kinks at 0
        for i, p in enumerate(module.parameters()):
            init.normal_(p, 0.5, rng=i)

        def loss() -> Tensor:
            for m in module.modules():
                if isinstance(m, nn.Dropout):
                    m.rng = np.random.default_rng(0)
            out = module(x)
            return (out * draw(*out.shape, seed=2)).sum()

        loss().backward()
        for t in (x, *module.parameters()):
            numeric = numeric_gradient(lambda: loss().item(), t.data)
            np.testing.assert_allclose(t.grad.numpy(), numeric, rtol=1e-8, atol=1e-9 * np.abs(numeric).max())

    def test_float32_gradients_are_those_of_float64(self) -> None:
        single, double = (nn.MLP([6, 5, 4], "tanh", rng=0, dtype=dtype) for dtype in (F32, F64))
        double.load_state_dict({key: value.astype(F64) for key, value in single.state_dict().items()})
        x, y = draw(8, 6, dtype=F32), np.arange(8) % 4
        for model, given in ((single, x), (double, x.astype(F64))):
            nn.CrossEntropyLoss()(model(given), y).backward()
        for p, q in zip(single.parameters(), double.parameters(), strict=True):
            assert p.grad.dtype == F32 and q.grad.dtype == F64
            assert np.linalg.norm(p.grad.numpy() - q.grad.numpy()) < 2e-6 * np.linalg.norm(q.grad.numpy())


class TestDropout:
    def test_p_0_and_evaluation_change_nothing(self) -> None:
        x = Tensor(draw(4, 3))
        layer = nn.Dropout(0.5, rng=0)
        before = layer.rng.bit_generator.state
        assert nn.Dropout(0.0)(x) is x and layer.eval()(x) is x
        assert layer.rng.bit_generator.state == before

    def test_p_1_gives_zeros_without_nan(self) -> None:
        x = Tensor([1.0, np.inf, -2.0], requires_grad=True)
        out = nn.Dropout(1.0, rng=0)(x)
        out.sum().backward()
        assert out.tolist() == [0, 0, 0] and x.grad.tolist() == [0, 0, 0]

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_backward_uses_the_same_mask(self, order: Any) -> None:
        x = Tensor(np.asarray(draw(30, 20), order=order), requires_grad=True)
        out = nn.Dropout(0.25, rng=0)(x)
        out.sum().backward()
        kept = array(out) != 0
        assert 0.6 < kept.mean() < 0.9
        assert np.array_equal(x.grad.numpy(), kept / 0.75)
        assert np.array_equal(array(out), array(x) * (1 / 0.75) * kept)

    def test_share_and_mean_are_right(self) -> None:
        out = array(nn.Dropout(0.3, rng=0)(np.ones((400, 500), F32)))
        n = out.size
        assert out.dtype == F32 and set(np.unique(out)) == {F32(0), F32(1 / 0.7)}
        assert abs((out == 0).mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / n)

    def test_every_call_draws_anew_and_a_seed_repeats(self) -> None:
        x = np.ones(50)
        first, second = nn.Dropout(rng=7), nn.Dropout(rng=np.random.default_rng(7))
        masks = [(array(first(x)), array(second(x))) for _ in range(3)]
        assert all(np.array_equal(a, b) for a, b in masks)
        assert not np.array_equal(masks[0][0], masks[1][0])


class TestBatchNorm:
    @pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2)])
    @pytest.mark.parametrize("momentum", [0.1, 1.0, None])
    def test_running_statistics_are_those_of_the_formula(self, shape: tuple[int, ...], momentum: float | None) -> None:
        layer = nn.BatchNorm1d(3, 0.1, momentum, dtype=F64)
        axes = (0, *range(2, len(shape)))
        mean, var = np.zeros(3), np.ones(3)
        for step in range(1, 4):
            x = 2 * draw(*shape, seed=step) + 1
            m = 1 / step if momentum is None else momentum
            mean = (1 - m) * mean + m * x.mean(axes)
            var = (1 - m) * var + m * x.var(axes, ddof=1)
            normal = np.moveaxis(array(layer(x)), 1, -1)
            expected = (np.moveaxis(x, 1, -1) - x.mean(axes)) / np.sqrt(x.var(axes) + 0.1)
            np.testing.assert_allclose(normal, expected, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(array(layer.running_mean), mean, rtol=1e-13)
            np.testing.assert_allclose(array(layer.running_var), var, rtol=1e-13)
            assert layer.num_batches_tracked.item() == step
        state = layer.state_dict()
        out = np.moveaxis(array(layer.eval()(x)), 1, -1)
        np.testing.assert_allclose(out, (np.moveaxis(x, 1, -1) - mean) / np.sqrt(var + 0.1), rtol=1e-12, atol=1e-14)
        assert all(np.array_equal(value, state[key]) for key, value in layer.state_dict().items())

    def test_statistics_are_updated_in_place_and_keep_their_dtype(self) -> None:
        layer = nn.BatchNorm1d(2, momentum=None)
        buffers = [(b, b.data, b.dtype) for b in layer.buffers()]
        layer(draw(4, 2))
        assert all(a is b and b.data is memory and b.dtype == dtype
                   for a, (b, memory, dtype) in zip(layer.buffers(), buffers, strict=True))  # fmt: skip
        assert not any(b.requires_grad for b in layer.buffers())

    def test_without_tracking_every_mode_uses_the_batch(self) -> None:
        layer, x = nn.BatchNorm1d(2, track_running_stats=False, dtype=F64), draw(5, 2)
        assert (
            layer.running_mean is None
            and list(layer.buffers()) == []
            and list(layer.state_dict()) == ["weight", "bias"]
        )
        assert np.array_equal(array(layer(x)), array(layer.eval()(x)))

    def test_a_single_value_can_be_evaluated(self) -> None:
        x = draw(1, 3)
        assert (array(nn.BatchNorm1d(3, track_running_stats=False, dtype=F64).eval()(x)) == 0).all()
        np.testing.assert_allclose(array(nn.BatchNorm1d(3, dtype=F64).eval()(x)), x, rtol=1e-5)

    def test_a_single_value_cannot_be_trained_on_and_changes_nothing(self) -> None:
        layer = nn.BatchNorm1d(2)
        before = snapshot(layer)
        with pytest.raises(ValueError, match=r"more than one value per feature to train, got input of shape \(1, 2\)"):
            layer(np.ones((1, 2), F32))
        assert snapshot(layer) == before
        assert layer.eval()(np.ones((1, 2), F32)).shape == (1, 2)


class TestRandomness:
    def test_a_seed_gives_the_same_model_and_none_another(self) -> None:
        first, second = (nn.MLP([5, 4, 3], rng=seed) for seed in (3, np.random.default_rng(3)))
        assert snapshot(first)["state"] == snapshot(second)["state"]
        assert snapshot(nn.MLP([5, 4, 3]))["state"] != snapshot(nn.MLP([5, 4, 3]))["state"]

    def test_layers_draw_one_after_another(self) -> None:
        model = nn.MLP([4, 4, 4], rng=0)
        assert not np.array_equal(array(model[0].weight), array(model[2].weight))
        rng = np.random.default_rng(0)
        assert not np.array_equal(array(nn.Linear(4, 4, rng=rng).weight), array(nn.Linear(4, 4, rng=rng).weight))

    def test_both_dtypes_and_layouts_get_the_same_numbers(self) -> None:
        for sizes in ((5, 3), (3, 5)):
            single, double = nn.Linear(*sizes, rng=0), nn.Linear(*sizes, rng=0, dtype=F64)
            assert [p.dtype for p in (*single.parameters(), *double.parameters())] == [F32, F32, F64, F64]
            assert np.array_equal(array(single.weight), array(double.weight).astype(F32))
            bound = 1 / math.sqrt(sizes[0])
            drawn = np.random.default_rng(0).uniform(-bound, bound, sizes[::-1])
            np.testing.assert_allclose(array(double.weight), drawn, rtol=1e-14)

    def test_the_global_state_is_neither_read_nor_changed(self) -> None:
        def run() -> dict[str, Any]:
            model = nn.MLP([5, 4, 3], dropout=0.5, rng=0)
            init.kaiming_normal_(model[0].weight, rng=1)
            nn.CrossEntropyLoss()(model(np.ones((2, 5), F32)), np.array([0, 1])).backward()
            nn.Dropout()(np.ones(3))
            return snapshot(model)

        states = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002
            before = pickle.dumps(np.random.get_state())  # noqa: NPY002
            states.append(run()["state"])
            assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002
        assert states[0] == states[1]

    def test_the_weight_has_the_layout_of_its_gradient(self) -> None:
        for sizes in ((30, 4), (4, 30), (4, 4)):
            layer = nn.Linear(*sizes, rng=0)
            layer(draw(8, sizes[0], dtype=F32)).sum().backward()
            assert layer.weight.data.strides == layer.weight.grad.data.strides


FILLS: list[tuple[str, Callable[[Tensor], Tensor], float]] = [
    ("uniform", lambda t: init.uniform_(t, -2.0, 1.0, rng=0), 3 / math.sqrt(12)),
    ("normal", lambda t: init.normal_(t, 1.0, 0.5, rng=0), 0.5),
    ("xavier_uniform", lambda t: init.xavier_uniform_(t, 2.0, rng=0), 2 * math.sqrt(2 / 1000)),
    ("xavier_normal", lambda t: init.xavier_normal_(t, rng=0), math.sqrt(2 / 1000)),
    ("kaiming_uniform", lambda t: init.kaiming_uniform_(t, rng=0), math.sqrt(2 / 600)),
    ("kaiming_normal", lambda t: init.kaiming_normal_(t, rng=0), math.sqrt(2 / 600)),
    ("fan_out", lambda t: init.kaiming_normal_(t, mode="fan_out", rng=0), math.sqrt(2 / 400)),
    ("slope", lambda t: init.kaiming_uniform_(t, math.sqrt(5), rng=0), math.sqrt(1 / 3 / 600)),
    ("tanh", lambda t: init.kaiming_uniform_(t, nonlinearity="tanh", rng=0), 5 / 3 / math.sqrt(600)),
]


class TestInit:
    @pytest.mark.parametrize(("name", "fill", "std"), FILLS, ids=[name for name, *_ in FILLS])
    def test_has_the_moments_of_its_distribution(self, name: str, fill: Callable[[Tensor], Tensor], std: float) -> None:
        t = Tensor(np.empty((400, 600), F64, order="F"), requires_grad=True)
        memory = t.data
        assert fill(t) is t and t.data is memory and t.requires_grad and t.is_leaf
        mean = {"uniform": -0.5, "normal": 1.0}.get(name, 0.0)
        n = memory.size
        flat = "uniform" in name or name in ("slope", "tanh")
        kurtosis = 1.8 if flat else 3.0
        assert abs(memory.mean() - mean) < 5 * std / math.sqrt(n)
        assert abs(memory.std() / std - 1) < 5 * math.sqrt((kurtosis - 1) / (4 * n))
        assert abs((((memory - mean) / std) ** 4).mean() - kurtosis) < 0.1
        if flat:
            bound = math.sqrt(3) * std
            assert (1 - 1e-3) * bound < np.abs(memory - mean).max() <= bound

    def test_fans_count_the_receptive_field(self) -> None:
        t = Tensor(np.empty((40, 30, 5)))
        assert array(init.kaiming_normal_(t, rng=0)).std() == pytest.approx(math.sqrt(2 / 150), rel=0.05)
        assert array(init.xavier_normal_(t, rng=0)).std() == pytest.approx(math.sqrt(2 / 350), rel=0.05)

    def test_gains(self) -> None:
        gains = {name: init.calculate_gain(name) for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu")}
        assert gains == pytest.approx(
            {"linear": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": 2**0.5, "leaky_relu": (2 / (1 + 1e-4)) ** 0.5}
        )
        assert init.calculate_gain("leaky_relu", 1.0) == pytest.approx(1)

    def test_linear_begins_as_in_pytorch(self) -> None:
        layer = nn.Linear(400, 300, rng=0)
        for p in (layer.weight, layer.bias):
            bound = 1 / math.sqrt(400)
            assert 0.95 * bound < np.abs(array(p)).max() <= bound
            assert array(p).std() == pytest.approx(bound / math.sqrt(3), rel=0.05)

    @pytest.mark.parametrize(("activation", "std"), [
        *((name, math.sqrt(2 / 300)) for name in ("relu", "leaky_relu", "gelu")),
        *((name, math.sqrt(2 / 500)) for name in ("tanh", "sigmoid", "softplus")),
    ])  # fmt: skip
    def test_mlp_begins_as_its_activation_needs(self, activation: str, std: float) -> None:
        model = nn.MLP([300, 200, 10], activation, rng=0)
        assert array(model[0].weight).std() == pytest.approx(std, rel=0.02)
        assert not array(model[0].bias).any() and not array(model[2].bias).any()

    def test_signals_keep_their_size_through_a_deep_mlp(self) -> None:
        x = draw(100, 200, dtype=F32)
        for activation, least in (("relu", 0.3), ("tanh", 0.1)):
            out = array(nn.MLP([200] * 21, activation, rng=0)(x))
            assert least < out.std() < 3

    def test_errors_leave_the_values(self) -> None:
        t = Tensor(np.zeros((2, 3)))
        with pytest.raises(ValueError, match=r"unknown mode 'fan_ot'; did you mean 'fan_out'\? Valid: fan_in, fan_out"):
            init.kaiming_uniform_(t, mode="fan_ot")
        with pytest.raises(ValueError, match=r"unknown nonlinearity 'tahn'; did you mean 'tanh'\?"):
            init.kaiming_normal_(t, nonlinearity="tahn")
        assert not t.data.any()
        for fill in (init.xavier_normal_, init.kaiming_uniform_):
            with pytest.raises(ShapeError, match=r"of shape \(out, in\), got shape \(3,\); use uniform_ or normal_"):
                fill(Tensor(np.zeros(3)))


class TestSequential:
    def test_indexes_iterates_and_slices(self) -> None:
        layers = [nn.Linear(2, 3, rng=0), nn.ReLU(), nn.Linear(3, 1, rng=1)]
        model = nn.Sequential(*layers)
        assert len(model) == 3 and list(model) == layers
        assert model[0] is layers[0] and model[-1] is layers[2]
        x = draw(4, 2, dtype=F32)
        part = model[:2]
        assert type(part) is nn.Sequential and list(part) == layers[:2] and list(model[::2]) == layers[::2]
        assert np.array_equal(array(part(x)), array(layers[1](layers[0](x))))
        assert np.array_equal(array(model[2:](part(x))), array(model(x)))
        with pytest.raises(IndexError):
            model[3]

    def test_empty_is_the_identity(self) -> None:
        x = Tensor(draw(2, 2))
        assert nn.Sequential()(x) is x and len(nn.Sequential()) == 0

    @pytest.mark.parametrize(("layers", "got"), [
        (([nn.ReLU()],), r"\[ReLU\(\)\] at position 0"),
        ((nn.ReLU(), nn.Tanh), "Tanh at position 1"),
        ((nn.ReLU(), np.tanh), "got tanh at position 1"),
        ((None,), "None at position 0"),
    ])  # fmt: skip
    def test_takes_modules_only(self, layers: Any, got: str) -> None:
        with pytest.raises(TypeError, match=f"{got}; pass them one by one"):
            nn.Sequential(*layers)


class TestMLP:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_every_parameter_and_statistic_has_its_dtype(self, dtype: Any) -> None:
        model = nn.MLP([4, 3, 2], batch_norm=True, dropout=0.5, rng=0, dtype=dtype)
        assert {array.dtype for array in model.state_dict().values()} == {np.dtype(dtype), np.dtype(np.int64)}
        assert model(np.ones((5, 4), dtype)).dtype == dtype

    @pytest.mark.parametrize("sizes", [[784, 256, 10], (784, 256, 10), [np.int64(784), 256, 10]])
    def test_is_a_sequential_with_pytorchs_keys(self, sizes: Any) -> None:
        model = nn.MLP(sizes, rng=0)
        assert isinstance(model, nn.Sequential)
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        assert shapes == {"0.weight": (256, 784), "0.bias": (256,), "2.weight": (10, 256), "2.bias": (10,)}
        assert model(np.zeros((2, 784), F32)).shape == (2, 10)

    @pytest.mark.parametrize(("activation", "kind"), [
        ("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), ("gelu", nn.GELU),
        ("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh), ("softplus", nn.Softplus),
    ])  # fmt: skip
    def test_has_its_activation_between_layers_only(self, activation: str, kind: type[nn.Module]) -> None:
        kinds = [type(layer) for layer in nn.MLP([2, 3, 3, 1], activation)]
        assert kinds == [nn.Linear, kind, nn.Linear, kind, nn.Linear]
        assert [type(layer) for layer in nn.MLP([2, 1], activation, dropout=0.5)] == [nn.Linear]

    def test_dropout_follows_each_activation_with_masks_of_its_own(self) -> None:
        model = nn.MLP([2, 3, 3, 1], dropout=0.5, rng=0)
        assert [type(layer) for layer in model[1:3]] == [nn.ReLU, nn.Dropout]
        assert list(model.state_dict())[2] == "3.weight" and len(model) == 7
        assert model[2] is not model[5] and model[2].rng is model[5].rng

    @pytest.mark.parametrize("dtype", [F32, F64])
    def test_learns_xor(self, dtype: Any) -> None:
        x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype), np.array([0, 1, 1, 0])
        model = nn.MLP([2, 8, 2], "tanh", rng=0, dtype=dtype)
        optimizer, criterion = optim.SGD(model.parameters(), lr=0.5, momentum=0.9), nn.CrossEntropyLoss()
        for _ in range(200):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        assert loss.dtype == dtype and loss.item() < 0.01
        assert array(model(x)).argmax(axis=1).tolist() == y.tolist()


LOGITS, LABELS = draw(4, 3), np.array([0, 2, 1, 1])
PROBS, TARGETS = sigmoid(LOGITS), (draw(4, 3, seed=1) > 0).astype(F64)
LOSSES: list[tuple[nn.Module, Callable[..., Any], Array, Array, dict[str, Any]]] = [
    (nn.CrossEntropyLoss(), functional.cross_entropy, LOGITS, LABELS, {}),
    (
        nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum"),
        functional.cross_entropy, LOGITS, LABELS, {"label_smoothing": 0.1, "reduction": "sum"},
    ),
    (nn.NLLLoss(reduction="none"), functional.nll_loss, np.log(PROBS), LABELS, {"reduction": "none"}),
    (nn.BCELoss(), functional.binary_cross_entropy, PROBS, TARGETS, {}),
    (
        nn.BCEWithLogitsLoss(reduction="none"),
        functional.binary_cross_entropy_with_logits, LOGITS, TARGETS, {"reduction": "none"},
    ),
    (nn.MSELoss(), functional.mse_loss, LOGITS, TARGETS, {}),
    (nn.L1Loss(reduction="sum"), functional.l1_loss, LOGITS, TARGETS, {"reduction": "sum"}),
    (nn.HuberLoss(delta=0.5), functional.huber_loss, LOGITS, TARGETS, {"delta": 0.5}),
]  # fmt: skip


class TestLosses:
    @pytest.mark.parametrize(("loss", "function", "x", "target", "options"), LOSSES)
    def test_are_the_functions_with_their_options(
        self, loss: nn.Module, function: Callable[..., Any], x: Array, target: Array, options: dict[str, Any]
    ) -> None:
        results, gradients = [], []
        for f in (loss, lambda x, t: function(x, t, **options)):
            leaf = Tensor(x, requires_grad=True)
            results.append(f(leaf, target))
            results[-1].sum().backward()
            gradients.append(leaf.grad.numpy())
        assert np.array_equal(array(results[0]), array(results[1])) and np.array_equal(*gradients)
        frame = pd.DataFrame(target) if target.ndim == 2 else pd.Series(target)
        np.testing.assert_allclose(array(loss(pd.DataFrame(x), frame)), array(results[0]), rtol=1e-15)
        assert list(loss.parameters()) == []


ERRORS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("in_features", lambda: nn.Linear(0, 2), ValueError, r"in_features must be an integer >= 1, got 0$"),
    ("out_features", lambda: nn.Linear(3, 2.0), TypeError, r"out_features must be an integer >= 1, got 2\.0$"),  # type: ignore[arg-type]
    ("size bool", lambda: nn.Linear(3, True), TypeError, r"out_features must be an integer >= 1, got True$"),
    ("size text", lambda: nn.Linear("3", 2), TypeError, r"in_features must be an integer >= 1, got '3'$"),  # type: ignore[arg-type]
    ("integer dtype", lambda: nn.Linear(3, 2, dtype=int), TypeError, "use float32/float64"),
    ("seed", lambda: nn.Linear(3, 2, rng=-1), ValueError, "rng must be an integer >= 0, a Generator or None, got -1"),
    ("num_features", lambda: nn.BatchNorm1d(-3), ValueError, r"num_features must be an integer >= 1, got -3$"),
    ("normalized_shape", lambda: nn.LayerNorm((2, 0)), ValueError, r"normalized_shape must be .* >= 1, got 0$"),
    ("p below", lambda: nn.Dropout(-0.1), ValueError, r"p must be a number from 0 to 1, got -0\.1$"),
    ("p above", lambda: nn.Dropout(1.5), ValueError, r"p must be a number from 0 to 1, got 1\.5$"),
    ("p nan", lambda: nn.Dropout(math.nan), ValueError, r"p must be a number from 0 to 1, got nan$"),
    ("p text", lambda: nn.Dropout("0.5"), TypeError, r"p must be a number from 0 to 1, got '0\.5'$"),  # type: ignore[arg-type]
    ("mlp hidden", lambda: nn.MLP([784, 0, 10]), ValueError, r"sizes\[1\] must be an integer >= 1, got 0$"),
    ("mlp one size", lambda: nn.MLP([784]), ValueError, r"sizes must be a list of at least two sizes, .*got \[784\]$"),
    ("mlp int", lambda: nn.MLP(784), ValueError, r"sizes must be a list of at least two sizes, .*got 784$"),  # type: ignore[arg-type]
    ("mlp text", lambda: nn.MLP("784"), TypeError, r"sizes must be a list of sizes.*got '784'$"),  # type: ignore[arg-type]
    ("mlp dropout", lambda: nn.MLP([2, 1], dropout=2), ValueError, r"dropout must be a number from 0 to 1, got 2$"),
    (
        "mlp activation", lambda: nn.MLP([2, 1], "rleu"), ValueError,
        r"unknown activation 'rleu'; did you mean 'relu'\? Valid: gelu, leaky_relu, relu, sigmoid, softplus, tanh$",
    ),
    ("reduction", lambda: nn.MSELoss(reduction="avg")(np.ones(2), np.ones(2)), ValueError, "unknown reduction 'avg'"),
    ("delta", lambda: nn.HuberLoss(delta=-1)(np.ones(2), np.ones(2)), ValueError, "delta must be a positive number"),
    ("column", lambda: nn.MSELoss()(np.ones((3, 1)), np.ones(3)), ShapeError, r"\(3, 1\) and target \(3,\).*\(3, 3\)"),
    ("label", lambda: nn.CrossEntropyLoss()(LOGITS, LABELS + 1), ValueError, r"labels\[1\] is 3, .* 0\.\.2"),
]  # fmt: skip

MISFITS: list[tuple[nn.Module, tuple[int, ...], str]] = [
    (nn.Linear(3, 2), (4, 5), r"expected 3 features, got 5 in an input of shape \(4, 5\)"),
    (nn.Linear(3, 2), (), r"expected 3 features, got none in an input of shape \(\)"),
    (nn.Linear(3, 1), (3, 1), r"expected 3 features, got 1 in an input of shape \(3, 1\)"),
    (nn.Linear(784, 2), (5, 28, 28), r"expected 784 features, got 28 in an input of shape \(5, 28, 28\)"),
    (nn.BatchNorm1d(3), (4, 5), r"expected shape \(N, 3\) or \(N, 3, L\), got \(4, 5\) in"),
    (nn.BatchNorm1d(1), (4, 5), r"expected shape \(N, 1\) or \(N, 1, L\), got \(4, 5\) in"),
    (nn.BatchNorm1d(3), (3,), r"expected shape \(N, 3\) or \(N, 3, L\), got \(3,\) in"),
    (nn.BatchNorm1d(3), (2, 3, 2, 2), r"expected shape \(N, 3\) or \(N, 3, L\), got \(2, 3, 2, 2\) in"),
    (nn.LayerNorm(3), (4, 5), r"expected last axes \(3,\), got \(5,\) in an input of shape \(4, 5\)"),
    (nn.LayerNorm((2, 3)), (3,), r"expected last axes \(2, 3\), got \(3,\) in an input of shape \(3,\)"),
    (nn.Flatten(), (3,), r"expected at least 2 axes, got 1 in an input of shape \(3,\)"),
]


class TestErrors:
    @pytest.mark.parametrize(("call", "kind", "match"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
    def test_say_what_was_wrong(self, call: Callable[[], Any], kind: type[Exception], match: str) -> None:
        with pytest.raises(kind, match=match) as info:
            call()
        assert " at 0x" not in str(info.value)

    @pytest.mark.parametrize(("layer", "shape", "match"), MISFITS)
    def test_of_inputs_name_the_layer_and_change_nothing(
        self, layer: nn.Module, shape: tuple[int, ...], match: str
    ) -> None:
        before = snapshot(layer)
        with pytest.raises(ShapeError, match=f"^{re.escape(repr(layer))}: {match}") as info:
            layer(Tensor(np.ones(shape, F32)))
        assert str(info.value).endswith(("reshape the input, or build the layer for it", "put nn.Flatten() first"))
        assert snapshot(layer) == before

    def test_of_an_inner_layer_name_its_place(self) -> None:
        model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 2)))
        expected = r"^layer '1\.1', Linear\(in_features=5, out_features=2, bias=True\): expected 5 features, got 4"
        with pytest.raises(ShapeError, match=expected):
            model(np.ones((2, 3), F32))
