"""Weights of joint and unimodal losses (Gradient-Blending, CVPR 2020)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Losses:
    """What all losses were at one time, in nats, in one order.

    Args:
        train: Mean over an epoch of training.
        val: Mean over a validation.
    """

    train: Sequence[float]
    val: Sequence[float]


def generalisation(before: Losses, after: Losses) -> list[float]:
    """By how much each validation loss has fallen, ``G = L_val − L_val'``."""
    return [then - now for then, now in zip(before.val, after.val, strict=True)]


def overfitting(before: Losses, after: Losses) -> list[float]:
    """By how much each gap has grown, ``O = (L_val' − L_train') − (L_val − L_train)``."""
    gaps = [
        [val - train for train, val in zip(at.train, at.val, strict=True)] for at in (before, after)
    ]
    return [now - then for then, now in zip(*gaps, strict=True)]


def blending_weights(
    before: Losses,
    after: Losses,
    previous: Sequence[float],
    floor: float = 0.0,
    least_overfitting: float = 1e-3,
) -> list[float]:
    """Weights that favour losses that generalise and do not overfit, ``w_k ∝ G_k / O_k²``.

    :func:`generalisation` G and :func:`overfitting` O are between two times (Wang et al.
    2020). The paper takes both as positive, and says nothing of other cases:
    here a loss that has not generalised (``G <= 0``) has no weight of its own, and less
    overfitting counts as more of the same size does, since O is squared.

    Args:
        before: The losses at the first time.
        after: Those at the second.
        previous: The weights until now, >= 0, with sum 1.
        floor: The least weight, at most one over the number of losses: weights ``w`` with sum 1
            become ``floor + (1 − K floor) w``. The paper has none.
        least_overfitting: The least ``|O|`` that counts: a smaller one is not told from none.

    Returns:
        Weights with sum 1. If no loss has generalised, or one is not finite, the weights stay as
        they are.
    """
    if not all(map(math.isfinite, (*before.train, *before.val, *after.train, *after.val))):
        return list(previous)
    ratios = [
        max(gain, 0.0) / max(abs(growth), least_overfitting) ** 2
        for gain, growth in zip(
            generalisation(before, after), overfitting(before, after), strict=True
        )
    ]
    total = sum(ratios)
    if total == 0:
        return list(previous)
    return [floor + (1 - len(ratios) * floor) * ratio / total for ratio in ratios]


def weights_within(weights: Sequence[float], kept: Sequence[bool]) -> list[float]:
    """The weights of some of the losses, scaled to sum 1, and 0 for all others.

    Args:
        weights: >= 0.
        kept: Which of the losses there are.

    Returns:
        As many; equal ones if all that are kept have weight 0.
    """
    left = [weight if keep else 0.0 for weight, keep in zip(weights, kept, strict=True)]
    if sum(left) == 0:
        left = [float(keep) for keep in kept]
    total = sum(left)
    return [weight / total for weight in left]


class SuperEpochs:
    """The weights, estimated anew at the end of each super-epoch; numbers on the host only.

    Args:
        losses: How many there are.
        length: Epochs between two estimates, at least; ``None``: none is made of these losses.
        floor: The least weight of an estimate.
    """

    def __init__(self, losses: int, length: int | None, floor: float = 0.0) -> None:
        self.length, self.floor = length, floor
        self.weights = [1 / losses] * losses
        self.train: list[float] = []
        """The losses of the last epoch that has ended; empty before."""
        self.val: list[float] = []
        """Those of the last validation."""
        self._start: Losses | None = None
        self._epochs = 0
        self._validated = False

    def validated(self, losses: Sequence[float]) -> None:
        """Take the losses of a validation; NaN for one that is not known."""
        self.val, self._validated = [*losses], True

    def trained(self, losses: Sequence[float] | None) -> None:
        """Take the losses of an epoch that has ended, ``None`` if no step of it counts.

        An epoch without a validation, without a step that counts or with a loss that is not known
        (NaN) puts an estimate off.
        """
        self._epochs += 1
        if losses is not None:
            self.train = [*losses]
            if self._validated and not any(map(math.isnan, (*self.train, *self.val))):
                self._estimate(Losses(self.train, self.val))
        self._validated = False

    def _estimate(self, now: Losses) -> None:
        if self.length is None or (self._start is not None and self._epochs < self.length):
            return
        if self._start is not None:
            self.weights = blending_weights(self._start, now, self.weights, self.floor)
        self._start, self._epochs = now, 0

    def state_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "weights": [*self.weights],
            "train": [*self.train],
            "val": [*self.val],
            "start": None if self._start is None else [[*self._start.train], [*self._start.val]],
            "epochs": self._epochs,
            "validated": self._validated,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.weights, self.train, self.val = ([*state[key]] for key in ("weights", "train", "val"))
        self._start = None if state["start"] is None else Losses(*state["start"])
        self._epochs, self._validated = state["epochs"], state["validated"]
