"""TorchJD: any of its aggregators over the joint and the unimodal loss of each encoder."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.core.torchjd import Aggregator
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods.torchjd import TorchJD


class TorchJDCallback(MethodCallback):
    r"""Step each encoder by what an aggregator makes of its two gradients (Quinton & Rey, 2024).

    With :math:`g` the gradient of the joint loss for the encoder of m and :math:`u` that of its
    unimodal loss, the cross-entropy of its unimodal logits, the encoder is trained with

    .. math:: \mathcal{A}\left(\begin{bmatrix} g^\top \\ u^\top \end{bmatrix}\right)

    where :math:`\mathcal{A}` is any aggregator of `TorchJD <https://torchjd.org>`_ (UPGrad, MGDA,
    CAGrad, PCGrad, ...), or any other callable :math:`(2, P) \to (P,)`. Each encoder is
    aggregated by itself, all its parameters together. The head is trained with the sum of all
    losses. A modality outside its window has no unimodal loss, and its encoder keeps its gradient.

    Mind the scale: UPGrad, MGDA and others are of the size of a mean of the rows where these
    agree, while the head sees their sum.

    One more backward pass through each encoder in its window, one copy of these encoders' gradients
    between the steps and several while a step is edited. TorchJD's UPGrad solves a quadratic
    program on the CPU, for which the host waits for the device. An aggregator that draws random
    numbers draws from torch's own generator, whose state Lightning does not save; of several
    processes the first one's result is that of all.

    Where modalities are missing, in accumulation and in what is refused, it is as
    :class:`~inforeg_lightning.callbacks.MMParetoCallback`.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; needed.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        aggregator: As above; row 0 is of the joint loss, row 1 of the unimodal. By default
            TorchJD's ``UPGrad()``, which its authors recommend; it comes with
            ``pip install inforeg-lightning[torchjd]``.
        unimodal_heads: What the unimodal losses are of, as for
            :class:`~inforeg_lightning.callbacks.MMParetoCallback`.
        unimodal_losses_included: Whether the module's own loss has the unimodal losses already,
            each with weight 1; they are then not added again.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        unimodal_heads: Modality -> its head; empty for ``"shared"``.
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradient of all losses), ``change``, ``in_window``,
            ``score`` (mean log-probability of the true class), ``unimodal_loss`` (minus that) and
            ``cosine`` (mean over the steps of the cosine of g and u; ``None`` where it did not
            act). Logged under ``torchjd/<quantity>/<modality>``.

    Raises:
        ImportError: ``aggregator`` is left out, and TorchJD is not installed.
        ValueError: ``head`` is missing, the module's ``unimodal_losses`` is not what
            ``unimodal_losses_included`` says, the aggregator returns another shape, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        aggregator: Aggregator | None = None,
        unimodal_heads: HeadsArgument = "own",
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            TorchJD(aggregator, unimodal_losses_included, window, unimodal_heads),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
