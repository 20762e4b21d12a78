"""Transformers for sequences: the encoders of MultiBench's late fusion of text, audio and vision.

A sequence is a float tensor ``(B, T, D)`` whose padding is frames of zeros, in front or behind;
:func:`padding_mask` finds them, so that a batch needs no mask of its own.
"""

import torch
from torch import Tensor, nn


def padding_mask(frames: Tensor) -> Tensor:
    """Which frames hold nothing: ``(B, T, D)`` -> bool ``(B, T)``, true where all ``D`` are zero.

    Frames of zeros within a sequence (no face was found) count as well: they say nothing.
    """
    return (frames == 0).all(dim=-1)


class SequenceTransformer(nn.Module):
    """Project each frame, let the frames attend to each other, and take the last one's output.

    MultiBench's ``Transformer`` (Liang et al., NeurIPS 2021, ``unimodals/common_models.py``): a
    projection without bias, five layers of five heads with torch's defaults (2,048 hidden units,
    dropout 0.1), no positional encoding, the output at the last frame. There padding is attended
    to, and the last frame of a padded sequence is padding; here frames of zeros are masked, and the
    last frame is the last one that is not padding.

    Input: ``(B, T, in_features)``, floating. Output: ``(B, width)``.

    Args:
        in_features: Width ``D`` of a frame.
        width: Width of the transformer; MultiBench takes twice ``in_features`` for CMU-MOSI.
        heads: Attention heads; they divide ``width``.
        layers: Transformer layers.
        feedforward: Hidden units of each layer's perceptron.
        dropout: Dropout of each layer.

    Attributes:
        out_features: ``width``, the width of the output.

    Raises:
        ValueError: A size is not positive or ``heads`` does not divide ``width``; ``forward`` is
            given anything but ``(B, T, in_features)`` with at least one frame.
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        heads: int = 5,
        layers: int = 5,
        feedforward: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if min(in_features, width, heads, layers, feedforward) < 1 or width % heads:
            raise ValueError(
                "in_features, width, heads, layers and feedforward must be positive, and heads "
                f"must divide width, got {in_features}, {width}, {heads}, {layers} and "
                f"{feedforward}"
            )
        self.in_features, self.out_features = in_features, width
        self.project = nn.Linear(in_features, width, bias=False)
        self.transformer = transformer(width, heads, layers, feedforward, dropout)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(B, T, in_features)`` to ``(B, width)``."""
        check_frames(frames, self.in_features, type(self).__name__)
        padding = padding_mask(frames)
        # A sequence of padding alone would attend to nothing, which is NaN: it keeps its frames.
        outputs = self.transformer(
            self.project(frames),
            src_key_padding_mask=padding & ~padding.all(dim=1, keepdim=True),
        )
        steps = torch.arange(frames.shape[1], device=frames.device)
        last = torch.where(padding, -1, steps).amax(dim=1)
        # Of padding alone `last` is -1: its last frame, for which an index must be found.
        last = last.remainder(frames.shape[1])
        features: Tensor = outputs[torch.arange(len(frames), device=frames.device), last]
        return features


def transformer(
    width: int, heads: int, layers: int, feedforward: int, dropout: float
) -> nn.TransformerEncoder:
    """A stack of torch's transformer layers on ``(B, T, width)``."""
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True),
        layers,
        enable_nested_tensor=False,  # a prototype, which warns
    )


def check_frames(frames: Tensor, in_features: int, name: str) -> None:
    """Check the shape of a batch of sequences.

    Raises:
        ValueError: It is not ``(B, T, in_features)`` with at least one frame.
    """
    if frames.dim() != 3 or frames.shape[2] != in_features or frames.shape[1] < 1:
        raise ValueError(
            f"{name} takes sequences of shape (B, T, {in_features}) with at least one frame, got "
            f"{tuple(frames.shape)}; choose in_features to fit the data"
        )
