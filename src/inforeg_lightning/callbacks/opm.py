"""OPM: on-the-fly prediction modulation (TPAMI 2024, arXiv 2410.11582)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.opm import OPM


class OPMCallback(MethodCallback):
    r"""Drop features of the modality that leads, the more the further (Wei et al., TPAMI 2024).

    With :math:`s_m` the mean probability of the true class by the unimodal logits of m in this
    batch, the features of m are dropped from each sample with probability

    .. math:: q_m = \begin{cases} \min(1, q_\text{base} (1 + \lambda \tanh(\rho_m - 1)))
        & \rho_m > 1 \\ 0 & \text{else} \end{cases}, \qquad \rho_m = \frac{s_m}{s_{m'}}

    in a share :math:`p_\text{exe}` of the steps. There, the features of all modalities that stay
    are divided by :math:`1 - \sum_m d_m q_m / \sum_m d_m`, with :math:`d_m` their number. What is
    dropped is a modality's features at the head, as a whole; a sample never loses all it has. Of
    more than two modalities, :math:`s_{m'}` is the mean of all others, and of those that lead each
    is dropped by itself. Scores are of the features before any was dropped.

    No extra pass through the encoders; the unimodal logits are those that every method scores.
    Random numbers come from the seed that training began with, by step, and are the same for one
    process and for several. What is dropped from one modality changes the gradients of the others.

    Different from the authors' code: the head is run on every sample (theirs leaves out those that
    lost everything, which two modalities never do); with accumulation it is drawn once per step
    whether anything is dropped. In every batch each process has to call the head, since the scores
    are of all processes.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head; needed.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        q_base: Drop probability of a modality that hardly leads, in (0, 1]; the authors'
            ``train_opm.sh`` has 0.5.
        lam: By how much of that it grows with the lead, λ >= 0; the same script has 0.5.
        p_exe: Share of the steps in which anything is dropped, in (0, 1]; the same script has 0.7.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; by default, as in
            the authors' code, after the first six epochs.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (mean probability of the
            true class) and ``probability`` (mean q over the steps, 0 in those in which nothing is
            dropped). Logged under ``opm/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``head`` is missing, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        q_base: float = 0.5,
        lam: float = 0.5,
        p_exe: float = 0.7,
        window: WindowArgument = (6, None),
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            OPM(q_base, lam, p_exe, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
