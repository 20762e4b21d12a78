"""PDMP: performance-dominant modality prioritization (arXiv 2604.05773)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.pdmp import PDMP, Performance


class PDMPCallback(MethodCallback):
    r"""Let the modality that is best alone lead (Wei, Luo, Zhu & Luo, arXiv 2604.05773).

    .. math:: g_m \leftarrow \gamma_m g_m, \qquad \gamma_m = \begin{cases} \gamma_p & m =
        \arg\max_{m'} \text{performance}(m') \\ \gamma_r & \text{else} \end{cases}, \qquad
        \gamma_r < \gamma_p

    The opposite of balancing: the modality whose model is the best when each is trained by itself
    gets the larger gradient throughout. That ranking is made once, before, and is given as
    ``performance``. No extra pass and no memory. With an optimiser whose step does not depend on
    the scale of the gradient (Adam), constant factors do next to nothing: use SGD, or
    :class:`~inforeg_lightning.callbacks.MSLRCallback`, which scales steps instead.

    **What this rests on**: the paper's abstract ("asymmetric coefficients to modulate the gradients
    of each modality", by the ranking of independently trained unimodal models) and second-hand
    notes on it, which give two coefficients, above 1 for the dominant modality and below 1 for all
    others, chosen by data set. Neither its equations nor code of the authors were at hand. So the
    coefficients have no defaults, and that they apply to the encoders' gradients and not to the
    head's, throughout training, is our reading.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head, to measure scores; it edits nothing there, and
            training without unimodal logits is no error.
        target: Where the target stands in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        performance: How well each modality does alone, by name or in the order of ``encoders``, in
            any measure where larger is better: accuracy in validation, say. One must be the best.
        gamma_p: Factor of the gradient of the best modality, > 0; second-hand: above 1.
        gamma_r: Factor of the gradients of all others, >= 0 and below ``gamma_p``; second-hand:
            below 1.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients before), ``change``, ``in_window``, ``score``
            (mean log-probability of the true class) and ``coefficient`` (mean). Logged under
            ``pdmp/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``performance`` has other modalities or no single
            best one, or as for :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        performance: Performance,
        gamma_p: float,
        gamma_r: float,
        target: Target = None,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            PDMP(performance, gamma_p, gamma_r, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
