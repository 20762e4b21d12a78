"""A network whose branches exchange through gates, as that of Wu et al. (ICML 2022)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.modules import CLASSES, Late
from inforeg_lightning.models import MMTM

CHANNELS = 4
PLACES = 2
"""In the features of a branch, behind the channels: what a gate averages over."""


class Branch(nn.Module):
    """Two stages with batch norm and a classifier of its own."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(inputs, CHANNELS * PLACES), nn.BatchNorm1d(8))
        self.second = nn.Sequential(nn.Linear(CHANNELS * PLACES, CHANNELS * PLACES), nn.Tanh())
        self.classifier = nn.Linear(CHANNELS * PLACES, CLASSES)


class Gated(Late):
    """After each stage the branches meet in a gating module; their losses are added."""

    def __init__(self, modalities: int = 2, *given, **settings) -> None:
        super().__init__(modalities, *given, **settings)
        channels = dict.fromkeys(self.names, CHANNELS)
        generator = torch.Generator().manual_seed(1)
        self.gates_1, self.gates_2 = MMTM(channels).double(), MMTM(channels).double()
        for p in (*self.gates_1.parameters(), *self.gates_2.parameters()):
            p.data = torch.randn(p.shape, generator=generator, dtype=p.dtype) / 2

    def make_encoder(self, inputs: int, width: int) -> nn.Module:
        return Branch(inputs)

    def make_head(self, width: int) -> nn.Module:
        return nn.Identity()

    def branch(self, name: str) -> Branch:
        return getattr(self, f"{name}_encoder")

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        z = {n: self.branch(n).first(batch[n]).view(-1, CHANNELS, PLACES) for n in self.names}
        z = {n: self.branch(n).second(v.flatten(1)) for n, v in self.gates_1(z).items()}
        z = self.gates_2({n: v.view(-1, CHANNELS, PLACES) for n, v in z.items()})
        return {n: self.branch(n).classifier(v.flatten(1)) for n, v in z.items()}

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        return sum(F.cross_entropy(logits, batch["label"]) for logits in self(batch).values())
