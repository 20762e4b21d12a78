"""MMPareto: Pareto integration of joint and unimodal gradients (ICML 2024, arXiv 2405.17730)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods.mmpareto import MMPareto


class MMParetoCallback(MethodCallback):
    r"""Add unimodal losses, and let no encoder's step go against either loss (Wei & Hu, ICML 2024).

    With :math:`g` the gradient of the joint loss for the encoder of m and :math:`u` that of its
    unimodal loss, the cross-entropy of what a classifier of its own makes of m alone, the encoder
    is trained with

    .. math:: \gamma \max\left(1, \frac{\lVert g + u \rVert}{\lVert h \rVert}\right) h, \qquad
        h = 2 a g + 2 (1 - a) u, \qquad
        a = \begin{cases} 1/2 & \cos(g, u) \ge 0 \\
        \arg\min_a \lVert a g + (1 - a) u \rVert & \text{else} \end{cases}

    As in the authors' code, cosine and a are of the encoder as a whole, the norms of each parameter
    by itself. Each unimodal head is trained by its unimodal loss, the joint head by the joint loss
    (and by the unimodal ones, if it is shared). A modality outside its window has no unimodal loss,
    and its encoder keeps its gradient; M > 2 is the same formula.

    One more backward pass through each encoder in its window, and one copy of these encoders'
    gradients between the steps (two more while a step is edited).

    Different from the authors' code: the unimodal gradient is subtracted from that of all losses,
    instead of one backward pass per loss, so that it is exact to rounding; the minimum is its
    closed form for two vectors, without clipping (theirs, at 0.001 and 0.999, is out of reach in
    conflict) and without a solver, which would make the host wait for the device; a cosine of
    exactly 0 is no conflict, as in the paper. Whatever else the module's loss holds counts as
    joint. Sharded parameters (FSDP2) are refused, and so are, at the first step, encoders whose
    graph cannot be gone through twice.

    Where modalities are missing, a unimodal loss is the mean over the samples that have the
    modality. In a step without one it has no loss, and its encoder keeps its gradient.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
        gamma: Factor of the encoders' gradients, > 0; the authors' 1.5.
        unimodal_heads: What makes the unimodal logits: ``"own"``, a linear head per modality, as in
            the authors' code, made before the optimisers are configured and in no ``state_dict`` of
            the module; ``"shared"``, the joint head with the features of one modality (its columns,
            if it is linear), with which the two losses hardly ever conflict; or a mapping from each
            modality to a module of yours (its attribute path, or the module).
        unimodal_losses_included: Whether the module's own loss has the unimodal losses already,
            each with weight 1; they are then not added again. ``unimodal_heads`` says of which
            heads, and the first step looks whether it is so. Where modalities are missing, the
            module's are means over the samples that have them, too.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        unimodal_heads: Modality -> its head; empty for ``"shared"``.
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            ``unimodal_heads`` (``"own"``, ``"shared"`` or ``"given"``), and by modality ``trace``
            (of the gradient of all losses), ``change``, ``in_window``, ``score`` (mean
            log-probability of the true class by the unimodal head), ``unimodal_loss`` (minus that),
            and ``cosine`` and ``weight``, means over the steps of the cosine and of a; ``None``
            where it did not act. Logged under ``mmpareto/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, the module's ``unimodal_losses`` is not what
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
        gamma: float = 1.5,
        unimodal_heads: HeadsArgument = "own",
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            MMPareto(gamma, unimodal_losses_included, window, unimodal_heads),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
