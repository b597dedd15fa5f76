"""Numeric derivatives along a line, by differences and by the complex step, each with its estimated error."""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.exceptions import ComplexWarning

from .branches import settings
from .subject import EPS, Array, Subject, norm, unit_of

STEP, COMPLEX_STEP = 2.0**-8, 2.0**-100
"""The first step, relative to max(1, |x|): truncation and rounding balance near it."""


class Gradient(NamedTuple):
    """The gradient of one input, with the rounding of each element, and that of what is added up to it."""

    values: Array
    rounding: Array
    terms: float


class Slope(NamedTuple):
    """A numeric derivative with its estimated error, and what the steps that it comes from have shown.

    ``reach`` is the steepest slope from x to a sample, ``gap`` the difference of the one-sided derivatives, with its
    error, ``noise`` that of the function, ``joint`` whether the second derivative seems to jump, and ``kink`` the
    outermost slopes at a kink.
    """

    numeric: float
    estimate: float
    step: float
    reach: float = 0.0
    gap: float = 0.0
    gap_error: float = 0.0
    noise: float = 0.0
    joint: bool = False
    kink: tuple[float, float] | None = None

    @property
    def smooth(self) -> bool:
        """Whether the one-sided derivatives agree."""
        return abs(self.gap) <= 10 * self.gap_error


UNKNOWN = Slope(math.nan, math.inf, math.nan)


