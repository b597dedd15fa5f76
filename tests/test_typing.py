"""Help beyond the first call: type checkers know what a Tensor, a model, a loss and a jitted step are."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinygrad_mlp as tg

SCRIPT = Path(__file__).with_name("typed_script.py")
LINES = SCRIPT.read_text(encoding="utf-8").splitlines()
EXPECTED = {n: m[1] for n, line in enumerate(LINES, 1) if (m := re.search(r'# error: "(\w+)"$', line))}
CHECKERS = {
    "mypy": ["mypy", "--strict", "--follow-imports=silent", str(SCRIPT)],
    "pyright": ["pyright", "--pythonpath", sys.executable, str(SCRIPT)],
}


@pytest.mark.parametrize("name", CHECKERS)
def test_a_users_script_has_the_errors_that_it_should_have_and_no_other(name: str) -> None:
    pytest.importorskip(name)
    run = subprocess.run([sys.executable, "-m", *CHECKERS[name]], capture_output=True, text=True, check=False)
    found = re.findall(rf"{SCRIPT.name}:(\d+):.*?error: (.*)", run.stdout)
    assert {int(n) for n, _ in found} == set(EXPECTED) and len(EXPECTED) >= 9, run.stdout + run.stderr
    for n, text in found:
        assert EXPECTED[int(n)] in text


def public_functions() -> Iterator[tuple[str, Any]]:
    """Yield what a user can call, once each, by its public name: what the package and its rooms offer.

    That is the functions, and of the classes the public methods, inherited ones too, the properties and ``__call__``.
    """
    rooms = [tg, *filter(inspect.ismodule, (getattr(tg, name) for name in tg.__all__)), tg.nn.init, tg.nn.utils]
    offered = {
        room: getattr(room, "__all__", None) or [name for name in vars(room) if name[0] != "_"] for room in rooms
    }
    found = [(f"{room.__name__}.{name}", getattr(room, name)) for room in rooms for name in offered[room]]
    seen = set()
    while found:
        path, thing = found.pop()
        thing = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
        if id(thing) in seen or not str(getattr(thing, "__module__", "")).startswith(tg.__name__):
            continue
        seen.add(id(thing))
        if inspect.isclass(thing):
            own = [name for name in vars(thing) if name[0] != "_" or name == "__call__"]
            found += [(f"{path}.{name}", vars(thing)[name]) for name in own] + [
                (path, base) for base in thing.__bases__
            ]
        elif callable(thing):
            yield path, thing


def test_few_public_functions_return_any() -> None:
    functions = dict(public_functions())
    results = {path: getattr(function, "__annotations__", {}).get("return") for path, function in functions.items()}
    anything = [path for path, result in results.items() if str(result) in ("Any", "typing.Any")]
    assert len(functions) > 230
    assert len(anything) < 20, anything
