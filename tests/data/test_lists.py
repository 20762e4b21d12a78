"""Published lists: fetched from a real server, checked, kept, and matched with a store."""

import hashlib
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from inforeg_lightning.data import CREMADDataModule
from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.kinetics_sounds import KineticsSoundsRecipe, clip_key
from inforeg_lightning.data.prepare import prepare
from inforeg_lightning.data.prepare.lists import (
    PublishedList,
    SplitError,
    as_stored,
    fetch_lists,
)
from inforeg_lightning.data.store import StoreWriter, download

HALVES = {
    "train": "".join(f"100{i}_DFA_{e}_XX,{e}\r\n" for i in (1, 2) for e in ("NEU", "ANG")),
    "test": "1003_DFA_NEU_XX,NEU\r\n1003_DFA_ANG_XX,ANG\r\n",
}


class _Counting(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A real server of two small lists, published as CREMA-D's; ``asked`` is what it was asked."""
    (tmp_path / "web").mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSE", 0.01)
    handler = partial(_Counting, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked, server.published = [], {}
        url = f"http://127.0.0.1:{server.server_port}/"
        for half, content in HALVES.items():
            (tmp_path / "web" / f"{half}.csv").write_bytes(content.encode())
            checksum = hashlib.sha256(content.encode()).hexdigest()
            item = PublishedList(f"{url}{half}.csv", checksum, content.count("\n"))
            server.published[half] = item
        monkeypatch.setattr(CREMADRecipe, "lists", server.published)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_lists_are_fetched_once_and_are_the_same_bytes(server, tmp_path):
    files = fetch_lists("cremad", server.published, tmp_path / "kept")
    assert [file.read_bytes().decode() for file in files] == list(HALVES.values())
    assert fetch_lists("cremad", server.published, tmp_path / "kept") == files
    assert server.asked == ["/train.csv", "/test.csv"]
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    train, _ = fetch_lists("cremad", server.published, tmp_path / "kept")
    train.write_text("1001_DFA_NEU_XX,NEU\n")
    fetch_lists("cremad", server.published, tmp_path / "kept")
    assert train.read_bytes().decode() == HALVES["train"]


def test_another_file_than_the_published_is_an_error_and_is_not_kept(server, tmp_path):
    (tmp_path / "web" / "test.csv").write_text("1003_DFA_NEU_XX,NEU\n")
    with pytest.raises(SplitError, match=r"/test\.csv is not the list that was published \(SHA"):
        fetch_lists("cremad", server.published, tmp_path / "kept")
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["cremad-train.csv"]


@pytest.mark.parametrize("trouble", ["no such page", "no connection"])
def test_without_internet_one_error_names_address_and_remedy(server, tmp_path, trouble):
    train, test = server.published["train"], server.published["test"]
    url = train.url + ".gz" if trouble == "no such page" else "http://127.0.0.1:9/train.csv"
    published = {"train": train._replace(url=url), "test": test}
    with pytest.raises(SplitError) as caught:
        fetch_lists("cremad", published, tmp_path / "kept")
    kept = tmp_path / "kept" / "cremad-train.csv"
    for part in (
        url,
        "give train_list and test_list",
        f"put it at {kept}",
    ):
        assert part in str(caught.value)


@pytest.fixture
def store(tmp_path):
    """A store that was prepared without lists."""
    with StoreWriter(tmp_path / "store", {"data": "cremad"}) as writer:
        for actor in range(1001, 1004):
            for label, emotion in ((0, "NEU"), (5, "ANG")):
                frames = np.zeros((3, 8, 8, 3), np.uint8)
                name = f"{actor}_DFA_{emotion}_XX"
                writer.add(name, label, frames, np.zeros((257, 188)), str(actor), "")
    return tmp_path / "store"


def test_training_fetches_lists_that_the_store_lacks_if_asked(server, store, tmp_path):
    with pytest.raises(SplitError, match=r"download=True on a machine with internet"):
        CREMADDataModule(store).check()
    assert server.asked == []
    data = CREMADDataModule(store, download=True, val_share=0.4)
    data.check()
    assert {part: len(rows) for part, rows in data.split.rows.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    assert (tmp_path / "cache/inforeg-lightning/lists/cremad-test.csv").exists()


def test_preparing_fetches_lists_if_asked(server, tmp_path):
    with pytest.raises(ValueError, match="is not CREMA-D as it is downloaded"):
        prepare(CREMADRecipe(), tmp_path / "raw", tmp_path / "store", download=True)
    assert server.asked == ["/train.csv", "/test.csv"]
    server.asked.clear()
    shutil.rmtree(tmp_path / "cache")
    given = {f"{half}_list": tmp_path / "web" / f"{half}.csv" for half in HALVES}
    with pytest.raises(ValueError, match="is not CREMA-D as it is downloaded"):
        prepare(CREMADRecipe(), tmp_path / "raw", tmp_path / "store", **given, download=True)
    assert server.asked == []


def test_what_is_published_is_pinned():
    items = [
        recipe.lists[half]
        for recipe in (CREMADRecipe, KineticsSoundsRecipe)
        for half in ("train", "test")
    ]
    assert [item.clips for item in items] == [6_698, 744, 14_799, 2_597]
    checksums = {item.sha256 for item in items}
    assert {len(checksum) for checksum in checksums} == {64}
    assert len(checksums) == 4
    # A commit, not a branch.
    assert {len(item.url.split("/")[5]) for item in items} == {40}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("--4-0ihtnBU_000058_000068", ("--4-0ihtnBU", 58)),
        ("-3Mwkq-7TV4_2", ("-3Mwkq-7TV4", 2)),
        ("a_12345678b_000002_000012", ("a_12345678b", 2)),
        ("ab_12345678_62", ("ab_12345678", 62)),
        ("1001_DFA_ANG_XX", ("1001_DFA_ANG_XX", -1)),
    ],
)
def test_a_clip_is_told_by_video_and_first_second(name, key):
    assert clip_key(name) == key


def test_listed_clips_are_called_as_in_the_store():
    listed = {"-3Mwkq-7TV4_2": 23, "-74csnCOiUs_0": 14, "--4-0ihtnBU_000058_000068": 4}
    stored = ["-3Mwkq-7TV4_000002_000012", "--4-0ihtnBU_000058_000068", "-3Mwkq-7TV4_000012_000022"]
    assert as_stored(listed, stored, clip_key) == {
        "-3Mwkq-7TV4_000002_000012": 23,
        "-74csnCOiUs_0": 14,
        "--4-0ihtnBU_000058_000068": 4,
    }
