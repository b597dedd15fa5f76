"""Beginners' mistakes are answered with what was got, what was expected and what to do, and change nothing."""

from __future__ import annotations

import re
import warnings

import pytest
from mistakes import MISTAKES, Mistake, Work


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name.replace(" ", "_"))
def test_mistake(mistake: Mistake, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    work = Work()
    before = work.state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(mistake.error) as caught:
            mistake.call(work)
    message = str(caught.value)
    for part in (mistake.got, mistake.expected, mistake.remedy):
        assert part in message, message
    assert not re.search(r"0x[0-9a-f]{4,}|object has no attribute '_", message), message
    assert not isinstance(caught.value, (AssertionError, RecursionError, MemoryError, KeyError))
    assert work.state() == before
    assert not list(tmp_path.iterdir())


def test_there_are_many_and_each_is_another() -> None:
    assert len({m.name for m in MISTAKES}) == len(MISTAKES) >= 200
