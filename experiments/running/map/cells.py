"""The cells of the map: worlds of two modalities, apart in three properties and alike in the rest.

``a`` is learnt fast. Along the axes differ how much slower ``b`` is learnt, which of the two
generalises, and in how many samples only one of them shows the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch

from running.truth.worlds import Batch, Source, World

SLOWNESS = (1, 2, 3, 5)
"""By how much the features of ``b`` are divided: what it shows stays, its gradients shrink."""
GENERALISES = {
    "a much worse": (2.0, 0.0),
    "a worse": (1.0, 0.0),
    "both well": (0.0, 0.0),
    "b worse": (0.0, 1.0),
}
"""Which modality generalises worse -> how far the prototypes of ``a`` and of ``b`` have moved
between training and test; see :class:`~running.truth.worlds.Source`."""
COMPLETION = (0.0, 0.3, 0.6, 0.9)
"""In which part of the samples one of the two, by chance, shows nothing but noise."""

SEEDS = (0, 1, 2, 3, 4, 5)
VALIDATION, TEST = 400, 4000


@dataclass(frozen=True)
class MapWorld(World):
    """A world of the map; its number is the seed of its prototypes.

    Attributes:
        slowness: By how much the features of ``b`` are divided.
        completion: In which part of the samples one of the two modalities shows only noise.
    """

    slowness: float = 1
    completion: float = 0.0

    def draw(self, seed: int, held_out: int | None = None) -> dict[str, Batch]:
        """As every world; validation has 400 samples, or ``held_out``, and test 4,000."""
        data = super().draw(seed, TEST)
        data["validation"] = {
            name: x[: held_out or VALIDATION] for name, x in data["validation"].items()
        }
        generator = torch.Generator().manual_seed(3 + 7919 * self.seed + seed)
        for batch in data.values():
            size = len(batch["label"])
            lacks_one = torch.rand(size, 1, generator=generator) < self.completion
            lacking = torch.randint(2, (size, 1), generator=generator)
            for index, name in enumerate(self.sources):
                noise = torch.randn(batch[name].shape, generator=generator)
                batch[name] = torch.where(lacks_one & (lacking == index), noise, batch[name])
            batch["b"] = batch["b"] / self.slowness
        return data


@dataclass(frozen=True)
class Cell:
    """A place on the map.

    Attributes:
        slowness: Of :data:`SLOWNESS`.
        generalises: Of :data:`GENERALISES`.
        completion: Of :data:`COMPLETION`.
    """

    slowness: int
    generalises: str
    completion: float

    @property
    def name(self) -> str:
        """Its three properties, as they are shown to readers."""
        return f"b {self.slowness}× slower, {self.generalises}, {self.completion:.0%} by one alone"

    def world(self, seed: int) -> MapWorld:
        """The world of the cell with the prototypes of a seed, which all cells share."""
        shift_a, shift_b = GENERALISES[self.generalises]
        return MapWorld(
            "map",
            seed,
            {"a": Source(40, 4.0, shift=shift_a), "b": Source(16, 3.5, shift=shift_b)},
            classes=6,
            epochs=20,
            slowness=self.slowness,
            completion=self.completion,
        )


def all_cells() -> Sequence[Cell]:
    """Every cell, by completion, generalisation and slowness."""
    places = product(COMPLETION, GENERALISES, SLOWNESS)
    return [Cell(slow, which, part) for part, which, slow in places]
