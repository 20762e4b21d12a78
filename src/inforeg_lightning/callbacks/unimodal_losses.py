"""Unimodal losses: the joint loss plus the cross-entropy of each modality alone (joint*)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods.unimodal_losses import UnimodalLosses


class UnimodalLossesCallback(MethodCallback):
    r"""Add the cross-entropy of each modality's unimodal logits to the loss of any module (joint*).

    .. math:: L = L_{\text{joint}} + \lambda \sum_m \text{CE}(\phi_m, y)

    In the InfoReg paper (CVPR 2025, arXiv 2503.18595, Table 3) this is joint training with unimodal
    losses, "joint*": the logits :math:`\phi_m` of m are those of the shared head for the features
    of m alone, as in its Eq. 8 (:math:`W_m z_m + c / M` for a linear one), and the weight is 1. The
    module is not changed: with ``unimodal_heads="shared"`` its training is, to rounding, that of a
    module whose own loss has the unimodal losses.

    Where modalities are missing, a unimodal loss is the mean over the samples that have the
    modality. A modality outside its window has none.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        weight: Of each unimodal loss, :math:`\lambda` > 0; the paper: 1.
        unimodal_heads: What makes the unimodal logits: ``"shared"``, the paper's; ``"own"``, a
            linear head per modality that is trained by its unimodal loss alone; or a mapping from
            each modality to a module of yours (its attribute path, or the module).
        window: When they are added, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper:
            always.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it. So InfoReg* is this
            and :class:`~inforeg_lightning.InfoRegCallback`.

    Attributes:
        unimodal_heads: Modality -> its head; empty for ``"shared"``.
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            ``unimodal_heads`` (``"own"``, ``"shared"`` or ``"given"``), and by modality ``trace``
            (of the gradient of all losses), ``change``, ``in_window``, ``score`` (mean
            log-probability of the true class by the unimodal head) and ``unimodal_loss`` (minus
            that). Logged under ``unimodal_losses/<quantity>/<modality>``.

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
        weight: float = 1.0,
        unimodal_heads: HeadsArgument = "shared",
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            UnimodalLosses(weight, unimodal_heads, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
