"""Running means of features over all samples that had them, on all processes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._numeric import at_least_float32, sum_dtype
from inforeg_lightning.engine.distributed import Processes


class RunningMeans:
    """Of each part of each modality's features, the mean over all samples that had it so far."""

    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}
        # Modality -> the sums of all its parts, flat, and behind them the number of samples.
        self._totals: dict[str, Tensor] = {}
        self._open: dict[str, Tensor] = {}
        self._agreed = False

    def of(
        self, features: Mapping[str, Sequence[Tensor]], with_open: bool = False
    ) -> dict[str, list[Tensor]]:
        """The means that are known.

        Args:
            features: Modality -> its parts, each of shape ``(B, ...)``.
            with_open: Whether what this process has added since the last step counts too.

        Returns:
            Modality -> the means of its parts, shaped as one sample and not finite if no step with
            the modality counted; without modalities that were in no step.
        """
        found = {}
        for modality, parts in features.items():
            totals = self._totals.get(modality)
            if with_open and modality in self._open:
                opened = self._open[modality]
                totals = opened if totals is None else totals.to(opened.device) + opened
            if totals is not None:
                totals = totals.to(parts[0].device)
                means = totals[:-1] / totals[-1]
                pieces = torch.split(means, [part[0].numel() for part in parts])
                found[modality] = [
                    piece.view_as(part[0]) for piece, part in zip(pieces, parts, strict=True)
                ]
        return found

    def add(self, features: Mapping[str, Sequence[Tensor]], present: Mapping[str, Tensor]) -> None:
        """Add the features of a (micro-)batch.

        Args:
            features: Modality that the batch has -> its parts, each of shape ``(B, ...)``.
            present: Modality -> which samples have it, shape ``(B,)``, bool; a modality that all
                have may be left out.

        Raises:
            ValueError: The features have another shape than those before.
        """
        for modality, parts in features.items():
            self._check(modality, parts)
            with torch.no_grad():
                total = _total(parts, present.get(modality))
            before = self._open.get(modality)
            self._open[modality] = total if before is None else before + total

    def fold(self, modalities: Sequence[str], processes: Processes, counts: Tensor) -> None:
        """Add what the micro-batches of a step gave; all processes have to call it.

        Args:
            modalities: All of them, in the same order on all processes.
            processes: That train together.
            counts: Whether the step does, shape ``()``, bool.
        """
        opened, self._open = self._open, {}
        sizes = {m: len((self._totals | opened).get(m, ())) for m in modalities}
        if processes.size > 1:
            # A process that has not seen a modality knows neither the size nor the dtype.
            opened = {m: total.to(sum_dtype(total.device)) for m, total in opened.items()}
            if not self._agreed:
                sizes = self._agree(sizes, processes, counts.device)
        else:
            sizes = {m: size for m, size in sizes.items() if m in opened}
        names = [m for m in modalities if sizes.get(m)]
        if not names:
            return
        dtype, device = sum_dtype(counts.device), counts.device
        parts = [
            opened[m] if m in opened else torch.zeros(sizes[m], dtype=dtype, device=device)
            for m in names
        ]
        total = processes.sum(torch.cat(parts))
        total = torch.where(counts & torch.isfinite(total).all(), total, 0.0)
        for m, new in zip(names, torch.split(total, [sizes[m] for m in names]), strict=True):
            before = self._totals.get(m)
            self._totals[m] = new if before is None else before.to(new.device) + new

    def state_dict(self) -> dict[str, Any]:
        """Shapes and sums, on the CPU."""
        return {
            "shapes": {m: [*shapes] for m, shapes in self._shapes.items()},
            "totals": {m: total.cpu() for m, total in self._totals.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from saved sums."""
        self._shapes = {m: [*map(tuple, shapes)] for m, shapes in state["shapes"].items()}
        self._totals = dict(state["totals"])
        self._open, self._agreed = {}, False

    def _check(self, modality: str, parts: Sequence[Tensor]) -> None:
        found = [tuple(part.shape[1:]) for part in parts]
        known = self._shapes.setdefault(modality, found)
        size = sum(part[0].numel() for part in parts) + 1
        if found != known or len(self._totals.get(modality, range(size))) != size:
            raise ValueError(
                f"the features of {modality} have shape {found} per sample, those before had "
                f"{known}. A mean over all samples needs features whose shape does not "
                "change: pad them before the head."
            )

    def _agree(
        self, sizes: Mapping[str, int], processes: Processes, device: torch.device
    ) -> dict[str, int]:
        """The sizes that any process knows; read on the host until all processes know all."""
        mine = [*sizes.values(), *(size > 0 for size in sizes.values())]
        total = processes.sum(torch.tensor(mine, dtype=sum_dtype(device), device=device)).tolist()
        sums, knowing = total[: len(sizes)], total[len(sizes) :]
        self._agreed = all(n == processes.size for n in knowing)
        agreed = {m: round(s / max(n, 1)) for m, s, n in zip(sizes, sums, knowing, strict=True)}
        for modality, size in sizes.items():
            if size not in (0, agreed[modality]):
                raise ValueError(
                    f"the features of {modality} have {size - 1} numbers per sample on this "
                    "process, but not on another. A mean over all samples needs features whose "
                    "shape does not change: pad them before the head."
                )
        return agreed


def by_sample(present: Tensor, part: Tensor) -> Tensor:
    """Which rows of a part have a modality, of a shape to be broadcast over it."""
    rows = present.repeat_interleave(len(part) // max(len(present), 1))
    return rows.view(-1, *[1] * (part.dim() - 1))


def _total(parts: Sequence[Tensor], present: Tensor | None) -> Tensor:
    """The sums of parts over the samples that have them, flat, and the number of samples."""
    kept = [at_least_float32(part) for part in parts]
    if present is not None:
        kept = [torch.where(by_sample(present, part), part, 0.0) for part in kept]
    sums = [part.sum(0).flatten() for part in kept]
    if present is None:
        samples = torch.full_like(sums[0][:1], len(parts[0]))
    else:
        samples = by_sample(present, parts[0]).sum().to(sums[0].dtype).reshape(1)
    return torch.cat([*sums, samples])
