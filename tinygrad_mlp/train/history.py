"""The history of a training, a row an epoch: as text while it runs, afterwards as a table and a file too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import notebook
from ..errors import need
from ..foreign import knows_foreign

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 9
NOT_SHOWN = ("step", "samples_per_second")
"""Columns that would make a row too wide for a terminal."""


def heading(names: Iterable[str]) -> str:
    """Return the names of the columns, those of the validation in two lines.

    >>> print(heading(["epoch", "loss", "validation_loss"]))
                          validation
        epoch       loss        loss
    """
    split = [_split(name) for name in names if name not in NOT_SHOWN]
    lines = ["  ".join(part.rjust(_width(pair)) for pair in split for part in [pair[i]]) for i in (0, 1)]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def line(row: Mapping[str, Any]) -> str:
    """Return a row, aligned to its `heading`.

    >>> print(line({"epoch": 3, "loss": 0.25, "validation_loss": 12.0}))
            3     0.2500       12.00
    """
    cells = (_cell(name, value).rjust(_width(_split(name))) for name, value in row.items() if name not in NOT_SHOWN)
    return "  ".join(cells)


def _split(name: str) -> tuple[str, str]:
    first, _, rest = name.partition("_")
    return (first, rest) if first == "validation" else ("", name)


def _width(pair: tuple[str, str]) -> int:
    return max(WIDTH, *map(len, pair))


def _cell(name: str, value: Any) -> str:
    if name == "seconds":
        return f"{value:.2f}"
    return f"{value:#.4g}" if isinstance(value, float) else str(value)


@knows_foreign
class History:
    """What `fit` returns: a row an epoch, and why it stopped.

    Attributes:
        rows: dicts with the keys epoch, step (steps so far), loss, the metrics, validation_loss, validation_<metric>,
            lr (of the last step), seconds and samples_per_second (of the steps alone, without validation). Loss and
            metrics are those while learning; the loss is the mean over the rows.
        lr: the learning rate of each step, that of the first parameter group.
        stopped: why the training ended before its last epoch, "interrupted" for Ctrl-C; None if it did not.

    ``print`` shows it as text, a notebook as a table.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.lr: list[float] = []
        self.stopped: str | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows to a CSV file, with every digit."""
        self.frame.to_csv(path, index=False)

    def __repr__(self) -> str:
        lines = [heading(self.rows[0]), *map(line, self.rows)] if self.rows else ["no epochs"]
        return "\n".join([*lines, f"stopped: {self.stopped}"] if self.stopped else lines)

    def _repr_html_(self) -> str:
        reason = f"<p>stopped: {notebook.escape(self.stopped)}</p>" if self.stopped else ""
        return str(self.frame.to_html(index=False)) + reason


class Progress:
    """The callback by which `fit` shows how it goes: everything that it prints passes through `say`."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.shown = 0

    def say(self, text: str) -> None:
        """Print lines above the bar, if there is one."""
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def on_train_begin(self, run: Any) -> None:
        """Open a bar for all steps."""
        self.shown = 0
        if notebook.runs():
            self.bar = notebook.Bar(run.epochs * run.steps_per_epoch)
        elif sys.stdout.isatty():
            self.bar = _bar(run.epochs * run.steps_per_epoch)
        if self.bar is not None and run.step:
            self.bar.update(run.step)

    def on_epoch_begin(self, run: Any) -> None:
        """Nothing to show yet."""

    def on_batch_end(self, run: Any) -> None:
        """Move the bar on; its loss is renewed when it is drawn."""
        if self.bar is not None and self.bar.update():
            self.bar.set_postfix_str(f"epoch {run.epoch} of {run.epochs}, loss {run.loss:.4g}", refresh=False)

    def on_epoch_end(self, run: Any) -> None:
        """Print the row of the epoch, the first one under its heading."""
        self.say(line(run.row) if self.shown else f"{heading(run.row)}\n{line(run.row)}")
        self.shown += 1

    def on_train_end(self, run: Any) -> None:
        """Close the bar, and say why the training ended early, if it did."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None
        if run.history.stopped:
            self.say(f"stopped: {run.history.stopped}")


def _bar(total: int) -> Any:
    try:
        tqdm = need("tqdm", "progress").tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit="step", leave=False, file=sys.stdout, dynamic_ncols=True)
