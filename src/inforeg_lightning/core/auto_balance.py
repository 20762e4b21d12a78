"""AutoBalance: what part of the learning signal reaches a modality, and whether it generalises."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


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


def generalisation(training: float, validation: float, chance: float) -> float:
    """What part of what a modality knows of the training samples it knows of others too.

    What it knows is by how much its unimodal loss is below that of a guess.

    Args:
        training: Its mean unimodal loss in training, in nats.
        validation: Its mean unimodal loss in validation, in nats.
        chance: The loss of a guess, the logarithm of the number of classes.

    Returns:
        ``(chance − validation) / (chance − training)``, from 0 to 1. Where it knows nothing of the
        training samples: 1 if it knows something of others, else 0. NaN if a loss is not known.
    """
    if not (math.isfinite(training) and math.isfinite(validation)):
        return math.nan
    knows, holds = chance - training, chance - validation
    if knows <= 0:
        return float(holds > 0)
    return min(max(holds / knows, 0.0), 1.0)


def joint_factors(gates: Sequence[float], known: Sequence[float]) -> list[float]:
    """What part of the joint loss's gradient each encoder gets.

    Args:
        gates: What part of its knowledge holds, per modality, by :func:`generalisation`; NaN if it
            is not known.
        known: How much each modality knows of the training samples, in nats: the loss of a guess
            less its own.

    Returns:
        1 less what a modality's gate lacks of the highest, in the measure in which it knows as much
        as any: one that knows nothing alone, not even of the training samples, has memorised
        nothing, and may speak together with another. 1 where it is not known.
    """
    told = [index for index, gate in enumerate(gates) if not math.isnan(gate)]
    highest = max((gates[index] for index in told), default=0.0)
    most = max((known[index] for index in told), default=0.0)
    factors = [1.0] * len(gates)
    if most > 0:
        for index in told:
            factors[index] -= (highest - gates[index]) * max(known[index], 0.0) / most
    return factors


def withheld(share: Tensor, factors: Sequence[float]) -> Tensor:
    """What part of the signal that a modality would get alone joint training withholds from it.

    Args:
        share: From :func:`signal_share`, any shape.
        factors: From :func:`joint_factors`, one per modality. What reaches a modality beside one
            that memorises counts by the lowest of them only: it will be gone when that one has
            memorised the samples, with nothing learnt of others.

    Returns:
        ``1 − share · min(factors)``, from 0 to 1.
    """
    return 1 - share * min(factors)
