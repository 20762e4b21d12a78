"""What AV-MNIST consists of: speakers, images, noise and clutter of each split."""

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import product


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
class AVMNISTRecipe:
    """All that determines AV-MNIST but its seed; the defaults are AV-MNIST.

    Attributes:
        train: Training split.
        val: Validation split, of a speaker and of images that are not trained on.
        test: Test split, of MNIST's own test images.
        recordings: Recordings of each digit by each speaker, numbered from 0.
        snr_db: Least and greatest ratio of word to noise, in dB.
        image_size: Height and width of an image in pixels.
        digit_sizes: Least and greatest size of the scaled digit in pixels.
        fragments: Fragments of other digits in each image.
        image_noise: Standard deviation of pixel noise; strokes are up to 1.
        mel_bands: Bands of a spectrogram.
        frames: Frames of a spectrogram.
        fft_size: Samples in a frame, at 8,000 Hz.
        hop: Samples from one frame to the next.
        version: Raised when the generating code changes its output.
    """

    train: AVMNISTSplit = AVMNISTSplit(("george", "jackson", "lucas"), "train", 2)
    val: AVMNISTSplit = AVMNISTSplit(("nicolas",), "train", 1)
    test: AVMNISTSplit = AVMNISTSplit(("theo", "yweweler"), "test", 1)
    recordings: int = 50
    snr_db: tuple[float, float] = (10.0, 10.0)
    image_size: int = 24
    digit_sizes: tuple[int, int] = (18, 20)
    fragments: int = 2
    image_noise: float = 0.1
    mel_bands: int = 32
    frames: int = 32
    fft_size: int = 512
    hop: int = 256
    version: int = 1

    def needed(self) -> set[tuple[str, int, int]]:
        """Speaker, digit and number of every recording that is used."""
        speakers = [name for split in (self.train, self.val, self.test) for name in split.speakers]
        return set(product(speakers, range(10), range(self.recordings)))

    def fingerprint(self, data_seed: int) -> str:
        """Twelve hexadecimal digits that change with any setting or the seed."""
        settings = json.dumps({**asdict(self), "data_seed": data_seed}, sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:12]
