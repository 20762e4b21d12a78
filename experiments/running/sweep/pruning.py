"""When a trial is given up: by the validation accuracy, and by the history of the method."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback


class GiveUp(Callback):
    """Report every epoch to an Optuna trial, and end it where the pruner would.

    A regulated run is not compared with others while it is held back: regulation slows a leader,
    and what it is for comes after. So a run is given up only after an epoch in which, by the
    ``history`` of its method, no window was open. A method without a window has none open.

    Args:
        trial: The Optuna trial.
    """

    def __init__(self, trial: Any) -> None:
        self.trial = trial

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the epoch; end the training by ``TrialPruned`` if it is given up."""
        from optuna import TrialPruned

        accuracy = trainer.callback_metrics.get("val/accuracy")
        if accuracy is None:
            return
        self.trial.report(float(accuracy), trainer.current_epoch)
        if is_held_back(trainer.callbacks) or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        if self.trial.should_prune():
            raise TrialPruned(f"epoch {trainer.current_epoch + 1}: below the median of the others")


def is_held_back(callbacks: Sequence[Any]) -> bool:
    """Whether a method had a window open in the last period of its history."""
    histories: list[Sequence[Mapping[str, Any]]] = [getattr(c, "history", []) for c in callbacks]
    return any(any(history[-1].get("in_window", {}).values()) for history in histories if history)
