"""Unimodal losses: the joint loss plus the cross-entropy of each modality alone (joint*)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._autograd import attach_loss
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_head_unsharded, check_number
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.unimodal_heads import HeadsArgument, check_unimodal_heads
from inforeg_lightning.methods._unimodal_losses import check_none_included, unimodal_losses


class UnimodalLosses(Method):
    """Add the cross-entropy of each modality's unimodal logits to the loss (joint*, CVPR 2025).

    See :class:`~inforeg_lightning.callbacks.UnimodalLossesCallback` for the equation, and for what
    ``history`` holds.

    Args:
        weight: Of each unimodal loss, > 0; the paper: 1.
        unimodal_heads: What makes the unimodal logits; the paper: the shared head.
        window: When they are added; the paper: always.

    Raises:
        ValueError: An argument is out of range, or the model's own loss has unimodal losses.
        TypeError: An argument is of another kind than described.
    """

    name = "unimodal_losses"
    quantities = ("unimodal_loss",)
    edits_head = True

    def __init__(
        self,
        weight: float = 1.0,
        unimodal_heads: HeadsArgument = "shared",
        window: WindowArgument = "always",
    ) -> None:
        super().__init__(window)
        self.weight = check_number(
            "weight", weight, 0, float("inf"), " (the paper: 1)", open_below=True
        )
        self.unimodal_heads = check_unimodal_heads(unimodal_heads)

    @property
    def settings(self) -> dict[str, object]:
        """Weight of the losses, whose logits they are of, and window."""
        return {
            "weight": self.weight,
            "unimodal_heads": self.unimodal_heads,
            "window": self.window,
        }

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Refuse a model that says that its own loss has unimodal losses."""
        check_none_included(model, "UnimodalLosses")

    def attach(self, context: Context) -> None:
        """Check the head."""
        super().attach(context)
        if context.heads.kind == "shared" and context.head is not None:
            check_head_unsharded(context.head, context.head_path, context.name)

    def forward(self, forward: Forward) -> Tensor:
        """Add the unimodal losses to the loss of whoever goes backward through the output."""
        in_window = self.context.in_window
        if not any(in_window.values()):
            return forward.output
        losses = unimodal_losses(forward, self.context.heads.logits(forward), in_window)
        if not losses:
            return forward.output
        total = self.weight * torch.stack([*losses.values()]).sum()
        return attach_loss(forward.output, total, self.context.scales.loss)

    def edit(self, step: Step) -> Done:
        """Report the losses; edit nothing."""
        return {"unimodal_loss": -step.scores}
