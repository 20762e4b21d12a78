"""The precision that a forward pass runs in, taken there to run the head in it once more."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Precision:
    """Autocast and default dtype as they are now.

    Args:
        like: A tensor on the device that autocast is asked of.
    """

    def __init__(self, like: Tensor) -> None:
        self.device = like.device.type
        self.enabled = torch.is_autocast_enabled(self.device)
        self.dtype = torch.get_autocast_dtype(self.device)

    @contextmanager
    def again(self) -> Iterator[None]:
        """The same precision."""
        with torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled):
            yield
