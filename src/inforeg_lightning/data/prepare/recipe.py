"""What preparation has to know of a data set: where its clips lie, and what is kept of each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.prepare.decode import read_frames
from inforeg_lightning.data.prepare.lists import PublishedList
from inforeg_lightning.data.prepare.raw_tree import Source
from inforeg_lightning.data.store.frames import FRAME_FORMATS


@dataclass(frozen=True)
class Recipe(ABC):
    """How the raw clips of a data set become a prepared store.

    A data set derives from this class in its own file, and states there what the class variables
    say. An instance is handed to ``prepare``; it must be picklable, since workers get it.

    Attributes:
        short_side: Larger frames are reduced to this height or width, in pixels.
        frame_format: ``"raw"`` (read 30 times as fast) or ``"jpeg"`` (4 to 16 times smaller).
        jpeg_quality: Quality of JPEG frames, 1 to 100.

    Raises:
        ValueError: An attribute is out of range.
    """

    short_side: int = 256
    frame_format: str = "raw"
    jpeg_quality: int = 95

    data: ClassVar[str]
    """Name of the data set in the settings of its stores."""
    title: ClassVar[str]
    """Name of the data set in messages."""
    frames_per_second: ClassVar[float]
    """Frames that are kept of each second of video."""
    least_frames: ClassVar[int]
    """A clip with fewer frames than this is rejected."""
    silence: ClassVar[tuple[int, int] | None] = None
    """Shape of the spectrogram, zeros, of a clip without sound; ``None``: it is rejected."""
    lists: ClassVar[Mapping[str, PublishedList]] = {}
    """``"train"`` and ``"test"`` -> the list that is published of this half; empty for none."""

    def __post_init__(self) -> None:
        for name, most in (("short_side", None), ("jpeg_quality", 100)):
            value = getattr(self, name)
            if type(value) is not int or value < 1 or (most and value > most):
                bounds = f"from 1 to {most}" if most else "of at least 1"
                raise ValueError(f"{name} must be an integer {bounds}, got {value!r}")
        if self.frame_format not in FRAME_FORMATS:
            raise ValueError(
                f"frame_format must be one of {FRAME_FORMATS}, got {self.frame_format!r}"
            )

    @abstractmethod
    def find(self, root: Path, train_list: Path | None, test_list: Path | None) -> list[Source]:
        """List the clips of a raw tree, in the order of their names.

        Args:
            root: The raw tree.
            train_list: List of the training half, or ``None``.
            test_list: List of the test half, or ``None``.

        Raises:
            LayoutError: The tree is missing, empty or laid out differently.
            SplitError: A list cannot be read, or a clip is in both lists.
        """

    def frames(self, path: Path) -> NDArray[np.uint8]:
        """Decode what is kept of a video, uint8 ``(n, H, W, 3)``.

        Raises:
            ClipError: It cannot be used.
        """
        return read_frames(path, self.frames_per_second, self.short_side)

    @staticmethod
    @abstractmethod
    def spectrogram(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """Compute what is kept of a sound.

        Args:
            samples: float32 ``(channels, n)``.
            rate: Their rate in Hz.

        Returns:
            float32 ``(F, T)``, of one shape for all sounds.

        Raises:
            ValueError: The sound is too short; the clip is then rejected.
        """

    def settings(self) -> dict[str, Any]:
        """Return what two stores must have in common to be the same."""
        settings: dict[str, Any] = {
            "data": self.data,
            "spectrogram": self.spectrogram.__name__,
            "frames_per_second": self.frames_per_second,
            "least_frames": self.least_frames,
            "short_side": self.short_side,
            "frame_format": self.frame_format,
        }
        if self.frame_format == "jpeg":
            settings["jpeg_quality"] = self.jpeg_quality
        return settings
