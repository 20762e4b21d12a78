"""A perceptron for feature vectors."""

from collections.abc import Sequence

from torch import Tensor, nn


class MLPEncoder(nn.Module):
    """Linear layers, each followed by a ReLU. Nothing in it is random but its initialisation.

    Input: ``(B, in_features)``, floating. Output: ``(B, widths[-1])``.

    Args:
        in_features: Width of the input.
        widths: Width after each layer; the last is the number of features.

    Attributes:
        out_features: ``widths[-1]``, the width of the output.

    Raises:
        ValueError: ``widths`` is empty, or a width is not positive.
    """

    def __init__(self, in_features: int, widths: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        if not widths or min(*widths, in_features) < 1:
            raise ValueError(
                f"in_features and widths must be positive, and widths one or more, got "
                f"{in_features} and {tuple(widths)}"
            )
        self.out_features = int(widths[-1])
        layers: list[nn.Module] = []
        for before, after in zip([in_features, *widths[:-1]], widths, strict=True):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_features)`` to ``(B, out_features)``."""
        features: Tensor = self.layers(x)
        return features
