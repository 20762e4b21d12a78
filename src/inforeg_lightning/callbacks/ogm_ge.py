"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement (CVPR 2022)."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from inforeg_lightning.callbacks.checks import check_unsharded
from inforeg_lightning.callbacks.ogm import OGMCallback
from inforeg_lightning.callbacks.tracker import Step
from inforeg_lightning.core.modulation import gradient_noise


class OGMGECallback(OGMCallback):
    r"""OGM and noise that makes up for what it takes from the gradients (Peng et al., CVPR 2022).

    .. math:: g_m \leftarrow k_m g_m + h_m, \qquad h_m \sim N(0, \Sigma_m)

    with :math:`k_m` as of :class:`OGMCallback` and :math:`\Sigma_m` the variance of the gradient
    before it is scaled (Eq. 12): as in the authors' code, that of the elements of each parameter's
    gradient, for all modalities whether or not they are scaled.

    No extra pass; two copies of one encoder's gradients while they are edited.

    The noise is the same on all processes, is drawn from a generator of its own, seeded anew for
    each step from ``torch.initial_seed()`` at the start of training, and so goes on after a resume
    as it would have. Parameters of one element, whose gradient has no variance, get none. Sharded
    parameters (FSDP2) are refused.

    Args and attributes are those of :class:`OGMCallback`; logged under ``ogm_ge/…``.
    """

    _prefix = "ogm_ge"
    _seed: int | None = None

    def _attach(self, trainer: L.Trainer) -> None:
        super()._attach(trainer)
        check_unsharded(self._tracker.encoders, type(self).__name__)
        if self._seed is None:
            self._seed = trainer.strategy.broadcast(torch.initial_seed())
        self._generators: dict[torch.device, torch.Generator] = {}

    def _reset(self) -> None:
        super()._reset()
        self._seed = None

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        assert self._seed is not None
        for held in step.held.values():
            device = held[0].device
            generator = self._generators.setdefault(device, torch.Generator(device))
            generator.manual_seed((self._seed * 1_000_003 + step.index) % 2**63)
        return super()._edit(step)

    def _modulate(self, gradients: list[Tensor], coefficient: Tensor, step: Step) -> None:
        noise = gradient_noise(gradients, self._generators[gradients[0].device])
        super()._modulate(gradients, coefficient, step)
        # An infinite gradient has no deviation to draw with, and must stay as it is.
        torch._foreach_add_(gradients, [torch.where(step.finite, h, 0.0) for h in noise])

    def _method_state(self, inside: bool) -> dict[str, Any]:
        return {"seed": self._seed}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._seed = state["seed"]
