"""OGM: on-the-fly gradient modulation (CVPR 2022, arXiv 2203.15332)."""

import torch
from torch import Tensor

from inforeg_lightning.core._dtensor import local_parts
from inforeg_lightning.core.ogm import ogm_coefficients
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument


class OGM(Method):
    """Scale down the gradients of the encoders that are ahead (Peng et al., CVPR 2022).

    See :class:`~inforeg_lightning.callbacks.OGMCallback` for the equations, and for what
    ``history`` holds.

    Args:
        alpha: How steeply the factor falls with the ratio, > 0; the paper's 0.1 for CREMA-D.
        window: When it acts; the paper: always.

    Raises:
        ValueError: ``alpha`` is out of range.
        TypeError: ``alpha`` is no number.
    """

    name = "ogm"
    quantities = ("coefficient",)

    def __init__(self, alpha: float = 0.1, window: WindowArgument = "always") -> None:
        super().__init__(window, "prob")
        self.alpha = check_number(
            "alpha", alpha, 0, float("inf"), " (the paper: 0.1 to 0.8)", open_below=True
        )

    @property
    def settings(self) -> dict[str, object]:
        """α and window."""
        return {"alpha": self.alpha, "window": self.window}

    def edit(self, step: Step) -> Done:
        """Multiply the gradients of the encoders in their window by their coefficients."""
        used = self.coefficients(step)
        for modality, held in step.held.items():
            if step.in_window[modality]:
                scale(gradients_of(held), used[modality])
        return {"coefficient": used}

    def coefficients(self, step: Step) -> dict[str, Tensor]:
        """Modality -> its coefficient in a step, shape ``()``; 1 where it is left alone."""
        known = ogm_coefficients(step.scores, self.alpha)
        known = torch.where(step.finite, known, 1.0)
        used = dict(zip(step.modalities, torch.ones_like(known).unbind(), strict=True))
        for modality in step.held:
            if step.in_window[modality]:
                used[modality] = known[step.modalities.index(modality)]
        return used


def scale(gradients: list[Tensor], coefficient: Tensor) -> None:
    """Multiply gradients by a coefficient, shape ``()``, in place."""
    parts = local_parts(gradients)
    torch._foreach_mul_(parts, coefficient.to(parts[0].dtype))
