"""The playground without a browser: what it computes, what it answers to anything, and whom its server lets in."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_mlp as tg
from tinygrad_mlp.playground import bugs, digits
from tinygrad_mlp.playground.plane import DATA, GRID, POINTS, Plane
from tinygrad_mlp.playground.session import Session

MNIST = Path(__file__).parents[1] / "examples" / "data" / "mnist.npz"
ONE = [[[0.5, 0.2], [0.5, 0.8]]]
served = pytest.mark.skipif(importlib.util.find_spec("tornado") is None, reason="needs the extra web")


def ask(session: Session, **message: Any) -> Any:
    return json.loads(session.answer(json.dumps(message)))


def test_the_reader_reads_digits_that_it_has_never_seen() -> None:
    _, _, X, y = tg.load_mnist(MNIST)
    assert tg.evaluate(digits.reader(), X[:2000], y[:2000], transform=tg.scale_pixels)["accuracy"] > 0.97


@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (0.3, 0.6), (0.5, 0.1)])
def test_a_drawing_is_placed_as_in_mnist(factor: float, shift: float) -> None:
    """Wherever it stands and however large it is: in a box of 20 pixels, its centre of mass at (14, 14)."""
    corner = np.array([[0.2, 0.2], [0.2, 0.8], [0.5, 0.8]])
    found = digits.reading([factor * corner + shift])
    image = found["image"].reshape(28, 28)
    rows, columns = (np.flatnonzero(image.max(axis=axis) > 0.5) for axis in (1, 0))
    assert 19 <= np.ptp(rows) + 1 <= 21 and np.ptp(columns) < 14  # up to a pixel that is half covered
    middle = [image.sum(axis=axis) @ np.arange(28) / image.sum() for axis in (0, 1)]
    np.testing.assert_allclose(middle, 14, atol=0.5)  # MNIST moves its images by whole pixels
    assert digits.reading([factor * corner + shift])["prediction"] == digits.reading([corner])["prediction"]


def test_the_gradient_is_that_of_the_score() -> None:
    """Against differences of the score by the pixels, of a digit that is not the likeliest one."""
    found = digits.reading([np.array(ONE[0])], 7)
    assert (found["prediction"], found["digit"]) == (1, 7)

    def score(pixels: Any) -> float:
        with tg.no_grad():
            return float(digits.reader()(np.float32(pixels[None])).numpy()[0, 7])

    image, h = found["image"], 1e-3
    for pixel in np.argsort(-np.abs(found["gradient"]))[:10]:
        step = h * (np.arange(784) == pixel)
        slope = (score(image + step) - score(image - step)) / (2 * h)
        assert found["gradient"][pixel] == pytest.approx(slope, abs=0.02 * np.abs(found["gradient"]).max())


@pytest.mark.parametrize("data", DATA)
def test_each_data_set_can_be_learnt(data: str) -> None:
    plane = Plane(data, width=8)
    assert plane.x.shape == (POINTS, 2) and np.abs(plane.x).max() < 1.05 and plane.y.mean() == 0.5
    frame = plane.train(1500, lr=0.3)
    assert frame["accuracy"] >= 0.99 and len(frame["surface"]) == GRID**2
    assert [u.shape for u in frame["units"]] == [g.shape for g in frame["gradients"]] == [(8, 3), (8, 9), (1, 9)]


def test_a_rate_that_is_far_too_high_is_shown_and_no_error() -> None:
    plane = Plane("spirals", width=16)
    for p in plane.model.parameters():
        tg.nn.init.normal_(p, std=1e200, rng=0)
    frame = plane.train(20, lr=10.0)
    assert np.isnan(frame["loss"]) and frame["surface"] is None and frame["accuracy"] is None


def test_the_surface_begins_at_the_upper_left() -> None:
    plane = Plane("moons", width=8)
    surface = np.reshape(plane.frame()["surface"], (GRID, GRID)) / 255
    for (row, column), point in {(0, 0): (-1, 1), (0, -1): (1, 1), (-1, 0): (-1, -1)}.items():
        expected = tg.functional.sigmoid(plane.model(np.array([point], float))).item()
        assert surface[row, column] == pytest.approx(expected, abs=1 / 255)


@pytest.mark.parametrize("bug", bugs.BUGS)
def test_each_bug_changes_the_gradients_and_is_found(bug: str) -> None:
    """The right pieces give the framework's gradients; one wrong piece gives others, and the checker names it."""
    plane = Plane("circles", width=5)
    weights = [p.data.copy() for p in plane.model.parameters()]
    loss, right = bugs.backward(weights, plane.x, plane.y, bugs.Pieces())
    plane.train(1, lr=0.1)
    assert loss == pytest.approx(plane.loss, rel=1e-12)
    for g, p in zip(right, plane.model.parameters(), strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-9, atol=1e-15)
    _, wrong = bugs.backward(weights, plane.x, plane.y, bugs.with_bug(bug))
    assert not np.allclose(wrong[0], right[0])
    plane.plant(bug)
    found = plane.check()
    assert found["verdict"] == "fail" and "gradcheck: fail" in found["report"]
    assert [piece["name"] for piece in found["pieces"] if piece["verdict"] != "pass"] == [bug]
    plane.plant("")
    assert plane.check()["verdict"] == "pass"


