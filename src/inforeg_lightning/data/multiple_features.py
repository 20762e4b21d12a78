"""Multiple Features (UCI): 2,000 handwritten digits, each described by six views."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data.loading.in_memory import SPLITS, Batch, in_memory_loader
from inforeg_lightning.data.store.names import folder_argument

VIEWS = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}
"""View -> number of its features: profile correlations, Fourier coefficients, Karhunen-Loève
coefficients, morphological features, averaged pixels, Zernike moments."""

_SAMPLES, _CLASSES = 2000, 10
_LAYOUT = """\
  {root}/
    mfeat-fac  mfeat-fou  mfeat-kar  mfeat-mor  mfeat-pix  mfeat-zer
  (UCI's "Multiple Features": 2,000 lines each, 200 per digit from 0 to 9)"""


class MultipleFeaturesDataModule(L.LightningDataModule):
    """Six views of the same handwritten digits: real data with up to six modalities.

    The files are those that the UCI repository distributes (Duin, "Multiple Features"): plain text,
    one digit per line, in the same order in every file. Each class is dealt to the splits by
    itself, so that they are equally often there; every feature is standardised over the training
    split. Batches are ``{view: float32 (B, D), "label": int64 (B,)}``.

    Args:
        root: Folder of the files.
        views: Which of ``fac``, ``fou``, ``kar``, ``mor``, ``pix`` and ``zer`` are the modalities,
            one or more, in this order.
        batch_size: Samples per training batch; evaluation takes at least 256.
        seed: Seed of the order of training batches.
        num_workers: Worker processes of the loaders; the data are in memory, so 0 is fastest.
        split_seed: Seed of the split.
        val_share: Share of each class that validates.
        test_share: Share of each class that tests.

    Raises:
        ValueError: A view is unknown or named twice, or the shares leave a split empty.
        FileNotFoundError: ``setup`` does not find a file; how they are to lie is said.
        RuntimeError: ``setup`` finds a file that is not one of these, or a loader is asked for
            before it.
    """

    class_names: tuple[str, ...] = tuple(map(str, range(_CLASSES)))

    def __init__(
        self,
        root: str | os.PathLike[str],
        views: Sequence[str] = tuple(VIEWS),
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        split_seed: int = 0,
        val_share: float = 0.2,
        test_share: float = 0.2,
    ) -> None:
        super().__init__()
        folder_argument("root", root)
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views or len(set(views)) < len(views):
            raise ValueError(
                f"`views` must be one or more of {', '.join(VIEWS)}, each once, but are {[*views]}"
            )
        each = _SAMPLES // _CLASSES
        self._counts = [round(each * val_share), round(each * test_share)]
        if min(*self._counts, each - sum(self._counts)) < 1:
            raise ValueError(
                f"`val_share` and `test_share` must leave all three splits samples, but are "
                f"{val_share} and {test_share}"
            )
        self.root, self.views = Path(root), tuple(views)
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.split_seed = split_seed
        self._splits: dict[str, dict[str, Tensor]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """The views, in the order of ``views``."""
        return self.views

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """View -> shape of one sample."""
        return {view: (VIEWS[view],) for view in self.views}

    @property
    def num_classes(self) -> int:
        """10."""
        return _CLASSES

    def check(self) -> None:
        """Look whether the files are there, without reading them.

        Raises:
            FileNotFoundError: One is not; how they are to lie is said.
        """
        for view in self.views:
            if not (self.root / f"mfeat-{view}").is_file():
                raise FileNotFoundError(
                    f"Multiple Features lacks mfeat-{view}. Expected below root={self.root}:\n"
                    f"{_LAYOUT.format(root=self.root)}"
                )

    def setup(self, stage: str | None = None) -> None:
        """Read the files, deal out the samples and standardise the features."""
        if self._splits:
            return
        self.check()
        whole = {view: _read(self.root / f"mfeat-{view}", VIEWS[view]) for view in self.views}
        rows = self._rows()
        for view, features in whole.items():
            train = features[rows["train"]]
            mean, deviation = train.mean(axis=0), train.std(axis=0)
            # A feature that is the same for all says nothing; rounding may leave 1e-17 of it.
            deviation[train.min(axis=0) == train.max(axis=0)] = 1
            whole[view] = (features - mean) / deviation
        label = np.arange(_SAMPLES) // (_SAMPLES // _CLASSES)
        for split in SPLITS:
            self._splits[split] = {
                view: torch.from_numpy(features[rows[split]].astype(np.float32))
                for view, features in whole.items()
            } | {"label": torch.from_numpy(label[rows[split]])}

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
            raise RuntimeError("Multiple Features is not loaded; call setup() first")
        batch_size = self.batch_size if split == "train" else max(self.batch_size, 256)
        return in_memory_loader(self._splits[split], batch_size, self.num_workers, shuffle_seed)

    def _rows(self) -> dict[str, NDArray[np.int64]]:
        draw = np.random.default_rng(self.split_seed)
        each, (val, test) = _SAMPLES // _CLASSES, self._counts
        dealt = np.stack([draw.permutation(each) + each * c for c in range(_CLASSES)])
        parts = {
            "val": dealt[:, :val],
            "test": dealt[:, val : val + test],
            "train": dealt[:, val + test :],
        }
        return {split: np.sort(part.flatten()) for split, part in parts.items()}


def _read(path: Path, width: int) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy's, for a file without a line
            features = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (ValueError, UserWarning, UnicodeDecodeError) as error:
        raise RuntimeError(f"{path} is not a file of numbers: {error}") from None
    if features.shape != (_SAMPLES, width) or not np.isfinite(features).all():
        raise RuntimeError(
            f"{path} must hold {_SAMPLES} lines of {width} finite numbers, but holds "
            f"{features.shape[0]} of {features.shape[1]}, "
            f"{int((~np.isfinite(features)).sum())} of them not finite. Fetch it again."
        )
    return features
