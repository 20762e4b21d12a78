"""Running means of features over the samples of all steps, on all processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core.scores import at_least_float32


class RunningMeans:
    """Of each part of each modality's features, the mean over all samples so far.

    Args:
        name: Of the callback, for its errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._sums: dict[str, list[Tensor]] = {}
        self._count: Tensor | None = None
        self._open: dict[str, list[Tensor]] = {}
        self._open_count = 0

    def of(self, features: Mapping[str, Sequence[Tensor]]) -> dict[str, list[Tensor]] | None:
        """Modality -> the means of its parts, shaped as one sample; ``None`` before the first step.

        Raises:
            ValueError: The features have another shape than those before.
        """
        if self._count is None:
            return None
        for modality, parts in features.items():
            found = [tuple(part.shape[1:]) for part in parts]
            known = [tuple(total.shape) for total in self._sums[modality]]
            if found != known:
                raise ValueError(
                    f"the features of {modality} have shape {found} a sample, those before had "
                    f"{known}. {self.name} takes a mean over all samples: give the head features "
                    "whose shape does not change."
                )
        device = next(iter(features.values()))[0].device
        count = self._count.to(device)
        return {m: [t.to(device) / count for t in totals] for m, totals in self._sums.items()}

    def add(self, features: Mapping[str, Sequence[Tensor]]) -> None:
        """Add the features of a (micro-)batch, each of shape ``(B, ...)``."""
        with torch.no_grad():
            sums = {m: [at_least_float32(z).sum(0) for z in zs] for m, zs in features.items()}
        if self._open:
            sums = {m: [a + b for a, b in zip(self._open[m], sums[m], strict=True)] for m in sums}
        self._open = sums
        self._open_count += len(next(iter(features.values()))[0])

    def fold(self, add_up: Callable[[Tensor], Tensor], counts: Tensor) -> None:
        """Add what the micro-batches of a step gave, over all processes.

        Args:
            add_up: Sums a tensor over the processes.
            counts: Whether the step does, shape ``()``, bool.
        """
        if not self._open:
            return
        parts = [part for sums in self._open.values() for part in sums]
        samples = torch.full_like(parts[0].flatten()[:1], self._open_count)
        total = add_up(torch.cat([part.flatten() for part in parts] + [samples]))
        total = torch.where(counts & torch.isfinite(total).all(), total, 0.0)
        pieces = iter(torch.split(total, [*(part.numel() for part in parts), 1]))
        new = {m: [next(pieces).view_as(part) for part in sums] for m, sums in self._open.items()}
        if self._count is None:
            self._sums, self._count = new, next(pieces)[0]
        else:
            device = total.device
            self._sums = {
                m: [a.to(device) + b for a, b in zip(self._sums[m], new[m], strict=True)]
                for m in new
            }
            self._count = self._count.to(device) + next(pieces)[0]
        self._open, self._open_count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Sums and count, on the CPU."""
        return {
            "sums": {m: [total.cpu() for total in totals] for m, totals in self._sums.items()},
            "count": None if self._count is None else self._count.cpu(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from saved sums."""
        self._sums = {m: [*totals] for m, totals in state["sums"].items()}
        self._count = state["count"]
        self._open, self._open_count = {}, 0
