"""The outcome of a check: text, a picture in a notebook, a table of data, an error."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import errors, notebook
from ..numbers import aligned

if TYPE_CHECKING:
    import pandas

SEVERITY = ("pass", "unresolved", "fail")
COLOURS = {"pass": "#218739", "unresolved": "#a06d00", "fail": "#d9363f"}
NUMBERS = ("x", "analytic", "numeric", "rel. error", "estimated")
"""The columns of the table that hold numbers."""


class GradcheckError(errors.Brief, AssertionError):
    """A gradient is wrong, or cannot be told from a wrong one: the text and ``report`` say where, and how it looks."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


class Element(NamedTuple):
    """One derivative that was checked: by the element ``at`` of an input, or along a random direction (None).

    ``estimate`` is the estimated error of ``numeric``, and ``scale`` what it and the difference are relative to. Where
    x is on a kink, ``kink`` holds the outermost slopes nearby, and ``numeric`` what is nearest to ``analytic`` between.
    Derivatives below ``faint`` could not have been seen, and analytic ones below ``rounding`` are no more than that.
    ``precision`` is that of the function, where it is less than that of its dtype and has limited the check.
    """

    input: str
    shape: tuple[int, ...]
    at: tuple[int, ...] | None
    x: float
    analytic: float
    numeric: float
    estimate: float
    scale: float
    step: float
    kink: tuple[float, float] | None
    verdict: str
    faint: float = 0.0
    rounding: float = 0.0
    precision: float = 0.0

    @property
    def error(self) -> float:
        """The difference of the two derivatives, relative to ``scale``."""
        return abs(self.analytic - self.numeric) / (self.scale or 1.0)

    def columns(self) -> dict[str, Any]:
        """Return the element as a row of the table, by the names of its columns."""
        place = "direction" if self.at is None else list(self.at)
        kink = f", kink from {self.kink[0]:.6g} to {self.kink[1]:.6g}" if self.kink else ""
        numbers = self.x, self.analytic, self.numeric, self.error, self.estimate / (self.scale or 1.0)
        names = dict(zip(NUMBERS, numbers, strict=True))
        return {"input": self.input, "shape": self.shape, "element": place, **names, "verdict": self.verdict + kink}

    def texts(self) -> list[str]:
        """Return the columns as texts, the two derivatives with the digits in which they differ."""
        digits = min(max(9, math.ceil(2 - math.log10(self.error))), 17) if 0 < self.error < math.inf else 9
        formats = dict(zip(NUMBERS, (".6g", f".{digits}g", f".{digits}g", ".1e", ".1e"), strict=True))
        return [format(v, formats[k]) if k in formats else str(v) for k, v in self.columns().items()]

    def badness(self) -> tuple[int, float]:
        """Return what to sort by: the verdict, then the relative error."""
        return SEVERITY.index(self.verdict), self.error if math.isfinite(self.error) else math.inf


@dataclass(repr=False)
class Report:
    """The outcome of a check: true if all is well; printed, a table and, if not, a diagnosis.

    Attributes:
        elements: every `Element` that was checked.
        problems: what is wrong apart from numbers, and what the pattern of wrong numbers suggests.
        notes: what is worth knowing without being wrong.
        summary: what was done, in a line: method, evaluations, seconds, seed.
        rerun: the call that repeats the check.
    """

    elements: list[Element]
    problems: list[str]
    notes: list[str]
    summary: str
    rerun: str

    @property
    def verdict(self) -> str:
        """The worst verdict of all: "pass", "unresolved" or "fail"."""
        return "fail" if self.problems else max((e.verdict for e in self.elements), key=SEVERITY.index)

    @property
    def ok(self) -> bool:
        """Whether every derivative passed and there is no problem."""
        return self.verdict == "pass"

    def __bool__(self) -> bool:
        return self.ok

    @property
    def rows(self) -> list[Element]:
        """The worst element of each input: the table."""
        groups = itertools.groupby(self.elements, key=lambda e: e.input)
        return [max(group, key=Element.badness) for _, group in groups]

    @property
    def worst(self) -> list[Element]:
        """The elements that did not pass, the worst first."""
        return sorted((e for e in self.elements if e.verdict != "pass"), key=Element.badness, reverse=True)

    def __str__(self) -> str:
        said = [*(f"problem: {text}" for text in self.problems), *(f"note: {text}" for text in self.notes)]
        bad = ["", "the worst:", *_aligned(self.worst[:5])] if self.worst else []
        rerun = [] if self.ok else ["", f"rerun: {self.rerun}"]
        return "\n".join([f"gradcheck: {self.verdict}; {self.summary}", *said, "", *_aligned(self.rows), *bad, *rerun])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        paint = lambda found: f'<b style="color:{COLOURS[found[0]]}">{found[0]}</b>'
        verdicts = re.compile(r"(?<=^gradcheck: )\w+|(?<=  )(pass|unresolved|fail)(?=,|$)", re.MULTILINE)
        return notebook.block(verdicts.sub(paint, notebook.escape(str(self))))

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the table as a pandas DataFrame: a row for each input, with numbers as numbers."""
        import pandas

        return pandas.DataFrame([e.columns() for e in self.rows])


def notes_on(elements: Sequence[Element], rtol: float) -> list[str]:
    """Return how far the check reached where it passed without reaching all: by input.

    Nothing is expected of an element that is no more than rounding, if others beside it are much larger.
    """
    visible, notes = rtol * max((abs(e.numeric) for e in elements), default=0.0), []
    smooth = (e for e in elements if e.verdict == "pass" and not e.kink)
    for name, group in itertools.groupby(smooth, lambda e: e.input):
        passed = list(group)
        faint = [e for e in passed if abs(e.analytic) <= e.faint]
        hidden = [e.faint for e in faint if abs(e.analytic) > e.rounding or e.faint > visible]
        rough = max(e.precision for e in passed)
        if hidden:
            notes.append(f"{name}: {len(hidden)} derivatives are so small that only one above {max(hidden):.1e} shows")
        if rough:
            notes.append(f"{name}: precise to {rough:.0e} only, beside what it is added to, and checked as far as that")
    return notes


def _aligned(elements: Sequence[Element]) -> list[str]:
    """Return a table of elements as lines."""
    return aligned([["input", "shape", "element", *NUMBERS, "verdict"], *(e.texts() for e in elements)], "<<<>>>>><")
