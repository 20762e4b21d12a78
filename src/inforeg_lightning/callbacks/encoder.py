"""One modality's encoder as the optimisers see it, and its anchors as InfoReg does."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import SGD, Optimizer

from inforeg_lightning.core.regulation import pull
from inforeg_lightning.core.shards import split_like, whole


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


class Anchors:
    """What an encoder's weights were when the period began.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.of: dict[int, Tensor] = {}  # by the index of the parameter

    def pull(self, parameters: Sequence[nn.Parameter], alpha: Tensor) -> Tensor:
        """Add the gradient of the regulation to the parameters' gradients; return the penalty.

        An anchor is copied when its parameter has its first gradient of the period: no earlier
        step of the period has moved it, and one that is unfrozen during training gets its own.
        """
        indices = [self.encoder.index[id(parameter)] for parameter in parameters]
        for index, parameter in zip(indices, parameters, strict=True):
            if index not in self.of:
                self.of[index] = parameter.detach().clone()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return pull(parameters, gradients, [self.of[index] for index in indices], alpha)

    def state_dict(self) -> dict[int, Tensor]:
        """The anchors by the index of their parameter, on the CPU."""
        return {index: whole(anchor).cpu() for index, anchor in self.of.items()}

    def load_state_dict(self, state: Mapping[int, Tensor]) -> None:
        """Take anchors from a checkpoint.

        Raises:
            ValueError: They are not of this encoder.
        """
        parameters = self.encoder.parameters
        for index, anchor in state.items():
            if index >= len(parameters) or parameters[index].shape != anchor.shape:
                raise ValueError(
                    f"the checkpoint's anchor {index} has shape {tuple(anchor.shape)}, but the "
                    "encoder has no such parameter. Resume with the module that was trained."
                )
            self.of[index] = split_like(anchor, parameters[index])
