"""Build wheel and sdist twice, as the build backend makes them, and say whether they are the same to the last byte.

``python .ci/build.py dist`` leaves them in a folder; it needs the package `build`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EPOCH = 315532800
"""The time of all files: the first that a wheel can hold, 1980-01-01 UTC."""


def build(folder: Path, source: Path) -> dict[str, str]:
    """Build into a folder; return the SHA-256 of each file."""
    call = [sys.executable, "-m", "build", "--outdir", folder, source]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)})
    for sdist in folder.glob("*.tar.gz"):
        without_time(sdist)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def without_time(sdist: Path) -> None:
    """Pack an sdist anew, in order and with nothing of when, where and by whom it was built: setuptools keeps these."""
    with tempfile.TemporaryDirectory() as name:
        with tarfile.open(sdist) as archive:
            archive.extractall(name, filter="data")
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(Path(name).rglob("*")):
                archive.add(path, path.relative_to(name), recursive=False, filter=_plain)
    sdist.write_bytes(gzip.compress(content.getvalue(), mtime=EPOCH))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime, info.uid, info.gid, info.uname, info.gname = EPOCH, 0, 0, "", ""
    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
    return info


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