def test_a_session_goes_from_data_to_a_bug_and_back() -> None:
    session = Session()
    start = ask(session, type="build", data="xor", width=3)
    assert start["program"] == "" and "loss.backward()" in start["written"] and start["gradients"] == [None] * 3
    first = ask(session, type="train", steps=3, lr=0.5)
    assert first["step"] == 3 and "np.dot(x, layer0_weight_T" in first["program"]
    assert "program" not in ask(session, type="train", steps=1, lr=0.5)
    planted = ask(session, type="plant", bug="cost_gradient")
    assert "def cost_gradient_bug" in planted["written"] and planted["program"] == ""
    for _ in range(20):
        last = ask(session, type="train", steps=50, lr=10)
    assert last["loss"] is None and last["accuracy"] is None and last["surface"] is None
    assert ask(session, type="check")["verdict"] == "fail"
    assert ask(session, type="draw", strokes=ONE)["prediction"] == 1


BAD = [
    ("", "must be JSON"),
    ("[" * 60_000, "must be JSON"),
    ("1" * 5000, "must be JSON"),
    (b"\xff\xfe", "must be JSON"),
    ("[]", "one of draw, build, train, plant, check"),
    ('{"type": ["draw"]}', "one of draw"),
    ('{"type": "draw"}', "strokes are lists of points"),
    ('{"type": "draw", "strokes": [[]]}', "none of them empty"),
    ('{"type": "draw", "strokes": [[[0.5, 2]]]}', r"a point is \[0.5, 2\], expected \[x, y\] from 0 to 1"),
    ('{"type": "draw", "strokes": [[[0.5, NaN]]]}', "from 0 to 1"),
    ('{"type": "draw", "strokes": [[[0.5, true]]]}', "from 0 to 1"),
    ('{"type": "draw", "strokes": [["ab"]]}', "from 0 to 1"),
    (json.dumps({"type": "draw", "strokes": [[[0, 0]] * 501] * 2}), "has 1002 points, and may have 1000"),
    ('{"type": "draw", "strokes": [[[0.5, 0.5]]], "score": 10}', "score is 10, expected a whole number from 0 to 9"),
    ('{"type": "build", "data": "moon", "width": 3}', "data is 'moon', expected one of moons"),
    ('{"type": "build", "data": "moons", "width": 17}', "width is 17, expected a whole number from 1 to 16"),
    ('{"type": "build", "data": "moons", "width": 3.5}', "a whole number"),
    ('{"type": "train", "steps": 51, "lr": 0.1}', "steps is 51, expected a whole number from 1 to 50"),
    ('{"type": "train", "steps": 1, "lr": Infinity}', "lr is inf, expected a number from 0.0001 to 10"),
    ('{"type": "train", "steps": true, "lr": 1}', "steps is True"),
    ('{"type": "plant", "bug": "none"}', "bug is 'none', expected one of cost_gradient"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_answered_is_said_and_changes_nothing(text: str, message: str) -> None:
    session = Session()
    plane = session.plane
    answer = json.loads(session.answer(text))
    assert answer["type"] == "error" and re.search(message, answer["message"])
    assert len(answer["message"]) < 300
    assert session.plane is plane and plane.steps == 0 and plane.bug == ""


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["moons", "relu", ""])
anything = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
names = st.sampled_from(["strokes", "score", "data", "width", "steps", "lr", "bug"])
kinds = st.sampled_from(["draw", "build", "train", "plant"])


@settings(max_examples=100, deadline=None)
@given(kinds, st.dictionaries(names, anything))
def test_anything_is_answered(kind: str, rest: dict[str, Any]) -> None:
    assert ask(Session(), type=kind, **rest)["type"] in {"error", "reading", "plane", "frame", "planted"}


OPEN: list[Any] = []
"""The web sockets of a test, which are closed before its server is."""


def with_server(use: Callable[[int], Awaitable[None]]) -> None:
    """Run a test against a server in its event loop."""

    async def run() -> None:
        from tinygrad_mlp.playground.server import start

        server, port = start(0)
        try:
            await asyncio.wait_for(use(port), timeout=30)
        finally:
            for page in OPEN:
                page.close()
            OPEN.clear()
            server.stop()
            await server.close_all_connections()

    asyncio.run(run())


async def get(port: int, path: str = "/", **headers: str) -> Any:
    from tornado.httpclient import AsyncHTTPClient

    return await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}{path}", headers=headers, raise_error=False)


