"""The hooks that all methods share: periods and their window, the edit of a step, the state."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from inforeg_lightning.callbacks.base import UnimodalCallback
from inforeg_lightning.callbacks.history import Entry, flatten
from inforeg_lightning.callbacks.tracker import Step, Tracker
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.core.window import PaperWindow, RangeWindow, Window, make_window

_STATE_VERSION = 1

WindowArgument = str | tuple[int, int | None] | Window
"""What a user may write for ``window``; see :func:`~inforeg_lightning.core.window.make_window`."""


class MethodCallback(UnimodalCallback):
    """Base of the methods: a window says when a method acts, and a history what it did.

    A method overrides :meth:`_edit` if it edits gradients before the optimiser steps, or sets
    ``_edits_head`` and overrides ``_edit_output`` if it edits what the head passes back; what it
    keeps between steps goes through :meth:`_method_state`.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder in the LightningModule; two
            or more modalities without common parameters.
        head: Attribute path of the fusion head; ``None`` if ``training_step`` calls
            :func:`~inforeg_lightning.report_unimodal`.
        target: Where the class indices stand in the batch: a key, an index, an attribute or a
            callable; ``None`` for the key ``"label"`` of a mapping or the last element of a
            sequence.
        window: When the method acts: ``"always"``, ``"never"`` (only measures), a range
            ``(start, stop)`` of periods, ``"paper"``, ``"outside"``, ``"adaptive"``,
            ``"official"``, or a callable as in :mod:`inforeg_lightning.core.window`.
        score: ``"log_prob"``, ``"prob"`` or a callable ``(logits, target) -> per-sample score``.
        K: Threshold of the windows that have one, in [0, 1).
        period: ``"epoch"`` or a number of optimiser steps: what windows and ``history`` count in.
        combine: Allow another method on the same Trainer. Both must allow it; each then edits what
            the one before it in the Trainer's list left.

    Raises:
        ValueError: An argument is out of range, or the method needs ``head``.
        TypeError: An argument is of another kind than described.
    """

    _prefix: ClassVar[str]
    """Under which the history is logged."""
    _quantities: ClassVar[tuple[str, ...]] = ()
    """What :meth:`_edit` returns, by modality, besides ``trace`` and ``score``."""
    _loss_scale: float | Tensor
    """What the Trainer multiplies the loss of this batch by before its backward pass."""

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None,
        target: Target,
        window: WindowArgument,
        score: str | ScoreFunction,
        K: float,
        period: int | str,
        combine: bool,
    ) -> None:
        super().__init__(encoders, head, target, score)
        if period != "epoch" and not (type(period) is int and period > 0):
            raise ValueError(
                f"`period` must be 'epoch' or a positive number of optimiser steps, not {period!r}"
            )
        PaperWindow(K)  # K is checked whatever the window
        self.period = period
        self.combine = combine
        self._tracker = Tracker(
            self.modalities,
            make_window(window, modalities=self.modalities, K=K),
            self._quantities,
            sums=(),
            name=type(self).__name__,
        )
        self._epoch_is_trained = False

    @property
    def history(self) -> list[dict[str, Any]]:
        """One plain dict a period that has ended; see the class."""
        return self._tracker.history

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Resolve and check the paths; start afresh unless the Trainer goes on."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._check_alone(trainer)
            if trainer.global_step == 0:
                self._reset()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hooks and let go of the module."""
        super().teardown(trainer, pl_module, stage)
        if stage == "fit":
            self._detach()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the encoders, now on their device, and go on where a checkpoint stopped."""
        self._attach(trainer)
        if trainer.global_step > 0 and not self.history and self._tracker.period is None:
            rank_zero_warn(
                f"{type(self).__name__} found no state of its own in the checkpoint. Training goes "
                f"on from step {trainer.global_step}, and the callback counts its periods from "
                "here."
            )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the period of an epoch that was resumed after its last batch."""
        if self.period == "epoch" and self._tracker.period is not None:
            self._log_directly(trainer, self._end_period(trainer))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin a period at its first batch: ask the window which modalities to act on."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._tracker.period is None:
            self._tracker.begin(trainer.current_epoch)
        if self._edits_head:
            self._loss_scale = loss_scale(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure the gradients of the step, then edit those of the encoders in their window."""
        scored = self._step_scores(trainer)
        if scored is not None:  # else this step is of other losses, or of none
            self._tracker.step(optimizer, *scored, trainer.global_step, self._edit)
        self._stepped = True

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Fold the step into the period's sums; end a period of steps."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._tracker.fold()
        self._epoch_is_trained = trainer.is_last_batch
        steps = 0 if self._tracker.period is None else self._tracker.period.steps
        if isinstance(self.period, int) and steps >= self.period:
            self._log_directly(trainer, self._end_period(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the epoch's period: trace, relative change, history."""
        if self.period == "epoch" and self._tracker.period is not None:
            entry = self._end_period(trainer)
            pl_module.log_dict(flatten(entry, self._prefix), sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """History, open period and what the method keeps."""
        inside = not (self.period == "epoch" and self._epoch_is_trained)
        return self._identity() | {
            "tracker": self._tracker.state_dict(),
            "method": self._method_state(inside),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; nothing when validating, testing or predicting.

        Raises:
            ValueError: The checkpoint is of another version, variant or score, or of other
                modalities or periods.
        """
        if not self._fitting:  # testing a checkpoint must not take the history back to it
            return
        for name, value in self._identity().items():
            if state_dict.get(name) != value:
                raise ValueError(
                    f"the checkpoint's {type(self).__name__} has {name} {state_dict.get(name)!r}, "
                    f"this one has {value!r}. Resume with the same callback, or start without "
                    "ckpt_path."
                )
        self._tracker.load_state_dict(state_dict["tracker"])
        self._load_method_state(state_dict["method"])

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        """Edit the gradients of a step in place; return ``_quantities``."""
        return {}

    def _method_state(self, inside: bool) -> dict[str, Any]:
        """What the method keeps between steps, in plain types and tensors.

        Args:
            inside: Whether a period goes on after this, and not only on paper.
        """
        return {}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`_method_state` gave, before the encoders are known."""

    def _attach(self, trainer: L.Trainer) -> None:
        """Take the modules, on the device they train on."""
        self._tracker.attach(self._modules)

    def _detach(self) -> None:
        """Let go of the modules."""
        self._tracker.detach()

    def _reset(self) -> None:
        """Start afresh: no history, nothing kept."""
        self._tracker.reset()

    def _end_period(self, trainer: L.Trainer) -> Entry:
        return self._tracker.end(trainer.global_step)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree in, for its traces and scores to be comparable."""
        return {
            "version": _STATE_VERSION,
            "modalities": [*self.modalities],
            "period": self.period,
            "score": self.score if isinstance(self.score, str) else "callable",
        }

    def _log_directly(self, trainer: L.Trainer, entry: Entry) -> None:
        # `self.log` would drop what does not fall on a multiple of `log_every_n_steps`.
        for logger in trainer.loggers:
            logger.log_metrics(flatten(entry, self._prefix), step=trainer.global_step)

    @property
    def _only_measures(self) -> bool:
        window = self._tracker.window
        return isinstance(window, RangeWindow) and window.start == window.stop

    def _check_alone(self, trainer: L.Trainer) -> None:
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for other in callbacks:
            if (
                other is not self
                and isinstance(other, MethodCallback)
                and not (self._only_measures or other._only_measures)
                and not (self.combine and other.combine)
            ):
                raise ValueError(
                    f"`Trainer(callbacks=...)` has {type(self).__name__} and "
                    f"{type(other).__name__}, which would both edit the gradients of the encoders. "
                    "Leave one out, give one window='never' to measure only, or give both "
                    "combine=True to have each edit what the one before it left."
                )


def loss_scale(trainer: L.Trainer, module: L.LightningModule) -> float | Tensor:
    """What the Trainer multiplies a loss by before its backward pass.

    One over ``accumulate_grad_batches``, unless the module optimises by hand, times the scale of
    fp16, shape ``()``, without reading it.
    """
    scale = 1 / trainer.accumulate_grad_batches if module.automatic_optimization else 1.0
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return scale
    scaled: Tensor = scaler.scale(torch.full((), scale, device=module.device))
    return scaled
