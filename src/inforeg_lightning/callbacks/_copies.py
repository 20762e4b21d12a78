"""Copies of a LightningModule, and batches that are no others' business, for trials."""

import copy
import inspect
import itertools
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.callbacks._framework import (
    LightningModule,
    Trainer,
    forward_context,
    isolate_rng,
    scaler_of,
)
from inforeg_lightning.core._dtensor import is_sharded
from inforeg_lightning.engine.checks import shown
from inforeg_lightning.engine.probe.target import Present, Target, find_present, find_target
from inforeg_lightning.engine.trials import Copies

_INSTEAD = "or give measure='running', which measures the joint run itself."


class TrainerCopies(Copies):
    """What a Trainer provides for trials.

    The loaders are iterated by copies of theirs, whose workers, sampler and generators are not
    those of the training. A data set that keeps a state of its own in this process is not copied.

    Args:
        trainer: That trains.
        module: What it trains.
        target: Where the target stands in the batch.
        present: Where it stands which samples have which modality.
        modalities: Their names.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        target: Target,
        present: Present,
        modalities: Sequence[str],
    ) -> None:
        self._trainer = trainer
        self.model = self._module = module
        self._target, self._present, self._modalities = target, present, modalities
        is_limited = trainer.max_epochs is not None and trainer.max_epochs >= 0
        self.planned_epochs = trainer.max_epochs if is_limited else None
        self.accumulates = trainer.accumulate_grad_batches
        # Gradients of float16 need a scaler, which is the training's: trials are in full precision.
        self.context = nullcontext if scaler_of(trainer) else forward_context(trainer)
        self._train_loader = _again(_only(trainer.train_dataloader, "train_dataloader"))
        self._val_loader = _again(_first(trainer.val_dataloaders))

    @staticmethod
    def check(trainer: Trainer, module: LightningModule) -> None:
        """Refuse what cannot be tried on a copy, before training begins.

        Raises:
            ValueError: With what was found and what to do.
        """
        if not module.automatic_optimization:
            raise ValueError(
                f"{type(module).__name__} optimises by hand, but its losses are measured on copies "
                f"that are trained apart. Let Lightning optimise it, {_INSTEAD}"
            )
        if any(is_sharded(p) for p in module.parameters()):
            raise ValueError(
                "the parameters are sharded (FSDP2), but losses are measured on copies of the "
                f"whole model. Train with DDPStrategy, {_INSTEAD}"
            )
        _only(trainer.train_dataloader, "train_dataloader")

    def copy(self) -> nn.Module:
        """A copy of the module that logs nothing and shares the Trainer."""
        try:
            made = copy.deepcopy(self._module, {id(self._trainer): self._trainer})
        except Exception as error:
            raise ValueError(
                f"{type(self._module).__name__} cannot be copied ({error}), but its losses are "
                f"measured on copies. Keep what cannot be copied out of the module, {_INSTEAD}"
            ) from error
        made.log = made.log_dict = _nothing  # type: ignore[method-assign]
        made.zero_grad()
        return made

    def optimizers(self, model: nn.Module) -> list[Optimizer]:
        """Of the same class, groups and settings, the learning rate being that of now."""
        names = {id(p): name for name, p in self._module.named_parameters()}
        own = dict(model.named_parameters())
        made = []
        for optimizer in self._trainer.optimizers:
            groups = [
                {**copy.deepcopy({k: v for k, v in group.items() if k != "params"}), "params": held}
                for group in optimizer.param_groups
                if (held := [own[names[id(p)]] for p in group["params"] if id(p) in names])
            ]
            if groups:
                made.append(_like(optimizer, groups))
        return made

    def train_batches(self, epoch: int) -> Iterator[Any]:
        """As the Trainer gives them, in the order of an epoch to come."""
        _set_epoch(self._train_loader, self._trainer.current_epoch + epoch)
        return self._moved(self._train_loader, self._trainer.num_training_batches)

    def validation_batches(self) -> Iterator[Any]:
        """Those of the first validation loader."""
        return self._moved(self._val_loader, _first(self._trainer.num_val_batches))

    def train_step(self, model: nn.Module, batch: Any, index: int) -> None:
        """Run ``training_step``."""
        with self.context():
            _call(model.training_step, batch, index)

    def validation_step(self, model: nn.Module, batch: Any, index: int) -> None:
        """Run ``validation_step``."""
        with self.context():
            _call(model.validation_step, batch, index)

    def target(self, batch: Any) -> Tensor:
        """The target of a batch."""
        return find_target(batch, self._target)

    def present(self, batch: Any) -> Mapping[str, Tensor]:
        """Which samples have which modality."""
        return find_present(batch, self._present, self._modalities)

    @contextmanager
    def isolated(self, epoch: int) -> Iterator[None]:
        """Seed by epoch and process; torch, NumPy and ``random`` go on after it as before."""
        with isolate_rng():
            seed = 1_000_003 * self._trainer.global_rank + epoch
            torch.manual_seed(seed)
            random.seed(seed)
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed(seed)
            yield

    def _moved(self, loader: Iterable[Any], limit: float) -> Iterator[Any]:
        trainer = self._trainer
        for index, batch in enumerate(loader):
            if index >= limit:
                break
            batch = trainer.precision_plugin.convert_input(batch)
            batch = self._module._on_before_batch_transfer(batch, dataloader_idx=0)
            yield trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stands in for ``log``: a trial is no part of what is logged."""


