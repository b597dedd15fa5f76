"""Run the tests at both ends of every bound, and in other modes of the interpreter: ``python .ci/versions.py``.

``lowest`` installs the oldest Python and the oldest versions that ``setup.cfg`` allows, ``newest`` the newest that
there are, on each newer Python that this machine has. ``modes`` runs the newest with ``-W error``, ``-X dev``,
``PYTHONOPTIMIZE`` and NumPy's ``errstate(all="raise")``. Names of runs choose some: ``python .ci/versions.py lowest``.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
MODES = {
    "-W error": (["-W", "error"], {}),
    "-X dev": (["-X", "dev"], {}),
    "PYTHONOPTIMIZE=1": ([], {"PYTHONOPTIMIZE": "1"}),
    "errstate(all='raise')": ([], {"NUMPY_ERRSTATE": "raise"}),
}
EXTRAS = ("test", "native")
"""Those whose lower bounds the lowest Python can have; those of scikit-learn and Tornado need a newer one."""
HELD_BACK = ["pyparsing<3.3"]
"""What the oldest versions need an old version of, besides what they say."""


def find(version: str) -> str | None:
    """Return the interpreter of a version, if this machine has one."""
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(installed[-1]) if installed else shutil.which(f"python{version}")


def bounds() -> list[str]:
    """Return the lower bounds of all that the package and its tests need, as exact versions."""
    options = configparser.ConfigParser()
    options.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = options["options.extras_require"]
    needed = "\n".join([options["options"]["install_requires"], *(extras[name] for name in EXTRAS)]).split("\n")
    lowest = [line.split(",")[0].replace(">=", "==") for line in needed if ">=" in line]
    return list(dict.fromkeys(lowest))


def environment(folder: Path, python: str, requirements: list[str]) -> str:
    """Make an environment with the package and the requirements in it; return its interpreter."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = str(folder / "bin" / "python")
    subprocess.run([own, "-m", "pip", "install", "--quiet", f"{ROOT}[test]", *requirements], check=True)
    return own


def tests(python: str, options: list[str], variables: dict[str, str]) -> str:
    """Run all tests; return the last line that they print."""
    call = [python, *options, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider"]
    result = subprocess.run(
        call, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "\n  ".join([(result.stdout + result.stderr).splitlines()[-1], *failed[:20]])


def runs(folder: Path) -> Iterator[tuple[str, str, list[str], list[str], dict[str, str]]]:
    """Yield each run: its name, its Python, what is installed, the interpreter's options and variables."""
    found = [version for version in PYTHONS if find(version)]
    yield "lowest", PYTHONS[0], [*bounds(), *HELD_BACK], [], {}
    for version in found[1:]:
        yield "newest", version, [], [], {}
    for options, variables in MODES.values():
        yield "modes", found[-1], [], options, variables


def main(chosen: list[str]) -> bool:
    """Print what each run ends with; return whether any had a failure."""
    bad = False
    with tempfile.TemporaryDirectory() as name:
        for number, (kind, version, requirements, options, variables) in enumerate(runs(Path(name))):
            if chosen and kind not in chosen:
                continue
            how = " ".join([*requirements, *options, *(f"{k}={v}" for k, v in variables.items())])
            python = find(version)
            if python is None:
                print(f"{kind} {version}: not on this machine", flush=True)
                continue
            ending = tests(environment(Path(name, str(number)), python, requirements), options, variables)
            bad |= " failed" in ending or " error" in ending or "passed" not in ending
            print(f"{kind} {version} {how}: {ending}", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
