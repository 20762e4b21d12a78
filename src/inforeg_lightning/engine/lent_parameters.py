"""Has optimisers train parameters that were made beside a model, and averages their gradients."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from inforeg_lightning.engine.distributed import Processes


def join(
    parameters: Sequence[nn.Parameter],
    optimizers: Sequence[Optimizer],
    head: nn.Module | None,
    name: str,
) -> None:
    """Have every parameter trained: one that no optimiser holds is trained as the joint head is.

    It joins the parameter group of the joint head: schedulers, which know groups by number, need
    not know of it.

    Args:
        parameters: Of unimodal heads.
        optimizers: That train the model.
        head: The joint head.
        name: Who the user constructed, for the error.

    Raises:
        ValueError: No optimiser holds the joint head either.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    held = {id(p) for group in groups for p in group["params"]}
    left = [p for p in parameters if id(p) not in held]
    if not left:
        return
    of_head = {id(p) for p in ([] if head is None else head.parameters())}
    for group in groups:
        if any(id(p) in of_head for p in group["params"]):
            group["params"].extend(left)
            return
    raise ValueError(
        f"no optimiser holds the unimodal heads of {name}, nor the joint head, whose parameter "
        "group they would join. In Lightning give `self.unimodal_heads.parameters()` to one in "
        "configure_optimizers (`self.parameters()` has them), or pass unimodal_heads='shared'."
    )


def leave(parameters: Sequence[nn.Parameter], optimizers: Sequence[Optimizer]) -> None:
    """Take parameters out of optimisers that go on without them."""
    mine = {id(p) for p in parameters}
    for optimizer in optimizers if mine else ():
        for group in optimizer.param_groups:
            group["params"][:] = [p for p in group["params"] if id(p) not in mine]
        for parameter in [p for p in optimizer.state if id(p) in mine]:
            del optimizer.state[parameter]


def average(parameters: Sequence[nn.Parameter], processes: Processes, optimizer: Optimizer) -> None:
    """Average gradients over processes, where no wrapper of the model does; all have to call it.

    Args:
        parameters: Of unimodal heads.
        processes: That train together.
        optimizer: That is about to step; what it does not hold is left alone.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    mine = [p for p in parameters if id(p) in held]
    if processes.size == 1 or not mine:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in mine]
    flat = processes.mean(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(flat, [p.numel() for p in mine])
    for parameter, part in zip(mine, parts, strict=True):
        parameter.grad = part.view_as(parameter)
