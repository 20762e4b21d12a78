"""What is measured in one period of training: sums on the device, read by the host at its end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._numeric import sum_dtype


class PeriodSums:
    """Sums over the steps of a period, by quantity and modality.

    Steps with a loss, score or gradient that is not finite are counted and otherwise left out, by
    masking: whether a step is finite is never read on the host inside it.

    Args:
        modalities: How many there are, ``M``.
        quantities: Rows of the sums. Each counts, per modality, the finite steps in which it is
            defined (not NaN); ``"trace"`` of these only those in which a sample had the modality
            and its encoder a gradient.
        epoch: Lightning's epoch in which the period began.
    """

    def __init__(self, modalities: int, quantities: Sequence[str], epoch: int) -> None:
        self.modalities = modalities
        self.quantities = tuple(quantities)
        self.epoch = epoch
        self.steps = 0
        self._sums: Tensor | None = None

    def add(
        self,
        values: Mapping[str, Tensor],
        had_gradient: tuple[bool, ...],
        present: Tensor,
        finite: Tensor,
    ) -> None:
        """Add a step.

        Args:
            values: For each of ``quantities`` a tensor of shape ``(M,)``.
            had_gradient: Per modality, whether its encoder had a gradient.
            present: Per modality, whether a sample of the step has it, shape ``(M,)``, bool.
            finite: Whether the step is finite, shape ``()``, bool.
        """
        dtype = sum_dtype(finite.device)
        rows = torch.stack([values[quantity].to(dtype) for quantity in self.quantities])
        # Not made from a list: that copy would make the host wait for the device.
        of_trace = torch.stack(
            [p if had else p & False for had, p in zip(had_gradient, present, strict=True)]
        )
        counted = torch.stack(
            [
                known & of_trace if quantity == "trace" else known
                for quantity, known in zip(self.quantities, ~rows.isnan(), strict=True)
            ]
        )
        rows = torch.where(counted, rows, 0.0)
        update = torch.cat([rows, counted.to(dtype), torch.ones_like(rows[:1])])
        update = torch.where(finite, update, 0.0)
        self._sums = update if self._sums is None else self._sums.to(update).add_(update)
        self.steps += 1

    def close(self, sum_of: frozenset[str]) -> tuple[dict[str, list[float | None]], int]:
        """Read the result on the host.

        Args:
            sum_of: The quantities that are sums over the steps; of all others it is the mean.

        Returns:
            For each of ``quantities`` one number per modality over the steps that count, ``None``
            where none does; and the number of steps that were not finite.
        """
        if self._sums is None:
            return {quantity: [None] * self.modalities for quantity in self.quantities}, 0
        *rows, finite = self._sums.tolist()
        of = len(self.quantities)
        result: dict[str, list[float | None]] = {}
        for quantity, row, count in zip(self.quantities, rows[:of], rows[of:], strict=True):
            result[quantity] = [
                None if not n or math.isnan(total) else total if quantity in sum_of else total / n
                for total, n in zip(row, count, strict=True)
            ]
        return result, self.steps - round(finite[0])

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, in plain types and a tensor on the CPU."""
        return {
            "epoch": self.epoch,
            "steps": self.steps,
            "sums": None if self._sums is None else self._sums.cpu(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved sums."""
        self.epoch, self.steps, self._sums = state["epoch"], state["steps"], state["sums"]
