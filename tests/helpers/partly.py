"""Modules of which batches, or single samples, lack a modality, and batches for them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.modules import WIDTHS, Late, make_batches, names

KINDS = ("whole", "audio", "mixed", "video", "whole", "mixed")
"""What the samples of each batch have; of a mixed one each sample another choice."""
PLAIN = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
"""Under which no gradient and a gradient of zero are the same."""


def partly_batches(
    kinds: Sequence[str] = KINDS, modalities: int = 2, **settings: Any
) -> list[dict[str, Any]]:
    """Batches that say under ``"present"`` which samples have which modality."""
    batches = make_batches(modalities, batches=len(kinds), **settings)
    for index, (batch, kind) in enumerate(zip(batches, kinds, strict=True)):
        sample = torch.arange(len(batch["label"]))
        batch["present"] = {
            name: (sample + index) % 3 != rank
            if kind == "mixed"
            else torch.full_like(sample, kind in ("whole", name), dtype=torch.bool)
            for rank, name in enumerate(names(modalities))
        }
    return batches


class Partly(Late):
    """Zeros stand in the place of what is missing.

    Attributes:
        calls_all: Whether an encoder is called also in a batch of which no sample has its modality.
        val_kinds: What the batches of validation have.
    """

    calls_all = True
    val_kinds: Sequence[str] = ("mixed", "whole", "audio")

    def __init__(self, modalities: int = 2, batches: list | None = None, **settings: Any) -> None:
        made = partly_batches(modalities=modalities) if batches is None else batches
        super().__init__(modalities, made, **PLAIN | settings)

    def features(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        found = {}
        for name in self.names:
            mask = batch["present"][name]
            if self.calls_all or mask.any():
                z = getattr(self, f"{name}_encoder")(batch[name])
                found[name] = torch.where(mask[:, None], z, 0.0)
            else:
                found[name] = batch[name].new_zeros(len(mask), WIDTHS[name][1])
        return found

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        self(batch)

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        batches = partly_batches(self.val_kinds, len(self.names), seed=7)
        return torch.utils.data.DataLoader(
            batches, batch_size=None, generator=torch.Generator().manual_seed(0)
        )


class NotCalled(Partly):
    """An encoder is called only where a sample has its modality."""

    calls_all = False


class Mixing(NotCalled):
    """A head that mixes the modalities."""

    def make_head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 3))


def losses_of(module: Late, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The joint loss, and of each modality that a sample has the mean over those samples."""
    features, fused, own, start = module.features(batch), module.head.bias, {}, 0
    for name, z in features.items():
        share = z @ module.head.weight[:, start : start + z.shape[1]].T
        start += z.shape[1]
        fused = fused + share
        mask = batch["present"][name]
        if mask.any():
            logits = share + module.head.bias / len(features)
            own[name] = F.cross_entropy(logits[mask], batch["label"][mask])
    return F.cross_entropy(fused, batch["label"]), own
