"""The playground's page in a real Chromium: by mouse, by keyboard alone, at two widths, light and dark.

    pip install '.[web]' playwright
    python -m pytest -m slow tests/test_playground_browser.py

It is skipped without Playwright or Chromium, unless the variable CHROMIUM says that there is one, as in CI.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, chromium_path, draw, playground

missing = chromium_path() is None or not all(map(importlib.util.find_spec, ("playwright", "tornado")))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing and "CHROMIUM" not in os.environ, reason="needs Playwright, Tornado and Chromium"),
]
ONE = [(0.5, 0.2 + 0.03 * i) for i in range(20)]
SEVEN = [(0.3 + 0.04 * i, 0.2) for i in range(11)] + [(0.7 - 0.02 * i, 0.2 + 0.05 * i) for i in range(1, 13)]
PARTS = [
    ("group", "^Data$"), ("radio", "^moons$"), ("slider", "^Learning rate$"), ("slider", "^Width of both"),
    ("button", "^Train$"), ("button", "^One step$"), ("button", "^New start$"), ("img", "^Decision surface: 50.0"),
    ("img", "^Loss by step: no step yet$"), ("img", r"^hidden layer 1, weights to ±\d"), ("table", ""),
    ("combobox", "^Numbers of$"), ("region", "^The program that runs$"), ("combobox", "^Bug$"),
    ("button", "^Plant it$"), ("button", "^Check the gradients$"), ("status", ""),
]  # fmt: skip
BUGS = ["cost_gradient", "sigmoid_gradient", "relu_backward", "relu"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with playground(tmp_path_factory.mktemp("elsewhere")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)  # a slow machine is no failure
    with chromium() as browser:
        yield browser


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide and light", "narrow and dark"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """A page of the playground; whatever it complains of fails the test, and so does a call of another server."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith(address) else None)
    page.goto(address)
    yield page
    complaints = [text for text in complaints if not text.startswith("data:image/svg+xml")]  # its own icon
    context.close()
    assert complaints == []


def expect(page: Any, selector: str) -> Any:
    from playwright.sync_api import expect

    return expect(page.locator(selector))


def pixels(page: Any, selector: str) -> str:
    return page.locator(selector).evaluate("canvas => canvas.toDataURL()")


def test_draw_predict_and_clear(page: Any) -> None:
    empty = pixels(page, "#sheet")
    draw(page, SEVEN)
    expect(page, "#prediction").to_have_text(re.compile("It reads a 7"))
    expect(page, "#bars button[aria-pressed=true] b").to_have_text("7")
    of_seven = pixels(page, "#sheet")
    page.get_by_role("button", name=re.compile("^1 ")).click()
    expect(page, "#bars button[aria-pressed=true] b").to_have_text("1")
    page.wait_for_timeout(300)
    assert pixels(page, "#sheet") != of_seven  # the gradient is that of another score
    expect(page, "#layer0").to_have_attribute("aria-label", re.compile(r"\d+ of 64 units are active"))
    page.get_by_role("button", name="Clear").click()
    expect(page, "#prediction").to_have_text("Nothing drawn yet")
    page.locator("h1").click()
    assert pixels(page, "#sheet") == empty
    draw(page, ONE)
    expect(page, "#prediction").to_have_text(re.compile("It reads a 1"))


def test_train_until_it_has_learnt_and_see_all_of_it(page: Any) -> None:
    page.get_by_label("spirals").check()
    before = pixels(page, "#surface"), pixels(page, "#units canvas >> nth=0")
    expect(page, "#program").to_contain_text("press Train")
    page.get_by_role("button", name="Train").click()
    expect(page, "#accuracy").to_have_text(re.compile(r"100|99\.\d"))
    page.get_by_role("button", name="Pause").click()
    expect(page, "#news").to_have_text(re.compile(r"Paused at step \d+, loss 0\.\d+, accuracy (100|9\d)"))
    assert pixels(page, "#surface") != before[0] and pixels(page, "#units canvas >> nth=0") != before[1]
    expect(page, "#written").to_contain_text("loss.backward()")
    expect(page, "#program").to_contain_text("np.add.reduce(d_linear, axis=0, out=d_layer0_bias)")
    page.get_by_role("combobox", name="Numbers of").select_option("hidden layer 2, unit 8")
    assert page.locator("#table tr").count() == 9
    assert re.fullmatch(r"bias\t-?[\d.e-]+\t-?[\d.e-]+", page.locator("#table tr >> nth=8").inner_text())
    width = page.get_by_label("Width of both hidden layers")
    width.fill("16")
    expect(page, "#at").to_have_text("0")
    assert page.locator("#unit option").count() == 33


