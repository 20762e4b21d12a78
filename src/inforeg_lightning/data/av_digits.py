"""AV-Digits: handwritten digits and spoken digits, real input that pip alone installs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from inforeg_lightning.data.digits.arrays import CLASS_NAMES, Arrays, Rendering, Split, make_arrays
from inforeg_lightning.data.digits.cached import CachedDataModule
from inforeg_lightning.data.digits.rendering import Array
from inforeg_lightning.data.digits.speech import SAMPLE_RATE, Utterance, speak
from inforeg_lightning.data.loading.in_memory import SPLITS
from inforeg_lightning.data.store.download import default_root


@dataclass(frozen=True)
class SplitRecipe:
    """One split.

    Attributes:
        voices: eSpeak NG voices, each an accent and a variant; disjoint between splits.
        speeds: Least and greatest speed, words per minute.
        pitches: Least and greatest pitch, eSpeak NG's 0 to 99.
        snr_db: Least and greatest ratio of word to noise, in dB.
        share: Share of each class's 8 × 8 digits that belongs to this split.
        renderings: Samples made of each digit, each with another place, clutter and word.
    """

    voices: tuple[str, ...]
    speeds: tuple[int, int]
    pitches: tuple[int, int]
    snr_db: tuple[float, float]
    share: float
    renderings: int


@dataclass(frozen=True)
class AVDigitsRecipe(Rendering):
    """All that determines AV-Digits but its seed; the defaults are AV-Digits.

    Frozen: the difficulty was fixed by looking at unimodal and plain joint training only
    (``experiments/studies/calibration.py``), before any regulation was tried on it.

    Attributes:
        train: Training split.
        val: Validation split.
        test: Test split.

    The other attributes are those of ``Rendering``.
    """

    train: SplitRecipe = SplitRecipe(
        voices=("en", "en-us", "en+m1", "en-us+m2", "en+m3", "en-us+m4", "en+f1", "en-us+f2"),
        speeds=(150, 200),
        pitches=(40, 60),
        snr_db=(-7.0, -7.0),
        share=0.56,
        renderings=3,
    )
    val: SplitRecipe = SplitRecipe(
        voices=("en-gb-x-rp+Andy", "en-gb-scotland+belinda", "en-029+m6", "en-us-nyc+f4"),
        speeds=(150, 200),
        pitches=(35, 65),
        snr_db=(-7.0, -7.0),
        share=0.14,
        renderings=2,
    )
    test: SplitRecipe = SplitRecipe(
        voices=(
            "en-gb-x-rp+m7",
            "en-gb-scotland+m8",
            "en-029+f5",
            "en-us-nyc+f3",
            "en-gb-x-gbclan+Annie",
            "en-gb-x-gbcwmd+m5",
        ),
        speeds=(150, 200),
        pitches=(35, 65),
        snr_db=(-7.0, -7.0),
        share=0.3,
        renderings=2,
    )


class Source(NamedTuple):
    """Where one sample comes from.

    Attributes:
        digit: Index into scikit-learn's digits, 0 to 1,796.
        label: Class, 0 to 9.
        utterance: The spoken word.
        snr_db: Ratio of word to noise in dB.
    """

    digit: int
    label: int
    utterance: Utterance
    snr_db: float


def plan(recipe: AVDigitsRecipe, data_seed: int) -> dict[str, list[Source]]:
    """Say of what every sample of every split is made, without making it.

    Each class's digits are dealt to the splits by ``share``, so that no digit is in two.

    Args:
        recipe: The data set's settings.
        data_seed: Seed of everything random.

    Returns:
        Split -> sources, in a random order.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    labels = _handwritten()[1]
    rng = np.random.default_rng([data_seed, 0])
    shares = [getattr(recipe, split).share for split in SPLITS]
    digits: dict[str, list[int]] = {split: [] for split in SPLITS}
    for label in range(len(CLASS_NAMES)):
        indices = rng.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum(shares) * len(indices)).astype(int)
        for split, part in zip(SPLITS, np.split(indices, ends), strict=False):
            digits[split] += part.tolist()
    return {
        split: _plan_split(getattr(recipe, split), digits[split], labels, rng) for split in SPLITS
    }


def _plan_split(
    split: SplitRecipe, digits: list[int], labels: NDArray[np.int64], rng: np.random.Generator
) -> list[Source]:
    sources = []
    for digit in rng.permutation(np.repeat(digits, split.renderings)).tolist():
        label = int(labels[digit])
        utterance = Utterance(
            CLASS_NAMES[label],
            str(rng.choice(split.voices)),
            int(rng.integers(*split.speeds, endpoint=True)),
            int(rng.integers(*split.pitches, endpoint=True)),
        )
        sources.append(Source(digit, label, utterance, float(rng.uniform(*split.snr_db))))
    return sources


