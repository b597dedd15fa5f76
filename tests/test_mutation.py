"""The proof of the gradient checker: it catches every planted bug, and raises no false alarm."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from draws import Call, Draws, calls_of, name_of, results
from mutations import BUGS, CORRECT, UNRESOLVED, Array, Bug, fresh
from samples import SAMPLES, of_the_rules

from tinygrad_mlp import Tensor
from tinygrad_mlp.rules.table import RULES
from tinygrad_mlp.scipy.special import no_order
from tinygrad_mlp.tools.gradcheck import Report, gradcheck

FACTOR = 1 + 1e-6


def check(bug: Bug) -> Report:
    result = bug.f(*fresh(bug))
    gradient = bug.gradient if np.ndim(result) else functools.partial(bug.gradient, 1.0)
    return gradcheck(bug.f, fresh(bug), gradient=gradient, raise_on_fail=False)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    assert check(bug).verdict == "fail"


@pytest.mark.parametrize("correct", CORRECT, ids=lambda bug: bug.name)
def test_the_correct_gradient_passes(correct: Bug) -> None:
    report = check(correct)
    assert report.verdict == ("unresolved" if correct.name in UNRESOLVED else "pass"), report


def test_there_are_bugs_of_many_kinds() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 100


def as_one_tensor(call: Call) -> Callable[..., Any]:
    """The call as a function of its arrays: all its results that have gradients, one after the other."""

    def f(*inputs: Any) -> Any:
        outs = [out for out in results(call.on(inputs)) if isinstance(out, Tensor) and out.dtype.kind == "f"]
        return outs[0] if len(outs) == 1 else np.concatenate([np.ravel(out) for out in outs])

    return f


def is_defined(call: Call) -> bool:
    """Whether there is something to differentiate, at finite inputs, with finite results."""
    arrays = call.arrays
    if not any(a.size for a in arrays) or not all(np.isfinite(a).all() for a in arrays):
        return False
    outs = results(call.on([Tensor(a, requires_grad=True) for a in arrays]))
    floats = [out for out in outs if isinstance(out, Tensor) and out.dtype.kind == "f"]
    return bool(floats) and all(np.isfinite(out.detach().numpy()).all() for out in floats)


def check_call(call: Call) -> Report:
    return gradcheck(as_one_tensor(call), call.arrays, raise_on_fail=False)


MANY = 9
"""Of functions that take any number of arguments, so many are looked at."""


def rules_of(function: Callable[..., Any]) -> list[Any]:
    vjps = RULES[function].vjps
    return [vjps[i] for i in range(min(len(vjps), MANY))]


def marked(rule: Callable[..., Any], i: int, used: set[int]) -> Callable[..., Any]:
    return lambda *args, **kwargs: (used.add(i), rule(*args, **kwargs))[1]


def scaled(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: FACTOR * rule(*args, **kwargs)


def arguments_of(function: Callable[..., Any]) -> list[int]:
    """The arguments that have a rule: of functions that take any number, those that the samples use."""
    rules, used = rules_of(function), set()
    if len(RULES[function].vjps) <= MANY:
        return [i for i, rule in enumerate(rules) if rule not in (None, no_order)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RULES[function], "vjps", [marked(rule, i, used) for i, rule in enumerate(rules)])
        for call in filter(is_defined, calls_of(function)):
            check_call(call)
    return sorted(used)


DIFFERENTIATED = sorted((f for f in of_the_rules() if RULES[f].kind == "vjp"), key=name_of)
ARGUMENTS = [(f, i) for f in DIFFERENTIATED for i in arguments_of(f)]


@pytest.mark.parametrize(("function", "i"), ARGUMENTS, ids=[f"{name_of(f)}-{i}" for f, i in ARGUMENTS])
def test_each_rule_scaled_by_a_millionth_is_caught(
    function: Callable[..., Any], i: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = sorted(filter(is_defined, calls_of(function)), key=lambda call: sum(a.size for a in call.arrays))
    rules = rules_of(function)
    rules[i] = scaled(rules[i])
    monkeypatch.setattr(RULES[function], "vjps", rules)
    assert any(check_call(call).verdict == "fail" for call in calls)


def registry_cases(seed: int, share: slice = slice(None)) -> list[Call]:
    """A share of all calls of the registry, drawn anew."""
    calls = []
    for sample in SAMPLES:
        if sample.error is None and getattr(RULES.get(sample.function), "kind", "") != "constant":
            x = Draws(f"{name_of(sample.function)} {seed}")
            calls += sample.make(lambda *args, f=sample.function, **kwargs: Call(f, args, kwargs), x)
    return list(filter(is_defined, calls[share]))


def random_program(seed: int) -> tuple[Callable[..., Any], list[Array]]:
    """A program of up to eight ops, as those of the property tests, on inputs of at most nine elements.

    Every other one gets inputs that are multiples of 1/2, so that many stand on kinks and have ties.
    """
    pytest.importorskip("hypothesis")
    from test_properties import KINKED, Program

    rng = np.random.default_rng(seed)
    side = lambda: int(rng.integers(1, 4))
    last, first = side(), side()
    shapes = [(), (last,), (first, last), (first, 1), (1, last)]
    names = sorted(KINKED)
    steps = [(names[rng.integers(len(names))], *rng.integers(0, 12, 3).tolist()) for _ in range(rng.integers(1, 9))]
    chosen = tuple(shapes[k] for k in rng.integers(0, len(shapes), rng.integers(1, 4)))
    program = Program(KINKED, chosen, int(rng.integers(2**16)), steps)
    inputs = [np.asarray(np.round(2 * a) / 2) if seed % 2 else a for a in program.draw()]
    return lambda *inputs: program.run(inputs), inputs


def alarms(calls: Iterable[Call], program_seeds: range) -> tuple[int, list[str]]:
    """Check correct gradients, of calls and of random programs; return how many, and what fails."""
    count, failed = 0, []
    for call in calls:
        report, count = check_call(call), count + 1
        failed += [f"{call}\n{report}"] if report.verdict == "fail" else []
    for seed in program_seeds:
        f, inputs = random_program(seed)
        report, count = gradcheck(f, inputs, raise_on_fail=False), count + 1
        failed += [f"program {seed}\n{report}"] if report.verdict == "fail" else []
    return count, failed


@pytest.mark.parametrize("part", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_no_false_alarm(part: int) -> None:
    count, failed = alarms(registry_cases(0, slice(part, None, 24)), range(part, 201, 3))
    assert count >= 100
    assert not failed, "\n\n".join(failed)


@pytest.mark.slow
def test_no_false_alarm_in_10_000_cases() -> None:
    count, failed = alarms(itertools.chain.from_iterable(map(registry_cases, range(1, 6))), range(1000, 7000))
    assert count >= 10_000
    assert not failed, "\n\n".join(failed)
