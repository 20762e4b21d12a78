"""A web server on this machine that serves a folder, with the faults that a test asks for."""

import gzip
import http.server
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

FAULTS = {
    "403": "forbidden",
    "404": "not there",
    "429": "too many requests",
    "500": "an error of the server",
    "503": "overloaded",
    "reset": "the connection ends without an answer",
    "cut": "the connection ends in the middle of the file",
    "short": "the file is cut, and its length is that of the rest",
    "unsized": "the file is cut, and no length is given",
    "longer": "the file has more bytes at its end",
    "endless": "bytes come for ever",
    "flipped": "one bit is another",
    "empty": "the file is empty",
    "page": "a page of HTML instead of the file, as of a login",
    "packed": "the file comes packed by gzip, though nobody asked for that",
    "stalled": "half of the file comes, and then nothing for a long time",
    "silent": "no answer for a long time",
    "trickle": "a byte now and then",
    "circle": "a redirect to itself",
    "away": "a redirect to a scheme that is none of the web",
}
"""What can be asked for, and what it is."""


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder.

    Attributes:
        folder: The folder.
        asked: Paths that were asked for, in order.
        authorizations: The header Authorization of each of these requests, or ``None``.
        faults: Faults of the next answers, by name of the file; an answer takes one.
        always: A fault of every answer, by name of the file.
        password: What a request has to send as Authorization, or ``None``.
        token: What the query of a request has to be, or ``None``.
        payload: What is served under every name that no file has, or ``None``.
        elsewhere: Another server to which every request is redirected, or ``None``.
        closing: Set when the server ends: whoever holds back an answer waits for it.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = Path(folder)
        self.asked, self.authorizations = [], []
        self.faults, self.always = {}, {}
        self.password = self.token = self.payload = self.elsewhere = None
        self.closing = threading.Event()

    @property
    def url(self):
        """The URL of the folder."""
        return f"http://{self.host}"

    @property
    def host(self):
        """Address and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def fault_of(self, name):
        """The fault of the next answer, if any."""
        coming = self.faults.get(name)
        return coming.pop(0) if coming else self.always.get(name)

    def handle_error(self, request, client_address):
        """Clients end connections here as they like."""


@contextmanager
def serving(folder):
    """A server in a thread, as long as the context lasts."""
    with Server(folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):  # the name that the library looks for
        server, parts = self.server, urlsplit(self.path)
        server.asked.append(parts.path)
        server.authorizations.append(self.headers["Authorization"])
        path = server.folder / parts.path.lstrip("/")
        if server.elsewhere:
            return self.redirect(f"{server.elsewhere}{self.path}")
        if server.password not in (None, self.headers["Authorization"]):
            return self.fail(401)
        if server.token not in (None, parts.query):
            return self.fail(403)
        fault = server.fault_of(path.name)
        content = path.read_bytes() if path.is_file() else server.payload
        with suppress(ConnectionError):  # the client has had enough
            if content is None:
                return self.fail(404)
            self.answer(content, fault)

    def answer(self, content, fault):
        half = content[: len(content) // 2]
        if fault is None:
            self.send(content)
        elif fault.isdecimal():
            self.fail(int(fault))
        elif fault in ("circle", "away"):
            self.redirect(self.path if fault == "circle" else "file:///etc/passwd")
        elif fault == "cut":
            self.send(half, length=len(content))
        elif fault == "short":
            self.send(half)
        elif fault == "unsized":
            self.send(half, length=None)
        elif fault == "longer":
            self.send(content + b"more")
        elif fault == "endless":
            self.send(content, length=None)
            while not self.server.closing.is_set():
                self.wfile.write(bytes(2**16))
        elif fault == "flipped":
            self.send(bytes([content[0] ^ 1]) + content[1:])
        elif fault == "empty":
            self.send(b"")
        elif fault == "page":
            self.send(b"<html><script>alert(1)</script>Please log in</html>")
        elif fault == "packed":
            self.send(gzip.compress(content), encoding="gzip")
        elif fault == "stalled":
            self.send(half, length=len(content))
            self.wfile.flush()
            self.server.closing.wait(60)
        elif fault == "silent":
            self.server.closing.wait(60)
        elif fault == "trickle":
            self.send(b"", length=len(content))
            for number in range(len(content)):
                self.wfile.write(content[number : number + 1])
                time.sleep(0.02)
                if self.server.closing.is_set():
                    return
        self.close_connection = True

    def send(self, content, length=-1, encoding=None):
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(len(content) if length < 0 else length))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(content)

    def fail(self, status):
        self.send_response(status, f"no\x1b[31m {self.path}")  # a terminal would turn red
        self.send_header("Content-Length", "0")
        self.end_headers()

    def redirect(self, url):
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()
