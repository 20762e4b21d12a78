"""Shards of a store: the same clips, in the WebDataset format."""

import json
import shutil

import numpy as np
import pytest

from helpers.same_clips import assert_same_clips
from inforeg_lightning.data.shards import Shards
from inforeg_lightning.data.shards import write_shards
from inforeg_lightning.data.store import Store, StoreError


class TestClips:
    @pytest.mark.parametrize("frame_format", ["raw", "jpeg"])
    def test_they_are_those_of_the_store(self, made, frame_format):
        shards = Shards(made / f"{frame_format}.shards")
        assert len(shards.files) > 4
        assert_same_clips(shards, Store(made / frame_format))
        assert shards.damaged() == []

    def test_halves_are_never_in_one_shard_and_neighbours_are_mixed(self, made):
        shards = Shards(made / "raw.shards")
        halves = {(number, half) for number, half in zip(shards.shard, shards.splits, strict=True)}
        assert len(halves) == len(shards.files)
        numbers = np.unique(shards.shard[shards.splits == "train"])
        mixed = [len(set(shards.groups[shards.shard == number])) > 1 for number in numbers]
        assert sum(mixed) >= len(mixed) - 1  # the last may hold a clip or two

    # The package's reader leaves the files to the garbage collector.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
    @pytest.mark.parametrize("frame_format", ["raw", "jpeg"])
    def test_webdataset_reads_them(self, made, frame_format):
        from webdataset import WebDataset

        folder, store = made / f"{frame_format}.shards", Store(made / frame_format)
        files = [str(folder / name) for name in Shards(folder).files]
        seen = set()
        for sample in WebDataset(files, shardshuffle=False).decode("rgb8"):
            i = int(sample["__key__"])
            seen.add(i)
            assert sample["json"] == {
                "name": store.names[i],
                "label": store.labels[i],
                "group": store.groups[i],
                "split": store.splits[i],
            }
            np.testing.assert_array_equal(sample["audio.npy"], store.audio(i))
            numbers = range(store.frame_count(i))
            expected = store.frames(i, numbers).permute(0, 2, 3, 1)
            frames = (
                sample["frames.npy"]
                if frame_format == "raw"
                else np.stack([sample[f"{number:03d}.jpg"] for number in numbers])
            )
            np.testing.assert_array_equal(frames, expected)
        assert seen == set(range(len(store)))

    def test_few_files_are_open_at_once(self, made, monkeypatch):
        monkeypatch.setattr(Shards, "most_open", 2)
        shards = Shards(made / "raw.shards")
        for i in [*range(42), *range(42)]:
            shards.audio(i)
            assert len(shards._files) <= 2


class TestWriting:
    def test_the_same_bytes_every_time_and_nothing_twice(self, made, tmp_path):
        write_shards(made / "raw", tmp_path / "again", shard_mb=0.5)
        before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "again").iterdir()}
        write_shards(made / "raw", tmp_path / "again", shard_mb=0.5)
        after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "again").iterdir()}
        assert after == before
        for path in (made / "raw.shards").iterdir():
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name

    def test_what_a_killed_run_left_is_written_anew(self, made, tmp_path):
        def die(done, total):
            if done == total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_shards(made / "raw", tmp_path, 0.5, watch=die)
        with pytest.raises(StoreError, match="no finished shards"):
            Shards(tmp_path)
        write_shards(made / "raw", tmp_path, 0.5)
        assert_same_clips(Shards(tmp_path), Store(made / "raw"))

    def test_other_folders_are_left_alone(self, made, tmp_path):
        with pytest.raises(StoreError, match="shards of another store, or of another shard_mb"):
            write_shards(made / "raw", made / "jpeg.shards", 0.5)
        (tmp_path / "notes.txt").touch()
        with pytest.raises(StoreError, match=r"holds other things \(notes\.txt\)"):
            write_shards(made / "raw", tmp_path)
        with pytest.raises(ValueError, match="shard_mb must be above 0, got 0"):
            write_shards(made / "raw", tmp_path / "new", 0)
        with pytest.raises(StoreError, match="no prepared store"):
            write_shards(tmp_path, tmp_path / "new")
        assert not (tmp_path / "new").exists()


class TestDamage:
    @pytest.fixture
    def copy(self, made, tmp_path):
        return shutil.copytree(made / "raw.shards", tmp_path / "copy")

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda c: (c / "shards.json").unlink(), "no finished shards at .*copy"),
            (lambda c: (c / "shards.json").write_text("{"), "are damaged"),
            (lambda c: (c / "places.npz").write_bytes(b"no"), "are damaged"),
            (lambda c: (c / "index.csv").write_text("name\n"), "are damaged: their index"),
            (lambda c: (c / "shard-000001.tar").unlink(), "shard-000001.tar is missing"),
            (lambda c: (c / "shard-000001.tar").write_bytes(b"cut"), "is of 3 bytes instead"),
        ],
    )
    def test_it_is_one_error(self, copy, damage, message):
        damage(copy)
        with pytest.raises(StoreError, match=message):
            Shards(copy)

    def test_another_layout(self, copy):
        meta = json.loads((copy / "shards.json").read_text())
        (copy / "shards.json").write_text(json.dumps(meta | {"version": 9}))
        with pytest.raises(StoreError, match="have layout 9, this release reads layout 1"):
            Shards(copy)

    def test_changed_bytes_are_found_by_their_checksum(self, copy):
        file = copy / "shard-000000.tar"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
        assert len(Shards(copy).damaged()) == 1
