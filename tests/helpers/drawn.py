"""Numbers that a test draws, in the place of those that the methods that drop features draw."""

import pytest
import torch
from torch import Tensor


class Given:
    """A table of numbers in [0, 1), which both a callback and a plain loop read from its start."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.rewind()

    def rewind(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator, dtype=torch.float64)


def hand_out(monkeypatch: pytest.MonkeyPatch, given: Given) -> None:
    """Let every method that drops features draw from the table."""
    draws = "inforeg_lightning.methods._dropping.Draws"
    monkeypatch.setattr(f"{draws}.of_step", lambda self, device: given(1))
    monkeypatch.setattr(f"{draws}.by_sample", lambda self, n, columns, device: given(n, columns))
