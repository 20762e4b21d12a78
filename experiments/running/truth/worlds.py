"""Small generated worlds of two to four modalities, each a way in which fusion may go.

A world is drawn from its family and its number alone, so that anyone can make it again. What is
true of it is not written here: :mod:`running.truth.oracle` measures it with many samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor]
NAMES = ("a", "b", "c", "d")


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


def _easy_hard(rng: np.random.Generator) -> World:
    easy = Source(40, rng.uniform(3.5, 6), shift=rng.uniform(1.0, 2.0))
    hard = Source(16, rng.uniform(5, 6.5), folded=True, clusters=int(rng.integers(1, 3)))
    classes = int(rng.choice([4, 6]))
    return _world({"a": easy, "b": hard}, classes=classes, train=128 * classes)


def _alike(rng: np.random.Generator) -> World:
    strength = rng.uniform(2.0, 3.5)
    return _world({m: Source(16, strength) for m in "ab"})


def _noise(rng: np.random.Generator) -> World:
    width = int(rng.choice([8, 16, 40]))
    return _world({"a": Source(16, rng.uniform(2, 4)), "b": Source(width, 0.0)})


def _much_noise(rng: np.random.Generator) -> World:
    width = int(rng.choice([200, 400, 800]))
    parts = {"a": Source(16, rng.uniform(2.2, 3.2)), "b": Source(width, 0.0)}
    return _world(parts, train=int(rng.choice([128, 192, 256])))


def _copy(rng: np.random.Generator) -> World:
    return _world({"a": Source(16, rng.uniform(2, 3.5)), "b": Source(16, copies="a")})


def _weak(rng: np.random.Generator) -> World:
    return _world({"a": Source(16, rng.uniform(3, 4)), "b": Source(16, rng.uniform(1.2, 1.8))})


def _halves(rng: np.random.Generator) -> World:
    one, other = (Source(16, rng.uniform(2.5, 4.0), shows=s) for s in ("half", "rest"))
    return _world({"a": one, "b": other})


def _together(rng: np.random.Generator) -> World:
    one, other = (Source(8, rng.uniform(5, 6), shows=s) for s in ("key", "cipher"))
    parts, classes = {"a": one, "b": other}, int(rng.choice([2, 3]))
    return _world(parts, train=1500, lr=0.05, classes=classes, deep=True)


def _overfitting(rng: np.random.Generator) -> World:
    # Much of what it shows in training is not there later: a background, say.
    wide = Source(int(rng.choice([100, 300])), rng.uniform(3, 7), shift=rng.uniform(2.5, 6))
    parts = {"a": wide, "b": Source(16, rng.uniform(2.0, 3.5))}
    return _world(parts, train=int(rng.choice([192, 320])))


def _misleading(rng: np.random.Generator) -> World:
    # It names the class in training, and nothing at all later.
    easy = Source(int(rng.choice([20, 40])), rng.uniform(2.5, 6), shift=50.0)
    return _world({"a": easy, "b": Source(16, rng.uniform(2.2, 3.5))})


def _three(rng: np.random.Generator) -> World:
    kinds = [_easy_hard(rng), _alike(rng), _noise(rng), _weak(rng)]
    first, second = rng.choice(4, 2, replace=False)
    sources = [*kinds[first].sources.values(), *kinds[second].sources.values()][:3]
    return _world(dict(zip(NAMES, sources, strict=False)))


def _four(rng: np.random.Generator) -> World:
    kinds = [_easy_hard(rng), _alike(rng), _noise(rng), _weak(rng)]
    first, second = rng.choice(4, 2, replace=False)
    sources = [*kinds[first].sources.values(), *kinds[second].sources.values()]
    return _world(dict(zip(NAMES, sources, strict=True)))


def _imbalanced(rng: np.random.Generator) -> World:
    world = [_easy_hard, _alike, _noise, _weak][int(rng.integers(4))](rng)
    prior = tuple(np.geomspace(1.0, 0.2, world.classes).round(3))
    return replace(world, prior=prior)


def _few(rng: np.random.Generator) -> World:
    world = [_easy_hard, _alike, _noise, _weak][int(rng.integers(4))](rng)
    return replace(world, train=int(rng.choice([96, 160])), epochs=40)


def _pictures(rng: np.random.Generator) -> World:
    names = "top bottom, left right, all noise, all rows, all top"
    pairs = [tuple(pair.split()) for pair in names.split(", ")]
    pair = pairs[int(rng.integers(len(pairs)))]
    strength = rng.uniform(0.8, 2.0)
    parts = {m: Source(0, strength, picture=p) for m, p in zip("ab", pair, strict=True)}
    return _world(parts, classes=10, train=797, held_out=500)


FAMILIES: dict[str, tuple[Callable[[np.random.Generator], World], int]] = {
    "easy and hard": (_easy_hard, 20),
    "both alike": (_alike, 12),
    "noise": (_noise, 12),
    "much noise": (_much_noise, 14),
    "a copy": (_copy, 10),
    "weak but real": (_weak, 10),
    "half each": (_halves, 10),
    "only together": (_together, 10),
    "overfitting": (_overfitting, 26),
    "three": (_three, 12),
    "four": (_four, 12),
    "imbalanced": (_imbalanced, 12),
    "few samples": (_few, 12),
    "digits": (_pictures, 10),
    "misleading": (_misleading, 16),
}
"""Family -> what draws a world of it, and how many there are to tune rules on."""


FRESH = 100
"""Worlds with this number or a higher one were drawn when the rules were fixed, to judge them."""

FRESH_PER_FAMILY = 10


def all_worlds() -> list[World]:
    """Every world, family by family."""
    found = []
    for index, (family, (make, count)) in enumerate(FAMILIES.items()):
        for number in (*range(count), *range(FRESH, FRESH + FRESH_PER_FAMILY)):
            world = make(np.random.default_rng([2026, index, number]))
            found.append(replace(world, family=family, number=number))
    return found


def _world(sources: Mapping[str, Source], **others: object) -> World:
    return World("", 0, dict(sources), **others)  # type: ignore[arg-type]
