"""The example of a search: joblib's processes and a local Dask cluster find what one process finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", minversion="1.9")
ROOT = Path(__file__).parents[1]


def run(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / "sweep.py"), "--rows", "300", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_processes_and_dask_find_the_same():
    pytest.importorskip("distributed")
    *_, alone = run("--workers", "1")
    *_, processes = run()
    announced, *_, dask = run("--backend", "dask")
    assert alone.startswith("best of 4: ") and alone == processes == dask
    assert announced.startswith("Dask: 2 workers at tcp://127.0.0.1:")
