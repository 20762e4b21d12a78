"""Whether a training has begun, and whether it still goes anywhere."""

import math

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback


class Health(Callback):
    """End a training whose loss or weights are not finite; nothing could mend it.

    It looks once per epoch, because to look at every step would make the GPU wait for the host.

    Attributes:
        begun: Whether an optimiser step has been made: until then an error is a mistake in the
            configuration, and nothing of value is lost.
        diverged: What is wrong, as a sentence; ``None`` while nothing is.
    """

    def __init__(self) -> None:
        self.begun = False
        self.diverged: str | None = None

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Note that the training has begun."""
        self.begun = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the training if it has diverged."""
        loss = trainer.callback_metrics.get("train/loss")
        wrong = None
        if loss is not None and not math.isfinite(float(loss)):
            wrong = f"the training loss is {float(loss)}"
        elif (name := _not_finite(pl_module)) is not None:
            wrong = f"{name} holds values that are not finite"
        if wrong is not None:
            self.diverged = (
                f"diverged: in epoch {trainer.current_epoch + 1} of {trainer.max_epochs} {wrong}"
            )
            trainer.should_stop = True


def _not_finite(module: L.LightningModule) -> str | None:
    """The name of a parameter that holds NaN or infinity."""
    named = [(n, p.detach()) for n, p in module.named_parameters() if p.is_floating_point()]
    if not named:
        return None
    # One read for all: of large models there are hundreds of parameters.
    whole = torch.stack([torch.isfinite(p).all() for _, p in named]).tolist()
    return next((name for (name, _), finite in zip(named, whole, strict=True) if not finite), None)
