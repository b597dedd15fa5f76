"""README, CONTRIBUTING and docs tell the truth: their code gives what they say, and what they point to is there."""

from __future__ import annotations

import ast
import doctest
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import SAMPLES

import tinygrad_mlp.train.fit
from tinygrad_mlp import blas
from tinygrad_mlp.rules.table import RULES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("howto/*.md"))]
NEEDS = {
    "scikit_learn.md": "sklearn",
    "scipy.md": "scipy",
    "pictures.md": "matplotlib",
    "native.md": "numba",
    "processes.md": "mpi4py",
}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder in which pages read our files and write their own; the rules and samples that they add go again."""
    for name in ("docs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    start = time.perf_counter()  # 50 times as fast as it is: the seconds of an epoch may be any
    monkeypatch.setattr(tinygrad_mlp.train.fit, "perf_counter", lambda: 50 * (time.perf_counter() - start))
    monkeypatch.setattr(blas, "_threads", lambda: 2)  # programs are printed as most machines have them
    rules, samples = dict(RULES), list(SAMPLES)
    yield
    RULES.clear()
    RULES.update(rules)
    SAMPLES[:] = samples


def run(page: str, name: str) -> doctest.TestResults:
    """Run the blocks of a page that are marked as Python, one after another: as doctests if they have prompts."""
    runner, names = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), {"__name__": "page"}
    for block in re.finditer(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        code, line = block[1], page[: block.start(1)].count("\n")
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, {}, name, name, line)
            test.globs = names
            runner.run(test, clear_globs=False)
        else:
            exec(compile("\n" * line + code, name, "exec"), names)
    return doctest.TestResults(runner.failures, runner.tries)


@every_page
@pytest.mark.usefixtures("desk")
def test_code_gives_what_the_page_says(page: Path) -> None:
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name])
    text = page.read_text(encoding="utf-8")
    results = run(text, page.name)
    assert results.failed == 0
    assert results.attempted > 3 or "```python" not in text


def test_code_that_gives_something_else_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    page = "".join(
        f"Text\n\n```python\n{code}\n```\n" for code in ("a = 1", ">>> a + 1\n2\n>>> b = a + 2\n", ">>> b\n4")
    )
    assert run(page, "a page") == doctest.TestResults(failed=1, attempted=3)
    assert 'File "a page", line 17' in capsys.readouterr().out
    with pytest.raises(ZeroDivisionError):
        run("```python\n1 / 0\n```\n", "a page")


@every_page
def test_what_the_page_points_to_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert links or page.parent != ROOT
    assert not [link for link in links if not leads_somewhere(page, link)]
    for link, names in re.findall(r"\]\(([^)]+\.py)\):\s((?:`[\w.]+`(?:,\s|\sand\s)?)+)", text):
        known = defined(ast.parse((page.parent / link).read_text(encoding="utf-8")))
        assert not [name for name in re.findall(r"`([\w.]+)`", names) if name not in known], link


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether a file is there and, of a page, the heading or label that follows ``#``."""
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists() or not anchor:
        return target.exists()
    text = target.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return anchor in slugs


def defined(node: ast.AST, prefix: str = "") -> set[str]:
    """The functions, classes and methods of a module."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            found |= {prefix + child.name} | defined(child, f"{prefix}{child.name}.")
    return found
