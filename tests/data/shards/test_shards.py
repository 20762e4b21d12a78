"""Shards of a store: the same clips, in the WebDataset format."""

import json
import os

import numpy as np
import pytest

from helpers import attacks_on_shards
from helpers.same_clips import assert_same_clips
from inforeg_lightning.data.shards import Shards
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


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda c: (c / "shards.json").unlink(), "no finished shards at .*copy"),
            (lambda c: (c / "shards.json").write_text("{"), "are damaged"),
            (lambda c: (c / "places.npz").write_bytes(b"no"), "are damaged: places.npz is of 2"),
            (lambda c: (c / "places.npz").write_bytes(b"PK\3\4"), "are damaged: places.npz is of"),
            (lambda c: (c / "index.csv").write_text("name\n"), "are damaged: index.csv is of 5"),
            (lambda c: (c / "rejected.csv").unlink(), "are damaged: rejected.csv is missing"),
            (lambda c: (c / "shard-000001.tar").unlink(), "shard-000001.tar is missing"),
            (lambda c: (c / "shard-000001.tar").write_bytes(b"cut"), "is of 3 bytes instead"),
        ],
    )
    def test_it_is_one_error(self, copy, damage, message):
        damage(copy)
        with pytest.raises(StoreError, match=message):
            Shards(copy)

    @pytest.mark.parametrize("name", ["shards.json", "index.csv", "shard-000001.tar"])
    def test_a_pipe_is_an_error_and_no_endless_wait(self, copy, name):
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(StoreError, match=f"{name}.* is no regular file"):
            Shards(copy)

    @pytest.mark.parametrize("name", ["shards.json", "index.csv", "shard-000000.tar"])
    def test_a_link_to_itself_is_an_error_of_the_store(self, copy, name):
        (copy / name).unlink()
        (copy / name).symlink_to(copy / name)
        with pytest.raises(StoreError, match=rf"{name}.* cannot be read"):
            Shards(copy)

    def test_another_layout(self, copy):
        meta = json.loads((copy / "shards.json").read_text())
        (copy / "shards.json").write_text(json.dumps(meta | {"version": 1}))
        with pytest.raises(StoreError, match="have layout 1, this release reads layout 2"):
            Shards(copy)

    def test_changed_bytes_are_found_by_their_checksum(self, copy):
        file = copy / "shard-000000.tar"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
        shards = Shards(copy)
        assert len(shards.damaged()) == 1
        assert shards.check() == [
            f"the shards {copy} are damaged: shard-000000.tar has other bytes than were written"
        ]

    def test_every_flipped_bit_is_found(self, tmp_path):
        found = list(attacks_on_shards.flipped_bits(tmp_path, seed=0, count=70))
        assert {ended for _, ended in found} == {"refused"}
        assert len({what.partition(",")[0] for what, _ in found}) == 6  # each file had its turn

    def test_intact_ones_pass_the_check(self, made):
        assert Shards(made / "raw.shards").check() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"place": ""}, "place must be a folder or a URL, got an empty text"),
        ({"place": "x", "cache": ""}, "cache must be a folder, got an empty text"),
        ({"place": "x", "cache_gb": 0}, "cache_gb must be above 0 and finite, got 0"),
        ({"place": "x", "cache_gb": float("nan")}, "cache_gb must be above 0 and finite, got nan"),
        ({"place": "x", "cache_gb": float("inf")}, "cache_gb must be above 0 and finite, got inf"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Shards(**arguments)
