"""Data sets that fit in memory: whole batches by one index, and an order fixed by the seed."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

Batch = dict[str, Any]
"""Key -> tensor whose first dimension is the sample, or a mapping from names to such tensors."""

SPLITS = ("train", "val", "test")


class InMemoryDataset(Dataset[Batch]):
    """Samples as rows of tensors; a batch is one indexing operation per tensor.

    Args:
        tensors: Key -> tensor whose first dimension is the sample, the same size for every key; or
            a mapping from names to such tensors, as of ``"present"``.

    Raises:
        ValueError: There are no tensors or their first dimensions differ.
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        sizes = {key: part.shape[0] for key, of in tensors.items() for part in _parts(of).values()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"tensors must have one common number of samples, got {sizes}")
        self.tensors = dict(tensors)
        self._size = next(iter(sizes.values()))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Batch:
        return self._rows(index)

    def _rows(self, rows: Any) -> Batch:
        return {
            key: {name: part[rows] for name, part in of.items()}
            if isinstance(of, Mapping)
            else of[rows]
            for key, of in self.tensors.items()
        }

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        # A ready batch: stacking samples one by one costs more than the training step of a
        # small network. `_as_is` keeps the loader from collating it again.
        return self._rows(torch.as_tensor(indices))


class SeededShuffle(RandomSampler):
    """A random order that depends on the seed and the epoch alone.

    With torch's global generator, whatever else draws from it (another initialisation, dropout, a
    resumed run) changes the order of batches, and runs with the same seed are no longer paired.
    It is a ``RandomSampler``, so that Lightning replaces it under DDP with a shuffling
    ``DistributedSampler``; Lightning calls ``set_epoch`` at the start of every epoch.

    Args:
        data_source: The data set to shuffle.
        seed: Seed of the order.
    """

    def __init__(self, data_source: Dataset[Any], seed: int) -> None:
        super().__init__(data_source)  # type: ignore[arg-type]
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        # A product keeps (seed 0, epoch 1) apart from (seed 1, epoch 0).
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(len(self), generator=generator).tolist())


def _parts(of: Any) -> Mapping[str, Tensor]:
    return of if isinstance(of, Mapping) else {"": of}


def in_memory_loader(
    tensors: Mapping[str, Any],
    batch_size: int,
    num_workers: int = 0,
    shuffle_seed: int | None = None,
) -> DataLoader[Batch]:
    """Load batches ``{key: (B, ...)}`` from tensors in memory; the last may be smaller.

    Args:
        tensors: Key -> tensor whose first dimension is the sample, as for ``InMemoryDataset``.
        batch_size: Samples per batch, at least 1.
        num_workers: Worker processes; 0 (default) is the fastest for data in memory.
        shuffle_seed: Seed of the shuffled order, or ``None`` (default) for the order of the rows.

    Raises:
        ValueError: The tensors' first dimensions differ.
    """
    dataset = InMemoryDataset(tensors)
    if num_workers == 0:
        # Lightning recommends workers whenever there are cores; rows in memory would only be
        # copied between processes.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=None if shuffle_seed is None else SeededShuffle(dataset, shuffle_seed),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=_as_is,
    )


def _as_is(batch: Any) -> Any:
    return batch
