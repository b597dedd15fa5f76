"""The README tells the truth: its code gives what it says, on a slow machine too."""

from __future__ import annotations

import doctest
import time
from pathlib import Path

import pytest

import tinygrad_mlp.train.fit

ROOT = Path(__file__).parent.parent


def test_code_gives_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # it reads the data there, and writes files
    monkeypatch.chdir(tmp_path)
    start = time.perf_counter()  # 50 times as fast as it is: the seconds of an epoch may be any
    monkeypatch.setattr(tinygrad_mlp.train.fit, "perf_counter", lambda: 50 * (time.perf_counter() - start))
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 10
    assert results.failed == 0
