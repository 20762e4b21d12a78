"""A tensor cut into consecutive parts, each the features of one modality or of nobody."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

TOKEN = ""
"""The owner of tokens that are the same for all samples, as a learnt class token is."""


@dataclass(frozen=True)
class Blocks:
    """A tensor cut along one dimension into consecutive parts, each of one modality.

    Args:
        dim: The dimension, counted from the end (``-1`` is the last).
        owners: The modality of each part; ``None`` for a part that no encoder has touched, and
            :data:`TOKEN` for tokens that a head needs whatever the modality. An input that leads
            back to one modality alone is that modality's as a whole.
        widths: The size of each part along ``dim``.
    """

    dim: int
    owners: tuple[str | None, ...]
    widths: tuple[int, ...]

    def keep_only(self, kept: Collection[str | None], features: Tensor) -> Tensor:
        """The features with the parts of all modalities but these set to zero.

        Args:
            kept: Modalities; ``None`` among them keeps what belongs to no encoder.
            features: What was given to the head.
        """
        kept = {*kept, TOKEN}
        if all(owner in kept for owner in self.owners):
            return features
        parts = zip(self.owners, torch.split(features, [*self.widths], self.dim), strict=True)
        return torch.cat(
            [part if o in kept else torch.zeros_like(part) for o, part in parts], self.dim
        )

    def replace(self, features: Tensor, parts: Mapping[str, Sequence[Tensor]]) -> Tensor:
        """The features with others in the place of those of some modalities.

        Args:
            features: What was given to the head.
            parts: Modality -> its new parts, shaped as :meth:`parts_of` returns them.
        """
        left = {modality: iter(new) for modality, new in parts.items()}
        old = zip(self.owners, torch.split(features, [*self.widths], self.dim), strict=True)
        return torch.cat([next(left[o]) if o in left else part for o, part in old], self.dim)

    def parts_of(self, modality: str, features: Tensor) -> list[Tensor]:
        """The parts of a modality, in order."""
        parts = zip(self.owners, torch.split(features, [*self.widths], self.dim), strict=True)
        return [part for owner, part in parts if owner == modality]

    def columns(self, owner: str | None) -> list[slice]:
        """Where along the last dimension the features of a modality, or of nobody, stand."""
        if self.dim != -1:
            return [slice(None)] if owner in self.owners else []
        ends = [*accumulate(self.widths)]
        return [
            slice(end - width, end)
            for found, width, end in zip(self.owners, self.widths, ends, strict=True)
            if found == owner
        ]

    def keep_rows(self, owner: str | None, features: Tensor) -> Tensor:
        """The features, zeroed as :meth:`keep_only` does where :meth:`columns` cannot tell."""
        return features if self.dim == -1 else self.keep_only((owner,), features)
