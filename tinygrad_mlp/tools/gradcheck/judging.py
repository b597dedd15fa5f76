"""Verdicts: which steps a derivative takes until it passes, or is known to be wrong, or cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .differences import UNKNOWN, Line, Slope, differences
from .subject import EPS, TINY

FLOOR = 0.03
"""What counts as resolved is relative to a derivative itself, or to this share of the largest one of its input."""
LEVELS = 22
"""Steps are 4**-level times the first one, from -3 up to so many."""
NEIGHBOURS = (16, 64, 256)
"""At how many points nearby the slopes at a kink are looked for, more where fewer do not explain the gradient."""
LOSSES = 3
"""So many derivatives that did not pass are looked into with all steps; those after them with the ones that helped."""


class Judge(NamedTuple):
    """How derivatives are judged: within which tolerance, and beside which largest one."""

    rtol: float
    largest: float = 0.0

    def scale(self, line: Line, slope: Slope) -> float:
        """Return what a derivative is resolved on: itself, the larger ones beside it, the terms of one that is zero."""
        reach = slope.reach if slope.estimate <= 1e-3 * slope.reach else 0.0
        if line.vanishes and abs(slope.numeric) <= 10 * slope.estimate:
            reach = max(reach, line.terms / EPS, line.wobble / EPS / line.unit)
        return max(abs(slope.numeric), line.size, FLOOR * self.largest, FLOOR * reach)

    def verdict(self, line: Line, slope: Slope) -> str:
        """Return "pass", "fail" or "unresolved"."""
        scale, rtol = self.scale(line, slope), max(1e-3 if slope.kink else self.rtol, EPS * line.s.branches.condition)
        own = scale if slope.kink else max(abs(slope.numeric), line.size)
        error = 0.0 if slope.kink else line.error + (line.terms if line.vanishes else 0.0)
        if not abs(line.analytic - slope.numeric) <= rtol * own + 10 * (slope.estimate + error):
            return "fail" if math.isfinite(slope.estimate) and rtol < 0.1 else "unresolved"
        return "pass" if rtol < 0.1 and 10 * slope.estimate <= 8 * rtol * max(scale, own) else "unresolved"


def settle(line: Line, first: Slope | None, judge: Judge) -> tuple[Slope, str]:
    """Return the best derivative that can be had and its verdict, where the first step has not made it pass.

    Steps at which the function is not smooth do not count. The one whose estimated error is least does, unless a
    smaller step disagrees with it. Nothing fails before the steps are so small that their error hides the difference.
    """
    if _on_kink(line, first):
        return _bracket(line, judge)
    line.narrow()
    s, best, agreed = line.s, UNKNOWN, -1
    for level in _levels(line):
        h = line.step / 4.0**level
        slope = line.slope(h)
        if slope is None:
            continue
        quiet = slope.noise
        if not (slope.smooth and judge.verdict(line, slope) == "pass"):
            line.listen(slope)
            slope = slope._replace(**_louder(slope, line.noise or 0.0))
        if not slope.smooth:
            continue
        clash = abs(slope.numeric - best.numeric) > 10 * (slope.estimate + best.estimate)
        if clash and slope.step > best.step:
            continue
        agreed = 0 if clash else agreed + 1
        best = slope if clash or slope.estimate < best.estimate else best
        for opinion in (best, line.complex_slope(best)):
            verdict = _heard(line, opinion, best, judge)
            if verdict == "pass" or (verdict == "fail" and opinion is not best):
                s.hint = level
                s.losses += verdict == "fail"
                return opinion, verdict
        hidden = 40 * quiet / slope.step > max(abs(line.analytic - best.numeric), 10 * best.estimate)
        if slope.step < best.step and (hidden or s.losses >= LOSSES):
            break
    verdict = judge.verdict(line, best)
    if verdict == "fail" and s.losses < LOSSES:
        slope, heard = _bracket(line, judge)
        if slope.kink and slope.kink[1] - slope.kink[0] > 1e-3 * judge.scale(line, best):
            return slope, heard
    s.losses += 1
    return best, verdict if verdict != "fail" or agreed > 0 else "unresolved"


def _heard(line: Line, opinion: Slope, best: Slope, judge: Judge) -> str:
    """Return the verdict by a slope: by the complex step, a failure counts only where differences confirm its digits.

    A function that is noisier than the rounding of its result is judged by its own precision.
    """
    verdict = judge.verdict(line, opinion)
    if verdict == "fail" and opinion is not best:
        sure = best.estimate <= min(1e-6 * abs(opinion.numeric), abs(line.analytic - opinion.numeric))
        return verdict if sure else "unresolved"
    if verdict == "unresolved" and line.precision:
        return judge._replace(rtol=max(judge.rtol, min(4 * line.precision**0.5, 0.01))).verdict(line, opinion)
    return verdict


def _louder(slope: Slope, noise: float) -> dict[str, float]:
    """Return the changes to a slope when the function turns out to have more noise."""
    more = 4 * max(0.0, noise - slope.noise) / slope.step
    return {
        "estimate": slope.estimate + more,
        "gap_error": slope.gap_error + 4 * more,
        "noise": max(noise, slope.noise),
    }


def _levels(line: Line) -> Iterator[int]:
    """Yield the steps to try: first the one that helped before, then all, from large to small."""
    hint, few = line.s.hint, line.s.losses >= LOSSES
    own = math.ceil(math.log(line.unit / line.x, 4)) if line.x else 0
    levels = range(hint - 1, hint + 2) if few else [*range(-3, LEVELS), *range(max(own - 2, LEVELS), own + 3)]
    yield from dict.fromkeys([hint, *levels])


def _on_kink(line: Line, first: Slope | None) -> bool:
    """Return whether a tiny step changes the branch, or tiny steps of two sizes show the same break of the slope.

    Or of the second derivative, which differences of any order that take it for continuous do not get over.
    """
    if first is None or not first.smooth:
        if not line.samples(TINY * line.unit)[1]:
            return True
        slopes = [differences(line.samples(h)[0], h, line.rounding) for h in (1e-9 * line.unit, 1e-10 * line.unit)]
        clear = not any(slope.smooth for slope in slopes)
        return clear and math.isclose(slopes[0].gap, slopes[1].gap, rel_tol=0.2)
    return first.joint and all(
        differences(line.samples(h)[0], h, 0.0).joint for h in (1e-4 * line.unit, 1e-5 * line.unit)
    )


def _bracket(line: Line, judge: Judge) -> tuple[Slope, str]:
    """Return what is nearest to the analytic slope between the slopes at x and at points nearby, and the verdict."""
    s, h = line.s, TINY / 100 * line.unit
    slopes = [line.move(h) / h, -line.move(-h) / h]
    reach = float(np.abs(line.samples(line.step)[0]).max()) / line.step
    for count in NEIGHBOURS:
        for k in range(len(slopes) - 2, count):
            x, y = s.neighbour(k)
            for i, d in line.moves.items():
                x[i][line.where] += h * d
            slopes.append(s.change(x, y) / h)
        low, high = float(np.nanmin(slopes)), float(np.nanmax(slopes))
        numeric, error = min(max(line.analytic, low), high), 1e-6 * (high - low)
        error += 2 * line.rounding / h if line.analytic or low or high else 0.0
        slope = Slope(numeric, error, h, reach, kink=(low, high))
        verdict = judge.verdict(line, slope)
        if verdict == "pass" or s.losses >= LOSSES:
            break
    s.losses += verdict != "pass"
    return slope, verdict
