"""A store written as LitData, as WebDataset and as indexed shards, and a loader of each."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming import Cache
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader
from webdataset import WebDataset, split_by_node, split_by_worker

from inforeg_lightning.data.loading.dataset import StoreDataset, any_frames
from inforeg_lightning.data.shards import Shards, ShardSampler, write_shards
from inforeg_lightning.data.store import Store, StoreWriter
from measuring.clips import scene

FORMATS = ("litdata", "webdataset", "indexed")


def write_store(path: Path, clips: int, size: tuple[int, int], frames: int = 8) -> None:
    """A store of clips in raw frames; the sound says which clip it is."""
    picture = scene(np.random.default_rng(0), (size[0] + 64, size[1] + 64), 1.0)
    with StoreWriter(path, {"data": "cremad"}) as writer:
        for clip in range(clips):
            steps = (np.arange(frames) * 7 + clip) % 64
            moved = np.stack([picture[s : s + size[0], s : s + size[1]] for s in steps])
            audio = np.full((257, 188), clip)
            writer.add(f"{clip:05d}", clip % 6, moved, audio, group=str(clip), split="train")


def sample_of(store: Store, row: int) -> dict[str, Any]:
    frames = store.frames(row, range(store.frame_count(row))).permute(0, 2, 3, 1).numpy()
    return {"row": row, "frames": frames, "audio": store.audio(row)}


def write(store: Path, folder: Path, shard_mb: float) -> dict[str, dict[str, float]]:
    """Write each format once, in one process; ``indexed`` is WebDataset's writer and an index."""
    source, found = Store(store), {}
    for name in ("litdata", "indexed"):
        started = time.process_time()
        if name == "litdata":
            cache = Cache(str(folder / name), chunk_bytes=round(shard_mb * 1e6))
            for row in np.random.default_rng(0).permutation(len(source)).tolist():
                cache._add_item(row, sample_of(source, row))
            cache.done()
            cache.merge()
        else:
            write_shards(store, folder / name, shard_mb)
        seconds = time.process_time() - started
        size = sum(path.stat().st_size for path in (folder / name).iterdir())
        found[name] = {"bytes": size, "mb_per_cpu_second": size / 1e6 / seconds}
    (folder / "webdataset").symlink_to(folder / "indexed")
    return found


def three_of(sample: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What training takes of a clip; the format has read all of it by then."""
    frames = sample["frames.npy"] if "frames.npy" in sample else sample["frames"]
    audio = sample["audio.npy"] if "audio.npy" in sample else sample["audio"]
    row = int(sample["__key__"]) if "__key__" in sample else int(sample["row"])
    chosen = torch.from_numpy(np.ascontiguousarray(frames[[0, 3, 6]]))
    return {"frames": chosen, "audio": torch.from_numpy(np.array(audio)), "row": torch.tensor(row)}


def loader(
    name: str, place: Path | str, batch: int, workers: int, rank: int, ranks: int, **options: Any
) -> Any:
    """A loader of each format; the packages learn rank and ranks from the environment."""
    if name == "litdata":
        streamed = StreamingDataset(str(place), shuffle=True, seed=0, transform=three_of, **options)
        return StreamingDataLoader(streamed, batch_size=batch, num_workers=workers)
    if name == "webdataset":
        folder = Path(place)
        files = [str(path) for path in sorted(folder.glob("*.tar"))] if folder.is_dir() else place
        piped = WebDataset(
            files,
            nodesplitter=split_by_node,
            workersplitter=split_by_worker,
            shardshuffle=100,
            detshuffle=True,
            seed=0,
            empty_check=False,
        )
        piped = piped.shuffle(64, seed=0).decode().map(three_of)
        return DataLoader(piped, batch_size=batch, num_workers=workers)
    shards = Shards(place, **options)
    dataset = StoreDataset(shards, np.arange(len(shards)), any_frames)
    sampler = ShardSampler(dataset, shards, 0, ranks, rank, window=2)
    return StatefulDataLoader(dataset, batch, sampler=sampler, num_workers=workers, collate_fn=same)


def same(batch: Any) -> Any:
    return batch


def rows_of(batch: Mapping[str, Any]) -> list[int]:
    found = batch["row"] if "row" in batch else batch["audio"][:, 0, 0, 0]
    return [int(row) for row in found.tolist()]


@contextmanager
def process_of(rank: int, ranks: int) -> Iterator[None]:
    """The environment in which a launcher starts a process."""
    of = {"RANK": rank, "GLOBAL_RANK": rank, "WORLD_SIZE": ranks, "NNODES": 1}
    os.environ |= {key: str(value) for key, value in of.items()}
    try:
        yield
    finally:
        for key in of:
            os.environ.pop(key)
