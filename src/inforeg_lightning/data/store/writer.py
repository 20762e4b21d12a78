"""Write a store clip by clip."""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.store.files import Clip, StoreError, Tables, write_tables
from inforeg_lightning.data.store.frames import FRAME_FORMATS, encode_frames
from inforeg_lightning.data.store.names import name_problem, printable


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
        for file in (self._frames, self._audio):
            if kind is None:
                file.flush()
                os.fsync(file.fileno())
            file.close()
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
            ValueError: A shape or type is wrong, the spectrogram is not finite in float16, or the
                name cannot be stored.
        """
        if problem := name_problem(name):
            raise ValueError(f"{printable(name)}: {problem}")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(
                f"frames must be uint8 (n, H, W, 3), got {frames.dtype} {frames.shape}"
            )
        if audio.ndim != 2 or (self._clips and audio.shape != self._audio_shape):
            expected = self._audio_shape if self._clips else "(F, T)"
            raise ValueError(f"audio of {name} must be {expected}, got {audio.shape}")
        self._audio_shape = (audio.shape[0], audio.shape[1])
        packed = encode_frames(frames, self.frame_format, self.jpeg_quality)
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(audio, np.float16)
        if not np.isfinite(stored).all():
            raise ValueError(f"audio of {name} must be finite in float16")
        sound = stored.tobytes()
        for frame in packed:
            self._frames.write(frame)
            self._offsets.append(self._offsets[-1] + len(frame))
        self._audio.write(sound)
        count, height, width = frames.shape[:3]
        crcs = zlib.crc32(b"".join(packed)), zlib.crc32(sound)
        self._clips.append(Clip(name, label, group, split, count, height, width, *crcs))

    def reject(self, name: str, reason: str) -> None:
        """List a clip that cannot be used; what cannot be printed of its name is escaped."""
        self._rejected.append((printable(name), printable(" ".join(reason.split()))))
