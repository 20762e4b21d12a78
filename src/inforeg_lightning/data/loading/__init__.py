"""During training: splits, augmentation, batches from a prepared store or from memory."""

from inforeg_lightning.data.loading.dataset import (
    StoreDataset,
    any_frames,
    finish,
    middle_frames,
    segment_frames,
)
from inforeg_lightning.data.loading.module import StoreDataModule

__all__ = [
    "StoreDataModule",
    "StoreDataset",
    "any_frames",
    "finish",
    "middle_frames",
    "segment_frames",
]
