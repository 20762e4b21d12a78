"""Files from the internet: fetched whole or not at all, and kept in the user's cache folder."""

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO

_TRIES = 4
_PAUSE = 1.0  # seconds before the second try; twice as long before each further one
_STALLED = 30.0  # seconds without ...
_PROGRESS = 1_000  # ... so many bytes end a try; a slow line is no reason
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP's states that may pass


class DownloadError(OSError):
    """A file that cannot be fetched; the message says from where, without passwords, and why."""


def default_root() -> Path:
    """Return the library's folder in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "inforeg-lightning"


def fetch(url: str, most: int) -> bytes:
    """Read a file; try again, after a pause, what may pass.

    Args:
        url: Where it is.
        most: Most bytes that it may have.

    Raises:
        DownloadError: It cannot be read, or is larger.
    """
    pause, reason = _PAUSE, ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(pause)
            pause *= 2
        try:
            with urllib.request.urlopen(url, timeout=_STALLED) as response:
                return _read(response, most)
        except urllib.error.HTTPError as error:
            error.close()  # it is a response too, with its connection
            reason = str(error)
            if error.code not in _PASSING:
                break
        except DownloadError as error:
            reason = str(error)
            break
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or repr(error)
        except ValueError as error:  # no URL
            reason = str(error)
            break
    raise DownloadError(f"{without_password(url)} cannot be fetched ({reason})")


def _read(response: IO[bytes], most: int) -> bytes:
    pieces, size = [], 0
    begun, before = time.monotonic(), 0
    # Not read(): it would wait for as long as a byte comes now and then.
    while piece := getattr(response, "read1", response.read)(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise DownloadError(f"it has more than {most} bytes")
        now = time.monotonic()
        if now - begun > _STALLED:
            if size - before < _PROGRESS:
                raise TimeoutError(f"{size - before} bytes in {now - begun:.0f} s")
            begun, before = now, size
    length = getattr(response, "length", None)  # what is still to come, if that is known
    if length:
        raise http.client.IncompleteRead(b"".join(pieces), length)
    return b"".join(pieces)


def without_password(url: str) -> str:
    """Return the URL without user and password."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that other processes may write as well, each whole; the last one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
