"""Data sets made once, in seconds, and cached as one file of arrays."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data.digits.arrays import Rendering
from inforeg_lightning.data.loading.in_memory import SPLITS, Batch, in_memory_loader
from inforeg_lightning.data.store.names import folder_argument

_log = logging.getLogger(__name__)


class CachedDataModule(L.LightningDataModule, ABC):
    """Base of data sets that fit in memory and are generated from a recipe and a seed.

    A subclass says how the file is called (``file``), what determines its content (``recipe``) and
    how its arrays are made (``generate``).

    Args:
        root: Folder of the cache.
        batch_size: Samples per training batch; evaluation takes at least 256.
        seed: Seed of the order of training batches; the order of an epoch depends on nothing else.
        num_workers: Worker processes of the loaders; the data are in memory, so 0 is fastest.
        data_seed: Seed of the data themselves.

    Attributes:
        title: Name of the data set in messages.
        file: What the name of the cached file begins with.
        class_names: Class -> its name.
        modalities: Names of the modalities.
        recipe: All that determines the data but their seed.
    """

    title: str
    file: str
    class_names: tuple[str, ...]
    modalities: tuple[str, ...] = ("audio", "image")
    recipe: Rendering

    def __init__(
        self,
        root: str | os.PathLike[str],
        batch_size: int,
        seed: int,
        num_workers: int,
        data_seed: int,
    ) -> None:
        super().__init__()
        folder_argument("root", root)
        self.data_seed = data_seed
        self.root, self.batch_size = Path(root), batch_size
        self.seed, self.num_workers = seed, num_workers
        self._splits: dict[str, dict[str, Tensor]] = {}

    @property
    def path(self) -> Path:
        """The cached file; its name changes with the recipe and ``data_seed``."""
        return self.root / f"{self.file}-{self.recipe.fingerprint(self.data_seed)}.npz"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample, channels first."""
        return self.recipe.shapes

    @abstractmethod
    def generate(self) -> dict[str, NDArray[np.generic]]:
        """Make the arrays: ``"<split>/<modality>"`` and ``"<split>/label"``."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def prepare_data(self) -> None:
        """Generate the data unless a readable cache is there."""
        if not self.path.exists():
            _log.info("%s: generating %s, once; this takes some seconds", self.title, self.path)
        elif self._read() is None:
            _log.warning("%s: the cache %s is corrupt and is generated anew", self.title, self.path)
        else:
            return
        arrays = self.generate()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may generate the same bytes meanwhile: each its own file, last one wins.
        temporary = self.path.with_name(f"{self.path.stem}.{os.getpid()}.partial")
        try:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def setup(self, stage: str | None = None) -> None:
        """Load all splits into memory."""
        if self._splits:
            return
        tensors = self._read()
        if tensors is None:
            raise RuntimeError(
                f"{self.title} has no readable cache at {self.path}; call prepare_data() first "
                "(a Trainer does)"
            )
        for split in SPLITS:
            self._splits[split] = {
                key: tensors[f"{split}/{key}"] for key in (*self.modalities, "label")
            }

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, in a fixed order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, in a fixed order."""
        return self._loader("test")

    def _loader(self, split: str, shuffle_seed: int | None = None) -> DataLoader[Batch]:
        if split not in self._splits:
            raise RuntimeError(f"{self.title} is not loaded; call prepare_data() and setup() first")
        # Nothing is learnt from evaluation batches, so they may be as large as is cheap.
        batch_size = self.batch_size if split == "train" else max(self.batch_size, 256)
        return in_memory_loader(self._splits[split], batch_size, self.num_workers, shuffle_seed)

    def _read(self) -> dict[str, Tensor] | None:
        tensors = read_arrays(self.path)
        keys = {f"{split}/{key}" for split in SPLITS for key in (*self.modalities, "label")}
        return tensors if tensors is not None and set(tensors) == keys else None


def read_arrays(path: Path) -> dict[str, Tensor] | None:
    """Read all arrays of a file as tensors (floats as float32); ``None`` if it is unreadable."""
    try:
        # Opened here: given a path, numpy leaves the file open when it is not an archive.
        with path.open("rb") as opened, np.load(opened) as archive:
            # Reading checks each member's checksum, and so finds damage anywhere in it.
            tensors: Mapping[str, Any] = {
                key: torch.from_numpy(archive[key]) for key in archive.files
            }
    except Exception:  # a damaged archive fails in as many ways as there are bits
        return None
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}
