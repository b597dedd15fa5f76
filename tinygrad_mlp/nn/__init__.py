"""Neural networks in PyTorch's spelling: modules, layers, losses and initialisers, on Tensor ops alone.

>>> import numpy as np
>>> from tinygrad_mlp import nn
>>> model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.Tanh(), nn.Linear(8, 3, rng=1))
>>> loss = nn.CrossEntropyLoss()(model(np.ones((2, 4), np.float32)), np.array([0, 2]))
>>> loss.backward()
>>> [(name, p.grad.shape) for name, p in model.named_parameters()]
[('0.weight', (8, 4)), ('0.bias', (8,)), ('2.weight', (3, 8)), ('2.bias', (3,))]
"""

from typing import TYPE_CHECKING

from ..foreign import missing as _missing
from . import functional, init, optim, utils
from .layers import GELU, MLP, BatchNorm1d, Dropout, Flatten, LayerNorm, LeakyReLU, Linear, LogSoftmax, ReLU
from .layers import Sequential, Sigmoid, Softmax, Softplus, Tanh
from .losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss
from .module import IncompatibleKeys, Module, Parameter

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "CrossEntropyLoss", "Dropout", "Flatten", "GELU", "HuberLoss",
    "IncompatibleKeys", "L1Loss", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MLP", "MSELoss", "Module",
    "NLLLoss", "Parameter", "ReLU", "Sequential", "Sigmoid", "Softmax", "Softplus", "Tanh", "functional", "init",
    "optim", "utils",
]  # fmt: skip
__dir__ = __all__.copy  # what Tab offers

if not TYPE_CHECKING:
    __getattr__ = _missing(__name__)
