"""In what precision numbers are kept."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32 if it is of half precision, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def sum_dtype(device: torch.device) -> torch.dtype:
    """In what sums over many batches are kept: the same on all processes, whatever they train in.

    Half a billion steps of float32 sums would still do; MPS has nothing better.
    """
    return torch.float32 if device.type == "mps" else torch.float64
