"""Fetching from a real server that fails in the ways of real ones."""

import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from inforeg_lightning.data.store import download
from inforeg_lightning.data.store.download import DownloadError, fetch, write_whole

CONTENT = b"0123456789" * 100


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        faults = self.server.faults
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if fault == "slow":
            for number in range(40):
                self.wfile.write(CONTENT[number : number + 1])
                self.wfile.flush()
                time.sleep(0.05)
        self.wfile.write(CONTENT[:300] if fault == "cut" else CONTENT)

    def log_message(self, *_):
        pass

    def handle(self):
        with suppress(OSError):  # the client has gone away, as it should
            super().handle()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_PAUSE", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.asked, server.faults = 0, []
        server.url = f"http://127.0.0.1:{server.server_port}/list.csv"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("faults", [[503], [500, "cut", 429], ["cut"]])
def test_what_passes_is_tried_again(server, faults):
    server.faults, tries = list(faults), len(faults) + 1
    assert fetch(server.url, 10_000) == CONTENT
    assert server.asked == tries


def test_what_stays_is_an_error_after_some_tries(server):
    server.faults = [503] * 9
    with pytest.raises(DownloadError, match=r"list\.csv cannot be fetched \(HTTP Error 503"):
        fetch(server.url, 10_000)
    assert server.asked == 4


def test_what_is_not_there_is_not_tried_again(server):
    server.faults = [404]
    with pytest.raises(DownloadError, match="HTTP Error 404"):
        fetch(server.url, 10_000)
    assert server.asked == 1


def test_a_server_that_stalls_is_left(server, monkeypatch):
    monkeypatch.setattr(download, "_STALLED", 0.2)
    server.faults = ["slow"]
    assert fetch(server.url, 10_000) == CONTENT  # the second time
    assert server.asked == 2


def test_too_much_is_refused(server):
    with pytest.raises(DownloadError, match="it has more than 999 bytes"):
        fetch(server.url, 999)
    assert server.asked == 1


def test_a_password_is_not_printed(monkeypatch):
    monkeypatch.setattr(download, "_PAUSE", 0.01)
    with pytest.raises(DownloadError) as raised:
        fetch("nothing://me:secret@127.0.0.1/list.csv", 10)
    assert "secret" not in str(raised.value)
    assert "127.0.0.1/list.csv" in str(raised.value)


def test_a_file_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "new" / "list.csv"
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_whole(path, CONTENT)
    monkeypatch.undo()
    assert list(path.parent.iterdir()) == []
    write_whole(path, CONTENT)
    assert path.read_bytes() == CONTENT
