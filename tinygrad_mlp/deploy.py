"""A model, or a function of one, as a file that runs without this package, for any number of rows.

`export_numpy` writes a module that needs NumPy alone, `export_onnx` a graph for ONNX runtimes (extra ``onnx``). Both
run the function twice, with two and with three rows, and write down its ops: what does not depend on the input becomes
a constant, and what counts rows becomes the number of rows.

>>> import tempfile
>>> import numpy as np
>>> from tinygrad_mlp import functional as F, nn
>>> model = nn.MLP([4, 8, 3], batch_norm=True, rng=0)
>>> def probabilities(x):
...     return F.softmax(model.eval()(x), 1)
>>> with tempfile.TemporaryDirectory() as folder:
...     export_numpy(probabilities, np.zeros((1, 4), np.float32), f"{folder}/wine.py")
...     namespace = {"__file__": f"{folder}/wine.py"}
...     exec(Path(f"{folder}/wine.py").read_text(), namespace)
>>> namespace["probabilities"](np.ones((7, 4))).shape
(7, 3)
"""

from __future__ import annotations

import os
import runpy
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from keyword import iskeyword
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_mlp as tg
from tinygrad_mlp.train.predict import in_mode

__all__ = ["export_numpy", "export_onnx"]
__dir__ = __all__.copy  # what Tab offers

ROWS = "rows"


class _Value(NamedTuple):
    """The result of a step; -1 is the input."""

    step: int


class _Step(NamedTuple):
    """An op: its name, its arguments, each a `_Value` or a constant, and the options."""

    op: str
    arguments: list[Any]
    options: dict[str, Any]


class _Traced(NamedTuple):
    """A function to export: its steps for any number of rows, their result and its shape, and examples of both ends."""

    name: str
    x: Any
    steps: list[_Step]
    output: _Value
    shape: list[Any]
    examples: list[Any]


class _Steps(tg.Tracer):
    """The tracer that writes down the ops on the way from the input."""

    def __init__(self, x: tg.Tensor) -> None:
        self.steps: list[_Step] = []
        self.known: dict[tg.Tensor, _Value] = {x: _Value(-1)}

    def find(self, a: Any) -> Any:
        """Return what an argument is: a step's result, or else a constant."""
        if not isinstance(a, tg.Tensor):
            return a
        return self.known[a] if a in self.known else a.detach().numpy()

    def op(self, rule: Any, inputs: Any, keywords: Any, result: Any) -> None:
        arguments = [self.find(a) for a in inputs]
        if any(isinstance(a, _Value) for a in arguments):
            self.known[result] = _Value(len(self.steps))
            self.steps.append(_Step(_name(rule), arguments, dict(keywords)))


def _name(rule: Any) -> str:
    """Return what an op is called here; one of somebody else's says whose it is, and is not taken for one of these."""
    home = str(getattr(rule.function, "__module__", None))
    known = getattr(np, rule.name, None) is rule.function or home.partition(".")[0] == "tinygrad_mlp"
    return rule.name if known else f"{home}.{rule.name}"


def _trace(name: str, function: Any, x: Any) -> _Traced:
    """Run a function with two and with three rows, and return what both have in common."""
    traces, examples = [], []
    for rows in (2, 3):
        given = tg.Tensor(np.resize(x, (rows, *x.shape[1:])))
        evaluating = in_mode(function, training=False) if isinstance(function, tg.nn.Module) else nullcontext()
        with evaluating, tg.no_grad(), tg.tracing(_Steps(given)) as tracer:
            result = function(given)
            output = tracer.find(result)
        if not isinstance(output, _Value):
            raise TypeError("the function returned something that its input has no part in; expected one Tensor")
        traces.append((tracer.steps, result.shape))
        examples.append((given.detach().numpy(), result.detach().numpy()))
    (steps, shape), (others, other_shape) = traces
    ops = [[(s.op, *(repr(a) for a in s.arguments if isinstance(a, (int, float)))) for s in t] for t in (steps, others)]
    if ops[0] != ops[1]:
        raise ValueError("the function does something else for three rows than for two; it cannot be exported")
    pairs = zip(steps, others, strict=True)
    merged = [_Step(a.op, *_merged((a.arguments, a.options), (b.arguments, b.options))) for a, b in pairs]
    sizes = [ROWS if (a, b) == (2, 3) else a if a == b else None for a, b in zip(shape, other_shape, strict=True)]
    return _Traced(name, x, merged, output, sizes, examples)


def _merged(a: Any, b: Any) -> Any:
    """Return what two and three rows have in common, with -1 in place of a size that is a multiple of the rows."""
    if isinstance(a, (list, tuple)) and not isinstance(a, _Value):
        return type(a)(_merged(*pair) for pair in zip(a, b, strict=True))
    if isinstance(a, dict):
        return {key: _merged(a[key], b[key]) for key in a}
    if type(a) is int and a != b and 3 * a == 2 * b:
        return -1
    same = np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else repr(a) == repr(b)
    if not same:
        raise ValueError("a constant of the function depends on the number of rows; it cannot be exported")
    return a


