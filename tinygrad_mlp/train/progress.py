"""The progress of a training: a row an epoch, and a bar between them where tqdm is installed and somebody looks."""

from __future__ import annotations

import sys
from typing import Any

from ..errors import need
from .history import heading, line


class Progress:
    """The callback by which `fit` shows how it goes: everything that it prints passes through `say`."""

    def __init__(self) -> None:
        self.bar: Any = None

    def say(self, text: str) -> None:
        """Print lines above the bar, if there is one."""
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def on_train_begin(self, run: Any) -> None:
        """Open a bar for all steps."""
        if sys.stdout.isatty():
            self.bar = _bar(run.epochs * run.steps_per_epoch)

    def on_batch_end(self, run: Any) -> None:
        """Move the bar on; its loss is renewed when it is drawn."""
        if self.bar is not None and self.bar.update():
            self.bar.set_postfix_str(f"epoch {run.epoch} of {run.epochs}, loss {run.loss:.4g}", refresh=False)

    def on_epoch_end(self, run: Any) -> None:
        """Print the row of the epoch, the first one under its heading."""
        self.say(f"{heading(run.row)}\n{line(run.row)}" if len(run.history.rows) == 1 else line(run.row))

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
