"""PMR: prototypical modal rebalance (CVPR 2023, arXiv 2211.07089)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.pmr import PMR


class PMRCallback(MethodCallback):
    r"""Pull the features of slower modalities to prototypes of classes (Fan et al., CVPR 2023).

    .. math:: L = L_\text{CE} + \alpha \sum_m \beta_m L_\text{PCE}^m
            - \mu \sum_m \gamma_m H(p_m), \qquad
        p_m(k) \propto e^{-\lVert z_m - c_k^m \rVert}, \qquad
        \rho_m = \frac{\sum_i p_{m,i}(y_i)}{\sum_i p_{m',i}(y_i)}

    with :math:`L_\text{PCE}^m` the cross-entropy of :math:`p_m`, H its entropy,
    :math:`\beta_m = \operatorname{clip}(1 / \rho_m - 1, 0, 1)`, above 0 for the slower modality,
    :math:`\gamma_m = \operatorname{clip}(\rho_m - 1, 0, 1)`, above 0 for the faster, and m' the
    other one (Eq. 7 to 13). Coefficients and prototypes are constants to the gradient. The entropy
    is held up in the first few periods only. A prototype is the mean feature of its class over a
    period, moved by momentum, :math:`c \leftarrow \varepsilon c + (1 - \varepsilon) \bar z`
    (Eq. 12). Of more than two modalities, which the paper does not treat, :math:`\rho_m` is to the
    mean of all others.

    No extra pass through the encoders. In memory, for every class two of each feature. The terms go
    back through the encoders in the same backward pass, and leave the head alone.

    What differs from the paper and the authors' code: prototypes are of the features that the
    training steps of a period have seen, in training mode and while they change, and serve from the
    next period on; the authors pass a tenth of the data through the encoders once more before each
    epoch, in evaluation mode. So nothing is done in the first period. The authors' code has 0 and 1
    for β and no entropy term (``coefficients="binary"``); the default is the paper's formula. A
    class that was never seen has no prototype, and its samples count in none of the terms; nor does
    a sample for a modality that it does not have. With accumulation, coefficients are those of each
    micro-batch (on all processes).

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the module that makes the logits, from whose inputs the features are
            taken; needed. The parts of a modality, whatever their shapes ``(B, ...)``, are
            flattened and concatenated to ``(B, D)``, the same D in every batch.
        target: Where the class indices ``(B,)`` stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`; other targets have no prototypes.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
            Prototypes are kept outside of it too.
        alpha: Weight of the cross-entropies, > 0; the paper has 1 or 2 by data set, and 1 is the
            default of the authors' program, whose commands mostly have 2 for CREMA-D and AVE.
        coefficients: ``"ratio"``, the paper's clipped ratios; or ``"binary"``, the published
            code's: :math:`\beta_m` is 1 where :math:`\rho_m < 1` and 0 elsewhere, and there are no
            entropies. Their commands act in epochs 0 to 70, ``window=(0, 71)``.
        momentum: What is kept of a prototype, :math:`\varepsilon`, in [0, 1). By default 0.2 for
            ``"ratio"``, the default of the authors' program, and 0 for ``"binary"``, as nearly all
            of their commands have it.
        mu: Weight of the entropies, >= 0. By default 1e-2 for ``"ratio"``, where the paper has 1e-2
            or 1e-3 by data set; none for ``"binary"``.
        entropy_periods: In how many periods, from the first, entropies count. The paper says "the
            first few epochs"; the number is ours.
        period: ``"epoch"`` or a number of optimiser steps: what prototypes, windows and history
            count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients with these terms), ``change``, ``in_window``,
            ``score`` (mean probability of the true class by the unimodal logits),
            ``coefficient`` (mean β that was applied) and ``prototype_loss`` (mean
            :math:`L_\text{PCE}` over the steps that have one, else ``None``). Logged under
            ``pmr/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``head`` is missing, target, features or logits
            have another shape than described, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        alpha: float = 1.0,
        coefficients: str = "ratio",
        momentum: float | None = None,
        mu: float | None = None,
        entropy_periods: int = 5,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            PMR(alpha, coefficients, momentum, mu, entropy_periods, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
