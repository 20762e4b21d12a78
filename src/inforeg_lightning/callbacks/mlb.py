"""MLB: multi-loss gradient modulation (BMVC 2024, arXiv 2405.07930)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods.mlb import MLB


class MLBCallback(MethodCallback):
    r"""Scale the gradients of joint and unimodal losses both ways (Kontras et al., BMVC 2024).

    .. math:: g_m \leftarrow k_m g_m, \qquad k_m = 1 + c_m \tanh(\alpha (\rho_m - 1)), \qquad
        \rho_m = \frac{\text{mean of the others' } s}{s_m}

    with g the gradient of the joint loss and of a cross-entropy per modality together, :math:`s_m`
    the mean probability of the true class by the unimodal logits of m, and :math:`c_m` 1 for a
    modality that is ahead (:math:`\rho_m \le 1`), else ``most`` − 1. OGM only slows the modality
    ahead; here the one behind is hastened as well, and modalities that score alike are left alone.

    No extra pass, and no memory but the unimodal heads.

    **The source is the authors' code** (kkontras/MLB) and the paper's abstract. What differs: their
    factor applies to the columns of the joint head and to the classifier of the modality too, here
    to the encoders alone; with accumulation they compare the scores of each micro-batch, here those
    of the whole step on all processes are. M > 2 is their formula for three.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; needed.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        alpha: α, > 0; the authors' configurations have 0.8 for CREMA-D, AVE and CMU-MOSEI and 1 for
            UCF101.
        most: What the factor of a modality far behind tends to, >= 1; their ``tanh_mode_beta``,
            which no configuration sets, so that it is 2.
        unimodal_heads: What makes the unimodal logits: ``"own"``, a linear head per modality as in
            the authors' code; ``"shared"``, the joint head with the features of one modality; or a
            mapping from each modality to a module or its attribute path.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the authors:
            always. A modality outside of it has no unimodal loss either.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients of all losses, before), ``change``,
            ``in_window``, ``score`` (mean probability of the true class) and ``coefficient``
            (mean). Logged under ``mlb/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, the module's own loss has unimodal losses, or as
            for :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        alpha: float = 0.8,
        most: float = 2.0,
        unimodal_heads: HeadsArgument = "own",
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            MLB(alpha, most, unimodal_heads, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
