"""A plain loop for methods that are a loss of the features, and a head that is not linear."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from helpers.modules import CLASSES, Late, snapshot
from helpers.plain import EPOCHS


class StretchInTraining(nn.Module):
    """Differs by mode without drawing random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.5 * x if self.training else x


class Nonlinear(Late):
    """A head that mixes the modalities, and is another one in evaluation mode."""

    def make_head(self, width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(width, 6), nn.Tanh(), StretchInTraining(), nn.Linear(6, CLASSES)
        )


def minimise(
    module: Late,
    loss_of: Callable[[int, dict[str, Tensor], Tensor], Tensor],
    epochs: int = EPOCHS,
    end_epoch: Callable[[], None] = lambda: None,
) -> list[dict[str, Tensor]]:
    """Minimise ``loss_of(epoch, features, label)``, whatever it is, by autograd alone.

    Returns:
        The weights after each epoch.
    """
    optimizer = module.configure_optimizers()
    weights = []
    for epoch in range(epochs):
        for batch in module.batches:
            loss = loss_of(epoch, module.features(batch), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        end_epoch()
        weights.append(snapshot(module))
    return weights


def largest_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    return max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)


def true_class(values: Tensor, label: Tensor) -> Tensor:
    return values[torch.arange(len(label)), label]
