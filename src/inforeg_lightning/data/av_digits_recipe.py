"""What AV-Digits consists of: voices, pitches, noise and clutter of each split.

Frozen: the difficulty was fixed by looking at unimodal and plain joint training only
(``experiments/calibrate_av_digits.py``), before any regulation was tried on it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class SplitRecipe:
    """One split.

    Attributes:
        voices: eSpeak NG voices, each an accent and a variant; disjoint between splits.
        speeds: Least and greatest speed, words a minute.
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
class AVDigitsRecipe:
    """All that determines AV-Digits but its seed; the defaults are AV-Digits.

    Attributes:
        train: Training split.
        val: Validation split.
        test: Test split.
        image_size: Height and width of an image in pixels.
        digit_sizes: Least and greatest size of the enlarged digit in pixels.
        fragments: Fragments of other digits in each image.
        image_noise: Standard deviation of pixel noise; strokes are up to 1.
        mel_bands: Bands of a spectrogram.
        frames: Frames of a spectrogram.
        fft_size: Samples in a frame, at 22,050 Hz.
        hop: Samples from one frame to the next.
        version: Raised when the generating code changes its output.
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