def generate(recipe: AVDigitsRecipe, data_seed: int) -> Arrays:
    """Make the whole data set.

    Args:
        recipe: The data set's settings.
        data_seed: Seed of everything random.

    Returns:
        What ``make_arrays`` returns: for each split ``audio``, ``image`` and ``label``.

    Raises:
        ModuleNotFoundError: scikit-learn or espeakng-loader is not installed.
        RuntimeError: eSpeak NG failed.
    """
    splits = ((split, _split(sources)) for split, sources in plan(recipe, data_seed).items())
    return make_arrays(recipe, data_seed, splits, SAMPLE_RATE, highest_hz=7600.0)


def _split(sources: list[Source]) -> Split:
    # eSpeak switches voices slowly and speaks fast.
    order = sorted(range(len(sources)), key=lambda i: sources[i].utterance.voice)
    waves = dict(zip(order, speak([sources[i].utterance for i in order]), strict=True))
    digits, labels = _handwritten()
    return Split(
        [waves[i] for i in range(len(sources))],
        [source.snr_db for source in sources],
        np.array([source.digit for source in sources], np.int64),
        digits,
        labels,
    )


def _handwritten() -> tuple[Array, NDArray[np.int64]]:
    """scikit-learn's digits, ``(1797, 8, 8)`` in [0, 1], and their classes."""
    if find_spec("sklearn") is None:
        raise ModuleNotFoundError(
            "AV-Digits takes its handwritten digits from scikit-learn, which is not installed: "
            "pip install 'inforeg-lightning[data]'",
            name="sklearn",
        )
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return (bundle.images / 16).astype(np.float32), bundle.target.astype(np.int64)


_PARTS = ("all", "first", "second")


def half_of(sources: Sequence[Source]) -> list[bool]:
    """Of each sample, whether its digit is of the first half of its class's, in order of number."""
    digits: dict[int, list[int]] = {}
    for digit, label in sorted({(source.digit, source.label) for source in sources}):
        digits.setdefault(label, []).append(digit)
    first = {d for of in digits.values() for d in of[: len(of) // 2]}
    return [source.digit in first for source in sources]


class AVDigitsDataModule(CachedDataModule):
    """Handwritten digits among clutter, each with the same digit spoken in noise.

    Images are scikit-learn's 1,797 handwritten digits, enlarged, placed off-centre and
    overlapped by fragments of others. Speech is eSpeak NG's, with voices, speeds and pitches
    drawn at random. Neither a voice nor a handwritten digit is in two splits
    (``plan`` lists what each sample is made of).

    Generated once, in seconds, and cached; the bytes depend on the recipe and ``data_seed``
    alone. ``seed`` changes only the order of training batches. Batches are
    ``{"audio": float32 (B, 1, F, T), "image": float32 (B, 1, H, W), "label": int64 (B,)}``:
    log mel spectrograms and pixels, each standardised over the training split.

    Args:
        root: Folder of the cache; by default ``inforeg-lightning`` in the user's cache folder.
        batch_size: Samples per training batch; evaluation takes at least 256.
        seed: Seed of the order of training batches; the order of an epoch depends on nothing else.
        num_workers: Worker processes of the loaders; the data are in memory, so 0 is fastest.
        data_seed: Seed of the data themselves. 0 **is** AV-Digits; another is another data set.
        recipe: Settings of the data; the default is AV-Digits, anything else is for study.
        part: Which training samples: ``"all"``, or those of the ``"first"`` or the ``"second"``
            half of each class's handwritten digits. No digit and no spoken word is in both, so that
            one half can train encoders beforehand. Validation and test are whole.

    Raises:
        ValueError: ``part`` is none of these.
        ModuleNotFoundError: ``prepare_data`` must generate, and scikit-learn or espeakng-loader
            is missing.
        RuntimeError: ``setup`` finds no readable data and ``prepare_data`` was not called, or a
            loader is asked for before ``setup``.
    """

    title = "AV-Digits"
    file = "av-digits"
    recipe: AVDigitsRecipe
    class_names: tuple[str, ...] = CLASS_NAMES

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        data_seed: int = 0,
        recipe: AVDigitsRecipe | None = None,
        part: str = "all",
    ) -> None:
        if part not in _PARTS:
            raise ValueError(f"`part` must be one of {', '.join(_PARTS)}, but is {part!r}")
        self.part = part
        self.recipe = AVDigitsRecipe() if recipe is None else recipe
        folder = default_root() if root is None else root
        super().__init__(folder, batch_size, seed, num_workers, data_seed)

    def setup(self, stage: str | None = None) -> None:
        """Load all splits into memory, and of the training split the part that is asked for."""
        if self._splits:
            return
        super().setup(stage)
        if self.part != "all":
            first = torch.tensor(half_of(plan(self.recipe, self.data_seed)["train"]))
            kept = first if self.part == "first" else ~first
            self._splits["train"] = {key: x[kept] for key, x in self._splits["train"].items()}

    def generate(self) -> Arrays:
        """Make the arrays; see ``generate``."""
        return generate(self.recipe, self.data_seed)
