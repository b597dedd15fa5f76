"""Mistakes that beginners make, each with what its message must say: what was got, what was expected, and what to do.

Where a message says what was expected by saying what to do, the two are the same words.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from tinygrad_mlp.callbacks import Callback, Checkpoint, EarlyStopping

import tinygrad_mlp as tg
from tinygrad_mlp import CheckpointError, DataError, GraphError, NoRuleError, ShapeError, Tensor, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.nn import init


class Work:
    """What somebody who makes a mistake has on the desk: data, a model in training, and Tensors."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.X = self.rng.normal(size=(20, 4)).astype(np.float32)
        self.y = np.arange(20) % 3
        self.holes = self.X.copy()
        self.holes[3, 1], self.holes[7, 2] = np.nan, np.inf
        self.pictures = np.zeros((20, 28, 28), np.float32)
        self.model, self.regressor = nn.MLP([4, 5, 3], rng=0), nn.MLP([4, 5, 1], rng=0)
        self.parameters = list(self.model.parameters())
        self.optimizer = optim.SGD(self.parameters, lr=0.1, momentum=0.9)
        F.cross_entropy(self.model(self.X), self.y).backward()
        self.optimizer.step()
        self.t = Tensor(np.ones((2, 3)), requires_grad=True, name="weights")
        self.logits = Tensor(np.zeros((3, 4)), requires_grad=True)
        self.number = Tensor(2.0, requires_grad=True)

    def tensors(self) -> Iterator[Tensor]:
        yield from (self.t, self.logits, self.number)
        for model in (self.model, self.regressor):
            yield from model.parameters()

    def state(self) -> Any:
        arrays = [self.X, self.y, self.holes, self.pictures]
        return (
            [a.tobytes() for a in arrays],
            [
                (t.data.tobytes(), t.requires_grad, None if t.grad is None else t.grad.data.tobytes())
                for t in self.tensors()
            ],
            repr(self.optimizer.state_dict()),
            repr(self.rng.bit_generator.state),
            [(name, module.training) for name, module in self.model.named_modules()],
        )

    def fit(self, model: Any = None, X: Any = None, y: Any = None, **options: Any) -> Any:
        model, X, y = (
            (self.model if model is None else model),
            (self.X if X is None else X),
            (self.y if y is None else y),
        )
        return tg.fit(model, X, y, **{"epochs": 1, "progress": False, **options})


class Mistake(NamedTuple):
    name: str
    call: Callable[[Work], Any]
    error: type[Exception]
    got: str
    expected: str
    remedy: str


class Loader:
    """A DataLoader, as far as one can see from outside."""

    batch_size = 2

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter([(np.ones((2, 4)), np.zeros(2, int))] * 3)


