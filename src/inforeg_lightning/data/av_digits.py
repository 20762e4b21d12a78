"""AV-Digits: handwritten digits and spoken digits, real input that pip alone installs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from inforeg_lightning.data.av_digits_recipe import CLASS_NAMES, AVDigitsRecipe
from inforeg_lightning.data.cached import CachedDataModule, default_root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AVDigitsDataModule(CachedDataModule):
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

    title = "AV-Digits"
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
        super().__init__(
            default_root() if root is None else Path(root), batch_size, seed, num_workers
        )
        self.recipe = AVDigitsRecipe() if recipe is None else recipe
        self.data_seed = data_seed

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

    def generate(self) -> "dict[str, NDArray[np.generic]]":
        """Make the arrays; see ``av_digits_generate.generate``."""
        # Only here: generating needs the extra `data`, training from a cache does not.
        from inforeg_lightning.data.av_digits_generate import generate

        return generate(self.recipe, self.data_seed)
