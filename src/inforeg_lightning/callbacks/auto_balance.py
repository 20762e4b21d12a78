"""AutoBalance: give each encoder the signal that the joint loss withholds, if it generalises."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.auto_balance import AutoBalance


class AutoBalanceCallback(MethodCallback):
    r"""Give back to each encoder what the joint loss withholds; hold back what memorises.

    With :math:`L` the joint loss and :math:`L_m` the cross-entropy of the unimodal logits of
    modality m, what is minimised is

    .. math:: L + \sum_m g_m \, (1 - s_m \min_{k} f_k) \, L_m, \qquad
        f_m = 1 - \frac{\max(\kappa_m, 0)}{\max_{k} \kappa_k} \, \bigl(\max_{k} g_k - g_m\bigr),

    and the encoder of m gets :math:`f_m` times the gradient of :math:`L`; the head gets all of it,
    and that of the given :math:`L_m` too. With :math:`p_i` and :math:`p^m_i` the probabilities of
    sample i by the fused and by the unimodal logits, and C classes,

    .. math:: s_m = \min\Bigl(1, \frac{\sum_i \lVert p_i - y_i \rVert}
                                     {\sum_i \lVert p^m_i - y_i \rVert}\Bigr), \qquad
        g_m = \operatorname{clip}\Bigl(\frac{\log C - L_m^\text{val}}{\kappa_m}, 0, 1\Bigr),
        \qquad \kappa_m = \log C - L_m^\text{train}.

    The *signal share* :math:`s_m` is what part of the learning signal that the modality would get
    alone reaches it jointly, taken anew in every batch. :math:`\kappa_m` is how much the modality
    knows of the training samples: by how much its mean training loss since the validation before
    is below that of a guess. The *gate* :math:`g_m` is what part of that it knows of others too, by
    its last validation loss: about 1 for what generalises, 0 for what is memorised; 1 before the
    first validation; where nothing of the training samples is known, 1 if something of others is,
    else 0. The *factor* :math:`f_m` holds back a modality whose gate is below the highest, in the
    measure in which it knows as much as any of the training samples: one that knows nothing alone
    has memorised nothing, and may speak together with another. What a memorising modality answers
    counts as not learnt, hence the lowest :math:`f_k` beside the share. Shares, gates and factors
    are constants to the gradient; :math:`f_m` is 1 for all before the first validation.

    Nothing is to be tuned. No extra pass through the encoders: all goes back in the same backward
    pass. Validation is needed, after each epoch or several times in one. This method is this
    library's own.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the module that makes the logits; needed.
        target: Where the classes stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`: indices ``(B,)`` or ``(B, T)``, or
            probabilities of the logits' shape. Other tasks are refused.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`. A sample counts in the terms of the
            modalities that it has.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients with these terms), ``change``, ``in_window``,
            ``score`` (mean log-probability of the true class by the unimodal logits), ``share``
            (mean :math:`s_m`), ``weight`` (mean of that of :math:`L_m`, as it was applied) and
            ``factor`` (mean :math:`f_m`). Logged under ``auto_balance/<quantity>/<modality>``.

    Raises:
        ValueError: There is no validation or no ``head``, the target is not of classes, the model
            has unimodal losses of its own, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            AutoBalance(window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
