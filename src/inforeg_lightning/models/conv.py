"""A compact convolutional encoder for small images and spectrograms."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvEncoder(nn.Module):
    """3 × 3 convolutions, each halving the resolution, with group norm and ReLU; global average.

    Group norm keeps no running statistics, so that train and eval agree and nothing but weights
    separates an encoder from its state at an epoch's start. Nothing in ``forward`` is random.

    Args:
        in_channels: Channels of the input.
        widths: Channels after each convolution; the last is the number of features.
        groups: Groups of each norm; every width must be divisible by it.
        pool: How each stage halves the resolution: ``False`` (default), the convolution's stride
            of 2; ``True``, max pooling after it, which learns shapes better at about three times
            the cost.

    Input: ``(B, in_channels, H, W)``, floating, ``H`` and ``W`` at least ``2 ** len(widths)``
    with pooling. Output: ``(B, widths[-1])``.

    Attributes:
        out_features: ``widths[-1]``, the width of the output.

    Raises:
        ValueError: ``widths`` is empty or a width is not divisible by ``groups``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64),
        groups: int = 4,
        pool: bool = False,
    ) -> None:
        super().__init__()
        if not widths or any(width < 1 or width % groups for width in widths):
            raise ValueError(
                f"widths must be one or more multiples of groups={groups}, got {tuple(widths)}; "
                "change widths or groups"
            )
        self.out_features = int(widths[-1])
        stages: list[nn.Module] = []
        for before, after in zip([in_channels, *widths[:-1]], widths, strict=True):
            stages += _stage(before, after, groups, pool)
        self.stages = nn.Sequential(*stages)

    @property
    def blocks(self) -> list[nn.Module]:
        """Where each stage begins."""
        return [layer for layer in self.stages if isinstance(layer, nn.Conv2d)]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_features)``."""
        features: Tensor = self.stages(x)
        return features.mean(dim=(2, 3))


class _FastMaxPool2d(nn.MaxPool2d):
    """Max pooling that goes through the layout for which PyTorch has vectorised it on the CPU.

    Outputs and gradients are those of ``nn.MaxPool2d`` to the bit, at half its time on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``(B, C, H, W)``; the output is contiguous, as the norm's sums want it."""
        through = x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x
        pooled: Tensor = super().forward(through)
        return pooled.contiguous()


def _stage(before: int, after: int, groups: int, pool: bool) -> list[nn.Module]:
    stride = 1 if pool else 2
    conv = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
    torch.nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    # Pooling before the norm: the same features but for the norm's statistics, on a quarter of the
    # pixels, which halves the cost of the stage.
    halving: list[nn.Module] = [_FastMaxPool2d(2)] if pool else []
    return [conv, *halving, nn.GroupNorm(groups, after), nn.ReLU(inplace=True)]


class PixelEncoder(nn.Module):
    """3 × 3 convolutions at full resolution, with group norm and ReLU: features of every pixel.

    Input: ``(B, in_channels, H, W)``, floating. Output: ``(B, width, H, W)``, for the task
    ``"pixels"``.

    Args:
        in_channels: Channels of the input.
        width: Number of features, divisible by ``groups``.
        layers: Convolutions; a pixel's features are of the ``2 layers + 1`` pixels around it.
        groups: Groups of each norm.

    Attributes:
        out_features: ``width``.

    Raises:
        ValueError: ``layers`` is not positive, or ``width`` is not divisible by ``groups``.
    """

    def __init__(
        self, in_channels: int = 1, width: int = 16, layers: int = 2, groups: int = 4
    ) -> None:
        super().__init__()
        if layers < 1 or width < 1 or width % groups:
            raise ValueError(
                f"layers must be at least 1 and width a multiple of groups={groups}, got {layers} "
                f"and {width}"
            )
        self.out_features = width
        stages: list[nn.Module] = []
        for channels in [in_channels, *[width] * (layers - 1)]:
            stages += [
                nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
                nn.GroupNorm(groups, width),
                nn.ReLU(inplace=True),
            ]
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, width, H, W)``."""
        features: Tensor = self.stages(x)
        return features
