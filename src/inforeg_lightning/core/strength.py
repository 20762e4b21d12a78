"""From the scores of the modalities to the strength of each one's regulation (Eq. 9, 10 and 16)."""

from collections.abc import Sequence

import torch
from torch import Tensor

GAPS = ("weaker", "others", "strongest")
"""What :func:`gaps` takes for ``over``."""


def gaps(scores: Tensor, over: str = "weaker") -> Tensor:
    """By how much each modality leads the others (InfoReg, Eq. 9 and 10).

    With two modalities all three are the plain difference for the stronger one. They differ in what
    they become as modalities are added; ``docs/scale.md`` has what was measured.

    Args:
        scores: One score per modality, shape ``(M,)``, floating; larger is stronger. NaN is a
            modality without a score, which is neither ahead of another nor behind it.
        over: Whom a modality m has to lead:

            * ``"weaker"``, the paper's: ``Δ_m = mean of (s_m − s_m′) over the modalities m′ with
              s_m′ < s_m``. All but the weakest, and those that tie with it, have ``Δ > 0``.
            * ``"others"`` (ours): ``Δ_m = s_m − mean of s_m′ over all others``, or 0 if negative.
            * ``"strongest"`` (ours): ``Δ_m = s_m − max of s_m′ over all others``, or 0 if negative:
              the lead of the strongest modality over the next one. All others have 0.

    Returns:
        Shape ``(M,)``, the dtype of ``scores``, each value ``>= 0``.

    Raises:
        ValueError: ``over`` is none of these.
    """
    if over not in GAPS:
        raise ValueError(f"`over` must be one of {[*GAPS]}, but is {over!r}")
    lead = scores.unsqueeze(1) - scores.unsqueeze(0)
    if over == "weaker":
        counted = lead > 0
    else:  # a NaN is not equal to itself
        counted = (lead == lead) & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if over == "strongest":
        least = torch.where(counted, lead, torch.inf).amin(dim=1)
        return torch.where(counted.any(dim=1), least, 0.0).clamp(min=0)
    total = torch.where(counted, lead, 0.0).sum(dim=1)
    return (total / counted.sum(dim=1).clamp(min=1)).clamp(min=0)


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
