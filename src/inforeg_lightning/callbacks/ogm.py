"""OGM: on-the-fly gradient modulation (CVPR 2022, arXiv 2203.15332)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from inforeg_lightning.callbacks.method import MethodCallback, WindowArgument
from inforeg_lightning.callbacks.tracker import Step, gradients_of
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.modulation import ogm_coefficients
from inforeg_lightning.core.shards import local_parts


class OGMCallback(MethodCallback):
    r"""Scale down the gradients of the encoders that are ahead (Peng et al., CVPR 2022).

    .. math:: g_m \leftarrow k_m g_m, \qquad
        k_m = 1 - \tanh(\alpha \rho_m) \text{ if } \rho_m > 1 \text{ else } 1, \qquad
        \rho_m = \frac{\sum_i p_{m,i}}{\sum_i p_{m',i}}

    with :math:`p_{m,i}` the probability that the unimodal logits of m give the true class of sample
    i of the batch (Eq. 8 to 10). Of more than two modalities, which the paper does not treat,
    :math:`\rho_m` is to the mean of all others.

    No extra pass, no memory of its own.

    The authors' code modulates convolution weights only; here, as in the paper, it is all
    parameters of an encoder. They modulate in a range of epochs: that is ``window=(start, stop)``.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; ``None`` if ``training_step`` calls
            :func:`~inforeg_lightning.report_unimodal`.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
        alpha: How steeply the factor falls with the ratio, > 0; the paper's 0.1 for CREMA-D.
        K: Threshold of the windows that have one.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict a period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (mean probability of the
            true class) and ``coefficient`` (mean k). Logged under ``ogm/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    _prefix = "ogm"
    _quantities = ("coefficient",)

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        window: WindowArgument = "always",
        alpha: float = 0.1,
        K: float = 0.04,
        period: int | str = "epoch",
        combine: bool = False,
    ) -> None:
        if not 0 < alpha < float("inf"):
            raise ValueError(f"`alpha` must be positive (the paper: 0.1 to 0.8), but is {alpha}")
        super().__init__(encoders, head, target, window, "prob", K, period, combine)
        self.alpha = alpha

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        coefficients = ogm_coefficients(step.scores, self.alpha)
        coefficients = torch.where(step.finite, coefficients, 1.0)
        used = torch.ones_like(coefficients).unbind()
        by_modality = dict(zip(step.modalities, used, strict=True))
        for modality, held in step.held.items():
            if step.in_window[modality]:
                coefficient = coefficients[step.modalities.index(modality)]
                self._modulate(gradients_of(held), coefficient, step)
                by_modality[modality] = coefficient
        return {"coefficient": by_modality}

    def _modulate(self, gradients: list[Tensor], coefficient: Tensor, step: Step) -> None:
        """Edit the gradients of an encoder in place."""
        parts = local_parts(gradients)
        torch._foreach_mul_(parts, coefficient.to(parts[0].dtype))
