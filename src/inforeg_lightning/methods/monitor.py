"""Monitor: look at a training for what its modalities suffer from, and change nothing."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._dtensor import is_sharded
from inforeg_lightning.core._numeric import at_least_float32, sum_dtype
from inforeg_lightning.core.auto_balance import residual_norms, signal_share
from inforeg_lightning.core.monitor import agreement, pooled, probe_hits
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.encoder import Encoder
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.probe.head import evaluating
from inforeg_lightning.engine.samples import among_samples, as_samples, mean_cross_entropy

_FEWEST = 20
"""Samples of validation that a probe needs to say anything."""


class Monitor(Method):
    """Measure signal share, agreement, permutation drop and probes; edit nothing.

    See :class:`~inforeg_lightning.diagnosis.ModalityMonitor` for what each number means.

    Args:
        batches: So many (micro-)batches of a period give the unimodal gradients whose agreement is
            measured: one backward pass of the encoders each.
        samples: So many samples of a validation are kept for probes and permutation, on each
            process.

    Raises:
        ValueError: An argument is out of range.
    """

    name = "monitor"
    quantities = ("share",)
    edits_head = True
    reads_validation = True

    batches: int
    _signals: Tensor | None
    """Per modality the sums of fused and unimodal signal over the micro-batches of a step."""
    _gradients: dict[tuple[int, str], list[Tensor]]
    """Side and modality -> the sum of its unimodal gradients."""
    _seen: int
    _measured: dict[str, Any] | None
    """What a validation inside the open period has found."""
    _kept: dict[str, list[Tensor]]
    """Name -> what the batches of a validation led to."""
    _before: dict[str, Sequence[Tensor]]

    def __init__(self, batches: int = 4, samples: int = 384) -> None:
        super().__init__("never")
        for argument, value, least in (("batches", batches, 0), ("samples", samples, _FEWEST)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"`{argument}` must be an integer >= {least}, but is {value!r}")
        self.batches, self.samples = batches, samples
        self.add_state("_signals", None, Lifetime.STEP)
        self.add_state("_gradients", dict, Lifetime.PERIOD)
        self.add_state("_seen", int, Lifetime.PERIOD)
        self.add_state("_measured", None, Lifetime.PERIOD, saved="inside")
        self.add_state("_kept", dict, Lifetime.FIT)
        self.add_state("_before", dict, Lifetime.FIT)

    @property
    def settings(self) -> dict[str, object]:
        """How much it looks at; none of it changes the course of training."""
        return {"batches": self.batches, "samples": self.samples}

    def attach(self, context: Context) -> None:
        """Begin with a generator of its own: that of the training is left alone."""
        super().attach(context)
        self._generator = torch.Generator().manual_seed(0)

    # Training

    def forward(self, forward: Forward) -> Tensor:
        """Measure signals and unimodal gradients; the output stays as it is."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._seen < self.batches):
            unimodal = forward.call.unimodal()
        signals = self._signals_of(forward, unimodal)
        self._signals = signals if self._signals is None else self._signals + signals
        if self._seen < self.batches and self._add_gradients(forward, unimodal):
            self._seen += 1
        return forward.output

    def edit(self, step: Step) -> Done:
        """Return the signal share of a step; edit nothing."""
        signals = self._signals
        if signals is None:  # another process may have had a call of the head
            dtype = sum_dtype(step.scores.device)
            signals = torch.zeros(3, len(step.scores), dtype=dtype, device=step.scores.device)
        fused, alone, samples = self.context.processes.sum(signals)
        return {"share": torch.where(samples > 0, signal_share(fused, alone), torch.nan)}

    def describe_period(self, entry: Entry) -> None:
        """Add the agreement, and what a validation inside the period has found."""
        entry["agreement"] = self._agreements()
        entry.update(self._measured or self._nothing())

    # Validation

    def begin_validation(self) -> None:
        """Forget the last validation."""
        self._kept, self._before = {}, {}

    def validate(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> None:
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

    def validated(self, scores: Mapping[str, float]) -> None:
        """Conclude a validation, over all processes."""
        modalities = self.context.modalities
        counts = [self._counts(m) for m in modalities]
        classes = self._kept.get("target", [])
        fused = self._kept.get("fused", [])
        device = self.context.device
        one = torch.tensor(
            [float(sum(int(x.sum()) for x in fused)), float(sum(map(len, fused)))],
            dtype=sum_dtype(device),
            device=device,
        )
        total = self.context.processes.sum(torch.cat([torch.cat(counts).to(one), one]))
        by_class = self._class_counts(classes, total)
        self._kept, self._before = {}, {}
        rows = total[:-2].reshape(len(modalities), -1).tolist()
        hits, samples = total[-2:].tolist()
        found = {
            "drop": {m: _ratio(r[0] - r[1], r[2]) for m, r in zip(modalities, rows, strict=True)},
            "probe": {m: _ratio(r[3], r[4]) for m, r in zip(modalities, rows, strict=True)},
            "fused": _ratio(hits, samples),
            "largest_class": by_class,
            "samples": int(samples),
        }
        if self.context.tracker.sums is not None:
            self._measured = found
        elif self.context.tracker.history:  # a loop that validates after its epochs
            self.context.tracker.history[-1].update(found)

    # Inside

    def _nothing(self) -> dict[str, Any]:
        unknown = dict.fromkeys(self.context.modalities)
        return {
            "drop": dict(unknown),
            "probe": dict(unknown),
            "fused": None,
            "largest_class": None,
            "samples": 0,
        }

    def _signals_of(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> Tensor:
        """Sums of fused and unimodal signal, and number of samples, shape ``(3, M)``."""
        dtype = sum_dtype(forward.output.device)
        columns = []
        for modality in self.context.modalities:
            column = torch.zeros(3, dtype=dtype, device=forward.output.device)
            if modality in unimodal:
                fused, counted = _norms(forward, modality, forward.output.detach())
                alone, _ = _norms(forward, modality, unimodal[modality].detach())
                kept = [torch.where(counted, norms, 0.0).sum() for norms in (fused, alone)]
                column = torch.stack([*kept, counted.sum().to(fused.dtype)]).to(dtype)
            columns.append(column)
        return torch.stack(columns, dim=1)

    def _add_gradients(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> bool:
        """Add the unimodal gradients of a batch to one of two sides, by turns.

        They are asked for without touching those of the training, which keeps its graph.
        """
        scale = self.context.scales.loss
        added = False
        for modality, logits in unimodal.items():
            parameters = _trained(self.context.encoders[modality])
            if not parameters or not logits.requires_grad:
                continue
            present = forward.present.get(modality)
            loss = mean_cross_entropy(
                modality, logits, forward.target, forward.ignore_index, present, reduction="sum"
            )
            gradients = torch.autograd.grad(
                loss * scale, parameters, retain_graph=True, allow_unused=True
            )
            found = [
                torch.zeros_like(p) if g is None else g
                for g, p in zip(gradients, parameters, strict=True)
            ]
            key = (self._seen % 2, modality)
            before = self._gradients.get(key)
            self._gradients[key] = (
                [at_least_float32(g) for g in found]
                if before is None
                else [b + g for b, g in zip(before, found, strict=True)]
            )
            added = True
        return added

    def _agreements(self) -> dict[str, float | None]:
        """Per modality, of the gradients of both sides over all processes."""
        found: dict[str, float | None] = {}
        for modality in self.context.modalities:
            parameters = _trained(self.context.encoders[modality])
            sides = []
            for side in (0, 1) if parameters and self.batches else ():
                kept = self._gradients.get((side, modality))
                kept = kept or [torch.zeros_like(at_least_float32(p)) for p in parameters]
                flat = torch.cat([x.detach().flatten() for x in kept])
                sides.append(self.context.processes.sum(flat))
            found[modality] = agreement(*sides) if len(sides) == 2 else None
        return found

    def _others(self, modality: str, parts: Sequence[Tensor], size: int) -> list[Tensor] | None:
        """The features of other samples: of the batch before where it is alike, in a new order.

        A validation that is sorted by class would have the same class in all of a batch.
        """
        if any(not x.dim() or x.shape[0] % size for x in parts):
            return None
        order = torch.randperm(size, generator=self._generator)
        before = self._before.get(modality, parts)
        self._before[modality] = parts
        if [x.shape for x in before] != [x.shape for x in parts]:
            before = parts
        return [
            x.reshape(size, -1, *x.shape[1:])[order.to(x.device)].reshape(x.shape) for x in before
        ]

    def _counts(self, modality: str) -> Tensor:
        """Hits as they are, hits permuted, their number, hits of the probe, their number."""
        counts = [
            float(sum(int(x.sum()) for x in self._kept.get(name, [])))
            for name in (f"with {modality}", f"permuted {modality}")
        ]
        counts.append(float(sum(map(len, self._kept.get(f"with {modality}", [])))))
        hits = self._probed(modality)
        counts += [0.0, 0.0] if hits is None else [float(hits.sum()), float(len(hits))]
        return torch.tensor(counts, dtype=torch.float64)

    def _probed(self, modality: str) -> Tensor | None:
        kept = self._kept.get(f"features {modality}", [])
        if not kept or len({x.shape[1] for x in kept}) > 1:
            return None
        features, target = torch.cat(kept), torch.cat(self._kept[f"target {modality}"])
        if len(target) < _FEWEST or not bool(torch.isfinite(features).all()):
            return None
        with suppress(torch.linalg.LinAlgError):
            return probe_hits(features.cpu(), target.cpu())
        return None

    def _class_counts(self, classes: Sequence[Tensor], total: Tensor) -> float | None:
        """The share of the largest class, over all processes."""
        sums = self.context.processes.sum
        # All processes must sum the same number of classes; a head has that many logits.
        width = torch.zeros(_MOST_CLASSES, dtype=total.dtype, device=total.device)
        if classes:
            found = torch.cat([*classes])
            width = width + torch.bincount(
                found.clamp(max=_MOST_CLASSES - 1), minlength=_MOST_CLASSES
            ).to(width)
        counts = sums(width)
        return _ratio(float(counts.max()), float(counts.sum()))

    def _keep(self, name: str, x: Tensor) -> None:
        self._kept.setdefault(name, []).append(x.detach())


_MOST_CLASSES = 4096
"""The counts of the classes beyond this are not told apart."""


def _trained(encoder: Encoder) -> list[Tensor]:
    """What of an encoder is trained; sharded parameters are whole only while their module runs."""
    return [p for p in encoder.parameters if p.requires_grad and not is_sharded(p)]


def _hits(forward: Forward, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which samples are classified rightly, their classes, and which of them count."""
    rows, target, counted = as_samples(
        "the head", logits, forward.target, "log_prob", forward.ignore_index, may_read=True
    )
    target = target.long() if target.dim() == 1 else target.argmax(dim=1)
    return rows.argmax(dim=1) == target, target, counted


def _norms(forward: Forward, modality: str, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The signal of each sample, and which samples count and have the modality."""
    rows, target, counted = as_samples(
        modality, logits, forward.target, "log_prob", forward.ignore_index, may_read=False
    )
    present = forward.present.get(modality)
    if present is not None:
        counted = counted & among_samples(present, len(counted), modality)
    target = target.long() if target.dim() == 1 else target
    return residual_norms(at_least_float32(rows), target), counted


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 and part == part else None
