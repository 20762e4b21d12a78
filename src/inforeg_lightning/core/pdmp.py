"""PDMP: the modality that is best alone gets the larger gradient."""

from collections.abc import Sequence


def pdmp_coefficients(performance: Sequence[float], gamma_p: float, gamma_r: float) -> list[float]:
    """Factor of each modality's gradient: γ_p for the one that is best alone, γ_r for all others.

    Args:
        performance: How well each modality does alone; larger is better.
        gamma_p: γ_p.
        gamma_r: γ_r.

    Returns:
        One factor per modality.

    Raises:
        ValueError: Several are the best.
    """
    best = max(performance)
    if sum(value == best for value in performance) > 1:
        raise ValueError(
            f"`performance` must say which modality is best alone, but several have {best}. Rank "
            "them, for example by their accuracy in validation."
        )
    return [gamma_p if value == best else gamma_r for value in performance]
