"""A training that is checkpointed often, to be cut and resumed anywhere."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from torchdata.stateful_dataloader import StatefulDataLoader

from helpers.modules import Late, make_batches
from helpers.regulated import fit, inforeg

BATCHES = 6
"""An epoch's batches."""


class Resumable(Late):
    """With a loader that remembers its place in an epoch."""

    def __init__(self) -> None:
        super().__init__()
        (batch,) = make_batches(batches=1, size=4 * BATCHES)
        self.samples = [{k: v[i] for k, v in batch.items()} for i in range(4 * BATCHES)]

    def train_dataloader(self) -> StatefulDataLoader:
        # In a fixed order: that of a shuffle is for the loader to restore, and not every one does.
        return StatefulDataLoader(self.samples, batch_size=4)


class Inside(ModelCheckpoint):
    """After a number of steps, but not after an epoch's last.

    From a checkpoint made there Lightning 2.6.6 goes on with the next epoch but one, with and
    without our callback; the end of the epoch, a moment later, is where to save.
    """

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(folder, "{step}", every_n_train_steps=every, save_top_k=-1)

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args)


def train(
    folder: Path, *others: Any, resume: bool = False, epochs: int = 5, **settings: Any
) -> dict:
    """Train with a checkpoint after every step; go on from the newest if asked."""
    at_the_end = ModelCheckpoint(folder, "{step}", save_on_train_epoch_end=True, save_top_k=-1)
    module = Resumable()
    return fit(
        module,
        inforeg(**settings),
        *others,
        Inside(folder, every=1),
        at_the_end,
        enable_checkpointing=True,
        max_epochs=epochs,
        ckpt_path=newest(folder) if resume else None,
    ) | {"module": module}


def newest(folder: Path) -> Path | None:
    """The last checkpoint; None if the run was killed before the first."""
    return max(folder.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1]), default=None)
