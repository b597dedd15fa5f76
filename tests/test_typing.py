"""Help beyond the first call: type checkers know what a Tensor, a model, a loss and a jitted step are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