def _traced(function: Any, x: Any) -> _Traced:
    """Return what is exported of a function, under its name, for rows such as those of x."""
    is_model = isinstance(function, tg.nn.Module)
    if not is_model and not (callable(function) and hasattr(function, "__name__")):
        raise TypeError(f"function is {tg.errors.describe(function)}, expected a Module, or a function made with def")
    x = np.asarray(x)
    dtype = next((p.dtype for p in function.parameters()), np.float32) if is_model else x.dtype
    if x.ndim < 1 or np.dtype(dtype).kind != "f":
        raise TypeError(f"x is {tg.errors.describe(x)}, expected rows of float32 or float64, as X[:1] of the data")
    return _trace("predict" if is_model else function.__name__, function, x.astype(dtype))


_HEAD = '''"""{name}, for any number of rows, written by tinygrad_mlp. The arrays are in the npz file beside it."""

from pathlib import Path

import numpy as np


def {name}(x):
    """Return the result for x of shape {shape}."""
    x = np.asarray(x, np.{dtype})
{lines}
    return {output}


{helpers}with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as file:
    c = dict(file)
'''
_TAKEN = {"c", "file", "np", "Path", "softmax", "log_softmax"}
_HELPERS = {
    "softmax": """def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


""",
    "log_softmax": """def log_softmax(x, axis):
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


""",
}
_TEXTS = {
    "linear": "{0} @ {1}.T + {2}",
    "relu": "np.maximum({0}, 0)",
    "leaky_relu": "np.where({0} > 0, {0}, {1} * {0})",
    "sigmoid": "0.5 * np.tanh(0.5 * {0}) + 0.5",
    "softplus": "np.logaddexp(0, {0})",
    "softmax": "softmax({0}, {1})",
    "log_softmax": "log_softmax({0}, {1})",
}


_CALLS: dict[str, Callable[[list[str], dict[str, str]], str]] = {
    "getitem": lambda a, options: f"{a[0]}[{', '.join(a[1:])}]",
    "concatenate": lambda a, options: f"np.concatenate(({', '.join(a)},), {options.get('axis', 0)})",
    "broadcast_to": lambda a, options: f"np.broadcast_to({a[0]}, {options['shape'].replace('-1', 'len(x)')})",
    "astype": lambda a, options: f"{a[0]}.astype({a[1]})",
}


def _line(step: _Step, text: Callable[[Any], str]) -> str:
    """Return an op in NumPy's words."""
    arguments, options = [text(a) for a in step.arguments], {k: text(v) for k, v in step.options.items()}
    if step.op in _TEXTS:
        return _TEXTS[step.op].format(*arguments, None).removesuffix(" + None")
    if step.op in _CALLS:
        return _CALLS[step.op](arguments, options)
    if hasattr(np, step.op):
        return f"np.{step.op}({', '.join([*arguments, *(f'{k}={v}' for k, v in options.items())])})"
    raise NotImplementedError(f"{step.op} cannot be exported to NumPy; build it of NumPy's functions")


def export_numpy(function: Callable[..., Any], x: Any, path: str | os.PathLike[str]) -> None:
    """Write a function as a module that needs NumPy alone, and its arrays to the npz file beside it.

    Args:
        function: a Module, which is exported in evaluation mode as ``predict``; or a function of one Tensor that
            returns one, compiled or not, which is exported under its own name.
        x: an input of any number of rows, such as ``X[:1]``.
        path: the module, "model.py".

    Raises:
        NotImplementedError: an op that cannot be written down; it is named.
        TypeError, ValueError: x is no float array, the path or the function's name is not fit for a module, or the
            function does something else for another number of rows.
    """
    traced = _traced(function, x)
    name, path = traced.name, Path(path)
    if path.suffix != ".py":
        raise ValueError(f"path must be that of a module, such as 'model.py', got {os.fspath(path)!r}")
    if not name.isidentifier() or iskeyword(name) or name in _TAKEN:
        raise ValueError(f"a function cannot be called {name!r} in the module; define it by another name")
    arrays: dict[str, Any] = {}

    def text(a: Any) -> str:
        if isinstance(a, _Value):
            return f"t{a.step}" if a.step >= 0 else "x"
        if isinstance(a, np.ndarray):
            key = next((key for key, known in arrays.items() if known is a), f"c{len(arrays)}")
            arrays[key] = a
            return f'c["{key}"]'
        if isinstance(a, np.dtype):
            return f"np.{a.name}"
        return f"({', '.join(map(text, a))},)" if isinstance(a, tuple) else repr(a)

    lines = "\n".join(f"    t{i} = {_line(step, text)}" for i, step in enumerate(traced.steps))
    used = {step.op for step in traced.steps}
    helpers = "".join(text for op, text in _HELPERS.items() if op in used)
    rows, dtype = f"({', '.join([ROWS, *map(str, traced.x.shape[1:])])})", traced.x.dtype
    output = text(traced.output)
    source = _HEAD.format(name=name, shape=rows, dtype=dtype, lines=lines, output=output, helpers=helpers)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder, path.name), source, arrays)
        _try_out(Path(folder, path.name), name, traced.examples)
    _write(path, source, arrays)


