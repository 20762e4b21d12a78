"""One of two processes that train and validate from a store and its shards; see conftest.py."""

import functools
import http.server
import os
import sys
import threading
from datetime import timedelta
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from helpers.trainers import quiet_trainer
from inforeg_lightning.data import CREMADDataModule
from inforeg_lightning.data.shards import write_shards
from inforeg_lightning.data.store import StoreWriter

RANK = int(os.environ.get("RANK", "0"))
LIMIT = timedelta(seconds=60)
EPOCHS, CLIPS, CLASSES = 2, 72, 6


def write_store(path: Path) -> None:
    """Clips whose sound says which they are."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, {"data": "cremad"}) as writer:
        for clip in range(CLIPS):
            frames = rng.integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)
            split = "test" if clip % 7 == 0 else "train"
            audio = np.full((257, 188), clip)
            writer.add(f"{clip:02d}", clip % CLASSES, frames, audio, group=str(clip), split=split)


class Reader(L.LightningModule):
    """A small network that notes which clips it is given, by stage and epoch.

    Its batch normalisation has buffers, which DDP sends around before every forward pass: if one
    process had a batch more than the other, it would wait for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=8), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(CLASSES)
        )
        self.network(torch.zeros(2, 3, 224, 224))
        self.seen: dict[str, list[list[int]]] = {}
        self.losses: list[float] = []

    def note(self, stage: str, batch: dict[str, Tensor], first: bool) -> Tensor:
        if first:
            self.seen.setdefault(stage, []).append([])
        self.seen[stage][-1] += batch["audio"][:, 0, 0, 0].long().tolist()
        return F.cross_entropy(self.network(batch["video"][:, :, 0]), batch["label"])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.note("train", batch, batch_idx == 0)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.note("val", batch, batch_idx == 0)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.note("test", batch, batch_idx == 0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def read(place: str, workers: int, cache: Path) -> dict:
    data = CREMADDataModule(place, batch_size=8, num_workers=workers, val_share=0.2, cache=cache)
    torch.manual_seed(0)
    module = Reader()
    trainer = quiet_trainer(
        strategy=DDPStrategy(timeout=LIMIT), devices=2, max_epochs=EPOCHS, num_sanity_val_steps=0
    )
    trainer.fit(module, datamodule=data)
    weights = torch.cat([p.detach().flatten() for p in module.parameters()])
    trainer.test(module, datamodule=data, verbose=False)
    rows = {part: rows.tolist() for part, rows in data.split.rows.items()}
    return {"seen": module.seen, "rows": rows, "weights": weights, "losses": module.losses}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    own = folder / f"of_rank{RANK}"  # the same bytes: no need to wait for each other
    write_store(own / "store")
    write_shards(own / "store", own / "shards", shard_mb=0.6)
    handler = functools.partial(Quiet, directory=str(own))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/shards"
    places = {"store": str(own / "store"), "shards": str(own / "shards"), "url": url}
    results = {}
    for name, workers in (("store", 0), ("store", 2), ("shards", 0), ("shards", 2), ("url", 2)):
        print(f"=== {name}, {workers} workers", file=sys.stderr, flush=True)
        results[f"{name} {workers}"] = read(places[name], workers, own / "cache")
    torch.save(results, folder / f"rank{RANK}.pt")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Writes no line for each file."""

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
