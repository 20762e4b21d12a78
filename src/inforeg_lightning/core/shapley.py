"""Mono-modal outputs of a network by Shapley values."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import factorial

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