def _write(path: Path, source: str, arrays: dict[str, Any]) -> None:
    np.savez(path.with_suffix(".npz"), **arrays)
    path.write_text(source, encoding="utf-8")


def _try_out(path: Path, name: str, examples: list[Any]) -> None:
    """Raise NotImplementedError if a function, as it is written down, does something else than the one it was."""
    function = runpy.run_path(os.fspath(path))[name]
    for x, expected in examples:
        try:
            found = function(x)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(initial=0.0))
        except Exception as error:
            raise NotImplementedError(
                f"{name} cannot be exported to NumPy: as a module it fails with {error}"
            ) from error


_NODES = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow", "matmul": "MatMul",
    "maximum": "Max", "minimum": "Min", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus",
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "negative": "Neg", "absolute": "Abs", "sin": "Sin", "cos": "Cos",
}  # fmt: skip


class _Graph:
    """An ONNX graph that is being made."""

    def __init__(self, helper: Any, numpy_helper: Any, x: Any) -> None:
        self.helper, self.numpy_helper, self.dtype = helper, numpy_helper, x.dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def name(self, a: Any, dtype: Any = None) -> str:
        """Return the name of an argument, which becomes a constant of the graph if it is no result."""
        if isinstance(a, (_Value, str)):
            return a if isinstance(a, str) else f"t{a.step}" if a.step >= 0 else "x"
        name = f"c{len(self.constants)}"
        self.constants.append(self.numpy_helper.from_array(np.asarray(a, dtype or self.dtype), name))
        return name

    def node(self, kind: str, *inputs: Any, to: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its result."""
        name = to or f"n{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, [self.name(a) for a in inputs], [name], **attributes))
        return name

    def step(self, step: _Step, to: str) -> None:
        """Add the nodes of an op."""
        first, *rest = step.arguments
        options = step.options
        if step.op in _NODES:
            self.node(_NODES[step.op], *step.arguments, to=to)
        elif step.op == "linear":
            weight, bias = [*rest, None][:2]
            product = self.node("MatMul", first, np.swapaxes(weight, 0, 1), to=to if bias is None else "")
            if bias is not None:
                self.node("Add", product, bias, to=to)
        elif step.op == "leaky_relu":
            self.node("LeakyRelu", first, alpha=float(rest[0]), to=to)
        elif step.op in ("softmax", "log_softmax"):
            self.node("Softmax" if step.op == "softmax" else "LogSoftmax", first, axis=rest[0], to=to)
        elif step.op == "square":
            self.node("Mul", first, first, to=to)
        elif step.op == "reshape":
            self.node("Reshape", first, self.name(options["shape"], np.int64), to=to)
        elif step.op in ("mean", "sum", "var") and not options.get("ddof"):
            self._reduce(step.op, first, options, to)
        else:
            raise NotImplementedError(f"{step.op} cannot be exported to ONNX; export_numpy takes more")

    def _reduce(self, op: str, x: Any, options: dict[str, Any], to: str) -> None:
        axis = options.get("axis")
        axes = "" if axis is None else self.name(np.atleast_1d(axis), np.int64)  # "" is an input that is not given
        if op == "var":
            distance = self.node("Sub", x, self.node("ReduceMean", x, axes, keepdims=1))
            x = self.node("Mul", distance, distance)
        self.node(
            "ReduceSum" if op == "sum" else "ReduceMean", x, axes, keepdims=int(options.get("keepdims", False)), to=to
        )


def export_onnx(function: Callable[..., Any], x: Any, path: str | os.PathLike[str]) -> None:
    """Write a function as an ONNX graph, from ``x`` to ``output``; it needs the extra ``onnx``.

    ``function``, ``x`` and errors are those of `export_numpy`; ``path`` is one like "model.onnx". NotImplementedError
    names an op that has no counterpart here.
    """
    onnx = tg.errors.need("onnx", "onnx")
    helper = onnx.helper
    name, x, steps, output, shape, _ = _traced(function, x)
    graph = _Graph(helper, tg.errors.need("onnx.numpy_helper", "onnx"), x)
    for i, step in enumerate(steps):
        graph.step(step, "output" if i == output.step else f"t{i}")
    if not steps:
        graph.node("Identity", output, to="output")
    if output.step != len(steps) - 1:
        raise ValueError("the function computes something that it does not return; it cannot be exported to ONNX")
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    inputs = [helper.make_tensor_value_info("x", kind, [ROWS, *x.shape[1:]])]
    outputs = [helper.make_tensor_value_info("output", kind, shape)]
    made = helper.make_graph(graph.nodes, name, inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, os.fspath(path))
