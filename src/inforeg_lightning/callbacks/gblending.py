"""G-Blending: losses weighted by how they generalise and overfit (CVPR 2020, arXiv 1905.12681)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods.gblending import GBlending


class GBlendingCallback(MethodCallback):
    r"""Weight joint and unimodal losses by how they generalise (Wang, Tran & Feiszli, CVPR 2020).

    .. math:: L = w_f L_f + \sum_m w_m L_m, \qquad w_k \propto \frac{G_k}{O_k^2}, \quad
        \sum_k w_k = 1

    with :math:`L_m` the cross-entropy of the unimodal logits of m. Over a super-epoch of n epochs,
    :math:`G_k = L^{val}_k(N) - L^{val}_k(N + n)` is the generalisation and :math:`O_k` by how much
    the gap :math:`L^{val}_k - L^{train}_k` has grown. Weights are equal until the first estimate; a
    :math:`G_k \le 0` gives weight 0, where other code takes its absolute value and so rewards what
    has become worse, and if none is positive the weights stay.

    **The main difference from the paper**: there, each modality is trained by itself from the
    current weights, to measure its losses; here, the losses are those of the joint run itself.
    There is no second training, and no extra pass but the head's unimodal logits, in training and
    in validation; no memory to speak of. The losses of training are means over the steps of the
    epoch that ends, those of validation over the samples of the first validation loader. The first
    super-epoch begins at the end of the first epoch with a validation. :math:`|O_k|` counts as
    1e-3 nats at least.

    :math:`L_f` in training is the module's own loss as far as it goes through the head's output,
    whose gradient is scaled; other terms of it stay. It is measured as cross-entropy of the output.
    A modality outside its window has no unimodal loss and the weights of the others are scaled to
    sum 1 (equal if all are 0); with none in its window the joint loss has weight 1, as it is.
    Losses are measured all the while. M > 2 is the same formula.

    Where modalities are missing, :math:`L_m` is the mean over the samples that have m; a batch
    without m has no such term, and the weights of the others stay. An epoch in which no sample of
    training or of validation has m puts an estimate off.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder; none is called ``fused``.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, in training and in validation, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
        super_epoch: Epochs between two estimates of the weights, at least; BalanceBenchmark's 10.
            An epoch without validation puts an estimate off.
        unimodal_losses_included: Whether the module's own loss has the unimodal losses already,
            each with weight 1 and apart from the head's output; what their weights lack or exceed
            is then added. Where modalities are missing, the module's are means over the samples
            that have them, too.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, in training and in
            validation, as for :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (mean log-probability of the
            true class), and by modality and for ``"fused"`` the ``weight`` that applied last, and
            ``train_loss`` and ``val_loss`` of the last epoch and validation that have ended,
            ``None`` before and where no sample had the modality. Logged under
            ``gblending/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, there is no validation, the module's
            ``unimodal_losses`` is not what ``unimodal_losses_included`` says, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        measure: str = "online",
        super_epoch: int = 10,
        measure_epochs: int | None = None,
        floor: float | None = None,
        unimodal_heads: HeadsArgument = "own",
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            GBlending(
                measure,
                super_epoch,
                measure_epochs,
                floor,
                unimodal_losses_included,
                window,
                unimodal_heads,
            ),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
