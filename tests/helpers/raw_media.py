"""Small raw data sets in the true layout: names, containers, codecs and rates of the real ones.

CREMA-D: ``AudioWAV/1001_DFA_ANG_XX.wav`` (mono PCM, 16 kHz) beside ``VideoFlash/<same>.flv``
(flv1 at 29.97 frames a second, with mp3 sound of its own). Kinetics-Sounds:
``<id>_<start>_<end>.mp4`` (h264 with aac, stereo, 44.1 kHz). Both are learnable: the colour and the
pitch tell the class, the rest of a clip depends on its name alone.
"""

import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")

FAULTS = (
    "broken",  # both files (the one file) are bytes without meaning
    "broken_audio",  # CREMA-D: the .wav only
    "broken_video",  # CREMA-D: the .flv only
    "empty",  # files of no bytes
    "truncated",  # the video file ends in its middle, as after an aborted download
    "no_audio",  # CREMA-D: no .wav; Kinetics-Sounds: no audio stream
    "no_video",  # CREMA-D: no .flv; Kinetics-Sounds: no video stream
    "no_samples",  # CREMA-D: a .wav of no samples; Kinetics-Sounds: as no_audio
    "silent",  # zeros: sound that can be used
    "one_frame",  # a video of a single frame
    "short",  # 0.2 seconds
    "wrong_rate",  # another sample rate and frame rate than usual: can be used
    "stereo",  # two channels that differ (Kinetics-Sounds: mono), can be used
)


class RawClip(NamedTuple):
    """A written clip: its name without suffix, its class and what is wrong with it."""

    name: str
    label: int
    fault: str | None


class _Medium(NamedTuple):
    frames: np.ndarray  # (n, H, W, 3) uint8
    frame_rate: Fraction
    samples: np.ndarray  # (n, channels) float32
    sample_rate: int


def write_cremad(
    root: Path,
    actors: Sequence[int] = (1001, 1002, 1003),
    sentences: Sequence[str] = ("DFA", "IEO"),
    emotions: Sequence[str] = EMOTIONS,
    faults: Mapping[str, str] | None = None,
    seconds: float = 1.4,
    size: tuple[int, int] = (120, 160),
) -> list[RawClip]:
    """Write one clip for every actor, sentence and emotion.

    Args:
        root: The folder that gets ``AudioWAV`` and ``VideoFlash``.
        actors: Numbers of the actors.
        sentences: Three-letter sentences.
        emotions: Three-letter emotions.
        faults: Name of a clip -> one of ``FAULTS``.
        seconds: Length of a clip; real ones have 1.3 to 5.
        size: Height and width of the video; real ones have 360 × 480.
    """
    for folder in ("AudioWAV", "VideoFlash"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{a}_{s}_{e}_XX" for a, s, e in product(actors, sentences, emotions)]
    clips = _clips({name: EMOTIONS.index(name.split("_")[2]) for name in names}, faults)
    for clip in clips:
        medium = _medium(clip, len(EMOTIONS), seconds, size, Fraction(30000, 1001), 16_000, 1)
        wav = root / "AudioWAV" / f"{clip.name}.wav"
        flv = root / "VideoFlash" / f"{clip.name}.flv"
        soundfile.write(wav, medium.samples, medium.sample_rate, subtype="PCM_16")
        _write_video(flv, medium, "flv", "libmp3lame")
        _damage(clip.fault, audio=wav, video=flv)
    return clips


def write_kinetics_sounds(
    root: Path,
    classes: Sequence[int] = (0, 1, 2),
    clips_per_class: int = 4,
    faults: Mapping[str, str] | None = None,
    seconds: float = 5.0,
    size: tuple[int, int] = (96, 128),
) -> list[RawClip]:
    """Write clips ``<id>_<start>_<end>.mp4``; ``kinetics_name`` says how they are called.

    Args:
        root: The folder of the clips.
        classes: Labels, 0 to 30.
        clips_per_class: Clips of each.
        faults: Name of a clip -> one of ``FAULTS``.
        seconds: Length of a clip; real ones have up to 10.
        size: Height and width of the video.
    """
    root.mkdir(parents=True, exist_ok=True)
    wanted = product(classes, range(clips_per_class))
    clips = _clips({kinetics_name(label, i): label for label, i in wanted}, faults)
    for clip in clips:
        medium = _medium(clip, 31, seconds, size, Fraction(25), 44_100, 2)
        path = root / f"{clip.name}.mp4"
        _write_video(path, medium, "libx264", "aac", clip.fault)
        _damage(clip.fault, video=path)
    return clips


def write_violent_flows(
    root: Path,
    clips_per_class: int = 2,
    silent: Sequence[str] = (),
    faults: Mapping[str, str] | None = None,
    seconds: float = 1.6,
    size: tuple[int, int] = (60, 80),
) -> list[RawClip]:
    """Write clips ``<fold>/Violence/<n>.avi`` and ``<fold>/NonViolence/<n>.avi`` (MPEG-4 and mp3).

    Args:
        root: The folder of the folds.
        clips_per_class: Clips of each class in each fold.
        silent: Names of clips without a stream of sound.
        faults: Name of a clip -> one of ``FAULTS``.
        seconds: Length of a clip; real ones have 1 to 6.
        size: Height and width of the video; real ones have 240 × 320.

    Returns:
        The clips, by the names that the recipe gives them, as ``1_violent_0``.
    """
    wanted = product(range(1, 6), (0, 1), range(clips_per_class))
    names = {f"{f}_{('non-violent', 'violent')[c]}_{n}": c for f, c, n in wanted}
    clips = _clips(names, faults)
    for clip in clips:
        fold, _, number = clip.name.split("_")
        medium = _medium(clip, 2, seconds, size, Fraction(25), 44_100, 1)
        path = root / fold / ("NonViolence", "Violence")[clip.label] / f"{number}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        fault = "no_audio" if clip.name in silent else clip.fault
        _write_video(path, medium, "mpeg4", "libmp3lame", fault)
        _damage(clip.fault, video=path)
    return clips


def kinetics_name(label: int, index: int) -> str:
    """Name of a clip; ids begin with dashes and hold underscores, as YouTube's do."""
    return f"--{label:02d}_x-{index:03d}A_{60 + index:06d}_{70 + index:06d}"


def _clips(labels: Mapping[str, int], faults: Mapping[str, str] | None) -> list[RawClip]:
    faults = faults or {}
    if unknown := set(faults) - set(labels) | set(faults.values()) - set(FAULTS):
        raise ValueError(f"no such clip or fault: {sorted(unknown)}")
    return [RawClip(name, label, faults.get(name)) for name, label in labels.items()]


def _medium(
    clip: RawClip,
    num_classes: int,
    seconds: float,
    size: tuple[int, int],
    frame_rate: Fraction,
    sample_rate: int,
    channels: int,
) -> _Medium:
    if clip.fault == "short":
        seconds = 0.2
    if clip.fault == "wrong_rate":
        frame_rate, sample_rate = Fraction(15), 48_000
    if clip.fault == "stereo":
        channels = 3 - channels
    rng = np.random.default_rng(zlib.crc32(clip.name.encode()))
    frames = _frames(rng, clip.label / num_classes, round(seconds * frame_rate), size)
    samples = _tone(rng, 220 * 2 ** (3 * clip.label / num_classes), seconds, sample_rate)
    if clip.fault == "silent":
        samples *= 0
    if clip.fault == "no_samples":
        samples = samples[:0]
    # Channels that differ, so that the mean of them is another signal than the first.
    stacked = np.stack([samples, 0.5 * samples], axis=1)[:, :channels]
    return _Medium(
        frames[:1] if clip.fault == "one_frame" else frames, frame_rate, stacked, sample_rate
    )


def _frames(rng: np.random.Generator, hue: float, count: int, size: tuple[int, int]) -> np.ndarray:
    """A plain colour of the class, a brightness of the clip, and a grey square that moves."""
    phase = 2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3]))
    colour = (0.5 + 0.45 * np.cos(phase)) * rng.uniform(0.6, 1.0) * 255
    frames = np.broadcast_to(colour, (count, *size, 3)).astype(np.uint8)
    side = size[0] // 4
    top = int(rng.integers(size[0] - side))
    for number, frame in enumerate(frames):
        left = (size[1] - side) * number // max(count - 1, 1)
        frame[top : top + side, left : left + side] = 128
    return frames


