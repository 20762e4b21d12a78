"""Modality dropout: each sample loses one modality now and then, at the head."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.modality_dropout import ModalityDropout


class ModalityDropoutCallback(MethodCallback):
    r"""Set the features of one modality to zero at the head, for some of the samples.

    Each sample loses modality m with probability :math:`p_m`, and never more than one modality nor
    the only one it has:

    .. math:: z_m \leftarrow 0 \text{ with probability } p_m, \qquad \sum_m p_m \le 1

    A number for ``p`` is the probability that any is lost, each as probably as the others: that is
    the modality dropout of AV-HuBERT (Shi et al., ICLR 2022; there for a whole batch at once, which
    is ``per="step"``). ``p={"audio": 0.8}`` is the DropPathway of Audiovisual SlowFast (Xiao et
    al., 2020) at the head. ModDrop (Neverova et al., TPAMI 2016) drops modalities independently of
    each other. As in AV-HuBERT's code, what stays is not scaled up.

    No extra pass. Random numbers come from the seed that training began with, by step, and are the
    same for one process and for several. The encoder of a modality that a sample loses has no
    gradient from that sample, and what is lost changes the gradients of the others. Scores are of
    the features before any was dropped.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; needed.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        p: How probably a sample loses one of its modalities, in [0, 1], or modality -> how probably
            it is lost, adding up to 1 at most. AV-HuBERT has 0.5, half for each of two modalities;
            the code of Audiovisual SlowFast 0.8 for audio.
        per: ``"sample"``, or ``"step"``: all samples of an optimiser step lose the same one.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; a modality outside
            is not dropped. The papers: always.
        score: What ``history`` measures of each modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`; ``"bce"``, ``"ordinal"`` and ``"mse"`` for
            other tasks than classes.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window`` and ``score`` (mean log-probability of
            the true class, or what ``score`` names). Logged under
            ``modality_dropout/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``head`` is missing, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        p: float | Mapping[str, float] = 0.5,
        per: str = "sample",
        window: WindowArgument = "always",
        score: str | ScoreFunction = "log_prob",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            ModalityDropout(p, per, window, score),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
