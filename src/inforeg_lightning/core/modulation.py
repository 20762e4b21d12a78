"""On-the-fly gradient modulation: coefficients from the scores, and the noise of OGM-GE."""

from collections.abc import Sequence

import torch
from torch import Tensor


def discrepancy_ratios(scores: Tensor) -> Tensor:
    """How far each modality is ahead of the others, ``ρ_m = s_m / mean of the others' s``.

    Of two modalities this is OGM-GE's ratio (Peng et al. 2022, Eq. 8 and 9); its paper has no more
    than two, and the mean over the others is our extension.

    Args:
        scores: Probability of the true class, mean or sum over the batch, shape ``(M,)``, >= 0.

    Returns:
        Shape ``(M,)``. 1 where both are zero, infinite where only the others are.
    """
    others = (scores.sum() - scores) / (len(scores) - 1)
    # A difference of sums leaves a rounding error where the others are zero.
    others = torch.where(others > scores.sum() * 1e-6, others, 0.0)
    return torch.where((others == 0) & (scores == 0), 1.0, scores / others)


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


def agm_ratios(scores: Tensor) -> Tensor:
    """How far each modality is ahead of the others, ``r_m = exp(mean over others of s_m − s_j)``.

    Args:
        scores: Mean log-probability of the true class, shape ``(M,)``.

    Returns:
        Shape ``(M,)``, > 0.
    """
    others = (scores.sum() - scores) / (len(scores) - 1)
    return torch.exp(scores - others)


def agm_coefficients(scores: Tensor, means: Tensor, alpha: float, largest: float = 10.0) -> Tensor:
    """Factors of what is passed back, ``κ_m = exp(α min(τ_m − r_m, largest))``.

    Li et al., "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation", ICCV
    2023: a modality further ahead than it has been so far is slowed, one less so is sped up.

    Args:
        scores: Mean log-probability of the true class in this batch, shape ``(M,)``; they give r.
        means: Of the scores before, shape ``(M,)``; they give τ.
        alpha: How steeply the factor falls, ``α``.
        largest: What the difference is clipped at, as in the authors' code for CREMA-D.

    Returns:
        Shape ``(M,)``, in (0, exp(α · largest)]; it underflows to 0 where r is large.
    """
    return torch.exp(alpha * (agm_ratios(means) - agm_ratios(scores)).clamp(max=largest))
