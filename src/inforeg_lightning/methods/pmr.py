"""PMR: prototypical modal rebalance (CVPR 2023, arXiv 2211.07089)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._autograd import attach_loss
from inforeg_lightning.core._numeric import sum_dtype
from inforeg_lightning.core.pmr import (
    blend_prototypes,
    class_totals,
    pmr_binary_coefficients,
    pmr_coefficients,
    prototype_sums,
)
from inforeg_lightning.engine.book.state import Lifetime, moved
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number, shown
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.methods._class_features import class_indices, flat_features, of_present
from inforeg_lightning.methods._prototype_sums import check_periods, sum_over

_USUAL = {"ratio": (0.2, 1e-2), "binary": (0.0, 0.0)}
"""Coefficients -> momentum and μ that go with them."""


class PMR(Method):
    r"""Pull the features of slower modalities to prototypes of classes (Fan et al., CVPR 2023).

    See :class:`~inforeg_lightning.callbacks.PMRCallback` for the equations, and for what
    ``history`` holds.

    Args:
        alpha: Weight of the cross-entropies, > 0; the paper has 1 or 2 by data set.
        coefficients: ``"ratio"``, the paper's, or ``"binary"``, the published code's.
        momentum: What is kept of a prototype, in [0, 1); 0.2 for ``"ratio"``, the default of the
            authors' program, and 0 for ``"binary"``, as nearly all of their commands have it.
        mu: Weight of the entropies, >= 0; 1e-2 for ``"ratio"``, where the paper has 1e-2 or 1e-3 by
            data set, and 0 for ``"binary"``, whose code has no entropies.
        entropy_periods: In how many periods, from the first, entropies count.
        window: When it acts; the paper: always.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of another kind than described.
    """

    name = "pmr"
    quantities = ("coefficient", "prototype_loss")
    edits_head = True

    prototypes: dict[str, Tensor]
    """Modality -> those of all classes, shape ``(C, D_m)``; without modalities never seen."""
    known: dict[str, Tensor]
    """Modality -> which classes have one, shape ``(C,)``, bool."""
    totals: dict[str, Tensor]
    """Modality -> as of ``class_totals``, in the period that is open, of this process alone."""
    _is_loaded: bool
    """Whether the totals are a checkpoint's, of all processes."""
    _weights: Tensor | None
    """Of the terms of this batch, shape ``(2 M,)``, to be filled in."""
    _measured: Tensor | None
    _applied: list[Tensor]

    def __init__(
        self,
        alpha: float = 1.0,
        coefficients: str = "ratio",
        momentum: float | None = None,
        mu: float | None = None,
        entropy_periods: int = 5,
        window: WindowArgument = "always",
    ) -> None:
        super().__init__(window, "prob")
        most = float("inf")
        self.alpha = check_number("alpha", alpha, 0, most, " (the paper: 1 or 2)", open_below=True)
        if coefficients not in _USUAL:
            raise ValueError(
                f"`coefficients` must be one of {[*_USUAL]}, but is {shown(coefficients)}"
            )
        self.coefficients = coefficients
        usual_momentum, usual_mu = _USUAL[coefficients]
        momentum = usual_momentum if momentum is None else momentum
        self.momentum = check_number("momentum", momentum, 0, 1, " (the authors: 0.2)")
        if self.momentum == 1:
            raise ValueError("`momentum` must be below 1 (the authors: 0.2), but is 1")
        mu = usual_mu if mu is None else mu
        self.mu = check_number("mu", mu, 0, most, " (the paper: 1e-2 or 1e-3)")
        if coefficients == "binary" and self.mu > 0:
            raise ValueError(
                f"`mu` must be 0 with coefficients='binary', whose code has no entropies, but is "
                f"{self.mu:g}. Leave it out, or pass coefficients='ratio', the paper's."
            )
        self.entropy_periods = check_periods(entropy_periods)
        self.add_state("prototypes", dict, Lifetime.FIT, saved="always")
        self.add_state("known", dict, Lifetime.FIT, saved="always")
        self.add_state("totals", dict, Lifetime.PERIOD, saved="always")
        self.add_state("_is_loaded", bool, Lifetime.FIT)
        self.add_state("_weights", None, Lifetime.BATCH)
        self.add_state("_measured", None, Lifetime.BATCH)
        self.add_state("_applied", list, Lifetime.STEP)

    @property
    def settings(self) -> dict[str, object]:
        """α, coefficients, momentum, μ, its periods and window."""
        return {
            "alpha": self.alpha,
            "coefficients": self.coefficients,
            "momentum": self.momentum,
            "mu": self.mu,
            "entropy_periods": self.entropy_periods,
            "window": self.window,
        }

    def attach(self, context: Context) -> None:
        """Go on from the prototypes of a checkpoint."""
        super().attach(context)
        self.prototypes = moved(self.prototypes, context.device)
        self.known = moved(self.known, context.device)
        # What all processes had seen goes on in one of them: it must not be added up again.
        is_another = self._is_loaded and context.processes.rank > 0
        self.totals = {} if is_another else moved(self.totals, context.device)
        self._is_loaded = False

    def forward(self, forward: Forward) -> Tensor:
        """Take in the features of a batch, and add the terms that pull at them to its loss."""
        classes = class_indices(forward, self.context)
        features = flat_features(forward, self.context)
        self._take_in(features, classes, forward)
        measured = [m for m in features if m in self.prototypes]
        if not measured:
            return forward.output
        sums = {
            m: prototype_sums(
                features[m],
                self.prototypes[m],
                self.known[m],
                of_present(classes, forward.present.get(m)),
            )
            for m in measured
        }
        none = torch.zeros_like(sums[measured[0]]).detach()
        every = [sums[m].detach() if m in sums else none for m in self.context.modalities]
        kept = torch.stack(every, dim=1).to(sum_dtype(none.device))
        self._measured = torch.cat([kept[:2], kept[3:]]).flatten()
        self._weights = torch.zeros_like(kept[:2]).flatten()
        return self._attach_terms(forward.output, sums, kept[3], self._weights.chunk(2))

    def before_backward(self, target: Tensor | None, finite: Tensor) -> None:
        """Fill in the weights of the terms of this (micro-)batch, from those of all processes."""
        if not self.prototypes:  # on no process
            return
        every = len(self.context.modalities)
        sums, weights = self._measured, self._weights
        self._weights = self._measured = None
        if sums is None:  # another process may have had a call of the head
            sums = torch.zeros(3 * every, dtype=sum_dtype(finite.device), device=finite.device)
        infinite = (~finite).to(sums.dtype).reshape(1)
        total = self.context.processes.sum(torch.cat([sums, infinite]))
        if weights is None:
            return
        strengths, losses, samples, infinite = torch.split(total, [every, every, every, 1])
        strengths, losses = strengths / samples, losses / samples  # NaN without a sample
        has = samples > 0
        of_all = torch.isfinite(torch.stack([strengths, losses])) | ~has
        acts = has & (infinite == 0) & of_all.all()
        if self.coefficients == "binary":
            speed = pmr_binary_coefficients(strengths)
            slow = torch.zeros_like(speed)
        else:
            speed, slow = pmr_coefficients(strengths)
        factors = torch.cat([self.alpha * speed, -self.mu * slow]) * self.context.scales.loss
        weights.copy_(torch.where(acts.repeat(2), factors, 0.0))
        self._applied.append(torch.stack([torch.where(acts, speed, 0.0), losses]))

    def edit(self, step: Step) -> Done:
        """Tell what was added: β and the cross-entropies, NaN where there was none."""
        zeros = torch.zeros_like(step.scores)
        if not self._applied:
            return {"coefficient": zeros, "prototype_loss": zeros + torch.nan}
        coefficients, losses = torch.stack(self._applied, dim=1)
        coefficient = {
            m: c
            for m, c in zip(step.modalities, coefficients.mean(0).unbind(), strict=True)
            if step.in_window[m]
        }
        return {"coefficient": coefficient, "prototype_loss": losses.nanmean(0)}

    def end_period(self) -> None:
        """Move the prototypes to the mean features of the period."""
        for modality, totals in self._totals_of_all().items():
            if modality not in self.prototypes:
                self.prototypes[modality] = torch.zeros_like(totals[:, :-1])
                self.known[modality] = torch.zeros_like(totals[:, 0], dtype=torch.bool)
            self.prototypes[modality], self.known[modality] = blend_prototypes(
                self.prototypes[modality], self.known[modality], totals, self.momentum
            )

    def state_dict(self, inside: bool = True) -> dict[str, Any]:
        """Prototypes, and the totals of all processes.

        All processes have to call it together if a period is open.

        Args:
            inside: Whether the period that is open goes on after this.
        """
        own, self.totals = self.totals, self._totals_of_all()
        try:
            return super().state_dict(inside)
        finally:
            self.totals = own

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from saved prototypes and totals."""
        super().load_state_dict(state)
        self._is_loaded = True

    def _take_in(self, features: Mapping[str, Tensor], classes: Tensor, forward: Forward) -> None:
        """Add the features of a batch to the totals of their classes."""
        count = forward.output.shape[1]
        for modality, z in features.items():
            kept = self.prototypes.get(modality)
            before = self.totals[modality][:, :-1] if modality in self.totals else kept
            if before is not None and before.shape != (count, z.shape[1]):
                raise ValueError(
                    f"{self.context.name} had {before.shape[0]} classes and features of {modality} "
                    f"{before.shape[1]} wide, and now has {count} and {z.shape[1]}. Pool features "
                    "that differ in length by batch before the head."
                )
            with torch.autocast(z.device.type, enabled=False):
                of_modality = of_present(classes, forward.present.get(modality))
                totals = class_totals(z.detach(), of_modality, count)
            own = self.totals.get(modality)
            self.totals[modality] = totals if own is None else own + totals

    def _attach_terms(
        self,
        output: Tensor,
        sums: Mapping[str, Tensor],
        samples: Tensor,
        weights: Sequence[Tensor],
    ) -> Tensor:
        """Add the terms of the modalities in their window, with weights still to be filled in.

        Args:
            output: What the head returned.
            sums: Modality -> what ``prototype_sums`` returns.
            samples: That these are of, shape ``(M,)``.
            weights: Of the cross-entropies and of the entropies, each of shape ``(M,)``.
        """
        with_entropy = self.mu > 0 and len(self.context.tracker.history) < self.entropy_periods
        for kind, of_kind in enumerate(weights[: 1 + with_entropy], start=1):
            for index, modality in enumerate(self.context.modalities):
                if modality in sums and self.context.in_window[modality]:
                    mean = sums[modality][kind] / samples[index].clamp(min=1.0)
                    output = attach_loss(output, mean, of_kind[index])
        return output

    def _totals_of_all(self) -> dict[str, Tensor]:
        """The totals of the open period over all processes, which have to call this together."""
        context = self.__dict__.get("context")
        # Between periods there is nothing to add up, and no other process has to be waited for.
        if (
            context is None
            or self._is_loaded
            or context.tracker.sums is None
            or context.processes.size == 1
        ):
            return dict(self.totals)
        return {
            modality: totals
            for modality in context.modalities
            if (totals := sum_over(context.processes, self.totals.get(modality), context.device))
            is not None
        }
