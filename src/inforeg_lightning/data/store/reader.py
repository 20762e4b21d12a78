"""Read a finished store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inforeg_lightning.data.store.clips import Clips
from inforeg_lightning.data.store.files import StoreError, differences, read_tables


class Store(Clips):
    """A finished store, for reading; cheap to pickle and to use in worker processes.

    Args:
        path: Its folder.
        settings: What it must have been made with; by default anything.

    Raises:
        StoreError: It is missing, unfinished, damaged or made with other settings.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        # Absolute: a worker may have another working folder.
        self.path = Path(path).absolute()
        tables = read_tables(self.path)
        if settings is not None and (differ := differences(tables.settings, settings)):
            raise StoreError(
                f"the store {self.path} was made with other settings ({differ}): give the same, "
                "or prepare another store"
            )
        super().__init__(str(self.path), tables)
        self._offsets = tables.offsets

    def _audio_place(self, i: int) -> tuple[str, int]:
        height, width = self.audio_shape
        return "audio.bin", 2 * height * width * i

    def _frame_place(self, i: int, frame: int) -> tuple[str, int, int]:
        first = int(self._first[i]) + frame
        start, end = self._offsets[first : first + 2].tolist()
        return "frames.bin", start, end

    def _open(self, file: str) -> Path:
        return self.path / file
