"""The tests would notice: each of the faults in `faults.py`, made in a copy of the package, fails a test.

All of them take about half an hour on two cores::

    pytest -m slow tests/test_faults.py -n 2
    pytest -m slow tests/test_faults.py -k "optim or fit"
"""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults import FAULTS, Fault

import tinygrad_mlp

ROOT, PACKAGE = Path(__file__).parent.parent, Path(tinygrad_mlp.__file__).parent
TESTS = {
    "foreign": "test_mistakes test_nn",
    "syntax": "test_syntax",
    "later": "test_house",
    "errors": "test_errors test_mistakes test_engine",
    "rules": "test_rules test_engine test_traps",
    "graph": "test_engine test_traps test_rules",
    "versions": "test_versions",
    "autograd": "test_engine test_traps",
    "func": "test_func test_func_custom test_engine",
    "tensor": "test_engine test_traps test_rules",
    "functional": "test_mistakes test_nn test_traps test_errors test_engine test_rules",
    "optim": "test_optim test_schedules test_errors test_nn_torch test_jit",
    "nn": "test_nn test_nn_torch",
    "gradcheck": "test_gradcheck test_gradcheck_verdicts test_planted",
    "anomaly": "test_anomaly",
    "drawing": "test_drawing",
    "chain": "test_chain",
    "notebook": "test_notebook",
    "summary": "test_summary",
    "data": "test_data",
    "metrics": "test_metrics",
    "augment": "test_augment",
    "history": "test_training",
    "callbacks": "test_training",
    "checkpoint": "test_checkpoint test_safetensors",
    "resume": "test_resume",
    "training": "test_attributes test_resume",
    "plot": "test_plot",
    "fit": "test_training",
    "weights": "test_weights",
    "plan": "test_jit_traps test_jit test_jit_programs",
    "emit": "test_jit_traps test_jit test_jit_programs",
    "function": "test_jit_traps test_jit",
    "record": "test_jit_traps test_jit",
    "custom": "test_func_custom",
    "loops": "test_func_loops test_func",
    "transforms": "test_func",
    "sampled": "test_rules",
    "matrices": "test_rules test_scipy",
    "scipy": "test_func_scipy",
    "solvers": "test_func_loops",
    "special": "test_special test_rules",
    "deploy": "test_deploy",
    "distributed": "test_distributed",
    "sklearn": "test_sklearn",
    "search": "test_schedules",
    "native": "test_native",
    "playground": "test_playground",
}
"""The tests of each part of the package, which run first: most faults need no others."""
EXTRAS = {
    "scipy": "scipy",
    "solvers": "scipy",
    "special": "mpmath",
    "matrices": "scipy",
    "distributed": "mpi4py",
    "sklearn": "sklearn",
    "native": "numba",
    "playground": "tornado",
}
"""What the tests of a part need: where it is not installed they are skipped, and its faults too."""

EACH = [pytest.param(room, fault, id=f"{room}: {fault.what}") for room in FAULTS for fault in FAULTS[room]]
PATIENCE = 900
"""Seconds after which tests that hang have noticed something."""


@functools.cache
def sources() -> dict[Path, str]:
    return {path.relative_to(PACKAGE): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def place(fault: Fault) -> Path:
    """The file that the old text of a fault stands in, once in the whole package."""
    counts = {path: text.count(fault.old) for path, text in sources().items() if fault.old in text}
    assert sum(counts.values()) == 1, f"stale fault {fault.what!r}: its old text stands in {counts or 'no file'}"
    return next(iter(counts))


def copy_of_the_package(folder: Path) -> Path:
    """Copy the package and its tests; all else is linked to."""
    for path in ROOT.iterdir():
        if path in (PACKAGE, Path(__file__).parent):
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    return folder / PACKAGE.name


def passes(folder: Path, *arguments: str) -> bool:
    """Whether the tests pass, the same ones each time, in the folder with the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "CI": "true", "OPENBLAS_NUM_THREADS": "1"}
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_XDIST")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    try:
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return False
    assert result.returncode in (0, 1, 2), f"{command}\n{result.stdout}{result.stderr}"
    return result.returncode == 0


def survives(room: str, fault: Fault, folder: Path) -> bool:
    """Whether all tests pass with a fault, those of its part of the package first."""
    if room in EXTRAS:
        pytest.importorskip(EXTRAS[room])
    where = place(fault)
    faulty = copy_of_the_package(folder) / where
    faulty.write_text(sources()[where].replace(fault.old, fault.new), encoding="utf-8")
    own = [f"tests/{name}.py" for name in TESTS[room].split()]
    return passes(folder, str(faulty), *own) and passes(folder, *(f"--ignore={path}" for path in own))


@pytest.mark.slow
@pytest.mark.parametrize(("room", "fault"), EACH)
def test_a_fault_stands_in_the_package_and_leaves_it_running(room: str, fault: Fault) -> None:
    text = sources()[place(fault)]
    assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(text.replace(fault.old, fault.new)))


@pytest.mark.slow
def test_there_are_faults_all_over_the_package() -> None:
    every = [fault for faults in FAULTS.values() for fault in faults]
    assert len({fault.what for fault in every}) == len(every) >= 200
    assert sum(bool(fault.survives) for fault in every) <= 0.05 * len(every)
    changed = {place(fault) for fault in every}
    assert {path.name for path in sources()} - {path.name for path in changed} <= {"__init__.py", "refused.py"}


@pytest.mark.slow
def test_without_a_fault_the_tests_pass(tmp_path: Path) -> None:
    copy_of_the_package(tmp_path)
    assert passes(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("room", "fault"), EACH)
def test_a_fault_is_noticed(room: str, fault: Fault, tmp_path: Path) -> None:
    assert survives(room, fault, tmp_path) == bool(fault.survives), fault.survives or "no test notices this fault"
    shutil.rmtree(tmp_path)
