"""Join the parts of a store, in order, without ever needing the space twice."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inforeg_lightning.data.store.files import (
    StoreError,
    Tables,
    differences,
    read_tables,
    write_tables,
)

_LARGE = ("frames.bin", "audio.bin")


def merge(parts: Sequence[Path], store: Path) -> Tables:
    """Append the parts to each other and finish the store.

    Each part's large files are appended and deleted, then the next part's; what has been appended
    is known from the parts' own tables, which stay to the end. So this, too, can be killed at any
    point and begun again.

    Args:
        parts: Folders of the parts, in order.
        store: Folder of the store.

    Returns:
        The tables of the whole.

    Raises:
        StoreError: A part is damaged.
    """
    tables = [read_tables(part, partly_moved=True) for part in parts]
    for name in _LARGE:
        target = store / name
        target.touch()
        end = 0
        for part, table in zip(parts, tables, strict=True):
            start, end = end, end + table.sizes()[name]
            if (part / name).exists():
                _append(part / name, target, start)
            if target.stat().st_size < end:
                raise StoreError(f"{part / name} is gone: delete {store} and prepare it again")
    whole = joined(tables)
    write_tables(store, whole)
    return whole


def _append(source: Path, target: Path, start: int) -> None:
    with target.open("r+b") as file, source.open("rb") as piece:
        file.truncate(start)
        file.seek(start)
        shutil.copyfileobj(piece, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    source.unlink()


def joined(tables: Sequence[Tables]) -> Tables:
    """Join the tables of all parts."""
    # A part whose clips were all rejected has no shape.
    shapes = [table.audio_shape for table in tables if table.clips] or [(0, 0)]
    lengths = np.concatenate([np.diff(table.offsets) for table in tables])
    return Tables(
        clips=[clip for table in tables for clip in table.clips],
        rejected=[rejection for table in tables for rejection in table.rejected],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        audio_shape=shapes[0],
        frame_format=tables[0].frame_format,
        settings=tables[0].settings,
    )


def check_same(store: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse to go on with a store that was prepared, or begun, otherwise."""
    found, expected = dict(found), dict(expected)
    # A digest says nothing to a reader.
    same_sources = found.pop("sources", None) == expected.pop("sources")
    differ = [] if same_sources else ["the clips or the lists are not the same"]
    if words := differences(found, expected):
        differ.append(words)
    if differ:
        raise StoreError(
            f"{store} was prepared, or begun, with other settings ({'; '.join(differ)}): "
            "delete it, or give another folder"
        )
