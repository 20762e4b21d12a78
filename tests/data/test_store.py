import json
import multiprocessing
import os
import pickle
from contextlib import suppress

import numpy as np
import pytest
import torch

from inforeg_lightning.data.store import Store, StoreError, StoreWriter

SETTINGS = {"data": "made here", "fps": 3, "audio": {"hop": 353}}
SIZES = [(24, 32), (16, 40), (24, 32)]


def clip(i, count=4):
    rng = np.random.default_rng(i)
    height, width = SIZES[i]
    # Smooth, as photographs are: JPEG keeps noise badly.
    ramp = np.linspace(0, 255, height * width).reshape(1, height, width, 1)
    frames = (ramp * rng.uniform(0.4, 1, (count, 1, 1, 3))).astype(np.uint8)
    return frames, np.full((5, 7), i + 1 / 3, np.float32)


def write(path, frame_format="raw"):
    with StoreWriter(path, SETTINGS, frame_format) as writer:
        for i, count in enumerate((4, 1, 6)):
            split = ("train", "test", "")[i]
            writer.add(f"clip {i}", i % 2, *clip(i, count), group=str(1001 + i), split=split)
        writer.reject("worse, far", "cannot be decoded:\n no frame")
    return Store(path)


@pytest.fixture(params=["raw", "jpeg"])
def store(request, tmp_path):
    return write(tmp_path / "store", request.param)


def test_reads_what_was_written(store):
    assert len(store) == 3
    assert store.names.tolist() == ["clip 0", "clip 1", "clip 2"]
    assert store.labels.dtype == np.int64
    assert store.labels.tolist() == [0, 1, 0]
    assert store.groups.tolist() == ["1001", "1002", "1003"]
    assert store.splits.tolist() == ["train", "test", ""]
    assert store.settings == SETTINGS
    assert store.rejected == [("worse, far", "cannot be decoded: no frame")]
    assert [store.frame_count(i) for i in range(3)] == [4, 1, 6]
    for i in range(3):
        assert store.frame_size(i) == SIZES[i]
        np.testing.assert_array_equal(store.audio(i), clip(i)[1].astype(np.float16))
    assert store.damaged() == []


@pytest.mark.parametrize("which", [[0], [5, 0, 0, 3], range(6), []])
def test_frames_of_any_order(store, which):
    frames = store.frames(2, which)
    expected = torch.from_numpy(clip(2, 6)[0][list(which)]).permute(0, 3, 1, 2)
    assert frames.dtype == torch.uint8
    assert frames.shape == (len(which), 3, *SIZES[2])
    assert frames.permute(0, 2, 3, 1).is_contiguous()
    # JPEG at quality 95 differs by a level or two.
    tolerance = 0 if store.frame_format == "raw" else 6
    torch.testing.assert_close(frames, expected, atol=tolerance, rtol=0)


def test_what_is_not_there(store):
    with pytest.raises(IndexError, match="clip 1 has frames 0 to 0, not 3"):
        store.frames(1, [0, 3])
    for read in (store.audio, store.frame_count, store.frame_size):
        for i in (-1, 3):
            with pytest.raises(IndexError, match="clips 0 to 2"):
                read(i)


def _sum(store):
    return int(store.frames(0, [1]).sum()), float(store.audio(2).sum())


def test_the_same_store_in_other_processes(store):
    here = _sum(store)  # opens its files before they are shared
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_sum, (store,)) == here
    assert _sum(pickle.loads(pickle.dumps(store))) == here


def test_closes_its_files(store):
    before = len(os.listdir("/proc/self/fd"))
    another = Store(store.path)
    _sum(another)
    del another
    assert len(os.listdir("/proc/self/fd")) == before


def test_bytes_depend_on_what_is_written_alone(store, tmp_path):
    write(tmp_path / "again", store.frame_format)
    for file in store.path.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_other_settings_are_named(store):
    Store(store.path, settings={"fps": 3, "audio": {"hop": 353}, "data": "made here"})
    with pytest.raises(StoreError, match=r"other settings.*fps is 3, expected 5"):
        Store(store.path, settings=SETTINGS | {"fps": 5})


def test_a_store_that_is_not_there_or_not_finished(tmp_path):
    with pytest.raises(StoreError, match=r"no prepared store.*docs/data\.md"):
        Store(tmp_path / "nowhere")
    (tmp_path / "parts").mkdir()
    with pytest.raises(StoreError, match=r"unfinished.*goes on where it was"):
        Store(tmp_path)


def test_a_writer_that_failed_leaves_no_finished_store(tmp_path):
    with suppress(ZeroDivisionError), StoreWriter(tmp_path, SETTINGS) as writer:
        writer.add("a", 0, *clip(0))
        1 / 0  # noqa: B018
    with pytest.raises(StoreError, match="no prepared store"):
        Store(tmp_path)


@pytest.mark.parametrize("file", ["frames.bin", "audio.bin", "index.csv", "offsets.npy"])
@pytest.mark.parametrize("damage", ["shorter", "gone", "empty"])
def test_a_damaged_store_is_refused_when_it_is_opened(store, file, damage):
    path = store.path / file
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"damaged.*delete it and prepare it again"):
        Store(store.path)


@pytest.mark.parametrize("change", [{"version": 99}, {"settings": {}}, {"clips": 2}, None])
def test_a_changed_description_is_refused(store, change):
    path = store.path / "store.json"
    meta = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps(meta | change))
    with pytest.raises(StoreError, match="prepare it again"):
        Store(store.path)


@pytest.mark.parametrize(("file", "at"), [("audio.bin", 3), ("frames.bin", -1)])
def test_flipped_bits_are_found(store, file, at):
    content = bytearray((store.path / file).read_bytes())
    content[at] ^= 1
    (store.path / file).write_bytes(content)
    assert Store(store.path).damaged() == ["clip 0" if file == "audio.bin" else "clip 2"]


def test_a_jpeg_that_is_none_names_the_clip(tmp_path):
    store = write(tmp_path, "jpeg")
    size = (tmp_path / "frames.bin").stat().st_size
    (tmp_path / "frames.bin").write_bytes(bytes(size))
    with pytest.raises(StoreError, match="frame 3 of clip 0 is damaged"):
        store.frames(0, [3])


def test_wrong_arguments(tmp_path):
    frames, audio = clip(0)
    with pytest.raises(ValueError, match="frame_format must be one of"):
        StoreWriter(tmp_path, SETTINGS, "png")
    with StoreWriter(tmp_path, SETTINGS) as writer:
        with pytest.raises(ValueError, match="frames must be uint8"):
            writer.add("a", 0, frames.astype(np.float32), audio)
        with pytest.raises(ValueError, match=r"audio of a must be \(F, T\)"):
            writer.add("a", 0, frames, audio[0])
        writer.add("a", 0, frames, audio)
        with pytest.raises(ValueError, match=r"audio of b must be \(5, 7\), got \(5, 6\)"):
            writer.add("b", 0, frames, audio[:, 1:])
    with pytest.raises(StoreError, match="finished store already"):
        StoreWriter(tmp_path, SETTINGS)


def test_an_empty_store_is_a_store(tmp_path):
    with StoreWriter(tmp_path, SETTINGS) as writer:
        writer.reject("a", "broken")
    assert len(Store(tmp_path)) == 0
