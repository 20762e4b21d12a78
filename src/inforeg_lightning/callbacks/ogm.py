"""OGM: on-the-fly gradient modulation (CVPR 2022, arXiv 2203.15332)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.ogm import OGM


class OGMCallback(MethodCallback):
    r"""Scale down the gradients of the encoders that are ahead (Peng et al., CVPR 2022).

    .. math:: g_m \leftarrow k_m g_m, \qquad
        k_m = 1 - \tanh(\alpha \rho_m) \text{ if } \rho_m > 1 \text{ else } 1, \qquad
        \rho_m = \frac{\sum_i p_{m,i}}{\sum_i p_{m',i}}

    with :math:`p_{m,i}` the probability that the unimodal logits of m give the true class of sample
    i of the batch (Eq. 8 to 10). Of more than two modalities, which the paper does not treat,
    :math:`\rho_m` is to the mean of all others.

    No extra pass, no memory of its own.

    The authors' program is ``OGMCallback(..., parameters="convolutions", window=(0, 51))``. It
    differs further where both scores are exactly equal: it then scales the first of its two
    modalities, and the paper's formula, as here, none.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; ``None`` if ``training_step`` calls
            :func:`~inforeg_lightning.report_unimodal`.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper's
            algorithm: always. The authors' program acts in epochs 0 to 50 of its 100
            (``--modulation_starts 0 --modulation_ends 50``, both included): ``(0, 51)``.
        alpha: How steeply the factor falls with the ratio, > 0. The default is that of the authors'
            README, which recommends it for VGGSound, and 0.8 for CREMA-D.
        parameters: Which of an encoder's parameters are modulated: ``"all"``, as in the paper, or
            its ``"convolutions"``, the weights of four dimensions, as in the authors' program. Of
            a ResNet-18 that is all but 9,600 of 11.2 million.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (mean probability of the
            true class) and ``coefficient`` (mean k). Logged under ``ogm/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, no encoder has a weight of four dimensions
            although ``parameters="convolutions"``, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        alpha: float = 0.1,
        window: WindowArgument = "always",
        parameters: str = "all",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            OGM(alpha, window, parameters),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
