"""Class prototypes: mean features by class, and classifying by the distance to them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from inforeg_lightning.core.ogm import discrepancy_ratios


def class_totals(features: Tensor, target: Tensor, classes: int) -> Tensor:
    """Add up the features of each class.

    Args:
        features: Shape ``(B, D)``, at least float32.
        target: Class indices, shape ``(B,)``; others than 0 to ``classes - 1`` are left out.
        classes: How many classes there are, ``C``.

    Returns:
        Shape ``(C, D + 1)``: the sums, and last the number of samples. Samples whose features are
        not all finite are left out.
    """
    finite = torch.isfinite(features).all(dim=1, keepdim=True)
    ones = torch.ones_like(features[:, :1])
    rows = torch.where(finite, torch.cat([features, ones], dim=1), 0.0)
    members = torch.arange(classes, device=target.device)[:, None] == target
    return members.to(rows.dtype) @ rows


def blend_prototypes(
    prototypes: Tensor, known: Tensor, totals: Tensor, momentum: float
) -> tuple[Tensor, Tensor]:
    """Move prototypes to new means, ``c ← ε c + (1 − ε) mean`` (PMR, Eq. 12).

    Args:
        prototypes: Those before, shape ``(C, D)``.
        known: Which classes have one, shape ``(C,)``, bool; the others take the mean as it is.
        totals: As :func:`class_totals` returns them, shape ``(C, D + 1)``.
        momentum: What is kept of those before, ``ε``.

    Returns:
        The prototypes and which classes have one. Classes without samples stay as they were.
    """
    sums, counts = totals[:, :-1], totals[:, -1:]
    means = sums / counts.clamp(min=1.0)
    moved = torch.where(known[:, None], momentum * prototypes + (1 - momentum) * means, means)
    return torch.where(counts > 0, moved, prototypes), known | (counts[:, 0] > 0)


def prototype_log_probabilities(features: Tensor, prototypes: Tensor, known: Tensor) -> Tensor:
    """Softmax over negative Euclidean distances to the prototypes, in logarithms (PMR, Eq. 7).

    Args:
        features: Shape ``(B, D)``.
        prototypes: Shape ``(C, D)``.
        known: Which classes have one, shape ``(C,)``, bool; those without have probability 0.

    Returns:
        Shape ``(B, C)``; finite, also for classes without a prototype.
    """
    # The matrix product that is quicker for many rows loses half the digits of small distances.
    distances = torch.cdist(features, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    # Not −∞: an entropy would have 0 · ∞.
    logits = torch.where(known, -distances, torch.finfo(distances.dtype).min / 2)
    return F.log_softmax(logits, dim=1)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy in nats: of log-probabilities ``(B, C)``, shape ``(B,)``."""
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def prototype_sums(features: Tensor, prototypes: Tensor, known: Tensor, target: Tensor) -> Tensor:
    """What classifying by prototypes gives, over the samples whose class has one.

    Args:
        features: Shape ``(B, D)``.
        prototypes: Shape ``(C, D)``.
        known: Which classes have one, shape ``(C,)``, bool.
        target: Class indices, shape ``(B,)``; a sample with a negative one is left out.

    Returns:
        Shape ``(4,)``: the sums of the probability of the true class, of its negative logarithm and
        of the entropy, and the number of samples.
    """
    indices = target.clamp(min=0)
    counted = known[indices] & (target >= 0)
    log_p = prototype_log_probabilities(features, prototypes, known)
    log_true = log_p.gather(1, indices[:, None])[:, 0]
    rows = torch.stack([log_true.exp(), -log_true, entropy(log_p), torch.ones_like(log_true)])
    return torch.where(counted, rows, 0.0).sum(dim=1)


def pmr_coefficients(strengths: Tensor) -> tuple[Tensor, Tensor]:
    """How much to speed up, and how much to slow down, each modality (PMR, Eq. 8 and 11).

    With ``ρ_m = s_m / mean of the others' s``, speed up by ``min(1 / ρ_m − 1, 1)`` where
    ``ρ_m < 1`` and slow down by ``min(ρ_m − 1, 1)`` where it is greater. Of two modalities each is
    sped up as much as the other is slowed down: the paper's β and γ. The mean over the others is
    our extension to more.

    Args:
        strengths: Probability of the true class, mean or sum over the batch, shape ``(M,)``, >= 0.

    Returns:
        Two of shape ``(M,)``, in [0, 1].
    """
    ratios = discrepancy_ratios(strengths)
    return (1 / ratios - 1).clamp(0, 1), (ratios - 1).clamp(0, 1)


def pmr_binary_coefficients(strengths: Tensor) -> Tensor:
    """Which modality to speed up: 1 where ``ρ_m < 1`` and 0 elsewhere, as in the authors' code.

    Of two modalities the one with less probability for the true class has 1; in a tie neither has.

    Args:
        strengths: Probability of the true class, mean or sum over the batch, shape ``(M,)``, >= 0.

    Returns:
        Shape ``(M,)``.
    """
    return (discrepancy_ratios(strengths) < 1).to(strengths.dtype)
