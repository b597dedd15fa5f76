"""The server of the page: one file and one web socket, on the loopback address, for pages of its own alone.

Another machine cannot reach the address. Another page in the same browser could: it is kept out by its ``Origin``, and,
if it has had its own name point here ("DNS rebinding"), by its ``Host``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any, ClassVar

from ..errors import need
from . import digits
from .session import Session

need("tornado", "web")  # which says what to do if it is not there
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

ADDRESS = "127.0.0.1"
MESSAGE_BYTES, PAGES, IDLE_SECONDS = 64 * 1024, 8, 60
"""How long a message may be, how many pages may be open, and how long a connection without one may say nothing."""
PAGE = Path(__file__).with_name("page.html").read_bytes().replace(b"\r\n", b"\n")  # as its hash has it


def policy(page: bytes) -> str:
    """Return what the page may do: run its own script, which is known by its hash, and call its own server."""
    script, style = (
        base64.b64encode(hashlib.sha256(re.search(pattern, page, re.DOTALL)[1]).digest()).decode()  # type: ignore[index]
        for pattern in (rb"<script>(.*?)</script>", rb"<style>(.*?)</style>")
    )
    return (
        f"default-src 'none'; img-src data:; script-src 'sha256-{script}'; style-src 'sha256-{style}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


HEADERS = {
    "Content-Security-Policy": policy(PAGE),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Own(RequestHandler):
    """A request that names this server as its host, and comes from a page of its own, or from no page."""

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        hosts = self.settings["hosts"]
        origins = [None, *(f"http://{host}" for host in hosts)]
        if self.request.host not in hosts or self.request.headers.get("Origin") not in origins:
            self.set_status(403)
            self.finish(f"This server answers to http://{hosts[0]} alone, and to pages from there.\n")


class Page(Own):
    """The page itself."""

    def get(self) -> None:
        self.finish(PAGE)


class Nothing(Own):
    """What is at any other address."""

    def get(self) -> None:
        self.send_error(404)


class Live(Own, WebSocketHandler):
    """The web socket of one open page."""

    open_pages: ClassVar[set[Live]] = set()

    def open(self, *args: str, **kwargs: str) -> None:
        if len(self.open_pages) >= PAGES:
            self.close(1013, f"{PAGES} pages are open already: close one, and reload this one")
            return
        self.open_pages.add(self)
        self.session = Session()

    async def on_message(self, message: str | bytes) -> None:
        if self in self.open_pages:
            try:
                await self.write_message(self.session.answer(message))  # and no next message is read before
            except WebSocketClosedError:
                self.on_close()

    def on_close(self) -> None:
        self.open_pages.discard(self)


def start(port: int) -> tuple[HTTPServer, int]:
    """Listen on a port of the loopback address, in the running event loop; return the server and its port.

    Raises:
        OSError: the port cannot be had.
    """
    (socket,) = bind_sockets(port, ADDRESS)
    port = socket.getsockname()[1]
    hosts = [f"{name}:{port}" for name in (ADDRESS, "localhost")]
    options: dict[str, Any] = {"websocket_max_message_size": MESSAGE_BYTES, "default_handler_class": Nothing}
    application = Application([("/", Page), ("/live", Live)], hosts=hosts, **options)
    limits = {"max_header_size": 16384, "max_body_size": 1024, "max_buffer_size": 4 * MESSAGE_BYTES}
    server = HTTPServer(application, idle_connection_timeout=IDLE_SECONDS, **limits)
    server.add_sockets([socket])
    digits.reader()  # now, rather than at the first stroke
    return server, port
