"""The file ``shards.json``: which files a folder of shards has, how large, with which digests.

It comes from a server that may be anybody's, so nothing in it is believed before it is checked: the
names are those that this package writes, and no others, and become parts of paths only here.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inforeg_lightning.data.store.files import StoreError
from inforeg_lightning.data.store.regular import read_regular

VERSION = 2
"""Of the layout of a folder of shards."""

MARK = "shards.json"
"""Written last: it marks a whole folder."""

TABLES = ("index.csv", "rejected.csv", "places.npz")
"""The small files beside the shards."""

MOST_OF_MARK = 64 * 10**6
"""Bytes that ``shards.json`` may have: enough for 400,000 shards."""

_MOST_OF_TABLE = 10**9
_MOST_OF_SHARD = 2**53  # what JSON's numbers hold exactly
_DIGEST = re.compile("[0-9a-f]{64}")


class Entry(NamedTuple):
    """What is known of a file before it is read.

    Attributes:
        size: In bytes.
        sha256: Its digest, 64 hexadecimal digits.
    """

    size: int
    sha256: str


class Manifest(NamedTuple):
    """What ``shards.json`` says, checked.

    Attributes:
        settings: What the store was prepared with.
        frame_format: ``"raw"`` or ``"jpeg"``.
        audio_shape: ``(F, T)`` of every spectrogram.
        clips: Number of clips.
        shards: Names of the shards, in order of their numbers.
        files: Size and digest of every shard and table, by name.
    """

    settings: dict[str, Any]
    frame_format: str
    audio_shape: tuple[int, int]
    clips: int
    shards: list[str]
    files: dict[str, Entry]


def shard_name(number: int) -> str:
    """Name of a shard by its number."""
    return f"shard-{number:06d}.tar"


def render(meta: Mapping[str, Any]) -> bytes:
    """The bytes of ``shards.json``: what it says, and the digest of that."""
    said = {key: value for key, value in meta.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return (json.dumps(said | {"digest": digest}, indent=2) + "\n").encode()


def read_mark(folder: Path) -> bytes:
    """The bytes of the ``shards.json`` of a folder.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    try:
        return read_regular(folder / MARK, MOST_OF_MARK)
    except (OSError, ValueError) as error:  # the latter: a zero byte in the folder's name
        raise StoreError(
            f"there are no finished shards at {folder}: {MARK} cannot be read: {error!r}"
        ) from error


def parse(content: bytes, place: str) -> dict[str, Any]:
    """What the bytes of ``shards.json`` say, if they are the bytes that were written.

    Args:
        content: The bytes.
        place: Where they come from, for messages.

    Raises:
        StoreError: They are damaged, or of another layout.
    """
    try:
        meta = json.loads(content)
        version = meta["version"]
        # To the byte: a digest of the parsed values would miss a changed space, or a second key.
        same = type(version) is not int or version != VERSION or render(meta) == content
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(
            f"the shards {place} are damaged: {MARK}: {type(error).__name__}"
        ) from error
    if version != VERSION or type(version) is not int:
        raise StoreError(
            f"the shards {place} have layout {str(version)[:20]}, this release reads layout "
            f"{VERSION}: write them again with python experiments/shard.py"
        )
    if not same:
        raise StoreError(
            f"the shards {place} are damaged: {MARK} has other bytes than were written"
        )
    return dict(meta)


def read_manifest(content: bytes, place: str) -> Manifest:
    """Check all that ``shards.json`` says.

    Args:
        content: Its bytes.
        place: Where they come from, for messages.

    Raises:
        StoreError: It is damaged, of another layout, or says what this package never writes.
    """
    meta = parse(content, place)
    shards, tables = _mapping(meta, "shards"), _mapping(meta, "tables")
    digests, shape = _mapping(meta, "sha256"), meta.get("audio_shape")
    right = {
        "settings": isinstance(meta.get("settings"), dict),
        "frame_format": meta.get("frame_format") in ("raw", "jpeg"),
        "audio_shape": isinstance(shape, list)
        and len(shape) == 2
        and all(_whole(side, 1, 2**16) for side in shape),
        "shard_mb": type(meta.get("shard_mb")) in (int, float) and 0 < meta["shard_mb"] < math.inf,
        "clips": _whole(meta.get("clips"), 0, 2**31),
        "shards": all(_whole(size, 1, _MOST_OF_SHARD) for size in shards.values()),
        "names of the shards": list(shards) == [shard_name(n) for n in range(len(shards))],
        "tables": all(_whole(size, 1, _MOST_OF_TABLE) for size in tables.values()),
        "names of the tables": sorted(tables) == sorted(TABLES),
        "sha256": sorted(digests) == sorted([*shards, *TABLES])
        and all(isinstance(of, str) and _DIGEST.fullmatch(of) for of in digests.values()),
    }
    if wrong := [what for what, is_right in right.items() if not is_right]:
        raise StoreError(
            f"the shards {place} are refused: {MARK} has {', '.join(wrong)} that are never written"
        )
    files = {name: Entry(size, digests[name]) for name, size in (shards | tables).items()}
    height, width = meta["audio_shape"]
    return Manifest(
        meta["settings"], meta["frame_format"], (height, width), meta["clips"], list(shards), files
    )


def _mapping(meta: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = meta.get(key)
    # Something that no check lets pass, where it is no mapping.
    return value if isinstance(value, dict) else {"": None}


def _whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
