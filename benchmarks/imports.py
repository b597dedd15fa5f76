"""Time `import tinygrad_mlp` beside `import numpy`, show what it loads, and how large it is.

    python benchmarks/imports.py

Every import takes place in a fresh process, in turn, from compiled Python, as after an installation. Sizes are those of
a package's own files, without compiled Python and without what it depends on.
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

PACKAGE, BASE = "tinygrad_mlp", "numpy"
PEERS = {  # module: its distributions
    "torch": ("torch",),
    "jax": ("jax", "jaxlib"),
    "autograd": ("autograd",),
    "mygrad": ("mygrad",),
    "sklearn": ("scikit-learn",),
    "tinygrad": ("tinygrad",),
}
CODE = """
import sys, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, *sys.modules)
"""


def time_import(module, cache):
    """Return the seconds that an import takes in a fresh process, and the names of all modules loaded after it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    command = [sys.executable, "-c", CODE.format(module=module)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, *names = done.stdout.split()
    return float(seconds), {name.partition(".")[0] for name in names}


def size_of(module):
    """Return the bytes of a package's own files: of this one as it stands, of others as they are recorded."""
    if module == PACKAGE:
        files = [path for path in Path(util.find_spec(module).origin).parent.rglob("*") if path.is_file()]
    else:
        distributions = PEERS.get(module, (module,))
        files = [file.locate() for name in distributions for file in metadata.files(name) or []]
    return sum(os.path.getsize(file) for file in files if file.suffix != ".pyc" and os.path.exists(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="fresh processes for each (15)")
    options = parser.parse_args()
    print(common.machine())
    modules = [BASE, PACKAGE, *[module for module in PEERS if util.find_spec(module)]]
    times = {module: [] for module in modules}
    with tempfile.TemporaryDirectory() as cache:
        loaded = {module: time_import(module, cache)[1] for module in modules}  # not timed: this compiles
        for _ in range(options.rounds):
            for module in modules:
                times[module].append(time_import(module, cache)[0])
    rows = [["import", "ms", "lowest", "highest", f"/ {BASE}", "MB"]]
    for module, seconds in times.items():
        milliseconds = [f"{1000 * value:.1f}" for value in (median(seconds), min(seconds), max(seconds))]
        ratio = common.ratio(seconds, times[BASE])
        rows.append([module, *milliseconds, f"{ratio:.2f}", f"{size_of(module) / 1e6:.1f}"])
    common.print_table(rows)
    missing = [module for module in PEERS if module not in modules]
    print(f"missing: {', '.join(missing)}" if missing else "all peers are installed")
    extra = loaded[PACKAGE] - loaded[BASE]
    print(f"beyond {BASE}, {PACKAGE} loads, of the standard library: {names(extra & sys.stdlib_module_names)}")
    print(f"and otherwise: {names(extra - sys.stdlib_module_names)}")
    print(f"pandas is {'' if 'pandas' in loaded[PACKAGE] else 'not '}loaded")


def names(modules):
    return ", ".join(sorted(modules)) or "nothing"


if __name__ == "__main__":
    main()
