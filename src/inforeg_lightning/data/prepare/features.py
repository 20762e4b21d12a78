"""Compute the spectrograms of the published loaders (GeWu-Lab: OGM-GE, InfoReg).

Both are computed in float32 and stored as float16, which costs at most 0.008 for values up to 16.
"""

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Samples = NDArray[np.float32]

LOG_SPECTROGRAM_SHAPE = (257, 188)
"""Frequencies and frames of ``log_spectrogram``."""

FILTER_BANK_SHAPE = (128, 1024)
"""Mel bands and frames of ``filter_bank``."""


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """Change the sampling rate with soxr's "HQ" filter, as librosa does.

    Args:
        samples: float32 ``(channels, n)``.
        rate: Their rate in Hz.
        new_rate: The rate to have, in Hz.

    Returns:
        float32 ``(channels, ⌈n · new_rate / rate⌉)``.
    """
    if rate == new_rate:
        return samples
    import soxr

    count = math.ceil(samples.shape[1] * new_rate / rate)
    out = soxr.resample(np.ascontiguousarray(samples.T), rate, new_rate, quality="HQ").T
    # soxr rounds the length; librosa's is the ceiling, and where tiles join depends on it.
    short = max(count - out.shape[1], 0)
    return np.pad(out[:, :count], ((0, 0), (0, short))).astype(np.float32, copy=False)


def log_spectrogram(samples: Samples, rate: int) -> Samples:
    """Compute CREMA-D's spectrogram: log(|STFT| + 1e-7) of three seconds at 22,050 Hz.

    The mean of the channels is resampled, tiled three times, cut to its first 3 s and clipped to
    ±1; then frames of 512 samples every 353, periodic Hann window, centred, with zeros beyond the
    ends.

    Args:
        samples: float32 ``(channels, n)``, at least one second.
        rate: Their rate in Hz.

    Returns:
        float32 ``(257, 188)``: frequencies from 0 to 11,025 Hz, frames of 16 ms.

    Raises:
        ValueError: The sound is shorter than a second, so that tiling does not fill 3 s.
    """
    mono = resample(samples.mean(axis=0, keepdims=True, dtype=np.float32), rate, 22_050)[0]
    if len(mono) < 22_050:
        raise ValueError(f"the audio has {len(mono) / 22_050:.2f} s, at least 1 s is needed")
    filled = np.clip(np.tile(mono, 3)[: 3 * 22_050], -1, 1)
    spectrum = torch.stft(
        torch.from_numpy(filled),
        n_fft=512,
        hop_length=353,
        window=torch.hann_window(512),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return (spectrum.abs() + 1e-7).log().numpy()


def filter_bank(samples: Samples, rate: int) -> Samples:
    """Compute Kinetics-Sounds' spectrogram: Kaldi's log-mel filter bank at 16,000 Hz, normalised.

    Frames of 25 ms every 10 ms of the first channel, only where they fit whole; in each the mean
    is removed, then pre-emphasis of 0.97, a symmetric Hann window, zeros up to 512 samples, the
    power spectrum, 128 triangles equally wide in mel between 20 and 8,000 Hz, and the logarithm,
    at least that of float32's epsilon. No dither. Padded with zeros or cut to 1,024 frames, then
    (x + 4.503877) / (2 · 5.141276).

    Args:
        samples: float32 ``(channels, n)``.
        rate: Their rate in Hz.

    Returns:
        float32 ``(128, 1024)``: mel bands, frames.

    Raises:
        ValueError: The sound is shorter than one frame.
    """
    first = resample(samples[:1], rate, 16_000)[0]
    if len(first) < 400:
        raise ValueError(f"the audio has {len(first) / 16:.0f} ms, at least 25 ms are needed")
    # Published: the mean of the clip, too. Each frame's own makes that one vanish.
    frames = torch.from_numpy(first).unfold(0, 400, 160)[:1024]
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - 0.97 * before) * torch.hann_window(400, periodic=False)
    power = torch.fft.rfft(frames, n=512).abs().square()
    bank = (power @ _mel_triangles().T).clamp(min=torch.finfo(torch.float32).eps).log()
    padded = torch.nn.functional.pad(bank, (0, 0, 0, 1024 - len(bank)))
    return ((padded + 4.503877) / (2 * 5.141276)).T.contiguous().numpy()


@cache
def _mel_triangles() -> Tensor:
    """Weights ``(128, 257)`` of Kaldi's mel bands; the highest frequency has none."""
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (20.0, 8_000.0))
    corners = low + (high - low) / 129 * torch.arange(130, dtype=torch.float64)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    mel = 1127 * torch.log(1 + torch.arange(256, dtype=torch.float64) * (16_000 / 512) / 700)
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    weights = torch.minimum(rising, falling).clamp(min=0)
    return torch.nn.functional.pad(weights, (0, 1)).float()
