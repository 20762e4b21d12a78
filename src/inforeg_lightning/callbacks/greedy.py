"""Greedy: balanced learning by the conditional learning speed (ICML 2022, arXiv 2202.05306)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.greedy import Greedy


class GreedyCallback(MethodCallback):
    r"""Cut the branch that lags off from what the others tell it (Wu et al., ICML 2022).

    For networks whose encoders, the branches, exchange what they know through gating modules, such
    as :class:`~inforeg_lightning.models.MMTM`. The conditional learning speed of a branch compares
    the weights :math:`w'_m` that make its gates with its own, over all regular steps i so far:

    .. math:: s_m = \log_{10} \sum_i \mu(w'_m; i) - \log_{10} \sum_i \mu(w_m; i),
        \qquad \mu(w; i) = \lVert g_i \rVert^2 / \lVert w_i \rVert^2

    When the speeds lie further apart than ``tolerance``, the next ``steps`` steps rebalance: the
    gates of the branch of the highest speed are replaced by their running mean over the training,
    so that it has to learn from its own input. Those steps are not measured.

    A gating module is any module with an attribute ``excite``, an ``nn.ModuleDict``: modality ->
    the module that makes the gates of that modality, shape ``(B, C)``, by which the branch's
    channels are multiplied. What else it holds is shared by all modalities, and counts for each.
    A network that fuses in its head only has none: see :class:`AlternatingGreedyCallback`.

    No extra pass; a mean of the gates in memory. On several processes the mean that stands in a
    batch is of all earlier batches and of this process's part of this one. More than two
    modalities, which the paper does not treat, are compared by the highest and the lowest speed.

    Written from the authors' program (``src/callbacks.py`` and ``src/balanced_mmtm.py`` of
    nyukat/greedy_multimodal_learning), which differs in two points: its running mean of the second
    branch's gates is made of the first's, by a slip; and its means also take in the batches of
    validation and test. Its loss is one cross-entropy per branch, added: that is the module's own.

    Args:
        encoders: Modality -> attribute path, or several, of its branch; the authors count the
            branch's classifier as part of it.
        head: Attribute path of a fusion head, for scores in ``history``; ``None`` as a rule: behind
            gates, features are no longer of one modality, and cannot be split. Give scores by
            :func:`~inforeg_lightning.report_unimodal`, or none.
        gates: Attribute path, or several, of the gating modules.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        tolerance: How far the speeds may lie apart, ``ε``, >= 0; authors' code: 0.01.
        steps: For how many steps a branch is cut off, ``Q``, > 0; authors' code: 5.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; by default, as in
            the authors' code, after the first epoch. Speeds are measured from the start.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`; for scores and traces.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (``None`` without logits),
            ``speed`` (mean s) and ``rebalanced`` (share of the steps in which its gates were
            constant). Logged under ``greedy/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, a module at ``gates`` has no gates, there are
            several optimisers, parameters are sharded, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: ``gates`` is no attribute path, nor several.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        gates: str | Sequence[str],
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
            Greedy(gates, tolerance, steps, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
