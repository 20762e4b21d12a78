"""OPM: drop probabilities from the scores of a batch, and the scale of the features that stay."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inforeg_lightning.core.ogm import discrepancy_ratios


def opm_probabilities(scores: Tensor, q_base: float, lam: float) -> Tensor:
    """How probably the features of each modality are dropped.

    ``q_m = q_base (1 + λ tanh(ρ_m − 1))`` where the ratio ``ρ_m`` exceeds 1, at most 1, and 0
    elsewhere: of two modalities, the one that leads.

    Args:
        scores: Probability of the true class, mean or sum over the batch, shape ``(M,)``, >= 0; NaN
            is a modality without a score.
        q_base: What a modality that hardly leads is dropped with.
        lam: By how much of that it grows with the lead.

    Returns:
        Shape ``(M,)``, in [0, 1].
    """
    ratios = discrepancy_ratios(scores)
    q = q_base * (1 + lam * torch.tanh(ratios - 1))
    return torch.where(ratios > 1, q.clamp(max=1.0), 0.0)


def opm_scale(q: Tensor, widths: Sequence[int]) -> Tensor:
    """What all features are multiplied by: 1 over the share of them that is kept on average.

    Args:
        q: Drop probability of each modality, shape ``(M,)``.
        widths: How many features each has.

    Returns:
        Shape ``()``, at least 1.
    """
    total = max(sum(widths), 1)
    kept = sum((1 - q[index]) * (width / total) for index, width in enumerate(widths))
    assert isinstance(kept, Tensor)
    return 1 / kept
