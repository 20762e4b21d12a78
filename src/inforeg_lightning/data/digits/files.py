"""Digits as their authors publish them: IDX images, ``.wav`` recordings, and archives of these."""

import gzip
import hashlib
import io
import logging
import os
import shutil
import struct
import wave
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.digits.rendering import Array
from inforeg_lightning.data.store.download import fetch, write_whole

_IDX_BYTES = 8  # data type of an IDX file: unsigned bytes

_MOST_BYTES = 1_000_000_000  # of a download; MNIST has 10 MB and the recordings 20 MB

_log = logging.getLogger(__name__)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, packed if its name ends in ``.gz``.

    Args:
        path: The file.
        dimensions: How many dimensions it must have.

    Raises:
        ValueError: It is no such file, or is truncated.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        zeros, kind, found = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{found}I", content[4 : 4 + 4 * found])
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * found)
    except (OSError, EOFError, struct.error, zlib.error, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an IDX file: {error}") from error
    if (zeros, kind, found) != (0, _IDX_BYTES, dimensions) or values.size != np.prod(shape):
        raise ValueError(
            f"{path} must be an IDX file of bytes in {dimensions} dimensions, whole; "
            f"got type {kind}, shape {shape} and {values.size} bytes"
        )
    return values.reshape(shape)


def read_recording(path: Path, rate: int) -> Array:
    """Read a recording as float32 in [−1, 1], ``(n,)``.

    Args:
        path: The file.
        rate: The rate that it must have, in Hz.

    Raises:
        ValueError: It is not mono, 16 bit and of this rate, or is empty or damaged.
    """
    try:
        with wave.open(str(path)) as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a .wav file: {error}") from error
    if kind != (1, 2, rate) or not content:
        raise ValueError(
            f"{path} must be one channel of 2 bytes at {rate} Hz, "
            f"got {kind[0]} of {kind[1]} at {kind[2]} with {len(content)} bytes"
        )
    return (np.frombuffer(content, "<i2") / 32768).astype(np.float32)


class Download(NamedTuple):
    """A file to fetch: from where, to where below the root, and the MD5 sum if it is known.

    A ``.zip`` becomes the folder ``path`` of the ``.wav`` files in it.
    """

    url: str
    path: str
    md5: str | None = None


def download(root: Path, downloads: Sequence[Download]) -> None:
    """Fetch what is not there; a file is whole or absent, and an archive is unpacked.

    Raises:
        DownloadError: A file cannot be fetched.
        ValueError: What was fetched is not what it should be.
    """
    for item in downloads:
        path = root / item.path
        if path.exists() or path.with_suffix("").exists():
            continue
        _log.info("fetching %s", item.url)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = fetch(item.url, _MOST_BYTES)
        if item.md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != item.md5:
            raise ValueError(
                f"{item.url} is not the file that is expected (MD5 {item.md5}); fetch it by hand "
                f"to {path}"
            )
        if item.url.endswith(".zip"):
            _unpack(content, path, item.url)
        else:
            write_whole(path, content)


def _unpack(content: bytes, folder: Path, url: str) -> None:
    """Put an archive's recordings into one folder; names alone, so that nothing lands outside."""
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    temporary.mkdir()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".wav") and member.file_size <= _MOST_BYTES:
                    (temporary / Path(member.filename).name).write_bytes(archive.read(member))
        temporary.replace(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{url} is no readable .zip archive: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
