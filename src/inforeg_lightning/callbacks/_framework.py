"""Lightning under either of its names, and how to ask it without asking for its classes.

Users import ``lightning.pytorch`` or ``pytorch_lightning``; both may be installed, and the classes
of one are not those of the other. So nothing here or above asks for the class of a Trainer, a
strategy or a module: names in the order of their classes tell.
"""

import importlib
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from inforeg_lightning.engine.context import Scales
from inforeg_lightning.engine.distributed import Processes


def _frameworks() -> list[Any]:
    """The packages that the program has imported; else the first that is installed."""
    names = ("lightning.pytorch", "pytorch_lightning")
    imported = [sys.modules[name] for name in names if sys.modules.get(name) is not None]
    if imported:
        return imported
    for name in names:
        try:
            return [importlib.import_module(name)]
        except ImportError:
            continue
    raise ImportError(
        "the callbacks need lightning (`pip install 'lightning>=2.6.6'`) or pytorch_lightning. In "
        "a loop of your own use `inforeg_lightning.Regulator`, which needs torch alone."
    )


if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.utilities import rank_zero_info
    from lightning.pytorch.utilities.seed import isolate_rng
else:
    _found = _frameworks()
    # Where the user's program has imported both, a callback is one of either, which each one's
    # LightningCLI asks for.
    _bases = tuple(package.Callback for package in _found)
    Callback = _bases[0]
    if len(_bases) > 1:
        Callback = type("Callback", _bases, {"__module__": _bases[0].__module__})
    LightningModule, Trainer = _found[0].LightningModule, _found[0].Trainer
    rank_zero_info = _found[0].utilities.rank_zero_info
    isolate_rng = _found[0].utilities.seed.isolate_rng

__all__ = ["Callback", "LightningModule", "Trainer", "isolate_rng", "rank_zero_info"]

T = TypeVar("T")

_FRAMEWORKS = ("lightning", "pytorch_lightning")
_STRATEGIES = {
    "DeepSpeedStrategy": "keeps gradients in buffers of its own, where they cannot be regulated",
    "FSDPStrategy": "flattens parameters, so that an encoder's cannot be told from others'",
}


class TrainerProcesses(Processes):
    """The processes of a Trainer's strategy."""

    def __init__(self, trainer: Trainer) -> None:
        self._strategy = trainer.strategy
        self.size = trainer.world_size
        self.rank = trainer.global_rank

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        total = self._strategy.reduce(tensor, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        mean = self._strategy.reduce(tensor, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def broadcast(self, value: T) -> T:
        """The value of the first process, of plain types."""
        return self._strategy.broadcast(value)


def is_a(thing: object, *names: str) -> bool:
    """Whether a class of one of these names is among a thing's, whichever package it is from."""
    return any(base.__name__ in names for base in type(thing).__mro__)


def check_strategy(trainer: Trainer) -> None:
    """Refuse strategies that keep gradients where they cannot be measured and edited."""
    for refused, reason in _STRATEGIES.items():
        if is_a(trainer.strategy, refused):
            raise ValueError(
                f"`Trainer(strategy=...)` is {type(trainer.strategy).__name__}, which {reason}. "
                "Use DDPStrategy, or ModelParallelStrategy with `fully_shard` (FSDP2)."
            )


def will_unfreeze(trainer: Trainer) -> bool:
    """Whether a callback has frozen what it will unfreeze, if it comes before ours."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return any(is_a(callback, "BaseFinetuning") for callback in callbacks)


def scaler_of(trainer: Trainer) -> Any:
    """The gradient scaler of fp16, ``None`` without one."""
    return getattr(trainer.precision_plugin, "scaler", None)


def scales_of(trainer: Trainer, module: LightningModule) -> Scales:
    """What the Trainer multiplies a loss by before its backward pass, without reading it.

    One over ``accumulate_grad_batches``, unless the module optimises by hand, times the scale of
    fp16.
    """
    scale = 1 / trainer.accumulate_grad_batches if module.automatic_optimization else 1.0
    scaler = scaler_of(trainer)
    if scaler is None:
        return Scales(scale)
    one = torch.ones((), device=module.device)
    return Scales(scaler.scale(one * scale), scaler.scale(one))


def planned(trainer: Trainer) -> tuple[float, float]:
    """How many epochs and optimiser steps there are to come, this one among them.

    ``inf`` where it cannot be known: of a loader without length, say, or an unlimited training.
    """
    unlimited = trainer.max_epochs is None or trainer.max_epochs < 0
    epochs = math.inf if unlimited else float(trainer.max_epochs or 0) - trainer.current_epoch
    steps = trainer.max_steps - trainer.global_step if trainer.max_steps > -1 else math.inf
    batches = float(trainer.num_training_batches)
    if math.isfinite(batches):
        per_epoch = max(math.ceil(batches / trainer.accumulate_grad_batches), 1)
        steps = min(steps, epochs * per_epoch)
        epochs = min(epochs, steps / per_epoch)
    return math.ceil(epochs) if math.isfinite(epochs) else epochs, steps


def makes_itself(module: LightningModule) -> bool:
    """Whether a module has hooks that run after ours, in which it may still make its encoders."""
    return overrides(module, "on_fit_start") or overrides(module, "on_train_start")


def overrides(module: LightningModule, hook: str) -> bool:
    """Whether a module's class has a hook of its own."""
    found = getattr(type(module), hook)
    return found.__module__.split(".")[0] not in _FRAMEWORKS


def forward_context(trainer: Trainer) -> Callable[[], Any]:
    """What makes the precision that the module's own forward pass runs in."""
    return trainer.precision_plugin.forward_context
