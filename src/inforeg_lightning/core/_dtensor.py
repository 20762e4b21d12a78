"""Tensors of which each process holds a part: ``DTensor``, as FSDP2 makes them.

Plain tensors pass through every function as they are.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import TypeIs
if TYPE_CHECKING or dist.is_available():
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, distribute_tensor


def local_parts(tensors: Sequence[Tensor]) -> list[Tensor]:
    """This process's parts of the tensors, sharing their memory."""
    return [tensor.to_local() if is_sharded(tensor) else tensor for tensor in tensors]


def whole(tensor: Tensor) -> Tensor:
    """The full tensor on every process; all processes have to call it."""
    full: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return full


def split_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A full tensor on the device of another, and in parts if that one is."""
    tensor = tensor.to(other.device)
    if is_sharded(other):
        return distribute_tensor(tensor, other.device_mesh, other.placements)
    return tensor


def sum_over_parts(values: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Add up what each process found for its parts; all processes have to call it.

    Args:
        values: A number for this process's part of each tensor, shape ``(n,)``.
        tensors: The tensors. The value of a plain one stays as it is.

    Returns:
        Shape ``(n,)``, equal on all processes.

    Raises:
        ValueError: A tensor is a sum yet to be made (``Partial``), whose parts are not its values.
    """
    split: dict[tuple[DeviceMesh, int], list[int]] = {}  # by the processes to add up over
    for index, tensor in enumerate(tensors):
        if is_sharded(tensor):
            for dim, placement in enumerate(tensor.placements):
                if placement.is_partial():
                    raise ValueError(
                        f"a gradient of shape {tuple(tensor.shape)} is a partial sum over "
                        "processes. Only parameters sharded by FSDP2's `fully_shard` are supported."
                    )
                if not placement.is_replicate():
                    split.setdefault((tensor.device_mesh, dim), []).append(index)
    for (mesh, dim), indices in split.items():
        sums = list(values.unbind())
        total = torch.stack([sums[index] for index in indices])
        dist.all_reduce(total, group=mesh.get_group(dim))
        for index, value in zip(indices, total.unbind(), strict=True):
            sums[index] = value
        values = torch.stack(sums)
    return values


def is_sharded(tensor: Tensor) -> "TypeIs[DTensor]":
    """Whether each process holds a part of the tensor."""
    return dist.is_available() and isinstance(tensor, DTensor)
