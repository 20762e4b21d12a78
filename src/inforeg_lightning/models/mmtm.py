"""MMTM: the exchange between encoders by gates on their channels (CVPR 2020, arXiv 1911.08670)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MMTM(nn.Module):
    r"""Scale the channels of each modality by gates that all modalities make together.

    .. math:: \tilde z_m = z_m \odot \sigma(W_m \, \mathrm{relu}(W [\bar z_1, ..., \bar z_M]))

    with :math:`\bar z` the mean over all dimensions behind the channels (the squeeze). As in the
    network of Wu et al. (ICML 2022), the gates are sigmoids and the hidden layer has
    ``2 / ratio`` times as many channels as all modalities together. It is a gating module for
    :class:`~inforeg_lightning.callbacks.GreedyCallback`.

    Args:
        channels: Modality -> number of channels, the second dimension of its features.
        ratio: How much narrower the hidden layer is; the authors: 4.

    Raises:
        ValueError: There are fewer than two modalities, or the hidden layer would be empty.
    """

    def __init__(self, channels: Mapping[str, int], ratio: float = 4) -> None:
        super().__init__()
        total = sum(channels.values())
        hidden = int(2 * total / ratio)
        if len(channels) < 2 or hidden < 1:
            raise ValueError(
                f"`channels` must name two or more modalities, with {ratio} / 2 channels or more "
                f"together, but is {dict(channels)}"
            )
        self.squeeze = nn.Linear(total, hidden)
        self.excite = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(hidden, n), nn.Sigmoid()) for m, n in channels.items()}
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Exchange.

        Args:
            features: Modality -> shape ``(B, C_m, ...)``.

        Returns:
            Modality -> its features times its gates, of the same shape.
        """
        means = [
            features[m].flatten(2).mean(2) if features[m].dim() > 2 else features[m]
            for m in self.excite
        ]
        hidden = torch.relu(self.squeeze(torch.cat(means, 1)))
        gated = {}
        for modality, excite in self.excite.items():
            z, gate = features[modality], excite(hidden)
            gated[modality] = z * gate.view(*gate.shape, *[1] * (z.dim() - 2))
        return gated
