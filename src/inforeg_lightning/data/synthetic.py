"""Tiny random but learnable tensors of any modalities, for tests."""

from collections.abc import Mapping, Sequence

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data.loading.in_memory import Batch, in_memory_loader


class SyntheticDataModule(L.LightningDataModule):
    """Gaussian noise around one random prototype per class and modality.

    Batches are ``{modality: float32 (B, *shape), "label": int64 (B,)}``. The same arguments give
    the same tensors, whatever the global seed; the three splits share the prototypes only.

    Args:
        shapes: Modality -> shape of one sample.
        num_classes: Number of classes, drawn equally often.
        sizes: Samples in the train, validation and test split.
        batch_size: Samples per batch.
        seed: Seed of the tensors and of the order of training batches.
        noise: Standard deviation of the noise, by modality or one for all; the prototypes have
            standard deviation 1. The noisier modality is the harder one.
        num_workers: Worker processes of the loaders.

    Raises:
        ValueError: ``shapes`` is empty or has a modality called ``"label"``, or ``sizes`` are not
            three positive numbers, or ``noise`` lacks a modality.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        num_classes: int = 4,
        sizes: Sequence[int] = (64, 32, 32),
        batch_size: int = 16,
        seed: int = 0,
        noise: float | Mapping[str, float] = 1.0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not shapes or "label" in shapes:
            raise ValueError(
                f"shapes must name one or more modalities, none called 'label', got {list(shapes)}"
            )
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(
                f"sizes must be three positive numbers (train, val, test), got {list(sizes)}"
            )
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.noise = _by_modality(noise, self.shapes)
        self.num_classes, self.sizes = num_classes, tuple(sizes)
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self._splits: dict[str, dict[str, Tensor]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of ``shapes``."""
        return tuple(self.shapes)

    def setup(self, stage: str | None = None) -> None:
        """Draw all splits."""
        generator = torch.Generator().manual_seed(self.seed)
        prototypes = {
            name: torch.randn(self.num_classes, *shape, generator=generator)
            for name, shape in self.shapes.items()
        }
        for split, size in zip(("train", "val", "test"), self.sizes, strict=True):
            label = torch.arange(size) % self.num_classes
            self._splits[split] = {"label": label} | {
                name: prototype[label]
                + self.noise[name] * torch.randn(size, *self.shapes[name], generator=generator)
                for name, prototype in prototypes.items()
            }

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches."""
        return self._loader("test")

    def _loader(self, split: str, shuffle_seed: int | None = None) -> DataLoader[Batch]:
        return in_memory_loader(
            self._splits[split], self.batch_size, self.num_workers, shuffle_seed
        )


def _by_modality(
    noise: float | Mapping[str, float], shapes: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    if not isinstance(noise, Mapping):
        return {name: float(noise) for name in shapes}
    if missing := set(shapes) - set(noise):
        raise ValueError(f"noise lacks the modalities {sorted(missing)}; give each a number")
    return {name: float(noise[name]) for name in shapes}