class GivesArray(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(4, 3, rng=0)

    def forward(self, x: Any) -> Any:
        return self.layer(x).detach().numpy()


class GivesNothing(GivesArray):
    def forward(self, x: Any) -> Any:
        self.layer(x)


class InAList(nn.Module):
    def __init__(self) -> None:
        self.layers = [nn.Linear(4, 3, rng=0)]

    def forward(self, x: Any) -> Any:
        return self.layers[0](x)


class NoParameter(nn.Module):
    def __init__(self) -> None:
        self.factor = Tensor(np.ones(3), requires_grad=True)


def mlp(*args: Any, **options: Any) -> Callable[[Work], Any]:
    return lambda w: nn.MLP(*args, **options)


def sgd(**options: Any) -> Callable[[Work], Any]:
    return lambda w: optim.SGD(w.parameters, **options)


def adam(**options: Any) -> Callable[[Work], Any]:
    return lambda w: optim.Adam(w.parameters, **options)


def fit(*args: Any, **options: Any) -> Callable[[Work], Any]:
    return lambda w: w.fit(*args, **options)


def entropy(*args: Any, **options: Any) -> Callable[[Work], Any]:
    return lambda w: F.cross_entropy(w.logits, *args, **options)


def attribute(thing: Callable[[Work], Any], *names: tuple[str, str]) -> list[tuple[Any, ...]]:
    """Rows for names that a thing has not, each with what to use."""
    return [
        (
            f"{name} of {thing.__name__}",
            lambda w, name=name: getattr(thing(w), name),
            AttributeError,
            repr(name),
            use,
            use,
        )
        for name, use in names
    ]


def exploding(outputs: Any, targets: Any) -> Any:
    with np.errstate(all="ignore"):
        return (outputs * np.float32(3e38)).sum() ** 2


def a_tensor(w: Work) -> Any:
    return w.t


def a_model(w: Work) -> Any:
    return w.model


def an_optimizer(w: Work) -> Any:
    return w.optimizer


def the_package(w: Work) -> Any:
    return tg


def the_layers(w: Work) -> Any:
    return nn


def the_functions(w: Work) -> Any:
    return F


def the_optimizers(w: Work) -> Any:
    return optim


LABELS = np.array([0, 1, 2])
ACTIVATIONS = "Valid: gelu, leaky_relu, relu, sigmoid, softplus, tanh"
LOSSES = "Valid: binary_cross_entropy"
OPTIONS = "Valid: X, augment, batch_size"

_BUILDING = [
    ("MLP with sizes one by one", mlp(784, 128, 10), TypeError, "(784, 128, 10)", "MLP(sizes, ", "as in MLP([784, 256, 10]"),
    ("MLP without sizes", mlp(), TypeError, "MLP()", "MLP(sizes, ", "as in MLP([784, 256, 10]"),
    ("MLP of one size", mlp([784]), ValueError, "[784]", "at least two sizes", "as [784, 256, 10]"),
    ("MLP of text", mlp("784,10"), TypeError, "'784,10'", "a list of sizes", "as [784, 256, 10]"),
    ("MLP with a float size", mlp([784, 10.0]), TypeError, "10.0", "an integer >= 1", "sizes[1] must be"),
    ("MLP with no units", mlp([784, 0, 10]), ValueError, "got 0", "an integer >= 1", "sizes[1] must be"),
    ("MLP of an array", mlp(np.array([4, 3])), ValueError, "array([4, 3])", "a list of", "as [784, 256, 10]"),
    ("activation in a list", mlp([4, 3], activation=["relu"]), ValueError, "['relu']", ACTIVATIONS, "did you mean 'relu'?"),
    ("activation as a function", mlp([4, 3], activation=F.relu), ValueError, "activation relu", ACTIVATIONS, ACTIVATIONS),
    ("activation as a class", mlp([4, 3], activation=nn.ReLU), ValueError, "activation ReLU", ACTIVATIONS, ACTIVATIONS),
    ("activation None", mlp([4, 3], activation=None), ValueError, "activation None", ACTIVATIONS, ACTIVATIONS),
    ("activation in capitals", mlp([4, 3], activation="Relu"), ValueError, "'Relu'", ACTIVATIONS, "did you mean 'relu'?"),
    ("activation unknown", mlp([4, 3], activation="swish"), ValueError, "'swish'", ACTIVATIONS, ACTIVATIONS),
    ("dropout of 2", mlp([4, 3], dropout=2), ValueError, "got 2", "from 0 to 1", "dropout must be"),
    ("dropout as text", mlp([4, 3], dropout="0.5"), TypeError, "'0.5'", "from 0 to 1", "dropout must be"),
    ("integer model", mlp([4, 3], dtype=int), TypeError, "got int", "one of floats", "use float32/float64"),
    ("dtype that is none", mlp([4, 3], dtype="float33"), TypeError, "'float33'", "one of floats", "use float32/float64"),
    ("rng as text", mlp([4, 3], rng="seed"), TypeError, "'seed'", "an integer >= 0, a Generator", "rng must be"),
    ("rng negative", mlp([4, 3], rng=-1), ValueError, "got -1", "an integer >= 0, a Generator", "rng must be"),
    ("random_state of MLP", mlp([4, 3], random_state=0), TypeError, "'random_state'", "Valid: activation", "write rng"),
    ("hidden_layer_sizes", mlp(hidden_layer_sizes=(5,)), TypeError, "'hidden_layer_sizes'", "Valid: ", "write sizes"),
    ("Linear without outputs", lambda w: nn.Linear(10), TypeError, "Linear(10)", "'out_features'", "as in Linear(3, 2"),
    ("Linear with four", lambda w: nn.Linear(4, 3, True, 0), TypeError, "(4, 3, True, 0)", "too many", "write Linear(in_f"),
    ("Linear of a float", lambda w: nn.Linear(4.0, 3), TypeError, "4.0", "an integer >= 1", "in_features must be"),
    ("Linear of text", lambda w: nn.Linear("4", 3), TypeError, "'4'", "an integer >= 1", "in_features must be"),
    ("Linear of less than nothing", lambda w: nn.Linear(-4, 3), ValueError, "-4", "an integer >= 1", "in_features must be"),
    ("units", lambda w: nn.Linear(4, units=3), TypeError, "'units'", "Valid: bias", "write out_features"),
    ("input_dim", lambda w: nn.Linear(input_dim=4, units=3), TypeError, "'input_dim'", "Valid: ", "write in_features"),
    ("use_bias", lambda w: nn.Linear(4, 3, use_bias=False), TypeError, "'use_bias'", "Valid: bias", "write bias"),
    ("Linear with activation", lambda w: nn.Linear(4, 3, activation="relu"), TypeError, "'activation'", "Valid: bias",
     "put a module for it after the layer"),
    ("Linear on a device", lambda w: nn.Linear(4, 3, device="cuda"), TypeError, "'device'", "Valid: bias", "leave it out"),
    ("seed of Linear", lambda w: nn.Linear(4, 3, seed=0), TypeError, "'seed'", "Valid: bias", "write rng"),
    ("rate of Dropout", lambda w: nn.Dropout(rate=0.5), TypeError, "'rate'", "Valid: p, rng", "write p"),
    ("Dropout in place", lambda w: nn.Dropout(0.5, inplace=True), TypeError, "'inplace'", "Valid: p, rng", "leave it out"),
    ("Dropout of 2", lambda w: nn.Dropout(2), ValueError, "got 2", "from 0 to 1", "p must be"),
    ("Dropout of None", lambda w: nn.Dropout(None), TypeError, "got None", "from 0 to 1", "p must be"),
    ("ReLU in place", lambda w: nn.ReLU(inplace=True), TypeError, "'inplace'", "it has none", "write ReLU()"),
    ("dim of Softmax", lambda w: nn.Softmax(dim=1), TypeError, "'dim'", "Valid: axis", "write axis"),
    ("axis as text", lambda w: nn.Softmax("x")(w.X), TypeError, "'x'", "as an integer", "use numbers"),
    ("epsilon", lambda w: nn.BatchNorm1d(3, epsilon=1e-3), TypeError, "'epsilon'", "Valid: affine", "write eps"),
    ("BatchNorm of nothing", lambda w: nn.BatchNorm1d(0), ValueError, "got 0", "an integer >= 1", "num_features must be"),
    ("BatchNorm too quick", lambda w: nn.BatchNorm1d(3, momentum=2.0), ValueError, "2.0", "from 0 to 1", "momentum must be"),
    ("eps below zero", lambda w: nn.BatchNorm1d(3, eps=-1), ValueError, "got -1", "number >= 0", "eps must be"),
    ("LayerNorm of a float", lambda w: nn.LayerNorm(3.5), TypeError, "3.5", "an integer >= 1", "normalized_shape must be"),
    ("slope as text", lambda w: nn.LeakyReLU("x"), TypeError, "'x'", "a finite number", "negative_slope must be"),
    ("Sequential of a list", lambda w: nn.Sequential([nn.ReLU()]), TypeError, "[ReLU()]", "takes modules", "pass them one"),
    ("Sequential of a class", lambda w: nn.Sequential(nn.ReLU), TypeError, "got ReLU", "takes modules", "pass them one"),
    ("Sequential of a function", lambda w: nn.Sequential(F.relu), TypeError, "got relu", "takes modules", "pass them one"),
    ("Sequential of None", lambda w: nn.Sequential(None), TypeError, "got None", "takes modules", "pass them one"),
    ("module 5 of 3", lambda w: w.model[5], IndexError, "no module 5", "of 3 modules", "count from 0"),
    ("Parameter of integers", lambda w: nn.Parameter(np.ones(3, int)), TypeError, "int64", "require grad", "use float32"),
    ("Parameter of text", lambda w: nn.Parameter("abc"), TypeError, "'abc'", "expected numbers", "convert it to float32"),
    ("Tensor in place of a Parameter", lambda w: NoParameter(), TypeError, "NoParameter.factor", "no parameter",
     "make it a Parameter, or detach() it"),
    ("array for a weight", lambda w: setattr(w.model[0], "weight", np.ones((5, 4))), TypeError, "got float64(5, 4)",
     "holds a Parameter", "change values in place under no_grad()"),
    ("Tensor for a weight", lambda w: setattr(w.model[0], "weight", Tensor(np.ones((5, 4)))), TypeError,
     "got float64(5, 4)", "holds a Parameter", "assign a Parameter"),
    ("buffer of an array", lambda w: w.model.register_buffer("b", np.ones(3)), TypeError, "got float64(3,)",
     "holds a Tensor", "assign a Tensor"),
    ("buffer of a name in use", lambda w: w.model.register_buffer("training", Tensor(1.0)), ValueError, "'training'",
     "already", "choose another name"),
    ("module without forward", lambda w: nn.Module()(w.X), NotImplementedError, "Module has no forward", "forward(self, x)",
     "define forward"),
    ("filling an array", lambda w: init.uniform_(np.ones(3)), TypeError, "got float64(3,)", "a Tensor", "such as layer.weight"),
    ("fans of a bias", lambda w: init.kaiming_uniform_(w.model[0].bias), ShapeError, "(5,)", "shape (out, in)", "use uniform_"),
    ("fan_inn", lambda w: init.kaiming_uniform_(w.model[0].weight, mode="fan_inn"), ValueError, "'fan_inn'",
     "Valid: fan_in, fan_out", "did you mean 'fan_in'?"),
]  # fmt: skip

_CALLING = [
    ("model of None", lambda w: w.model(None), TypeError, "None", "expected numbers", "convert it"),
    ("model of nothing", lambda w: w.model(), TypeError, "model()", "'x'", "write model(x)"),
    ("model of X and y", lambda w: w.model(w.X, w.y), TypeError, "float32(20, 4), int64(20,)", "too many", "write model(x)"),
    ("model of text", lambda w: w.model("x"), TypeError, "'x'", "expected numbers", "convert it"),
    ("model of a dict", lambda w: w.model({"x": 1}), TypeError, "{'x': 1}", "expected numbers", "list(x.values())"),
    ("model of a number", lambda w: w.model(3.0), ShapeError, "of shape ()", "expected 4 features", "reshape the input"),
    ("model of objects", lambda w: w.model(np.array([[None] * 4])), TypeError, "object(1, 4)", "expected numbers", "convert"),
    ("model of words", lambda w: w.model([["a", "b", "c", "d"]]), TypeError, "<U1", "expected numbers", "convert it"),
    ("model of a frame of words", lambda w: w.model(pd.DataFrame({"a": ["x"]})), TypeError, "DataFrame(1, 1)",
     "expected numbers", "convert it"),
    ("model of sparse X", lambda w: w.model(sparse.csr_array(w.X)), TypeError, "float32(20, 4)", "expected numbers",
     "x.toarray() makes it dense"),
    ("model of a generator", lambda w: w.model(x for x in w.X), TypeError, "<genexpr>", "expected numbers",
     "np.stack(list(x))"),
    ("model of complex X", lambda w: w.model(w.X * 1j), TypeError, "complex64", "no gradient", "use float32/float64"),
    ("model of five features", lambda w: w.model(np.ones((2, 5))), ShapeError, "got 5", "expected 4 features", "reshape the"),
    ("model of X.T", lambda w: w.model(w.X.T), ShapeError, "got 20", "expected 4 features", "reshape the input"),
    ("model of one short row", lambda w: w.model(w.X[0, :3]), ShapeError, "got 3", "expected 4 features", "reshape the input"),
    ("model of pictures", lambda w: nn.MLP([784, 10])(w.pictures), ShapeError, "(20, 28, 28)", "expected 784 features",
     "x.reshape(len(x), -1), or put nn.Flatten() first"),
    ("ReLU of None", lambda w: nn.ReLU()(None), TypeError, "None", "expected numbers", "convert it"),
    ("Flatten of one axis", lambda w: nn.Flatten()(np.ones(3)), ShapeError, "got 1", "at least 2 axes", "reshape the input"),
    ("BatchNorm of pictures", lambda w: nn.BatchNorm1d(3)(np.ones((2, 3, 4, 5))), ShapeError, "(2, 3, 4, 5)",
     "expected shape (N, 3)", "reshape the input"),
    ("BatchNorm of one row", lambda w: nn.BatchNorm1d(3)(np.ones((1, 3))), ValueError, "(1, 3)", "more than one value",
     "needs more"),
    ("LayerNorm of other axes", lambda w: nn.LayerNorm(4)(np.ones((2, 3))), ShapeError, "got (3,)", "last axes (4,)",
     "reshape the input"),
    ("model.train(X, y)", lambda w: w.model.train(w.X), ValueError, "float32(20, 4)", "True or False", "must be"),
    ("dropout with a seed", lambda w: F.dropout(w.t, 0.5, 0), TypeError, "got 0", "a Generator", "np.random.default_rng(seed)"),
    ("dropout without rng", lambda w: F.dropout(w.t, 0.5), TypeError, "float64(2, 3), 0.5", "'rng'", "write dropout(x, p, rng"),
    ("dropout with None", lambda w: F.dropout(w.t, 0.5, None), TypeError, "got None", "a Generator", "default_rng(seed)"),
    ("keep_prob", lambda w: F.dropout(w.t, keep_prob=0.5), TypeError, "'keep_prob'", "Valid: p, rng", "write p"),
    ("softmax of None", lambda w: F.softmax(None), TypeError, "softmax(None)", "no attribute", "use numbers, arrays or Tensors"),
    ("softmax along axis 5", lambda w: F.softmax(w.t, 5), ShapeError, "axis 5", "dimension 2", "check shapes and axes"),
    ("softmax of an array along axis 5", lambda w: F.softmax(w.X, 5), ShapeError, "softmax(float32(20, 4), 5)", "dimension 2",
     "check shapes and axes"),
    ("relu of text", lambda w: F.relu("x"), TypeError, "relu('x')", "matching types", "use numbers"),
    *attribute(a_model, ("fit", "tg.fit(model, X, y)"), ("compile", "tg.fit("), ("predict", "tg.predict(model, X)"),
               ("evaluate", "tg.evaluate("), ("predict_proba", "tg.predict_proba("), ("summary", "tg.summary(model"),
               ("to", "it as it is"), ("cuda", "it as it is"), ("save", "tg.save(model.state_dict(), path)"),
               ("add", "nn.Sequential("), ("append", "nn.Sequential("), ("weights", "model.parameters()"),
               ("load_weights", "model.load_state_dict(tg.load(path))"), ("apply", "model.modules()")),
    *attribute(the_layers, ("Dense", "use Linear"), ("ModuleList", "use Sequential"), ("BatchNorm", "did you mean 'BatchNorm1d'"),
               ("Conv2d", "Valid: BCELoss")),
    *attribute(the_functions, ("mse", "did you mean 'mse_loss'"), ("one_hot", "tg.one_hot")),
]  # fmt: skip

_TENSORS = [
    *attribute(a_tensor, ("view", "reshape"), ("cuda", "it as it is"), ("cpu", "it as it is"), ("unsqueeze", "t[:, None]"),
               ("permute", "transpose"), ("add_", "under tg.no_grad()"), ("zero_", "under tg.no_grad()"),
               ("float", "astype(np.float32)"), ("double", "astype(np.float64)"), ("long", "astype(np.int64)"),
               ("pow", "the operator **"), ("matmul", "the operator @"), ("clone", "copy"), ("t", "use T"),
               ("expand", "np.broadcast_to"), ("norm", "np.linalg.norm(t)"), ("relu", "tg.functional.relu(t)"),
               ("masked_fill", "np.where(mask, value, t)"), ("clamp", "clip"), ("dim", "ndim"), ("grad_fn", "repr(t)")),
    *attribute(the_package, ("zeros", "Tensor(np.zeros(shape))"), ("tensor", "Tensor("), ("manual_seed", "tg.seed(0)"),
               ("relu", "tg.functional.relu"), ("sum", "np.sum"), ("Linear", "tg.nn.Linear"), ("backward", "loss.backward()"),
               ("DataLoader", "fit, or tg.minibatches"), ("predicts", "did you mean 'predict'")),
    ("dim of sum", lambda w: w.t.sum(dim=1), TypeError, "'dim'", "it takes axis, dtype, keepdims", "write axis"),
    ("keepdim of mean", lambda w: w.t.mean(axis=0, keepdim=True), TypeError, "'keepdim'", "takes axis, keepdims", "write keepdims"),
    ("dim of max", lambda w: w.t.max(dim=0), TypeError, "'dim'", "it takes axis, keepdims", "write axis"),
    ("dim of argmax", lambda w: w.t.argmax(dim=0), TypeError, "dim=0", "unexpected keyword", "write axis for dim"),
    ("unbiased std", lambda w: w.t.std(unbiased=True), TypeError, "'unbiased'", "takes axis, ddof, keepdims", "write ddof"),
    ("sum with where", lambda w: w.t.sum(where=w.t.data > 0), TypeError, "'where'", "not supported", "it takes axis"),
    ("keepdim of logsumexp", lambda w: F.logsumexp(w.t, axis=1, keepdim=True), TypeError, "keepdim=True", "unexpected",
     "write axis for dim, keepdims for keepdim"),
    ("two axes one by one", lambda w: w.t.sum(0, 1), TypeError, "dtype=1", "as a data type", "as in axis=(0, 1)"),
    ("concatenate along axis 2", lambda w: np.concatenate([w.t, w.t], axis=2), ShapeError, "axis=2", "dimension 2", "check"),
    ("concatenate without a list", lambda w: np.concatenate(w.t, w.t), TypeError, "float64(2, 3), float64(2, 3)",
     "only integer", "np.concatenate([a, b])"),
    ("stack along axis 5", lambda w: np.stack([w.t, w.t], axis=5), ShapeError, "axis=5", "dimension 3", "check shapes"),
    ("Tensor of None", lambda w: Tensor(None), TypeError, "None", "expected numbers", "convert it"),
    ("Tensor of a dict", lambda w: Tensor({"a": 1}), TypeError, "{'a': 1}", "expected numbers", "list(x.values())"),
    ("Tensor of a generator", lambda w: Tensor(i for i in range(3)), TypeError, "<genexpr>", "expected numbers", "list(x)"),
    ("Tensor of Tensors", lambda w: Tensor([w.number, w.number]), GraphError, "requires grad", "lose it", "t.detach()"),
    ("integers that require grad", lambda w: Tensor([1, 2], requires_grad=True), TypeError, "int64", "require grad", "use float"),
    ("requires_grad of text", lambda w: Tensor([1.0], requires_grad="no"), TypeError, "'no'", "True or False", "must be"),
    ("requires_grad set to text", lambda w: setattr(w.number, "requires_grad", "no"), TypeError, "'no'", "True or False",
     "requires_grad must be"),
    ("float of a Tensor", lambda w: float(w.number), UserWarning, "requires grad", "becomes a float", "t.item()"),
    ("float of many", lambda w: float(w.t), ValueError, "(2, 3)", "exactly one", "needs exactly one"),
    ("array of a Tensor", lambda w: np.asarray(w.t), GraphError, "requires grad", "lose it", "use t.detach().numpy()"),
    ("item assignment", lambda w: w.t.__setitem__(0, 1), TypeError, "item assignment", "not differentiable", "or np.where(mask, new, old)"),
    ("grad of an array", lambda w: setattr(w.t, "grad", np.ones((2, 3))), TypeError, "float64(2, 3)", "expected a Tensor", "use"),
    ("grad of another shape", lambda w: setattr(w.t, "grad", Tensor(np.ones(3))), ShapeError, "(3,)", "expected (2, 3)", "make"),
    ("hook of None", lambda w: w.t.register_hook(None), TypeError, "got None", "a function", "hook(gradient)"),
    ("hook of two arguments", lambda w: w.t.register_hook(lambda g, x: g), TypeError, "<lambda>", "'x'", "hook(gradient)"),
    ("if tensor:", lambda w: 1 if w.t else 2, ValueError, "(2, 3)", "ambiguous", "use .any() or .all()"),
    ("+= in a function", lambda w: tg.func.grad(lambda p: operator.iadd(p, 1.0))(2.0), GraphError, "a leaf Tensor", "cannot be changed", "write t = t + x"),
    ("+= of a parameter", lambda w: w.t.__iadd__(1.0), GraphError, "weights", "cannot be changed in place", "use no_grad()"),
    ("backward of a vector", lambda w: (w.t * 2).backward(), GraphError, "(2, 3)", "upstream gradient", "sum()/mean()"),
    ("backward of a constant", lambda w: Tensor(1.0).backward(), GraphError, "no tensor", "requires grad", "set it"),
    ("backward of labels", lambda w: w.t.argmax().backward(), GraphError, "argmax", "requires grad", "set it"),
    ("fft", lambda w: np.fft.fft(w.t), NoRuleError, "fft has no derivative rule", "functions that have one", "build it"),
    ("inverse of a row", lambda w: np.linalg.inv(w.t), np.linalg.LinAlgError, "(2, 3)", "square", "pass square matrices"),
    ("power of integers", lambda w: Tensor([1, 2]) ** -1, ValueError, "int64(2,), -1", "negative integer power", "use floats"),
    ("operand None", lambda w: w.t + None, TypeError, "None", "unsupported operand", "use numbers"),
    ("operand text", lambda w: w.t + "abc", TypeError, "'abc'", "matching types", "use numbers"),
    ("shapes that clash", lambda w: w.t + np.ones(4), ShapeError, "(2, 3) and (4,)", "sizes 3 and 4 clash", "[:, None]"),
    ("matmul that clashes", lambda w: w.t @ w.t, ShapeError, "(2, 3) by (2, 3)", "3 and 2 differ", "transpose"),
    ("index out of range", lambda w: w.t[5], IndexError, "index 5", "size 2", "use indices within the shape"),
    ("float as an index", lambda w: w.t[1.5], IndexError, "1.5", "only integers", "use indices"),
    ("mean of nothing", lambda w: Tensor(np.zeros((0, 3))).mean(), ValueError, "(0, 3)", "mean", "check"),
    ("grad of an unused Tensor", lambda w: tg.grad(w.t.sum(), w.number), GraphError, "inputs[0]", "was not used", "allow_unused=True"),
    ("copy of a result", lambda w: __import__("copy").deepcopy(w.t * 2), GraphError, "multiply made this", "only leaf", "detach()"),
    ("jit of a number", lambda w: tg.jit(3), TypeError, "got 3", "takes a function", "write @jit above a def"),
    ("jit of a result", lambda w: tg.jit(w.model(w.X)), TypeError, "float32(20, 3)", "takes a function", "jit(model)"),
    ("drawing of an array", lambda w: tg.draw(w.X), TypeError, "float32(20, 4)", "a Tensor, or a function", "takes"),
    ("gradcheck of a loss", lambda w: tg.gradcheck(w.t.sum(), w.t), TypeError, "float64()", "a function", "gradcheck(f, inputs)"),
    ("gradcheck of integers", lambda w: tg.gradcheck(np.sum, np.arange(3)), TypeError, "int64(3,)", "no gradient", "pass float64"),
]  # fmt: skip

_LOSSES = [
    ("target None", entropy(None), ShapeError, "shape ()", "expected labels (3,)", "or probabilities (3, 4)"),
    ("target of words", entropy(["a", "b", "c"]), TypeError, "<U1", "integers 0..3", "convert them"),
    ("label too large", entropy(np.array([0, 4, 1])), ValueError, "labels[1] is 4", "a whole number", "in 0..3"),
    ("label below zero", entropy(np.array([0, -1, 1])), ValueError, "labels[1] is -1", "a whole number", "in 0..3"),
    ("label with a fraction", entropy(np.array([0, 1.5, 1])), ValueError, "labels[1] is 1.5", "a whole number", "in 0..3"),
    ("labels in a column", entropy(LABELS[:, None]), ShapeError, "(3, 1)", "expected labels (3,)", "or probabilities"),
    ("labels for other rows", entropy(np.array([0, 1])), ShapeError, "for 2", "3 samples", "pass one label for each"),
    ("one-hot of other classes", entropy(np.eye(3)), ShapeError, "(3, 3)", "expected labels (3,)", "(3, 4)"),
    ("logits and labels exchanged", lambda w: F.cross_entropy(LABELS, w.logits), ShapeError, "(3,)", "(N, C)", "expects scores"),
    ("class weights", entropy(LABELS, weight=np.ones(9)), ShapeError, "weight has shape (9,)", "expected (", "one for each class"),
    ("class_weight of a loss", entropy(LABELS, class_weight=np.ones(4)), TypeError, "'class_weight'", "Valid: label_smoothing", "write weight"),
    ("ignore_index", lambda w: nn.CrossEntropyLoss(ignore_index=-1), TypeError, "'ignore_index'", "Valid: ", "drop these rows"),
    ("from_logits", lambda w: nn.CrossEntropyLoss(from_logits=True), TypeError, "'from_logits'", "Valid: ", "leave it out"),
    ("size_average", lambda w: nn.CrossEntropyLoss(size_average=True), TypeError, "'size_average'", "Valid: ", "write reduction"),
    ("loss class called at once", lambda w: nn.CrossEntropyLoss(w.logits, LABELS), TypeError, "float64(3, 4)", "too many",
     "as in CrossEntropyLoss()"),
    ("reduction by position", entropy(LABELS, "sum"), TypeError, "'sum'", "too many", "write cross_entropy(logits, target, *"),
    ("reduction avg", entropy(LABELS, reduction="avg"), ValueError, "'avg'", "Valid: mean, none, sum", "Valid"),
    ("reduction None", entropy(LABELS, reduction=None), ValueError, "reduction None", "Valid: mean", "did you mean 'none'?"),
    ("reduction in a list", entropy(LABELS, reduction=["mean"]), ValueError, "['mean']", "Valid: mean", "did you mean 'mean'?"),
    ("smoothing of None", entropy(LABELS, label_smoothing=None), TypeError, "None", "between 0 and 1", "label_smoothing must be"),
    ("smoothing of 2", entropy(LABELS, label_smoothing=2), ValueError, "got 2", "between 0 and 1", "label_smoothing must be"),
    ("softmax before cross entropy", lambda w: F.cross_entropy(F.softmax(w.logits, 1), LABELS), UserWarning,
     "the result of softmax", "takes logits", "drop it"),
    ("softmax as the last layer", lambda w: w.fit(nn.Sequential(nn.Linear(4, 3, rng=0), nn.Softmax())), UserWarning,
     "the result of softmax", "takes logits", "drop it"),
    ("softmax before nll", lambda w: F.nll_loss(F.softmax(w.logits, 1), LABELS), UserWarning, "the result of softmax",
     "takes logarithms", "take log_softmax"),
    ("sigmoid before logits", lambda w: F.binary_cross_entropy_with_logits(F.sigmoid(w.logits), np.ones((3, 4))), UserWarning,
     "the result of sigmoid", "takes logits", "drop it"),
    ("logits as probabilities", lambda w: F.binary_cross_entropy(w.logits - 1, np.ones((3, 4))), ValueError, "-1.0 at position",
     "outside [0, 1]", "apply a sigmoid first"),
    ("nll of one-hot", lambda w: F.nll_loss(w.logits, np.eye(4)[:3]), ShapeError, "(3, 4)", "labels of shape (3,)", "argmax(axis=1)"),
    ("y (N,) for (N, 1)", lambda w: F.mse_loss(Tensor(np.ones((4, 1))), np.ones(4)), ShapeError, "target (4,)",
     "prediction has shape (4, 1)", "pass target[:, None]"),
    ("y (N, 1) for (N,)", lambda w: F.mse_loss(Tensor(np.ones(4)), np.ones((4, 1))), ShapeError, "target (4, 1)",
     "prediction has shape (4,)", "pass target[:, 0]"),
    ("mse of None", lambda w: F.mse_loss(w.t, None), TypeError, "None", "expected numbers", "convert it"),
    ("mse of text", lambda w: F.mse_loss(w.t, "abc"), TypeError, "'abc'", "expected numbers", "convert it"),
    ("mse without a target", lambda w: F.mse_loss(w.t), TypeError, "mse_loss(float64(2, 3))", "'target'", "write mse_loss(pred"),
    ("delta None", lambda w: F.huber_loss(w.t, w.t, delta=None), TypeError, "None", "a positive number", "delta must be"),
    ("delta as text", lambda w: F.huber_loss(w.t, w.t, delta="1"), TypeError, "'1'", "a positive number", "delta must be"),
    ("delta zero", lambda w: F.huber_loss(w.t, w.t, delta=0), ValueError, "got 0", "a positive number", "delta must be"),
    ("one class", lambda w: F.cross_entropy(Tensor(np.zeros((3, 1))), np.zeros(3, int)), ShapeError, "(3, 1)", "no choice", "use mse"),
]  # fmt: skip

_OPTIMIZERS = [
    ("learning_rate", sgd(learning_rate=0.1), TypeError, "'learning_rate'", "Valid: dampening, lr", "write lr"),
    ("eta", sgd(eta=0.1), TypeError, "'eta'", "Valid: dampening, lr", "write lr"),
    ("beta_1", adam(beta_1=0.9), TypeError, "'beta_1'", "Valid: betas", "write betas"),
    ("epsilon of Adam", adam(epsilon=1e-7), TypeError, "'epsilon'", "Valid: betas", "write eps"),
    ("amsgrad", adam(amsgrad=True), TypeError, "'amsgrad'", "Valid: betas", "Valid: betas"),
    ("lr None", sgd(lr=None), TypeError, "None", "a finite number >= 0", "lr must be"),
    ("lr in a list", sgd(lr=[0.1]), TypeError, "[0.1]", "a finite number >= 0", "lr must be"),
    ("lr as text", sgd(lr="0.1"), TypeError, "'0.1'", "a finite number >= 0", "lr must be"),
    ("lr of several", sgd(lr=np.ones(3)), TypeError, "array(", "a finite number >= 0", "lr must be"),
    ("lr True", sgd(lr=True), TypeError, "True", "a finite number >= 0", "lr must be"),
    ("lr below zero", sgd(lr=-0.1), ValueError, "-0.1", "a finite number >= 0", "lr must be"),
    ("lr NaN", sgd(lr=float("nan")), ValueError, "nan", "a finite number >= 0", "lr must be"),
    ("momentum None", sgd(lr=0.1, momentum=None), TypeError, "None", "in [0, 1)", "momentum must be"),
    ("momentum 1", sgd(lr=0.1, momentum=1.0), ValueError, "1.0", "in [0, 1)", "momentum must be"),
    ("dampening None", sgd(lr=0.1, dampening=None), TypeError, "None", "from 0 to 1", "dampening must be"),
    ("weight_decay None", sgd(lr=0.1, weight_decay=None), TypeError, "None", "number >= 0", "weight_decay must be"),
    ("nesterov as text", sgd(lr=0.1, momentum=0.9, nesterov="yes"), TypeError, "'yes'", "True or False", "nesterov must be"),
    ("nesterov alone", sgd(lr=0.1, nesterov=True), ValueError, "nesterov", "momentum > 0", "set momentum=0.9"),
    ("one beta", adam(betas=0.9), TypeError, "0.9", "two numbers", "such as (0.9, 0.999)"),
    ("three betas", adam(betas=(0.9, 0.99, 0.999)), TypeError, "(0.9, 0.99, 0.999)", "two numbers", "such as (0.9, 0.999)"),
    ("betas None", adam(betas=None), TypeError, "None", "two numbers", "such as (0.9, 0.999)"),
    ("betas of text", adam(betas=("a", "b")), TypeError, "'a'", "in [0, 1)", "each of betas must be"),
    ("beta of 1", adam(betas=(0.9, 1.0)), ValueError, "1.0", "in [0, 1)", "each of betas must be"),
    ("eps None", adam(eps=None), TypeError, "None", "a finite number > 0", "eps must be"),
    ("eps 0", adam(eps=0), ValueError, "got 0", "a finite number > 0", "eps must be"),
    ("optimizer without parameters", lambda w: optim.SGD(lr=0.1), TypeError, "SGD(lr=0.1)", "'params'", "as in SGD([p], lr=0.1"),
    ("optimizer of nothing", lambda w: optim.SGD([], lr=0.1), ValueError, "empty parameter list", "modules in a list", "Use Seq"),
    ("optimizer of a list of layers", lambda w: optim.SGD(InAList().parameters(), lr=0.1), ValueError, "empty parameter list",
     "modules in a list", "Use Sequential"),
    ("optimizer of a model", lambda w: optim.SGD(w.model, lr=0.1), TypeError, "a Linear", "not a Tensor", "pass model.parameters()"),
    ("parameters not called", lambda w: optim.SGD(w.model.parameters, lr=0.1), TypeError, "got parameters", "a list of", "pass model"),
    ("optimizer of names", lambda w: optim.SGD(w.model.named_parameters(), lr=0.1), TypeError, "a tuple", "not a Tensor", "pass model"),
    ("optimizer of a state", lambda w: optim.SGD(w.model.state_dict(), lr=0.1), TypeError, "a str", "not a Tensor", "pass model"),
    ("lr first", lambda w: optim.SGD(0.1, w.parameters), TypeError, "got 0.1", "a list of parameters", "pass model.parameters()"),
    ("optimizer of one Tensor", lambda w: optim.SGD(w.t, lr=0.1), TypeError, "single Tensor", "a list of", "pass [parameter]"),
    ("optimizer of a result", lambda w: optim.SGD([w.t * 2], lr=0.1), ValueError, "made by multiply", "leaf Tensors", "only leaf"),
    ("optimizer of twins", lambda w: optim.SGD([w.t, w.t], lr=0.1), ValueError, "weights", "twice", "updated once a step"),
    ("group that is a list", lambda w: w.optimizer.add_param_group([w.t]), TypeError, "[float64(2, 3)]", "a dict", "such as {"),
    ("set_to_none", lambda w: w.optimizer.zero_grad(set_to_none=True), TypeError, "'set_to_none'", "it has none", "zero_grad()"),
    ("step before backward", lambda w: optim.SGD([w.t], lr=0.1).step(), GraphError, "no parameter", "has a gradient", "call loss.b"),
    ("state of another", lambda w: w.optimizer.load_state_dict(w.model.state_dict()), CheckpointError, "['0.bias', '0.weight'",
     "state of an optimizer", "pass what state_dict() gave"),
    *attribute(an_optimizer, ("minimize", "loss.backward(), then optimizer.step()"), ("lr", 'param_groups[0]["lr"]')),
    *attribute(the_optimizers, ("Adagrad", "optim.Adam"), ("lr_scheduler", "optim.CosineAnnealingLR"),
               ("sgd", "SGD")),
    ("schedule on a model", lambda w: optim.CosineAnnealingLR(w.model, 10), TypeError, "got MLP", "optimizer",
     "such as optim.SGD(model.parameters()"),
    ("one cycle on a model", lambda w: optim.OneCycleLR(w.model, 0.1, 10), TypeError, "got MLP", "optimizer", "such as optim.SGD(model.parameters()"),
    ("T_max 0", lambda w: optim.CosineAnnealingLR(w.optimizer, T_max=0), ValueError, "got 0", "an integer >= 1", "T_max must be"),
    ("T_max a float", lambda w: optim.CosineAnnealingLR(w.optimizer, 10.0), TypeError, "10.0", "an integer >= 1", "T_max must be"),
    ("epochs of a schedule", lambda w: optim.CosineAnnealingLR(w.optimizer, epochs=3), TypeError, "'epochs'", "Valid: T_max", "write T_max"),
    ("eta_min as text", lambda w: optim.CosineAnnealingLR(w.optimizer, 9, "x"), TypeError, "'x'", "number", "eta_min must be"),
    ("warmup too long", lambda w: optim.CosineAnnealingLR(w.optimizer, 3, warmup=3), ValueError, "got 3", "0..2", "warmup must be"),
    ("steps_per_epoch", lambda w: optim.OneCycleLR(w.optimizer, 0.1, steps_per_epoch=9), TypeError, "'steps_per_epoch'", "Valid: div",
     "write total_steps"),
    ("pct_start None", lambda w: optim.OneCycleLR(w.optimizer, 0.1, 9, pct_start=None), TypeError, "None", "between 0 and 1", "must be"),
    ("one cycle too short", lambda w: w.fit(schedule=optim.OneCycleLR(optim.SGD(w.parameters), 0.1, 5), batch_size=5, epochs=3),
     ValueError, "total_steps=5", "3 epochs of 4 steps are 12", "build it with total_steps=12"),
]  # fmt: skip

_TRAINING = [
    ("fit of a DataLoader", lambda w: tg.fit(w.model, Loader()), TypeError, "fit(MLP, Loader)", "'y'", "write fit(model, X, y"),
    ("fit of a DataLoader and y", fit(X=Loader()), ValueError, "Loader", "an array with a row for each sample", "pass the arrays"),
    ("fit without y", lambda w: tg.fit(w.model, w.X), TypeError, "float32(20, 4)", "'y'", "write fit(model, X, y"),
    ("sparse matrix", lambda w: w.fit(X=sparse.csr_matrix(w.X)), ValueError, "csr_matrix", "an array with a row", "x.toarray()"),
    ("sparse array", lambda w: w.fit(X=sparse.csr_array(w.X)), ValueError, "csr_array", "an array with a row", "x.toarray()"),
    ("generator", lambda w: w.fit(X=(x for x in w.X)), ValueError, "generator", "an array with a row", "np.stack(list(x))"),
    ("zip", lambda w: w.fit(X=zip(w.X, w.y, strict=True)), ValueError, "zip", "an array with a row", "np.stack(list(x))"),
    ("dict", lambda w: w.fit(X={"a": w.X}), ValueError, "dict", "an array with a row", "list(x.values())"),
    ("name of a file", fit(X="train.csv"), ValueError, "'train.csv'", "an array with a row", "read the file first"),
    ("X None", lambda w: tg.fit(w.model, None, w.y), ValueError, "X is None", "an array with a row", "a DataFrame or a list"),
    ("y None", lambda w: tg.fit(w.model, w.X, None), ValueError, "y is None", "an array with a row", "a DataFrame or a list"),
    ("class for a model", lambda w: w.fit(nn.MLP), TypeError, "the class MLP", "a Module", "pass an instance, MLP(...)"),
    ("None for a model", lambda w: tg.fit(None, w.X, w.y), TypeError, "None", "a Module", "such as nn.MLP([4, 16, 3])"),
    ("function for a model", lambda w: w.fit(lambda x: x), TypeError, "<lambda>", "a Module", "such as nn.MLP("),
    ("model and X exchanged", lambda w: tg.fit(w.X, w.model, w.y), TypeError, "float32(20, 4)", "a Module", "such as nn.MLP("),
    ("pictures for X", lambda w: w.fit(nn.MLP([784, 3]), w.pictures), ShapeError, "(20, 28, 28)", "784 features", "x.reshape(len(x), -1)"),
    ("one axis for X", lambda w: w.fit(X=w.X[:, 0]), ShapeError, "(20,)", "expected 4 features", "reshape the input"),
    ("NaN in X", lambda w: w.fit(X=w.holes), DataError, "nan at row 3, column 1", "2 of 80 not finite", "remove or replace"),
    ("NaN in a frame", lambda w: w.fit(X=pd.DataFrame(w.holes)), DataError, "nan at row 3, column 1", "2 of 80 not", "remove or"),
    ("NaN in y", lambda w: w.fit(w.regressor, y=np.full(20, np.nan), loss="mse_loss"), DataError, "y is nan at row 0", "20 of 20", "remove"),
    ("fewer y", lambda w: w.fit(y=w.y[:5]), ShapeError, "y has 5", "X has 20 rows", "a target for each row"),
    ("no rows", lambda w: w.fit(X=w.X[:0], y=w.y[:0]), DataError, "(0, 4)", "at least one row", "expected at least"),
    ("no columns", lambda w: w.fit(X=w.X[:, :0]), DataError, "(20, 0)", "one column", "expected at least"),
    ("objects for X", lambda w: w.fit(X=w.X.astype(object)), TypeError, "object", "expected numbers", "convert it"),
    ("words for y", lambda w: w.fit(y=np.array(["a", "b"] * 10)), TypeError, "<U1", "expected numbers", "pandas.factorize"),
    ("a column of words", lambda w: w.fit(X=pd.DataFrame({"b": ["x"] * 20})), TypeError, "in column 'b'", "expected numbers", "convert or"),
    ("a column of dates", lambda w: w.fit(X=pd.DataFrame({"d": pd.date_range("2020", periods=20)})), TypeError, "in column 'd'",
     "expected numbers", "convert or drop it"),
    ("complex X", lambda w: w.fit(X=w.X * 1j), TypeError, "complex64", "expected numbers", "convert it"),
    ("labels from 1", lambda w: w.fit(y=w.y + 1), ValueError, "is 3", "a whole number", "in 0..2"),
    ("labels from -1", lambda w: w.fit(y=w.y - 1), ValueError, "is -1", "a whole number", "in 0..2"),
    ("labels with fractions", lambda w: w.fit(y=w.y + 0.5), ValueError, "is 0.5", "a whole number", "in 0..2"),
    ("labels in a column of y", lambda w: w.fit(y=w.y[:, None]), ShapeError, "(20, 1)", "expected labels (20,)", "or probabilities"),
    ("one-hot of four", lambda w: w.fit(y=np.eye(4)[w.y]), ShapeError, "(20, 4)", "expected labels (20,)", "(20, 3)"),
    ("cross entropy of one output", lambda w: w.fit(w.regressor), ShapeError, "(20, 1)", "no choice of a class", "use mse_loss"),
    ("class for a loss", fit(loss=nn.CrossEntropyLoss), TypeError, "CrossEntropyLoss", "it is a class", "an instance, CrossEntropyLoss()"),
    ("loss crossentropy", fit(loss="crossentropy"), ValueError, "'crossentropy'", LOSSES, "did you mean 'cross_entropy'?"),
    ("loss mse", fit(loss="mse"), ValueError, "'mse'", LOSSES, "did you mean 'mse_loss'?"),
    ("loss of Keras", fit(loss="sparse_categorical_crossentropy"), ValueError, "'sparse_categorical_cross", LOSSES, "or pass a function"),
    ("loss None", fit(loss=None), ValueError, "loss None", LOSSES, "or pass a function"),
    ("loss of one argument", fit(loss=lambda x: x), TypeError, "<lambda>", "a function", "loss(outputs, targets)"),
    ("optimizer as text", fit(optimizer="adam"), TypeError, "'adam'", "optimizer must be one", "such as optim.Adam(model.parameters())"),
    ("class for an optimizer", fit(optimizer=optim.Adam), TypeError, "the class Adam", "must be one", "pass an instance, Adam(...)"),
    ("optimizer of another model", lambda w: w.fit(w.regressor, y=w.X[:, :1], loss="mse_loss", optimizer=w.optimizer), ValueError,
     "no parameter of this model", "of this model", "build it on model.parameters()"),
    ("class for a schedule", fit(schedule=optim.CosineAnnealingLR), TypeError, "the class Cosine", "an LRScheduler", "pass an instance"),
    ("schedule as text", fit(schedule="cosine"), TypeError, "'cosine'", "an LRScheduler", "such as optim.CosineAnnealingLR("),
    ("verbose", fit(verbose=0), TypeError, "'verbose'", OPTIONS, "write progress"),
    ("validation_data", fit(validation_data=(1, 2)), TypeError, "'validation_data'", OPTIONS, "write validation"),
    ("validation_split", fit(validation_split=0.2), TypeError, "'validation_split'", OPTIONS, "write validation"),
    ("n_epochs", fit(n_epochs=3), TypeError, "'n_epochs'", OPTIONS, "write epochs"),
    ("max_iter", fit(max_iter=3), TypeError, "'max_iter'", OPTIONS, "write epochs"),
    ("lr of fit", fit(lr=0.1), TypeError, "'lr'", OPTIONS, "build the optimizer with it"),
    ("learning_rate of fit", fit(learning_rate=0.1), TypeError, "'learning_rate'", OPTIONS, "build the optimizer with it"),
    ("weight", fit(weight=np.ones(3)), TypeError, "'weight'", OPTIONS, "sample_weight"),
    ("criterion", fit(criterion=F.mse_loss), TypeError, "'criterion'", OPTIONS, "write loss"),
    ("random_state of fit", fit(random_state=0), TypeError, "'random_state'", OPTIONS, "write seed"),
    ("device of fit", fit(device="cpu"), TypeError, "'device'", OPTIONS, "leave it out"),
    ("epochs by position", lambda w: tg.fit(w.model, w.X, w.y, 10), TypeError, "int64(20,), 10", "too many", "write fit(model, X, y, *"),
    ("epochs 0", fit(epochs=0), ValueError, "got 0", "an integer >= 1", "epochs must be"),
    ("epochs 1.5", fit(epochs=1.5), TypeError, "1.5", "an integer >= 1", "epochs must be"),
    ("epochs as text", fit(epochs="3"), TypeError, "'3'", "an integer >= 1", "epochs must be"),
    ("batch_size 0", fit(batch_size=0), ValueError, "got 0", "an integer >= 1", "batch_size must be"),
    ("batch_size a float", fit(batch_size=8.0), TypeError, "8.0", "an integer >= 1", "batch_size must be"),
    ("validation without y", lambda w: w.fit(validation=w.X), ValueError, "float32(20, 4)", "(X, y), or a share", "must be"),
    ("validation True", fit(validation=True), ValueError, "True", "(X, y), or a share", "must be"),
    ("validation 1.5", fit(validation=1.5), ValueError, "1.5", "(X, y), or a share", "must be"),
    ("validation of other columns", lambda w: w.fit(validation=(w.X[:, :3], w.y)), ShapeError, "got 3", "4 features", "reshape"),
    ("validation of fewer y", lambda w: w.fit(validation=(w.X, w.y[:3])), ShapeError, "validation y has 3", "has 20 rows", "for each row"),
    ("metric acc", fit(metrics=["acc"]), ValueError, "'acc'", "Valid: accuracy", "did you mean 'accuracy'?"),
    ("metric as a function", fit(metrics=F.mse_loss), TypeError, "mse_loss", "names, or functions by name", "as in {'mae': f}"),
    ("metrics as functions", fit(metrics=[F.mse_loss]), TypeError, "list", "names, or functions by name", "as in {'mae': f}"),
    ("metrics as a number", fit(metrics=3), TypeError, "got 3", "names, or functions by name", "as in {'mae': f}"),
    ("one callback", fit(callbacks=EarlyStopping()), TypeError, "EarlyStopping", "must be a list", "write callbacks=[...]"),
    ("class for a callback", fit(callbacks=[EarlyStopping]), TypeError, "the class EarlyStopping", "a Callback", "pass an instance"),
    ("function for a callback", fit(callbacks=[print]), TypeError, "got print", "a Callback", "such as tg.callbacks.EarlyStopping()"),
    ("callbacks None", fit(callbacks=None), TypeError, "NoneType", "must be a list", "leave it out"),
    ("early stopping without validation", fit(callbacks=[EarlyStopping()]), ValueError, "'validation_loss'", "Valid: ", "pass validation"),
    ("val_loss", fit(validation=0.2, callbacks=[EarlyStopping("val_loss")]), ValueError, "'val_loss'", "Valid: ",
     "did you mean 'validation_loss'?"),
    ("patience 0", lambda w: EarlyStopping(patience=0), ValueError, "got 0", "an integer >= 1", "patience must be"),
    ("mode auto", lambda w: EarlyStopping(mode="auto"), ValueError, "'auto'", "'min' or 'max'", "mode must be"),
    ("restore_best_weights", lambda w: EarlyStopping(restore_best_weights=True), TypeError, "'restore_best_weights'", "Valid: ", "leave it"),
    ("save_best_only", lambda w: Checkpoint("x.npz", save_best_only=True), TypeError, "'save_best_only'", "Valid: ", "write monitor"),
    ("seed as text", fit(seed="a"), TypeError, "'a'", "an integer >= 0", "seed must be"),
    ("seed below zero", fit(seed=-1), ValueError, "-1", "an integer >= 0", "seed must be"),
    ("transform that is a number", fit(transform=3), TypeError, "got 3", "a function", "transform(xb)"),
    ("transform to nothing", fit(transform=lambda x: None), ShapeError, "returned None", "20 rows", "expected as many"),
    ("transform to fewer rows", fit(transform=lambda x: x[:2]), ShapeError, "float32(2, 4)", "20 rows", "expected as many"),
    ("augment that is a number", fit(augment=3), TypeError, "got 3", "a function", "augment(xb, rng)"),
    ("augment of one argument", fit(augment=lambda x: x), TypeError, "<lambda>", "a function", "augment(xb, rng)"),
    ("augment to nothing", fit(augment=lambda x, rng: None), ShapeError, "returned None", "20 rows", "expected as many"),
    ("forward that gives an array", lambda w: w.fit(GivesArray()), ShapeError, "an array, float32(20, 3)", "expected a Tensor", "return what"),
    ("forward that gives nothing", lambda w: w.fit(GivesNothing()), ShapeError, "returned None", "expected a Tensor", "return what layers"),
    ("loss that explodes", lambda w: w.fit(nn.MLP([4, 5, 3], rng=0), w.X * 1e18, optimizer=None, jit=False, loss=exploding),
     FloatingPointError, "epoch 1, step 1, learning rate 0.001", "the loss is nan", "lower the learning rate"),
    ("layers in a list", lambda w: w.fit(InAList(), optimizer=w.optimizer), UserWarning, "Linear(in_features=4", "no part of the model",
     "put modules that stand in a list or dict into nn.Sequential"),
]  # fmt: skip


class OfKeras(Callback):
    def on_epoch_end(self, epoch: Any, logs: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def set_learning_rate(w: Work) -> None:
    w.optimizer.lr = 0.5


_USING = [
    ("predict of a class", lambda w: tg.predict(nn.MLP, w.X), TypeError, "the class MLP", "a Module", "pass an instance"),
    ("predict with X first", lambda w: tg.predict(w.X, w.model), TypeError, "float32(20, 4)", "a Module", "such as nn.MLP("),
    ("predict with y", lambda w: tg.predict(w.model, w.X, w.y), TypeError, "int64(20,)", "too many", "write predict(model, X, *"),
    ("predict without X", lambda w: tg.predict(w.model), TypeError, "predict(MLP)", "'X'", "write predict(model, X"),
    ("predict of one row", lambda w: tg.predict(w.model, w.X[0]), ShapeError, "float32(3,)", "a row for each", "pass X[:1]"),
    ("predict of other columns", lambda w: tg.predict(w.model, w.X[:, :3]), ShapeError, "got 3", "expected 4 features", "reshape the"),
    ("verbose of predict", lambda w: tg.predict(w.model, w.X, verbose=0), TypeError, "'verbose'", "Valid: X, batch_size", "Valid"),
    ("predict of NaN", lambda w: tg.predict(w.model, w.holes), DataError, "nan at row 3, column 1", "2 of 80 not finite", "remove or"),
    ("predict of an array's model", lambda w: tg.predict(GivesArray(), w.X), ShapeError, "an array, float32(20, 3)", "a Tensor", "return"),
    ("probabilities of sequences", lambda w: tg.predict_proba(nn.Linear(4, 3), np.ones((2, 3, 4))), ShapeError, "(2, 3, 3)", "(N, C)", "exp"),
    ("evaluate without y", lambda w: tg.evaluate(w.model, w.X), TypeError, "float32(20, 4)", "'y'", "write evaluate(model, X, y"),
    ("metric acuracy", lambda w: tg.evaluate(w.model, w.X, w.y, metrics="acuracy"), ValueError, "'acuracy'", "Valid", "mean 'accuracy'?"),
    ("accuracy of fewer", lambda w: tg.accuracy(np.eye(3)[w.y], w.y[:3]), ShapeError, "(20, 3) and labels (3,)", "the same N", "expected"),
    ("one-hot of -1", lambda w: tg.one_hot([-1]), ValueError, "labels[0] is -1", "a whole number", "in 0.."),
    ("one-hot of a matrix", lambda w: tg.one_hot([[1]]), ShapeError, "(1, 1)", "expected (N,)", "the number of a class"),
    ("one-hot of too many", lambda w: tg.one_hot([0, 5], 3), ValueError, "labels[1] is 5", "a whole number", "in 0..2"),
    ("one-hot of words", lambda w: tg.one_hot(["a"]), TypeError, "<U1(1,)", "whole numbers", "astype(int)"),
    ("one-hot depth", lambda w: tg.one_hot([0], depth=3), TypeError, "'depth'", "Valid: dtype", "write num_classes"),
    ("minibatches with a seed", lambda w: tg.minibatches(w.X, w.y, 4, rng=0), TypeError, "got 0", "a Generator", "default_rng(seed)"),
    ("shuffled minibatches", lambda w: tg.minibatches(w.X, w.y, 4, shuffle=True), TypeError, "'shuffle'", "Valid: X", "write rng"),
    ("minibatches without a size", lambda w: tg.minibatches(w.X, w.y), TypeError, "int64(20,)", "'batch_size'", "as in minibatches([["),
    ("minibatches of none", lambda w: tg.minibatches(w.X, w.y, 0), ValueError, "got 0", "an integer >= 1", "batch_size must be"),
    ("minibatches of other lengths", lambda w: tg.minibatches(w.X, w.y[:3], 2), ShapeError, "(20, 4) and (3,)", "one row for", "must have"),
    ("MNIST that is nowhere", lambda w: tg.load_mnist("nowhere.npz"), FileNotFoundError, "'nowhere.npz'", "a local file", ".csv or .npz"),
    ("MNIST without a path", lambda w: tg.load_mnist(), TypeError, "load_mnist()", "'path'", "as in load_mnist("),
    ("MNIST compressed", lambda w: tg.load_mnist("x.csv.gz"), DataError, "'x.csv.gz'", "neither .csv nor .npz", "unpack"),
    ("pixels that are floats", lambda w: tg.scale_pixels(w.X), TypeError, "float32(20, 4)", "integers in 0..255", "X.astype(np.uint8)"),
    ("pixel 256", lambda w: tg.scale_pixels(np.array([256])), ValueError, "pixels[0] is 256", "a whole number", "in 0..255"),
    ("pixels not scaled", lambda w: w.fit(X=np.full((20, 4), 200)), UserWarning, "up to 200", "not scaled", "transform=tg.scale_pixels"),
    ("state of another model", lambda w: w.model.load_state_dict(w.regressor.state_dict()), CheckpointError, "float32(1, 5)",
     "expected float32(3, 5)", "build the model as the saved one was"),
    ("state that is a path", lambda w: w.model.load_state_dict("x.npz"), TypeError, "'x.npz'", "a dict", "as state_dict() returns it"),
    ("state None", lambda w: w.model.load_state_dict(None), TypeError, "None", "a dict", "as state_dict() returns it"),
    ("picture of no history", lambda w: tg.plot.training_curves(None), TypeError, "None", "a History or a DataFrame", "expected"),
    ("learning rate set beside", set_learning_rate, AttributeError, "'lr'", "SGD has no", 'use optimizer.param_groups[0]["lr"]'),
    ("plateau of text", lambda w: optim.ReduceLROnPlateau(w.optimizer).step("x"), TypeError, "'x'", "a number", "value must be"),
    ("metric of rows", lambda w: w.fit(metrics={"mine": lambda o, t: o}), ShapeError, "float32(20, 3)", "one number", "such as the mean"),
    ("resume=True", lambda w: w.fit(resume=True), TypeError, "got True", "the name of a file", "such as 'model.npz'"),
    ("save a model", lambda w: tg.save(w.model, "x.npz"), TypeError, "a MLP", "expected dicts", "pass its state_dict()"),
    ("save the other way round", lambda w: tg.save("x.npz", w.model.state_dict()), TypeError, "{'0.weight'", "the name of a file", "such"),
    ("save without a path", lambda w: tg.save({"a": 1}), TypeError, "{'a': 1}", "'path'", "write save(state, path"),
    ("load None", lambda w: tg.load(None), TypeError, "got None", "the name of a file", "such as 'model.npz'"),
    ("checkpoint by position", lambda w: tg.save_checkpoint("x.npz", w.model), TypeError, "MLP", "too many", "write save_checkpoint(path, *"),
    ("xavier of a model", lambda w: init.xavier_uniform_(w.model), TypeError, "got MLP", "a Tensor", "such as layer.weight"),
    ("clip a model", lambda w: nn.utils.clip_grad_norm_(w.model, 1.0), TypeError, "got Linear", "a Tensor", "as model.parameters()"),
    ("targets -1 and 1", lambda w: w.fit(w.regressor, y=2.0 * (w.y[:, None] > 0) - 1, loss="binary_cross_entropy_with_logits"), DataError,
     "row 0", "from 0 to 1, got [-1.0]", "use 0 and 1"),
    ("three classes for two", lambda w: w.fit(w.regressor, loss=nn.BCEWithLogitsLoss()), DataError, "row 2", "from 0 to 1, got [2]",
     "loss='cross_entropy'"),
    ("weights of names", lambda w: w.fit(class_weight={"0": 5}), ValueError, "'0'", "expected labels, 0..2", "write them as y has them"),
    ("shuffle='no'", lambda w: w.fit(shuffle="no"), TypeError, "'no'", "True or False", "shuffle must be"),
    ("bias='no'", lambda w: nn.Linear(2, 3, bias="no"), TypeError, "'no'", "True or False", "bias must be"),
    ("Keras' history", lambda w: tg.History().history, AttributeError, "'history'", "History has no", 'use history.frame["loss"]'),
    ("ModelCheckpoint", lambda w: tg.callbacks.ModelCheckpoint("x"), AttributeError, "'ModelCheckpoint'", "has no", "use tg.callbacks.Checkpoint"),
    ("set_to_none of a model", lambda w: w.model.zero_grad(set_to_none=True), TypeError, "'set_to_none'", "no option", "zero_grad()"),
    ("zeros_", lambda w: init.zeros_(w.t), AttributeError, "'zeros_'", "Valid: ", "uniform_"),
    ("epoch and logs", lambda w: w.fit(callbacks=[OfKeras()]), TypeError, "callbacks[0].on_epoch_end", "a required argument: 'logs'",
     "called as on_epoch_end(run)"),
]  # fmt: skip

MISTAKES = [
    Mistake(*row) for part in (_BUILDING, _CALLING, _TENSORS, _LOSSES, _OPTIMIZERS, _TRAINING, _USING) for row in part
]
