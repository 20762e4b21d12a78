"""RedReg: adaptive redundancy regulation (arXiv 2511.13755), InfoReg's successor."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods.redreg import RedReg


class RedRegCallback(MethodCallback):
    r"""Pull the dominant modality across its gradient, while it is redundant (Yang et al., 2025).

    .. math:: g_m \leftarrow g_m + \alpha_m \Bigl(d_m - \frac{d_m \cdot g_m}{g_m \cdot g_m} g_m
            \Bigr), \qquad d_m = w_m - w_m^{t-1}, \qquad
        \alpha_m = e^{\beta \tanh \Delta_m} \, [r_m > R] \, [\cos > \tau]

    for the modality m of the highest score, and none other. :math:`w_m^{t-1}` are the weights when
    the period began, and d is projected tensor by tensor, g being the gradient of the joint loss
    and all unimodal losses together. A score is the mean probability of the true class by the
    unimodal logits; :math:`\Delta_m` by how much m leads (of more than two modalities: the mean of
    all others).

    The redundancy monitor: :math:`r_m = \text{red}_m - \gamma \max(S_m, 0)`, with :math:`S_m` the
    relative growth, from one step to the next, of the mean of the last ten scores (1 until there
    are eleven), and :math:`\text{red}_m` the mean squared difference of the features of two noisy
    copies of the inputs over that of the copies, in multiples of its running mean (momentum 0.9,
    from 0 at the start of each period). The gate: the mean cosine of the features of m and of the
    others, sample by sample; where modalities do not agree, the task rests on one of them, and that
    one is left alone.

    It trains with a cross-entropy per modality besides the joint loss, as the authors' code does.
    Two more forward passes through each encoder in its window, without graph and in evaluation
    mode; a copy of the encoders as anchors.

    **The source is the authors' code** (xia-zhe/RedReg, ``main_RedReg.py``); of the paper, its
    abstract and the figure in that repository. What differs: their script also replaces an input by
    zeros in 60 % of the batches, falling to 10 % over the first 30 % of the epochs, for which
    :class:`RedRegCallback` may be combined with a callback that drops modalities; noise is added to
    whatever an encoder is given, where theirs clamps that of images to [0, 1]; the threshold of the
    gate counts periods. In their code :math:`\text{red}_m` starts near 10 and falls towards 1, so
    that :math:`r_m > R` almost always holds: see the card.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; needed.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        beta: Steepness of the strength, 0 to 80; the authors' 0.9 (``beta_scale``).
        gamma: Weight of the gain against redundancy, >= 0; the authors' 0.6.
        threshold: R; the authors' 0.15.
        agreement: τ in the first and in the last of ``agreement_periods``, and linear between; the
            authors' 0.2 and 0.5. It needs features of equal width; ``None`` leaves the gate open.
        agreement_periods: From the first to the last τ, which then stays; the authors' 80, all
            epochs of their training.
        noise: Deviation of the noise on the inputs, >= 0; the authors' 0.03. With 0 there is no
            extra pass, and :math:`\text{red}_m` is 1.
        unimodal_heads: What makes the unimodal logits: ``"own"``, a linear head per modality as in
            the authors' code; ``"shared"``, the joint head with the features of one modality; or a
            mapping from each modality to a module or its attribute path.
        unimodal_losses_included: Whether the module's own loss has the unimodal losses already, of
            these heads and each with weight 1; they are then not added again.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the authors:
            always. A modality outside of it has no unimodal loss either.
        period: ``"epoch"`` or a number of optimiser steps: what anchors, the monitor, windows and
            history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients of all losses), ``change``, ``in_window``,
            ``score`` (mean probability of the true class), and as means over the steps ``alpha``,
            ``excess`` (r) and ``agreement`` (the cosine, ``None`` without that gate). Logged under
            ``redreg/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, features have other widths or inputs other types
            than described, the module's ``unimodal_losses`` is not what
            ``unimodal_losses_included`` says, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        beta: float = 0.9,
        gamma: float = 0.6,
        threshold: float = 0.15,
        agreement: tuple[float, float] | None = (0.2, 0.5),
        agreement_periods: int = 80,
        noise: float = 0.03,
        unimodal_heads: HeadsArgument = "own",
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            RedReg(
                beta,
                gamma,
                threshold,
                agreement,
                agreement_periods,
                noise,
                unimodal_heads,
                unimodal_losses_included,
                window,
            ),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
