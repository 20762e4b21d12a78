"""What the methods share that train with a loss of each modality beside the joint one."""

from collections.abc import Mapping, Sequence

import lightning.pytorch as L
import torch.nn.functional as F
from torch import Tensor

from inforeg_lightning.callbacks.head import HeadCall
from inforeg_lightning.callbacks.method import MethodCallback, WindowArgument
from inforeg_lightning.callbacks.scoring import check_classes
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.scores import at_least_float32


class UnimodalLossCallback(MethodCallback):
    """Base of the methods that need the cross-entropy of each modality's unimodal logits.

    Args:
        encoders: As for the base.
        head: Attribute path of the fusion head; such a method cannot do without.
        target: As for the base.
        window: As for the base.
        unimodal_losses_included: Whether the module's own loss has the unimodal losses already,
            each with weight 1.
        K: As for the base.
        period: As for the base.
        combine: As for the base.
    """

    _edits_head = True

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None,
        target: Target,
        window: WindowArgument,
        unimodal_losses_included: bool,
        K: float,
        period: int | str,
        combine: bool,
    ) -> None:
        if not isinstance(unimodal_losses_included, bool):
            raise TypeError(
                f"`unimodal_losses_included` must be a bool, but is {unimodal_losses_included!r}"
            )
        super().__init__(encoders, head, target, window, "log_prob", K, period, combine)
        self.unimodal_losses_included = unimodal_losses_included

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that the unimodal losses come from one side, as the argument says."""
        has = getattr(pl_module, "unimodal_losses", None)
        if stage == "fit" and isinstance(has, bool) and has != self.unimodal_losses_included:
            raise ValueError(
                f"{type(pl_module).__name__} has unimodal_losses={has}, but "
                f"{type(self).__name__} has "
                f"unimodal_losses_included={self.unimodal_losses_included}. Give both the same "
                "value: with False the callback brings the unimodal losses, with True the module."
            )
        super().setup(trainer, pl_module, stage)

    def _unimodal_losses(self, call: HeadCall, target: Tensor) -> dict[str, Tensor]:
        """Modality in its window -> the mean cross-entropy of its logits, with a graph."""
        if not any(self._tracker.in_window.values()):
            return {}
        losses = {}
        for modality, logits in call.unimodal().items():
            if self._tracker.in_window[modality]:
                check_classes(modality, logits, target)
                losses[modality] = F.cross_entropy(at_least_float32(logits), target.long())
        return losses
