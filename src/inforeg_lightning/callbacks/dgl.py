"""DGL: disentangled gradient learning (ICCV 2025, arXiv 2507.10213)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.dgl import DGL


class DGLCallback(MethodCallback):
    r"""Train the head by the joint loss, the encoders by unimodal losses (Wei et al., ICCV 2025).

    With :math:`z_m` the features of m, h the head and sg a constant to the gradient, what is
    minimised is

    .. math:: L_\text{CE}(h(\operatorname{sg} z_1, \ldots, \operatorname{sg} z_M), y)
        + \alpha \sum_m L_\text{CE}(\operatorname{sg} h(0, \ldots, z_m, \ldots, 0), y)

    so that the joint loss reaches the head alone, and each encoder learns as it would by itself,
    through the head's weights of the moment. The unimodal logits of a linear head have the whole
    bias, as in the authors' code, and ``history`` scores these. Of any other head they are its
    output for the features of one modality and zeros, in evaluation mode. What belongs to no
    encoder keeps the gradient of the joint loss; what lies between an encoder and the head learns
    with that encoder. A modality outside its window has no unimodal loss, and its encoder the
    gradient of the joint loss. M > 2 is the same formula.

    The head once more, forward and backward; no extra pass through the encoders.

    Different from the authors' code: there is one backward pass instead of two, of which the first
    is undone for the head. Their networks with sum, gated and bilinear fusion have unimodal paths
    of their own making (a gate of the modality itself, an outer product with itself); here every
    head sees zeros in the place of the others. They clip the gradient to a norm of 40: give the
    Trainer ``gradient_clip_val=40`` for that.

    Where modalities are missing, a unimodal loss is the mean over the samples that have the
    modality.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; needed.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        alpha: Weight of the unimodal losses, > 0. The default of the authors' ``main_dgl.py`` is
            4.0; their scripts have 4 and 5 for CREMA-D, 2 and 3 for Kinetics-Sounds and 2 for
            VGGSound.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the authors:
            always.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradient by which the encoder is trained), ``change``,
            ``in_window``, ``score`` (mean log-probability of the true class) and
            ``unimodal_loss`` (minus that). Logged under ``dgl/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``head`` is missing, the module has
            ``unimodal_losses=True``, or as for :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        alpha: float = 4.0,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            DGL(alpha, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
