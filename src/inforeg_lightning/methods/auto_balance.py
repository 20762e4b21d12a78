"""AutoBalance: give each encoder the signal that the joint loss withholds, if it generalises."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._autograd import attach_loss, redirect
from inforeg_lightning.core._numeric import at_least_float32, sum_dtype
from inforeg_lightning.core.auto_balance import (
    generalisation,
    joint_factors,
    residual_norms,
    signal_share,
    withheld,
)
from inforeg_lightning.engine.book.state import Lifetime, moved
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_head_unsharded
from inforeg_lightning.engine.context import Context, Forward, HeadInputs
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.samples import (
    among_samples,
    as_samples,
    count_samples,
    mean_cross_entropy,
)
from inforeg_lightning.methods._unimodal_losses import check_none_included


class AutoBalance(Method):
    r"""Give back to each encoder what the joint loss withholds; hold back what memorises.

    See :class:`~inforeg_lightning.AutoBalanceCallback` for the equations, and for what ``history``
    holds.

    Args:
        window: When it acts.

    Raises:
        ValueError: The window is none, or the model's own loss has unimodal losses.
    """

    name = "auto_balance"
    quantities = ("share", "weight", "factor")
    edits_head = True
    replaces_features = True
    needs_validation = True

    losses: list[list[float]]
    """Per modality its loss in training between the last two validations, and its loss in the last
    one, NaN without a sample; empty before the first validation."""
    _chance: float
    """The loss of a guess, once the number of classes is known."""
    _train: Tensor | None
    """Per modality the sum of the training losses since the last validation, and their number."""
    _counted: bool
    _weights: Tensor | None
    """Of the terms of this batch, shape ``(M,)``, to be filled in."""
    _signals: Tensor | None
    """Per modality the sums of the fused and of the unimodal signal, and whether it has samples."""
    _applied: list[Tensor]

    def __init__(self, window: WindowArgument = "always") -> None:
        super().__init__(window)
        self.add_state("losses", list, Lifetime.FIT, saved="always")
        self.add_state("_chance", float, Lifetime.FIT, saved="always")
        self.add_state("_train", None, Lifetime.FIT, saved="always")
        self.add_state("_counted", bool, Lifetime.STEP)
        self.add_state("_applied", list, Lifetime.STEP)
        self.add_state("_weights", None, Lifetime.BATCH)
        self.add_state("_signals", None, Lifetime.BATCH)

    @property
    def settings(self) -> dict[str, object]:
        """The window: there is nothing to tune."""
        return {"window": self.window}

    @property
    def gates(self) -> list[float]:
        """Per modality what part of what it knows holds, from 0 to 1; NaN if not known."""
        if not self.losses:
            return [1.0] * len(self.context.modalities)
        return [generalisation(t, v, self._chance) for t, v in zip(*self.losses, strict=True)]

    @property
    def factors(self) -> list[float]:
        """Per modality what part of the joint loss's gradient it gets, from 0 to 1."""
        known = [self._chance - loss for loss in self.losses[0]] if self.losses else []
        return joint_factors(self.gates, known or [0.0] * len(self.context.modalities))

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Refuse a model that says that its own loss has unimodal losses."""
        check_none_included(model, "AutoBalance")

    def attach(self, context: Context) -> None:
        """Check the head, and go on from the losses of a checkpoint."""
        super().attach(context)
        if context.head is not None:
            check_head_unsharded(context.head, context.head_path, context.name)
        self._train = moved(self._train, context.device)

    def features(self, inputs: HeadInputs) -> Mapping[str, Sequence[Tensor]] | None:
        """Hold the joint loss's gradient back from encoders that generalise less than others."""
        factors = {m: f for m, f in self._factors().items() if f < 1}
        if not factors:
            return None
        return {
            modality: [_held_back(part, factors[modality]) for part in parts]
            for modality, parts in inputs.call.features().items()
            if modality in factors
        }

    def forward(self, forward: Forward) -> Tensor:
        """Add the unimodal losses to the loss, with weights still to be filled in."""
        if not any(self.context.in_window.values()):
            return forward.output
        unimodal = forward.call.unimodal()
        signals = self._signals_of(forward, unimodal)
        self._signals = signals.flatten()
        self._weights = torch.zeros_like(signals[0])
        output = forward.output
        for index, modality in enumerate(self.context.modalities):
            if modality in unimodal and self.context.in_window[modality]:
                loss = _loss(forward, modality, unimodal[modality])
                output = attach_loss(output, loss, self._weights[index])
        return output

    def before_backward(self, target: Tensor | None, finite: Tensor) -> None:
        """Fill in the weights of the terms of this (micro-)batch, from the signals of all."""
        if not any(self.context.in_window.values()):
            return
        every = len(self.context.modalities)
        signals, weights = self._signals, self._weights
        self._signals = self._weights = None
        if signals is None:  # another process may have had a call of the head
            signals = torch.zeros(3 * every, dtype=sum_dtype(finite.device), device=finite.device)
        infinite = (~finite).to(signals.dtype).reshape(1)
        total = self.context.processes.sum(torch.cat([signals, infinite]))
        fused, alone, samples, infinite = torch.split(total, [every, every, every, 1])
        has = samples > 0
        share = torch.where(has, signal_share(fused, alone), torch.nan)
        acts = has & torch.isfinite(share) & (infinite == 0)
        gated = [
            gate if self.context.in_window[m] and not math.isnan(gate) else 0.0
            for m, gate in zip(self.context.modalities, self.gates, strict=True)
        ]
        # Filled one by one, not copied from a list: that would make the host wait for the device.
        gates = torch.stack([torch.full_like(share[0], gate) for gate in gated])
        given = torch.where(acts, gates * withheld(share, self.factors), 0.0)
        if weights is not None:
            weights.copy_(given * self.context.scales.loss)
        self._applied.append(torch.stack([share, torch.where(has, given, torch.nan)]))

    def edit(self, step: Step) -> Done:
        """Note the losses of a step; edit nothing."""
        if not self._counted:  # else another optimiser of the same step was first
            self._counted = True
            counts = step.finite & step.present & torch.isfinite(step.scores)
            row = torch.stack([torch.where(counts, -step.scores, 0.0), counts.to(step.scores)])
            row = row.to(sum_dtype(row.device))
            self._train = row if self._train is None else self._train + row
        nothing = torch.full_like(step.scores, torch.nan)
        factors = torch.stack([torch.full_like(nothing[0], f) for f in self._factors().values()])
        factor = torch.where(step.present, factors, nothing)
        if not self._applied:
            weight = torch.where(step.present, 0.0, nothing)
            return {"share": nothing, "weight": weight, "factor": factor}
        share, weight = torch.stack(self._applied).nanmean(dim=0)
        return {"share": share, "weight": weight, "factor": factor}

    def validated(self, scores: Mapping[str, float]) -> None:
        """Take the unimodal losses of a validation, and those of training since the last one."""
        if not scores:
            raise ValueError(
                f"`head={self.context.head_path!r}` was not called in validation_step, or there "
                f"was no batch: {self.context.name} measures there what generalises. Predict with "
                "the head there."
            )
        if self._train is None:  # a validation before training, or two in a row
            return
        sums, counts = self._train.tolist()
        self._train = None
        train = [s / n if n else math.nan for s, n in zip(sums, counts, strict=True)]
        self.losses = [train, [-scores.get(m, math.nan) for m in self.context.modalities]]
        for modality in self.context.modalities:
            if modality not in scores:
                self.context.tracker.warn_once(
                    f"validation of {modality}",
                    f"no sample of a validation has {modality}, so that it is not known whether it "
                    "generalises: it is left to the joint loss.",
                )

    def end_period(self) -> None:
        """Warn of a loop that never validates."""
        if not self.losses and len(self.context.tracker.history) >= 2:
            self.context.tracker.warn_once(
                "validation",
                "there was no validation in the first three periods, so that what does not "
                "generalise is not told from what does. In a loop of your own, validate inside "
                "`with regulator.validation():` after each epoch.",
            )

    def _factors(self) -> dict[str, float]:
        """Modality -> what part of the joint loss's gradient it gets."""
        inside = self.context.in_window
        factors = zip(self.context.modalities, self.factors, strict=True)
        return {m: factor if inside[m] else 1.0 for m, factor in factors}

    def _signals_of(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> Tensor:
        """Fused and unimodal signal and number of samples of each modality, shape ``(3, M)``."""
        dtype = sum_dtype(forward.output.device)
        nothing = torch.zeros(3, dtype=dtype, device=forward.output.device)
        columns = []
        with torch.no_grad():
            for modality in self.context.modalities:
                if modality not in unimodal:
                    columns.append(nothing)
                    continue
                fused, counted = self._norms(forward, modality, forward.output.detach())
                alone, _ = self._norms(forward, modality, unimodal[modality].detach())
                sums = [torch.where(counted, norms, 0.0).sum() for norms in (fused, alone)]
                columns.append(torch.stack([*sums, counted.sum().to(fused.dtype)]).to(dtype))
        return torch.stack(columns, dim=1)

    def _norms(self, forward: Forward, modality: str, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The signal of each sample, and which samples count and have the modality."""
        try:
            rows, target, counted = as_samples(
                modality, logits, forward.target, "log_prob", forward.ignore_index, may_read=False
            )
        except ValueError as error:
            raise ValueError(
                f"{self.context.name} is for classes, one per sample or position; for several "
                f"labels per sample, or regression, use another method. {error}"
            ) from None
        present = forward.present.get(modality)
        if present is not None:
            counted = counted & among_samples(present, len(counted), modality)
        self._chance = math.log(rows.shape[1])
        target = target.long() if target.dim() == 1 else target
        return residual_norms(at_least_float32(rows), target), counted


def _loss(forward: Forward, modality: str, logits: Tensor) -> Tensor:
    """The unimodal loss, a mean over all samples as the joint loss is: 0 where it is missing."""
    target, ignored = forward.target, forward.ignore_index
    present = forward.present.get(modality)
    total = mean_cross_entropy(modality, logits, target, ignored, present, reduction="sum")
    return total / count_samples(target, logits, ignored).clamp(min=1)


def _held_back(part: Tensor, factor: float) -> Tensor:
    if not part.requires_grad:
        return part
    dtype = at_least_float32(part).dtype
    return redirect(part, [part], [torch.full((), factor, dtype=dtype, device=part.device)])
