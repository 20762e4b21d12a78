"""The hooks that every callback has: each forwards to the engine, and that to the method."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.callbacks._copies import TrainerCopies
from inforeg_lightning.callbacks._framework import (
    Callback,
    LightningModule,
    Trainer,
    TrainerProcesses,
    check_strategy,
    forward_context,
    makes_itself,
    planned,
    rank_zero_info,
    scaler_of,
    scales_of,
    will_unfreeze,
)
from inforeg_lightning.callbacks._mailbox import Mailbox
from inforeg_lightning.callbacks._unimodal_heads import add_unimodal_heads
from inforeg_lightning.engine.book.history import Entry, flatten
from inforeg_lightning.engine.checks import NotThere, check_optimizers, shown
from inforeg_lightning.engine.engine import Engine
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.probe.target import Present, Target, find_present, find_target
from inforeg_lightning.engine.summary import (
    describe_end,
    describe_start,
    history_frame,
    plot_history,
    warn_of_idle_window,
)


class MethodCallback(Callback):
    """Base of the callbacks: an engine runs a method, and the Trainer's hooks call the engine.

    Args:
        method: What is measured and done.
        encoders: Modality -> attribute path, or several, of its encoder in the LightningModule.
        head: Attribute path of the fusion head; ``None`` if ``training_step`` calls
            :func:`~inforeg_lightning.report_unimodal`.
        target: Where the target stands in the batch.
        present: Where it stands which samples have which modality.
        ignore_index: The target that counts nowhere.
        period: ``"epoch"`` or a number of optimiser steps.
        combine: Whether another method may act on the same Trainer.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        method: Method,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None,
        *,
        target: Target,
        present: Present,
        ignore_index: float,
        period: int | str,
        combine: bool,
    ) -> None:
        for argument, value in (("target", target), ("present", present)):
            is_a_place = value is None or callable(value) or isinstance(value, str)
            if not (is_a_place or hasattr(value, "__index__")):
                raise TypeError(
                    f"`{argument}` must be a key, an index or a callable, but is {shown(value)}"
                )
        self.engine = Engine(method, encoders, head, ignore_index, period, type(self).__name__)
        self.encoders = self.engine.paths
        self.head = head
        self.target = target
        self.present = present
        self.ignore_index = ignore_index
        self.period = self.engine.period
        self.combine = combine
        self._fitting = True
        self._epoch_is_trained = False
        self._announced = False
        self._epoch_begins = False
        self._mailbox = Mailbox()

    @property
    def method(self) -> Method:
        """What is measured and done."""
        return self.engine.method

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of ``encoders``."""
        return self.engine.modalities

    @property
    def unimodal_heads(self) -> dict[str, nn.Module]:
        """Modality -> its unimodal head, once there are any; empty for ``"shared"``.

        They are no part of the module's weights, nor of its checkpoints' ``state_dict``.
        """
        return dict(self.engine.heads.modules)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One plain dict per period that has ended; see the class."""
        found = self._mailbox.collect()
        if found is not None:
            self.engine.tracker.history = found
        return self.engine.tracker.history

    def plot(self, quantity: str = "trace") -> Any:
        """The figure of the README: a quantity per modality and period, windows shaded.

        Args:
            quantity: Of the history.

        Returns:
            A ``matplotlib.figure.Figure``.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: The history is empty, or has no such quantity.
        """
        return plot_history(self.history, self.modalities, quantity)

    def frame(self) -> Any:
        """The history as a tidy ``pandas.DataFrame``: a row per period and modality.

        Raises:
            ImportError: pandas is not installed.
        """
        return history_frame(self.history)

    def __repr__(self) -> str:
        """The method and the paths."""
        paths = {m: p[0] if len(p) == 1 else [*p] for m, p in self.engine.paths.items()}
        inside = ", ".join(f"{name}={value!r}" for name, value in self.method.settings.items())
        head = self.engine.head_path
        return f"{type(self).__name__}({paths}, head={head!r}, {inside})"

    # Before training

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the Trainer; begin afresh unless it goes on."""
        self._fitting = stage == "fit"
        if not self._fitting:
            return
        check_strategy(trainer)
        self._check_alone(trainer)
        if self.method.needs_validation and not trainer.enable_validation:
            raise ValueError(
                f"{type(self).__name__} goes by what it sees in validation, but there is no "
                "validation. Give the module a validation_step and the Trainer a validation loader "
                "and limit_val_batches > 0."
            )
        if trainer.global_step == 0:
            self.engine.reset()
        add_unimodal_heads(self, self.engine, trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the modules: those of ``setup`` and ``configure_model`` exist by now."""
        check_optimizers(trainer.optimizers, scaler_of(trainer) is not None)
        self.method.check(pl_module, trainer.optimizers)
        if self.engine.adds_heads:
            self.engine.train_heads(pl_module, trainer.optimizers)
        self._find(trainer, pl_module, may_wait=makes_itself(pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the encoders, now on their device, and go on where a checkpoint stopped."""
        self._find(trainer, pl_module, may_wait=makes_itself(pl_module))
        if self.engine.modules:
            self._attach(trainer)
        if self.method.needs_trials:
            TrainerCopies.check(trainer, pl_module)
        tracker = self.engine.tracker
        self._announced = False
        if trainer.global_step > 0 and not tracker.history and tracker.sums is None:
            tracker.warn_once(
                "checkpoint",
                "found no state of its own in the checkpoint. Training goes on from step "
                f"{trainer.global_step}, and the callback counts its periods from here.",
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End an epoch that was resumed after its last batch; look for modules that changed."""
        self.method.end_epoch()
        if self.engine.period == "epoch" and self.engine.tracker.sums is not None:
            self._log_directly(trainer, self.engine.end_period(trainer.global_step))
        self._look_again(trainer, pl_module)
        self._epoch_begins = True
        epoch = trainer.current_epoch
        if self.engine.is_attached and not self.engine.only_measures and self.method.is_due(epoch):
            copies = TrainerCopies(trainer, pl_module, self.target, self.present, self.modalities)
            self.engine.measure(copies, epoch)

    # A batch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the target of the batch and watch its forward pass."""
        engine = self.engine
        if self._epoch_begins:  # the module's own hook of the epoch's start comes after ours
            self._epoch_begins = False
            self._look_again(trainer, pl_module)
        target = None if engine.probe is None else find_target(batch, self.target)
        present = find_present(batch, self.present, self.modalities)
        engine.begin_batch(target, present, scales_of(trainer, pl_module), trainer.current_epoch)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Add the scores of this (micro-)batch to those of the step."""
        self.engine.before_backward(loss)
        self._announce(trainer)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure the gradients of the step, then edit those of the encoders in their window."""
        if self.engine.has_unseen_loss(optimizer):
            raise ValueError(
                f"{type(self).__name__} saw no loss before {type(optimizer).__name__} steps the "
                "encoders. With manual optimisation, call `self.manual_backward(loss)` instead of "
                "`loss.backward()`: it calls the hooks of callbacks."
            )
        self.engine.before_step(optimizer, trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take in the step; end a period of steps."""
        self._announce(trainer)
        is_full = self.engine.end_batch()
        self._epoch_is_trained = trainer.is_last_batch
        if is_full:
            self._log_directly(trainer, self.engine.end_period(trainer.global_step))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the epoch's period: trace, relative change, history."""
        self.method.end_epoch()
        if self.engine.period == "epoch" and self.engine.tracker.sums is not None:
            entry = self.engine.end_period(trainer.global_step)
            pl_module.log_dict(flatten(entry, self.method.name), sync_dist=True)

    # Validation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to score a validation."""
        if self._scores_validation(trainer):
            self.engine.validation.begin()

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Watch the forward pass of a batch of the first loader."""
        validation = self.engine.validation
        if not validation.is_open or self.engine.probe is None or dataloader_idx > 0:
            return
        try:
            target = find_target(batch, self.target)
            present = find_present(batch, self.present, self.modalities)
        except ValueError as error:
            if self.method.needs_validation:
                raise
            self.engine.tracker.warn_once("validation", f"validation is not scored: {error}")
            return
        validation.begin_batch(self.engine.probe, target, present)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add up the scores of the batch."""
        if self.engine.validation.is_open:
            self.engine.validation.end_batch()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log ``val/<method>/score/<modality>``."""
        if self.engine.validation.is_open:
            scores = self.engine.validation.end(self.engine.processes)
            found = {f"val/{self.method.name}/score/{m}": s for m, s in scores.items()}
            if found:
                pl_module.log_dict(found, sync_dist=True)

    # After training

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what was done, and send the history to the process that called ``fit``."""
        rank_zero_info(describe_end(self.engine))
        if trainer.is_global_zero:
            self._mailbox.send(self.engine.tracker.history)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the hooks and let go of the module."""
        if stage == "fit":
            self.engine.close()
        self._fitting = True

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove the hooks: a training that fails is not torn down."""
        self.engine.close()

    # State

    def state_dict(self) -> dict[str, Any]:
        """History, open period and what the method keeps."""
        _ = self.history  # takes in what other processes have trained
        return self.engine.state_dict(
            inside=not (self.engine.period == "epoch" and self._epoch_is_trained)
        )

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint of another method, whose optimisers have not our unimodal heads."""
        if self._fitting and self.state_key not in checkpoint.get("callbacks", {}):
            self.engine.heads.check_state({}, self.engine.adds_heads)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; nothing when validating, testing or predicting.

        Raises:
            ValueError: The checkpoint is of another version, variant or score, or of other
                modalities or periods.
        """
        if self._fitting:  # testing a checkpoint must not take the history back to it
            self.engine.load_state_dict(state_dict)

    # Inside

    def _look_again(self, trainer: Trainer, module: LightningModule) -> None:
        if self._find(trainer, module) or not self.engine.is_attached:
            if self.engine.is_attached and self.engine.tracker.sums is not None:
                # Anchors and sums are of the modules before.
                self._log_directly(trainer, self.engine.end_period(trainer.global_step))
            self._attach(trainer)

    def _attach(self, trainer: Trainer) -> None:
        self.engine.attach(TrainerProcesses(trainer), trainer.optimizers, trainer)

    def _announce(self, trainer: Trainer) -> None:
        if self._announced:
            return
        self._announced = True
        for line in describe_start(self.engine):
            rank_zero_info(line)
        if trainer.is_global_zero:
            warn_of_idle_window(self.engine, *planned(trainer))

    def _find(self, trainer: Trainer, module: LightningModule, may_wait: bool = False) -> bool:
        try:
            changed = self.engine.find(module, will_unfreeze(trainer))
        except NotThere:
            if may_wait:
                return False
            raise
        if self.engine.probe is not None:
            self.engine.probe.context = forward_context(trainer)
        return changed

    def _scores_validation(self, trainer: Trainer) -> bool:
        is_inside_fit = self.engine.is_attached and not trainer.sanity_checking
        return is_inside_fit and (self.method.needs_scores or self.engine.probe is not None)

    def _log_directly(self, trainer: Trainer, entry: Entry) -> None:
        # `self.log` would drop what does not fall on a multiple of `log_every_n_steps`.
        for logger in trainer.loggers:
            logger.log_metrics(flatten(entry, self.method.name), step=trainer.global_step)

    def _check_alone(self, trainer: Trainer) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for other in callbacks:
            if (
                other is not self
                and isinstance(other, MethodCallback)
                and not (self.engine.only_measures or other.engine.only_measures)
                and not (self.combine and other.combine)
            ):
                raise ValueError(
                    f"`Trainer(callbacks=...)` has {type(self).__name__} and "
                    f"{type(other).__name__}, which would both edit the gradients of the encoders. "
                    "Leave one out, give one window='never' to measure only, or give both "
                    "combine=True to have each edit what the one before it left."
                )
