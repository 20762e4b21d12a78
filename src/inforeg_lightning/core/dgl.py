"""DGL: disentangled gradients of a linear head over concatenated features (ICCV 2025)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def disentangled_logits(
    weight: Tensor, bias: Tensor | None, features: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Fused logits that train the head only, and unimodal logits that train the encoders only.

    For a loop of one's own: minimise the cross-entropy of the first, plus alpha times the sum of
    those of the others.

    Args:
        weight: Of the linear head, shape ``(C, D_1 + ... + D_M)``.
        bias: Shape ``(C,)``, or ``None``.
        features: Modality -> shape ``(B, D_m)``, in the order of their columns.

    Returns:
        The logits of the detached features, shape ``(B, C)``; and modality -> the detached head's
        logits of its features and zeros, bias included, shape ``(B, C)``.
    """
    fused = F.linear(torch.cat([z.detach() for z in features.values()], dim=-1), weight, bias)
    widths = [z.shape[-1] for z in features.values()]
    blocks = torch.split(weight.detach(), widths, dim=1)
    constant = None if bias is None else bias.detach()
    unimodal = {
        modality: F.linear(z, block, constant)
        for (modality, z), block in zip(features.items(), blocks, strict=True)
    }
    return fused, unimodal
