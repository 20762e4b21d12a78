"""ResNet-18 encoders for spectrograms and for short clips of frames, trained from scratch.

The architecture of the paper's experiments on CREMA-D and Kinetics-Sounds (arXiv 2503.18595,
section 4.1): 512 features a modality, no pretrained weights.
"""

from torch import Tensor, nn

try:
    from torchvision.models import resnet18
except ModuleNotFoundError as error:  # pragma: no cover - depends on the installation
    if error.name is None or error.name.split(".")[0] != "torchvision":
        raise
    raise ModuleNotFoundError(
        "the ResNet-18 encoders need torchvision, which is not installed: "
        "pip install 'inforeg-lightning[models]'",
        name="torchvision",
    ) from error


class AudioResNet18(nn.Module):
    """ResNet-18 with a stem for one channel.

    Input: ``(B, 1, F, T)`` log spectrograms, floating. Output: ``(B, 512)``, averaged over
    frequency and time.

    Attributes:
        out_features: 512, the width of the output.

    Raises:
        ValueError: ``forward`` is given anything but four dimensions with one channel.
    """

    out_features: int = 512

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk(in_channels=1)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Map ``(B, 1, F, T)`` to ``(B, 512)``."""
        if spectrogram.dim() != 4 or spectrogram.shape[1] != 1:
            raise ValueError(
                "AudioResNet18 takes spectrograms of shape (B, 1, F, T), "
                f"got {tuple(spectrogram.shape)}; add the channel with .unsqueeze(1)"
            )
        features: Tensor = self.trunk(spectrogram)
        return features


class ImageResNet18(nn.Module):
    """ResNet-18 on an image.

    Input: ``(B, 3, H, W)`` normalised RGB, floating. Output: ``(B, 512)``, averaged over space.

    Attributes:
        out_features: 512, the width of the output.

    Raises:
        ValueError: ``forward`` is given anything but four dimensions with three channels.
    """

    out_features: int = 512

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk(in_channels=3)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` to ``(B, 512)``."""
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(
                f"ImageResNet18 takes images of shape (B, 3, H, W), got {tuple(images.shape)}"
            )
        features: Tensor = self.trunk(images)
        return features


class VideoResNet18(nn.Module):
    """ResNet-18 on every frame by itself, averaged over time and space.

    Input: ``(B, 3, T, H, W)`` normalised RGB frames, floating, any ``T >= 1``.
    Output: ``(B, 512)``.

    Attributes:
        out_features: 512, the width of the output.

    Raises:
        ValueError: ``forward`` is given anything but five dimensions with three channels.
    """

    out_features: int = 512

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk(in_channels=3)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(B, 3, T, H, W)`` to ``(B, 512)``."""
        if frames.dim() != 5 or frames.shape[1] != 3:
            raise ValueError(
                "VideoResNet18 takes frames of shape (B, 3, T, H, W), "
                f"got {tuple(frames.shape)}; permute them, and give one image as T = 1"
            )
        batch, _, time, _, _ = frames.shape
        # Frames become samples, so that batch norm sees B * T images, as in the published code.
        features: Tensor = self.trunk(frames.transpose(1, 2).flatten(0, 1))
        return features.view(batch, time, -1).mean(dim=1)


def _trunk(in_channels: int) -> nn.Module:
    trunk: nn.Module = resnet18(weights=None)
    if in_channels != 3:
        trunk.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    trunk.fc = nn.Identity()
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk
