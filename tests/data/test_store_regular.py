"""A store's file that is a device, a pipe or a folder is refused; a link to a file is a file."""

import multiprocessing
import os
import resource

import numpy as np
import pytest

from inforeg_lightning.data.store import Store, StoreError, StoreWriter
from inforeg_lightning.data.store.files import LARGE, TABLES

FILES = ("store.json", *TABLES, *LARGE)
_MOST_MEMORY = 4 * 10**9  # bytes; a reader without end is not to take the machine's


def limit_memory():
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))


def refusal(store):
    """What a reader in a process of its own says, which can be ended where it waits for ever."""
    with multiprocessing.get_context("fork").Pool(1, limit_memory) as pool:
        return pool.apply_async(_refusal, (store,)).get(60)


def _refusal(store):
    try:
        Store(store)
    except StoreError as error:
        return str(error)
    return None


@pytest.fixture
def store(tmp_path):
    with StoreWriter(tmp_path / "store", {"data": "made here"}) as writer:
        writer.add("a", 0, np.full((2, 8, 6, 3), 7, np.uint8), np.ones((4, 5)))
    return tmp_path / "store"


def spoil(path, what):
    path.unlink()
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    else:
        path.symlink_to({"a device": "/dev/zero", "a link to itself": path}[what])


@pytest.mark.parametrize("what", ["a device", "a pipe", "a folder", "a link to itself"])
@pytest.mark.parametrize("file", FILES)
def test_what_is_no_regular_file_is_refused(store, file, what):
    spoil(store / file, what)
    said = refusal(store)
    assert said.startswith("the store ")
    assert file in said


@pytest.mark.parametrize("what", ["a device", "a pipe"])
@pytest.mark.parametrize("file", LARGE)
def test_a_large_file_is_checked_when_it_is_opened_too(store, file, what):
    reader = Store(store)
    spoil(store / file, what)
    with pytest.raises(StoreError, match=f"{file} is no regular file"):
        reader.frames(0, [0]) if file == "frames.bin" else reader.audio(0)


def test_links_to_regular_files_are_read(store, tmp_path):
    for file in FILES:
        (store / file).rename(tmp_path / file)
        (store / file).symlink_to(tmp_path / file)
    assert Store(store).damaged() == []


@pytest.mark.parametrize("file", FILES[:4])
def test_a_table_larger_than_any_is_not_read(store, file):
    os.truncate(store / file, 10**13)  # a hole, which takes no space
    with pytest.raises(StoreError, match=rf"{file} has 10000000000000 bytes"):
        Store(store)


def test_a_description_nested_without_end_is_refused(store):
    (store / "store.json").write_text("[" * 10**6)
    with pytest.raises(StoreError, match="damaged"):
        Store(store)
