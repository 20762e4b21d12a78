"""What plain loops of the methods with unimodal losses share with their modules."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from helpers.modules import Late


def logits_of(module: Late, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Fused logits, and z_m W_mᵀ + c / M column by column of the linear head."""
    features = module.features(batch)
    unimodal, fused = {}, module.head.bias
    start = 0
    for name, z in features.items():
        share = z @ module.head.weight[:, start : start + z.shape[1]].T
        unimodal[name] = share + module.head.bias / len(features)
        fused = fused + share
        start += z.shape[1]
    return fused, unimodal


class WithUnimodalLosses(Late):
    """Its own loss has the unimodal losses, each with weight 1."""

    unimodal_losses = True

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        _, unimodal = logits_of(self, batch)
        own = sum(F.cross_entropy(logits, batch["label"]) for logits in unimodal.values())
        return super().training_step(batch, batch_idx) + own
