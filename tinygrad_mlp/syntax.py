"""The text of functions: of which part of its file Python has made a function."""

from __future__ import annotations

import ast
import functools
import linecache
from types import CodeType
from typing import Any


def definition(function: Any) -> tuple[Any, str]:
    """Return the ``def`` or ``lambda`` of a function as a syntax tree, and the text of its file.

    The tree is None where that text is not to be found. Functions that begin in one line are told apart by their code.

    >>> node, _ = definition(definition)
    >>> node.name
    'definition'
    """
    code = function.__code__
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    imports, functions = _parsed(source)
    here = [node for node in functions if _first_line(node) == code.co_firstlineno]
    if len(here) > 1:
        here = [node for node in here if _gist(_compiled(node, imports, code.co_freevars)) == _gist(code)]
    return here[0] if here else None, source


@functools.lru_cache(64)
def _parsed(source: str) -> tuple[list[ast.stmt], list[Any]]:
    """Return the imports and the functions of a file."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # of a notebook's cell with magics
        return [], []
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.Lambda, ast.FunctionDef))]
    return [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], functions


def _first_line(node: Any) -> int:
    return min(part.lineno for part in (node, *getattr(node, "decorator_list", ())))


def _compiled(node: Any, imports: list[ast.stmt], around: tuple[str, ...]) -> CodeType:
    """Return the code of a function inside of another one that has the variables ``around``.

    Python calls methods of what is imported in another way.
    """
    module: Any = ast.parse(f"def outer({', '.join(around)}): pass")
    module.body[0].body = [ast.Return(node) if isinstance(node, ast.Lambda) else node]
    module.body[:0] = imports
    code: CodeType = compile(ast.fix_missing_locations(module), "", "exec", dont_inherit=True)
    for _ in range(2):
        code = next(c for c in reversed(code.co_consts) if isinstance(c, CodeType))
    return code


def _gist(code: CodeType) -> Any:
    """Return what tells code apart wherever it stands."""
    held = [c for c in code.co_consts if "<locals>" not in repr(c)]  # of Python 3.10, which holds qualified names
    constants = [_gist(c) if isinstance(c, CodeType) else repr(c) for c in held]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants
