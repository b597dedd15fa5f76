"""The README tells the truth: its code gives what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_code_gives_what_the_readme_says(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # it reads the data there, and writes files
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 10
    assert results.failed == 0
