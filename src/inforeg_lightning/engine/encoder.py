"""One modality's encoder as the optimisers see it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import SGD, Optimizer


class Encoder:
    """The parameters of one modality.

    Args:
        modules: The modules of the encoder.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.parameters = list({id(p): p for m in modules for p in m.parameters()}.values())
        self.layer_weights = {
            id(part.weight)
            for module in modules
            for part in module.modules()
            if isinstance(part, nn.Linear | _ConvNd)
        }
        self.index = {id(p): index for index, p in enumerate(self.parameters)}

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters[0].device if self.parameters else torch.device("cpu")

    @property
    def is_trainable(self) -> bool:
        """Whether any parameter is."""
        return any(p.requires_grad for p in self.parameters)

    def held_by(self, optimizer: Optimizer) -> list[nn.Parameter]:
        """The encoder's parameters that an optimiser steps, in the encoder's order."""
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        return [parameter for parameter in self.parameters if id(parameter) in held]

    def pull_rate(self, optimizer: Optimizer) -> float | Tensor | None:
        """How far a constant gradient of 1 moves a weight: lr · (1 − dampening) / (1 − momentum).

        Returns:
            The largest of the groups that hold the encoder; ``None`` for all optimisers but SGD,
            whose step alone is proportional to the gradient.
        """
        if not isinstance(optimizer, SGD):
            return None
        rates = [
            group["lr"] * (1 - group["dampening"]) / (1 - group["momentum"])
            for group in optimizer.param_groups
            if any(id(p) in self.index for p in group["params"])
        ]
        return max(rates, default=None)


def gradients_of(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients of those that have one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
