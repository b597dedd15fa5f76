"""A real Chromium on a running playground, for tests and measurements: needs Playwright and the extra ``web``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FLAGS = [
    "--no-sandbox",  # CI is root, where Chromium's sandbox does not start
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str | None:
    """Return the Chromium to use: the one that the variable CHROMIUM names, or one that is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def playground(folder: Any = None) -> Iterator[str]:
    """Start the server in a process of its own, on a free port; yield its address."""
    command = [sys.executable, "-m", "tinygrad_mlp.playground", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, f"the server does not start: {line!r}"
            yield address[0]
        finally:
            server.terminate()


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; yield Playwright's Browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    """Draw a stroke on the sheet with the mouse, through points from 0 to 1."""
    sheet = page.locator("#sheet")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places:
        page.mouse.move(*place)
    page.mouse.up()
