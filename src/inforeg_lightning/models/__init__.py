"""Encoders, fusion heads and the late-fusion classifier that the experiments train."""

from typing import TYPE_CHECKING, Any

from inforeg_lightning.models.conv import ConvEncoder, PixelEncoder
from inforeg_lightning.models.fusion import (
    BottleneckFusion,
    ConcatFusion,
    FiLMFusion,
    GatedFusion,
    MMTMFusion,
    SumFusion,
)
from inforeg_lightning.models.joint_attention import (
    FrameEncoder,
    JointAttention,
    JointAttentionClassifier,
)
from inforeg_lightning.models.late_fusion import LateFusionClassifier
from inforeg_lightning.models.mlp import MLPEncoder
from inforeg_lightning.models.mmtm import MMTM
from inforeg_lightning.models.sequence import SequenceTransformer
from inforeg_lightning.models.tasks import TASKS, Task
from inforeg_lightning.models.text import TextTransformer

if TYPE_CHECKING:
    from inforeg_lightning.models.pretrained import (
        HuggingFaceEncoder,
        PretrainedEncoder,
        TimmEncoder,
        TorchaudioEncoder,
        TorchvisionEncoder,
    )
    from inforeg_lightning.models.resnet import AudioResNet18, ImageResNet18, VideoResNet18

__all__ = [
    "MMTM",
    "TASKS",
    "AudioResNet18",
    "BottleneckFusion",
    "ConcatFusion",
    "ConvEncoder",
    "FiLMFusion",
    "FrameEncoder",
    "GatedFusion",
    "HuggingFaceEncoder",
    "ImageResNet18",
    "JointAttention",
    "JointAttentionClassifier",
    "LateFusionClassifier",
    "MLPEncoder",
    "MMTMFusion",
    "PixelEncoder",
    "PretrainedEncoder",
    "SequenceTransformer",
    "SumFusion",
    "Task",
    "TextTransformer",
    "TimmEncoder",
    "TorchaudioEncoder",
    "TorchvisionEncoder",
    "VideoResNet18",
]


def __getattr__(name: str) -> Any:
    # Only the ResNets need torchvision, an extra: the rest must import without it.
    if name in ("AudioResNet18", "ImageResNet18", "VideoResNet18"):
        from inforeg_lightning.models import resnet

        return getattr(resnet, name)
    if name in __all__:
        from inforeg_lightning.models import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
