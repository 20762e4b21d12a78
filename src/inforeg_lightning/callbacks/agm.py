"""AGM: adaptive gradient modulation (ICCV 2023, arXiv 2308.07686)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.agm import AGM


class AGMCallback(MethodCallback):
    r"""Slow each modality while it is further ahead than it used to be (Li et al., ICCV 2023).

    The output of the head is split into mono-modal outputs :math:`\phi_m`, its Shapley values over
    the subsets of modalities, and what is passed back through :math:`\phi_m` is multiplied by

    .. math:: \kappa_m = \exp(\alpha \min(\tau_m - r_m, 10)), \qquad
        r_m = \exp \frac{1}{M - 1} \sum_{j \ne m} (s_m - s_j)

    with :math:`s_m` the mean log-probability of the true class by :math:`\phi_m`, probabilities not
    below 1e-8, and :math:`\tau_m` the same as :math:`r_m` from the means of the scores over all
    steps before this one; in the first, :math:`\tau_m = 1`. The means go on outside the window,
    where :math:`\kappa_m = 1`. For any number of modalities, as in the authors' code. The forward
    pass and the loss are as they were.

    Of a batch without some modality, those that it has are compared among themselves, and their
    means likewise; where there is nothing to compare, :math:`\kappa_m = 1`. What belongs to no
    encoder is in none of the :math:`\phi_m`, and is passed back as it was.

    No extra pass through the encoders. A linear head is split exactly,
    :math:`\phi_m = z_m W_m^\top + c / M`, at the cost of one more pass through it. Any other is run
    for every subset but the empty one, whose output drops out, and the full one, which is the
    training's own: :math:`2^M - 2` more forward and backward passes through the head, in evaluation
    mode, and their activations in memory; up to two more where a batch lacks a modality or the head
    takes what belongs to no encoder.

    The authors' code sets *inputs* to zero and runs the whole network in evaluation mode for every
    subset: that is ``zeroed="inputs"``, for any head. Encoders are run twice more, for the input
    and for zeros, forward and backward, the head as above; an encoder must be one module that is
    called once and whose output goes into the head as it is. Where encoders act otherwise in
    evaluation, as with batch norm, the two ways differ in what they measure; see the method card.
    There, what belongs to no encoder is shared evenly by the :math:`\phi_m`.

    Their code further clips the norm of all gradients at 1 where one
    of the head's exceeds 1: that is left to ``Trainer(gradient_clip_val=1.0)``, which clips always.
    Its differences are clipped at 10 for CREMA-D, at 7 for UR-Funny and not at all elsewhere. With
    accumulation, ratios and coefficients are those of each micro-batch (on all processes).
    A head sharded by FSDP2 is refused.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the module that makes the logits; needed.
        target: Where the classes stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the authors:
            always, "a continuous process of modulation" (issue 3 of their repository).
        alpha: How steeply the coefficient falls with the ratio, in (0, 8]. The authors: 1.5 for
            CREMA-D, 2.5 for AV-MNIST, 4.0 for UR-Funny (issues 3, 5 and 10 of their repository);
            1.0 is their program's default.
        zeroed: What stands for a modality that a subset lacks: ``"features"`` at zero, without
            another pass through an encoder, or those of its ``"inputs"`` at zero, as in the
            authors' code.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients as they are edited), ``change``, ``in_window``,
            ``score`` (mean log-probability of the true class by :math:`\phi_m`, not clipped) and
            ``coefficient`` (mean :math:`\kappa`; 1 in a step without the modality). Logged under
            ``agm/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``head`` is missing, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        alpha: float = 1.0,
        window: WindowArgument = "always",
        zeroed: str = "features",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            AGM(alpha, window, zeroed),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
