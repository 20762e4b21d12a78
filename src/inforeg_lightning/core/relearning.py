"""Diagnosing & Re-learning: how separable features are, and the way back to initial weights."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from inforeg_lightning.core._dtensor import local_parts


def purity(classes: Tensor, clusters: Tensor) -> float:
    """Share of samples that are of the commonest class of their cluster.

    Args:
        classes: Of each sample, from 0, shape ``(N,)``, N > 0.
        clusters: Of each sample, from 0, shape ``(N,)``.

    Returns:
        In (0, 1]; 1 if no cluster mixes classes.
    """
    width = int(classes.max()) + 1
    counts = torch.bincount(clusters * width + classes, minlength=width * (int(clusters.max()) + 1))
    return int(counts.view(-1, width).amax(dim=1).sum()) / len(classes)


def return_strength(train_purity: float, val_purity: float, lam: float) -> float:
    """How far an encoder goes back, in [0, 1): the tanh of λ times the gap of its purities."""
    return math.tanh(lam * abs(train_purity - val_purity))


def return_to(parameters: Sequence[Tensor], initial: Sequence[Tensor], strength: float) -> None:
    """Move parameters towards their initial values in place: w ← (1 − α) w + α w_init.

    Args:
        parameters: Of one encoder.
        initial: Of the same shapes and on the same devices.
        strength: α.
    """
    if parameters:
        with torch.no_grad():
            torch._foreach_lerp_(local_parts(parameters), local_parts(initial), strength)
