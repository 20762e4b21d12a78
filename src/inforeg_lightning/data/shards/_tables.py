"""The small files beside the shards: which clips there are, and where in them their bytes lie.

They are read as if somebody had made them to do harm, since a server may have.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.shards._manifest import Manifest
from inforeg_lightning.data.shards._mirror import Files
from inforeg_lightning.data.store.files import Clip, StoreError, Tables, parse_index, parse_rejected

_MOST_PIXELS = 2**16  # of a side: more than JPEG has
_LIMITS = {
    "label": (0, 2**31),
    "frames": (0, 2**31),
    "height": (0, _MOST_PIXELS),
    "width": (0, _MOST_PIXELS),
    "frames_crc32": (0, 2**32 - 1),
    "audio_crc32": (0, 2**32 - 1),
}


class Places(NamedTuple):
    """Where the bytes of each clip are.

    Attributes:
        shard: Number of the shard of each clip, ``(N,)`` int64.
        audio: Where its spectrogram begins in it, ``(N,)`` int64.
        frames: Where each frame begins and ends, ``(number of frames, 2)`` int64.
    """

    shard: NDArray[np.int64]
    audio: NDArray[np.int64]
    frames: NDArray[np.int64]


def read_all(files: Files, manifest: Manifest) -> tuple[Tables, Places]:
    """Read the tables and check that they fit the shards and each other.

    Args:
        files: Where the tables are.
        manifest: What ``shards.json`` says.

    Raises:
        StoreError: They are damaged, or cannot be brought here.
    """
    index = files.get("index.csv", thorough=True)
    rejected = files.get("rejected.csv", thorough=True)
    places = files.get("places.npz", thorough=True)
    # Whatever is raised here is the fault of bytes that somebody else may have made; libraries
    # raise a dozen kinds (csv.Error, BadZipFile, MemoryError, …) when they are given such.
    try:
        header, clips = parse_index(index.read_bytes())
        tables = Tables(
            clips,
            parse_rejected(rejected.read_bytes()),
            np.zeros(1, np.int64),
            manifest.audio_shape,
            manifest.frame_format,
            manifest.settings,
        )
        if header != Clip._fields or len(clips) != manifest.clips:
            raise ValueError("index.csv has other columns or clips than were written")
        for column, (least, most) in _LIMITS.items():
            if not all(least <= getattr(clip, column) <= most for clip in clips):
                raise ValueError(f"index.csv has a {column} that is never written")
        found = _read_places(places, len(clips), sum(clip.frames for clip in clips))
        _check_places(found, tables, manifest)
    except Exception as error:
        raise StoreError(
            f"the shards {files.shown} are damaged: their index does not fit them "
            f"({type(error).__name__}: {str(error)[:200]!r})"
        ) from error
    return tables, found


def _read_places(path: Path, clips: int, frames: int) -> Places:
    shapes = {"shard": (clips,), "audio": (clips,), "frames": (frames, 2)}
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        # Before anything is unpacked: a small archive may hold terabytes of zeros.
        for name, shape in shapes.items():
            member = members.pop(f"{name}.npy")
            most = 8 * int(np.prod(shape)) + 1024
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > most:
                raise ValueError("places.npz is packed, or larger than its clips need")
    if members:
        raise ValueError("places.npz holds something else")
    with np.load(path, allow_pickle=False) as archive:
        places = Places(*(archive[name] for name in Places._fields))
    for name, shape in shapes.items():
        array = getattr(places, name)
        if array.dtype != np.int64 or array.shape != shape:
            raise ValueError(f"{name} in places.npz is {array.dtype} {array.shape}, not {shape}")
    return places


def _check_places(places: Places, tables: Tables, manifest: Manifest) -> None:
    clips, (height, width) = tables.clips, tables.audio_shape
    if set(places.shard.tolist()) != set(range(len(manifest.shards))):
        raise ValueError("clips are in other shards than there are")
    sizes = np.array([manifest.files[name].size for name in manifest.shards], np.int64)
    counts = np.array([clip.frames for clip in clips], np.int64)
    ends = sizes[places.shard]
    starts, stops = places.frames[:, 0], places.frames[:, 1]
    inside = (starts >= 0) & (starts <= stops) & (stops <= ends.repeat(counts))
    sound = (places.audio >= 0) & (places.audio <= ends - 2 * height * width)
    if not (inside.all() and sound.all()):
        raise ValueError("clips lie outside of their shards")
    if tables.frame_format == "raw":
        raw = np.array([3 * clip.height * clip.width for clip in clips], np.int64)
        if not np.array_equal(stops - starts, raw.repeat(counts)):
            raise ValueError("raw frames have other sizes than their pixels need")
