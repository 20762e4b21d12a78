"""Small healthy things to attack: raw clips, a store, its shards, run folders; made once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, product
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
CLIPS = 40
"""Of the healthy tree of CREMA-D: more than one part of a preparation."""


class Samples:
    """Where they lie.

    Args:
        folder: The folder of all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cremad, self.kinetics = folder / "cremad", folder / "kinetics"
        self.store, self.shards, self.runs = (folder / n for n in ("store", "shards", "runs"))

    def build(self) -> None:
        """Make them all."""
        from inforeg_lightning.data.shards import write_shards

        for number, name in enumerate(cremad_names(CLIPS)):
            write_cremad(self.cremad, name, number)
        write_mp4(self.kinetics / "playing guitar" / "healthy0001_000010_000020.mp4", 0)
        prepare("cremad", self.cremad, self.store)
        write_shards(self.store, self.shards, 0.2)
        for method, seed in product(("none", "inforeg"), (0, 1)):
            program("train.py", "experiment=synthetic", f"callbacks={method}", f"seed={seed}",
                    f"runs={self.runs}", "trainer.max_epochs=1", cwd=self.folder)  # fmt: skip


def prepare(data: str, raw: Path, store: Path, timeout: float = 60.0) -> None:
    """Prepare ``"cremad"`` or ``"kinetics_sounds"`` with two workers."""
    from inforeg_lightning.data.cremad import CREMADRecipe
    from inforeg_lightning.data.kinetics_sounds import KineticsSoundsRecipe
    from inforeg_lightning.data.prepare import prepare as prepare_by

    recipe = CREMADRecipe() if data == "cremad" else KineticsSoundsRecipe()
    prepare_by(recipe, raw, store, workers=2, timeout=timeout)


def program(name: str, *arguments: str, cwd: Path) -> None:
    """Run one of the programs to its end; an error if it fails."""
    command = [sys.executable, str(ROOT / "experiments" / name), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(arguments)}\n{done.stdout}{done.stderr}")


def environment() -> dict[str, str]:
    """That of a program: one thread, and this tree's library."""
    here = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": here}


def cremad_names(count: int, first: int = 1001) -> list[str]:
    """Names as CREMA-D's: actor, sentence, emotion, level."""
    every = product(range(first, 10_000), ("DFA", "IEO", "TIE"), EMOTIONS)
    return [f"{actor}_{sentence}_{emotion}_XX" for actor, sentence, emotion in islice(every, count)]


def write_cremad(root: Path, name: str, number: int) -> tuple[Path, Path]:
    """Write one clip in CREMA-D's layout; its two files."""
    wav, flv = root / "AudioWAV" / f"{name}.wav", root / "VideoFlash" / f"{name}.flv"
    for path in (wav, flv):
        path.parent.mkdir(parents=True, exist_ok=True)
    wav.write_bytes(pcm(_sound(number, 1.2, 16_000), 16_000))
    with av.open(str(flv), "w") as container:
        _mux_video(container, _video_stream(container, "flv", 10), number, 13)
    return wav, flv


def write_mp4(path: Path, number: int, seconds: float = 3.4) -> Path:
    """Write one clip as those of Kinetics-Sounds: h264 and aac."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = _video_stream(container, "libx264", 5)
        audio = container.add_stream("aac", rate=44_100, layout="mono")
        _mux_video(container, video, number, round(seconds * 5))
        sound = _sound(number, seconds, 44_100)[None].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, 0, Fraction(1, 44_100)
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def pcm(sound: NDArray[np.float64], rate: int, channels: int = 1) -> bytes:
    """A WAV file of 16 bits."""
    samples = np.repeat((sound * 32_000).astype("<i2")[:, None], channels, axis=1).tobytes()
    return wav_file(samples, 1, channels, rate, 16)


def wav_file(samples: bytes, kind: int, channels: int, rate: int, bits: int) -> bytes:
    """A WAV file with any header: kind 1 is PCM, 3 is floating point."""
    block = channels * bits // 8
    header = (kind.to_bytes(2, "little") + channels.to_bytes(2, "little")
              + rate.to_bytes(4, "little") + (rate * block % 2**32).to_bytes(4, "little")
              + (block % 2**16).to_bytes(2, "little") + bits.to_bytes(2, "little"))  # fmt: skip
    body = b"WAVEfmt " + len(header).to_bytes(4, "little") + header
    body += b"data" + len(samples).to_bytes(4, "little") + samples
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _sound(number: int, seconds: float, rate: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(number)
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 400) * time)
    return tone + 0.02 * rng.standard_normal(len(time))


def _video_stream(container: av.container.OutputContainer, codec: str, rate: int) -> Any:
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
    stream.options = {"preset": "ultrafast"} if codec == "libx264" else {}
    return stream


def _mux_video(
    container: av.container.OutputContainer, stream: Any, number: int, count: int
) -> None:
    for pixels in _frames(number, count):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    container.mux(stream.encode(None))


def _frames(number: int, count: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(number)
    still = rng.integers(60, 200, (6, 8, 3)).repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
    for k in range(count):
        frame = still.copy()
        frame[10:20, k % 50 : k % 50 + 10] = 255
        yield frame
