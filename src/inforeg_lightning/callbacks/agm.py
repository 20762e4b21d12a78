"""AGM: adaptive gradient modulation (ICCV 2023, arXiv 2308.07686)."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from inforeg_lightning.callbacks.base import sum_over_processes
from inforeg_lightning.callbacks.checks import check_head_unsharded
from inforeg_lightning.callbacks.head import HeadCall, plain_linear
from inforeg_lightning.callbacks.method import MethodCallback, WindowArgument
from inforeg_lightning.callbacks.scoring import StepScores
from inforeg_lightning.callbacks.tracker import Step
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.graph import redirect
from inforeg_lightning.core.modulation import agm_coefficients
from inforeg_lightning.core.scores import at_least_float32, log_probability
from inforeg_lightning.core.shapley import shapley_outputs, subsets

_LEAST_PROBABILITY = 1e-8
_LARGEST_ALPHA = 8.0
"""Coefficients reach exp(10 alpha), which float32 must hold."""


class AGMCallback(MethodCallback):
    r"""Slow each modality while it is further ahead than it used to be (Li et al., ICCV 2023).

    The output of the head is split into mono-modal outputs :math:`\phi_m`, its Shapley values over
    the subsets of modalities, and what is passed back through :math:`\phi_m` is multiplied by

    .. math:: \kappa_m = \exp(\alpha \min(\tau_m - r_m, 10)), \qquad
        r_m = \exp \frac{1}{M - 1} \sum_{j \ne m} (s_m - s_j)

    with :math:`s_m` the mean log-probability of the true class by :math:`\phi_m`, probabilities not
    below 1e-8, and :math:`\tau_m` the same as :math:`r_m` from the means of the scores over all
    steps before this one; in the first, :math:`\tau_m = 1`. The means go on outside the window,
    where :math:`\kappa_m = 1`. For any number of modalities, as in the authors' code. The forward
    pass and the loss are as they were.

    No extra pass through the encoders. A linear head is split exactly,
    :math:`\phi_m = z_m W_m^\top + c / M`, at the cost of one more pass through it. Any other is run
    for every subset but the empty one, whose output drops out, and the full one, which is the
    training's own: :math:`2^M - 2` more forward and backward passes through the head, in evaluation
    mode, and their activations in memory.

    The authors' code sets *inputs* to zero, and runs encoders and head for every subset; here
    features are set to zero at the head. It further clips the norm of all gradients at 1 where one
    of the head's exceeds 1: that is left to ``Trainer(gradient_clip_val=1.0)``, which clips always.
    Its differences are clipped at 10 for CREMA-D, at 7 for UR-Funny and not at all elsewhere. With
    accumulation, ratios and coefficients are those of each micro-batch (on all processes).
    A head sharded by FSDP2 is refused.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the module that makes the logits; needed.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the authors:
            always, or a range of epochs.
        alpha: How steeply the coefficient falls with the ratio, in (0, 8]; the authors' code has
            1.0, and 2.5 for AV-MNIST.
        K: Threshold of the windows that have one.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict a period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients as they are edited), ``change``, ``in_window``,
            ``score`` (mean log-probability of the true class by :math:`\phi_m`, not clipped) and
            ``coefficient`` (mean :math:`\kappa`). Logged under ``agm/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``head`` is missing, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    _prefix = "agm"
    _quantities = ("coefficient",)
    _edits_head = True

    _means: Tensor | None = None
    _steps: Tensor | None = None
    _shares: tuple[dict[str, Tensor], Tensor] | None
    _factors: Tensor | None
    _applied: list[Tensor]
    _scored: list[tuple[Tensor, Tensor]]

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        window: WindowArgument = "always",
        alpha: float = 1.0,
        K: float = 0.04,
        period: int | str = "epoch",
        combine: bool = False,
    ) -> None:
        if not 0 < alpha <= _LARGEST_ALPHA:
            raise ValueError(f"`alpha` must be in (0, 8] (the authors: 1.0), but is {alpha}")
        super().__init__(encoders, head, target, window, "log_prob", K, period, combine)
        self.alpha = alpha
        self._batch_scores = StepScores(self.modalities, _clipped_log_probability, True)

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Fill in the coefficients of this (micro-)batch, now that its scores are known."""
        shares, factors = self._shares, self._factors
        super().on_before_backward(trainer, pl_module, loss)  # takes the shares
        self._factors = None
        self._batch_scores.forget()
        self._batch_scores.add_loss(loss)
        if shares is not None:
            self._batch_scores.add(*shares)
        # Also without a call of the head: another process may have had one.
        scored = self._batch_scores.over_processes(partial(sum_over_processes, trainer))
        assert scored is not None
        coefficients = self._next_coefficients(*scored)
        if factors is not None:
            factors.copy_(coefficients)
            self._applied.append(factors)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Take the scores of the step into the running means."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if not self._scored:
            return
        scores, counts = (torch.stack(values) for values in zip(*self._scored, strict=True))
        self._scored = []  # another optimiser's step is of the same scores
        assert self._means is not None
        assert self._steps is not None
        step = torch.where(counts[:, None], scores, 0.0).sum(0) / counts.sum()
        self._steps = self._steps + counts.any()
        update = torch.where(counts.any(), (step - self._means) / self._steps, 0.0)
        self._means = self._means + update

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Let go of the batch."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._shares = self._factors = None

    def _edit_output(self, call: HeadCall, output: Tensor, target: Tensor) -> Tensor:
        edits = any(self._tracker.in_window.values())
        with torch.set_grad_enabled(edits):
            shares = _mono_modal_outputs(call, output)
        self._shares = {m: share.detach() for m, share in shares.items()}, target
        first = shares[self.modalities[0]]
        self._factors = factors = torch.ones(len(shares), dtype=first.dtype, device=first.device)
        if not edits:
            return output
        return redirect(output, [*shares.values()], factors.unbind())

    def _logits_of_batch(self, trainer: L.Trainer) -> list[tuple[Mapping[str, Tensor], Tensor]]:
        if self._shares is None or self._probe is None:
            return super()._logits_of_batch(trainer)
        shares, self._shares = self._shares, None
        return [shares]

    def _next_coefficients(self, scores: Tensor, counts: Tensor) -> Tensor:
        """The coefficients of a (micro-)batch, shape ``(M,)``; 1 if it does not count."""
        if self._means is None or self._steps is None:
            self._means, self._steps = torch.zeros_like(scores), torch.zeros_like(scores[0])
        self._means, self._steps = self._means.to(scores), self._steps.to(scores)
        self._scored.append((scores, counts))
        coefficients = agm_coefficients(scores, self._means, self.alpha)
        open_ = [self._tracker.in_window[m] for m in self.modalities]
        one = torch.ones_like(scores[0])
        coefficients = torch.stack(
            [c if acts else one for c, acts in zip(coefficients.unbind(), open_, strict=True)]
        )
        return torch.where(counts, coefficients, 1.0)

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        applied = torch.stack(self._applied).mean(0) if self._applied else None
        return {"coefficient": torch.ones_like(step.scores) if applied is None else applied}

    def _forget_step(self) -> None:
        super()._forget_step()
        self._applied, self._scored = [], []

    def _forget_batch(self) -> None:
        super()._forget_batch()
        self._shares = self._factors = None

    def _attach(self, trainer: L.Trainer) -> None:
        super()._attach(trainer)
        assert self._probe is not None
        check_head_unsharded(self._probe.head, self.head, type(self).__name__)

    def _reset(self) -> None:
        super()._reset()
        self._means = self._steps = None

    def _method_state(self, inside: bool) -> dict[str, Any]:
        return {
            "means": None if self._means is None else self._means.cpu(),
            "steps": None if self._steps is None else self._steps.cpu(),
        }

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._means, self._steps = state["means"], state["steps"]


def _mono_modal_outputs(call: HeadCall, output: Tensor) -> dict[str, Tensor]:
    if plain_linear(call.head) is not None:
        return call.unimodal()
    # The full set is the output that training goes on with: in training mode, and already there.
    outputs = {
        subset: at_least_float32(
            output if len(subset) == len(call.modalities) else call.only(subset)
        )
        for subset in subsets(call.modalities)
    }
    return shapley_outputs(outputs, call.modalities)


def _clipped_log_probability(logits: Tensor, target: Tensor) -> Tensor:
    return log_probability(logits, target).clamp(min=math.log(_LEAST_PROBABILITY))
