"""The cache of shards that come from a URL: what is in it, and what happens to what is wrong."""

import multiprocessing
import os
import shutil
import threading

import pytest

from helpers import attacks_on_shards
from helpers.same_clips import assert_same_clips
from inforeg_lightning.data.shards import Shards, _mirror
from inforeg_lightning.data.shards._mirror import Cache
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


def test_a_file_that_is_cut_off_or_missing(made, server, tmp_path, hasty):
    place = shutil.copytree(made / "raw.shards", made / "broken", dirs_exist_ok=True)
    (place / "shard-000000.tar").write_bytes(b"cut")
    (place / "shard-000001.tar").unlink()
    shards = Shards(f"{server.url}/broken", cache=tmp_path)
    with pytest.raises(StoreError, match=r"shard-000000\.tar has 3 bytes instead of \d+"):
        shards.fetch([0])
    with pytest.raises(StoreError, match=r"shard-000001\.tar cannot be read: FileNotFound"):
        shards.fetch([1])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "index.csv",
        "places.npz",
        "rejected.csv",
    ]


def test_another_file_of_the_same_size_is_refused(made, server, tmp_path, hasty):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
    server.always = {"shard-000000.tar": "flipped"}
    with pytest.raises(StoreError, match=r"shard-000000\.tar has other bytes than shards\.json"):
        shards.fetch([0])
    assert not list(tmp_path.rglob("*.tar*"))


@pytest.mark.parametrize("name", ["index.csv", "rejected.csv", "places.npz", "shard-000001.tar"])
@pytest.mark.parametrize("harm", ["half", "empty", "text"])
def test_what_is_wrong_in_the_cache_is_fetched_again(made, server, tmp_path, name, harm):
    place = f"{server.url}/raw.shards"
    Shards(place, cache=tmp_path).fetch([1])
    (file,) = tmp_path.rglob(name)
    content = file.read_bytes()
    file.write_bytes({"half": content[: len(content) // 2], "empty": b"", "text": b"no"}[harm])
    assert_same_clips(Shards(place, cache=tmp_path), Store(made / "raw"))
    assert file.read_bytes() == content
    assert server.asked.count(f"/raw.shards/{name}") == 2


@pytest.mark.parametrize("name", ["index.csv", "rejected.csv", "places.npz"])
def test_a_table_with_one_other_bit_is_fetched_again(made, server, tmp_path, name):
    place = f"{server.url}/raw.shards"
    Shards(place, cache=tmp_path)
    (file,) = tmp_path.rglob(name)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    Shards(place, cache=tmp_path)
    assert file.read_bytes() == content


def test_the_check_repairs_the_cache(server, tmp_path):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
    assert shards.check() == []  # brings them all
    (file,) = tmp_path.rglob("shard-000002.tar")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\1")
    asked = len(server.asked)
    assert shards.check() == []
    assert server.asked[asked:] == ["/raw.shards/shard-000002.tar"]
    assert file.read_bytes() == content


def test_every_harm_to_the_cache_is_repaired_or_told(tmp_path):
    found = list(attacks_on_shards.harmed_caches(tmp_path, seed=0, count=56))
    assert len(found) == 56
    assert {ended for _, ended in found} <= {"survived", "refused"}
    refused = {what.partition(": ")[2] for what, ended in found if ended == "refused"}
    assert refused <= {"a folder", "a link to nowhere", "a pipe"}


def test_errors_name_the_cache(made, server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"the cache folder {tmp_path}/file/.* cannot be used"):
        Shards(f"{server.url}/raw.shards", cache=tmp_path / "file")
    shards = Shards(f"{server.url}/jpeg.shards", cache=tmp_path / "cache")
    shards.fetch(range(len(shards.files)))
    for file in (tmp_path / "cache").rglob("*.tar"):
        file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(StoreError, match=f"cached in {tmp_path}/cache/.*frame 0 of .* is damaged"):
        shards.frames(0, [0])


def test_a_disk_that_is_too_small_is_said_before_it_is_full(server, tmp_path, monkeypatch):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StoreError, match=rf"cache folder {tmp_path}/\w+ has 0\.0 GB left"):
        shards.fetch([0])
    assert not list(tmp_path.rglob("*.tar*"))


def test_a_disk_that_becomes_full_is_one_error(server, tmp_path, monkeypatch):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(_mirror, "_write", full)
    with pytest.raises(StoreError, match=f"the cache folder {tmp_path}/.*: No space left on dev"):
        shards.fetch([0])
    assert not list(tmp_path.rglob("*.tar*"))


def test_a_link_that_another_user_left_is_not_followed(server, tmp_path):
    cache, victim = tmp_path / "cache", tmp_path / "victim"
    victim.write_text("precious")
    shards = Shards(f"{server.url}/raw.shards", cache=cache)
    (index,) = cache.rglob("index.csv")
    index.with_name("shard-000000.tar.partial").symlink_to(victim)
    with pytest.raises(StoreError, match=r"the cache folder .* cannot be used"):
        shards.fetch([0])
    assert victim.read_text() == "precious"


def test_bytes_are_on_the_disk_before_they_have_the_name(server, tmp_path, monkeypatch):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("name"), replace(*names)))
    shards.fetch([0])
    assert events == ["sync", "name"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_loader_forked_during_a_download_does_not_wait_for_ever(server, tmp_path, monkeypatch):
    shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
    download, begun, go_on = Cache._bring, threading.Event(), threading.Event()

    def slow(self, *arguments):
        begun.set()
        go_on.wait(30)
        download(self, *arguments)

    monkeypatch.setattr(Cache, "_bring", slow)
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


def test_many_at_once_bring_a_file_once(server, tmp_path):
    place = f"{server.url}/raw.shards"
    readers = [Shards(place, cache=tmp_path) for _ in range(6)]
    threads = [threading.Thread(target=reader.fetch, args=([0],)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked.count("/raw.shards/shard-000000.tar") == 1
    assert not list(tmp_path.rglob("*.partial"))
