"""The processes that train together: their sums, their means, and one value for all."""

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Processes:
    """A single process. Others override every method; all processes have to call each together."""

    size: int = 1
    rank: int = 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        return tensor

    def broadcast(self, value: T) -> T:
        """The value of the first process, of plain types."""
        return value


class TorchProcesses(Processes):
    """The processes of ``torch.distributed``'s default group."""

    def __init__(self) -> None:
        self.size = dist.get_world_size()
        self.rank = dist.get_rank()

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        return self.sum(tensor) / self.size

    def broadcast(self, value: T) -> T:
        """The value of the first process, of plain types."""
        values = [value]
        dist.broadcast_object_list(values, device=_device_of_group())
        return values[0]


def find_processes() -> Processes:
    """Those of ``torch.distributed`` where it is initialised, else this one alone."""
    return TorchProcesses() if dist.is_available() and dist.is_initialized() else Processes()


def _device_of_group() -> torch.device:
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
