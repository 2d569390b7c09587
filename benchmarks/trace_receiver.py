"""A receiver of traces that reads what it gets and keeps nothing, or never answers (`--hang`).

`GET /` says how many requests came. A process of its own, so that the router alone pays for its
own work.
"""

import argparse
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Receiver(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    hang: ClassVar[bool] = False
    received: ClassVar[int] = 0

    def do_GET(self) -> None:
        """Say how many requests came."""
        self._answer(str(Receiver.received).encode())

    def do_POST(self) -> None:
        """Take one request, and drop it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.received += 1
        if self.hang:
            threading.Event().wait()
        self._answer(b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Nothing: one line a request would be work too."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hang", action="store_true")
    arguments = parser.parse_args()
    Receiver.hang = arguments.hang
    ThreadingHTTPServer(("127.0.0.1", arguments.port), Receiver).serve_forever()


if __name__ == "__main__":
    main()
