"""AV-MNIST: MNIST's images and recorded spoken digits, the counterpart of AV-Digits."""

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.digits.arrays import CLASS_NAMES, Arrays, Rendering, Split, make_arrays
from inforeg_lightning.data.digits.cached import CachedDataModule
from inforeg_lightning.data.digits.files import download, read_recording
from inforeg_lightning.data.digits.recorded import (
    DOWNLOADS,
    check_layout,
    find_recordings,
    read_mnist,
)
from inforeg_lightning.data.loading.in_memory import SPLITS
from inforeg_lightning.data.store.download import default_root

SAMPLE_RATE = 8_000
"""Of the recordings, in Hz."""


@dataclass(frozen=True)
class AVMNISTSplit:
    """One split.

    Attributes:
        speakers: Speakers of the Free Spoken Digit Dataset; disjoint between splits.
        half: The half of MNIST whose images it takes, ``"train"`` or ``"test"``; no image is
            taken twice.
        renderings: Samples made of each recording, each with another image, place and noise.
    """

    speakers: tuple[str, ...]
    half: str
    renderings: int


@dataclass(frozen=True)
class AVMNISTRecipe(Rendering):
    """All that determines AV-MNIST but its seed; the defaults are AV-MNIST.

    Attributes:
        train: Training split.
        val: Validation split, of a speaker and of images that are not trained on.
        test: Test split, of MNIST's own test images.
        recordings: Recordings of each digit by each speaker, numbered from 0.
        snr_db: Least and greatest ratio of word to noise, in dB.

    The other attributes are those of ``Rendering``.
    """

    train: AVMNISTSplit = AVMNISTSplit(("george", "jackson", "lucas"), "train", 2)
    val: AVMNISTSplit = AVMNISTSplit(("nicolas",), "train", 1)
    test: AVMNISTSplit = AVMNISTSplit(("theo", "yweweler"), "test", 1)
    recordings: int = 50
    snr_db: tuple[float, float] = (10.0, 10.0)
    digit_sizes: tuple[int, int] = (18, 20)
    fft_size: int = 512
    hop: int = 256

    def needed(self) -> set[tuple[str, int, int]]:
        """Speaker, digit and number of every recording that is used."""
        speakers = [name for split in (self.train, self.val, self.test) for name in split.speakers]
        return set(product(speakers, range(10), range(self.recordings)))

    @property
    def halves(self) -> list[str]:
        """The halves of MNIST that are used."""
        return sorted({split.half for split in (self.train, self.val, self.test)})


class Source(NamedTuple):
    """Where one sample comes from.

    Attributes:
        image: Row in its half of MNIST.
        label: Class, 0 to 9.
        speaker: Who says the digit.
        recording: Number of the recording.
        snr_db: Ratio of word to noise in dB.
    """

    image: int
    label: int
    speaker: str
    recording: int
    snr_db: float


def plan(
    recipe: AVMNISTRecipe, data_seed: int, labels: dict[str, NDArray[np.int64]]
) -> dict[str, list[Source]]:
    """Say of what every sample of every split is made, without making it.

    Args:
        recipe: The data set's settings.
        data_seed: Seed of everything random.
        labels: Half of MNIST -> labels of its images.

    Returns:
        Split -> sources, in a random order. No image and no speaker is in two splits.

    Raises:
        ValueError: A speaker is in two splits, or MNIST has too few images of a class.
    """
    speakers = [name for split in SPLITS for name in getattr(recipe, split).speakers]
    if len(set(speakers)) != len(speakers):
        raise ValueError(f"a speaker must be in one split only, got {speakers}")
    rng = np.random.default_rng([data_seed, 0])
    unused = {
        half: [rng.permutation(np.flatnonzero(of == label)).tolist() for label in range(10)]
        for half, of in labels.items()
    }
    planned = {}
    # The small splits take their images first: they stay what they are if training grows.
    for split in reversed(SPLITS):
        settings = getattr(recipe, split)
        planned[split] = _plan_split(recipe, settings, unused[settings.half], rng)
    return {split: planned[split] for split in SPLITS}


