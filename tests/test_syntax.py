"""Of which part of its file Python has made a function."""

from __future__ import annotations

import ast
import functools
import linecache
from typing import Any

import numpy as np
import pytest

from tinygrad_mlp.syntax import definition


def text_of(function: Any) -> str | None:
    node, source = definition(function)
    return None if node is None else ast.get_source_segment(source, node)


def around(a: Any, b: Any) -> Any:
    return (lambda x: x + a), (lambda x: x + b), (lambda y: y + a)  # fmt: skip


def decorated(function: Any) -> Any:
    return function


@decorated
@functools.partial(decorated)
def long(x: int, *rest: Any, by: float = 2.0) -> Any:
    """Return something."""
    return [x, *rest, by]


twins = (lambda x: x + 1), (lambda x: x + 2), (lambda x: x + 1.0), (lambda x: x + True)  # fmt: skip
calls = (lambda x: np.round(x.sum())), (lambda x: np.round(x.mean())), (lambda x: np.floor(x.sum()))  # fmt: skip
nested = (lambda x: (lambda y: y * 2)(x)), (lambda x: (lambda y: y * 3)(x))  # fmt: skip
defaults = (lambda x, f=lambda y: y: f(x)), (lambda x, f=lambda y: y: f(f(x)))  # fmt: skip


@pytest.mark.parametrize(
    ("function", "text"),
    [
        *zip(around(1, 2), ["lambda x: x + a", "lambda x: x + b", "lambda y: y + a"], strict=True),
        *zip(twins, ["lambda x: x + 1", "lambda x: x + 2", "lambda x: x + 1.0", "lambda x: x + True"], strict=True),
        (calls[0], "lambda x: np.round(x.sum())"),
        (calls[1], "lambda x: np.round(x.mean())"),
        (calls[2], "lambda x: np.floor(x.sum())"),
        (nested[0], "lambda x: (lambda y: y * 2)(x)"),
        (nested[1], "lambda x: (lambda y: y * 3)(x)"),
        (defaults[0], "lambda x, f=lambda y: y: f(x)"),
        (defaults[1], "lambda x, f=lambda y: y: f(f(x))"),
        (defaults[1].__defaults__[0], "lambda y: y"),
        (eval("lambda x: x"), None),
    ],
)
def test_functions_that_begin_in_one_line_are_told_apart(function: Any, text: str | None) -> None:
    assert text_of(function) == text


def test_a_decorated_function() -> None:
    node, _ = definition(long)
    assert node.name == "long" and len(node.decorator_list) == 2


def test_a_cell_with_magics_has_no_syntax(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["%time\n", "f = lambda x: x\n"]
    monkeypatch.setitem(linecache.cache, "cell", (1, None, lines, "cell"))
    names: dict[str, Any] = {}
    exec(compile("\n" + lines[1], "cell", "exec"), names)
    assert text_of(names["f"]) is None