@pytest.mark.parametrize("bug", BUGS)
def test_plant_a_bug_and_have_it_found(page: Any, bug: str) -> None:
    page.get_by_label("Bug").select_option(bug)
    page.get_by_role("button", name="Plant it").click()
    expect(page, "#written").to_contain_text(f"def {bug}_bug(")
    page.get_by_role("button", name="Train").click()
    expect(page, "#at").to_have_text(re.compile(r"\d\d\d"))
    page.get_by_role("button", name="Check the gradients").click()
    expect(page, "#verdict").to_have_text(f"Fail: the gradients are wrong, and the wrong piece is {bug}.")
    if bug == "cost_gradient":
        expect(page, "#loss").to_have_text("NaN")
        expect(page, "#surface").to_have_attribute("aria-label", "Decision surface: NaN everywhere")
    page.get_by_text("The report on the whole network").click()
    expect(page, "#report").to_contain_text("gradcheck: fail")
    page.get_by_role("button", name="New start").click()
    page.get_by_role("button", name="Check the gradients").click()
    expect(page, "#verdict").to_have_text("Pass: all gradients agree with differences.")


def test_reload_begins_anew(page: Any) -> None:
    draw(page, ONE)
    page.get_by_role("button", name="Train").click()
    expect(page, "#at").to_have_text(re.compile(r"[1-9]\d"))
    page.reload()
    expect(page, "#prediction").to_have_text("Nothing drawn yet")
    expect(page, "#at").to_have_text("0")
    draw(page, ONE)
    expect(page, "#prediction").to_have_text(re.compile("It reads a 1"))
    page.get_by_role("button", name="One step").click()
    expect(page, "#at").to_have_text("1")


def go_to(page: Any, name: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        if page.evaluate("document.activeElement.id || document.activeElement.value") == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {name}")


def test_all_of_it_by_keyboard_alone(page: Any) -> None:
    press = page.keyboard.press
    go_to(page, "sheet")
    press("Space")
    for _ in range(18):
        press("ArrowDown")
    expect(page, "#news").to_have_text("Pen down")
    press("Space")
    expect(page, "#prediction").to_have_text(re.compile("It reads a 1"))
    press("Escape")
    expect(page, "#prediction").to_have_text("Nothing drawn yet")
    go_to(page, "moons")
    press("ArrowRight")
    expect(page, "[value=circles]").to_be_checked()
    go_to(page, "lr")
    press("ArrowRight")
    expect(page, "#lr").to_have_attribute("aria-valuetext", "0.398")
    go_to(page, "run")
    press("Enter")
    expect(page, "#at").to_have_text(re.compile(r"\d\d"))
    press("Enter")
    expect(page, "#run").to_have_text("Train")
    go_to(page, "bug")
    press("ArrowDown")
    go_to(page, "plant")
    press("Enter")
    expect(page, "#news").to_have_text("Planted: sigmoid gradient in place")
    go_to(page, "check")
    press("Enter")
    expect(page, "#verdict").to_have_text(re.compile("the wrong piece is sigmoid_gradient"))


def test_two_arrows_at_once_draw_slantwise(page: Any) -> None:
    go_to(page, "sheet")
    page.keyboard.press("Space")
    page.keyboard.down("ArrowRight")
    for _ in range(10):
        page.keyboard.press("ArrowDown")
    page.keyboard.up("ArrowRight")
    stroke = page.evaluate("strokes[0]")
    assert stroke[-1] == [pytest.approx(0.5 + 0.03 * 11), pytest.approx(0.2 + 0.03 * 10)]
    assert len(stroke) == 12


def test_a_screen_reader_finds_names_for_everything(page: Any) -> None:
    from playwright.sync_api import expect

    draw(page, ONE)
    expect(page.locator("#draw")).to_match_aria_snapshot("""
        - region "Draw a digit":
          - heading "Draw a digit" [level=2]
          - application "Sheet to draw on"
          - button "Clear"
          - checkbox "Show the gradient" [checked]
          - status: /It reads a 1/
          - group "Probability of each digit. Choose one to see the gradient of its score.":
            - button /0 0\\.0.%/
            - button /1 \\d+/ [pressed]
    """)
    training = page.get_by_role("region", name="Train a network")
    for role, name in PARTS:
        expect(training.get_by_role(role, name=re.compile(name))).to_have_count(1)
    unnamed = """() => [...document.querySelectorAll("button, input, select, canvas, [role=region]")].filter(
        e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_nothing_is_wider_than_the_page(page: Any) -> None:
    page.get_by_label("Width of both hidden layers").fill("16")
    page.get_by_role("button", name="One step").click()
    expect(page, "#at").to_have_text("1")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for selector in ("section button, section select, section canvas", "section pre, section p"):
        outside = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth - 8).map(e => e.id)"
        assert page.locator(selector).evaluate_all(outside) == []


def test_a_full_sheet_and_a_server_that_has_gone_are_said(browser: Any, tmp_path: Path) -> None:
    with playground(tmp_path) as own:
        page = browser.new_page()
        page.goto(own)
        page.evaluate("strokes = [Array.from({length: 1000}, (_, i) => [i / 1000, 0.5])]")
        draw(page, [(0.2, 0.2), (0.8, 0.8)])
        expect(page, "#trouble").to_contain_text("The sheet is full")
    expect(page, "#trouble").to_contain_text("The server does not answer")
    page.close()
