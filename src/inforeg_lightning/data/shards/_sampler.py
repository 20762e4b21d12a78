"""The order in which the processes of a training read the clips of shards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.loading.dataset import EpochSampler, StoreDataset
from inforeg_lightning.data.shards._shards import Shards

WINDOW = 8
"""Shards that training mixes at a time."""


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
