"""Writing the shards of a store: the tar files, their index, and ``shards.json`` at the end."""

import hashlib
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.shards._begun import Begun, forget
from inforeg_lightning.data.shards._manifest import (
    MARK,
    TABLES,
    VERSION,
    parse,
    read_manifest,
    read_mark,
    render,
)
from inforeg_lightning.data.shards._mirror import Folder
from inforeg_lightning.data.shards._places import PlacesWriter
from inforeg_lightning.data.shards._url import is_url, shown
from inforeg_lightning.data.store import Store, StoreError
from inforeg_lightning.data.store.files import Clip, parse_index


def write_shards(
    store: str | os.PathLike[str],
    out: str | os.PathLike[str],
    shard_mb: float = 256,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write the shards of a store.

    Whatever ends it early, the files that it wrote are deleted, and no others; a killed process
    leaves them, and the next call deletes them. Once it returns they outlast a power failure.

    Args:
        store: Folder of the store.
        out: Folder of the shards: new, empty, or begun by this function.
        shard_mb: Size at which a shard ends, in units of 10⁶ bytes.
        watch: Called with the number of clips that are written, and of all.

    Returns:
        What ``shards.json`` holds. If it is there already, for this store, nothing is written.

    Raises:
        ImportError: The package webdataset is not installed.
        OSError: The folder cannot be written.
        StoreError: The store cannot be read or is damaged, the folder holds something else, or
            another process writes there.
        ValueError: ``store`` or ``out`` is empty or a URL, or ``shard_mb`` is not above 0.
    """
    for argument, value in (("store", store), ("out", out)):
        if not os.fspath(value) or is_url(value):
            raise ValueError(f"{argument} must be a folder, got {shown(value)!r}")
    if not 0 < shard_mb < math.inf:
        raise ValueError(f"shard_mb must be above 0 and finite, got {shard_mb}")
    writer = _shard_writer()
    source, folder = Store(Path(store)), Path(out).absolute()
    tables = {name: (source.path / name).read_bytes() for name in TABLES if name != "places.npz"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
    if (folder / MARK).exists():
        return _finished(folder, digests, shard_mb)
    with Begun(folder) as begun:
        if (folder / MARK).exists():  # of another process, that had the folder before this one
            return _finished(folder, digests, shard_mb)
        sizes, of_shards, packed = _write_tars(source, begun, writer, round(shard_mb * 1e6), watch)
        tables["places.npz"] = packed
        digests |= of_shards | {"places.npz": hashlib.sha256(packed).hexdigest()}
        for name, content in tables.items():
            begun.write(name, content)
        meta = {
            "version": VERSION,
            "settings": source.settings,
            "frame_format": source.frame_format,
            "audio_shape": list(source.audio_shape),
            "shard_mb": shard_mb,
            "clips": len(source),
            "shards": sizes,
            "tables": {name: len(content) for name, content in tables.items()},
            "sha256": digests,
        }
        begun.finish(render(meta))
    return parse(render(meta), str(folder))


def _finished(folder: Path, digests: Mapping[str, str], shard_mb: float) -> dict[str, Any]:
    """What a finished folder says, if it has the shards that are asked for."""
    mark = read_mark(folder)
    meta, manifest = parse(mark, str(folder)), read_manifest(mark, str(folder))
    same = all(manifest.files[name].sha256 == digest for name, digest in digests.items())
    if not same or meta.get("shard_mb") != shard_mb:
        raise StoreError(
            f"{folder} holds the shards of another store, or of another shard_mb; "
            "give another folder, or delete it"
        )
    files = Folder(folder, manifest.files)
    for name in manifest.files:
        files.get(name)
    forget(folder)
    return meta


def _shard_writer() -> Any:
    try:
        from webdataset import ShardWriter
    except ImportError as error:
        raise ImportError(
            "shards are written by the package webdataset: "
            "pip install 'inforeg-lightning[streaming]'"
        ) from error
    return ShardWriter


def _write_tars(
    store: Store, begun: Begun, writer: Any, size: int, watch: Callable[[int, int], None]
) -> tuple[dict[str, int], dict[str, str], bytes]:
    """Write the shards; their sizes, their digests, and the bytes of ``places.npz``."""
    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    places = PlacesWriter(store)
    _, clips = parse_index((store.path / "index.csv").read_bytes())

    failed = False

    def finished(file: str) -> None:
        if failed:  # half a shard, in which nothing can be found
            return
        # Lightning's own data loader would read a shard from end to end; here single frames are.
        places.add(Path(file), len(sizes))
        sizes[Path(file).name] = os.path.getsize(file)
        digests[Path(file).name] = begun.written(Path(file))

    done = 0
    watch(done, len(store))
    for rows in _halves(store):
        # Times and users would make two folders of one store differ.
        with writer(
            str(begun.folder).replace("%", "%%") + "/shard-%06d.tar",
            maxcount=len(store),
            maxsize=size,
            post=finished,
            start_shard=len(sizes),
            verbose=0,
            mtime=0,
            user="",
            group="",
        ) as shards:
            try:
                for row in rows.tolist():
                    shards.write(dict(_sample(store, row, clips[row])))
                    done += 1
                    watch(done, len(store))
            except BaseException:
                failed = True
                raise
    return sizes, digests, places.packed()


def _halves(store: Store) -> Iterator[NDArray[np.int64]]:
    for half in np.unique(store.splits):
        yield np.random.default_rng(0).permutation(np.flatnonzero(store.splits == half))


def _sample(store: Store, row: int, clip: Clip) -> Iterator[tuple[str, Any]]:
    yield "__key__", f"{row:08d}"  # a clip's name may hold dots, at which WebDataset cuts
    texts = {"name": store.names, "group": store.groups, "split": store.splits}
    labels = {"label": int(store.labels[row])}
    yield "json", labels | {key: str(of[row]) for key, of in texts.items()}
    sound, frames = store.audio(row), store.stored_frames(row)
    # Else damage of the store would get a digest of its own here, and be found by nobody.
    crcs = zlib.crc32(b"".join(frames)), zlib.crc32(sound.tobytes())
    if crcs != (clip.frames_crc32, clip.audio_crc32):
        raise StoreError(
            f"the store {store.path} is damaged: {clip.name} has other bytes than were written; "
            "prepare it again"
        )
    yield "audio.npy", sound
    if store.frame_format == "raw":
        shape = (len(frames), *store.frame_size(row), 3)
        yield "frames.npy", np.frombuffer(b"".join(frames), np.uint8).reshape(shape)
        return
    for number, packed in enumerate(frames):
        yield f"{number:03d}.jpg", packed
