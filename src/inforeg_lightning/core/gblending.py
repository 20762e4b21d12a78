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


def blending_weights(
    before: Losses, after: Losses, previous: Sequence[float], floor: float = 1e-3
) -> list[float]:
    """Weights that favour losses that generalise and do not overfit, ``w_k ∝ G_k / O_k²``.

    ``G = L_val − L_val'`` is the generalisation between two times and
    ``O = (L_val' − L_train') − (L_val − L_train)`` the growth of overfitting (Wang et al. 2020).

    Args:
        before: The losses at the first time.
        after: Those at the second.
        previous: The weights until now, >= 0, with sum 1.
        floor: The least ``|O|`` that counts: a smaller one is not told from none.

    Returns:
        Weights with sum 1. A loss that has not generalised (``G <= 0``) has weight 0; if none has,
        or a loss is not finite, the weights stay as they are.
    """
    if not all(map(math.isfinite, (*before.train, *before.val, *after.train, *after.val))):
        return list(previous)
    ratios = []
    for train, val, train_after, val_after in zip(
        before.train, before.val, after.train, after.val, strict=True
    ):
        growth = (val_after - train_after) - (val - train)
        ratios.append(max(val - val_after, 0.0) / max(abs(growth), floor) ** 2)
    total = sum(ratios)
    if total == 0:
        return list(previous)
    return [ratio / total for ratio in ratios]


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
        length: Epochs between two estimates, at least.
    """

    def __init__(self, losses: int, length: int) -> None:
        self.length = length
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
        if self._start is not None and self._epochs < self.length:
            return
        if self._start is not None:
            self.weights = blending_weights(self._start, now, self.weights)
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
