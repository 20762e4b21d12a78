"""PMR: prototypical modal rebalance (CVPR 2023, arXiv 2211.07089)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from inforeg_lightning.callbacks.base import sum_over_processes
from inforeg_lightning.callbacks.head import HeadCall
from inforeg_lightning.callbacks.history import Entry
from inforeg_lightning.callbacks.method import MethodCallback, WindowArgument
from inforeg_lightning.callbacks.scoring import sum_dtype
from inforeg_lightning.callbacks.tracker import Step
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.graph import attach_loss
from inforeg_lightning.core.prototypes import (
    blend_prototypes,
    class_totals,
    entropy,
    pmr_coefficients,
    prototype_log_probabilities,
)
from inforeg_lightning.core.scores import at_least_float32


class PMRCallback(MethodCallback):
    r"""Pull the features of slower modalities to prototypes of classes (Fan et al., CVPR 2023).

    .. math:: L = L_\text{CE} + \alpha \sum_m \beta_m L_\text{PCE}^m
            - \mu \sum_m \gamma_m H(p_m), \qquad
        p_m(k) \propto e^{-\lVert z_m - c_k^m \rVert}, \qquad
        \rho_m = \frac{\sum_i p_{m,i}(y_i)}{\sum_i p_{m',i}(y_i)}

    with :math:`L_\text{PCE}^m` the cross-entropy of :math:`p_m`, H its entropy,
    :math:`\beta_m = \operatorname{clip}(1 / \rho_m - 1, 0, 1)`, above 0 for the slower modality,
    :math:`\gamma_m = \operatorname{clip}(\rho_m - 1, 0, 1)`, above 0 for the faster, and m' the
    other one (Eq. 7 to 13). Coefficients and prototypes are constants to the gradient. The entropy
    is held up in the first few periods only. A prototype is the mean feature of its class over a
    period, moved by momentum, :math:`c \leftarrow \varepsilon c + (1 - \varepsilon) \bar z`
    (Eq. 12). Of more than two modalities, which the paper does not treat, :math:`\rho_m` is to the
    mean of all others.

    No extra pass through the encoders. In memory, for every class two of each feature. The terms go
    back through the encoders in the same backward pass, and leave the head alone.

    What differs from the paper and the authors' code: prototypes are of the features that the
    training steps of a period have seen, in training mode and while they change, and serve from the
    next period on; the authors pass a tenth of the data through the encoders once more before each
    epoch, in evaluation mode. So nothing is done in the first period. The authors' code has 0 and 1
    for β and no entropy term; this is the paper's formula. A class that was never seen has no
    prototype, and its samples count in none of the terms. With accumulation, coefficients are those
    of each micro-batch (on all processes).

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the module that makes the logits, from whose inputs the features are
            taken; needed. The parts of a modality, whatever their shapes ``(B, ...)``, are
            flattened and concatenated to ``(B, D)``, the same D in every batch.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
            Prototypes are kept outside of it too.
        alpha: Weight of the cross-entropies, > 0; the paper has 1 or 2 by data set.
        momentum: What is kept of a prototype, :math:`\varepsilon`, in [0, 1); the authors' 0.2.
        mu: Weight of the entropies, >= 0; the paper has 1e-2 or 1e-3 by data set.
        entropy_periods: In how many periods, from the first, entropies count. The paper says "the
            first few epochs"; the number is ours.
        K: Threshold of the windows that have one.
        period: ``"epoch"`` or a number of optimiser steps: what prototypes, windows and history
            count in.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict a period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradients with these terms), ``change``, ``in_window``,
            ``score`` (mean probability of the true class by the unimodal logits),
            ``coefficient`` (mean β that was applied) and ``prototype_loss`` (mean
            :math:`L_\text{PCE}`, ``None`` without prototypes). Logged under
            ``pmr/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, ``head`` is missing, features or logits have
            another shape than described, or as for :class:`~inforeg_lightning.InfoRegCallback`.
    """

    _prefix = "pmr"
    _quantities = ("coefficient", "prototype_loss")
    _edits_head = True

    _prototypes: Tensor | None = None
    """Of all modalities side by side, shape ``(C, D_1 + ... + D_M)``."""
    _known: Tensor | None = None
    _totals: Tensor | None = None
    """Of this process, in the period that is open; shape ``(C, D_1 + ... + D_M + 1)``."""
    _is_loaded: bool = False
    """Whether the totals are a checkpoint's, of all processes."""
    _sum: Callable[[Tensor], Tensor] | None = None
    _weights: Tensor | None
    _measured: Tensor | None
    _applied: list[Tensor]

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        window: WindowArgument = "always",
        alpha: float = 1.0,
        momentum: float = 0.2,
        mu: float = 1e-2,
        entropy_periods: int = 5,
        K: float = 0.04,
        period: int | str = "epoch",
        combine: bool = False,
    ) -> None:
        if not 0 < alpha < float("inf"):
            raise ValueError(f"`alpha` must be positive (the paper: 1 or 2), but is {alpha}")
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1) (the authors: 0.2), but is {momentum}")
        if not 0 <= mu < float("inf"):
            raise ValueError(f"`mu` must be at least 0 (the paper: 1e-2 or 1e-3), but is {mu}")
        if type(entropy_periods) is not int or entropy_periods < 0:
            raise ValueError(
                f"`entropy_periods` must be a number of periods from 0, but is {entropy_periods!r}"
            )
        super().__init__(encoders, head, target, window, "prob", K, period, combine)
        self.alpha, self.momentum, self.mu = alpha, momentum, mu
        self.entropy_periods = entropy_periods

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Fill in the weights of the terms of this (micro-)batch, from those of all processes."""
        super().on_before_backward(trainer, pl_module, loss)
        if self._prototypes is None:  # on no process
            return
        sums = self._measured
        if sums is None:  # another process may have had a call of the head
            sums = loss.new_zeros(2 * len(self.modalities) + 1, dtype=sum_dtype(loss.device))
        infinite = (~torch.isfinite(loss.detach()).all()).to(sums.dtype).reshape(1)
        total = sum_over_processes(trainer, torch.cat([sums, infinite]))
        weights, self._weights, self._measured = self._weights, None, None
        if weights is None:
            return
        means, samples, infinite = total[:-2] / total[-2], total[-2], total[-1]
        strengths, losses = means.chunk(2)
        speed, slow = pmr_coefficients(strengths)
        acts = (samples > 0) & (infinite == 0) & torch.isfinite(means).all()
        factors = torch.cat([self.alpha * speed, -self.mu * slow]) * self._loss_scale
        weights.copy_(torch.where(acts, factors, 0.0))
        self._applied.append(torch.stack([torch.where(acts, speed, 0.0), losses]))

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
        self._weights = self._measured = None

    def _edit_output(self, call: HeadCall, output: Tensor, target: Tensor) -> Tensor:
        features = self._flat_features(call, output, target)
        self._take_in(features, output, target)
        if self._prototypes is None or self._known is None:
            return output
        has_prototype = self._known[target.clamp(min=0)] & (target >= 0)
        samples = has_prototype.sum().to(sum_dtype(output.device))
        widths = [z.shape[1] for z in features.values()]
        strengths, losses, entropies = [], [], []
        by_modality = torch.split(self._prototypes, widths, dim=1)
        for z, prototypes in zip(features.values(), by_modality, strict=True):
            log_p = prototype_log_probabilities(z, prototypes, self._known)
            log_true = log_p.gather(1, target.clamp(min=0)[:, None])[:, 0]
            of_true = torch.where(has_prototype, log_true, 0.0)
            strengths.append(torch.where(has_prototype, log_true.exp(), 0.0).sum())
            losses.append(-of_true.sum())
            entropies.append(torch.where(has_prototype, entropy(log_p), 0.0).sum())
        self._measured = torch.stack([*strengths, *losses, samples]).detach()
        self._weights = torch.zeros(2 * len(features), dtype=samples.dtype, device=samples.device)
        return self._attach_terms(output, [*losses, *entropies], samples.clamp(min=1.0))

    def _attach_terms(self, output: Tensor, sums: Sequence[Tensor], samples: Tensor) -> Tensor:
        """Add the terms of the modalities in their window, with weights still to be filled in."""
        assert self._weights is not None
        every = len(self.modalities)
        with_entropy = self.mu > 0 and len(self.history) < self.entropy_periods
        weights = self._weights.unbind()
        for index in range(2 * every if with_entropy else every):
            if self._tracker.in_window[self.modalities[index % every]]:
                output = attach_loss(output, sums[index] / samples, weights[index])
        return output

    def _flat_features(self, call: HeadCall, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        if output.dim() != 2:
            raise ValueError(
                f"PMRCallback needs logits (B, C), but `head` returned {tuple(output.shape)}. Give "
                "as `head` the module that makes them."
            )
        flat = {}
        for modality, parts in call.features().items():
            if any(part.dim() < 2 or len(part) != len(target) for part in parts):
                raise ValueError(
                    f"PMRCallback needs features (B, ...) of one sample a row, but with "
                    f"{len(target)} targets those of {modality} have shapes "
                    f"{[tuple(part.shape) for part in parts]}. Pool them before the head."
                )
            flat[modality] = at_least_float32(torch.cat([p.flatten(1) for p in parts], dim=1))
        return flat

    def _take_in(self, features: Mapping[str, Tensor], output: Tensor, target: Tensor) -> None:
        """Add the features of a batch to the totals of their classes."""
        z = torch.cat([z.detach() for z in features.values()], dim=1)
        for kept, extra in ((self._totals, 1), (self._prototypes, 0)):
            if kept is not None and kept.shape != (output.shape[1], z.shape[1] + extra):
                raise ValueError(
                    f"PMRCallback had {kept.shape[0]} classes and features {kept.shape[1] - extra} "
                    f"wide in all, and now has {output.shape[1]} and {z.shape[1]}. Pool features "
                    "that differ in length by batch before the head."
                )
        with torch.autocast(z.device.type, enabled=False):
            totals = class_totals(z, target, output.shape[1])
        self._totals = totals if self._totals is None else self._totals + totals

    def _end_period(self, trainer: L.Trainer) -> Entry:
        totals = self._totals_of_all()
        if totals is not None:
            if self._prototypes is None or self._known is None:
                self._prototypes = torch.zeros_like(totals[:, :-1])
                self._known = torch.zeros_like(totals[:, 0], dtype=torch.bool)
            self._prototypes, self._known = blend_prototypes(
                self._prototypes, self._known, totals, self.momentum
            )
        self._totals = None
        return super()._end_period(trainer)

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        zeros = torch.zeros_like(step.scores)
        if not self._applied:
            return {"coefficient": zeros, "prototype_loss": zeros + float("nan")}
        coefficients, losses = torch.stack(self._applied).mean(0)
        coefficient = {
            m: c
            for m, c in zip(step.modalities, coefficients.unbind(), strict=True)
            if step.in_window[m]
        }
        return {"coefficient": coefficient, "prototype_loss": losses}

    def _totals_of_all(self) -> Tensor | None:
        """The totals of the open period over all processes."""
        if self._totals is None or self._is_loaded or self._sum is None:
            return self._totals
        return self._sum(self._totals.clone())

    def _forget_step(self) -> None:
        super()._forget_step()
        self._applied = []

    def _forget_batch(self) -> None:
        super()._forget_batch()
        self._weights = self._measured = None

    def _attach(self, trainer: L.Trainer) -> None:
        super()._attach(trainer)
        self._sum = partial(sum_over_processes, trainer)
        device = trainer.strategy.root_device
        if self._prototypes is not None and self._known is not None:
            self._prototypes, self._known = self._prototypes.to(device), self._known.to(device)
        if self._totals is not None and self._is_loaded:
            # What all processes had seen goes on in one of them: it must not be added up again.
            self._totals = self._totals.to(device) * float(trainer.is_global_zero)
        self._is_loaded = False

    def _detach(self) -> None:
        super()._detach()
        self._sum = None

    def _reset(self) -> None:
        super()._reset()
        self._prototypes = self._known = self._totals = None
        self._is_loaded = False

    def _method_state(self, inside: bool) -> dict[str, Any]:
        # Lightning asks every process for its state, and keeps that of the first.
        kept = {
            "prototypes": self._prototypes,
            "known": self._known,
            "totals": self._totals_of_all(),
        }
        return {name: None if value is None else value.cpu() for name, value in kept.items()}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._prototypes, self._known = state["prototypes"], state["known"]
        self._totals, self._is_loaded = state["totals"], True
