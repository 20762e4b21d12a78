"""AlternatingGreedy: a late-fusion translation of Greedy (ICML 2022, arXiv 2202.05306)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.alternating_greedy import AlternatingGreedy


class AlternatingGreedyCallback(MethodCallback):
    r"""Train the modality whose encoder lags alone for some steps: our late-fusion Greedy.

    This is not the algorithm of Wu et al. (ICML 2022), which needs modules for the exchange between
    the encoders (MMTM) and is :class:`GreedyCallback`. It takes over their conditional learning
    speed and their schedule, for networks whose encoders meet in the head only, and is far more
    drastic: with the defaults, five of six steps train a single modality.

    The conditional learning speed of a modality compares the weights through which the network
    uses it with those that learn it, over all steps i so far:

    .. math:: s_m = \log_{10} \sum_i \mu(w^{fusion}_m; i) - \log_{10} \sum_i \mu(w_m; i),
        \qquad \mu(w; i) = \lVert g_i \rVert^2 / \lVert w_i \rVert^2

    When the speeds lie further apart than ``tolerance``, the next ``steps`` steps train the
    modality of the highest alone: the features of all others are replaced by their running mean,
    so that their encoders get a gradient of zero. Those steps are not measured.

    What is translated: the fusion weights of m are the columns of a linear head that take the
    features of m, for other heads all their weights, shared by all modalities as the authors share
    theirs; and what is cut is what the head sees of the others, where the authors cut what the
    lagging encoder sees of them. More than two modalities, which the paper does not treat, are
    compared by the highest and the lowest speed.

    One more run of the head in each step of the window, in the mode it is in: a head with dropout
    draws twice. A mean of the features in memory.

    The authors' running mean includes the batch it replaces, ours ends with the step before.

    Where modalities are missing, speeds count the steps, and means the samples, that have them. A
    batch without the modality that is to be trained alone is trained as a whole; of a sample that
    misses one of the others, what stands in its place stays.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; by default, as in
            the authors' code, after the first epoch. Speeds are measured from the start.
        tolerance: How far the speeds may lie apart, ``α`` in the paper, >= 0; authors' code: 0.01.
        steps: For how many steps a modality is trained alone, ``Q``, > 0; authors' code: 5.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score``, ``speed`` (mean s) and
            ``alone`` (share of the steps that trained it alone). Logged under
            ``alternating_greedy/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, there are several optimisers, parameters are
            sharded, the features change their shape from batch to batch, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        tolerance: float = 0.01,
        steps: int = 5,
        window: WindowArgument = (1, None),
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            AlternatingGreedy(tolerance, steps, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
