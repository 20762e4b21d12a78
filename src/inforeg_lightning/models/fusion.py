"""Fusion heads: each turns the features of all modalities into one tensor of logits.

Concatenation, sum, gate and FiLM are the fusions of the paper's Table 5, in the form that the code
bases of this literature share (Peng et al., CVPR 2022); two more are compared elsewhere. All are
called with a list of features in the order of the encoders, each ``(B, D_m)``, and return logits
``(B, C)``. Nothing in them is random, and nothing depends on other samples of the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inforeg_lightning.models.mmtm import MMTM


class Fusion(nn.Module):
    """Base of the fusion heads: checks widths.

    Args:
        widths: ``D_m`` of each modality, in the order of the features; two or more.
        num_classes: ``C``.

    Raises:
        ValueError: There are fewer than two modalities.
    """

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(
                f"{type(self).__name__} fuses two modalities or more, but widths={[*widths]} are "
                "of one; leave `fusion` out for a single encoder"
            )
        self.widths, self.num_classes = tuple(widths), num_classes

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of features, each ``(B, D_m)``."""
        raise NotImplementedError


class ConcatFusion(Fusion):
    """One linear layer over the concatenated features: ``[z_1 … z_M] Wᵀ + c``.

    The same function as the linear head that a late-fusion classifier has without ``fusion``; here
    as a module called with a list, whose unimodal logits are found by zeroing: they are those of
    the split head and ``c (1 − 1/M)``, which is the same for each modality.
    """

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__(widths, num_classes)
        self.out = _linear(sum(widths), num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of features, each ``(B, D_m)``."""
        logits: Tensor = self.out(torch.cat([*features], dim=-1))
        return logits


class SumFusion(Fusion):
    """The sum of one linear layer per modality: ``Σ_m (z_m W_mᵀ + c_m)``."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__(widths, num_classes)
        self.layers = nn.ModuleList(_linear(width, num_classes) for width in widths)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of features, each ``(B, D_m)``."""
        shares = [layer(z) for layer, z in zip(self.layers, features, strict=True)]
        return torch.stack(shares).sum(dim=0)


class GatedFusion(Fusion):
    """One modality gates the others: ``out(σ(A_g z_g) ⊙ Σ_{m≠g} A_m z_m)`` (Kiela et al., 2018).

    With two modalities this is the published module. The sum over several others is ours.

    Args:
        widths: ``D_m`` of each modality.
        num_classes: ``C``.
        gate: Which modality gates, as an index; the published code's default: the first.
        width: Of the gated features; ``None``: the largest of ``widths``.

    Raises:
        ValueError: ``gate`` is no index of a modality, or there are fewer than two.
    """

    def __init__(
        self, widths: Sequence[int], num_classes: int, gate: int = 0, width: int | None = None
    ) -> None:
        super().__init__(widths, num_classes)
        self.gate = _index("gate", gate, widths)
        width = max(widths) if width is None else width
        self.layers = nn.ModuleList(_linear(before, width) for before in widths)
        self.out = _linear(width, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of features, each ``(B, D_m)``."""
        mapped = [layer(z) for layer, z in zip(self.layers, features, strict=True)]
        gate = torch.sigmoid(mapped.pop(self.gate))
        logits: Tensor = self.out(gate * torch.stack(mapped).sum(dim=0))
        return logits


class FiLMFusion(Fusion):
    """One modality scales and shifts the others: ``out(Σ_m γ_m(z_f) ⊙ z_m + β_m(z_f))``.

    Feature-wise linear modulation (Perez et al., AAAI 2018). With two modalities of one width this
    is the published module, which has no layer for the modality that is modulated. Others of
    another width are first mapped to the largest; the sum over several others is ours.

    Args:
        widths: ``D_m`` of each modality.
        num_classes: ``C``.
        conditions: Which modality modulates, as an index; the published code's default: the first.

    Raises:
        ValueError: ``conditions`` is no index of a modality, or there are fewer than two.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, conditions: int = 0) -> None:
        super().__init__(widths, num_classes)
        self.conditions = _index("conditions", conditions, widths)
        others = [width for m, width in enumerate(widths) if m != self.conditions]
        width = max(others)
        self.films = nn.ModuleList(_linear(widths[self.conditions], 2 * width) for _ in others)
        self.layers = nn.ModuleList(
            nn.Identity() if other == width else _linear(other, width) for other in others
        )
        self.out = _linear(width, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of features, each ``(B, D_m)``."""
        others = [*features]
        condition = others.pop(self.conditions)
        modulated = []
        for film, layer, z in zip(self.films, self.layers, others, strict=True):
            gamma, beta = film(condition).chunk(2, dim=-1)
            modulated.append(gamma * layer(z) + beta)
        logits: Tensor = self.out(torch.stack(modulated).sum(dim=0))
        return logits


class MMTMFusion(Fusion):
    """Gates of each modality from all of them, on the features that leave the encoders.

    A linear layer over the concatenated features after one :class:`~inforeg_lightning.models.MMTM`
    (Joze et al., CVPR 2020; gates and widths as in Wu et al., ICML 2022), whose paper has such
    modules between the encoders' stages too.

    Args:
        widths: ``D_m`` of each modality.
        num_classes: ``C``.
        ratio: How much narrower the hidden layer of the gates is; the paper's 4.

    Raises:
        ValueError: There are fewer than two modalities, or the hidden layer would be empty.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, ratio: float = 4) -> None:
        super().__init__(widths, num_classes)
        self.gates = MMTM({str(m): width for m, width in enumerate(widths)}, ratio)
        self.out = _linear(sum(widths), num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of features, each ``(B, D_m)``."""
        gated = self.gates({str(m): z for m, z in enumerate(features)})
        logits: Tensor = self.out(torch.cat([*gated.values()], dim=-1))
        return logits


class BottleneckFusion(Fusion):
    """Modalities exchange what they know through a few tokens only (Nagrani et al., NeurIPS 2021).

    In each layer every modality attends to its own tokens and to the bottleneck tokens, by torch's
    ``TransformerEncoderLayer`` of its own; the next layer's bottleneck is the mean of what the
    modalities made of it. The logits are the mean of a linear layer per modality on the mean of its
    tokens. The paper's class token is that mean here, since features that leave a pooling encoder
    are one token already.

    Args:
        widths: ``D_m`` of each modality. Features may be tokens, ``(B, T_m, D_m)``.
        num_classes: ``C``.
        width: Of a token; divisible by 4, the number of attention heads.
        bottlenecks: Number of bottleneck tokens; the paper's 4.
        layers: Number of layers.

    Raises:
        ValueError: There are fewer than two modalities, or ``width`` is not divisible by 4.
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int,
        width: int = 64,
        bottlenecks: int = 4,
        layers: int = 2,
    ) -> None:
        super().__init__(widths, num_classes)
        if width % 4:
            raise ValueError(f"width must be divisible by 4, the attention heads, got {width}")
        self.maps = nn.ModuleList(_linear(before, width) for before in widths)
        self.bottleneck = nn.Parameter(torch.randn(bottlenecks, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(_attention(width) for _ in widths) for _ in range(layers)
        )
        self.outs = nn.ModuleList(_linear(width, num_classes) for _ in widths)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, C)`` of features, each ``(B, D_m)`` or ``(B, T_m, D_m)``."""
        tokens = [
            layer(z if z.dim() == 3 else z.unsqueeze(1))
            for layer, z in zip(self.maps, features, strict=True)
        ]
        shared = self.bottleneck.expand(tokens[0].shape[0], -1, -1)
        for layer in self.layers:
            mixed = [
                attention(torch.cat([own, shared], dim=1))
                for attention, own in zip(layer, tokens, strict=True)  # type: ignore[call-overload]
            ]
            tokens = [x[:, : own.shape[1]] for x, own in zip(mixed, tokens, strict=True)]
            made = [x[:, own.shape[1] :] for x, own in zip(mixed, tokens, strict=True)]
            shared = torch.stack(made).mean(dim=0)
        logits = [out(own.mean(dim=1)) for out, own in zip(self.outs, tokens, strict=True)]
        return torch.stack(logits).mean(dim=0)


def _attention(width: int) -> nn.Module:
    # Without dropout: nothing in a head is random, so that its calls for unimodal logits agree.
    return nn.TransformerEncoderLayer(
        width, nhead=4, dim_feedforward=2 * width, dropout=0.0, batch_first=True, norm_first=True
    )


def _linear(before: int, after: int) -> nn.Linear:
    layer = nn.Linear(before, after)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _index(argument: str, value: int, widths: Sequence[int]) -> int:
    if not 0 <= value < len(widths):
        raise ValueError(
            f"{argument} is the index of a modality, 0 to {len(widths) - 1}, but is {value}"
        )
    return value
