import os
import shutil

import numpy as np
import pytest

from inforeg_lightning.data.prepare import merge as merging
from inforeg_lightning.data.prepare.merge import merge
from inforeg_lightning.data.store import Store, StoreError, StoreWriter

SETTINGS = {"data": "made here"}


def add(writer, i):
    rng = np.random.default_rng(i)
    if i % 5 == 3:
        writer.reject(f"{i:02d}", "broken")
        return
    frames = rng.integers(256, size=(1 + i % 4, 6 + i, 8, 3), dtype=np.uint8)
    writer.add(f"{i:02d}", i, frames, rng.standard_normal((4, 5)), group=str(i), split="train")


@pytest.fixture
def begun(tmp_path):
    """A folder with parts of two clips, one of which was wholly rejected; and what it must be."""
    for part, clips in enumerate(([0, 1], [3], [2, 4], [5, 6])):
        with StoreWriter(tmp_path / "store" / "parts" / f"{part}", SETTINGS) as writer:
            for i in clips:
                add(writer, i)
    with StoreWriter(tmp_path / "whole", SETTINGS) as writer:
        for i in (0, 1, 3, 2, 4, 5, 6):
            add(writer, i)
    return tmp_path / "store", tmp_path / "whole"


def parts(store):
    return sorted((store / "parts").iterdir())


def same(store, whole):
    shutil.rmtree(store / "parts")
    found = {path.name: path.read_bytes() for path in store.iterdir()}
    assert found == {path.name: path.read_bytes() for path in whole.iterdir()}


def test_parts_become_the_store_that_is_written_at_once(begun):
    store, whole = begun
    merge(parts(store), store)
    same(store, whole)
    assert len(Store(store)) == 6
    assert Store(store).damaged() == []


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", range(0, 24, 2))
def test_killed_at_any_step_it_goes_on(begun, monkeypatch, step):
    store, whole = begun
    steps = iter(range(step + 1))

    def dying(call):
        def called(of, *arguments, **options):
            # What the garbage of another test is cleaned up by is no step of this one.
            is_a_step = isinstance(of, int) or store in of.parents
            if is_a_step and next(steps, None) is None:
                raise Killed
            return call(of, *arguments, **options)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(merging.Path, "unlink", dying(merging.Path.unlink))
        patch.setattr(merging.Path, "replace", dying(merging.Path.replace))
        with pytest.raises(Killed):
            merge(parts(store), store)
    with pytest.raises(StoreError, match="unfinished"):
        Store(store)
    merge(parts(store), store)
    same(store, whole)


def test_a_part_that_is_lost_is_an_error(begun):
    store, _ = begun
    (parts(store)[2] / "frames.bin").unlink()
    with pytest.raises(StoreError, match=r"frames\.bin is gone"):
        merge(parts(store), store)
