"""A prepared store as WebDataset shards: tar files of some hundred megabytes, beside an index.

A folder of shards, which may be copied to a bucket or a web server as it is:

====================  ============================================================================
``shards.json``       settings, sizes, names of the shards; written last: it marks a whole folder
``index.csv``         the store's own, byte for byte; a clip is the same row here and there
``rejected.csv``      the store's own
``places.npz``        of every clip its shard, and where its sound and frames begin in it
``shard-000000.tar``  WebDataset samples: ``<row>.json``, ``<row>.audio.npy``, and
                      ``<row>.frames.npy`` or ``<row>.000.jpg``, ``<row>.001.jpg``, …
====================  ============================================================================

Clips stand in a random order, the same for every folder made of one store, so that neighbours are
not of one actor or class. No shard holds clips of both published halves.
"""

import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.shards import SHARDS_VERSION
from inforeg_lightning.data.store import Store
from inforeg_lightning.data.store.files import StoreError, fingerprint, replace

_FILES = ("index.csv", "rejected.csv")


def write_shards(
    store: str | Path,
    out: str | Path,
    shard_mb: float = 256,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write the shards of a store.

    Args:
        store: Folder of the store.
        out: Folder of the shards: new, empty, or begun by this function.
        shard_mb: Size at which a shard ends, in units of 10⁶ bytes.
        watch: Called with the number of clips that are written, and of all.

    Returns:
        What ``shards.json`` holds. If it is there already, for this store, nothing is written.

    Raises:
        ImportError: The package webdataset is not installed.
        StoreError: The store cannot be read, or the folder holds something else.
        ValueError: ``shard_mb`` is not above 0.
    """
    if not shard_mb > 0:
        raise ValueError(f"shard_mb must be above 0, got {shard_mb}")
    source, folder = Store(store), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    marked = folder / "shards.json"
    identity = fingerprint({"index": (source.path / "index.csv").read_text(encoding="utf-8")})
    if marked.exists():
        meta: dict[str, Any] = json.loads(marked.read_text(encoding="utf-8"))
        if (meta.get("index"), meta.get("shard_mb")) != (identity, shard_mb):
            raise StoreError(
                f"{folder} holds the shards of another store, or of another shard_mb; "
                "give another folder, or delete it"
            )
        return meta
    _clear(folder)
    sizes = _write_tars(source, folder, round(shard_mb * 1e6), watch)
    for name in _FILES:
        replace(folder / name, (source.path / name).read_bytes())
    meta = {
        "version": SHARDS_VERSION,
        "index": identity,
        "settings": source.settings,
        "frame_format": source.frame_format,
        "audio_shape": list(source.audio_shape),
        "shard_mb": shard_mb,
        "clips": len(source),
        "shards": sizes,
    }
    replace(marked, (json.dumps(meta, indent=2) + "\n").encode())
    return meta


def _clear(folder: Path) -> None:
    """Delete what a killed run has left; refuse what nobody here has written."""
    own = {*_FILES, "places.npz", "shards.json"}
    left = {path: path.name.removesuffix(".partial") for path in folder.iterdir()}
    tars = re.compile(r"shard-\d{6}\.tar")
    if foreign := [name for name in left.values() if not (name in own or tars.fullmatch(name))]:
        raise StoreError(
            f"{folder} holds other things ({', '.join(sorted(foreign)[:3])}): "
            "give a folder that is new or empty"
        )
    for path in left:
        path.unlink()


def _write_tars(
    store: Store, folder: Path, size: int, watch: Callable[[int, int], None]
) -> dict[str, int]:
    try:
        from webdataset import ShardWriter
    except ImportError as error:
        raise ImportError(
            "shards are written by the package webdataset: "
            "pip install 'inforeg-lightning[streaming]'"
        ) from error
    sizes: dict[str, int] = {}
    places = _Places(store)

    def finished(file: str) -> None:
        # Lightning's own data loader would read a shard from end to end; here single frames are.
        places.add(Path(file), len(sizes))
        sizes[Path(file).name] = os.path.getsize(file)

    done = 0
    watch(done, len(store))
    for rows in _halves(store):
        # Times and users would make two folders of one store differ.
        with ShardWriter(
            str(folder / "shard-%06d.tar"),
            maxcount=len(store),
            maxsize=size,
            post=finished,
            start_shard=len(sizes),
            verbose=0,
            mtime=0,
            user="",
            group="",
        ) as writer:
            for row in rows.tolist():
                writer.write(dict(_sample(store, row)))
                done += 1
                watch(done, len(store))
    places.save(folder / "places.npz")
    return sizes


def _halves(store: Store) -> Iterator[NDArray[np.int64]]:
    for half in np.unique(store.splits):
        yield np.random.default_rng(0).permutation(np.flatnonzero(store.splits == half))


def _sample(store: Store, row: int) -> Iterator[tuple[str, Any]]:
    yield "__key__", f"{row:08d}"  # a clip's name may hold dots, at which WebDataset cuts
    texts = {"name": store.names, "group": store.groups, "split": store.splits}
    labels = {"label": int(store.labels[row])}
    yield "json", labels | {key: str(of[row]) for key, of in texts.items()}
    yield "audio.npy", store.audio(row)
    if store.frame_format == "raw":
        frames = store.frames(row, range(store.frame_count(row)))
        yield "frames.npy", frames.permute(0, 2, 3, 1).numpy()
        return
    for number, packed in enumerate(store.stored_frames(row)):
        yield f"{number:03d}.jpg", packed


class _Places:
    """Where the bytes of each clip are, as found in the finished shards."""

    def __init__(self, store: Store) -> None:
        self.store = store
        frames = int(sum(store.frame_count(row) for row in range(len(store))))
        self.first = np.cumsum([0, *(store.frame_count(row) for row in range(len(store)))])
        self.shard = np.full(len(store), -1, np.int64)
        self.audio = np.full(len(store), -1, np.int64)
        self.frames = np.full((frames, 2), -1, np.int64)

    def add(self, file: Path, number: int) -> None:
        with tarfile.open(file) as tar:
            for member in tar:
                key, _, what = member.name.partition(".")
                row, end = int(key), member.offset_data + member.size
                self.shard[row] = number
                if what == "audio.npy":
                    height, width = self.store.audio_shape
                    self.audio[row] = end - 2 * height * width  # after the header of .npy
                elif what == "frames.npy":
                    self._add_raw(row, end)
                elif what.endswith(".jpg"):
                    frame = self.first[row] + int(what.removesuffix(".jpg"))
                    self.frames[frame] = member.offset_data, end

    def _add_raw(self, row: int, end: int) -> None:
        height, width = self.store.frame_size(row)
        count, size = self.store.frame_count(row), 3 * height * width
        starts = end - size * np.arange(count, 0, -1)
        place = slice(self.first[row], self.first[row + 1])
        self.frames[place] = np.stack([starts, starts + size], axis=1)

    def save(self, path: Path) -> None:
        if min(of.min(initial=0) for of in (self.shard, self.audio, self.frames)) < 0:
            raise StoreError(f"{path.parent}: a clip is missing in the shards")
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(file, shard=self.shard, audio=self.audio, frames=self.frames)
        partial.replace(path)
