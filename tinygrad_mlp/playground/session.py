"""What a page can say, and what it is answered: JSON in, JSON out, and nothing in between but bounds.

========  ==============================================  =====================================================
type      with                                            answer
========  ==============================================  =====================================================
draw      strokes: lists of [x, y] from 0 to 1,           reading: what `digits.reading` returns
          score: a digit or null
build     data: a key of `plane.DATA`, width              plane: the points, their labels, the first frame
train     steps, lr                                       frame: what `Plane.frame` returns
plant     bug: a key of `bugs.BUGS`, or "" for none       planted
check                                                     report: what `bugs.check` returns
anything else                                             error: a sentence
========  ==============================================  =====================================================

``frame``, ``plane`` and ``planted`` also have the program where it is another than before.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import tinygrad_mlp as tg

from . import bugs, digits
from .plane import DATA, Plane

POINTS, WIDTH, STEPS, RATE = 1000, 16, 50, (1e-4, 10.0)
"""How many points a drawing may have, units a layer, steps a message, and the learning rates."""


class MessageError(ValueError):
    """A message that is not understood, or asks for more than is allowed."""


def number(message: dict[str, Any], name: str, low: float, high: float, kind: type = float) -> Any:
    """Return a number of a message, within bounds."""
    value: Any = message.get(name)
    if type(value) not in {int, kind} or not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        raise MessageError(f"{name} is {tg.errors.describe(value)}, expected {what} from {low:g} to {high:g}")
    return value


def choice(message: dict[str, Any], name: str, valid: Any) -> str:
    """Return a text of a message, which is one of several."""
    value = message.get(name)
    if not isinstance(value, str) or value not in valid:
        raise MessageError(f"{name} is {tg.errors.describe(value)}, expected one of {', '.join(filter(None, valid))}")
    return value


def strokes(message: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """Return the strokes of a drawing, arrays (N, 2) of points on the sheet."""
    value = message.get("strokes")
    if not isinstance(value, list) or not value or not all(isinstance(s, list) and s for s in value):
        raise MessageError("strokes are lists of points, at least one, and none of them empty")
    if sum(map(len, value)) > POINTS:
        raise MessageError(f"the drawing has {sum(map(len, value))} points, and may have {POINTS}: clear the sheet")
    for point in (p for s in value for p in s):
        if not isinstance(point, list) or [type(c) in {int, float} and 0 <= c <= 1 for c in point] != [True, True]:
            raise MessageError(f"a point is {tg.errors.describe(point)}, expected [x, y] from 0 to 1")
    return [np.array(s, np.float64) for s in value]


def plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays as lists, and null for NaN and infinity.

    >>> plain({"loss": np.float64("nan"), "units": [np.array([0.5, np.inf])]})
    {'loss': None, 'units': [[0.5, None]]}
    """
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.floating | float):
        numbers, finite, null = np.asarray(value), np.isfinite(value), np.array(None)
        return (numbers if finite.all() else np.where(finite, numbers.astype(object), null)).tolist()
    return value


class Session:
    """One page: the network that it trains, and what it has been shown.

    >>> page = Session()
    >>> json.loads(page.answer('{"type": "build", "data": "xor", "width": 4}'))["step"]
    0
    >>> page.answer('{"type": "train", "steps": 1, "lr": -1}')
    '{"type": "error", "message": "lr is -1, expected a number from 0.0001 to 10"}'
    """

    def __init__(self) -> None:
        self.plane = Plane("moons", 8)
        self.shown: tuple[Any, ...] = ()

    def answer(self, text: str | bytes) -> str:
        """Return the answer to a message; one that cannot be answered changes nothing."""
        try:
            answer = self._answered(text)
        except MessageError as error:
            answer = {"type": "error", "message": str(error)}
        return json.dumps(answer, allow_nan=False)

    def _answered(self, text: str | bytes) -> dict[str, Any]:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MessageError("a message must be JSON") from error
        kind = message.get("type") if isinstance(message, dict) else None
        answers = {"draw": self._draw, "build": self._build, "train": self._train}
        answers |= {"plant": self._plant, "check": self._check}
        if not isinstance(kind, str) or kind not in answers:
            raise MessageError(f"a message is an object with a type, one of {', '.join(answers)}")
        return plain(answers[kind](message))

    def _draw(self, message: dict[str, Any]) -> dict[str, Any]:
        digit = None if message.get("score") is None else number(message, "score", 0, 9, int)
        return {"type": "reading", **digits.reading(strokes(message), digit)}

    def _build(self, message: dict[str, Any]) -> dict[str, Any]:
        data, width = choice(message, "data", DATA), number(message, "width", 1, WIDTH, int)
        self.plane, self.shown = Plane(data, width), ()
        x, y = self.plane.x, self.plane.y[:, 0]
        return {"type": "plane", "points": x, "labels": y, **self.plane.frame(), **self._program()}

    def _train(self, message: dict[str, Any]) -> dict[str, Any]:
        steps, lr = number(message, "steps", 1, STEPS, int), number(message, "lr", *RATE)
        return {"type": "frame", **self.plane.train(steps, lr), **self._program()}

    def _plant(self, message: dict[str, Any]) -> dict[str, Any]:
        self.plane.plant(choice(message, "bug", ("", *bugs.BUGS)))
        return {"type": "planted", "bug": self.plane.bug, **self._program()}

    def _check(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"type": "report", "bug": self.plane.bug, **self.plane.check()}

    def _program(self) -> dict[str, str]:
        """Return the step as written and as compiled, unless the page has been shown both."""
        before, self.shown = self.shown, (self.plane.bug, self.plane.has_run)
        if self.shown == before:
            return {}
        return {"written": self.plane.written(), "program": self.plane.program()}
