"""Raw trees that vanish, hostile names and sounds, folders of others: nothing is lost or false."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.raw_media import EMOTIONS, kinetics_name, write_cremad, write_kinetics_sounds
from inforeg_lightning.data import AVDigitsDataModule, CREMADDataModule
from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.kinetics_sounds import KineticsSoundsRecipe
from inforeg_lightning.data.prepare import LayoutError, RawTreeError, SplitError, prepare
from inforeg_lightning.data.store import Store, StoreError


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Six clips of CREMA-D."""
    folder = tmp_path_factory.mktemp("raw")
    write_cremad(folder, [1001], ["DFA"], size=(48, 64))
    return folder


@pytest.fixture
def copy(raw, tmp_path):
    return Path(shutil.copytree(raw, tmp_path / "raw"))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class TestATreeThatVanishes:
    @pytest.mark.parametrize("empty", [False, True])
    def test_it_stops_the_run_which_goes_on_when_it_is_back(self, tree, tmp_path, empty):
        root, away = tmp_path / "raw", tmp_path / "away"
        shutil.copytree(tree / "raw", root)

        def unmount(progress):
            if progress.done > 3 and root.exists() and not away.exists():
                root.rename(away)
                if empty:  # as the place of a disk that is not mounted
                    root.mkdir()

        with pytest.raises(RawTreeError, match=r"can no longer be read .* goes on where it was"):
            prepare(CREMADRecipe(), root, tmp_path / "store", workers=1, watch=unmount)
        assert away.exists()
        with pytest.raises(LayoutError, match="the folder is empty" if empty else "no such folder"):
            prepare(CREMADRecipe(), root, tmp_path / "store")
        if empty:
            root.rmdir()
        away.rename(root)
        prepare(CREMADRecipe(), root, tmp_path / "store", workers=2)
        assert contents(tmp_path / "store") == contents(tree / "store")

    def test_a_folder_that_cannot_be_listed_is_no_empty_folder(self, copy, tmp_path, monkeypatch):
        def broken(folder):
            raise OSError(5, "Input/output error", os.fspath(folder))

        monkeypatch.setattr(os, "listdir", broken)
        monkeypatch.setattr(os, "scandir", broken)
        for recipe in (CREMADRecipe(), KineticsSoundsRecipe()):
            with pytest.raises(RawTreeError, match="Input/output error"):
                prepare(recipe, copy, tmp_path / "store")
        assert not (tmp_path / "store").exists()


class TestNames:
    def test_odd_names_are_rejected_by_name_and_the_others_stored(self, copy, tmp_path, finished):
        odd = [b"1001_DFA_ANG\r_XX", b"a\nb", b"\xff\xfe", b"1002_DFA_\x1b[31mANG_XX"]
        for name in odd:
            for folder, suffix in (("AudioWAV", ".wav"), ("VideoFlash", ".flv")):
                source = copy / folder / f"1001_DFA_ANG_XX{suffix}"
                shutil.copy(
                    source, os.path.join(os.fsencode(copy / folder), name + suffix.encode())
                )
        arguments = ("data=cremad", f"data.root={copy}", f"data.store={tmp_path / 'store'}")
        out, err = finished(*arguments, "workers=1", cwd=tmp_path)
        assert "4 rejected" in out
        assert err == ""
        store = Store(tmp_path / "store")
        assert len(store) == len(EMOTIONS)
        assert {name for name, _ in store.rejected} == {
            r"1001_DFA_ANG\x0d_XX",
            r"a\x0ab",
            r"\xff\xfe",
            r"1002_DFA_\x1b[31mANG_XX",
        }
        assert len((tmp_path / "store" / "rejected.csv").read_text().splitlines()) == 5
        finished(*arguments, cwd=tmp_path)  # and are so again

    def test_names_in_folders_of_classes(self, tmp_path):
        (tmp_path / "raw" / "bowling").mkdir(parents=True)
        (clip,) = write_kinetics_sounds(tmp_path / "raw" / "bowling", (2,), 1, size=(48, 64))
        folder = os.fsencode(tmp_path / "raw" / "bowling")
        source = tmp_path / "raw" / "bowling" / f"{clip.name}.mp4"
        shutil.copy(source, os.path.join(folder, b"\xff_000001_000011.mp4"))
        shutil.copy(source, os.path.join(folder, b"a\nb_000001_000011.mp4"))
        (tmp_path / "raw" / "bowling" / "link_000001_000011.mp4").symlink_to("nowhere")
        (tmp_path / "raw" / "bowling" / "folder_000001_000011.mp4").mkdir()
        result = prepare(KineticsSoundsRecipe(), tmp_path / "raw", tmp_path / "store", workers=1)
        reasons = dict(result.rejected)
        assert Store(tmp_path / "store").names.tolist() == [clip.name]
        for name in (r"\xff_000001_000011", r"a\x0ab_000001_000011"):
            assert "control characters, or bytes that are no UTF-8" in reasons.pop(name)
        assert set(reasons.values()) == {"no file, or a link to none"}

    def test_a_list_may_name_anything(self, copy, tmp_path):
        for half, emotions in (("train", EMOTIONS[:3]), ("test", EMOTIONS[3:])):
            names = [f"1001_DFA_{emotion}_XX" for emotion in emotions]
            names += [f"../{half}", f"/etc/{half}", f"a\0{half}", half * 200]
            (tmp_path / half).write_text("".join(f"{name},NEU\n" for name in names))
        lists = (tmp_path / "train", tmp_path / "test")
        result = prepare(CREMADRecipe(), copy, tmp_path / "store", *lists, workers=1)
        assert result.clips == len(EMOTIONS)
        assert len(result.rejected) == 8
        assert all(reason.startswith("missing: AudioWAV/") for _, reason in result.rejected)


