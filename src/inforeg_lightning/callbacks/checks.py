"""What can be checked before the first step, each with one clear error."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

import lightning.pytorch as L
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import nn

from inforeg_lightning.callbacks.encoder import Encoder
from inforeg_lightning.core.shards import is_sharded

_STRATEGIES: dict[type, str] = {
    DeepSpeedStrategy: "keeps gradients in buffers of its own, where they cannot be regulated",
    FSDPStrategy: "flattens parameters, so that an encoder's cannot be told from others'",
}


def check_encoders(encoders: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Check what a user writes for ``encoders``, and return a tuple of paths a modality."""
    if not isinstance(encoders, Mapping):
        raise TypeError(
            "`encoders` must map modality names to attribute paths, for example "
            f'{{"audio": "audio_encoder", "video": "video_encoder"}}, but is {encoders!r}'
        )
    if len(encoders) < 2:
        raise ValueError(
            f"`encoders` must name two or more modalities, but names {len(encoders)}: "
            f"{[*encoders]}. Balancing needs something to balance."
        )
    checked = {
        modality: tuple(paths)
        if isinstance(paths, Sequence) and not isinstance(paths, str)
        else (paths,)
        for modality, paths in encoders.items()
    }
    for modality, paths in checked.items():
        if not paths or not all(isinstance(path, str) and path for path in paths):
            raise TypeError(
                f"`encoders[{modality!r}]` must be an attribute path or a sequence of them, but is "
                f"{encoders[modality]!r}"
            )
    return checked


def resolve(module: nn.Module, path: str, argument: str) -> nn.Module:
    """The module at an attribute path."""
    try:
        found = attrgetter(path)(module)
    except AttributeError:
        children = [name for name, _ in module.named_children()]
        raise ValueError(
            f"`{argument}` is {path!r}, but {type(module).__name__} has no such attribute. Its "
            f"modules are {children}; a path may go deeper, as in 'encoders.audio'."
        ) from None
    if not isinstance(found, nn.Module):
        raise ValueError(
            f"`{argument}` is {path!r}, which is a {type(found).__name__} and not an nn.Module."
        )
    return found


def check_strategy(trainer: L.Trainer) -> None:
    """Refuse strategies that keep gradients where they cannot be measured and edited."""
    for refused, reason in _STRATEGIES.items():
        if isinstance(trainer.strategy, refused):
            raise ValueError(
                f"`Trainer(strategy=...)` is {type(trainer.strategy).__name__}, which {reason}. "
                "Use DDPStrategy, or ModelParallelStrategy with `fully_shard` (FSDP2)."
            )


def check_optimizers(trainer: L.Trainer) -> None:
    """Refuse optimisers that ascend, or whose gradients still carry the fp16 loss scale."""
    for optimizer in trainer.optimizers:
        if any(group.get("maximize", False) for group in optimizer.param_groups):
            raise ValueError(
                f"{type(optimizer).__name__}(maximize=True) would push an encoder away from its "
                "anchor. Minimise the negative instead."
            )
    if getattr(trainer.precision_plugin, "scaler", None) is None:
        return
    for optimizer in trainer.optimizers:
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            raise ValueError(
                f"{type(optimizer).__name__}(fused=True) unscales fp16 gradients inside its own "
                "step, after the regulation. Use fused=False, or precision='bf16-mixed'."
            )


def check_parameters(
    modules: Mapping[str, Sequence[nn.Module]], head: nn.Module | None, trainer: L.Trainer
) -> None:
    """Check that encoders have parameters to train and share none with each other or a head."""
    owner: dict[int, str] = {}
    # Such a callback has frozen what it will unfreeze, if it comes before ours.
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    unfreezes = any(isinstance(callback, BaseFinetuning) for callback in callbacks)
    for modality, parts in modules.items():
        parameters = [p for part in parts for p in part.parameters()]
        if not any(p.requires_grad or unfreezes for p in parameters):
            raise ValueError(
                f"`encoders[{modality!r}]` has no trainable parameter: there is nothing to "
                "regulate. Leave the modality out, unfreeze its encoder before training, or "
                "unfreeze it during training by a BaseFinetuning callback."
            )
        for part in parts:
            _refuse_sparse(modality, part)
            for name, parameter in part.named_parameters():
                other = owner.setdefault(id(parameter), modality)
                if other != modality:
                    raise ValueError(
                        f"`encoders` of {other} and {modality} share the parameter {name!r}, but "
                        "must be disjoint. Name only what belongs to one modality."
                    )
    for name, parameter in [] if head is None else head.named_parameters():
        if id(parameter) in owner:
            raise ValueError(
                f"`head` shares the parameter {name!r} with the encoder of "
                f"{owner[id(parameter)]}. Name the encoder and the head as modules apart."
            )


def check_one_optimizer(trainer: L.Trainer, method: str) -> None:
    """Refuse several optimisers, for methods that compare the gradients of all encoders."""
    if len(trainer.optimizers) > 1:
        raise ValueError(
            f"the module has {len(trainer.optimizers)} optimisers, but {method} compares the "
            "gradients of all encoders in one step. Use one optimiser with parameter groups."
        )


def check_unsharded(encoders: Mapping[str, Encoder], method: str) -> None:
    """Refuse parameters of which each process holds a part (FSDP2)."""
    for modality, encoder in encoders.items():
        if any(is_sharded(parameter) for parameter in encoder.parameters):
            raise ValueError(
                f"`encoders[{modality!r}]` has parameters sharded by FSDP2, which {method} cannot "
                "edit as a whole. Use strategy='ddp'."
            )


def check_head_unsharded(head: nn.Module, path: str | None, method: str) -> None:
    """Refuse a head of which each process holds a part (FSDP2)."""
    if any(is_sharded(parameter) for parameter in head.parameters()):
        raise ValueError(
            f"`head={path!r}` has parameters sharded by FSDP2, which {method} cannot run once more "
            "within a forward pass. Leave the head out of `fully_shard`, or use strategy='ddp'."
        )


def _refuse_sparse(modality: str, part: nn.Module) -> None:
    for name, module in part.named_modules():
        if getattr(module, "sparse", False) and isinstance(module, nn.Embedding | nn.EmbeddingBag):
            raise ValueError(
                f"`encoders[{modality!r}]` has the embedding {name!r} with sparse=True, whose "
                "gradient can be neither measured nor regulated as it is. Use sparse=False."
            )
