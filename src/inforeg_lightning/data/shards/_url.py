"""Files below a URL: which URLs are read, what may be said of them, and reading with patience.

Credentials in a URL (``https://user:password@host/…``, ``https://host/…?token=…``) are used and
never shown: no message has them, and no exception that this module raises has another behind it
that could.
"""

import base64
import http
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from inforeg_lightning.data.store.files import StoreError

SCHEMES = (
    *("https", "http", "file"),
    *("s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oci", "hdfs", "sftp", "ssh", "smb"),
)
"""Schemes that are read: those that need nothing more, and remote stores of fsspec's extras."""

ATTEMPTS = 5
"""How often a file is asked for before it is given up."""

FIRST_WAIT = 1.0
"""Seconds before the second attempt, about; each later wait is twice as long."""

PATIENCE = 60.0
"""Seconds without progress after which an attempt is given up."""

LEAST_PROGRESS = 2**16
"""Bytes that have to come in that time."""

_PIECE = 2**20
_PASSING = (408, 425, 429)  # of the HTTP statuses below 500, those that may be another next time
_T = TypeVar("_T")


class Unfit(Exception):
    """A file that came whole and is not the one that is wanted; it is asked for again."""


class Remote:
    """The files below a URL.

    Args:
        url: The URL.

    Attributes:
        shown: The URL without credentials, for messages.

    Raises:
        StoreError: Its scheme is none of ``SCHEMES``.
    """

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        scheme, _, rest = url.partition("://")
        self._scheme = scheme.lower()
        if self._scheme not in SCHEMES:
            # Not the scheme as it was given: in a chain of URLs (`zip://…::https://…`) it is long.
            raise StoreError(
                f"{self.shown} is not read: it has to begin with one of "
                f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}"
            )
        # "::" chains URLs in fsspec, except where it is not asked to take them apart.
        if not rest.strip("/") or ("::" in rest and self._scheme not in ("http", "https")):
            raise StoreError(f"{self.shown} is no URL of a folder of shards")
        self._url = f"{self._scheme}://{rest}".rstrip("/")
        self._secret = self.shown != self._url

    def read(self, name: str, most: int) -> bytes:
        """The content of a small file.

        Args:
            name: Its name.
            most: Bytes that it may have.

        Raises:
            ImportError: A package for this scheme is not installed.
            StoreError: It cannot be read, or is larger.
        """

        def take(pieces: Iterator[bytes]) -> bytes:
            content = bytearray()
            for piece in pieces:
                content += piece
                if len(content) > most:
                    raise StoreError(f"{self.shown}/{name} is larger than {most} bytes")
            return bytes(content)

        return self.bring(name, take)

    def bring(self, name: str, take: Callable[[Iterator[bytes]], _T]) -> _T:
        """Read a file; where that fails and may not fail again, once more after a wait.

        Args:
            name: Its name.
            take: Is given the bytes of the file, piece by piece, once for each attempt. It raises
                ``Unfit`` if they are not what they should be.

        Returns:
            What ``take`` returns.

        Raises:
            ImportError: A package for this scheme is not installed.
            StoreError: It cannot be read.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                # Of its own generator: the one of the module is seeded, and belongs to training.
                jitter = random.Random().uniform(0.5, 1.0)
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * jitter)
            try:
                return take(self._pieces(name))
            except Unfit as error:
                reason, lasting = str(error), False
            except _Failure as error:
                reason, lasting = f"cannot be read: {error.reason}", error.lasting
            if lasting:
                break
        else:
            reason += f" (tried {ATTEMPTS} times)"
        # Out here nothing stands behind the error: what a library says of a URL may say all of it.
        raise StoreError(f"{self.shown}/{name} {reason}")

    def _pieces(self, name: str) -> Iterator[bytes]:
        try:
            with self._opened(name) as file:
                since, came = time.monotonic(), 0
                while piece := file.read(_PIECE):
                    came += len(piece)
                    if time.monotonic() - since > PATIENCE:
                        if came < LEAST_PROGRESS:
                            raise TimeoutError
                        since, came = time.monotonic(), 0
                    yield piece
            return
        except (ImportError, StoreError) as error:
            failure: Exception = error
        except Exception as error:  # of whatever library the scheme needs
            failure = self._failure(error)
        raise failure

    def _opened(self, name: str) -> Any:
        # Here: a folder needs none, and each scheme brings a library of its own.
        try:
            import fsspec

            if self._scheme in ("http", "https"):
                url, options = self._request()
                system = fsspec.filesystem(self._scheme, **options)
                # As a stream: one request for each file, and none for its size.
                return system.open(f"{url}/{name}", "rb", block_size=0, size=1)
            system, root = fsspec.core.url_to_fs(self._url)
        except ImportError as error:
            raise ImportError(
                f"{self.shown} cannot be read ({error}): pip install "
                "'inforeg-lightning[streaming]' brings https://; s3:// needs s3fs as well, "
                "gs:// needs gcsfs"
            ) from None
        path = f"{str(root).rstrip('/')}/{name}"
        if self._scheme == "file" and os.path.exists(path) and not os.path.isfile(path):
            raise StoreError(f"{self.shown}/{name} is no regular file")  # a pipe would never end
        return system.open(path, "rb")

    def _request(self) -> tuple[str, dict[str, Any]]:
        """The URL without credentials, and what has to be sent beside it."""
        import aiohttp
        from fsspec.config import conf

        configured = dict(conf.get(self._scheme, {}))
        parts = urlsplit(self._url)
        user, at, host = parts.netloc.rpartition("@")
        # What a server packs is not unpacked here, so that a kilobyte cannot become gigabytes.
        headers = {**configured.pop("headers", {}), "Accept-Encoding": "identity"}
        client = {**configured.pop("client_kwargs", {}), "auto_decompress": False}
        if at:
            pair = base64.b64encode(unquote(user if ":" in user else f"{user}:").encode())
            headers["Authorization"] = f"Basic {pair.decode()}"
        timeout = aiohttp.ClientTimeout(
            total=None, connect=PATIENCE, sock_connect=PATIENCE, sock_read=PATIENCE
        )
        options = {**configured, "headers": headers, "client_kwargs": client, "timeout": timeout}
        if parts.query:
            options["params"] = parse_qsl(parts.query, keep_blank_values=True)
        return f"{self._scheme}://{host}{parts.path}".rstrip("/"), options

    def _failure(self, error: Exception) -> "_Failure":
        kind, status = type(error).__name__, getattr(error, "status", None)
        if isinstance(error, FileNotFoundError):
            return _Failure(f"{kind}: there is no such file", lasting=True)
        if isinstance(status, int) and 100 <= status < 600:
            words = {of.value: of.phrase for of in http.HTTPStatus}.get(status, "unknown")
            passing = status >= 500 or status in _PASSING
            return _Failure(f"HTTP status {status}, {words}", lasting=not passing)
        if isinstance(error, TimeoutError):
            return _Failure(f"{kind}: no progress for {PATIENCE:g} s", lasting=False)
        # A wrong certificate is a ValueError as well.
        lasting = isinstance(
            error,
            (PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError),
        ) or (self._scheme in ("http", "https") and _leads_nowhere(error))
        said = "" if self._secret else " ".join(str(error).split())[:200]
        text = "".join(c if c.isprintable() else "?" for c in said)
        return _Failure(f"{kind}: {text}" if text else kind, lasting)


class _Failure(Exception):
    def __init__(self, reason: str, lasting: bool) -> None:
        super().__init__(reason)
        self.reason, self.lasting = reason, lasting


def _leads_nowhere(error: Exception) -> bool:
    import aiohttp

    # The second came with aiohttp 3.10; before, it was an InvalidURL.
    to_no_web = getattr(aiohttp, "NonHttpUrlClientError", aiohttp.InvalidURL)
    return isinstance(error, (aiohttp.TooManyRedirects, to_no_web))


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether it names something that is not a path."""
    return "://" in os.fspath(place)


def shown(place: str | os.PathLike[str]) -> str:
    """A place as it may be printed and stored: a URL without credentials, a path as it is."""
    text = os.fspath(place)
    if not is_url(text):
        return text
    scheme, _, rest = text.partition("://")
    rest, query, _ = rest.replace("#", "?").partition("?")
    authority = rest.partition("/")[0]
    port = authority.rpartition(":")[2] if ":" in authority else ""
    if "@" in rest and ("@" in authority or (not port.isdecimal() and port)):
        # Up to the last one: a password with a slash or an @ in it ends the host too early.
        rest = f"***@{rest.rpartition('@')[2]}"
    return f"{scheme}://{rest.rstrip('/')}" + ("?***" if query else "")
