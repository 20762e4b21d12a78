"""AV-Digits: handwritten digits and spoken digits, real input that pip alone installs."""

import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data.av_digits_recipe import CLASS_NAMES, SPLITS, AVDigitsRecipe
from inforeg_lightning.data.in_memory import Batch, in_memory_loader

_log = logging.getLogger(__name__)


class AVDigitsDataModule(L.LightningDataModule):
    """Handwritten digits among clutter, each with the same digit spoken in noise.

    Images are scikit-learn's 1,797 handwritten digits, enlarged, placed off-centre and
    overlapped by fragments of others. Speech is eSpeak NG's, with voices, speeds and pitches
    drawn at random. Neither a voice nor a handwritten digit is in two splits
    (``av_digits_generate.plan`` lists what each sample is made of).

    Generated once, in seconds, and cached; the bytes depend on the recipe and ``data_seed``
    alone. ``seed`` changes only the order of training batches. Batches are
    ``{"audio": float32 (B, 1, F, T), "image": float32 (B, 1, H, W), "label": int64 (B,)}``:
    log mel spectrograms and pixels, each standardised over the training split.

    Args:
        root: Folder of the cache; by default ``inforeg-lightning`` in the user's cache folder.
        batch_size: Samples a training batch; evaluation takes at least 256.
        seed: Seed of the order of training batches; the order of an epoch depends on nothing else.
        num_workers: Worker processes of the loaders; the data are in memory, so 0 is fastest.
        data_seed: Seed of the data themselves. 0 **is** AV-Digits; another is another data set.
        recipe: Settings of the data; the default is AV-Digits, anything else is for study.

    Raises:
        ModuleNotFoundError: ``prepare_data`` must generate, and scikit-learn or espeakng-loader
            is missing.
        RuntimeError: ``setup`` finds no readable data and ``prepare_data`` was not called, or a
            loader is asked for before ``setup``.
    """

    class_names: tuple[str, ...] = CLASS_NAMES
    modalities: tuple[str, ...] = ("audio", "image")

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        data_seed: int = 0,
        recipe: AVDigitsRecipe | None = None,
    ) -> None:
        super().__init__()
        self.recipe = AVDigitsRecipe() if recipe is None else recipe
        self.root = _default_root() if root is None else Path(root)
        self.batch_size, self.num_workers = batch_size, num_workers
        self.seed, self.data_seed = seed, data_seed
        self._splits: dict[str, dict[str, Tensor]] = {}

    @property
    def num_classes(self) -> int:
        """Number of classes: ten."""
        return len(self.class_names)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample, channels first."""
        recipe = self.recipe
        return {
            "audio": (1, recipe.mel_bands, recipe.frames),
            "image": (1, recipe.image_size, recipe.image_size),
        }

    @property
    def path(self) -> Path:
        """The cached file; its name changes with the recipe and ``data_seed``."""
        return self.root / f"av-digits-{self.recipe.fingerprint(self.data_seed)}.npz"

    def prepare_data(self) -> None:
        """Generate the data unless a readable cache is there."""
        if not self.path.exists():
            _log.info("AV-Digits: generating %s, once; this takes some seconds", self.path)
        elif _read(self.path) is None:
            _log.warning("AV-Digits: the cache %s is corrupt and is generated anew", self.path)
        else:
            return
        # Only here: generating needs the extra `data`, training from a cache does not.
        import numpy as np

        from inforeg_lightning.data.av_digits_generate import generate

        arrays = generate(self.recipe, self.data_seed)
        self.root.mkdir(parents=True, exist_ok=True)
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
        tensors = _read(self.path)
        if tensors is None:
            raise RuntimeError(
                f"AV-Digits has no readable cache at {self.path}; call prepare_data() first "
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
            raise RuntimeError("AV-Digits is not loaded; call prepare_data() and setup() first")
        # Nothing is learnt from evaluation batches, so they may be as large as is cheap.
        batch_size = self.batch_size if split == "train" else max(self.batch_size, 256)
        return in_memory_loader(self._splits[split], batch_size, self.num_workers, shuffle_seed)


def _default_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "inforeg-lightning"


def _read(path: Path) -> dict[str, Tensor] | None:
    """All arrays of the file as tensors (floats as float32), or ``None`` if it is unreadable."""
    import numpy as np

    try:
        # Opened here: given a path, numpy leaves the file open when it is not an archive.
        with path.open("rb") as opened, np.load(opened) as archive:
            # Reading checks each member's checksum, and so finds damage anywhere in it.
            tensors = {key: torch.from_numpy(archive[key]) for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if not _complete(tensors):
        return None
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


def _complete(tensors: Mapping[str, Tensor]) -> bool:
    keys = {f"{split}/{key}" for split in SPLITS for key in ("audio", "image", "label")}
    return set(tensors) == keys
