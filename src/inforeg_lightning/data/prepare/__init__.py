"""Before training: raw media files are decoded once into a prepared store."""

from inforeg_lightning.data.prepare.decode import ClipError
from inforeg_lightning.data.prepare.features import filter_bank, log_spectrogram, resample
from inforeg_lightning.data.prepare.lists import PublishedList, SplitError, read_halves
from inforeg_lightning.data.prepare.pool import WorkerError
from inforeg_lightning.data.prepare.raw_tree import (
    LayoutError,
    RawTreeError,
    Source,
    check_usable,
    files_below,
    files_by_name,
    layout_error,
    size_of,
)
from inforeg_lightning.data.prepare.recipe import Recipe
from inforeg_lightning.data.prepare.result import Prepared, Progress
from inforeg_lightning.data.prepare.run import PART, prepare

__all__ = [
    "PART",
    "ClipError",
    "LayoutError",
    "Prepared",
    "Progress",
    "PublishedList",
    "RawTreeError",
    "Recipe",
    "Source",
    "SplitError",
    "WorkerError",
    "check_usable",
    "files_below",
    "files_by_name",
    "filter_bank",
    "layout_error",
    "log_spectrogram",
    "prepare",
    "read_halves",
    "resample",
    "size_of",
]
