"""Data modules: AV-Digits, its recorded counterpart AV-MNIST, and synthetic tensors for tests."""

from inforeg_lightning.data.av_digits import AVDigitsDataModule
from inforeg_lightning.data.av_mnist import AVMNISTDataModule
from inforeg_lightning.data.synthetic import SyntheticDataModule

__all__ = ["AVDigitsDataModule", "AVMNISTDataModule", "SyntheticDataModule"]
