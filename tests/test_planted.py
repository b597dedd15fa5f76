"""The examination of the gradient checker, by bugs and correct functions that it was not made with."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import mutations
import numpy as np
import pytest
from planted import BUGS, CORRECT, Bug
from planted.compositions import FAMILIES, KNOWN, composition
from planted.tables import RULE_BUGS, RuleBug
from planted.truth import how_right, how_wrong

from tinygrad_mlp.rules.table import RULES
from tinygrad_mlp.tools.gradcheck import Report, gradcheck

RIGHT = {correct.name: correct for correct in CORRECT}
CAUGHT, UNRESOLVED = 0.95, 0.03
BY_LAW = {"state", "stale cache", "in place", "not linear"}
"""Kinds of bugs whose gradient may be right, but not the way in which it comes about."""


def check(bug: Bug) -> Report:
    f, gradient, inputs = bug.start()
    with np.errstate(all="ignore"):
        result = f(*[a.copy() for a in inputs])
    gradient = gradient if np.ndim(result) else functools.partial(gradient, 1.0)
    return gradcheck(f, inputs, gradient=gradient, raise_on_fail=False)


def verdicts(checks: Iterable[tuple[str, Callable[[], Report]]]) -> dict[str, Report]:
    return {name: run() for name, run in checks}


def those(reports: dict[str, Report], *which: str) -> str:
    """Return, a line each, the names of those with one of these verdicts, and what was said."""
    found = [f"{r.verdict}: {name}; {'; '.join([*r.problems, *r.notes])}" for name, r in reports.items()]
    return "\n".join(line for line in found if line.split(":")[0] in which)


def assert_never_wrong(reports: dict[str, Report]) -> None:
    """Assert that no correct function is called wrong, and that few are left unresolved."""
    counts = Counter(r.verdict for r in reports.values())
    print(dict(counts), those(reports, "fail", "unresolved"), sep="\n")
    assert not counts["fail"], f"{counts['fail']} of {len(reports)}\n{those(reports, 'fail')}"
    assert counts["unresolved"] <= UNRESOLVED * len(reports), those(reports, "unresolved")


def test_there_are_enough_bugs_of_enough_kinds() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 300
    assert len({bug.kind for bug in BUGS}) >= 40
    assert len(CORRECT) >= 200
    assert not {bug.name for bug in BUGS} & {bug.name for bug in mutations.BUGS}
    assert not set(RIGHT) & set(mutations.CASES)


@pytest.mark.parametrize("correct", CORRECT, ids=lambda bug: bug.name)
def test_what_is_taken_for_correct_is(correct: Bug) -> None:
    with np.errstate(all="ignore"):
        assert how_right(correct) == ""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_what_is_taken_for_a_bug_is(bug: Bug) -> None:
    """At x, except for those that are named otherwise."""
    with np.errstate(all="ignore"):
        way = how_wrong(bug, RIGHT[bug.case])
    if bug.kind == "wrong nearby":
        assert way == "nearby"
    else:
        assert way == "at x" or (way == "as a law" and bug.kind in BY_LAW)


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_the_checker_catches_the_bugs(every: int) -> None:
    """The rest is unresolved, or passes with a note, as where one of many elements is not looked at."""
    reports = verdicts((bug.name, functools.partial(check, bug)) for bug in BUGS[::every])
    counts = Counter(r.verdict for r in reports.values())
    print(dict(counts), those(reports, "pass", "unresolved"), sep="\n")
    silent = {name: r for name, r in reports.items() if r.verdict == "pass" and not r.notes}
    assert not silent, f"{len(silent)} of {len(reports)}\n{those(silent, 'pass')}"
    assert counts["fail"] >= CAUGHT * len(reports), those(reports, "pass", "unresolved")


def test_the_checker_lets_their_correct_versions_pass() -> None:
    assert_never_wrong(verdicts((correct.name, functools.partial(check, correct)) for correct in CORRECT))


@pytest.mark.parametrize("bug", RULE_BUGS, ids=lambda bug: bug.name)
def test_a_rule_that_is_wrong_in_the_second_order_is_caught(bug: RuleBug, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lambda order: gradcheck(bug.f, bug.inputs, order=order, raise_on_fail=False)
    assert run(2).verdict == "pass"
    wrong: list[Any] = list(RULES[bug.function].vjps.values())
    wrong[bug.argument] = bug.rule
    monkeypatch.setattr(RULES[bug.function], "vjps", wrong)
    assert run(1).verdict == "pass"
    assert run(2).verdict == "fail"


@pytest.mark.parametrize("name", KNOWN)
def test_known_false_alarms_are_none(name: str) -> None:
    for seed in range(3):
        f, inputs = KNOWN[name](np.random.default_rng(seed))
        report = gradcheck(f, inputs, raise_on_fail=False)
        assert report.verdict != "fail", report


def assert_compositions_pass(seeds: range) -> None:
    drawn = [composition(seed) for seed in seeds]
    assert {c.family for c in drawn} == set(FAMILIES)
    check = lambda c: gradcheck(c.f, c.inputs, raise_on_fail=False)
    assert_never_wrong(verdicts((repr(c), functools.partial(check, c)) for c in drawn))


@pytest.mark.parametrize(
    "seed", [499, 1546, 11026, 11095, 11391, 11511, 13193, 13381, 14365, 15134, 17488, 17899, 18788]
)
def test_compositions_that_were_called_wrong_are_not(seed: int) -> None:
    found = composition(seed)
    assert gradcheck(found.f, found.inputs, raise_on_fail=False).verdict != "fail"


@pytest.mark.parametrize("seeds", [range(20_025, 20_065), pytest.param(range(20_000, 20_120), marks=pytest.mark.slow)])
def test_the_checker_calls_no_composition_wrong(seeds: range) -> None:
    assert_compositions_pass(seeds)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 20_000, 5000))
def test_the_checker_calls_none_of_20_000_compositions_wrong(start: int) -> None:
    assert_compositions_pass(range(start, start + 5000))
