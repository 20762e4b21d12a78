"""Data modules: the embedded AV-Digits, and synthetic tensors for tests."""

from inforeg_lightning.data.av_digits import AVDigitsDataModule
from inforeg_lightning.data.synthetic import SyntheticDataModule

__all__ = ["AVDigitsDataModule", "SyntheticDataModule"]
