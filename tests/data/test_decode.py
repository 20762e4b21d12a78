"""Real files through the real decoder."""

import sys
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from inforeg_lightning.data.prepare import decode
from inforeg_lightning.data.prepare.decode import ClipError, read_frames, read_sound


def write_video(path, count, rate=Fraction(30), size=(48, 64), codec="flv1", times=None):
    """Frames whose brightness is their number; ``times`` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.thread_count = 1
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            grey = np.full((*size, 3), 10 + 3 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(frames):
    return [round((float(np.median(frame)) - 10) / 3) for frame in frames]


@pytest.mark.parametrize(
    ("rate", "per_second", "expected"),
    [
        (Fraction(30), 3, [0, 10, 20, 30, 40, 50, 60, 70]),
        (Fraction(30000, 1001), 3, [0, 10, 20, 30, 40, 50, 60, 70]),
        (Fraction(25), 3, [0, 8, 17, 25, 33, 42, 50, 58, 67]),
        (Fraction(15), 3, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70]),
        (Fraction(30), 1, [0, 30, 60]),
        (Fraction(24), 1, [0, 24, 48, 72]),
    ],
)
@pytest.mark.parametrize(("suffix", "codec"), [(".flv", "flv1"), (".mp4", "libx264")])
def test_which_frames(tmp_path, rate, per_second, expected, suffix, codec):
    path = write_video(tmp_path / f"clip{suffix}", 75, rate, codec=codec)
    frames = read_frames(path, per_second, 256)
    assert frames.dtype == np.uint8
    assert frames.shape[1:] == (48, 64, 3)
    assert numbers(frames) == expected


def test_times_decide_not_the_declared_rate(tmp_path):
    # One frame every 200 ms, then every 20 ms.
    times = [*range(0, 1000, 200), *range(1000, 2001, 20)]
    path = write_video(
        tmp_path / "clip.mp4", len(times), Fraction(50), codec="libx264", times=times
    )
    assert numbers(read_frames(path, 2, 256)) == [0, 2, 5, 30, 55]


def test_a_slow_video_repeats_frames(tmp_path):
    path = write_video(tmp_path / "clip.flv", 3, Fraction(2))
    assert numbers(read_frames(path, 4, 256)) == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((96, 128), 48, (48, 64)), ((128, 96), 48, (64, 48)), ((48, 64), 256, (48, 64))],
)
def test_large_frames_are_reduced_and_small_ones_left(tmp_path, size, short_side, expected):
    path = write_video(tmp_path / "clip.mp4", 4, size=size, codec="mpeg4")
    assert read_frames(path, 3, short_side).shape == (1, *expected, 3)


def test_reducing_is_pillows_to_a_level(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 2, size=(96, 128), codec="mpeg4")
    with av.open(str(path)) as container:
        source = next(container.decode(video=0)).to_ndarray(format="rgb24")
    source[20:60, 30:80] = np.random.default_rng(0).integers(256, size=(40, 50, 3))
    expected = Image.fromarray(source).resize((85, 64), Image.Resampling.BICUBIC)
    found = decode._Reducer(64)._sized(source)
    np.testing.assert_allclose(found.astype(int), np.asarray(expected).astype(int), atol=2)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turn_that_is_written_beside_the_pixels_is_applied(tmp_path, quarters):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:24, :32] = 255  # upper left
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    one, zero, minus = (number.to_bytes(4, "big", signed=True) for number in (1 << 16, 0, -1 << 16))
    last = zero * 2 + (1 << 30).to_bytes(4, "big")
    # a, b, u, c, d, v of the track's matrix: clockwise by so many quarters
    turns = [(zero, one, zero, minus, zero, zero), (minus, zero, zero, zero, minus, zero),
             (zero, minus, zero, one, zero, zero)]  # fmt: skip
    content, plain = path.read_bytes(), one + zero * 3 + one + zero + last
    track = content.index(plain, content.index(b"tkhd"))
    turned = b"".join(turns[quarters - 1]) + last
    path.write_bytes(content[:track] + turned + content[track + len(plain) :])
    (frame,) = read_frames(path, 1, 256)
    np.testing.assert_allclose(frame.astype(int), np.rot90(picture, -quarters), atol=60)
    assert np.abs(frame.astype(int) - np.rot90(picture, -quarters)).mean() < 3
    if (cv2 := sys.modules.get("cv2")) is not None:
        assert (cv2.VideoCapture(str(path)).read()[1][..., ::-1] == frame).all()


def test_one_converter_serves_frames_of_every_size_and_format():
    # Broken files change both on the way.
    rng = np.random.default_rng(0)
    reducer = decode._Reducer(10_000)
    for size in ((48, 64), (33, 51), (48, 64)):
        for name in ("yuv420p", "yuvj420p", "yuv444p10le", "gray", "rgb24"):
            pixels = rng.integers(256, size=(*size, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=name)
            found = reducer._upright(frame)
            np.testing.assert_array_equal(found, frame.to_ndarray(format="rgb24"))


def test_frames_equal_opencvs_to_the_bit(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = write_video(tmp_path / "clip.flv", 4, Fraction(3))
    capture = cv2.VideoCapture(str(path))
    theirs = [capture.read()[1][..., ::-1] for _ in range(4)]
    np.testing.assert_array_equal(read_frames(path, 3, 256), np.stack(theirs))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_samples_are_soundfiles(tmp_path, subtype, channels):
    rng = np.random.default_rng(0)
    written = rng.uniform(-1, 1, (3_000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", written, 16_000, subtype=subtype)
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    samples, rate = read_sound(tmp_path / "a.wav")
    assert rate == 16_000
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, expected.T)


@pytest.mark.parametrize("size", [0, 0x7FFFF000 - 36, 0x7FFFFFFF, 0xFFFFFFFF - 36, 0xFFFFFFFF])
def test_a_wav_of_unknown_length_is_read(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.ones(4_000) / 2, 8_000)
    content = bytearray(path.read_bytes())
    # As programs write that cannot go back to the header.
    content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert read_sound(path).samples.shape == (1, 4_000)


@pytest.fixture
def whole(tmp_path):
    """A path by suffix, of files that are whole."""
    write_video(tmp_path / "a.flv", 75)
    write_video(tmp_path / "a.mp4", 75, codec="mpeg4")
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(24_000)), 8_000)
    return lambda suffix: tmp_path / f"a{suffix}"


def read(path):
    return read_sound(path) if path.suffix == ".wav" else read_frames(path, 3, 256)


@pytest.mark.parametrize("suffix", [".wav", ".flv"])
def test_truncated(whole, suffix):
    path = whole(suffix)
    read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(ClipError, match=r"truncated: it ends at 1\.\d\d of"):
        read(path)


def test_an_mp4_without_its_end_has_no_index(whole):
    path = whole(".mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ClipError, match="cannot be decoded"):
        read(path)


@pytest.mark.parametrize("suffix", [".wav", ".flv", ".mp4"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"not a clip " * 99, "cannot be decoded"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ],
)
def test_no_media_at_all(whole, suffix, content, reason):
    whole(suffix).write_bytes(content)
    with pytest.raises(ClipError, match=reason):
        read(whole(suffix))


def test_many_broken_packets(whole):
    path = whole(".flv")
    rng = np.random.default_rng(0)
    content = bytearray(path.read_bytes())
    content[600:] = rng.integers(256, size=len(content) - 600, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    with pytest.raises(ClipError):
        read(path)


def test_the_other_stream_is_missing(whole, tmp_path):
    with pytest.raises(ClipError, match="no audio stream"):
        read_sound(whole(".mp4"))
    with pytest.raises(ClipError, match="no video stream"):
        read_frames(whole(".wav"), 3, 256)
    soundfile.write(tmp_path / "b.wav", np.zeros(0), 8_000)
    with pytest.raises(ClipError, match="no samples"):
        read_sound(tmp_path / "b.wav")


class TestBounds:
    """A few kilobytes can promise gigabytes."""

    def test_a_frame_that_lasts_for_hours_is_not_kept_a_million_times(self, tmp_path):
        times = [0, 40, 40_000_000]
        path = write_video(tmp_path / "a.mp4", 3, codec="libx264", times=times)
        assert path.stat().st_size < 33_000
        tracemalloc.start()
        with pytest.raises(ClipError, match="more than 256 MB of frames"):
            read_frames(path, 3, 256)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 10_000_000  # one array, many times

    def test_a_long_clip_is_kept_reduced(self, tmp_path, monkeypatch):
        monkeypatch.setattr(decode, "_MOST_BYTES", 30 * 16_384)
        path = write_video(tmp_path / "a.mp4", 30, Fraction(30), size=(480, 640), codec="mpeg4")
        tracemalloc.start()
        assert read_frames(path, 30, 64).shape == (30, 64, 85, 3)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 10 * 480 * 640 * 3

    def test_frames_larger_than_can_be_are_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(decode, "_MOST_PIXELS", 96 * 128 - 1)
        path = write_video(tmp_path / "a.mp4", 3, size=(96, 128), codec="mpeg4")
        with pytest.raises(ClipError, match=r"cannot be decoded|frames of 128 × 96 pixels"):
            read_frames(path, 3, 64)

    def test_sound_of_hours_is_refused_before_it_is_decoded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(decode, "_MOST_BYTES", 1_000_000)
        soundfile.write(tmp_path / "a.wav", np.zeros(1_000_000, np.int16), 8_000)
        tracemalloc.start()
        with pytest.raises(ClipError, match="more than 1 MB of sound"):
            read_sound(tmp_path / "a.wav")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 3_000_000

    def test_a_strip_of_one_pixel_keeps_one(self):
        strip = np.zeros((1, 3_000, 3), np.uint8)
        assert decode._Reducer(256)._sized(strip).shape == (1, 3_000, 3)
        assert decode._Reducer(1)._sized(np.zeros((2, 5, 3), np.uint8)).shape == (1, 2, 3)


@pytest.mark.parametrize("channels", [1, 2, 6, 8, 9, 32])
def test_channels_are_kept_apart(tmp_path, channels):
    # In planes, the eighth ended the process.
    written = np.random.default_rng(0).uniform(-1, 1, (3_000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", written, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_sound(tmp_path / "a.wav").samples, written.T)
