"""RedReg: redundancy minus gain says when to pull the dominant modality, across its gradient."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inforeg_lightning.core.strength import gaps, strength

_TINY = 1e-12
"""Added to what is divided by, as in the authors' code."""


def gain_growth(scores: Tensor, counts: Tensor) -> Tensor:
    """Relative growth of the rolling mean of each modality's score, from one step to the next.

    Args:
        scores: Of the last W + 1 steps, the newest last, shape ``(W + 1, M)``.
        counts: Of how many steps there are scores, shape ``(M,)``.

    Returns:
        Shape ``(M,)``; 1 for a modality of fewer than W + 1.
    """
    newer, older = scores[1:].mean(dim=0), scores[:-1].mean(dim=0)
    growth = (newer - older) / (older.abs() + _TINY)
    return torch.where(counts < len(scores), 1.0, growth)


def excess_redundancy(redundancy: Tensor, growth: Tensor, gamma: float) -> Tensor:
    """How far redundancy exceeds what is still gained: r = red − γ · max(S, 0).

    Args:
        redundancy: Of each modality, in multiples of its running mean, shape ``(M,)``.
        growth: From :func:`gain_growth`, shape ``(M,)``.
        gamma: γ.

    Returns:
        Shape ``(M,)``.
    """
    return redundancy - gamma * growth.clamp(min=0.0)


def feature_agreement(
    features: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Cosines of the features of each modality and each other one, summed over samples and others.

    Args:
        features: Modality -> its features, each of shape ``(B, D)``.
        present: Modality -> which samples have it, shape ``(B,)``, bool; all where it is left out.

    Returns:
        Modality -> the sum, and how many cosines are in it: those of samples that have both. Their
        quotient is the mean.
    """
    unit = {m: F.normalize(z, dim=1) for m, z in features.items()}
    found = {}
    for modality, z in unit.items():
        cosine = count = z.new_zeros(())
        for other in unit:  # in their order: a set's differs between processes, and so would sums
            if other == modality:
                continue
            both = z.new_ones(len(z))
            for m in (modality, other):
                if m in present:
                    both = both * present[m].to(z.dtype)
            cosine = cosine + ((z * unit[other]).sum(dim=1) * both).sum()
            count = count + both.sum()
        found[modality] = cosine, count
    return found


def redreg_strength(scores: Tensor, excess: Tensor, beta: float, threshold: float) -> Tensor:
    """Strength of the pull: exp(β · tanh Δ) for the dominant modality if it is redundant, else 0.

    Args:
        scores: One score per modality, shape ``(M,)``; larger is stronger, NaN is unknown.
        excess: From :func:`excess_redundancy`, shape ``(M,)``.
        beta: β.
        threshold: What the excess has to exceed.

    Returns:
        Shape ``(M,)``; Δ is by how much the dominant modality leads the mean of all weaker ones.
    """
    gap = gaps(scores)
    dominant = (gap > 0) & (scores == torch.nan_to_num(scores, nan=-torch.inf).max())
    return torch.where(dominant & (excess > threshold), strength(gap, beta), 0.0)


@torch.no_grad()
def orthogonal_pull(
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[Tensor],
    anchors: Sequence[Tensor],
    alpha: Tensor,
) -> None:
    """Add to each gradient α times the part of ``w − anchor`` that is orthogonal to it, in place.

    ``g ← g + α (d − (d·g / g·g) g)`` with ``d = w − anchor``, tensor by tensor: the pull neither
    speeds the descent of the losses up nor slows it down, to first order.

    Args:
        parameters: Weights of the encoder.
        gradients: Their gradients, same shapes, changed in place.
        anchors: Their values when the period began, same shapes.
        alpha: Strength, shape ``()``.
    """
    for parameter, gradient, anchor in zip(parameters, gradients, anchors, strict=True):
        away = parameter - anchor
        along = (away * gradient).sum() / ((gradient * gradient).sum() + _TINY)
        added = alpha.to(gradient.dtype) * (away - along * gradient)
        # Zero times what is not finite would not be zero.
        gradient.add_(torch.where(alpha > 0, added, 0.0))
