"""Two families of tasks with many modalities: one generated, one of real data.

Which modalities a task of M has follows from the family, M and the seed alone, and those of a
smaller M are among those of a larger one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from inforeg_lightning.data.multiple_features import VIEWS, MultipleFeaturesDataModule

Batch = dict[str, Tensor]
Splits = Mapping[str, Batch]
"""``"train"`` and ``"test"`` -> modality and ``"label"`` -> samples."""


class Family(Protocol):
    """A task for every number of modalities.

    Attributes:
        name: Its name.
        sizes: Numbers of modalities, ascending.
        epochs: Of training.
        lr: Learning rate.
    """

    name: str
    sizes: Sequence[int]
    epochs: int
    lr: float

    def chosen(self, size: int, seed: int) -> list[str]:
        """The modalities of a task."""

    def draw(self, seed: int) -> Splits:
        """Samples with all modalities that there are."""


CLASSES = 10


@dataclass(frozen=True)
class Modality:
    """Gaussian noise of deviation 1 around ten orthogonal prototypes.

    Attributes:
        strength: Length of the prototypes.
        folded: Whether each sample's prototype has a random sign, which no linear layer can read:
            slow to learn.
    """

    strength: float
    folded: bool


@dataclass(frozen=True)
class Generated:
    """Twelve modalities that are independent given the class, the information in each known.

    Those of even number are plain, those of odd number folded; within each kind the information
    falls. They join in pairs whose numbers add up to 11, so that a pair is one of each kind and no
    pair is above the others. What is there to be known in a set of them is the accuracy of the most
    likely class, by the likelihood that they were drawn from (:meth:`bayes`).

    Attributes:
        train: Training samples.
        test: Test samples.
        width: Features of a modality.
    """

    train: int = 1000
    test: int = 4000
    width: int = 20
    name: str = "generated"
    sizes: Sequence[int] = (2, 4, 6, 8, 12)
    epochs: int = 15
    lr: float = 0.02

    @property
    def modalities(self) -> dict[str, Modality]:
        """All twelve, by name."""
        strongest, weakest = {False: 2.0, True: 3.5}, {False: 0.8, True: 2.0}
        found = {}
        for i in range(12):
            folded = i % 2 == 1
            low, high = weakest[folded], strongest[folded]
            found[f"m{i:02d}"] = Modality(high + (low - high) * i / 11, folded)
        return found

    def chosen(self, size: int, seed: int) -> list[str]:
        """The same for every seed."""
        joining = (0, 11, 5, 6, 2, 9, 3, 8, 1, 10, 4, 7)
        return sorted(f"m{i:02d}" for i in joining[:size])

    def draw(self, seed: int) -> Splits:
        """Prototypes and samples of a seed."""
        generator = torch.Generator().manual_seed(20_000 + seed)
        prototypes = {
            name: torch.linalg.qr(torch.randn(self.width, self.width, generator=generator))[0]
            for name in self.modalities
        }
        return {
            split: self._samples(size, prototypes, generator)
            for split, size in (("train", self.train), ("test", self.test))
        }

    def bayes(self, names: Sequence[str], samples: int = 20_000) -> float:
        """Accuracy of the most likely class under these modalities, by this many samples."""
        generator = torch.Generator().manual_seed(0)
        upright = {name: torch.eye(self.width) for name in self.modalities}
        batch = self._samples(samples, upright, generator)
        likelihood = torch.zeros(samples, CLASSES)
        for name in names:
            of = self.modalities[name]
            along = of.strength * batch[name][:, :CLASSES]
            likelihood += torch.log(torch.cosh(along)) if of.folded else along
        return float((likelihood.argmax(dim=1) == batch["label"]).float().mean())

    def _samples(
        self, size: int, prototypes: Mapping[str, Tensor], generator: torch.Generator
    ) -> Batch:
        label = torch.randint(CLASSES, (size,), generator=generator)
        batch = {"label": label}
        for name, of in self.modalities.items():
            sign = 2.0 * torch.randint(2, (size, 1), generator=generator) - 1
            centre = of.strength * prototypes[name][label]
            noise = torch.randn(size, self.width, generator=generator)
            batch[name] = (sign * centre if of.folded else centre) + noise
        return batch


@dataclass(frozen=True)
class SixViews:
    """UCI's handwritten digits in M of their six views, which and in what order by the seed.

    Attributes:
        root: Folder of the files.
    """

    root: Path
    name: str = "six views"
    sizes: Sequence[int] = (2, 3, 4, 5, 6)
    epochs: int = 15
    lr: float = 0.01

    def chosen(self, size: int, seed: int) -> list[str]:
        """The first of the seed's own order of views."""
        order = np.random.default_rng(seed).permutation([*VIEWS])
        return sorted(map(str, order[:size]))

    def draw(self, seed: int) -> Splits:
        """The data module's training and test split, the same for every seed."""
        data = MultipleFeaturesDataModule(self.root)
        data.setup()
        loaders = {"train": data.train_dataloader(), "test": data.test_dataloader()}
        return {split: loader.dataset.tensors for split, loader in loaders.items()}
