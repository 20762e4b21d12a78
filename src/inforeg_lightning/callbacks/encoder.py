"""One modality's encoder as the optimisers and the regulation see it."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import SGD, Optimizer

from inforeg_lightning.core.regulation import pull
from inforeg_lightning.core.shards import split_like, whole


class Encoder:
    """The parameters of one modality, and their anchors while it is regulated.

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
        self._index = {id(p): index for index, p in enumerate(self.parameters)}
        self._anchors: dict[int, Tensor] = {}

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
            if any(id(p) in self._index for p in group["params"])
        ]
        return max(rates, default=None)

    def pull(self, parameters: Sequence[nn.Parameter], alpha: Tensor) -> Tensor:
        """Add the gradient of the regulation to the parameters' gradients; return the penalty.

        An anchor is copied when its parameter has its first gradient of the period: no earlier
        step of the period has moved it, and one that is unfrozen during training gets its own.
        """
        for parameter in parameters:
            if id(parameter) not in self._anchors:
                self._anchors[id(parameter)] = parameter.detach().clone()
        anchors = [self._anchors[id(parameter)] for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return pull(parameters, gradients, anchors, alpha)

    def release(self) -> None:
        """Free the anchors."""
        self._anchors.clear()

    def state_dict(self) -> dict[int, Tensor]:
        """The anchors by the index of their parameter, on the CPU."""
        return {self._index[key]: whole(anchor).cpu() for key, anchor in self._anchors.items()}

    def load_state_dict(self, state: dict[int, Any]) -> None:
        """Take anchors from a checkpoint.

        Raises:
            ValueError: They are not of this encoder.
        """
        for index, anchor in state.items():
            if index >= len(self.parameters) or self.parameters[index].shape != anchor.shape:
                raise ValueError(
                    f"the checkpoint's anchor {index} has shape {tuple(anchor.shape)}, but the "
                    "encoder has no such parameter. Resume with the module that was trained."
                )
            parameter = self.parameters[index]
            self._anchors[id(parameter)] = split_like(anchor, parameter)