def _only(loaders: Any, argument: str) -> Any:
    """The loader, if there is one."""
    if isinstance(loaders, Mapping | list | tuple) and len(loaders) == 1:
        loaders = next(iter(loaders.values() if isinstance(loaders, Mapping) else loaders))
    if isinstance(loaders, Mapping | list | tuple) or not isinstance(loaders, Iterable):
        raise ValueError(
            f"`{argument}` gives several loaders ({shown(loaders)}), but losses are measured on "
            f"the batches of one. Give one, {_INSTEAD}"
        )
    return loaders


def _first(loaders: Any) -> Any:
    """The first of several, or the only one."""
    if isinstance(loaders, Mapping):
        return next(iter(loaders.values()))
    return loaders[0] if isinstance(loaders, list | tuple) else loaders


def _again(loader: Any) -> Any:
    """A loader of the same data whose iteration leaves the first, and its sampler, alone."""
    made = copy.copy(loader)
    kept = vars(made) if hasattr(made, "__dict__") else {}
    if "_iterator" in kept:  # what a DataLoader with persistent workers goes on with
        kept["_iterator"] = None
    if "next_iter_state" in kept:  # where a StatefulDataLoader goes on
        kept["next_iter_state"] = None
    names = [n for n in ("sampler", "batch_sampler", "generator") if n in kept]
    data = kept.get("dataset")
    # In one call, as the batches' sampler holds the samples'; past DataLoader's own __setattr__.
    kept.update(copy.deepcopy({n: kept[n] for n in names}, {id(data): data}))
    return made


def _set_epoch(loader: Any, epoch: int) -> None:
    """Tell the copied sampler of the epoch, but not its data set, which the training reads."""
    for holder in (loader, getattr(loader, "batch_sampler", None)):
        sampler: Any = getattr(holder, "sampler", None)
        if isinstance(getattr(sampler, "epoch", None), int):
            sampler.epoch = epoch


def _like(optimizer: Optimizer, groups: list[dict[str, Any]]) -> Optimizer:
    """A new optimiser of the same class."""
    takes = inspect.signature(type(optimizer)).parameters
    try:
        defaults = {k: v for k, v in optimizer.defaults.items() if k in takes}
        return type(optimizer)(groups, **defaults)
    except Exception as error:
        raise ValueError(
            f"no second {type(optimizer).__name__} can be made from its `param_groups` and "
            f"`defaults` ({error}), but losses are measured on copies that are trained with one. "
            f"Use one that can, {_INSTEAD}"
        ) from error


def _call(step: Any, batch: Any, index: int) -> None:
    """Call a step with as much as it takes."""
    takes = inspect.signature(step).parameters
    given = {"dataloader_idx": 0} if "dataloader_idx" in takes else {}
    step(*itertools.islice((batch, index), max(len(takes) - len(given), 1)), **given)
