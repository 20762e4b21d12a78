"""AutoBalance: what part of the learning signal reaches a modality, and whether it generalises."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MEMORY = 5
"""Over how many validations progress is compared: with 2, a plateau is taken for the end."""


def residual_norms(logits: Tensor, target: Tensor) -> Tensor:
    """The learning signal of each sample, ``‖softmax(logits) − y‖``.

    This is the norm of the gradient of the cross-entropy with respect to the logits.

    Args:
        logits: Shape ``(N, C)``, at least float32.
        target: Class indices ``(N,)``, int64, all in range, or probabilities ``(N, C)``.

    Returns:
        Shape ``(N,)``, from 0 to √2.
    """
    residuals = logits.softmax(dim=1)
    if target.dim() == 1:
        # Not `one_hot`, which reads the classes on the host.
        rows = target[:, None]
        residuals = residuals.scatter_add(1, rows, torch.full_like(residuals[:, :1], -1))
    else:
        residuals = residuals - target
    norms: Tensor = torch.linalg.vector_norm(residuals, dim=1)
    return norms


def signal_share(fused: Tensor, unimodal: Tensor) -> Tensor:
    """What part of the signal that a modality would get alone reaches it in joint training.

    Args:
        fused: Sum, or mean, of :func:`residual_norms` of the fused logits, any shape, >= 0.
        unimodal: The same of the unimodal logits, over the same samples.

    Returns:
        ``fused / unimodal``, from 0 to 1; 1 where the modality alone leaves nothing to learn.
    """
    return torch.where(unimodal > 0, fused / unimodal, 1.0).clamp(0, 1)


def shared_progress(
    train: Sequence[float],
    lowest: Sequence[float],
    chance: float = math.inf,
    memory: int = MEMORY,
) -> float:
    """What part of its recent progress in training a modality has made in validation too.

    Args:
        train: Its unimodal loss in training, one mean between each two validations.
        lowest: The lowest unimodal loss of all validations up to each of these, oldest first.
        chance: The loss of a guess. What is above it counts as it: to learn to say nothing is
            progress that everything makes, noise too.
        memory: Over how many validations.

    Returns:
        ``(lowest_{t−k} − lowest_t) / (train_{t−k} − train_t)`` from 0 to 1, with k the memory, or
        as many as there are: 0 where the last k validations had no new low. 1 before the second
        validation, the first to tell. Where training made no progress: 1 with a new low, else 0.
        NaN if a loss is not known.
    """
    if len(lowest) < 2:
        return 1.0
    first = max(len(lowest) - 1 - memory, 0)
    losses = (train[first], train[-1], lowest[first], lowest[-1])
    if not all(map(math.isfinite, losses)):
        return math.nan
    trained, training, validated, validating = (min(loss, chance) for loss in losses)
    learnt, generalised = trained - training, validated - validating
    if learnt <= 0:
        return float(generalised > 0)
    return min(max(generalised / learnt, 0.0), 1.0)


def joint_factors(gates: Sequence[float]) -> list[float]:
    """What part of the joint loss's gradient each encoder gets.

    Args:
        gates: What part of its progress each modality shares with validation, from 0 to 1; NaN if
            it is not known.

    Returns:
        1 less than what a modality's gate lacks of the highest; 1 where it is not known.
    """
    highest = max((gate for gate in gates if not math.isnan(gate)), default=0.0)
    return [1.0 if math.isnan(gate) else 1.0 + gate - highest for gate in gates]
