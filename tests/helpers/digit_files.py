"""Small sources of AV-MNIST in the true formats: IDX images and ``.wav`` recordings."""

import gzip
import struct
import wave
from pathlib import Path

import numpy as np

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an IDX file of bytes, packed if the name ends in ``.gz``."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000, channels: int = 1) -> None:
    """Write samples in [−1, 1] as 16-bit PCM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def write_sources(root: Path, images: dict[str, int], recordings: int) -> None:
    """A bright column for every digit, a tone for every digit, speaker and recording.

    Args:
        root: The folder that gets ``mnist`` and ``fsdd``.
        images: Images of each digit in the halves ``"train"`` and ``"test"``.
        recordings: Recordings of each digit by each speaker.
    """
    rng = np.random.default_rng(0)
    for name, half, suffix in (("train", "train", ".gz"), ("t10k", "test", "")):
        labels = rng.permutation(np.repeat(np.arange(10), images[half]))
        pixels = rng.integers(0, 30, (len(labels), 28, 28))
        for image, label in zip(pixels, labels, strict=True):
            image[:, 2 * label + 3 : 2 * label + 6] = 255
        write_idx(root / f"mnist/{name}-images-idx3-ubyte{suffix}", pixels)
        write_idx(root / f"mnist/{name}-labels-idx1-ubyte{suffix}", labels)
    time = np.arange(3000) / 8000
    for digit in range(10):
        for number, speaker in enumerate(SPEAKERS):
            for index in range(recordings):
                hertz = 300 + 300 * digit + 20 * number + index
                tone = 0.3 * np.sin(2 * np.pi * hertz * time)
                write_wav(root / f"fsdd/{digit}_{speaker}_{index}.wav", tone)
