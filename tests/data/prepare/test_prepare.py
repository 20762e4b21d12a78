"""Raw trees to stores, with real files of every fault, in this process and by the program."""

import re
import shutil

import av
import numpy as np
import pytest
import soundfile

from helpers.raw_media import FAULTS, kinetics_name, write_cremad, write_kinetics_sounds
from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.kinetics_sounds import KineticsSoundsRecipe
from inforeg_lightning.data.prepare import LayoutError, prepare
from inforeg_lightning.data.prepare.features import log_spectrogram
from inforeg_lightning.data.store import Store, StoreError

REASONS = {
    "broken": "video: cannot be decoded",
    "broken_audio": "audio: cannot be decoded",
    "broken_video": "video: cannot be decoded",
    "empty": "video: empty file",
    "truncated": "video: truncated",
    "no_audio": "missing: AudioWAV/",
    "no_video": "missing: VideoFlash/",
    "no_samples": "audio: no samples",
    "one_frame": "video: too short|video: truncated",
    "short": "video: too short: 1 of at least 3 frames",
}
KINETICS_REASONS = REASONS | {
    "broken_audio": None,  # CREMA-D's alone
    "no_audio": "audio: no audio stream",
    "no_video": "video: no video stream",
    "no_samples": "audio: no audio stream|audio: no samples",
    "short": "video: too short: 1 of at least 4 frames",
}
RECIPES = {"cremad": CREMADRecipe(), "kinetics_sounds": KineticsSoundsRecipe()}
USABLE = {"silent", "wrong_rate", "stereo"}


def cremad_names():
    return [
        f"{a}_DFA_{e}_XX" for a in (1001, 1002, 1003) for e in ("ANG", "DIS", "FEA", "HAP", "NEU")
    ]


@pytest.fixture(scope="module")
def cremad(tmp_path_factory):
    """A tree with every fault once: its folder, and what became of it."""
    folder = tmp_path_factory.mktemp("cremad")
    faults = dict(zip(cremad_names(), FAULTS, strict=False))
    clips = write_cremad(folder / "raw", sentences=("DFA",), faults=faults, size=(300, 400))
    (folder / "raw" / "VideoFlash" / "notes.flv").write_bytes(b"some other file")
    (folder / "raw" / "AudioWAV" / "notes.wav").write_bytes(b"some other file")
    result = prepare(CREMADRecipe(), folder / "raw", folder / "store", workers=2)
    return folder, clips, result


def test_what_can_be_used_is_stored_and_the_rest_listed(cremad):
    folder, clips, result = cremad
    store = Store(folder / "store")
    usable = sorted(c.name for c in clips if c.fault is None or c.fault in USABLE)
    assert store.names.tolist() == usable
    assert store.damaged() == []
    labels = {clip.name: clip.label for clip in clips}
    assert store.labels.tolist() == [labels[name] for name in usable]
    assert store.groups.tolist() == [name[:4] for name in usable]
    assert set(store.splits.tolist()) == {""}
    reasons = dict(result.rejected)
    for clip in clips:
        if clip.fault in REASONS:
            assert re.match(REASONS[clip.fault], reasons.pop(clip.name)), clip
    assert reasons == {"notes": "its name is not actor_sentence_emotion_level, as 1001_DFA_ANG_XX"}
    lines = (folder / "store" / "rejected.csv").read_text().splitlines()
    assert lines[0] == "name,reason"
    assert len(lines) == 1 + len(result.rejected) == len(clips) + 2 - len(usable)


def test_tensors_are_those_of_the_recipe(cremad):
    folder, _, _ = cremad
    store = Store(folder / "store")
    assert store.audio_shape == (257, 188)
    for i, name in enumerate(store.names.tolist()):
        samples, rate = soundfile.read(
            folder / "raw" / "AudioWAV" / f"{name}.wav", dtype="float32", always_2d=True
        )
        expected = log_spectrogram(samples.T, rate).astype(np.float16)
        np.testing.assert_array_equal(store.audio(i), expected)
        count = store.frame_count(i)
        assert store.frames(i, range(count)).shape == (count, 3, 256, 341)
        assert count == 5  # at 0, 1/3, …, 4/3 seconds of 1.4


