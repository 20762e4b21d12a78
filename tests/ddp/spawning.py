"""A program that trains in processes which ``fit`` starts; run by test_history_returns.py."""

import gc
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler

from helpers.modules import Late, encoder_paths, make_batches
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback

FOLDER = "history.pkl"


class Sampled(Late):
    """Two processes with batches of 4 see the global batches of one with batches of 8."""

    def __init__(self, processes: int) -> None:
        super().__init__(weight_decay=1e-3)
        self.processes = processes
        (batch,) = make_batches(batches=1, size=32)
        self.samples = [{key: value[i] for key, value in batch.items()} for i in range(32)]

    def train_dataloader(self) -> DataLoader:
        sampler = None
        if self.processes > 1:
            sampler = DistributedSampler(
                self.samples, self.processes, self.trainer.global_rank, shuffle=False
            )
        return DataLoader(self.samples, batch_size=8 // self.processes, sampler=sampler)


def train(strategy: str, processes: int, callback: InfoRegCallback | None = None) -> list[Any]:
    if callback is None:
        callback = InfoRegCallback(encoder_paths(), head="head", window="always")
    trainer = quiet_trainer(
        callbacks=[callback],
        max_epochs=2,
        strategy=strategy,
        devices=processes,
        use_distributed_sampler=False,
    )
    trainer.fit(Sampled(processes))
    return callback.history


def main(strategy: str, folder: Path) -> None:
    torch.set_num_threads(1)
    saved = InfoRegCallback(encoder_paths(), head="head", window="always")
    read = train(strategy, 2, saved)
    state = saved.state_dict()["book"]["history"]
    if strategy == "ddp_fork":  # once is enough
        leave_unread()
    left = [str(path) for path in Path(tempfile.gettempdir()).glob("inforeg-*")]
    (folder / FOLDER).write_bytes(pickle.dumps({"read": read, "state": state, "left": left}))


def leave_unread() -> None:
    """Train with a callback whose history nobody reads, and forget it."""
    unread = InfoRegCallback(encoder_paths(), head="head", window="always")
    quiet_trainer(
        callbacks=[unread],
        max_epochs=1,
        strategy="ddp_fork",
        devices=2,
        use_distributed_sampler=False,
    ).fit(Sampled(2))
    waiting = [*Path(tempfile.gettempdir()).glob("inforeg-*")]
    assert len(waiting) == 1, waiting
    del unread
    gc.collect()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
