"""A module in float32, and Trainers of half precision on a CPU."""

from contextlib import nullcontext

import torch
from lightning.pytorch.plugins import MixedPrecision

from helpers.modules import Late, make_batches


def in_single(batches: list) -> list:
    return [
        {key: x.float() if x.is_floating_point() else x for key, x in batch.items()}
        for batch in batches
    ]


class Single(Late):
    """In float32."""

    def __init__(self) -> None:
        super().__init__(batches=in_single(make_batches()))
        self.float()


class ScaledOnly(MixedPrecision):
    """A loss scale, but no half precision: nothing may change, to the bit."""

    def autocast_context_manager(self):
        return nullcontext()


def scaler(scale: float) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10**6)


def fp16(scale: float, plugin: type[MixedPrecision] = MixedPrecision) -> MixedPrecision:
    return plugin("16-mixed", "cpu", scaler=scaler(scale))
