"""ModalityMonitor: what one training run lets one suspect, without changing it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from inforeg_lightning.callbacks._framework import (
    LightningModule,
    Trainer,
    planned,
    rank_zero_info,
)
from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.diagnosis.cadence import BATCHES, Cadence, Clock, on_clock, plan
from inforeg_lightning.diagnosis.suspicions import (
    Suspicions,
    SuspicionThresholds,
    draw,
    suspect,
)
from inforeg_lightning.engine.probe.target import Present, Target, find_target
from inforeg_lightning.methods.monitor import Monitor

_TIMED = (
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_validation_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
)
"""Hooks whose time counts as the monitor's; its work in the head's calls does too."""


@on_clock(*_TIMED)
class ModalityMonitor(MethodCallback):
    """Watch one training, and say after it which modality may suffer from what.

    The weights are those of a training without it, to the bit: nothing is edited, and no random
    number is drawn but from a generator of its own. A few batches at the end of a few epochs are
    looked at, and some samples of the validation that follows. What is said afterwards are
    *suspicions*: one run cannot know what a modality would reach alone, which
    :func:`~inforeg_lightning.diagnosis.diagnose` measures by training it.

    Per modality and measured epoch ``history`` holds, and the logger gets as
    ``monitor/<quantity>/<modality>``:

    - ``share``: ``E‖softmax(fused) − y‖ / E‖softmax(unimodal) − y‖`` on training batches, from 0 to
      1: what part of the learning signal that the modality would get alone reaches it. It falls in
      every training, often below 0.1 in health too, so that it only tells who goes without where
      a probe beats the fused model.
    - ``agreement``: the cosine of its unimodal gradients over disjoint training batches, from -1
      to 1. Early in a training about 0: there is nothing in it to be learnt, as of noise; 0.3 to
      0.5: weak but real. Late it rises for noise too, which is memorised: no rule reads it.
    - ``probe``: the accuracy of a linear probe of its encoder, on validation samples, each left out
      of the fit of the probe that it tests. Beside it stand ``largest_class``, which knowing
      nothing would reach, and ``fused``, the accuracy of the model on the same samples.
    - ``drop``: the accuracy that the fused model loses there when the modality is permuted over
      samples; 0 means that the model does not use it. Of two that say the same, either may be 0.
    - ``trace``, ``change`` and ``score``: as of every method, of the watched steps.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head.
        target: Where the class stands in the batch.
        every: Measure at the end of each such number of epochs, and of the last, whatever it takes;
            by default as often as ``budget`` allows, up to six times.
        batches: Batches of a measured epoch that are watched; by default what ``budget`` allows.
        budget: The part of the training's time that watching may take by default. It times itself,
            and drops epochs that it planned to measure but cannot afford; which these are depends
            on the machine. The last epoch is measured in any case, by two batches at least, which
            is more where there are few steps. On a GPU it sees the time that the host spends.
        samples: Samples of a validation that are looked at, on each process.
        present: Where the batch says which samples have which modality.
        ignore_index: The target that counts nowhere.
        thresholds: Of the rules.

    Attributes:
        history: One plain dict per measured epoch.
        clock: ``clock.spent`` is the wall time that it has taken so far, in seconds.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        every: int | None = None,
        batches: int | None = None,
        budget: float = 0.02,
        samples: int = 384,
        present: Present = None,
        ignore_index: float = -100,
        thresholds: SuspicionThresholds | None = None,
    ) -> None:
        for argument, value, least in (("every", every, 1), ("batches", batches, 2)):
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and (not is_whole or value < least):
                raise ValueError(
                    f"`{argument}` must be an integer >= {least} or None, but is {value!r}"
                )
        if not 0 < budget <= 1:
            raise ValueError(
                f"`budget` must be a share of the training time, > 0 and <= 1, but is {budget!r}"
            )
        super().__init__(
            Monitor(BATCHES if batches is None else batches, samples),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period="epoch",
            combine=True,
        )
        self.every, self.batches, self.budget = every, batches, budget
        self.thresholds = thresholds or SuspicionThresholds()
        self._due: frozenset[int] | None = frozenset()
        self._steps = BATCHES
        self._watches = False
        self._stride = 0
        self._decided: tuple[int, bool] = (-1, False)
        self.clock = self.method.clock = Clock()  # type: ignore[attr-defined]
        self._cadence = Cadence(budget, self.clock, 0)
        self._first = self._first_step = 0
        self._planned = BATCHES

    @property
    def verdict(self) -> Suspicions:
        """What is suspected of the model and of each modality, from what was measured so far."""
        return suspect(self.history, self.modalities, self.thresholds)

    def plot(self, quantity: str | None = None) -> Any:
        """The picture of the suspicions, or of one quantity over the measured epochs.

        Args:
            quantity: Of the history; ``None`` for the picture of all.

        Returns:
            A ``matplotlib.figure.Figure``.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: The history is empty, or has no such quantity.
        """
        if quantity is not None:
            return super().plot(quantity)
        return draw(self.history, self.verdict)

    # What is watched

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin; say it if there is no validation."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and not trainer.enable_validation:
            self.engine.tracker.warn_once(
                "validation",
                "there is no validation, so that neither probes nor drops are measured and nothing "
                "can be told. Give the module a validation_step and the Trainer a validation "
                "loader.",
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan which epochs are measured."""
        super().on_train_start(trainer, pl_module)
        epochs = planned(trainer)[0] + trainer.current_epoch
        steps = math.inf
        if math.isfinite(trainer.num_training_batches):
            steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        measured, batches = plan(epochs, steps, self.budget, self.every, self.batches)
        each = trainer.check_val_every_n_epoch or 1
        if measured is not None and each > 1:  # at the end of epochs that validate
            last = int(epochs) // each * each
            measured = frozenset(min(-(-(e + 1) // each) * each, last) - 1 for e in measured)
        self._due, self._planned = measured, batches
        self._watch(trainer, batches)
        self._first_step = trainer.global_step
        self._first, self._decided = trainer.current_epoch, (-1, False)
        self._cadence = Cadence(self.budget, self.clock, epochs - self._first)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Watch the last steps of an epoch that is measured."""
        self._watches = self._is_watched(trainer, batch_idx)
        if self._watches:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """Take in a watched batch."""
        if self._watches:
            super().on_before_backward(trainer, pl_module, loss)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """Measure a watched step."""
        if self._watches:
            super().on_before_optimizer_step(trainer, pl_module, optimizer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Let go of a watched batch."""
        if self._watches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._epoch_is_trained = trainer.is_last_batch
        self._watches = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the epoch, and what it took."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._decided == (trainer.current_epoch, True):
            self._cadence.end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the validation of an epoch that is measured."""
        self._stride = 0
        if self.engine.tracker.sums is not None:
            super().on_validation_start(trainer, pl_module)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Watch so many batches, spread over the loader, as have the samples."""
        if not self.engine.validation.is_open or dataloader_idx > 0:
            return
        if not self._stride:
            self._stride = self._stride_of(trainer, batch)
        if batch_idx % self._stride == 0:
            super().on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is suspected."""
        super().on_fit_end(trainer, pl_module)
        rank_zero_info(str(self.verdict))

    # Inside

    def _is_watched(self, trainer: Trainer, batch_idx: int) -> bool:
        epoch, each = trainer.current_epoch, trainer.accumulate_grad_batches
        # Without a known end: after 1, 2, 4, 8, ... epochs.
        is_due = epoch in self._due if self._due is not None else (epoch + 1) & epoch == 0
        if not is_due:
            return False
        if not self._is_late(trainer, batch_idx // each) or not self._affords(trainer, batch_idx):
            return False
        return self._is_late(trainer, batch_idx // each)  # it may have decided on fewer batches

    def _is_late(self, trainer: Trainer, step: int) -> bool:
        if not math.isfinite(trainer.num_training_batches):
            return step < self._steps
        steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        return step >= steps - self._steps

    def _affords(self, trainer: Trainer, batch_idx: int) -> bool:
        """Whether there is time for an epoch that is due; decided once, by all processes alike."""
        epoch = trainer.current_epoch
        if self._decided[0] != epoch:
            # `every` is what the user wants, and a verdict needs the last epoch.
            is_asked = self.every is not None or (self._due is not None and epoch == max(self._due))
            trained = epoch - self._first
            answer, batches = is_asked or self._cadence.affords(trained), self._planned
            if self.every is None and self.batches is None:
                part = batch_idx / trainer.num_training_batches
                steps = trainer.global_step - self._first_step
                batches = self._cadence.batches(batches, trained + part, steps)
            answer, batches = trainer.strategy.broadcast((answer, batches))
            self._decided = (epoch, answer)
            self._watch(trainer, batches)
            self._cadence.begin()
        return self._decided[1]

    def _watch(self, trainer: Trainer, batches: int) -> None:
        self.method.batches = batches  # type: ignore[attr-defined]
        self._steps = math.ceil(batches / trainer.accumulate_grad_batches)

    def _stride_of(self, trainer: Trainer, batch: Any) -> int:
        try:
            size = max(len(find_target(batch, self.target)), 1)
        except (ValueError, TypeError):
            return 1  # said in words where the batch is looked at
        batches = trainer.num_val_batches[0] if trainer.num_val_batches else math.inf
        wanted = math.ceil(self.method.samples / size)  # type: ignore[attr-defined]
        return max(int(batches) // wanted, 1) if math.isfinite(batches) else 1
