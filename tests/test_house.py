"""The order of the house: who may import whom, where derivatives stand, and how small it is."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import tinygrad_mlp

PACKAGE = Path(tinygrad_mlp.__file__).parent
FILES = sorted(p for p in PACKAGE.rglob("*.py"))
FLOORS = {
    "errors": 0,
    "rules": 1, "data": 1,
    "graph": 2, "metrics": 2, "augment": 2, "progress": 2,
    "autograd": 3, "anomaly": 3,
    "tensor": 4, "functional": 4,
    "gradcheck": 5, "optim": 5, "nn": 5, "checkpoint": 5,
    "callbacks": 6, "jit": 6, "inspection": 6, "drawing": 6,
    "training": 7, "plot": 8,
    "__init__": 9,
}  # fmt: skip


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the rooms of the package that a file imports."""
    found, parts = set(), ("tinygrad_mlp", *path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*parts[: len(parts) - node.level], *(node.module or "").split(".")]
            names = [base[1]] if len(base) > 1 and base[1] else [alias.name for alias in node.names]
            found.update(names)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_room_imports_only_rooms_below(path):
    own = room(path)
    for other in imports(path) & set(FLOORS):
        assert other == own or FLOORS[other] < FLOORS[own], f"{path.name} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_derivatives_stand_in_the_rules_alone(path):
    """No other file enters a rule, or writes a backward pass by hand."""
    if room(path) == "rules":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not called & {"vjp", "composite"}
    stored = {
        n.value.id for n in ast.walk(tree)
        if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) and isinstance(n.value, ast.Name)
    }  # fmt: skip
    assert "RULES" not in stored
    if room(path) in ("nn", "functional", "optim"):
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        assert not {name for name in defined if "backward" in name or "gradient" in name}


def code_lines(path: Path) -> int:
    """Count the lines that hold code: neither blank, nor comment, nor docstring."""
    text = path.read_text(encoding="utf-8")
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def test_micro_is_a_promise():
    """The engine fits on a few screens; the core has outgrown the 3 000 lines that it was planned with, no further."""
    core = {"rules", "graph", "autograd", "tensor", "functional", "nn", "optim", "gradcheck", "jit"}
    assert len((PACKAGE / "graph.py").read_text(encoding="utf-8").splitlines()) < 300
    assert sum(code_lines(p) for p in FILES if room(p) in core and "samples" not in p.parts) < 4600


def test_what_tab_offers_is_what_there_is():
    assert set(tinygrad_mlp.__all__) <= set(dir(tinygrad_mlp))
    assert all(hasattr(tinygrad_mlp, name) for name in dir(tinygrad_mlp))


def test_import_loads_neither_pandas_nor_extras():
    extras = {"pandas", "matplotlib", "scipy", "tqdm", "safetensors"}
    code = f"import sys, tinygrad_mlp; print(sorted({extras} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
