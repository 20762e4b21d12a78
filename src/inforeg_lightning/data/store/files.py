"""The files of a prepared store: their names, formats and checksums, and what can be wrong."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.store.regular import open_regular, read_regular

VERSION = 2
"""Of the layout on disk. 1 had no checksums of the tables."""

TABLES = ("index.csv", "rejected.csv", "offsets.npy")
"""The small files beside ``store.json``, whose checksums it has."""

LARGE = ("frames.bin", "audio.bin")
"""The large files; the index has a checksum of every clip's bytes in them."""

_MOST_OF_META = 64 * 10**6
_MOST_OF_TABLE = 10**9  # bytes; the offsets of a hundred million frames


class StoreError(RuntimeError):
    """A store that is missing, unfinished, damaged or made with other settings."""


class Clip(NamedTuple):
    """A line of the index.

    Attributes:
        name: Unique name.
        label: Class index.
        group: What must not be in two splits at once, such as the actor; ``""`` for none.
        split: Half of the published lists: ``"train"``, ``"test"``, or ``""`` for neither.
        frames: Number of frames.
        height: Of its frames, in pixels.
        width: Of its frames, in pixels.
        frames_crc32: Checksum of the stored bytes of its frames.
        audio_crc32: Checksum of the stored bytes of its spectrogram.
    """

    name: str
    label: int
    group: str
    split: str
    frames: int
    height: int
    width: int
    frames_crc32: int
    audio_crc32: int


class Tables(NamedTuple):
    """All of a store but its two large files.

    Attributes:
        clips: The index.
        rejected: Name and reason of each clip that could not be used.
        offsets: Where each frame begins in ``frames.bin``, and the end: int64
            ``(number of frames + 1,)``.
        audio_shape: ``(F, T)`` of a spectrogram.
        frame_format: ``"raw"`` or ``"jpeg"``.
        settings: What it was made with.
    """

    clips: Sequence[Clip]
    rejected: Sequence[tuple[str, str]]
    offsets: NDArray[np.int64]
    audio_shape: tuple[int, int]
    frame_format: str
    settings: Mapping[str, Any]

    def sizes(self) -> dict[str, int]:
        """Return the sizes of the two large files, in bytes."""
        spectrogram = 2 * self.audio_shape[0] * self.audio_shape[1]
        return {
            "frames.bin": int(self.offsets[-1]),
            "audio.bin": len(self.clips) * spectrogram,
        }


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return a digest of settings, the same whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Say in words in which settings two stores differ."""
    keys = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
    return "; ".join(f"{k} is {found.get(k)!r}, expected {expected.get(k)!r}" for k in keys)


def write_tables(folder: Path, tables: Tables) -> None:
    """Finish a store whose large files are written; ``store.json`` last, since it says finished."""
    packed = io.BytesIO()
    np.save(packed, tables.offsets.astype("<i8"))
    contents = {
        "index.csv": _csv([Clip._fields, *tables.clips]),
        "rejected.csv": _csv([("name", "reason"), *tables.rejected]),
        "offsets.npy": packed.getvalue(),
    }
    for name, content in contents.items():
        replace(folder / name, content)
    meta = {
        "version": VERSION,
        "fingerprint": fingerprint(tables.settings),
        "settings": tables.settings,
        "frame_format": tables.frame_format,
        "audio_shape": tables.audio_shape,
        "clips": len(tables.clips),
        "rejected": len(tables.rejected),
        "frames": len(tables.offsets) - 1,
        "bytes": tables.sizes(),
        "sha256": {name: _sha256(content) for name, content in contents.items()},
    }
    replace(folder / "store.json", _sealed(meta))


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue().encode()


def _sealed(meta: Mapping[str, Any]) -> bytes:
    """The bytes of ``store.json``, with a checksum of themselves."""
    checksum = _sha256(_rendered(meta))
    return _rendered({**meta, "checksum": checksum})


def _rendered(meta: Mapping[str, Any]) -> bytes:
    return (json.dumps(meta, indent=2) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whenever the process or the machine ends."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or deleted in a folder outlast the end of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_tables(folder: Path, partly_moved: bool = False) -> Tables:
    """Read all of a store but its large files, and check that these are the bytes of its writer.

    Args:
        folder: The store.
        partly_moved: Large files may be gone, their bytes being elsewhere already.

    Raises:
        StoreError: It is missing, unfinished, damaged, or of an earlier release.
    """
    meta = _read_meta(folder)
    try:
        contents = {name: read_regular(folder / name, _MOST_OF_TABLE) for name in TABLES}
        changed = [name for name in TABLES if _sha256(contents[name]) != meta["sha256"][name]]
        if changed:
            raise _damaged(folder, f"{', '.join(changed)}: not the bytes that were written")
        _, clips = parse_index(contents["index.csv"])
        rejected = parse_rejected(contents["rejected.csv"])
        offsets = np.load(io.BytesIO(contents["offsets.npy"]))
        height, width = meta["audio_shape"]
        tables = Tables(
            clips, rejected, offsets, (height, width), meta["frame_format"], meta["settings"]
        )
        wrong = [
            name
            for name in LARGE
            if not (partly_moved and not (folder / name).exists())
            and _size(folder / name) != meta["bytes"][name]
        ]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, csv.Error) as error:
        raise _damaged(folder, str(error)) from error
    if wrong:
        raise _damaged(folder, f"{', '.join(wrong)}: not the size that was written")
    return tables


def parse_index(content: bytes) -> tuple[tuple[str, ...], list[Clip]]:
    """Return header and lines of ``index.csv`` from its bytes."""
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    clips = [
        Clip(name, int(label), group, split, *map(int, numbers))
        for name, label, group, split, *numbers in rows
    ]
    return tuple(header), clips


def parse_rejected(content: bytes) -> list[tuple[str, str]]:
    """Return the lines of ``rejected.csv`` from its bytes."""
    lines = csv.reader(io.StringIO(content.decode(), newline=""))
    return [(name, reason) for name, reason in list(lines)[1:]]


def _size(path: Path) -> int:
    descriptor = open_regular(path)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        content = read_regular(folder / "store.json", _MOST_OF_META)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "parts").is_dir():
            raise StoreError(
                f"the store {folder} is unfinished: prepare it with the same arguments, and it "
                "goes on where it was"
            ) from None
        raise StoreError(
            f"there is no prepared store in {folder} (it has no store.json); docs/data.md says how "
            "to make one"
        ) from None
    except OSError as error:
        raise StoreError(f"the store {folder} cannot be read: {error}") from error
    try:
        meta = dict(json.loads(content))
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(folder, f"store.json: {error}") from error
    if meta.get("version") == 1 and "checksum" not in meta:
        raise StoreError(
            f"the store {folder} is of an earlier release (layout 1), without checksums of its "
            "index: prepare it again in a new folder, and delete this one"
        )
    if _sealed({key: value for key, value in meta.items() if key != "checksum"}) != content:
        raise _damaged(folder, "store.json: not the bytes that were written")
    if meta["version"] != VERSION:
        raise StoreError(
            f"the store {folder} has layout {meta['version']}, this release reads layout "
            f"{VERSION}: prepare it again"
        )
    return meta


def _damaged(folder: Path, what: str) -> StoreError:
    return StoreError(f"the store {folder} is damaged ({what}); delete it and prepare it again")
