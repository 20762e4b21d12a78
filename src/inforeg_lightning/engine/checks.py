"""What can be checked before the first step, each with one clear error."""

import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from torch import nn
from torch.optim import Optimizer

from inforeg_lightning.core._dtensor import is_sharded
from inforeg_lightning.engine.encoder import Encoder


def check_encoders(encoders: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Check what a user writes for ``encoders``, and return a tuple of paths per modality."""
    if not isinstance(encoders, Mapping):
        raise TypeError(
            "`encoders` must map modality names to attribute paths, for example "
            f'{{"audio": "audio_encoder", "video": "video_encoder"}}, but is {shown(encoders)}'
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
                f"{shown(encoders[modality])}. Write where it stands in the model, as in "
                f"{{{modality!r}: 'encoders.{modality}'}}."
            )
    return checked


def check_number(
    name: str, value: object, least: float, most: float, hint: str = "", open_below: bool = False
) -> float:
    """Check a number that a user gives, of Python or NumPy.

    Args:
        name: Of the argument.
        value: What was given.
        least: The smallest that is allowed; itself not, if ``open_below``.
        most: The largest that is allowed.
        hint: What is usual, for the error.
        open_below: Whether ``least`` itself is refused.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{name}` must be a number{hint}, but is {shown(value)}")
    number = float(value)
    if not least <= number <= most or math.isinf(number) or (open_below and number == least):
        bounds = f"{'above' if open_below else 'from'} {least:g}"
        bounds += "" if most == math.inf else f" to {most:g}"
        raise ValueError(f"`{name}` must be {bounds}{hint}, but is {value}")
    return number


def check_ignored(ignore_index: object) -> float:
    """Check what a user writes for ``ignore_index``: any number, NaN too, of Python or NumPy."""
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, numbers.Real):
        raise TypeError(
            "`ignore_index` must be a number, the target that counts nowhere, but is "
            f"{shown(ignore_index)}"
        )
    if isinstance(ignore_index, numbers.Integral):
        return int(ignore_index)
    return float(ignore_index)


def check_count(name: str, value: object, of: str) -> int:
    """Check how many, at least one, of something a user asks for; of Python or NumPy.

    Args:
        name: Of the argument.
        value: What was given.
        of: What is counted, for the error.

    Raises:
        ValueError: It is not a whole number, or below 1.
    """
    count = _whole_number(value)
    if count is None or count < 1:
        raise ValueError(f"`{name}` must be a whole number of {of}, 1 or more, not {shown(value)}")
    return count


def check_period(period: object) -> int | str:
    """Check what a user writes for ``period``."""
    if isinstance(period, str) and period == "epoch":
        return period
    steps = _whole_number(period)
    if steps is None or steps < 1:
        raise ValueError(
            f"`period` must be 'epoch' or a positive number of optimiser steps, not {shown(period)}"
        )
    return steps


def _whole_number(value: object) -> int | None:
    try:
        return None if isinstance(value, bool | str) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def shown(value: object) -> str:
    """A value in an error: a module by its type, anything else as it would be written."""
    if isinstance(value, nn.Module):
        return f"a module ({type(value).__name__})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    text = repr(value)
    return text if len(text) <= 200 else f"a {type(value).__name__}"


class NotThere(ValueError):
    """Nothing stands at a path, or nothing does yet: a hook of the model may still make it."""


def resolve(module: nn.Module, path: str, argument: str) -> nn.Module:
    """The module at an attribute path.

    Raises:
        NotThere: Nothing is there.
        ValueError: It is something else than a module.
    """
    try:
        found = attrgetter(path)(module)
    except AttributeError:
        children = [name for name, _ in module.named_children()]
        raise NotThere(
            f"`{argument}` is {path!r}, but {type(module).__name__} has no such attribute. Its "
            f"modules are {children}; a path may go deeper, as in 'encoders.audio'."
        ) from None
    if not isinstance(found, nn.Module):
        raise (NotThere if found is None else ValueError)(
            f"`{argument}` is {path!r}, which is a {type(found).__name__} and not an nn.Module."
        )
    return found


def check_optimizers(optimizers: Iterable[Optimizer], has_scaler: bool) -> None:
    """Refuse optimisers that ascend, or whose gradients still carry the fp16 loss scale."""
    for optimizer in optimizers:
        if any(group.get("maximize", False) for group in optimizer.param_groups):
            raise ValueError(
                f"{type(optimizer).__name__}(maximize=True) would push an encoder away from its "
                "anchor. Minimise the negative instead."
            )
        if has_scaler and getattr(optimizer, "_step_supports_amp_scaling", False):
            raise ValueError(
                f"{type(optimizer).__name__}(fused=True) unscales fp16 gradients inside its own "
                "step, after the regulation. Use fused=False, or precision='bf16-mixed'."
            )


def check_parameters(
    modules: Mapping[str, Sequence[nn.Module]], head: nn.Module | None, will_unfreeze: bool
) -> None:
    """Check that some encoder can be trained, and none shares parameters with another or the head.

    Args:
        modules: Modality -> its modules.
        head: The head, if there is one.
        will_unfreeze: Whether what is frozen now is unfrozen during training.
    """
    owner: dict[int, str] = {}
    parameters = [p for parts in modules.values() for part in parts for p in part.parameters()]
    if not will_unfreeze and not any(p.requires_grad for p in parameters):
        raise ValueError(
            f"no encoder of {[*modules]} has a trainable parameter: there is nothing to regulate. "
            "Unfreeze one before training, or during it by a BaseFinetuning callback."
        )
    for modality, parts in modules.items():
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


def check_held(modules: Mapping[str, Sequence[nn.Module]], optimizers: Sequence[Optimizer]) -> None:
    """Refuse optimizers that train none of the encoders."""
    held = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
    parts = [part for parts in modules.values() for part in parts]
    if not any(id(p) in held for part in parts for p in part.parameters()):
        raise ValueError(
            f"`optimizer` holds no parameter of the encoders {[*modules]}: give the optimizer that "
            "trains this very model, not a copy of it"
        )


def check_one_optimizer(optimizers: Sequence[Optimizer], name: str) -> None:
    """Refuse several optimisers, for methods that compare the gradients of all encoders."""
    if len(optimizers) > 1:
        raise ValueError(
            f"the module has {len(optimizers)} optimisers, but {name} compares the "
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
