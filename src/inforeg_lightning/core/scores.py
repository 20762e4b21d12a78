"""Unimodal logits and the score of each modality (InfoReg, Eq. 8)."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

ScoreFunction = Callable[[Tensor, Tensor], Tensor]
"""``(logits, target) -> per-sample score``, shape ``(B,)``; larger means a stronger modality."""


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32 if it is of half precision, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def log_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Log-probability of the true class: the paper's score (Eq. 8), sample by sample.

    The paper prints ``-log`` and yet treats the larger score as the stronger modality throughout;
    taken literally it would hold the *weaker* one back. As in all known code, larger is stronger.

    Args:
        logits: Unimodal logits, shape ``(B, C)``, any floating dtype.
        target: Class indices, shape ``(B,)``, integer.

    Returns:
        Shape ``(B,)``, at least float32, each value ``<= 0``.
    """
    log_p = F.log_softmax(at_least_float32(logits), dim=-1)
    return -F.nll_loss(log_p, target.long(), reduction="none")


def probability(logits: Tensor, target: Tensor) -> Tensor:
    """Probability of the true class: the published code's score, sample by sample.

    Args:
        logits: Unimodal logits, shape ``(B, C)``, any floating dtype.
        target: Class indices, shape ``(B,)``, integer.

    Returns:
        Shape ``(B,)``, at least float32, each value in ``[0, 1]``.
    """
    return log_probability(logits, target).exp()


def linear_unimodal_logits(
    weight: Tensor, bias: Tensor | None, features: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Split a linear head over concatenated features exactly into one head a modality.

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
