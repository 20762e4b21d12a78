"""G-Blending: losses weighted by how they generalise and overfit (CVPR 2020, arXiv 1905.12681)."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._autograd import attach_loss, redirect
from inforeg_lightning.core._numeric import at_least_float32, sum_dtype
from inforeg_lightning.core.gblending import (
    Losses,
    SuperEpochs,
    blending_weights,
    generalisation,
    overfitting,
    weights_within,
)
from inforeg_lightning.core.window import Window
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_count, check_number, shown
from inforeg_lightning.engine.context import Forward, Heads
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.trials import Sums, Trials
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods._included_losses import Included
from inforeg_lightning.methods._sums import FUSED, means, sum_of_joint, sums_of
from inforeg_lightning.methods._unimodal_losses import (
    check_flag,
    check_heads,
    check_one_side,
    unimodal_losses,
)

_MEASURES = ("online", "offline", "running")
_RUNNING_FLOOR = 0.1


class GBlending(Method):
    """Weight joint and unimodal losses by how they generalise (Wang, Tran & Feiszli, CVPR 2020).

    See :class:`~inforeg_lightning.callbacks.GBlendingCallback` for the equations, and for what
    ``history`` holds.

    Args:
        measure: ``"online"``, the paper's, anew before each super-epoch; ``"offline"``, the paper's
            too, once before training; or ``"running"``, ours, from the joint run itself.
        super_epoch: Epochs between two estimates of the weights; 10 as in BalanceBenchmark.
        measure_epochs: How long a measurement trains copies; the paper: ``super_epoch`` online, as
            long as the whole training offline.
        floor: The least weight; 0 (the paper) where it is measured, 0.1 (ours) for ``"running"``.
        unimodal_heads: What makes the unimodal logits; the paper: a classifier per modality.
        unimodal_losses_included: Whether the model's own loss has the unimodal losses already,
            each with weight 1 and apart from the head's output; what their weights lack or exceed
            is then added.
        window: When it acts; the paper: always.

    Raises:
        ValueError: An argument is out of range, a modality is called ``fused``, or the model's
            ``unimodal_losses`` is not what ``unimodal_losses_included`` says.
        TypeError: An argument is of another kind than described.
    """

    name = "gblending"
    edits_head = True
    needs_validation = True

    epochs: SuperEpochs
    """Of each modality and of all together; its losses are NaN where no sample has the modality."""
    _modalities: tuple[str, ...]
    _names: tuple[str, ...]
    _applied: list[float]
    _train: Tensor | None
    _sums: Tensor | None
    """Of the step, shape ``(2 K,)``: losses, then how many samples count."""
    _counted: bool
    _validation: Tensor | None
    _included: Included | None
    _has_looked: bool
    _measured_at: int | None
    _estimate: dict[str, list[float]]

    def __init__(
        self,
        measure: str = "online",
        super_epoch: int = 10,
        measure_epochs: int | None = None,
        floor: float | None = None,
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
        unimodal_heads: HeadsArgument = "own",
    ) -> None:
        super().__init__(window)
        if measure not in _MEASURES:
            raise ValueError(f"`measure` must be one of {[*_MEASURES]}, but is {shown(measure)}")
        self.measure_by = measure
        self.super_epoch = check_count("super_epoch", super_epoch, "epochs")
        if measure_epochs is not None:
            measure_epochs = check_count("measure_epochs", measure_epochs, "epochs")
        self.measure_epochs = measure_epochs
        usual = _RUNNING_FLOOR if measure == "running" else 0.0
        self.floor = check_number("floor", usual if floor is None else floor, 0, 1)
        self.unimodal_losses_included = check_flag(unimodal_losses_included)
        self.unimodal_heads = check_heads(unimodal_heads, self.unimodal_losses_included)
        self.add_state("_applied", list, Lifetime.FIT, saved="always")
        self.add_state("_train", None, Lifetime.FIT, saved="always")
        self.add_state("_sums", None, Lifetime.STEP)
        self.add_state("_counted", bool, Lifetime.STEP)
        self.add_state("_validation", None, Lifetime.FIT)
        self.add_state("_included", None, Lifetime.BATCH)
        self.add_state("_has_looked", bool, Lifetime.FIT)
        self.add_state("_measured_at", None, Lifetime.FIT, saved="always")
        self.add_state("_estimate", dict, Lifetime.FIT, saved="always")

    @property
    def settings(self) -> dict[str, object]:
        """How and how often weights are estimated, of which unimodal losses, and window."""
        return {
            "measure": self.measure_by,
            "super_epoch": self.super_epoch,
            "measure_epochs": self.measure_epochs,
            "floor": self.floor,
            "unimodal_heads": self.unimodal_heads,
            "unimodal_losses_included": self.unimodal_losses_included,
            "window": self.window,
        }

    @property
    def needs_trials(self) -> bool:
        """Whether copies of the model are trained to measure its losses."""
        return self.measure_by != "running"

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The window; how many losses there are is known by now."""
        if FUSED in modalities:
            raise ValueError(
                f"`encoders` has a modality called {FUSED!r}, which in `history` is what all give "
                "together. Choose another name."
            )
        self._modalities, self._names = modalities, (*modalities, FUSED)
        if self.floor * len(self._names) > 1:
            raise ValueError(
                f"`floor` must be at most 1 / {len(self._names)}, the number of losses, but is "
                f"{self.floor:g}"
            )
        length = None if self.needs_trials else self.super_epoch
        make = partial(SuperEpochs, len(self._names), length, self.floor)
        self.add_state("epochs", make, Lifetime.FIT, saved="always")
        return super().make_window(modalities)

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Check that the unimodal losses come from one side, as the argument says."""
        check_one_side(model, "GBlending", self.unimodal_losses_included)

    def is_due(self, epoch: int) -> bool:
        """Whether losses are to be measured before an epoch: a super-epoch begins with it."""
        if self._measured_at is None or not self.needs_trials:
            return self.needs_trials
        return self.measure_by == "online" and epoch >= self._measured_at + self.super_epoch

    def measure(self, trials: Trials, epoch: int) -> None:
        """Estimate the weights from trials (Wang et al. 2020).

        Unimodal losses are trained in one copy: they have no parameters in common.
        """
        usual = self.super_epoch if self.measure_by == "online" else trials.planned_epochs
        epochs = self.measure_epochs or usual
        if epochs is None:
            raise ValueError(
                "measure='offline' trains copies as long as the whole training, which has no "
                "max_epochs. Give the Trainer one, or pass `measure_epochs`."
            )
        before = trials.measure(self._all_sums)
        after = trials.train(self._unimodal_sums, epochs) | trials.train(self._joint_sums, epochs)
        then, now = (
            Losses(*zip(*(losses[name] for name in self._names), strict=True))
            for losses in (before, after)
        )
        self.epochs.weights = blending_weights(then, now, self.epochs.weights, self.floor)
        self._measured_at = epoch
        self._estimate = {
            "generalisation": generalisation(then, now),
            "overfitting": overfitting(then, now),
        }

    def begin_batch(self, begins_period: bool) -> None:
        """Take the weights of the losses that there are."""
        inside = [*self.context.in_window.values()]
        weights = self.epochs.weights
        kept = weights if any(inside) else [0.0] * len(weights)
        self._applied = weights_within(kept, [*inside, True])

    def forward(self, forward: Forward) -> Tensor:
        """Weight the joint loss, and add those of the modalities in their window."""
        output, in_window = forward.output, self.context.in_window
        unimodal = self.context.heads.logits(forward)
        with torch.no_grad():
            row = self._row(unimodal, forward)
        self._sums = row if self._sums is None else self._sums + row
        if not any(in_window.values()):
            return output
        weights = dict(zip(self._names, self._applied, strict=True))
        already = 1.0 if self.unimodal_losses_included else 0.0
        dtype = at_least_float32(output).dtype
        weight = torch.full((), weights[FUSED], dtype=dtype, device=output.device)
        weighted = redirect(output, [output], [weight])
        losses = unimodal_losses(forward, unimodal, in_window)
        if losses:
            added = torch.stack([(weights[m] - already) * loss for m, loss in losses.items()]).sum()
            weighted = attach_loss(weighted, added, self.context.scales.loss)
        if self.unimodal_losses_included and not self._has_looked:
            self._included = Included.of(self.context, forward, unimodal, weighted)
        return weighted

    def see_loss(self, loss: Tensor) -> None:
        """Check, once, that it has the unimodal losses if the user says so."""
        if self._included is not None:
            self._has_looked = self._included.check(loss, self.context)
            self._included = None

    def edit(self, step: Step) -> Done:
        """Add the losses of a step to those of the epoch; edit nothing."""
        if not self._counted:  # else another optimiser of the same step was first
            self._counted = True
            mine = self._none() if self._sums is None else self._sums
            sums, samples = self.context.processes.sum(mine).chunk(2)
            losses = sums / samples  # NaN without a sample
            if self.context.heads.kind == "shared":  # of the same logits, and known to the bit
                losses = torch.cat([-step.scores.to(losses.dtype), losses[-1:]])
            counts = step.finite & torch.isfinite(losses[-1]) & (samples > 0)
            row = torch.cat([torch.where(counts, losses, 0.0), counts.to(losses.dtype)])
            self._train = row if self._train is None else self._train.to(row) + row
        return {}

    def end_epoch(self) -> None:
        """Take the losses of an epoch that has ended, and the weights of a super-epoch that has."""
        if self._train is None:
            return
        losses = means(self._train)
        self._train = None
        self.epochs.trained(None if all(map(math.isnan, losses)) else losses)

    def begin_validation(self) -> None:
        """Begin to measure a validation."""
        self._validation = None

    def validate(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> None:
        """Add up the losses of a batch."""
        row = self._row(self.context.heads.logits(forward), forward)
        self._validation = row if self._validation is None else self._validation + row

    def end_validation(self) -> None:
        """Keep the losses of the validation, over all processes."""
        mine = self._none() if self._validation is None else self._validation
        total = self.context.processes.sum(mine)
        self._validation = None
        if total[-1] == 0:
            raise ValueError(
                f"`head={self.context.head_path!r}` was not called in validation_step, whose "
                "losses GBlending measures, or there was no batch. Predict with the head there."
            )
        for modality, count in zip(self._names, total[len(self._names) :].tolist(), strict=True):
            if count == 0:
                self.context.tracker.warn_once(
                    f"validation of {modality}",
                    f"no sample of a validation has {modality}, whose loss is then not known: the "
                    "weights of all losses stay as they are until one has.",
                )
        self.epochs.validated(means(total))

    def describe_period(self, entry: Entry) -> None:
        """Add the weight that applied last, what it was made of, and the losses known by now."""
        rows = {
            "weight": self._applied,
            "train_loss": self.epochs.train,
            "val_loss": self.epochs.val,
            **self._estimate,
        }
        for quantity, row in rows.items():
            values = row or [math.nan] * len(self._names)
            entry[quantity] = {
                m: None if math.isnan(value) else value
                for m, value in zip(self._names, values, strict=True)
            }

    def _row(self, unimodal: Mapping[str, Tensor], forward: Forward) -> Tensor:
        """Of each loss its sum, then of each how many samples count, shape ``(2 K,)``."""
        sums = {**sums_of(self._modalities, unimodal, forward), **sum_of_joint(forward)}
        row = torch.stack([torch.stack(pair) for pair in sums.values()]).detach().T.flatten()
        return row.to(sum_dtype(row.device))

    def _none(self) -> Tensor:
        """A row without samples."""
        device = self.context.device
        return torch.zeros(2 * len(self._names), dtype=sum_dtype(device), device=device)

    def _unimodal_sums(self, heads: Heads, forward: Forward) -> Sums:
        return sums_of(self._modalities, heads.logits(forward), forward)

    def _joint_sums(self, heads: Heads, forward: Forward) -> Sums:
        return sum_of_joint(forward)

    def _all_sums(self, heads: Heads, forward: Forward) -> Sums:
        return {**self._unimodal_sums(heads, forward), **sum_of_joint(forward)}
