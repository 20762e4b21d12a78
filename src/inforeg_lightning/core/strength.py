"""From the scores of the modalities to the strength of each one's regulation (Eq. 9, 10 and 16)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def gaps(scores: Tensor) -> Tensor:
    """By how much each modality leads those weaker than itself (InfoReg, Eq. 9 and 10).

    ``Δ_m = mean of (s_m − s_m′) over the modalities m′ with s_m′ < s_m``. The weakest modality has
    none below it and gets 0; so do all that tie with it. With two modalities it is the plain
    difference for the stronger one.

    Args:
        scores: One score per modality, shape ``(M,)``, floating; larger is stronger. NaN is a
            modality without a score, which is neither ahead of another nor behind it.

    Returns:
        Shape ``(M,)``, the dtype of ``scores``, each value ``>= 0``.
    """
    lead = scores.unsqueeze(1) - scores.unsqueeze(0)
    lead = torch.where(lead > 0, lead, 0.0)
    weaker = (lead > 0).sum(dim=1)
    return lead.sum(dim=1) / weaker.clamp(min=1)


def strength(gap: Tensor, beta: float) -> Tensor:
    """Strength of the regulation, ``α = exp(β · tanh Δ)`` where ``Δ > 0`` and 0 elsewhere (Eq. 16).

    Args:
        gap: ``Δ`` of each modality, shape ``(M,)``, from :func:`gaps`.
        beta: How steeply the strength grows with the gap; the paper searched 0.1 to 1.0.

    Returns:
        Shape ``(M,)``; values in ``[1, exp(beta)]`` for modalities that lead another, else 0.
    """
    return torch.where(gap > 0, torch.exp(beta * torch.tanh(gap)), 0.0)


def official_strength(scores: Tensor, factors: Sequence[float]) -> Tensor:
    """Strength of the published code: ``factor_m · exp(tanh Δ)`` for the strongest modality only.

    The published code knows two modalities. With more, we take "the stronger of the two" to be the
    one with the highest score.

    Args:
        scores: One score per modality, shape ``(M,)``, floating; larger is stronger.
        factors: One factor per modality, in the same order; published: 0.95 audio and 0.1 video.

    Returns:
        Shape ``(M,)``; ``factor_m · exp(tanh Δ_m)`` for the strongest modality, else 0.
    """
    gap = gaps(scores)
    strongest = (gap > 0) & (scores == torch.nan_to_num(scores, nan=-torch.inf).max())
    alpha = list(torch.exp(torch.tanh(gap)).unbind())
    # The factors as numbers: a tensor made of them would make the host wait for the device.
    scaled = torch._foreach_mul(alpha, [float(factor) for factor in factors])
    return torch.where(strongest, torch.stack(list(scaled)), 0.0)
