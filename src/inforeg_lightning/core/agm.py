"""AGM (ICCV 2023): mono-modal outputs by Shapley values, and the coefficients from their scores."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import factorial

import torch
from torch import Tensor


def subsets(modalities: Sequence[str]) -> Iterator[frozenset[str]]:
    """All subsets but the empty one, the smallest first."""
    for size in range(1, len(modalities) + 1):
        yield from map(frozenset, combinations(modalities, size))


def shapley_outputs(
    outputs: Mapping[frozenset[str], Tensor], modalities: Sequence[str]
) -> dict[str, Tensor]:
    """What each modality adds to the output, on average over the orders in which they may come.

    ``φ_m = f(∅) / M + Σ_S |S|! (M − |S| − 1)! / M! (f(S + m) − f(S))``, over the subsets S without
    m: Shapley values of the output (Li et al. 2023), and an even share of what there is without any
    modality. ``f(∅)`` drops out of it, and ``Σ_m φ_m = f(all)``.

    Args:
        outputs: Each subset but the empty one -> f of it, all of one shape.
        modalities: All of them.

    Returns:
        Modality -> φ, of that shape.
    """
    every = len(modalities)
    weights = [factorial(n) * factorial(every - n - 1) / factorial(every) for n in range(every)]
    shares = {}
    for modality in modalities:
        terms = [
            weights[len(subset) - 1] * output
            if modality in subset
            else -weights[len(subset)] * output
            for subset, output in outputs.items()
        ]
        shares[modality] = sum(terms[1:], start=terms[0])
    return shares


def agm_ratios(scores: Tensor) -> Tensor:
    """How far each modality is ahead of the others, ``r_m = exp(mean over others of s_m − s_j)``.

    Args:
        scores: Mean log-probability of the true class, shape ``(M,)``. NaN is a modality without a
            score, which counts for none of the others.

    Returns:
        Shape ``(M,)``, > 0; 1 where there is nothing to compare.
    """
    known = ~scores.isnan()
    others = (torch.where(known, scores, 0.0).sum() - scores) / (known.sum() - 1).clamp(min=1)
    alone = ~known | (known.sum() < 2)
    return torch.where(alone, 1.0, torch.exp(scores - others))


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
