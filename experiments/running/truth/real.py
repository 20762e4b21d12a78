"""Worlds of real data: digits written and spoken, and views of digits, spoilt in known ways.

Nothing was ever tuned on them. What is true of them is the same oracle's answer as of the generated
worlds, and the rules and thresholds that judge them are those that were fixed on these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from running.truth.real_data import (
    AV_DIGITS,
    AV_MNIST,
    DIGITS,
    IN_FOLDERS,
    SHAPES,
    SIX_VIEWS,
    pools,
)
from running.truth.worlds import Batch

AS_IT_IS, NOISE, SHUFFLED, COPY = "as it is", "noise", "shuffled", "a copy"
HALVES, WEAK, FEW, IMBALANCED = "half each", "weak", "few samples", "imbalanced"
_VALIDATION, _TEST = 400, 800
_FAINT = 0.3
"""What is left of a weak view, in standard deviations of the noise that is added."""


@dataclass(frozen=True)
class RealWorld:
    """Some views of a real set, one of them spoilt, and as many samples as a user has.

    It stands wherever a generated :class:`~running.truth.worlds.World` does.

    Attributes:
        data: Of which set.
        kind: What was done to it; it is the last view that is noise, shuffled, weak or a copy.
        number: Its number in the kind.
        views: The modalities, in order.
        folder: Where the set lies, if it is read from a folder.
        train: Training samples.
        epochs: Of training.
        lr: Learning rate of SGD with momentum 0.9.
    """

    data: str
    kind: str
    number: int
    views: tuple[str, ...]
    folder: str = ""
    train: int = 600
    epochs: int = 15
    lr: float = 0.02
    deep: bool = False
    classes: int = 10

    @property
    def name(self) -> str:
        """Set, kind and number."""
        return f"{self.data}, {self.kind}-{self.number:02d}"

    @property
    def seed(self) -> int:
        """Different for every world."""
        return sum(ord(letter) * 31**i for i, letter in enumerate(self.name)) % 2**31

    @property
    def sources(self) -> Mapping[str, str]:
        """Modality -> the view whose shape it has."""
        copied = {self.views[-1]: self.views[0]} if self.kind == COPY else {}
        return {view: copied.get(view, view) for view in self.views}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of a sample."""
        return {m: SHAPES[self.data][view] for m, view in self.sources.items()}

    @property
    def widths(self) -> dict[str, int]:
        """Modality -> number of features."""
        return {m: prod(shape) for m, shape in self.shapes.items()}

    @property
    def has_pictures(self) -> bool:
        """Whether its encoders are convolutional."""
        return any(len(shape) == 3 for shape in self.shapes.values())

    def draw(self, seed: int, held_out: int | None = None) -> dict[str, Batch]:
        """Its samples; which are whose depends on the world alone, noise on the seed as well.

        Args:
            seed: Of noise and pairing.
            held_out: Test samples of an oracle, which are others than the user's where the set has
                others, and all that are not trained on where it has not.

        Returns:
            ``"train"``, ``"validation"``, ``"test"`` -> modality and ``"label"`` -> samples.
        """
        pool = pools(self.data, self.folder)
        rng = np.random.default_rng(self.seed)
        found = {}
        if "all" in pool:
            rows = self._chosen(pool["all"]["label"], len(pool["all"]["label"]), rng)
            middle = self.train + _VALIDATION // (2 if self.kind == IMBALANCED else 1)
            ends = [self.train, middle, middle + _TEST]
            parts = dict(zip(("train", "validation", "test"), np.split(rows, ends), strict=False))
            if held_out:
                parts["test"] = rows[self.train :][:held_out]
            found = {split: _rows(pool["all"], of) for split, of in parts.items()}
        else:
            sizes = {"train": self.train, "validation": _VALIDATION, "test": held_out or _TEST}
            for split, size in sizes.items():
                samples = pool["oracle" if split == "test" and held_out else split]
                found[split] = _rows(samples, self._chosen(samples["label"], size, rng))
        draw = np.random.default_rng([self.seed, seed])
        return {split: self._spoilt(batch, draw) for split, batch in found.items()}

    def _chosen(self, label: Tensor, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows in a random order; where classes are imbalanced, at most half of them."""
        if self.kind != IMBALANCED:
            return rng.permutation(len(label))[:size]
        prior = np.geomspace(1.0, 0.15, self.classes)[label.numpy()]
        size = min(size, len(label) // 2)
        return rng.choice(len(label), size, replace=False, p=prior / prior.sum())

    def _spoilt(self, batch: Batch, rng: np.random.Generator) -> Batch:
        label, last = batch["label"], self.views[-1]
        found = {view: batch[view] for view in self.views}

        def noise(like: Tensor) -> Tensor:
            return torch.tensor(rng.standard_normal(like.shape), dtype=torch.float32)

        if self.kind == NOISE:
            found[last] = noise(found[last])
        elif self.kind == SHUFFLED:
            found[last] = found[last][rng.permutation(len(label))]
        elif self.kind == COPY:
            found[last] = found[self.views[0]] + 0.5 * noise(found[self.views[0]])
        elif self.kind == WEAK:
            found[last] = _FAINT * found[last] + noise(found[last])
        elif self.kind == HALVES:
            for view, shown in zip(self.views, (label // 5, label % 5), strict=True):
                found[view] = found[view][_of_the_same(shown, rng)]
        return {**found, "label": label}


def real_worlds(folders: Mapping[str, str | Path] | None = None) -> list[RealWorld]:
    """Every world whose data are there.

    Args:
        folders: ``"av_mnist"``, ``"multiple_features"`` -> folder of the set.
    """
    known = {data: str((folders or {}).get(word, "")) for data, word in IN_FOLDERS.items()}
    return [
        world
        for data, plan in PLAN.items()
        if known.get(data, "here")
        for world in _worlds(data, plan, known.get(data, ""))
    ]


PLAN: dict[str, Sequence[tuple[str, Sequence[int]]]] = {
    AV_DIGITS: [
        *((k, (2, 2)) for k in (AS_IT_IS, NOISE, SHUFFLED, COPY, HALVES, WEAK)),
        *((k, (2,)) for k in (FEW, IMBALANCED)),
    ],
    AV_MNIST: [(k, (2,)) for k in (AS_IT_IS, NOISE, COPY, HALVES, FEW, IMBALANCED)],
    SIX_VIEWS: [
        (AS_IT_IS, (2, 2, 2, 2, 2, 2, 3, 3, 3, 6)),
        *((k, (2, 2, 3)) for k in (NOISE, SHUFFLED, WEAK)),
        *((k, (2, 2)) for k in (COPY, HALVES, IMBALANCED)),
        (FEW, (2, 2, 2, 3)),
    ],
    DIGITS: [
        (AS_IT_IS, (2, 2, 3)),
        (HALVES, (2, 2)),
        (FEW, (2, 3)),
        *((k, (2,)) for k in (NOISE, COPY, WEAK)),
    ],
}
"""Set -> kind and how many views each of its worlds has."""


def _worlds(data: str, plan: Sequence[tuple[str, Sequence[int]]], folder: str) -> list[RealWorld]:
    found = []
    for kind, counts in plan:
        for number, count in enumerate(counts):
            names = [*SHAPES[data]]
            if len(names) == 2:  # by turns, so that each is the one that is spoilt
                views = names if number % 2 == 0 else names[::-1]
            else:
                rng = np.random.default_rng([2026, len(found), len(data)])
                views = rng.choice(names, count, replace=False).tolist()
            pictures = any(len(shape) == 3 for shape in SHAPES[data].values())
            size, epochs, lr = (1000, 15, 0.05) if pictures else (600, 15, 0.02)
            if kind == FEW:
                size, epochs = size // 5, 3 * epochs
            elif kind == IMBALANCED and not pictures:
                size = 400  # half of what there is can be chosen
            found.append(RealWorld(data, kind, number, tuple(views), folder, size, epochs, lr))
    return found


def _rows(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    chosen = torch.as_tensor(rows)
    return {name: x[chosen] for name, x in batch.items()}


def _of_the_same(shown: Tensor, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each sample another of the same group."""
    values = shown.numpy()
    found = np.arange(len(values))
    for value in np.unique(values):
        rows = np.flatnonzero(values == value)
        found[rows] = rng.permutation(rows)
    return found
