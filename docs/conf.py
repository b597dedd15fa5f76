"""How Sphinx builds the site: ``python -m sphinx -W --keep-going -b html docs site``."""

from __future__ import annotations

import builtins
import os
import re
from pathlib import Path
from typing import Any

import tinygrad_mlp

project = "tinygrad_mlp"
author = "The tinygrad_mlp authors"
project_copyright = author
version = release = tinygrad_mlp.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",  # the docstrings have "Args:" and "Raises:"
    "sphinx.ext.viewcode",
    "numpydoc",  # the tables of what a class has
    "sphinx_gallery.gen_gallery",
]
default_role = "autolink"
myst_heading_anchors = 3
templates_path = ["_templates"]

autosummary_generate = True
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
numpydoc_show_inherited_class_members = False
numpydoc_class_members_toctree = False

DOCS, ROOT = Path(__file__).parent, Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
COPIED = {
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "SECURITY.md": "security.md",
    ROOT / "benchmarks" / "README.md": "benchmarks.md",
    ROOT / "benchmarks" / "distributed.md": "distributed.md",
}
"""Pages that stand elsewhere in the repository, and are pages of the site as well, by their names in ``generated``."""


def name_the_file(_: Any, example: str | None) -> None:
    """Give an example its ``__file__``, which Sphinx-Gallery has not: our examples find their data by it."""
    if example:
        builtins.__file__ = str(EXAMPLES / Path(example).name)


sphinx_gallery_conf = {
    "examples_dirs": str(EXAMPLES),
    "gallery_dirs": "generated/gallery",
    "filename_pattern": r"/(classification|rare_class|regression|sir)\.py$",  # the others take longer, or exit
    "ignore_pattern": r"notebook_pieces\.py$",
    "reset_modules": ("matplotlib", name_the_file),
    "nested_sections": False,
    "within_subsection_order": "FileNameSortKey",
    "default_thumb_file": str(EXAMPLES / "pictures" / "training_curves.png"),
    "write_computation_times": False,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "tinygrad_mlp"
html_static_path = ["_static"]
html_css_files = ["width.css"]
html_theme_options = {"show_toc_level": 2, "header_links_before_dropdown": 6}
html_show_sourcelink = False
suppress_warnings = ["config.cache"]  # a function among the options, which are not kept


def title_examples(text: str) -> str:
    """Make a heading of the first line of an example's docstring, as the pages of a site need one."""
    return re.sub(r"(\.py:\n\n)(.+?)\.?\n", lambda m: f"{m[1]}{m[2]}\n{'=' * len(m[2])}\n", text, count=1)


def at_home(text: str, original: Path, page: Path) -> str:
    """Return a page's text with links that lead from the page to where they led from the original."""

    def moved(link: re.Match[str]) -> str:
        target = (original.parent / link[1]).resolve()
        target = DOCS / "index.md" if target == ROOT / "README.md" else target
        target = DOCS / "generated" / COPIED[target] if target in COPIED else target
        return f"]({os.path.relpath(target, page.parent)}{link[2] or ''})"

    return re.sub(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)", moved, text)


def copy_pages(_: Any) -> None:
    """Write the pages that stand elsewhere."""
    (DOCS / "generated").mkdir(exist_ok=True)
    for original, name in COPIED.items():
        page = DOCS / "generated" / name
        page.write_text(at_home(original.read_text(encoding="utf-8"), original, page), encoding="utf-8")


def adapt(app: Any, name: str, source: list[str]) -> None:
    """Adapt a page to the site."""
    page = Path(app.env.doc2path(name))
    if name.startswith("generated/gallery/"):
        source[0] = title_examples(source[0])
    elif page.suffix == ".md" and not name.startswith("generated/"):
        source[0] = at_home(source[0], page, page)


def setup(app: Any) -> None:
    """Connect what is above."""
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", adapt)
