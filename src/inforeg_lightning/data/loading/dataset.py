"""Batches from a prepared store: which frames, where they are cropped, and little else.

Everything random is a function of seed, epoch and clip, so that a run does not depend on the
number of workers or ranks, and goes on as it would have after resuming.
"""

import math
from bisect import insort
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, get_worker_info

from inforeg_lightning.data.loading.augment import (
    DRAWS_A_CROP,
    crop_and_normalise,
    random_crops,
    uniforms,
    whole_frames,
)
from inforeg_lightning.data.loading.in_memory import Batch
from inforeg_lightning.data.store.clips import Clips

FrameChoice = Callable[[int, NDArray[np.float64]], list[int]]
"""Number of frames of a clip and uniform numbers, one per frame wanted -> the frames, ascending."""


def any_frames(count: int, draws: NDArray[np.float64]) -> list[int]:
    """Choose frames at random, none twice, in order of time (CREMA-D's training).

    A clip with fewer than are wanted has some twice: its ``middle_frames``.
    """
    if count < len(draws):
        return middle_frames(count, draws)
    chosen: list[int] = []
    for taken, draw in enumerate(draws.tolist()):
        frame = int(draw * (count - taken))
        # The frame-th of those that are left: past each taken one below it.
        for other in chosen:
            frame += other <= frame
        insort(chosen, frame)
    return chosen


