"""The files of a prepared store: their names, their formats, and what can be wrong with them."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Of the layout on disk."""


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
        """Bytes of the two large files."""
        spectrogram = 2 * self.audio_shape[0] * self.audio_shape[1]
        return {
            "frames.bin": int(self.offsets[-1]),
            "audio.bin": len(self.clips) * spectrogram,
        }


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Digest of settings, the same whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """In which settings two stores differ, in words."""
    keys = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
    return "; ".join(f"{k} is {found.get(k)!r}, expected {expected.get(k)!r}" for k in keys)


def write_tables(folder: Path, tables: Tables) -> None:
    """Finish a store whose large files are written; ``store.json`` last, since it says finished."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([Clip._fields, *tables.clips])
    replace(folder / "index.csv", lines.getvalue().encode())
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([("name", "reason"), *tables.rejected])
    replace(folder / "rejected.csv", lines.getvalue().encode())
    packed = io.BytesIO()
    np.save(packed, tables.offsets.astype("<i8"))
    replace(folder / "offsets.npy", packed.getvalue())
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
    }
    replace(folder / "store.json", (json.dumps(meta, indent=2) + "\n").encode())


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whenever the process or the machine ends."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_tables(folder: Path, partly_moved: bool = False) -> Tables:
    """Read all of a store but its large files, and check that they fit together.

    Args:
        folder: The store.
        partly_moved: Large files may be gone, their bytes being elsewhere already.

    Raises:
        StoreError: It is missing, unfinished or damaged.
    """
    meta = _read_meta(folder)
    try:
        header, clips = read_index(folder / "index.csv")
        rejected = read_rejected(folder / "rejected.csv")
        offsets = np.load(folder / "offsets.npy")
        height, width = meta["audio_shape"]
        tables = Tables(
            clips, rejected, offsets, (height, width), meta["frame_format"], meta["settings"]
        )
        found = {
            "header of index.csv": header == Clip._fields,
            "index.csv": len(clips) == meta["clips"],
            "rejected.csv": len(rejected) == meta["rejected"],
            "offsets.npy": len(offsets) == 1 + sum(clip.frames for clip in clips),
            "store.json": tables.sizes() == meta["bytes"],
        }
        found |= {
            name: (folder / name).stat().st_size == size
            for name, size in meta["bytes"].items()
            if not partly_moved or (folder / name).exists()
        }
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError) as error:
        raise _damaged(folder, str(error)) from error
    if wrong := [name for name, right in found.items() if not right]:
        raise _damaged(folder, f"{', '.join(wrong)}: not the size that was written")
    return tables


def read_index(path: Path) -> tuple[tuple[str, ...], list[Clip]]:
    """Header and lines of ``index.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    clips = [
        Clip(name, int(label), group, split, *map(int, numbers))
        for name, label, group, split, *numbers in rows
    ]
    return tuple(header), clips


def read_rejected(path: Path) -> list[tuple[str, str]]:
    """Lines of ``rejected.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        return [(name, reason) for name, reason in list(csv.reader(file))[1:]]


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / "store.json").read_text(encoding="utf-8")
    except OSError:
        if (folder / "parts").is_dir():
            raise StoreError(
                f"the store {folder} is unfinished: give the command again that prepares it, "
                "and it goes on where it was"
            ) from None
        raise StoreError(
            f"there is no prepared store in {folder} (it has no store.json); make one with "
            "python experiments/prepare.py data=... data.root=... data.store=..."
        ) from None
    try:
        meta = json.loads(text)
        version = meta["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, f"store.json: {error!r}") from error
    if version != VERSION:
        raise StoreError(
            f"the store {folder} has layout {version}, this release reads layout {VERSION}: "
            "prepare it again"
        )
    if meta.get("fingerprint") != fingerprint(meta.get("settings", {})):
        raise _damaged(folder, "store.json: the settings are not those of the fingerprint")
    return dict(meta)


def _damaged(folder: Path, what: str) -> StoreError:
    return StoreError(f"the store {folder} is damaged ({what}); delete it and prepare it again")
