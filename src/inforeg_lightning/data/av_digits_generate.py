"""Generate AV-Digits: handwritten digits among clutter, paired by class with spoken digits."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.av_digits_recipe import CLASS_NAMES, AVDigitsRecipe, SplitRecipe
from inforeg_lightning.data.in_memory import SPLITS
from inforeg_lightning.data.rendering import (
    Array,
    cluttered_image,
    in_noise,
    log_mel_spectrogram,
    mel_filters,
)
from inforeg_lightning.data.speech import SAMPLE_RATE, Utterance, speak

Arrays = dict[str, NDArray[np.generic]]


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
        ``"<split>/audio"`` float16 ``(N, 1, F, T)`` and ``"<split>/image"`` float16
        ``(N, 1, H, W)``, both with mean 0 and deviation 1 **over the training split**, and
        ``"<split>/label"`` int64 ``(N,)``.

    Raises:
        ModuleNotFoundError: scikit-learn or espeakng-loader is not installed.
        RuntimeError: eSpeak NG failed.
    """
    arrays: Arrays = {}
    scale: dict[str, tuple[np.float32, np.float32]] = {}
    for number, (split, sources) in enumerate(plan(recipe, data_seed).items()):
        rng = np.random.default_rng([data_seed, 1, number])
        raw = {"audio": _audio(recipe, sources, rng), "image": _images(recipe, sources, rng)}
        for modality, values in raw.items():
            mean, deviation = scale.setdefault(modality, (values.mean(), values.std()))
            arrays[f"{split}/{modality}"] = ((values - mean) / deviation).astype(np.float16)
        arrays[f"{split}/label"] = np.array([source.label for source in sources], np.int64)
    return arrays


def _audio(recipe: AVDigitsRecipe, sources: list[Source], rng: np.random.Generator) -> Array:
    # eSpeak switches voices slowly and speaks fast.
    order = sorted(range(len(sources)), key=lambda i: sources[i].utterance.voice)
    waves = dict(zip(order, speak([sources[i].utterance for i in order]), strict=True))
    samples = (recipe.frames - 1) * recipe.hop + recipe.fft_size
    filters = mel_filters(recipe.mel_bands, recipe.fft_size, SAMPLE_RATE, 80.0, 7600.0)
    window = np.hanning(recipe.fft_size).astype(np.float32)
    spectrograms = [
        log_mel_spectrogram(
            in_noise(waves[i], rng, samples, source.snr_db), filters, window, recipe.hop
        )
        for i, source in enumerate(sources)
    ]
    return np.stack(spectrograms)[:, None]


def _images(recipe: AVDigitsRecipe, sources: list[Source], rng: np.random.Generator) -> Array:
    digits, labels = _handwritten()
    pool = np.unique([source.digit for source in sources])
    images = []
    for source in sources:
        # Clutter comes from the same split, so that no test stroke is ever trained on, and
        # from other classes, so that it never helps.
        strangers = pool[labels[pool] != source.label]
        others = [digits[i] for i in rng.choice(strangers, recipe.fragments, replace=False)]
        images.append(
            cluttered_image(
                digits[source.digit],
                others,
                rng,
                recipe.image_size,
                recipe.digit_sizes,
                recipe.image_noise,
            )
        )
    return np.stack(images)[:, None]


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
