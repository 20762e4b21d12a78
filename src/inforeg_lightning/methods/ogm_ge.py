"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement (CVPR 2022)."""

import torch

from inforeg_lightning.core.ogm import gradient_noise
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_unsharded
from inforeg_lightning.engine.context import Context
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.methods.ogm import OGM, scale


class OGMGE(Method):
    """OGM, and noise that makes up for what it takes from the gradients (Peng et al., CVPR 2022).

    See :class:`~inforeg_lightning.callbacks.OGMGECallback` for the equations, and for what
    ``history`` holds.

    Args:
        alpha: As for :class:`~inforeg_lightning.methods.OGM`.
        window: As for :class:`~inforeg_lightning.methods.OGM`.
        parameters: As for :class:`~inforeg_lightning.methods.OGM`.

    Raises:
        ValueError: As for :class:`~inforeg_lightning.methods.OGM`.
        TypeError: ``alpha`` is no number.
    """

    name = "ogm_ge"
    quantities = OGM.quantities

    _seed: int | None

    def __init__(
        self, alpha: float = 0.1, window: WindowArgument = "always", parameters: str = "all"
    ) -> None:
        self._ogm = OGM(alpha, window, parameters)
        super().__init__(window, self._ogm.score)
        self.alpha = self._ogm.alpha
        self.parameters = self._ogm.parameters
        self._generators: dict[torch.device, torch.Generator] = {}
        self.add_state("_seed", None, Lifetime.FIT, saved="always")

    @property
    def settings(self) -> dict[str, object]:
        """α, window and parameters."""
        return self._ogm.settings

    def attach(self, context: Context) -> None:
        """Draw the noise of all processes from one seed, that of the start of training."""
        super().attach(context)
        check_unsharded(context.encoders, context.name)
        self._ogm.check_parameters(context)
        if self._seed is None:
            self._seed = context.processes.broadcast(torch.initial_seed())
        self._generators = {}

    def detach(self) -> None:
        """Let go of the generators, which cannot be pickled."""
        super().detach()
        self._generators = {}

    def edit(self, step: Step) -> Done:
        """Modulate as OGM does, and add noise as wide as the gradients were before."""
        used = self._ogm.coefficients(step)
        self._seed_generators(step)
        for modality, held in step.held.items():
            if step.in_window[modality]:
                gradients = self._ogm.edited(held)
                if not gradients:
                    continue
                noise = gradient_noise(gradients, self._generators[gradients[0].device])
                scale(gradients, used[modality])
                # An infinite gradient has no deviation to draw with, and must stay as it is.
                torch._foreach_add_(gradients, [torch.where(step.finite, h, 0.0) for h in noise])
        return {"coefficient": used}

    def _seed_generators(self, step: Step) -> None:
        assert self._seed is not None
        for held in step.held.values():
            device = held[0].device
            if device not in self._generators:
                self._generators[device] = torch.Generator(device)
            self._generators[device].manual_seed((self._seed * 1_000_003 + step.index) % 2**63)
