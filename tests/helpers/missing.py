"""Modules whose batches lack a modality, wholly or in some samples."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.modules import CLASSES, WIDTHS, Late, make_batches

NAMES = ("audio", "video", "text")


def batches_with(
    kinds: Sequence[Iterable[str]], names: Sequence[str] = NAMES, **settings: Any
) -> list[dict[str, Tensor]]:
    """Batches of three modalities of which each has only some.

    Args:
        kinds: The modalities of each batch.
        names: All that the module has.
        settings: As for ``make_batches``.
    """
    made = make_batches(3, batches=len(kinds), **settings)
    return [
        {key: value for key, value in batch.items() if key in kind or key not in names}
        for batch, kind in zip(made, map(set, kinds), strict=True)
    ]


class InPlace(Late):
    """What a batch lacks is a learnt token in the place of its features."""

    def __init__(self, batches: list[dict[str, Tensor]], **settings: Any) -> None:
        super().__init__(3, batches, **settings)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.tokens = nn.ParameterDict(
                {name: nn.Parameter(torch.randn(WIDTHS[name][1]).double()) for name in NAMES}
            )

    def features(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        samples = len(batch["label"])
        return {
            name: getattr(self, f"{name}_encoder")(batch[name])
            if name in batch
            else self.tokens[name].expand(samples, -1)
            for name in self.names
        }


class AsNetwork(InPlace):
    """The same head, but not known to be linear: it is run for some modalities at a time."""

    def make_head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, CLASSES))


class Deep(InPlace):
    """A head that mixes the modalities."""

    def make_head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, CLASSES))
