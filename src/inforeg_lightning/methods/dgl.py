"""DGL: disentangled gradient learning (ICCV 2025, arXiv 2507.10213)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._autograd import attach_loss
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_head_unsharded, check_number
from inforeg_lightning.engine.context import Context, Forward, HeadInputs
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.probe.head import plain_linear
from inforeg_lightning.methods._unimodal_losses import check_none_included, unimodal_losses


class DGL(Method):
    """Train the head by the joint loss and the encoders by unimodal losses (Wei et al., ICCV 2025).

    See :class:`~inforeg_lightning.callbacks.DGLCallback` for the equations, and for what
    ``history`` holds.

    Args:
        alpha: Weight of the unimodal losses, > 0; the authors' code has 4.
        window: When it acts; the authors: always.

    Raises:
        ValueError: ``alpha`` is out of range, or the model has unimodal losses of its own.
        TypeError: ``alpha`` is no number.
    """

    name = "dgl"
    quantities = ("unimodal_loss",)
    edits_head = True
    replaces_features = True

    _logits: dict[str, Tensor] | None

    def __init__(self, alpha: float = 4.0, window: WindowArgument = "always") -> None:
        super().__init__(window)
        self.alpha = check_number(
            "alpha", alpha, 0, float("inf"), " (the authors: 2 to 5)", open_below=True
        )
        self.add_state("_logits", None, Lifetime.BATCH)

    @property
    def settings(self) -> dict[str, object]:
        """α and window."""
        return {"alpha": self.alpha, "window": self.window}

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Check that the model leaves the unimodal losses to the method."""
        check_none_included(model, "DGL")

    def attach(self, context: Context) -> None:
        """Refuse a head that cannot be run without its parameters."""
        super().attach(context)
        if context.head is not None and plain_linear(context.head) is None:
            check_head_unsharded(context.head, context.head_path, context.name)

    def features(self, inputs: HeadInputs) -> Mapping[str, Sequence[Tensor]] | None:
        """Cut the joint loss off the encoders in their window."""
        cut = {
            modality: [part.detach() for part in parts]
            for modality, parts in inputs.call.features().items()
            if parts and self.context.in_window[modality]
        }
        return cut or None

    def forward(self, forward: Forward) -> Tensor:
        """Add the unimodal losses, which pass by the head, to the loss of whoever goes backward."""
        in_window = self.context.in_window
        acts = any(in_window.values())
        with torch.set_grad_enabled(acts):
            logits = forward.call.unimodal_without_head()
        self._logits = {modality: z.detach() for modality, z in logits.items()}
        losses = unimodal_losses(forward, logits, in_window) if acts else {}
        if not losses:
            return forward.output
        total = self.alpha * torch.stack([*losses.values()]).sum()
        return attach_loss(forward.output, total, self.context.scales.loss)

    def unimodal_logits(self) -> Mapping[str, Tensor] | None:
        """Those of which the unimodal losses are."""
        return self._logits

    def before_backward(self, target: Tensor | None, finite: Tensor) -> None:
        """Let go of the logits, which are scored by now."""
        self._logits = None

    def edit(self, step: Step) -> Done:
        """Tell the unimodal losses; edit nothing."""
        return {"unimodal_loss": -step.scores}
