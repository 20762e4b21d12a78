"""What Greedy and AlternatingGreedy do alike: measure speeds, and choose whose turn it is."""

from collections.abc import Mapping

import torch
from torch import Tensor

from inforeg_lightning.core.fisher import squared_norm
from inforeg_lightning.core.greedy import Balance, relative_square
from inforeg_lightning.engine.book.tracker import Step


def next_balance(
    step: Step,
    balance: Mapping[str, Tensor] | None,
    fusion: Tensor,
    tolerance: float,
    steps: int,
) -> tuple[Balance, Balance]:
    """What is known before a step, and after it.

    Args:
        step: The step, whose encoders are measured here.
        balance: The fields of a :class:`~inforeg_lightning.core.greedy.Balance`; ``None`` before
            the first step.
        fusion: ``‖g‖² / ‖w‖²`` of the fusion weights of each modality, shape ``(M,)``; NaN where
            that is not known.
        tolerance: How far the speeds may lie apart.
        steps: For how many steps the one ahead then has its turn.
    """
    like = next(iter(step.squared_norms.values()))
    before = Balance.start(len(step.modalities), like) if balance is None else Balance(**balance)
    zero = torch.zeros_like(like)
    encoder = torch.stack(
        [
            relative_square(step.squared_norms[m], squared_norm(step.held[m]))
            if m in step.held
            else zero
            for m in step.modalities
        ]
    )
    measured = step.present & ~fusion.isnan()
    after = before.after(
        torch.where(measured, fusion, 0.0),
        torch.where(measured, encoder, 0.0),
        step.finite,
        as_vector(step.in_window, before.alone),
        tolerance,
        steps,
    )
    return before, after


def as_vector(of: Mapping[str, bool], like: Tensor) -> Tensor:
    """Booleans by modality as a tensor, shape ``(M,)``."""
    # One by one: a tensor made of a list would make the host wait for the device.
    return torch.stack([torch.full_like(like[0], value) for value in of.values()])
