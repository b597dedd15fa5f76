"""Build wheel and sdist twice, as the build backend makes them, and say whether they are the same to the last byte.

``python .ci/build.py dist`` leaves them in a folder; it needs the package `build`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(folder: Path, source: Path) -> dict[str, str]:
    """Build into a folder; return the SHA-256 of each file."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, source], check=True, stdout=subprocess.DEVNULL)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def main(target: Path) -> bool:
    """Build here, and from a copy whose files are newer and lie elsewhere; return whether the results differ."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name, "elsewhere")
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for path in filter(None, tracked.split("\0")):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copy / path)
            os.utime(copy / path)
        shutil.copy(ROOT / ".gitignore", copy)
        first, second = build(Path(name, "first"), ROOT), build(Path(name, "second"), copy)
        target.mkdir(parents=True, exist_ok=True)
        for path in Path(name, "first").iterdir():
            shutil.copy(path, target)
    for file, digest in first.items():
        print(digest, file, "reproduced" if second.get(file) == digest else f"DIFFERS: {second.get(file)}")
    return first != second


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
