"""How fast parts of a network learn, and whose turn it is for that (Greedy, AlternatingGreedy)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Balance:
    """What both know after a step; all tensors on one device.

    Args:
        fusion: Sum over the steps of ``‖g‖² / ‖w‖²`` of the fusion weights of each modality,
            shape ``(M,)``, floating.
        encoder: The same of each encoder, shape ``(M,)``.
        alone: Which modality the next step trains alone, one-hot or all false, shape ``(M,)``,
            bool.
        left: How many such steps are left, shape ``()``, int64.
    """

    fusion: Tensor
    encoder: Tensor
    alone: Tensor
    left: Tensor

    @classmethod
    def start(cls, modalities: int, like: Tensor) -> "Balance":
        """Nothing known yet, with the dtype and device of ``like``."""
        zeros = torch.zeros(modalities, dtype=like.dtype, device=like.device)
        left = torch.zeros((), dtype=torch.int64, device=like.device)
        return cls(zeros, zeros, zeros.bool(), left)

    def to(self, other: Tensor) -> "Balance":
        """On the device of another tensor."""
        return Balance(*(value.to(other.device) for value in vars(self).values()))

    def speeds(self) -> Tensor:
        """Conditional learning speed, ``log10 Σ‖g‖²/‖w‖² (fusion) − log10 Σ‖g‖²/‖w‖² (encoder)``.

        Returns:
            Shape ``(M,)``; NaN for a modality of which either has had no gradient.
        """
        known = (self.fusion > 0) & (self.encoder > 0)
        return torch.where(known, self.fusion.log10() - self.encoder.log10(), torch.nan)

    def after(
        self,
        fusion: Tensor,
        encoder: Tensor,
        counts: Tensor,
        may_act: Tensor,
        tolerance: float,
        steps: int,
    ) -> "Balance":
        """What is known after another step, without reading anything on the host.

        Steps in which a modality is trained alone are not measured.

        Args:
            fusion: ``‖g‖² / ‖w‖²`` of this step, shape ``(M,)``.
            encoder: The same of each encoder, shape ``(M,)``.
            counts: Whether the step does, shape ``()``, bool.
            may_act: Which modalities may be trained alone from now on, shape ``(M,)``, bool.
            tolerance: How far the speeds may lie apart.
            steps: For how many steps the one ahead is then trained alone.
        """
        acting = self.left > 0
        measured = counts & ~acting
        known = replace(
            self,
            fusion=torch.where(measured, self.fusion + fusion, self.fusion),
            encoder=torch.where(measured, self.encoder + encoder, self.encoder),
        )
        speeds = known.speeds()
        highest = torch.nan_to_num(speeds, nan=-torch.inf).max()
        lowest = torch.nan_to_num(speeds, nan=torch.inf).min()
        begins = measured & (highest - lowest > tolerance)
        # Not one_hot, which reads on the host whether the classes are in range.
        index = torch.arange(len(speeds), device=speeds.device)
        chosen = index == torch.nan_to_num(speeds, nan=-torch.inf).argmax()
        left = torch.where(begins, steps, (self.left - 1).clamp(min=0))
        alone = torch.where(begins, chosen, self.alone & (left > 0)) & may_act
        # Nothing to wait for if the one that would be trained alone must not be.
        return replace(known, alone=alone, left=torch.where(alone.any(), left, 0))


def relative_square(squared_gradient: Tensor, squared_weight: Tensor) -> Tensor:
    """``‖g‖² / ‖w‖²``, 0 where there are no weights to speak of.

    Args:
        squared_gradient: Squared norm of a gradient, any shape.
        squared_weight: Squared norm of its weights, the same shape.
    """
    return torch.where(squared_weight > 0, squared_gradient / squared_weight, 0.0)
