"""G-Blending: losses weighted by how they generalise and overfit (CVPR 2020, arXiv 1905.12681)."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor

from inforeg_lightning.callbacks.base import forward_context, sum_over_processes
from inforeg_lightning.callbacks.head import HeadCall
from inforeg_lightning.callbacks.history import Entry
from inforeg_lightning.callbacks.method import WindowArgument
from inforeg_lightning.callbacks.scoring import check_classes, sum_dtype
from inforeg_lightning.callbacks.tracker import Step
from inforeg_lightning.callbacks.unimodal import Target, find_target
from inforeg_lightning.callbacks.unimodal_loss import UnimodalLossCallback
from inforeg_lightning.core.blending import SuperEpochs, weights_within
from inforeg_lightning.core.graph import attach_loss, redirect
from inforeg_lightning.core.scores import at_least_float32

_FUSED = "fused"
_RECORDED = ("weight", "train_loss", "val_loss")


class GBlendingCallback(UnimodalLossCallback):
    r"""Weight joint and unimodal losses by how they generalise (Wang, Tran & Feiszli, CVPR 2020).

    .. math:: L = w_f L_f + \sum_m w_m L_m, \qquad w_k \propto \frac{G_k}{O_k^2}, \quad
        \sum_k w_k = 1

    with :math:`L_m` the cross-entropy of the unimodal logits of m. Over a super-epoch of n epochs,
    :math:`G_k = L^{val}_k(N) - L^{val}_k(N + n)` is the generalisation and :math:`O_k` by how much
    the gap :math:`L^{val}_k - L^{train}_k` has grown. Weights are equal until the first estimate; a
    :math:`G_k \le 0` gives weight 0, where other code takes its absolute value and so rewards what
    has become worse, and if none is positive the weights stay.

    **The main difference from the paper**: there, each modality is trained by itself from the
    current weights, to measure its losses; here, the losses are those of the joint run itself.
    There is no second training, and no extra pass but the head's unimodal logits, in training and
    in validation; no memory to speak of. The losses of training are means over the steps of the
    epoch that ends, those of validation over the samples of the first validation loader. The first
    super-epoch begins at the end of the first epoch with a validation. :math:`|O_k|` counts as
    1e-3 nats at least.

    :math:`L_f` in training is the module's own loss as far as it goes through the head's output,
    whose gradient is scaled; other terms of it stay. It is measured as cross-entropy of the output.
    A modality outside its window has no unimodal loss and the weights of the others are scaled to
    sum 1 (equal if all are 0); with none in its window the joint loss has weight 1, as it is.
    Losses are measured all the while. M > 2 is the same formula.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder; none is called ``fused``.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, in training and in validation, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
        super_epoch: Epochs between two estimates of the weights, at least; BalanceBenchmark's 10.
            An epoch without validation puts an estimate off.
        unimodal_losses_included: Whether the module's own loss has the unimodal losses already,
            each with weight 1 and apart from the head's output; what their weights lack or exceed
            is then added.
        K: Threshold of the windows that have one.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict a period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (mean log-probability of the
            true class), and by modality and for ``"fused"`` the ``weight`` that applied last, and
            ``train_loss`` and ``val_loss`` of the last epoch and validation that have ended,
            ``None`` before. Logged under ``gblending/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, there is no validation, the module's
            ``unimodal_losses`` is not what ``unimodal_losses_included`` says, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    _prefix = "gblending"

    _epochs: SuperEpochs
    _applied: list[float]
    _counted: bool
    _train: Tensor | None
    _records: list[list[list[float]]]
    _fused: Tensor | None

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        window: WindowArgument = "always",
        super_epoch: int = 10,
        unimodal_losses_included: bool = False,
        K: float = 0.04,
        period: int | str = "epoch",
        combine: bool = False,
    ) -> None:
        if type(super_epoch) is not int or super_epoch < 1:
            raise ValueError(f"`super_epoch` must be a number of epochs >= 1, not {super_epoch!r}")
        super().__init__(
            encoders, head, target, window, unimodal_losses_included, K, period, combine
        )
        if _FUSED in self.modalities:
            raise ValueError(
                f"`encoders` has a modality called {_FUSED!r}, which in `history` is what all give "
                "together. Choose another name."
            )
        self.super_epoch = super_epoch
        self._trainer: L.Trainer | None = None
        self._val_sums: Tensor | None = None
        self._val_target: Tensor | None = None
        self._begin()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that there is a validation to measure generalisation by."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and not trainer.enable_validation:
            raise ValueError(
                "GBlendingCallback weights losses by how they generalise, but there is no "
                "validation. Give the module a validation_step and the Trainer a validation loader "
                "and limit_val_batches > 0."
            )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End an epoch that was resumed after its last batch."""
        self._end_epoch()
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights of the losses that there are."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        inside = [self._tracker.in_window[m] for m in self.modalities]
        weights = self._epochs.weights
        kept = weights if any(inside) else [0.0] * len(weights)
        self._applied = weights_within(kept, [*inside, True])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Estimate the weights if a super-epoch ends."""
        self._end_epoch()
        super().on_train_epoch_end(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a validation."""
        self._val_sums = None

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Watch the forward pass of a batch."""
        if self._probe is not None and not trainer.sanity_checking and dataloader_idx == 0:
            self._val_target = find_target(batch, self.target)
            self._probe.start(editing=False)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add up the losses of the batch."""
        target, self._val_target = self._val_target, None
        if self._probe is None or target is None:
            return
        logits = self._probe.evaluate(
            forward_context(trainer),
            lambda call: call.unimodal() | {_FUSED: call.only(self.modalities)},
        )
        if logits is not None:
            losses = [_loss_and_count(m, logits[m], target)[0] for m in (*self.modalities, _FUSED)]
            count = _loss_and_count(_FUSED, logits[_FUSED], target)[1]
            sums = torch.stack([*losses, count]).to(sum_dtype(count.device))
            self._val_sums = sums if self._val_sums is None else self._val_sums + sums
        self._probe.stop()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the losses of the validation."""
        if self._probe is None or trainer.sanity_checking:
            return
        zeros = torch.zeros(len(self.modalities) + 2, device=pl_module.device)
        zeros = zeros.to(sum_dtype(zeros.device))
        mine = zeros if self._val_sums is None else self._val_sums
        *sums, count = sum_over_processes(trainer, mine).tolist()
        if count == 0:
            raise ValueError(
                f"`head={self.head!r}` was not called in validation_step, whose losses "
                "GBlendingCallback measures, or there was no batch. Predict with the head there."
            )
        self._epochs.validated([loss / count for loss in sums])
        self._val_sums = None

    def _edit_output(self, call: HeadCall, output: Tensor, target: Tensor) -> Tensor:
        fused = torch.stack(_loss_and_count(_FUSED, output.detach(), target))
        self._fused = fused if self._fused is None else self._fused + fused
        losses = self._unimodal_losses(call, target)
        if not losses:
            return output
        weights = dict(zip(self.modalities, self._applied, strict=False))
        already = 1.0 if self.unimodal_losses_included else 0.0
        added = torch.stack([(weights[m] - already) * loss for m, loss in losses.items()]).sum()
        weight = torch.full((), self._applied[-1], dtype=added.dtype, device=added.device)
        return attach_loss(redirect(output, [output], [weight]), added, self._loss_scale)

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        if not self._counted:  # else another optimiser of the same step was first
            assert self._trainer is not None
            self._counted = True
            mine = step.scores.new_zeros(2) if self._fused is None else self._fused
            loss, count = sum_over_processes(
                self._trainer, mine.to(sum_dtype(mine.device))
            ).unbind()
            row = torch.cat([-step.scores.to(loss.dtype), torch.stack([loss / count])])
            row = torch.cat([row, torch.ones_like(row[:1])])
            row = torch.where(step.finite & torch.isfinite(row).all(), row, 0.0)
            self._train = row if self._train is None else self._train.to(row) + row
        return {}

    def _end_epoch(self) -> None:
        """Take the losses of an epoch that has ended, and the weights of a super-epoch that has."""
        if self._train is None:
            return
        *sums, steps = self._train.tolist()
        self._train = None
        self._epochs.trained([loss / steps for loss in sums] if steps else None)

    def _end_period(self, trainer: L.Trainer) -> Entry:
        entry = super()._end_period(trainer)
        numbers = [self._applied, self._epochs.train, self._epochs.val]
        self._records.append([list(row) for row in numbers])
        self._record(entry, numbers)
        return entry

    def _record(self, entry: Entry, numbers: Sequence[Sequence[float]]) -> None:
        names = (*self.modalities, _FUSED)
        for quantity, row in zip(_RECORDED, numbers, strict=True):
            entry[quantity] = dict(zip(names, row, strict=True)) if row else dict.fromkeys(names)

    def _attach(self, trainer: L.Trainer) -> None:
        super()._attach(trainer)
        self._trainer = trainer

    def _detach(self) -> None:
        super()._detach()
        self._trainer = None

    def _forget_step(self) -> None:
        super()._forget_step()
        self._fused = None
        self._counted = False

    def _begin(self) -> None:
        self._epochs = SuperEpochs(len(self.modalities) + 1, self.super_epoch)
        self._applied = [*self._epochs.weights]
        self._train = None
        self._records = []

    def _reset(self) -> None:
        super()._reset()
        self._begin()

    def _method_state(self, inside: bool) -> dict[str, Any]:
        return {
            "epochs": self._epochs.state_dict(),
            "applied": [*self._applied],
            "train": None if self._train is None else self._train.cpu(),
            "records": [[[*row] for row in rows] for rows in self._records],
        }

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._epochs.load_state_dict(state["epochs"])
        self._applied, self._train = [*state["applied"]], state["train"]
        self._records = [[[*row] for row in rows] for rows in state["records"]]
        for entry, numbers in zip(self.history, self._records, strict=True):
            self._record(entry, numbers)


def _loss_and_count(modality: str, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the samples that have a class, and how many have one."""
    check_classes(modality, logits, target)
    loss = F.cross_entropy(at_least_float32(logits), target.long(), reduction="sum")
    return loss, (target != -100).sum().to(loss.dtype)
