"""The prepared store: decoded clips in a few flat files, read without decoding media again.

A store is one folder:

================  ================================================================================
``store.json``    settings, their fingerprint, sizes; written last, so that it marks a whole store
``index.csv``     a line a clip: name, label, group, split, number and size of its frames, checksums
``frames.bin``    frames back to back: raw uint8 (H, W, 3), or JPEG
``offsets.npy``   int64: where each frame of ``frames.bin`` begins, and the end of the last
``audio.bin``     float16 spectrograms (F, T) back to back, all of one shape
``rejected.csv``  ``name,reason`` of the clips that could not be used
================  ================================================================================

The large files are read with positioned reads instead of a mapping: the page cache is shared
between processes all the same, a read costs one copy and no page faults, and the memory of a
worker does not grow by every page that it has seen.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inforeg_lightning.data.store_files import (
    FRAME_FORMATS,
    Clip,
    StoreError,
    Tables,
    decode_jpeg,
    differences,
    encode_frames,
    read_tables,
    write_tables,
)

__all__ = ["Store", "StoreError", "StoreWriter"]


class Store:
    """A finished store, for reading; cheap to pickle and to use in worker processes.

    Args:
        path: Its folder.
        settings: What it must have been made with; by default anything.

    Attributes:
        names: Names of the clips, ``(N,)`` strings. Arrays, since lists of Python objects are
            copied page by page into forked workers as their reference counts change.
        labels: Class indices, ``(N,)`` int64.
        groups: Actor or the like of each clip, ``(N,)`` strings; ``""`` for none.
        splits: ``"train"``, ``"test"`` or ``""``, ``(N,)`` strings.
        settings: What the store was made with.
        rejected: Name and reason of each clip that could not be used.
        frame_format: ``"raw"`` or ``"jpeg"``.
        audio_shape: ``(F, T)`` of every spectrogram.

    Raises:
        StoreError: It is missing, unfinished, damaged or made with other settings.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        # Absolute: a worker may have another working folder.
        self.path = Path(path).absolute()
        tables = read_tables(self.path)
        self.settings: dict[str, Any] = dict(tables.settings)
        if settings is not None and (differ := differences(self.settings, settings)):
            raise StoreError(
                f"the store {self.path} was made with other settings ({differ}): give the same, "
                "or prepare another store"
            )
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
        self._offsets = tables.offsets
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
        """Number of frames of clip ``i``."""
        i = self._row(i)
        return int(self._first[i + 1] - self._first[i])

    def frame_size(self, i: int) -> tuple[int, int]:
        """Height and width of the frames of clip ``i``, in pixels."""
        height, width = self._sizes[self._row(i)].tolist()
        return height, width

    def audio(self, i: int) -> NDArray[np.float16]:
        """Spectrogram of clip ``i``, float16 ``(F, T)``."""
        spectrogram = np.empty(self.audio_shape, np.float16)
        self.read_audio(i, spectrogram)
        return spectrogram

    def read_audio(self, i: int, into: NDArray[np.float16]) -> None:
        """Write the spectrogram of clip ``i`` to ``into``, float16 ``(F, T)``."""
        self._read("audio.bin", into, self._row(i) * into.nbytes)

    def frames(self, i: int, which: Sequence[int]) -> Tensor:
        """Some frames of a clip.

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
        count, first = self.frame_count(i), int(self._first[i])
        if wrong := [frame for frame in which if not 0 <= frame < count]:
            raise IndexError(f"{self.names[i]} has frames 0 to {count - 1}, not {wrong[0]}")
        height, width = self.frame_size(i)
        for row, frame in enumerate(which):
            start, end = self._offsets[first + frame : first + frame + 2].tolist()
            if self.frame_format == "raw":
                top, rows = stretches[row] if stretches else (0, height)
                target = into[row, top : top + rows, :width]
                self._read("frames.bin", target, start + top * width * 3)
                continue
            packed = np.empty(end - start, np.uint8)
            self._read("frames.bin", packed, start)
            try:
                into[row, :height, :width] = decode_jpeg(packed.tobytes())
            except (OSError, ValueError) as error:  # ValueError: of another size
                where = f"frame {frame} of {self.names[i]}"
                raise StoreError(f"{self.path}: {where} is damaged: {error}") from error

    def damaged(self) -> list[str]:
        """Names of the clips whose bytes are not those that were written; reads everything."""
        found = []
        for i, name in enumerate(self.names.tolist()):
            start, end = self._offsets[self._first[i : i + 2]].tolist()
            packed = np.empty(end - start, np.uint8)
            self._read("frames.bin", packed, start)
            sound = self.audio(i).tobytes()
            if [zlib.crc32(packed.tobytes()), zlib.crc32(sound)] != self._crcs[i].tolist():
                found.append(name)
        return found

    def _row(self, i: int) -> int:
        if not 0 <= i < len(self):
            raise IndexError(f"the store {self.path} has clips 0 to {len(self) - 1}, not {i}")
        return int(i)

    def _read(self, file: str, into: NDArray[Any], start: int) -> None:
        descriptor = self._files.get(file)
        if descriptor is None:
            descriptor = self._files[file] = os.open(self.path / file, os.O_RDONLY)
        whole = into if into.flags.c_contiguous else np.empty(into.shape, into.dtype)
        # One call reads at most 2 GiB, far more than a clip has.
        if os.preadv(descriptor, [whole.reshape(-1).view(np.uint8).data], start) != into.nbytes:
            raise StoreError(f"{self.path / file} ends before byte {start + into.nbytes}")
        if whole is not into:
            into[...] = whole


class StoreWriter:
    """Write a store clip by clip; a context manager that finishes it if nothing went wrong.

    Args:
        path: Its folder; made if missing.
        settings: What it is made with: JSON values only.
        frame_format: ``"raw"`` (default) or ``"jpeg"``.
        jpeg_quality: 1 to 100, of JPEG frames; 95 by default.

    Raises:
        StoreError: There is a finished store already.
        ValueError: No such ``frame_format``.
    """

    def __init__(
        self,
        path: str | Path,
        settings: Mapping[str, Any],
        frame_format: str = "raw",
        jpeg_quality: int = 95,
    ) -> None:
        if frame_format not in FRAME_FORMATS:
            raise ValueError(f"frame_format must be one of {FRAME_FORMATS}, got {frame_format!r}")
        self.path, self.settings = Path(path), dict(settings)
        self.frame_format, self.jpeg_quality = frame_format, jpeg_quality
        if (self.path / "store.json").exists():
            raise StoreError(f"{self.path} holds a finished store already")
        self.path.mkdir(parents=True, exist_ok=True)
        self._clips: list[Clip] = []
        self._rejected: list[tuple[str, str]] = []
        self._offsets, self._audio_shape = [0], (0, 0)
        self._frames = (self.path / "frames.bin").open("wb")
        self._audio = (self.path / "audio.bin").open("wb")

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._frames.close()
        self._audio.close()
        if kind is None:
            offsets = np.array(self._offsets, np.int64)
            shape = self._audio_shape
            tables = Tables(
                self._clips, self._rejected, offsets, shape, self.frame_format, self.settings
            )
            write_tables(self.path, tables)

    def add(
        self,
        name: str,
        label: int,
        frames: NDArray[np.uint8],
        audio: NDArray[np.floating[Any]],
        group: str = "",
        split: str = "",
    ) -> None:
        """Append a clip.

        Args:
            name: Unique name.
            label: Class index.
            frames: uint8 ``(n, H, W, 3)``, RGB.
            audio: Spectrogram ``(F, T)``, of the same shape for all clips; kept as float16.
            group: Actor or the like.
            split: ``"train"``, ``"test"`` or ``""``.

        Raises:
            ValueError: A shape or type is wrong.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(
                f"frames must be uint8 (n, H, W, 3), got {frames.dtype} {frames.shape}"
            )
        if audio.ndim != 2 or (self._clips and audio.shape != self._audio_shape):
            expected = self._audio_shape if self._clips else "(F, T)"
            raise ValueError(f"audio of {name} must be {expected}, got {audio.shape}")
        self._audio_shape = (audio.shape[0], audio.shape[1])
        packed = encode_frames(frames, self.frame_format, self.jpeg_quality)
        sound = np.ascontiguousarray(audio, np.float16).tobytes()
        for frame in packed:
            self._frames.write(frame)
            self._offsets.append(self._offsets[-1] + len(frame))
        self._audio.write(sound)
        count, height, width = frames.shape[:3]
        crcs = zlib.crc32(b"".join(packed)), zlib.crc32(sound)
        self._clips.append(Clip(name, label, group, split, count, height, width, *crcs))

    def reject(self, name: str, reason: str) -> None:
        """List a clip that cannot be used."""
        self._rejected.append((name, " ".join(reason.split())))
