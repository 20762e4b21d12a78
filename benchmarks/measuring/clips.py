"""CREMA-D-shaped raw clips to measure on: names, codecs, sizes and lengths of the real ones.

The frames are made of smooth noise of all scales with a patch that moves, so that they neither
compress like plain colour nor like static. Real faces compress differently from them; ``detail``
says how much fine structure there is, to see what depends on it.
"""

import shutil
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, product
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from inforeg_lightning.data.cremad import CLASSES as CREMAD_CLASSES

SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
SECONDS, RATE, SIZE = 2.5, 16_000, (360, 480)
FRAME_RATE = Fraction(30000, 1001)


def write_clips(root: Path, count: int, different: int, detail: float = 1.0) -> list[str]:
    """Write ``AudioWAV/<name>.wav`` and ``VideoFlash/<name>.flv``, and lists for the split.

    Args:
        root: The folder that gets both, and ``train.csv`` and ``test.csv``: every tenth clip tests.
        count: How many clips.
        different: How many of them differ; the others are copies with names of their own.
        detail: Strength of the fine structure of the frames.

    Returns:
        The names of the training half.
    """
    for folder in ("AudioWAV", "VideoFlash"):
        (root / folder).mkdir(parents=True)
    made: list[tuple[Path, Path]] = []
    for number, name in enumerate(names(count)):
        wav, flv = root / "AudioWAV" / f"{name}.wav", root / "VideoFlash" / f"{name}.flv"
        if number < different:
            rng = np.random.default_rng(number)
            soundfile.write(wav, _sound(rng), RATE, subtype="PCM_16")
            write_video(flv, _frames(rng, detail))
            made.append((wav, flv))
        else:
            shutil.copyfile(made[number % different][0], wav)
            shutil.copyfile(made[number % different][1], flv)
    halves = {"test": names(count)[::10]}
    halves["train"] = sorted({*names(count)} - {*halves["test"]})
    for half, members in halves.items():
        lines = [f"{name},{name.split('_')[2]}\n" for name in members]
        (root / f"{half}.csv").write_text("".join(lines))
    return halves["train"]


def names(count: int) -> list[str]:
    """Names as CREMA-D's: actor, sentence, emotion, level."""
    every = product(range(1001, 1092), SENTENCES, CREMAD_CLASSES)
    return [f"{a}_{s}_{e}_XX" for a, s, e in islice(every, count)]


def _sound(rng: np.random.Generator) -> NDArray[np.float64]:
    time = np.arange(round(SECONDS * RATE)) / RATE
    pitch = rng.uniform(100, 250)
    voice = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 20))
    return 0.1 * voice + 0.01 * rng.standard_normal(len(time))


def _frames(rng: np.random.Generator, detail: float) -> Iterator[NDArray[np.uint8]]:
    """A still scene, before which an ellipse of another one moves."""
    still, face = scene(rng, SIZE, detail), scene(rng, (240, 180), detail)
    y, x = np.ogrid[-1:1:240j, -1:1:180j]
    inside = (x**2 + y**2 < 1)[:, :, None]
    phase = rng.uniform(0, 2 * np.pi)
    for number in range(round(SECONDS * FRAME_RATE)):
        angle = phase + 0.15 * number
        top, left = 60 + round(10 * np.sin(angle)), 150 + round(15 * np.cos(0.7 * angle))
        frame = still.copy()
        part = frame[top : top + 240, left : left + 180]
        part[:] = np.where(inside, face, part)
        yield frame


def scene(rng: np.random.Generator, size: tuple[int, int], detail: float) -> NDArray[np.uint8]:
    """Noise of wavelengths from the whole frame to two pixels, weaker the shorter they are."""
    levels = torch.full((1, 3, *size), 128.0)
    for wavelength, strength in ((120, 40), (40, 16), (12, 7), (4, 3 * detail), (2, 2 * detail)):
        cells = (3, size[0] // wavelength + 2, size[1] // wavelength + 2)
        noise = torch.from_numpy(rng.standard_normal(cells, np.float32))[None]
        levels += strength * interpolate(noise, size, mode="bicubic")
    return levels.clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()


def write_video(path: Path, frames: Iterator[NDArray[np.uint8]]) -> None:
    """Write frames as flv1 with a key frame every 12, which is FFmpeg's default."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flv", rate=FRAME_RATE)
        stream.height, stream.width = SIZE
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
