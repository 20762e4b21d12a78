"""Joint attention: the frames of all modalities attend to each other, and no head can be split.

Unimodal logits come from masked attention and are reported by
:func:`~inforeg_lightning.report_unimodal`, so that callbacks take no ``head``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inforeg_lightning.engine.reporting import report_unimodal
from inforeg_lightning.models.late_fusion import LateFusionClassifier
from inforeg_lightning.models.sequence import check_frames, padding_mask, transformer


class FrameEncoder(nn.Module):
    """Encode each frame by itself: a projection, its position and a normalisation.

    Input: ``(B, T, in_features)``, padded with frames of zeros. Output: ``(B, T, width)``, in which
    padding is zeros again.

    Args:
        in_features: Width of a frame.
        width: Width of the tokens.
        max_frames: Largest ``T``.

    Attributes:
        out_features: ``width``, the width of a token.

    Raises:
        ValueError: A size is not positive; ``forward`` is given another shape or more frames.
    """

    def __init__(self, in_features: int, width: int, max_frames: int = 50) -> None:
        super().__init__()
        if min(in_features, width, max_frames) < 1:
            raise ValueError(
                "in_features, width and max_frames must be positive, got "
                f"{in_features}, {width} and {max_frames}"
            )
        self.in_features, self.out_features = in_features, width
        self.project = nn.Linear(in_features, width)
        self.position = nn.Embedding(max_frames, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(B, T, in_features)`` to ``(B, T, width)``."""
        check_frames(frames, self.in_features, type(self).__name__)
        if frames.shape[1] > self.position.num_embeddings:
            raise ValueError(
                f"FrameEncoder has positions for {self.position.num_embeddings} frames, got "
                f"{frames.shape[1]}; raise max_frames or cut the sequences"
            )
        steps = torch.arange(frames.shape[1], device=frames.device)
        tokens: Tensor = self.norm(self.project(frames) + self.position(steps))
        return tokens.masked_fill(padding_mask(frames).unsqueeze(-1), 0.0)


class JointAttention(nn.Module):
    """Attention over the tokens of all modalities, read out by a token of its own.

    Called with a list of tokens, each ``(B, T_m, width)``; returns logits ``(B, C)``. Tokens of
    zeros are padding, which nothing attends to: with all tokens of the other modalities at zero,
    the logits are those of masked attention and depend on one modality alone.

    Args:
        widths: Width of each modality's tokens; all the same.
        num_classes: ``C``.
        heads: Attention heads; they divide the width.
        layers: Transformer layers.
        feedforward: Hidden units of each layer's perceptron.
        dropout: Dropout of each layer.

    Raises:
        ValueError: There are fewer than two modalities, their widths differ, or ``heads`` does not
            divide them.
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int,
        heads: int = 4,
        layers: int = 2,
        feedforward: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or len(set(widths)) > 1 or widths[0] % heads:
            raise ValueError(
                "joint attention needs two modalities or more, whose tokens have one width that "
                f"heads={heads} divides; got widths {[*widths]}"
            )
        # The modality of a token is told by its modality's projection and positions.
        self.readout = nn.Parameter(torch.randn(1, 1, widths[0]) * 0.02)
        self.transformer = transformer(widths[0], heads, layers, feedforward, dropout)
        self.out = nn.Linear(widths[0], num_classes)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of tokens, each ``(B, T_m, width)``."""
        together = torch.cat([self.readout.expand(len(tokens[0]), -1, -1), *tokens], dim=1)
        padding = padding_mask(together)
        # The read-out is never masked, so that nothing ever attends to nothing.
        padding = torch.cat([torch.zeros_like(padding[:, :1]), padding[:, 1:]], dim=1)
        outputs = self.transformer(together, src_key_padding_mask=padding)
        logits: Tensor = self.out(outputs[:, 0])
        return logits


class JointAttentionClassifier(LateFusionClassifier):
    """Classify by one transformer over the frames of all modalities.

    ``encoders`` give tokens ``(B, T_m, width)`` instead of features ``(B, D_m)``, padding as zeros.
    Unimodal logits are those of the same transformer with the other modalities' tokens masked; each
    step of training and validation reports them, so callbacks are given ``encoders`` and no
    ``head``. They cost one more pass through the transformer per modality. Loss, logging and
    optimiser are those of :class:`LateFusionClassifier`.

    Args:
        encoders: Modality -> module from ``(B, T_m, D_m)`` to ``(B, T_m, width)``, with the
            attribute ``out_features = width``, as :class:`FrameEncoder`; two or more.
        num_classes: Number of classes, at least 2.
        heads: Attention heads; they divide ``width``.
        layers: Transformer layers.
        feedforward: Hidden units of each layer's perceptron.
        dropout: Dropout of each layer.
        lr: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        **settings: Further arguments of :class:`LateFusionClassifier`, without ``fusion``.

    Raises:
        ValueError: As of :class:`LateFusionClassifier` and :class:`JointAttention`.

    Example::

        encoders = {"text": FrameEncoder(300, 40), "audio": FrameEncoder(5, 40)}
        model = JointAttentionClassifier(encoders, num_classes=2)
        InfoRegCallback({m: f"encoders.{m}" for m in encoders})  # without head
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        num_classes: int,
        heads: int = 4,
        layers: int = 2,
        feedforward: int = 128,
        dropout: float = 0.1,
        lr: float = 1e-4,
        weight_decay: float = 0.01,
        **settings: Any,
    ) -> None:
        super().__init__(
            encoders,
            num_classes,
            optimizer=settings.pop("optimizer", "adamw"),
            lr=lr,
            weight_decay=weight_decay,
            fusion=lambda widths, classes: JointAttention(
                widths, classes, heads, layers, feedforward, dropout
            ),
            **settings,
        )

    def pooled(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of each modality's tokens that are no padding, ``(B, width)``."""
        found = {}
        for name, tokens in features.items():
            there = (~padding_mask(tokens)).unsqueeze(-1).to(tokens.dtype)
            found[name] = (tokens * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return found

    def _take_unimodal(self, stage: str, logits: Mapping[str, Tensor], label: Tensor) -> None:
        if stage != "test":
            report_unimodal(self, logits, label)
