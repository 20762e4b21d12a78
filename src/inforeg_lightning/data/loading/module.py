"""Training from a prepared store: splits, loaders, and what the device does with a batch."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from inforeg_lightning.data.loading.dataset import (
    EpochSampler,
    StoreDataset,
    finish,
    middle_frames,
)
from inforeg_lightning.data.loading.in_memory import Batch
from inforeg_lightning.data.loading.splits import Split, group_split, listed_split
from inforeg_lightning.data.prepare.lists import (
    SplitError,
    as_stored,
    fetch_lists,
    list_arguments,
    read_halves,
)
from inforeg_lightning.data.prepare.recipe import Recipe
from inforeg_lightning.data.shards import Shards, ShardSampler, is_url, shown
from inforeg_lightning.data.store import Store
from inforeg_lightning.data.store.clips import Clips
from inforeg_lightning.data.store.files import StoreError
from inforeg_lightning.data.store.names import folder_argument

_log = logging.getLogger(__name__)


class StoreDataModule(L.LightningDataModule, ABC):
    """Base of the data sets that are trained from a prepared store.

    Batches, once on the device, are ``{"audio": float32 (B, 1, ...), "video": float32
    (B, 3, 3, 224, 224), "label": int64 (B,)}``, the video normalised as ImageNet is.

    Training takes three random frames of a clip and crops and mirrors each by itself; evaluation
    takes the middles of three equal parts, whole. Where ``crop_on="device"``, the loader
    hands over stored bytes and the device makes the pixels (``on_after_batch_transfer``).

    Args:
        store: Folder of the prepared store; or folder or URL of its shards (``write_shards``).
        batch_size: Samples per batch.
        seed: Seed of order, frames and crops; they depend on it and on the epoch alone.
        num_workers: Worker processes of each loader; by default a few, as there are cores.
        split: ``"published"``, the lists' halves, or ``"group"``: no group (no actor, no source
            video) in two splits. Validation always comes out of the training half.
        train_list: Published list of the training half; by default what the store was prepared
            with.
        test_list: The same of the test half.
        test_share: Share of the clips that ``split="group"`` tests on.
        val_share: Share of the training half that is validated on.
        split_seed: Seed of what the lists leave open. Not ``seed``: runs that are compared must
            have the same splits.
        download: Fetch the published lists if they are needed and neither given nor in the store.
            Off by default: nothing is fetched that was not asked for.
        crop_on: ``"device"``, or ``"loader"`` for float32 tensors from the worker processes.
        cache: Folder for shards that come from a URL; by default in the user's cache folder.
        cache_gb: Most that shards may take there, in units of 10⁹ bytes; by default no limit.

    Raises:
        StoreError: ``setup`` finds no store, or one of another data set.
        SplitError: ``setup`` cannot split as asked.
        ValueError: An argument is wrong.
    """

    recipe: ClassVar[type[Recipe]]
    class_names: ClassVar[tuple[str, ...]]
    modalities: tuple[str, ...] = ("audio", "video")
    shapes: ClassVar[dict[str, tuple[int, ...]]]
    least_frames: ClassVar[int] = 1
    wanted_frames: ClassVar[int] = 3
    time_first: ClassVar[bool] = False

    def __init__(
        self,
        store: str | os.PathLike[str],
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int | None = None,
        split: str = "published",
        train_list: str | os.PathLike[str] | None = None,
        test_list: str | os.PathLike[str] | None = None,
        test_share: float = 0.1,
        val_share: float = 0.1,
        split_seed: int = 0,
        download: bool = False,
        crop_on: str = "device",
        cache: str | os.PathLike[str] | None = None,
        cache_gb: float | None = None,
    ) -> None:
        super().__init__()
        if split not in ("published", "group"):
            raise ValueError(f"split must be 'published' or 'group', got {split!r}")
        if crop_on not in ("device", "loader"):
            raise ValueError(f"crop_on must be 'device' or 'loader', got {crop_on!r}")
        folder_argument("store", store)
        self.path, self._place = shown(store), os.fspath(store)  # the latter may hold a password
        self.batch_size, self.seed = batch_size, seed
        self.cache, self.cache_gb = cache, cache_gb
        self.num_workers = min(4, os.cpu_count() or 1) if num_workers is None else num_workers
        self.split_by, self.lists = split, list_arguments(train_list, test_list)
        self.test_share, self.val_share, self.split_seed = test_share, val_share, split_seed
        self.download, self.crop_on = download, crop_on
        self.split: Split | None = None
        self.dropped: tuple[str, ...] = ()
        self._store: Clips | None = None

    @staticmethod
    @abstractmethod
    def choose(count: int, draws: NDArray[np.float64]) -> list[int]:
        """Choose frames of a training clip, as ``dataset.FrameChoice``."""

    choose_middle = staticmethod(middle_frames)

    @staticmethod
    def clip_key(name: str) -> Hashable:
        """Return what is the same for all names that lists and files give to one clip."""
        return name

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def setup(self, stage: str | None = None) -> None:
        """Open the store, split it, and say how many clips of each class are where."""
        if self._store is None:
            self.check()
            if self.trainer is None or self.trainer.is_global_zero:
                self._tell()

    def check(self) -> None:
        """Open the store and split it: quick, and finds all that can be wrong before training."""
        store = self._opened()
        if int(store.labels.max(initial=0)) >= self.num_classes:
            raise StoreError(f"the store {self.path} has classes that {self.recipe.title} has not")
        split = self._split(store)
        counts = np.array([store.frame_count(row) for row in range(len(store))])
        used = np.sort(np.concatenate(list(split.rows.values())))
        self.dropped = tuple(store.names[used[counts[used] < self.least_frames]].tolist())
        kept = {part: rows[counts[rows] >= self.least_frames] for part, rows in split.rows.items()}
        self.split = Split(kept, split.absent, split.unlisted)
        self._store = store

    def table(self) -> str:
        """Return a table of the clips of each split and class, and which are left out and why."""
        store, split = self._ready()
        table = split.table(store.labels, self.class_names, store.groups)
        if self.dropped:
            few = f"{len(self.dropped)} dropped, fewer than {self.least_frames} frames: "
            table += f"\n{few}{', '.join(self.dropped[:3])}" + ", …" * (len(self.dropped) > 3)
        if store.rejected:
            table += f"\n{len(store.rejected)} could not be prepared: {self.path}/rejected.csv"
        return table

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, in a fixed order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, in a fixed order."""
        return self._loader("test")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Crop, mirror and normalise on the device; what is finished already stays as it is."""
        return finish(batch)

    def _loader(self, part: str) -> DataLoader[Batch]:
        store, split = self._ready()
        train = part == "train"
        dataset = StoreDataset(
            store,
            split.rows[part],
            self.choose if train else self.choose_middle,
            self.wanted_frames,
            augment=train,
            seed=self.seed,
            time_first=self.time_first,
            finished=self.crop_on == "loader",
        )
        sampler: EpochSampler | None = None
        trainer = self.trainer
        ranks = (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)
        if isinstance(store, Shards):
            sampler = ShardSampler(dataset, store, self.seed, *ranks, shuffle=train)
        elif train:
            sampler = EpochSampler(dataset, self.seed, *ranks)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_as_is,
        )

    def _opened(self) -> Clips:
        store: Clips
        if is_url(self._place) or (Path(self._place) / "shards.json").exists():
            store = Shards(self._place, self.cache, self.cache_gb)
        elif (Path(self.path) / "store.json").exists():
            store = Store(self.path)
        else:
            raise StoreError(
                f"{self.recipe.title} has no prepared store at {self.path} (argument store); make "
                f"it, once, from the raw clips: {self._how_to_prepare()}"
            )
        if store.settings.get("data", self.recipe.data) != self.recipe.data:
            raise StoreError(
                f"the store {self.path} is of {store.settings['data']}, not of "
                f"{self.recipe.title}; prepare another: {self._how_to_prepare()}"
            )
        return store

    def _how_to_prepare(self) -> str:
        return f"prepare({self.recipe.__name__}(), root, store), in docs/data.md"

    def _ready(self) -> tuple[Clips, Split]:
        if self._store is None or self.split is None:
            raise RuntimeError(
                f"{self.recipe.title} is not loaded; call setup() first (a Trainer does)"
            )
        return self._store, self.split

    def _split(self, store: Clips) -> Split:
        if self.split_by == "group":
            return group_split(
                store.labels, store.groups, self.test_share, self.val_share, self.split_seed
            )
        train, test = self.lists
        in_store = any(store.splits.tolist())
        if train is None and not in_store and self.download:
            train, test = fetch_lists(self.recipe.data, self.recipe.lists)
        if train is not None and test is not None:
            names = store.names.tolist()
            halves = {
                half: as_stored(listed, names, self.clip_key)
                for half, listed in read_halves(
                    train, test, self.class_names, self.clip_key
                ).items()
            }
        elif not in_store:
            raise SplitError(
                f"the store {self.path} was prepared without lists of the halves of "
                f"{self.recipe.title}; give train_list and test_list, or download=True on a "
                "machine with internet, or split='group' for splits that share no actor or video"
            )
        else:
            halves = {
                half: dict(
                    zip(
                        store.names[store.splits == half].tolist(),
                        store.labels[store.splits == half].tolist(),
                        strict=True,
                    )
                )
                for half in ("train", "test")
            }
        return listed_split(
            store.names, store.labels, **halves, val_share=self.val_share, seed=self.split_seed
        )

    def _tell(self) -> None:
        _, split = self._ready()
        _log.info("%s, split %s:\n%s", self.recipe.title, self.split_by, self.table())
        lost = sum(map(len, split.absent.values()))
        if lost or self.dropped:
            _log.warning(
                "%s: %d listed clips are not in the store and %d have too few frames; "
                "data.table() names them, and %s why some could not be prepared",
                self.recipe.title,
                lost,
                len(self.dropped),
                f"{self.path}/rejected.csv",
            )


def _as_is(batch: Any) -> Any:
    return batch
