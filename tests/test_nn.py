"""Tests of modules, layers, losses and initialisers: their state, names, values, gradients and errors."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tinygrad_mlp import functional, nn, no_grad
from tinygrad_mlp.errors import CheckpointError, DtypeError, GraphError, ShapeError
from tinygrad_mlp.nn import init
from tinygrad_mlp.tensor import Tensor

Array = np.ndarray[Any, Any]
F32, F64 = np.float32, np.float64


def draw(*shape: int, seed: int = 0, dtype: Any = F64) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def state_bytes(model: nn.Module) -> dict[str, bytes]:
    return {key: array.tobytes() for key, array in model.state_dict().items()}


class Block(nn.Module):
    """A module of every kind of member: a parameter, a buffer, modules at two levels, and things that are neither."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(np.ones(3))
        self.register_buffer("offset", Tensor(np.zeros(3)))
        self.layers = nn.Sequential(nn.Linear(3, 4, rng=0, dtype=F64), nn.Tanh(), nn.Linear(4, 3, rng=1, dtype=F64))
        self.constant = Tensor(np.ones(3))
        self.unregistered = [nn.Linear(2, 2)]

    def forward(self, x: Any) -> Any:
        return self.layers(x * self.gain + self.offset)


BLOCK_PARAMETERS = ["gain", "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]


class TestParameter:
    def test_is_a_leaf_that_requires_grad_and_whose_results_are_tensors(self) -> None:
        p = nn.Parameter([1.0, 2.0])
        assert isinstance(p, Tensor) and p.requires_grad and p.is_leaf
        assert type(p * 2) is Tensor and type(p.detach()) is Tensor and type(np.exp(p)) is Tensor

    def test_keeps_its_type_through_an_update_in_place(self) -> None:
        layer = nn.Linear(2, 2, rng=0)
        weight, memory = layer.weight, layer.weight.data
        with no_grad():
            layer.weight -= 0.5
        assert layer.weight is weight and weight.data is memory

    @pytest.mark.parametrize("data", [[1, 2], [True], [1j]])
    def test_of_a_dtype_without_gradient_is_refused(self, data: Any) -> None:
        with pytest.raises(DtypeError, match="use float32/float64"):
            nn.Parameter(data)
        assert not nn.Parameter(data, requires_grad=False).requires_grad


class TestModuleMembers:
    def test_parameters_are_found_in_the_order_of_registration(self) -> None:
        block = Block()
        assert [name for name, _ in block.named_parameters()] == BLOCK_PARAMETERS
        assert [p.name for p in block.parameters()] == BLOCK_PARAMETERS
        assert list(block.parameters())[1] is block.layers[0].weight

    def test_modules_children_and_buffers(self) -> None:
        block = Block()
        assert [name for name, _ in block.named_modules()] == ["", "layers", "layers.0", "layers.1", "layers.2"]
        assert list(block.modules())[0] is block
        assert [name for name, _ in block.named_children()] == ["layers"]
        assert list(block.children()) == [block.layers]
        assert [name for name, _ in block.named_buffers()] == ["offset"]
        assert list(block.buffers())[0] is block.offset

    def test_super_init_need_not_be_called(self) -> None:
        class Bare(nn.Module):
            def __init__(self) -> None:
                self.fc = nn.Linear(2, 1)

            def forward(self, x: Any) -> Any:
                return self.fc(x)

        model = Bare()
        assert model.training and len(list(model.parameters())) == 2 and repr(model) == (
            "Bare(\n  (fc): Linear(in_features=2, out_features=1, bias=True)\n)"
        )

    def test_removed_members_are_forgotten(self) -> None:
        block = Block()
        del block.layers
        block.gain = None
        assert list(block.parameters()) == []
        assert list(block.state_dict()) == ["offset"]

    def test_shared_parameters_count_once_but_have_all_their_keys(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
        model[1].weight = model[0].weight
        assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
        assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
        shared = nn.Linear(2, 2, rng=0)
        twice = nn.Sequential(shared, nn.ReLU(), shared)
        assert len(twice) == 3 and len(list(twice.parameters())) == 2 and len(list(twice.modules())) == 3
        assert list(twice.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert np.array_equal(twice(np.ones((1, 2), F32)).detach(), shared(shared(np.ones((1, 2), F32)).relu_()
                              if hasattr(Tensor, "relu_") else functional.relu(shared(np.ones((1, 2), F32)))).detach())
