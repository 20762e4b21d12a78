"""MLB: coefficients of the gradients that slow the modality ahead and hasten the one behind."""

import torch
from torch import Tensor

from inforeg_lightning.core.ogm import discrepancy_ratios


def mlb_coefficients(scores: Tensor, alpha: float, most: float = 2.0) -> Tensor:
    """Factors of the gradients, ``k_m = 1 + c tanh(α (ρ_m − 1))``, with c = most − 1 for ρ_m > 1.

    ``ρ_m`` is the mean of the others' scores over that of m, and c is 1 for ``ρ_m ≤ 1``. Modalities
    that score alike get 1, so that balancing fades as they converge.

    Args:
        scores: Mean probability of the true class, shape ``(M,)``, >= 0; NaN is unknown.
        alpha: α.
        most: What the factor of a modality far behind tends to.

    Returns:
        Shape ``(M,)``, from ``1 − tanh α`` up to ``most``; 1 where there is nothing to compare.
    """
    behind = 1.0 / discrepancy_ratios(scores) - 1.0
    reach = torch.where(behind > 0, torch.full_like(behind, most - 1.0), 1.0)
    return 1.0 + reach * torch.tanh(alpha * behind)
