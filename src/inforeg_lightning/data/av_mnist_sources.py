"""The two sources of AV-MNIST as their authors publish them: IDX images and ``.wav`` recordings."""

import gzip
import hashlib
import io
import logging
import os
import shutil
import struct
import urllib.request
import wave
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.rendering import Array

SAMPLE_RATE = 8_000

LAYOUT = """\
  mnist/train-images-idx3-ubyte.gz   (each also without .gz)
  mnist/train-labels-idx1-ubyte.gz
  mnist/t10k-images-idx3-ubyte.gz
  mnist/t10k-labels-idx1-ubyte.gz
  fsdd/{digit}_{speaker}_{index}.wav (in any folder below fsdd)"""

_FILES = {"train": "train", "test": "t10k"}
_IDX_BYTES = 8  # data type of an IDX file: unsigned bytes

_log = logging.getLogger(__name__)

Recording = tuple[str, int, int]
"""Speaker, digit and number of a recording."""


class Download(NamedTuple):
    """A file to fetch: from where, to where below the root, and the MD5 sum if it is known.

    A ``.zip`` becomes the folder ``path`` of the ``.wav`` files in it.
    """

    url: str
    path: str
    md5: str | None = None


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FSDD = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip"
_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
DOWNLOADS = (
    *(Download(_MNIST + name, f"mnist/{name}", md5) for name, md5 in _MD5.items()),
    # Archives of a tag may be packed anew, so a sum would mean nothing: the recordings are counted
    # when they are read.
    Download(_FSDD, "fsdd/recordings"),
)


def check_layout(root: Path, needed: Iterable[Recording]) -> None:
    """Make sure that the files of MNIST and the recordings are there.

    Raises:
        FileNotFoundError: They are not; the message shows the layout.
    """
    for half in _FILES:
        for kind in ("images-idx3", "labels-idx1"):
            _idx_path(root, f"mnist/{_FILES[half]}-{kind}-ubyte")
    find_recordings(root, needed)


def read_mnist(root: Path, half: str) -> tuple[Array, NDArray[np.int64]]:
    """The images of one half, ``(N, H, W)`` in [0, 1], and their labels ``(N,)``.

    Raises:
        FileNotFoundError: A file is not there; the message shows the layout.
        ValueError: A file is no IDX file of bytes, or is truncated, or the two do not fit.
    """
    images = _read_idx(root, f"mnist/{_FILES[half]}-images-idx3-ubyte", 3)
    labels = _read_idx(root, f"mnist/{_FILES[half]}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise ValueError(
            f"MNIST's {half} half in {root / 'mnist'} has {len(images)} images, but "
            f"{len(labels)} labels; get both files again"
        )
    return (images / 255).astype(np.float32), labels.astype(np.int64)


def _read_idx(root: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    path = _idx_path(root, name)
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        zeros, kind, found = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{found}I", content[4 : 4 + 4 * found])
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * found)
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an IDX file: {error}") from error
    if (zeros, kind, found) != (0, _IDX_BYTES, dimensions) or values.size != np.prod(shape):
        raise ValueError(
            f"{path} must be an IDX file of bytes in {dimensions} dimensions, whole; "
            f"got type {kind}, shape {shape} and {values.size} bytes"
        )
    return values.reshape(shape)


def _idx_path(root: Path, name: str) -> Path:
    packed, plain = root / f"{name}.gz", root / name
    if not packed.exists() and not plain.exists():
        raise missing(root, f"neither {packed} nor {plain} exists")
    return packed if packed.exists() else plain


def find_recordings(root: Path, needed: Iterable[Recording]) -> dict[Recording, Path]:
    """The file, anywhere below ``fsdd``, of every recording that is needed.

    Raises:
        FileNotFoundError: Some are not there; the message shows the layout.
    """
    found = {}
    for path in sorted((root / "fsdd").rglob("*.wav")):
        parts = path.stem.split("_")
        if len(parts) == 3 and parts[0].isdigit() and parts[2].isdigit():
            found[parts[1], int(parts[0]), int(parts[2])] = path
    if not found:
        raise missing(root, f"{root / 'fsdd'} holds no recordings")
    wanted = sorted(set(needed))
    if lacking := [recording for recording in wanted if recording not in found]:
        speaker, digit, number = lacking[0]
        raise missing(
            root,
            f"{len(lacking)} of {len(wanted)} recordings are missing, "
            f"{digit}_{speaker}_{number}.wav among them; the speakers there are "
            f"{sorted({name for name, _, _ in found})}",
        )
    return {recording: found[recording] for recording in wanted}


def read_recording(path: Path) -> Array:
    """A recording as float32 in [−1, 1], ``(n,)``.

    Raises:
        ValueError: It is not mono, 16 bit and 8,000 Hz, or is empty or damaged.
    """
    try:
        with wave.open(str(path)) as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a .wav file: {error}") from error
    if kind != (1, 2, SAMPLE_RATE) or not content:
        raise ValueError(
            f"{path} must be one channel of 2 bytes at {SAMPLE_RATE} Hz, "
            f"got {kind[0]} of {kind[1]} at {kind[2]} with {len(content)} bytes"
        )
    return (np.frombuffer(content, "<i2") / 32768).astype(np.float32)


def missing(root: Path, what: str) -> FileNotFoundError:
    """The error that shows how the folder should look."""
    return FileNotFoundError(
        f"AV-MNIST: {what}. Expected below data.root={root}:\n{LAYOUT}\n"
        "+data.download=true fetches all of it (30 MB) on a machine with internet"
    )


def download(root: Path, downloads: Sequence[Download] | None = None) -> None:
    """Fetch what is not there; a file is whole or absent, and an archive is unpacked.

    Raises:
        OSError: A file cannot be fetched.
        ValueError: What was fetched is not what it should be.
    """
    for item in DOWNLOADS if downloads is None else downloads:
        path = root / item.path
        if path.exists() or path.with_suffix("").exists():
            continue
        _log.info("AV-MNIST: fetching %s", item.url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(item.url, timeout=60) as response:
            content = response.read()
        if item.md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != item.md5:
            raise ValueError(
                f"{item.url} is not the file that is expected (MD5 {item.md5}); fetch it by hand "
                f"to {path}"
            )
        _write_whole(path, content, item.url)


def _write_whole(path: Path, content: bytes, url: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        if url.endswith(".zip"):
            _unpack(content, temporary, url)
        else:
            temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def _unpack(content: bytes, folder: Path, url: str) -> None:
    """Put an archive's recordings into one folder; names alone, so that nothing lands outside."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                if member.endswith(".wav"):
                    (folder / Path(member).name).write_bytes(archive.read(member))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{url} is no readable .zip archive: {error}") from error
