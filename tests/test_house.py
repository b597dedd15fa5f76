"""The order of the house: who may import whom, where derivatives stand, and how small it is."""

from __future__ import annotations

import ast
import configparser
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sizes

import tinygrad_mlp
from tinygrad_mlp.rules.table import RULES

PACKAGE = Path(tinygrad_mlp.__file__).parent
FILES = sorted(p for p in PACKAGE.rglob("*.py"))
FLOORS = {
    "blas": 0, "notebook": 0, "syntax": 0, "steps": 0, "errors": 1, "checks": 2, "foreign": 2, "generators": 2,
    "trees": 2,
    "refused": 3, "_later": 3, "binding": 4, "rules": 5, "core": 6, "nn": 7, "tools": 8, "jit": 8, "train": 9,
    "func": 9, "__init__": 10, "sklearn": 11, "deploy": 11, "distributed": 11, "playground": 11, "scipy": 11,
}  # fmt: skip
"""The rooms, and the floor of each; it imports itself and rooms on floors below. Bridges stand outside, above all."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def runs(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module that run, which what stands under ``if TYPE_CHECKING`` does not."""
    for_types = isinstance(tree, ast.If) and ast.unparse(tree.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    for node in tree.orelse if for_types else ast.iter_child_nodes(tree):
        yield node
        yield from runs(node)


def imports(source: str, place: tuple[str, ...]) -> set[str]:
    """Return the rooms that a module of the package imports; ``place`` is the module's name, from the package on."""
    found: list[str] = []
    for node in runs(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(place[: len(place) - node.level]) if node.level else ""
            module = ".".join(filter(None, [package, node.module]))
            found += [f"{module}.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in found]
    return {p[1] if len(p) > 1 else "__init__" for p in parts if p[0] == PACKAGE.name}


@pytest.mark.parametrize(
    ("source", "rooms"),
    [("from ..core import graph", {"core"}), ("from .. import nn", {"nn"}), ("import tinygrad_mlp.jit.plan", {"jit"}),
     ("def f():\n    from tinygrad_mlp import train", {"train"}), ("from . import b", {"tools"}),
     ("import numpy", set()),
     ("import tinygrad_mlp as tg", {"__init__"}), ("if TYPE_CHECKING:\n    from ..jit import plan", set()),
     ("if typing.TYPE_CHECKING:\n    pass\nelse:\n    import tinygrad_mlp.jit", {"jit"})],
)  # fmt: skip
def test_every_way_to_import_is_seen(source, rooms):
    assert imports(source, ("tinygrad_mlp", "tools", "a")) == rooms


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_room_imports_only_rooms_below(path):
    own, place = room(path), ("tinygrad_mlp", *path.relative_to(PACKAGE).with_suffix("").parts)
    assert own in FLOORS, f"{own} has no floor; say where it stands"
    for other in imports(path.read_text(encoding="utf-8"), place):
        assert other == own or FLOORS[other] < FLOORS[own], f"{path.name} imports {other}"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "scipy"], ids=lambda p: p.name)
def test_rules_outside_of_the_house_use_public_names(path):
    """So that anybody could have written them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    from_us = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == PACKAGE.name]
    taken = {alias.name for n in from_us for alias in n.names}
    taken |= {
        n.attr for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "tg"
    }  # fmt: skip
    assert taken <= set(tinygrad_mlp.__all__)
    assert imports(path.read_text(encoding="utf-8"), ("tinygrad_mlp", "scipy", path.stem)) <= {"__init__", *taken}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_derivatives_stand_in_the_rules_alone(path):
    """No other file enters a rule, or writes a backward pass by hand, but the bridge to what SciPy has."""
    if room(path) in ("rules", "scipy"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not called & {"vjp", "composite"}
    stored = {
        n.value.id for n in ast.walk(tree)
        if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) and isinstance(n.value, ast.Name)
    }  # fmt: skip
    assert "RULES" not in stored
    if room(path) == "nn":
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        assert not {name for name in defined if "backward" in name or "gradient" in name}


def test_micro_is_a_promise():
    """Parts, files and functions are no larger than they may be; the table: `python tests/sizes.py`."""
    assert [str(size) for part in sizes.package().values() for size in part if size.too_large] == []


def test_sizes_are_of_code_alone():
    text = '''"""Docstring."""

# a comment
def f(x):  # with a docstring
    """Of two
    lines."""
    text = """two
    lines"""
    return [text for _ in x if _ and x] if x or text or f else None

class C:
    def g(self):
        while True:
            pass
'''
    found = sizes.measure({"core/a.py": text, "nn/functional.py": "x = 1\n", "nn/b.py": "y = (\n    1)\n\n"})
    assert {size.name: size.number for size in found["parts"][:3]} == dict(zip(sizes.PARTS, (9, 2, 0), strict=False))
    assert [(size.name, size.number) for size in found["functions"]] == [("core/a.py: f", 4), ("core/a.py: C.g", 3)]
    assert [size.number for size in found["complexities"]] == [1 + 1 + 1 + 1 + 1 + 2, 2]
    assert sizes.Size("package", 10**6, 5900).too_large and not sizes.Size("package", 5900, 5900).too_large


def tables_of_ops(source: str) -> list[str]:
    """Return the sets and dicts, and the longer lists and tuples, that a module makes of functions that have a rule."""
    names = {f"np.{rule.name}" for rule in RULES.values()} | {f"np.linalg.{rule.name}" for rule in RULES.values()}
    found = []
    for node in ast.walk(ast.parse(source)):
        listed = isinstance(node, ast.List | ast.Tuple)
        entries = node.keys if isinstance(node, ast.Dict) else node.elts if isinstance(node, ast.Set) or listed else []
        if sum(ast.unparse(entry) in names for entry in entries if entry is not None) > 1 + 2 * listed:
            found.append(ast.unparse(node))
    return found


def facts(source: str) -> set[str | None]:
    """Return by which names a module adds facts to rules: a check in `nn` has an effect."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "annotate"]
    return {keyword.arg for call in calls for keyword in call.keywords}


def test_what_is_known_of_an_op_stands_in_its_rule():
    assert facts("annotate(np.copy, emit=f, express=g)") == {"emit", "express"}
    assert tables_of_ops("a = {np.sin: 1, np.cos: 2}") and tables_of_ops("{np.linalg.inv, np.linalg.solve}")
    assert tables_of_ops("CALLED = np.sin, np.cos, np.tan, np.exp") and not tables_of_ops("f in (np.sin, np.cos)")
    assert not tables_of_ops("{np.float32: 1, np.float64: 2}")
    for path in FILES:
        if room(path) != "rules":
            assert not tables_of_ops(path.read_text(encoding="utf-8")), path
            if room(path) not in ("scipy", "distributed"):  # which have ops of their own, as users have
                assert facts(path.read_text(encoding="utf-8")) <= {"effect"}, path


def test_what_tab_offers_is_what_there_is():
    assert set(tinygrad_mlp.__all__) <= set(dir(tinygrad_mlp))
    assert all(hasattr(tinygrad_mlp, name) for name in dir(tinygrad_mlp))


PUBLIC = ["", "nn", "nn.init", "nn.utils", *tinygrad_mlp._ROOMS, "deploy", "distributed", "sklearn"]


@pytest.mark.parametrize("name", PUBLIC)
def test_tab_offers_what_users_call_and_nothing_else(name):
    if name == "sklearn":
        pytest.importorskip("sklearn", "1.9")
    module = importlib.import_module(f"tinygrad_mlp.{name}".rstrip("."))
    assert dir(module) == sorted(module.__all__) and len(set(module.__all__)) == len(module.__all__)
    for entry in module.__all__:
        value = getattr(module, entry)
        home = value.__name__ if isinstance(value, type(module)) else value.__module__
        assert home.startswith("tinygrad_mlp") and not entry.startswith("_"), entry
        assert value.__doc__, f"{entry} is not described"


def test_tab_offers_what_the_examples_use():
    texts = [
        p.read_text(encoding="utf-8") for p in [*PACKAGE.parent.glob("examples/*.py"), PACKAGE.parent / "README.md"]
    ]
    rooms = {"F": "nn.functional", "nn": "nn", "optim": "nn.optim", "tg": ""}
    for short, name in rooms.items():
        module = importlib.import_module(f"tinygrad_mlp.{name}".rstrip("."))
        used = {m[1] for text in texts for m in re.finditer(rf"(?<![\w.]){short}\.([a-zA-Z_]\w*)", text)}
        assert used - {"__version__"} <= set(dir(module)) | {"py"}, short


def test_import_loads_neither_pandas_nor_extras_nor_what_takes_long():
    others = {"pandas", "matplotlib", "scipy", "tqdm", "safetensors", "importlib.abc", "tempfile", "ast"}
    others |= {"numpy.random", "difflib", "importlib.util"}
    code = "import sys, numpy; before = set(sys.modules); import tinygrad_mlp; "
    code += f"print(sorted({others} & (set(sys.modules) - before)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", tinygrad_mlp._ROOMS)
def test_a_room_has_a_short_name_and_is_one_module(name):
    """So that ``from tinygrad_mlp.optim import SGD`` works, and gives the class that ``tinygrad_mlp.nn.optim`` has."""
    code = f"import tinygrad_mlp.{name} as short; import tinygrad_mlp.{tinygrad_mlp._ROOMS[name]} as long; "
    code += f"import tinygrad_mlp as tg; assert short is long is tg.{name} and short.__spec__.name == short.__name__"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["optim", "email.optim", "tinygrad_mlp.nn.func"])
def test_a_short_name_is_one_of_this_package_alone(name):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_names_that_come_later_are_known_to_type_checkers():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {a.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert {name: room for name, room in imported.items() if name not in tinygrad_mlp._ROOMS} == tinygrad_mlp._NAMES


def test_the_version_is_said_once():
    """The package says it, and its metadata take it from there."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", tinygrad_mlp.__version__)
    options = configparser.ConfigParser()
    options.read(PACKAGE.parent / "setup.cfg", encoding="utf-8")
    assert options["metadata"]["version"] == "attr: tinygrad_mlp.__version__"
