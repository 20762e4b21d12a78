"""Decoded clips for reading, whether they lie in a prepared store or in its shards.

Files are read with positioned reads instead of a mapping: the page cache is shared between
processes all the same, a read costs one copy and no page faults, and the memory of a worker does
not grow by every page that it has seen.
"""

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inforeg_lightning.data.store.files import StoreError, Tables
from inforeg_lightning.data.store.frames import decode_jpeg
from inforeg_lightning.data.store.regular import open_regular


class Clips(ABC):
    """Frames and spectrograms of clips by their number; a subclass says where their bytes are.

    Args:
        place: Where they are, for messages.
        tables: Their tables.

    Attributes:
        place: Folder or URL.
        names: Names of the clips, ``(N,)`` strings. Arrays, since lists of Python objects are
            copied page by page into forked workers as their reference counts change.
        labels: Class indices, ``(N,)`` int64.
        groups: Actor or the like of each clip, ``(N,)`` strings; ``""`` for none.
        splits: ``"train"``, ``"test"`` or ``""``, ``(N,)`` strings.
        settings: What they were prepared with.
        rejected: Name and reason of each clip that could not be used.
        frame_format: ``"raw"`` or ``"jpeg"``.
        audio_shape: ``(F, T)`` of every spectrogram.
    """

    most_open: ClassVar[int] = 16
    """Files open at once: a process may not have a thousand, and an open one keeps its disk."""

    def __init__(self, place: str, tables: Tables) -> None:
        self.place = place
        self.settings: dict[str, Any] = dict(tables.settings)
        self.rejected, self.frame_format = tables.rejected, tables.frame_format
        self.audio_shape = tables.audio_shape
        clips = tables.clips
        self.names = np.array([clip.name for clip in clips], dtype=np.str_)
        self.labels = np.array([clip.label for clip in clips], dtype=np.int64)
        self.groups = np.array([clip.group for clip in clips], dtype=np.str_)
        self.splits = np.array([clip.split for clip in clips], dtype=np.str_)
        self._sizes = np.array([(c.height, c.width) for c in clips], np.int64)
        self._crcs = np.array([(c.frames_crc32, c.audio_crc32) for c in clips], np.int64)
        self._first = np.cumsum([0, *(clip.frames for clip in clips)], dtype=np.int64)
        self._files: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        # Descriptors mean nothing in another process.
        return self.__dict__ | {"_files": {}}

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)

    def frame_count(self, i: int) -> int:
        """Return the number of frames of clip ``i``."""
        i = self._row(i)
        return int(self._first[i + 1] - self._first[i])

    def frame_size(self, i: int) -> tuple[int, int]:
        """Return height and width of the frames of clip ``i``, in pixels."""
        height, width = self._sizes[self._row(i)].tolist()
        return height, width

    def audio(self, i: int) -> NDArray[np.float16]:
        """Return the spectrogram of clip ``i``, float16 ``(F, T)``."""
        spectrogram = np.empty(self.audio_shape, np.float16)
        self.read_audio(i, spectrogram)
        return spectrogram

    def read_audio(self, i: int, into: NDArray[np.float16]) -> None:
        """Write the spectrogram of clip ``i`` to ``into``, float16 ``(F, T)``."""
        file, start = self._audio_place(self._row(i))
        self._read(file, into, start)

    def frames(self, i: int, which: Sequence[int]) -> Tensor:
        """Return some frames of a clip.

        Args:
            i: Number of the clip.
            which: Numbers of its frames, from 0, in any order.

        Returns:
            uint8 ``(len(which), 3, H, W)``, RGB, with channels-last strides.

        Raises:
            IndexError: There is no such clip or frame.
            StoreError: The stored bytes are damaged.
        """
        pixels = np.empty((len(which), *self.frame_size(i), 3), np.uint8)
        self.read_frames(i, which, pixels)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def read_frames(
        self,
        i: int,
        which: Sequence[int],
        into: NDArray[np.uint8],
        stretches: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """Write some frames of a clip, or some rows of each, to memory that is there already.

        Args:
            i: Number of the clip.
            which: Numbers of its frames, from 0, in any order.
            into: uint8 ``(len(which), H or more, W or more, 3)``; frames go to the upper left, and
                the rest stays as it is.
            stretches: First row and number of rows wanted of each frame; by default all. Of a JPEG
                frame there are always all.

        Raises:
            IndexError: There is no such clip or frame.
            StoreError: The stored bytes are damaged.
        """
        count = self.frame_count(i)
        if wrong := [frame for frame in which if not 0 <= frame < count]:
            raise IndexError(f"{self.names[i]} has frames 0 to {count - 1}, not {wrong[0]}")
        height, width = self.frame_size(i)
        for row, frame in enumerate(which):
            file, start, end = self._frame_place(i, frame)
            if self.frame_format == "raw":
                top, rows = stretches[row] if stretches else (0, height)
                target = into[row, top : top + rows, :width]
                self._read(file, target, start + top * width * 3)
                continue
            packed = np.empty(end - start, np.uint8)
            self._read(file, packed, start)
            try:
                into[row, :height, :width] = decode_jpeg(packed.tobytes())
            except Exception as error:  # Pillow has many; a ValueError if of another size
                where = f"frame {frame} of {self.names[i]}"
                raise StoreError(f"{self.place}: {where} is damaged: {error}") from error

    def stored_frames(self, i: int) -> list[bytes]:
        """Return the bytes of each frame of clip ``i`` as they are stored: raw, or a JPEG file."""
        stored = []
        for frame in range(self.frame_count(i)):
            file, start, end = self._frame_place(i, frame)
            packed = np.empty(end - start, np.uint8)
            self._read(file, packed, start)
            stored.append(packed.tobytes())
        return stored

    def damaged(self) -> list[str]:
        """Name the clips whose bytes are not those that were written; reads everything."""
        return [name for i, name in enumerate(self.names.tolist()) if not self._whole(i)]

    def _whole(self, i: int) -> bool:
        try:
            frames, sound = b"".join(self.stored_frames(i)), self.audio(i).tobytes()
        except StoreError:
            return False
        return bool((self._crcs[i] == (zlib.crc32(frames), zlib.crc32(sound))).all())

    @abstractmethod
    def _audio_place(self, i: int) -> tuple[str, int]:
        """Return the file of the spectrogram of clip ``i``, and the byte at which it begins."""

    @abstractmethod
    def _frame_place(self, i: int, frame: int) -> tuple[str, int, int]:
        """Return the file of a frame, and the bytes at which it begins and ends."""

    @abstractmethod
    def _open(self, file: str) -> Path:
        """Return where the file can be opened."""

    def _row(self, i: int) -> int:
        if not 0 <= i < len(self):
            raise IndexError(f"{self.place} has clips 0 to {len(self) - 1}, not {i}")
        return int(i)

    def _read(self, file: str, into: NDArray[Any], start: int) -> None:
        whole = into if into.flags.c_contiguous else np.empty(into.shape, into.dtype)
        try:
            # One call reads at most 2 GiB, far more than a clip has.
            found = os.preadv(
                self._descriptor(file), [whole.reshape(-1).view(np.uint8).data], start
            )
        except OSError as error:
            raise StoreError(f"{self.place}/{file} cannot be read: {error}") from error
        if found != into.nbytes:
            raise StoreError(f"{self.place}/{file} ends before byte {start + into.nbytes}")
        if whole is not into:
            into[...] = whole

    def _descriptor(self, file: str) -> int:
        descriptor = self._files.get(file)
        if descriptor is None:
            if len(self._files) == self.most_open:
                os.close(self._files.pop(next(iter(self._files))))  # opened first
            descriptor = self._files[file] = open_regular(self._open(file))
        return descriptor
