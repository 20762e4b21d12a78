"""MSLR: modality-specific learning rates (Findings of ACL 2022)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.callbacks.method import MethodCallback, WindowArgument
from inforeg_lightning.callbacks.tracker import Step
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.shards import local_parts

Rates = Mapping[str, float] | Sequence[float]


class MSLRCallback(MethodCallback):
    r"""Give each encoder a learning rate of its own (Yao and Mihalcea, Findings of ACL 2022).

    .. math:: w_m \leftarrow w_m + r_m \, \Delta w_m

    with :math:`\Delta w_m` the step that the optimiser makes at the learning rate of the others and
    :math:`r_m` the factor of m's own. This is, for every optimiser whose step is proportional to
    its learning rate, what a parameter group with :math:`r_m` times the rate does, momentum and
    weight decay included; the module's groups and schedulers stay as they are.

    The paper finds the rates on each modality alone and *keeps* them: a mapping or sequence here.
    Its other strategies change them during training: give a callable, which is asked at the start
    of each period and may look at ``trainer.callback_metrics``.

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
            ``encoders``, or ``trainer -> factors``. Those of a modality not named are 1. The paper
            has no default. (Li et al. 2023, comparing on CREMA-D: audio 0.9, video 1.1.)
        K: Threshold of the windows that have one.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict a period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (``None`` without logits)
            and ``rate`` (mean r). Logged under ``mslr/<quantity>/<modality>``.

    Raises:
        ValueError: ``rates`` is missing, out of range or of other modalities; the optimiser is
            LBFGS, whose steps are searched for; or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    _prefix = "mslr"
    _quantities = ("rate",)
    _needs_scores = False

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        window: WindowArgument = "always",
        rates: Rates | Callable[[L.Trainer], Rates] | None = None,
        K: float = 0.04,
        period: int | str = "epoch",
        combine: bool = False,
    ) -> None:
        super().__init__(encoders, head, target, window, "log_prob", K, period, combine)
        self.rates = rates
        self._factors = {} if callable(rates) else _check(rates, self.modalities)
        self._pending: dict[int, RemovableHandle] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse an optimiser whose steps have no rate."""
        super().on_fit_start(trainer, pl_module)
        if any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
            raise ValueError(
                "MSLRCallback cannot scale the steps of LBFGS, which searches for their length. "
                "Use another optimiser."
            )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ask for the rates at the first batch of a period, or after a resume."""
        if callable(self.rates) and (self._tracker.period is None or not self._factors):
            self._factors = _check(self.rates(trainer), self.modalities)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        one = torch.ones_like(next(iter(step.squared_norms.values())))
        used = dict.fromkeys(step.modalities, one)
        self._forget_pending(step.optimizer)  # of a step that a gradient scaler has left out
        begun: list[tuple[list[Tensor], list[Tensor], Tensor]] = []
        for modality, held in step.held.items():
            factor = self._factors[modality] if step.in_window[modality] else 1.0
            if factor != 1:
                weights = local_parts([p.detach() for p in held])
                rate = torch.where(step.finite, torch.full_like(one, factor), 1.0)
                begun.append((weights, [w.clone() for w in weights], rate))
                used[modality] = rate
        if begun:
            self._pending[id(step.optimizer)] = step.optimizer.register_step_post_hook(
                lambda optimizer, *_: self._finish(optimizer, begun)
            )
        return {"rate": used}

    def _finish(
        self, optimizer: Optimizer, begun: list[tuple[list[Tensor], list[Tensor], Tensor]]
    ) -> None:
        """Go back from where the optimiser went to ``r`` times as far."""
        self._forget_pending(optimizer)
        for weights, before, rate in begun:
            back = torch._foreach_sub(before, weights)
            torch._foreach_mul_(back, (1 - rate).to(weights[0].dtype))
            torch._foreach_add_(weights, back)

    def _forget_pending(self, optimizer: Optimizer) -> None:
        handle = self._pending.pop(id(optimizer), None)
        if handle is not None:
            handle.remove()

    def _detach(self) -> None:
        super()._detach()
        for handle in self._pending.values():
            handle.remove()
        self._pending.clear()

    def _method_state(self, inside: bool) -> dict[str, Any]:
        return {"rates": self._factors if inside else {}}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        if callable(self.rates):
            self._factors = dict(state["rates"])


def _check(rates: Rates | None, modalities: Sequence[str]) -> dict[str, float]:
    """A factor for each modality."""
    if isinstance(rates, Mapping):
        named = dict(rates)
    elif isinstance(rates, Sequence) and len(rates) == len(modalities):
        named = dict(zip(modalities, rates, strict=True))
    else:
        raise ValueError(
            f"`rates` must give a factor of the learning rate for each of {[*modalities]}, as a "
            f"mapping or a sequence, but is {rates!r}"
        )
    for modality, factor in named.items():
        if modality not in modalities:
            raise ValueError(f"`rates` names {modality!r}, but the encoders are {[*modalities]}")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < 1e9:
            raise ValueError(f"`rates[{modality!r}]` must be a number >= 0, but is {factor!r}")
    return {modality: float(named.get(modality, 1.0)) for modality in modalities}
