"""Sums of losses, and of how many samples, that means over batches and processes are made of."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from inforeg_lightning.engine.context import Forward
from inforeg_lightning.engine.samples import count_samples, mean_cross_entropy
from inforeg_lightning.engine.trials import Sums

FUSED = "fused"
"""What all modalities give together, beside their names."""


def sums_of(
    modalities: Sequence[str], logits: Mapping[str, Tensor], forward: Forward
) -> dict[str, tuple[Tensor, Tensor]]:
    """The cross-entropy of unimodal logits, summed over the samples that count; how many do.

    Args:
        modalities: All of them.
        logits: Modality that the batch has -> its unimodal logits.
        forward: The joint head's call.

    Returns:
        Modality -> two of shape ``()``; zeros for one that the batch does not have.
    """
    found = {modality: _sum(forward, modality, z) for modality, z in logits.items()}
    zero = next(iter(found.values()))[0].new_zeros(()) if found else forward.output.new_zeros(())
    return {modality: found.get(modality, (zero, zero)) for modality in modalities}


def sum_of_joint(forward: Forward) -> Sums:
    """That of what the joint head returned."""
    return {FUSED: _sum(forward, FUSED, forward.output)}


def means(sums_and_counts: Tensor) -> list[float]:
    """Read on the host: the sums by their counts, NaN where there are none.

    Args:
        sums_and_counts: Shape ``(2 K,)``.
    """
    numbers = sums_and_counts.tolist()
    half = len(numbers) // 2
    return [
        total / count if count else math.nan
        for total, count in zip(numbers[:half], numbers[half:], strict=True)
    ]


def _sum(forward: Forward, modality: str, logits: Tensor) -> tuple[Tensor, Tensor]:
    target, ignored, present = forward.target, forward.ignore_index, forward.present.get(modality)
    loss = mean_cross_entropy(modality, logits, target, ignored, present, reduction="sum")
    return loss, count_samples(target, logits, ignored, present).to(loss.dtype)
