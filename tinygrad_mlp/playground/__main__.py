"""Start the server: ``python -m tinygrad_mlp.playground``, with ``--port`` for another port."""

from __future__ import annotations

import argparse
import asyncio
import errno
import sys
from collections.abc import Sequence
from contextlib import suppress

PORT = 8321


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m tinygrad_mlp.playground",
        description="Serve a page to draw digits and to train small networks, to browsers on this machine alone.",
    )
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"to listen on ({PORT}); 0 finds a free one"
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error(f"argument --port: must be in 0..65535, got {options.port}")
    return options


async def serve(port: int) -> None:
    """Serve until something ends it."""
    from .server import ADDRESS, start

    _, port = start(port)
    print(f"Open http://{ADDRESS}:{port} in a browser. Ctrl-C ends.", flush=True)
    await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C; what prevents it is said in a sentence, with exit code 1."""
    options = parse_options(arguments)
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(options.port))
    except ImportError as error:
        sys.exit(f"the playground cannot start: {error}")
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = "in use" if error.errno == errno.EADDRINUSE else "reserved"
        sys.exit(f"the playground cannot start: port {options.port} is {why}; --port 0 takes a free one")


if __name__ == "__main__":
    main()
