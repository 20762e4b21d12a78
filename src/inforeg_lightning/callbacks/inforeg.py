"""InfoReg: adaptive unimodal regulation (CVPR 2025, arXiv 2503.18595)."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from inforeg_lightning.callbacks.base import UnimodalCallback
from inforeg_lightning.callbacks.history import Entry, flatten
from inforeg_lightning.callbacks.regulator import Regulator
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.core.strength import gaps, official_strength, strength
from inforeg_lightning.core.window import OfficialWindow, PaperWindow, Window, make_window

_STATE_VERSION = 1


class InfoRegCallback(UnimodalCallback):
    r"""Hold the stronger modalities back while the prime learning window is open.

    While a modality m is in its window, each step adds to the gradient of its encoder

    .. math:: \alpha_m (w_m - w_m^{t-1}), \qquad \alpha_m = \exp(\beta \tanh \Delta_m),

    the gradient of the penalty :math:`P_m = \frac{\alpha_m}{2} \lVert w_m - w_m^{t-1} \rVert^2`
    (Eq. 12 and 16) towards the weights with which the period began. :math:`\Delta_m` is by how much
    the score of m leads those of the weaker modalities (Eq. 8 to 10); the weakest is never touched.
    The window is found from the change of the trace of the Fisher information (Eq. 5 to 7 and 11).

    There is no extra backward pass, and the loss is as it was. Gradients are edited after
    accumulation, averaging over processes and unscaling, and before clipping.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder in the LightningModule; two
            or more modalities without common parameters.
        head: Attribute path of the fusion head. A linear head over concatenated features is split
            exactly; any other is run with the other modalities' features set to zero, in evaluation
            mode; its first call in a ``training_step`` counts. ``None`` if ``training_step`` calls
            :func:`~inforeg_lightning.report_unimodal`.
        target: Where the class indices stand in the batch: a key, an index, an attribute or a
            callable; ``None`` for the key ``"label"`` of a mapping or the last element of a
            sequence. Targets of -100 (``ignore_index``) are left out of the score.
        beta: How steeply the strength grows with the gap (Eq. 16), 0 to 80; the paper's best is
            0.9.
        K: The window opens where the trace rises by more than this fraction (Eq. 11), in [0, 1);
            the paper's best is 0.04.
        window: ``"paper"`` (Eq. 11), ``"official"`` (the published code's), ``"adaptive"`` (open
            until the smoothed trace has fallen to a fifth of its peak; no ``K``; its two constants
            are those of :class:`~inforeg_lightning.core.window.AdaptiveWindow`), ``"always"``,
            ``"outside"`` (the complement of the paper's), ``"never"`` (only measures), a range
            ``(start, stop)`` of periods, or a callable as in :mod:`inforeg_lightning.core.window`.
        score: ``"log_prob"`` (Eq. 8; larger is stronger), ``"prob"``, or a callable
            ``(logits, target) -> per-sample score`` for other tasks.
        period: ``"epoch"`` as in the paper, or a number of optimiser steps: what anchors, traces,
            windows and ``history`` count in.

    Attributes:
        history: A list with one plain dict a period that has ended:

            * ``period``, ``epoch`` (Lightning's, in which it began), ``step`` (the global step at
              its end), ``steps`` (optimiser steps in it), ``skipped`` (of those, steps with a loss,
              score or gradient that was not finite, or without logits; they count nowhere else).
            * ``trace``: modality -> mean squared norm of the gradient before the regulation (of
              :meth:`official`, the published code's). If no step counts, that of the period
              before, or 0.0.
            * ``change``: modality -> ``(trace − previous) / trace``, ``None`` in the first period.
            * ``in_window``: modality -> whether it was in its window during this period.
            * ``score``, ``gap``, ``alpha``, ``penalty``: modality -> mean over the steps of s, Δ,
              the α applied (0 where none was) and P; ``None`` if no step counts.
            * ``pull``: modality -> ρ, the sum of α · lr / (1 − momentum) over the steps. ρ ≫ 1
              freezes an encoder near its anchor, ρ ≪ 1 does nothing. ``None`` for all optimisers
              but SGD.

            Each quantity by modality is logged as ``inforeg/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, a path does not exist, encoders share parameters or
            have none to train, the head's width does not match, or the target is not found; all
            before the first step.
        TypeError: An argument is of another kind than described.

    Example::

        encoders = {"audio": "audio_encoder", "video": "video_encoder"}
        trainer = L.Trainer(callbacks=[InfoRegCallback(encoders, head="head")])
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        beta: float = 0.9,
        K: float = 0.04,
        window: str | tuple[int, int | None] | Window = "paper",
        score: str | ScoreFunction = "log_prob",
        period: int | str = "epoch",  # int first: a parser tries the types in order
    ) -> None:
        super().__init__(encoders, head, target, score)
        if not 0 <= beta <= 80:
            raise ValueError(
                f"`beta` must be from 0 to 80 (the paper searched 0.1 to 1.0), but is {beta}"
            )
        if period != "epoch" and not (type(period) is int and period > 0):
            raise ValueError(
                f"`period` must be 'epoch' or a positive number of optimiser steps, not {period!r}"
            )
        PaperWindow(K)  # K is checked whatever the window
        self.period = period
        self._regulator = Regulator(
            self.modalities,
            make_window(window, modalities=self.modalities, K=K),
            partial(_strength_of, beta=beta),
            official=False,
        )
        self._epoch_is_trained = False

    @property
    def history(self) -> list[dict[str, Any]]:
        """One plain dict a period that has ended; see the class."""
        return self._regulator.history

    @classmethod
    def official(
        cls,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        strength: Sequence[float] = (0.95, 0.1),
        gate: str | None = None,
        K: float = 0.05,
    ) -> "InfoRegCallback":
        """The variant of the published code, which differs from the paper.

        The score is the sum over the batch of the true class's probability; the strength is
        ``strength_m · exp(tanh Δ)`` for the strongest modality only; the window is
        :class:`~inforeg_lightning.core.window.OfficialWindow`; the trace is the sum over Conv and
        Linear layers of the mean squared gradient of the weight, summed over the steps, *after*
        the regulation. The published code also trains with unimodal losses; those are the
        module's own (``LateFusionClassifier(unimodal_losses=True)``).

        Args:
            encoders: Modality -> attribute path or paths, as for the constructor.
            head: Attribute path of the head, or ``None``, as for the constructor.
            target: Key, index, attribute or callable, as for the constructor.
            strength: One factor a modality, 0 or more, in the order of ``encoders``.
            gate: The modality whose trace opens the window for all; default the first.
            K: Threshold of the change of the moving average, in [0, 1).

        Returns:
            The callback.

        Raises:
            ValueError: As for the constructor; or ``strength`` has not one factor a modality, or
                ``gate`` is none of the modalities.
        """
        callback = cls(encoders, head, target, K=K, window="official", score="prob")
        modalities = callback.modalities
        if len(strength) != len(modalities) or not all(_is_factor(s) for s in strength):
            raise ValueError(
                f"`strength` must hold one factor >= 0 for each of {[*modalities]}, but is "
                f"{tuple(strength)}"
            )
        if gate is not None and gate not in modalities:
            raise ValueError(f"`gate` must be one of {[*modalities]}, but is {gate!r}")
        callback._scores.by_mean = False
        callback._regulator = Regulator(
            modalities,
            OfficialWindow(modalities[0] if gate is None else gate, K),
            partial(official_strength, factors=tuple(strength)),
            official=True,
        )
        return callback

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Resolve and check the paths; start afresh unless the Trainer goes on."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and trainer.global_step == 0:
            self._regulator.reset()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hooks and let go of the module."""
        super().teardown(trainer, pl_module, stage)
        if stage == "fit":
            self._regulator.detach()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the encoders, now on their device, and go on where a checkpoint stopped."""
        regulator = self._regulator
        regulator.attach(self._modules)
        if trainer.global_step > 0 and not regulator.history and regulator.period is None:
            rank_zero_warn(
                "InfoRegCallback found no state of its own in the checkpoint. Training goes on "
                f"from step {trainer.global_step}, and the callback counts its periods from here."
            )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the period of an epoch that was resumed after its last batch."""
        if self.period == "epoch" and self._regulator.period is not None:
            _log_directly(trainer, self._regulator.end(trainer.global_step))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin a period at its first batch: ask the window which modalities are regulated."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._regulator.period is None:
            self._regulator.begin(trainer.current_epoch)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure the gradients of the step, then pull the encoders in their window."""
        scored = self._step_scores(trainer)
        if scored is not None:  # else this step is of other losses, or of none
            self._regulator.step(optimizer, *scored)
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
        regulator = self._regulator
        regulator.fold()
        self._epoch_is_trained = trainer.is_last_batch
        steps = 0 if regulator.period is None else regulator.period.steps
        if isinstance(self.period, int) and steps >= self.period:
            _log_directly(trainer, regulator.end(trainer.global_step))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the epoch's period: trace, relative change, history."""
        if self.period == "epoch" and self._regulator.period is not None:
            entry = self._regulator.end(trainer.global_step)
            pl_module.log_dict(flatten(entry), sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """History and open period; the anchors only inside a period."""
        at_the_end = self.period == "epoch" and self._epoch_is_trained
        return self._identity() | {
            "regulator": self._regulator.state_dict(with_anchors=not at_the_end),
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
                    f"the checkpoint's InfoRegCallback has {name} {state_dict.get(name)!r}, this "
                    f"one has {value!r}. Resume with the same callback, or start without ckpt_path."
                )
        self._regulator.load_state_dict(state_dict["regulator"])

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree in, for its traces and scores to be comparable."""
        return {
            "version": _STATE_VERSION,
            "variant": "official" if self._regulator.official else "paper",
            "modalities": [*self.modalities],
            "period": self.period,
            "score": self.score if isinstance(self.score, str) else "callable",
        }


def _log_directly(trainer: L.Trainer, entry: Entry) -> None:
    # `self.log` would drop what does not fall on a multiple of `log_every_n_steps`.
    for logger in trainer.loggers:
        logger.log_metrics(flatten(entry), step=trainer.global_step)


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def _strength_of(scores: Tensor, beta: float) -> Tensor:
    return strength(gaps(scores), beta)
