"""A module with batch normalisation, whose statistics show a pass too many."""

from torch import Tensor, nn

from helpers.modules import Late


class Normed(Late):
    """Encoders with BatchNorm between their layers."""

    def make_encoder(self, inputs: int, width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


def statistics(module: nn.Module) -> dict[str, Tensor]:
    """Running means and variances, and how many batches they are of."""
    return {name: buffer.double() for name, buffer in module.named_buffers()}
