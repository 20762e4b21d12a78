"""What stands inside the wrappers that loops put around a model and its optimizers."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import LBFGS, Optimizer

_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "_FabricModule": "_forward_module",
    "OptimizedModule": "_orig_mod",
}
"""Class of a wrapper -> where it keeps the model. By name: not every package is installed."""

_REFUSED = {
    "FullyShardedDataParallel": "flattens parameters, so that an encoder's cannot be told from "
    "others'. Use DistributedDataParallel, or `fully_shard` (FSDP2)",
    "DeepSpeedEngine": "keeps gradients in buffers of its own, where they cannot be edited. Use "
    "DistributedDataParallel",
    "DeepSpeedOptimizerWrapper": "keeps gradients in buffers of its own, where they cannot be "
    "edited. Use DistributedDataParallel",
}


def layers_of(model: Any) -> list[nn.Module]:
    """A model, what stands inside it, and so on: the user's own comes last.

    Raises:
        TypeError: It is no module.
        ValueError: It is in a wrapper that keeps gradients where they cannot be edited.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be a torch.nn.Module, but is of type {type(model).__name__}")
    for module in model.modules():
        _refuse("model", module)
    layers = [model]
    while (inner := _inside(layers[-1])) is not None:
        layers.append(inner)
    for layer in layers:
        if len(getattr(layer, "device_ids", None) or ()) > 1:
            raise ValueError(
                "`model` is in DataParallel on several devices, where each forward pass runs in "
                "copies. Use DistributedDataParallel, one process per device."
            )
    return layers


def optimizers_of(optimizer: Any) -> list[Optimizer]:
    """The optimizers inside those of Fabric and Accelerate, which have the hooks.

    Raises:
        TypeError: One is no optimizer.
        ValueError: There is none, or one whose gradients cannot be edited before its step.
    """
    listed = [*optimizer] if isinstance(optimizer, Sequence) else [optimizer]
    if not listed:
        raise ValueError("`optimizer` is empty: give the one, or all, that train the encoders")
    return [_innermost(each) for each in listed]


def closure_of(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The closure that a step was called with, ``None`` if without."""
    return args[1] if len(args) > 1 else kwargs.get("closure")


def _innermost(optimizer: Any) -> Optimizer:
    _refuse("optimizer", optimizer)
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
        _refuse("optimizer", optimizer)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            "`optimizer` must be a torch.optim.Optimizer, or several, but is of type "
            f"{type(optimizer).__name__}"
        )
    if isinstance(optimizer, LBFGS):
        raise ValueError(
            "`optimizer` is LBFGS, which makes its gradients inside its own step, where no hook "
            "sees them. Use another optimizer, or the Lightning callback."
        )
    return optimizer


def _inside(model: nn.Module) -> nn.Module | None:
    name = _WRAPPERS.get(type(model).__name__)
    return None if name is None else model._modules[name]


def _refuse(argument: str, thing: object) -> None:
    for base in type(thing).__mro__:
        if base.__name__ in _REFUSED:
            raise ValueError(f"`{argument}` is a {base.__name__}, which {_REFUSED[base.__name__]}")
