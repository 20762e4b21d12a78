"""Decode media files with PyAV: it brings FFmpeg along, so it works wherever pip does.

Its frames equal OpenCV's, with which the published frames were made, to the bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av

# A container's duration is that of its longest stream, and streams of a whole clip end a few
# frames apart. What lacks more than both has been cut short.
_MISSING_SECONDS, _MISSING_SHARE = 0.5, 0.1
# As players do, a packet that cannot be decoded is passed over, but not many.
_BROKEN_SHARE = 0.1
# Containers round times to milliseconds.
_ROUNDING = 0.002
# A few kilobytes can promise gigabytes. Clips of seconds come nowhere near these.
_MOST_PIXELS = 8192 * 4320  # of a frame: 8K
_MOST_BYTES = 256_000_000  # of the frames that are kept of a clip, and of its sound as float32


class ClipError(ValueError):
    """A clip that cannot be used; the message says why, without its name."""


class NoSound(ClipError):
    """A clip that has no sound, where nothing else is known to be wrong with it."""


class Sound(NamedTuple):
    """A decoded sound.

    Attributes:
        samples: float32 ``(channels, n)``; full scale is 1.
        rate: Samples per second, in Hz.
    """

    samples: NDArray[np.float32]
    rate: int


def read_sound(path: Path) -> Sound:
    """Decode the first audio stream of a file, all channels at its own rate.

    Args:
        path: The file, such as ``.wav`` or ``.mp4``.

    Raises:
        NoSound: It holds no sound.
        ClipError: It cannot be opened or decoded, or is cut short.
    """
    import av

    pieces, size = [], 0
    with _opened(path) as container:
        if not container.streams.audio:
            raise NoSound("no audio stream")
        stream = container.streams.audio[0]
        rate, declared = stream.rate, _wav_seconds(path) or _own_seconds(stream)
        # Channels side by side: planes, one for each, are read beyond their end from the eighth on.
        to_float = av.AudioResampler(format="flt")
        for frame in chain(_decoded(container, stream), [None]):
            for part in to_float.resample(frame):
                pieces.append(part.to_ndarray().reshape(-1, part.layout.nb_channels))
                size += pieces[-1].nbytes
            if size > _MOST_BYTES:
                raise ClipError(f"more than {_MOST_BYTES // 1_000_000} MB of sound")
    if not size:
        raise NoSound("no samples")
    samples = np.ascontiguousarray(np.concatenate(pieces).T, np.float32)
    _check_whole(samples.shape[1] / rate, declared)
    return Sound(samples, rate)


def read_frames(path: Path, per_second: float, short_side: int) -> NDArray[np.uint8]:
    """Decode the frames of a video at a fixed number per second.

    Frame ``k`` of the result is the source frame whose time is nearest to ``k / per_second``
    seconds after the first frame (the earlier of two), for as long as that is not after the last
    frame. So from 30 frames per second, 3 per second are the frames 0, 10, 20, …; a video with
    fewer frames than asked for repeats them. The result does not depend on declared frame rates.

    Args:
        path: The file, such as ``.flv`` or ``.mp4``.
        per_second: Frames per second.
        short_side: Larger frames are reduced to this height or width, whichever is less, in
            pixels; smaller ones stay as they are.

    Returns:
        uint8 ``(n, H, W, 3)``, RGB, ``n`` at least 1.

    Raises:
        ClipError: It cannot be opened or decoded, holds no frame, or is cut short.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise ClipError("no video stream")
        stream = container.streams.video[0]
        declared = _own_seconds(stream)
        if declared is None and container.duration:
            declared = container.duration / 1_000_000
        stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
        frame_seconds = 1 / float(stream.average_rate or 25)
        timed = _timed(container, stream, frame_seconds)
        pixels, seconds = _nearest(timed, per_second, _Reducer(short_side))
    if not pixels:
        raise ClipError("no frames")
    _check_whole(seconds + frame_seconds, declared)
    return np.stack(pixels)


def _nearest(
    timed: Iterator[tuple[float, "av.VideoFrame"]], per_second: float, reduced: "_Reducer"
) -> tuple[list[NDArray[np.uint8]], float]:
    """The frames to keep, reduced, and the time of the last frame of all."""
    kept: list[NDArray[np.uint8]] = []
    previous: tuple[float, av.VideoFrame] | None = None
    for time, frame in timed:
        # Every wanted time up to this frame is nearest to this one or to the one before.
        while (wanted := len(kept) / per_second) <= time + _ROUNDING:
            earlier = previous is not None and wanted - previous[0] <= time - wanted
            kept.append(reduced(previous[1] if earlier and previous else frame))
            # Broken times make one frame last for years; a small one must not be kept forever.
            if len(kept) * max(kept[0].nbytes, 8_192) > _MOST_BYTES:
                raise ClipError(f"more than {_MOST_BYTES // 1_000_000} MB of frames")
        previous = (time, frame)
    return kept, previous[0] if previous else 0.0


