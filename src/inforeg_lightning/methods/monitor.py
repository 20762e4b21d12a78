"""Monitor: look at a training for what its modalities suffer from, and change nothing."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._dtensor import is_sharded
from inforeg_lightning.core._numeric import at_least_float32, sum_dtype
from inforeg_lightning.core.auto_balance import residual_norms, signal_share
from inforeg_lightning.core.monitor import agreement
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.context import Forward
from inforeg_lightning.engine.encoder import Encoder
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.samples import among_samples, as_samples, mean_cross_entropy
from inforeg_lightning.methods._held_out import FEWEST, HeldOut, nothing


class Monitor(Method):
    """Measure signal share, agreement, permutation drop and probes; edit nothing.

    See :class:`~inforeg_lightning.diagnosis.ModalityMonitor` for what each number means.

    Args:
        batches: So many (micro-)batches of a period give the unimodal gradients whose agreement is
            measured: one backward pass of the encoders each.
        samples: So many samples of a validation are kept for probes and permutation, on each
            process.

    Attributes:
        clock: Entered for whatever it does in a forward pass, for who counts its time.

    Raises:
        ValueError: An argument is out of range.
    """

    name = "monitor"
    quantities = ("share",)
    edits_head = True

    batches: int
    _signals: Tensor | None
    """Per modality the sums of fused and unimodal signal over the micro-batches of a step."""
    _gradients: dict[tuple[int, str], list[Tensor]]
    """Side and modality -> the sum of its unimodal gradients."""
    _seen: int
    _measured: dict[str, Any] | None
    """What a validation inside the open period has found."""
    _held_out: HeldOut | None
    _refused: set[str]
    """Modalities whose encoders do not allow a second backward pass."""

    def __init__(self, batches: int = 4, samples: int = 384) -> None:
        super().__init__("never")
        for argument, value, least in (("batches", batches, 0), ("samples", samples, FEWEST)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"`{argument}` must be an integer >= {least}, but is {value!r}")
        self.batches, self.samples = batches, samples
        self.clock: AbstractContextManager[Any] = nullcontext()
        self.add_state("_signals", None, Lifetime.STEP)
        self.add_state("_gradients", dict, Lifetime.PERIOD)
        self.add_state("_seen", int, Lifetime.PERIOD)
        self.add_state("_measured", None, Lifetime.PERIOD, saved="inside")
        self.add_state("_held_out", None, Lifetime.FIT)
        self.add_state("_refused", set, Lifetime.FIT)

    @property
    def settings(self) -> dict[str, object]:
        """How much it looks at; none of it changes the course of training."""
        return {"batches": self.batches, "samples": self.samples}

    # Training

    def forward(self, forward: Forward) -> Tensor:
        """Measure signals and unimodal gradients; the output stays as it is."""
        with self.clock:
            self._measure(forward)
        return forward.output

    def _measure(self, forward: Forward) -> None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._seen < self.batches):
            unimodal = forward.call.unimodal()
        signals = self._signals_of(forward, unimodal)
        self._signals = signals if self._signals is None else self._signals + signals
        if self._seen < self.batches and self._add_gradients(forward, unimodal):
            self._seen += 1

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
        entry.update(self._measured or nothing(self.context.modalities))

    # Validation

    def begin_validation(self) -> None:
        """Forget the last validation."""
        self._held_out = HeldOut(self.context.modalities, self.samples)

    def validate(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> None:
        """Keep features and hits of a batch, also with each modality permuted over samples."""
        if self._held_out is not None:
            with self.clock:
                self._held_out.add(forward)

    def validated(self, scores: Mapping[str, float]) -> None:
        """Conclude a validation, over all processes."""
        held_out, self._held_out = self._held_out, None
        if held_out is None:
            return
        found = held_out.conclude(self.context.processes, self.context.device)
        if self.context.tracker.sums is not None:
            self._measured = found
        elif self.context.tracker.history:  # a loop that validates after its epochs
            self.context.tracker.history[-1].update(found)

    # Inside

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
            if not parameters or not logits.requires_grad or modality in self._refused:
                continue
            present = forward.present.get(modality)
            loss = mean_cross_entropy(
                modality, logits, forward.target, forward.ignore_index, present, reduction="sum"
            )
            try:
                gradients = torch.autograd.grad(
                    loss * scale, parameters, retain_graph=True, allow_unused=True
                )
            except RuntimeError as error:  # who only looks must not end a training
                self._refused.add(modality)
                self.context.tracker.warn_once(
                    f"agreement of {modality}",
                    f"the agreement of {modality} is not measured, since its encoder does not "
                    f"allow to go backward twice: {error} Under torch.compile, set "
                    "torch._functorch.config.donated_buffer = False before it is compiled.",
                )
                continue
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


def _trained(encoder: Encoder) -> list[Tensor]:
    """What of an encoder is trained; sharded parameters are whole only while their module runs."""
    return [p for p in encoder.parameters if p.requires_grad and not is_sharded(p)]


def _norms(forward: Forward, modality: str, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The signal of each sample, and which samples count and have the modality."""
    try:
        rows, target, counted = as_samples(
            modality, logits, forward.target, "log_prob", forward.ignore_index, may_read=False
        )
    except ValueError as error:
        raise ValueError(
            "a monitor is for classes, one per sample or position, and for no other targets. "
            f"{error}"
        ) from None
    present = forward.present.get(modality)
    if present is not None:
        counted = counted & among_samples(present, len(counted), modality)
    target = target.long() if target.dim() == 1 else target
    return residual_norms(at_least_float32(rows), target), counted
