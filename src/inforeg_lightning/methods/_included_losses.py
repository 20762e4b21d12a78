"""Whether a model's own loss has the unimodal losses that ``unimodal_losses_included`` says.

What the loss gives the heads besides what comes back through the joint logits is compared with the
gradients of the unimodal losses: it is their sum if, and only if, they are in the loss with weight
1. Regularisers of the encoders do not matter, nor what is done to the joint loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.methods._unimodal_losses import unimodal_losses

_ABSENT = 0.1
"""A smaller coefficient is none."""
_OTHER = 0.5
"""With more left over the coefficients say nothing: of strong class weights, say."""
_ROUNDING = 0.02
"""Of float32, and of what cancels; not asked of half precision, where more is lost."""


@dataclass(frozen=True)
class Included:
    """What is compared, of one forward pass.

    Args:
        output: What the training step goes on with in place of the joint logits.
        losses: Modality that the batch has -> its unimodal loss, with its graph.
        parameters: Of the heads that made the unimodal logits.
    """

    output: Tensor
    losses: Mapping[str, Tensor]
    parameters: Sequence[nn.Parameter]

    @classmethod
    def of(
        cls, context: Context, forward: Forward, unimodal: Mapping[str, Tensor], output: Tensor
    ) -> "Included":
        """What is compared of a call of the joint head.

        Args:
            context: Of the method.
            forward: The call.
            unimodal: Modality -> its unimodal logits.
            output: What the method returns for it.
        """
        heads = context.heads.parameters()
        if context.heads.kind == "shared" and context.head is not None:
            heads = [*context.head.parameters()]
        losses = unimodal_losses(forward, unimodal, dict.fromkeys(unimodal, True))
        return cls(output, losses, [p for p in heads if p.requires_grad])

    def check(self, loss: Tensor, context: Context) -> bool:
        """Check the training loss, once, before its backward pass; values are read on the host.

        Args:
            loss: With its graph, times the scales.
            context: Of the method.

        Returns:
            Whether there was something to compare; else the next loss may tell.

        Raises:
            ValueError: A unimodal loss is not in it, or with another weight than 1.
        """
        if not self.parameters or not loss.requires_grad:
            return True
        try:
            found = self._coefficients(loss, context.scales.loss)
        except RuntimeError as error:
            context.tracker.warn_once(
                "included losses",
                "cannot look whether the module's loss has the unimodal losses that "
                f"unimodal_losses_included=True says: {error}",
            )
            return True
        if found is None:
            return False
        coefficients, left = found
        exact = loss.dtype.itemsize >= 4 and not torch.is_autocast_enabled(loss.device.type)
        for modality, coefficient in coefficients.items():
            is_multiple = left < _ROUNDING and abs(coefficient - 1) > _ROUNDING
            is_absent = left < _OTHER and coefficient < _ABSENT
            if is_absent or (exact and is_multiple):
                raise ValueError(_refusal(context, modality, coefficient))
        if exact and left >= _ROUNDING:
            context.tracker.warn_once(
                "included losses",
                "the module's unimodal losses are not the mean cross-entropies with weight 1 that "
                f"{context.name} takes them for (class weights or label smoothing, say): "
                f"{left:.0%} of their gradient is another, and counts as joint.",
            )
        return True

    def _coefficients(
        self, loss: Tensor, scale: float | Tensor
    ) -> tuple[dict[str, float], float] | None:
        """Modality -> what its loss is multiplied by in the training loss; and what part is left.

        By least squares over the gradients for all heads. ``None`` if the training loss is not of
        these joint logits, or nothing is finite.
        """
        (of_output,) = torch.autograd.grad(
            loss, [self.output], retain_graph=True, allow_unused=True
        )
        if of_output is None:
            return None
        through = self._flat(self.output, of_output)
        besides = self._flat(loss, None) - through
        unit = torch.ones((), device=loss.device) * scale
        ours = torch.stack([self._flat(u, unit.to(u.dtype)) for u in self.losses.values()])
        solved = torch.linalg.lstsq(ours.cpu().T, besides.cpu()[:, None], driver="gelsd")
        coefficients = solved.solution[:, 0]
        left = (besides.cpu() - coefficients @ ours.cpu()).norm() / ours.cpu().sum(0).norm()
        if not (torch.isfinite(coefficients).all() and torch.isfinite(left)):
            return None
        return dict(zip(self.losses, coefficients.tolist(), strict=True)), float(left)

    def _flat(self, of: Tensor, seed: Tensor | None) -> Tensor:
        gradients = torch.autograd.grad(
            of, self.parameters, seed, retain_graph=True, allow_unused=True
        )
        pairs = zip(self.parameters, gradients, strict=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in pairs]
        return torch.cat([part.flatten().double() for part in parts])


def _refusal(context: Context, modality: str, coefficient: float) -> str:
    shared = context.heads.kind == "shared"
    whose = "the joint head" if shared else f"the head that `unimodal_heads` gives for {modality}"
    found = (
        "no such loss"
        if abs(coefficient) < _ABSENT
        else f"it with weight {coefficient:.3g} instead of 1"
    )
    return (
        f"unimodal_losses_included=True says that the module's loss has the cross-entropy of what "
        f"{whose} makes of {modality} alone, but in the first step it has {found}: {context.name} "
        "would take the gradient of another loss for it. If the module has heads of its own for "
        "its unimodal losses, map to them: unimodal_heads={'audio': 'audio_classifier', ...}; else "
        "have the callback bring the losses: unimodal_losses_included=False."
    )
