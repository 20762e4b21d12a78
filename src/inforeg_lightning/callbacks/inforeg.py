"""InfoReg: adaptive unimodal regulation (CVPR 2025, arXiv 2503.18595)."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from inforeg_lightning.callbacks.encoder import Anchors
from inforeg_lightning.callbacks.history import Entry
from inforeg_lightning.callbacks.method import MethodCallback
from inforeg_lightning.callbacks.tracker import Step, gradients_of
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.fisher import mean_square
from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.core.strength import gaps, official_strength, strength
from inforeg_lightning.core.window import OfficialWindow, Window


class InfoRegCallback(MethodCallback):
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
        combine: Allow another method on the same Trainer; both must allow it.

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

    _prefix = "inforeg"
    _quantities = ("gap", "alpha", "pull", "penalty")

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
        combine: bool = False,
    ) -> None:
        if not 0 <= beta <= 80:
            raise ValueError(
                f"`beta` must be from 0 to 80 (the paper searched 0.1 to 1.0), but is {beta}"
            )
        super().__init__(encoders, head, target, window, score, K, period, combine)
        self._tracker.sums = frozenset({"pull"})
        self._strength: Callable[[Tensor], Tensor] = partial(_strength_of, beta=beta)
        self._official = False
        self._anchors: dict[str, Anchors] = {}
        self._unloaded: Mapping[str, Any] = {}

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
        callback._official = True
        callback._strength = partial(official_strength, factors=tuple(strength))
        callback._tracker.sums = frozenset({"pull", "trace"})
        callback._tracker.window = OfficialWindow(modalities[0] if gate is None else gate, K)
        return callback

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        strength = torch.where(step.finite, self._strength(step.scores), 0.0)
        done: dict[str, dict[str, Tensor]] = {q: {} for q in ("alpha", "pull", "penalty")}
        traces: dict[str, Tensor] = {}
        for modality, held in step.held.items():
            encoder = self._tracker.encoders[modality]
            if step.in_window[modality]:
                alpha = strength[step.modalities.index(modality)]
                rate = encoder.pull_rate(step.optimizer)
                done["alpha"][modality] = alpha
                done["penalty"][modality] = self._anchors[modality].pull(held, alpha)
                done["pull"][modality] = alpha * (torch.nan if rate is None else rate)
            if self._official:
                layers = [p for p in held if id(p) in encoder.layer_weights]
                traces[modality] = mean_square(gradients_of(layers)) if layers else torch.zeros(())
        return {"gap": gaps(step.scores)} | done | ({"trace": traces} if traces else {})

    def _attach(self, trainer: L.Trainer) -> None:
        super()._attach(trainer)
        self._anchors = {m: Anchors(encoder) for m, encoder in self._tracker.encoders.items()}
        for modality, anchors in self._anchors.items():
            if self._official and not anchors.encoder.layer_weights:
                raise ValueError(
                    f"`encoders[{modality!r}]` has no Conv or Linear layer, over which the "
                    "published code takes its trace. Use InfoRegCallback(...) instead."
                )
            anchors.load_state_dict(self._unloaded.get(modality, {}))
        self._unloaded = {}

    def _detach(self) -> None:
        super()._detach()
        if self._anchors and self._tracker.period is not None:  # to go on with, if fitted again
            self._unloaded = {m: anchors.state_dict() for m, anchors in self._anchors.items()}
        self._anchors = {}

    def _reset(self) -> None:
        super()._reset()
        self._release()

    def _end_period(self, trainer: L.Trainer) -> Entry:
        self._release()
        return super()._end_period(trainer)

    def _release(self) -> None:
        self._unloaded = {}
        for anchors in self._anchors.values():
            anchors.of.clear()

    def _method_state(self, inside: bool) -> dict[str, Any]:
        if not inside:
            return {}
        return {m: anchors.state_dict() for m, anchors in self._anchors.items()} or dict(
            self._unloaded
        )

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._release()
        self._unloaded = state  # until the encoders are known

    def _identity(self) -> dict[str, Any]:
        return {"variant": "official" if self._official else "paper"} | super()._identity()


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def _strength_of(scores: Tensor, beta: float) -> Tensor:
    return strength(gaps(scores), beta)