def test_frames_are_the_pixels_of_the_video(cremad, tmp_path):
    folder, clips, _ = cremad
    prepare(CREMADRecipe(short_side=300), folder / "raw", tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    name = next(clip.name for clip in clips if clip.fault is None)
    with av.open(str(folder / "raw" / "VideoFlash" / f"{name}.flv")) as container:
        pixels = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = store.frames(store.names.tolist().index(name), range(5))
    expected = np.stack([pixels[n] for n in (0, 10, 20, 30, 40)])
    np.testing.assert_array_equal(frames.permute(0, 2, 3, 1), expected)


def test_jpeg_frames_are_nearly_those(cremad, tmp_path):
    folder, _, raw = cremad
    jpeg = prepare(CREMADRecipe(frame_format="jpeg"), folder / "raw", tmp_path / "store", workers=1)
    assert jpeg.bytes < raw.bytes / 4
    one, other = Store(folder / "store"), Store(tmp_path / "store")
    for i in range(len(one)):
        np.testing.assert_array_equal(one.audio(i), other.audio(i))
        difference = (one.frames(i, [0, 3]).int() - other.frames(i, [0, 3]).int()).abs().float()
        assert difference.mean() < 3


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory):
    """The same of Kinetics-Sounds: 3 classes × 5 clips, in lists of both halves."""
    folder = tmp_path_factory.mktemp("kinetics")
    usual = [fault for fault in FAULTS if KINETICS_REASONS.get(fault, "") is not None]
    names = [kinetics_name(label, i) for label in (0, 7, 30) for i in range(5)]
    faults = dict(zip(names, usual, strict=False))
    clips = write_kinetics_sounds(folder / "raw", (0, 7, 30), 5, faults)
    lines = [f"{clip.name},10,{clip.label}\n" for clip in clips]
    (folder / "train.txt").write_text("".join(lines[:10]) + "never_000001_000011,10,3\n")
    (folder / "test.txt").write_text("".join(lines[10:-1]))  # the last clip is in no list
    lists = {f"{half}_list": folder / f"{half}.txt" for half in ("train", "test")}
    result = prepare(KineticsSoundsRecipe(), folder / "raw", folder / "store", **lists, workers=2)
    return folder, clips, result


def test_kinetics_sounds(kinetics):
    folder, clips, result = kinetics
    store = Store(folder / "store")
    usable = [c for c in clips[:-1] if c.fault is None or c.fault in USABLE]
    assert sorted(c.name for c in usable) == store.names.tolist()
    by_name = {clip.name: (i, clip) for i, clip in enumerate(clips)}
    for i, name in enumerate(store.names.tolist()):
        number, clip = by_name[name]
        assert store.labels[i] == clip.label
        assert store.splits[i] == ("train" if number < 10 else "test")
        assert store.groups[i] == name[: -len("_000060_000070")]
        assert store.frame_count(i) == 5  # one a second of 5
        assert store.frames(i, [0, 4]).shape == (2, 3, 96, 128)
        assert store.audio(i).shape == (128, 1024)
        assert np.isfinite(store.audio(i)).all()
    reasons = dict(result.rejected)
    for clip in clips:
        if clip.fault and clip.fault not in USABLE:
            assert re.match(KINETICS_REASONS[clip.fault], reasons.pop(clip.name)), clip
    assert reasons == {"never_000001_000011": "listed, but there is no such .mp4"}


