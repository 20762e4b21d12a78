"""How alike the gradients of different batches are (the paper's Figure 4)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class GradientCosines(Callback):
    """Measure cosines between gradients of disjoint batches at the weights that end each epoch.

    The batches are the first ones of the epoch that ends, and the gradient is that of the joint
    loss for the weights of one encoder. For :class:`LateFusionClassifier` without random layers
    and running statistics; then its training is not changed, to the bit. A method's callback beside
    it would take its forward passes for steps of the training.

    Args:
        encoders: Modality -> attribute path of its encoder.
        batches: How many batches are compared, 2 or more.

    Attributes:
        history: One dict per epoch; ``cosine``: modality -> mean cosine over the pairs of batches.
    """

    def __init__(self, encoders: Mapping[str, str], batches: int = 8) -> None:
        if batches < 2:
            raise ValueError(f"`batches` must be at least 2 to be compared, got {batches}")
        self.encoders, self.batches = dict(encoders), batches
        self.history: list[dict[str, Any]] = []
        self._kept: list[Any] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the first batches of the epoch."""
        if batch_idx == 0:
            self._kept = []
        if len(self._kept) < self.batches:
            self._kept.append(batch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare their gradients, one encoder after the other."""
        losses = [F.cross_entropy(pl_module(batch), batch["label"]) for batch in self._kept]
        found = {
            modality: mean_cosine(
                [_gradient(loss, pl_module.get_submodule(path)) for loss in losses]
            )
            for modality, path in self.encoders.items()
        }
        epoch = trainer.current_epoch
        self.history.append({"epoch": epoch, "period": epoch, "cosine": found})
        self._kept = []


def mean_cosine(vectors: Sequence[Tensor]) -> float:
    """The mean cosine over all pairs of vectors, each of shape ``(P,)``, in float64."""
    pairs = combinations([vector.double() for vector in vectors], 2)
    return float(torch.stack([F.cosine_similarity(a, b, dim=0) for a, b in pairs]).mean())


def _gradient(loss: Tensor, encoder: torch.nn.Module) -> Tensor:
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in found])
