"""Measure the playground in a real Chromium: from lifting the mouse to the prediction, and frames a second in training.

    pip install '.[web]' playwright
    python benchmarks/playground.py
    python benchmarks/playground.py --picture docs/_static/playground.png

Each prediction is the first of a page that has just been loaded: from the pointer's ``pointerup`` to the frame after
the one in which the sentence stands. A frame of training is four steps of a network 2-16-16-1 on 200 points, and
everything on the page drawn anew; Chromium shows at most 60 a second. Server and browser run on the same machine.
"""

from __future__ import annotations

import argparse
import math
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import common

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from browser import chromium, draw, playground

THREE = [(0.5 + 0.18 * math.cos(a / 5), 0.35 + 0.15 * math.sin(a / 5)) for a in range(17, 40)]
THREE += [(0.5 + 0.2 * math.cos(a / 5), 0.65 + 0.16 * math.sin(a / 5)) for a in range(24, 46)]
WATCH_PREDICTION = """() => {
    const nextFrame = () => new Promise(requestAnimationFrame);
    window.taken = new Promise((resolve) => document.getElementById("sheet").addEventListener("pointerup", () => {
        const lifted = performance.now();
        new MutationObserver(async () => { await nextFrame(); await nextFrame(); resolve(performance.now() - lifted); })
            .observe(document.getElementById("prediction"), { childList: true });
    }, { capture: true }));
}"""
COUNT_FRAMES = """(milliseconds) => new Promise((resolve) => {
    const times = [], step = document.getElementById("at");
    new MutationObserver(() => times.push(performance.now())).observe(step, { childList: true });
    setTimeout(() => resolve(times), milliseconds);
})"""


def predictions(browser, address, rounds):
    """Return the milliseconds of the first prediction of several pages."""
    taken = []
    for _ in range(rounds):
        page = browser.new_page()
        page.goto(address)
        page.evaluate(WATCH_PREDICTION)
        draw(page, THREE)
        taken.append(page.evaluate("taken"))
        page.close()
    return taken


def frames(browser, address, seconds):
    """Return the milliseconds between frames while a network trains."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    page.get_by_label("spirals").check()
    page.get_by_label("Width of both hidden layers").fill("16")
    page.get_by_role("button", name="Train").click()
    page.wait_for_timeout(1000)
    times = page.evaluate(COUNT_FRAMES, 1000 * seconds)
    page.close()
    return [b - a for a, b in pairwise(times)]


def picture(browser, address, path):
    """Write a picture of the page: a digit, and a network that has learnt spirals."""
    page = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="light")
    page.goto(address)
    draw(page, THREE)
    page.get_by_label("spirals").check()
    page.get_by_role("button", name="Train").click()
    page.wait_for_timeout(4000)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Check the gradients").click()
    page.get_by_text("Pass: all gradients agree").wait_for()
    page.screenshot(path=path, full_page=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="pages that predict (20)")
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="of training (10)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a picture of the page, and measure nothing")
    options = parser.parse_args()
    with playground() as address, chromium() as browser:
        if options.picture:
            picture(browser, address, options.picture)
            return
        print(common.machine())
        taken = predictions(browser, address, options.rounds)
        between = frames(browser, address, options.seconds)
    print(f"first prediction: median {median(taken):.0f} ms, longest {max(taken):.0f} ms, of {len(taken)}")
    slow = sorted(between)[int(0.99 * len(between))]
    print(f"training: {1000 * len(between) / sum(between):.1f} frames a second; 99 % come within {slow:.0f} ms")


if __name__ == "__main__":
    main()
