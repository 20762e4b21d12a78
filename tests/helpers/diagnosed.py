"""A tiny model of two modalities, its loaders, and the call that diagnoses it."""

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import nn

ENCODERS = {"a": "encoder_a", "b": "encoder_b"}


def split(size, seed):
    """``a`` shows the class clearly, ``b`` faintly."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(size) % 3
    batch = {"label": label}
    for name, strength in (("a", 3.0), ("b", 1.5)):
        noise = torch.randn(size, 5, generator=generator)
        batch[name] = noise + strength * F.one_hot(label, 5)
    return batch


class Batches:
    """A loader of tensors."""

    def __init__(self, data, size=16):
        self.data, self.size = data, size

    def __iter__(self):
        for rows in torch.arange(len(self.data["label"])).split(self.size):
            yield {name: x[rows] for name, x in self.data.items()}


def loaders():
    return [Batches(split(size, seed)) for seed, size in enumerate((48, 30, 30))]


class Tiny(L.LightningModule):
    """Encoders of one layer and a linear head."""

    def __init__(self, width=4):
        super().__init__()
        self.encoder_a, self.encoder_b = nn.Linear(5, width), nn.Linear(5, width)
        self.head = nn.Linear(2 * width, 3)

    def forward(self, batch):
        z = [torch.tanh(self.encoder_a(batch["a"])), torch.tanh(self.encoder_b(batch["b"]))]
        return self.head(torch.cat(z, dim=1))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch), batch["label"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.3)


def call(**changes):
    """The arguments of a diagnosis that takes a moment."""
    return {
        "encoders": ENCODERS,
        "head": "head",
        "max_epochs": 2,
        "seeds": 1,
        "trainer": {"accelerator": "cpu"},
        "progress": False,
    } | changes
