"""Training from the shards of a store, in a folder or at a URL: the clips, and their order."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.loading.dataset import EpochSampler, StoreDataset
from inforeg_lightning.data.shards_mirror import Mirror
from inforeg_lightning.data.store.clips import Clips
from inforeg_lightning.data.store.files import Clip, StoreError, Tables, read_index, read_rejected

SHARDS_VERSION = 1
"""Of the layout of a folder of shards."""

WINDOW = 8
"""Shards that training mixes at a time."""


class Shards(Clips):
    """The clips of a store, from its shards; rows and bytes are those of the store.

    Args:
        place: Their folder, or a URL that fsspec knows (``https://…``, ``s3://…``, ``gs://…``).
        cache: Folder for what comes from a URL; by default in the user's cache folder.
        cache_gb: Most that shards may take there, in units of 10⁹ bytes; by default no limit.

    Attributes:
        shard: Number of the shard of each clip, ``(N,)`` int64.
        files: Names of the shards.

    Raises:
        StoreError: They are missing, unfinished or damaged, or the URL cannot be read.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        cache: str | os.PathLike[str] | None = None,
        cache_gb: float | None = None,
    ) -> None:
        self._mirror = Mirror(place, "shards.json", cache, cache_gb)
        place = self._mirror.place
        meta = _read_meta(self._mirror)
        try:
            header, clips = read_index(self._mirror.get("index.csv"))
            rejected = read_rejected(self._mirror.get("rejected.csv"))
            with np.load(self._mirror.get("places.npz")) as places:
                self.shard, self._sound = places["shard"], places["audio"]
                self._bounds = places["frames"]
            height, width = meta["audio_shape"]
            self.files, self._sizes_of = list(meta["shards"]), dict(meta["shards"])
            whole = (
                header == Clip._fields
                and len(clips) == meta["clips"] == len(self.shard) == len(self._sound)
                and len(self._bounds) == sum(clip.frames for clip in clips)
                and set(self.shard.tolist()) == set(range(len(self.files)))
            )
            tables = Tables(
                clips,
                rejected,
                np.zeros(1, np.int64),
                (height, width),
                meta["frame_format"],
                meta["settings"],
            )
        except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"the shards {place} are damaged: {error}") from error
        if not whole:
            raise StoreError(f"the shards {place} are damaged: their index does not fit them")
        super().__init__(place, tables)
        if not self._mirror.remote:
            self._check_sizes()

    def fetch(self, shards: Sequence[int]) -> None:
        """Bring shards here, if they are not."""
        for number in shards:
            self._open(self.files[number])

    @property
    def remote(self) -> bool:
        """Whether shards have to be brought here."""
        return self._mirror.remote

    def _audio_place(self, i: int) -> tuple[str, int]:
        return self.files[self.shard[i]], int(self._sound[i])

    def _frame_place(self, i: int, frame: int) -> tuple[str, int, int]:
        start, end = self._bounds[self._first[i] + frame].tolist()
        return self.files[self.shard[i]], start, end

    def _open(self, file: str) -> Path:
        return self._mirror.get(file, self._sizes_of[file])

    def _check_sizes(self) -> None:
        for file, size in self._sizes_of.items():
            path = self._mirror.get(file)
            found = path.stat().st_size if path.exists() else None
            if found != size:
                what = "missing" if found is None else f"of {found} bytes instead of {size}"
                raise StoreError(f"the shards {self.place} are damaged: {file} is {what}")


class ShardSampler(EpochSampler):
    """An order in which each process needs few shards at a time, and no clip comes twice.

    The shards are put in a random order, and the clips of each as well; every process takes its
    part of that, all parts of one length; then a process mixes the clips of ``WINDOW`` shards at
    a time. Where the number of clips is not divisible, the first are there a second time, in the
    last part. All of it depends on seed and epoch alone. In evaluation nothing is random.

    While the clips of some shards are read the next are fetched.

    Args:
        dataset: The clips.
        shards: What they are read from.
        seed: Seed of the order.
        num_replicas: Number of processes that train together.
        rank: Which of them this is.
        shuffle: Whether to shuffle.
        window: Shards that are mixed at a time.
    """

    def __init__(
        self,
        dataset: StoreDataset,
        shards: Shards,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        window: int = WINDOW,
    ) -> None:
        super().__init__(dataset, seed, num_replicas, rank)
        self.shuffle, self.shards, self.window = shuffle, shards, window

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # torch: of samples
        blocks = self._blocks()
        if not self.shards.remote:
            yield from np.concatenate(blocks).tolist()
            return
        pool = ThreadPoolExecutor(max_workers=4)
        try:
            for number, block in enumerate(blocks):
                # A failure is not lost: whoever reads the clip meets it again.
                for ahead in blocks[number : number + 2]:
                    pool.map(self._fetch, self._needed(ahead))
                yield from block.tolist()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _blocks(self) -> list[NDArray[np.int64]]:
        """This process's clips, as numbers in the data set, in runs that are mixed."""
        shard = self.shards.shard[self.clips.rows]
        rng = np.random.default_rng([self.seed, self.epoch])
        turn, within = np.arange(len(self.shards.files)), np.arange(len(shard), dtype=np.float64)
        if self.shuffle:
            turn, within = rng.permutation(turn), rng.permutation(within)
        order = np.lexsort((within, turn[shard]))
        order = np.resize(order, self.total_size)  # cyclic, so that the first come again
        part = order[self.rank * self.num_samples : (self.rank + 1) * self.num_samples]
        clips_a_shard = len(shard) / len(np.unique(shard))
        size = max(round(self.window * clips_a_shard), 1)
        blocks = [part[start : start + size] for start in range(0, len(part), size)]
        return [rng.permutation(block) for block in blocks] if self.shuffle else blocks

    def _needed(self, block: NDArray[np.int64]) -> list[int]:
        needed: list[int] = np.unique(self.shards.shard[self.clips.rows[block]]).tolist()
        return needed

    def _fetch(self, shard: int) -> None:
        self.shards.fetch([shard])


def _read_meta(mirror: Mirror) -> dict[str, Any]:
    try:
        meta = json.loads(mirror.mark)
        version = meta["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the shards {mirror.place} are damaged: {error!r}") from error
    if version != SHARDS_VERSION:
        raise StoreError(
            f"the shards {mirror.place} have layout {version}, this release reads layout "
            f"{SHARDS_VERSION}: write them again with python experiments/shard.py"
        )
    return dict(meta)
