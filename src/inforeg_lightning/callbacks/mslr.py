"""MSLR: modality-specific learning rates (Findings of ACL 2022)."""

from collections.abc import Callable, Mapping, Sequence

from inforeg_lightning.callbacks._framework import Trainer
from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.mslr import MSLR, Rates


class MSLRCallback(MethodCallback):
    r"""Give each encoder a learning rate of its own (Yao and Mihalcea, Findings of ACL 2022).

    .. math:: w_m \leftarrow w_m + r_m \, \Delta w_m

    with :math:`\Delta w_m` the step that the optimiser makes at the learning rate of the others and
    :math:`r_m` the factor of m's own. This is, for every optimiser whose step is proportional to
    its learning rate, what a parameter group with :math:`r_m` times the rate does, momentum and
    weight decay included; the module's groups and schedulers stay as they are.

    The paper has three strategies, by second-hand accounts (not verified): *keep* the rates that
    were best for each modality alone, *smooth* them, or have them follow the validation of each
    modality (*dynamic*). They are
    :class:`~inforeg_lightning.methods.KeepRates`, :class:`~inforeg_lightning.methods.SmoothRates`
    and :class:`~inforeg_lightning.methods.DynamicRates`, to be given as ``rates``; any callable
    that looks at ``trainer.callback_metrics`` does as well, and fixed factors are a mapping or a
    sequence.

    No extra pass; a copy of the encoders whose factor is not 1 while the optimiser steps. The
    paper's late fusion adds classifiers that belong to one modality; here the head is shared, and
    keeps the common rate. Neither ``head`` nor ``report_unimodal`` is needed.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head, for scores in ``history``.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
        rates: Factor of the learning rate of each modality, >= 0: by name, in the order of
            ``encoders``, or ``trainer -> factors``, asked at the start of each period. Those of a
            modality not named are 1. No default: the paper's rates come from training each modality
            alone. Li et al. (ICCV 2023), who compare on CREMA-D, have 0.9 for audio and 1.1 for
            video as *initial* factors of the dynamic strategy.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        present: Where the batch says which samples have which modality, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (``None`` without logits)
            and ``rate`` (mean r). Logged under ``mslr/<quantity>/<modality>``.

    Raises:
        ValueError: ``rates`` is missing, out of range or of other modalities; the optimiser is
            LBFGS, whose steps are searched for; or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        rates: Rates | Callable[[Trainer], Rates] | None = None,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            MSLR(rates, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
