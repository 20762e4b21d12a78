"""MLB: multi-loss gradient modulation (BMVC 2024, arXiv 2405.07930)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._autograd import attach_loss
from inforeg_lightning.core.mlb import mlb_coefficients
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_head_unsharded, check_number
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.unimodal_heads import HeadsArgument, check_unimodal_heads
from inforeg_lightning.methods._unimodal_losses import check_none_included, unimodal_losses
from inforeg_lightning.methods.ogm import scale


class MLB(Method):
    """Scale the gradients of joint and unimodal losses both ways (Kontras et al., BMVC 2024).

    See :class:`~inforeg_lightning.callbacks.MLBCallback` for the equations, and for what
    ``history`` holds.

    Args:
        alpha: How steeply the factor changes with the ratio, > 0; the authors' 0.8.
        most: What the factor of a modality far behind tends to, >= 1; the authors' 2.
        unimodal_heads: What makes the unimodal logits; the authors: a classifier per modality.
        window: When it acts; the authors: always.

    Raises:
        ValueError: An argument is out of range, or the model's own loss has unimodal losses.
        TypeError: An argument is of another kind than described.
    """

    name = "mlb"
    quantities = ("coefficient",)
    edits_head = True

    _logits: dict[str, Tensor]

    def __init__(
        self,
        alpha: float = 0.8,
        most: float = 2.0,
        unimodal_heads: HeadsArgument = "own",
        window: WindowArgument = "always",
    ) -> None:
        super().__init__(window, "prob")
        above = float("inf")
        self.alpha = check_number(
            "alpha", alpha, 0, above, " (the authors: 0.8 or 1)", open_below=True
        )
        self.most = check_number("most", most, 1, above, " (the authors: 2)")
        self.unimodal_heads = check_unimodal_heads(unimodal_heads)
        self.add_state("_logits", dict, Lifetime.BATCH)

    @property
    def settings(self) -> dict[str, object]:
        """α, the largest factor, whose the unimodal logits are, and window."""
        return {
            "alpha": self.alpha,
            "most": self.most,
            "unimodal_heads": self.unimodal_heads,
            "window": self.window,
        }

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Refuse a model that says that its own loss has unimodal losses."""
        check_none_included(model, "MLB")

    def attach(self, context: Context) -> None:
        """Check the head."""
        super().attach(context)
        if context.heads.kind == "shared" and context.head is not None:
            check_head_unsharded(context.head, context.head_path, context.name)

    def forward(self, forward: Forward) -> Tensor:
        """Add the unimodal losses."""
        in_window = self.context.in_window
        if not any(in_window.values()):
            return forward.output
        unimodal = self.context.heads.logits(forward)
        self._logits = {m: z.detach() for m, z in unimodal.items()}
        losses = unimodal_losses(forward, unimodal, in_window)
        if not losses:
            return forward.output
        total = torch.stack([*losses.values()]).sum()
        return attach_loss(forward.output, total, self.context.scales.loss)

    def unimodal_logits(self) -> Mapping[str, Tensor] | None:
        """Those of the unimodal heads, whose scores are compared."""
        return self._logits or None

    def edit(self, step: Step) -> Done:
        """Multiply the gradients of the encoders in their window by their coefficients."""
        known = mlb_coefficients(step.scores, self.alpha, self.most)
        known = torch.where(step.finite, known, 1.0)
        used = dict(zip(step.modalities, torch.ones_like(known).unbind(), strict=True))
        for modality, held in step.held.items():
            if step.in_window[modality]:
                used[modality] = known[step.modalities.index(modality)]
                scale(gradients_of(held), used[modality])
        return {"coefficient": used}
