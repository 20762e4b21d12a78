"""A small generated world: its modalities, and how its samples are drawn.

Which worlds there are stands in :mod:`running.truth.families`. What is true of a world is not
written down: :mod:`running.truth.oracle` measures it with many samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """One modality of a world: Gaussian noise around one prototype per thing that it shows.

    Attributes:
        width: Number of features.
        strength: Length of the prototypes; the noise has standard deviation 1.
        folded: Whether each sample's prototype has a random sign, which no linear layer can read:
            slow to learn.
        clusters: Prototypes per thing shown.
        shift: How far the prototypes of validation and test lie from those of training, as those
            of other speakers do; 1 is as far as a random prototype of the same length, halved.
        shows: ``"class"``, ``"half"`` (which half the class is in), ``"rest"`` (which one of its
            half), ``"key"`` (a random number) or ``"cipher"`` (class plus that number).
        copies: Another modality of which it is a rotated copy.
        picture: Part of the handwritten digits that it is, ``"top"``, ``"bottom"`` and so on.
    """

    width: int = 16
    strength: float = 3.0
    folded: bool = False
    clusters: int = 1
    shift: float = 0.0
    shows: str = "class"
    copies: str = ""
    picture: str = ""


@dataclass(frozen=True)
class World:
    """A task, and how much of it a network gets to see.

    Attributes:
        family: Which way of fusion it is of.
        number: Its number in the family; both together are its seed.
        sources: Modality -> what it is.
        classes: Number of classes.
        prior: Share of each class.
        train: Training samples.
        held_out: Validation samples, and as many test samples.
        epochs: Of training.
        lr: Learning rate of SGD with momentum 0.9.
        deep: Whether the head has a hidden layer; a linear one cannot combine key and cipher.
    """

    family: str
    number: int
    sources: Mapping[str, Source]
    classes: int = 4
    prior: tuple[float, ...] = field(default=())
    train: int = 512
    held_out: int = 800
    epochs: int = 15
    lr: float = 0.02
    deep: bool = False

    @property
    def name(self) -> str:
        """Family and number."""
        return f"{self.family}-{self.number:02d}"

    @property
    def seed(self) -> int:
        """Different for every world."""
        return sum(ord(letter) * 31**i for i, letter in enumerate(self.name)) % 2**31

    @property
    def widths(self) -> dict[str, int]:
        """Modality -> number of features."""
        if any(source.picture for source in self.sources.values()):
            return {m: len(_PICTURES[s.picture]) for m, s in self.sources.items()}
        return {m: s.width for m, s in self.sources.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of a sample."""
        return {m: (width,) for m, width in self.widths.items()}

    def draw(self, seed: int, held_out: int | None = None) -> dict[str, Batch]:
        """Draw the samples that a seed stands for; worlds of one name share their prototypes.

        Args:
            seed: Of the samples.
            held_out: Validation and test samples, where more than a network's user has are wanted.

        Returns:
            ``"train"``, ``"validation"``, ``"test"`` -> modality and ``"label"`` -> samples.
        """
        sizes = [self.train, held_out or self.held_out, held_out or self.held_out]
        splits = ("train", "validation", "test")
        if any(source.picture for source in self.sources.values()):
            return _digits(self, seed, dict(zip(splits, sizes, strict=True)))
        prototypes = _prototypes(self)
        generator = torch.Generator().manual_seed(1 + 7919 * self.seed + seed)
        return {
            split: _samples(self, prototypes, size, split != "train", generator)
            for split, size in zip(splits, sizes, strict=True)
        }


def _prototypes(world: World) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(world.seed)
    found = {}
    for name, source in world.sources.items():
        shape = (world.classes * source.clusters, source.width)
        trained = _of_length_one(torch.randn(shape, generator=generator))
        other = _of_length_one(torch.randn(shape, generator=generator))
        square = torch.randn(source.width, source.width, generator=generator)
        rotation = torch.linalg.qr(square)[0]
        found[name] = (trained, _of_length_one(trained + source.shift * other), rotation)
    return found


def _samples(
    world: World,
    prototypes: Mapping[str, tuple[Tensor, Tensor, Tensor]],
    size: int,
    shifted: bool,
    generator: torch.Generator,
) -> Batch:
    prior = torch.tensor(world.prior or [1.0] * world.classes)
    label = torch.multinomial(prior, size, replacement=True, generator=generator)
    key = torch.randint(world.classes, (size,), generator=generator)
    half = world.classes // 2
    shown = {
        "class": label,
        "half": label // half,
        "rest": label % half,
        "key": key,
        "cipher": (label + key) % world.classes,
    }
    batch: Batch = {}
    for name, source in world.sources.items():
        trained, others, rotation = prototypes[name]
        if source.copies:
            noise = torch.randn(size, source.width, generator=generator)
            batch[name] = batch[source.copies] @ rotation + 0.2 * noise
            continue
        cluster = torch.randint(source.clusters, (size,), generator=generator)
        which = shown[source.shows] * source.clusters + cluster
        sign = 2.0 * torch.randint(2, (size, 1), generator=generator) - 1 if source.folded else 1.0
        centre = sign * source.strength * (others if shifted else trained)[which]
        batch[name] = centre + torch.randn(size, source.width, generator=generator)
    return {**batch, "label": label}


def _of_length_one(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


_GRID = np.arange(64).reshape(8, 8)
_PICTURES = {
    "top": _GRID[:4].ravel(),
    "bottom": _GRID[4:].ravel(),
    "left": _GRID[:, :4].ravel(),
    "right": _GRID[:, 4:].ravel(),
    "all": _GRID.ravel(),
    "rows": np.arange(8),
    "noise": np.arange(64),
}


def _digits(world: World, seed: int, sizes: Mapping[str, int]) -> dict[str, Batch]:
    """Parts of scikit-learn's 1,797 handwritten digits, split at random by the seed."""
    from sklearn.datasets import load_digits

    images, label = load_digits(return_X_y=True)
    rng = np.random.default_rng([world.seed, seed])
    order = rng.permutation(len(label))
    rest = (len(order) - world.train) // 2
    ends = np.cumsum([world.train, *(min(sizes[s], rest) for s in ("validation", "test"))])
    found = {}
    for split, rows in zip(sizes, np.split(order, ends)[:3], strict=True):
        scaled = (images[rows] - 4.9) / 6.0
        batch = {}
        for name, source in world.sources.items():
            noise = rng.normal(size=(len(rows), len(_PICTURES[source.picture])))
            pixels = scaled[:, _PICTURES[source.picture]]
            if source.picture == "rows":
                pixels = scaled.reshape(-1, 8, 8).mean(axis=2)
            clean = 0.0 if source.picture == "noise" else source.strength
            batch[name] = torch.tensor(clean * pixels + noise, dtype=torch.float32)
        found[split] = {**batch, "label": torch.tensor(label[rows])}
    return found
