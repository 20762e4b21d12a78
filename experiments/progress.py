"""The Lightning callback by which a worker tells of its epochs."""

from multiprocessing.connection import Connection

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from workers import Event


class EpochEvents(Callback):
    """Send one event an epoch.

    Args:
        job: Index of the run.
        connection: Where to.
    """

    def __init__(self, job: int, connection: Connection) -> None:
        self.job, self.connection = job, connection

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Send the epoch's number and validation accuracy."""
        accuracy = trainer.callback_metrics.get("val/accuracy")
        detail = (
            trainer.current_epoch + 1,
            trainer.max_epochs,
            None if accuracy is None else float(accuracy),
        )
        self.connection.send(Event(self.job, "epoch", detail))
