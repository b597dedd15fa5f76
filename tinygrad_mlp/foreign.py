"""Words of other libraries: a call or a name that does not exist here is answered with what does.

Nothing of this is looked at before a call has failed, so that a call that does not fail costs nothing.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .errors import describe, nearest

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")

_OURS = {
    "axis": "dim dims", "keepdims": "keepdim", "ddof": "unbiased correction", "decimals": "digits",
    "lr": "learning_rate learning_rate_init eta step_size", "betas": "beta_1 beta_2 beta1 beta2", "eps": "epsilon",
    "weight_decay": "alpha l2 decay", "batch_size": "bs batch batchsize",
    "epochs": "n_epochs num_epochs nb_epoch max_iter", "progress": "verbose verbosity",
    "loss": "criterion loss_fn loss_function",
    "validation": "validation_data validation_split validation_fraction val_data eval_set", "optimizer": "opt solver",
    "schedule": "scheduler lr_scheduler", "X": "x x_train inputs data", "y": "y_train targets labels",
    "seed": "random_state rng random_seed", "rng": "seed random_state generator shuffle",
    "in_features": "input_dim input_size input_shape", "out_features": "units output_dim output_size",
    "num_features": "features", "sizes": "hidden_layer_sizes layers units", "bias": "use_bias",
    "p": "rate prob keep_prob drop_prob dropout", "batch_norm": "batchnorm", "callbacks": "callback",
    "metrics": "metric", "transform": "preprocess preprocessing", "augment": "augmentation",
    "retain_graph": "retain keep_graph", "monitor": "save_best_only", "path": "filepath filename file",
    "total_steps": "epochs steps_per_epoch", "T_max": "epochs total_steps steps", "patience": "n_iter_no_change",
    "reduction": "size_average reduce", "label_smoothing": "smoothing", "delta": "beta", "negative_slope": "alpha",
    "target": "y labels targets", "num_classes": "n_classes classes depth",
    "sample_weight": "weight weights", "weight": "class_weight weights",
    "affine": "scale center",
}  # fmt: skip
"""For each word of ours, those of PyTorch, Keras and scikit-learn that mean the same."""

_WITHOUT = {
    "build the optimizer with it, as in optimizer=optim.Adam(model.parameters(), lr=0.01)": "lr learning_rate",
    "leave it out, there is no device but the processor": "device pin_memory",
    "leave it out, nothing is computed in place": "inplace",
    "leave it out, gradients become None": "set_to_none",
    "leave it out, the loss takes logits": "from_logits",
    "leave it out, the best weights come back": "restore_best_weights",
    "put a module for it after the layer, as nn.ReLU()": "activation",
    "convert the data, as in np.asarray(data, np.float32)": "dtype",
    "drop these rows first": "ignore_index",
}
"""For words that mean nothing here, what to do."""

_METHODS = {
    "reshape": "view", "T": "t", "transpose": "permute", "clip": "clamp", "copy": "clone",
    "ndim": "dim ndimension", "astype(np.float32)": "float to type", "astype(np.float64)": "double",
    "astype(np.int64)": "long int", "it as it is, arrays are in memory": "cpu cuda contiguous device",
    "the operator @": "mm bmm matmul", "the operator **": "pow", "the operator ==": "eq", "t[:, None]": "unsqueeze",
    "np.broadcast_to(t, shape)": "expand expand_as", "np.where(mask, value, t)": "masked_fill where",
    "np.linalg.norm(t)": "norm", "zero_grad()": "zero_grad_", "repr(t), which names the op": "grad_fn",
    "F.gather, or t[np.arange(n), labels]": "gather", "np.log10(t)": "log10", "size": "numel",
    "t = t + x, or += under tg.no_grad()": "add_ sub_ mul_ div_ zero_ fill_ copy_ clamp_",
    "tg.functional.relu(t)": "relu", "tg.functional.sigmoid(t)": "sigmoid",
    "tg.functional.softmax(t, axis)": "softmax", "tg.functional.log_softmax(t, axis)": "log_softmax",
}  # fmt: skip
_MODEL = {
    "tg.fit(model, X, y)": "fit compile", "tg.predict(model, X)": "predict forward_pass", "tg.evaluate(model, X, y)":
    "evaluate score", "tg.predict_proba(model, X)": "predict_proba", "tg.summary(model, input_shape)": "summary",
    "tg.save(model.state_dict(), path)": "save save_weights",
    "model.load_state_dict(tg.load(path))": "load load_weights",
    "it as it is, arrays are in memory; dtype= chooses their dtype": "to cuda cpu double half",
    "nn.Sequential(*model, layer)": "add append", "model.parameters() or model.state_dict()": "weights get_weights",
    "list(model), or model.children()": "layers",
    "for module in model.modules()": "apply",
}  # fmt: skip
_OPTIMIZER = {
    "loss.backward(), then optimizer.step()": "minimize apply_gradients",
    'optimizer.param_groups[0]["lr"]': "lr learning_rate",
}
_ROOMS = {
    "Tensor(np.zeros(shape)), or np.ones, ...": "zeros ones arange randn rand tensor eye full empty from_numpy",
    "tg.seed(0), or rng=0, which what draws numbers takes": "manual_seed set_seed",
    "MLP or Sequential of Linear layers": "Model",
    "Linear": "Dense",
    "Sequential": "ModuleList ModuleDict",
    "tg.functional": "function",
    "the schedules of optim itself: optim.CosineAnnealingLR, optim.OneCycleLR": "lr_scheduler",
    "optim.Adam or optim.AdamW": "Adagrad Adadelta",
    "tg.grad, or loss.backward()": "backward",
    **{f"tg.func.{name}": name for name in ("jacrev", "jacfwd", "linearize")},
    "tg.func.value_and_grad": "value_and_grad grad_and_value",
    "tg.func.grad of a sum, or tg.func.vjp": "elementwise_grad",
    "tg.func.hvp": "hessian_vector_product",
    "tg.func.jacrev or tg.func.jacfwd": "jacobian",
    "a batch axis, as NumPy broadcasts, and tg.func.jacrev for a gradient of each row": "vmap pmap",
    "tg.func.jvp": "jvp make_jvp",
    "tg.func.vjp": "make_vjp",
    "fit, or tg.minibatches(X, y, batch_size, rng=rng)": "DataLoader Dataset",
    "tg.one_hot": "one_hot",
    "tg.Tensor(array)": "as_tensor Variable",
    "tg.callbacks.Checkpoint": "ModelCheckpoint",
    "a schedule of optim, as in fit(..., schedule=schedule)": "LearningRateScheduler ReduceLROnPlateau",
}
_HISTORY = {
    'history.frame["loss"], where frame is a pandas DataFrame': "history losses loss",
    "tg.plot.training_curves(history)": "plot",
}  # fmt: skip


def _inverted(table: Mapping[str, str]) -> dict[str, str]:
    return {word: ours for ours, words in table.items() for word in words.split()}


def our_word(word: str, known: Collection[str] | None) -> str:
    """Return which of the known words to write for a foreign one, if any, as the end of a message."""
    ours = [name for name in known or () if word in _OURS.get(name, "").split()]
    return f"; write {ours[0]}" if ours else ""


def instead_of(word: str, known: Sequence[str]) -> str:
    """Return what to do instead of passing an option of a name that there is not.

    >>> instead_of("learning_rate", ["params", "lr"])
    'write lr. Valid: lr, params'
    """
    advice = our_word(word, known)[2:] or _inverted(_WITHOUT).get(word)
    return f"{advice}. Valid: {', '.join(sorted(known))}" if advice else nearest(word, known)


def refusal(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> str:
    """Return in words why a function cannot be called like this, or nothing if it can."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        problem = str(error)
    else:
        return ""
    if next(iter(signature.parameters), "") == "self":
        args, signature = args[1:], signature.replace(parameters=list(signature.parameters.values())[1:])
    named = {n: p for n, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    unknown = [word for word in kwargs if word not in named]
    if unknown and len(named) == len(signature.parameters):
        options = instead_of(unknown[0], list(named)) if named else f"write {name}(), it has none"
        return f"{name}() has no option {unknown[0]!r}; {options}"
    given = ", ".join([*map(describe, args), *(f"{word}={describe(value)}" for word, value in kwargs.items())])
    parameters = [p.replace(annotation=p.empty, default=_shown(p.default)) for p in signature.parameters.values()]
    example = _example(name, function)
    return f"{name}({given}): {problem}; write {name}{inspect.Signature(parameters)}{example and f', as in {example}'}"


class _Text(str):
    __slots__ = ()
    __repr__ = str.__str__


def _shown(default: Any) -> Any:
    return default if default is inspect.Parameter.empty else _Text(describe(default))


def _example(name: str, function: Callable[..., Any]) -> str:
    """Return the first call of the name in the examples of a docstring."""
    owner = getattr(function, "__self__", None)
    text = (getattr(type(owner), "__doc__", None) if owner is not None else function.__doc__) or ""
    found = re.search(rf">>> .*?\b({name}\((?:[^()]|\([^()]*\))*\))", text)
    return found[1] if found else ""


def answers(function: F) -> F:
    """Make a function answer a call that it cannot take with what it takes.

    >>> @answers
    ... def train(model, lr=0.1):
    ...     return model
    >>> train("model", learning_rate=1)
    Traceback (most recent call last):
    TypeError: train() has no option 'learning_rate'; write lr. Valid: lr, model
    """

    @functools.wraps(function)
    def answering(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            explain(error, function, args, kwargs, function.__name__)
            raise

    return answering  # type: ignore[return-value]


def explain(
    error: TypeError, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], name: str
) -> None:
    """Raise an error that says how a function is called, if what it has raised is that it cannot be called so."""
    if "argument" in str(error) and (reason := refusal(function, args, kwargs, name)):
        raise TypeError(reason) from None


class Answers:
    """What is built by a call, and answers one that its ``__init__`` cannot take with what it takes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _answering_init(cls, vars(cls)["__init__"])  # type: ignore[method-assign]


def _answering_init(cls: type, init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def answering(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            named = type(self) if type(self).__init__ is answering else cls
            explain(error, init.__get__(self), args, kwargs, named.__name__)
            raise

    return answering


class _Foreign:
    """An attribute that there is not: asking for it raises AttributeError with what there is."""

    def __init__(self, name: str, ours: str) -> None:
        self.name, self.ours = name, ours

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        raise AttributeError(f"{kind.__name__} has no {self.name!r}; use {self.ours}", name=self.name, obj=owner)


class _ForeignOption(_Foreign):
    """One that setting raises it too, or nobody would notice that nothing has been set."""

    def __get__(self, owner: Any, kind: type) -> Any:
        own = vars(owner) if owner is not None else {}
        return own[self.name] if self.name in own else super().__get__(owner, kind)

    def __set__(self, owner: Any, value: Any) -> None:
        if type(owner).__module__.startswith(__package__):  # a user's class may have one
            self.__get__(owner, type(owner))
        vars(owner)[self.name] = value


def knows_foreign(cls: type[C]) -> type[C]:
    """Make a class answer foreign names: a class decorator."""
    words = _inverted(_ATTRIBUTES[cls.__name__])
    for name, ours in words.items():
        if not hasattr(cls, name):
            setattr(cls, name, (_ForeignOption if cls.__name__ == "Optimizer" else _Foreign)(name, ours))
    cls.__dir__ = lambda self: [name for name in object.__dir__(self) if name not in words]  # type: ignore[method-assign]
    return cls


_ATTRIBUTES = {"Tensor": _METHODS, "Module": _MODEL, "Optimizer": _OPTIMIZER, "History": _HISTORY}


_NAMED = {"nn": "nn", "functional": "nn.functional", "optim": "nn.optim"}


def no_such(package: str, name: str, known: Sequence[str]) -> str:
    """Return in words that a module has no such name, and what to use instead.

    >>> no_such("tinygrad_mlp", "Conv2d", ["Linear"])
    "tinygrad_mlp has no 'Conv2d'; Valid: Linear"
    """
    loaded = {room: sys.modules.get(__name__.replace("foreign", path)) for room, path in _NAMED.items()}
    rooms = [room for room, module in loaded.items() if module is not None and name in vars(module)]
    ours = f"tg.{rooms[0]}.{name}" if rooms else _inverted(_ROOMS).get(name) or (hasattr(np, name) and f"np.{name}")
    return f"{package} has no {name!r}; {f'use {ours}' if ours else nearest(name, known)}"


def missing(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module, which answers a name that it has not."""

    def answer(name: str) -> Any:
        text = name if name.startswith("__") else no_such(module, name, sys.modules[module].__all__)
        raise AttributeError(text, name=name, obj=sys.modules[module])

    return answer