def segment_frames(count: int, draws: NDArray[np.float64]) -> list[int]:
    """Choose one frame at random of each of equal segments (Kinetics-Sounds' training)."""
    if count < len(draws):
        return middle_frames(count, draws)
    wanted = len(draws)
    starts = [count * k // wanted for k in range(wanted + 1)]
    return [
        start + int(draw * (end - start))
        for start, end, draw in zip(starts[:-1], starts[1:], draws.tolist(), strict=True)
    ]


def middle_frames(count: int, draws: NDArray[np.float64]) -> list[int]:
    """Choose the frame in the middle of each of equal segments; nothing random (evaluation)."""
    return [(2 * k + 1) * count // (2 * len(draws)) for k in range(len(draws))]


class StoreDataset(Dataset[Batch]):
    """Some clips of a store, in whole batches.

    A batch is ``{"audio": float16 (B, 1, F, T), "frames": uint8 (B, T, H, W, 3),
    "boxes": int64 (B, T, 4), "mirrored": bool (B, T), "label": int64 (B,)}``: frames as they are
    stored and where to crop each, for ``finish`` to make the tensors of the network. Frames
    smaller than the largest of a batch are padded at the bottom and the right, out of their box.
    Of a raw store only the rows that a box needs are read; the others are zeros.

    Args:
        store: The store, or its shards.
        rows: Clips, as rows of the store.
        choose: Which frames of a clip.
        frames: How many frames of a clip.
        augment: Crop and mirror at random; otherwise frames are taken whole.
        seed: Seed of everything random.
        time_first: Give spectrograms as ``(T, F)``.
        finished: Make the tensors of the network here, not on the device.

    Attributes:
        epoch: What the random numbers belong to; shared with the worker processes.
    """

    def __init__(
        self,
        store: Clips,
        rows: NDArray[np.int64],
        choose: FrameChoice,
        frames: int = 3,
        augment: bool = False,
        seed: int = 0,
        time_first: bool = False,
        finished: bool = False,
    ) -> None:
        self.store, self.rows, self.choose, self.frames = store, rows, choose, frames
        self.augment, self.seed, self.time_first = augment, seed, time_first
        self.finished = finished
        # Shared memory: workers that outlive an epoch must learn that another has begun.
        self.epoch = torch.zeros((), dtype=torch.int64)
        self.epoch.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = self.rows[np.asarray(indices, np.int64)]
        count = self.frames
        draws = uniforms(self.seed, int(self.epoch), rows, count * (1 + DRAWS_A_CROP))
        sizes = np.array([self.store.frame_size(row) for row in rows.tolist()], np.int64)
        each = sizes.repeat(count, axis=0)
        of_crops = draws[:, count:].reshape(-1, DRAWS_A_CROP)
        boxes, mirrored = random_crops(each, of_crops) if self.augment else whole_frames(each)
        boxes = boxes.reshape(len(rows), count, 4)
        batch = {
            "audio": self._audio(rows),
            "frames": self._frames(rows, draws[:, :count], sizes.max(axis=0), boxes),
            "boxes": torch.from_numpy(boxes),
            "mirrored": torch.from_numpy(mirrored).view(len(rows), count),
            "label": torch.from_numpy(self.store.labels[rows]),
        }
        if not self.finished:
            return batch
        pixels = self._zeros((len(rows) * count, 3, SIZE, SIZE), torch.float32)
        return finish(batch, into=pixels)

    def _frames(
        self,
        rows: NDArray[np.int64],
        draws: NDArray[np.float64],
        size: NDArray[np.int64],
        boxes: NDArray[np.int64],
    ) -> Tensor:
        shape = (len(rows), self.frames, *size.tolist(), 3)
        frames = self._zeros(shape, torch.uint8, handed_over=not self.finished)
        stretches = boxes[:, :, [0, 2]].tolist()
        for into, row, numbers, wanted in zip(
            frames.numpy(), rows.tolist(), draws, stretches, strict=True
        ):
            which = self.choose(self.store.frame_count(row), numbers)
            self.store.read_frames(row, which, into, wanted)
        return frames

    def _audio(self, rows: NDArray[np.int64]) -> Tensor:
        shape = (len(rows), *self.store.audio_shape)
        sound = self._zeros(shape, torch.float16, handed_over=not self.finished)
        for into, row in zip(sound.numpy(), rows.tolist(), strict=True):
            self.store.read_audio(row, into)
        return (sound.transpose(1, 2) if self.time_first else sound).unsqueeze(1)

    def _zeros(
        self, shape: tuple[int, ...], dtype: torch.dtype, handed_over: bool = True
    ) -> Tensor:
        """Memory for a batch; new each time, since nobody knows how long a batch is held."""
        size = math.prod(shape) * dtype.itemsize
        if get_worker_info() is None or not handed_over:
            # NumPy asks for huge pages, with which memory costs a third of torch.zeros.
            return torch.from_numpy(np.zeros(size, np.uint8)).view(dtype).view(shape)
        # What a worker process returns goes through shared memory: read into it, as torch's own
        # collation does, instead of being copied there.
        shared = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
        return torch.empty(0, dtype=dtype).set_(shared).view(shape)


SIZE = 224
"""Height and width of the frames that the network takes, in pixels."""


def finish(batch: Batch, size: int = SIZE, into: Tensor | None = None) -> Batch:
    """Make what the network takes of what ``StoreDataset`` gives, on the device where it is.

    Args:
        batch: What ``StoreDataset`` gives.
        size: Height and width of the result, in pixels.
        into: Memory for the pixels, float32 ``(B * T, 3, size, size)``, used on the CPU only.

    Returns:
        ``{"audio": float32 (B, 1, F, T), "video": float32 (B, 3, T, size, size), "label"}``; a
        batch without frames, such as a finished one, as it is.
    """
    if "frames" not in batch:
        return batch
    frames = batch["frames"]
    pixels = crop_and_normalise(
        frames.flatten(0, 1),
        batch["boxes"].flatten(0, 1),
        batch["mirrored"].flatten(),
        size,
        into=into,
    )
    video = pixels.view(*frames.shape[:2], 3, size, size).transpose(1, 2)
    return {"audio": batch["audio"].float(), "video": video, "label": batch["label"]}


class EpochSampler(DistributedSampler[Batch]):
    """A random order, and random frames and crops, that depend on seed and epoch alone.

    Lightning tells a sampler when an epoch begins, and nobody else; so it tells the data set. Being
    a ``DistributedSampler`` it is left in place under DDP.

    Args:
        dataset: The training clips.
        seed: Seed of the order.
        num_replicas: Number of processes that train together.
        rank: Which of them this is.
    """

    def __init__(
        self, dataset: StoreDataset, seed: int, num_replicas: int = 1, rank: int = 0
    ) -> None:
        # Torch adds the epoch to the seed: a product keeps seed 0, epoch 1 from seed 1, epoch 0.
        super().__init__(dataset, num_replicas, rank, shuffle=True, seed=seed * 1_000_003)
        self.clips = dataset

    def set_epoch(self, epoch: int) -> None:
        """Choose the order, frames and crops of this epoch."""
        super().set_epoch(epoch)
        self.clips.epoch.fill_(epoch)
