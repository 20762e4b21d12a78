"""Where the bytes of each clip are in the shards, found by reading the tar files once written."""

import io
import tarfile
from pathlib import Path

import numpy as np

from inforeg_lightning.data.store import Store, StoreError


class PlacesWriter:
    """Collects where the bytes of each clip are, shard by shard.

    Args:
        store: What the shards are written from.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        frames = int(sum(store.frame_count(row) for row in range(len(store))))
        self.first = np.cumsum([0, *(store.frame_count(row) for row in range(len(store)))])
        self.shard = np.full(len(store), -1, np.int64)
        self.audio = np.full(len(store), -1, np.int64)
        self.frames = np.full((frames, 2), -1, np.int64)

    def add(self, file: Path, number: int) -> None:
        """Read where the clips of a finished shard are.

        Args:
            file: The shard.
            number: Its number.
        """
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

    def packed(self) -> bytes:
        """The bytes of ``places.npz``."""
        if min(of.min(initial=0) for of in (self.shard, self.audio, self.frames)) < 0:
            raise StoreError(f"the shards of {self.store.path} lack a clip")
        file = io.BytesIO()
        np.savez(file, shard=self.shard, audio=self.audio, frames=self.frames)
        return file.getvalue()
