"""What the benchmarks share: one process for each contestant, timing, the machine's description and tables."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

THREADS = 2
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPROC",  # XLA's thread pools
    "NUM_CPU_THREADS",  # tinygrad's
)
BLOCK_SECONDS = 0.002  # a sample lasts at least this long, so that neither the clock nor the loop counts
WARM_UP_CALLS = 30

Answer = dict[str, Any]


class NotApplicableError(Exception):
    """A contestant cannot do what is measured; the message says why."""


def in_child(script: str, **request: Any) -> Answer:
    """Run a script in a process of its own, which finds the request by `child_request`; return its last line's JSON.

    A child that fails, or cannot import what it measures, answers with a "note" that says why.
    """
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(THREADS))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # whose processes would compile all that they import, each anew
    command = [sys.executable, script, "--child", json.dumps(request)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
        return {"note": "failed: " + (errors or lines)[-1]}
    answer: Answer = json.loads(done.stdout.splitlines()[-1])
    return answer


def child_request() -> Answer | None:
    """Return what the parent asks for, or None in the parent."""
    return json.loads(sys.argv[2]) if sys.argv[1:2] == ["--child"] else None


def answer(measure: Callable[..., Answer], request: Answer) -> None:
    """Measure as requested and print the answer for the parent."""
    try:
        result = measure(**request)
    except ImportError as error:
        result = {"note": f"missing: {error.msg.split(' (')[0]}"}
    except NotApplicableError as reason:
        result = {"note": str(reason)}
    print(json.dumps(result))


def seconds_per_call(run: Callable[[int], None], seconds: float) -> float:
    """Return the median time of a call; ``run(n)`` makes n calls and waits until they are done."""
    run(WARM_UP_CALLS)
    calls, taken = 1, _time(run, 1)
    while taken < BLOCK_SECONDS:
        calls *= 2
        taken = _time(run, calls)
    end, samples = perf_counter() + seconds, []
    while perf_counter() < end or len(samples) < 5:
        samples.append(_time(run, calls) / calls)
    return median(samples)


def _time(run: Callable[[int], None], calls: int) -> float:
    start = perf_counter()
    run(calls)
    return perf_counter() - start


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over rounds of the ratio in each round, which a machine that slows down does not change."""
    return median(a / b for a, b in zip(mine, theirs, strict=True))


def machine() -> str:
    """Return the processor, Python, NumPy, its BLAS with the kernel that it chose, and the threads it may use."""
    described = in_child(__file__)
    return described.get("machine", described.get("note", ""))


def _describe_machine() -> Answer:
    import numpy as np

    libraries = np.show_config(mode="dicts")["Build Dependencies"]
    blas = f"{libraries['blas']['name']} {libraries['blas']['version']}"
    try:
        from threadpoolctl import threadpool_info

        pools = [f"{p['internal_api']} {p['version']}, kernel {p.get('architecture', '?')}" for p in threadpool_info()]
        blas = "; ".join(pools) or blas
    except ImportError:
        blas += ", kernel unknown without threadpoolctl"
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return {"machine": f"{_processor()}, {os.cpu_count()} CPUs, {python}, {blas}, {THREADS} threads, load {load}"}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(part.split(":", 1) for part in reversed(lines) if ":" in part)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    family = f" (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else ""
    return facts.get("model name", platform.machine()) + family


def versions(distributions: Iterable[str]) -> str:
    """Return the versions of those distributions that are installed."""
    found = []
    for name in dict.fromkeys(distributions):
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, of which the first is the heading, as Markdown: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    lines.insert(1, ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]])
    for cells in lines:
        print("| " + " | ".join(cells) + " |")
    sys.stdout.flush()


def write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]], comments: Iterable[str]) -> None:
    """Write a CSV file that begins with lines of comment, each after "# "."""
    with path.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {comment}\n" for comment in comments)
        csv.writer(file).writerows([heading, *rows])


if __name__ == "__main__" and (request := child_request()) is not None:
    answer(_describe_machine, request)
