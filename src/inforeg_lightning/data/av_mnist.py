"""AV-MNIST: MNIST's images and recorded spoken digits, the counterpart of AV-Digits."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from inforeg_lightning.data.av_digits_recipe import CLASS_NAMES
from inforeg_lightning.data.av_mnist_recipe import AVMNISTRecipe
from inforeg_lightning.data.cached import CachedDataModule, default_root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AVMNISTDataModule(CachedDataModule):
    """MNIST's digits among clutter, each with the same digit as somebody said it.

    Images are MNIST's 28 × 28, placed off-centre and overlapped by fragments of others. Sound is
    the Free Spoken Digit Dataset's, six speakers at 8 kHz. Neither a speaker nor an image is in two
    splits, and test images are MNIST's own test half (``av_mnist_generate.plan`` lists what
    each sample is made of).

    Both are read from ``root`` (or fetched to it, if ``download`` is set), turned into one cached
    file beside them once, in seconds; its bytes depend on the sources, the recipe and
    ``data_seed`` alone. Batches are as AV-Digits has them:
    ``{"audio": float32 (B, 1, F, T), "image": float32 (B, 1, H, W), "label": int64 (B,)}``:
    log mel spectrograms and pixels, each standardised over the training split.

    Args:
        root: Folder with ``mnist`` and ``fsdd``, and of the cache; by default ``av-mnist`` in
            ``inforeg-lightning`` in the user's cache folder.
        batch_size: Samples a training batch; evaluation takes at least 256.
        seed: Seed of the order of training batches; the order of an epoch depends on nothing else.
        num_workers: Worker processes of the loaders; the data are in memory, so 0 is fastest.
        data_seed: Seed of pairing, places and noise.
        recipe: Settings of the data; the default is AV-MNIST, anything else is for study.
        download: Fetch what is not there, about 30 MB. Off by default: nothing is fetched that
            was not asked for.

    Raises:
        FileNotFoundError: ``prepare_data`` must generate and sources are missing.
        RuntimeError: ``setup`` finds no readable data and ``prepare_data`` was not called, or a
            loader is asked for before ``setup``.
    """

    title = "AV-MNIST"
    class_names: tuple[str, ...] = CLASS_NAMES
    modalities: tuple[str, ...] = ("audio", "image")

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        data_seed: int = 0,
        recipe: AVMNISTRecipe | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(
            default_root() / "av-mnist" if root is None else Path(root),
            batch_size,
            seed,
            num_workers,
        )
        self.recipe = AVMNISTRecipe() if recipe is None else recipe
        self.data_seed, self.download = data_seed, download

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
        return self.root / f"av-mnist-{self.recipe.fingerprint(self.data_seed)}.npz"

    def check(self) -> None:
        """Find out, before training, whether the sources are there where they will be needed.

        Raises:
            FileNotFoundError: They are not; the message shows the layout.
        """
        if self.download or self.path.exists():
            return
        from inforeg_lightning.data.av_mnist_sources import check_layout

        check_layout(self.root, self.recipe.needed())

    def generate(self) -> "dict[str, NDArray[np.generic]]":
        """Make the arrays; see ``av_mnist_generate.generate``."""
        from inforeg_lightning.data.av_mnist_generate import generate
        from inforeg_lightning.data.av_mnist_sources import download

        if self.download:
            download(self.root)
        return generate(self.recipe, self.data_seed, self.root)
