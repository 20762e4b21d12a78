"""Generate AV-MNIST: MNIST's images among clutter, paired by class with recorded spoken digits."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.av_mnist_recipe import AVMNISTRecipe, AVMNISTSplit
from inforeg_lightning.data.av_mnist_sources import (
    SAMPLE_RATE,
    find_recordings,
    read_mnist,
    read_recording,
)
from inforeg_lightning.data.in_memory import SPLITS
from inforeg_lightning.data.rendering import (
    Array,
    cluttered_image,
    in_noise,
    log_mel_spectrogram,
    mel_filters,
)

NUM_CLASSES = 10


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
    for label in range(NUM_CLASSES):
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


def generate(recipe: AVMNISTRecipe, data_seed: int, root: Path) -> dict[str, NDArray[np.generic]]:
    """Make the whole data set.

    Args:
        recipe: The data set's settings.
        data_seed: Seed of everything random.
        root: Folder of the images and recordings.

    Returns:
        ``"<split>/audio"`` float16 ``(N, 1, F, T)`` and ``"<split>/image"`` float16
        ``(N, 1, H, W)``, both with mean 0 and deviation 1 **over the training split**, and
        ``"<split>/label"`` int64 ``(N,)``.

    Raises:
        FileNotFoundError: Images or recordings that the recipe asks for are not there.
        ValueError: They are damaged, or there are too few.
    """
    mnist = {half: read_mnist(root, half) for half in ("train", "test")}
    sources = plan(recipe, data_seed, {half: labels for half, (_, labels) in mnist.items()})
    waves = _read_waves(root, sources)
    arrays: dict[str, NDArray[np.generic]] = {}
    scale: dict[str, tuple[np.float32, np.float32]] = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([data_seed, 1, number])
        half = mnist[getattr(recipe, split).half]
        raw = {
            "audio": _audio(recipe, sources[split], waves, rng),
            "image": _images(recipe, sources[split], *half, rng),
        }
        for modality, values in raw.items():
            mean, deviation = scale.setdefault(modality, (values.mean(), values.std()))
            arrays[f"{split}/{modality}"] = ((values - mean) / deviation).astype(np.float16)
        arrays[f"{split}/label"] = np.array([source.label for source in sources[split]], np.int64)
    return arrays


def _read_waves(root: Path, sources: dict[str, list[Source]]) -> dict[tuple[str, int, int], Array]:
    needed = {(s.speaker, s.label, s.recording) for split in SPLITS for s in sources[split]}
    return {key: read_recording(path) for key, path in find_recordings(root, needed).items()}


def _audio(
    recipe: AVMNISTRecipe,
    sources: list[Source],
    waves: dict[tuple[str, int, int], Array],
    rng: np.random.Generator,
) -> Array:
    samples = (recipe.frames - 1) * recipe.hop + recipe.fft_size
    filters = mel_filters(recipe.mel_bands, recipe.fft_size, SAMPLE_RATE, 80.0, 3800.0)
    window = np.hanning(recipe.fft_size).astype(np.float32)
    spectrograms = []
    for source in sources:
        wave = waves[source.speaker, source.label, source.recording]
        noisy = in_noise(wave, rng, samples, source.snr_db)
        spectrograms.append(log_mel_spectrogram(noisy, filters, window, recipe.hop))
    return np.stack(spectrograms)[:, None]


def _images(
    recipe: AVMNISTRecipe,
    sources: list[Source],
    digits: Array,
    labels: NDArray[np.int64],
    rng: np.random.Generator,
) -> Array:
    # Clutter comes from the same split, so that no test stroke is ever trained on, and from
    # other classes, so that it never helps.
    used = np.unique([source.image for source in sources])
    strangers = {label: used[labels[used] != label] for label in range(NUM_CLASSES)}
    images = [
        cluttered_image(
            digits[source.image],
            [
                digits[i]
                for i in rng.choice(strangers[source.label], recipe.fragments, replace=False)
            ],
            rng,
            recipe.image_size,
            recipe.digit_sizes,
            recipe.image_noise,
        )
        for source in sources
    ]
    return np.stack(images)[:, None]
