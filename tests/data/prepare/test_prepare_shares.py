"""Shares of a raw tree, prepared apart, become the store that is prepared at once."""

import fcntl
import os
import shutil

import pytest

from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.prepare import prepare
from inforeg_lightning.data.store import Store, StoreError


def contents(store):
    return {path.name: path.read_bytes() for path in store.iterdir()}


def names(folder):
    return {part.name for part in folder.iterdir() if "." not in part.name}


def share_of(tree, store, share, **settings):
    return prepare(CREMADRecipe(**settings), tree / "raw", store, share=share, workers=1)


def test_shares_in_one_folder(tree, tmp_path, run_here):
    store, arguments = tmp_path / "store", ("data=cremad", "workers=1")
    arguments = (*arguments, f"data.root={tree / 'raw'}", f"data.store={tmp_path / 'store'}")
    whole = Store(tree / "store")
    found = []
    for share, parts in (("2/2", {"00001"}), ("1/2", {"00000", "00001", "00002"})):
        output = run_here(*arguments, f"share={share}")
        assert f"share {share}; when all are done, the command without share= joins" in output
        assert names(store / "parts") == parts
        found.append(share_of(tree, store, share))
    assert sum(result.clips for result in found) == len(whole)
    assert sorted(sum((r.rejected for r in found), ())) == sorted(map(tuple, whole.rejected))
    with pytest.raises(StoreError, match="unfinished"):
        Store(store)
    assert f"{len(whole)} clips" in run_here(*arguments)
    assert contents(store) == contents(tree / "store")
    assert share_of(tree, store, "1/2").seconds == 0  # joined already


def test_shares_on_machines_without_a_common_folder(tree, tmp_path):
    for number in (1, 2, 3, 4):  # one more than there are parts
        result = share_of(tree, tmp_path / f"{number}", f"{number}/4")
        assert (result.clips > 0) == (number < 4)
    for number in (1, 2, 3):
        shutil.copytree(
            tmp_path / f"{number}" / "parts", tmp_path / "store" / "parts", dirs_exist_ok=True
        )
    before = {p.name: p.stat().st_ino for p in (tmp_path / "store" / "parts").iterdir()}
    assert len(before) == 3 + 3
    prepare(CREMADRecipe(), tree / "raw", tmp_path / "store", workers=1)
    assert contents(tmp_path / "store") == contents(tree / "store")


def test_a_share_does_not_touch_what_others_write(tree, tmp_path):
    others = tmp_path / "store" / "parts" / "00001.4711"
    own = tmp_path / "store" / "parts" / "00000.4711"
    for folder in (others, own):
        folder.mkdir(parents=True)
    share_of(tree, tmp_path / "store", "1/3")
    assert others.exists()
    assert not own.exists()


def test_what_would_overlap_is_refused(tree, tmp_path):
    store = tmp_path / "store"
    share_of(tree, store, "1/3")
    with pytest.raises(StoreError, match="begun in 3 shares, not in 2: give the same number"):
        share_of(tree, store, "1/2")
    with pytest.raises(StoreError, match="short_side is 256, expected 300"):
        share_of(tree, store, "2/3", short_side=300)
    with (store / "parts" / "share.1-of-3").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process is preparing share 1/3 of"):
            share_of(tree, store, "1/3")
    descriptor = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # as a share does
        with pytest.raises(StoreError, match=f"another process is preparing {store}"):
            prepare(CREMADRecipe(), tree / "raw", store)
        share_of(tree, store, "1/3")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("share", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/4"])
def test_wrong_shares(tree, tmp_path, share):
    with pytest.raises(ValueError, match=f"share must be K/N with K from 1 to N, .* got '{share}'"):
        share_of(tree, tmp_path / "store", share)
    assert not (tmp_path / "store").exists()