def test_kinetics_sounds_in_folders_named_as_classes(kinetics, tmp_path):
    folder, clips, _ = kinetics
    for clip, place in zip(clips[-2:], ("train/tickling", "val/tap_dancing"), strict=True):
        (tmp_path / "raw" / place).mkdir(parents=True)
        (tmp_path / "raw" / place / f"{clip.name}.mp4").symlink_to(
            folder / "raw" / f"{clip.name}.mp4"
        )
    prepare(KineticsSoundsRecipe(), tmp_path / "raw", tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert store.labels.tolist() == [30, 27]
    assert store.splits.tolist() == ["train", "test"]


def test_a_list_may_leave_out_padding_and_end_as_the_published_test_list_does(tmp_path):
    clips = write_kinetics_sounds(tmp_path / "raw", (0, 7), 2)
    short = [re.sub(r"_0*(\d+)_\d{6}$", r"_\1", clip.name) for clip in clips]
    assert short[0].endswith("_60")
    lines = [f"{name},10,{clip.label}\n" for name, clip in zip(short, clips, strict=True)]
    (tmp_path / "train.txt").write_text("".join(lines[::2]))
    (tmp_path / "test.txt").write_text("".join(lines[1::2]))
    lists = (tmp_path / "train.txt", tmp_path / "test.txt")
    result = prepare(
        KineticsSoundsRecipe(), tmp_path / "raw", tmp_path / "store", *lists, workers=1
    )
    assert result.rejected == ()
    store = Store(tmp_path / "store")
    assert store.names.tolist() == sorted(short)
    assert store.groups.tolist() == [name[: -len("_60")] for name in sorted(short)]


def test_other_settings_or_clips_are_refused(cremad):
    folder, _, _ = cremad
    with pytest.raises(StoreError, match="short_side is 256, expected 300"):
        prepare(CREMADRecipe(short_side=300), folder / "raw", folder / "store")
    file = folder / "raw" / "VideoFlash" / "notes.flv"
    content = file.read_bytes()
    file.write_bytes(content + b"!")
    with pytest.raises(StoreError, match="the clips or the lists are not the same"):
        prepare(CREMADRecipe(), folder / "raw", folder / "store")
    file.write_bytes(content)
    assert prepare(CREMADRecipe(), folder / "raw", folder / "store").seconds == 0
    with pytest.raises(StoreError, match=r"holds other things \(AudioWAV, VideoFlash\)"):
        prepare(CREMADRecipe(), folder / "raw", folder / "raw")


@pytest.mark.parametrize("name", ["cremad", "kinetics_sounds"])
def test_a_wrong_layout_shows_the_right_one(name, tmp_path):
    expected = {"cremad": "VideoFlash/  1001_DFA_ANG_XX.flv", "kinetics_sounds": "playing guitar/"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong" / "Audio").mkdir(parents=True)
    (tmp_path / "wrong" / "Audio" / "a.wav").touch()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "--4-0ihtnBU_000058_000068.mp4").touch()
    for folder, what in (
        ("nowhere", "there is no such folder"),
        ("empty", "the folder is empty"),
        ("wrong", r"no clips in AudioWAV and VideoFlash|no \.mp4 files"),
        ("flat", "no clips in|no clip in a class folder"),
    ):
        with pytest.raises(LayoutError, match=what) as raised:
            prepare(RECIPES[name], tmp_path / folder, tmp_path / "store")
        assert expected[name] in str(raised.value)
    assert not (tmp_path / "store").exists()


def test_wrong_arguments(cremad, tmp_path):
    folder, _, _ = cremad
    for change, what in (
        ({"workers": 0}, "workers must be an integer of at least 1"),
        ({"train_list": "a.csv"}, "both or not at all"),
    ):
        arguments = {"recipe": CREMADRecipe(), "root": folder / "raw", "store": tmp_path / "store"}
        with pytest.raises(ValueError, match=what):
            prepare(**arguments | change)
    for settings, what in (
        ({"frame_format": "png"}, "frame_format must be one of"),
        ({"short_side": 0}, "short_side must be an integer of at least 1, got 0"),
        ({"jpeg_quality": 101}, "jpeg_quality must be an integer from 1 to 100, got 101"),
    ):
        with pytest.raises(ValueError, match=what):
            CREMADRecipe(**settings)


def test_the_program_counts_what_it_rejected_and_does_nothing_twice(cremad, finished, tmp_path):
    folder, _, result = cremad
    arguments = ("data=cremad", f"data.root={folder / 'raw'}", f"data.store={folder / 'store'}")
    before = {path: path.stat().st_mtime_ns for path in (folder / "store").iterdir()}
    out, err = finished(*arguments, cwd=tmp_path)
    assert "there already, nothing to do" in out
    assert f"{len(result.rejected)} rejected, listed in" in out
    assert re.search(r"\d  video: cannot be decoded\n", out)
    assert err == ""
    assert {path: path.stat().st_mtime_ns for path in (folder / "store").iterdir()} == before
    assert list(tmp_path.iterdir()) == []


def test_strict_makes_a_rejected_clip_an_error(cremad, run_here):
    folder, _, result = cremad
    arguments = ("data=cremad", f"data.root={folder / 'raw'}", f"data.store={folder / 'store'}")
    assert "rejected" in run_here(*arguments)
    with pytest.raises(Exception, match=f"{len(result.rejected)} clips were rejected; the first"):
        run_here(*arguments, "strict=true")


def test_a_wrong_layout_is_an_error_of_the_program(run_here, tmp_path):
    with pytest.raises(Exception, match="AudioWAV/    1001_DFA_ANG_XX") as raised:
        run_here("data=cremad", f"data.root={tmp_path / 'no'}", f"data.store={tmp_path / 'store'}")
    assert type(raised.value).__name__ == "RecipeError"  # one sentence, as the next test shows


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["data=cremad"], "data.root, data.store must be given"),
        ([], "cremad\n"),
        (["data=nothing"], "nothing"),
        (["--multirun", "data=cremad,kinetics_sounds"], "one data set at a time"),
    ],
)
def test_errors_of_the_program_are_a_sentence(finished, tmp_path, arguments, what):
    _, err = finished(*arguments, cwd=tmp_path, status=1)
    assert what in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("data.root=", "root must be a folder, got ''"),
        ("data.store=", "store must be a folder, got ''"),
        ("data.store=null", "store must be a folder, got None"),
        ("data.store=[a]", r"store must be a folder, got \['a'\]"),
        ("data.store=/dev/null/store", "cannot be made: .*Not a directory"),
        ("data.train_list=", "train_list must be a file"),
        ("data.train_list=nothing.csv", "train_list and test_list must be given both"),
        ("data.short_side=0", "short_side must be an integer of at least 1, got 0"),
        ("data.short_side=wide", "short_side must be an integer of at least 1, got 'wide'"),
        ("data.frame_format=png", "frame_format must be one of"),
        ("data.download=maybe", "data.download must be true or false, got 'maybe'"),
        ("+data.speed=3", "unexpected keyword argument 'speed'"),
        ("+data.timeout=-1", "timeout must be a number of seconds above 0, got -1"),
        ("workers=many", "workers must be an integer of at least 1, or None, got 'many'"),
        ("workers=1.5", "workers must be an integer of at least 1, or None, got 1.5"),
        ("share=3", "share must be K/N with K from 1 to N, such as 3/16, got 3"),
        ("strict=no", "strict must be true or false, got 'no'"),
        ("check=yes", "check must be true or false, got 'yes'"),
        ("+worker=3", "there is no option worker; there are check, data, share, strict, workers"),
        ("check=true", "there is no prepared store in"),
    ],
)
def test_a_wrong_option_is_a_sentence_and_leaves_nothing(cremad, run_here, tmp_path, option, what):
    folder, _, _ = cremad
    places = (f"data.root={folder / 'raw'}", f"data.store={tmp_path / 'store'}")
    with pytest.raises(Exception, match=what) as raised:
        run_here("data=cremad", *places, option)
    assert type(raised.value).__name__ == "RecipeError"
    assert list(tmp_path.iterdir()) == []


def test_check_finds_a_flipped_bit_in_any_file(cremad, run_here, tmp_path):
    folder, _, _ = cremad
    store = shutil.copytree(folder / "store", tmp_path / "store")
    arguments = ("data=cremad", f"data.store={store}", "check=true")
    assert "every byte of every file is as it was written" in run_here(*arguments)
    for path in sorted(store.iterdir()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
        with pytest.raises(Exception, match=rf"is damaged \(.*{path.name}") as raised:
            run_here(*arguments)
        assert type(raised.value).__name__ == "RecipeError"
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    assert "every byte" in run_here(*arguments)
