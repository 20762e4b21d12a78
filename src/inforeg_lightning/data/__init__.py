"""Data modules, one file each; synthetic tensors are for tests."""

from inforeg_lightning.data.av_digits import AVDigitsDataModule
from inforeg_lightning.data.av_mnist import AVMNISTDataModule
from inforeg_lightning.data.cmu_mosi import CMUMOSIDataModule
from inforeg_lightning.data.cremad import CREMADDataModule
from inforeg_lightning.data.hateful_memes import HatefulMemesDataModule
from inforeg_lightning.data.kinetics_sounds import KineticsSoundsDataModule
from inforeg_lightning.data.multiple_features import MultipleFeaturesDataModule
from inforeg_lightning.data.synthetic import SyntheticDataModule
from inforeg_lightning.data.table import TableDataModule
from inforeg_lightning.data.violent_flows import ViolentFlowsDataModule

__all__ = [
    "AVDigitsDataModule",
    "AVMNISTDataModule",
    "CMUMOSIDataModule",
    "CREMADDataModule",
    "HatefulMemesDataModule",
    "KineticsSoundsDataModule",
    "MultipleFeaturesDataModule",
    "SyntheticDataModule",
    "TableDataModule",
    "ViolentFlowsDataModule",
]
