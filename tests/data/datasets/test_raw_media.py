"""What the tests of the raw data sets stand on: clips that real decoders read, and faults."""

import pytest

pytest.importorskip("av")
pytest.importorskip("soundfile")

import av
import soundfile

from helpers.raw_media import FAULTS, kinetics_name, write_cremad, write_kinetics_sounds


@pytest.fixture(scope="module")
def cremad(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw") / "cremad"
    faults = {f"1001_{sentence(fault)}_NEU_XX": fault for fault in FAULTS}
    sentences = ["AAA", *map(sentence, FAULTS)]
    write_cremad(root, [1001], sentences, ["NEU"], faults, size=(48, 64))
    return root


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw") / "kinetics"
    faults = {kinetics_name(4, i): fault for i, fault in enumerate(FAULTS, start=1)}
    write_kinetics_sounds(root, [4], len(FAULTS) + 1, faults, seconds=2, size=(48, 64))
    return root


def sentence(fault):
    return "AAA" if fault is None else f"F{FAULTS.index(fault):02d}"


def flv(root, fault):
    return root / "VideoFlash" / f"1001_{sentence(fault)}_NEU_XX.flv"


def wav(root, fault):
    return root / "AudioWAV" / f"1001_{sentence(fault)}_NEU_XX.wav"


def mp4(root, fault):
    return root / f"{kinetics_name(4, 0 if fault is None else FAULTS.index(fault) + 1)}.mp4"


def frames(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_cremad_has_the_containers_codecs_and_rates_of_the_original(cremad):
    info = soundfile.info(wav(cremad, None))
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    with av.open(str(flv(cremad, None))) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, container.format.name) == ("flv", "flv")
        assert (audio.codec_context.name, audio.rate) == ("mp3float", 44_100)
        assert float(video.average_rate) == pytest.approx(29.97, abs=0.05)
    assert frames(flv(cremad, None)) == 42


def test_kinetics_sounds_has_the_containers_codecs_and_rates_of_the_original(kinetics):
    with av.open(str(mp4(kinetics, None))) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (audio.rate, audio.channels, float(video.average_rate)) == (44_100, 2, 25)
    assert frames(mp4(kinetics, None)) == 50


def test_faults_are_what_they_are_called(cremad, kinetics):
    assert frames(flv(cremad, "one_frame")) == frames(mp4(kinetics, "one_frame")) == 1
    assert soundfile.info(wav(cremad, "stereo")).channels == 2
    assert soundfile.info(wav(cremad, "wrong_rate")).samplerate == 48_000
    assert soundfile.info(wav(cremad, "no_samples")).frames == 0
    assert not soundfile.read(wav(cremad, "silent"))[0].any()
    assert not wav(cremad, "no_audio").exists()
    assert not flv(cremad, "no_video").exists()
    for path in (flv(cremad, "truncated"), mp4(kinetics, "truncated")):
        assert path.stat().st_size > 0
    for path in (flv(cremad, "broken"), flv(cremad, "empty"), mp4(kinetics, "broken")):
        with pytest.raises((av.error.InvalidDataError, av.error.EOFError)):
            frames(path)
    for fault, kind in (("no_audio", "audio"), ("no_video", "video")):
        with av.open(str(mp4(kinetics, fault))) as container:
            assert not getattr(container.streams, kind)


def test_a_clip_depends_on_its_name_alone(cremad, tmp_path):
    write_cremad(tmp_path, [1001, 1002], ["AAA"], ["NEU", "ANG"], size=(48, 64))
    assert flv(cremad, None).read_bytes() == flv(tmp_path, None).read_bytes()
    assert wav(cremad, None).read_bytes() == wav(tmp_path, None).read_bytes()
