"""The reference has every public name, and each tells what its arguments are; metadata agree with the package."""

from __future__ import annotations

import configparser
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinygrad_mlp as tg

ROOT = Path(__file__).parent.parent
NEEDS = {
    "tinygrad_mlp.scipy.linalg": "scipy",
    "tinygrad_mlp.scipy.special": "scipy",
    "tinygrad_mlp.sklearn": "sklearn",
    "tinygrad_mlp.distributed": "mpi4py",
}
ROOMS = [
    "tinygrad_mlp", "tinygrad_mlp.func", "tinygrad_mlp.nn", "tinygrad_mlp.nn.functional", "tinygrad_mlp.nn.init",
    "tinygrad_mlp.nn.utils", "tinygrad_mlp.nn.optim", "tinygrad_mlp.train.augment", "tinygrad_mlp.train.callbacks",
    "tinygrad_mlp.train.data", "tinygrad_mlp.train.metrics", "tinygrad_mlp.train.plot", "tinygrad_mlp.deploy",
    "tinygrad_mlp.distributed", "tinygrad_mlp.sklearn", "tinygrad_mlp.scipy.linalg", "tinygrad_mlp.scipy.special",
]  # fmt: skip


def listed() -> dict[str, list[str]]:
    """Return the names in the reference by their modules."""
    names: dict[str, list[str]] = {}
    for page in sorted((ROOT / "docs" / "reference").glob("*.rst")):
        module = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if found := re.fullmatch(r"\.\. currentmodule:: ([\w.]+)", line):
                module = found[1]
            elif found := re.fullmatch(r"   ([A-Za-z][\w.]*)", line):
                names.setdefault(module, []).append(found[1])
    names.pop("")  # the pages themselves
    return names


LISTED = listed()


def described(module: str) -> Iterator[tuple[str, Any]]:
    """Yield the functions, classes and methods of a module that the reference lists."""
    if module in NEEDS:
        pytest.importorskip(NEEDS[module])
    for name in LISTED[module]:
        thing: Any = importlib.import_module(module)
        for part in name.split("."):
            thing = getattr(thing, part)
        yield name, thing
        if inspect.isclass(thing):
            for method, function in vars(thing).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function


def undescribed(thing: Any) -> list[str]:
    """Return the arguments, of two or more, that the docstring neither lists under "Args:" nor names as code."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return []
    parameters = [name for name in inspect.signature(thing).parameters if name != "self"]
    text = re.sub(r"^ *(>>>|\.\.\.) .*$", "", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    entries = " ".join(re.findall(r"^ {4}([\w*, ]+): ", text, flags=re.MULTILINE))
    code = " ".join(a or b for a, b in re.findall(r"``(.+?)``|`(.+?)`", text, flags=re.DOTALL))
    return [name for name in parameters if len(parameters) > 1 and not re.search(rf"\b{name}\b", f"{entries} {code}")]


def test_an_argument_that_is_not_described_is_noticed() -> None:
    def f(x: Any, how: Any, y: Any) -> None:
        """Do something to ``x`` in some way, how does not matter.

        Args:
            y: what is left.

        >>> f(1, how=2, y=3)
        """

    assert undescribed(f) == ["how"]


@pytest.mark.parametrize("module", LISTED)
def test_arguments_are_described(module: str) -> None:
    missing = {name: names for name, thing in described(module) if (names := undescribed(thing))}
    assert not missing


@pytest.mark.parametrize("module", ROOMS)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    if module in NEEDS:
        pytest.importorskip(NEEDS[module])
    room = importlib.import_module(module)
    public = set(getattr(room, "__all__", ()))
    known = {name.split(".")[-1] for names in LISTED.values() for name in names}
    rooms = {room.rsplit(".", 1)[-1] for room in ROOMS} | {"optim", "checkpoint"}
    assert public - known - rooms == set()


def test_metadata_agree() -> None:
    setup, citation = configparser.ConfigParser(), (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: tinygrad_mlp.__version__"
    assert re.search(r"^version: (.+)$", citation, flags=re.MULTILINE)[1] == tg.__version__  # type: ignore[index]
    assert f"\n## {tg.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert {"author", "classifiers", "description", "keywords", "license"} <= set(setup["metadata"])


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
