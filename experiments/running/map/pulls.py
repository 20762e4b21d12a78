"""InfoReg's pull with a strength that says how far it holds back, whatever the set-up.

``ρ`` is how often per period the pull would bring an encoder home: ``α · rate · steps`` of a pull
``α (w − anchor)`` that is added to the gradient, where a gradient of 1 moves a weight by the rate.
The leader is held with the same ρ however far it leads. Of the study ``strength`` alone: what it
found says whether one of them belongs into the library.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.core.strength import gaps
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.methods import InfoReg
from inforeg_lightning.methods._anchors import anchors_of


class ByRho(InfoReg):
    """The pull of InfoReg with ``α = ρ / (rate · steps)``.

    The rate of SGD is ``lr / (1 − momentum)``. Adam divides each gradient by its root mean square,
    so that its rate is taken as ``lr`` over that of the encoder's gradients, by its own averages.

    Args:
        rho: ρ, 0 or more.
        steps: Per period.
    """

    def __init__(self, rho: float, steps: int) -> None:
        super().__init__(window="always")
        self.rho, self.steps = rho, steps
        self._alphas: list[Tensor] = []

    def strengths(self, scores: Tensor) -> Tensor:
        """α of the modalities that lead another, shape ``(M,)``."""
        return torch.where(gaps(scores) > 0, torch.stack(self._alphas).to(scores), 0.0)

    def edit(self, step: Step) -> Done:
        """Pull with the α of this step."""
        self._alphas = []
        for modality in step.modalities:
            held = step.held.get(modality, [])
            rate = self.context.encoders[modality].pull_rate(step.optimizer)
            if not isinstance(step.optimizer, SGD):
                rate = _rate_of_adam(step.optimizer, held)
            alpha = 0.0 if rate is None else self.rho / (rate * self.steps)
            self._alphas.append(torch.as_tensor(alpha))
        return super().edit(step)


class AfterStep(InfoReg):
    """The pull after the step, as AdamW decays weights: ``w ← w − (1 − e^{−ρ/steps})(w − anchor)``.

    No optimizer rescales it, and no momentum carries it on.

    Args:
        rho: ρ, 0 or more.
        steps: Per period.
    """

    quantities = ("gap",)
    sums = frozenset()

    def __init__(self, rho: float, steps: int) -> None:
        super().__init__(window="always")
        self.part = -torch.expm1(torch.tensor(-rho / steps)).item()
        self._handle: RemovableHandle | None = None

    def edit(self, step: Step) -> Done:
        """Begin a step after which the leader is pulled back."""
        gap = gaps(step.scores)
        part = torch.where((gap > 0) & step.finite, self.part, 0.0)
        begun = [
            (held, anchors_of(self.context.encoders[m], self.anchors.setdefault(m, {}), held), p)
            for m, p in zip(step.modalities, part, strict=True)
            if (held := list(step.held.get(m, [])))
        ]

        @torch.no_grad()
        def pull(*_: Any) -> None:
            assert self._handle is not None
            self._handle.remove()
            for held, anchors, part in begun:
                for weight, anchor in zip(held, anchors, strict=True):
                    weight.lerp_(anchor, part)

        self._handle = step.optimizer.register_step_post_hook(pull)
        return {"gap": gap}

    def describe_period(self, entry: Entry) -> None:
        """Add nothing: there was no pull in the gradients."""


def _rate_of_adam(optimizer: Optimizer, held: list[nn.Parameter]) -> Tensor | None:
    """``lr`` over the root mean square of the gradients; nothing before the first step."""
    states = [optimizer.state[p] for p in held if optimizer.state.get(p)]
    if not states:
        return None
    group = optimizer.param_groups[0]
    bias = 1 - group["betas"][1] ** states[0]["step"]
    squares = sum(state["exp_avg_sq"].sum() for state in states) / bias
    size = sum(state["exp_avg_sq"].numel() for state in states)
    return group["lr"] / ((squares / size).sqrt() + group["eps"])