class Line:
    """The function along a line through its inputs: by one element of one input, or in a direction of several.

    ``moves`` gives the direction of each input that is moved: a number for the element ``at``, or an array.
    ``precision`` is that of the function, relative to its result, as far as it has shown to be less than that of its
    dtype.
    """

    def __init__(self, s: Subject, gradients: list[Gradient], at: tuple[int, ...] | None, moves: dict[int, Any]):
        self.s, self.at, self.moves, self.where = s, at, moves, ... if at is None else at
        self.name = " and ".join(s.names[i] for i in moves)
        self.unit = unit_of(*(s.start[i][self.where] for i in moves))
        self.x = max(norm(s.start[i][self.where] * d) / max(norm(d), 1e-300) for i, d in moves.items())
        self.step, self.rounding, self.wobble = STEP * self.unit * s.jitter, s.rounding_of(...), s.wobble_of(...)
        self.noise: float | None = None
        self.precision = 0.0
        self.analytic, self.error, self.terms, self.size = math.nan, 0.0, 0.0, 0.0
        self._imaginary: float | None = None
        if all(gradients[i].values.shape == s.start[i].shape for i in moves):
            parts = [
                (gradients[i].values[self.where] * d, gradients[i].rounding[self.where] * d, i)
                for i, d in moves.items()
            ]
            self.analytic = sum(float(part.sum()) for part, _, _ in parts)
            self.size = norm([norm(part) for part, _, _ in parts])
            self.error = norm([norm(rounding) for _, rounding, _ in parts])
            self.terms = norm([gradients[i].terms * norm(moves[i]) for i in moves])

    @property
    def vanishes(self) -> bool:
        """Whether the analytic derivative is zero, up to its rounding."""
        return abs(self.analytic) <= 10 * self.terms

    def move(self, t: float) -> float:
        """Return by how much a step ``t`` changes the result."""
        s = self.s
        for i, d in self.moves.items():
            s.x[i][self.where] = s.start[i][self.where] + t * d
        try:
            return s.change(s.x, s.y)
        finally:
            for i in self.moves:
                s.x[i][self.where] = s.start[i][self.where]

    def samples(self, h: float) -> tuple[Array, bool]:
        """Return ``d[side, k]``, the changes by steps +-h / 2**k for k = 0, 1, 2, and whether all take one branch."""
        d, same = np.empty((2, 3)), True
        for side, step in enumerate((h, -h)):
            for k in range(3):
                d[side, k] = self.move(step / 2**k)
                same &= self.s.branches.taken == self.s.base
        return d, same

    def narrow(self) -> None:
        """Count only the rounding of results that the line reaches: those that NaN in place of x turns into NaN."""
        x = [a.copy(order="K") for a in self.s.start]
        for i in self.moves:
            x[i][self.where] = math.nan
        with suppress(Exception):
            reached = np.isnan(self.s.value(x))
            if reached.any():
                self.rounding, self.wobble = self.s.rounding_of(reached), self.s.wobble_of(reached)

    def listen(self, slope: Slope) -> None:
        """Measure the noise of the function, once: from the sixth differences of 9 values very near each other.

        So near that they differ by some 64 roundings; or, if some are equal then, or go up in equal stairs, 64 times
        as far as where they do not. Noise that is much more than the rounding of the result says that the function is less precise than its dtype.
        """
        size, heard, clear = max(self.rounding / self.s.eps, slope.reach * slope.step), [], 0
        h = max(64 * EPS * size / max(slope.reach, 1e-300), 64 * EPS * self.x, self.s.grain)
        while self.noise is None:
            h = min(h, self.unit / 64)
            d = np.array([self.move(k * h) if k else 0.0 for k in range(-4, 5)])
            heard.append(norm(np.diff(d, 6)) / math.sqrt(3 * 924))
            clear += len({*d.tolist()}) == d.size and len({*np.diff(d).tolist()}) > 2
            if clear == min(2, len(heard)) or (clear and h == self.unit / 64):
                self.noise, self.s.grain = max(*heard[-clear:], self.s.precision * size), h
                self.precision = self.noise / size if self.noise > 100 * EPS * size else 0.0
                self.s.precision = self.precision if self.precision < 1e-5 else self.s.precision
            elif h == self.unit / 64:
                self.noise = 0.0
            h *= 64

    def slope(self, h: float) -> Slope | None:
        """Return the derivative by steps up to ``h``, or None where the function is not defined that far.

        The noise of the function is taken to be the rounding of its result and of x.
        Only an unchanged result where zero is expected is exact.
        """
        d, same = self.samples(h)
        if not (same and np.isfinite(d).all()):
            return None
        rounding = self.wobble if self.vanishes else self.rounding
        rounding = rounding if self.analytic or d.any() else 0.0
        noise = max(rounding, EPS * float(np.abs(d).max()), EPS * self.x * (abs(d[0, 1] - d[1, 1]) / h))
        return differences(d, h, noise)

    def complex_slope(self, slope: Slope) -> Slope:
        """Return the derivative by the complex step, if the function takes it and the differences confirm it.

        It passes what agrees to three digits more than they have.
        """
        if self._imaginary is None:
            self._imaginary = self._complex_step()
        numeric = self._imaginary
        underflows = abs(numeric) * COMPLEX_STEP < 1e-290
        if underflows or not abs(numeric - slope.numeric) <= 10 * slope.estimate + 1e-9 * abs(numeric):
            return UNKNOWN
        return slope._replace(
            numeric=numeric, estimate=max(8 * EPS * abs(numeric), 1e-3 * slope.estimate), step=COMPLEX_STEP
        )

    def _complex_step(self) -> float:
        s, x = self.s, [a.astype(complex) for a in self.s.start]
        for i, d in self.moves.items():
            x[i][self.where] += 1j * COMPLEX_STEP * d
        try:
            with warnings.catch_warnings(), settings(grad_enabled=False):
                warnings.simplefilter("error", ComplexWarning)
                y = s.value(x)
        except Exception:
            return math.nan
        near = y.shape == s.y.shape and np.allclose(y.real, s.y, rtol=1e-9, atol=1e-9 * np.abs(s.y).max(initial=0.0))
        return float((s.upstream * y.imag).sum() / COMPLEX_STEP) if near else math.nan


def differences(d: Array, h: float, noise: float) -> Slope:
    """Return the slopes that follow from `Line.samples`.

    Extrapolation of the central differences gives sixth order; by how much those of fourth order differ is the
    estimate of the error. An error of ``noise`` in each ``d`` becomes one of 4 noise / h.
    """
    steps = h / np.array([1, 2, 4])
    second = (d[0] - d[1]) / (2 * steps)
    fourth = (4 * second[1:] - second[:-1]) / 3
    sixth = (16 * fourth[1] - fourth[0]) / 15
    changes, first = np.diff(second), d * [[1], [-1]] / steps
    joint = bool(abs(changes[0] - 2 * changes[1]) < 0.1 * abs(changes[1]))
    once = 2 * first[:, 1:] - first[:, :-1]
    right, left = (4 * once[:, 1] - once[:, 0]) / 3
    rounding = 4 * noise / h
    gap_error = max(abs(right - once[0, 1]), abs(left - once[1, 1])) + 4 * rounding
    error, reach = abs(fourth[1] - fourth[0]) + rounding, np.abs(first).max()
    return Slope(float(sixth), float(error), h, float(reach), float(right - left), float(gap_error), noise, joint)
