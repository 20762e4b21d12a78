"""A server on this machine that serves files from memory, and any fault that it is told."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler", bytes], None]
"""Answers one request for a file that has these bytes."""


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's ``files``, each by the next of its ``faults``."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        """Answer with a file, or with what the next fault makes of it."""
        name = self.path.split("?")[0].lstrip("/")
        content = self.server.files.get(name)
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else whole
        try:
            if content is None:
                self.send_error(404)
            else:
                fault(self, content)
        except OSError:  # the client went away
            self.close_connection = True

    do_HEAD = do_GET

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        """Send a whole answer; ``Content_Length`` and other headers may be given."""
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path."""

    daemon_threads = True
    files: dict[str, bytes]
    faults: dict[str, list[Fault]]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are meant."""


@contextmanager
def serving() -> Iterator[tuple[Server, str]]:
    """A server with no files, and its URL."""
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.faults = {}, {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def whole(handler: Handler, content: bytes) -> None:
    """No fault."""
    handler.answer(content)


def status(code: int) -> Fault:
    """An answer with this status instead of the file."""
    return lambda handler, content: handler.answer(b"<html>no</html>", code)


def _cut(handler: Handler, content: bytes) -> None:
    handler.answer(content[: len(content) // 2], Content_Length=str(len(content)))
    handler.close_connection = True


def _shorter(handler: Handler, content: bytes) -> None:
    handler.answer(content[: len(content) // 2])


def _longer(handler: Handler, content: bytes) -> None:
    handler.answer(content + b"x" * 1000)


def _other(handler: Handler, content: bytes) -> None:
    handler.answer(bytes(byte ^ 1 for byte in content))


def _page(handler: Handler, content: bytes) -> None:
    handler.answer(b"<html>log in first</html>", Content_Type="text/html")


def _stalled(handler: Handler, content: bytes) -> None:
    handler.answer(content[:10], Content_Length=str(len(content)))
    handler.wfile.flush()
    time.sleep(handler.server_patience)
    handler.close_connection = True


def _trickle(handler: Handler, content: bytes) -> None:
    handler.answer(b"", Content_Length=str(len(content)))
    for byte in content[:200]:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)
    handler.close_connection = True


def _silent(handler: Handler, content: bytes) -> None:
    handler.close_connection = True


def _nonsense(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"220 smtp.example.org ESMTP\r\n")
    handler.close_connection = True


def _circle(handler: Handler, content: bytes) -> None:
    handler.answer(b"", 302, Location=handler.path)


def _to_a_file(handler: Handler, content: bytes) -> None:
    handler.answer(b"", 302, Location="file:///etc/passwd")


def _packed(handler: Handler, content: bytes) -> None:
    handler.answer(content, Content_Encoding="gzip")


def _endless_header(handler: Handler, content: bytes) -> None:
    handler.answer(content, X="x" * 200_000)


def _negative(handler: Handler, content: bytes) -> None:
    handler.answer(content, Content_Length="-1")
    handler.close_connection = True


Handler.server_patience = 2.5  # type: ignore[attr-defined]
FAULTS: Mapping[str, Fault] = {
    **{f"status {code}": status(code) for code in (204, 206, 304, 401, 403, 404, 410, 429)},
    **{f"status {code}": status(code) for code in (500, 502, 503, 504, 599)},
    "cut in its middle": _cut,
    "half of it": _shorter,
    "more than it": _longer,
    "other bytes": _other,
    "a page": _page,
    "stalled": _stalled,
    "a byte now and then": _trickle,
    "no answer": _silent,
    "another protocol": _nonsense,
    "sent in a circle": _circle,
    "sent to a file": _to_a_file,
    "said to be packed": _packed,
    "an endless header": _endless_header,
    "a negative length": _negative,
}
