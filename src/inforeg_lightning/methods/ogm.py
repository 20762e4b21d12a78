"""OGM: on-the-fly gradient modulation (CVPR 2022, arXiv 2203.15332)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inforeg_lightning.core._dtensor import local_parts
from inforeg_lightning.core.ogm import ogm_coefficients
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number
from inforeg_lightning.engine.context import Context
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument

_PARAMETERS = ("all", "convolutions")
_CONVOLUTION = 4
"""Dimensions of a weight that the authors' code edits."""


class OGM(Method):
    """Scale down the gradients of the encoders that are ahead (Peng et al., CVPR 2022).

    See :class:`~inforeg_lightning.callbacks.OGMCallback` for the equations, and for what
    ``history`` holds.

    Args:
        alpha: How steeply the factor falls with the ratio, > 0. The authors' README: 0.1 is its
            default and for VGGSound, 0.8 for CREMA-D.
        window: When it acts; the paper: always. The authors' program: ``(0, 51)``.
        parameters: ``"all"`` of an encoder, as in the paper, or its ``"convolutions"``, the
            weights of four dimensions, as in the authors' program.

    Raises:
        ValueError: An argument is out of range, or no encoder has a weight of four dimensions
            although ``parameters="convolutions"``.
        TypeError: ``alpha`` is no number.
    """

    name = "ogm"
    quantities = ("coefficient",)

    def __init__(
        self, alpha: float = 0.1, window: WindowArgument = "always", parameters: str = "all"
    ) -> None:
        super().__init__(window, "prob")
        self.alpha = check_number(
            "alpha", alpha, 0, float("inf"), " (the authors: 0.1 to 0.8)", open_below=True
        )
        if parameters not in _PARAMETERS:
            raise ValueError(f"`parameters` must be one of {[*_PARAMETERS]}, but is {parameters!r}")
        self.parameters = parameters

    @property
    def settings(self) -> dict[str, object]:
        """α, window and parameters."""
        return {"alpha": self.alpha, "window": self.window, "parameters": self.parameters}

    def attach(self, context: Context) -> None:
        """Refuse to look for convolutions where there are none."""
        super().attach(context)
        self.check_parameters(context)

    def edit(self, step: Step) -> Done:
        """Multiply the gradients of the encoders in their window by their coefficients."""
        used = self.coefficients(step)
        for modality, held in step.held.items():
            if step.in_window[modality]:
                scale(self.edited(held), used[modality])
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

    def edited(self, held: Sequence[nn.Parameter]) -> list[Tensor]:
        """Those gradients of an encoder that are edited."""
        gradients = gradients_of(held)
        if self.parameters == "all":
            return gradients
        return [gradient for gradient in gradients if gradient.dim() == _CONVOLUTION]

    def check_parameters(self, context: Context) -> None:
        """Refuse to look for convolutions where there are none.

        Raises:
            ValueError: No encoder has a weight of four dimensions.
        """
        parameters = [p for e in context.encoders.values() for p in e.parameters]
        if self.parameters == "all" or any(p.dim() == _CONVOLUTION for p in parameters):
            return
        raise ValueError(
            "`parameters` is 'convolutions', but no encoder has a weight of four dimensions, so "
            f"that {context.name} would do nothing. Leave it at 'all'."
        )


def scale(gradients: list[Tensor], coefficient: Tensor) -> None:
    """Multiply gradients by a coefficient, shape ``()``, in place."""
    if gradients:
        parts = local_parts(gradients)
        torch._foreach_mul_(parts, coefficient.to(parts[0].dtype))