class TestSounds:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
    def test_what_is_no_sound_is_rejected(self, copy, tmp_path, value):
        path = copy / "AudioWAV" / "1001_DFA_ANG_XX.wav"
        samples, rate = soundfile.read(path, dtype="float32")
        samples[100] = value
        soundfile.write(path, samples, rate, subtype="FLOAT")
        result = prepare(CREMADRecipe(), copy, tmp_path / "store", workers=1)
        ((name, reason),) = result.rejected
        assert name == "1001_DFA_ANG_XX"
        assert reason.startswith("audio: samples up to")
        store = Store(tmp_path / "store")
        assert all(np.isfinite(store.audio(i)).all() for i in range(len(store)))

    @pytest.mark.parametrize("channels", [8, 16, 60])
    def test_any_number_of_channels_is_used(self, copy, tmp_path, channels):
        path = copy / "AudioWAV" / "1001_DFA_ANG_XX.wav"
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, np.stack([samples] * channels, axis=1), rate)
        result = prepare(CREMADRecipe(), copy, tmp_path / "store", workers=1)
        assert result.rejected == ()


class TestLists:
    def test_a_clip_in_both_is_an_error(self, copy, tmp_path):
        for half in ("train", "test"):
            (tmp_path / half).write_text("1001_DFA_ANG_XX,ANG\n1001_DFA_NEU_XX,NEU\n")
        with pytest.raises(SplitError, match="2 clips are in the training list and in the test"):
            prepare(CREMADRecipe(), copy, tmp_path / "s", tmp_path / "train", tmp_path / "test")
        assert not (tmp_path / "s").exists()

    def test_however_it_is_written(self, tmp_path):
        (clip,) = write_kinetics_sounds(tmp_path / "raw", (0,), 1, size=(48, 64))
        assert clip.name == kinetics_name(0, 0)
        (tmp_path / "train").write_text(f"{clip.name},10,0\n")
        (tmp_path / "test").write_text(f"{clip.name.removesuffix('_000060_000070')}_60,10,0\n")
        lists = (tmp_path / "train", tmp_path / "test")
        with pytest.raises(SplitError, match="1 clips are in the training list and in the test"):
            prepare(KineticsSoundsRecipe(), tmp_path / "raw", tmp_path / "store", *lists)


class TestFoldersOfOthers:
    @pytest.mark.parametrize(
        "file", ["frames.bin", "parts/notes.txt", "parts/00000/mine.txt", "index.csv"]
    )
    def test_what_was_not_written_here_is_neither_overwritten_nor_deleted(
        self, copy, tmp_path, file
    ):
        path = tmp_path / "store" / file
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        with pytest.raises(StoreError, match=rf"holds other things \({file}\)"):
            prepare(CREMADRecipe(), copy, tmp_path / "store", workers=1)
        assert contents(tmp_path / "store") == {Path(file): b"mine"}

    def test_nor_what_comes_while_it_is_prepared(self, copy, tmp_path):
        def drop(progress):
            (tmp_path / "store" / "parts" / "notes.txt").write_text("mine")

        prepare(CREMADRecipe(), copy, tmp_path / "store", workers=1, watch=drop)
        assert (tmp_path / "store" / "parts" / "notes.txt").read_text() == "mine"
        assert len(Store(tmp_path / "store")) == len(EMOTIONS)

    def test_what_a_killed_run_left_in_a_finished_store_goes(self, copy, tmp_path):
        prepare(CREMADRecipe(), copy, tmp_path / "store", workers=1)
        before = contents(tmp_path / "store")
        left = tmp_path / "store" / "parts" / "00000.4711"
        left.mkdir(parents=True)
        (left / "frames.bin").write_text("left")
        prepare(CREMADRecipe(), copy, tmp_path / "store", workers=1)
        assert contents(tmp_path / "store") == before
        assert not (tmp_path / "store" / "parts").exists()


def test_an_empty_folder_name_is_not_the_working_folder(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(copy)
    for arguments in ((copy, ""), ("", tmp_path / "store"), (copy, None)):
        with pytest.raises(ValueError, match=r"(root|store) must be a folder, got (''|None)"):
            prepare(CREMADRecipe(), *arguments)
    with pytest.raises(ValueError, match="train_list must be a file, or None for none, got ''"):
        prepare(CREMADRecipe(), copy, tmp_path / "store", "", "")
    with pytest.raises(ValueError, match="store must be a folder, got ''"):
        CREMADDataModule("")
    with pytest.raises(ValueError, match="root must be a folder, got ''"):
        AVDigitsDataModule("")
    assert sorted(path.name for path in copy.iterdir()) == ["AudioWAV", "VideoFlash"]
