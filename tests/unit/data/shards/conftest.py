"""Small stores with their shards, and a server on this machine that has them."""

import functools
import http.server
import threading

import numpy as np
import pytest

from inforeg_lightning.data.cremad import CLASSES as CREMAD_CLASSES
from inforeg_lightning.data.shards_write import write_shards
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
    """Stores ``raw`` and ``jpeg``, and their shards ``raw.shards`` and ``jpeg.shards``."""
    root = tmp_path_factory.mktemp("made")
    for frame_format in ("raw", "jpeg"):
        write_store(root / frame_format, frame_format)
        write_shards(root / frame_format, root / f"{frame_format}.shards", shard_mb=0.5)
    return root


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on this machine, and knows what it was asked for."""

    asked: list[str]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server(made):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            if self.command == "GET":
                server.asked.append(self.path)

    with Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(made))) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
