"""Small stores with their shards, and a server on this machine that has them."""

import shutil

import numpy as np
import pytest

from helpers import attacks_on_shards
from helpers.serving import serving
from inforeg_lightning.data.cremad import CLASSES as CREMAD_CLASSES
from inforeg_lightning.data.shards import _url, write_shards
from inforeg_lightning.data.store import StoreWriter

ACTORS = range(1001, 1008)
CLIPS = len(ACTORS) * len(CREMAD_CLASSES)


def write_store(path, frame_format):
    """Clips in frames of two shapes, so that shards and batches have to keep them apart."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, {"data": "cremad"}, frame_format) as writer:
        for actor in ACTORS:
            for label, emotion in enumerate(CREMAD_CLASSES):
                shape = (3 + label % 3, *((24, 32) if actor % 2 else (32, 20)), 3)
                writer.add(
                    f"{actor}_DFA_{emotion}.X",  # a dot, at which WebDataset would cut a name
                    label,
                    rng.integers(0, 256, shape, dtype=np.uint8),
                    rng.standard_normal((257, 188)),
                    group=str(actor),
                    split="test" if actor == 1007 else "train",
                )
        writer.reject("1099_DFA_ANG_XX", "video: truncated")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Stores ``raw`` and ``jpeg``, and their shards ``raw.shards`` and ``jpeg.shards``.

    In ``small`` are the ``store`` and ``shards`` of the attacks: six clips in three shards.
    """
    root = tmp_path_factory.mktemp("made")
    for frame_format in ("raw", "jpeg"):
        write_store(root / frame_format, frame_format)
        write_shards(root / frame_format, root / f"{frame_format}.shards", shard_mb=0.5)
    attacks_on_shards.make(root / "small")
    return root


@pytest.fixture
def server(made):
    """A server of what ``made`` holds."""
    with serving(made) as server:
        yield server


@pytest.fixture
def hasty(monkeypatch):
    """Does not wait long, neither before an attempt nor for an answer."""
    monkeypatch.setattr(_url, "FIRST_WAIT", 1e-3)
    monkeypatch.setattr(_url, "PATIENCE", 0.3)


@pytest.fixture
def copy(made, tmp_path):
    """Shards of their own for a test that damages them."""
    return shutil.copytree(made / "raw.shards", tmp_path / "copy")
