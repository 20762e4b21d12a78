"""Data modules: AV-Digits, AV-MNIST, CREMA-D, Kinetics-Sounds, and synthetic tensors for tests."""

from inforeg_lightning.data.av_digits import AVDigitsDataModule
from inforeg_lightning.data.av_mnist import AVMNISTDataModule
from inforeg_lightning.data.cremad import CREMADDataModule
from inforeg_lightning.data.kinetics_sounds import KineticsSoundsDataModule
from inforeg_lightning.data.synthetic import SyntheticDataModule

__all__ = [
    "AVDigitsDataModule",
    "AVMNISTDataModule",
    "CREMADDataModule",
    "KineticsSoundsDataModule",
    "SyntheticDataModule",
]
