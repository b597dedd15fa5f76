"""How large the package is: `python tests/sizes.py` prints its parts, files and largest functions, with their limits.

A line of code holds something else than a docstring, a comment or white space. The complexity of a function is
McCabe's: 1, and 1 for each branch, loop, handler, case, comprehension, and operand of ``and`` or ``or`` but the first;
functions inside of it count with it. The command fails where something is larger than it may be.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "tinygrad_mlp"
SPECIAL = ("rules/decompositions.py", "rules/sampled.py", "rules/waves.py")
"""Rules of functions that nothing in the package needs itself."""
ENGINE = ("rules/", "core/", "nn/functional")
NATIVE, DOOR = "jit/native/", ("func/", *SPECIAL)
PLAYGROUND = "playground/"
BRIDGES = ("sklearn.py", "deploy.py", "distributed.py", "scipy/")
PARTS: dict[str, tuple[Callable[[str], bool], int]] = {
    "engine: rules, core, functional": (lambda path: path.startswith(ENGINE) and path not in SPECIAL, 2000),
    "nn and optim": (lambda path: path.startswith("nn/") and not path.startswith(ENGINE), 850),
    "checker": (lambda path: path.startswith("tools/gradcheck"), 550),
    "native programs": (lambda path: path.startswith(NATIVE), 700),
    "functional door": (lambda path: path.startswith(DOOR), 1200),
    "bridges": (lambda path: path.startswith(BRIDGES), 600),
    "playground": (lambda path: path.startswith(PLAYGROUND), 460),
    "package without the last four": (
        lambda path: not path.startswith((NATIVE, *DOOR, *BRIDGES, PLAYGROUND)),
        5900,
    ),
}
"""The parts by name: which files they have, and how many lines these should have at most."""
FILE_LIMIT, FUNCTION_LIMIT, COMPLEXITY_LIMIT = 350, 50, 20
AS_IT_STANDS = {
    "functional door": 1291,
    "engine: rules, core, functional": 2084,
    "nn and optim": 1096,
    "checker": 760,
    "native programs": 749,
    "package without the last four": 11650,
    "bridges": 994,
}
"""What is larger than it should be, and how large it may be until it is mended."""


class Size(NamedTuple):
    """How large something is, and how large it should be at most."""

    name: str
    number: int
    limit: int

    @property
    def too_large(self) -> bool:
        return self.number > max(self.limit, AS_IT_STANDS.get(self.name, 0))

    def __str__(self) -> str:
        return f"{self.number:6} of {self.limit:4}  {self.name}{'  TOO LARGE' if self.too_large else ''}"


def lines_of_code(text: str) -> set[int]:
    """Return the numbers of the lines that hold code."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


def complexity(function: ast.AST) -> int:
    """Return McCabe's number of a function."""
    branches = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.match_case, ast.comprehension)
    nodes = list(ast.walk(function))
    operands = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    conditions = sum(len(node.ifs) for node in nodes if isinstance(node, ast.comprehension))
    return 1 + sum(isinstance(node, branches) for node in nodes) + operands + conditions


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the functions and methods of a module, by their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
        else:
            yield from functions(child, f"{prefix}{child.name}." if isinstance(child, ast.ClassDef) else prefix)


def measure(texts: dict[str, str]) -> dict[str, list[Size]]:
    """Return the sizes of the parts, the files and their functions, whose texts are given by their paths."""
    code = {path: lines_of_code(text) for path, text in texts.items()}
    found = [(path, name, node) for path, text in texts.items() for name, node in functions(ast.parse(text))]
    return {
        "parts": [
            Size(part, sum(len(lines) for path, lines in code.items() if belongs(path)), limit)
            for part, (belongs, limit) in PARTS.items()
        ],
        "files": [Size(path, len(lines), FILE_LIMIT) for path, lines in code.items()],
        "functions": [
            Size(
                f"{path}: {name}", len(code[path] & set(range(node.lineno, (node.end_lineno or 0) + 1))), FUNCTION_LIMIT
            )
            for path, name, node in found
        ],
        "complexities": [
            Size(f"complexity of {path}: {name}", complexity(node), COMPLEXITY_LIMIT) for path, name, node in found
        ],
    }


def package() -> dict[str, list[Size]]:
    """Return the sizes of this package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return measure({p.relative_to(PACKAGE).as_posix(): p.read_text(encoding="utf-8") for p in paths})


def main() -> bool:
    """Print the sizes; return whether something is too large."""
    sizes = package()
    for kind in ("parts", "files"):
        print(f"\nLines of code of {kind}", *sizes[kind], sep="\n")
    for kind, title in (("functions", "Lines of code of the longest functions"), ("complexities", "Most complex ones")):
        largest = sorted(sizes[kind], key=lambda size: -size.number)[:10]
        print(f"\n{title}", *largest, sep="\n")
    return any(size.too_large for part in sizes.values() for size in part)


if __name__ == "__main__":
    sys.exit(main())
