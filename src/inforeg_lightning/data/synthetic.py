"""Tiny random but learnable tensors of any modalities and of every task, for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data.loading.in_memory import Batch, in_memory_loader

_TASKS = ("classes", "binary", "multilabel", "ordinal", "regression", "tokens", "pixels")


class SyntheticDataModule(L.LightningDataModule):
    """Gaussian noise around one random prototype per class and modality.

    Batches are ``{modality: float32 (B, *shape), "label": int64 (B,)}``. The same arguments give
    the same tensors, whatever the global seed; the three splits share the prototypes only.

    Of other tasks than ``"classes"`` the target is as in
    :data:`~inforeg_lightning.models.tasks.TASKS`: several labels at once, or several numbers, are
    sums of prototypes; classes in order and a number lie on one line; and of tokens ``(T, D)`` and
    pixels ``(D, H, W)`` each place has a class and its prototype ``(D,)``.

    Args:
        shapes: Modality -> shape of one sample.
        num_classes: Number of classes, drawn equally often; or of labels, or of numbers.
        sizes: Samples in the train, validation and test split.
        batch_size: Samples per batch.
        seed: Seed of the tensors and of the order of training batches.
        noise: Standard deviation of the noise, by modality or one for all; the prototypes have
            standard deviation 1. The noisier modality is the harder one.
        num_workers: Worker processes of the loaders.
        task: What the target is, a name in ``TASKS``.
        gaps: Share of the samples that lack a modality, in turn each of them; the modality is then
            zeros, and batches have ``"present": {modality: bool (B,)}``.

    Raises:
        ValueError: ``shapes`` is empty or has a modality called ``"label"`` or ``"present"``, or
            ``sizes`` are not three positive numbers, or ``noise`` lacks a modality, or there is no
            such ``task``, or its places differ between modalities, or ``gaps`` is no share.
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
        task: str = "classes",
        gaps: float = 0.0,
    ) -> None:
        super().__init__()
        if not shapes or {"label", "present"} & set(shapes):
            raise ValueError(
                "shapes must name one or more modalities, none called 'label' or 'present', got "
                f"{list(shapes)}"
            )
        if task not in _TASKS:
            raise ValueError(f"task must be one of {', '.join(_TASKS)}, got {task!r}")
        if not 0 <= gaps < 1:
            raise ValueError(f"gaps must be a share from 0 to below 1, got {gaps}")
        if len({_places(task, shape) for shape in shapes.values()}) > 1:
            raise ValueError(
                f"task={task!r} needs the same places in every modality, got {dict(shapes)}"
            )
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(
                f"sizes must be three positive numbers (train, val, test), got {list(sizes)}"
            )
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.noise = _by_modality(noise, self.shapes)
        self.num_classes, self.sizes = num_classes, tuple(sizes)
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.task, self.gaps = task, gaps
        self._splits: dict[str, dict[str, Any]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of ``shapes``."""
        return tuple(self.shapes)

    def setup(self, stage: str | None = None) -> None:
        """Draw all splits."""
        generator = torch.Generator().manual_seed(self.seed)
        # Of tokens and pixels each place has a prototype, of any other task a sample.
        dense = self.task in ("tokens", "pixels")
        first = 0 if self.task == "pixels" else -1
        prototypes = {
            name: torch.randn(
                self.num_classes, *((shape[first],) if dense else shape), generator=generator
            )
            for name, shape in self.shapes.items()
        }
        places = _places(self.task, next(iter(self.shapes.values())))
        for split, size in zip(("train", "val", "test"), self.sizes, strict=True):
            label = _label(self.task, size, self.num_classes, places, generator)
            self._splits[split] = {"label": label} | {
                name: _signal(self.task, label, prototype)
                + self.noise[name] * torch.randn(size, *self.shapes[name], generator=generator)
                for name, prototype in prototypes.items()
            }
            if self.gaps:
                self._leave_gaps(self._splits[split], generator)

    def _leave_gaps(self, split: dict[str, Any], generator: torch.Generator) -> None:
        size = len(split["label"])
        lacks = torch.rand(size, generator=generator) < self.gaps
        which = torch.randperm(size, generator=generator) % len(self.shapes)  # not by the label
        split["present"] = {n: ~(lacks & (which == i)) for i, n in enumerate(self.shapes)}
        for name, has in split["present"].items():
            split[name][~has] = 0

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


def _places(task: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of what each sample has a target for."""
    if task == "tokens":
        return tuple(shape[:-1])
    return tuple(shape[1:]) if task == "pixels" else ()


def _label(
    task: str, size: int, classes: int, places: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    if task in ("tokens", "pixels"):
        return torch.randint(classes, (size, *places), generator=generator)
    if task == "multilabel":
        return torch.randint(2, (size, classes), generator=generator)
    if task == "regression":
        return torch.randn(size, classes, generator=generator).squeeze(1)
    return torch.arange(size) % classes


def _signal(task: str, label: Tensor, prototype: Tensor) -> Tensor:
    if task in ("multilabel", "regression"):
        summed: Tensor = torch.tensordot(label.reshape(len(label), -1).float(), prototype, dims=1)
        return summed
    if task == "ordinal":
        at = label - (len(prototype) - 1) / 2
        return at.reshape(-1, *[1] * (prototype.dim() - 1)) * prototype[0]
    found = prototype[label]
    return found if task != "pixels" else found.movedim(-1, 1)


def _by_modality(
    noise: float | Mapping[str, float], shapes: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    if not isinstance(noise, Mapping):
        return {name: float(noise) for name in shapes}
    if missing := set(shapes) - set(noise):
        raise ValueError(f"noise lacks the modalities {sorted(missing)}; give each a number")
    return {name: float(noise[name]) for name in shapes}
