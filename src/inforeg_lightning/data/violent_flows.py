"""Violent-Flows: crowds that are violent and crowds that are not, as pictures and their motion."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inforeg_lightning.data.loading.augment import crop_and_normalise
from inforeg_lightning.data.loading.dataset import SIZE, any_frames, finish, middle_frames
from inforeg_lightning.data.loading.in_memory import Batch
from inforeg_lightning.data.loading.module import StoreDataModule
from inforeg_lightning.data.loading.splits import Split, hold_out
from inforeg_lightning.data.prepare.decode import ClipError, read_frames
from inforeg_lightning.data.prepare.features import LOG_SPECTROGRAM_SHAPE, log_spectrogram
from inforeg_lightning.data.prepare.flow import optical_flow
from inforeg_lightning.data.prepare.raw_tree import Source, check_usable, files_below, layout_error
from inforeg_lightning.data.prepare.recipe import Recipe
from inforeg_lightning.data.store.clips import Clips

CLASSES = ("non-violent", "violent")
FOLDS = 5

_FOLDERS = {"nonviolence": 0, "nonviolent": 0, "violence": 1, "violent": 1}
_LAYOUT = """\
  {root}/
    1/  2/  3/  4/  5/         (the published folds)
      Violence/     *.avi
      NonViolence/  *.avi"""


@dataclass(frozen=True)
class ViolentFlowsRecipe(Recipe):
    """Three frames per second, the motion at each, and sound where there is one; see ``Recipe``.

    Stored are first the frames, then as many pictures of their optical flow (``optical_flow``, of
    Farnebäck's method) to the next frame of the source, at 25 frames per second. A clip without
    sound is kept; its spectrogram is zeros.
    """

    data = "violent_flows"
    title = "Violent-Flows"
    frames_per_second = 3
    least_frames = 6  # three and their motion
    spectrogram = staticmethod(log_spectrogram)
    silence = LOG_SPECTROGRAM_SHAPE

    def find(
        self, root: Path, train_list: Path | None = None, test_list: Path | None = None
    ) -> list[Source]:
        """List the clips, fold by fold; a list of halves has no meaning here."""
        sources = []
        for path in files_below(root, ".avi"):
            fold, folder = (*path.relative_to(root).parts[-3:-1], "", "")[:2]
            label = _FOLDERS.get(folder.lower().replace("-", "").replace("_", ""), -1)
            if not fold.isdigit() or not 1 <= int(fold) <= FOLDS or label < 0:
                continue  # the distribution has clips beside the folds
            name = f"{fold}_{'violent' if label else 'non-violent'}_{path.stem}"
            sources.append(Source(name, label, fold, "", path, path))
        if not sources:
            raise layout_error(self.title, _LAYOUT, root, "no .avi in a folder of a fold")
        if lacking := sorted({*map(str, range(1, FOLDS + 1))} - {s.group for s in sources}):
            raise layout_error(self.title, _LAYOUT, root, f"no clips in {', '.join(lacking)}")
        sources.sort(key=lambda source: source.name)
        check_usable(sources, self.title, _LAYOUT, root)
        return sources

    def frames(self, path: Path) -> NDArray[np.uint8]:
        """Frames and their flow, uint8 ``(2 n, H, W, 3)``."""
        every = read_frames(path, _SOURCE_RATE, self.short_side)
        kept = range(0, len(every) - 1, round(_SOURCE_RATE / self.frames_per_second))
        if len(kept) < 3:
            raise ClipError(f"too short: {len(kept)} of at least 3 frames that another follows")
        flow = [optical_flow(every[k], every[k + 1]) for k in kept]
        return np.stack([*(every[k] for k in kept), *flow])

    def settings(self) -> dict[str, Any]:
        """The recipe's, and what the flow is."""
        return super().settings() | {"flow": f"farneback at {_SOURCE_RATE:g} per second"}


_SOURCE_RATE = 25.0


class ViolentFlowsDataModule(StoreDataModule):
    """Violent-Flows (Hassner et al., CVPR Workshops 2012) from a prepared store: 246 clips.

    Batches are ``{"video": float32 (B, 3, 3, 224, 224), "flow": float32 (B, 3, 3, 224, 224),
    "label": int64 (B,)}``: three frames, and at each the motion to the next frame, horizontal,
    vertical and its length, about 0 where nothing moves. A mirrored picture of motion to the right
    is one of motion to the left. With ``gaps`` there is also ``"audio"`` ``(B, 1, 257, 188)``, and
    ``"present"`` says which clips have sound.

    One of the published folds tests; validation is cut from the other four, by class.

    Args:
        store: Folder of the prepared store; or folder or URL of its shards.
        fold: Which fold tests, 0 to 4.
        batch_size: Samples per batch.
        seed: Seed of order, frames and crops; they depend on it and on the epoch alone.
        num_workers: Worker processes of each loader; by default a few, as there are cores.
        val_share: Share of the other folds' clips that is validated on.
        split_seed: Seed of the validation slice.
        gaps: Take the sound as a third modality, which clips may lack.

    Raises:
        StoreError: ``setup`` finds no store, or one of another data set.
        ValueError: An argument is wrong, or the fold has no clips.
    """

    recipe = ViolentFlowsRecipe
    class_names = CLASSES
    shapes = {"video": (3, 3, SIZE, SIZE), "flow": (3, 3, SIZE, SIZE)}  # noqa: RUF012
    least_frames = 6
    wanted_frames = 6

    def __init__(
        self,
        store: str | os.PathLike[str],
        fold: int = 0,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int | None = None,
        val_share: float = 0.1,
        split_seed: int = 0,
        gaps: bool = False,
    ) -> None:
        if type(fold) is not int or not 0 <= fold < FOLDS:
            raise ValueError(f"`fold` must be 0 to {FOLDS - 1}, got {fold!r}")
        super().__init__(
            store, batch_size, seed, num_workers, val_share=val_share, split_seed=split_seed
        )
        self.fold, self.gaps = fold, gaps
        self.modalities = ("video", "flow", *(("audio",) if gaps else ()))

    @staticmethod
    def choose(count: int, draws: NDArray[np.float64]) -> list[int]:
        """Three frames at random and the flow at each, of a training clip."""
        return _with_flow(any_frames(count // 2, draws[:3]), count)

    @staticmethod
    def choose_middle(count: int, draws: NDArray[np.float64]) -> list[int]:
        """The middles of three equal parts and the flow at each, for evaluation."""
        return _with_flow(middle_frames(count // 2, draws[:3]), count)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Crop, mirror and normalise frames and flow on the device."""
        if "frames" not in batch:
            return batch
        half = batch["frames"].shape[1] // 2
        of_frames = ("frames", "boxes", "mirrored")
        made = finish(batch | {key: batch[key][:, :half] for key in of_frames})
        found: Batch = {
            "video": made["video"],
            "flow": _finished_flow(*(batch[key][:, half:] for key in of_frames)),
            "label": batch["label"],
        }
        if self.gaps:
            has = batch["audio"].flatten(1).any(dim=1)
            found |= {"audio": made["audio"], "present": {"audio": has}}
        return found

    def _split(self, store: Clips) -> Split:
        tested = store.groups == str(self.fold + 1)
        rest, test = np.flatnonzero(~tested), np.flatnonzero(tested)
        if not len(test) or not len(rest):
            raise ValueError(f"the store {self.path} has no clips of fold {self.fold} or of others")
        train, val = hold_out(rest, store.labels, self.val_share, self.split_seed)
        return Split({"train": train, "val": val, "test": test})


def _with_flow(frames: list[int], count: int) -> list[int]:
    return [*frames, *(frame + count // 2 for frame in frames)]


def _finished_flow(flow: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
    """Pictures of flow as the network takes them, ``(B, 3, T, 224, 224)``, no motion about 0."""
    horizontal = flow[..., :1]
    turned = mirrored[..., None, None, None]
    flow = flow.clone()
    flow[..., :1] = horizontal.where(~turned, 255 - horizontal)
    middle, spread = (0.5, 0.5, 0.0), (0.25, 0.25, 0.25)
    pixels = crop_and_normalise(
        flow.flatten(0, 1), boxes.flatten(0, 1), mirrored.flatten(), SIZE, middle, spread
    )
    return pixels.view(*flow.shape[:2], 3, SIZE, SIZE).transpose(1, 2)
