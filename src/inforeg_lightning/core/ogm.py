"""OGM and OGM-GE (CVPR 2022): coefficients of the gradients from the scores, and noise."""

from collections.abc import Sequence

import torch
from torch import Tensor


def discrepancy_ratios(scores: Tensor) -> Tensor:
    """How far each modality is ahead of the others, ``ρ_m = s_m / mean of the others' s``.

    Of two modalities this is OGM-GE's ratio (Peng et al. 2022, Eq. 8 and 9); its paper has no more
    than two, and the mean over the others is our extension.

    Args:
        scores: Probability of the true class, mean or sum over the batch, shape ``(M,)``, >= 0. NaN
            is a modality without a score, which counts for none of the others.

    Returns:
        Shape ``(M,)``. 1 where both are zero or there is nothing to compare, infinite where only
        the others are zero.
    """
    known = ~scores.isnan()
    total = torch.where(known, scores, 0.0).sum()
    others = (total - scores) / (known.sum() - 1).clamp(min=1)
    # A difference of sums leaves a rounding error where the others are zero.
    others = torch.where(others > total * 1e-6, others, 0.0)
    alone = ~known | (known.sum() < 2)
    return torch.where(alone | ((others == 0) & (scores == 0)), 1.0, scores / others)


def ogm_coefficients(scores: Tensor, alpha: float) -> Tensor:
    """Factors of the gradients, ``k_m = 1 − tanh(α ρ_m)`` where ``ρ_m > 1`` and 1 elsewhere.

    Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022,
    Eq. 10.

    Args:
        scores: Probability of the true class, mean or sum over the batch, shape ``(M,)``, >= 0.
        alpha: How steeply the factor falls with the ratio, ``α``.

    Returns:
        Shape ``(M,)``, in [0, 1].
    """
    ratios = discrepancy_ratios(scores)
    return torch.where(ratios > 1, 1 - torch.tanh(alpha * ratios), 1.0)


def gradient_noise(
    gradients: Sequence[Tensor], generator: torch.Generator, floor: float = 1e-8
) -> list[Tensor]:
    """Gaussian noise as wide as each gradient (generalisation enhancement of OGM-GE, Eq. 12).

    Args:
        gradients: Of the parameters of an encoder, any shapes, on the generator's device.
        generator: Where the noise is drawn from.
        floor: Added to each standard deviation, as in the authors' code.

    Returns:
        Noise of the same shapes, with mean 0 and the standard deviation of the elements of each
        gradient; zeros for gradients of one element, which have none.
    """
    noise = []
    for gradient in gradients:
        drawn = torch.randn(
            gradient.shape, generator=generator, dtype=gradient.dtype, device=gradient.device
        )
        width = gradient.std() + floor if gradient.numel() > 1 else gradient.new_zeros(())
        noise.append(drawn * width)
    return noise
