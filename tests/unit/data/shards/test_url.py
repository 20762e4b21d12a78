"""Shards over HTTP, from a server on this machine."""

import multiprocessing
import shutil
import sys
import threading

import pytest

from helpers.same_clips import assert_same_clips
from inforeg_lightning.data.shards import Shards
from inforeg_lightning.data.shards_mirror import Mirror
from inforeg_lightning.data.store import Store, StoreError


def test_clips_are_those_of_the_store_and_come_once(made, server, tmp_path):
    for _ in range(2):
        shards = Shards(f"{server.url}/raw.shards/", cache=tmp_path)
        assert_same_clips(shards, Store(made / "raw"))
    asked = sorted(set(server.asked) - {"/raw.shards/shards.json"})
    assert asked == sorted(
        f"/raw.shards/{name}" for name in ("index.csv", "places.npz", "rejected.csv", *shards.files)
    )
    assert len(server.asked) == len(asked) + 2  # the mark is asked for again


def test_only_what_is_needed_comes(server, tmp_path):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
    assert not any(path.endswith(".tar") for path in server.asked)
    shards.audio(3)
    came = [path for path in server.asked if path.endswith(".tar")]
    assert came == [f"/raw.shards/{shards.files[shards.shard[3]]}"]


def test_the_cache_keeps_its_limit(made, server, tmp_path):
    limit = 1.2e6
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path, cache_gb=limit / 1e9)
    assert_same_clips(shards, Store(made / "raw"))  # again and again from the server
    kept = [path.stat().st_size for path in tmp_path.rglob("*.tar")]
    assert 0 < sum(kept) <= limit
    assert len(shards.files) > 2 * len(kept)


def test_other_content_at_the_url_is_another_cache(made, server, tmp_path):
    place = made / "changing"
    shutil.copytree(made / "raw.shards", place)
    first = Shards(f"{server.url}/changing", cache=tmp_path)
    first.audio(0)
    shutil.rmtree(place)
    shutil.copytree(made / "jpeg.shards", place)
    assert_same_clips(Shards(f"{server.url}/changing", cache=tmp_path), Store(made / "jpeg"))


def test_a_file_that_is_cut_off_or_missing(made, server, tmp_path):
    place = shutil.copytree(made / "raw.shards", made / "broken", dirs_exist_ok=True)
    (place / "shard-000000.tar").write_bytes(b"cut")
    (place / "shard-000001.tar").unlink()
    shards = Shards(f"{server.url}/broken", cache=tmp_path)
    with pytest.raises(StoreError, match=r"shard-000000\.tar has 3 bytes instead of \d+"):
        shards.fetch([0])
    with pytest.raises(StoreError, match=r"shard-000001\.tar cannot be read: FileNotFound"):
        shards.fetch([1])
    assert not list(tmp_path.rglob("*.tar"))


def test_nothing_there(server, tmp_path):
    with pytest.raises(StoreError, match=r"no finished shards at http://.*/nothing"):
        Shards(f"{server.url}/nothing", cache=tmp_path)
    with pytest.raises(StoreError, match="no URL that fsspec knows"):
        Shards("nosuch://bucket/shards", cache=tmp_path)
    with pytest.raises(ValueError, match="cache_gb must be above 0, got 0"):
        Mirror("nowhere", "shards.json", cache_gb=0)


def test_a_protocol_without_its_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match=r"inforeg-lightning\[streaming\].*needs s3fs"):
        Shards("s3://bucket/shards", cache=tmp_path)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_loader_forked_during_a_download_does_not_wait_for_ever(server, tmp_path, monkeypatch):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
    download, begun, go_on = Mirror._get, threading.Event(), threading.Event()

    def slow(self, name, target):
        begun.set()
        go_on.wait(30)
        download(self, name, target)

    monkeypatch.setattr(Mirror, "_get", slow)
    thread = threading.Thread(target=shards.fetch, args=([0],))
    thread.start()
    assert begun.wait(30)
    loader = multiprocessing.get_context("fork").Process(target=shards.fetch, args=([0],))
    loader.start()
    loader.join(0.3)  # until it waits for the lock
    go_on.set()
    thread.join()
    loader.join(30)
    code = loader.exitcode
    loader.kill()
    assert code == 0
