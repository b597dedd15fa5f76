"""Which derivatives are checked: elements, directions, ties of several inputs, and all again at inputs nearby."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .differences import UNKNOWN, Gradient, Line, Slope
from .judging import Judge, settle
from .laws import look, measure
from .report import Element
from .subject import Subject

ALL, SAMPLE, DIRECTIONS = 100, 32, 2
"""All elements of an input are checked up to so many; of a larger one a sample, and so many random directions."""


def check_input(
    s: Subject, i: int, gradients: list[Gradient], rng: np.random.Generator, rtol: float, sample: int
) -> list[Element]:
    """Check the derivatives by one input: the first step for all of them, then for each whatever it takes."""
    s.grain, s.precision, lines = 0.0, 0.0, _choose_lines(s, i, gradients, rng, sample)
    first = [line.slope(line.step) for line in lines]
    sharp = [abs(slope.numeric) for slope in first if slope and slope.estimate <= 1e-3 * abs(slope.numeric)]
    judge = Judge(rtol, max(sharp, default=0.0))
    elements: list[Any] = [None] * len(lines)
    for k in sorted(range(len(lines)), key=lambda k: -abs(lines[k].analytic)):
        elements[k] = e = _check(lines[k], first[k], judge)
        if e.verdict == "pass" and e.at is not None and not e.kink:
            judge = judge._replace(largest=max(judge.largest, abs(e.numeric)))
    failed = [line for line, e in zip(lines, elements, strict=True) if e.verdict == "fail"]
    if failed and all(line.at is None for line in failed):
        culprit = _find_culprit(failed[0], i, gradients)
        elements.append(_element(culprit, *settle(culprit, None, judge), judge))
    return elements


def check_ties(s: Subject, gradients: list[Gradient], elements: list[Element], rtol: float) -> list[Element]:
    """Check where several derivatives are on kinks: what each may take at a tie, not all may.

    Moved by the same, or in proportion, all that were equal stay so.
    """
    if sum(e.kink is not None for e in elements) < 2:
        return []
    found, inputs = [], [i for i, name in enumerate(s.names) if any(e.kink and e.input == name for e in elements)]
    for moves in ({i: np.ones_like(s.start[i]) for i in inputs}, {i: s.start[i].copy() for i in inputs}):
        line, judge = Line(s, gradients, None, moves), Judge(rtol)
        found.append(_check(line, line.slope(line.step), judge))
    return found


def check_nearby(s: Subject, rng: np.random.Generator, rtol: float) -> list[Element]:
    """Check random directions at inputs nearby, off the kinks of these, and off what is right for these alone.

    Symmetric matrices stay so; off their symmetry, what is wrong is worth a note.
    """
    symmetric = [a.ndim > 1 and np.array_equal(a, a.swapaxes(-1, -2)) for a in s.start]
    found = _at_other_inputs(s, rng, rtol, symmetric)
    if any(symmetric) and not found:
        names = dict.fromkeys(e.input for e in _at_other_inputs(s, rng, rtol, [False] * len(symmetric)))
        s.notes += [f"{name}: right as long as the inputs are symmetric, wrong nearby where not" for name in names]
    return [e._replace(input=f"{e.input}, nearby") for e in found]


def _at_other_inputs(s: Subject, rng: np.random.Generator, rtol: float, symmetric: list[bool]) -> list[Element]:
    """Return what is wrong at random inputs up to 1/16 away, if the function can be computed there."""
    before, y, wobble = s.start, s.y, s.wobble
    moved = [a + np.where(a == 0, 1, a) * rng.uniform(-1, 1, a.shape) / 16 for a in before]
    try:
        s.stand_at(
            [np.asarray((a + a.swapaxes(-1, -2)) / 2 if k else a) for a, k in zip(moved, symmetric, strict=True)]
        )
        look(s)
        s.shake(rng)
        pull = s.record(s.x)
        gradients = measure(s, pull, [g.copy() for g in pull(s.upstream.copy())])
        s.watcher()
        lines = [line for i in range(len(s.x)) if s.x[i].size for line in _directions(s, i, gradients, rng)]
        elements = [_check(line, line.slope(line.step), Judge(rtol)) for line in lines]
        return [e for e in elements if e.verdict == "fail"]
    except Exception:
        return []
    finally:
        s.stand_at(before)
        s.y, s.wobble = y, wobble


def _check(line: Line, first: Slope | None, judge: Judge) -> Element:
    """Return the verdict by the first step, by the complex step where that says more, or by whatever it takes.

    A direction is checked as sharply as one wrong element of it takes, if that is possible.
    """
    count = sum(np.size(d) for d in line.moves.values())
    sharp = judge._replace(rtol=max(judge.rtol / math.sqrt(count), min(judge.rtol, 1e-13)))
    for rule in (sharp, judge) if count > 1 else (judge,):
        slope, verdict = _look(line, first, rule)
        if verdict == "fail" or (verdict == "unresolved" and rule is judge):
            slope, verdict = settle(line, first, rule)
        if verdict != "unresolved":
            break
    return _element(line, slope, verdict, judge)


def _look(line: Line, first: Slope | None, judge: Judge) -> tuple[Slope, str]:
    """Return what the first step says, or the complex step where that says more."""
    slope = first if first and first.smooth else UNKNOWN
    if not math.isfinite(line.analytic):
        return first or UNKNOWN, "fail" if first else "unresolved"
    verdict = judge.verdict(line, slope)
    if slope is not UNKNOWN and (verdict != "pass" or abs(line.analytic) <= 10 * slope.estimate):
        opinion = line.complex_slope(slope)
        if judge.verdict(line, opinion) == "pass":
            return opinion, "pass"
    return slope, verdict


def _directions(s: Subject, i: int, gradients: list[Gradient], rng: np.random.Generator) -> list[Line]:
    """Return random directions, of unequal sizes, so that two elements that are exchanged do not cancel."""
    shape = DIRECTIONS, *s.start[i].shape
    directions = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)
    return [Line(s, gradients, None, {i: d}) for d in directions]


def _choose_lines(s: Subject, i: int, gradients: list[Gradient], rng: np.random.Generator, sample: int) -> list[Line]:
    """Return all elements of an input, or that of the largest gradient, random ones and random directions."""
    x, g, picks, directions = s.start[i], gradients[i].values, np.arange(s.start[i].size), []
    if x.size > max(sample, ALL):
        largest = int(np.argmax(np.abs(g))) if g.shape == x.shape else 0
        picks = np.unique([largest, *rng.choice(x.size, sample, replace=False)])
        directions = _directions(s, i, gradients, rng)
        s.notes.append(f"{s.names[i]}: {len(picks)} of {x.size} elements, and {DIRECTIONS} random directions")
    places = np.stack(np.unravel_index(picks, x.shape), axis=-1) if x.ndim else np.zeros((1, 0), int)
    return [Line(s, gradients, tuple(at.tolist()), {i: 1.0}) for at in places] + directions


def _find_culprit(line: Line, i: int, gradients: list[Gradient]) -> Line:
    """Return a wrong element of a failing direction: halve it, and again the half that differs by more."""
    shape = gradients[i].values.shape
    part = np.arange(gradients[i].values.size)
    while part.size > 1:
        halves, differences = np.array_split(part, 2), []
        for half in halves:
            direction = np.zeros(shape)
            direction.reshape(-1)[half] = line.moves[i].reshape(-1)[half]
            piece = Line(line.s, gradients, None, {i: direction})
            slope = piece.slope(piece.step / 4.0**line.s.hint) or UNKNOWN
            differences.append(abs(piece.analytic - slope.numeric))
        part = halves[int(np.argmax(differences))]
    at = tuple(int(k) for k in np.unravel_index(int(part[0]), shape))
    return Line(line.s, gradients, at, {i: 1.0})


def _element(line: Line, slope: Slope, verdict: str, judge: Judge) -> Element:
    i = min(line.moves)
    start = line.s.start[i]
    x = float(start[line.at]) if line.at is not None else math.nan
    faint = 10 * max(slope.estimate, 0.0 if slope.reach else 4 * line.rounding / line.step)
    return Element(
        line.name, start.shape, line.at, x, line.analytic, slope.numeric, slope.estimate, judge.scale(line, slope),
        slope.step, slope.kink, verdict, faint, 10 * line.terms, line.precision if verdict == "pass" else 0.0,
    )  # fmt: skip
