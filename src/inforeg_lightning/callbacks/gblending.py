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

    with :math:`L_m` the cross-entropy of the unimodal logits of m, :math:`L_f` that of the joint
    ones, :math:`G_k = L^{val}_k(N) - L^{val}_k(N + n)` the generalisation over n epochs and
    :math:`O_k` by how much the gap :math:`L^{val}_k - L^{train}_k` has grown over them.

    **How G and O are measured**: from the weights of now, in evaluation mode over all batches of
    training and of the first validation loader, then again after n epochs in which each loss is
    trained by itself, in a copy of the module and with a new optimiser of the same class and
    settings. Online, that is done before each super-epoch of n epochs; offline, once before
    training and for as long as it. The training itself is not
    touched: weights, optimiser states, buffers, iterators and random numbers are to the bit what
    they are without. With ``measure="running"``, ours, the losses are those of the joint run
    itself, and there is no second training: weights are then equal for the first super-epoch, which
    begins at the end of the first epoch with a validation.

    The unimodal losses are trained in one copy, the joint one in another: with heads of their own
    they have no parameters in common, so that each is trained as if alone. The copies' learning
    rate is that of the time of the measurement, and neither gradient clipping nor other callbacks
    act on them; of mixed precision with a loss scale they make full precision. Random numbers
    depend on the epoch alone, so that a resumed run measures the same. Under data parallelism each
    process trains on its own batches and gradients are averaged, as in the training itself; losses
    are those of all samples. The module's ``log`` does nothing in a copy. Manual optimisation,
    several training loaders and sharded parameters are refused.

    A :math:`G_k \le 0` gives weight 0 (other code takes its absolute value and so rewards what has
    become worse), and if none is positive the weights stay; :math:`O_k` counts by its size, as the
    paper's square has it, and as 1e-3 nats at least. The paper treats none of these cases.

    :math:`L_f` in training is the module's own loss as far as it goes through the head's output,
    whose gradient is scaled; other terms of it stay. It is measured as cross-entropy of the output.
    A modality outside its window has no unimodal loss and the weights of the others are scaled to
    sum 1 (equal if all are 0); with none in its window the joint loss has weight 1, as it is.
    Losses are measured all the while. M > 2 is the same formula.

    Where modalities are missing, :math:`L_m` is the mean over the samples that have m; a batch
    without m has no such term, and the weights of the others stay. If no sample of training or of
    validation has m, the weights stay as they are.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder; none is called ``fused``.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, in training and in validation, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
        measure: ``"online"`` (default), ``"offline"`` or ``"running"``, as above.
        super_epoch: Epochs between two estimates of the weights, at least; 10 as in
            BalanceBenchmark. For ``"running"`` an epoch without validation puts an estimate off.
        measure_epochs: How many epochs copies are trained for; by default, as in the paper,
            ``super_epoch`` online, and ``max_epochs`` offline.
        floor: The least weight: weights w with sum 1 become :math:`f + (1 - K f) w`, K losses. By
            default 0, as in the paper, where copies are trained; for ``"running"`` 0.1, ours, as
            its estimates tend to give nearly all weight to one loss.
        unimodal_heads: What makes the unimodal logits: ``"own"`` (default; the paper), a linear
            head per modality that is made here; ``"shared"``, the joint head with the features of
            one modality; or a mapping from each modality to a module or its attribute path.
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
            true class), and by modality and for ``"fused"`` the ``weight`` that applied last,
            ``train_loss`` and ``val_loss`` of the last epoch and validation that have ended
            (``None`` before and where no sample had the modality), and ``generalisation`` and
            ``overfitting`` of the last measurement, if there are any. Logged under
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
