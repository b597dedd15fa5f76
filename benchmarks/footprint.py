"""Show what a training step allocates, how long an import takes, and how large an installation is, beside others.

    python benchmarks/footprint.py
    python benchmarks/footprint.py --case 6

A step's allocations are those of the whole process, native code included, as memray sees them: each call of malloc and
its kin, though not Python's own small objects, which come from blocks that it keeps. They are counted over some steps
of `steps.py`, after others, with the waiting for the result. "Most held" is the most bytes held at once of those that
these steps allocated, gradients that are kept until the next step among them, parameters and buffers from before not.

Every import takes place in a fresh process, in turn, from compiled Python, as after an installation. Sizes are those of
a package's own files, without compiled Python, and with all packages that it requires, optional ones left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from statistics import median

import common
from contestants import CONTESTANTS, Problem, title
from steps import CASES, TIMING_RATE, runner

PACKAGE, BASE = "tinygrad_mlp", "numpy"
DISTRIBUTIONS = {  # of modules
    BASE: "numpy",
    PACKAGE: "tinygrad_mlp",
    "torch": "torch",
    "jax": "jax",
    "autograd": "autograd",
    "mygrad": "mygrad",
    "sklearn": "scikit-learn",
    "tinygrad": "tinygrad",
}
COUNTED_STEPS = 100
CODE = """
import sys, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, *sys.modules)
"""


def measure(name, batch, widths):
    """In a child: return the allocations of a step and their bytes, and the most bytes held of those at once."""
    import memray

    run = runner(name, Problem(batch, tuple(widths), momentum=0.0, dropout=0.0, lr=TIMING_RATE))
    run(common.WARM_UP_CALLS)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "allocations"
        with memray.Tracker(path):
            run(COUNTED_STEPS)
        reader = memray.FileReader(path)
        made = [(record.n_allocations, record.size) for record in reader.get_allocation_records() if record.size]
        count, size = (sum(column) / COUNTED_STEPS for column in zip(*made, strict=True))  # size 0: those that free
        return {"count": count, "bytes": size, "most": reader.metadata.peak_memory}


def print_allocations(batch, widths):
    rows = [[title(batch, "-".join(map(str, widths))), "allocations a step", "KiB a step", "most held, KiB"]]
    notes = []
    for name in CONTESTANTS:
        answer = common.in_child(__file__, name=name, batch=batch, widths=widths)
        if "note" in answer:
            notes.append(f"{name}: {answer['note']}")
        else:
            rows.append([name, f"{answer['count']:.0f}", *[f"{answer[key] / 1024:.1f}" for key in ("bytes", "most")]])
    common.print_table(rows)
    print("\n".join(notes))


def time_import(module, cache):
    """Return the seconds that an import takes in a fresh process, and the names of all modules loaded after it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    command = [sys.executable, "-c", CODE.format(module=module)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, *names = done.stdout.split()
    return float(seconds), {name.partition(".")[0] for name in names}


def size_of(distribution):
    """Return the bytes of a package's own files: of this one as it stands, of others as they are recorded."""
    if distribution == PACKAGE:
        files = [path for path in Path(util.find_spec(PACKAGE).origin).parent.rglob("*") if path.is_file()]
    else:
        files = [file.locate() for file in metadata.files(distribution) or []]
    return sum(os.path.getsize(file) for file in files if file.suffix != ".pyc" and os.path.exists(file))


def required(distribution, found):
    """Return ``found``, a set, with a distribution added to it, and all that it requires here, options aside."""
    from packaging.requirements import Requirement

    if distribution not in found:
        found.add(distribution)
        for requirement in map(Requirement, metadata.requires(distribution) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                required(requirement.name, found)
    return found


def megabytes(distributions):
    return f"{sum(map(size_of, distributions)) / 1e6:.1f}"


def sizes(distribution):
    """Return the megabytes of a package, and of it and all that it requires, as text; "-" for what cannot be known."""
    try:
        return megabytes([distribution]), megabytes(required(distribution, set()))
    except (ImportError, metadata.PackageNotFoundError):
        return "-", "-"


def print_imports(rounds):
    modules = [module for module in DISTRIBUTIONS if util.find_spec(module)]
    times = {module: [] for module in modules}
    with tempfile.TemporaryDirectory() as cache:
        loaded = {module: time_import(module, cache)[1] for module in modules}  # not timed: this compiles
        for _ in range(rounds):
            for module in modules:
                times[module].append(time_import(module, cache)[0])
    rows = [["import", "ms", "lowest", "highest", f"/ {BASE}", "MB", "MB with requirements"]]
    for module, seconds in times.items():
        milliseconds = [f"{1000 * value:.1f}" for value in (median(seconds), min(seconds), max(seconds))]
        rows.append([module, *milliseconds, f"{common.ratio(seconds, times[BASE]):.2f}", *sizes(DISTRIBUTIONS[module])])
    common.print_table(rows)
    missing = [module for module in DISTRIBUTIONS if module not in modules]
    print(f"missing: {', '.join(missing)}" if missing else "all peers are installed")
    extra = loaded[PACKAGE] - loaded[BASE]
    print(f"beyond {BASE}, {PACKAGE} loads, of the standard library: {names(extra & sys.stdlib_module_names)}")
    print(f"and otherwise: {names(extra - sys.stdlib_module_names)}")
    print(f"pandas is {'' if 'pandas' in loaded[PACKAGE] else 'not '}loaded")


def names(modules):
    return ", ".join(sorted(modules)) or "nothing"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="fresh processes for each import (15)")
    numbers = range(1, len(CASES) + 1)
    parser.add_argument("--case", type=int, choices=numbers, default=5, metavar="N", help="of steps.py, 1 to 7 (5)")
    options = parser.parse_args()
    print(common.machine())
    print(common.versions(DISTRIBUTIONS.values()))
    print()
    print_allocations(*CASES[options.case - 1])
    print()
    print_imports(options.rounds)


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
