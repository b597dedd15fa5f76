"""What notebooks show: tables and curves as HTML without a script, errors without this package's own lines, progress.

Everything is escaped, and takes colours and fonts from the page, so that it fits a light one and a dark one. IPython is
imported only where it runs.
"""

from __future__ import annotations

import os
import re
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

GREY = "#787878"


def escape(text: str) -> str:
    """Return text as HTML has it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


_HOME = os.path.dirname(os.path.abspath(__file__)) + os.sep
_NOT_THE_USERS = (_HOME, os.sep + "numpy" + os.sep, os.sep + "IPython" + os.sep)


def tensor(t: Any) -> str:
    """Return a Tensor as HTML: what it is, its values, and beside them its gradient."""
    facts = [str(t.shape), str(t.dtype)]
    facts += [f"made by {t._node.rule.name}"] if t._node else ["requires grad"] if t._requires_grad else []
    title = f"<b>{escape(type(t).__name__)}</b> {escape(', '.join([*filter(None, [t.name]), *facts]))}"
    blocks = [("values", t)] if t._grad is None else [("values", t), ("gradient", t._grad)]
    return title + _beside((name if len(blocks) > 1 else "", _values(a._data)) for name, a in blocks)


def _values(array: Any) -> str:
    import numpy as np

    return f"<pre>{escape(np.array2string(array, separator=', ', threshold=200))}</pre>"


def _beside(blocks: Iterable[tuple[str, str]]) -> str:
    """Return blocks of HTML side by side, as far as the page is wide enough, each under its title."""
    inner = "".join(f"<div>{escape(title)}{text}</div>" for title, text in blocks)
    return f'<div style="display: flex; flex-wrap: wrap; gap: 0 2em">{inner}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as HTML."""
    cell = lambda tag, value: f'<{tag} style="text-align: right">{escape(_text(value))}</{tag}>'
    lines = "".join(f"<tr>{''.join(cell('td', value) for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{''.join(cell('th', name) for name in head)}</tr></thead><tbody>{lines}</tbody></table>"


def _text(value: Any) -> str:
    return f"{value:,}" if type(value) is int else f"{value:.6g}" if isinstance(value, float) else str(value)


def options_of(thing: Any, given: Callable[[str], Any]) -> str:
    """Return the arguments with which a thing could be made anew, as far as ``given`` knows them: "lr=0.1, rho=0.9"."""
    import inspect

    names = [name for name in inspect.signature(type(thing).__init__).parameters if name not in ("self", "params")]
    known = [(name, given(name)) for name in names]
    return ", ".join(f"{name}={_text(value)}" for name, value in known if isinstance(value, (int, float, str, tuple)))


def optimizer_text(optimizer: Any) -> str:
    """Return an optimiser as text: a line for each group of parameters, with its options."""
    lines = []
    for group in optimizer.param_groups:
        size = sum(p.size for p in group["params"])
        options = options_of(optimizer, group.get)
        lines.append(f"{type(optimizer).__name__}({options}): {len(group['params'])} parameters, {size:,} numbers")
    return "\n".join(lines)


def optimizer(optimizer: Any) -> str:
    """Return an optimiser as HTML: its options and parameters by group, and what it remembers of them."""
    options = list(optimizer.defaults)
    rows = [
        (i, *(group[name] for name in options), len(group["params"]), sum(p.size for p in group["params"]))
        for i, group in enumerate(optimizer.param_groups)
    ]
    states = {name for state in optimizer.state.values() for name in state}
    said = (
        f"remembers {', '.join(sorted(states))} of {len(optimizer.state)} parameters" if states else "no step taken yet"
    )
    title = f"<b>{escape(type(optimizer).__name__)}</b>, {escape(said)}"
    return title + table(["group", *options, "parameters", "numbers"], rows)


def schedule_text(schedule: Any) -> str:
    """Return a schedule as text: its options, and where it is."""
    options = options_of(schedule, vars(schedule).get)
    rates = ", ".join(f"{lr:.4g}" for lr in schedule.get_last_lr())
    return f"{type(schedule).__name__}({options}): step {schedule.last_step}, lr {rates}"


def schedule(schedule: Any) -> str:
    """Return a schedule as HTML: where it is, on the curve of its learning rates if that is known beforehand."""
    return f"{escape(schedule_text(schedule))}{_curve(*_rates(schedule))}"


def _rates(schedule: Any) -> tuple[list[int], list[float], int]:
    """Return some steps, the rates of the first group there, and the step at which the schedule is."""
    at = schedule.last_step
    known = getattr(schedule, schedule.total) if schedule.total else max(2 * at, 10 * getattr(schedule, "step_size", 2))
    last = max(known or 0, at)
    steps = sorted({round(i * last / 200) for i in range(201)})
    return steps, [schedule.base_lrs[0] * schedule.factor(step) for step in steps], at


def _curve(steps: list[int], rates: list[float], at: int) -> str:
    """Return a curve as SVG, of which the page decides the colour; nothing for one that is flat."""
    if max(rates) == min(rates):
        return ""
    width, height, top = 320, 80, max(rates)
    place = lambda step, rate: f"{4 + (width - 8) * step / steps[-1]:.1f},{4 + (height - 8) * (1 - rate / top):.1f}"
    points = " ".join(map(place, steps, rates))
    now = min(range(len(steps)), key=lambda i: abs(steps[i] - at))
    x, y = place(steps[now], rates[now]).split(",")
    return (
        f'<br><svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="learning rate from step 0 to {steps[-1]}, at most {top:.4g}" style="overflow: visible">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f'<circle cx="{x}" cy="{y}" r="4" fill="currentColor"/></svg>'
        f"<br>steps 0 to {steps[-1]:,}, lr from {rates[0]:.4g} to {rates[-1]:.4g}, at most {top:.4g}"
    )


def program(title: str, source: str) -> str:
    """Return a program as HTML, its comments in grey."""
    text = re.sub(r"#.*", lambda found: f'<span style="color: {GREY}">{found[0]}</span>', escape(source))
    return escape(title) + block(text)


def block(page: str) -> str:
    """Return HTML that stands line by line as it is."""
    return f'<pre style="overflow-x: auto; white-space: pre">{page}</pre>'


def users_traceback() -> list[str]:
    """Return the traceback of the error that IPython has caught last, without the lines that are not the user's.

    IPython calls this as ``_render_traceback_`` of an error: it has no other way to hide frames. ``%debug`` still walks
    through all of them.
    """
    error: Any = sys.last_value
    shell = import_module("IPython").get_ipython()
    kept = [
        tb for tb in _steps(error.__traceback__) if not any(p in tb.tb_frame.f_code.co_filename for p in _NOT_THE_USERS)
    ]
    trace: Any = None
    for tb in reversed(kept):
        trace = types.TracebackType(trace, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    before = error.__cause__, error.__suppress_context__
    error.__cause__ = None  # that of NumPy, which the message has in other words
    try:
        return list(shell.InteractiveTB.structured_traceback(type(error), error, trace, 0, 2))
    finally:
        error.__cause__, error.__suppress_context__ = before


def _steps(tb: Any) -> Iterator[Any]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


class Bar:
    """A bar of progress in a notebook, with those of tqdm's methods that `train.history.Progress` calls."""

    def __init__(self, total: int) -> None:
        self.total, self.count, self.note, self.drawn = total, 0, "", time.monotonic()
        ipython = import_module("IPython.display")
        self.page = ipython.HTML
        self.handle = ipython.display(self.page(self._html()), display_id=True)

    def _html(self) -> str:
        share = f"{100 * self.count // max(1, self.total)}%"
        bar = f'<progress value="{self.count}" max="{self.total}" aria-label="training">{share}</progress>'
        return f"{bar} {share} {escape(self.note)}"

    def update(self, n: int = 1) -> bool:
        """Count steps; return whether the bar was drawn, as it is ten times a second."""
        self.count, due = self.count + n, time.monotonic() - self.drawn >= 0.1
        if due:
            self.drawn = time.monotonic()
            self.handle.update(self.page(self._html()))
        return due

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        """Say what stands beside the bar when it is drawn next."""
        self.note = text

    def write(self, text: str) -> None:
        """Print lines below the bar."""
        print(text, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        self.handle.update(self.page(""))


def runs() -> bool:
    """Return whether what is printed goes to a notebook."""
    return type(sys.stdout).__module__.startswith("ipykernel")
