"""Scores of one modality from its unimodal logits, sample by sample (InfoReg, Eq. 8)."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from inforeg_lightning.core._numeric import at_least_float32

ScoreFunction = Callable[[Tensor, Tensor], Tensor]
"""``(logits, target) -> per-sample score``, shape ``(B,)``; larger means a stronger modality."""


def log_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Log-probability of the true class: the paper's score (Eq. 8), sample by sample.

    The paper prints ``-log`` and yet treats the larger score as the stronger modality throughout;
    taken literally it would hold the *weaker* one back. As in all known code, larger is stronger.

    Args:
        logits: Unimodal logits, shape ``(B, C)``, any floating dtype.
        target: Class indices, shape ``(B,)``, integer; or probabilities of the classes, shape
            ``(B, C)``, over which the mean is taken.

    Returns:
        Shape ``(B,)``, at least float32, each value ``<= 0``.
    """
    log_p = F.log_softmax(at_least_float32(logits), dim=-1)
    if target.dim() == logits.dim():
        return (target * log_p).sum(dim=-1)
    return -F.nll_loss(log_p, target.long(), reduction="none")


def probability(logits: Tensor, target: Tensor) -> Tensor:
    """Probability of the true class: the published code's score, sample by sample.

    Args:
        logits: Unimodal logits, shape ``(B, C)``, any floating dtype.
        target: As for :func:`log_probability`.

    Returns:
        Shape ``(B,)``, at least float32, each value in ``[0, 1]``.
    """
    if target.dim() == logits.dim():
        return (target * F.softmax(at_least_float32(logits), dim=-1)).sum(dim=-1)
    return log_probability(logits, target).exp()


def binary_log_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Mean log-probability of the true answers to L yes-or-no questions, sample by sample.

    The negative of the binary cross-entropy, for binary and multi-label tasks: Eq. 8 with a sigmoid
    in the place of the softmax.

    Args:
        logits: Unimodal logits, shape ``(B, L)``, any floating dtype.
        target: 0, 1 or a probability, shape ``(B, L)``.

    Returns:
        Shape ``(B,)``, at least float32, each value ``<= 0``.
    """
    logits = at_least_float32(logits)
    return -F.binary_cross_entropy_with_logits(
        logits, target.to(logits.dtype), reduction="none"
    ).mean(dim=-1)


def ordinal_levels(target: Tensor, levels: int) -> Tensor:
    """Whether a class of an ordered set is above each of its levels.

    Ordinal regression asks C classes in order as C − 1 yes-or-no questions (Frank and Hall, ECML
    2001): is the class above 0, above 1, and so on. Class 2 of 4 is ``[1, 1, 0]``.

    Args:
        target: Class indices, any shape ``(...)``, integer.
        levels: ``C - 1``.

    Returns:
        Shape ``(..., levels)``, bool.
    """
    return target.unsqueeze(-1) > torch.arange(levels, device=target.device)


def negative_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """The negative of the mean squared error of one modality's prediction, sample by sample.

    For regression: up to constants the log-density of the target under a normal distribution.

    Args:
        prediction: Unimodal prediction, shape ``(B, D)``, any floating dtype.
        target: Shape ``(B, D)``.

    Returns:
        Shape ``(B,)``, at least float32, each value ``<= 0``.
    """
    prediction = at_least_float32(prediction)
    return -(prediction - target.to(prediction.dtype)).square().mean(dim=-1)


def linear_unimodal_logits(
    weight: Tensor, bias: Tensor | None, features: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Split a linear head over concatenated features exactly into one head per modality.

    With ``W = [W_1 ... W_M]`` and bias ``c``, modality m gets ``z_m W_mᵀ + c / M``, so that the
    unimodal logits add up to the fused logits.

    Args:
        weight: The head's weight, shape ``(C, D_1 + ... + D_M)``.
        bias: The head's bias, shape ``(C,)``, or ``None``.
        features: Modality -> features, shape ``(B, D_m)``, **in the order of concatenation**.

    Returns:
        Modality -> unimodal logits, shape ``(B, C)``, at least float32.

    Raises:
        ValueError: The widths of the features do not add up to the head's width.
    """
    widths = [z.shape[-1] for z in features.values()]
    if sum(widths) != weight.shape[1]:
        raise ValueError(
            f"the features are {' + '.join(map(str, widths))} = {sum(widths)} wide, "
            f"but the linear head takes {weight.shape[1]}"
        )
    share = None if bias is None else at_least_float32(bias) / len(widths)
    return {
        modality: F.linear(at_least_float32(z), at_least_float32(block), share)
        for (modality, z), block in zip(
            features.items(), torch.split(weight, widths, dim=1), strict=True
        )
    }
