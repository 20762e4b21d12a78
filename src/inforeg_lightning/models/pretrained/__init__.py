"""Encoders that were trained before, and what of them is trained further."""

from inforeg_lightning.models.pretrained.encoder import PretrainedEncoder
from inforeg_lightning.models.pretrained.hugging_face import HuggingFaceEncoder
from inforeg_lightning.models.pretrained.pictures import TimmEncoder, TorchvisionEncoder
from inforeg_lightning.models.pretrained.tuning import blocks_of, keep_still, tune
from inforeg_lightning.models.pretrained.waves import TorchaudioEncoder

__all__ = [
    "HuggingFaceEncoder",
    "PretrainedEncoder",
    "TimmEncoder",
    "TorchaudioEncoder",
    "TorchvisionEncoder",
    "blocks_of",
    "keep_still",
    "tune",
]
