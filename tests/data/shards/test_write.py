"""Writing shards: the same bytes every time, what is left of a killed run, and what is not ours."""

import json
import multiprocessing
import os
import shutil
import signal
import tarfile

import pytest

from helpers import attacks_on_shards
from helpers.same_clips import assert_same_clips
from inforeg_lightning.data.shards import Shards, write_shards
from inforeg_lightning.data.store import Store, StoreError


def test_the_same_bytes_every_time_and_nothing_twice(made, tmp_path):
    write_shards(made / "raw", tmp_path / "again", shard_mb=0.5)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "again").iterdir()}
    write_shards(made / "raw", tmp_path / "again", shard_mb=0.5)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "again").iterdir()}
    assert after == before
    for path in (made / "raw.shards").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def _die(done, total):
    if done == total // 2:
        os.kill(os.getpid(), signal.SIGKILL)


def _write_and_die(*arguments):
    write_shards(*arguments, watch=_die)


def test_what_a_killed_process_left_is_written_anew(made, tmp_path):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_and_die, args=(made / "raw", tmp_path / "out", 0.5))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "out").glob("*.tar"))) > 1
    with pytest.raises(StoreError, match="no finished shards"):
        Shards(tmp_path / "out")
    write_shards(made / "raw", tmp_path / "out", 0.5)
    assert_same_clips(Shards(tmp_path / "out"), Store(made / "raw"))
    names = {path.name for path in (made / "raw.shards").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_killed_at_any_moment_nothing_is_lost(tmp_path):
    found = list(attacks_on_shards.killed_processes(tmp_path, seed=0, count=12))
    assert [ended for _, ended in found] == ["survived"] * 12


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_left_when_it_is_ended(made, tmp_path, error, there):
    def end(done, total):
        if done == total // 2:
            assert list((tmp_path / "new/out").glob("*.tar"))
            raise error

    if there:
        (tmp_path / "new/out").mkdir(parents=True)
    with pytest.raises(error):
        write_shards(made / "raw", tmp_path / "new/out", 0.5, watch=end)
    assert (tmp_path / "new").exists() == there
    assert list(tmp_path.rglob("*.tar")) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_end_in_the_middle_of_a_clip_is_told_as_what_it_is(made, tmp_path, monkeypatch, error):
    add, added = tarfile.TarFile.addfile, []

    def end(self, tarinfo, fileobj=None):
        added.append(tarinfo.name)
        if len(added) > 20 and tarinfo.name.endswith("audio.npy"):
            self.fileobj.write(tarinfo.tobuf())  # and of its 96 kB none
            raise error
        add(self, tarinfo, fileobj)

    monkeypatch.setattr(tarfile.TarFile, "addfile", end)
    with pytest.raises(error):
        write_shards(made / "raw", tmp_path / "out", 0.5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["index.csv", "shard-000000.tar", "places.npz", "notes.txt"])
def test_files_of_somebody_else_are_left_alone(made, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(StoreError, match=f"holds other things \\({name}\\)"):
        write_shards(made / "raw", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_beside_what_was_begun_too(made, tmp_path):
    (tmp_path / "unfinished.json").write_text("mine")
    with pytest.raises(StoreError, match=r"holds an unfinished\.json of somebody else"):
        write_shards(made / "raw", tmp_path)
    assert (tmp_path / "unfinished.json").read_text() == "mine"


def test_only_what_was_written_is_deleted_after_a_kill(made, tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=_write_and_die, args=(made / "raw", tmp_path, 0.5)
    )
    process.start()
    process.join(60)
    (tmp_path / "index.csv").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(StoreError, match=r"holds other things \(index\.csv\)"):
        write_shards(made / "raw", tmp_path, 0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_two_at_once_do_not_harm_each_other(made, tmp_path):
    second = []

    def begin_another(done, total):
        if done == total // 2:
            with pytest.raises(StoreError, match="another process is writing shards to"):
                write_shards(made / "raw", tmp_path, 0.5)
            second.append(done)

    write_shards(made / "raw", tmp_path, 0.5, watch=begin_another)
    assert len(second) == 1
    assert_same_clips(Shards(tmp_path), Store(made / "raw"))


def test_shards_of_another_store_are_left_alone(made):
    with pytest.raises(StoreError, match="shards of another store, or of another shard_mb"):
        write_shards(made / "raw", made / "jpeg.shards", 0.5)
    with pytest.raises(StoreError, match="shards of another store, or of another shard_mb"):
        write_shards(made / "raw", made / "raw.shards", 0.7)


def test_finished_ones_that_lack_a_shard_are_not_called_finished(made, copy):
    (copy / "shard-000001.tar").unlink()
    with pytest.raises(StoreError, match=r"damaged: shard-000001\.tar is missing"):
        write_shards(made / "raw", copy, 0.5)


def test_damage_of_the_store_gets_no_checksum_of_its_own(made, tmp_path):
    store = shutil.copytree(made / "raw", tmp_path / "store")
    for name in ("audio.bin", "frames.bin"):
        content = bytearray((store / name).read_bytes())
        content[len(content) // 2] ^= 1
        (store / name).write_bytes(content)
        with pytest.raises(StoreError, match=r"store is damaged: .*_DFA_.* has other bytes"):
            write_shards(store, tmp_path / "out", 0.5)
        assert not (tmp_path / "out").exists()
        shutil.copyfile(made / "raw" / name, store / name)


def test_a_folder_whose_name_has_a_percent_sign(made, tmp_path):
    write_shards(made / "raw", tmp_path / "50% of %d", 0.5)
    assert Shards(tmp_path / "50% of %d").check() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "new"), "store must be a folder, got ''"),
        (("STORE", ""), "out must be a folder, got ''"),
        (("STORE", "s3://me:secret@bucket/x"), r"out must be a folder, got 's3://\*\*\*@bucket/x'"),
        (("STORE", "new", 0), "shard_mb must be above 0 and finite, got 0"),
        (("STORE", "new", float("nan")), "shard_mb must be above 0 and finite, got nan"),
        (("STORE", "new", float("inf")), "shard_mb must be above 0 and finite, got inf"),
    ],
)
def test_arguments_are_checked_before_anything_is_made(
    made, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    store, *others = arguments
    with pytest.raises(ValueError, match=message):
        write_shards(store.replace("STORE", str(made / "raw")), *others)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_none_leaves_nothing(tmp_path):
    with pytest.raises(StoreError, match="no prepared store"):
        write_shards(tmp_path, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_of_the_files(made):
    meta = json.loads((made / "raw.shards/shards.json").read_text())
    names = {path.name for path in (made / "raw.shards").iterdir()} - {"shards.json"}
    assert set(meta["sha256"]) == set(meta["shards"]) | set(meta["tables"]) == names


def test_all_is_on_the_disk_before_it_is_called_finished(made, tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def note_replace(source, target):
        events.append(f"-> {target}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    out = tmp_path / "out"
    write_shards(made / "raw", out, 0.5)
    finished = events.index(f"-> {out / 'shards.json'}")
    for path in out.glob("*.tar"):
        assert str(path) in events[:finished]
    assert events[finished - 2 : finished + 2] == [
        str(out),
        str(out / "shards.json.partial"),
        f"-> {out / 'shards.json'}",
        str(out),
    ]
