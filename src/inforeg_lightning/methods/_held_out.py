"""What a monitor keeps of a validation: features and hits of some samples, and what they tell."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._numeric import sum_dtype
from inforeg_lightning.core.monitor import pooled, probe_hits
from inforeg_lightning.engine.context import Forward
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.probe.head import evaluating
from inforeg_lightning.engine.samples import among_samples, as_samples

FEWEST = 20
"""Samples that a probe needs to say anything."""
_MOST_CLASSES = 4096
"""The counts of the classes beyond this are not told apart."""


class HeldOut:
    """Samples of one validation.

    Args:
        modalities: Their names.
        samples: So many are looked at, on each process.
    """

    def __init__(self, modalities: Sequence[str], samples: int) -> None:
        self.modalities, self.samples = modalities, samples
        # Of its own: that of the training is left alone.
        self._generator = torch.Generator().manual_seed(0)
        self._kept: dict[str, list[Tensor]] = {}
        self._before: Mapping[str, Sequence[Tensor]] = {}

    def add(self, forward: Forward) -> None:
        """Keep features and hits of a batch, also with each modality permuted over samples."""
        if sum(map(len, self._kept.get("fused", []))) >= self.samples:
            return
        hits, target, counted = _hits(forward, forward.output)
        self._keep("fused", hits[counted])
        self._keep("target", target[counted])
        size = len(forward.target)
        for modality, parts in forward.call.features().items():
            if modality not in forward.call.present:
                continue
            has = counted
            if modality in forward.present:
                has = counted & among_samples(forward.present[modality], len(counted), modality)
            others = self._others(modality, parts, size)
            if others is not None:
                with evaluating(forward.call.head):
                    output = forward.call.with_features({modality: others})
                self._keep(f"permuted {modality}", _hits(forward, output)[0][has])
                self._keep(f"with {modality}", hits[has])
            vectors = pooled(parts, size)
            if vectors is not None and len(hits) == size:
                self._keep(f"features {modality}", vectors[has])
                self._keep(f"target {modality}", target[has])

    def conclude(self, processes: Processes, device: torch.device) -> dict[str, Any]:
        """What they tell, over all processes, which have to call it together.

        Returns:
            ``drop`` and ``probe``, modality -> share of the samples; ``fused`` and
            ``largest_class``, shares; and ``samples``, their number. ``None`` is what is not known.
        """
        fused = self._kept.get("fused", [])
        counts = [self._counts(m) for m in self.modalities]
        counts.append([_total(fused), float(sum(map(len, fused)))])
        flat = [x for row in counts for x in row]
        flat = processes.sum(torch.tensor(flat, dtype=sum_dtype(device), device=device)).tolist()
        rows = [flat[5 * i : 5 * i + 5] for i in range(len(self.modalities))]
        by_modality = dict(zip(self.modalities, rows, strict=True))
        return {
            "drop": {m: _ratio(r[0] - r[1], r[2]) for m, r in by_modality.items()},
            "probe": {m: _ratio(r[3], r[4]) for m, r in by_modality.items()},
            "fused": _ratio(*flat[-2:]),
            "largest_class": self._largest_class(processes, device),
            "samples": int(flat[-1]),
        }

    def _others(self, modality: str, parts: Sequence[Tensor], size: int) -> list[Tensor] | None:
        """The features of other samples: of the batch before where it is alike, in a new order.

        A validation that is sorted by class would have the same class in all of a batch.
        """
        if any(not x.dim() or x.shape[0] % size for x in parts):
            return None
        order = torch.randperm(size, generator=self._generator)
        before = self._before.get(modality, parts)
        self._before = {**self._before, modality: parts}
        if [x.shape for x in before] != [x.shape for x in parts]:
            before = parts
        return [
            x.reshape(size, -1, *x.shape[1:])[order.to(x.device)].reshape(x.shape) for x in before
        ]

    def _counts(self, modality: str) -> list[float]:
        """Hits as they are, hits permuted, their number, hits of the probe, their number."""
        hits, permuted = (self._kept.get(f"{k} {modality}", []) for k in ("with", "permuted"))
        of_probe = self._probed(modality)
        probed = [] if of_probe is None else [of_probe]
        numbers = (float(sum(map(len, x))) for x in (hits, probed))
        return [_total(hits), _total(permuted), next(numbers), _total(probed), next(numbers)]

    def _probed(self, modality: str) -> Tensor | None:
        kept = self._kept.get(f"features {modality}", [])
        if not kept or len({x.shape[1] for x in kept}) > 1:
            return None
        features, target = torch.cat(kept), torch.cat(self._kept[f"target {modality}"])
        if len(target) < FEWEST or not bool(torch.isfinite(features).all()):
            return None
        with suppress(RuntimeError):  # which LinAlgError is: no eigenvalues were found
            return probe_hits(features.cpu(), target.cpu())
        return None

    def _largest_class(self, processes: Processes, device: torch.device) -> float | None:
        """The share of the largest class, over all processes."""
        # All processes must sum the same number of classes, whichever theirs are.
        counts = torch.zeros(_MOST_CLASSES, dtype=sum_dtype(device), device=device)
        for target in self._kept.get("target", []):
            target = target.clamp(max=_MOST_CLASSES - 1)
            counts += torch.bincount(target, minlength=_MOST_CLASSES).to(counts)
        counts = processes.sum(counts)
        return _ratio(float(counts.max()), float(counts.sum()))

    def _keep(self, name: str, x: Tensor) -> None:
        self._kept.setdefault(name, []).append(x.detach())


def nothing(modalities: Sequence[str]) -> dict[str, Any]:
    """What is known without a validation."""
    unknown = dict.fromkeys(modalities)
    return {
        "drop": dict(unknown),
        "probe": dict(unknown),
        "fused": None,
        "largest_class": None,
        "samples": 0,
    }


def _hits(forward: Forward, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which samples are classified rightly, their classes, and which of them count."""
    rows, target, counted = as_samples(
        "the head", logits, forward.target, "log_prob", forward.ignore_index, may_read=True
    )
    target = target.long() if target.dim() == 1 else target.argmax(dim=1)
    hits = (rows.argmax(dim=1) == target) & torch.isfinite(rows).all(dim=1)
    return hits, target, counted


def _total(hits: Sequence[Tensor]) -> float:
    return float(sum(int(x.sum()) for x in hits))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 and part == part else None
