"""`trace`: the chain rule of a result as text, with the numbers of each node and the rules that made them."""

from __future__ import annotations

import ast
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import notebook
from ..core.autograd import no_grad
from ..core.graph import Node, fit
from ..core.tensor import Tensor
from ..errors import describe
from ..syntax import definition
from .numbers import aligned, gradients, inline, ops
from .sketch import options


@dataclass(frozen=True, repr=False)
class Trace:
    """The text that `trace` makes: it shows itself.

    Attributes:
        text: the lines.
    """

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return notebook.block(notebook.escape(self.text))


def trace(output: Any) -> Trace:
    """Return the chain rule of a result as text: how its gradient comes to be, from the result back to the leaves.

    There is a line for each node, with its value and its gradient, and below it one for each input that gets a part
    of that gradient: how much, and the rule that says so, as it stands in the table of rules. There, ``g`` is the
    node's gradient, ``out`` its value, and the operands have the names that the node's line gives them. The gradient
    of a node is the sum of the parts that it gets; that of a hook, if it has one, which the line says then.

    Arrays of more than 4 elements are shown by shape and norm. Nothing changes: no ``.grad``, and the graph is kept.

    Args:
        output: a Tensor of one element, before ``backward()``.

    Raises:
        GraphError: it has no graph, or one that is released, or has more elements.
        TypeError: it is no Tensor.

    >>> import tinygrad_mlp as tg
    >>> x, y = tg.Tensor(3.0, True, "x"), tg.Tensor(2.0, True, "y")
    >>> trace(np.sin(x * y) + x)  # doctest: +ELLIPSIS
    node                 value    gradient  rule           where it stands
    t3 = add(x=t2, y=x)  2.721    1
      t2 gets                     1         g              rules/elementwise.py:...
      x gets                      1         g              rules/elementwise.py:...
    t2 = sin(x=t1)       -0.2794  1
      t1 gets                     0.9602    g * np.cos(x)  rules/elementwise.py:...
    t1 = multiply(x, y)  6        0.9602
      x gets                      1.92      g * y          rules/elementwise.py:...
      y gets                      2.881     g * x          rules/elementwise.py:...
    x                    3        2.92
    y                    2        2.881
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"trace takes a Tensor, got {describe(output)}; of a function f, trace(f(x))")
    order, found = ops(output, "trace"), gradients(output, "trace")
    names = _names(order)
    rows: list[tuple[str, ...]] = [("node", "value", "gradient", "rule", "where it stands")]
    with no_grad():
        for t in reversed(order):
            rows += _of_node(t, found, names)
    leaves = [a for a in names if a._node is None]
    rows += [(names[a], inline(a._data), _gradient(a, found), _hooked(a), "") for a in leaves]
    return Trace("\n".join(aligned(rows, "<<<<<")))


def _of_node(t: Any, found: dict[Any, Any], names: dict[Any, str]) -> Iterator[tuple[str, ...]]:
    """Yield the line of a node, and those of the inputs that get a part of its gradient."""
    node = t._node
    yield f"{names[t]} = {_call(node, names)}", inline(t._data), _gradient(t, found), _hooked(t), ""
    for i, a in node.parents:
        rule = node.rule.vjps[i]
        if t in found and rule is not None:
            part = rule(found[t], t._data, *node.arrays, **node.keywords)
            text, where = rule_text(rule)
            rest = "" if part.shape == a._data.shape else f", summed to {a._data.shape}"
            yield f"  {names[a]} gets", "", inline(fit(part, a._data)), f"{text}{rest}", where


def _names(order: Sequence[Any]) -> dict[Any, str]:
    """Return what leaves and nodes are called: their own names, or "t1" and so on, each once."""
    tensors = dict.fromkeys(a for t in order for a in (*(a for _, a in t._node.parents), t))
    taken = {t.name for t in tensors if t.name}
    numbers = {"leaf": itertools.count(1), "t": itertools.count(1)}
    names: dict[Any, str] = {}
    for t in tensors:
        if t.name in taken:
            names[t] = t.name
            taken.remove(t.name)
        else:
            prefix = "leaf" if t._node is None else "t"
            names[t] = next(name for n in numbers[prefix] if (name := f"{prefix}{n}") not in taken)
    return names


def _call(node: Node, names: dict[Any, str]) -> str:
    """Return a call with its operands under the names that the rules give them: "multiply(x=t1, y=0.5)"."""
    parameters = max((_parameters(node.rule.vjps[i]) for i, _ in node.parents), key=len)
    operands = [names.get(a) or _operand(a) if isinstance(a, Tensor) else _operand(a) for a in node.inputs]
    texts = [
        text if text == parameter else f"{parameter}={text}"
        for parameter, text in zip(parameters, operands, strict=False)
    ]
    return f"{node.rule.name}({', '.join([*texts, *operands[len(texts) :], *options(node.keywords)])})"


def _operand(a: Any) -> str:
    """Return an operand that no gradient reaches: a small array by its elements, another by its shape."""
    array = a._data if isinstance(a, Tensor) else a
    return inline(array) if isinstance(array, np.ndarray) and array.size <= 4 else describe(array)


def _gradient(t: Any, found: dict[Any, Any]) -> str:
    return inline(found[t]) if t in found else "none"


def _hooked(t: Any) -> str:
    return "what its hook made of it" if any(not hook.retains for hook in t._hooks) else ""


def _parameters(rule: Any) -> Sequence[str]:
    """Return how a rule calls the operands, after the gradient and the result, as far as it names them."""
    code = getattr(rule, "__code__", None)
    return code.co_varnames[2 : code.co_argcount] if code else ()


def rule_text(rule: Any) -> tuple[str, str]:
    """Return the line of a rule as it stands in its file, and where that is.

    >>> from tinygrad_mlp.rules.table import RULES
    >>> rule_text(RULES[np.multiply].vjps[0])  # doctest: +ELLIPSIS
    ('g * y', 'rules/elementwise.py:...')
    """
    given = rule.args if isinstance(rule, functools.partial) else ()
    function = rule.func if given else rule
    code = function.__code__
    path, own = code.co_filename, code.co_filename.startswith(_HOME)
    where = os.path.relpath(path, _HOME).replace(os.sep, "/") if own else os.path.basename(path)
    names, place = code.co_varnames[: code.co_argcount], f"{where}:{code.co_firstlineno}"
    line = _line_of(function) or f"{code.co_name}({', '.join(names)}, ...)"
    return f"{line}, {names[0]} = {given[0]}" if given else line, place


_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def _line_of(function: Any) -> str:
    """Return what a rule returns, as its file has it, in one line; nothing where it does more, or has no file."""
    node, source = definition(function)
    if node is None:
        return ""
    body = node.body if isinstance(node, ast.Lambda) else node.body[-1]
    if isinstance(body, ast.Return) and len(node.body) <= 2:
        body = body.value
    return " ".join((ast.get_source_segment(source, body) or "").split()) if isinstance(body, ast.expr) else ""
