"""Make the arrays of a digit data set: noisy spectrograms and cluttered images, standardised."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.digits.rendering import (
    Array,
    cluttered_image,
    in_noise,
    log_mel_spectrogram,
    mel_filters,
)

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Rendering:
    """The settings that the recipes of digit data sets have in common: how samples are rendered.

    Attributes:
        image_size: Height and width of an image in pixels.
        digit_sizes: Least and greatest size of the scaled digit in pixels.
        fragments: Fragments of other digits in each image.
        image_noise: Standard deviation of pixel noise; strokes are up to 1.
        mel_bands: Bands of a spectrogram.
        frames: Frames of a spectrogram.
        fft_size: Samples in a frame.
        hop: Samples from one frame to the next.
        version: Raised when the generating code changes its output.
    """

    image_size: int = 24
    digit_sizes: tuple[int, int] = (14, 16)
    fragments: int = 2
    image_noise: float = 0.1
    mel_bands: int = 32
    frames: int = 32
    fft_size: int = 1024
    hop: int = 512
    version: int = 1

    def fingerprint(self, data_seed: int) -> str:
        """Twelve hexadecimal digits that change with any setting or the seed."""
        settings = json.dumps({**asdict(self), "data_seed": data_seed}, sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:12]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample, channels first."""
        return {
            "audio": (1, self.mel_bands, self.frames),
            "image": (1, self.image_size, self.image_size),
        }


class Split(NamedTuple):
    """What the samples of one split are made of, in order.

    Attributes:
        waves: The spoken word of each sample.
        snr_db: Ratio of word to noise in dB, of each sample.
        rows: Row in ``digits`` of each sample.
        digits: Images to choose from, ``(N, H, W)``, in [0, 1].
        labels: Their classes, ``(N,)``.
    """

    waves: Sequence[Array]
    snr_db: Sequence[float]
    rows: NDArray[np.int64]
    digits: Array
    labels: NDArray[np.int64]


def make_arrays(
    rendering: Rendering,
    data_seed: int,
    splits: Iterable[tuple[str, Split]],
    sample_rate: int,
    highest_hz: float,
) -> Arrays:
    """Render all samples of all splits.

    Args:
        rendering: How they are rendered.
        data_seed: Seed of places, clutter and noise.
        splits: Name of each split and what it is made of; training comes first.
        sample_rate: Of the waves, in Hz.
        highest_hz: Where the highest filter of the spectrograms ends.

    Returns:
        ``"<split>/audio"`` float16 ``(N, 1, F, T)`` and ``"<split>/image"`` float16
        ``(N, 1, H, W)``, both with mean 0 and deviation 1 **over the training split**, and
        ``"<split>/label"`` int64 ``(N,)``.
    """
    arrays: Arrays = {}
    scale: dict[str, tuple[np.float32, np.float32]] = {}
    for number, (name, split) in enumerate(splits):
        rng = np.random.default_rng([data_seed, 1, number])
        raw = {
            "audio": _audio(rendering, split, rng, sample_rate, highest_hz),
            "image": _images(rendering, split, rng),
        }
        for modality, values in raw.items():
            mean, deviation = scale.setdefault(modality, (values.mean(), values.std()))
            arrays[f"{name}/{modality}"] = ((values - mean) / deviation).astype(np.float16)
        arrays[f"{name}/label"] = split.labels[split.rows]
    return arrays


def _audio(
    rendering: Rendering,
    split: Split,
    rng: np.random.Generator,
    sample_rate: int,
    highest_hz: float,
) -> Array:
    samples = (rendering.frames - 1) * rendering.hop + rendering.fft_size
    filters = mel_filters(rendering.mel_bands, rendering.fft_size, sample_rate, 80.0, highest_hz)
    window = np.hanning(rendering.fft_size).astype(np.float32)
    spectrograms = [
        log_mel_spectrogram(in_noise(wave, rng, samples, snr_db), filters, window, rendering.hop)
        for wave, snr_db in zip(split.waves, split.snr_db, strict=True)
    ]
    return np.stack(spectrograms)[:, None]


def _images(rendering: Rendering, split: Split, rng: np.random.Generator) -> Array:
    # Clutter comes from the same split, so that no test stroke is ever trained on, and from
    # other classes, so that it never helps.
    used = np.unique(split.rows)
    strangers = {label: used[split.labels[used] != label] for label in np.unique(split.labels)}
    images = []
    for row in split.rows:
        others = rng.choice(strangers[split.labels[row]], rendering.fragments, replace=False)
        images.append(
            cluttered_image(
                split.digits[row],
                [split.digits[i] for i in others],
                rng,
                rendering.image_size,
                rendering.digit_sizes,
                rendering.image_noise,
            )
        )
    return np.stack(images)[:, None]
