"""Measure how much of the package the tests run: `python .ci/covered.py` (Python 3.14 or later; needs coverage).

Branches are counted too, and so are processes that tests start; what is named after the command goes to pytest. Python
traces nothing inside of a profiler, which is where `jit` looks at what a step reads: as a plugin of pytest this file
has tracing go on there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SETTINGS = """
[run]
branch = True
core = sysmon
patch = subprocess
parallel = True
source = {root}/tinygrad_mlp
data_file = {folder}/coverage
disable_warnings = module-not-imported,no-data-collected
"""


def pytest_configure() -> None:
    """Let what `jit` does inside of its profiler be traced, as nothing is by itself."""
    from tinygrad_mlp.jit.reads import Reads

    see, inside = Reads._see, threading.local()

    def traced(self: Any, *event: Any) -> None:
        if not getattr(inside, "looking", False):
            inside.looking = True
            try:
                sys.call_tracing(see, (self, *event))
            finally:
                inside.looking = False

    Reads._see = traced  # type: ignore[method-assign]


def main(options: list[str]) -> int:
    """Run the tests and print what they have missed; return the number of pytest's verdict."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "settings")
        settings.write_text(SETTINGS.format(root=ROOT, folder=folder))
        variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / '.ci'}", "CI": "true"}
        coverage = [sys.executable, "-m", "coverage"]
        chosen = options or ["-n", "auto"]
        run = [*coverage, "run", f"--rcfile={settings}", "-m", "pytest", "-q", "-p", Path(__file__).stem, *chosen]
        verdict = subprocess.run(run, cwd=ROOT, env=os.environ | variables, check=False).returncode
        for command in (["combine", "-q"], ["report", "-m", "--skip-covered"]):
            subprocess.run([*coverage, command[0], f"--rcfile={settings}", *command[1:]], cwd=ROOT, check=True)
    return verdict


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
