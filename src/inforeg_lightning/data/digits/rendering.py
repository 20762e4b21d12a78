"""Render digits as cluttered images, and words as noisy log spectrograms.

Pure functions of their arguments; what is random comes from the generator given.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def cluttered_image(
    digit: Array,
    others: Sequence[Array],
    rng: np.random.Generator,
    size: int,
    digit_sizes: tuple[int, int],
    noise: float,
) -> Array:
    """Enlarge a digit and place it off-centre, over fragments of other digits.

    Args:
        digit: The digit, ``(8, 8)``, in [0, 1].
        others: Digits, likewise, of which one fragment each appears.
        rng: Draws sizes, places, fragments and noise.
        size: Height and width of the image in pixels.
        digit_sizes: Least and greatest height and width of the enlarged digit, in pixels.
        noise: Standard deviation of the pixel noise.

    Returns:
        ``(size, size)``, float32, about [0, 1] plus the noise.
    """
    image = np.zeros((size, size), np.float32)
    for other in others:
        _paint(image, _fragment(other, rng, digit_sizes), rng)
    _paint(image, enlarge(digit, int(rng.integers(*digit_sizes, endpoint=True))), rng)
    return image + rng.standard_normal(image.shape, np.float32) * np.float32(noise)


def enlarge(image: Array, size: int) -> Array:
    """Resize a square image to ``(size, size)`` by linear interpolation."""
    centres = (np.arange(size) + 0.5) * image.shape[0] / size - 0.5
    distance = np.abs(centres[:, None] - np.arange(image.shape[0]))
    weights = np.maximum(0, 1 - distance).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    enlarged: Array = weights @ image @ weights.T
    return enlarged


def _fragment(digit: Array, rng: np.random.Generator, sizes: tuple[int, int]) -> Array:
    """A quarter to a half of a digit, cut at random."""
    whole = enlarge(digit, int(rng.integers(*sizes, endpoint=True)))
    height, width = (int(rng.integers(len(whole) // 3, len(whole) // 2 + 1)) for _ in range(2))
    top = int(rng.integers(len(whole) - height + 1))
    left = int(rng.integers(len(whole) - width + 1))
    return whole[top : top + height, left : left + width]


def _paint(image: Array, patch: Array, rng: np.random.Generator) -> None:
    """Put the patch at a random place; the brighter pixel wins, as strokes on paper do."""
    top = int(rng.integers(image.shape[0] - patch.shape[0] + 1))
    left = int(rng.integers(image.shape[1] - patch.shape[1] + 1))
    place = image[top : top + patch.shape[0], left : left + patch.shape[1]]
    np.maximum(place, patch, out=place)


def in_noise(wave: Array, rng: np.random.Generator, samples: int, snr_db: float) -> Array:
    """Place a word at a random time in white noise.

    Args:
        wave: The word, ``(n,)``; what exceeds ``samples`` after it is cut.
        rng: Draws time and noise.
        samples: Length of the result.
        snr_db: Power of the word, averaged over its own duration, over that of the noise, in dB.

    Returns:
        ``(samples,)``, float32, the noise of unit power.
    """
    word = wave[:samples]
    power = max(float(np.mean(np.square(word, dtype=np.float64))), 1e-12)
    result = rng.standard_normal(samples, np.float32)
    start = int(rng.integers(samples - len(word) + 1))
    result[start : start + len(word)] += word * np.float32(np.sqrt(10 ** (snr_db / 10) / power))
    return result


def log_mel_spectrogram(wave: Array, filters: Array, window: Array, hop: int) -> Array:
    """Compute the log power in each filter and frame.

    Args:
        wave: ``(n,)``.
        filters: Weights of the power spectrum's bins, ``(F, len(window) // 2 + 1)``.
        window: Window of a frame, ``(w,)``.
        hop: Samples from one frame to the next.

    Returns:
        ``(F, 1 + (n - w) // hop)``, float32, natural logarithm.
    """
    frames = np.lib.stride_tricks.sliding_window_view(wave, len(window))[::hop]
    power = np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32) ** 2
    spectrogram: Array = np.log(filters @ power.T + np.float32(1e-5))
    return spectrogram


def mel_filters(
    count: int, fft_size: int, sample_rate: int, lowest_hz: float, highest_hz: float
) -> Array:
    """Make triangular filters, equally spaced in mel, of unit sum: ``(count, fft_size//2 + 1)``."""
    mel_edges = np.linspace(_mel(lowest_hz), _mel(highest_hz), count + 2)
    edges = 700 * (10 ** (mel_edges / 2595) - 1)
    bins = np.arange(fft_size // 2 + 1) * sample_rate / fft_size
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling))
    # The lowest filters may lie between two bins; their nearest bin then stands for them.
    empty = filters.sum(axis=1) == 0
    filters[empty, np.abs(bins - edges[1:-1, None])[empty].argmin(axis=1)] = 1
    normalised: Array = (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))