def _tone(rng: np.random.Generator, hertz: float, seconds: float, rate: int) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (hertz * rng.uniform(0.98, 1.02) * time + rng.uniform()))
    return (tone + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def _write_video(
    path: Path, medium: _Medium, video_codec: str, audio_codec: str, fault: str | None = None
) -> None:
    # The index in front: what is left of a truncated file can then still be opened.
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        streams = []
        if fault != "no_video":
            video = container.add_stream(video_codec, rate=medium.frame_rate)
            video.height, video.width = medium.frames.shape[1:3]
            video.pix_fmt, video.thread_count = "yuv420p", 1
            video.options = {"preset": "ultrafast"} if video_codec == "libx264" else {}
            streams.append((video, _video_frames(medium)))
        if fault != "no_audio":
            # mp3 in flv knows 44.1 kHz, not the 16 kHz of the .wav beside it.
            rate = medium.sample_rate if path.suffix == ".mp4" else 44_100
            layout = "stereo" if medium.samples.shape[1] == 2 else "mono"
            audio = container.add_stream(audio_codec, rate=rate, layout=layout)
            streams.append((audio, _audio_frames(medium, layout)))
        for stream, frames in streams:
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def _video_frames(medium):
    for pixels in medium.frames:
        yield av.VideoFrame.from_ndarray(pixels, format="rgb24")


def _audio_frames(medium, layout):
    # One long frame: the encoder resamples it and cuts it to its own size.
    if len(medium.samples):
        packed = np.ascontiguousarray(medium.samples).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = medium.sample_rate, 0
        frame.time_base = Fraction(1, medium.sample_rate)
        yield frame


def _damage(fault: str | None, video: Path, audio: Path | None = None) -> None:
    both = [path for path in (video, audio) if path is not None]
    if fault == "truncated":
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    for path in both:
        if fault == "broken" or (fault == "broken_audio" and path == audio):
            path.write_bytes(b"not a clip " * 100)
        if fault == "broken_video" and path == video:
            path.write_bytes(b"not a clip " * 100)
        if fault == "empty":
            path.write_bytes(b"")
    if audio is not None and fault in ("no_audio", "no_video"):
        (audio if fault == "no_audio" else video).unlink()
