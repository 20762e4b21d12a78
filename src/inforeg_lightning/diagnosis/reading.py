"""What a trained model says of validation and test, whole and with modalities held or permuted."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from inforeg_lightning.diagnosis.data import First
from inforeg_lightning.diagnosis.errors import DiagnosisError
from inforeg_lightning.diagnosis.holding import (
    Calls,
    Modules,
    permuted,
    recorded,
    replayed,
    vectors,
    zeroed,
)
from inforeg_lightning.diagnosis.setup import Setup
from inforeg_lightning.diagnosis.shapley import subsets_of
from inforeg_lightning.engine.probe.target import find_target

TRAIN, VALIDATION, TEST = range(3)


def subset_name(modalities: Sequence[str]) -> str:
    """The name of the logits that a subset of the modalities leads to."""
    return f"only {'+'.join(modalities)}"


class Reader:
    """Takes the place of a module's validation_step, and keeps what its head returns.

    Args:
        setup: Of the diagnosis.
        module: The LightningModule.
        modules: Its encoders.
        head: Its head.
        probed: Modalities whose features are kept for a probe.
        apart: Whether the head is called for subsets of modalities too, and with each modality
            permuted.
    """

    def __init__(
        self,
        setup: Setup,
        module: Any,
        modules: Modules,
        head: nn.Module,
        probed: Sequence[str],
        apart: bool,
    ) -> None:
        self.setup, self.module, self.modules, self.head = setup, module, modules, head
        self.probed, self.apart = probed, apart
        self.kept: dict[str, list[Tensor]] = {}
        self._step = evaluation_step(module)
        self._generator = torch.Generator().manual_seed(0)
        self._train_samples = 0

    def read(self, trainer: Any, loaders: Sequence[Any]) -> dict[str, Tensor]:
        """Go through training (for probes), validation and test.

        Args:
            trainer: Of the module's framework.
            loaders: The three loaders.

        Returns:
            Name -> what all batches led to, on the host.
        """
        data = self.setup.data.module
        whole: list[Any] = [First(loader) for loader in loaders]
        if not self.probed:
            whole[TRAIN] = First(loaders[TRAIN], 0)
        with replaced(
            self.module,
            validation_step=self._validate,
            log=_ignore,
            log_dict=_ignore,
            on_validation_epoch_end=_ignore,
        ):
            if data is None:
                trainer.validate(self.module, dataloaders=whole, verbose=False)
            else:
                with replaced(data, val_dataloader=lambda: whole):
                    trainer.validate(self.module, datamodule=data, verbose=False)
        return {name: torch.cat(parts) for name, parts in self.kept.items()}

    def look(self, batch: Any) -> tuple[Calls, Tensor, Tensor]:
        """What a batch leads to: the encoders' outputs, the logits and the target."""
        with recorded(self.modules, self.head) as (calls, outputs):
            self._step(batch, 0)
            return calls, self._logits(outputs), self._target(batch)

    def logits_of(self, batch: Any, calls: Calls) -> Tensor:
        """The logits that a batch leads to with other features."""
        with replayed(self.modules, calls), recorded({}, self.head) as (_, outputs):
            self._step(batch, 0)
            return self._logits(outputs)

    def _validate(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == TRAIN and self._train_samples >= self.setup.probe_samples:
            return
        calls, logits, target = self.look(batch)
        split = ("train", "validation", "test")[dataloader_idx]
        self._keep(f"{split} target", target)
        for modality in self.probed if dataloader_idx != VALIDATION else ():
            features = vectors(calls[modality], len(target))
            if features is not None:
                self._keep(f"{split} features {modality}", features)
        if dataloader_idx == TRAIN:
            self._train_samples += len(target)
            return
        self._keep(f"{split} logits", logits)
        if dataloader_idx == TEST and self.apart:
            self._take_apart(batch, calls, target)

    def _take_apart(self, batch: Any, calls: Calls, target: Tensor) -> None:
        names = self.setup.modalities
        for kept in subsets_of(names, self.setup.exact_up_to):
            held = [m for m in names if m not in kept]
            self._keep(subset_name(kept), self.logits_of(batch, zeroed(calls, held)))
        for modality in names:
            order = torch.randperm(len(target), generator=self._generator)
            self._keep(
                f"permuted {modality}", self.logits_of(batch, permuted(calls, modality, order))
            )
            self._keep(f"same class {modality}", target[order.to(target.device)] == target)

    def _keep(self, name: str, x: Tensor) -> None:
        self.kept.setdefault(name, []).append(x.detach().cpu())

    def _target(self, batch: Any) -> Tensor:
        target = find_target(batch, self.setup.target)
        if target.dim() != 1 or target.is_floating_point():
            raise DiagnosisError(
                "`target` must lead to one class index per sample, shape (B,), but leads to shape "
                f"{tuple(target.shape)}, {target.dtype}: only classification can be diagnosed"
            )
        return target

    def _logits(self, outputs: Sequence[Any]) -> Tensor:
        if not outputs:
            raise DiagnosisError(
                f"`head={self.setup.head!r}` is not called in the module's step: give the path of "
                "the module that makes the logits"
            )
        logits = outputs[0]
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise DiagnosisError(
                f"`head={self.setup.head!r}` must return logits of shape (B, C), but returns "
                f"{found}"
            )
        return logits


def evaluation_step(module: Any) -> Callable[[Any, int], Any]:
    """The module's own step for a batch that is not trained on; ``training_step`` if it has none.

    Raises:
        DiagnosisError: It has none, and optimises by hand.
    """
    for name in ("validation_step", "test_step", "training_step"):
        step = getattr(module, name, None)
        if step is None or getattr(type(module), name, None) is _of_framework(module, name):
            continue
        if name == "training_step" and not module.automatic_optimization:
            break
        if len(inspect.signature(step).parameters) > 1:
            return cast(Callable[[Any, int], Any], step)
        return partial(_without_index, step)
    raise DiagnosisError(
        f"{type(module).__name__} optimises by hand and has no validation_step: give it one, so "
        "that it can be evaluated without being trained"
    )


@contextmanager
def replaced(thing: Any, **attributes: Any) -> Iterator[None]:
    """Let attributes of an object stand for others inside a ``with`` block."""
    own = {name: vars(thing)[name] for name in attributes if name in vars(thing)}
    for name, value in attributes.items():
        object.__setattr__(thing, name, value)
    try:
        yield
    finally:
        for name in attributes:
            object.__delattr__(thing, name)
            if name in own:
                object.__setattr__(thing, name, own[name])


def check_separable(reader: Reader, batch: Any) -> tuple[dict[str, int], int]:
    """Try on one batch whether each modality can be left out, before anything is trained.

    Returns:
        Modality -> width of its features as one vector; and the number of classes.

    Raises:
        DiagnosisError: An encoder is not called, logits do not depend on it or on something else
            too, or are not finite without it.
    """
    calls, logits, target = reader.look(batch)
    if len(target) != len(logits):
        raise DiagnosisError(
            f"`target` leads to {len(target)} class indices, but the head returns logits of "
            f"{len(logits)} samples"
        )
    names, widths = reader.setup.modalities, {}
    for modality in names:
        found = vectors(calls[modality], len(target))
        if found is None:
            raise DiagnosisError(
                f"{modality} cannot be left out: its encoder returned no features in the module's "
                f"step; encoders[{modality!r}] must be the path of what makes them"
            )
        widths[modality] = found.shape[1]
        without = reader.logits_of(batch, zeroed(calls, [modality]))
        if not bool(torch.isfinite(without).all()):
            raise DiagnosisError(
                f"{modality} cannot be left out: with its features at zero the logits are not "
                "finite; a norm in the head may divide by their length"
            )
        if torch.equal(without, logits):
            raise DiagnosisError(
                f"{modality} cannot be left out: the logits stay the same with its features at "
                f"zero, so encoders[{modality!r}] is not what the head reads"
            )
    nothing = reader.logits_of(batch, zeroed(calls, names))
    if not torch.allclose(nothing, nothing[:1].expand_as(nothing), rtol=1e-3, atol=1e-4):
        raise DiagnosisError(
            f"{' and '.join(names)} cannot be left out: with the features of all at zero the "
            "logits still differ from sample to sample, so that something else reaches the head; "
            "name its module in `encoders` too"
        )
    return widths, logits.shape[1]


def _without_index(step: Callable[[Any], Any], batch: Any, batch_idx: int) -> Any:
    return step(batch)


def _of_framework(module: Any, name: str) -> Any:
    for base in type(module).__mro__:
        if base.__name__ == "LightningModule":
            return getattr(base, name, None)
    return None


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Say nothing: what a module logs here is of no training."""
