"""Draw the CSV of `steps.py`: each contestant's time over that of NumPy by hand, a panel for each size.

    python benchmarks/picture.py steps.csv steps.png

Nothing is timed again. It needs matplotlib.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import pandas as pd
from contestants import CONTESTANTS, title

from tinygrad_mlp import errors

plt = errors.need("matplotlib.pyplot", "plot")
Image = errors.need("PIL.Image", "plot")

REFERENCE = "NumPy"
COLUMNS = 4
OURS = {"tinygrad_mlp": "#56B4E9", "tinygrad_mlp jit": "#0072B2", "tinygrad_mlp native": "#003B73"}
COLOURS = {**OURS, "NumPy": "#999999", "matrix products": "#999999"}
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}
OTHERS = "#E69F00"  # these five stay apart for the colour-blind, and in print


def read(path):
    """Return ratios to the reference, a row a size and a column a contestant, the reference's own times, and comments.

    They are of the lowest of the rounds: whatever else a machine does only adds.
    """
    text = path.read_text(encoding="utf-8")
    comments = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    table = pd.read_csv(path, comment="#")
    if REFERENCE not in set(table["contestant"]):
        raise SystemExit(f"{path}: no times of {REFERENCE}, to which the others are compared; time it, too")
    us = table.pivot(index=["batch", "widths", "round"], columns="contestant", values="us")
    sizes = pd.MultiIndex.from_frame(table[["batch", "widths"]].drop_duplicates())
    lowest = us.groupby(level=["batch", "widths"]).min().loc[sizes]
    ratios, reference_us = lowest.div(lowest[REFERENCE], axis=0), lowest[REFERENCE]
    return ratios[[name for name in CONTESTANTS if name in ratios]], reference_us, comments


def draw_panel(axes, ratios, heading):
    """Draw bars from 1, to the left where a contestant is faster than the reference, with the ratio at the right."""
    names = list(ratios.index)
    colours = [COLOURS.get(name, OTHERS) for name in names]
    axes.barh(names, ratios.fillna(1) - 1, left=1, color=colours, height=0.75)
    axes.axvline(1, color="black", linewidth=0.8)
    for name, ratio in ratios.items():
        text = "-" if pd.isna(ratio) else f"{ratio:.2f}"
        axes.annotate(text, (1, name), xycoords=("axes fraction", "data"), xytext=(-2, 0), textcoords="offset points",
                      ha="right", va="center", fontsize=8, bbox=WHITE)  # fmt: skip
    axes.set_title(heading, fontsize=9)
    axes.grid(axis="x", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=2, labelbottom=True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw(csv, picture):
    """Write the picture of a CSV, of a type that matplotlib knows by its ending."""
    ratios, reference_us, comments = read(csv)
    columns = min(COLUMNS, len(ratios))
    rows = -(-len(ratios) // columns)
    height = 0.9 + rows * (0.75 + 0.17 * ratios.shape[1])
    figure, grid = plt.subplots(rows, columns, figsize=(8, height), sharex=True, sharey=True, squeeze=False,
                                layout="constrained")  # fmt: skip
    for axes, (batch, widths) in zip(grid.flat, ratios.index, strict=False):
        heading = f"{title(batch, widths)}\n{REFERENCE} {reference_us[batch, widths]:,.0f} us"
        draw_panel(axes, ratios.loc[batch, widths], heading)
    for axes in grid.flat[len(ratios) :]:
        axes.set_axis_off()
    first = grid[0, 0]
    first.invert_yaxis()
    first.set_xscale("log")
    low, high = min(ratios.min(axis=None), 0.5), max(ratios.max(axis=None), 2)
    first.set_xlim(low / 1.1, high * (high / low) ** 0.4)  # the numbers stand to the right of the longest bar
    first.xaxis.set_major_locator(plt.LogLocator(subs=(1, 3)))
    first.xaxis.set_minor_locator(plt.NullLocator())
    first.xaxis.set_major_formatter("{x:g}")
    figure.suptitle(f"One training step: time / {REFERENCE} by hand (left is faster; batch, widths)", fontsize=10)
    figure.supxlabel("\n".join(line for comment in comments for line in textwrap.wrap(comment, 130)), fontsize=7)
    figure.savefig(picture, dpi=150)
    if picture.suffix.lower() == ".png":  # few colours: a quarter of the bytes
        Image.open(picture).convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, help="written by steps.py --csv")
    parser.add_argument("picture", type=Path, help="to be written: .png, .svg or whatever matplotlib can")
    options = parser.parse_args()
    draw(options.csv, options.picture)


if __name__ == "__main__":
    main()