async def connect(port: int, **headers: str) -> Any:
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    OPEN.append(await websocket_connect(HTTPRequest(f"ws://127.0.0.1:{port}/live", headers=headers)))
    return OPEN[-1]


@served
def test_the_page_is_one_file_that_may_run_its_own_script_alone() -> None:
    async def use(port: int) -> None:
        response = await get(port)
        page = response.body.decode()
        assert response.code == 200 and response.headers["Content-Type"].startswith("text/html")
        assert not re.search(r"""(src|href)=["'](?!data:)|https?://(?!www\.w3\.org)|@import|url\(""", page)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert (await get(port, "/../session.py")).code == 404

    with_server(use)


@served
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", "localhost.evil:{port}"]
)
def test_a_request_by_another_name_is_refused(host: str) -> None:
    """A page elsewhere can have its own name point to this address: the browser then says that name."""
    from tornado.httpclient import HTTPClientError

    async def use(port: int) -> None:
        named = host.format(port=port)
        for path in ("/", "/other"):
            response = await get(port, path, Host=named)
            assert response.code == 403 and b"<script>" not in response.body
            assert f"127.0.0.1:{port}" in response.body.decode()
        with pytest.raises(HTTPClientError) as refused:
            await connect(port, Host=named, Origin=f"http://{named}")
        assert refused.value.code == 403

    with_server(use)


@served
@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "null"])
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    from tornado.httpclient import HTTPClientError

    async def use(port: int) -> None:
        with pytest.raises(HTTPClientError) as refused:
            await connect(port, Origin=origin.format(port=port))
        assert refused.value.code == 403
        assert (await get(port, Origin=origin.format(port=port))).code == 403
        for own in ("127.0.0.1", "localhost"):
            page = await connect(port, Host=f"{own}:{port}", Origin=f"http://{own}:{port}")
            await page.write_message(json.dumps({"type": "draw", "strokes": ONE}))
            assert json.loads(await page.read_message())["prediction"] == 1

    with_server(use)


@served
def test_messages_and_pages_are_bounded() -> None:
    from tornado.websocket import WebSocketClosedError

    from tinygrad_mlp.playground.server import MESSAGE_BYTES, PAGES

    async def use(port: int) -> None:
        pages = [await connect(port) for _ in range(PAGES)]
        extra = await connect(port)
        assert await extra.read_message() is None and (extra.close_code, f"{PAGES} pages" in extra.close_reason) == (
            1013,
            True,
        )
        with contextlib.suppress(WebSocketClosedError):  # it may be closed before all is written
            await pages[0].write_message("x" * (MESSAGE_BYTES + 1))
        assert await pages[0].read_message() is None  # closed, and so there is room for another, soon
        answer = None
        for _ in range(200):
            another = await connect(port)
            with contextlib.suppress(WebSocketClosedError):
                await another.write_message("{}")
                answer = await another.read_message()
            if answer is not None:
                break
            await asyncio.sleep(0.02)
        assert json.loads(answer)["type"] == "error"

    with_server(use)


@served
def test_another_machine_cannot_reach_it() -> None:
    async def use(port: int) -> None:
        from tinygrad_mlp.playground.server import start

        server, own = start(0)
        assert {s.getsockname()[0] for s in server._sockets.values()} == {"127.0.0.1"}
        server.stop()
        assert own != port

    with_server(use)


def run(*arguments: str, code: str = "from tinygrad_mlp.playground.__main__ import main; main()") -> Any:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_what_prevents_a_start_is_said_in_a_sentence() -> None:
    without = "import sys; sys.modules['tornado'] = None; from tinygrad_mlp.playground.__main__ import main; main()"
    result = run(code=without)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "needs tornado, which is not installed: pip install '.[web]'" in result.stderr
    assert "must be in 0..65535, got 70000" in run("--port", "70000").stderr


@served
def test_a_port_in_use_is_said_in_a_sentence() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        result = run("--port", str(port))
    assert result.returncode == 1
    assert result.stderr == f"the playground cannot start: port {port} is in use; --port 0 takes a free one\n"
