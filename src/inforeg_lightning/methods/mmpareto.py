"""MMPareto: Pareto integration of joint and unimodal gradients (ICML 2024, arXiv 2405.17730)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._autograd import attach_loss
from inforeg_lightning.core.mmpareto import pareto_gradients, pareto_weight
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number, check_unsharded
from inforeg_lightning.engine.context import Context, Forward, Scales
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.probe.graph import nodes_of
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods._included_losses import Included
from inforeg_lightning.methods._unimodal_losses import (
    check_flag,
    check_heads,
    check_one_side,
    unimodal_losses,
)


class MMPareto(Method):
    """Add unimodal losses, and let no encoder's step go against either loss (Wei & Hu, ICML 2024).

    See :class:`~inforeg_lightning.callbacks.MMParetoCallback` for the equations, and for what
    ``history`` holds.

    Args:
        gamma: Factor of the encoders' gradients, > 0; the authors' 1.5.
        unimodal_heads: What makes the unimodal logits; the authors: a classifier per modality.
        unimodal_losses_included: Whether the model's own loss has the unimodal losses already,
            each with weight 1; they are then not added again.
        window: When it acts; the paper: always.

    Raises:
        ValueError: ``gamma`` is out of range, or the model's ``unimodal_losses`` is not what
            ``unimodal_losses_included`` says.
        TypeError: An argument is of another kind than described.
    """

    name = "mmpareto"
    quantities: ClassVar[tuple[str, ...]] = ("cosine", "weight", "unimodal_loss")
    edits_head = True

    _losses: dict[str, Tensor]
    _gradients: dict[nn.Parameter, Tensor]
    _found: dict[str, Tensor]
    """Modality -> what there is to tell, also of a step that several optimisers make."""
    _checked: set[str]
    _included: Included | None
    _has_looked: bool
    """Whether the model's loss has been seen to have the unimodal losses."""

    def __init__(
        self,
        gamma: float = 1.5,
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
        unimodal_heads: HeadsArgument = "own",
    ) -> None:
        super().__init__(window)
        self.gamma = check_number(
            "gamma", gamma, 0, float("inf"), " (the authors: 1.5)", open_below=True
        )
        self.unimodal_losses_included = check_flag(unimodal_losses_included)
        self.unimodal_heads = check_heads(unimodal_heads, self.unimodal_losses_included)
        self.add_state("_losses", dict, Lifetime.BATCH)
        self.add_state("_gradients", dict, Lifetime.STEP)
        self.add_state("_found", dict, Lifetime.STEP)
        self.add_state("_checked", set, Lifetime.FIT)
        self.add_state("_included", None, Lifetime.BATCH)
        self.add_state("_has_looked", bool, Lifetime.FIT)

    @property
    def settings(self) -> dict[str, object]:
        """γ, whose the unimodal losses are and of what logits, and window."""
        return {
            "gamma": self.gamma,
            "unimodal_losses_included": self.unimodal_losses_included,
            "unimodal_heads": self.unimodal_heads,
            "window": self.window,
        }

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Check that the unimodal losses come from one side, as the argument says."""
        check_one_side(model, "MMPareto", self.unimodal_losses_included)

    def attach(self, context: Context) -> None:
        """Check the parameters; the graphs are checked at the first step."""
        super().attach(context)
        check_unsharded(context.encoders, context.name)
        self._checked = set()

    def forward(self, forward: Forward) -> Tensor:
        """Add the unimodal losses to the loss of whoever goes backward through the output."""
        if not any(self.context.in_window.values()):
            return forward.output
        unimodal = self.context.heads.logits(forward)
        self._losses = unimodal_losses(forward, unimodal, self.context.in_window)
        if self.unimodal_losses_included and not self._has_looked:
            self._included = Included.of(self.context, forward, unimodal, forward.output)
        if self.unimodal_losses_included or not self._losses:
            return forward.output
        total = torch.stack([*self._losses.values()]).sum()
        return attach_loss(forward.output, total, self.context.scales.loss)

    def see_loss(self, loss: Tensor) -> None:
        """Check, once, that it has the unimodal losses if the user says so."""
        if self._included is not None:
            self._has_looked = self._included.check(loss, self.context)
            self._included = None

    def before_backward(self, target: Tensor | None, finite: Tensor) -> None:
        """Go backward through each encoder from its unimodal loss alone."""
        losses, self._losses = self._losses, {}
        for modality, loss in losses.items():
            encoder = self.context.encoders[modality]
            parameters = [p for p in encoder.parameters if p.requires_grad]
            if not parameters or not loss.requires_grad:
                continue
            if modality not in self._checked:
                _refuse_reentrant(modality, loss)
                self._checked.add(modality)
            for parameter, gradient in _backward(
                loss, parameters, self.context.scales, self.context.name
            ):
                before = self._gradients.get(parameter)
                self._gradients[parameter] = gradient if before is None else before + gradient

    def edit(self, step: Step) -> Done:
        """Put the Pareto gradient in the place of each encoder's in its window."""
        for modality, held in step.held.items():
            if step.in_window[modality]:
                # A modality that no sample has is left alone: its gradient is not times γ either.
                has = step.present[step.modalities.index(modality)]
                acts = step.finite & has
                gradients = gradients_of(held)
                unimodal = self._over_processes(held)
                joint = list(torch._foreach_sub(gradients, unimodal))
                edited, told = self.combine(joint, unimodal, acts)
                for gradient, new in zip(gradients, edited, strict=True):
                    gradient.copy_(torch.where(acts, new, gradient))
                found = torch.stack([*told]).to(step.scores.dtype)
                self._found[modality] = torch.where(has, found, torch.nan)
        names = self.quantities[:-1]
        nothing = step.scores.new_full((len(names),), torch.nan)
        found = torch.stack([self._found.get(m, nothing) for m in step.modalities])
        return {
            "unimodal_loss": -step.scores,
            **dict(zip(names, found.unbind(dim=1), strict=True)),
        }

    def combine(
        self, joint: Sequence[Tensor], unimodal: Sequence[Tensor], acts: Tensor
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """What comes in the place of the gradients of both losses, and what there is to tell.

        Args:
            joint: Gradients of an encoder's parameters for the joint loss.
            unimodal: Those for its unimodal loss.
            acts: Whether the result is used, shape ``()``, bool; the gradients may be infinite
                where it is not.

        Returns:
            Gradients of the same shapes; and one number, shape ``()``, for each of ``quantities``
            but the last.
        """
        cosine, weight = pareto_weight(joint, unimodal)
        return pareto_gradients(joint, unimodal, weight, self.gamma), (cosine, weight)

    def _over_processes(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """The unimodal gradients as DDP averages all others; zeros where the loss has none."""
        taken = [(p, self._gradients.pop(p, None)) for p in parameters]
        mine = [torch.zeros_like(p) if gradient is None else gradient for p, gradient in taken]
        if self.context.processes.size == 1:
            return mine
        flat = self.context.processes.mean(torch.cat([g.flatten() for g in mine]))
        parts = torch.split(flat, [p.numel() for p in parameters])
        return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


def _backward(
    loss: Tensor, parameters: Sequence[nn.Parameter], scales: Scales, name: str
) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters that a loss depends on, and its gradient for them as the step will see it."""
    # Filled, not copied: a copy would make the host wait for the device.
    scale = scales.loss
    seed = scale if isinstance(scale, Tensor) else torch.full_like(loss, scale)
    try:
        gradients = torch.autograd.grad(
            loss, parameters, seed.to(loss.dtype), retain_graph=True, allow_unused=True
        )
    except RuntimeError as error:
        raise RuntimeError(
            f"{name} goes backward through each encoder twice, which this one does not allow: "
            f"{error} For an encoder under torch.compile, set "
            "torch._functorch.config.donated_buffer = False before it is compiled."
        ) from error
    found = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
    if scales.gradient is None:
        return found
    return [(p, g / scales.gradient) for p, g in found]  # a scaler unscales .grad only


def _refuse_reentrant(modality: str, loss: Tensor) -> None:
    # Its inside is no part of the graph: the parameters there would seem not to matter to the loss.
    if any(node.name() == "CheckpointFunctionBackward" for node in nodes_of(loss.grad_fn)):
        raise ValueError(
            f"`encoders[{modality!r}]` is checkpointed with use_reentrant=True, through which the "
            "gradient of one loss alone cannot be taken. Use checkpoint(..., use_reentrant=False)."
        )
