"""InfoReg: adaptive unimodal regulation (CVPR 2025, arXiv 2503.18595)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.core.window import Window
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.inforeg import InfoReg
from inforeg_lightning.methods.inforeg_official import OfficialInfoReg


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
            sequence. Class indices ``(B,)`` (or ``(B, T)`` for logits ``(B, T, C)``, ``(B, H, W)``
            for ``(B, C, H, W)``), or probabilities of the classes.
        beta: How steeply the strength grows with the gap (Eq. 16), 0 to 80; the paper's best is
            0.9.
        K: The window opens where the trace rises by more than this fraction (Eq. 11), in [0, 1);
            the paper's best is 0.04.
        window: ``"paper"`` (Eq. 11), ``"official"`` (the published code's), ``"adaptive"`` (open
            until the smoothed trace has fallen to a fifth of its peak; no ``K``; its two constants
            are those of :class:`~inforeg_lightning.core.window.AdaptiveWindow`), ``"always"``,
            ``"outside"`` (the complement of the paper's), ``"never"`` (only measures), a range
            ``(start, stop)`` of periods, or a callable as in :mod:`inforeg_lightning.core.window`.
        score: ``"log_prob"`` (Eq. 8; larger is stronger), ``"prob"``, ``"bce"`` for binary and
            multi-label tasks, ``"ordinal"`` for classes in order (a logit for each but the last),
            ``"mse"`` for regression (all: the negative of the loss), or a callable
            ``(logits, target) -> per-sample score``.
        gap: What :math:`\Delta_m` is with three modalities or more: the mean lead over those
            ``"weaker"`` than m (Eq. 9 and 10), which holds back all but the weakest; the lead over
            the mean of all ``"others"``; or over the ``"strongest"`` of them, which holds back the
            first alone. With two modalities all are equal.
        period: ``"epoch"`` as in the paper, or a number of optimiser steps: what anchors, traces,
            windows and ``history`` count in.
        present: Where the batch says which samples have which modality: a key, an index, an
            attribute or a callable that yields modality -> bool mask ``(B,)``. Scores and traces
            count the samples that have a modality; a modality that a batch does not have is left
            alone in it. An encoder that is not called in a batch is absent from it by itself.
        ignore_index: The target that counts nowhere, as in ``F.cross_entropy``; may be NaN.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: A list with one plain dict per period that has ended:

            * ``period``, ``epoch`` (Lightning's, in which it began), ``step`` (the global step at
              its end), ``steps`` (optimiser steps in it), ``skipped`` (of those, steps with a loss,
              score or gradient that was not finite, or without logits; they count nowhere else).
            * ``trace``: modality -> mean squared norm of the gradient before the regulation (of
              :meth:`official`, the published code's). Where only n of B samples have the modality,
              it is of the gradient of their mean, B / n times that of the batch. If no step
              counts, that of the period before, or 0.0.
            * ``change``: modality -> ``(trace − previous) / trace``, ``None`` in the first period.
            * ``in_window``: modality -> whether it was in its window during this period.
            * ``score``, ``gap``, ``alpha``, ``penalty``: modality -> mean over the steps of s, Δ,
              the α applied (0 where none was) and P; ``None`` if no step counts.
            * ``pull``: modality -> ρ, the sum of α · lr / (1 − momentum) over the steps. ρ ≫ 1
              freezes an encoder near its anchor, ρ ≪ 1 does nothing. ``None`` for all optimisers
              but SGD.
            * ``displacement``: modality -> how far the encoder went from its anchor in the period,
              by how far the same optimiser would have taken it with the gradients as they were
              without the pull: 1 where the pull did nothing, near 0 where it froze the encoder.
              For every optimiser of ``torch.optim`` that treats each weight by itself (SGD, Adam,
              AdamW and others), on a sample of about 2,000 weights; ``None`` for others, under
              FSDP2 and outside the window.

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
        *,
        target: Target = None,
        beta: float = 0.9,
        K: float = 0.04,
        window: str | tuple[int, int | None] | Window = "paper",
        score: str | ScoreFunction = "log_prob",
        gap: str = "weaker",
        period: int | str = "epoch",  # int first: a parser tries the types in order
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            InfoReg(beta, K, window, score, gap),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )

    @classmethod
    def official(
        cls,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        strength: Mapping[str, float] | None = None,
        gate: str | None = None,
        K: float | None = None,
        release: str = "2025-11",
        present: Present = None,
        ignore_index: float = -100,
    ) -> "InfoRegCallback":
        """The authors' published program, as released in November 2025; it differs from the paper.

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
            strength: Modality -> its factor, 0 or more; by default the release's: 0.95 for the
                gate, and for all others 0.1 (November) or 0.0 (March).
            gate: The modality whose trace opens the window for all; default the first.
            K: Threshold of the change of the moving average, in [0, 1); by default the release's,
                0.05 (November) or 0.04 (March).
            release: ``"2025-11"``, the release of 4 November 2025 (commit ea7b9d5 of
                GeWu-Lab/InfoReg_CVPR2025), or ``"2025-03"``, that of 26 March 2025 (41d887f), which
                stood at publication: by a slip, it never regulates the second modality. It scores
                a classifier per modality: leave out ``head``, and report their logits.
            present: As for the constructor.
            ignore_index: As for the constructor.

        Returns:
            The callback.

        Raises:
            ValueError: As for the constructor; or ``strength`` has not one factor per modality, or
                ``gate`` is none of the modalities.
            TypeError: ``strength`` is no mapping.
        """
        callback = cls.__new__(cls)
        MethodCallback.__init__(
            callback,
            OfficialInfoReg(strength, gate, K, release),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period="epoch",
            combine=False,
        )
        return callback
