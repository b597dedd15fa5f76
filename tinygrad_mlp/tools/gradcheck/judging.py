"""Verdicts: which derivatives are checked, and which steps each takes until it passes, is wrong, or cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from .differences import EPS, TINY, UNKNOWN, Array, Gradient, Line, Slope, Subject, differences, unit_of
from .laws import measure
from .report import Element

FLOOR = 0.03
"""What counts as resolved is relative to a derivative itself, or to this share of the largest one of its input."""
LEVELS, LOSSES = 22, 2
"""Steps are 4**-level times the first, from -3 up to so many. After so many derivatives that do not pass, few steps."""
NEIGHBOURS = (16, 64, 256)
"""At how many points nearby the slopes at a kink are looked for, more where fewer do not explain the gradient."""
ALL, SAMPLE, DIRECTIONS = 100, 32, 2
"""All elements of an input are checked up to so many; of a larger one a sample, and so many random directions."""
REPEATS = 64
"""How many slopes are averaged where one alone is too rough."""
Random = np.random.Generator


class Judge(NamedTuple):
    """How derivatives are judged: within which tolerance, beside which largest one, and which of the other inputs."""

    rtol: float
    largest: float = 0.0
    others: float = 0.0

    def scale(self, line: Line, slope: Slope) -> float:
        """Return what a derivative is resolved on: itself, the larger ones beside it, the terms of one that is zero."""
        reach = slope.reach if slope.estimate <= 1e-3 * slope.reach else 0.0
        terms = line.vanishes * line.wobble / EPS / line.unit
        return max(abs(slope.numeric), line.size, FLOOR * self.largest, FLOOR * reach, FLOOR * terms)

    def verdict(self, line: Line, slope: Slope) -> str:
        """Return "pass", "fail" or "unresolved": noisier functions are resolved as far as their own precision goes."""
        scale, rtol = self.scale(line, slope), max(1e-3 if slope.kink else self.rtol, EPS * line.s.branches.condition)
        own = scale if slope.kink else max(abs(slope.numeric), line.size)
        error = 0.0 if slope.kink else line.error + line.vanishes * line.terms
        if not abs(line.analytic - slope.numeric) <= rtol * own + 10 * (slope.estimate + error) < math.inf:
            return "fail" if math.isfinite(slope.estimate) and error != math.inf and rtol < 0.1 else "unresolved"
        resolved = 10 * slope.estimate <= 8 * max(rtol, min(4 * line.precision**0.5, 0.01)) * scale
        return "pass" if rtol < 0.1 and resolved else "unresolved"


def settle(line: Line, judge: Judge) -> tuple[Slope, str]:
    """Return the best derivative that can be had, and its verdict: mostly that of the first step.

    Steps at which the function is not smooth do not count. The one whose estimated error is least does, unless a
    smaller step disagrees with it. Nothing fails before the steps are so small that their error hides the difference,
    nor where slopes differ so much nearby that x must be on a kink.
    """
    first, few, best, agreed = line.slope(line.step, line.noise), line.s.losses >= LOSSES, UNKNOWN, -1
    opinion, verdict = _opinion(line, first, judge)
    if verdict != "unresolved":
        return opinion, verdict
    if _on_kink(line, first):
        return _bracket(line, judge)
    for level, slope in _slopes(line, judge):
        clash = abs(slope.numeric - best.numeric) > 10 * (slope.estimate + best.estimate)
        best = min(best, slope, key=lambda a: a.step if clash else a.estimate)
        agreed = 0 if clash else agreed + 1
        opinion, verdict = _opinion(line, best, judge)
        if verdict != "unresolved":
            line.s.hint = level
            return opinion, verdict
        rounding = max(line.rounding, EPS * slope.reach * slope.step)
        hidden = 40 * rounding / slope.step > max(abs(line.analytic - best.numeric), 10 * best.estimate)
        if slope.step < best.step and (hidden or few):
            break
    verdict = judge.verdict(line, best) if agreed > 0 else "unresolved"
    if verdict == "unresolved":
        best, verdict = _average(line, best, judge)
    return _excuse(line, best, judge) if verdict == "fail" and not few else (best, verdict)


def _slopes(line: Line, judge: Judge) -> Iterator[tuple[int, Slope]]:
    """Yield smooth slopes: by the step that helped before, then from large steps to small, down to the size of x.

    What does not pass without counts with the noise of the function, as does all of an imprecise one.
    """
    own = math.ceil(math.log2(line.unit / line.least) / 2)
    for level in dict.fromkeys([line.s.hint, *range(-3, LEVELS), *range(max(own - 2, LEVELS), own + 3)]):
        slope = line.slope(line.step * 0.25**level)
        if slope is not None and (line.precision or not slope.smooth or judge.verdict(line, slope) != "pass"):
            line.listen(slope)
            slope = line.slope(slope.step, line.noise)
        if slope is not None and slope.smooth:
            yield level, slope


def _opinion(line: Line, slope: Slope | None, judge: Judge) -> tuple[Slope, str]:
    """Return what a slope says, or the complex step where that says more: it may fail what differences know well."""
    if slope is None or not slope.smooth:
        return UNKNOWN, "unresolved"
    verdict = judge.verdict(line, slope)
    if verdict == "pass" and abs(line.analytic) > 10 * slope.estimate:
        return slope, verdict
    exact = line.complex_slope(slope)
    said = judge.verdict(line, exact)
    sure = slope.estimate <= min(1e-6 * abs(exact.numeric), abs(line.analytic - exact.numeric))
    if said == "pass" or (said == "fail" and sure):
        return exact, said
    return slope, verdict if verdict == "pass" else "unresolved"


def _average(line: Line, best: Slope, judge: Judge) -> tuple[Slope, str]:
    """Return the mean of slopes by steps near the best one, whose roundings mostly cancel, if that is sharp enough."""
    sharp = best._replace(estimate=best.estimate / math.sqrt(REPEATS))
    beside = judge._replace(largest=max(judge.largest, judge.others))
    if line.precision or beside.verdict(line, sharp._replace(numeric=line.analytic)) != "pass":
        return best, "unresolved"
    slopes = [line.slope(best.step * (1 - k / (8 * REPEATS))) or UNKNOWN for k in range(REPEATS)]
    mean = sharp._replace(numeric=float(np.mean([slope.numeric for slope in slopes])))
    return mean, "pass" if judge.verdict(line, mean) == "pass" else "unresolved"


def _excuse(line: Line, best: Slope, judge: Judge) -> tuple[Slope, str]:
    """Return the verdict on what fails by its best slope: that of a kink if there must be one."""
    slope, verdict = _bracket(line, judge)
    low, high = slope.kink or (0.0, 0.0)
    gap = max(1e-3 * judge.scale(line, best), 20 * slope.estimate)
    return (slope, verdict) if high - low > gap else (best, "fail")


def _on_kink(line: Line, first: Slope | None) -> bool:
    """Return whether a tiny step changes the branch, or tiny steps of two sizes show the same break of the slope.

    Or of the second derivative, which differences that take it for continuous do not get over.
    """
    tiny = lambda share: differences(line.samples(share * line.unit)[0], share * line.unit, line.rounding)
    if first is not None and first.smooth:
        return first.joint and all(tiny(share).joint for share in (1e-4, 1e-5))
    if not line.samples(TINY * line.unit)[1]:
        return True
    far, near = tiny(1e-9), tiny(1e-10)
    return not (far.smooth or near.smooth) and math.isclose(far.gap, near.gap, rel_tol=0.2)


def _bracket(line: Line, judge: Judge) -> tuple[Slope, str]:
    """Return what is nearest to the analytic slope between the slopes at x and at points nearby, and the verdict."""
    s, h = line.s, TINY / 100 * line.unit
    slopes, verdict = [line.move(h) / h, -line.move(-h) / h], ""
    reach = float(np.abs(line.samples(line.step)[0]).max()) / line.step
    noise = max(line.rounding, line.wobble, line.noise)
    for count in NEIGHBOURS:
        for k in range(len(slopes) - 2, count):
            x, y = s.neighbour(k)
            for i, d in line.moves.items():
                x[i][line.where] += h * d
            slopes.append(s.change(x, y) / h)
        low, high = float(np.nanmin(slopes)), float(np.nanmax(slopes))
        error = 1e-6 * (high - low) + (2 * noise / h if line.analytic or low or high else 0.0)
        slope = Slope(min(max(line.analytic, low), high), error, h, reach, kink=(low, high))
        verdict = judge.verdict(line, slope)
        if verdict == "pass" or s.losses >= LOSSES:
            break
    return slope, verdict


def check_input(s: Subject, i: int, gradients: list[Gradient], rng: Random, rtol: float, sample: int) -> list[Element]:
    """Check the derivatives by one input: the first step for all of them, then for each whatever it takes."""
    lines = _choose_lines(s, i, gradients, rng, sample)
    first = [line.slope(line.step) for line in lines]
    sharp = [abs(slope.numeric) for slope in first if slope and slope.estimate <= 1e-3 * abs(slope.numeric)]
    others = max(float(np.nanmax(np.abs(g.values), initial=0.0)) for g in gradients)
    judge = Judge(rtol, max(sharp, default=0.0), others)
    found = [_check(line, judge) for line in lines]
    failed = [line for line, e in zip(lines, found, strict=True) if e.verdict == "fail"]
    if failed and all(line.at is None for line in failed):
        culprit = _find_culprit(failed[0], i, gradients)
        found.append(_element(culprit, *settle(culprit, judge), judge))
    return found


def check_ties(s: Subject, gradients: list[Gradient], elements: list[Element], rtol: float) -> list[Element]:
    """Check where several derivatives are on kinks: what each may take at a tie, not all may.

    Moved by the same, or in proportion, all that were equal stay so.
    """
    inputs = [i for i, name in enumerate(s.names) if any(e.kink and e.input == name for e in elements)]
    if sum(e.kink is not None for e in elements) < 2:
        return []
    moves: list[dict[int, Any]] = [{i: np.ones_like(s.start[i]) for i in inputs}, {i: s.start[i] for i in inputs}]
    lines = [Line(s, gradients, None, move) for move in moves]
    return [_check(line, Judge(rtol)) for line in lines]


def check_nearby(s: Subject, rng: Random, rtol: float) -> list[Element]:
    """Check random directions at inputs nearby, off the kinks of these, and off what is right for these alone.

    Symmetric matrices stay so; off their symmetry, what is wrong is worth a note.
    """
    symmetric = [a.ndim > 1 and np.array_equal(a, a.swapaxes(-1, -2)) for a in s.start]
    found = _at_other_inputs(s, rng, rtol, symmetric)
    if any(symmetric) and not found:
        names = dict.fromkeys(e.input for e in _at_other_inputs(s, rng, rtol, [False] * len(symmetric)))
        s.notes += [f"{name}: right as long as the inputs are symmetric, wrong nearby where not" for name in names]
    return found


def _at_other_inputs(s: Subject, rng: Random, rtol: float, symmetric: list[bool]) -> list[Element]:
    """Return what is wrong at random inputs up to 1/16 away, if the function can be computed there."""
    before, y, wobble = s.start, s.y, s.wobble
    moved = [a + np.where(a == 0, 1, a) * rng.uniform(-1, 1, a.shape) / 16 for a in before]
    mean, elements = lambda a, k: np.asarray((a + a.swapaxes(-1, -2)) / 2 if k else a), list[Element]()
    with suppress(Exception):
        s.stand_at([mean(a, k) for a, k in zip(moved, symmetric, strict=True)])
        s.look(rng)
        pull = s.record(s.x)
        gradients = measure(s, pull, [g.copy() for g in pull(s.upstream.copy())])
        sizes = [np.where(a == 0, 1, np.abs(a)) / unit_of(a) for a in s.start]
        lines = [line for i, d in enumerate(sizes) if d.size for line in _directions(s, i, gradients, rng, d)]
        elements = [_check(line, Judge(rtol)) for line in lines]
    s.stand_at(before)
    s.y, s.wobble = y, wobble
    return [e for e in elements if e.verdict == "fail"]


def _check(line: Line, judge: Judge) -> Element:
    """Return the verdict: a direction is checked as sharply as one wrong element of it takes, if that is possible."""
    count = sum(np.size(d) for d in line.moves.values())
    sharp = judge._replace(rtol=max(judge.rtol / math.sqrt(count), min(judge.rtol, 1e-13)))
    slope, verdict = settle(line, sharp)
    if verdict == "unresolved" and count > 1:
        slope, verdict = settle(line, judge)
    if verdict == "unresolved" and judge._replace(largest=judge.others).verdict(line, slope) == "pass":
        rough = slope.estimate / max(abs(slope.numeric), line.size, 1e-300)
        verdict, line.precision = "pass", max(line.precision, rough)
    line.s.losses += verdict != "pass"
    return _element(line, slope, verdict, judge)


def _directions(s: Subject, i: int, gradients: list[Gradient], rng: Random, size: Any = 1.0) -> list[Line]:
    """Return random directions, of unequal sizes, so that two elements that are exchanged do not cancel."""
    signs = rng.choice([-1.0, 1.0], (DIRECTIONS, *s.start[i].shape))
    return [Line(s, gradients, None, {i: size * d}) for d in signs * rng.uniform(0.5, 1.5, signs.shape)]


def _choose_lines(s: Subject, i: int, gradients: list[Gradient], rng: Random, sample: int) -> list[Line]:
    """Return all elements of an input, or that of the largest gradient, random ones and random directions."""
    x, g, picks, directions = s.start[i], gradients[i].values, np.arange(s.start[i].size), []
    if x.size > max(sample, ALL):
        largest = int(np.argmax(np.abs(g))) if g.shape == x.shape else 0
        picks = np.unique([largest, *rng.choice(x.size, sample, replace=False)])
        directions = _directions(s, i, gradients, rng)
        s.notes.append(f"{s.names[i]}: {len(picks)} of {x.size} elements, and {DIRECTIONS} random directions")
    return [_element_line(s, i, gradients, k) for k in picks] + directions


def _element_line(s: Subject, i: int, gradients: list[Gradient], k: Any) -> Line:
    return Line(s, gradients, tuple(int(n) for n in np.unravel_index(int(k), s.start[i].shape)), {i: 1.0})


def _find_culprit(line: Line, i: int, gradients: list[Gradient]) -> Line:
    """Return a wrong element of a failing direction: halve it, and again the half that differs by more."""

    def miss(part: Array) -> float:
        direction = np.zeros(line.s.start[i].shape)
        direction.reshape(-1)[part] = line.moves[i].reshape(-1)[part]
        piece = Line(line.s, gradients, None, {i: direction})
        return abs(piece.analytic - (piece.slope(piece.step * 0.25**line.s.hint) or UNKNOWN).numeric)

    part = np.arange(line.s.start[i].size)
    while part.size > 1:
        part = max(np.array_split(part, 2), key=miss)
    return _element_line(line.s, i, gradients, part[0])


def _element(line: Line, slope: Slope, verdict: str, judge: Judge) -> Element:
    start = line.s.start[min(line.moves)]
    x = float(start[line.at]) if line.at is not None else math.nan
    faint = 10 * max(slope.estimate, 0.0 if slope.reach else 4 * line.rounding / line.step)
    known = line.analytic, slope.numeric, slope.estimate, judge.scale(line, slope), slope.step, slope.kink, verdict
    rough = 0.0 if slope.kink or line.vanishes else line.error / max(line.size, abs(slope.numeric), 1e-300)
    precision = max(line.precision, rough if 10 * rough > judge.rtol else 0.0)
    return Element(line.name, start.shape, line.at, x, *known, faint, 10 * line.terms, precision)
