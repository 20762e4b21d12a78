"""Every changed byte of a store is found: in the tables when it is opened, else by a check."""

import hashlib
import json
import os

import numpy as np
import pytest

from inforeg_lightning.data.store import Store, StoreError, StoreWriter


def write(path):
    rng = np.random.default_rng(0)
    with StoreWriter(path, {"data": "made here", "fps": 3}) as writer:
        for i in range(4):
            frames = rng.integers(256, size=(2, 6, 8, 3), dtype=np.uint8)
            writer.add(f"clip {i}", i, frames, rng.standard_normal((4, 5)), str(i), "train")
        writer.reject("bad", "cannot be decoded")
    return path


def found(path):
    try:
        return bool(Store(path).damaged())
    except StoreError:
        return True


def test_every_flipped_bit_of_every_file_is_found(tmp_path):
    store = write(tmp_path / "store")
    assert not found(store)
    rng = np.random.default_rng(1)
    files = {path: path.read_bytes() for path in store.iterdir()}
    assert len(files) == 6
    for path, content in files.items():
        # Of the tables every byte, of the others some.
        places = range(len(content))
        if path.suffix == ".bin":
            places = rng.choice(len(content), 150, replace=False).tolist()
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            assert found(store), f"{path.name}, byte {place}"
        path.write_bytes(content)
    assert not found(store)


@pytest.mark.parametrize("file", ["index.csv", "offsets.npy", "rejected.csv", "store.json"])
def test_a_changed_table_is_not_trained_from(tmp_path, file):
    store = write(tmp_path / "store")
    content = bytearray((store / file).read_bytes())
    place = content.rindex(b"1") if file == "store.json" else len(content) - 3
    content[place] ^= 2
    (store / file).write_bytes(content)
    with pytest.raises(StoreError, match=rf"is damaged \({file}: not the bytes that were written"):
        Store(store)


def test_a_store_of_an_earlier_release_is_one_sentence(tmp_path):
    store = write(tmp_path / "store")
    meta = json.loads((store / "store.json").read_text())
    for key in ("sha256", "checksum"):
        del meta[key]
    (store / "store.json").write_text(json.dumps(meta | {"version": 1}, indent=2) + "\n")
    with pytest.raises(StoreError, match=r"earlier release.*prepare it again in a new folder"):
        Store(store)


@pytest.mark.parametrize("value", [None, [], {"version": 2}, 3])
def test_a_description_of_another_kind_is_damage(tmp_path, value):
    store = write(tmp_path / "store")
    meta = {"version": 2, "sha256": value}
    # Whoever can write it can seal it as well.
    checksum = hashlib.sha256((json.dumps(meta, indent=2) + "\n").encode()).hexdigest()
    sealed = json.dumps(meta | {"checksum": checksum}, indent=2) + "\n"
    (store / "store.json").write_text(sealed)
    with pytest.raises(StoreError, match="is damaged"):
        Store(store)


@pytest.mark.parametrize("file", ["frames.bin", "audio.bin"])
def test_a_file_that_goes_while_it_is_read_is_a_store_error(tmp_path, file):
    store = Store(write(tmp_path / "store"))
    (store.path / file).unlink()
    with pytest.raises(StoreError, match=f"{file} cannot be read"):
        store.audio(0) if file == "audio.bin" else store.frames(0, [0])


def test_it_is_on_the_disk_before_it_counts_as_finished(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def record(descriptor):
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write(tmp_path / "store")
    assert synced[:2] == ["frames.bin", "audio.bin"]
    assert synced[-2:] == ["store.json.partial", "store"]
    assert {"index.csv.partial", "offsets.npy.partial", "rejected.csv.partial"} < set(synced)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_sound_that_is_not_finite_is_not_stored(tmp_path, value):
    audio = np.zeros((4, 5))
    audio[1, 2] = value
    with StoreWriter(tmp_path / "store", {}) as writer:
        with pytest.raises(ValueError, match="audio of a must be finite"):
            writer.add("a", 0, np.zeros((1, 8, 8, 3), np.uint8), audio)
        with pytest.raises(ValueError, match=r"a\\x0d: its name has control characters"):
            writer.add("a\r", 0, np.zeros((1, 8, 8, 3), np.uint8), np.zeros((4, 5)))