def _timed(
    container: "av.container.InputContainer", stream: "av.VideoStream", frame_seconds: float
) -> Iterator[tuple[float, "av.VideoFrame"]]:
    first, last = None, -frame_seconds
    for frame in _decoded(container, stream):
        if first is None:
            first = frame.time or 0.0
        # Some files lack times, and some broken ones go back in time.
        time = last + frame_seconds if frame.time is None else max(frame.time - first, last, 0.0)
        last = time
        yield time, frame


class _Reducer:
    """Turn decoded frames into upright pixels of one size, that of the first one reduced.

    Args:
        short_side: Height or width, whichever is less, that frames have at most.
    """

    def __init__(self, short_side: int) -> None:
        from av.video.reformatter import VideoReformatter

        # One converter for all: a frame's own ``to_ndarray(format=...)`` makes another for each,
        # which costs as much as decoding.
        self.to_rgb = VideoReformatter()
        self.short_side = short_side
        self.size: tuple[int, int] | None = None
        self.last: tuple[av.VideoFrame, NDArray[np.uint8]] | None = None

    def __call__(self, frame: "av.VideoFrame") -> NDArray[np.uint8]:
        """Pixels uint8 ``(H, W, 3)``, RGB; the same array again for the same frame."""
        if self.last is None or self.last[0] is not frame:
            self.last = (frame, self._sized(self._upright(frame)))
        return self.last[1]

    def _upright(self, frame: "av.VideoFrame") -> NDArray[np.uint8]:
        if frame.width * frame.height > _MOST_PIXELS:
            raise ClipError(f"frames of {frame.width} × {frame.height} pixels")
        # One thread, as in decoding.
        converted = self.to_rgb.reformat(frame, format="rgb24", threads=1)
        pixels = np.asarray(converted.to_ndarray(), np.uint8)
        # Telephones write the turn beside the pixels; players and OpenCV apply it.
        return np.rot90(pixels, round(frame.rotation / 90))

    def _sized(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.size is None:
            height, width = pixels.shape[:2]
            scale = min(1.0, self.short_side / min(height, width))
            # Of a strip of one pixel by thousands something must be left.
            self.size = max(round(height * scale), 1), max(round(width * scale), 1)
        if pixels.shape[:2] == self.size:
            return pixels
        import torch
        from torch.nn.functional import interpolate

        # Each by itself, since broken files change their size on the way. On bytes with channels
        # last torch is several times as fast as Pillow, and within a level of it. [None] first:
        # with any other stride of a batch of one, torch takes it for channels first.
        batch = torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
        smaller = interpolate(batch, size=self.size, mode="bicubic", antialias=True)
        return np.ascontiguousarray(smaller[0].permute(1, 2, 0).numpy())


@contextmanager
def _opened(path: Path) -> Iterator["av.container.InputContainer"]:
    import av

    if path.stat().st_size == 0:
        raise ClipError("empty file")
    # FFmpeg looks through PCM for DTS in disguise, which takes longer than all else about a sound.
    options = {"max_probe_packets": "1"} if path.suffix.lower() == ".wav" else {}
    try:
        with av.open(str(path), options=options) as container:
            yield container
    except av.FFmpegError as error:
        with path.open("rb") as file:
            head = file.read(19)
        if head == b"version https://git":
            # CREMA-D is published in a repository with Git LFS, and this is what one gets without.
            raise ClipError("a Git LFS pointer instead of the file (git lfs pull)") from error
        raise ClipError(f"cannot be decoded: {error.strerror or error}") from error


def _decoded(container: "av.container.InputContainer", stream: Any) -> Iterator[Any]:
    import av

    # One thread: the caller has a process for each core.
    stream.thread_count = 1
    packets, broken = 0, 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        try:
            frames = packet.decode()
        except av.FFmpegError:
            broken += 1
            continue
        yield from frames
    if broken > _BROKEN_SHARE * packets:
        raise ClipError(f"cannot be decoded: {broken} of {packets} packets")


def _own_seconds(stream: Any) -> float | None:
    return float(stream.duration * stream.time_base) if stream.duration else None


def _wav_seconds(path: Path) -> float | None:
    """Seconds that the header of a WAV file promises; FFmpeg reports what the file holds."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
            return None
        bytes_a_second = 0
        while len(head := file.read(8)) == 8:
            kind, size = head[:4], int.from_bytes(head[4:], "little")
            if kind == b"fmt ":
                bytes_a_second = int.from_bytes(file.read(size)[8:12], "little")
            elif kind == b"data":
                # Writers that cannot go back leave zero, or as much as can be promised: SoX
                # 0x7FFFF000, others all ones, each with or without the header.
                known = bytes_a_second > 0 and 0 < size < 0x7FFF_F000 - 256
                return size / bytes_a_second if known else None
            else:
                file.seek(size + size % 2, 1)
    return None


def _check_whole(seconds: float, declared: float | None) -> None:
    missing = 0.0 if declared is None else declared - seconds
    if declared and missing > max(_MISSING_SECONDS, _MISSING_SHARE * declared):
        raise ClipError(f"truncated: it ends at {seconds:.2f} of {declared:.2f} s")
