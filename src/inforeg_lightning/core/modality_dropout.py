"""Modality dropout: which modality each sample loses."""

from collections.abc import Sequence

import torch
from torch import Tensor


def dropped_modality(uniform: Tensor, p: Sequence[float]) -> Tensor:
    """Which modality each sample loses, at most one: modality m with probability ``p_m``.

    Args:
        uniform: A number in [0, 1) per sample, shape ``(B,)``.
        p: Of the M modalities, adding up to 1 at most.

    Returns:
        Shape ``(B, M)``, bool.
    """
    columns, low = [], 0.0
    for probability in p:
        columns.append((uniform >= low) & (uniform < low + probability))
        low += probability
    return torch.stack(columns, dim=1)


def keep_one(dropped: Tensor, has: Tensor) -> Tensor:
    """What is dropped, but for samples that would lose everything they have.

    Args:
        dropped: Shape ``(B, M)``, bool.
        has: Which samples have which modality, shape ``(B, M)``, bool.

    Returns:
        Shape ``(B, M)``, bool.
    """
    left = (has & ~dropped).any(dim=1, keepdim=True)
    return dropped & left
