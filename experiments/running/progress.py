"""The Lightning callbacks by which a run tells of its epochs."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch: its number (from 1), their number, and the validation accuracy."""

    number: int
    of: int
    accuracy: float | None


class EpochLines(Callback):
    """Print one line per epoch, in a terminal and in a log file alike."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch's loss and validation accuracies."""
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        prefix = "val/accuracy_"
        of = [f"{k.removeprefix(prefix)} {v:.3f}" for k, v in seen.items() if k.startswith(prefix)]
        by_modality = f" ({', '.join(of)})" if of else ""
        print(
            f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            f"  train loss {seen.get('train/loss', float('nan')):.3f}"
            f"  val accuracy {seen.get('val/accuracy', float('nan')):.3f}{by_modality}",
            flush=True,
        )


def epoch_of_line(line: str) -> Epoch | None:
    """The epoch that a line of :class:`EpochLines` tells of, ``None`` for any other line."""
    found = re.match(r"  epoch (\d+)/(\d+)  .*val accuracy (nan|[0-9.]+)", line)
    if found is None:
        return None
    accuracy = None if found[3] == "nan" else float(found[3])
    return Epoch(int(found[1]), int(found[2]), accuracy)


class EpochEvents(Callback):
    """Tell of every epoch.

    Args:
        tell: What takes the news.
    """

    def __init__(self, tell: Callable[[Epoch], None]) -> None:
        self.tell = tell

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the epoch's number and validation accuracy."""
        accuracy = trainer.callback_metrics.get("val/accuracy")
        self.tell(
            Epoch(
                trainer.current_epoch + 1,
                trainer.max_epochs or 0,
                None if accuracy is None else float(accuracy),
            )
        )
