"""The Lightning callbacks by which a run tells of its epochs."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from inforeg_lightning.report.measures import ACCURACY
from running.building import metric_of_model


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch: its number (from 1), their number, and the metric on validation."""

    number: int
    of: int
    value: float | None
    metric: str = ACCURACY


class EpochLines(Callback):
    """Print one line per epoch, in a terminal and in a log file alike."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch's loss and the metric on validation."""
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metric = metric_of_model(pl_module)
        prefix = f"val/{metric}_"
        of = [f"{k.removeprefix(prefix)} {v:.3f}" for k, v in seen.items() if k.startswith(prefix)]
        by_modality = f" ({', '.join(of)})" if of else ""
        print(
            f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            f"  train loss {seen.get('train/loss', float('nan')):.3f}"
            f"  val {metric} {seen.get(f'val/{metric}', float('nan')):.3f}{by_modality}",
            flush=True,
        )


def epoch_of_line(line: str) -> Epoch | None:
    """The epoch that a line of :class:`EpochLines` tells of, ``None`` for any other line."""
    found = re.match(r"  epoch (\d+)/(\d+)  .*?  val (\w+) (nan|-?[0-9.]+)", line)
    if found is None:
        return None
    value = None if found[4] == "nan" else float(found[4])
    return Epoch(int(found[1]), int(found[2]), value, found[3])


class EpochEvents(Callback):
    """Tell of every epoch.

    Args:
        tell: What takes the news.
    """

    def __init__(self, tell: Callable[[Epoch], None]) -> None:
        self.tell = tell

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the epoch's number and the metric on validation."""
        metric = metric_of_model(pl_module)
        value = trainer.callback_metrics.get(f"val/{metric}")
        self.tell(
            Epoch(
                trainer.current_epoch + 1,
                trainer.max_epochs or 0,
                None if value is None else float(value),
                metric,
            )
        )