def _plan_split(
    recipe: AVMNISTRecipe, split: AVMNISTSplit, unused: list[list[int]], rng: np.random.Generator
) -> list[Source]:
    sources = []
    for label in range(len(CLASS_NAMES)):
        needed = len(split.speakers) * recipe.recordings * split.renderings
        if len(unused[label]) < needed:
            raise ValueError(
                f"AV-MNIST needs {needed} more images of the digit {label} from MNIST's "
                f"{split.half} half, which has {len(unused[label])} left"
            )
        sources += [
            Source(unused[label].pop(), label, speaker, number, float(rng.uniform(*recipe.snr_db)))
            for speaker in split.speakers
            for number in range(recipe.recordings)
            for _ in range(split.renderings)
        ]
    return [sources[i] for i in rng.permutation(len(sources))]


def generate(recipe: AVMNISTRecipe, data_seed: int, root: Path) -> Arrays:
    """Make the whole data set.

    Args:
        recipe: The data set's settings.
        data_seed: Seed of everything random.
        root: Folder of the images and recordings.

    Returns:
        What ``make_arrays`` returns: for each split ``audio``, ``image`` and ``label``.

    Raises:
        FileNotFoundError: Images or recordings that the recipe asks for are not there.
        ValueError: They are damaged, or there are too few.
    """
    mnist = {half: read_mnist(root, half) for half in recipe.halves}
    planned = plan(recipe, data_seed, {half: labels for half, (_, labels) in mnist.items()})
    needed = {(s.speaker, s.label, s.recording) for split in SPLITS for s in planned[split]}
    waves = {
        recording: read_recording(path, SAMPLE_RATE)
        for recording, path in find_recordings(root, needed).items()
    }
    splits = (
        (
            split,
            Split(
                [waves[s.speaker, s.label, s.recording] for s in sources],
                [s.snr_db for s in sources],
                np.array([s.image for s in sources], np.int64),
                *mnist[getattr(recipe, split).half],
            ),
        )
        for split, sources in planned.items()
    )
    return make_arrays(recipe, data_seed, splits, SAMPLE_RATE, highest_hz=3800.0)


class AVMNISTDataModule(CachedDataModule):
    """MNIST's digits among clutter, each with the same digit as somebody said it.

    Images are MNIST's 28 × 28, placed off-centre and overlapped by fragments of others. Sound is
    the Free Spoken Digit Dataset's, six speakers at 8 kHz. Neither a speaker nor an image is in two
    splits, and test images are MNIST's own test half (``plan`` lists what
    each sample is made of).

    Both are read from ``root`` (or fetched to it, if ``download`` is set), turned into one cached
    file beside them once, in seconds; its bytes depend on the sources, the recipe and
    ``data_seed`` alone. Batches are as AV-Digits has them:
    ``{"audio": float32 (B, 1, F, T), "image": float32 (B, 1, H, W), "label": int64 (B,)}``:
    log mel spectrograms and pixels, each standardised over the training split.

    Args:
        root: Folder with ``mnist`` and ``fsdd``, and of the cache; by default ``av-mnist`` in
            ``inforeg-lightning`` in the user's cache folder.
        batch_size: Samples per training batch; evaluation takes at least 256.
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
    file = "av-mnist"
    recipe: AVMNISTRecipe
    class_names: tuple[str, ...] = CLASS_NAMES

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
        self.recipe = AVMNISTRecipe() if recipe is None else recipe
        self.download = download
        folder = default_root() / "av-mnist" if root is None else root
        super().__init__(folder, batch_size, seed, num_workers, data_seed)

    def check(self) -> None:
        """Find out, before training, whether the sources are there where they will be needed.

        Raises:
            FileNotFoundError: They are not; the message shows the layout.
        """
        if self.download or self.path.exists():
            return
        check_layout(self.root, self.recipe.needed(), self.recipe.halves)

    def generate(self) -> Arrays:
        """Make the arrays; see ``generate``."""
        if self.download:
            download(self.root, DOWNLOADS)
        return generate(self.recipe, self.data_seed, self.root)
